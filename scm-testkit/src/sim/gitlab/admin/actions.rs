//! What others do meanwhile: pushes, merges, comments, CI.

use crate::sim::{
    SimError,
    gitlab::{
        GitLabSim, PipelineScript,
        ci::{self, NewPipeline},
        events,
        merge_requests::{self, AutoMerge, Draft},
        notes::{self, NewNote},
    },
    repo::Identity,
};

use super::{refused, unknown};

impl GitLabSim {
    /// Commits files to a branch as someone else, whatever the protection; content `None` deletes. A branch that does
    /// not exist starts from the default branch. Returns the new commit.
    ///
    /// # Errors
    /// When there is no such project, or git refuses.
    pub fn push_commit(
        &self,
        project: &str,
        branch: &str,
        message: &str,
        files: &[(&str, Option<&[u8]>)],
    ) -> Result<String, SimError> {
        let id = self.project_id(project)?;
        let repo = self.inner.repo(id).map_err(|failure| refused(&failure))?;
        let user = self.inner.make_user("someone-else", false);
        let who = Identity {
            name: "Someone Else".to_owned(),
            email: "someone-else@example.com".to_owned(),
            date: format!("{} +0200", self.inner.clock.unix_seconds()),
        };
        let (head, new) =
            repo.commit_on(branch, message, files, &who).map_err(|error| SimError::Git(error.to_string()))?;
        events::branch_moved(&self.inner, id, branch, head.as_ref(), Some(&new), user)
            .map_err(|failure| refused(&failure))?;
        Ok(new)
    }

    /// The commit a branch, tag or other revision is at.
    ///
    /// # Errors
    /// When there is no such project, or git refuses.
    pub fn revision(&self, project: &str, revision: &str) -> Result<Option<String>, SimError> {
        let repo = self.inner.repo(self.project_id(project)?).map_err(|failure| refused(&failure))?;
        repo.commit_id(revision).map_err(|error| SimError::Git(error.to_string()))
    }

    /// Content of a file at a revision, `None` when it is not there.
    ///
    /// # Errors
    /// When there is no such project, or git refuses.
    pub fn file(&self, project: &str, revision: &str, path: &str) -> Result<Option<Vec<u8>>, SimError> {
        let git = |error: crate::sim::repo::GitError| SimError::Git(error.to_string());
        let repo = self.inner.repo(self.project_id(project)?).map_err(|failure| refused(&failure))?;
        let Some(commit) = repo.commit_id(revision).map_err(git)? else { return Ok(None) };
        let entry = repo.entry(&commit, path).map_err(git)?;
        entry.map(|entry| repo.blob(&entry.id).map_err(git)).transpose()
    }

    /// Opens a merge request within a project as some user. Returns its iid.
    ///
    /// # Errors
    /// As the API refuses it.
    pub fn open_merge_request(
        &self,
        project: &str,
        username: &str,
        source_branch: &str,
        target_branch: &str,
        title: &str,
    ) -> Result<u64, SimError> {
        let user = self.inner.make_user(username, false);
        let id = self.project_id(project)?;
        let draft = Draft {
            source_project: id,
            target_project: id,
            source_branch: source_branch.to_owned(),
            target_branch: target_branch.to_owned(),
            title: title.to_owned(),
            ..Draft::default()
        };
        merge_requests::open(&self.inner, &draft, user).map_err(|failure| refused(&failure))
    }

    /// Closes a merge request as some user.
    ///
    /// # Errors
    /// When there is none that is open.
    pub fn close_merge_request(&self, project: &str, iid: u64, username: &str) -> Result<(), SimError> {
        let user = self.inner.make_user(username, false);
        let id = self.project_id(project)?;
        let now = self.inner.clock.now();
        let closed = merge_requests::close_as(&mut self.inner.state(), id, iid, user, now);
        if closed { Ok(()) } else { Err(unknown("open merge request", &format!("{project}!{iid}"))) }
    }

    /// Merges a merge request as some user, whatever its checks say; conflicts are refused.
    ///
    /// # Errors
    /// When git cannot merge it.
    pub fn merge_merge_request(&self, project: &str, iid: u64, username: &str) -> Result<(), SimError> {
        let user_id = self.inner.make_user(username, false);
        let id = self.project_id(project)?;
        let asked = AutoMerge {
            user_id,
            squash: None,
            remove_source_branch: None,
            message: None,
            squash_message: None,
        };
        merge_requests::merge_as(&self.inner, id, iid, &asked).map_err(|failure| refused(&failure))
    }

    /// Approves a merge request as some user.
    ///
    /// # Errors
    /// When there is no such merge request.
    pub fn approve_merge_request(&self, project: &str, iid: u64, username: &str) -> Result<(), SimError> {
        let user = self.inner.make_user(username, false);
        let now = self.inner.clock.now();
        let mut found = false;
        self.inner.edit_project(project, |project| {
            if let Some(mr) = project.merge_requests.get_mut(&iid) {
                mr.approvals.retain(|(other, _)| *other != user);
                mr.approvals.push((user, now));
                found = true;
            }
        })?;
        if found { Ok(()) } else { Err(unknown("merge request", &format!("{project}!{iid}"))) }
    }

    /// Comments on a merge request as some user. Returns the note's number.
    ///
    /// # Errors
    /// When there is no such merge request.
    pub fn add_note(&self, project: &str, iid: u64, username: &str, body: &str) -> Result<u64, SimError> {
        let author_id = self.inner.make_user(username, false);
        let id = self.project_id(project)?;
        let new = NewNote { author_id, body: body.to_owned(), kind: None, internal: false, position: None };
        let now = self.inner.clock.now();
        notes::add(&mut self.inner.state(), id, iid, None, new, now)
            .ok_or_else(|| unknown("merge request", &format!("{project}!{iid}")))
    }

    /// Starts a pipeline on the head of a branch by a script of its own. Returns its number.
    ///
    /// # Errors
    /// When there is no such project or branch.
    pub fn create_pipeline(
        &self,
        project: &str,
        branch: &str,
        script: &PipelineScript,
    ) -> Result<u64, SimError> {
        let id = self.project_id(project)?;
        let sha = self.revision(project, branch)?.ok_or_else(|| unknown("branch", branch))?;
        let user_id = self.inner.make_user("someone-else", false);
        let new = NewPipeline { sha: &sha, before: None, reference: branch, source: "push", user_id };
        let now = self.inner.clock.now();
        Ok(ci::start_with(&mut self.inner.state(), id, &new, script, now))
    }

    /// Number of the newest pipeline of a branch's head, and of its jobs.
    ///
    /// # Errors
    /// When there is no such project or branch.
    pub fn latest_pipeline(&self, project: &str, branch: &str) -> Result<Option<(u64, Vec<u64>)>, SimError> {
        let id = self.project_id(project)?;
        let sha = self.revision(project, branch)?.ok_or_else(|| unknown("branch", branch))?;
        let state = self.inner.state();
        let Some(pipeline) = ci::newest(&state, id, &sha).map(|pipeline| pipeline.id) else {
            return Ok(None);
        };
        let jobs = state.projects.get(&id).map(|project| {
            project
                .jobs
                .values()
                .filter(|job| job.pipeline_id == pipeline && !job.retried)
                .map(|job| job.id)
                .collect()
        });
        Ok(Some((pipeline, jobs.unwrap_or_default())))
    }

    /// Moves a pipeline and its unfinished jobs to a status, such as `running` or `failed`. Merge requests that wait
    /// for it are merged when that is `success`.
    ///
    /// # Errors
    /// When there is no such pipeline.
    pub fn set_pipeline_status(&self, project: &str, pipeline: u64, status: &str) -> Result<(), SimError> {
        let id = self.project_id(project)?;
        let now = self.inner.clock.now();
        {
            let mut state = self.inner.state();
            let known =
                state.projects.get_mut(&id).filter(|project| project.pipelines.contains_key(&pipeline));
            let Some(known) = known else { return Err(unknown("pipeline", &pipeline.to_string())) };
            for job in known.jobs.values_mut().filter(|job| job.pipeline_id == pipeline && !job.retried) {
                if !ci::finished(&job.status) {
                    job.set_status(status, now);
                }
            }
            ci::hold(known, pipeline);
            ci::set_status(&mut state, id, pipeline, status, now);
        }
        merge_requests::auto_merge(&self.inner, id);
        Ok(())
    }

    /// Moves one job to a status; the pipeline's status follows.
    ///
    /// # Errors
    /// When there is no such job.
    pub fn set_job_status(&self, project: &str, job: u64, status: &str) -> Result<(), SimError> {
        let id = self.project_id(project)?;
        let now = self.inner.clock.now();
        {
            let mut state = self.inner.state();
            let known = state.projects.get_mut(&id).ok_or_else(|| unknown("project", project))?;
            let found = known.jobs.get_mut(&job).ok_or_else(|| unknown("job", &job.to_string()))?;
            found.set_status(status, now);
            let pipeline = found.pipeline_id;
            ci::hold(known, pipeline);
            ci::settle(&mut state, id, pipeline, now);
        }
        merge_requests::auto_merge(&self.inner, id);
        Ok(())
    }

    /// Adds text to the end of a job's log, visible at once.
    ///
    /// # Errors
    /// When there is no such job.
    pub fn append_job_log(&self, project: &str, job: u64, text: &str) -> Result<(), SimError> {
        let mut found = false;
        self.inner.edit_project(project, |project| {
            if let Some(job) = project.jobs.get_mut(&job) {
                job.log.push_str(text);
                job.shown = job.log.len();
                found = true;
            }
        })?;
        if found { Ok(()) } else { Err(unknown("job", &job.to_string())) }
    }
}
