//! Commits by git: exact, atomic, and refused in the server's words.

use std::sync::Arc;

use async_trait::async_trait;
use scm_core::{CommitSigner, Delivery, Error, ErrorKind, FileChange, NewCommit, Person, Result, Sha};
use scm_testkit::fault::Fault;
use scm_testkit::sim::GitFilters;
use scm_testkit::sim::gitlab::{ProjectSpec, Protection, Role};

use crate::world::{PROJECT, World, bot, branch, git};

const PUSH: &str = "/:project/git-receive-pack";

fn change(path: &str, content: &str) -> FileChange {
    FileChange::create(path.parse().unwrap(), content.to_owned())
}

fn is<T: std::fmt::Debug>(done: Result<T>, kind: ErrorKind, words: &str) -> Error {
    let error = done.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(words), "{error} does not say {words:?}");
    assert_eq!(error.provider(), Some("test"), "{error:?}");
    error
}

fn nothing() -> Sha {
    "e".repeat(40).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expected_head_is_held_exactly() {
    let world = World::new(ProjectSpec::new().file("a.txt", "1\n")).await;
    let seen = world.tip("main").unwrap();
    let first = NewCommit::on_branch(branch("main"), "First")
        .with_expected_head(seen.clone())
        .with_change(change("b.txt", "1"));
    let made = world.commit(&first).await.unwrap();
    assert_eq!((made.parents.clone(), world.tip("main")), (vec![seen.clone()], Some(made.sha.clone())));
    // Another file than the one that was changed in between: no guard of files would notice.
    let late = NewCommit::on_branch(branch("main"), "Late")
        .with_expected_head(seen.clone())
        .with_change(change("c.txt", "1"));
    let words = format!("the branch 'main' has moved from {seen} to {}", made.sha);
    is(world.commit(&late).await, ErrorKind::Conflict, &words);
    let never = NewCommit::on_branch(branch("main"), "Never")
        .with_expected_head(nothing())
        .with_change(change("c.txt", "1"));
    is(world.commit(&never).await, ErrorKind::Conflict, "there is no commit eeeeeeee");
    assert_eq!(world.tip("main"), Some(made.sha));
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_are_made_and_never_overwritten() {
    let world = World::new(ProjectSpec::new().file("a.txt", "1\n")).await;
    let start = world.tip("main").unwrap();
    let new = |name: &str, start: &Sha| {
        NewCommit::on_new_branch(branch(name), start.clone(), "New").with_change(change("b.txt", "1"))
    };
    let made = world.commit(&new("fix/one", &start)).await.unwrap();
    assert_eq!(world.tip("fix/one"), Some(made.sha.clone()));
    let words = format!("the branch 'fix/one' exists already, at {}", made.sha);
    let again = new("fix/one", &start).with_change(change("c.txt", "1"));
    is(world.commit(&again).await, ErrorKind::Conflict, &words);
    is(world.commit(&new("two", &nothing())).await, ErrorKind::NotFound, "there is no commit");
    let gone = NewCommit::on_branch(branch("gone"), "Onto nothing").with_change(change("b.txt", "1"));
    is(world.commit(&gone).await, ErrorKind::Conflict, "there is no branch 'gone'");
    assert_eq!((world.tip("two"), world.tip("gone")), (None, None));
    // By its name only: others begin alike.
    assert_eq!(world.git.tip(&branch("fix/on")).await.unwrap(), None);
    assert_eq!(world.git.tip(&branch("fix/one")).await.unwrap(), Some(made.sha));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_repository_gets_its_first_commit() {
    let world = World::new(ProjectSpec::new().empty()).await;
    let first = NewCommit::initial(branch("main"), "First").with_change(change("dir/a.txt", "1"));
    let made = world.commit(&first).await.unwrap();
    assert_eq!((made.parents.len(), world.tip("main")), (0, Some(made.sha)));
    assert_eq!(world.sim.file(PROJECT, "main", "dir/a.txt").unwrap().unwrap(), b"1");
}

#[derive(Debug)]
struct Signer;

#[async_trait]
impl CommitSigner for Signer {
    async fn sign(&self, commit: &[u8]) -> Result<String> {
        Ok(format!("-----BEGIN SIGNATURE-----\n\nover {} bytes\n-----END SIGNATURE-----\n", commit.len()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn author_message_and_signature_are_written_as_git_writes_them() {
    let world = World::new(ProjectSpec::new().file("a.txt", "1\n")).await;
    let new = NewCommit::on_branch(branch("main"), "Fix ä\n\nWith a body.")
        .with_author(Person::new("Ada Lovelace", "ada@example.com").unwrap())
        .with_operation_id("op-1".parse().unwrap())
        .with_signer(Arc::new(Signer))
        .with_change(change("b.txt", "1"));
    let made = world.commit(&new).await.unwrap();
    assert!(new.is_operation_of(&made), "{made:?}");
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "--quiet", "--bare"], b"");
    git(dir.path(), &["fetch", "--quiet", &world.url, "main"], b"");
    git(dir.path(), &["fsck", "--strict", "--no-dangling"], b"");
    let show =
        |format: &str| git(dir.path(), &["log", "-1", &format!("--format={format}"), "FETCH_HEAD"], b"");
    assert_eq!(show("%an <%ae> / %cn <%ce>"), "Ada Lovelace <ada@example.com> / A Bot <bot@example.com>");
    assert_eq!(show("%B"), "Fix ä\n\nWith a body.\n\nScm-Operation-Id: op-1");
    let raw = git(dir.path(), &["cat-file", "commit", "FETCH_HEAD"], b"");
    let signature = "gpgsig -----BEGIN SIGNATURE-----\n \n over ";
    let (before, after) = raw.split_once(signature).unwrap();
    let (length, rest) = after.split_once(" bytes\n -----END SIGNATURE-----\n").unwrap();
    // What was signed is the commit without its signature, and ends in a line break.
    assert_eq!(length.parse::<usize>().unwrap(), before.len() + rest.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_and_leaves_the_branch() {
    let spec = ProjectSpec::new().file("a.txt", "1\n").file("dir/b.txt", "2\n");
    let world = World::new(spec).await;
    let before = world.tip("main");
    let path = |text: &str| text.parse().unwrap();
    let rename = |from, to| FileChange::rename(path(from), path(to));
    for (changes, words) in [
        (vec![change("a.txt", "x")], "A file with this name already exists: a.txt"),
        (vec![change("dir", "x")], "A directory with this name already exists: dir"),
        (vec![change("a.txt/c", "x")], "'a.txt' is a file, so that there can be no 'a.txt/c'"),
        (vec![rename("a.txt", "dir/b.txt")], "A file with this name already exists: dir/b.txt"),
        (vec![rename("dir", "other")], "'dir' is a directory"),
        (vec![rename("gone", "other")], "A file with this name doesn't exist: gone"),
        (vec![FileChange::delete(path("dir"))], "'dir' is a directory"),
        (vec![FileChange::delete(path("dir/gone"))], "A file with this name doesn't exist: dir/gone"),
        (vec![FileChange::update(path("a.txt/x"), "1")], "A file with this name doesn't exist: a.txt/x"),
        (vec![FileChange::chmod(path("gone"), true)], "A file with this name doesn't exist: gone"),
        (vec![FileChange::update(path("a.txt"), "1\n")], "the commit changes nothing"),
        (vec![FileChange::chmod(path("a.txt"), false)], "the commit changes nothing"),
        (vec![], "at least one change"),
    ] {
        let new = NewCommit::on_branch(branch("main"), "Change").with_changes(changes);
        is(world.commit(&new).await, ErrorKind::InvalidInput, words);
    }
    let guarded = FileChange::update(path("a.txt"), "2").with_last_commit(nothing()).unwrap();
    let new = NewCommit::on_branch(branch("main"), "Change").with_change(guarded);
    is(world.commit(&new).await, ErrorKind::Unsupported, "expected head");
    assert_eq!(world.tip("main"), before);
    // A file in the place of a directory's parent is fine once the file goes.
    let new = NewCommit::on_branch(branch("main"), "Change")
        .with_change(FileChange::delete(path("a.txt")))
        .with_change(change("a.txt/c", "x"));
    world.commit(&new).await.unwrap();
    assert_eq!(world.sim.file(PROJECT, "main", "a.txt/c").unwrap().unwrap(), b"x");
}

/// How often the server's git was asked since the last time.
fn asked(world: &World) -> usize {
    let requests = world.sim.requests();
    world.sim.clear_requests();
    requests.iter().filter(|request| request.path.ends_with("git-upload-pack")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_filter_leads_to_the_same_and_what_is_refused_is_remembered() {
    for (filters, first, then) in [
        // Tip, commit with its root, two levels of directories.
        (GitFilters::All, 4, 4),
        // Once more for the refusal; afterwards all trees come at once.
        (GitFilters::NoTrees, 3, 2),
        (GitFilters::Off, 2, 2),
    ] {
        let spec = (0..40).fold(ProjectSpec::new(), |spec, n| spec.file(format!("d{n}/e/f.txt"), "1\n"));
        let world = World::new(spec).await;
        world.sim.set_git_filters(filters);
        asked(&world);
        for (n, expected) in [(7, first), (8, then)] {
            let new = NewCommit::on_branch(branch("main"), "Change")
                .with_change(FileChange::update(format!("d{n}/e/f.txt").parse().unwrap(), "2\n"));
            let made = world.commit(&new).await.unwrap();
            assert_eq!(world.tip("main"), Some(made.sha), "{filters:?}");
            assert_eq!(asked(&world), expected, "{filters:?}, commit {n}");
        }
        assert_eq!(world.sim.file(PROJECT, "main", "d8/e/f.txt").unwrap().unwrap(), b"2\n");
        assert_eq!(world.sim.file(PROJECT, "main", "d9/e/f.txt").unwrap().unwrap(), b"1\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_that_are_the_same_in_several_places_all_arrive() {
    // One tree is its own sibling's child, so that a server may send it once only, or not at all.
    let spec = ProjectSpec::new()
        .file("a/x.txt", "1\n")
        .file("b/a/x.txt", "1\n")
        .file("c/b/a/x.txt", "1\n")
        .file("d/x.txt", "1\n");
    let world = World::new(spec).await;
    let new = ["a/x.txt", "b/a/x.txt", "c/b/a/x.txt", "d/x.txt"]
        .into_iter()
        .fold(NewCommit::on_branch(branch("main"), "Change"), |new, path| {
            new.with_change(FileChange::update(path.parse().unwrap(), path.to_owned()))
        });
    world.commit(&new).await.unwrap();
    for path in ["a/x.txt", "b/a/x.txt", "c/b/a/x.txt", "d/x.txt"] {
        assert_eq!(world.sim.file(PROJECT, "main", path).unwrap().unwrap(), path.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_must_be_read_whole_is_read_up_to_the_limit() {
    let mut seed = 1_u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + (seed >> 33) as u8 % 90)
    };
    let noise: String = (0..60_000).map(|_| random()).collect();
    let world = World::new(ProjectSpec::new().file("large.txt", noise)).await;
    world.sim.set_git_filters(GitFilters::Off);
    let small = world.limited_to(2_000);
    let new = NewCommit::on_branch(branch("main"), "Change").with_change(change("b.txt", "1"));
    let error = is(small.create_commit(&new, &bot()).await, ErrorKind::Unsupported, "uploadpack.allowFilter");
    assert!(error.message().contains("2000 bytes"), "{error}");
    world.sim.set_git_filters(GitFilters::All);
    world.limited_to(2_000).create_commit(&new, &bot()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_branch_is_refused_in_the_hooks_words() {
    let spec = ProjectSpec::new().file("a.txt", "1\n");
    let world = World::with(spec, Protection::Full, Role::Developer).await;
    let before = world.tip("main");
    let new = NewCommit::on_branch(branch("main"), "Change").with_change(change("b.txt", "1"));
    let error = is(world.commit(&new).await, ErrorKind::PermissionDenied, "pre-receive hook declined");
    assert!(error.message().contains("protected branch"), "{error}");
    assert_eq!((error.delivery(), world.tip("main")), (Delivery::Answered, before.clone()));
    let expected = before.clone().unwrap();
    is(world.git.delete_branch(&branch("main"), &expected).await, ErrorKind::PermissionDenied, "declined");
    assert_eq!(world.tip("main"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_is_deleted_only_where_it_was_seen() {
    let world = World::new(ProjectSpec::new().file("a.txt", "1\n")).await;
    let start = world.tip("main").unwrap();
    let new = NewCommit::on_new_branch(branch("x"), start.clone(), "New").with_change(change("b.txt", "1"));
    let tip = world.commit(&new).await.unwrap().sha;
    is(world.git.delete_branch(&branch("x"), &start).await, ErrorKind::PreconditionFailed, "has moved");
    assert_eq!(world.tip("x"), Some(tip.clone()));
    world.git.delete_branch(&branch("x"), &tip).await.unwrap();
    assert_eq!(world.tip("x"), None);
    is(world.git.delete_branch(&branch("x"), &tip).await, ErrorKind::NotFound, "there is no branch 'x'");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_answer_is_lost_is_looked_up_and_done_once() {
    for (fault, pushes) in [
        // Done, and nobody was told.
        (Fault::on("POST", PUSH).times(1).reset_after(), 1),
        // Not done: sent again.
        (Fault::on("POST", PUSH).times(1).reset_before(), 2),
        (Fault::on("POST", PUSH).times(1).html(502, "<title>Bad Gateway</title>"), 2),
    ] {
        let world = World::new(ProjectSpec::new().file("a.txt", "1\n")).await;
        let seen = world.tip("main").unwrap();
        world.sim.faults().add(fault);
        world.sim.clear_requests();
        let new = NewCommit::on_branch(branch("main"), "Change")
            .with_expected_head(seen.clone())
            .with_change(change("b.txt", "1"));
        let made = world.commit(&new).await.unwrap();
        assert_eq!((world.tip("main"), made.parents), (Some(made.sha), vec![seen]));
        let sent = world.sim.requests();
        let sent = sent.iter().filter(|request| request.path.ends_with("git-receive-pack")).count();
        assert_eq!(sent, pushes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_expected_head_several_writers_all_land() {
    let world = World::new(ProjectSpec::new().file("a.txt", "1\n")).await;
    let commit = async |n: u32| {
        let new = NewCommit::on_branch(branch("main"), format!("Change {n}"))
            .with_change(change(&format!("{n}.txt"), "1"));
        world.commit(&new).await.map(|made| made.sha)
    };
    let (one, two, three) = tokio::join!(commit(1), commit(2), commit(3));
    for (n, done) in [(1, one), (2, two), (3, three)] {
        done.unwrap();
        assert!(world.sim.file(PROJECT, "main", &format!("{n}.txt")).unwrap().is_some());
    }
}
