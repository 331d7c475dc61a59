//! Cases for [`scm_core::Branches`].

use std::sync::Arc;

use scm_core::{
    BranchName, BranchesExt as _, Change, DeleteBranch, ErrorKind, ListBranches, ListTags, NewTag, RepoId,
    Revision, Role, TagName,
};

use super::case::{Ctx, Result};
use super::fixture::{Repo, RepoSpec};
use super::support::{
    cases, ensure, ensure_eq, every_page, everything, foreign_cursor, missing_sha, pages_hold,
    refused_without_effect, topic,
};

cases! {
    "branches";
    one_branch_with_its_tip [Branches::branch, BranchesExt::branch_exists];
    only_the_exact_name_is_found [Branches::branch, BranchesExt::branch_exists];
    the_list_holds_every_branch [Branches::list_branches_page, BranchesExt::list_branches];
    the_list_can_be_searched [Branches::list_branches_page];
    the_list_can_be_taken_up_again [Branches::list_branches_page];
    a_foreign_cursor_is_refused [Branches::list_branches_page];
    an_empty_repository_has_no_branch [Branches::list_branches_page, Branches::default_branch, Branches::branch];
    the_default_branch_may_have_any_name [Branches::default_branch];
    create_makes_a_branch [Branches::create_branch];
    create_refuses_one_that_exists [Branches::create_branch];
    create_refuses_a_start_that_is_missing [Branches::create_branch];
    names_may_hold_slashes_and_signs [Branches::create_branch, Branches::branch, Branches::delete_branch];
    ensure_makes_it_once [Branches::ensure_branch];
    ensure_by_many_at_once_makes_it_once [Branches::ensure_branch];
    delete_takes_it_away [Branches::delete_branch];
    delete_spares_the_default_branch [Branches::delete_branch];
    delete_holds_the_expected_head [Branches::delete_branch]
        needs branch_delete_with_expected_head, else an_expected_head_of_delete_is_refused;
    readers_may_not_write [Branches::create_branch, Branches::ensure_branch, Branches::delete_branch];
    an_archived_repository_is_read_only [Branches::create_branch];
    protection_is_told [Branches::branch_protection] needs branch_protection, else protection_is_refused;
    tags_are_made_and_read [Branches::create_tag, Branches::tag] needs tags, else tags_are_refused;
    tags_are_listed [Branches::list_tags_page, BranchesExt::list_tags] needs tags, else tags_are_refused;
    a_tag_is_a_revision [Branches::create_tag, Branches::create_branch] needs tags, else tags_are_refused;
}

fn missing_repo(repo: &Repo) -> Result<RepoId> {
    Ok(RepoId::new(format!("{}-is-not-there", repo.path))?)
}

async fn names(ctx: &Ctx, repo: &Repo, opts: ListBranches) -> Result<Vec<String>> {
    let all = everything(ctx.scm.branches().list_branches(&repo.id, opts)).await?;
    let mut names: Vec<_> = all.into_iter().map(|branch| branch.name.to_string()).collect();
    names.sort();
    Ok(names)
}

/// Name, tip, and whether it is the default one.
pub async fn one_branch_with_its_tip(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (name, head) = topic(ctx, &repo, "topic").await?;
    for (name, head, default) in [(&repo.default_branch, repo.head()?, true), (&name, head, false)] {
        let branch = ctx.scm.branches().branch(&repo.id, name).await?;
        ensure_eq!(branch.name, *name, "name");
        ensure_eq!(branch.head, head, "tip of {name}");
        ensure!(branch.default.is_none_or(|told| told == default), "default: {branch:?}");
        ensure!(ctx.scm.branches().branch_exists(&repo.id, name).await?, "{name} does not exist");
    }
    // Where someone else has moved it, the new tip comes.
    let moved = ctx.fixture.push_as_other(&repo, &name, &[("again.txt", b"2")]).await?;
    ensure_eq!(ctx.scm.branches().branch(&repo.id, &name).await?.head, moved, "tip after a push");
    Ok(())
}

/// Not by a part of the name, nor in another repository.
pub async fn only_the_exact_name_is_found(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    topic(ctx, &repo, "fix/one-two").await?;
    let gone = missing_repo(&repo)?;
    for (repo, name) in
        [(&repo.id, "fix/one"), (&repo.id, "one-two"), (&repo.id, "fix"), (&repo.id, "none"), (&gone, "main")]
    {
        let name = BranchName::new(name)?;
        ctx.refused(ctx.scm.branches().branch(repo, &name).await, &[ErrorKind::NotFound])?;
        ensure!(!ctx.scm.branches().branch_exists(repo, &name).await?, "{name} exists");
    }
    Ok(())
}

/// All of them, with their tips.
pub async fn the_list_holds_every_branch(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (name, head) = topic(ctx, &repo, "feature/ünï").await?;
    ensure_eq!(names(ctx, &repo, ListBranches::default()).await?, ["feature/ünï", "main"], "names");
    let all = everything(ctx.scm.branches().list_branches(&repo.id, ListBranches::default())).await?;
    for branch in all {
        let wanted = if branch.name == name { head.clone() } else { repo.head()? };
        ensure_eq!(branch.head, wanted, "tip of {}", branch.name);
    }
    let gone = missing_repo(&repo)?;
    let page = ctx.scm.branches().list_branches_page(&gone, &ListBranches::default(), None).await;
    ctx.refused(page, &[ErrorKind::NotFound])?;
    Ok(())
}

/// By a part of the name; signs in it mean themselves.
pub async fn the_list_can_be_searched(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    for name in ["fix/a+b", "fix/c", "other"] {
        topic(ctx, &repo, name).await?;
    }
    for (text, wanted) in
        [("fix/", vec!["fix/a+b", "fix/c"]), ("a+b", vec!["fix/a+b"]), ("nothing&x=1", vec![])]
    {
        let opts = ListBranches::default().with_search(text.to_owned());
        ensure_eq!(names(ctx, &repo, opts).await?, wanted, "search for {text}");
    }
    Ok(())
}

/// Small pages with cursors kept as JSON.
pub async fn the_list_can_be_taken_up_again(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let mut wanted = vec![repo.default_branch.to_string()];
    for n in 0..6 {
        wanted.push(topic(ctx, &repo, &format!("topic/{n}")).await?.0.to_string());
    }
    let opts = ListBranches::default().with_page_size(3);
    let pages = every_page(|at| {
        let (scm, repo, opts) = (Arc::clone(&ctx.scm), &repo.id, &opts);
        async move { scm.branches().list_branches_page(repo, opts, at.as_ref()).await }
    })
    .await?;
    let pages =
        pages.into_iter().map(|page| page.into_iter().map(|branch| branch.name.to_string()).collect());
    pages_hold(pages.collect(), 3, &wanted)
}

/// A cursor of another provider.
pub async fn a_foreign_cursor_is_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (opts, cursor) = (ListBranches::default(), foreign_cursor());
    let page = ctx.scm.branches().list_branches_page(&repo.id, &opts, Some(&cursor)).await;
    ctx.refused(page, &[ErrorKind::InvalidInput])?;
    Ok(())
}

/// No branch, no default branch, and no error but for a branch asked for by name.
pub async fn an_empty_repository_has_no_branch(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().empty()).await?;
    ensure_eq!(names(ctx, &repo, ListBranches::default()).await?, Vec::<String>::new(), "branches");
    ensure_eq!(ctx.scm.branches().default_branch(&repo.id).await?, None, "default branch");
    ctx.refused(ctx.scm.branches().branch(&repo.id, &repo.default_branch).await, &[ErrorKind::NotFound])?;
    Ok(())
}

/// It is asked for, never guessed.
pub async fn the_default_branch_may_have_any_name(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().with_default_branch("release/1.x".parse()?)).await?;
    topic(ctx, &repo, "main").await?;
    let Some(branch) = ctx.scm.branches().default_branch(&repo.id).await? else {
        return Err(super::Stop::failed("a repository with commits has no default branch"));
    };
    ensure_eq!((branch.name.as_str(), branch.head), ("release/1.x", repo.head()?), "default branch");
    let gone = missing_repo(&repo)?;
    ctx.refused(ctx.scm.branches().default_branch(&gone).await, &[ErrorKind::NotFound])?;
    Ok(())
}

/// From the default branch, a branch, or a commit.
pub async fn create_makes_a_branch(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (other, tip) = topic(ctx, &repo, "other").await?;
    for (name, from, head) in [
        ("from-head", Revision::Head, repo.head()?),
        ("from-branch", other.into(), tip),
        ("from-commit", repo.head()?.into(), repo.head()?),
    ] {
        let name = BranchName::new(name)?;
        let made = ctx.scm.branches().create_branch(&repo.id, &name, &from).await?;
        ensure_eq!((&made.name, &made.head), (&name, &head), "what was made from {from}");
        ensure_eq!(ctx.scm.branches().branch(&repo.id, &name).await?.head, head, "{name} read again");
    }
    Ok(())
}

/// `Conflict`, and the branch stays where it is.
pub async fn create_refuses_one_that_exists(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (name, head) = topic(ctx, &repo, "there").await?;
    let again = ctx.scm.branches().create_branch(&repo.id, &name, &repo.head()?.into()).await;
    ctx.refused(again, &[ErrorKind::Conflict])?;
    ensure_eq!(ctx.scm.branches().branch(&repo.id, &name).await?.head, head, "the branch that was there");
    Ok(())
}

/// A branch or commit that is not there; nothing is made.
pub async fn create_refuses_a_start_that_is_missing(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    for from in [Revision::Branch("not/there".parse()?), Revision::Commit(missing_sha()?)] {
        let made = ctx.scm.branches().create_branch(&repo.id, &"new".parse()?, &from).await;
        ctx.refused(made, &[ErrorKind::NotFound, ErrorKind::InvalidInput])?;
    }
    ensure_eq!(names(ctx, &repo, ListBranches::default()).await?, ["main"], "branches");
    let made =
        ctx.scm.branches().create_branch(&missing_repo(&repo)?, &"new".parse()?, &Revision::Head).await;
    ctx.refused(made, &[ErrorKind::NotFound])?;
    Ok(())
}

/// A whole life under each name.
pub async fn names_may_hold_slashes_and_signs(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    for name in
        ["feature/x#1+2", "a/b/c/d", "ünï/日本", "per%cent", "per%2Fcent", "v1.2.x", "a&b=c;d", "at@sign"]
    {
        let name = BranchName::new(name)?;
        let made = ctx.scm.branches().create_branch(&repo.id, &name, &Revision::Head).await?;
        ensure_eq!(made.name, name, "the name that was made");
        ensure_eq!(ctx.scm.branches().branch(&repo.id, &name).await?.name, name, "the name read again");
        let listed = names(ctx, &repo, ListBranches::default()).await?;
        ensure!(listed.contains(&name.to_string()), "{name} is not among {listed:?}");
        ctx.scm.branches().delete_branch(&repo.id, &name, &DeleteBranch::default()).await?;
        ctx.refused(ctx.scm.branches().branch(&repo.id, &name).await, &[ErrorKind::NotFound])?;
    }
    Ok(())
}

/// Created, then unchanged, wherever it has gone since.
pub async fn ensure_makes_it_once(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let name = BranchName::new("ensured")?;
    let first = ctx.scm.branches().ensure_branch(&repo.id, &name, &Revision::Head).await?;
    ensure_eq!((first.change, first.value.head), (Change::Created, repo.head()?), "the first time");
    let moved = ctx.fixture.push_as_other(&repo, &name, &[("more.txt", b"1")]).await?;
    let second = ctx.scm.branches().ensure_branch(&repo.id, &name, &Revision::Head).await?;
    ensure_eq!((second.change, second.value.head), (Change::Unchanged, moved), "the second time");
    let missing = Revision::Branch("not/there".parse()?);
    let new = ctx.scm.branches().ensure_branch(&repo.id, &"new".parse()?, &missing).await;
    ctx.refused(new, &[ErrorKind::NotFound, ErrorKind::InvalidInput])?;
    Ok(())
}

/// Whoever comes too late finds it there.
pub async fn ensure_by_many_at_once_makes_it_once(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let name = BranchName::new("raced")?;
    let calls = (0..6).map(|_| ctx.scm.branches().ensure_branch(&repo.id, &name, &Revision::Head));
    let mut created = 0;
    for result in futures_util::future::join_all(calls).await {
        let ensured = result?;
        ensure_eq!(ensured.value.head, repo.head()?, "tip");
        created += usize::from(ensured.is_created());
    }
    ensure_eq!(created, 1, "calls that say they made it");
    Ok(())
}

/// Gone, and `NotFound` when it is asked again.
pub async fn delete_takes_it_away(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (name, _) = topic(ctx, &repo, "old/topic").await?;
    ctx.scm.branches().delete_branch(&repo.id, &name, &DeleteBranch::default()).await?;
    ctx.refused(ctx.scm.branches().branch(&repo.id, &name).await, &[ErrorKind::NotFound])?;
    let again = ctx.scm.branches().delete_branch(&repo.id, &name, &DeleteBranch::default()).await;
    ctx.refused(again, &[ErrorKind::NotFound])?;
    Ok(())
}

/// `PermissionDenied`, and it is still there.
pub async fn delete_spares_the_default_branch(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().protected()).await?;
    let gone =
        ctx.scm.branches().delete_branch(&repo.id, &repo.default_branch, &DeleteBranch::default()).await;
    ctx.refused(gone, &[ErrorKind::PermissionDenied])?;
    ensure!(
        ctx.scm.branches().branch_exists(&repo.id, &repo.default_branch).await?,
        "the default branch is gone"
    );
    Ok(())
}

/// A branch that has moved stays.
pub async fn delete_holds_the_expected_head(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (name, head) = topic(ctx, &repo, "guarded").await?;
    let moved = ctx.fixture.push_as_other(&repo, &name, &[("more.txt", b"1")]).await?;
    let stale = DeleteBranch::default().with_expected_head(head);
    let gone = ctx.scm.branches().delete_branch(&repo.id, &name, &stale).await;
    ctx.refused(gone, &[ErrorKind::PreconditionFailed])?;
    ensure_eq!(ctx.scm.branches().branch(&repo.id, &name).await?.head, moved, "the guarded branch");
    let right = DeleteBranch::default().with_expected_head(moved);
    ctx.scm.branches().delete_branch(&repo.id, &name, &right).await?;
    ensure!(!ctx.scm.branches().branch_exists(&repo.id, &name).await?, "it is still there");
    Ok(())
}

/// No guard is silently weaker than asked: the branch stays, even where the head is right.
pub async fn an_expected_head_of_delete_is_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (name, head) = topic(ctx, &repo, "guarded").await?;
    let opts = DeleteBranch::default().with_expected_head(head);
    refused_without_effect(ctx, &repo, ctx.scm.branches().delete_branch(&repo.id, &name, &opts)).await
}

/// `PermissionDenied` for who may only read, not a 404 taken for a missing branch.
pub async fn readers_may_not_write(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().with_role(Role::Read)).await?;
    let (name, _) = topic(ctx, &repo, "theirs").await?;
    let branches = ctx.scm.branches();
    let new = BranchName::new("mine")?;
    let denied = [ErrorKind::PermissionDenied];
    ctx.refused(branches.create_branch(&repo.id, &new, &Revision::Head).await, &denied)?;
    ctx.refused(branches.ensure_branch(&repo.id, &new, &Revision::Head).await, &denied)?;
    ctx.refused(branches.delete_branch(&repo.id, &name, &DeleteBranch::default()).await, &denied)?;
    ensure_eq!(names(ctx, &repo, ListBranches::default()).await?, ["main", "theirs"], "branches");
    Ok(())
}

/// Nothing can be made in it, everything can be read.
pub async fn an_archived_repository_is_read_only(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().archived()).await?;
    let made = ctx.scm.branches().create_branch(&repo.id, &"new".parse()?, &Revision::Head).await;
    ctx.refused(made, &[ErrorKind::PermissionDenied, ErrorKind::Conflict])?;
    ensure_eq!(names(ctx, &repo, ListBranches::default()).await?, ["main"], "branches");
    Ok(())
}

/// Protected or not, and by which pattern.
pub async fn protection_is_told(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().protected().with_role(Role::Maintain)).await?;
    let (name, _) = topic(ctx, &repo, "free").await?;
    let default = ctx.scm.branches().branch_protection(&repo.id, &repo.default_branch).await?;
    ensure!(default.protected && !default.patterns.is_empty(), "{default:?}");
    let free = ctx.scm.branches().branch_protection(&repo.id, &name).await?;
    ensure!(!free.protected && free.patterns.is_empty(), "{free:?}");
    let reader = ctx.repository_with(RepoSpec::new().protected().with_role(Role::Read)).await?;
    match ctx.scm.branches().branch_protection(&reader.id, &reader.default_branch).await {
        // Who may see the rules is the server's to say; what it shows must be true.
        Ok(told) => ensure!(told.protected, "a reader is told that it is free: {told:?}"),
        hidden => {
            ctx.refused(hidden, &[ErrorKind::PermissionDenied])?;
        }
    }
    Ok(())
}

/// The other half of the case about protection.
pub async fn protection_is_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    ctx.unsupported(ctx.scm.branches().branch_protection(&repo.id, &repo.default_branch).await)
}

/// Lightweight and annotated, on a commit or a branch; a second one of the same name is a `Conflict`.
pub async fn tags_are_made_and_read(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (branch, tip) = topic(ctx, &repo, "topic").await?;
    let light = NewTag::new("v1.0.0".parse()?, repo.head()?.into());
    let annotated =
        NewTag::new("release/2+x".parse()?, branch.into()).with_message("Second\n\nWith text.")?;
    for (new, commit) in [(&light, repo.head()?), (&annotated, tip)] {
        let made = ctx.scm.branches().create_tag(&repo.id, new).await?;
        ensure_eq!((&made.name, &made.commit), (&new.name, &commit), "what was made");
        let read = ctx.scm.branches().tag(&repo.id, &new.name).await?;
        ensure_eq!((&read.name, &read.commit), (&new.name, &commit), "what was read");
        let trimmed = |text: &Option<String>| text.as_deref().map(|text| text.trim_end().to_owned());
        ensure_eq!(trimmed(&made.message), trimmed(&new.message), "message of {}", new.name);
        // Not every server tells it again.
        ensure!(read.message.is_none() || trimmed(&read.message) == trimmed(&new.message), "{read:?}");
        ctx.refused(ctx.scm.branches().create_tag(&repo.id, new).await, &[ErrorKind::Conflict])?;
    }
    ctx.refused(ctx.scm.branches().tag(&repo.id, &"v1".parse()?).await, &[ErrorKind::NotFound])?;
    let nowhere = NewTag::new("v9".parse()?, missing_sha()?.into());
    let made = ctx.scm.branches().create_tag(&repo.id, &nowhere).await;
    ctx.refused(made, &[ErrorKind::NotFound, ErrorKind::InvalidInput])?;
    Ok(())
}

/// All, searched, and page by page.
pub async fn tags_are_listed(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let none = everything(ctx.scm.branches().list_tags(&repo.id, ListTags::default())).await?;
    ensure_eq!(none, [], "tags of a repository without any");
    let mut wanted = Vec::new();
    for name in ["v1", "v2", "other/3"] {
        let tag = NewTag::new(TagName::new(name)?, Revision::Head);
        wanted.push(ctx.scm.branches().create_tag(&repo.id, &tag).await?.name.to_string());
    }
    let opts = ListTags::default().with_page_size(2);
    let pages = every_page(|at| {
        let (scm, repo, opts) = (Arc::clone(&ctx.scm), &repo.id, &opts);
        async move { scm.branches().list_tags_page(repo, opts, at.as_ref()).await }
    })
    .await?;
    let pages = pages.into_iter().map(|page| page.into_iter().map(|tag| tag.name.to_string()).collect());
    pages_hold(pages.collect(), 2, &wanted)?;
    let opts = ListTags::default().with_search("other".to_owned());
    let found = everything(ctx.scm.branches().list_tags(&repo.id, opts)).await?;
    ensure_eq!(found.iter().map(|tag| tag.name.as_str()).collect::<Vec<_>>(), ["other/3"], "search");
    let page =
        ctx.scm.branches().list_tags_page(&repo.id, &ListTags::default(), Some(&foreign_cursor())).await;
    ctx.refused(page, &[ErrorKind::InvalidInput])?;
    Ok(())
}

/// Also where a branch has the same name.
pub async fn a_tag_is_a_revision(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let tag = NewTag::new("same".parse()?, repo.head()?.into());
    ctx.scm.branches().create_tag(&repo.id, &tag).await?;
    let (_, tip) = topic(ctx, &repo, "same").await?;
    let (by_tag, by_branch) = (Revision::Tag("same".parse()?), Revision::Branch("same".parse()?));
    ensure_eq!(ctx.scm.commits().commit(&repo.id, &by_tag).await?.sha, repo.head()?, "by tag");
    ensure_eq!(ctx.scm.commits().commit(&repo.id, &by_branch).await?.sha, tip, "by branch");
    let made = ctx.scm.branches().create_branch(&repo.id, &"from-tag".parse()?, &by_tag).await?;
    ensure_eq!(made.head, repo.head()?, "a branch from the tag");
    Ok(())
}

/// The other half of the cases about tags.
pub async fn tags_are_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let branches = ctx.scm.branches();
    ctx.unsupported(branches.tag(&repo.id, &"v1".parse()?).await)?;
    ctx.unsupported(branches.list_tags_page(&repo.id, &ListTags::default(), None).await)?;
    let tag = NewTag::new("v1".parse()?, Revision::Head);
    refused_without_effect(ctx, &repo, branches.create_tag(&repo.id, &tag)).await
}
