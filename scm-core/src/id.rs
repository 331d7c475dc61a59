//! Newtypes for every identifier: checked once, safe to log.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Longest name any of these types takes, in bytes; a guard against nonsense, above every server's own limit.
const MAX_LEN: usize = 4096;

/// A newtype over text with one checking function.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and takes it.
            ///
            /// # Errors
            /// `InvalidInput` naming the text and what is wrong with it.
            pub fn new(text: impl Into<String>) -> Result<Self> {
                let text = text.into();
                let reason = general_fault(&text).map_or_else(|| ($check)(text.as_str()), Err);
                match reason {
                    Ok(()) => Ok(Self(text)),
                    Err(reason) => Err(Error::invalid(format!("'{text}' is not {}: {reason}", $what))),
                }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;

            fn try_from(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.0)
            }
        }
    };
}

/// A newtype over a number that the server assigned. 64 bits: ids on gitlab.com are above 2³¹.
macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Takes the number as the server gave it.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number.
            pub fn get(self) -> u64 {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                text.parse().map(Self).map_err(|_| Error::invalid(format!("'{text}' is not a whole number")))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

text_id! {
    /// A repository: its numeric id (GitLab) or its full path, such as `group/sub/repo`, `PROJ/slug` or `~user/slug`.
    ///
    /// ```
    /// use scm_core::RepoId;
    ///
    /// assert!(RepoId::new("group/sub/repo").is_ok());
    /// assert!(RepoId::new("https://gitlab.company.com/group/repo").is_err());
    /// ```
    #[doc(alias = "ProjectId")]
    RepoId, "a repository", slash_path
}

text_id! {
    /// A namespace: numeric id or full path of a GitLab group, or a Bitbucket project key.
    #[doc(alias = "GroupId")]
    #[doc(alias = "ProjectKey")]
    NamespaceId, "a namespace", slash_path
}

text_id! {
    /// A branch by its short name, such as `main` or `feature/x`; never `refs/heads/…`.
    BranchName, "a branch name", short_ref
}

text_id! {
    /// A tag by its short name.
    TagName, "a tag name", short_ref
}

text_id! {
    /// A commit by its full object id: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
    #[doc(alias = "CommitId")]
    Sha, "a full commit id", object_id
}

text_id! {
    /// A blob by its full object id.
    BlobId, "a full blob id", object_id
}

text_id! {
    /// A file or directory inside a repository, with `/` between its parts: relative, without `.`, `..` or `.git`.
    ///
    /// ```
    /// use scm_core::FilePath;
    ///
    /// assert!(FilePath::new("src/main.rs").is_ok());
    /// assert!(FilePath::new("../etc/passwd").is_err());
    /// assert!(FilePath::new("sub/.GIT/config").is_err());
    /// ```
    FilePath, "a path inside a repository", file_path
}

text_id! {
    /// A comment by the server's id.
    #[doc(alias = "NoteId")]
    CommentId, "a comment id", opaque
}

text_id! {
    /// A thread of comments by the server's id (GitLab: discussion; Bitbucket: its first comment).
    #[doc(alias = "DiscussionId")]
    ThreadId, "a thread id", opaque
}

text_id! {
    /// A user by login name (GitLab: username; Bitbucket: name).
    UserName, "a user name", opaque
}

text_id! {
    /// A webhook by the server's id.
    #[doc(alias = "HookId")]
    WebhookId, "a webhook id", opaque
}

text_id! {
    /// A check by the server's id or key (GitLab: job or status id; Bitbucket: build key).
    CheckId, "a check id", opaque
}

text_id! {
    /// A CI pipeline by the server's id.
    PipelineId, "a pipeline id", opaque
}

text_id! {
    /// A CI job by the server's id.
    JobId, "a job id", opaque
}

text_id! {
    /// Names one change for good, so that a commit whose answer was lost is found again: letters, digits, `-`, `_`, `.`.
    OperationId, "an operation id", operation_id
}

number_id! {
    /// A pull request by its number inside the repository (GitLab: `iid`; Bitbucket: `id`).
    #[doc(alias = "MergeRequestIid")]
    PullRequestId
}

/// What a name can point to: the tip of a branch, a tag, a commit, or the default branch.
///
/// Kept apart because a branch and a tag may share a name: each provider writes the form its server reads without doubt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Revision {
    /// The default branch.
    Head,
    /// The tip of a branch.
    Branch(BranchName),
    /// A tag.
    Tag(TagName),
    /// A commit.
    Commit(Sha),
}

impl FromStr for Revision {
    type Err = Error;

    /// `HEAD`, `refs/heads/x`, `refs/tags/x`, a full commit id, or the short name of a branch.
    fn from_str(text: &str) -> Result<Self> {
        if text == "HEAD" {
            Ok(Self::Head)
        } else if let Some(name) = text.strip_prefix("refs/tags/") {
            TagName::new(name).map(Self::Tag)
        } else if let Some(name) = text.strip_prefix("refs/heads/") {
            BranchName::new(name).map(Self::Branch)
        } else if let Ok(sha) = Sha::new(text) {
            Ok(Self::Commit(sha))
        } else {
            BranchName::new(text).map(Self::Branch)
        }
    }
}

impl TryFrom<String> for Revision {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.to_string()
    }
}

impl From<BranchName> for Revision {
    fn from(name: BranchName) -> Self {
        Self::Branch(name)
    }
}

impl From<TagName> for Revision {
    fn from(name: TagName) -> Self {
        Self::Tag(name)
    }
}

impl From<Sha> for Revision {
    fn from(sha: Sha) -> Self {
        Self::Commit(sha)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("HEAD"),
            Self::Branch(name) => write!(f, "refs/heads/{name}"),
            Self::Tag(name) => write!(f, "refs/tags/{name}"),
            Self::Commit(sha) => sha.fmt(f),
        }
    }
}

type Check = std::result::Result<(), String>;

fn general_fault(text: &str) -> Option<String> {
    if text.is_empty() {
        Some("it is empty".to_owned())
    } else if text.len() > MAX_LEN {
        Some(format!("it is longer than {MAX_LEN} bytes"))
    } else if text.chars().any(char::is_control) {
        Some("it has a control character".to_owned())
    } else {
        None
    }
}

fn opaque(text: &str) -> Check {
    if text.chars().any(char::is_whitespace) { Err("it has white space".to_owned()) } else { Ok(()) }
}

fn slash_path(text: &str) -> Check {
    if text.contains("://") {
        return Err("it is a URL; give the path alone, such as group/repo".to_owned());
    }
    if text.contains(['?', '#', '\\']) || text.chars().any(char::is_whitespace) {
        return Err("it has a character that no repository path has".to_owned());
    }
    if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("it has an empty part, '.' or '..'".to_owned());
    }
    Ok(())
}

fn short_ref(text: &str) -> Check {
    for prefix in ["refs/heads/", "refs/tags/"] {
        if let Some(short) = text.strip_prefix(prefix) {
            return Err(format!("give the short name, '{short}'"));
        }
    }
    // Git reads a leading '-' as an option and '@' alone as HEAD; servers refuse both.
    if text.starts_with('-') || text == "@" || text == "HEAD" {
        return Err("git gives this name another meaning".to_owned());
    }
    gix_validate::reference::name_partial(text.into()).map(|_| ()).map_err(|error| error.to_string())
}

fn object_id(text: &str) -> Check {
    if !matches!(text.len(), 40 | 64) || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err("it takes 40 or 64 lower-case hexadecimal digits".to_owned());
    }
    Ok(())
}

fn file_path(text: &str) -> Check {
    if text.starts_with('/') || text.ends_with('/') {
        return Err("it starts or ends with '/'".to_owned());
    }
    for part in text.split('/') {
        if matches!(part, "" | "." | "..") {
            return Err("it has an empty part, '.' or '..'".to_owned());
        }
        let options = gix_validate::path::component::Options {
            // Windows device names and file streams are ordinary names on the server.
            protect_windows: false,
            protect_hfs: true,
            protect_ntfs: true,
        };
        gix_validate::path::component(part.into(), None, options).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn operation_id(text: &str) -> Check {
    if text.len() > 128 || !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        return Err("it takes up to 128 letters, digits, '-', '_' and '.'".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad<T: FromStr<Err = Error>>(texts: &[&str]) {
        for text in texts {
            let error = text.parse::<T>().err().unwrap_or_else(|| panic!("{text:?} was taken"));
            assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
        }
    }

    fn good<T: FromStr<Err = Error>>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_ok(), "{text:?}: {}", text.parse::<T>().err().unwrap());
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        bad::<BranchName>(&[
            "",
            "a..b",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "/a",
            "a/",
            "a//b",
            "a.lock",
            "a.",
            "@",
            "a@{b",
            "-a",
            "refs/heads/main",
            "a\u{7f}b",
            "HEAD",
            ".a",
            "a/.b",
        ]);
        good::<BranchName>(&["main", "feature/x", "ünï", "a@b", "1", "release-1.2", "refs-x"]);
        bad::<RepoId>(&["", "/a", "a/", "a//b", "a/../b", "a b", "https://h/a", "a?b", "a#b"]);
        good::<RepoId>(&["1", "group/repo", "~user/repo", "PROJ/slug", "g.r/oup/re_po-1"]);
        bad::<FilePath>(&[
            "",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/./b",
            ".git/config",
            "a/.GiT/x",
            "a\nb",
            "git~1/x",
        ]);
        good::<FilePath>(&["a", "a b/c", ".gitignore", "ä/ö", "a+b", "con"]);
        bad::<Sha>(&["", "abc", &"A".repeat(40), &"g".repeat(40), &"a".repeat(41)]);
        good::<Sha>(&[&"a".repeat(40), &"0".repeat(64)]);
        bad::<OperationId>(&["", "a b", "a\n", "ä", &"x".repeat(129)]);
        bad::<PullRequestId>(&["", "-1", "x"]);
    }

    #[test]
    fn revision_reads_back_what_it_writes() {
        let sha = "a".repeat(40);
        for text in ["HEAD", "refs/heads/main", "refs/tags/v1", sha.as_str()] {
            assert_eq!(text.parse::<Revision>().unwrap().to_string(), text);
        }
        assert_eq!("main".parse::<Revision>().unwrap().to_string(), "refs/heads/main");
    }

    proptest::proptest! {
        #[test]
        fn checks_never_panic(text in "\\PC*") {
            let _ = BranchName::new(text.clone());
            let _ = FilePath::new(text.clone());
            let _ = RepoId::new(text);
        }
    }
}
