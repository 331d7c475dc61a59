//! Tracking: every pull request that this program made.

use futures_util::TryStreamExt as _;
use scm_core::{
    CallOptions, ListPullRequests, ListRepositories, Priority, PullRequestState, PullRequestsExt as _,
    Readiness, RepositoriesExt as _, Repository, Result, Scm,
};
use scm_examples::connections::Connection;
use serde::Serialize;

use crate::apply::BRANCH_PREFIX;
use crate::follow::{self, Followed};
use crate::progress::Progress;

const TOGETHER: usize = 8;

#[derive(Debug, Serialize)]
pub(crate) struct Tracked {
    pub(crate) name: String,
    pub(crate) pull_requests: Vec<TrackedPullRequest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct TrackedPullRequest {
    pub(crate) repository: String,
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) url: Option<String>,
    pub(crate) state: String,
    pub(crate) checks: Followed,
    /// `ready`, `checking`, or the reasons against it; none once it is not open.
    pub(crate) mergeability: Option<String>,
}

pub(crate) async fn collect(connections: &[Connection], progress: &Progress) -> Vec<Tracked> {
    let mut out = Vec::new();
    for connection in connections {
        let (pull_requests, error) = match of_connection(connection, progress).await {
            Ok(found) => (found, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        out.push(Tracked { name: connection.name.clone(), pull_requests, error });
    }
    out
}

async fn of_connection(connection: &Connection, progress: &Progress) -> Result<Vec<TrackedPullRequest>> {
    let scm = connection.scm.with_options(CallOptions::default().with_priority(Priority::Bulk));
    let bar = progress.bar(&format!("{}: status", connection.name), None);
    let repositories = scm.repositories().list_repositories(ListRepositories::default());
    let found: Vec<Vec<_>> = repositories
        .map_ok(|repository| {
            let (scm, bar) = (&scm, &bar);
            async move {
                let found = of_repository(scm.as_ref(), &repository).await;
                bar.inc(1);
                found
            }
        })
        .try_buffered(TOGETHER)
        .try_collect()
        .await?;
    bar.finish_and_clear();
    Ok(found.into_iter().flatten().collect())
}

async fn of_repository(scm: &dyn Scm, repository: &Repository) -> Result<Vec<TrackedPullRequest>> {
    let repo = &repository.id;
    let all = std::pin::pin!(scm.pull_requests().list_pull_requests(repo, ListPullRequests::default()));
    let own: Vec<_> = all
        .try_filter(|found| {
            let own = found.source_branch.as_str().starts_with(BRANCH_PREFIX);
            async move { own }
        })
        .try_collect()
        .await?;
    let mut out = Vec::new();
    for pull_request in own {
        let status = scm.pull_requests().pull_request_status(repo, pull_request.id).await?;
        let checks = follow::read(scm, repo, &status.checks).await;
        let mergeability = status.mergeability.map(|answer| match answer.readiness {
            Readiness::Ready => "ready".to_owned(),
            Readiness::Checking => "checking".to_owned(),
            _ => answer
                .blockers
                .iter()
                .map(|blocker| blocker.reason.to_string())
                .collect::<Vec<_>>()
                .join(", "),
        });
        let now = status.pull_request;
        out.push(TrackedPullRequest {
            repository: repository.path.to_string(),
            id: now.id.to_string(),
            title: now.title,
            url: now.web_url.as_ref().map(ToString::to_string),
            state: match (&now.state, now.draft) {
                (PullRequestState::Open, Some(true)) => "draft".to_owned(),
                (state, _) => state.to_string(),
            },
            checks,
            mergeability,
        });
    }
    Ok(out)
}
