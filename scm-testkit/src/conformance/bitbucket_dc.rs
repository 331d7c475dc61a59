//! The fixture over [`BitbucketDcSim`].

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use scm_core::{
    BranchName, CheckState, JobId, NamespaceId, PullRequestId, RepoId, Role, Scm, Sha, TokenKind, UserName,
    Visibility,
};
use secrecy::SecretString;

use super::case::{Result, Stop};
use super::fixture::{Access, Fixture, JobSpec, PipelineRun, Repo, RepoSpec, TokenSpec, Validity};
use crate::sim::bitbucket_dc::{self as sim, BitbucketDcSim, Permission};

/// Where repositories are made that are wanted anywhere.
const ANYWHERE: &str = "CONFORMANCE";
/// Who does what "someone else" does.
const OTHER: &str = "someone-else";

/// Makes a provider for a server's URL and a token.
type Connect = dyn Fn(&str, SecretString) -> scm_core::Result<Arc<dyn Scm>> + Send + Sync;

/// Arranges a [`BitbucketDcSim`] for the suite, and connects the provider under test to it by whatever route its
/// caller chooses. Repositories are named `KEY/slug`, namespaces by the key of their project.
pub struct BitbucketDcFixture {
    sim: Arc<BitbucketDcSim>,
    connect: Box<Connect>,
    /// Whose token the suite has.
    user: String,
    scm: Arc<dyn Scm>,
    secrets: Mutex<Vec<String>>,
}

impl BitbucketDcFixture {
    /// Over a running simulator; `connect` makes the provider for a URL and a token.
    ///
    /// # Errors
    /// When the simulator or the provider refuses to begin.
    pub fn new(
        sim: Arc<BitbucketDcSim>,
        connect: impl Fn(&str, SecretString) -> scm_core::Result<Arc<dyn Scm>> + Send + Sync + 'static,
    ) -> Result<Self> {
        let spec = sim::TokenSpec::new(sim::TokenKind::User, "conformance-suite")
            .expires_at(sim.clock().date_in_days(300));
        let token = sim.issue_token(&spec)?;
        let scm = connect(&sim.url(), token.token.clone().into())?;
        let secrets = Mutex::new(vec![token.token]);
        Ok(Self { sim, connect: Box::new(connect), user: token.user, scm, secrets })
    }

    /// The provider with the suite's own token.
    pub fn scm(&self) -> Arc<dyn Scm> {
        Arc::clone(&self.scm)
    }

    /// Git works in subprocesses, so it must not block the tasks that serve requests.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&BitbucketDcSim) -> std::result::Result<T, crate::sim::SimError> + Send + 'static,
    ) -> Result<T> {
        let sim = Arc::clone(&self.sim);
        let done = tokio::task::spawn_blocking(move || work(&sim)).await?;
        Ok(done?)
    }

    /// A repository that was made, with the suite's user in its role.
    async fn made(&self, name: String, branch: BranchName, role: Role) -> Result<Repo> {
        self.grant(&name, &self.user, role)?;
        let (repo, revision) = (name.clone(), branch.to_string());
        let head = self.blocking(move |sim| sim.revision(&repo, &revision)).await?;
        let id = RepoId::new(name)?;
        Ok(Repo::new(id.clone(), id, branch, head.map(Sha::new).transpose()?))
    }

    /// Grants a role in a repository, or in its project where only that will do.
    fn grant(&self, repo: &str, user: &str, role: Role) -> Result<()> {
        let project = repo.split('/').next().unwrap_or_default();
        match role {
            // Below reading there is nothing.
            Role::None | Role::Guest => Ok(()),
            Role::Read => Ok(self.sim.add_member(repo, user, sim::Role::Read)?),
            Role::Write => Ok(self.sim.add_member(repo, user, sim::Role::Write)?),
            Role::Maintain => Ok(self.sim.add_member(repo, user, sim::Role::Admin)?),
            Role::Own if project == ANYWHERE => {
                Err(Stop::unavailable("to own a repository is to own all of its project, which is shared"))
            }
            Role::Own => Ok(self.sim.add_member(project, user, sim::Role::Admin)?),
            other => Err(Stop::unavailable(format!("Bitbucket has no role {other:?}"))),
        }
    }
}

#[async_trait]
impl Fixture for BitbucketDcFixture {
    fn secrets(&self) -> Vec<String> {
        lock(&self.secrets).clone()
    }

    async fn repository(&self, spec: &RepoSpec) -> Result<Repo> {
        let project = match (&spec.namespace, spec.role) {
            (Some(namespace), _) => namespace.to_string(),
            (None, Role::Own) => key_of(&spec.name),
            (None, _) => ANYWHERE.to_owned(),
        };
        let name = format!("{project}/{}", spec.name.to_lowercase());
        let branch = spec.default_branch.clone().map_or_else(|| BranchName::new("main"), Ok)?;
        let mut repo = sim::RepositorySpec::new().files(spec.files.clone()).default_branch(branch.as_str());
        match &spec.visibility {
            Visibility::Public => repo = repo.public(),
            Visibility::Internal => {
                return Err(Stop::unavailable("Bitbucket has no repositories that are internal"));
            }
            _ => {}
        }
        if spec.empty {
            repo = repo.empty();
        }
        if spec.archived {
            repo = repo.archived();
        }
        let full = name.clone();
        self.blocking(move |sim| sim.create_repository(&full, &repo)).await?;
        if spec.protected {
            let exempt: &[&str] =
                if matches!(spec.role, Role::Maintain | Role::Own) { &[&self.user] } else { &[] };
            self.sim.restrict_branch(&name, branch.as_str(), sim::RestrictionKind::ReadOnly, exempt)?;
        }
        self.made(name, branch, spec.role).await
    }

    async fn namespace(&self, name: &str, parent: Option<&NamespaceId>) -> Result<NamespaceId> {
        if parent.is_some() {
            return Err(Stop::unavailable("projects of Bitbucket do not nest"));
        }
        let key = key_of(name);
        self.sim.create_project(&key)?;
        Ok(NamespaceId::new(key)?)
    }

    async fn fork(&self, repo: &Repo, name: &str) -> Result<Repo> {
        let (source, fork) = (repo.path.to_string(), format!("{ANYWHERE}/{}", name.to_lowercase()));
        let full = fork.clone();
        self.blocking(move |sim| sim.fork_repository(&source, &full)).await?;
        self.made(fork, repo.default_branch.clone(), Role::Write).await
    }

    async fn push_as_other(&self, repo: &Repo, branch: &BranchName, files: &[(&str, &[u8])]) -> Result<Sha> {
        let (name, branch) = (repo.path.to_string(), branch.to_string());
        let files: Vec<_> = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
        let sha = self.blocking(move |sim| {
            let files: Vec<_> =
                files.iter().map(|(path, bytes)| (path.as_str(), Some(bytes.as_slice()))).collect();
            sim.push_commit(&name, &branch, "By someone else", &files)
        });
        Ok(Sha::new(sha.await?)?)
    }

    async fn scm_as(&self, token: &TokenSpec) -> Result<Arc<dyn Scm>> {
        let days = match token.validity {
            Validity::Days(days) => i64::from(days),
            Validity::Expired => -5,
            _ => 300,
        };
        let permissions = match token.access {
            Access::Full => [Permission::ProjectAdmin, Permission::RepoAdmin],
            Access::Read => [Permission::ProjectRead, Permission::RepoRead],
        };
        // A token without a user is made on one place and grants itself.
        let without_user = match (&token.kind, token.grants.as_slice()) {
            (TokenKind::Project, [(repo, role)]) => Some((repo, permission(*role, token.access)?)),
            (TokenKind::Project, _) => {
                return Err(Stop::unavailable("a repository's token is good for that repository alone"));
            }
            _ => None,
        };
        let spec = match without_user {
            Some((repo, permission)) => sim::TokenSpec::new(sim::TokenKind::Repository, token.name.as_str())
                .on(repo.as_str())
                .permissions([permission]),
            None => sim::TokenSpec::new(sim::TokenKind::User, token.name.as_str()).permissions(permissions),
        };
        let mut spec = spec.expires_at(self.sim.clock().date_in_days(days));
        if token.validity == Validity::Revoked {
            spec = spec.revoked();
        }
        let issued = self.sim.issue_token(&spec)?;
        if without_user.is_none() {
            for (repo, role) in &token.grants {
                self.grant(repo.as_str(), &issued.user, *role)?;
            }
        }
        if token.validity == Validity::Blocked {
            self.sim.deactivate_user(&issued.user)?;
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
        self.grant(repo.path.as_str(), name, role)?;
        Ok(UserName::new(name)?)
    }

    async fn comment_as_other(&self, repo: &Repo, id: PullRequestId, body: &str) -> Result<()> {
        self.sim.add_comment(repo.path.as_str(), id.get(), OTHER, body)?;
        Ok(())
    }

    async fn close_as_other(&self, repo: &Repo, id: PullRequestId) -> Result<()> {
        Ok(self.sim.decline_pull_request(repo.path.as_str(), id.get(), OTHER)?)
    }

    async fn merge_as_other(&self, repo: &Repo, id: PullRequestId) -> Result<()> {
        let name = repo.path.to_string();
        self.blocking(move |sim| sim.merge_pull_request(&name, id.get(), OTHER)).await
    }

    /// One build status for each job; there is no pipeline around them. While one goes on, merges wait for it.
    async fn pipeline(
        &self,
        repo: &Repo,
        _: &BranchName,
        sha: &Sha,
        jobs: &[JobSpec],
    ) -> Result<PipelineRun> {
        if jobs.iter().any(|job| job.allow_failure) {
            return Err(Stop::unavailable("a build status of Bitbucket counts, whatever it is"));
        }
        if jobs.iter().any(|job| !job.state.is_final()) {
            let checks = sim::MergeChecks::new().builds(1).auto_merge();
            self.sim.set_merge_checks(repo.path.as_str(), checks)?;
        }
        let mut ids = Vec::new();
        for job in jobs {
            let id = JobId::new(format!("{sha}/{}", job.name.replace(' ', "+")))?;
            self.set_job(repo, &id, job.state.clone()).await?;
            ids.push(id);
        }
        Ok(PipelineRun { pipeline: None, jobs: ids })
    }

    /// The job's id is the commit and the build's key.
    async fn set_job(&self, repo: &Repo, job: &JobId, state: CheckState) -> Result<()> {
        let Some((sha, key)) = job.as_str().split_once('/') else {
            return Err(Stop::failed(format!("this fixture has not made the job {job}")));
        };
        let state = match state {
            CheckState::Success => "SUCCESSFUL",
            CheckState::Failed => "FAILED",
            CheckState::Pending | CheckState::Running => "INPROGRESS",
            CheckState::Cancelled => "CANCELLED",
            other => {
                return Err(Stop::unavailable(format!("a build status of Bitbucket is never {other}")));
            }
        };
        let (name, sha, key) = (repo.path.to_string(), sha.to_owned(), key.replace('+', " "));
        // A merge that waits for it may follow.
        self.blocking(move |sim| sim.set_build(&name, &sha, &key, state)).await
    }
}

impl fmt::Debug for BitbucketDcFixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BitbucketDcFixture").field("url", &self.sim.url()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key of a project that is named after a case.
fn key_of(name: &str) -> String {
    name.to_uppercase()
}

fn permission(role: Role, access: Access) -> Result<Permission> {
    match (role, access) {
        (Role::Read, _) | (_, Access::Read) => Ok(Permission::RepoRead),
        (Role::Write, _) => Ok(Permission::RepoWrite),
        (Role::Maintain | Role::Own, _) => Ok(Permission::RepoAdmin),
        (other, _) => Err(Stop::unavailable(format!("Bitbucket has no token for the role {other:?}"))),
    }
}
