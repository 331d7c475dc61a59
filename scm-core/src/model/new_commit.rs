use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::id::{BranchName, FilePath, OperationId, RepoId, Sha};
use crate::model::{Commit, Person};

/// Where a new commit goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitBase {
    /// A branch that does not exist yet, made at this commit. Exact on every server.
    NewBranch {
        /// The parent.
        start: Sha,
    },
    /// A branch that exists. With an expected head nothing is written when the branch has moved.
    Existing {
        /// The tip the caller has seen.
        expected_head: Option<Sha>,
    },
    /// The first commit of an empty repository.
    Empty,
}

/// A commit to make: one atomic commit of any number of files, or nothing.
///
/// ```
/// use scm_core::{FileChange, NewCommit};
///
/// let commit = NewCommit::on_new_branch("fix/lodash".parse()?, "a".repeat(40).parse()?, "Update lodash")
///     .with_change(FileChange::update("package.json".parse()?, "{}"))
///     .with_change(FileChange::delete("old.txt".parse()?));
/// commit.validate()?;
/// # Ok::<(), scm_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewCommit {
    /// The branch it goes on.
    pub branch: BranchName,
    /// What it stands on.
    pub base: CommitBase,
    /// Message.
    pub message: String,
    /// Author; the token's user where it is not given.
    pub author: Option<Person>,
    /// The changes, each path at most once.
    pub changes: Vec<FileChange>,
    /// Kept as a trailer of the message, so that a commit whose answer was lost is found again.
    pub operation_id: Option<OperationId>,
    /// Signs the commit, where the provider writes it by git; `Unsupported` elsewhere.
    pub signer: Option<Arc<dyn CommitSigner>>,
    /// Where the start commit is when it is in another repository, such as the fork's parent.
    pub start_repository: Option<RepoId>,
}

/// Name of the trailer that holds the operation id.
const OPERATION_TRAILER: &str = "Scm-Operation-Id";

impl NewCommit {
    /// On a branch that this commit makes, at `start`.
    #[must_use]
    pub fn on_new_branch(branch: BranchName, start: Sha, message: impl Into<String>) -> Self {
        Self::new(branch, CommitBase::NewBranch { start }, message)
    }

    /// On a branch that exists, whatever its tip is now.
    #[must_use]
    pub fn on_branch(branch: BranchName, message: impl Into<String>) -> Self {
        Self::new(branch, CommitBase::Existing { expected_head: None }, message)
    }

    /// The first commit of an empty repository.
    #[must_use]
    pub fn initial(branch: BranchName, message: impl Into<String>) -> Self {
        Self::new(branch, CommitBase::Empty, message)
    }

    fn new(branch: BranchName, base: CommitBase, message: impl Into<String>) -> Self {
        Self {
            branch,
            base,
            message: message.into(),
            author: None,
            changes: Vec::new(),
            operation_id: None,
            signer: None,
            start_repository: None,
        }
    }

    /// On an existing branch, only while its tip is `head`; else `Conflict` and nothing is written. A provider that
    /// cannot hold this exactly answers `Unsupported`, never with a weaker guard.
    #[must_use]
    pub fn with_expected_head(mut self, head: Sha) -> Self {
        self.base = CommitBase::Existing { expected_head: Some(head) };
        self
    }

    /// Sets the author.
    #[must_use]
    pub fn with_author(mut self, author: Person) -> Self {
        self.author = Some(author);
        self
    }

    /// Adds a change.
    #[must_use]
    pub fn with_change(mut self, change: FileChange) -> Self {
        self.changes.push(change);
        self
    }

    /// Adds changes.
    #[must_use]
    pub fn with_changes(mut self, changes: impl IntoIterator<Item = FileChange>) -> Self {
        self.changes.extend(changes);
        self
    }

    /// Sets the operation id.
    #[must_use]
    pub fn with_operation_id(mut self, id: OperationId) -> Self {
        self.operation_id = Some(id);
        self
    }

    /// Sets who signs it.
    #[must_use]
    pub fn with_signer(mut self, signer: Arc<dyn CommitSigner>) -> Self {
        self.signer = Some(signer);
        self
    }

    /// Sets the repository that holds the start commit.
    #[must_use]
    pub fn with_start_repository(mut self, repository: RepoId) -> Self {
        self.start_repository = Some(repository);
        self
    }

    /// The message as it is written: with the operation id as its trailer.
    pub fn full_message(&self) -> String {
        let message = self.message.trim_end();
        match &self.operation_id {
            None => message.to_owned(),
            Some(id) => {
                let last = message.rsplit("\n\n").next().unwrap_or_default();
                let has_trailers = message.contains("\n\n")
                    && last.lines().all(|line| {
                        line.split_once(": ").is_some_and(|(key, _)| !key.is_empty() && !key.contains(' '))
                    });
                let gap = if has_trailers { "\n" } else { "\n\n" };
                format!("{message}{gap}{OPERATION_TRAILER}: {id}")
            }
        }
    }

    /// Is this the commit that the operation id of `self` names?
    pub fn is_operation_of(&self, commit: &Commit) -> bool {
        self.operation_id.as_ref().is_some_and(|id| commit.trailer(OPERATION_TRAILER) == Some(id.as_str()))
    }

    /// Checks what can be checked without the server.
    ///
    /// # Errors
    /// `InvalidInput` for no message, no change, or two changes on one path.
    pub fn validate(&self) -> Result<()> {
        if self.message.trim().is_empty() {
            return Err(Error::invalid("a commit needs a message"));
        }
        if self.message.contains('\0') {
            return Err(Error::invalid("a commit message cannot hold a NUL character"));
        }
        if self.changes.is_empty() {
            return Err(Error::invalid("a commit needs at least one change"));
        }
        let mut seen = BTreeSet::new();
        for change in &self.changes {
            for path in change.paths() {
                if !seen.insert(path) {
                    return Err(Error::invalid(format!("two changes of one commit touch '{path}'")));
                }
            }
        }
        // A file and a directory of one name cannot both be written.
        let written: BTreeSet<&str> = self.changes.iter().filter_map(FileChange::writes).collect();
        for path in &written {
            let mut above = path.match_indices('/').map(|(end, _)| &path[..end]);
            if let Some(file) = above.find(|above| written.contains(above)) {
                return Err(Error::invalid(format!(
                    "'{file}' would be a file and, for '{path}', a directory"
                )));
            }
        }
        Ok(())
    }
}

/// One change of a commit.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileChange {
    /// A file that is not there yet.
    Create {
        /// Where.
        path: FilePath,
        /// Its bytes, text or binary.
        content: Bytes,
        /// Whether it is executable.
        executable: bool,
    },
    /// A file that is there.
    Update {
        /// Where.
        path: FilePath,
        /// Its new bytes.
        content: Bytes,
        /// Write only while this is the last commit that touched the file.
        last_commit: Option<Sha>,
    },
    /// A file that goes.
    Delete {
        /// Where.
        path: FilePath,
        /// Delete only while this is the last commit that touched the file.
        last_commit: Option<Sha>,
    },
    /// A file that moves, with new bytes or as it is.
    Rename {
        /// Where it was.
        from: FilePath,
        /// Where it goes; nothing may be there.
        to: FilePath,
        /// New bytes; `None` keeps them.
        content: Option<Bytes>,
        /// Move only while this is the last commit that touched the file.
        last_commit: Option<Sha>,
    },
    /// Another mode.
    Chmod {
        /// Where.
        path: FilePath,
        /// Whether it is executable from now on.
        executable: bool,
    },
}

impl FileChange {
    /// A file that is not there yet.
    #[must_use]
    pub fn create(path: FilePath, content: impl Into<Bytes>) -> Self {
        Self::Create { path, content: content.into(), executable: false }
    }

    /// An executable file that is not there yet.
    #[must_use]
    pub fn create_executable(path: FilePath, content: impl Into<Bytes>) -> Self {
        Self::Create { path, content: content.into(), executable: true }
    }

    /// New bytes for a file that is there.
    #[must_use]
    pub fn update(path: FilePath, content: impl Into<Bytes>) -> Self {
        Self::Update { path, content: content.into(), last_commit: None }
    }

    /// A file that goes.
    #[must_use]
    pub fn delete(path: FilePath) -> Self {
        Self::Delete { path, last_commit: None }
    }

    /// A file that moves as it is.
    #[must_use]
    pub fn rename(from: FilePath, to: FilePath) -> Self {
        Self::Rename { from, to, content: None, last_commit: None }
    }

    /// Another mode.
    #[must_use]
    pub fn chmod(path: FilePath, executable: bool) -> Self {
        Self::Chmod { path, executable }
    }

    /// Takes out the guard of one file, with its path: for providers that hold it in a way of their own.
    pub fn take_last_commit(&mut self) -> Option<(FilePath, Sha)> {
        let (path, guard) = match self {
            Self::Update { path, last_commit, .. }
            | Self::Delete { path, last_commit }
            | Self::Rename { from: path, last_commit, .. } => (path, last_commit),
            Self::Create { .. } | Self::Chmod { .. } => return None,
        };
        guard.take().map(|guard| (path.clone(), guard))
    }

    /// Guards an update, delete or rename: only while `sha` is the last commit that touched the file
    /// (see [`File::last_commit`](crate::File::last_commit)). Other changes have no such guard.
    ///
    /// # Errors
    /// `InvalidInput` for a create or chmod.
    pub fn with_last_commit(mut self, sha: Sha) -> Result<Self> {
        match &mut self {
            Self::Update { last_commit, .. }
            | Self::Delete { last_commit, .. }
            | Self::Rename { last_commit, .. } => {
                *last_commit = Some(sha);
                Ok(self)
            }
            Self::Create { path, .. } | Self::Chmod { path, .. } => {
                Err(Error::invalid(format!("a create or chmod of '{path}' has no last commit to guard")))
            }
        }
    }

    /// The paths it touches.
    pub fn paths(&self) -> impl Iterator<Item = &FilePath> {
        let (first, second) = match self {
            Self::Create { path, .. }
            | Self::Update { path, .. }
            | Self::Delete { path, .. }
            | Self::Chmod { path, .. } => (path, None),
            Self::Rename { from, to, .. } => (from, Some(to)),
        };
        std::iter::once(first).chain(second)
    }

    /// Where a file is afterwards.
    fn writes(&self) -> Option<&str> {
        match self {
            Self::Create { path, .. } | Self::Update { path, .. } | Self::Chmod { path, .. } => Some(path),
            Self::Rename { to, .. } => Some(to),
            Self::Delete { .. } => None,
        }
        .map(FilePath::as_str)
    }
}

impl fmt::Debug for FileChange {
    /// Paths only: contents are source code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Create { .. } => "Create",
            Self::Update { .. } => "Update",
            Self::Delete { .. } => "Delete",
            Self::Rename { .. } => "Rename",
            Self::Chmod { .. } => "Chmod",
        };
        f.debug_tuple(name).field(&self.paths().map(FilePath::as_str).collect::<Vec<_>>()).finish()
    }
}

/// Signs commits that are written by git.
#[async_trait]
pub trait CommitSigner: fmt::Debug + Send + Sync + 'static {
    /// The armoured signature over the commit object's bytes.
    ///
    /// # Errors
    /// Whatever keeps it from signing; nothing is written then.
    async fn sign(&self, commit: &[u8]) -> Result<String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> FilePath {
        text.parse().unwrap()
    }

    fn commit(changes: Vec<FileChange>) -> NewCommit {
        NewCommit::on_branch("b".parse().unwrap(), "Message").with_changes(changes)
    }

    #[test]
    fn impossible_commits_are_refused_before_anything_is_sent() {
        for (changes, words) in [
            (vec![], "at least one change"),
            (vec![FileChange::update(path("a"), "1"), FileChange::delete(path("a"))], "two changes"),
            (
                vec![FileChange::rename(path("a"), path("b")), FileChange::create(path("b"), "1")],
                "two changes",
            ),
            (vec![FileChange::create(path("a"), "1"), FileChange::create(path("a/b"), "1")], "a directory"),
            // By name, `a-b` stands between the two.
            (
                vec![
                    FileChange::create(path("a"), "1"),
                    FileChange::create(path("a-b"), "1"),
                    FileChange::chmod(path("a/b/c"), true),
                ],
                "'a' would be a file and, for 'a/b/c', a directory",
            ),
        ] {
            let error = commit(changes).validate().unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        commit(vec![FileChange::delete(path("a")), FileChange::create(path("a/b"), "1")]).validate().unwrap();
    }

    #[test]
    fn the_operation_id_is_a_trailer_that_reads_back() {
        for message in ["Subject", "Subject\n\nBody text.\n", "Subject\n\nBody.\n\nSigned-off-by: A <a@b>"] {
            let new = NewCommit::on_branch("b".parse().unwrap(), message)
                .with_operation_id("op-1".parse().unwrap());
            let written = Commit::new("a".repeat(40).parse().unwrap(), new.full_message());
            assert!(new.is_operation_of(&written), "{}", written.message);
            assert_eq!(written.trailer("signed-off-by").is_some(), message.contains("Signed"));
        }
    }

    #[test]
    fn contents_do_not_show_in_debug() {
        let shown = format!("{:?}", FileChange::create(path("a"), "s3cret"));
        assert_eq!(shown, "Create([\"a\"])");
    }
}
