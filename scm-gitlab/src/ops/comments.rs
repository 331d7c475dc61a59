use std::time::Duration;

use async_trait::async_trait;
use futures_util::{TryStreamExt as _, future};
use http::{Method, StatusCode};
use scm_core::pipeline::{ApiRequest, Operation};
use scm_core::{
    Comment, CommentId, CommentPosition, Comments, Cursor, Delivery, Error, ErrorKind, FilePath, LineRange,
    ListComments, NewComment, Page, Pages, PullRequestId, RepoId, Resolution, Result, ThreadId,
};

use crate::client::{GitLab, merge_request_api, page_size, unsupported};
use crate::diff::Line;
use crate::page::list_page;
use crate::wire::{WireDiff, WireDiffRefs, WireMergeRequest, WireNewNote, WireNewPosition};
use crate::{convert, diff};

/// How long a new merge request is waited for until its diff is there.
const DIFF_WAITS: [Duration; 6] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(4),
];

#[async_trait]
impl Comments for GitLab {
    async fn list_comments_page(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        opts: &ListComments,
        at: Option<&Cursor>,
    ) -> Result<Page<Comment>> {
        let operation = self.operation("list_comments");
        let request = discussions_api(Method::GET, repo, id, &[])
            .query("per_page", page_size(&operation, opts.page_size)?);
        let threads = list_page(&operation, request, at, convert::thread).await?;
        let system = opts.system.unwrap_or(false);
        let mut items = Vec::with_capacity(threads.items.len());
        for thread in threads.items {
            match thread {
                Ok(comments) => {
                    items.extend(comments.into_iter().filter(|comment| system || !comment.system).map(Ok));
                }
                Err(error) => items.push(Err(error)),
            }
        }
        Ok(Page::new(items, threads.next))
    }

    async fn create_comment(&self, repo: &RepoId, id: PullRequestId, new: &NewComment) -> Result<Comment> {
        if new.task {
            return Err(unsupported("create_comment", "GitLab has no tasks; open a thread instead"));
        }
        let operation = self.operation("create_comment");
        let diff;
        let place = match &new.position {
            CommentPosition::General => {
                let request = notes_api(Method::POST, repo, id, &[]).json(&note(&operation, &new.body)?)?;
                return send_note(&operation, request, None).await;
            }
            CommentPosition::File { path } => {
                diff = self.diff_of(repo, id, path).await?;
                Place::file(path, diff.as_ref())
            }
            CommentPosition::Lines { path, old_path, lines } => {
                diff = self.diff_of(repo, id, path).await?;
                Place::lines(path, old_path.as_ref(), *lines, diff.as_ref())
                    .map_err(|error| operation.own(error))?
            }
            other => return Err(unsupported("create_comment", format!("a comment on {other:?}"))),
        };
        let refs = self.diff_refs(&operation, repo, id).await?;
        let body = WireNewNote { position: Some(place.wire(&refs)), ..note(&operation, &new.body)? };
        let request = discussions_api(Method::POST, repo, id, &[]).json(&body)?;
        let thread = operation.send(request).await?.read(convert::thread)?;
        thread.into_iter().next().ok_or_else(|| {
            operation.own(Error::new(ErrorKind::Decode, "the new discussion has no note (at 'notes')"))
        })
    }

    async fn reply(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        thread: &ThreadId,
        body: &str,
    ) -> Result<Comment> {
        let operation = self.operation("reply");
        let request = discussions_api(Method::POST, repo, id, &[thread.as_str(), "notes"])
            .json(&note(&operation, body)?)?;
        send_note(&operation, request, Some(thread)).await
    }

    async fn edit_comment(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        comment: &CommentId,
        text: &str,
    ) -> Result<Comment> {
        let operation = self.operation("edit_comment");
        let request = notes_api(Method::PUT, repo, id, &[comment.as_str()]).json(&note(&operation, text)?)?;
        operation.send(request).await?.read(|wire| convert::comment(wire, None))
    }

    async fn delete_comment(&self, repo: &RepoId, id: PullRequestId, comment: &CommentId) -> Result<()> {
        let operation = self.operation("delete_comment");
        match operation.send(notes_api(Method::DELETE, repo, id, &[comment.as_str()])).await {
            Ok(_) => Ok(()),
            // Gone by an earlier try of ours whose answer was lost.
            Err(error) if error.kind() == ErrorKind::NotFound && operation.lost_an_answer() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn resolve_thread(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        thread: &ThreadId,
        to: Resolution,
    ) -> Result<()> {
        let operation = self.operation("resolve_thread");
        let request = discussions_api(Method::PUT, repo, id, &[thread.as_str()])
            .query("resolved", to == Resolution::Resolved);
        let Err(error) = operation.send(request).await else { return Ok(()) };
        if error.kind() == ErrorKind::PermissionDenied {
            // GitLab says 403 of a thread that nobody can resolve, too.
            let request = discussions_api(Method::GET, repo, id, &[thread.as_str()]);
            let comments = operation.send(request).await.and_then(|answer| answer.json());
            if let Ok(comments) = comments.and_then(convert::thread)
                && comments.iter().all(|comment| comment.resolved.is_none())
            {
                return Err(operation.invalid("a comment outside of a thread cannot be resolved"));
            }
        }
        Err(error)
    }
}

impl GitLab {
    /// The diff of one file of a merge request; `None` where it does not change the file.
    async fn diff_of(&self, repo: &RepoId, id: PullRequestId, path: &FilePath) -> Result<Option<WireDiff>> {
        let pages = Pages::new(None, None, |at| async move {
            self.merge_request_diffs("create_comment", repo, id, at.as_ref(), Ok).await
        });
        let is_it = |diff: &WireDiff| [&diff.new_path, &diff.old_path].contains(&&path.to_string());
        pages.items(None).try_filter(|diff| future::ready(is_it(diff))).try_next().await
    }

    /// The commits that a merge request's diff is made of. Right after its creation they are not there yet.
    async fn diff_refs(
        &self,
        operation: &Operation,
        repo: &RepoId,
        id: PullRequestId,
    ) -> Result<WireDiffRefs> {
        for wait in DIFF_WAITS {
            let request = merge_request_api(Method::GET, repo, id, &[]);
            if let Some(refs) = operation.send(request).await?.json::<WireMergeRequest>()?.diff_refs {
                return Ok(refs);
            }
            operation.pause(wait).await?;
        }
        let message = format!("GitLab is still preparing the diff of !{id}");
        Err(operation.own(Error::new(ErrorKind::Unavailable, message).with_delivery(Delivery::NotSent)))
    }
}

/// Where in a diff a comment goes.
struct Place<'a> {
    kind: &'static str,
    old_path: &'a str,
    new_path: &'a str,
    /// First and last line.
    lines: Option<(Line, Line)>,
}

impl<'a> Place<'a> {
    fn file(path: &'a FilePath, diff: Option<&'a WireDiff>) -> Self {
        let (old_path, new_path) =
            diff.map_or((path.as_str(), path.as_str()), |diff| (&diff.old_path, &diff.new_path));
        Self { kind: "file", old_path, new_path, lines: None }
    }

    /// # Errors
    /// `InvalidInput` where GitLab shows no diff to count lines in.
    fn lines(
        path: &'a FilePath,
        old_path: Option<&'a FilePath>,
        lines: LineRange,
        diff: Option<&'a WireDiff>,
    ) -> Result<Self> {
        if let Some(diff) = diff.filter(|diff| diff.diff.is_empty()) {
            let why = if diff.too_large == Some(true) || diff.collapsed == Some(true) {
                "GitLab shows no diff of this size"
            } else {
                "none of its lines changes"
            };
            return Err(Error::invalid(format!("'{path}' takes no comments on lines: {why}")));
        }
        let file = Self::file(path, diff);
        Ok(Self {
            kind: "text",
            old_path: old_path.map_or(file.old_path, FilePath::as_str),
            lines: Some(diff::ends(diff.map(|diff| diff.diff.as_str()), lines)),
            ..file
        })
    }

    fn wire<'b>(&'b self, refs: &'b WireDiffRefs) -> WireNewPosition<'b> {
        let last = self.lines.map(|(_, last)| last);
        WireNewPosition {
            position_type: self.kind,
            base_sha: &refs.base_sha,
            start_sha: &refs.start_sha,
            head_sha: &refs.head_sha,
            old_path: self.old_path,
            new_path: self.new_path,
            old_line: last.and_then(Line::old_line),
            new_line: last.and_then(Line::new_line),
            line_range: self
                .lines
                .filter(|(first, last)| first != last)
                .map(|(first, last)| diff::range(self.new_path, first, last)),
        }
    }
}

fn notes_api(method: Method, repo: &RepoId, id: PullRequestId, rest: &[&str]) -> ApiRequest {
    merge_request_api(method, repo, id, &[&["notes"], rest].concat())
}

fn discussions_api(method: Method, repo: &RepoId, id: PullRequestId, rest: &[&str]) -> ApiRequest {
    merge_request_api(method, repo, id, &[&["discussions"], rest].concat())
}

fn note<'a>(operation: &Operation, text: &'a str) -> Result<WireNewNote<'a>> {
    if text.trim().is_empty() {
        return Err(operation.invalid("a comment needs a text"));
    }
    Ok(WireNewNote { body: text, position: None })
}

async fn send_note(operation: &Operation, request: ApiRequest, thread: Option<&ThreadId>) -> Result<Comment> {
    let answer = operation.send(request).await?;
    if answer.status() == StatusCode::ACCEPTED {
        let message =
            "GitLab carried the text out as quick actions and made no comment; start no line with '/'";
        return Err(operation.invalid(message).with_status(answer.status()));
    }
    answer.read(|wire| convert::comment(wire, thread.cloned()))
}
