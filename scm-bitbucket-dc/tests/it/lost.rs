//! Work whose answer is lost after it was done: it is there once, and nobody is told otherwise.

use futures_util::TryStreamExt as _;
use scm_core::{
    Align, Alignment, Approve, BranchesExt as _, Change, ChecksExt as _, CommentsExt as _, CommitsExt as _,
    DeleteBranch, Error, ErrorKind, FileChange, ListBranches, ListComments, ListCommits, ListPullRequests,
    ListTags, Marker, MergePullRequest, MergeWhen, NewComment, NewCommit, NewPullRequest, NewStatus, NewTag,
    PullRequest, PullRequestId, PullRequestState, PullRequestsExt as _, Resolution, Result, Revision,
    Scm as _, ThreadId, UpdatePullRequest,
};
use scm_testkit::fault::Fault;
use scm_testkit::sim::bitbucket_dc::{MergeChecks, Role, TokenKind, TokenSpec};

use crate::world::{REPO, World, is, main, route};

/// What is created, by its name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Create {
    Branch,
    EnsuredBranch,
    Tag,
    CommitOnNewBranch,
    Commit,
    CommitWithId,
    Request,
    EnsuredRequest,
    Comment,
    EnsuredComment,
    Reply,
    Status,
}

use Create::*;

/// What a caller is told whose answer is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    /// That it is done; who asks again finds the same.
    DoneOnce,
    /// That it is done.
    Done,
    /// That nobody knows: only one request leaves.
    Doubt,
}

use Told::*;

const ALL: [(Create, Told); 12] = [
    (Branch, Doubt),
    (EnsuredBranch, DoneOnce),
    (Tag, Doubt),
    (CommitOnNewBranch, Done),
    (Commit, Done),
    (CommitWithId, DoneOnce),
    (Request, DoneOnce),
    (EnsuredRequest, DoneOnce),
    (Comment, Doubt),
    (EnsuredComment, DoneOnce),
    (Reply, Doubt),
    (Status, DoneOnce),
];

impl Create {
    fn route(self) -> &'static str {
        match self {
            Branch | EnsuredBranch => route::BRANCHES,
            Tag => route::TAGS,
            CommitOnNewBranch | Commit | CommitWithId => route::PUSH,
            Request | EnsuredRequest => route::PULLS,
            Comment | EnsuredComment | Reply => route::COMMENTS,
            Status => route::BUILDS,
        }
    }

    fn commit(self, world: &World, name: &str) -> NewCommit {
        let new = match self {
            CommitOnNewBranch => NewCommit::on_new_branch(name.parse().unwrap(), world.head.clone(), name),
            _ => NewCommit::on_branch(main(), name),
        };
        let new =
            new.with_change(FileChange::create(format!("{name}.txt").parse().unwrap(), name.to_owned()));
        if self == CommitWithId { new.with_operation_id(name.parse().unwrap()) } else { new }
    }

    async fn call(self, world: &World, topic: PullRequestId, name: &str) -> Result<()> {
        let (scm, repo) = (&world.scm, &world.repo);
        let (branches, comments, pulls) = (scm.branches(), scm.comments(), scm.pull_requests());
        let from = Revision::Branch(main());
        match self {
            Branch => branches.create_branch(repo, &name.parse()?, &from).await.map(drop),
            EnsuredBranch => branches.ensure_branch(repo, &name.parse()?, &from).await.map(drop),
            Tag => branches.create_tag(repo, &NewTag::new(name.parse()?, from)).await.map(drop),
            CommitOnNewBranch | Commit | CommitWithId => {
                scm.commits().create_commit(repo, &self.commit(world, name)).await.map(drop)
            }
            Request | EnsuredRequest => {
                let new = NewPullRequest::new(name.parse()?, main(), name);
                match self {
                    Request => pulls.create_pull_request(repo, &new).await.map(drop),
                    _ => pulls.ensure_pull_request(repo, &new).await.map(drop),
                }
            }
            Comment => comments.create_comment(repo, topic, &NewComment::new(name)).await.map(drop),
            EnsuredComment => comments.ensure_comment(repo, topic, &Marker::new(name)?, name).await.map(drop),
            Reply => comments.reply(repo, topic, &thread(world, topic).await?, name).await.map(drop),
            Status => {
                let status = NewStatus::new(name, scm_core::CheckState::Success)
                    .with_url("https://ci.example.com/1".parse().unwrap());
                scm.checks().publish_status(repo, &world.head, &status).await.map(drop)
            }
        }
    }

    /// How many there are of this name.
    async fn count(self, world: &World, topic: PullRequestId, name: &str) -> usize {
        let (scm, repo) = (&world.scm, &world.repo);
        let names: Result<Vec<String>> = match self {
            Branch | EnsuredBranch => {
                let all = scm.branches().list_branches(repo, ListBranches::default());
                all.map_ok(|branch| branch.name.to_string()).try_collect().await
            }
            Tag => {
                let all = scm.branches().list_tags(repo, ListTags::default());
                all.map_ok(|tag| tag.name.to_string()).try_collect().await
            }
            CommitOnNewBranch | Commit | CommitWithId => {
                let branch = if self == CommitOnNewBranch { name.parse().unwrap() } else { main() };
                let opts = ListCommits::default().with_from(Revision::Branch(branch));
                match scm.commits().list_commits(repo, opts).map_ok(|commit| commit.title).try_collect().await
                {
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
                    all => all,
                }
            }
            Request | EnsuredRequest => {
                let all = scm.pull_requests().list_pull_requests(repo, ListPullRequests::default());
                all.map_ok(|pull| pull.title).try_collect().await
            }
            Comment | EnsuredComment | Reply => {
                let all = scm.comments().list_comments(repo, topic, ListComments::default());
                all.map_ok(|comment| comment.body.lines().next().unwrap().to_owned()).try_collect().await
            }
            Status => {
                let all = scm.checks().list_checks(repo, &world.head);
                all.map_ok(|check| check.name).try_collect().await
            }
        };
        names.unwrap().iter().filter(|found| *found == name).count()
    }
}

async fn thread(world: &World, id: PullRequestId) -> Result<ThreadId> {
    let all: Vec<_> =
        world.scm.comments().list_comments(&world.repo, id, ListComments::default()).try_collect().await?;
    Ok(all.iter().find(|comment| comment.body == "thread").unwrap().thread.clone().unwrap())
}

/// A pull request with a comment, and branches to open others from.
async fn arrange(create: Create, names: &[&str]) -> (World, PullRequestId) {
    let world = World::new().await;
    let topic = world.open("topic").await;
    let comment = NewComment::new("thread");
    world.scm.comments().create_comment(&world.repo, topic.id, &comment).await.unwrap();
    if matches!(create, Request | EnsuredRequest) {
        for name in names {
            world.push(name);
        }
    }
    (world, topic.id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_though_the_answer_is_lost_is_there_once() {
    let reset: fn(Fault) -> Fault = Fault::reset_after;
    let losses = [("reset", reset), ("cut", Fault::truncate), ("broken", Fault::garbage)];
    for (create, expected) in ALL {
        // A published build is answered without a word: there is nothing to cut or to break.
        let losses = if create == Status { &losses[..1] } else { &losses };
        let (world, topic) = arrange(create, &["reset", "cut", "broken"]).await;
        for (name, lose) in losses {
            world.sim.clear_requests();
            let fault = world.fault(lose(Fault::on("POST", create.route())).times(1));
            let done = create.call(&world, topic, name).await;
            assert_eq!(world.sim.faults().hits(fault), 1, "{create:?} {name}");
            assert_eq!(done.is_err(), expected == Doubt, "{create:?} {name}: {done:?}");
            if let Err(error) = done {
                let kinds = if *name == "broken" { ErrorKind::Decode } else { ErrorKind::Unavailable };
                assert_eq!((error.kind(), error.is_in_doubt()), (kinds, true), "{create:?} {name}: {error}");
            }
            let most = if create == Status { 2 } else { 1 };
            let sent = world.sent("POST", create.route()).len();
            assert!(sent <= most, "{create:?} {name}: {sent}");
            assert_eq!(create.count(&world, topic, name).await, 1, "{create:?} {name}");
            if expected == DoneOnce {
                // The caller may come again, too, for example after a crash.
                create.call(&world, topic, name).await.unwrap();
                assert_eq!(create.count(&world, topic, name).await, 1, "{create:?} {name} again");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_done_is_made_where_that_is_certain_and_else_told() {
    for (create, _) in ALL {
        let (world, topic) = arrange(create, &["new"]).await;
        world.sim.clear_requests();
        world.fault(Fault::on("POST", create.route()).reset_before().times(1));
        let done = create.call(&world, topic, "new").await;
        // A push moves the branch from one place to another, and a build twice is the same as once.
        let certain = matches!(create, CommitOnNewBranch | Commit | CommitWithId | Status);
        assert_eq!(done.is_ok(), certain, "{create:?}: {done:?}");
        assert!(done.err().is_none_or(|error: Error| error.is_in_doubt()), "{create:?}");
        let sent = world.sent("POST", create.route()).len();
        assert_eq!(sent, if certain { 2 } else { 1 }, "{create:?}");
        assert_eq!(create.count(&world, topic, "new").await, usize::from(certain), "{create:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_lost_by_reading_changes_nothing_about_what_is_told() {
    let world = World::new().await;
    let pull = world.open("topic").await;
    let pulls = world.scm.pull_requests();
    let again = NewPullRequest::new("topic".parse().unwrap(), main(), "Change");
    world.fault(Fault::on("GET", route::REVIEWERS).reset_after().times(1));
    let found = pulls.create_pull_request(&world.repo, &again).await.unwrap();
    assert_eq!((found.change, found.value.id), (Change::Unchanged, pull.id));
    world.fault(Fault::on("GET", route::COMMENT).reset_after().times(1));
    let gone = world.scm.comments().delete_comment(&world.repo, pull.id, &"999".parse().unwrap()).await;
    is(gone, ErrorKind::NotFound, "Comment 999 does not exist");
    // Merged by somebody else before.
    world.sim.merge_pull_request(REPO, pull.id.get(), "ann").unwrap();
    world.fault(Fault::on("GET", route::PULL).reset_after().times(1));
    let merged = pulls.merge_pull_request(&world.repo, pull.id, &MergePullRequest::default()).await;
    is(merged, ErrorKind::Conflict, "already been merged");
}

/// Calls of which two are as good as one, or whose outcome can be seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_answer_is_lost_is_done_once_and_told_as_done() {
    let world = World::new().await;
    let (scm, repo) = (&world.scm, &world.repo);
    let (pulls, comments) = (scm.pull_requests(), scm.comments());
    let pull = world.open("topic").await;
    let lose = |method: &str, route: &str| {
        world.fault(Fault::on(method, route).reset_after().times(1));
    };

    lose("PUT", route::PULL);
    let changes = UpdatePullRequest::default().with_title("New".to_owned());
    assert_eq!(pulls.update_pull_request(repo, pull.id, &changes).await.unwrap().title, "New");
    lose("POST", route::DECLINE);
    let closed = pulls.close_pull_request(repo, pull.id).await.unwrap();
    assert_eq!((closed.state, world.sent("POST", route::DECLINE).len()), (PullRequestState::Closed, 1));
    lose("POST", route::REOPEN);
    let open = pulls.reopen_pull_request(repo, pull.id).await.unwrap();
    assert_eq!((open.state, world.sent("POST", route::REOPEN).len()), (PullRequestState::Open, 1));

    let comment = comments.create_comment(repo, pull.id, &NewComment::new("old")).await.unwrap();
    lose("PUT", route::COMMENT);
    assert_eq!(comments.edit_comment(repo, pull.id, &comment.id, "new").await.unwrap().body, "new");
    lose("PUT", route::COMMENT);
    let thread = comment.thread.clone().unwrap();
    comments.resolve_thread(repo, pull.id, &thread, Resolution::Resolved).await.unwrap();
    lose("DELETE", route::COMMENT);
    comments.delete_comment(repo, pull.id, &comment.id).await.unwrap();
    assert_eq!(
        comments.list_comments(repo, pull.id, ListComments::default()).try_collect::<Vec<_>>().await.unwrap(),
        []
    );

    let ann = world.with_token(&TokenSpec::new(TokenKind::User, "ann").on(REPO).role(Role::Read));
    lose("POST", route::APPROVE);
    ann.pull_requests().approve_pull_request(repo, pull.id, &Approve::default()).await.unwrap();
    assert_eq!(pulls.approvals(repo, pull.id).await.unwrap().approved_by.len(), 1);

    let target = world.write("main", "other.txt", "1\n");
    lose("POST", route::REBASE);
    let Alignment::Aligned { head } =
        pulls.align_pull_request(repo, pull.id, &Align::default()).await.unwrap()
    else {
        panic!("it was rebased")
    };
    assert_eq!(world.log("topic").await, [head.clone(), target, world.head.clone()]);

    lose("POST", route::MERGE);
    let seen = MergePullRequest::default().with_expected_head(head);
    let merged = pulls.merge_pull_request(repo, pull.id, &seen).await.unwrap();
    assert_eq!((merged.state, world.sent("POST", route::MERGE).len()), (PullRequestState::Merged, 1));
    assert_eq!(world.log("main").await.len(), 4);

    lose("DELETE", route::DELETE_BRANCH);
    let topic = pull.source_branch.clone();
    scm.branches().delete_branch(repo, &topic, &DeleteBranch::default()).await.unwrap();
    assert!(!scm.branches().branch_exists(repo, &topic).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_was_not_done_is_told_and_not_sent_again() {
    let world = World::new().await;
    let pull: PullRequest = world.open("topic").await;
    world
        .fault(Fault::on("POST", route::MERGE).html(502, "<html><title>Bad Gateway</title></html>").times(1));
    let seen = MergePullRequest::default().with_expected_head(pull.head.clone().unwrap());
    let done = world.scm.pull_requests().merge_pull_request(&world.repo, pull.id, &seen).await;
    is(done, ErrorKind::Unavailable, "Bad Gateway");
    assert_eq!(world.sent("POST", route::MERGE).len(), 1);
    assert_eq!(world.look(&pull).await.state, PullRequestState::Open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_waits_is_told_as_such_though_the_answer_is_lost() {
    let world = World::new().await;
    world.sim.set_merge_checks(REPO, MergeChecks::new().builds(1).auto_merge()).unwrap();
    let pull = world.open("topic").await;
    let later = MergePullRequest::default().with_when(MergeWhen::ChecksPass);
    world.fault(Fault::on("POST", route::MERGE).reset_after().times(1));
    let waiting = world.scm.pull_requests().merge_pull_request(&world.repo, pull.id, &later).await.unwrap();
    assert_eq!((waiting.state, waiting.auto_merge), (PullRequestState::Open, Some(true)));
    assert_eq!(world.sent("POST", route::MERGE).len(), 1);
    // Nothing was done.
    world.scm.pull_requests().cancel_auto_merge(&world.repo, pull.id).await.unwrap();
    world.fault(Fault::on("POST", route::MERGE).reset_before().times(1));
    let done = world.scm.pull_requests().merge_pull_request(&world.repo, pull.id, &later).await;
    assert!(done.unwrap_err().is_in_doubt());
}
