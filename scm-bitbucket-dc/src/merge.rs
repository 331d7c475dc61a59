//! What a merge has beside it: the strategy, the wish to wait, and the branch that is left.

use http::{Method, StatusCode};
use scm_core::pipeline::Operation;
use scm_core::{
    Branches as _, DeleteBranch, Error, ErrorKind, MergeStrategy, PullRequest, PullRequestId,
    PullRequestState, RepoId, Result,
};

use crate::client::{BitbucketDc, unsupported};
use crate::wire::WireSettings;

impl BitbucketDc {
    /// The strategy of the server that puts commits together as asked; `None` where its own does.
    pub(crate) async fn strategy(
        &self,
        operation: &Operation,
        repo: &RepoId,
        wanted: MergeStrategy,
    ) -> Result<Option<String>> {
        let request = self.repo_api(Method::GET, repo, &["settings", "pull-requests"])?;
        let settings: WireSettings = operation.send(request).await?.json()?;
        let Some(config) = settings.merge_config else { return Ok(None) };
        let fits = |id: &str| id.starts_with("squash") == (wanted == MergeStrategy::Squash);
        if config.default_strategy.is_some_and(|default| fits(&default.id)) {
            return Ok(None);
        }
        let mut enabled = config.strategies.into_iter().filter(|known| known.enabled != Some(false));
        match enabled.find(|known| fits(&known.id)) {
            Some(known) => Ok(Some(known.id)),
            None => Err(unsupported(
                "merge_pull_request",
                format!(
                    "the repository allows no strategy of the kind {wanted:?}; see its settings, Merge strategies"
                ),
            )),
        }
    }

    /// Does it wait to be merged?
    pub(crate) async fn waits(
        &self,
        operation: &Operation,
        repo: &RepoId,
        id: PullRequestId,
    ) -> Result<bool> {
        match operation.send(self.pull_request_api(Method::GET, repo, id, &["auto-merge"])?).await {
            Ok(answer) => Ok(answer.status() != StatusCode::NO_CONTENT),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes the branch that was merged, as it was merged.
    pub(crate) async fn delete_source(
        &self,
        operation: &Operation,
        repo: &RepoId,
        merged: &PullRequest,
    ) -> Result<()> {
        if merged.state != PullRequestState::Merged {
            return Ok(());
        }
        let source = merged.source_repository.as_ref().unwrap_or(repo);
        let opts = match &merged.head {
            Some(head) => DeleteBranch::default().with_expected_head(head.clone()),
            None => DeleteBranch::default(),
        };
        match self.delete_branch(source, &merged.source_branch, &opts).await {
            // The server may be set to do it itself.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            // Must not sound as if nothing had been merged.
            Err(error) => {
                let message =
                    format!("it is merged, but its source branch could not be deleted: {}", error.message());
                Err(operation.own(Error::new(error.kind(), message).with_delivery(error.delivery())))
            }
            Ok(()) => Ok(()),
        }
    }
}
