use async_trait::async_trait;
use http::{Method, StatusCode};
use scm_core::pipeline::{ApiRequest, Operation};
use scm_core::{
    Comment, CommentId, CommentPosition, Comments, Cursor, Error, ErrorKind, ListComments, NewComment, Page,
    PullRequestId, RepoId, Resolution, Result, ThreadId,
};

use crate::client::{GitLab, not_built, page_size, project_api};
use crate::convert;
use crate::page::list_page;
use crate::wire::WireNoteBody;

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
        let request = notes_api(Method::GET, repo, id, &[])
            .query("sort", "asc")
            .query("order_by", "created_at")
            .query("per_page", page_size(&operation, opts.page_size)?);
        let mut page = list_page(&operation, request, at, convert::comment).await?;
        if !opts.system.unwrap_or(false) {
            page.items.retain(|item| item.as_ref().map_or(true, |comment| !comment.system));
        }
        Ok(page)
    }

    async fn create_comment(&self, repo: &RepoId, id: PullRequestId, new: &NewComment) -> Result<Comment> {
        if new.task {
            return Err(Error::unsupported("create_comment", "GitLab has no tasks; open a thread instead"));
        }
        if new.position != CommentPosition::General {
            return Err(not_built("create_comment", "comments on files and lines of GitLab"));
        }
        let operation = self.operation("create_comment");
        let request = notes_api(Method::POST, repo, id, &[]).json(&body(&operation, &new.body)?)?;
        let answer = operation.send(request).await?;
        if answer.status() == StatusCode::ACCEPTED {
            return Err(operation.invalid(
                "GitLab carried the text out as quick actions and made no comment; start no line with '/'",
            )
            .with_status(answer.status()));
        }
        answer.json().and_then(convert::comment)
    }

    async fn reply(&self, _: &RepoId, _: PullRequestId, _: &ThreadId, _: &str) -> Result<Comment> {
        Err(not_built("reply", "threads of GitLab"))
    }

    async fn edit_comment(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        comment: &CommentId,
        text: &str,
    ) -> Result<Comment> {
        let operation = self.operation("edit_comment");
        let request = notes_api(Method::PUT, repo, id, &[comment.as_str()]).json(&body(&operation, text)?)?;
        operation.send(request).await?.json().and_then(convert::comment)
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

    async fn resolve_thread(&self, _: &RepoId, _: PullRequestId, _: &ThreadId, _: Resolution) -> Result<()> {
        Err(not_built("resolve_thread", "threads of GitLab"))
    }
}

fn notes_api(method: Method, repo: &RepoId, id: PullRequestId, rest: &[&str]) -> ApiRequest {
    let id = id.to_string();
    let mut segments = vec!["merge_requests", &id, "notes"];
    segments.extend_from_slice(rest);
    project_api(method, repo, &segments)
}

fn body<'a>(operation: &Operation, text: &'a str) -> Result<WireNoteBody<'a>> {
    if text.trim().is_empty() {
        return Err(operation.invalid("a comment needs a text"));
    }
    Ok(WireNoteBody { body: text })
}
