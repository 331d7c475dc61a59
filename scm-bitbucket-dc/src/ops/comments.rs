use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use http::Method;
use scm_core::pipeline::{ApiRequest, Operation};
use scm_core::{
    Comment, CommentId, CommentPosition, Comments, Cursor, Delivery, DiffSide, Error, ErrorKind, FilePath,
    LineRange, ListComments, NewComment, Page, Pages, PullRequestId, RepoId, Resolution, Result, ThreadId,
};

use crate::client::{BitbucketDc, PROVIDER, page_size, since, unsupported};
use crate::error::is_out_of_date;
use crate::page::list_page;
use crate::wire::{
    WireActivity, WireChangeComment, WireComment, WireDiff, WireFileDiff, WireHunk, WireId, WireLineMarker,
    WireLineSpan, WireNewAnchor, WireNewComment,
};
use crate::{convert, diff};

#[async_trait]
impl Comments for BitbucketDc {
    /// The server lists what happened, newest first. To give the oldest thread first, all of it is read; with a page
    /// size it is read again for each page, so that it is better to ask for none.
    async fn list_comments_page(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        opts: &ListComments,
        at: Option<&Cursor>,
    ) -> Result<Page<Comment>> {
        let operation = self.operation("list_comments");
        if let Some(size) = opts.page_size {
            page_size(&operation, Some(size))?;
        }
        let place = format!("{repo}#{id}");
        let after = match at {
            None => None,
            Some(cursor) => {
                let token =
                    cursor.token_for(PROVIDER, "list_comments").map_err(|error| operation.own(error))?;
                let after = token.rsplit_once('?').filter(|(of, _)| *of == place);
                let after = after.and_then(|(_, after)| after.parse::<u64>().ok());
                Some(after.ok_or_else(|| {
                    operation.invalid("the cursor belongs to another list of the same kind")
                })?)
            }
        };
        let mut threads = self.threads(repo, id, opts.system == Some(true)).await?;
        threads.sort_by_key(|(activity, _)| *activity);
        threads.retain(|(activity, _)| after.is_none_or(|after| *activity > after));
        let size = opts.page_size.map_or(usize::MAX, usize::from);
        let more = threads.len() > size;
        threads.truncate(size);
        let last = threads.last().map(|(activity, _)| *activity).filter(|_| more);
        let next = last.map(|last| Cursor::new(PROVIDER, "list_comments", format!("{place}?{last}")));
        let mut items = Vec::new();
        for (_, thread) in threads {
            match thread {
                Ok(comments) => items.extend(comments.into_iter().map(Ok)),
                Err(error) => items.push(Err(error)),
            }
        }
        Ok(Page::new(items, next))
    }

    async fn create_comment(&self, repo: &RepoId, id: PullRequestId, new: &NewComment) -> Result<Comment> {
        let operation = self.operation("create_comment");
        let text = text(&operation, &new.body)?;
        let anchor = match &new.position {
            CommentPosition::General => None,
            CommentPosition::File { path } => Some(file_anchor(path, None)),
            CommentPosition::Lines { path, old_path, lines } => {
                if lines.start != lines.end {
                    let needed = since::MULTILINE_COMMENTS;
                    self.needs("create_comment", needed, "comments on several lines").await?;
                }
                let diff = self.diff_of(&operation, repo, id, path, old_path.as_ref()).await?;
                let hunks = diff.as_ref().map(|diff| diff.hunks.as_slice()).unwrap_or_default();
                Some(line_anchor(path, old_path.as_ref(), *lines, hunks))
            }
            other => return Err(unsupported("create_comment", format!("a comment on {other:?}"))),
        };
        let placed = anchor.is_some();
        let body = WireNewComment { text, parent: None, severity: new.task.then_some("BLOCKER"), anchor };
        let request = self.comments_api(Method::POST, repo, id, &[])?.json(&body)?;
        let made = operation.send(request).await.map_err(|error| match error.kind() {
            // Of a file or line that is not in the diff the server says "not found", which would be the pull request.
            ErrorKind::NotFound if placed && error.server_code() == Some("NoSuchPathException") => {
                operation.own(super::branches::with_kind(ErrorKind::InvalidInput, &error))
            }
            _ => error,
        })?;
        made.read(|wire: WireComment| {
            let root = ThreadId::new(wire.id.to_string())?;
            convert::comment(wire, &root)
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
        let text = text(&operation, body)?;
        let parent = Some(WireId { id: number(&operation, thread.as_str())? });
        let body = WireNewComment { text, parent, severity: None, anchor: None };
        let request = self.comments_api(Method::POST, repo, id, &[])?.json(&body)?;
        operation.send(request).await?.read(|wire| convert::comment(wire, thread))
    }

    async fn edit_comment(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        comment: &CommentId,
        body: &str,
    ) -> Result<Comment> {
        let operation = self.operation("edit_comment");
        let text = text(&operation, body)?;
        let change = |now: &WireComment| WireChangeComment {
            version: now.version,
            text: Some(text),
            state: None,
            thread_resolved: None,
        };
        let made = self.change_comment(&operation, repo, id, comment.as_str(), change).await?;
        let root = match &made.parent {
            Some(parent) => ThreadId::new(parent.id.to_string())?,
            None => ThreadId::new(made.id.to_string())?,
        };
        convert::comment(made, &root)
    }

    async fn delete_comment(&self, repo: &RepoId, id: PullRequestId, comment: &CommentId) -> Result<()> {
        let operation = self.operation("delete_comment");
        let mut again = true;
        loop {
            let now = self.look_at_comment(&operation, repo, id, comment.as_str()).await?;
            let request = self
                .comments_api(Method::DELETE, repo, id, &[comment.as_str()])?
                .query("version", now.version);
            match operation.send(request).await {
                Ok(_) => return Ok(()),
                // Gone by an earlier try of ours whose answer was lost.
                Err(error) if error.kind() == ErrorKind::NotFound && operation.lost_an_answer() => {
                    return Ok(());
                }
                Err(error) if is_out_of_date(&error) && std::mem::take(&mut again) => {}
                Err(error) => return Err(error),
            }
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
        let resolved = to == Resolution::Resolved;
        let change = |now: &WireComment| {
            let is_task = now.severity.as_deref() == Some("BLOCKER");
            WireChangeComment {
                version: now.version,
                text: None,
                state: is_task.then_some(if resolved { "RESOLVED" } else { "OPEN" }),
                thread_resolved: (!is_task).then_some(resolved),
            }
        };
        self.change_comment(&operation, repo, id, thread.as_str(), change).await.map(drop)
    }
}

/// A thread, or why it cannot be read.
type Thread = Result<Vec<Comment>>;

impl BitbucketDc {
    /// All threads, each with the number of the event that began it: numbers rise with time.
    async fn threads(&self, repo: &RepoId, id: PullRequestId, system: bool) -> Result<Vec<(u64, Thread)>> {
        let pages = Pages::new(None, None, |at| async move {
            let operation = self.operation("list_comments");
            let request = self.pull_request_api(Method::GET, repo, id, &["activities"])?.query("limit", 500);
            list_page(&operation, request, at.as_ref(), |wire| Ok(thread(wire, system))).await
        });
        let mut pages = std::pin::pin!(pages);
        let mut threads = Vec::new();
        while let Some(page) = pages.try_next().await? {
            for item in page.items {
                match item {
                    Ok(found) => threads.extend(found),
                    Err(error) => threads.push((0, Err(error))),
                }
            }
        }
        Ok(threads)
    }

    fn comments_api(
        &self,
        method: Method,
        repo: &RepoId,
        id: PullRequestId,
        rest: &[&str],
    ) -> Result<ApiRequest> {
        self.pull_request_api(method, repo, id, &[&["comments"], rest].concat())
    }

    async fn look_at_comment(
        &self,
        operation: &Operation,
        repo: &RepoId,
        id: PullRequestId,
        comment: &str,
    ) -> Result<WireComment> {
        number(operation, comment)?;
        operation.send(self.comments_api(Method::GET, repo, id, &[comment])?).await?.json()
    }

    /// Sends a change for the version that is there, and once more for the one that someone else has made of it.
    async fn change_comment<'a>(
        &self,
        operation: &Operation,
        repo: &RepoId,
        id: PullRequestId,
        comment: &str,
        change: impl Fn(&WireComment) -> WireChangeComment<'a> + Send,
    ) -> Result<WireComment> {
        let mut again = true;
        loop {
            let now = self.look_at_comment(operation, repo, id, comment).await?;
            let body = change(&now);
            let request = self.comments_api(Method::PUT, repo, id, &[comment])?.json(&body)?;
            match operation.send(request).await {
                Ok(answer) => return answer.json(),
                Err(error) if is_out_of_date(&error) && std::mem::take(&mut again) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The diff of one file of a pull request; `None` where it does not change the file.
    async fn diff_of(
        &self,
        operation: &Operation,
        repo: &RepoId,
        id: PullRequestId,
        path: &FilePath,
        old_path: Option<&FilePath>,
    ) -> Result<Option<WireFileDiff>> {
        let number = id.to_string();
        let request = self
            .path_api(Method::GET, repo, &["pull-requests", &number, "diff"], Some(path))?
            .query_some("srcPath", old_path)
            .query("withComments", false);
        match operation.send(request).await {
            Ok(answer) => Ok(answer.json::<WireDiff>()?.diffs.into_iter().next()),
            // The pull request tells itself apart when the comment is made.
            Err(error) if error.server_code() == Some("NoSuchPathException") => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The thread that an event began.
fn thread(wire: WireActivity, system: bool) -> Option<(u64, Thread)> {
    let id = wire.id.unwrap_or(0);
    if wire.action == "COMMENTED" {
        let began = wire.comment_action.as_deref().is_none_or(|action| action == "ADDED");
        let comment = wire.comment.filter(|comment| began && comment.parent.is_none())?;
        return Some((id, convert::thread(comment, wire.comment_anchor)));
    }
    if !system {
        return None;
    }
    let event = || {
        let thread = ThreadId::new(format!("activity-{id}"))?;
        let mut out = Comment::new(CommentId::new(format!("activity-{id}"))?, wire.action.to_lowercase());
        out.thread = Some(thread);
        out.system = true;
        out.author = wire.user.and_then(|user| user.name.parse().ok());
        out.created_at = wire.created_date.and_then(|time| time.read());
        Ok(vec![out])
    };
    Some((id, event()))
}

fn text<'a>(operation: &Operation, text: &'a str) -> Result<&'a str> {
    if text.trim().is_empty() {
        return Err(operation.invalid("a comment needs a text"));
    }
    Ok(text)
}

/// Comments have numbers: another text names none, and must not become a path.
fn number(operation: &Operation, id: &str) -> Result<u64> {
    id.parse().map_err(|_| {
        let error = Error::new(ErrorKind::NotFound, format!("there is no comment '{id}': they have numbers"));
        operation.own(error.with_delivery(Delivery::NotSent))
    })
}

fn file_anchor<'a>(path: &'a FilePath, old_path: Option<&'a FilePath>) -> WireNewAnchor<'a> {
    WireNewAnchor {
        path: path.as_str(),
        src_path: old_path.map(FilePath::as_str),
        diff_type: "EFFECTIVE",
        line: None,
        line_type: None,
        file_type: None,
        multiline_marker: None,
        multiline_span: None,
    }
}

fn line_anchor<'a>(
    path: &'a FilePath,
    old_path: Option<&'a FilePath>,
    lines: LineRange,
    hunks: &[WireHunk],
) -> WireNewAnchor<'a> {
    let kind = |line| diff::line_type(hunks, lines.side, line);
    let several = lines.start != lines.end;
    let old = lines.side == DiffSide::Old;
    let (start, end) = (several.then_some(lines.start), several.then_some(lines.end));
    let span = if old {
        WireLineSpan { src_span_start: start, src_span_end: end, ..WireLineSpan::default() }
    } else {
        WireLineSpan { dst_span_start: start, dst_span_end: end, ..WireLineSpan::default() }
    };
    let marker = || WireLineMarker { start_line: lines.start, start_line_type: kind(lines.start).to_owned() };
    WireNewAnchor {
        line: Some(lines.end),
        line_type: Some(kind(lines.end)),
        file_type: Some(if old { "FROM" } else { "TO" }),
        multiline_marker: several.then(marker),
        multiline_span: several.then_some(span),
        ..file_anchor(path, old_path)
    }
}
