//! The fixture over [`GitLabSim`].

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use scm_core::{
    BranchName, CheckState, JobId, NamespaceId, PipelineId, PullRequestId, RepoId, Role, Scm, Sha, TokenKind,
    UserName, Visibility,
};
use secrecy::SecretString;

use super::case::{Result, Stop};
use super::fixture::{Access, Fixture, JobSpec, PipelineRun, Repo, RepoSpec, TokenSpec, Validity};
use crate::sim::gitlab::{self as sim, GitLabSim, JobOutcome, JobScript, PipelineScript};

/// Where repositories are made that are wanted anywhere.
const ANYWHERE: &str = "conformance";
/// Who does what "someone else" does.
const OTHER: &str = "someone-else";

/// Makes a provider for a server's URL and a token.
type Connect = dyn Fn(&str, SecretString) -> scm_core::Result<Arc<dyn Scm>> + Send + Sync;

/// Arranges a [`GitLabSim`] for the suite, and connects the provider under test to it by whatever route its caller
/// chooses.
pub struct GitLabFixture {
    sim: Arc<GitLabSim>,
    connect: Box<Connect>,
    /// Whose token the suite has.
    user: String,
    scm: Arc<dyn Scm>,
    secrets: Mutex<Vec<String>>,
    paths: Mutex<HashMap<RepoId, String>>,
}

impl GitLabFixture {
    /// Over a running simulator; `connect` makes the provider for a URL and a token.
    ///
    /// # Errors
    /// When the simulator or the provider refuses to begin.
    pub fn new(
        sim: Arc<GitLabSim>,
        connect: impl Fn(&str, SecretString) -> scm_core::Result<Arc<dyn Scm>> + Send + Sync + 'static,
    ) -> Result<Self> {
        let spec = sim::TokenSpec::new(sim::TokenKind::Group, "conformance-suite")
            .expires_at(sim.clock().date_in_days(300));
        let token = sim.issue_token(&spec)?;
        let scm = connect(&sim.url(), token.token.clone().into())?;
        Ok(Self {
            sim,
            connect: Box::new(connect),
            user: token.user,
            scm,
            secrets: Mutex::new(vec![token.token]),
            paths: Mutex::default(),
        })
    }

    /// The provider with the suite's own token.
    pub fn scm(&self) -> Arc<dyn Scm> {
        Arc::clone(&self.scm)
    }

    fn path(&self, repo: &RepoId) -> Result<String> {
        let path = lock(&self.paths).get(repo).cloned();
        path.ok_or_else(|| Stop::failed(format!("this fixture has not made the repository {repo}")))
    }

    /// Git works in subprocesses, so it must not block the tasks that serve requests.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&GitLabSim) -> std::result::Result<T, crate::sim::SimError> + Send + 'static,
    ) -> Result<T> {
        let sim = Arc::clone(&self.sim);
        let done = tokio::task::spawn_blocking(move || work(&sim)).await?;
        Ok(done?)
    }

    /// Remembers a project that was made, and makes the suite's user a member of it.
    async fn made(&self, path: String, id: u64, branch: BranchName, role: Role) -> Result<Repo> {
        if let Some(role) = sim_role(role) {
            self.sim.add_member(&path, &self.user, role)?;
        }
        let (project, name) = (path.clone(), branch.to_string());
        let head = self.blocking(move |sim| sim.revision(&project, &name)).await?;
        let id = RepoId::new(id.to_string())?;
        lock(&self.paths).insert(id.clone(), path.clone());
        Ok(Repo::new(id, RepoId::new(path)?, branch, head.map(Sha::new).transpose()?))
    }
}

#[async_trait]
impl Fixture for GitLabFixture {
    fn secrets(&self) -> Vec<String> {
        lock(&self.secrets).clone()
    }

    async fn repository(&self, spec: &RepoSpec) -> Result<Repo> {
        let namespace = spec.namespace.as_ref().map_or(ANYWHERE, NamespaceId::as_str);
        let path = format!("{namespace}/{}", spec.name);
        let mut project = sim::ProjectSpec::new()
            .visibility(match &spec.visibility {
                Visibility::Public => sim::Visibility::Public,
                Visibility::Internal => sim::Visibility::Internal,
                _ => sim::Visibility::Private,
            })
            .protection(if spec.protected { sim::Protection::Full } else { sim::Protection::None })
            .files(spec.files.clone());
        if spec.empty {
            project = project.empty();
        }
        if spec.archived {
            project = project.archived();
        }
        let branch = spec.default_branch.clone().map_or_else(|| BranchName::new("main"), Ok)?;
        let project = project.default_branch(branch.as_str());
        let full = path.clone();
        let id = self.blocking(move |sim| sim.create_project(&full, &project)).await?;
        self.made(path, id, branch, spec.role).await
    }

    async fn namespace(&self, name: &str, parent: Option<&NamespaceId>) -> Result<NamespaceId> {
        let path = parent.map_or_else(|| name.to_owned(), |parent| format!("{parent}/{name}"));
        self.sim.create_group(&path, sim::Visibility::Private)?;
        Ok(NamespaceId::new(path)?)
    }

    async fn fork(&self, repo: &Repo, name: &str) -> Result<Repo> {
        let (source, path) = (repo.path.to_string(), format!("{ANYWHERE}/{name}"));
        let full = path.clone();
        let id = self.blocking(move |sim| sim.fork_project(&source, &full)).await?;
        self.made(path, id, repo.default_branch.clone(), Role::Write).await
    }

    async fn push_as_other(&self, repo: &Repo, branch: &BranchName, files: &[(&str, &[u8])]) -> Result<Sha> {
        let (path, branch) = (repo.path.to_string(), branch.to_string());
        let files: Vec<_> = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
        let sha = self.blocking(move |sim| {
            let files: Vec<_> =
                files.iter().map(|(path, bytes)| (path.as_str(), Some(bytes.as_slice()))).collect();
            sim.push_commit(&path, &branch, "By someone else", &files)
        });
        Ok(Sha::new(sha.await?)?)
    }

    async fn scm_as(&self, token: &TokenSpec) -> Result<Arc<dyn Scm>> {
        let kind = match &token.kind {
            TokenKind::Personal => sim::TokenKind::Personal,
            TokenKind::Project => sim::TokenKind::Project,
            TokenKind::ServiceAccount => sim::TokenKind::ServiceAccount,
            _ => sim::TokenKind::Group,
        };
        let days = match token.validity {
            Validity::Days(days) => i64::from(days),
            Validity::Expired => -5,
            _ => 300,
        };
        let mut spec = sim::TokenSpec::new(kind, token.name.as_str())
            .scopes([match token.access {
                Access::Full => "api",
                Access::Read => "read_api",
            }])
            .expires_at(self.sim.clock().date_in_days(days));
        if token.validity == Validity::Revoked {
            spec = spec.revoked();
        }
        let issued = self.sim.issue_token(&spec)?;
        for (repo, role) in &token.grants {
            let path = self.path(repo)?;
            if let Some(role) = sim_role(*role) {
                self.sim.add_member(&path, &issued.user, role)?;
            }
        }
        if token.validity == Validity::Blocked {
            self.sim.block_user(&issued.user)?;
        }
        let secret = match token.validity {
            Validity::Unknown => issued.token.chars().rev().collect(),
            _ => issued.token,
        };
        lock(&self.secrets).push(secret.clone());
        Ok((self.connect)(&self.sim.url(), secret.into())?)
    }

    async fn member(&self, repo: &Repo, name: &str, role: Role) -> Result<UserName> {
        self.sim.create_user(name);
        if let Some(role) = sim_role(role) {
            self.sim.add_member(repo.path.as_str(), name, role)?;
        }
        Ok(UserName::new(name)?)
    }

    async fn comment_as_other(&self, repo: &Repo, id: PullRequestId, body: &str) -> Result<()> {
        self.sim.add_note(repo.path.as_str(), id.get(), OTHER, body)?;
        Ok(())
    }

    async fn close_as_other(&self, repo: &Repo, id: PullRequestId) -> Result<()> {
        Ok(self.sim.close_merge_request(repo.path.as_str(), id.get(), OTHER)?)
    }

    async fn merge_as_other(&self, repo: &Repo, id: PullRequestId) -> Result<()> {
        let path = repo.path.to_string();
        self.blocking(move |sim| sim.merge_merge_request(&path, id.get(), OTHER)).await
    }

    async fn pipeline(
        &self,
        repo: &Repo,
        branch: &BranchName,
        sha: &Sha,
        jobs: &[JobSpec],
    ) -> Result<PipelineRun> {
        let scripts = jobs.iter().map(|job| {
            let script = JobScript::new(&job.name).stage(&job.stage);
            let script = if job.allow_failure { script.allow_failure() } else { script };
            if job.state == CheckState::Manual { script.outcome(JobOutcome::Manual) } else { script }
        });
        let script = PipelineScript::new(scripts).by_hand();
        let (path, name) = (repo.path.to_string(), branch.to_string());
        let made = self.blocking(move |sim| {
            let id = sim.create_pipeline(&path, &name, &script)?;
            Ok((id, sim.revision(&path, &name)?, sim.latest_pipeline(&path, &name)?))
        });
        let (id, head, latest) = made.await?;
        let Some((_, ids)) = latest.filter(|(latest, _)| *latest == id) else {
            return Err(Stop::failed("the simulator's newest pipeline is not the one just made"));
        };
        if head.as_deref() != Some(sha.as_str()) {
            return Err(Stop::failed(format!("{sha} is not the tip of {branch}")));
        }
        let ids = ids.iter().map(|id| JobId::new(id.to_string())).collect::<scm_core::Result<Vec<_>>>()?;
        for (id, job) in ids.iter().zip(jobs) {
            self.append_log(repo, id, &job.log).await?;
            if !matches!(job.state, CheckState::Pending | CheckState::Manual) {
                self.set_job(repo, id, job.state.clone()).await?;
            }
        }
        Ok(PipelineRun::new(PipelineId::new(id.to_string())?, ids))
    }

    async fn set_job(&self, repo: &Repo, job: &JobId, state: CheckState) -> Result<()> {
        let status = match &state {
            CheckState::Cancelled => "canceled",
            other => other.as_str(),
        };
        let (path, id, status) = (repo.path.to_string(), number(job)?, status.to_owned());
        // A pipeline that passes may merge.
        self.blocking(move |sim| sim.set_job_status(&path, id, &status)).await
    }

    async fn append_log(&self, repo: &Repo, job: &JobId, text: &[u8]) -> Result<()> {
        let text =
            std::str::from_utf8(text).map_err(|_| Stop::unavailable("the simulator's logs are UTF-8"))?;
        Ok(self.sim.append_job_log(repo.path.as_str(), number(job)?, text)?)
    }
}

impl fmt::Debug for GitLabFixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitLabFixture").field("url", &self.sim.url()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(job: &JobId) -> Result<u64> {
    job.as_str()
        .parse()
        .map_err(|_| Stop::failed(format!("{job} is not a number, as the simulator's jobs are")))
}

fn sim_role(role: Role) -> Option<sim::Role> {
    match role {
        Role::Guest => Some(sim::Role::Guest),
        Role::Read => Some(sim::Role::Reporter),
        Role::Write => Some(sim::Role::Developer),
        Role::Maintain => Some(sim::Role::Maintainer),
        Role::Own => Some(sim::Role::Owner),
        _ => None,
    }
}
