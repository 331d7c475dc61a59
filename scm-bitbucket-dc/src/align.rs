//! Bringing a source branch up to date by the server's rebase.

use http::{Method, StatusCode};
use scm_core::pipeline::{Idempotency, told};
use scm_core::{Align, Alignment, ErrorKind, PullRequestId, RepoId, Result, Sha};

use crate::client::{BitbucketDc, unsupported};
use crate::error::is_out_of_date;
use crate::wire::{WireRebased, WireVersion};

impl BitbucketDc {
    /// Rebases the source on its target. Who asks needs to write to the source, and to have an address of e-mail: the
    /// commits get it.
    pub(crate) async fn rebase(&self, repo: &RepoId, id: PullRequestId, opts: &Align) -> Result<Alignment> {
        if opts.skip_ci == Some(true) {
            return Err(unsupported(
                "align_pull_request",
                "Bitbucket starts no CI itself and cannot keep others from it",
            ));
        }
        let operation = match opts.wait {
            Some(wait) => {
                let mut options = scm_core::CallOptions::default();
                options.deadline = Some(wait);
                self.pipeline.with_options(options).operation("align_pull_request")
            }
            None => self.operation("align_pull_request"),
        };
        let mut again = true;
        loop {
            let now = self.look(&operation, repo, id).await?;
            let id = id.to_string();
            let request = self
                .module_api(Method::POST, "git", repo, &["pull-requests", &id, "rebase"])?
                .json(&WireVersion { version: now.version })?
                // What is on top of its target is left as it is.
                .idempotency(Idempotency::Idempotent);
            return match operation.send(request).await {
                Ok(answer) if answer.status() == StatusCode::NO_CONTENT => Ok(Alignment::UpToDate),
                Ok(answer) => answer.read(|wire: WireRebased| {
                    let head: Sha = told("refChange.toHash", wire.ref_change.to_hash)?;
                    match now.from_ref.latest_commit.as_deref() == Some(head.as_str()) {
                        true => Ok(Alignment::UpToDate),
                        false => Ok(Alignment::Aligned { head }),
                    }
                }),
                Err(error) if is_out_of_date(&error) && std::mem::take(&mut again) => continue,
                // The pull request was there a moment ago: it is the call that is not.
                Err(error) if error.kind() == ErrorKind::NotFound && error.server_code().is_none() => {
                    Err(unsupported("align_pull_request", "this server has no call for a rebase"))
                }
                Err(error) => Err(error),
            };
        }
    }
}
