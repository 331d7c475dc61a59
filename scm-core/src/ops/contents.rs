use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::id::{FilePath, RepoId, Revision};
use crate::macros::options;
use crate::model::{ByteStream, File, TreeEntry};
use crate::page::{Cursor, Page};

/// Reading files.
#[async_trait]
pub trait Contents: Debug + Send + Sync + 'static {
    /// A file with its bytes, blob id, last commit and mode, as far as the server tells them. A Git LFS pointer is
    /// given as such and flagged. For large files use [`raw_file`](Self::raw_file).
    ///
    /// GitLab: `GET /projects/:id/repository/files/:path`. Bitbucket: `raw` and `last-modified`. Scope
    /// `read_repository`, `read_api` or `api`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository, revision or path.
    async fn file(&self, repo: &RepoId, at: &Revision, path: &FilePath) -> Result<File>;

    /// The bytes of a file as they arrive, however large.
    ///
    /// GitLab: `GET /projects/:id/repository/files/:path/raw`. Bitbucket: `GET …/raw/{path}`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository, revision or path.
    async fn raw_file(&self, repo: &RepoId, at: &Revision, path: &FilePath) -> Result<ByteStream>;

    /// Is there a file at this path? A directory is not a file.
    ///
    /// GitLab: `HEAD /projects/:id/repository/files/:path`. Bitbucket: `GET …/browse/{path}?type=true`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` only where the server tells a missing repository or revision from a missing path.
    async fn file_exists(&self, repo: &RepoId, at: &Revision, path: &FilePath) -> Result<bool>;

    /// One page of a tree, resumable. An empty repository has an empty tree.
    ///
    /// GitLab: `GET /projects/:id/repository/tree` by keyset. Bitbucket: `GET …/files` (recursive; files only) or
    /// `GET …/browse`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository, revision or directory, `InvalidInput` for a foreign cursor.
    async fn list_tree_page(
        &self,
        repo: &RepoId,
        at: &Revision,
        opts: &ListTree,
        cursor: Option<&Cursor>,
    ) -> Result<Page<TreeEntry>>;

    /// The whole tree, or a part of it, as one archive.
    ///
    /// GitLab: `GET /projects/:id/repository/archive.:format?sha=` (one redirect to another https origin is followed
    /// without the credential). Bitbucket: `GET …/archive?at=`. Idempotent; often rate limited on its own.
    ///
    /// # Errors
    /// `NotFound` for the repository, revision or path.
    async fn archive(&self, repo: &RepoId, at: &Revision, opts: &Archive) -> Result<ByteStream>;
}

options! {
    /// Which part of a tree to list.
    pub struct ListTree {
        /// The directory. Default: the root.
        path / with_path: FilePath,
        /// Go into directories. Default: no.
        recursive / with_recursive: bool,
        /// Items per page; the server may give fewer. Default and most: 100.
        page_size / with_page_size: u16,
    }
}

options! {
    /// What an archive holds.
    pub struct Archive {
        /// Its format. Default: `tar.gz`.
        format / with_format: ArchiveFormat,
        /// Only this directory or file.
        path / with_path: FilePath,
    }
}

/// Format of an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ArchiveFormat {
    /// tar, compressed by gzip.
    #[default]
    TarGz,
    /// tar.
    Tar,
    /// zip.
    Zip,
}

impl ArchiveFormat {
    /// The usual file ending.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TarGz => "tar.gz",
            Self::Tar => "tar",
            Self::Zip => "zip",
        }
    }
}
