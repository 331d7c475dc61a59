//! What comes of work whose answer is lost, late or broken, on a server that keeps state.

use scm_core::{
    BranchName, BranchesExt as _, Change, DeleteBranch, ErrorKind, FileChange, ListBranches,
    MergePullRequest, NewCommit, NewPullRequest, PullRequestState, Revision, Scm as _,
};
use scm_testkit::fault::Fault;

use crate::world::World;

const COMMITS: &str = "/projects/:id/repository/commits";
const BRANCHES: &str = "/projects/:id/repository/branches";

fn new_commit(world: &World) -> NewCommit {
    NewCommit::on_new_branch("fix".parse().unwrap(), world.head.clone(), "Fix it")
        .with_change(FileChange::update("a.txt".parse().unwrap(), "2\n"))
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
    world.fault(
        Fault::on("PUT", "/projects/:id/merge_requests/:merge_request_iid/merge").reset_after().times(1),
    );
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
async fn a_login_page_in_place_of_json_is_told_as_such() {
    let world = World::new().await;
    world.fault(Fault::on("GET", BRANCHES).login_page());
    let page = world.scm.branches().list_branches_page(&world.repo, &ListBranches::default(), None).await;
    let error = page.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("login page"), "{error}");
}
