//! What cannot be: the right kind of error, in words that tell, and nothing changed.

use scm_core::{
    Align, AlignStrategy, CommentPosition, CommitBase, DiffSide, ErrorKind, FileChange, FilePath, LineRange,
    ListBranches, ListComments, ListCommits, ListNamespaces, ListPullRequests, ListRepositories, ListTags,
    ListTree, MergePullRequest, NewComment, NewCommit, NewPullRequest, NewStatus, PullRequest, RepoId,
    Revision, Scm as _, Sha, UpdatePullRequest,
};
use scm_testkit::sim::bitbucket_dc::{RepositorySpec, Role, TokenKind, TokenSpec};

use crate::world::{BOT, REPO, World, is, main};

use ErrorKind::{Conflict, InvalidInput, NotFound, PermissionDenied, PreconditionFailed, Unsupported};

/// A pull request that changes the second of three lines, and is in conflict with `main`.
async fn world() -> (World, PullRequest) {
    let world = World::new().await;
    world.write("topic", "a.txt", "1\ntwo\n3\n");
    world.write("main", "a.txt", "1\nzwei\n3\n");
    let new = NewPullRequest::new("topic".parse().unwrap(), main(), "Change");
    let pull = world.scm.pull_requests().create_pull_request(&world.repo, &new).await.unwrap().value;
    (world, pull)
}

/// All that the calls of this file could change.
async fn state(world: &World, pull: &PullRequest) -> impl PartialEq + std::fmt::Debug + use<> {
    let opts = ListComments::default();
    let comments = world.scm.comments().list_comments_page(&world.repo, pull.id, &opts, None).await.unwrap();
    let branches = world.scm.branches();
    let branches = branches.list_branches_page(&world.repo, &ListBranches::default(), None).await.unwrap();
    let branches: Vec<_> =
        branches.into_items().unwrap().into_iter().map(|branch| (branch.name, branch.head)).collect();
    (world.look(pull).await, comments.items.len(), branches)
}

fn path(text: &str) -> FilePath {
    text.parse().unwrap()
}

fn sha(c: char) -> Sha {
    Sha::new(c.to_string().repeat(40)).unwrap()
}

fn fine() -> FileChange {
    FileChange::create(path("fine.txt"), "1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_cannot_be_is_refused_whole() {
    let (world, pull) = world().await;
    let before = state(&world, &pull).await;
    let commit = |changes: Vec<FileChange>| NewCommit::on_branch(main(), "Change").with_changes(changes);
    let head = pull.head.clone().unwrap();
    #[rustfmt::skip]
    let table = [
        (commit(vec![]), InvalidInput, "needs at least one change"),
        (commit(vec![fine(), FileChange::update(path("fine.txt"), "2")]), InvalidInput, "two changes of one commit touch 'fine.txt'"),
        (commit(vec![fine(), FileChange::rename(path("a.txt"), path("dir/b.txt"))]), InvalidInput, "A file with this name already exists: dir/b.txt"),
        (commit(vec![fine(), FileChange::create(path("a.txt"), "1")]), InvalidInput, "A file with this name already exists: a.txt"),
        (commit(vec![fine(), FileChange::delete(path("gone.txt"))]), InvalidInput, "A file with this name doesn't exist: gone.txt"),
        (commit(vec![fine(), FileChange::update(path("gone.txt"), "1")]), InvalidInput, "A file with this name doesn't exist: gone.txt"),
        (commit(vec![fine(), FileChange::rename(path("gone.txt"), path("new.txt"))]), InvalidInput, "A file with this name doesn't exist: gone.txt"),
        (commit(vec![fine(), FileChange::create(path("dir"), "1")]), InvalidInput, "A directory with this name already exists: dir"),
        (commit(vec![fine(), FileChange::update(path("dir"), "1")]), InvalidInput, "'dir' is a directory"),
        (commit(vec![fine(), FileChange::create(path("a.txt/b"), "1")]), InvalidInput, "'a.txt' is a file"),
        (commit(vec![FileChange::update(path("dir/b.txt"), "b\n")]), InvalidInput, "changes nothing"),
        (commit(vec![fine(), FileChange::update(path("a.txt"), "1").with_last_commit(sha('e')).unwrap()]), PreconditionFailed, "'a.txt' has changed since"),
        (NewCommit::on_branch("gone".parse().unwrap(), "Change").with_change(fine()), Conflict, "no branch 'gone'"),
        (NewCommit::on_new_branch("topic".parse().unwrap(), head.clone(), "Change").with_change(fine()), Conflict, "'topic'"),
        (NewCommit::on_new_branch("new".parse().unwrap(), sha('e'), "Change").with_change(fine()), NotFound, "there is no commit eeeeeeee"),
        (commit(vec![fine()]).with_expected_head(head), Conflict, "'main'"),
        (commit(vec![fine()]).with_expected_head(sha('e')), Conflict, "eeeeeeee"),
        (NewCommit::initial(main(), "First").with_change(fine()), Conflict, "'main'"),
    ];
    for (new, kind, words) in table {
        let shown = format!("{new:?}");
        let error = world.scm.commits().create_commit(&world.repo, &new).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}: {shown}");
        assert!(error.message().contains(words), "{error} does not say {words:?}: {shown}");
    }
    assert_eq!(state(&world, &pull).await, before);
    assert_eq!((world.tip("gone"), world.tip("new")), (None, None));
    for name in ["dir/.git/config", ".GIT/hooks", "a/../b", "/a", "a//b", "a\0b"] {
        assert_eq!(name.parse::<FilePath>().unwrap_err().kind(), InvalidInput, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_is_not_there_is_named() {
    let world = World::new().await;
    let commit = NewCommit::on_branch(main(), "Change").with_change(fine());
    for (name, words) in [
        ("NONE/repo", "Project NONE does not exist."),
        // Keys are compared as they are: whatever a server makes of another case, its words are passed on.
        ("Proj/repo", "Project Proj does not exist."),
        ("PROJ/none", "Repository PROJ/none does not exist."),
        ("PROJ/re.po", "Repository PROJ/re.po does not exist."),
        ("~nobody/repo", "Project ~nobody does not exist."),
    ] {
        let repo: RepoId = name.parse().unwrap();
        let scm = &world.scm;
        is(scm.repositories().repository(&repo).await, NotFound, words);
        is(scm.branches().branch(&repo, &main()).await, NotFound, words);
        is(scm.branches().default_branch(&repo).await, NotFound, words);
        is(scm.contents().file(&repo, &Revision::Head, &path("a.txt")).await, NotFound, words);
        let tree = scm.contents().list_tree_page(&repo, &Revision::Head, &ListTree::default(), None).await;
        is(tree, NotFound, words);
        let log = scm.commits().list_commits_page(&repo, &ListCommits::default(), None).await;
        is(log, NotFound, words);
        let new = NewPullRequest::new("topic".parse().unwrap(), main(), "Change");
        is(scm.pull_requests().create_pull_request(&repo, &new).await, NotFound, words);
        is(scm.git().git_remote(&repo).await, NotFound, words);
    }
    // Git is asked first, which is in lower case.
    for name in ["NONE/repo", "PROJ/none", "PROJ/re.po"] {
        let error = world.scm.commits().create_commit(&name.parse().unwrap(), &commit).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (NotFound, Some("create_commit")), "{error}");
    }
    let opts = ListRepositories::default().with_namespace("NONE".parse().unwrap());
    let listed = world.scm.repositories().list_repositories_page(&opts, None).await;
    is(listed, NotFound, "Project NONE does not exist.");
}

#[tokio::test]
async fn a_name_that_is_no_place_is_refused_before_anything_is_sent() {
    let world = World::new().await;
    for name in ["repo", "PROJ/sub/repo", "17"] {
        let repo: RepoId = name.parse().unwrap();
        let words = format!("'{name}' is no repository of Bitbucket: give project key and slug");
        let error = world.scm.repositories().repository(&repo).await.unwrap_err();
        assert_eq!((error.kind(), error.message().contains(&words)), (InvalidInput, true), "{error}");
        let commit = NewCommit::on_branch(main(), "Change").with_change(fine());
        let error = world.scm.commits().create_commit(&repo, &commit).await.unwrap_err();
        assert_eq!((error.kind(), error.message().contains(&words)), (InvalidInput, true), "{error}");
    }
    for name in ["", "PROJ/", "/repo", "PROJ/..", "../PROJ"] {
        assert!(name.parse::<RepoId>().is_err(), "{name}");
    }
    assert_eq!(world.sim.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slugs_with_dots_and_personal_projects_are_places_like_others() {
    let world = World::new().await;
    for name in ["PROJ/re.po.v2", "~j.smith/dot.files"] {
        world.sim.create_repository(name, &RepositorySpec::new().file("a.txt", "1\n")).unwrap();
        let spec = TokenSpec::new(TokenKind::User, BOT).on(name).role(Role::Write);
        let (scm, repo) = (world.with_token(&spec), name.parse::<RepoId>().unwrap());
        assert_eq!(scm.repositories().repository(&repo).await.unwrap().id, repo);
        let commit =
            NewCommit::on_branch(main(), "Change").with_change(FileChange::update(path("a.txt"), "2\n"));
        let made = scm.commits().create_commit(&repo, &commit).await.unwrap();
        assert_eq!(world.sim.revision(name, "main").unwrap().as_deref(), Some(made.value.sha.as_str()));
        let at = Revision::Commit(made.value.sha);
        assert_eq!(scm.contents().file(&repo, &at, &path("a.txt")).await.unwrap().content, "2\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_repository_is_empty_and_takes_a_first_commit_only() {
    let world = World::new().await;
    let name = "PROJ/empty";
    world.sim.create_repository(name, &RepositorySpec::new().empty()).unwrap();
    let scm = world.with_token(&TokenSpec::new(TokenKind::User, BOT).on(name).role(Role::Write));
    let repo: RepoId = name.parse().unwrap();
    assert_eq!(scm.repositories().repository(&repo).await.unwrap().default_branch, None);
    assert_eq!(scm.branches().default_branch(&repo).await.unwrap(), None);
    let tree =
        scm.contents().list_tree_page(&repo, &Revision::Head, &ListTree::default(), None).await.unwrap();
    assert!(tree.items.is_empty() && tree.next.is_none());
    let log = scm.commits().list_commits_page(&repo, &ListCommits::default(), None).await.unwrap();
    assert!(log.items.is_empty() && log.next.is_none());
    let file = scm.contents().file(&repo, &Revision::Head, &path("a.txt")).await;
    is(file, NotFound, "no default branch");
    let topic = "topic".parse().unwrap();
    is(scm.branches().create_branch(&repo, &topic, &Revision::Head).await, NotFound, "is empty");
    let on_main = NewCommit::on_branch(main(), "Change").with_change(fine());
    is(scm.commits().create_commit(&repo, &on_main).await, Conflict, "no branch 'main'");
    let new = NewPullRequest::new(topic, main(), "Change");
    is(scm.pull_requests().create_pull_request(&repo, &new).await, NotFound, "does not exist");
    let first = NewCommit::initial(main(), "First").with_change(fine());
    assert!(matches!(first.base, CommitBase::Empty));
    let made = scm.commits().create_commit(&repo, &first).await.unwrap().value;
    assert_eq!(scm.branches().branch(&repo, &main()).await.unwrap().head, made.sha);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archived_repository_is_read_and_not_written() {
    let (world, pull) = world().await;
    let before = state(&world, &pull).await;
    world.sim.set_archived(REPO, true).unwrap();
    let (scm, repo, archived) = (&world.scm, &world.repo, "archived");
    assert_eq!(scm.repositories().repository(repo).await.unwrap().archived, Some(true));
    let commit = NewCommit::on_branch(main(), "Change").with_change(fine());
    is(scm.commits().create_commit(repo, &commit).await, PermissionDenied, archived);
    let (topic, new) = ("topic".parse().unwrap(), "new".parse().unwrap());
    is(scm.branches().create_branch(repo, &new, &Revision::Head).await, PermissionDenied, archived);
    is(scm.branches().delete_branch(repo, &topic, &Default::default()).await, PermissionDenied, archived);
    let other = NewPullRequest::new(topic, "other".parse().unwrap(), "Change");
    is(scm.pull_requests().create_pull_request(repo, &other).await, PermissionDenied, archived);
    let merge = MergePullRequest::default();
    is(scm.pull_requests().merge_pull_request(repo, pull.id, &merge).await, PermissionDenied, archived);
    let update = UpdatePullRequest::default().with_title("Other".to_owned());
    is(scm.pull_requests().update_pull_request(repo, pull.id, &update).await, PermissionDenied, archived);
    let comment = NewComment::new("text");
    is(scm.comments().create_comment(repo, pull.id, &comment).await, PermissionDenied, archived);
    assert_eq!(state(&world, &pull).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_of_another_kind_is_told_as_such() {
    let world = World::new().await;
    let (contents, repo) = (world.scm.contents(), &world.repo);
    let at = Revision::Branch(main());
    is(contents.file(repo, &at, &path("dir")).await, NotFound, "'dir' is a directory");
    is(contents.raw_file(repo, &at, &path("dir")).await, NotFound, "'dir' is a directory");
    is(contents.file(repo, &at, &path("none/a.txt")).await, NotFound, "none/a.txt");
    for recursive in [false, true] {
        let opts = |name| ListTree::default().with_path(path(name)).with_recursive(recursive);
        let listed = contents.list_tree_page(repo, &at, &opts("a.txt"), None).await;
        is(listed, NotFound, "'a.txt' is no directory");
        is(contents.list_tree_page(repo, &at, &opts("none"), None).await, NotFound, "none");
    }
    for (name, there) in [("a.txt", true), ("dir", false), ("none", false), ("dir/none", false)] {
        assert_eq!(contents.file_exists(repo, &at, &path(name)).await.unwrap(), there, "{name}");
    }
    let gone = Revision::Branch("gone".parse().unwrap());
    is(contents.file(repo, &gone, &path("a.txt")).await, NotFound, "gone");
    is(contents.list_tree_page(repo, &gone, &ListTree::default(), None).await, NotFound, "gone");
    is(world.scm.commits().commit(repo, &Revision::Commit(sha('e'))).await, NotFound, "eeeeeeee");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comment_without_a_place_is_not_written_elsewhere() {
    let (world, pull) = world().await;
    let before = state(&world, &pull).await;
    let comments = world.scm.comments();
    let on = |file: &str, side, line| CommentPosition::Lines {
        path: path(file),
        old_path: None,
        lines: LineRange::line(side, line).unwrap(),
    };
    for position in [
        on("a.txt", DiffSide::New, 999),
        on("dir/b.txt", DiffSide::New, 1),
        on("nowhere.txt", DiffSide::Old, 1),
        CommentPosition::File { path: path("nowhere.txt") },
    ] {
        let shown = format!("{position:?}");
        let new = NewComment::new("text").with_position(position);
        let error = comments.create_comment(&world.repo, pull.id, &new).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.operation()),
            (InvalidInput, Some("create_comment")),
            "{shown}: {error}"
        );
    }
    let empty = NewComment::new(" \n");
    is(comments.create_comment(&world.repo, pull.id, &empty).await, InvalidInput, "a comment needs a text");
    let none = "999".parse().unwrap();
    is(comments.create_comment(&world.repo, none, &NewComment::new("text")).await, NotFound, "999");
    for id in ["999", "main", "..%2f"] {
        let words = if id == "999" { "Comment 999 does not exist" } else { "they have numbers" };
        let comment = id.parse().unwrap();
        is(comments.edit_comment(&world.repo, pull.id, &comment, "text").await, NotFound, words);
        is(comments.delete_comment(&world.repo, pull.id, &comment).await, NotFound, words);
        is(comments.reply(&world.repo, pull.id, &id.parse().unwrap(), "text").await, NotFound, words);
    }
    assert_eq!(state(&world, &pull).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_or_rebase_that_cannot_be_leaves_both_branches() {
    let (world, pull) = world().await;
    let before = state(&world, &pull).await;
    let pulls = world.scm.pull_requests();
    let merge = async |opts: MergePullRequest| pulls.merge_pull_request(&world.repo, pull.id, &opts).await;
    let head = pull.head.clone().unwrap();
    let stale = MergePullRequest::default().with_expected_head(world.tip("main").unwrap().parse().unwrap());
    is(merge(stale).await, PreconditionFailed, &format!("the source branch is at {head}, not at"));
    is(merge(MergePullRequest::default()).await, Conflict, "has conflicts and cannot be merged");
    let align = async |opts: Align| pulls.align_pull_request(&world.repo, pull.id, &opts).await;
    let by_merge = Align::default().with_strategy(AlignStrategy::Merge);
    is(align(by_merge).await, Unsupported, "merge the target in a clone and push");
    is(align(Align::default()).await, Conflict, "has conflicts and cannot be rebased");
    assert_eq!(state(&world, &pull).await, before);
    for target in ["gone", "topic"] {
        let new = NewPullRequest::new("topic".parse().unwrap(), target.parse().unwrap(), "Change");
        let error = pulls.create_pull_request(&world.repo, &new).await.unwrap_err();
        let kind = if target == "gone" { NotFound } else { InvalidInput };
        assert_eq!((error.kind(), error.message().contains(target)), (kind, true), "{error}");
    }
    let unknown = NewPullRequest::new("topic".parse().unwrap(), "other".parse().unwrap(), "Change");
    let unknown = unknown.with_reviewers(["nobody".parse().unwrap()]);
    is(pulls.create_pull_request(&world.repo, &unknown).await, InvalidInput, "nobody: nobody is not a user.");
}

#[tokio::test]
async fn options_out_of_range_are_refused_before_anything_is_sent() {
    let (world, pull) = world().await;
    let (repo, scm) = (&world.repo, &world.scm);
    let sent = world.sim.requests().len();
    let words = "Bitbucket takes 1 to 100";
    for size in [0, 101, u16::MAX] {
        let opts = ListRepositories::default().with_page_size(size);
        is(scm.repositories().list_repositories_page(&opts, None).await, InvalidInput, words);
        let opts = ListNamespaces::default().with_page_size(size);
        is(scm.repositories().list_namespaces_page(&opts, None).await, InvalidInput, words);
        let opts = ListBranches::default().with_page_size(size);
        is(scm.branches().list_branches_page(repo, &opts, None).await, InvalidInput, words);
        let opts = ListTags::default().with_page_size(size);
        is(scm.branches().list_tags_page(repo, &opts, None).await, InvalidInput, words);
        let opts = ListTree::default().with_page_size(size);
        is(scm.contents().list_tree_page(repo, &Revision::Head, &opts, None).await, InvalidInput, words);
        let opts = ListCommits::default().with_page_size(size);
        is(scm.commits().list_commits_page(repo, &opts, None).await, InvalidInput, words);
        let opts = ListPullRequests::default().with_page_size(size);
        is(scm.pull_requests().list_pull_requests_page(repo, &opts, None).await, InvalidInput, words);
        let opts = ListComments::default().with_page_size(size);
        is(scm.comments().list_comments_page(repo, pull.id, &opts, None).await, InvalidInput, words);
    }
    let pulls = scm.pull_requests();
    let update = async |changes| pulls.update_pull_request(repo, pull.id, &changes).await;
    is(update(UpdatePullRequest::default()).await, InvalidInput, "must change something");
    is(update(UpdatePullRequest::default().with_title(" ".to_owned())).await, InvalidInput, "needs a title");
    let labels = vec!["a".to_owned()];
    is(update(UpdatePullRequest::default().with_add_labels(labels.clone())).await, Unsupported, "no labels");
    let assignees = vec![BOT.parse().unwrap()];
    let assigned = UpdatePullRequest::default().with_assignees(assignees);
    is(update(assigned).await, Unsupported, "reviewers, and no assignees");
    let new = |title| NewPullRequest::new("topic".parse().unwrap(), main(), title);
    is(pulls.create_pull_request(repo, &new(" ")).await, InvalidInput, "needs a title");
    is(pulls.create_pull_request(repo, &new("a").with_labels(labels)).await, Unsupported, "no labels");
    let deleting = new("a").deleting_source_branch();
    is(pulls.create_pull_request(repo, &deleting).await, Unsupported, "give it to merge_pull_request");
    let head = pull.head.clone().unwrap();
    let publish = async |status| scm.checks().publish_status(repo, &head, &status).await;
    let status = |key: &str| NewStatus::new(key, scm_core::CheckState::Success);
    is(publish(status(" ")).await, InvalidInput, "needs a key");
    is(publish(status("ci")).await, InvalidInput, "needs the URL of its page");
    assert_eq!(world.sim.requests().len(), sent, "something was sent");
}
