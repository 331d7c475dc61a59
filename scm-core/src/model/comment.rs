use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::{Error, Result};
use crate::id::{CommentId, FilePath, ThreadId, UserName};
use crate::time::Timestamp;

/// A comment on a pull request (GitLab: note).
#[doc(alias = "Note")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Comment {
    /// The server's id.
    pub id: CommentId,
    /// Text in Markdown.
    pub body: String,
    /// The thread it is in, or that a reply to it opens; `None` where the server does not tell.
    pub thread: Option<ThreadId>,
    /// What it is on.
    pub position: CommentPosition,
    /// Who wrote it.
    pub author: Option<UserName>,
    /// Whether the server wrote it (a state change and the like).
    pub system: bool,
    /// Whether its thread or task is resolved; `None` where it cannot be.
    pub resolved: Option<bool>,
    /// Whether it is a task (Bitbucket: blocker comment).
    pub task: bool,
    /// When it was written.
    pub created_at: Option<Timestamp>,
    /// When it was changed last.
    pub updated_at: Option<Timestamp>,
    /// Page for people.
    pub web_url: Option<Url>,
}

impl Comment {
    /// A general comment.
    #[must_use]
    pub fn new(id: CommentId, body: impl Into<String>) -> Self {
        Self {
            id,
            body: body.into(),
            thread: None,
            position: CommentPosition::General,
            author: None,
            system: false,
            resolved: None,
            task: false,
            created_at: None,
            updated_at: None,
            web_url: None,
        }
    }
}

/// What a comment is on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CommentPosition {
    /// The pull request as a whole.
    #[default]
    General,
    /// A changed file as a whole.
    File {
        /// The file, by its path after the change.
        path: FilePath,
    },
    /// Lines of a changed file.
    Lines {
        /// The file, by its path after the change.
        path: FilePath,
        /// Its path before the change, where that differs.
        old_path: Option<FilePath>,
        /// The lines.
        lines: LineRange,
    },
}

/// One line or several, on one side of the diff. Lines count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LineRange {
    /// Old side (removed lines) or new side (added and unchanged lines).
    pub side: DiffSide,
    /// First line.
    pub start: u32,
    /// Last line, the same as the first for one line.
    pub end: u32,
}

impl LineRange {
    /// One line.
    ///
    /// # Errors
    /// `InvalidInput` for line 0.
    pub fn line(side: DiffSide, line: u32) -> Result<Self> {
        Self::lines(side, line, line)
    }

    /// Several lines.
    ///
    /// # Errors
    /// `InvalidInput` for line 0, or an end before the start.
    pub fn lines(side: DiffSide, start: u32, end: u32) -> Result<Self> {
        if start == 0 || end < start {
            return Err(Error::invalid(format!(
                "lines {start} to {end}: lines count from 1, and the end not before"
            )));
        }
        Ok(Self { side, start, end })
    }
}

/// Side of a diff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DiffSide {
    /// Before the change.
    Old,
    /// After the change.
    New,
}

/// A comment to write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewComment {
    /// Text in Markdown.
    pub body: String,
    /// What it is on.
    pub position: CommentPosition,
    /// Make it a task that blocks the merge (Bitbucket).
    pub task: bool,
}

impl NewComment {
    /// A general comment.
    #[must_use]
    pub fn new(body: impl Into<String>) -> Self {
        Self { body: body.into(), position: CommentPosition::General, task: false }
    }

    /// Sets what it is on.
    #[must_use]
    pub fn with_position(mut self, position: CommentPosition) -> Self {
        self.position = position;
        self
    }

    /// Makes it a task.
    #[must_use]
    pub fn as_task(mut self) -> Self {
        self.task = true;
        self
    }
}

/// Whether a thread is to be resolved or opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resolution {
    /// Done.
    Resolved,
    /// Open again.
    Open,
}

/// A hidden mark by which `ensure` finds its own comment again: a link definition, which Markdown does not show.
///
/// ```
/// use scm_core::Marker;
///
/// let marker = Marker::new("remediate-guidance")?;
/// let body = marker.mark("Please review.");
/// assert!(marker.is_in(&body) && body.starts_with("Please review."));
/// # Ok::<(), scm_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Marker(String);

impl Marker {
    /// A mark of up to 100 letters, digits, `-`, `_`, `.` and `:`.
    ///
    /// # Errors
    /// `InvalidInput` for other characters, none, or too many.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        if text.is_empty() || text.len() > 100 || !text.bytes().all(fits) {
            return Err(Error::invalid(format!(
                "'{text}' is not a marker: up to 100 letters, digits, '-', '_', '.' and ':'"
            )));
        }
        Ok(Self(text))
    }

    /// `body` with the mark at its end.
    pub fn mark(&self, body: &str) -> String {
        format!("{}\n\n{}", body.trim_end(), self.line())
    }

    /// Does `body` carry this mark?
    pub fn is_in(&self, body: &str) -> bool {
        let line = self.line();
        body.lines().any(|candidate| candidate.trim_end() == line)
    }

    fn line(&self) -> String {
        format!("[//]: # (scm:{})", self.0)
    }
}
