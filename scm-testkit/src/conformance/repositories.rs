//! Cases for [`scm_core::Repositories`].

use std::num::NonZeroUsize;
use std::sync::Arc;

use scm_core::{
    ArchivedFilter, ErrorKind, ListNamespaces, ListRepositories, NamespaceId, RepoId, RepositoriesExt as _,
    Role, Scm, Timestamp, Visibility,
};

use super::case::{Ctx, Result};
use super::fixture::{Access, Repo, RepoSpec, TokenSpec};
use super::support::{cases, ensure, ensure_eq, every_page, everything, foreign_cursor, pages_hold};

cases! {
    "repositories";
    one_by_id_and_by_path [Repositories::repository];
    what_cannot_be_seen_is_not_found [Repositories::repository];
    the_list_holds_memberships_only [Repositories::list_repositories_page, RepositoriesExt::list_repositories];
    the_list_knows_roles [Repositories::list_repositories_page];
    the_list_leaves_archived_ones_out [Repositories::list_repositories_page];
    the_list_can_be_of_one_namespace [Repositories::list_repositories_page];
    the_list_goes_into_namespaces_below [Repositories::list_repositories_page]
        needs namespace_with_parent, else a_parent_is_refused;
    the_list_can_be_of_what_changed [Repositories::list_repositories_page]
        needs repository_list_with_changed_since, else what_changed_is_refused;
    the_list_can_be_searched [Repositories::list_repositories_page];
    the_list_can_be_taken_up_again [Repositories::list_repositories_page];
    a_foreign_cursor_is_refused [Repositories::list_repositories_page];
    a_token_that_reads_lists_too [Repositories::list_repositories_page, Repositories::repository];
    parts_together_are_the_list [Repositories::partition_repositories,
        RepositoriesExt::list_repositories_in_parts];
    namespaces_are_listed [Repositories::list_namespaces_page, RepositoriesExt::list_namespaces]
        needs namespaces, else namespaces_are_refused;
    namespaces_can_be_searched_and_taken_up_again [Repositories::list_namespaces_page]
        needs namespace_with_parent, else a_parent_is_refused;
}

/// The provider as a user who is a member of exactly these repositories.
async fn member_of(ctx: &Ctx, grants: &[(&Repo, Role)]) -> Result<Arc<dyn Scm>> {
    let token = grants.iter().fold(TokenSpec::new(), |token, (repo, role)| token.granting(repo, *role));
    ctx.scm_as(token).await
}

async fn ids(scm: &dyn Scm, opts: ListRepositories) -> Result<Vec<RepoId>> {
    let found = everything(scm.repositories().list_repositories(opts)).await?;
    let mut ids: Vec<_> = found.into_iter().map(|repo| repo.id).collect();
    ids.sort();
    Ok(ids)
}

fn sorted<const N: usize>(repos: [&Repo; N]) -> Vec<RepoId> {
    let mut ids: Vec<_> = repos.into_iter().map(|repo| repo.id.clone()).collect();
    ids.sort();
    ids
}

/// Both names give the same repository, with everything that was set.
pub async fn one_by_id_and_by_path(ctx: &Ctx) -> Result<()> {
    let default = "trunk".parse()?;
    let repo = ctx.repository_with(RepoSpec::new().with_default_branch(default)).await?;
    let by_id = ctx.scm.repositories().repository(&repo.id).await?;
    let by_path = ctx.scm.repositories().repository(&repo.path).await?;
    ensure_eq!(by_id, by_path, "by id and by path");
    ensure_eq!(by_id.id, repo.id, "id");
    ensure_eq!(by_id.path, repo.path, "path");
    ensure_eq!(by_id.default_branch.as_ref().map(|name| name.as_str()), Some("trunk"), "default branch");
    ensure_eq!(by_id.archived.unwrap_or(false), false, "archived");
    ensure_eq!(by_id.empty.unwrap_or(false), false, "empty");
    ensure!(
        matches!(by_id.visibility, None | Some(Visibility::Private)),
        "visibility: {:?}",
        by_id.visibility
    );
    ensure!(matches!(by_id.role, None | Some(Role::Write)), "role: {:?}", by_id.role);
    if let Some(namespace) = &by_id.namespace {
        ensure!(!namespace.as_str().is_empty(), "an empty namespace");
    }
    let clone_url = by_id.clone_url.as_ref().map(ToString::to_string).unwrap_or_default();
    ctx.no_secret("a clone URL", &clone_url)?;
    Ok(())
}

/// A missing repository and one that the token may not see look the same.
pub async fn what_cannot_be_seen_is_not_found(ctx: &Ctx) -> Result<()> {
    let hidden = ctx.repository_with(RepoSpec::new().with_role(Role::None)).await?;
    let missing = RepoId::new(format!("{}-is-not-there", hidden.path))?;
    for repo in [hidden.id, hidden.path, missing] {
        ctx.refused(ctx.scm.repositories().repository(&repo).await, &[ErrorKind::NotFound])?;
    }
    Ok(())
}

/// A public repository of others is not in the list, although it can be read.
pub async fn the_list_holds_memberships_only(ctx: &Ctx) -> Result<()> {
    let (one, two) = (ctx.repository().await?, ctx.repository().await?);
    let public = RepoSpec::new().with_role(Role::None).with_visibility(Visibility::Public);
    let foreign = ctx.repository_with(public).await?;
    let scm = member_of(ctx, &[(&one, Role::Write), (&two, Role::Read)]).await?;
    ensure_eq!(scm.repositories().repository(&foreign.id).await?.id, foreign.id, "a public repository");
    ensure_eq!(ids(scm.as_ref(), ListRepositories::default()).await?, sorted([&one, &two]), "the list");
    let nobody = ctx.scm_as(TokenSpec::new()).await?;
    ensure_eq!(ids(nobody.as_ref(), ListRepositories::default()).await?, [], "a member of nothing");
    Ok(())
}

/// Only those with at least the wanted role.
pub async fn the_list_knows_roles(ctx: &Ctx) -> Result<()> {
    let (read, write, maintain) = (ctx.repository().await?, ctx.repository().await?, ctx.repository().await?);
    let scm =
        member_of(ctx, &[(&read, Role::Read), (&write, Role::Write), (&maintain, Role::Maintain)]).await?;
    for (role, wanted) in [
        (Role::Read, sorted([&read, &write, &maintain])),
        (Role::Write, sorted([&write, &maintain])),
        (Role::Maintain, sorted([&maintain])),
        (Role::Own, vec![]),
    ] {
        let opts = ListRepositories::default().with_min_role(role);
        ensure_eq!(ids(scm.as_ref(), opts).await?, wanted, "at least {role:?}");
    }
    for repo in everything(scm.repositories().list_repositories(ListRepositories::default())).await? {
        let wanted = if repo.id == read.id {
            Role::Read
        } else if repo.id == write.id {
            Role::Write
        } else {
            Role::Maintain
        };
        ensure!(
            repo.role.is_none_or(|role| role == wanted),
            "{}: {:?}, not {wanted:?}",
            repo.path,
            repo.role
        );
    }
    Ok(())
}

/// Archived repositories: left out unless asked for.
pub async fn the_list_leaves_archived_ones_out(ctx: &Ctx) -> Result<()> {
    let (live, dead) = (ctx.repository().await?, ctx.repository_with(RepoSpec::new().archived()).await?);
    let scm = member_of(ctx, &[(&live, Role::Write), (&dead, Role::Write)]).await?;
    for (filter, wanted) in [
        (None, sorted([&live])),
        (Some(ArchivedFilter::Exclude), sorted([&live])),
        (Some(ArchivedFilter::Only), sorted([&dead])),
        (Some(ArchivedFilter::Include), sorted([&live, &dead])),
    ] {
        let mut opts = ListRepositories::default();
        opts.archived = filter;
        ensure_eq!(ids(scm.as_ref(), opts).await?, wanted, "archived {filter:?}");
    }
    let told = scm.repositories().repository(&dead.id).await?;
    ensure!(told.archived != Some(false), "an archived repository is told as live");
    Ok(())
}

/// One namespace, and memberships only, as without one.
pub async fn the_list_can_be_of_one_namespace(ctx: &Ctx) -> Result<()> {
    let outer = ctx.fixture.namespace(&ctx.unique(), None).await?;
    let above = ctx.repository_with(RepoSpec::new().in_namespace(outer.clone())).await?;
    let elsewhere = ctx.repository().await?;
    let public = RepoSpec::new().in_namespace(outer.clone()).with_role(Role::None);
    ctx.repository_with(public.with_visibility(Visibility::Public)).await?;
    let scm = member_of(ctx, &[(&above, Role::Write), (&elsewhere, Role::Write)]).await?;
    let inside = |namespace: &NamespaceId| ListRepositories::default().with_namespace(namespace.clone());
    ensure_eq!(ids(scm.as_ref(), inside(&outer)).await?, sorted([&above]), "the namespace");
    let missing = NamespaceId::new(format!("{}-is-not-there", ctx.unique()))?;
    let page = scm.repositories().list_repositories_page(&inside(&missing), None).await;
    ctx.refused(page, &[ErrorKind::NotFound])?;
    Ok(())
}

/// A namespace with everything below it.
pub async fn the_list_goes_into_namespaces_below(ctx: &Ctx) -> Result<()> {
    let outer = ctx.fixture.namespace(&ctx.unique(), None).await?;
    let above = ctx.repository_with(RepoSpec::new().in_namespace(outer.clone())).await?;
    let inside = |namespace: &NamespaceId| ListRepositories::default().with_namespace(namespace.clone());
    let inner = ctx.fixture.namespace(&ctx.unique(), Some(&outer)).await?;
    let below = ctx.repository_with(RepoSpec::new().in_namespace(inner.clone())).await?;
    let scm = member_of(ctx, &[(&above, Role::Write), (&below, Role::Write)]).await?;
    ensure_eq!(ids(scm.as_ref(), inside(&outer)).await?, sorted([&above, &below]), "with those below it");
    ensure_eq!(ids(scm.as_ref(), inside(&inner)).await?, sorted([&below]), "the inner namespace");
    let pages = every_page(|at| {
        let (scm, opts) = (Arc::clone(&scm), inside(&outer).with_page_size(1));
        async move { scm.repositories().list_repositories_page(&opts, at.as_ref()).await }
    })
    .await?;
    let pages = pages.into_iter().map(|page| page.into_iter().map(|repo| repo.id).collect()).collect();
    pages_hold(pages, 1, &sorted([&above, &below]))
}

/// The other half of the cases about namespaces in others.
pub async fn a_parent_is_refused(ctx: &Ctx) -> Result<()> {
    let parent = ctx.fixture.namespace(&ctx.unique(), None).await?;
    let below = ListNamespaces::default().with_parent(parent);
    ctx.unsupported(ctx.scm.repositories().list_namespaces_page(&below, None).await)
}

/// The other half of the case about what changed.
pub async fn what_changed_is_refused(ctx: &Ctx) -> Result<()> {
    let opts = ListRepositories::default().with_changed_since("2001-02-03T04:05:06Z".parse()?);
    ctx.unsupported(ctx.scm.repositories().list_repositories_page(&opts, None).await)
}

/// Changed at or after a time.
pub async fn the_list_can_be_of_what_changed(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let scm = member_of(ctx, &[(&repo, Role::Write)]).await?;
    let since = |at: Timestamp| ListRepositories::default().with_changed_since(at);
    let long_ago = "2001-02-03T04:05:06+07:00".parse()?;
    ensure_eq!(ids(scm.as_ref(), since(long_ago)).await?, sorted([&repo]), "since 2001");
    let far = "2199-01-01T00:00:00Z".parse()?;
    ensure_eq!(ids(scm.as_ref(), since(far)).await?, [], "since 2199");
    if let Some(changed) = scm.repositories().repository(&repo.id).await?.changed_at {
        ensure_eq!(ids(scm.as_ref(), since(changed)).await?, sorted([&repo]), "since the very change");
    }
    Ok(())
}

/// By a part of the name.
pub async fn the_list_can_be_searched(ctx: &Ctx) -> Result<()> {
    let (one, two) = (ctx.repository().await?, ctx.repository().await?);
    let scm = member_of(ctx, &[(&one, Role::Write), (&two, Role::Write)]).await?;
    let name = one.path.as_str().rsplit('/').next().unwrap_or_default();
    for (text, wanted) in [(name, sorted([&one])), ("nothing has this & name", vec![])] {
        let opts = ListRepositories::default().with_search(text.to_owned());
        ensure_eq!(ids(scm.as_ref(), opts).await?, wanted, "search for {text:?}");
    }
    Ok(())
}

/// Small pages, whose cursors are kept as JSON and used by another handle, give each repository once, by ascending id.
pub async fn the_list_can_be_taken_up_again(ctx: &Ctx) -> Result<()> {
    let mut repos = Vec::new();
    for _ in 0..5 {
        repos.push(ctx.repository().await?);
    }
    let token = repos.iter().fold(TokenSpec::new(), |token, repo| token.granting(repo, Role::Write));
    let scm = ctx.scm_as(token).await?;
    let opts = ListRepositories::default().with_page_size(2);
    let pages = every_page(|at| {
        let (scm, opts) = (scm.with_options(Default::default()), opts.clone());
        async move { scm.repositories().list_repositories_page(&opts, at.as_ref()).await }
    })
    .await?;
    let pages: Vec<Vec<RepoId>> =
        pages.into_iter().map(|page| page.into_iter().map(|repo| repo.id).collect()).collect();
    let numbers: Option<Vec<u64>> = pages.iter().flatten().map(|id| id.as_str().parse().ok()).collect();
    ensure!(numbers.is_none_or(|ids| ids.is_sorted()), "not in ascending order of id: {pages:?}");
    let wanted: Vec<_> = repos.into_iter().map(|repo| repo.id).collect();
    pages_hold(pages, 2, &wanted)
}

/// A cursor of another provider, or of another list of this one.
pub async fn a_foreign_cursor_is_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    for n in 0..3 {
        ctx.fixture.push_as_other(&repo, &format!("branch-{n}").parse()?, &[("file", b"1")]).await?;
    }
    let opts = scm_core::ListBranches::default().with_page_size(1);
    let other = ctx.scm.branches().list_branches_page(&repo.id, &opts, None).await?.next;
    for cursor in other.into_iter().chain([foreign_cursor()]) {
        let page =
            ctx.scm.repositories().list_repositories_page(&ListRepositories::default(), Some(&cursor)).await;
        ctx.refused(page, &[ErrorKind::InvalidInput])?;
    }
    Ok(())
}

/// Reading needs no right to write.
pub async fn a_token_that_reads_lists_too(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let scm = ctx.scm_as(TokenSpec::new().with_access(Access::Read).granting(&repo, Role::Read)).await?;
    ensure_eq!(ids(scm.as_ref(), ListRepositories::default()).await?, sorted([&repo]), "the list");
    ensure_eq!(scm.repositories().repository(&repo.id).await?.id, repo.id, "the repository");
    Ok(())
}

/// However many parts are asked for, together they give each repository once.
pub async fn parts_together_are_the_list(ctx: &Ctx) -> Result<()> {
    let (one, two, three) = (ctx.repository().await?, ctx.repository().await?, ctx.repository().await?);
    let scm = member_of(ctx, &[(&one, Role::Write), (&two, Role::Write), (&three, Role::Write)]).await?;
    for wanted in [1, 2, 7].into_iter().filter_map(NonZeroUsize::new) {
        let parts = scm.repositories().partition_repositories(&ListRepositories::default(), wanted).await?;
        let most = if ctx.capabilities.repository_list_with_partitions { wanted.get() } else { 1 };
        ensure!((1..=most).contains(&parts.len()), "{} parts where {wanted} were asked for", parts.len());
        let mut all = Vec::new();
        for part in parts {
            all.extend(ids(scm.as_ref(), part).await?);
        }
        all.sort();
        ensure_eq!(all, sorted([&one, &two, &three]), "all of {wanted} parts");
        let at_once = scm.repositories().list_repositories_in_parts(ListRepositories::default(), wanted);
        let mut at_once: Vec<_> = everything(at_once).await?.into_iter().map(|repo| repo.id).collect();
        at_once.sort();
        ensure_eq!(at_once, all, "all of {wanted} parts at once");
    }
    Ok(())
}

/// Namespaces with their parents.
pub async fn namespaces_are_listed(ctx: &Ctx) -> Result<()> {
    let outer = ctx.fixture.namespace(&ctx.unique(), None).await?;
    let repo = ctx.repository_with(RepoSpec::new().in_namespace(outer.clone())).await?;
    let scm = member_of(ctx, &[(&repo, Role::Write)]).await?;
    let all = everything(scm.repositories().list_namespaces(ListNamespaces::default())).await?;
    ensure!(all.iter().any(|space| space.id == outer || space.path == outer), "{outer} is not among {all:?}");
    let missing = NamespaceId::new(format!("{}-is-not-there", ctx.unique()))?;
    let opts = ListNamespaces::default().with_parent(missing);
    ctx.refused(
        scm.repositories().list_namespaces_page(&opts, None).await,
        &[ErrorKind::NotFound, ErrorKind::Unsupported],
    )?;
    ctx.refused(
        scm.repositories().list_namespaces_page(&ListNamespaces::default(), Some(&foreign_cursor())).await,
        &[ErrorKind::InvalidInput],
    )?;
    Ok(())
}

/// By a part of the name, below a parent, page by page.
pub async fn namespaces_can_be_searched_and_taken_up_again(ctx: &Ctx) -> Result<()> {
    let outer = ctx.fixture.namespace(&ctx.unique(), None).await?;
    let mut grants = TokenSpec::new();
    let mut inner = Vec::new();
    for _ in 0..3 {
        let space = ctx.fixture.namespace(&ctx.unique(), Some(&outer)).await?;
        let repo = ctx.repository_with(RepoSpec::new().in_namespace(space.clone())).await?;
        grants = grants.granting(&repo, Role::Write);
        inner.push(space);
    }
    let scm = ctx.scm_as(grants).await?;
    let below = ListNamespaces::default().with_parent(outer);
    let pages = every_page(|at| {
        let (scm, opts) = (Arc::clone(&scm), below.clone().with_page_size(2));
        async move { scm.repositories().list_namespaces_page(&opts, at.as_ref()).await }
    })
    .await?;
    let known =
        |id: &NamespaceId, path: &NamespaceId| if inner.contains(path) { path.clone() } else { id.clone() };
    let pages = pages
        .into_iter()
        .map(|page| page.iter().map(|space| known(&space.id, &space.path)).collect())
        .collect();
    pages_hold(pages, 2, &inner)?;
    let name = inner[1].as_str().rsplit('/').next().unwrap_or_default().to_owned();
    let found = everything(scm.repositories().list_namespaces(below.with_search(name))).await?;
    ensure!(
        found.iter().any(|space| known(&space.id, &space.path) == inner[1])
            || inner[1].as_str().parse::<u64>().is_ok(),
        "a search by name does not find {}",
        inner[1]
    );
    Ok(())
}

/// The other half of the cases about namespaces.
pub async fn namespaces_are_refused(ctx: &Ctx) -> Result<()> {
    ctx.unsupported(ctx.scm.repositories().list_namespaces_page(&ListNamespaces::default(), None).await)
}
