//! Cases for what holds for every call: options, cancellation, capabilities, secrets.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use scm_core::{
    BranchesExt as _, CallOptions, CorrelationId, ErrorKind, ListBranches, ListRepositories, Priority,
    RepositoriesExt as _, Revision,
};

use super::case::{Ctx, Result, Stop};
use super::fixture::RepoSpec;
use super::support::{cases, ensure, ensure_eq};

cases! {
    "calls";
    capabilities_agree_with_themselves [Scm::capabilities, Scm::ci_logs, Scm::webhooks, Scm::tokens];
    a_handle_with_options_is_the_same_server [Scm::with_options, Scm::provider];
    a_deadline_that_has_passed_is_a_timeout [Scm::with_options];
    a_dropped_call_gives_its_place_back [Scm::repositories, Scm::branches];
    a_dropped_stream_gives_its_place_back [Scm::contents];
    a_dropped_list_gives_its_place_back [Scm::branches];
    many_calls_at_once_all_end [Scm::branches];
    nothing_shows_the_secret [Scm::connection, Scm::git];
}

/// The same each time, and a group that is missing matches its field.
pub async fn capabilities_agree_with_themselves(ctx: &Ctx) -> Result<()> {
    let seen = ctx.scm.capabilities().await?;
    ensure_eq!(seen, ctx.capabilities, "the capabilities asked again");
    let json = serde_json::to_string(&seen)?;
    ensure_eq!(serde_json::from_str::<scm_core::Capabilities>(&json)?, seen, "from JSON");
    ensure!(!seen.ci_log || ctx.scm.ci_logs().is_ok(), "ci_log is on, and the group is missing");
    ensure!(!seen.webhooks || ctx.scm.webhooks().is_ok(), "webhooks is on, and the group is missing");
    ensure!(!seen.token_rotate || ctx.scm.tokens().is_ok(), "token_rotate is on, and the group is missing");
    ensure!(seen.ci_log || !(seen.ci_log_offset || seen.ci_log_follow), "logs cannot be read, yet followed");
    ensure!(seen.comment_on_line || !seen.comment_on_lines, "several lines without one");
    ensure!(seen.pipelines || !seen.pipeline_control, "pipelines can be stopped, yet not read");
    ensure!(seen.page_size_max != Some(0), "pages of no item");
    Ok(())
}

/// Deadline, correlation id and priority together; the first handle is as it was.
pub async fn a_handle_with_options_is_the_same_server(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let opts = CallOptions::default()
        .with_deadline(Duration::from_secs(60))
        .with_correlation_id(CorrelationId::new("job-1:2_3.4")?)
        .with_priority(Priority::Bulk);
    let handle = ctx.scm.with_options(opts);
    ensure_eq!(handle.provider(), ctx.scm.provider(), "provider");
    ensure_eq!(handle.capabilities().await?, ctx.capabilities, "capabilities");
    let (one, two) = (
        handle.repositories().repository(&repo.id).await?,
        ctx.scm.repositories().repository(&repo.id).await?,
    );
    ensure_eq!(one, two, "the repository by both handles");
    Ok(())
}

/// `Timeout`, for reading, writing and checking; the next call with more time works.
pub async fn a_deadline_that_has_passed_is_a_timeout(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let late = ctx.scm.with_options(CallOptions::default().with_deadline(Duration::from_nanos(1)));
    let timeout = [ErrorKind::Timeout];
    ctx.refused(late.repositories().repository(&repo.id).await, &timeout)?;
    ctx.refused(late.branches().create_branch(&repo.id, &"late".parse()?, &Revision::Head).await, &timeout)?;
    ctx.refused(
        late.branches().list_branches_page(&repo.id, &ListBranches::default(), None).await,
        &timeout,
    )?;
    let raw = late.contents().raw_file(&repo.id, &Revision::Head, &"README.md".parse()?).await;
    ctx.refused(raw, &timeout)?;
    ctx.scm.repositories().repository(&repo.id).await?;
    Ok(())
}

/// More calls are dropped half way than run at the same time; none of them blocks the next.
pub async fn a_dropped_call_gives_its_place_back(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    for pause in 0..60 {
        let call = ctx.scm.repositories().repository(&repo.id);
        if pause % 3 == 0 {
            call.now_or_never();
        } else {
            // Dropped somewhere between the request and its answer.
            let _ = tokio::time::timeout(Duration::from_micros(pause * 40), call).await;
        }
    }
    in_time(ctx.scm.branches().branch(&repo.id, &repo.default_branch)).await
}

async fn in_time<T>(call: impl Future<Output = scm_core::Result<T>>) -> Result<()> {
    match tokio::time::timeout(Duration::from_secs(30), call).await {
        Ok(result) => result.map(|_| ()).map_err(Stop::from),
        Err(_) => Err(Stop::failed("a call after dropped ones does not end")),
    }
}

/// A file of which only the start was read.
pub async fn a_dropped_stream_gives_its_place_back(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().with_file("large", vec![b'x'; 2_000_000])).await?;
    let path = "large".parse()?;
    for _ in 0..20 {
        let mut stream = ctx.scm.contents().raw_file(&repo.id, &Revision::Head, &path).await?;
        stream.next().await.transpose()?;
    }
    in_time(ctx.scm.branches().branch(&repo.id, &repo.default_branch)).await
}

/// A list of which only the first item was taken.
pub async fn a_dropped_list_gives_its_place_back(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    for n in 0..4 {
        ctx.fixture.push_as_other(&repo, &format!("topic/{n}").parse()?, &[("a", b"1")]).await?;
    }
    for _ in 0..20 {
        let opts = ListBranches::default().with_page_size(1);
        let mut list = std::pin::pin!(ctx.scm.branches().list_branches(&repo.id, opts));
        let first = list.next().await.transpose()?;
        ensure!(first.is_some(), "the list is empty");
    }
    in_time(ctx.scm.branches().branch(&repo.id, &repo.default_branch)).await
}

/// They wait for each other where they must, and none is lost.
pub async fn many_calls_at_once_all_end(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let calls = (0..100).map(|n| {
        let priority = if n % 2 == 0 { Priority::Interactive } else { Priority::Bulk };
        let scm = ctx.scm.with_options(CallOptions::default().with_priority(priority));
        let repo = &repo;
        async move { scm.branches().branch(&repo.id, &repo.default_branch).await }
    });
    let heads = futures_util::future::join_all(calls).await;
    for branch in heads {
        ensure_eq!(branch?.head, repo.head()?, "the tip");
    }
    Ok(())
}

/// Neither the handles nor what they give.
pub async fn nothing_shows_the_secret(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let scm = Arc::clone(&ctx.scm);
    let shown = format!(
        "{scm:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        scm.connection(),
        scm.repositories(),
        scm.git(),
        scm.git().git_remote(&repo.id).await?,
        scm.connection().token().await?,
        scm.connection().identity().await?,
    );
    ctx.no_secret("Debug", &shown)?;
    let mut repos = std::pin::pin!(scm.repositories().list_repositories(ListRepositories::default()));
    if let Some(first) = repos.next().await.transpose()? {
        ctx.no_secret("a repository", &serde_json::to_string(&first)?)?;
    }
    Ok(())
}
