//! What others do meanwhile: pushes, merges, comments, builds.

use crate::sim::{
    SimError,
    bitbucket_dc::{
        BitbucketDcSim, builds, comments, events,
        pull_requests::{self, Action, Ask, NewPullRequest, PullRequest},
        state::State,
    },
    repo::Identity,
};

use super::{git_error, refused, unknown};

impl BitbucketDcSim {
    /// Commits files to a branch as someone else, whatever the restrictions; content `None` deletes. A branch that
    /// does not exist starts from the default branch. Returns the new commit.
    ///
    /// # Errors
    /// When there is no such repository, or git refuses.
    pub fn push_commit(
        &self,
        repository: &str,
        branch: &str,
        message: &str,
        files: &[(&str, Option<&[u8]>)],
    ) -> Result<String, SimError> {
        let id = self.repository_id(repository)?;
        let repo = self.inner.repo(id).map_err(|failure| refused(&failure))?;
        let user = self.inner.make_user("someone-else", false);
        let who = Identity {
            name: "Someone Else".to_owned(),
            email: "someone-else@example.com".to_owned(),
            date: format!("{} +0200", self.inner.clock.unix_seconds()),
        };
        let (head, new) = repo.commit_on(branch, message, files, &who).map_err(git_error)?;
        events::branch_moved(
            &self.inner,
            id,
            &format!("refs/heads/{branch}"),
            head.as_ref(),
            Some(&new),
            user,
        )
        .map_err(|failure| refused(&failure))?;
        Ok(new)
    }

    /// The commit a branch, tag or other revision is at.
    ///
    /// # Errors
    /// When there is no such repository, or git refuses.
    pub fn revision(&self, repository: &str, revision: &str) -> Result<Option<String>, SimError> {
        let repo = self.inner.repo(self.repository_id(repository)?).map_err(|failure| refused(&failure))?;
        repo.commit_id(revision).map_err(git_error)
    }

    /// Content of a file at a revision, `None` when it is not there.
    ///
    /// # Errors
    /// When there is no such repository, or git refuses.
    pub fn file(&self, repository: &str, revision: &str, path: &str) -> Result<Option<Vec<u8>>, SimError> {
        let repo = self.inner.repo(self.repository_id(repository)?).map_err(|failure| refused(&failure))?;
        let Some(commit) = repo.commit_id(revision).map_err(git_error)? else { return Ok(None) };
        let entry = repo.entry(&commit, path).map_err(git_error)?;
        entry.map(|entry| repo.blob(&entry.id).map_err(git_error)).transpose()
    }

    /// Opens a pull request within a repository as some user. Returns its number.
    ///
    /// # Errors
    /// As the API refuses it.
    pub fn open_pull_request(
        &self,
        repository: &str,
        user: &str,
        source_branch: &str,
        target_branch: &str,
        title: &str,
    ) -> Result<u64, SimError> {
        let user = self.inner.make_user(user, false);
        let id = self.repository_id(repository)?;
        let new = NewPullRequest {
            title: title.to_owned(),
            from: (id, format!("refs/heads/{source_branch}")),
            to: (id, format!("refs/heads/{target_branch}")),
            ..NewPullRequest::default()
        };
        pull_requests::open(&self.inner, &new, user).map_err(|failure| refused(&failure))
    }

    /// Declines a pull request as some user.
    ///
    /// # Errors
    /// When there is none that is open.
    pub fn decline_pull_request(&self, repository: &str, number: u64, user: &str) -> Result<(), SimError> {
        let user = self.inner.make_user(user, false);
        let id = self.repository_id(repository)?;
        let open = find(&mut self.inner.state(), id, number).is_some_and(|pull| pull.state == "OPEN");
        if !open {
            return Err(unknown("open pull request", &format!("{repository}#{number}")));
        }
        pull_requests::close(&self.inner, id, number, user, "DECLINED", None);
        Ok(())
    }

    /// Merges a pull request as some user, whatever its checks say; conflicts are refused.
    ///
    /// # Errors
    /// When git cannot merge it.
    pub fn merge_pull_request(&self, repository: &str, number: u64, user: &str) -> Result<(), SimError> {
        let user_id = self.inner.make_user(user, false);
        let id = self.repository_id(repository)?;
        let ask = Ask { user_id, message: None, subject: true, strategy: None };
        pull_requests::merge_as(&self.inner, id, number, &ask).map_err(|failure| refused(&failure))
    }

    /// Says what a user thinks of a pull request: `APPROVED`, `NEEDS_WORK` or `UNAPPROVED`.
    ///
    /// # Errors
    /// When there is no such pull request or status.
    pub fn review(&self, repository: &str, number: u64, user: &str, status: &str) -> Result<(), SimError> {
        let user = self.inner.make_user(user, false);
        let id = self.repository_id(repository)?;
        let (status, action) = match status {
            "APPROVED" => ("APPROVED", "APPROVED"),
            "NEEDS_WORK" => ("NEEDS_WORK", "REVIEWED"),
            "UNAPPROVED" => ("UNAPPROVED", "UNAPPROVED"),
            other => return Err(unknown("status", other)),
        };
        let now = self.inner.clock.now();
        {
            let mut state = self.inner.state();
            let activity = state.next_id("activity");
            let pull = find(&mut state, id, number)
                .ok_or_else(|| unknown("pull request", &format!("{repository}#{number}")))?;
            if pull_requests::set_status(pull, user, status) {
                let action = Action::Plain(action, serde_json::json!({}));
                pull_requests::record(pull, activity, user, action, now);
            }
        }
        pull_requests::auto_merge(&self.inner, id);
        Ok(())
    }

    /// Comments on a pull request as some user. Returns the comment's number.
    ///
    /// # Errors
    /// When there is no such pull request.
    pub fn add_comment(
        &self,
        repository: &str,
        number: u64,
        user: &str,
        text: &str,
    ) -> Result<u64, SimError> {
        let user = self.inner.make_user(user, false);
        let id = self.repository_id(repository)?;
        comments::add_plain(&self.inner, id, number, user, text)
            .ok_or_else(|| unknown("pull request", &format!("{repository}#{number}")))
    }

    /// Reports a build of a commit: its key, and `SUCCESSFUL`, `FAILED`, `INPROGRESS`, `CANCELLED` or `UNKNOWN`. One
    /// of the same key is replaced. Merges that wait for it go on.
    ///
    /// # Errors
    /// When there is no such repository or commit.
    pub fn set_build(&self, repository: &str, commit: &str, key: &str, status: &str) -> Result<(), SimError> {
        let id = self.repository_id(repository)?;
        let commit = self.revision(repository, commit)?.ok_or_else(|| unknown("commit", commit))?;
        builds::report(&self.inner, id, &commit, key, status);
        Ok(())
    }
}

fn find(state: &mut State, repo_id: u64, number: u64) -> Option<&mut PullRequest> {
    state.repos.get_mut(&repo_id)?.pull_requests.get_mut(&number)
}
