//! Bringing a source branch up to date by the server's rebase.

use http::{Method, StatusCode};
use scm_core::pipeline::{Idempotency, told};
use scm_core::{Align, Alignment, ErrorKind, PullRequestId, RepoId, Result};

use crate::client::{BitbucketDc, unsupported};
use crate::error::is_overtaken;
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
            let (number, before) = (id.to_string(), now.from_ref.latest_commit);
            let request = self
                .module_api(Method::POST, "git", repo, &["pull-requests", &number, "rebase"])?
                .json(&WireVersion { version: now.version })?
                // What is on top of its target is left as it is.
                .idempotency(Idempotency::Idempotent);
            let head = match operation.send(request).await {
                // Nothing was left to do, perhaps since a try of ours whose answer was lost had done it.
                Ok(answer) if answer.status() == StatusCode::NO_CONTENT && operation.lost_an_answer() => {
                    self.look(&operation, repo, id).await?.from_ref.latest_commit
                }
                Ok(answer) if answer.status() == StatusCode::NO_CONTENT => before.clone(),
                Ok(answer) => answer.read(|wire: WireRebased| Ok(Some(wire.ref_change.to_hash)))?,
                Err(error) if is_overtaken(&error) && std::mem::take(&mut again) => continue,
                // The pull request was there a moment ago: it is the call that is not.
                Err(error) if error.kind() == ErrorKind::NotFound && error.server_code().is_none() => {
                    return Err(unsupported("align_pull_request", "this server has no call for a rebase"));
                }
                Err(error) => return Err(error),
            };
            return match head {
                Some(head) if before.as_ref() != Some(&head) => {
                    Ok(Alignment::Aligned { head: told("refChange.toHash", head)? })
                }
                _ => Ok(Alignment::UpToDate),
            };
        }
    }
}
