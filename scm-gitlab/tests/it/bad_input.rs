//! What cannot be: the right kind of error, in the server's own words, and nothing changed.

use std::sync::Arc;

use scm_core::{
    Align, AlignStrategy, CommentPosition, DiffSide, Error, ErrorKind, FileChange, FilePath, LineRange,
    ListBranches, ListComments, ListCommits, ListNamespaces, ListPipelines, ListPullRequests,
    ListRepositories, ListTags, ListTree, MergePullRequest, NewComment, NewCommit, NewPullRequest, NewStatus,
    PullRequest, RepoId, Revision, Scm, Sha, StaticCredential, Transport, UpdatePullRequest,
};
use scm_gitlab::{GitLab, GitLabConfig};
use scm_testkit::sim::gitlab::{GitLabSim, ProjectSpec, Protection, Role, TokenKind, TokenSpec};
use scm_transport::{DirectTransport, Network};

const REPO: &str = "group/repo";

struct World {
    sim: GitLabSim,
    scm: GitLab,
    repo: RepoId,
    pull: PullRequest,
}

impl World {
    /// A merge request that changes the second of three lines, and would be in conflict with `main`.
    async fn new() -> Self {
        let sim = GitLabSim::builder().start().await.unwrap();
        let spec = ProjectSpec::new()
            .file("a.txt", "1\n2\n3\n")
            .file("dir/b.txt", "b\n")
            .protection(Protection::None);
        sim.create_project(REPO, &spec).unwrap();
        let token = sim.issue_token(&TokenSpec::new(TokenKind::Group, "bot").role(Role::Maintainer)).unwrap();
        let credential = Arc::new(StaticCredential::token(token.token.into()));
        let config = GitLabConfig::new(&sim.url(), credential).unwrap();
        let transport = Transport::new(DirectTransport::new(&Network::new()).unwrap());
        let scm = GitLab::new(config, transport).unwrap();
        sim.push_commit(REPO, "topic", "Theirs", &[("a.txt", Some(b"1\ntwo\n3\n"))]).unwrap();
        sim.push_commit(REPO, "main", "Ours", &[("a.txt", Some(b"1\nzwei\n3\n"))]).unwrap();
        let repo = REPO.parse().unwrap();
        let new = NewPullRequest::new("topic".parse().unwrap(), "main".parse().unwrap(), "Change");
        let pull = scm.pull_requests().create_pull_request(&repo, &new).await.unwrap().value;
        Self { sim, scm, repo, pull }
    }

    fn tip(&self, branch: &str) -> Option<String> {
        self.sim.revision(REPO, branch).unwrap()
    }

    /// All that the calls of this file could change.
    async fn state(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let pull = self.scm.pull_requests().pull_request(&self.repo, self.pull.id).await.unwrap();
        let opts = ListComments::default();
        let comments =
            self.scm.comments().list_comments_page(&self.repo, self.pull.id, &opts, None).await.unwrap();
        let branches =
            self.scm.branches().list_branches_page(&self.repo, &ListBranches::default(), None).await.unwrap();
        let branches: Vec<_> =
            branches.into_items().unwrap().into_iter().map(|branch| (branch.name, branch.head)).collect();
        (pull, comments.items.len(), branches)
    }
}

fn path(text: &str) -> FilePath {
    text.parse().unwrap()
}

fn is(done: Result<impl std::fmt::Debug, Error>, kind: ErrorKind, words: &str) {
    let error = done.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(words), "{error} does not say {words:?}");
    assert!(error.operation().is_some() && error.provider() == Some("gitlab"), "{error:?}");
}

#[tokio::test]
async fn a_commit_that_cannot_be_is_refused_whole() {
    let world = World::new().await;
    let before = world.state().await;
    let commit = |changes: Vec<FileChange>| {
        NewCommit::on_branch("main".parse().unwrap(), "Change").with_changes(changes)
    };
    let fine = || FileChange::create(path("fine.txt"), "1");
    let sha = |c: char| Sha::new(c.to_string().repeat(40)).unwrap();
    #[rustfmt::skip]
    let table = [
        (commit(vec![]), ErrorKind::InvalidInput, "needs at least one change"),
        (commit(vec![fine(), FileChange::update(path("fine.txt"), "2")]), ErrorKind::InvalidInput, "two changes of one commit touch 'fine.txt'"),
        (commit(vec![fine(), FileChange::rename(path("a.txt"), path("dir/b.txt"))]), ErrorKind::InvalidInput, "A file with this name already exists"),
        (commit(vec![fine(), FileChange::create(path("a.txt"), "1")]), ErrorKind::InvalidInput, "A file with this name already exists"),
        (commit(vec![fine(), FileChange::delete(path("gone.txt"))]), ErrorKind::InvalidInput, "A file with this name doesn't exist"),
        (commit(vec![fine(), FileChange::update(path("gone.txt"), "1")]), ErrorKind::InvalidInput, "A file with this name doesn't exist"),
        (commit(vec![fine(), FileChange::create(path("dir"), "1")]), ErrorKind::InvalidInput, "A directory with this name already exists"),
        (commit(vec![fine(), FileChange::update(path("a.txt"), "1").with_last_commit(sha('e')).unwrap()]), ErrorKind::PreconditionFailed, "has changed since you started editing it"),
        (NewCommit::on_branch("gone".parse().unwrap(), "Change").with_change(fine()), ErrorKind::Conflict, "You can only create or edit files when you are on a branch"),
        (NewCommit::on_new_branch("topic".parse().unwrap(), world.pull.head.clone().unwrap(), "Change").with_change(fine()), ErrorKind::Conflict, "A branch called 'topic' already exists"),
        (commit(vec![fine()]).with_expected_head(sha('e')), ErrorKind::Conflict, "there is no commit eeeeeeee"),
        (commit(vec![fine()]).with_expected_head(world.pull.head.clone().unwrap()), ErrorKind::Conflict, "the branch 'main' has moved from"),
    ];
    for (new, kind, words) in table {
        is(world.scm.commits().create_commit(&world.repo, &new).await, kind, words);
    }
    assert_eq!(world.state().await, before);
    assert_eq!(world.tip("gone"), None);
}

#[tokio::test]
async fn a_comment_without_a_place_is_not_written_elsewhere() {
    let world = World::new().await;
    let before = world.state().await;
    let on = |file: &str, side, line| CommentPosition::Lines {
        path: path(file),
        old_path: None,
        lines: LineRange::line(side, line).unwrap(),
    };
    let code = "must be a valid line code";
    for (position, words) in [
        (on("a.txt", DiffSide::New, 4), code),
        (on("a.txt", DiffSide::New, 999), code),
        (on("dir/b.txt", DiffSide::New, 1), code),
        (on("nowhere.txt", DiffSide::Old, 1), code),
    ] {
        let new = NewComment::new("text").with_position(position);
        is(
            world.scm.comments().create_comment(&world.repo, world.pull.id, &new).await,
            ErrorKind::InvalidInput,
            words,
        );
    }
    let empty = NewComment::new(" \n");
    is(
        world.scm.comments().create_comment(&world.repo, world.pull.id, &empty).await,
        ErrorKind::InvalidInput,
        "a comment needs a text",
    );
    assert_eq!(world.state().await, before);
    for (start, end) in [(0, 1), (3, 2)] {
        assert_eq!(LineRange::lines(DiffSide::New, start, end).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[tokio::test]
async fn a_merge_or_rebase_that_cannot_be_leaves_both_branches() {
    let world = World::new().await;
    let pulls = world.scm.pull_requests();
    // Both sides changed the same line: the server must find that out first.
    while pulls.mergeability(&world.repo, world.pull.id).await.unwrap().blockers.is_empty() {
        tokio::task::yield_now().await;
    }
    let before = world.state().await;
    let merge =
        async |opts: MergePullRequest| pulls.merge_pull_request(&world.repo, world.pull.id, &opts).await;
    let main: Sha = world.tip("main").unwrap().parse().unwrap();
    let stale = MergePullRequest::default().with_expected_head(main);
    let head = world.pull.head.clone().unwrap();
    is(
        merge(stale).await,
        ErrorKind::PreconditionFailed,
        &format!("SHA does not match HEAD of source branch: {head}"),
    );
    is(merge(MergePullRequest::default()).await, ErrorKind::Conflict, "Branch cannot be merged");
    let align = async |opts: Align| pulls.align_pull_request(&world.repo, world.pull.id, &opts).await;
    let by_merge = Align::default().with_strategy(AlignStrategy::Merge);
    is(align(by_merge).await, ErrorKind::Unsupported, "rebase, or merge the target by git");
    assert_eq!(world.state().await, before);
    is(
        align(Align::default()).await,
        ErrorKind::Conflict,
        "Rebase locally, resolve all conflicts, then push the branch",
    );
    assert_eq!(world.tip("topic").as_deref(), Some(head.as_str()));
}

#[tokio::test]
async fn options_out_of_range_are_refused_before_anything_is_sent() {
    let world = World::new().await;
    let (repo, scm) = (&world.repo, &world.scm);
    let sent = world.sim.requests().len();
    let words = "GitLab takes 1 to 100";
    for size in [0, 101, u16::MAX] {
        let invalid = ErrorKind::InvalidInput;
        let opts = ListRepositories::default().with_page_size(size);
        is(scm.repositories().list_repositories_page(&opts, None).await, invalid, words);
        let opts = ListNamespaces::default().with_page_size(size);
        is(scm.repositories().list_namespaces_page(&opts, None).await, invalid, words);
        let opts = ListBranches::default().with_page_size(size);
        is(scm.branches().list_branches_page(repo, &opts, None).await, invalid, words);
        let opts = ListTags::default().with_page_size(size);
        is(scm.branches().list_tags_page(repo, &opts, None).await, invalid, words);
        let opts = ListTree::default().with_page_size(size);
        is(scm.contents().list_tree_page(repo, &Revision::Head, &opts, None).await, invalid, words);
        let opts = ListCommits::default().with_page_size(size);
        is(scm.commits().list_commits_page(repo, &opts, None).await, invalid, words);
        let opts = ListPullRequests::default().with_page_size(size);
        is(scm.pull_requests().list_pull_requests_page(repo, &opts, None).await, invalid, words);
        let opts = ListComments::default().with_page_size(size);
        is(scm.comments().list_comments_page(repo, world.pull.id, &opts, None).await, invalid, words);
        let opts = ListPipelines::default().with_page_size(size);
        is(scm.checks().list_pipelines_page(repo, &opts, None).await, invalid, words);
    }
    let invalid = ErrorKind::InvalidInput;
    let nothing = UpdatePullRequest::default();
    is(
        scm.pull_requests().update_pull_request(repo, world.pull.id, &nothing).await,
        invalid,
        "must change something",
    );
    let comma = UpdatePullRequest::default().with_add_labels(vec!["a,b".to_owned()]);
    is(scm.pull_requests().update_pull_request(repo, world.pull.id, &comma).await, invalid, "has a comma");
    let untitled = NewPullRequest::new("topic".parse().unwrap(), "main".parse().unwrap(), " ");
    is(scm.pull_requests().create_pull_request(repo, &untitled).await, invalid, "needs a title");
    let opts = ListBranches::default().with_search("^main".to_owned());
    is(scm.branches().list_branches_page(repo, &opts, None).await, invalid, "plain text");
    let both = ListPipelines::default().with_pull_request(world.pull.id).with_branch("main".parse().unwrap());
    is(scm.checks().list_pipelines_page(repo, &both, None).await, invalid, "cannot be narrowed");
    let keyless = NewStatus::new(" ", scm_core::CheckState::Success);
    let head = world.pull.head.clone().unwrap();
    is(scm.checks().publish_status(repo, &head, &keyless).await, invalid, "needs a key");
    assert_eq!(world.sim.requests().len(), sent, "something was sent");
}
