//! What cases share: assertions that end a case with a text, and the usual preparations.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt as _};
use scm_core::{
    BranchName, BranchesExt as _, Cursor, ListBranches, ListPullRequests, Mergeability, NewPullRequest, Page,
    PullRequest, PullRequestsExt as _, Readiness, Scm, Sha,
};

use super::case::{Ctx, Result, Stop};
use super::fixture::{Repo, RepoSpec};

/// Ends the case unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Stop::failed(format!($($text)+)));
        }
    };
}

/// Ends the case unless both are equal, showing both.
macro_rules! ensure_eq {
    ($seen:expr, $wanted:expr, $($text:tt)+) => {
        match (&$seen, &$wanted) {
            (seen, wanted) => {
                if *seen != *wanted {
                    let what = format!($($text)+);
                    return Err($crate::conformance::Stop::failed(format!("{what}: expected {wanted:?}, saw {seen:?}")));
                }
            }
        }
    };
}

/// The registry of one module: `name [methods]`, and for a case that needs a capability `needs field, else name` of the
/// function that asserts the refusal.
macro_rules! cases {
    ($module:literal; $(
        $name:ident [$($group:ident::$method:ident),+ $(,)?] $(needs $field:ident, else $refused:ident)?;
    )+) => {
        pub(super) const CASES: &[$crate::conformance::Case] = &[$(
            $crate::conformance::Case {
                name: concat!($module, ".", stringify!($name)),
                methods: &[$(concat!(stringify!($group), "::", stringify!($method))),+],
                needs: $crate::conformance::support::cases!(@need $($field $refused)?),
                run: |ctx| Box::pin($name(ctx)),
            }
        ),+];
    };
    (@need) => { None };
    (@need $field:ident $refused:ident) => {
        Some($crate::conformance::Need {
            field: stringify!($field),
            has: |capabilities| capabilities.$field,
            refused: |ctx| Box::pin($refused(ctx)),
        })
    };
}

pub(super) use {cases, ensure, ensure_eq};

/// A cursor that no provider gave.
pub(super) fn foreign_cursor() -> Cursor {
    Cursor::new("elsewhere", "list_things", "1")
}

/// A full commit id that no repository has.
pub(super) fn missing_sha() -> Result<Sha> {
    Ok(Sha::new("0123456789abcdef".repeat(3).split_at(40).0)?)
}

/// Everything in a stream, or its first error.
pub(super) async fn everything<T>(stream: impl Stream<Item = scm_core::Result<T>>) -> Result<Vec<T>> {
    Ok(stream.try_collect().await?)
}

/// Every page of a list, each cursor written and read again as JSON on the way.
pub(super) async fn every_page<T, F, Fut>(mut fetch: F) -> Result<Vec<Vec<T>>>
where
    F: FnMut(Option<Cursor>) -> Fut,
    Fut: Future<Output = scm_core::Result<Page<T>>>,
{
    let (mut pages, mut at) = (Vec::new(), None);
    loop {
        let page = fetch(at).await?;
        let next = page.next.clone();
        pages.push(page.into_items()?);
        let Some(next) = next else { return Ok(pages) };
        ensure!(pages.len() < 1_000, "the list does not end after {} pages", pages.len());
        let json = serde_json::to_string(&next)?;
        at = Some(serde_json::from_str(&json)?);
    }
}

/// No page is larger than asked, and together they hold `wanted` once each.
#[track_caller]
pub(super) fn pages_hold<T: Ord + Debug>(pages: Vec<Vec<T>>, size: usize, wanted: &[T]) -> Result<()> {
    let sizes: Vec<_> = pages.iter().map(Vec::len).collect();
    if sizes.iter().any(|seen| *seen > size) || (wanted.len() > size && pages.len() < 2) {
        return Err(Stop::failed(format!("pages of {sizes:?} items where at most {size} were asked for")));
    }
    let mut seen: Vec<_> = pages.into_iter().flatten().collect();
    seen.sort();
    let mut wanted: Vec<_> = wanted.iter().collect();
    wanted.sort();
    if !seen.iter().eq(wanted.iter().copied()) {
        return Err(Stop::failed(format!("the pages together: expected {wanted:?}, saw {seen:?}")));
    }
    Ok(())
}

/// Branches with their tips, and pull requests with their states: what a refused call must not have changed.
pub(super) async fn snapshot(scm: &dyn Scm, repo: &Repo) -> Result<BTreeMap<String, String>> {
    let branches = everything(scm.branches().list_branches(&repo.id, ListBranches::default())).await?;
    let pulls =
        everything(scm.pull_requests().list_pull_requests(&repo.id, ListPullRequests::default())).await?;
    let branches =
        branches.into_iter().map(|branch| (format!("branch {}", branch.name), branch.head.to_string()));
    let pulls = pulls.into_iter().map(|pull| {
        let state = (pull.state, pull.title, pull.description, pull.draft, pull.labels, pull.head);
        (format!("pull request {}", pull.id), format!("{state:?}"))
    });
    Ok(branches.chain(pulls).collect())
}

/// The call must answer `Unsupported` and leave the repository as it was.
pub(super) async fn refused_without_effect<T, Fut>(ctx: &Ctx, repo: &Repo, call: Fut) -> Result<()>
where
    Fut: Future<Output = scm_core::Result<T>>,
{
    let before = snapshot(ctx.scm.as_ref(), repo).await?;
    ctx.unsupported(call.await)?;
    ensure_eq!(snapshot(ctx.scm.as_ref(), repo).await?, before, "the repository after a refused call");
    Ok(())
}

/// A branch with one commit of someone else's on top of the default branch.
pub(super) async fn topic(ctx: &Ctx, repo: &Repo, name: &str) -> Result<(BranchName, Sha)> {
    let branch = BranchName::new(name)?;
    let file = format!("{}.txt", name.replace('/', "-"));
    let head = ctx.fixture.push_as_other(repo, &branch, &[(&file, b"topic\n")]).await?;
    Ok((branch, head))
}

/// An open pull request from a branch with one new file.
pub(super) async fn open_pull_request(ctx: &Ctx, repo: &Repo, name: &str) -> Result<PullRequest> {
    let (source, _) = topic(ctx, repo, name).await?;
    let new = NewPullRequest::new(source, repo.default_branch.clone(), format!("Change {name}"));
    Ok(ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await?.value)
}

/// A repository and an open pull request in it.
pub(super) async fn with_pull_request(ctx: &Ctx, spec: RepoSpec) -> Result<(Repo, PullRequest)> {
    let repo = ctx.repository_with(spec).await?;
    let pull = open_pull_request(ctx, &repo, "topic").await?;
    Ok((repo, pull))
}

/// Asks until `done` says that what came back is it; servers work some things out after they have answered.
pub(super) async fn until<T: Debug, Fut>(
    what: &str,
    mut ask: impl FnMut() -> Fut,
    done: impl Fn(&T) -> bool,
) -> Result<T>
where
    Fut: Future<Output = scm_core::Result<T>>,
{
    let mut wait = Duration::from_millis(20);
    for _ in 0..12 {
        let seen = ask().await?;
        if done(&seen) {
            return Ok(seen);
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(3));
    }
    Err(Stop::failed(format!("{what}: still {:?}", ask().await?)))
}

/// Mergeability, once the server has worked it out.
pub(super) async fn settled(ctx: &Ctx, repo: &Repo, pull: &PullRequest) -> Result<Mergeability> {
    let ask = || ctx.scm.pull_requests().mergeability(&repo.id, pull.id);
    until("mergeability", ask, |seen| seen.readiness != Readiness::Checking).await
}
