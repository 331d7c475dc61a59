//! What comes of work whose answer is lost, late or broken, on a server that keeps state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use scm_core::pipeline::RetryPolicy;
use scm_core::{
    BranchName, BranchesExt as _, Change, CommentsExt as _, CommitsExt as _, DeleteBranch, Delivery,
    ErrorKind, FileChange, ListBranches, ListComments, ListCommits, ListPullRequests, Marker,
    MergePullRequest, NewCommit, NewPullRequest, PullRequestState, PullRequestsExt as _, RepoId, Revision,
    Scm, Sha, StaticCredential, Transport,
};
use scm_gitlab::{GitLab, GitLabConfig};
use scm_testkit::fault::{Fault, FaultId};
use scm_testkit::sim::gitlab::{GitLabSim, ProjectSpec, Protection, Role, TokenKind, TokenSpec};
use scm_transport::{DirectTransport, Network};

const COMMITS: &str = "/projects/:id/repository/commits";
const BRANCHES: &str = "/projects/:id/repository/branches";
const MERGE_REQUESTS: &str = "/projects/:id/merge_requests";

struct World {
    sim: GitLabSim,
    scm: GitLab,
    repo: RepoId,
    head: Sha,
}

impl World {
    async fn new() -> Self {
        let sim = GitLabSim::builder().start().await.unwrap();
        let spec = ProjectSpec::new().file("a.txt", "1\n").protection(Protection::None);
        sim.create_project("group/repo", &spec).unwrap();
        let token = sim.issue_token(&TokenSpec::new(TokenKind::Group, "bot").role(Role::Maintainer)).unwrap();
        let retry = RetryPolicy::default().with_backoff(Duration::from_millis(5), Duration::from_millis(20));
        let credential = Arc::new(StaticCredential::token(token.token.into()));
        let config = GitLabConfig::new(&sim.url(), credential).unwrap().with_retry(retry);
        let transport = Transport::new(DirectTransport::new(&Network::new()).unwrap());
        let scm = GitLab::new(config, transport).unwrap();
        let head = sim.revision("group/repo", "main").unwrap().unwrap().parse().unwrap();
        Self { sim, scm, repo: "group/repo".parse().unwrap(), head }
    }

    fn fault(&self, fault: Fault) -> FaultId {
        self.sim.faults().add(fault)
    }

    fn push(&self, branch: &str) -> BranchName {
        self.sim.push_commit("group/repo", branch, "Change", &[("b.txt", Some(b"2\n"))]).unwrap();
        branch.parse().unwrap()
    }

    /// The log of a branch, newest first.
    async fn log(&self, branch: &str) -> Vec<Sha> {
        let opts = ListCommits::default().with_from(Revision::Branch(branch.parse().unwrap()));
        let commits: Vec<_> = self.scm.commits().list_commits(&self.repo, opts).try_collect().await.unwrap();
        commits.into_iter().map(|commit| commit.sha).collect()
    }
}

fn new_commit(world: &World) -> NewCommit {
    NewCommit::on_new_branch("fix".parse().unwrap(), world.head.clone(), "Fix it")
        .with_change(FileChange::update("a.txt".parse().unwrap(), "2\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_or_cut_is_found_and_not_made_twice() {
    let lost: [fn(Fault) -> Fault; 3] = [Fault::reset_after, Fault::truncate, Fault::garbage];
    for (n, lose) in lost.into_iter().enumerate() {
        for with_id in [true, false] {
            let world = World::new().await;
            let mut commit = new_commit(&world);
            if with_id {
                commit = commit.with_operation_id("job-1".parse().unwrap());
            }
            let fault = world.fault(lose(Fault::on("POST", COMMITS)).times(1));
            let made = world.scm.commits().create_commit(&world.repo, &commit).await;
            let made = made.unwrap_or_else(|error| panic!("loss {n}, id {with_id}: {}", error.report()));
            assert_eq!(world.sim.faults().hits(fault), 1);
            assert_eq!(
                world.log("fix").await,
                [made.value.sha, world.head.clone()],
                "loss {n}, id {with_id}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_commit_on_a_branch_that_exists_is_not_made_twice() {
    let world = World::new().await;
    let commit = NewCommit::on_branch("main".parse().unwrap(), "Fix it")
        .with_change(FileChange::update("a.txt".parse().unwrap(), "2\n"));
    let known = commit.clone().with_operation_id("job-1".parse().unwrap());
    world.fault(Fault::on("POST", COMMITS).reset_after().times(1));
    let made = world.scm.commits().create_commit(&world.repo, &known).await.unwrap().value;
    assert_eq!(world.log("main").await, [made.sha.clone(), world.head.clone()]);

    // Without an id nothing tells it from the same commit of someone else, so the caller is asked to look.
    let fault = world.fault(Fault::on("POST", COMMITS).reset_after().times(1));
    let error = world.scm.commits().create_commit(&world.repo, &commit).await.unwrap_err();
    assert_eq!((error.delivery(), world.sim.faults().hits(fault)), (Delivery::Unknown, 1));
    assert_eq!(world.log("main").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_never_arrived_is_sent_again() {
    let world = World::new().await;
    let fault = world.fault(Fault::on("POST", COMMITS).reset_before().times(1));
    let made = world.scm.commits().create_commit(&world.repo, &new_commit(&world)).await.unwrap();
    assert_eq!((world.sim.faults().hits(fault), made.change), (1, Change::Created));
    assert_eq!(world.log("fix").await, [made.value.sha, world.head.clone()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ensure_makes_one_branch_pull_request_and_comment_though_answers_are_lost() {
    let world = World::new().await;
    let source = world.push("topic");
    let name: BranchName = "ensured".parse().unwrap();
    world.fault(Fault::on("POST", BRANCHES).reset_after().times(1));
    let branch = world.scm.branches().ensure_branch(&world.repo, &name, &Revision::Head).await.unwrap();
    assert_eq!(branch.value.head, world.head);
    let all: Vec<_> =
        world.scm.branches().list_branches(&world.repo, ListBranches::default()).try_collect().await.unwrap();
    assert_eq!(all.len(), 3);

    world.fault(Fault::on("POST", MERGE_REQUESTS).reset_after().times(1));
    let new = NewPullRequest::new(source, "main".parse().unwrap(), "Once");
    let pull = world.scm.pull_requests().ensure_pull_request(&world.repo, &new).await.unwrap().value;
    let opts = ListPullRequests::default();
    let all: Vec<_> =
        world.scm.pull_requests().list_pull_requests(&world.repo, opts).try_collect().await.unwrap();
    assert_eq!(all.iter().map(|pull| pull.id).collect::<Vec<_>>(), [pull.id]);

    world.fault(Fault::on("POST", "/projects/:id/merge_requests/:iid/notes").reset_after().times(1));
    let marker = Marker::new("guidance").unwrap();
    let comments = world.scm.comments();
    let made = comments.ensure_comment(&world.repo, pull.id, &marker, "Please review.").await.unwrap();
    let all: Vec<_> =
        comments.list_comments(&world.repo, pull.id, ListComments::default()).try_collect().await.unwrap();
    assert_eq!(all.iter().map(|comment| &comment.id).collect::<Vec<_>>(), [&made.value.id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_whose_answer_is_lost_is_done() {
    let world = World::new().await;
    let name = world.push("old");
    world.fault(Fault::on("DELETE", "/projects/:id/repository/branches/:branch").reset_after().times(1));
    world.scm.branches().delete_branch(&world.repo, &name, &DeleteBranch::default()).await.unwrap();
    assert!(!world.scm.branches().branch_exists(&world.repo, &name).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_whose_answer_is_lost_is_done_once() {
    let world = World::new().await;
    let source = world.push("topic");
    let new = NewPullRequest::new(source, "main".parse().unwrap(), "Merged");
    let pull = world.scm.pull_requests().create_pull_request(&world.repo, &new).await.unwrap().value;
    world.fault(Fault::on("PUT", "/projects/:id/merge_requests/:iid/merge").reset_after().times(1));
    let opts = MergePullRequest::default();
    let merged = world.scm.pull_requests().merge_pull_request(&world.repo, pull.id, &opts).await.unwrap();
    assert_eq!(merged.state, PullRequestState::Merged);
    assert_eq!(world.log("main").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_is_repeated_and_creating_is_not() {
    let world = World::new().await;
    let name: BranchName = "main".parse().unwrap();
    let one = "/projects/:id/repository/branches/:branch";
    for fault in [
        Fault::on("GET", one).html(502, "<html>Bad Gateway</html>"),
        Fault::on("GET", one).reset_before(),
        Fault::on("GET", one).reset_after(),
        Fault::on("GET", one).truncate(),
    ] {
        let shown = format!("{fault:?}");
        let id = world.fault(fault.times(2));
        let branch = world.scm.branches().branch(&world.repo, &name).await;
        assert_eq!(branch.unwrap_or_else(|error| panic!("{shown}: {error}")).head, world.head, "{shown}");
        assert_eq!(world.sim.faults().hits(id), 2, "{shown}");
    }
    let id = world.fault(Fault::on("POST", BRANCHES).html(502, "<html>Bad Gateway</html>"));
    let made =
        world.scm.branches().create_branch(&world.repo, &"new".parse().unwrap(), &Revision::Head).await;
    assert_eq!(made.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(world.sim.faults().hits(id), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_call_waits_as_long_as_it_was_told() {
    let world = World::new().await;
    let id = world.fault(Fault::on("POST", BRANCHES).throttled(1).times(1));
    let started = Instant::now();
    world.scm.branches().create_branch(&world.repo, &"new".parse().unwrap(), &Revision::Head).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(world.sim.faults().hits(id), 1);
    for fault in [Fault::anywhere().throttled_without_headers(), Fault::anywhere().throttled(1)] {
        world.fault(fault.times(2));
        world.scm.branches().branch(&world.repo, &"main".parse().unwrap()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_page_in_place_of_json_is_told_as_such() {
    let world = World::new().await;
    world.fault(Fault::on("GET", BRANCHES).login_page());
    let page = world.scm.branches().list_branches_page(&world.repo, &ListBranches::default(), None).await;
    let error = page.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("login page"), "{error}");
}
