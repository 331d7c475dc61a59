use std::borrow::Cow;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use scm_core::{
    Branches as _, Commit, CommitBase, Commits, Compare, Comparison, Cursor, Ensured, Error, ErrorKind,
    FileChange, FileDiff, ListCommits, NewCommit, Page, RepoId, Result, Revision,
};

use crate::client::{GitLab, page_size, project_api, reference, unsupported};
use crate::exact::needs_git;
use crate::page::list_page;
use crate::wire::{WireAction, WireBranchTip, WireCommitRequest, WireComparison};
use crate::{convert, diff};

/// How often a commit whose answer was lost is sent again, after it was not found on the branch.
const RESENDS: usize = 2;

#[async_trait]
impl Commits for GitLab {
    async fn commit(&self, repo: &RepoId, at: &Revision) -> Result<Commit> {
        let operation = self.operation("commit");
        if let Revision::Branch(name) = at {
            // By name alone a tag of the same name would win.
            let request = project_api(Method::GET, repo, &["repository", "branches", name.as_str()]);
            let wire: WireBranchTip = operation.send(request).await?.json()?;
            return convert::commit(wire.commit);
        }
        let request = project_api(Method::GET, repo, &["repository", "commits", reference(&operation, at)?])
            .query("stats", false);
        operation.send(request).await?.read(convert::commit)
    }

    async fn list_commits_page(
        &self,
        repo: &RepoId,
        opts: &ListCommits,
        at: Option<&Cursor>,
    ) -> Result<Page<Commit>> {
        let operation = self.operation("list_commits");
        let from = opts.from.clone().unwrap_or(Revision::Head);
        let range = match &opts.excluding {
            Some(excluding) => {
                format!("{}..{}", reference(&operation, excluding)?, reference(&operation, &from)?)
            }
            None => reference(&operation, &from)?.to_owned(),
        };
        let request = project_api(Method::GET, repo, &["repository", "commits"])
            .query("ref_name", range)
            .query_some("path", opts.path.as_ref())
            .query_some("since", opts.since)
            .query_some("until", opts.until)
            .query_some("author", opts.author.as_ref())
            .query("per_page", page_size(&operation, opts.page_size)?);
        match list_page(&operation, request, at, convert::commit).await {
            Err(error) => self.empty_page_for(repo, &from, error).await,
            page => page,
        }
    }

    async fn compare(
        &self,
        repo: &RepoId,
        from: &Revision,
        to: &Revision,
        opts: &Compare,
    ) -> Result<Comparison> {
        let operation = self.operation("compare");
        let from_project = match &opts.from_repository {
            Some(other) => Some(self.project_number(other).await?),
            None => None,
        };
        let request = project_api(Method::GET, repo, &["repository", "compare"])
            .query("from", reference(&operation, from)?)
            .query("to", reference(&operation, to)?)
            .query_some("straight", opts.direct)
            .query_some("from_project_id", from_project);
        let wire: WireComparison = operation.send(request).await?.json()?;
        let mut out = Comparison::default();
        out.commits = wire.commits.into_iter().map(convert::commit).collect::<Result<_>>()?;
        out.files = wire.diffs.into_iter().map(diff::file).collect::<Result<_>>()?;
        out.truncated = wire.compare_timeout == Some(true);
        Ok(out)
    }

    async fn list_commit_files_page(
        &self,
        repo: &RepoId,
        at: &Revision,
        cursor: Option<&Cursor>,
    ) -> Result<Page<FileDiff>> {
        let operation = self.operation("list_commit_files");
        let revision = reference(&operation, at)?;
        let request = project_api(Method::GET, repo, &["repository", "commits", revision, "diff"])
            .query("per_page", page_size(&operation, None)?);
        list_page(&operation, request, cursor, diff::file).await
    }

    async fn create_commit(&self, repo: &RepoId, commit: &NewCommit) -> Result<Ensured<Commit>> {
        let operation = self.operation("create_commit");
        commit.validate().map_err(|error| operation.own(error))?;
        self.check_base(repo, commit).await.map_err(|error| operation.own(error))?;
        if commit.operation_id.is_some()
            && !is_made_once(commit)
            && let Some(made) = self.written(repo, commit).await.map_err(|error| operation.own(error))?
        {
            return Ok(Ensured::unchanged(made));
        }
        if needs_git(commit) {
            return self.commit_by_git(&operation, repo, commit).await;
        }
        let request = wire_request(commit)?;
        for left in (0..=RESENDS).rev() {
            let sent = project_api(Method::POST, repo, &["repository", "commits"]).json(&request)?;
            let answer = operation.send(sent).await;
            let error = match answer.and_then(|answer| answer.read(convert::commit)) {
                Ok(made) => return Ok(Ensured::created(made)),
                Err(error) => error,
            };
            if error.kind() == ErrorKind::Conflict && is_made_once(commit) {
                // Perhaps by ourselves: an earlier call, or a try whose answer was lost.
                return match self.written(repo, commit).await? {
                    Some(made) if operation.lost_an_answer() => Ok(Ensured::created(made)),
                    Some(made) => Ok(Ensured::unchanged(made)),
                    None => Err(error),
                };
            }
            if !error.is_in_doubt() {
                return Err(error);
            }
            // Nothing is sent again before it was looked for.
            match self.written(repo, commit).await {
                Ok(Some(made)) => return Ok(Ensured::created(made)),
                Ok(None) if left > 0 && is_made_once(commit) => {}
                _ => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Internal, "the commit was sent too often"))
    }
}

impl GitLab {
    /// The API would make a second commit on a branch that is there: a first one wants an empty repository.
    async fn check_base(&self, repo: &RepoId, commit: &NewCommit) -> Result<()> {
        if commit.base != CommitBase::Empty {
            return Ok(());
        }
        match self.branch(repo, &commit.branch).await {
            Ok(_) => {
                let message = format!(
                    "the branch '{}' exists already; the first commit goes into an empty repository",
                    commit.branch
                );
                Err(Error::new(ErrorKind::Conflict, message))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Looks for the commit on its branch: by operation id, else by parent and message at the branch's tip.
    pub(crate) async fn written(&self, repo: &RepoId, commit: &NewCommit) -> Result<Option<Commit>> {
        let opts =
            ListCommits::default().with_from(Revision::Branch(commit.branch.clone())).with_page_size(20);
        let newest = match self.list_commits_page(repo, &opts, None).await {
            Ok(page) => page.into_items()?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if commit.operation_id.is_some() {
            return Ok(newest.into_iter().find(|found| commit.is_operation_of(found)));
        }
        let CommitBase::NewBranch { start } = &commit.base else { return Ok(None) };
        let same = |found: &Commit| {
            found.parents == std::slice::from_ref(start) && found.message.trim_end() == commit.full_message()
        };
        Ok(newest.into_iter().next().filter(same))
    }
}

/// The server makes a new branch once, so that a commit onto one can be sent again even where the first one is still
/// being carried out. Any other would be made twice.
fn is_made_once(commit: &NewCommit) -> bool {
    matches!(commit.base, CommitBase::NewBranch { .. })
}

fn wire_request(commit: &NewCommit) -> Result<WireCommitRequest<'_>> {
    let start_sha = match &commit.base {
        CommitBase::NewBranch { start } => Some(start.as_str()),
        CommitBase::Existing { .. } | CommitBase::Empty => None,
        other => return Err(unsupported("create_commit", format!("a commit on {other:?}"))),
    };
    let mut actions = Vec::with_capacity(commit.changes.len());
    for change in &commit.changes {
        push_actions(change, &mut actions)?;
    }
    Ok(WireCommitRequest {
        branch: commit.branch.as_str(),
        commit_message: commit.full_message(),
        actions,
        start_sha,
        start_project: commit.start_repository.as_ref().map(RepoId::as_str),
        author_name: commit.author.as_ref().map(|author| author.name.as_str()),
        author_email: commit.author.as_ref().map(|author| author.email.as_str()),
        stats: false,
    })
}

fn push_actions<'a>(change: &'a FileChange, actions: &mut Vec<WireAction<'a>>) -> Result<()> {
    let chmod = |path: &'a str, executable| WireAction {
        action: "chmod",
        file_path: path,
        execute_filemode: Some(executable),
        ..WireAction::default()
    };
    match change {
        FileChange::Create { path, content, executable } => {
            let (text, encoding) = encode(content);
            actions.push(WireAction {
                action: "create",
                file_path: path.as_str(),
                content: Some(text),
                encoding: Some(encoding),
                ..WireAction::default()
            });
            if *executable {
                // `execute_filemode` is read by chmod only; the actions of one commit run in order.
                actions.push(chmod(path.as_str(), true));
            }
        }
        FileChange::Update { path, content, last_commit } => {
            let (text, encoding) = encode(content);
            actions.push(WireAction {
                action: "update",
                file_path: path.as_str(),
                content: Some(text),
                encoding: Some(encoding),
                last_commit_id: last_commit.as_ref().map(|sha| sha.as_str()),
                ..WireAction::default()
            });
        }
        FileChange::Delete { path, last_commit } => actions.push(WireAction {
            action: "delete",
            file_path: path.as_str(),
            last_commit_id: last_commit.as_ref().map(|sha| sha.as_str()),
            ..WireAction::default()
        }),
        FileChange::Rename { from, to, content, last_commit } => {
            let encoded = content.as_ref().map(|content| encode(content));
            let (text, encoding) =
                encoded.map_or((None, None), |(text, encoding)| (Some(text), Some(encoding)));
            actions.push(WireAction {
                action: "move",
                file_path: to.as_str(),
                previous_path: Some(from.as_str()),
                content: text,
                encoding,
                last_commit_id: last_commit.as_ref().map(|sha| sha.as_str()),
                ..WireAction::default()
            });
        }
        FileChange::Chmod { path, executable } => actions.push(chmod(path.as_str(), *executable)),
        other => return Err(unsupported("create_commit", format!("GitLab cannot do {other:?}"))),
    }
    Ok(())
}

/// Text as it is, anything else as base64: also text with a NUL, which GitLab refuses in parameters.
fn encode(content: &[u8]) -> (Cow<'_, str>, &'static str) {
    match std::str::from_utf8(content) {
        Ok(text) if !text.contains('\0') => (Cow::Borrowed(text), "text"),
        _ => (Cow::Owned(STANDARD.encode(content)), "base64"),
    }
}
