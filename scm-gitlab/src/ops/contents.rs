use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, HeaderValue};
use scm_core::{
    Archive, BlobId, ByteStream, Contents, Cursor, Error, ErrorKind, File, FileMode, FilePath, ListTree,
    Page, RepoId, Repositories as _, Result, Revision, Sha, TreeEntry,
};

use crate::client::{GitLab, page_size, project_api, reference};
use crate::convert;
use crate::page::list_page;
use crate::wire::WireFile;

#[async_trait]
impl Contents for GitLab {
    async fn file(&self, repo: &RepoId, at: &Revision, path: &FilePath) -> Result<File> {
        let operation = self.operation("file");
        let request = project_api(Method::GET, repo, &["repository", "files", path.as_str()])
            .query("ref", reference(&operation, at)?);
        operation.send(request).await?.read(|wire| file(path, wire))
    }

    async fn raw_file(&self, repo: &RepoId, at: &Revision, path: &FilePath) -> Result<ByteStream> {
        let operation = self.operation("raw_file");
        let request = project_api(Method::GET, repo, &["repository", "files", path.as_str(), "raw"])
            .query("ref", reference(&operation, at)?)
            .header(ACCEPT, HeaderValue::from_static("*/*"));
        operation.stream(request).await
    }

    async fn file_exists(&self, repo: &RepoId, at: &Revision, path: &FilePath) -> Result<bool> {
        let operation = self.operation("file_exists");
        let request = project_api(Method::HEAD, repo, &["repository", "files", path.as_str()])
            .query("ref", reference(&operation, at)?);
        match operation.send(request).await {
            Ok(_) => Ok(true),
            // A HEAD has no body to tell a missing repository from a missing file.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn list_tree_page(
        &self,
        repo: &RepoId,
        at: &Revision,
        opts: &ListTree,
        cursor: Option<&Cursor>,
    ) -> Result<Page<TreeEntry>> {
        let operation = self.operation("list_tree");
        let request = project_api(Method::GET, repo, &["repository", "tree"])
            .query("ref", reference(&operation, at)?)
            .query_some("path", opts.path.as_ref())
            .query_some("recursive", opts.recursive)
            .query("pagination", "keyset")
            .query("per_page", page_size(&operation, opts.page_size)?);
        let page = list_page(&operation, request, cursor, convert::tree_entry).await;
        match page {
            Err(error) if opts.path.is_none() => self.empty_page_for(repo, at, error).await,
            page => page,
        }
    }

    async fn archive(&self, repo: &RepoId, at: &Revision, opts: &Archive) -> Result<ByteStream> {
        let operation = self.operation("archive");
        let name = format!("archive.{}", opts.format.unwrap_or_default().as_str());
        let sha = match at {
            // The parameter takes no `HEAD`; without it the default branch is meant.
            Revision::Head => None,
            at => Some(reference(&operation, at)?),
        };
        let request = project_api(Method::GET, repo, &["repository", &name])
            .query_some("sha", sha)
            .query_some("path", opts.path.as_ref())
            .header(ACCEPT, HeaderValue::from_static("*/*"));
        operation.stream(request).await
    }
}

impl GitLab {
    /// GitLab answers 404 for the tree and log of an empty repository; an empty repository has an empty one.
    pub(crate) async fn empty_page_for<T>(
        &self,
        repo: &RepoId,
        at: &Revision,
        error: Error,
    ) -> Result<Page<T>> {
        if error.kind() == ErrorKind::NotFound
            && *at == Revision::Head
            && let Ok(repository) = self.repository(repo).await
            && repository.empty == Some(true)
        {
            return Ok(Page::new(Vec::new(), None));
        }
        Err(error)
    }
}

fn file(path: &FilePath, wire: WireFile) -> Result<File> {
    let content = match wire.encoding.as_deref() {
        Some("base64") | None => STANDARD.decode(&wire.content).map(Bytes::from).map_err(|_| {
            Error::new(ErrorKind::Decode, "the file's content is not valid base64 (at 'content')")
        })?,
        Some("text") => Bytes::from(wire.content),
        Some(_) => return Err(Error::new(ErrorKind::Decode, "an encoding of its own (at 'encoding')")),
    };
    let mut file = File::new(path.clone(), content);
    file.blob_id = wire.blob_id.and_then(|id| BlobId::new(id).ok());
    file.last_commit = wire.last_commit_id.and_then(|id| Sha::new(id).ok());
    file.mode = wire
        .execute_filemode
        .map(|executable| if executable { FileMode::Executable } else { FileMode::Regular });
    Ok(file)
}
