//! When and how pull requests can be merged, and what may be done to branches.

use std::collections::BTreeMap;

use crate::sim::{
    SimError,
    bitbucket_dc::{
        BitbucketDcSim, RestrictionKind, pull_requests,
        restrictions::Restriction,
        reviewers::{Condition, Matcher},
        settings::PullRequestSettings,
    },
};

use super::unknown;

/// Checks of a repository that stand before a merge, and the strategies it offers.
#[derive(Debug, Clone, Default)]
pub struct MergeChecks {
    settings: PullRequestSettings,
}

impl MergeChecks {
    /// No checks; merge commit, squash and rebase are offered, the first by default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Strategies by their ids, such as `no-ff`, `ff-only`, `squash`; the first is the default.
    #[must_use]
    pub fn strategies<S: Into<String>>(mut self, ids: impl IntoIterator<Item = S>) -> Self {
        self.settings.strategies = ids.into_iter().map(Into::into).collect();
        self.settings.default_strategy = self.settings.strategies.first().cloned().unwrap_or_default();
        self
    }

    /// So many reviewers must have approved.
    #[must_use]
    pub fn approvals(mut self, n: u64) -> Self {
        self.settings.required_approvers = n;
        self
    }

    /// Every reviewer must have approved.
    #[must_use]
    pub fn all_reviewers(mut self) -> Self {
        self.settings.all_approvers = true;
        self
    }

    /// All tasks must be resolved.
    #[must_use]
    pub fn all_tasks(mut self) -> Self {
        self.settings.all_tasks = true;
        self
    }

    /// No reviewer may say that work is needed.
    #[must_use]
    pub fn no_needs_work(mut self) -> Self {
        self.settings.no_needs_work = true;
        self
    }

    /// So many builds of the head must have passed, and none may have another state.
    #[must_use]
    pub fn builds(mut self, n: u64) -> Self {
        self.settings.required_builds = n;
        self
    }

    /// A check that others wrote says no: its summary and its details.
    #[must_use]
    pub fn veto(mut self, summary: impl Into<String>, details: impl Into<String>) -> Self {
        self.settings.vetoes.push((summary.into(), details.into()));
        self
    }

    /// Merges may wait until nothing stands against them.
    #[must_use]
    pub fn auto_merge(mut self) -> Self {
        self.settings.auto_merge = true;
        self
    }
}

impl BitbucketDcSim {
    /// Replaces the checks of a repository. Merges that waited go on.
    ///
    /// # Errors
    /// When there is no such repository.
    pub fn set_merge_checks(&self, repository: &str, checks: MergeChecks) -> Result<(), SimError> {
        let id = self.repository_id(repository)?;
        self.edit_repository(repository, |repo| repo.settings = checks.settings)?;
        pull_requests::auto_merge(&self.inner, id);
        Ok(())
    }

    /// Restricts branches of a repository, by name or by a pattern with stars, for all but some users. Returns the
    /// number of the restriction.
    ///
    /// # Errors
    /// When there is no such repository or user.
    pub fn restrict_branch(
        &self,
        repository: &str,
        pattern: &str,
        kind: RestrictionKind,
        except: &[&str],
    ) -> Result<u64, SimError> {
        let (id, users) = {
            let mut state = self.inner.state();
            let known =
                |name: &&str| state.user_named(name).map(|user| user.id).ok_or_else(|| unknown("user", name));
            let users = except.iter().map(known).collect::<Result<Vec<_>, _>>()?;
            (state.next_id("restriction"), users)
        };
        let by_pattern = pattern.contains(['*', '?']);
        let rule = Restriction {
            id,
            kind,
            matcher: if by_pattern { "PATTERN" } else { "BRANCH" }.to_owned(),
            pattern: if by_pattern { pattern.to_owned() } else { format!("refs/heads/{pattern}") },
            users,
        };
        self.edit_repository(repository, |repo| {
            repo.restrictions.insert(id, rule);
        })?;
        Ok(id)
    }

    /// Sets who reviews pull requests of a repository to a branch (to any, without one), in place of what was set.
    ///
    /// # Errors
    /// When there is no such repository.
    pub fn set_default_reviewers(
        &self,
        repository: &str,
        target: Option<&str>,
        users: &[&str],
    ) -> Result<(), SimError> {
        let reviewers = users.iter().map(|name| self.inner.make_user(name, false)).collect();
        let id = self.inner.state().next_id("condition");
        let target = target.map_or_else(Matcher::any, Matcher::branch);
        let condition = Condition { source: Matcher::any(), target, reviewers, required_approvals: 0 };
        self.edit_repository(repository, |repo| repo.conditions = BTreeMap::from([(id, condition)]))
    }
}
