use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, HeaderValue};
use scm_core::pipeline::{Idempotency, Operation};
use scm_core::{
    Align, AlignStrategy, Alignment, Approvals, Approve, BranchName, ByteStream, Checks, Cursor, Ensured,
    Error, ErrorKind, FileDiff, ListPullRequests, MergePullRequest, MergeStrategy, MergeWhen, Mergeability,
    NewPullRequest, Page, Pages, PullRequest, PullRequestId, PullRequestState, PullRequestStatus,
    PullRequests, Readiness, RepoId, Repositories as _, Result, Sha, UpdatePullRequest, UserName,
};

use crate::client::{GitLab, api, merge_request_api, page_size, project_api, unsupported};
use crate::page::list_page;
use crate::wire::{
    WireApprovals, WireApprove, WireCreateMergeRequest, WireDiff, WireMerge, WireMergeRequest,
    WireUpdateMergeRequest, WireUserRef,
};
use crate::{convert, diff};

/// How long a merge waits while the server is still working out whether it can be.
const MERGE_WAITS: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

#[async_trait]
impl PullRequests for GitLab {
    fn pull_request_checks(&self) -> &dyn Checks {
        self
    }

    async fn create_pull_request(&self, repo: &RepoId, new: &NewPullRequest) -> Result<Ensured<PullRequest>> {
        let operation = self.operation("create_pull_request");
        if new.title.trim().is_empty() {
            return Err(operation.invalid("a merge request needs a title"));
        }
        let source = new.source_repository.as_ref().unwrap_or(repo);
        let body = WireCreateMergeRequest {
            source_branch: new.source_branch.as_str(),
            target_branch: new.target_branch.as_str(),
            title: convert::with_draft_prefix(&new.title, new.draft),
            description: &new.description,
            target_project_id: match new.source_repository {
                Some(_) => Some(self.project_number(repo).await?),
                None => None,
            },
            labels: checked_labels(&operation, &new.labels)?,
            assignee_ids: self.user_ids(&operation, &new.assignees).await?,
            reviewer_ids: self.user_ids(&operation, &new.reviewers).await?,
            remove_source_branch: new.delete_source_branch,
            squash: new.squash,
        };
        let request = project_api(Method::POST, source, &["merge_requests"]).json(&body)?;
        let answer = operation.send(request).await;
        let error = match answer.and_then(|answer| answer.read(convert::pull_request)) {
            Ok(made) => return Ok(Ensured::created(made)),
            Err(error) => error,
        };
        if error.kind() == ErrorKind::Conflict
            && let Some(id) = existing_id(error.message())
        {
            let found = self.pull_request(repo, id).await?;
            return Ok(if operation.lost_an_answer() {
                Ensured::created(found)
            } else {
                Ensured::unchanged(found)
            });
        }
        if operation.lost_an_answer() || error.is_in_doubt() {
            // The work may have been done although its answer never came.
            let source_repository = new.source_repository.as_ref();
            let found =
                self.find_pull_request(repo, &new.source_branch, &new.target_branch, source_repository).await;
            return found.ok().flatten().map(Ensured::created).ok_or(error);
        }
        Err(error)
    }

    async fn pull_request(&self, repo: &RepoId, id: PullRequestId) -> Result<PullRequest> {
        self.wire_merge_request("pull_request", repo, id).await.and_then(convert::pull_request)
    }

    async fn list_pull_requests_page(
        &self,
        repo: &RepoId,
        opts: &ListPullRequests,
        at: Option<&Cursor>,
    ) -> Result<Page<PullRequest>> {
        let operation = self.operation("list_pull_requests");
        let state = opts.state.as_ref().map(|state| match state {
            PullRequestState::Open => Ok("opened"),
            PullRequestState::Merged => Ok("merged"),
            PullRequestState::Closed => Ok("closed"),
            PullRequestState::Merging => Ok("locked"),
            other => Err(operation.invalid(format!("GitLab knows no state '{other}' of a merge request"))),
        });
        let request = project_api(Method::GET, repo, &["merge_requests"])
            .query("order_by", "created_at")
            .query("sort", "desc")
            .query_some("state", state.transpose()?)
            .query_some("source_branch", opts.source_branch.as_ref())
            .query_some("target_branch", opts.target_branch.as_ref())
            .query_some("author_username", opts.author.as_ref())
            .query_some("labels", opts.label.as_ref())
            .query_some("updated_after", opts.updated_since)
            .query("per_page", page_size(&operation, opts.page_size)?);
        list_page(&operation, request, at, convert::pull_request).await
    }

    async fn find_pull_request(
        &self,
        repo: &RepoId,
        source: &BranchName,
        target: &BranchName,
        source_repository: Option<&RepoId>,
    ) -> Result<Option<PullRequest>> {
        let operation = self.operation("find_pull_request");
        let fork = match source_repository {
            Some(fork) => Some(self.project_number(fork).await?),
            None => None,
        };
        let request = project_api(Method::GET, repo, &["merge_requests"])
            .query("state", "opened")
            .query("source_branch", source)
            .query("target_branch", target)
            .query_some("source_project_id", fork)
            .query("per_page", page_size(&operation, None)?);
        let answer = operation.send(request).await?;
        for wire in answer.json_items::<WireMergeRequest>()? {
            let wire = wire?;
            // Forks may have opened one from a branch of the same name.
            let wanted = fork.or(wire.target_project_id);
            if wire.source_project_id == wanted && wire.source_branch == source.as_str() {
                return convert::pull_request(wire).map(Some);
            }
        }
        Ok(None)
    }

    async fn update_pull_request(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        changes: &UpdatePullRequest,
    ) -> Result<PullRequest> {
        let operation = self.operation("update_pull_request");
        if changes.is_empty() {
            return Err(operation.invalid("an update of a merge request must change something"));
        }
        // GitLab keeps "draft" in the title, so that the one cannot be changed without the other.
        let title = match (&changes.title, changes.draft) {
            (Some(title), _) if title.trim().is_empty() => {
                return Err(operation.invalid("a merge request needs a title"));
            }
            (None, None) => None,
            (Some(title), Some(draft)) => Some(convert::with_draft_prefix(title, draft)),
            (title, draft) => {
                let now = self.pull_request(repo, id).await?;
                let title = title.as_deref().unwrap_or(&now.title);
                Some(convert::with_draft_prefix(title, draft.or(now.draft).unwrap_or(false)))
            }
        };
        let body = WireUpdateMergeRequest {
            title,
            description: changes.description.as_deref(),
            target_branch: changes.target_branch.as_ref().map(BranchName::as_str),
            add_labels: checked_labels(&operation, changes.add_labels.as_deref().unwrap_or_default())?,
            remove_labels: checked_labels(&operation, changes.remove_labels.as_deref().unwrap_or_default())?,
            assignee_ids: self.replacing_ids(&operation, changes.assignees.as_deref()).await?,
            reviewer_ids: self.replacing_ids(&operation, changes.reviewers.as_deref()).await?,
            state_event: None,
        };
        put(&operation, repo, id, &body).await
    }

    async fn close_pull_request(&self, repo: &RepoId, id: PullRequestId) -> Result<PullRequest> {
        self.change_state(&self.operation("close_pull_request"), repo, id, "close", &PullRequestState::Closed)
            .await
    }

    async fn reopen_pull_request(&self, repo: &RepoId, id: PullRequestId) -> Result<PullRequest> {
        self.change_state(&self.operation("reopen_pull_request"), repo, id, "reopen", &PullRequestState::Open)
            .await
    }

    async fn merge_pull_request(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        opts: &MergePullRequest,
    ) -> Result<PullRequest> {
        let squash = opts.strategy.map(|strategy| strategy == MergeStrategy::Squash);
        let message = opts.message.as_deref();
        let later = (opts.when.unwrap_or_default() == MergeWhen::ChecksPass).then_some(true);
        let body = WireMerge {
            sha: opts.expected_head.as_ref().map(Sha::as_str),
            merge_commit_message: message.filter(|_| squash != Some(true)),
            squash_commit_message: message.filter(|_| squash == Some(true)),
            squash,
            should_remove_source_branch: opts.delete_source_branch,
            auto_merge: later,
            merge_when_pipeline_succeeds: later,
        };
        let operation = self.operation("merge_pull_request");
        let mut waits = MERGE_WAITS.into_iter();
        loop {
            // A second merge would be refused as "not open": whoever lost the answer looks at the state instead.
            let request = merge_request_api(Method::PUT, repo, id, &["merge"])
                .json(&body)?
                .idempotency(Idempotency::NotIdempotent);
            let answer = operation.send(request).await;
            let done = answer.and_then(|answer| answer.read(convert::pull_request));
            let error = match done {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if operation.lost_an_answer() {
                return match self.pull_request(repo, id).await {
                    Ok(now) if is_taken(&now, opts) => Ok(now),
                    _ => Err(error),
                };
            }
            if error.kind() != ErrorKind::Conflict {
                return Err(error);
            }
            // The status says "not allowed" only; the merge request says why.
            let Ok(wire) = self.wire_merge_request("merge_pull_request", repo, id).await else {
                return Err(error);
            };
            let Some(why) = wire.detailed_merge_status else { return Err(error) };
            let checking = convert::mergeability(Some(&why), None).readiness == Readiness::Checking;
            match waits.next().filter(|_| checking) {
                Some(wait) => operation.pause(wait).await?,
                None => return Err(error.with_server_code(why)),
            }
        }
    }

    async fn cancel_auto_merge(&self, repo: &RepoId, id: PullRequestId) -> Result<PullRequest> {
        let operation = self.operation("cancel_auto_merge");
        let nothing = || {
            let message = format!("the merge request !{id} does not wait to be merged");
            operation.own(Error::new(ErrorKind::Conflict, message))
        };
        if self.pull_request(repo, id).await?.auto_merge != Some(true) {
            return Err(nothing());
        }
        let request = merge_request_api(Method::POST, repo, id, &["cancel_merge_when_pipeline_succeeds"]);
        operation.send(request).await?;
        // What the answer holds, and whether it says that nothing was done, depends on the version.
        let now = self.pull_request(repo, id).await?;
        if now.auto_merge == Some(true) || now.state != PullRequestState::Open {
            return Err(nothing());
        }
        Ok(now)
    }

    async fn approve_pull_request(&self, repo: &RepoId, id: PullRequestId, opts: &Approve) -> Result<()> {
        let operation = self.operation("approve_pull_request");
        let body = WireApprove { sha: opts.expected_head.as_ref().map(Sha::as_str) };
        let request = merge_request_api(Method::POST, repo, id, &["approve"])
            .json(&body)?
            .idempotency(Idempotency::Idempotent);
        match operation.send(request).await {
            Ok(_) => Ok(()),
            // A second approval is refused by the words of a missing right.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let mine = self.wire_approvals(&operation, repo, id).await.ok();
                mine.filter(|mine| mine.user_has_approved == Some(true)).map(|_| ()).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn unapprove_pull_request(&self, repo: &RepoId, id: PullRequestId) -> Result<()> {
        let operation = self.operation("unapprove_pull_request");
        let request =
            merge_request_api(Method::POST, repo, id, &["unapprove"]).idempotency(Idempotency::Idempotent);
        match operation.send(request).await {
            Ok(_) => Ok(()),
            // Also said where there is no approval to take back.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mine = self.wire_approvals(&operation, repo, id).await.ok();
                mine.filter(|mine| mine.user_has_approved == Some(false)).map(|_| ()).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn approvals(&self, repo: &RepoId, id: PullRequestId) -> Result<Approvals> {
        let operation = self.operation("approvals");
        let approvals = self.wire_approvals(&operation, repo, id).await?;
        let request = merge_request_api(Method::GET, repo, id, &["reviewers"]);
        Ok(convert::approvals(approvals, operation.send(request).await?.json()?))
    }

    async fn list_pull_request_files_page(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        at: Option<&Cursor>,
    ) -> Result<Page<FileDiff>> {
        self.merge_request_diffs("list_pull_request_files", repo, id, at, diff::file).await
    }

    async fn pull_request_diff(&self, repo: &RepoId, id: PullRequestId) -> Result<ByteStream> {
        let request = merge_request_api(Method::GET, repo, id, &["raw_diffs"])
            .header(ACCEPT, HeaderValue::from_static("*/*"));
        match self.operation("pull_request_diff").stream(request).await {
            // Older versions know no raw diff: it is put together file by file.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.pull_request(repo, id).await.map_err(|_| error)?;
                let (gitlab, repo) = (self.clone(), repo.clone());
                let pages = Pages::new(None, None, move |at| {
                    let (gitlab, repo) = (gitlab.clone(), repo.clone());
                    async move {
                        let text = |wire: WireDiff| Ok(Bytes::from(diff::text(&wire)));
                        gitlab.merge_request_diffs("pull_request_diff", &repo, id, at.as_ref(), text).await
                    }
                });
                Ok(ByteStream::from_parts(pages.items(None)))
            }
            diff => diff,
        }
    }

    async fn mergeability(&self, repo: &RepoId, id: PullRequestId) -> Result<Mergeability> {
        let wire = self.wire_merge_request("mergeability", repo, id).await?;
        Ok(convert::mergeability(wire.detailed_merge_status.as_deref(), wire.has_conflicts))
    }

    async fn align_pull_request(&self, repo: &RepoId, id: PullRequestId, opts: &Align) -> Result<Alignment> {
        match opts.strategy.unwrap_or_default() {
            AlignStrategy::Rebase => self.rebase(repo, id, opts).await,
            other => Err(unsupported(
                "align_pull_request",
                format!("GitLab has no call that aligns by {other:?}; rebase, or merge the target by git"),
            )),
        }
    }

    /// One request tells the merge request, its pipeline and whether it can be merged; failed jobs take another.
    async fn pull_request_status(&self, repo: &RepoId, id: PullRequestId) -> Result<PullRequestStatus> {
        let mut wire = self.wire_merge_request("pull_request_status", repo, id).await?;
        let pipeline = wire.head_pipeline.take().map(convert::pipeline).transpose()?;
        let mergeability = convert::mergeability(wire.detailed_merge_status.as_deref(), wire.has_conflicts);
        let pull_request = convert::pull_request(wire)?;
        let checks = self.summary_of(repo, pipeline, pull_request.head.clone()).await?;
        let mergeability = (pull_request.state == PullRequestState::Open).then_some(mergeability);
        Ok(PullRequestStatus::new(pull_request, checks, mergeability))
    }
}

impl GitLab {
    async fn wire_merge_request(
        &self,
        operation: &'static str,
        repo: &RepoId,
        id: PullRequestId,
    ) -> Result<WireMergeRequest> {
        self.operation(operation).send(merge_request_api(Method::GET, repo, id, &[])).await?.json()
    }

    async fn wire_approvals(
        &self,
        operation: &Operation,
        repo: &RepoId,
        id: PullRequestId,
    ) -> Result<WireApprovals> {
        operation.send(merge_request_api(Method::GET, repo, id, &["approvals"])).await?.json()
    }

    /// One page of the changed files.
    pub(crate) async fn merge_request_diffs<T>(
        &self,
        operation: &'static str,
        repo: &RepoId,
        id: PullRequestId,
        at: Option<&Cursor>,
        convert: impl Fn(WireDiff) -> Result<T> + Send,
    ) -> Result<Page<T>> {
        let operation = self.operation(operation);
        let request = merge_request_api(Method::GET, repo, id, &["diffs"])
            .query("per_page", page_size(&operation, None)?);
        list_page(&operation, request, at, convert).await
    }

    /// Closes or reopens, unless that is the state already.
    async fn change_state(
        &self,
        operation: &Operation,
        repo: &RepoId,
        id: PullRequestId,
        event: &'static str,
        wanted: &PullRequestState,
    ) -> Result<PullRequest> {
        let now = self.pull_request(repo, id).await?;
        if now.state == *wanted {
            return Ok(now);
        }
        if matches!(now.state, PullRequestState::Merged | PullRequestState::Merging) {
            let merged = format!("the merge request !{id} is merged already");
            return Err(operation.own(Error::new(ErrorKind::Conflict, merged)));
        }
        let body = WireUpdateMergeRequest { state_event: Some(event), ..WireUpdateMergeRequest::default() };
        put(operation, repo, id, &body).await
    }

    /// The number of a project, which some parameters want in place of its path.
    pub(crate) async fn project_number(&self, repo: &RepoId) -> Result<u64> {
        let id = match repo.as_str().parse() {
            Ok(number) => return Ok(number),
            Err(_) => self.repository(repo).await?.id,
        };
        id.as_str().parse().map_err(|_| Error::new(ErrorKind::Decode, "the project's id is not a number"))
    }

    /// The ids of users by name.
    async fn user_ids(&self, operation: &Operation, names: &[UserName]) -> Result<Vec<u64>> {
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            let request = api(Method::GET, &["users"]).query("username", name);
            let answer = operation.send(request).await?;
            let found = answer.json_items::<WireUserRef>()?.into_iter().filter_map(Result::ok);
            let user = found.into_iter().find(|user| user.username.eq_ignore_ascii_case(name.as_str()));
            match user {
                Some(user) => ids.push(user.id),
                None => return Err(operation.invalid(format!("GitLab knows no user '{name}'"))),
            }
        }
        Ok(ids)
    }

    /// Ids that replace others; none at all is written as 0, which clears the list.
    async fn replacing_ids(
        &self,
        operation: &Operation,
        names: Option<&[UserName]>,
    ) -> Result<Option<Vec<u64>>> {
        match names {
            None => Ok(None),
            Some([]) => Ok(Some(vec![0])),
            Some(names) => self.user_ids(operation, names).await.map(Some),
        }
    }
}

async fn put(
    operation: &Operation,
    repo: &RepoId,
    id: PullRequestId,
    body: &WireUpdateMergeRequest<'_>,
) -> Result<PullRequest> {
    let request = merge_request_api(Method::PUT, repo, id, &[]).json(body)?;
    operation.send(request).await?.read(convert::pull_request)
}

/// The number at the end of "Another open merge request already exists for this source branch: !5".
fn existing_id(message: &str) -> Option<PullRequestId> {
    let (before, digits) = message.rsplit_once('!')?;
    before.contains("already exists").then(|| digits.trim_end().parse().ok())?
}

/// Was the merge carried out, or does it wait as it was asked to?
fn is_taken(now: &PullRequest, opts: &MergePullRequest) -> bool {
    let waits = opts.when == Some(MergeWhen::ChecksPass) && now.auto_merge == Some(true);
    (now.state == PullRequestState::Merged || waits)
        && opts.expected_head.as_ref().is_none_or(|head| now.head.as_ref() == Some(head))
}

/// The server splits each at its commas.
fn checked_labels<'a>(operation: &Operation, labels: &'a [String]) -> Result<&'a [String]> {
    match labels.iter().find(|label| label.contains(',') || label.trim().is_empty()) {
        Some(bad) => Err(operation.invalid(format!("'{bad}' is not a label: it is empty or has a comma"))),
        None => Ok(labels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_existing_merge_request_is_read_from_the_text() {
        let text = "Another open merge request already exists for this source branch: !57";
        assert_eq!(existing_id(text), Some(PullRequestId::new(57)));
        assert_eq!(existing_id("409 Conflict"), None);
        assert_eq!(existing_id("see !x"), None);
    }
}
