use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use scm_core::pipeline::{ApiRequest, Operation};
use scm_core::{
    Archive, BlobId, ByteStream, Contents, Cursor, Delivery, Error, ErrorKind, File, FilePath, ListTree,
    Page, RepoId, Result, Revision, TreeEntry,
};
use sha1::{Digest as _, Sha1};

use crate::client::{BitbucketDc, page_size, reference};
use crate::convert;
use crate::page::{Inside, list_page, list_page_within};
use crate::user::Caller;
use crate::wire::{WireBrowse, WireBrowseRaw, WireKind};

#[async_trait]
impl Contents for BitbucketDc {
    async fn file(&self, repo: &RepoId, at: &Revision, path: &FilePath) -> Result<File> {
        let operation = self.operation("file");
        let request = self.raw_request(&operation, repo, at, path)?;
        let answer = match operation.send(request).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.file_error(&operation, repo, at, path, error).await),
        };
        // A page of the repository comes with the name of who asked; one for signing in does not.
        if is_page(answer.headers()) && Caller::of(answer.headers()).is_none() {
            let page = "a web page answers in place of the file; it seems to be a login page or a proxy's";
            return Err(answer.own(Error::new(ErrorKind::Decode, page).with_delivery(Delivery::Answered)));
        }
        let mut file = File::new(path.clone(), answer.into_bytes());
        file.blob_id = BlobId::new(blob_id(&file.content)).ok();
        Ok(file)
    }

    async fn raw_file(&self, repo: &RepoId, at: &Revision, path: &FilePath) -> Result<ByteStream> {
        let operation = self.operation("raw_file");
        let request = self.raw_request(&operation, repo, at, path)?;
        match operation.stream(request).await {
            Ok(stream) => Ok(stream),
            Err(error) => Err(self.file_error(&operation, repo, at, path, error).await),
        }
    }

    async fn file_exists(&self, repo: &RepoId, at: &Revision, path: &FilePath) -> Result<bool> {
        let operation = self.operation("file_exists");
        match self.kind_of(&operation, repo, at, path).await {
            Ok(kind) => Ok(kind == "FILE"),
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
        let size = page_size(&operation, opts.page_size)?;
        let path = opts.path.as_ref();
        let recursive = opts.recursive.unwrap_or(false);
        let request = self
            .path_api(Method::GET, repo, &[if recursive { "files" } else { "browse" }], path)?
            .query_some("at", reference(&operation, at)?)
            .query("limit", size);
        let page = if recursive {
            list_page(&operation, request, cursor, |name| convert::file_entry(path, name)).await
        } else {
            let inside = Inside {
                whole: |wire: WireBrowse| wire.children,
                raw: |wire: WireBrowseRaw| wire.children,
                place: "children.values",
            };
            list_page_within(&operation, request, cursor, inside, |wire| convert::tree_entry(path, wire))
                .await
        };
        match page {
            Err(error) => self.tree_error(&operation, repo, at, path, error).await,
            page => page,
        }
    }

    async fn archive(&self, repo: &RepoId, at: &Revision, opts: &Archive) -> Result<ByteStream> {
        let operation = self.operation("archive");
        let request = self
            .repo_api(Method::GET, repo, &["archive"])?
            .query_some("at", reference(&operation, at)?)
            .query("format", opts.format.unwrap_or_default().as_str())
            .query_some("path", opts.path.as_ref())
            .header(ACCEPT, HeaderValue::from_static("*/*"));
        operation.stream(request).await
    }
}

impl BitbucketDc {
    fn raw_request(
        &self,
        operation: &Operation,
        repo: &RepoId,
        at: &Revision,
        path: &FilePath,
    ) -> Result<ApiRequest> {
        Ok(self
            .path_api(Method::GET, repo, &["raw"], Some(path))?
            .query_some("at", reference(operation, at)?)
            .header(ACCEPT, HeaderValue::from_static("*/*")))
    }

    /// `FILE`, `DIRECTORY` or `SUBMODULE`.
    async fn kind_of(
        &self,
        operation: &Operation,
        repo: &RepoId,
        at: &Revision,
        path: &FilePath,
    ) -> Result<String> {
        let request = self
            .path_api(Method::GET, repo, &["browse"], Some(path))?
            .query_some("at", reference(operation, at)?)
            .query("type", true);
        Ok(operation.send(request).await?.json::<WireKind>()?.kind)
    }

    /// What the server refuses to give as bytes may be a directory; how it says so differs.
    async fn file_error(
        &self,
        operation: &Operation,
        repo: &RepoId,
        at: &Revision,
        path: &FilePath,
        error: Error,
    ) -> Error {
        if error.kind() != ErrorKind::InvalidInput {
            return error;
        }
        match self.kind_of(operation, repo, at, path).await.as_deref() {
            Ok("DIRECTORY") => {
                operation.own(Error::new(ErrorKind::NotFound, format!("'{path}' is a directory")))
            }
            Ok("SUBMODULE") => {
                operation.own(Error::new(ErrorKind::NotFound, format!("'{path}' is a submodule")))
            }
            _ => error,
        }
    }

    /// A file has no entries, and an empty repository none at all.
    async fn tree_error(
        &self,
        operation: &Operation,
        repo: &RepoId,
        at: &Revision,
        path: Option<&FilePath>,
        error: Error,
    ) -> Result<Page<TreeEntry>> {
        match path {
            None => self.empty_page_for(repo, at, error).await,
            Some(path) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Decode) => {
                match self.kind_of(operation, repo, at, path).await.as_deref() {
                    Ok("DIRECTORY") | Err(_) => Err(error),
                    Ok(_) => {
                        let message = format!("'{path}' is no directory");
                        Err(operation.own(Error::new(ErrorKind::NotFound, message)))
                    }
                }
            }
            Some(_) => Err(error),
        }
    }

    /// Bitbucket answers 404 for the default branch of an empty repository; an empty repository has an empty tree and
    /// log.
    pub(crate) async fn empty_page_for<T>(
        &self,
        repo: &RepoId,
        at: &Revision,
        error: Error,
    ) -> Result<Page<T>> {
        if error.kind() == ErrorKind::NotFound && *at == Revision::Head && self.is_empty(repo).await {
            return Ok(Page::new(Vec::new(), None));
        }
        Err(error)
    }
}

fn is_page(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
}

/// The id that git gives these bytes.
fn blob_id(content: &Bytes) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
