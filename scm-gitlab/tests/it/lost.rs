//! Everything that is created, when the answer is lost after the work was done: it is there once, and nobody is told
//! otherwise.

use futures_util::TryStreamExt as _;
use scm_core::{
    BranchesExt as _, ChecksExt as _, CommentsExt as _, CommitsExt as _, Delivery, Error, ErrorKind,
    FileChange, ListBranches, ListComments, ListCommits, ListPullRequests, ListTags, Marker, NewComment,
    NewCommit, NewPullRequest, NewStatus, NewTag, PullRequest, PullRequestId, PullRequestsExt as _, Result,
    Revision, Scm as _, Sha,
};
use scm_testkit::fault::Fault;

use crate::world::World;

const BRANCHES: &str = "/projects/:id/repository/branches";
const TAGS: &str = "/projects/:id/repository/tags";
const COMMITS: &str = "/projects/:id/repository/commits";
const MERGE_REQUESTS: &str = "/projects/:id/merge_requests";
const NOTES: &str = "/projects/:id/merge_requests/:merge_request_iid/notes";
const REPLIES: &str = "/projects/:id/merge_requests/:merge_request_iid/discussions/:discussion_id/notes";
const STATUSES: &str = "/projects/:id/statuses/:sha";

/// What is created, by its name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Create {
    Branch,
    EnsuredBranch,
    Tag,
    CommitOnNewBranch,
    CommitOnNewBranchWithId,
    Commit,
    CommitWithId,
    PullRequest,
    EnsuredPullRequest,
    Comment,
    EnsuredComment,
    Reply,
    Status,
}

use Create::*;

/// Can the caller be spared? Some call names what it makes, so that it can be looked for; of the others only one request
/// leaves, and the caller is told that nobody knows.
const FOUND_AGAIN: [(Create, bool); 13] = [
    (Branch, false),
    (EnsuredBranch, true),
    (Tag, false),
    (CommitOnNewBranch, true),
    (CommitOnNewBranchWithId, true),
    (Commit, false),
    (CommitWithId, true),
    (PullRequest, true),
    (EnsuredPullRequest, true),
    (Comment, false),
    (EnsuredComment, true),
    (Reply, false),
    (Status, true),
];

impl Create {
    fn route(self) -> &'static str {
        match self {
            Branch | EnsuredBranch => BRANCHES,
            Tag => TAGS,
            CommitOnNewBranch | CommitOnNewBranchWithId | Commit | CommitWithId => COMMITS,
            PullRequest | EnsuredPullRequest => MERGE_REQUESTS,
            Comment | EnsuredComment => NOTES,
            Reply => REPLIES,
            Status => STATUSES,
        }
    }

    fn commit(self, world: &World, name: &str) -> NewCommit {
        let change = FileChange::create(format!("{name}.txt").parse().unwrap(), name.to_owned());
        let on_new = matches!(self, CommitOnNewBranch | CommitOnNewBranchWithId);
        let new = match on_new {
            true => NewCommit::on_new_branch(name.parse().unwrap(), world.head.clone(), name),
            false => NewCommit::on_branch("main".parse().unwrap(), name),
        };
        match self {
            CommitOnNewBranchWithId | CommitWithId => new.with_operation_id(name.parse().unwrap()),
            _ => new,
        }
        .with_change(change)
    }

    async fn call(self, world: &World, topic: &PullRequest, name: &str) -> Result<()> {
        let (scm, repo) = (&world.scm, &world.repo);
        let (branches, comments) = (scm.branches(), scm.comments());
        let main = Revision::Branch("main".parse()?);
        match self {
            Branch => branches.create_branch(repo, &name.parse()?, &main).await.map(drop),
            EnsuredBranch => branches.ensure_branch(repo, &name.parse()?, &main).await.map(drop),
            Tag => branches.create_tag(repo, &NewTag::new(name.parse()?, main)).await.map(drop),
            CommitOnNewBranch | CommitOnNewBranchWithId | Commit | CommitWithId => {
                scm.commits().create_commit(repo, &self.commit(world, name)).await.map(drop)
            }
            PullRequest | EnsuredPullRequest => {
                let new = NewPullRequest::new(name.parse()?, "main".parse()?, name);
                match self {
                    PullRequest => scm.pull_requests().create_pull_request(repo, &new).await.map(drop),
                    _ => scm.pull_requests().ensure_pull_request(repo, &new).await.map(drop),
                }
            }
            Comment => comments.create_comment(repo, topic.id, &NewComment::new(name)).await.map(drop),
            EnsuredComment => {
                comments.ensure_comment(repo, topic.id, &Marker::new(name)?, name).await.map(drop)
            }
            Reply => {
                let thread = thread(world, topic.id).await?;
                comments.reply(repo, topic.id, &thread, name).await.map(drop)
            }
            Status => {
                let status = NewStatus::new(name, scm_core::CheckState::Success);
                scm.checks().publish_status(repo, &world.head, &status).await.map(drop)
            }
        }
    }

    /// How many there are of this name.
    async fn count(self, world: &World, topic: &PullRequest, name: &str) -> usize {
        let (scm, repo) = (&world.scm, &world.repo);
        let names: Vec<String> = match self {
            Branch | EnsuredBranch => {
                let all = scm.branches().list_branches(repo, ListBranches::default());
                all.map_ok(|branch| branch.name.to_string()).try_collect().await
            }
            Tag => {
                let all = scm.branches().list_tags(repo, ListTags::default());
                all.map_ok(|tag| tag.name.to_string()).try_collect().await
            }
            CommitOnNewBranch | CommitOnNewBranchWithId => return commits(world, name, name).await,
            Commit | CommitWithId => return commits(world, "main", name).await,
            PullRequest | EnsuredPullRequest => {
                let all = scm.pull_requests().list_pull_requests(repo, ListPullRequests::default());
                all.map_ok(|pull| pull.title).try_collect().await
            }
            Comment | EnsuredComment | Reply => {
                let all = scm.comments().list_comments(repo, topic.id, ListComments::default());
                all.map_ok(|comment| comment.body.lines().next().unwrap().to_owned()).try_collect().await
            }
            Status => {
                let all = scm.checks().list_checks(repo, &world.head);
                all.map_ok(|check| check.name).try_collect().await
            }
        }
        .unwrap();
        names.iter().filter(|found| *found == name).count()
    }
}

async fn commits(world: &World, branch: &str, name: &str) -> usize {
    let opts = ListCommits::default().with_from(Revision::Branch(branch.parse().unwrap()));
    let all: Result<Vec<_>> = world.scm.commits().list_commits(&world.repo, opts).try_collect().await;
    match all {
        Ok(all) => all.iter().filter(|commit| commit.message.lines().next() == Some(name)).count(),
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => panic!("{}", error.report()),
    }
}

async fn thread(world: &World, id: PullRequestId) -> Result<scm_core::ThreadId> {
    let all: Vec<_> =
        world.scm.comments().list_comments(&world.repo, id, ListComments::default()).try_collect().await?;
    Ok(all.iter().find(|comment| comment.body == "thread").unwrap().thread.clone().unwrap())
}

/// A merge request with a comment, and branches to open others from.
async fn arrange(names: &[&str]) -> (World, PullRequest) {
    let world = World::new().await;
    let source = world.push("topic");
    let new = NewPullRequest::new(source, "main".parse().unwrap(), "Topic");
    let topic = world.scm.pull_requests().create_pull_request(&world.repo, &new).await.unwrap().value;
    let comments = world.scm.comments();
    comments.create_comment(&world.repo, topic.id, &NewComment::new("thread")).await.unwrap();
    for name in names {
        world.push(name);
    }
    (world, topic)
}

fn sent(world: &World, create: Create) -> usize {
    let is_it = |seen: &scm_testkit::sim::RequestRecord| {
        seen.method == "POST" && seen.route.as_deref() == Some(create.route())
    };
    world.sim.requests().iter().filter(|seen| is_it(seen)).count()
}

/// What the caller is told where nothing can be found out: an answer that says success and cannot be read is one.
fn told(error: &Error) -> (ErrorKind, Delivery, Option<u16>) {
    (error.kind(), error.delivery(), error.status().map(|status| status.as_u16()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_though_the_answer_is_lost_is_there_once() {
    let lost: fn(Fault) -> Fault = Fault::reset_after;
    let losses = [
        ("reset", lost, (ErrorKind::Unavailable, Delivery::Unknown, None)),
        ("cut", Fault::truncate, (ErrorKind::Unavailable, Delivery::Unknown, Some(201))),
        ("broken", Fault::garbage, (ErrorKind::Decode, Delivery::Answered, Some(201))),
    ];
    for (create, found_again) in FOUND_AGAIN {
        let opens = matches!(create, PullRequest | EnsuredPullRequest);
        let (world, topic) = arrange(if opens { &["reset", "cut", "broken"] } else { &[] }).await;
        for (name, lose, expected) in losses {
            world.sim.clear_requests();
            let fault = world.fault(lose(Fault::on("POST", create.route())).times(1));
            let done = create.call(&world, &topic, name).await;
            assert_eq!(world.sim.faults().hits(fault), 1, "{create:?} {name}");
            match done {
                Ok(()) => assert!(found_again, "{create:?} {name}"),
                Err(error) => {
                    // A status is sent again with its answer lost, but what cannot be read is not asked for again.
                    assert!(
                        !found_again || (create, name) == (Status, "broken"),
                        "{create:?} {name}: {error}"
                    );
                    assert_eq!(told(&error), expected, "{create:?} {name}");
                }
            }
            let most = if create == Status { 2 } else { 1 };
            assert!(sent(&world, create) <= most, "{create:?} {name}: {}", sent(&world, create));
            assert_eq!(create.count(&world, &topic, name).await, 1, "{create:?} {name}");
            if found_again {
                // The caller may come again, too, for example after a crash.
                create.call(&world, &topic, name).await.unwrap();
                assert_eq!(create.count(&world, &topic, name).await, 1, "{create:?} {name} again");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_done_is_made_where_that_is_certain_and_else_told() {
    for (create, _) in FOUND_AGAIN {
        let opens = matches!(create, PullRequest | EnsuredPullRequest);
        let (world, topic) = arrange(if opens { &["new"] } else { &[] }).await;
        world.sim.clear_requests();
        let fault = world.fault(Fault::on("POST", create.route()).reset_before().times(1));
        let done = create.call(&world, &topic, "new").await;
        assert_eq!(world.sim.faults().hits(fault), 1, "{create:?}");
        // Of a new branch the server makes one commit at most, and a status twice is the same as once.
        let certain = matches!(create, CommitOnNewBranch | CommitOnNewBranchWithId | Status);
        assert_eq!(done.is_ok(), certain, "{create:?}");
        assert_eq!(sent(&world, create), if certain { 2 } else { 1 }, "{create:?}");
        assert_eq!(create.count(&world, &topic, "new").await, usize::from(certain), "{create:?}");
        if let Err(error) = done {
            let expected = (ErrorKind::Unavailable, Delivery::Unknown, None);
            assert_eq!(told(&error), expected, "{create:?}");
        }
    }
}

/// By the operation id alone: a caller that was told nothing may come again, also when it has crashed meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_with_an_operation_id_is_made_once_however_often_it_is_asked_for() {
    let world = World::new().await;
    let commit = NewCommit::on_branch("main".parse().unwrap(), "Once")
        .with_operation_id("job-1".parse().unwrap())
        .with_change(FileChange::update("a.txt".parse().unwrap(), "2\n"));
    let first = world.scm.commits().create_commit(&world.repo, &commit).await.unwrap();
    let again = world.scm.commits().create_commit(&world.repo, &commit).await.unwrap();
    assert!(first.is_created() && !again.is_created());
    let log: [Sha; 2] = [first.value.sha.clone(), world.head.clone()];
    assert_eq!((again.value.sha, world.log("main").await), (first.value.sha, log.to_vec()));
}
