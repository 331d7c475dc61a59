use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::{Error, Result};
use crate::id::{BranchName, FilePath, Sha, TagName};
use crate::model::FileMode;
use crate::time::Timestamp;

/// A branch and its tip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Branch {
    /// Short name.
    pub name: BranchName,
    /// The commit it points to.
    pub head: Sha,
    /// Whether it is the default branch; `None` where the server does not tell.
    pub default: Option<bool>,
    /// Whether rules protect it; `None` where the server does not tell.
    pub protected: Option<bool>,
    /// Whether the token's user may push to it; `None` where the server does not tell.
    pub can_push: Option<bool>,
    /// Page for people.
    pub web_url: Option<Url>,
}

impl Branch {
    /// A branch with its tip.
    #[must_use]
    pub fn new(name: BranchName, head: Sha) -> Self {
        Self { name, head, default: None, protected: None, can_push: None, web_url: None }
    }
}

/// The rules on a branch. `None` where the server does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BranchProtection {
    /// Whether any rule covers the branch.
    pub protected: bool,
    /// The patterns that cover it.
    pub patterns: Vec<String>,
    /// Whether history may be rewritten.
    pub allow_force_push: Option<bool>,
    /// Whether it may be deleted.
    pub allow_delete: Option<bool>,
    /// Whether changes must come by pull request.
    pub pull_request_only: Option<bool>,
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tag {
    /// Short name.
    pub name: TagName,
    /// The commit it leads to.
    pub commit: Sha,
    /// Message of an annotated tag.
    pub message: Option<String>,
}

impl Tag {
    /// A tag on a commit.
    #[must_use]
    pub fn new(name: TagName, commit: Sha) -> Self {
        Self { name, commit, message: None }
    }
}

/// Author or committer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Person {
    /// Full name.
    pub name: String,
    /// Mail address.
    pub email: String,
}

impl Person {
    /// A person. Git keeps name and address on one line, so neither may break it.
    ///
    /// # Errors
    /// `InvalidInput` for an empty name, a line break, `<` or `>`.
    pub fn new(name: impl Into<String>, email: impl Into<String>) -> Result<Self> {
        let person = Self { name: name.into(), email: email.into() };
        for text in [&person.name, &person.email] {
            if text.trim().is_empty() || text.contains(['<', '>', '\n', '\r', '\0']) {
                return Err(Error::invalid(format!(
                    "'{text}' cannot be the name or address of an author: it is empty or has '<', '>' or a line break"
                )));
            }
        }
        Ok(person)
    }

    /// For providers: a person as the server tells it, however odd.
    #[must_use]
    pub fn as_told(name: impl Into<String>, email: impl Into<String>) -> Self {
        Self { name: name.into(), email: email.into() }
    }
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Commit {
    /// Full id.
    pub sha: Sha,
    /// First line of the message.
    pub title: String,
    /// Whole message.
    pub message: String,
    /// Who wrote it.
    pub author: Option<Person>,
    /// When it was written.
    pub authored_at: Option<Timestamp>,
    /// Who committed it.
    pub committer: Option<Person>,
    /// When it was committed.
    pub committed_at: Option<Timestamp>,
    /// Parents, in order.
    pub parents: Vec<Sha>,
    /// Page for people.
    pub web_url: Option<Url>,
}

impl Commit {
    /// A commit with id and message.
    #[must_use]
    pub fn new(sha: Sha, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            sha,
            title: message.lines().next().unwrap_or_default().to_owned(),
            message,
            author: None,
            authored_at: None,
            committer: None,
            committed_at: None,
            parents: Vec::new(),
            web_url: None,
        }
    }

    /// The value of a trailer in the last paragraph of the message, such as the operation id.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        let last = self.message.trim_end().rsplit("\n\n").next()?;
        last.lines().rev().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What lies between two revisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Comparison {
    /// Commits on the second side that the first lacks.
    pub commits: Vec<Commit>,
    /// Changed files.
    pub files: Vec<FileDiff>,
    /// Whether the server cut commits or files short.
    pub truncated: bool,
}

/// One changed file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileDiff {
    /// Path after the change (before it, for a deleted file).
    pub path: FilePath,
    /// Path before the change, where it differs.
    pub old_path: Option<FilePath>,
    /// What happened.
    pub action: FileAction,
    /// Mode after the change.
    pub mode: Option<FileMode>,
    /// Unified diff without file header; `None` for binary, too large, or not asked for.
    pub diff: Option<String>,
    /// Whether the server left the diff out or cut it short.
    pub truncated: bool,
}

impl FileDiff {
    /// A changed file.
    #[must_use]
    pub fn new(path: FilePath, action: FileAction) -> Self {
        Self { path, old_path: None, action, mode: None, diff: None, truncated: false }
    }
}

impl fmt::Debug for FileDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileDiff")
            .field("path", &self.path)
            .field("old_path", &self.old_path)
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FileAction {
    /// New.
    Added,
    /// Changed in place.
    Modified,
    /// Gone.
    Deleted,
    /// At another path, changed or not.
    Renamed,
}
