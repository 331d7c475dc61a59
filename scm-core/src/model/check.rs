use serde::{Deserialize, Serialize};
use url::Url;

use crate::id::{BranchName, CheckId, FilePath, JobId, PipelineId, Sha};
use crate::macros::server_enum;
use crate::time::Timestamp;

server_enum! {
    /// State of a check, pipeline or job, in common words.
    pub enum CheckState {
        /// Waiting for something: a runner, a resource, an earlier stage.
        Pending = "pending",
        /// At work.
        Running = "running",
        /// Ended well.
        Success = "success",
        /// Ended badly.
        Failed = "failed",
        /// Stopped by someone.
        Cancelled = "cancelled",
        /// Not wanted this time.
        Skipped = "skipped",
        /// Waits for a person.
        Manual = "manual",
    }
}

impl CheckState {
    /// Will it change without a person? `Manual` and unknown states count as not final, not running.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Cancelled | Self::Skipped)
    }

    /// The one state that stands for several: the worst wins, in the order failed, cancelled, running, pending,
    /// manual, unknown, success, skipped. `None` for no states.
    pub fn worst<'a>(states: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let rank = |state: &Self| match state {
            Self::Failed => 7,
            Self::Cancelled => 6,
            Self::Running => 5,
            Self::Pending => 4,
            Self::Manual => 3,
            Self::Unknown(_) => 2,
            Self::Success => 1,
            Self::Skipped => 0,
        };
        states.into_iter().max_by_key(|state| rank(state)).cloned()
    }
}

/// CI of a commit or pull request at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckSummary {
    /// The state that counts for merging; `None` where there is no CI.
    pub state: Option<CheckState>,
    /// The commit it is about.
    pub sha: Option<Sha>,
    /// The pipeline that counts, where the server has pipelines.
    pub pipeline: Option<Pipeline>,
    /// Checks that failed and count.
    pub failed: Vec<Check>,
}

/// One check of a commit (GitLab: job or commit status; Bitbucket: build).
#[doc(alias = "BuildStatus")]
#[doc(alias = "CommitStatus")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Check {
    /// The server's id or key.
    pub id: CheckId,
    /// Name for people.
    pub name: String,
    /// Its state.
    pub state: CheckState,
    /// What it says.
    pub description: Option<String>,
    /// Where people look at it; the place of the log where the server has none.
    pub url: Option<Url>,
    /// The commit it is about.
    pub sha: Option<Sha>,
    /// Whether its failure counts.
    pub allow_failure: bool,
    /// Its job, where a log can be read.
    pub job: Option<JobId>,
}

impl Check {
    /// A check.
    #[must_use]
    pub fn new(id: CheckId, name: impl Into<String>, state: CheckState) -> Self {
        Self {
            id,
            name: name.into(),
            state,
            description: None,
            url: None,
            sha: None,
            allow_failure: false,
            job: None,
        }
    }
}

/// A status to publish on a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewStatus {
    /// The key: publishing it again replaces its state.
    pub key: String,
    /// Its state.
    pub state: CheckState,
    /// Name for people; the key where it is not given. GitLab shows the key.
    pub name: Option<String>,
    /// Where people look at it (Bitbucket: required).
    pub url: Option<Url>,
    /// What it says.
    pub description: Option<String>,
    /// The branch it is for.
    pub branch: Option<BranchName>,
}

impl NewStatus {
    /// A status.
    #[must_use]
    pub fn new(key: impl Into<String>, state: CheckState) -> Self {
        Self { key: key.into(), state, name: None, url: None, description: None, branch: None }
    }

    /// Sets the name for people.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets where people look at it.
    #[must_use]
    pub fn with_url(mut self, url: Url) -> Self {
        self.url = Some(url);
        self
    }

    /// Sets what it says.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets the branch it is for.
    #[must_use]
    pub fn with_branch(mut self, branch: BranchName) -> Self {
        self.branch = Some(branch);
        self
    }
}

/// A run of CI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pipeline {
    /// The server's id.
    pub id: PipelineId,
    /// Its state.
    pub state: CheckState,
    /// The commit it runs on.
    pub sha: Option<Sha>,
    /// The ref it runs for, as the server writes it.
    pub reference: Option<String>,
    /// What started it, in the server's words.
    pub source: Option<String>,
    /// Page for people.
    pub web_url: Option<Url>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was changed last.
    pub updated_at: Option<Timestamp>,
}

impl Pipeline {
    /// A pipeline.
    #[must_use]
    pub fn new(id: PipelineId, state: CheckState) -> Self {
        Self {
            id,
            state,
            sha: None,
            reference: None,
            source: None,
            web_url: None,
            created_at: None,
            updated_at: None,
        }
    }
}

/// One job of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Job {
    /// The server's id.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Its stage.
    pub stage: Option<String>,
    /// Its state.
    pub state: CheckState,
    /// Whether its failure counts.
    pub allow_failure: bool,
    /// Why it failed, in the server's words.
    pub failure_reason: Option<String>,
    /// Page for people.
    pub web_url: Option<Url>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

impl Job {
    /// A job.
    #[must_use]
    pub fn new(id: JobId, name: impl Into<String>, state: CheckState) -> Self {
        Self {
            id,
            name: name.into(),
            stage: None,
            state,
            allow_failure: false,
            failure_reason: None,
            web_url: None,
            started_at: None,
            finished_at: None,
        }
    }
}

/// A report on a commit (Bitbucket: Code Insights).
#[doc(alias = "CodeInsights")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodeReport {
    /// The key: publishing it again replaces the report.
    pub key: String,
    /// Title for people.
    pub title: String,
    /// Details.
    pub details: Option<String>,
    /// Whether it passed.
    pub passed: Option<bool>,
    /// Where people read more.
    pub url: Option<Url>,
    /// Notes on lines, at most 1,000.
    pub annotations: Vec<Annotation>,
}

impl CodeReport {
    /// A report.
    #[must_use]
    pub fn new(key: impl Into<String>, title: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            title: title.into(),
            details: None,
            passed: None,
            url: None,
            annotations: Vec::new(),
        }
    }

    /// Sets the details.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// Sets whether it passed.
    #[must_use]
    pub fn with_passed(mut self, passed: bool) -> Self {
        self.passed = Some(passed);
        self
    }

    /// Sets where people read more.
    #[must_use]
    pub fn with_url(mut self, url: Url) -> Self {
        self.url = Some(url);
        self
    }

    /// Adds a note.
    #[must_use]
    pub fn with_annotation(mut self, annotation: Annotation) -> Self {
        self.annotations.push(annotation);
        self
    }
}

/// A note of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Annotation {
    /// What it says.
    pub message: String,
    /// How grave it is.
    pub level: AnnotationLevel,
    /// The file; `None` for the whole commit.
    pub path: Option<FilePath>,
    /// The line, from 1; `None` for the whole file.
    pub line: Option<u32>,
    /// Where people read more.
    pub url: Option<Url>,
}

impl Annotation {
    /// A note on the whole commit.
    #[must_use]
    pub fn new(level: AnnotationLevel, message: impl Into<String>) -> Self {
        Self { message: message.into(), level, path: None, line: None, url: None }
    }

    /// Puts it on a line of a file.
    #[must_use]
    pub fn at(mut self, path: FilePath, line: u32) -> Self {
        self.path = Some(path);
        self.line = Some(line);
        self
    }
}

/// How grave a note is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AnnotationLevel {
    /// Worth knowing.
    Low,
    /// Worth mending.
    Medium,
    /// Must be mended.
    High,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_state_stands_for_all() {
        use CheckState::{Failed, Manual, Running, Skipped, Success};
        for (states, worst) in [
            (vec![], None),
            (vec![Success, Skipped], Some(Success)),
            (vec![Success, Running], Some(Running)),
            (vec![Running, Failed], Some(Failed)),
            (vec![Success, Manual], Some(Manual)),
        ] {
            assert_eq!(CheckState::worst(&states), worst);
        }
        assert!(!Manual.is_final() && Skipped.is_final());
        assert_eq!(CheckState::from("odd".to_owned()), CheckState::Unknown("odd".to_owned()));
    }
}
