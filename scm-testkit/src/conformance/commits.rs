//! Cases for [`scm_core::Commits`].

use std::sync::Arc;

use scm_core::{
    CommitsExt as _, Compare, ErrorKind, FileAction, FileChange, FilePath, ListCommits, NewCommit, RepoId,
    Revision, Sha,
};

use super::case::{Ctx, Result};
use super::commit_creation::{create, path};
use super::fixture::{Repo, RepoSpec};
use super::support::{cases, ensure, ensure_eq, every_page, everything, foreign_cursor, missing_sha, topic};

cases! {
    "commits";
    one_commit_with_all_that_is_known [Commits::commit];
    a_missing_commit_is_not_found [Commits::commit, Commits::list_commits_page];
    the_log_goes_back_from_a_revision [Commits::list_commits_page, CommitsExt::list_commits];
    the_log_can_be_of_one_path [Commits::list_commits_page];
    the_log_can_end_before_a_revision [Commits::list_commits_page];
    the_log_can_be_taken_up_again [Commits::list_commits_page];
    the_log_of_an_empty_repository_is_empty [Commits::list_commits_page];
    a_foreign_cursor_is_refused [Commits::list_commits_page];
    a_comparison_tells_commits_and_files [Commits::compare] needs commit_compare, else a_comparison_is_refused;
    a_comparison_with_something_missing_is_not_found [Commits::compare]
        needs commit_compare, else a_comparison_is_refused;
    the_files_of_a_commit_are_listed [Commits::list_commit_files_page, CommitsExt::list_commit_files]
        needs commit_compare, else the_files_of_a_commit_are_refused;
}

pub(super) async fn log(ctx: &Ctx, repo: &Repo, opts: ListCommits) -> Result<Vec<Sha>> {
    let commits = everything(ctx.scm.commits().list_commits(&repo.id, opts)).await?;
    Ok(commits.into_iter().map(|commit| commit.sha).collect())
}

/// Message, people, times, parents: the same by id and by branch.
pub async fn one_commit_with_all_that_is_known(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (branch, sha) = topic(ctx, &repo, "topic").await?;
    let by_id = ctx.scm.commits().commit(&repo.id, &sha.clone().into()).await?;
    let by_branch = ctx.scm.commits().commit(&repo.id, &branch.into()).await?;
    ensure_eq!(by_id, by_branch, "by id and by branch");
    ensure_eq!(by_id.sha, sha, "id");
    ensure_eq!(by_id.parents, [repo.head()?], "parents");
    ensure!(!by_id.message.is_empty() && by_id.message.starts_with(&by_id.title), "{by_id:?}");
    ensure!(by_id.author.is_some() && by_id.authored_at.is_some(), "author: {by_id:?}");
    let root = ctx.scm.commits().commit(&repo.id, &Revision::Head).await?;
    ensure_eq!((root.sha, root.parents), (repo.head()?, vec![]), "the first commit");
    Ok(())
}

/// Branch, commit, repository.
pub async fn a_missing_commit_is_not_found(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let gone = RepoId::new(format!("{}-is-not-there", repo.path))?;
    for (repo, at) in [
        (&repo.id, Revision::Branch("not/there".parse()?)),
        (&repo.id, Revision::Commit(missing_sha()?)),
        (&gone, Revision::Head),
    ] {
        ctx.refused(ctx.scm.commits().commit(repo, &at).await, &[ErrorKind::NotFound])?;
        let opts = ListCommits::default().with_from(at);
        ctx.refused(ctx.scm.commits().list_commits_page(repo, &opts, None).await, &[ErrorKind::NotFound])?;
    }
    Ok(())
}

/// Newest first, from the default branch or another revision.
pub async fn the_log_goes_back_from_a_revision(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (branch, first) = topic(ctx, &repo, "feature/x#1+2").await?;
    let second = ctx.fixture.push_as_other(&repo, &branch, &[("second", b"2")]).await?;
    let root = repo.head()?;
    let default = ListCommits::default();
    for (opts, wanted) in [
        (default.clone(), vec![root.clone()]),
        (default.clone().with_from(Revision::Head), vec![root.clone()]),
        (default.clone().with_from(branch.into()), vec![second, first.clone(), root.clone()]),
        (default.with_from(first.clone().into()), vec![first, root]),
    ] {
        let shown = format!("{:?}", opts.from);
        ensure_eq!(log(ctx, &repo, opts).await?, wanted, "from {shown}");
    }
    Ok(())
}

/// A file or a directory.
pub async fn the_log_can_be_of_one_path(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().with_file("dir/a b+c.txt", "1")).await?;
    let (main, root) = (&repo.default_branch, repo.head()?);
    let other = ctx.fixture.push_as_other(&repo, main, &[("other", b"1")]).await?;
    let inside = ctx.fixture.push_as_other(&repo, main, &[("dir/a b+c.txt", b"2")]).await?;
    for (text, wanted) in [
        ("dir/a b+c.txt", vec![inside.clone(), root.clone()]),
        ("dir", vec![inside, root]),
        ("other", vec![other]),
        ("not/there", vec![]),
    ] {
        ensure_eq!(log(ctx, &repo, ListCommits::default().with_path(path(text)?)).await?, wanted, "{text}");
    }
    Ok(())
}

/// What one revision has and another has not.
pub async fn the_log_can_end_before_a_revision(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (branch, first) = topic(ctx, &repo, "topic/slash").await?;
    let second = ctx.fixture.push_as_other(&repo, &branch, &[("second", b"2")]).await?;
    let main = ctx.fixture.push_as_other(&repo, &repo.default_branch, &[("main", b"1")]).await?;
    let from = ListCommits::default().with_from(branch.clone().into());
    for (excluding, wanted) in [
        (Revision::Branch(repo.default_branch.clone()), vec![second.clone(), first.clone()]),
        (Revision::Commit(first.clone()), vec![second.clone()]),
        (Revision::Commit(second), vec![]),
    ] {
        let opts = from.clone().with_excluding(excluding.clone());
        ensure_eq!(log(ctx, &repo, opts).await?, wanted, "without {excluding}");
    }
    let back = ListCommits::default().with_excluding(branch.into());
    ensure_eq!(log(ctx, &repo, back).await?, [main], "the default branch without the topic");
    Ok(())
}

/// Small pages with cursors kept as JSON.
pub async fn the_log_can_be_taken_up_again(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let mut wanted = vec![repo.head()?];
    for n in 0..6 {
        let file = format!("file-{n}");
        wanted.insert(0, ctx.fixture.push_as_other(&repo, &repo.default_branch, &[(&file, b"1")]).await?);
    }
    let opts = ListCommits::default().with_page_size(3);
    let pages = every_page(|at| {
        let (scm, repo, opts) = (Arc::clone(&ctx.scm), &repo.id, &opts);
        async move { scm.commits().list_commits_page(repo, opts, at.as_ref()).await }
    })
    .await?;
    ensure!(pages.iter().all(|page| page.len() <= 3) && pages.len() >= 3, "pages: {pages:?}");
    let seen: Vec<_> = pages.into_iter().flatten().map(|commit| commit.sha).collect();
    ensure_eq!(seen, wanted, "the pages together");
    Ok(())
}

/// Nothing in it, and no error.
pub async fn the_log_of_an_empty_repository_is_empty(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().empty()).await?;
    ensure_eq!(log(ctx, &repo, ListCommits::default()).await?, [], "the log");
    Ok(())
}

/// A cursor of another provider.
pub async fn a_foreign_cursor_is_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (opts, cursor) = (ListCommits::default(), foreign_cursor());
    let page = ctx.scm.commits().list_commits_page(&repo.id, &opts, Some(&cursor)).await;
    ctx.refused(page, &[ErrorKind::InvalidInput])?;
    Ok(())
}

/// Against the merge base, or directly.
pub async fn a_comparison_tells_commits_and_files(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().with_file("old.txt", "1\n2\n3\n")).await?;
    let main = Revision::from(repo.default_branch.clone());
    let (branch, first) = topic(ctx, &repo, "topic").await?;
    let second = ctx.fixture.push_as_other(&repo, &branch, &[("old.txt", b"1\n2\nthree\n")]).await?;
    ctx.fixture.push_as_other(&repo, &repo.default_branch, &[("main.txt", b"1\n")]).await?;
    let topic = Revision::from(branch);
    let seen = ctx.scm.commits().compare(&repo.id, &main, &topic, &Compare::default()).await?;
    let mut commits: Vec<_> = seen.commits.into_iter().map(|commit| commit.sha).collect();
    commits.sort();
    let mut wanted = vec![first, second];
    wanted.sort();
    ensure_eq!(commits, wanted, "commits");
    let mut actions: Vec<_> = seen.files.iter().map(|file| (file.path.as_str(), file.action)).collect();
    actions.sort_by_key(|(path, _)| *path);
    ensure_eq!(actions, [("old.txt", FileAction::Modified), ("topic.txt", FileAction::Added)], "files");
    let old = seen.files.iter().find(|file| file.path.as_str() == "old.txt");
    let diff = old.and_then(|file| file.diff.as_deref()).unwrap_or_default();
    ensure!(diff.is_empty() || (diff.contains("-3") && diff.contains("+three")), "diff: {diff}");
    let direct = Compare::default().with_direct(true);
    let seen = ctx.scm.commits().compare(&repo.id, &main, &topic, &direct).await?;
    ensure!(
        seen.files.iter().any(|file| file.path.as_str() == "main.txt"),
        "main.txt differs between the trees"
    );
    let same = ctx.scm.commits().compare(&repo.id, &main, &main, &Compare::default()).await?;
    ensure!(same.commits.is_empty() && same.files.is_empty(), "a revision with itself: {same:?}");
    Ok(())
}

/// Either side.
pub async fn a_comparison_with_something_missing_is_not_found(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let missing = Revision::Branch("not/there".parse()?);
    for (from, to) in [(&Revision::Head, &missing), (&missing, &Revision::Head)] {
        let compared = ctx.scm.commits().compare(&repo.id, from, to, &Compare::default()).await;
        ctx.refused(compared, &[ErrorKind::NotFound])?;
    }
    Ok(())
}

/// The other half of the cases about comparisons.
pub async fn a_comparison_is_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (from, to) = (Revision::Head, Revision::from(repo.default_branch.clone()));
    ctx.unsupported(ctx.scm.commits().compare(&repo.id, &from, &to, &Compare::default()).await)
}

/// Against the first parent, with what happened to each.
pub async fn the_files_of_a_commit_are_listed(ctx: &Ctx) -> Result<()> {
    let repo = ctx
        .repository_with(RepoSpec::new().with_file("gone.txt", "1").with_file("from.txt", "2\n".repeat(50)));
    let repo = repo.await?;
    let new = NewCommit::on_branch(repo.default_branch.clone(), "Change files")
        .with_change(FileChange::create(path("new.txt")?, "something else"))
        .with_change(FileChange::delete(path("gone.txt")?))
        .with_change(FileChange::rename(path("from.txt")?, path("to.txt")?))
        .with_change(FileChange::update(path("README.md")?, "changed"));
    let sha = create(ctx, &repo, &new).await?.sha;
    let all = everything(ctx.scm.commits().list_commit_files(&repo.id, &sha.into())).await?;
    let mut seen: Vec<_> = all.iter().map(|file| (file.path.as_str(), file.action)).collect();
    seen.sort_by_key(|(path, _)| *path);
    let wanted = [
        ("README.md", FileAction::Modified),
        ("gone.txt", FileAction::Deleted),
        ("new.txt", FileAction::Added),
        ("to.txt", FileAction::Renamed),
    ];
    ensure_eq!(seen, wanted, "files");
    let from =
        all.iter().find(|file| file.action == FileAction::Renamed).and_then(|file| file.old_path.as_ref());
    ensure_eq!(from.map(FilePath::as_str), Some("from.txt"), "where it came from");
    let cursor = foreign_cursor();
    let page = ctx.scm.commits().list_commit_files_page(&repo.id, &Revision::Head, Some(&cursor)).await;
    ctx.refused(page, &[ErrorKind::InvalidInput])?;
    let missing = Revision::Commit(missing_sha()?);
    let page = ctx.scm.commits().list_commit_files_page(&repo.id, &missing, None).await;
    ctx.refused(page, &[ErrorKind::NotFound])?;
    Ok(())
}

/// The other half of the case about the files of a commit.
pub async fn the_files_of_a_commit_are_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    ctx.unsupported(ctx.scm.commits().list_commit_files_page(&repo.id, &Revision::Head, None).await)
}
