//! Bringing a source branch up to date: asked for, then polled.

use std::time::{Duration, Instant};

use http::Method;
use scm_core::pipeline::Operation;
use scm_core::{
    Align, Alignment, Branches as _, Delivery, Error, ErrorKind, PullRequestId, PullRequestState, RepoId,
    Result,
};

use crate::client::{GitLab, merge_request_api};
use crate::convert;
use crate::wire::{WireMergeRequest, WireRebase};

/// Longest wait for a rebase, where the caller says nothing.
const WAIT: Duration = Duration::from_secs(120);
/// First and longest time between two looks at it.
const POLL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

impl GitLab {
    /// Rebases the source on its target, unless nothing is missing there.
    pub(crate) async fn rebase(&self, repo: &RepoId, id: PullRequestId, opts: &Align) -> Result<Alignment> {
        let operation = self.operation("align_pull_request");
        let ends_at = self.pipeline.clock().monotonic().checked_add(opts.wait.unwrap_or(WAIT));
        let mut now = look(&operation, repo, id).await?;
        if now.rebase_in_progress == Some(true) {
            // Someone else's is as good, if it began late enough; what is missing then is done by our own.
            now = self.wait_for_end(&operation, repo, id, ends_at).await?;
        }
        let missing = now.diverged_commits_count;
        let before = convert::pull_request(now)?;
        if before.state != PullRequestState::Open {
            let message = format!("the merge request !{id} is {}", before.state);
            return Err(operation.own(Error::new(ErrorKind::Conflict, message)));
        }
        if missing == Some(0) {
            return Ok(Alignment::UpToDate);
        }
        let request = merge_request_api(Method::PUT, repo, id, &["rebase"])
            .json(&WireRebase { skip_ci: opts.skip_ci })?;
        operation.send(request).await?;
        let after = self.wait_for_end(&operation, repo, id, ends_at).await?;
        if let Some(failure) = after.merge_error.as_deref().filter(|text| !text.is_empty()) {
            let error = Error::new(ErrorKind::Conflict, failure).with_delivery(Delivery::Answered);
            return Err(operation.own(error));
        }
        let after = convert::pull_request(after)?;
        // The branch itself knows its tip before the merge request does.
        let source = after.source_repository.as_ref().unwrap_or(repo);
        let head = match self.branch(source, &after.source_branch).await {
            Ok(branch) => Some(branch.head),
            Err(_) => after.head,
        };
        match head {
            Some(head) if before.head.as_ref() != Some(&head) => Ok(Alignment::Aligned { head }),
            _ => Ok(Alignment::UpToDate),
        }
    }

    async fn wait_for_end(
        &self,
        operation: &Operation,
        repo: &RepoId,
        id: PullRequestId,
        ends_at: Option<Instant>,
    ) -> Result<WireMergeRequest> {
        let (mut wait, longest) = POLL;
        loop {
            let now = look(operation, repo, id).await?;
            if now.rebase_in_progress != Some(true) {
                return Ok(now);
            }
            let clock = self.pipeline.clock();
            if ends_at.is_some_and(|ends_at| clock.monotonic() + wait > ends_at) {
                let message = "the rebase has not ended in time; it may still end";
                return Err(operation.own(Error::new(ErrorKind::Timeout, message)));
            }
            operation.pause(wait).await?;
            wait = (wait * 2).min(longest);
        }
    }
}

async fn look(operation: &Operation, repo: &RepoId, id: PullRequestId) -> Result<WireMergeRequest> {
    let request = merge_request_api(Method::GET, repo, id, &[])
        .query("include_rebase_in_progress", true)
        .query("include_diverged_commits_count", true);
    operation.send(request).await?.json()
}
