use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{BlobId, FilePath, Sha};
use crate::macros::server_enum;
use crate::transport::{Body, TransportError};

/// A file at a revision.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct File {
    /// Where it is.
    pub path: FilePath,
    /// Its bytes; the pointer's text where [`lfs`](Self::lfs) is set.
    pub content: Bytes,
    /// Id of its blob.
    pub blob_id: Option<BlobId>,
    /// The last commit that touched it: the lock for a guarded change.
    pub last_commit: Option<Sha>,
    /// Its mode.
    pub mode: Option<FileMode>,
    /// Set when the content is a Git LFS pointer and not the file itself.
    pub lfs: Option<LfsPointer>,
}

impl File {
    /// A file; an LFS pointer is recognised by its content.
    #[must_use]
    pub fn new(path: FilePath, content: Bytes) -> Self {
        let lfs = LfsPointer::parse(&content);
        Self { path, content, blob_id: None, last_commit: None, mode: None, lfs }
    }

    /// The content as text.
    ///
    /// # Errors
    /// `Decode` when it is not UTF-8.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.content)
            .map_err(|_| Error::new(crate::ErrorKind::Decode, format!("{} is not UTF-8 text", self.path)))
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("path", &self.path)
            .field("size", &self.content.len())
            .field("blob_id", &self.blob_id)
            .field("last_commit", &self.last_commit)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// What a Git LFS pointer says about the file it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LfsPointer {
    /// Object id, such as `sha256:…`.
    pub oid: String,
    /// Size of the file in bytes.
    pub size: u64,
}

impl LfsPointer {
    /// Reads a pointer; `None` for any other content. By the LFS specification a pointer is shorter than 1,024 bytes.
    pub fn parse(content: &[u8]) -> Option<Self> {
        if content.len() >= 1024 {
            return None;
        }
        let text = std::str::from_utf8(content).ok()?;
        let mut lines = text.lines();
        if lines.next()? != "version https://git-lfs.github.com/spec/v1" {
            return None;
        }
        let (mut oid, mut size) = (None, None);
        for line in lines {
            match line.split_once(' ') {
                Some(("oid", value)) => oid = Some(value.to_owned()),
                Some(("size", value)) => size = value.parse().ok(),
                _ => {}
            }
        }
        Some(Self { oid: oid?, size: size? })
    }
}

/// Mode of an entry in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FileMode {
    /// An ordinary file, `100644`.
    Regular,
    /// An executable file, `100755`.
    Executable,
    /// A symbolic link, `120000`.
    Symlink,
    /// A submodule, `160000`.
    Submodule,
    /// A directory, `040000`.
    Directory,
}

impl FileMode {
    /// From git's octal text.
    pub fn from_octal(text: &str) -> Option<Self> {
        Some(match text.trim_start_matches('0') {
            "100755" => Self::Executable,
            "120000" => Self::Symlink,
            "160000" => Self::Submodule,
            "40000" => Self::Directory,
            regular if regular.starts_with("100") => Self::Regular,
            _ => return None,
        })
    }
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TreeEntry {
    /// Path from the repository's root.
    pub path: FilePath,
    /// What it is.
    pub kind: EntryKind,
    /// Object id, where the server tells it.
    pub id: Option<String>,
    /// Its mode, where the server tells it.
    pub mode: Option<FileMode>,
}

impl TreeEntry {
    /// An entry with its path and kind.
    #[must_use]
    pub fn new(path: FilePath, kind: EntryKind) -> Self {
        Self { path, kind, id: None, mode: None }
    }
}

server_enum! {
    /// What a tree entry is.
    pub enum EntryKind {
        /// A file or symbolic link.
        File = "blob",
        /// A directory.
        Directory = "tree",
        /// A submodule.
        Submodule = "commit",
    }
}

/// Bytes that arrive as they are read: an archive, a log, a large file. Dropping it ends the request.
pub struct ByteStream(Source);

enum Source {
    /// One answer.
    Body(Body),
    /// Put together from several.
    Parts(Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>),
}

impl ByteStream {
    /// For providers: the body of an answer.
    #[must_use]
    pub fn new(body: Body) -> Self {
        Self(Source::Body(body))
    }

    /// For providers: bytes of several answers.
    #[must_use]
    pub fn from_parts(parts: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Self {
        Self(Source::Parts(Box::pin(parts)))
    }

    /// Size in bytes, where the server tells it.
    pub fn length(&self) -> Option<u64> {
        match &self.0 {
            Source::Body(body) => body.length(),
            Source::Parts(_) => None,
        }
    }

    /// Reads everything, up to `limit` bytes.
    ///
    /// # Errors
    /// `Decode` past the limit, else what the connection reports.
    pub async fn collect(self, limit: usize) -> Result<Bytes> {
        use futures_util::TryStreamExt as _;
        match self.0 {
            Source::Body(body) => Ok(body.collect(limit).await?),
            Source::Parts(mut parts) => {
                let mut all = Vec::new();
                while let Some(part) = parts.try_next().await? {
                    if all.len() + part.len() > limit {
                        return Err(TransportError::too_large(limit).into());
                    }
                    all.extend_from_slice(&part);
                }
                Ok(all.into())
            }
        }
    }
}

impl Stream for ByteStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Source::Body(body) => Pin::new(body).poll_next(cx).map_err(Error::from),
            Source::Parts(parts) => parts.as_mut().poll_next(cx),
        }
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream").field("length", &self.length()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lfs_pointers_are_recognised() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
        let file = File::new(FilePath::new("a.bin").unwrap(), Bytes::from_static(pointer));
        assert_eq!(file.lfs.unwrap().size, 12_345);
        assert!(LfsPointer::parse(b"version 2\n").is_none());
        assert!(LfsPointer::parse(&[0xff, 0xfe]).is_none());
    }

    #[tokio::test]
    async fn a_stream_of_parts_is_read_whole_and_bounded() {
        let parts = || {
            let parts = ["one ", "two"].map(|part| Ok(Bytes::from_static(part.as_bytes())));
            ByteStream::from_parts(futures_util::stream::iter(parts))
        };
        assert_eq!(parts().collect(7).await.unwrap(), "one two");
        assert_eq!(parts().collect(6).await.unwrap_err().kind(), crate::ErrorKind::Decode);
        assert_eq!(parts().length(), None);
    }

    #[test]
    fn modes_parse() {
        assert_eq!(FileMode::from_octal("100644"), Some(FileMode::Regular));
        assert_eq!(FileMode::from_octal("040000"), Some(FileMode::Directory));
        assert_eq!(FileMode::from_octal("x"), None);
    }
}
