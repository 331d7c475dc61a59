use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, future};
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use scm_core::pipeline::{ApiRequest, Idempotency, Operation};
use scm_core::{
    Align, AlignStrategy, Alignment, Approvals, Approve, BranchName, Branches as _, ByteStream, Checks,
    Cursor, Delivery, Ensured, Error, ErrorKind, FileDiff, ListPullRequests, MergeBlocker, MergePullRequest,
    MergeReason, MergeWhen, Mergeability, NewPullRequest, Page, Pages, PullRequest, PullRequestId,
    PullRequestState, PullRequests, RepoId, Result, Sha, UpdatePullRequest, UserName,
};

use crate::client::{BitbucketDc, Place, page_size, since, unsupported};
use crate::error::{BAD_REVIEWERS, DUPLICATE, is_out_of_date, is_overtaken};
use crate::ops::branches::with_kind;
use crate::page::list_page;
use crate::user::Caller;
use crate::wire::{
    WireCreatePullRequest, WireMerge, WireMergeability, WireNewRef, WireNewReviewer, WireProjectKey,
    WirePullRequest, WireRefRepository, WireRepository, WireUpdatePullRequest, WireUser, WireUserName,
};
use crate::{convert, diff};

#[async_trait]
impl PullRequests for BitbucketDc {
    fn pull_request_checks(&self) -> &dyn Checks {
        self
    }

    async fn create_pull_request(&self, repo: &RepoId, new: &NewPullRequest) -> Result<Ensured<PullRequest>> {
        let operation = self.operation("create_pull_request");
        if new.title.trim().is_empty() {
            return Err(operation.invalid("a pull request needs a title"));
        }
        self.check_new(new).await?;
        let mut reviewers = new.reviewers.clone();
        if new.default_reviewers {
            for name in self.default_reviewers(&operation, repo, new).await? {
                if !reviewers.contains(&name) {
                    reviewers.push(name);
                }
            }
        }
        let source = new.source_repository.as_ref().unwrap_or(repo);
        let body = WireCreatePullRequest {
            title: &new.title,
            description: &new.description,
            from_ref: self.wire_ref(source, convert::full(&new.source_branch))?,
            to_ref: self.wire_ref(repo, convert::full(&new.target_branch))?,
            reviewers: wire_reviewers(&reviewers),
            draft: new.draft.then_some(true),
        };
        let request = self.repo_api(Method::POST, repo, &["pull-requests"])?.json(&body)?;
        let answer = operation.send(request).await;
        let error = match answer.and_then(|answer| answer.read(convert::pull_request)) {
            Ok(made) => return Ok(Ensured::created(made)),
            Err(error) => error,
        };
        let in_doubt = error.is_in_doubt();
        if error.server_code() != Some(DUPLICATE) && !in_doubt {
            return Err(error);
        }
        // The work may have been done although its answer never came.
        let source_repository = new.source_repository.as_ref();
        let found =
            self.find_pull_request(repo, &new.source_branch, &new.target_branch, source_repository).await;
        let found = found.ok().flatten().ok_or(error)?;
        Ok(if in_doubt { Ensured::created(found) } else { Ensured::unchanged(found) })
    }

    async fn pull_request(&self, repo: &RepoId, id: PullRequestId) -> Result<PullRequest> {
        self.look(&self.operation("pull_request"), repo, id).await.and_then(convert::pull_request)
    }

    async fn list_pull_requests_page(
        &self,
        repo: &RepoId,
        opts: &ListPullRequests,
        at: Option<&Cursor>,
    ) -> Result<Page<PullRequest>> {
        let operation = self.operation("list_pull_requests");
        if opts.label.is_some() {
            return Err(unsupported("list_pull_requests", "pull requests of Bitbucket have no labels"));
        }
        let state = match &opts.state {
            None => "ALL",
            Some(PullRequestState::Open) => "OPEN",
            Some(PullRequestState::Merged) => "MERGED",
            Some(PullRequestState::Closed) => "DECLINED",
            Some(other) => {
                let message = format!("Bitbucket knows no state '{other}' of a pull request");
                return Err(operation.invalid(message));
            }
        };
        // The server knows a source branch only in what leaves its own repository; here forks count as well.
        let request = self
            .repo_api(Method::GET, repo, &["pull-requests"])?
            .query("state", state)
            .query("order", "NEWEST")
            .query("direction", "INCOMING")
            .query_some("at", opts.target_branch.as_ref().map(convert::full))
            .query("limit", page_size(&operation, opts.page_size)?);
        let mut page = list_page(&operation, request, at, convert::pull_request).await?;
        page.items.retain(|item| item.as_ref().map_or(true, |pull_request| is_wanted(pull_request, opts)));
        Ok(page)
    }

    async fn find_pull_request(
        &self,
        repo: &RepoId,
        source: &BranchName,
        target: &BranchName,
        source_repository: Option<&RepoId>,
    ) -> Result<Option<PullRequest>> {
        // By the source: to a main branch there may be hundreds.
        let from = source_repository.unwrap_or(repo);
        let pages = Pages::new(None, None, |at| async move {
            let operation = self.operation("find_pull_request");
            let request = self
                .repo_api(Method::GET, from, &["pull-requests"])?
                .query("state", "OPEN")
                .query("direction", "OUTGOING")
                .query("at", convert::full(source))
                .query("limit", page_size(&operation, None)?);
            list_page(&operation, request, at.as_ref(), Ok::<WirePullRequest, _>).await
        });
        let Place { key, slug } = self.place(repo)?;
        let target = convert::full(target);
        let is_it = |wire: &WirePullRequest| {
            let [from, to] = [&wire.from_ref, &wire.to_ref].map(|side| side.repository.as_ref());
            let is_here = match source_repository {
                // By number: the name may be an old one.
                None => from.map(|from| from.id) == to.map(|to| to.id),
                Some(_) => to.is_some_and(|to| {
                    to.slug.eq_ignore_ascii_case(slug) && to.project.key.eq_ignore_ascii_case(key)
                }),
            };
            is_here && wire.to_ref.id == target
        };
        let mut found = pages.items(None).try_filter(|wire| future::ready(is_it(wire))).boxed();
        found.try_next().await?.map(convert::pull_request).transpose()
    }

    async fn update_pull_request(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        changes: &UpdatePullRequest,
    ) -> Result<PullRequest> {
        let operation = self.operation("update_pull_request");
        if changes.is_empty() {
            return Err(operation.invalid("an update of a pull request must change something"));
        }
        if changes.title.as_ref().is_some_and(|title| title.trim().is_empty()) {
            return Err(operation.invalid("a pull request needs a title"));
        }
        if changes.add_labels.is_some() || changes.remove_labels.is_some() {
            return Err(unsupported("update_pull_request", NO_LABELS));
        }
        if changes.assignees.is_some() {
            return Err(unsupported("update_pull_request", NO_ASSIGNEES));
        }
        if changes.draft == Some(true) {
            self.needs("update_pull_request", since::DRAFTS, "drafts").await?;
        }
        let update = |all: bool| {
            self.with_version(&operation, repo, id, move |now| {
                // The server replaces all of it, so that what is to stay is sent back.
                let reviewers = match &changes.reviewers {
                    Some(reviewers) => wire_reviewers(reviewers),
                    None => {
                        let kept = now.reviewers.iter().map(|reviewer| &reviewer.user);
                        let kept = kept.filter(|user| all || user.active != Some(false));
                        kept.map(|user| wire_reviewer(&user.name)).collect()
                    }
                };
                let target = changes.target_branch.as_ref().map(convert::full);
                let description = changes.description.as_deref().or(now.description.as_deref());
                let body = WireUpdatePullRequest {
                    version: now.version,
                    title: changes.title.as_deref().unwrap_or(&now.title),
                    description: description.unwrap_or_default(),
                    to_ref: self.wire_ref(repo, target.unwrap_or_else(|| now.to_ref.id.clone()))?,
                    reviewers,
                    draft: changes.draft.or(now.draft),
                };
                self.pull_request_api(Method::PUT, repo, id, &[])?.json(&body).map(Some)
            })
        };
        match update(true).await {
            // Who has left since is refused, and must not keep everybody from changing it.
            Err(error) if error.server_code() == Some(BAD_REVIEWERS) && changes.reviewers.is_none() => {
                update(false).await
            }
            done => done,
        }
    }

    async fn close_pull_request(&self, repo: &RepoId, id: PullRequestId) -> Result<PullRequest> {
        let operation = self.operation("close_pull_request");
        self.change_state(&operation, repo, id, "decline", "DECLINED").await
    }

    async fn reopen_pull_request(&self, repo: &RepoId, id: PullRequestId) -> Result<PullRequest> {
        let operation = self.operation("reopen_pull_request");
        self.change_state(&operation, repo, id, "reopen", "OPEN").await
    }

    async fn merge_pull_request(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        opts: &MergePullRequest,
    ) -> Result<PullRequest> {
        let operation = self.operation("merge_pull_request");
        let later = opts.when.unwrap_or_default() == MergeWhen::ChecksPass;
        if later {
            self.needs("merge_pull_request", since::AUTO_MERGE, "merging once the checks pass").await?;
            if opts.delete_source_branch == Some(true) {
                return Err(unsupported(
                    "merge_pull_request",
                    "a merge that waits does not delete the source branch; delete it once the pull request is merged",
                ));
            }
        }
        let strategy = match opts.strategy {
            Some(wanted) => self.strategy(&operation, repo, wanted).await?,
            None => None,
        };
        let body = WireMerge {
            message: opts.message.as_deref(),
            auto_subject: opts.message.is_some().then_some("false"),
            strategy_id: strategy.as_deref(),
            auto_merge: later.then_some(true),
        };
        let expected = opts.expected_head.as_ref();
        let mut again = expected.is_some();
        let done = loop {
            let now = self.look_at_head(&operation, repo, id, expected).await?;
            // A second merge would be refused as "not open": whoever lost the answer looks at the state instead.
            let request = self
                .pull_request_api(Method::POST, repo, id, &["merge"])?
                .query("version", now.version)
                .json(&body)?
                .idempotency(Idempotency::NotIdempotent);
            let error = match operation.send(request).await {
                // Of a merge that waits, the answer may be empty.
                Ok(_) if later => break self.look(&operation, repo, id).await?,
                Ok(answer) => break answer.json::<WirePullRequest>()?,
                Err(error) => error,
            };
            if error.is_in_doubt() {
                if later && self.waits(&operation, repo, id).await.is_ok_and(|waits| waits) {
                    break self.look(&operation, repo, id).await?;
                }
                let is_ours = |now: &WirePullRequest| {
                    let head = now.from_ref.latest_commit.as_deref();
                    now.state == "MERGED" && expected.is_none_or(|expected| head == Some(expected.as_str()))
                };
                break self.look(&operation, repo, id).await.ok().filter(is_ours).ok_or(error)?;
            }
            // Somebody was quicker with the pull request or its target. Without the head that the caller has seen, what
            // would be merged now may be another thing.
            let raced = is_overtaken(&error);
            if !raced || !std::mem::take(&mut again) {
                return Err(if raced { error.with_retryable(true) } else { error });
            }
        };
        let mut merged = convert::pull_request(done)?;
        merged.auto_merge = later.then_some(merged.state == PullRequestState::Open);
        if opts.delete_source_branch == Some(true) {
            self.delete_source(&operation, repo, &merged).await?;
        }
        Ok(merged)
    }

    async fn cancel_auto_merge(&self, repo: &RepoId, id: PullRequestId) -> Result<PullRequest> {
        let operation = self.operation("cancel_auto_merge");
        self.needs("cancel_auto_merge", since::AUTO_MERGE, "merging once the checks pass").await?;
        let nothing = || {
            let message = format!("the pull request #{id} does not wait to be merged");
            operation.own(Error::new(ErrorKind::Conflict, message).with_delivery(Delivery::Answered))
        };
        let now = self.look(&operation, repo, id).await?;
        if !self.waits(&operation, repo, id).await? {
            return Err(nothing());
        }
        operation.send(self.pull_request_api(Method::DELETE, repo, id, &["auto-merge"])?).await?;
        let mut now = convert::pull_request(now)?;
        now.auto_merge = Some(false);
        Ok(now)
    }

    async fn approve_pull_request(&self, repo: &RepoId, id: PullRequestId, opts: &Approve) -> Result<()> {
        let operation = self.operation("approve_pull_request");
        if opts.expected_head.is_some() {
            self.look_at_head(&operation, repo, id, opts.expected_head.as_ref()).await?;
        }
        let request =
            self.pull_request_api(Method::POST, repo, id, &["approve"])?.idempotency(Idempotency::Idempotent);
        let Err(error) = operation.send(empty(request)).await else { return Ok(()) };
        if error.kind() != ErrorKind::Conflict {
            return Err(error);
        }
        // Authors may not approve their own; the server says it as a conflict.
        let (now, caller) = (self.look(&operation, repo, id).await, self.known_identity().await);
        Err(match (now, caller) {
            (Ok(now), Ok(caller)) if now.is_open_of(&caller.username) => {
                operation.own(with_kind(ErrorKind::PermissionDenied, &error))
            }
            _ => error,
        })
    }

    async fn unapprove_pull_request(&self, repo: &RepoId, id: PullRequestId) -> Result<()> {
        let operation = self.operation("unapprove_pull_request");
        operation.send(self.pull_request_api(Method::DELETE, repo, id, &["approve"])?).await.map(drop)
    }

    async fn approvals(&self, repo: &RepoId, id: PullRequestId) -> Result<Approvals> {
        self.look(&self.operation("approvals"), repo, id).await.map(convert::approvals)
    }

    async fn list_pull_request_files_page(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        at: Option<&Cursor>,
    ) -> Result<Page<FileDiff>> {
        let operation = self.operation("list_pull_request_files");
        // Not every version gives a second page: the first is asked for as large as servers make it.
        let request = self.pull_request_api(Method::GET, repo, id, &["changes"])?.query("limit", 1000);
        list_page(&operation, request, at, diff::change).await
    }

    async fn pull_request_diff(&self, repo: &RepoId, id: PullRequestId) -> Result<ByteStream> {
        let request = self
            .repo_api(Method::GET, repo, &["pull-requests", &format!("{id}.diff")])?
            .header(ACCEPT, HeaderValue::from_static("*/*"));
        self.operation("pull_request_diff").stream(request).await
    }

    async fn mergeability(&self, repo: &RepoId, id: PullRequestId) -> Result<Mergeability> {
        let operation = self.operation("mergeability");
        match operation.send(self.pull_request_api(Method::GET, repo, id, &["merge"])?).await {
            Ok(answer) => Ok(convert::mergeability(answer.json::<WireMergeability>()?)),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                Ok(Mergeability::blocked(MergeBlocker::new(MergeReason::NotOpen, error.message())))
            }
            Err(error) => Err(error),
        }
    }

    async fn align_pull_request(&self, repo: &RepoId, id: PullRequestId, opts: &Align) -> Result<Alignment> {
        match opts.strategy.unwrap_or_default() {
            AlignStrategy::Rebase => self.rebase(repo, id, opts).await,
            other => Err(unsupported(
                "align_pull_request",
                format!("Bitbucket has no call for {other:?}; merge the target in a clone and push"),
            )),
        }
    }
}

pub(crate) const NO_LABELS: &str = "pull requests of Bitbucket have no labels";
const NO_ASSIGNEES: &str = "pull requests of Bitbucket have reviewers, and no assignees";

impl BitbucketDc {
    /// Refuses what a pull request of this server cannot have.
    async fn check_new(&self, new: &NewPullRequest) -> Result<()> {
        const OPERATION: &str = "create_pull_request";
        let at_merge = "Bitbucket decides that at the merge: give it to merge_pull_request";
        if !new.labels.is_empty() {
            return Err(unsupported(OPERATION, NO_LABELS));
        }
        if !new.assignees.is_empty() {
            return Err(unsupported(OPERATION, NO_ASSIGNEES));
        }
        if new.squash == Some(true) || new.delete_source_branch == Some(true) {
            return Err(unsupported(OPERATION, at_merge));
        }
        if new.draft {
            self.needs(OPERATION, since::DRAFTS, "drafts").await?;
        }
        Ok(())
    }

    /// The reviewers whom the web interface would add: calls have to do it themselves. Those who are gone and the author
    /// are left out, since the server refuses them.
    async fn default_reviewers(
        &self,
        operation: &Operation,
        repo: &RepoId,
        new: &NewPullRequest,
    ) -> Result<Vec<UserName>> {
        let number = |repo: RepoId| async move {
            let answer = operation.send(self.repo_api(Method::GET, &repo, &[])?).await?;
            Ok::<_, Error>(answer.json::<WireRepository>()?.id)
        };
        let target = number(repo.clone()).await?;
        let source = match &new.source_repository {
            Some(fork) => number(fork.clone()).await?,
            None => target,
        };
        let request = self
            .module_api(Method::GET, "default-reviewers", repo, &["reviewers"])?
            .query("sourceRepoId", source)
            .query("targetRepoId", target)
            .query("sourceRefId", convert::full(&new.source_branch))
            .query("targetRefId", convert::full(&new.target_branch));
        let answer = match operation.send(request).await {
            Ok(answer) => answer,
            // An administrator can switch off the part of the product that knows them.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let author = Caller::of(answer.headers()).map(|caller| caller.name);
        let users = answer.json::<Vec<WireUser>>()?.into_iter().filter(|user| user.active != Some(false));
        let names = users.filter_map(|user| UserName::new(user.name).ok());
        Ok(names.filter(|name| Some(name) != author.as_ref()).collect())
    }

    fn wire_ref(&self, repo: &RepoId, id: String) -> Result<WireNewRef> {
        let Place { key, slug } = self.place(repo)?;
        let project = WireProjectKey { key: key.to_owned() };
        Ok(WireNewRef { id, repository: WireRefRepository { slug: slug.to_owned(), project } })
    }

    pub(crate) async fn look(
        &self,
        operation: &Operation,
        repo: &RepoId,
        id: PullRequestId,
    ) -> Result<WirePullRequest> {
        operation.send(self.pull_request_api(Method::GET, repo, id, &[])?).await?.json()
    }

    /// Sends a change for the version that is there, and once more for the one that someone else has made of it. Where
    /// there is nothing to change, nothing is sent.
    async fn with_version(
        &self,
        operation: &Operation,
        repo: &RepoId,
        id: PullRequestId,
        change: impl Fn(&WirePullRequest) -> Result<Option<ApiRequest>> + Send,
    ) -> Result<PullRequest> {
        let mut again = true;
        loop {
            let now = self.look(operation, repo, id).await?;
            let Some(request) = change(&now)? else { return convert::pull_request(now) };
            match operation.send(request).await {
                Err(error) if is_out_of_date(&error) && std::mem::take(&mut again) => {}
                answer => return answer?.read(convert::pull_request),
            }
        }
    }

    async fn change_state(
        &self,
        operation: &Operation,
        repo: &RepoId,
        id: PullRequestId,
        action: &str,
        wanted: &str,
    ) -> Result<PullRequest> {
        let changed = self.with_version(operation, repo, id, |now| {
            if now.state == wanted {
                return Ok(None);
            }
            let request = self.pull_request_api(Method::POST, repo, id, &[action])?;
            Ok(Some(empty(request.query("version", now.version))))
        });
        match changed.await {
            Err(error) if error.is_in_doubt() => {
                let now = self.look(operation, repo, id).await;
                now.ok().filter(|now| now.state == wanted).map(convert::pull_request).ok_or(error)?
            }
            done => done,
        }
    }

    /// The pull request, if its source is where the caller has seen it. After a push it takes a moment to follow.
    pub(crate) async fn look_at_head(
        &self,
        operation: &Operation,
        repo: &RepoId,
        id: PullRequestId,
        expected: Option<&Sha>,
    ) -> Result<WirePullRequest> {
        let mut waits = RESCOPE_WAITS.into_iter();
        loop {
            let now = self.look(operation, repo, id).await?;
            let head = now.from_ref.latest_commit.as_deref();
            let Some(expected) = expected.filter(|expected| Some(expected.as_str()) != head) else {
                return Ok(now);
            };
            let shown = head.unwrap_or_default().to_owned();
            let source = convert::pull_request(now)?;
            let from = source.source_repository.as_ref().unwrap_or(repo);
            let is_late = source.state == PullRequestState::Open
                && self
                    .branch(from, &source.source_branch)
                    .await
                    .is_ok_and(|branch| branch.head == *expected);
            match waits.next().filter(|_| is_late) {
                Some(wait) => operation.pause(wait).await?,
                None => {
                    let message = format!("the source branch is at {shown}, not at {expected}");
                    let error = Error::new(ErrorKind::PreconditionFailed, message);
                    return Err(operation.own(error.with_delivery(Delivery::Answered)));
                }
            }
        }
    }
}

/// How long a pull request may take to see a push to its source.
const RESCOPE_WAITS: [std::time::Duration; 5] = [
    std::time::Duration::from_millis(250),
    std::time::Duration::from_millis(500),
    std::time::Duration::from_secs(1),
    std::time::Duration::from_secs(2),
    std::time::Duration::from_secs(4),
];

fn wire_reviewers(names: &[UserName]) -> Vec<WireNewReviewer> {
    names.iter().map(|name| wire_reviewer(name.as_str())).collect()
}

fn wire_reviewer(name: &str) -> WireNewReviewer {
    WireNewReviewer { user: WireUserName { name: name.to_owned() } }
}

/// A write without a body has to be of the type JSON all the same.
fn empty(request: ApiRequest) -> ApiRequest {
    request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
}

/// Holds a pull request against what the list cannot be asked for.
fn is_wanted(pull_request: &PullRequest, opts: &ListPullRequests) -> bool {
    let same = |wanted: &Option<BranchName>, own: &BranchName| wanted.as_ref().is_none_or(|name| name == own);
    same(&opts.source_branch, &pull_request.source_branch)
        && same(&opts.target_branch, &pull_request.target_branch)
        && opts.author.as_ref().is_none_or(|author| pull_request.author.as_ref() == Some(author))
        && opts.updated_since.is_none_or(|since| pull_request.updated_at.is_some_and(|at| at >= since))
}
