//! Cases for [`scm_core::Commits`]: making commits.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use scm_core::{
    BranchName, Change, Commit, CommitGuard, CommitSigner, ContentsExt as _, EntryKind, ErrorKind,
    FileChange, FileMode, FilePath, ListTree, NewCommit, OperationId, Person, RepoId, Revision, Role, Sha,
};

use super::case::{Ctx, Result, Stop};
use super::fixture::{Repo, RepoSpec};
use super::support::{
    cases, ensure, ensure_eq, everything, missing_sha, refused_without_effect, snapshot, topic,
};

cases! {
    "commit_creation";
    create_on_a_new_branch_stands_on_its_start [Commits::create_commit];
    create_on_a_branch_that_exists_goes_on_top [Commits::create_commit];
    create_makes_the_first_commit [Commits::create_commit];
    create_does_every_kind_of_change_at_once [Commits::create_commit];
    create_keeps_every_byte [Commits::create_commit];
    create_takes_any_file_name [Commits::create_commit];
    create_takes_many_files [Commits::create_commit];
    create_keeps_message_and_author [Commits::create_commit];
    create_does_all_or_nothing [Commits::create_commit];
    create_refuses_a_file_that_is_there [Commits::create_commit];
    create_refuses_a_file_that_is_missing [Commits::create_commit];
    create_refuses_what_contradicts_itself [Commits::create_commit];
    create_refuses_a_new_branch_that_is_there [Commits::create_commit];
    create_refuses_a_branch_or_start_that_is_missing [Commits::create_commit];
    create_holds_the_last_commit_of_a_file [Commits::create_commit];
    create_holds_the_expected_head_or_says_no [Commits::create_commit];
    create_with_an_operation_id_is_found_again [Commits::create_commit];
    create_on_a_protected_branch_is_denied [Commits::create_commit];
    create_by_a_reader_is_denied [Commits::create_commit];
    create_in_an_archived_repository_is_denied [Commits::create_commit];
    create_with_a_signature [Commits::create_commit] needs commit_with_signature, else a_signature_is_refused;
    create_from_a_fork_starts_in_its_parent [Commits::create_commit]
        needs commit_with_start_repository, else a_start_repository_is_refused;
}

pub(super) fn path(text: &str) -> Result<FilePath> {
    Ok(FilePath::new(text)?)
}

/// Path, content and mode of every file at a revision.
async fn files(ctx: &Ctx, repo: &Repo, at: &Revision) -> Result<Vec<(String, Bytes)>> {
    let tree =
        everything(ctx.scm.contents().list_tree(&repo.id, at, ListTree::default().with_recursive(true)))
            .await?;
    let mut files = Vec::new();
    for entry in tree.into_iter().filter(|entry| entry.kind == EntryKind::File) {
        let content = ctx.scm.contents().file(&repo.id, at, &entry.path).await?.content;
        files.push((entry.path.to_string(), content));
    }
    files.sort();
    Ok(files)
}

fn listed(files: &[(&str, &str)]) -> Vec<(String, Bytes)> {
    let mut files: Vec<_> = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), Bytes::copy_from_slice(text.as_bytes())))
        .collect();
    files.sort();
    files
}

/// Nothing may come of it: neither an error of another kind nor a change.
async fn nothing_comes_of(ctx: &Ctx, repo: &Repo, commit: NewCommit, kinds: &[ErrorKind]) -> Result<()> {
    let before = snapshot(ctx.scm.as_ref(), repo).await?;
    ctx.refused(ctx.scm.commits().create_commit(&repo.id, &commit).await, kinds)?;
    ensure_eq!(snapshot(ctx.scm.as_ref(), repo).await?, before, "the repository after a refused commit");
    Ok(())
}

pub(super) async fn create(ctx: &Ctx, repo: &Repo, commit: &NewCommit) -> Result<Commit> {
    let made = ctx.scm.commits().create_commit(&repo.id, commit).await?;
    ensure_eq!(made.change, Change::Created, "a new commit");
    let tip = ctx.scm.branches().branch(&repo.id, &commit.branch).await?.head;
    ensure_eq!(tip, made.value.sha, "the tip of {} after the commit", commit.branch);
    Ok(made.value)
}

/// The parent is exactly the start, also where the default branch has gone on.
pub async fn create_on_a_new_branch_stands_on_its_start(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let start = repo.head()?;
    let moved = ctx.fixture.push_as_other(&repo, &repo.default_branch, &[("moved", b"1")]).await?;
    let new = NewCommit::on_new_branch("fix/lodash#1+2".parse()?, start.clone(), "Update lodash")
        .with_change(FileChange::create(path("package.json")?, "{}\n"));
    let made = create(ctx, &repo, &new).await?;
    ensure_eq!(made.parents, [start], "parents");
    let wanted = listed(&[("README.md", "# Read me\n"), ("package.json", "{}\n")]);
    ensure_eq!(files(ctx, &repo, &made.sha.into()).await?, wanted, "files");
    let main = ctx.scm.branches().branch(&repo.id, &repo.default_branch).await?;
    ensure_eq!(main.head, moved, "the default branch");
    Ok(())
}

/// The parent is the tip.
pub async fn create_on_a_branch_that_exists_goes_on_top(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (branch, tip) = topic(ctx, &repo, "topic/slash").await?;
    let new = NewCommit::on_branch(branch, "Go on")
        .with_change(FileChange::update(path("topic-slash.txt")?, "more"));
    let made = create(ctx, &repo, &new).await?;
    ensure_eq!(made.parents, [tip], "parents");
    let file = ctx.scm.contents().file(&repo.id, &made.sha.into(), &path("topic-slash.txt")?).await?;
    ensure_eq!(file.content, &b"more"[..], "the file");
    Ok(())
}

/// In an empty repository, without a parent.
pub async fn create_makes_the_first_commit(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().empty().with_role(Role::Maintain)).await?;
    let new = NewCommit::initial(repo.default_branch.clone(), "First")
        .with_change(FileChange::create(path("dir/README.md")?, "hello"));
    let made = create(ctx, &repo, &new).await?;
    ensure_eq!(made.parents, [], "parents");
    ensure_eq!(files(ctx, &repo, &Revision::Head).await?, listed(&[("dir/README.md", "hello")]), "files");
    let Some(default) = ctx.scm.branches().default_branch(&repo.id).await? else {
        return Err(Stop::failed("there is still no default branch"));
    };
    ensure_eq!(default.head, made.sha, "the default branch");
    // The second time the branch is there.
    let again = NewCommit::initial(repo.default_branch.clone(), "First again")
        .with_change(FileChange::create(path("other")?, "1"));
    nothing_comes_of(ctx, &repo, again, &[ErrorKind::Conflict]).await
}

/// Create, update, delete, rename with and without new bytes, mode, in one commit.
pub async fn create_does_every_kind_of_change_at_once(ctx: &Ctx) -> Result<()> {
    let spec = RepoSpec::new()
        .with_file("update.txt", "old")
        .with_file("dir/delete.txt", "old")
        .with_file("rename.txt", "kept")
        .with_file("replace.txt", "old")
        .with_file("run.sh", "#!/bin/sh\n");
    let repo = ctx.repository_with(spec).await?;
    let start = repo.head()?;
    let mut replace = FileChange::rename(path("replace.txt")?, path("replaced.txt")?);
    if let FileChange::Rename { content, .. } = &mut replace {
        *content = Some(Bytes::from_static(b"new bytes"));
    }
    let new = NewCommit::on_new_branch("everything".parse()?, start.clone(), "Everything at once")
        .with_changes([
            FileChange::create(path("deep/er/new.txt")?, "new"),
            FileChange::create_executable(path("new.sh")?, "#!/bin/sh\n"),
            FileChange::update(path("update.txt")?, "new"),
            FileChange::delete(path("dir/delete.txt")?),
            FileChange::rename(path("rename.txt")?, path("other/renamed.txt")?),
            replace,
            FileChange::chmod(path("run.sh")?, true),
        ]);
    let made = create(ctx, &repo, &new).await?;
    ensure_eq!(made.parents, [start], "one commit, so one parent");
    let at = Revision::Commit(made.sha);
    let wanted = listed(&[
        ("README.md", "# Read me\n"),
        ("deep/er/new.txt", "new"),
        ("new.sh", "#!/bin/sh\n"),
        ("other/renamed.txt", "kept"),
        ("replaced.txt", "new bytes"),
        ("run.sh", "#!/bin/sh\n"),
        ("update.txt", "new"),
    ]);
    ensure_eq!(files(ctx, &repo, &at).await?, wanted, "files");
    let tree =
        everything(ctx.scm.contents().list_tree(&repo.id, &at, ListTree::default().with_recursive(true)))
            .await?;
    for entry in tree.iter().filter(|entry| entry.kind == EntryKind::File) {
        let executable = matches!(entry.path.as_str(), "run.sh" | "new.sh");
        let wanted = if executable { FileMode::Executable } else { FileMode::Regular };
        ensure!(entry.mode.is_none_or(|mode| mode == wanted), "{entry:?}, not {wanted:?}");
    }
    let back = NewCommit::on_branch("everything".parse()?, "Not executable")
        .with_change(FileChange::chmod(path("run.sh")?, false))
        .with_change(FileChange::update(path("new.sh")?, "#!/bin/sh\ntrue\n"));
    let at = create(ctx, &repo, &back).await?.sha.into();
    for (name, wanted) in [("run.sh", FileMode::Regular), ("new.sh", FileMode::Executable)] {
        let mode = ctx.scm.contents().file(&repo.id, &at, &path(name)?).await?.mode;
        ensure!(mode.is_none_or(|mode| mode == wanted), "{name}: {mode:?}, not {wanted:?}");
    }
    Ok(())
}

/// Binary, line ends, no newline at the end, empty: as a new file and as a new version of one.
pub async fn create_keeps_every_byte(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let all: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let contents: [(&str, &[u8]); 7] = [
        ("all-bytes", &all),
        ("crlf", b"one\r\ntwo\r\n"),
        ("empty", b""),
        ("no-newline", b"no newline"),
        ("nul", b"a\0b"),
        ("space", b"  \n\t\n"),
        ("utf8", "ünïcödé 日本語 🦀\u{2028}\n".as_bytes()),
    ];
    let mut new = NewCommit::on_new_branch("bytes".parse()?, repo.head()?, "Every byte");
    for (name, bytes) in contents {
        new = new.with_change(FileChange::create(path(name)?, bytes.to_vec()));
    }
    let first = create(ctx, &repo, &new).await?.sha;
    let mut turned = NewCommit::on_branch("bytes".parse()?, "The other way round");
    for ((name, _), (_, bytes)) in contents.iter().zip(contents.iter().rev()) {
        turned = turned.with_change(FileChange::update(path(name)?, bytes.to_vec()));
    }
    let second = create(ctx, &repo, &turned).await?.sha;
    let reversed: Vec<_> =
        contents.iter().zip(contents.iter().rev()).map(|((name, _), (_, b))| (*name, *b)).collect();
    for (sha, wanted) in [(first, contents.to_vec()), (second, reversed)] {
        for (name, bytes) in wanted {
            let raw = ctx.scm.contents().raw_file(&repo.id, &sha.clone().into(), &path(name)?).await?;
            ensure!(raw.collect(1 << 20).await? == bytes, "{name} at {sha} has other bytes");
        }
    }
    Ok(())
}

/// The names that reading takes, writing takes too.
pub async fn create_takes_any_file_name(ctx: &Ctx) -> Result<()> {
    const NAMES: [&str; 6] = [
        "a b/c d.txt",
        "plus+per%20cent#hash?x=1&y.txt",
        "ünï/日本語.txt",
        "q'uo\"te.txt",
        ".dot/.file",
        "a%2Fb",
    ];
    let repo = ctx.repository().await?;
    let mut new = NewCommit::on_new_branch("names".parse()?, repo.head()?, "Names");
    for name in NAMES {
        new = new.with_change(FileChange::create(path(name)?, name));
    }
    let at = Revision::Commit(create(ctx, &repo, &new).await?.sha);
    let mut wanted: Vec<_> = NAMES.iter().map(|name| (*name, *name)).collect();
    wanted.push(("README.md", "# Read me\n"));
    ensure_eq!(files(ctx, &repo, &at).await?, listed(&wanted), "files");
    let away = NewCommit::on_branch("names".parse()?, "Away").with_changes(
        NAMES.iter().map(|name| path(name).map(FileChange::delete)).collect::<Result<Vec<_>>>()?,
    );
    let at = Revision::Commit(create(ctx, &repo, &away).await?.sha);
    ensure_eq!(
        files(ctx, &repo, &at).await?,
        listed(&[("README.md", "# Read me\n")]),
        "files after deletion"
    );
    Ok(())
}

/// Hundreds of files in one commit.
pub async fn create_takes_many_files(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let mut new = NewCommit::on_new_branch("many".parse()?, repo.head()?, "Many");
    for n in 0..300 {
        new = new.with_change(FileChange::create(path(&format!("d{}/f{n}", n % 9))?, format!("{n}\n")));
    }
    let made = create(ctx, &repo, &new).await?;
    let at = Revision::Commit(made.sha);
    let opts = ListTree::default().with_recursive(true);
    let tree = everything(ctx.scm.contents().list_tree(&repo.id, &at, opts)).await?;
    ensure_eq!(tree.iter().filter(|entry| entry.kind == EntryKind::File).count(), 301, "files");
    ensure_eq!(made.parents, [repo.head()?], "one commit");
    Ok(())
}

/// Several paragraphs in any script; the author as given.
pub async fn create_keeps_message_and_author(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let message = "Schließe Lücke 🔒 \"quoted\" & <b>\n\nZweiter Absatz:\n\n- eins\n- zwei\n\nRefs: #1";
    let author = Person::new("Zoë Ünïcode", "zoe@example.com")?;
    let new = NewCommit::on_new_branch("words".parse()?, repo.head()?, message)
        .with_author(author.clone())
        .with_change(FileChange::create(path("a")?, "1"));
    let made = create(ctx, &repo, &new).await?;
    let read = ctx.scm.commits().commit(&repo.id, &made.sha.clone().into()).await?;
    for commit in [&made, &read] {
        ensure_eq!(commit.message.trim_end(), message, "message");
        ensure_eq!(commit.title, "Schließe Lücke 🔒 \"quoted\" & <b>", "title");
        ensure_eq!(commit.author.as_ref(), Some(&author), "author");
        ensure_eq!(commit.trailer("refs"), Some("#1"), "trailer");
    }
    Ok(())
}

/// One change that cannot be refuses all of them, in any place of the list.
pub async fn create_does_all_or_nothing(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let good = [FileChange::create(path("one")?, "1"), FileChange::update(path("README.md")?, "2")];
    let bad = FileChange::delete(path("not/there")?);
    for place in 0..=good.len() {
        let mut changes = good.to_vec();
        changes.insert(place, bad.clone());
        let existing = NewCommit::on_branch(repo.default_branch.clone(), "No").with_changes(changes.clone());
        nothing_comes_of(ctx, &repo, existing, &[ErrorKind::InvalidInput]).await?;
        let new = NewCommit::on_new_branch("no".parse()?, repo.head()?, "No").with_changes(changes);
        nothing_comes_of(ctx, &repo, new, &[ErrorKind::InvalidInput]).await?;
    }
    Ok(())
}

/// `InvalidInput` for a create on, or a rename to, a path that is taken.
pub async fn create_refuses_a_file_that_is_there(ctx: &Ctx) -> Result<()> {
    let repo =
        ctx.repository_with(RepoSpec::new().with_file("dir/file", "1").with_file("other", "2")).await?;
    for change in [
        FileChange::create(path("dir/file")?, "new"),
        FileChange::create(path("dir")?, "a file where a directory is"),
        FileChange::rename(path("other")?, path("dir/file")?),
    ] {
        let shown = format!("{change:?}");
        let new = NewCommit::on_branch(repo.default_branch.clone(), shown).with_change(change);
        nothing_comes_of(ctx, &repo, new, &[ErrorKind::InvalidInput]).await?;
    }
    Ok(())
}

/// `InvalidInput` for an update, delete, rename or mode of a file that is not there.
pub async fn create_refuses_a_file_that_is_missing(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let gone = path("not/there")?;
    for change in [
        FileChange::update(gone.clone(), "new"),
        FileChange::delete(gone.clone()),
        FileChange::rename(gone.clone(), path("to")?),
        FileChange::chmod(gone, true),
    ] {
        let shown = format!("{change:?}");
        let new = NewCommit::on_branch(repo.default_branch.clone(), shown).with_change(change);
        nothing_comes_of(ctx, &repo, new, &[ErrorKind::InvalidInput]).await?;
    }
    Ok(())
}

/// What the caller can see without a server: no message, no change, two changes on one path.
pub async fn create_refuses_what_contradicts_itself(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let on_main = |message: &str| NewCommit::on_branch(repo.default_branch.clone(), message);
    let change = FileChange::create(path("a")?, "1");
    for commit in [
        on_main(" \n").with_change(change.clone()),
        on_main("No change"),
        on_main("Twice").with_change(change.clone()).with_change(FileChange::delete(path("a")?)),
        on_main("File and directory").with_change(change).with_change(FileChange::create(path("a/b")?, "1")),
    ] {
        nothing_comes_of(ctx, &repo, commit, &[ErrorKind::InvalidInput]).await?;
    }
    Ok(())
}

/// `Conflict`, and the branch that is there is never overwritten.
pub async fn create_refuses_a_new_branch_that_is_there(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (branch, _) = topic(ctx, &repo, "there").await?;
    let new = NewCommit::on_new_branch(branch, repo.head()?, "Over it")
        .with_change(FileChange::create(path("a")?, "1"));
    nothing_comes_of(ctx, &repo, new, &[ErrorKind::Conflict]).await
}

/// `Conflict` for a branch that is missing; a start or a repository that is missing is told too.
pub async fn create_refuses_a_branch_or_start_that_is_missing(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let change = FileChange::create(path("a")?, "1");
    let missing = NewCommit::on_branch("not/there".parse()?, "No branch").with_change(change.clone());
    nothing_comes_of(ctx, &repo, missing, &[ErrorKind::Conflict]).await?;
    let nowhere =
        NewCommit::on_new_branch("new".parse()?, missing_sha()?, "No start").with_change(change.clone());
    nothing_comes_of(
        ctx,
        &repo,
        nowhere,
        &[ErrorKind::NotFound, ErrorKind::InvalidInput, ErrorKind::Conflict],
    )
    .await?;
    let gone = RepoId::new(format!("{}-is-not-there", repo.path))?;
    let new = NewCommit::on_branch(repo.default_branch.clone(), "No repository").with_change(change);
    ctx.refused(ctx.scm.commits().create_commit(&gone, &new).await, &[ErrorKind::NotFound])?;
    Ok(())
}

/// Update, delete and rename with the last commit that the caller has seen; a stale one writes nothing.
pub async fn create_holds_the_last_commit_of_a_file(ctx: &Ctx) -> Result<()> {
    let spec = RepoSpec::new().with_file("a", "1").with_file("b", "1").with_file("c", "1");
    let repo = ctx.repository_with(spec).await?;
    let stale = repo.head()?;
    let main = &repo.default_branch;
    let seen = ctx.fixture.push_as_other(&repo, main, &[("a", b"2"), ("b", b"2"), ("c", b"2")]).await?;
    // A change of another file does not matter to this guard.
    ctx.fixture.push_as_other(&repo, main, &[("other", b"1")]).await?;
    let changes = [
        FileChange::update(path("a")?, "3"),
        FileChange::delete(path("b")?),
        FileChange::rename(path("c")?, path("d")?),
    ];
    for change in &changes {
        let guarded = change.clone().with_last_commit(stale.clone())?;
        let new = NewCommit::on_branch(main.clone(), format!("Stale {change:?}")).with_change(guarded);
        nothing_comes_of(ctx, &repo, new, &[ErrorKind::PreconditionFailed]).await?;
    }
    let mut new = NewCommit::on_branch(main.clone(), "Guarded");
    for change in changes {
        new = new.with_change(change.with_last_commit(seen.clone())?);
    }
    let at = Revision::Commit(create(ctx, &repo, &new).await?.sha);
    let wanted = listed(&[("README.md", "# Read me\n"), ("a", "3"), ("d", "2"), ("other", "1")]);
    ensure_eq!(files(ctx, &repo, &at).await?, wanted, "files");
    Ok(())
}

/// Exactly, or `Unsupported`: never with a weaker guard.
pub async fn create_holds_the_expected_head_or_says_no(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (branch, stale) = topic(ctx, &repo, "guarded").await?;
    // Another file, so that a guard per file would not notice.
    let tip = ctx.fixture.push_as_other(&repo, &branch, &[("other", b"1")]).await?;
    let new = |head: &Sha| -> Result<NewCommit> {
        Ok(NewCommit::on_branch(branch.clone(), "Guarded")
            .with_expected_head(head.clone())
            .with_change(FileChange::update(path("README.md")?, "guarded")))
    };
    if ctx.capabilities.commit_guard != CommitGuard::Exact {
        for head in [&stale, &tip] {
            nothing_comes_of(ctx, &repo, new(head)?, &[ErrorKind::Unsupported]).await?;
        }
        return Ok(());
    }
    nothing_comes_of(ctx, &repo, new(&stale)?, &[ErrorKind::Conflict]).await?;
    let made = create(ctx, &repo, &new(&tip)?).await?;
    ensure_eq!(made.parents, [tip], "parents");
    let gone = NewCommit::on_branch("not/there".parse()?, "No branch")
        .with_expected_head(made.sha)
        .with_change(FileChange::update(path("README.md")?, "1"));
    nothing_comes_of(ctx, &repo, gone, &[ErrorKind::Conflict]).await
}

/// The trailer names the operation, on a new branch and on one that is there; the same one again is not done twice.
pub async fn create_with_an_operation_id_is_found_again(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let new = NewCommit::on_new_branch("operation".parse()?, repo.head()?, "With an id\n\nBody.")
        .with_operation_id(OperationId::new("job-1.fix_2")?)
        .with_change(FileChange::create(path("a")?, "1"));
    let made = create(ctx, &repo, &new).await?;
    let read = ctx.scm.commits().commit(&repo.id, &made.sha.into()).await?;
    ensure!(new.is_operation_of(&read), "the trailer is missing in {:?}", read.message);
    let again = ctx.scm.commits().create_commit(&repo.id, &new).await?;
    ensure_eq!((again.change, &again.value.sha), (Change::Unchanged, &read.sha), "the same operation again");
    let on_top = NewCommit::on_branch("operation".parse()?, "Another")
        .with_operation_id(OperationId::new("job-2")?)
        .with_change(FileChange::create(path("b")?, "1"));
    let second = create(ctx, &repo, &on_top).await?;
    ensure!(on_top.is_operation_of(&second) && !new.is_operation_of(&second), "{:?}", second.message);
    Ok(())
}

/// `PermissionDenied` where only maintainers may push.
pub async fn create_on_a_protected_branch_is_denied(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().protected()).await?;
    let new = NewCommit::on_branch(repo.default_branch.clone(), "Past the rules")
        .with_change(FileChange::create(path("a")?, "1"));
    nothing_comes_of(ctx, &repo, new, &[ErrorKind::PermissionDenied]).await
}

/// `PermissionDenied` for who may only read.
pub async fn create_by_a_reader_is_denied(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().with_role(Role::Read)).await?;
    let change = FileChange::create(path("a")?, "1");
    for new in [
        NewCommit::on_branch(repo.default_branch.clone(), "On the branch"),
        NewCommit::on_new_branch("mine".parse()?, repo.head()?, "On a new one"),
    ] {
        nothing_comes_of(ctx, &repo, new.with_change(change.clone()), &[ErrorKind::PermissionDenied]).await?;
    }
    Ok(())
}

/// Read-only for good.
pub async fn create_in_an_archived_repository_is_denied(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().archived()).await?;
    let new = NewCommit::on_new_branch("mine".parse()?, repo.head()?, "Too late")
        .with_change(FileChange::create(path("a")?, "1"));
    nothing_comes_of(ctx, &repo, new, &[ErrorKind::PermissionDenied, ErrorKind::Conflict]).await
}

/// Signs nothing, and says that it was asked.
#[derive(Debug)]
struct Signer;

#[async_trait]
impl CommitSigner for Signer {
    async fn sign(&self, commit: &[u8]) -> scm_core::Result<String> {
        if commit.starts_with(b"tree ") {
            Ok("-----BEGIN PGP SIGNATURE-----\n\nbm90IGEgc2lnbmF0dXJl\n-----END PGP SIGNATURE-----\n"
                .to_owned())
        } else {
            Err(scm_core::Error::invalid("this is not a commit object"))
        }
    }
}

fn signed(branch: &BranchName, start: Sha) -> Result<NewCommit> {
    Ok(NewCommit::on_new_branch(branch.clone(), start, "Signed")
        .with_signer(Arc::new(Signer))
        .with_change(FileChange::create(path("a")?, "1")))
}

/// The signer gets the commit's bytes, and the commit is there.
pub async fn create_with_a_signature(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    create(ctx, &repo, &signed(&"signed".parse()?, repo.head()?)?).await?;
    Ok(())
}

/// Never unsigned where a signature was asked for.
pub async fn a_signature_is_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    nothing_comes_of(ctx, &repo, signed(&"signed".parse()?, repo.head()?)?, &[ErrorKind::Unsupported]).await
}

/// A commit in a fork on a start that only its parent has.
pub async fn create_from_a_fork_starts_in_its_parent(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let fork = ctx.fixture.fork(&repo, &ctx.unique()).await?;
    let newer = ctx.fixture.push_as_other(&repo, &repo.default_branch, &[("newer", b"1")]).await?;
    let new = NewCommit::on_new_branch("from-parent".parse()?, newer.clone(), "From the parent")
        .with_start_repository(repo.id.clone())
        .with_change(FileChange::create(path("a")?, "1"));
    let made = create(ctx, &fork, &new).await?;
    ensure_eq!(made.parents, [newer], "parents");
    Ok(())
}

/// The other half of the case about starts in another repository.
pub async fn a_start_repository_is_refused(ctx: &Ctx) -> Result<()> {
    let (repo, other) = (ctx.repository().await?, ctx.repository().await?);
    let new = NewCommit::on_new_branch("from-other".parse()?, other.head()?, "From another")
        .with_start_repository(other.id.clone())
        .with_change(FileChange::create(path("a")?, "1"));
    refused_without_effect(ctx, &repo, ctx.scm.commits().create_commit(&repo.id, &new)).await
}
