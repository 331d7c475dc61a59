//! Writing: branch, commit, pull request, comment.

use std::collections::BTreeMap;

use scm_core::{
    BranchName, Capabilities, Ensured, Error, ErrorKind, FileChange, FilePath, ListPullRequests, Marker,
    NewCommit, NewPullRequest, OperationId, PullRequest, PullRequestState, PullRequestsExt as _, Result,
    Revision, Scm, Sha,
};
use scm_examples::analysis::edit;
use scm_examples::analysis::explain::{Explanation, branch_name, explain};
use scm_examples::connections::Connection;

use crate::plan::{Work, digest};
use crate::progress::Progress;
use futures_util::TryStreamExt as _;

/// Start of every branch that this program makes.
pub(crate) const BRANCH_PREFIX: &str = "remediate/";

/// What became of the work on one repository.
pub(crate) struct Done {
    pub(crate) repository: scm_core::RepoId,
    pub(crate) path: String,
    pub(crate) packages: Vec<String>,
    pub(crate) ending: Ending,
    pub(crate) checks: Option<crate::follow::Followed>,
}

pub(crate) enum Ending {
    Created(PullRequest),
    Existing(PullRequest),
    /// A dry run would have done it.
    Planned(BranchName),
    /// Over the limit of new pull requests.
    Postponed,
    /// The files have changed since the plan was made.
    Stale(String),
    Failed(Error),
}

impl Ending {
    pub(crate) fn pull_request(&self) -> Option<&PullRequest> {
        match self {
            Self::Created(made) | Self::Existing(made) => Some(made),
            _ => None,
        }
    }
}

/// Does the work of one connection, repository by repository: servers limit how fast things are created.
pub(crate) async fn all(
    connection: &Connection,
    work: Vec<Work<'_>>,
    dry_run: bool,
    left: &mut usize,
    progress: &Progress,
) -> Vec<Done> {
    let bar = progress.bar(&format!("{}: writing", connection.name), Some(work.len()));
    // A server that cannot be asked fails the work itself, which says so.
    let can = connection.scm.capabilities().await.unwrap_or_default();
    let mut done = Vec::with_capacity(work.len());
    for work in &work {
        bar.set_message(work.repository.path.to_string());
        let job = Job { scm: connection.scm.as_ref(), can: &can, work, explanation: describe(work) };
        let ending = job.run(dry_run, left).await.unwrap_or_else(Ending::Failed);
        done.push(Done {
            repository: work.repository.repository.clone(),
            path: work.repository.path.to_string(),
            packages: work
                .fixes
                .iter()
                .map(|fix| format!("{} {} → {}", fix.package, fix.from, fix.to))
                .collect(),
            ending,
            checks: None,
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    done
}

fn describe(work: &Work<'_>) -> Explanation {
    explain(&work.fixes, &work.repository.transitive, &work.repository.problems)
}

struct Job<'a> {
    scm: &'a dyn Scm,
    can: &'a Capabilities,
    work: &'a Work<'a>,
    explanation: Explanation,
}

impl Job<'_> {
    async fn run(&self, dry_run: bool, left: &mut usize) -> Result<Ending> {
        let branch = BranchName::new(branch_name(&self.work.fixes))?;
        if let Some(existing) = self.earlier(&branch).await? {
            if existing.state == PullRequestState::Open && !dry_run {
                // An earlier run may have ended before its comment.
                self.comment(&existing).await?;
            }
            return Ok(Ending::Existing(existing));
        }
        if *left == 0 {
            return Ok(Ending::Postponed);
        }
        let changes = match self.changes().await? {
            Ok((head, changes)) => (head, changes),
            Err(stale) => return Ok(Ending::Stale(stale)),
        };
        if dry_run {
            *left -= 1;
            return Ok(Ending::Planned(branch));
        }
        self.commit(&branch, changes).await?;
        let planned = self.work.repository;
        let mut new = NewPullRequest::new(branch, planned.target.clone(), &self.explanation.title)
            .with_description(&self.explanation.body);
        if self.can.pull_request_with_merge_options {
            new = new.deleting_source_branch();
        }
        let Ensured { value, change, .. } =
            self.scm.pull_requests().ensure_pull_request(&planned.repository, &new).await?;
        self.comment(&value).await?;
        if change == scm_core::Change::Created {
            *left -= 1;
            Ok(Ending::Created(value))
        } else {
            Ok(Ending::Existing(value))
        }
    }

    /// The pull request that an earlier run made for just this change, in whatever state people have put it since: one
    /// that was closed is not opened again.
    async fn earlier(&self, branch: &BranchName) -> Result<Option<PullRequest>> {
        let opts = ListPullRequests::default()
            .with_source_branch(branch.clone())
            .with_target_branch(self.work.repository.target.clone());
        let all: Vec<_> = self
            .scm
            .pull_requests()
            .list_pull_requests(&self.work.repository.repository, opts)
            .try_collect()
            .await?;
        let open = all.iter().position(|found| found.state == PullRequestState::Open);
        Ok(all.into_iter().nth(open.unwrap_or(0)))
    }

    /// The changed files, and the tip they are based on; or why the plan no longer fits.
    async fn changes(&self) -> Result<std::result::Result<(Sha, Vec<FileChange>), String>> {
        let planned = self.work.repository;
        let head = self.scm.branches().branch(&planned.repository, &planned.target).await?.head;
        let at = Revision::Commit(head.clone());
        let mut files = BTreeMap::new();
        for path in self.work.fixes.iter().flat_map(|fix| fix.edits.iter().map(|edit| &edit.path)) {
            if files.contains_key(path) {
                continue;
            }
            let file = match self.scm.contents().file(&planned.repository, &at, &FilePath::new(path)?).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Ok(Err(format!("{path} is gone")));
                }
                file => file?,
            };
            if planned.files.get(path) != Some(&digest(&file.content)) {
                return Ok(Err(format!("{path} has changed since the plan was made")));
            }
            files.insert(path.clone(), file.text()?.to_owned());
        }
        let changed = match edit::apply(&files, &self.work.fixes) {
            Ok(changed) => changed,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let changes = changed
            .into_iter()
            .map(|(path, text)| Ok(FileChange::update(FilePath::new(path)?, text)))
            .collect::<Result<_>>()?;
        Ok(Ok((head, changes)))
    }

    async fn commit(&self, branch: &BranchName, (head, changes): (Sha, Vec<FileChange>)) -> Result<()> {
        let planned = self.work.repository;
        // The same change on the same base is the same operation, in this run or a later one.
        let operation =
            OperationId::new(format!("remediate-{}", &digest(format!("{branch} {head}").as_bytes())[..16]))?;
        let commit = NewCommit::on_new_branch(branch.clone(), head, &self.explanation.title)
            .with_changes(changes)
            .with_operation_id(operation);
        match self.scm.commits().create_commit(&planned.repository, &commit).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Conflict => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "the branch '{branch}' exists without a pull request; delete it and run again ({})",
                    error.message()
                ),
            )),
            Err(error) => Err(error),
        }
    }

    async fn comment(&self, pull_request: &PullRequest) -> Result<()> {
        let marker = Marker::new("remediate")?;
        let body = "Please review the new versions and wait for CI before merging. Only version texts were changed. \
                    If a lock file has to be made anew, the description names the command.";
        self.scm
            .comments()
            .ensure_comment(&self.work.repository.repository, pull_request.id, &marker, body)
            .await?;
        Ok(())
    }
}
