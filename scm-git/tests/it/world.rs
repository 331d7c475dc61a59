//! A repository on a simulated server, and a real git to look at it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use scm_core::pipeline::{AuthForm, Dialect, ErrorAnswer, Pipeline, PipelineConfig};
use scm_core::{
    BranchName, Error, ErrorKind, GitRemote, NewCommit, Person, Sha, StaticCredential, Transport,
};
use scm_git::{GitRepository, GitServer};
use scm_testkit::sim::gitlab::{GitLabSim, ProjectSpec, Protection, Role, TokenKind, TokenSpec};
use scm_transport::{DirectTransport, Network};
#[cfg(feature = "gateway")]
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use url::Url;

pub(crate) const PROJECT: &str = "group/repo";

/// The part of a provider that git borrows from.
#[derive(Debug)]
struct Plain;

impl Dialect for Plain {
    fn provider(&self) -> &'static str {
        "test"
    }

    fn auth(&self) -> AuthForm {
        AuthForm::Bearer
    }

    fn error(&self, _: &ErrorAnswer<'_>) -> Error {
        Error::new(ErrorKind::Unavailable, "not asked in these tests")
    }

    fn request_id_header(&self) -> HeaderName {
        HeaderName::from_static("x-request-id")
    }
}

pub(crate) struct World {
    pub(crate) sim: GitLabSim,
    pub(crate) git: GitRepository,
    /// For the real git: with its token.
    pub(crate) url: String,
    token: SecretString,
}

impl World {
    pub(crate) async fn new(spec: ProjectSpec) -> Self {
        Self::with(spec, Protection::None, Role::Maintainer).await
    }

    pub(crate) async fn with(spec: ProjectSpec, protection: Protection, role: Role) -> Self {
        let sim = GitLabSim::builder().start().await.unwrap();
        sim.create_project(PROJECT, &spec.protection(protection)).unwrap();
        Self::on(sim, role)
    }

    /// With a copy of the repository in a directory.
    pub(crate) async fn like(path: &Path) -> Self {
        Self::on(GitLabSim::builder().repository(PROJECT, path).start().await.unwrap(), Role::Maintainer)
    }

    fn on(sim: GitLabSim, role: Role) -> Self {
        let token = sim.issue_token(&TokenSpec::new(TokenKind::Group, "bot").role(role)).unwrap();
        let url = format!("{}/{PROJECT}.git", sim.url());
        let with_token = url.replace("http://", &format!("http://oauth2:{}@", token.token));
        let token = SecretString::from(token.token);
        let git = repository(&sim, token.clone(), direct(), None);
        Self { sim, git, url: with_token, token }
    }

    #[cfg(feature = "gateway")]
    pub(crate) async fn gateway(&self) -> scm_git::Gateway {
        let credentials = Arc::new(StaticCredential::token(self.token.clone()));
        let url = format!("{}/{PROJECT}.git", self.sim.url()).parse().unwrap();
        scm_git::Gateway::start(direct(), &GitRemote::new(url, "oauth2", credentials)).await.unwrap()
    }

    #[cfg(feature = "gateway")]
    pub(crate) fn token(&self) -> &str {
        self.token.expose_secret()
    }

    /// The same repository, read up to so many bytes an answer.
    pub(crate) fn limited_to(&self, bytes: usize) -> GitRepository {
        repository(&self.sim, self.token.clone(), direct(), Some(bytes))
    }

    /// The same repository over another transport.
    pub(crate) fn over(&self, transport: Transport) -> GitRepository {
        repository(&self.sim, self.token.clone(), transport, None)
    }

    pub(crate) fn tip(&self, branch: &str) -> Option<Sha> {
        self.sim.revision(PROJECT, branch).unwrap().map(|sha| sha.parse().unwrap())
    }

    pub(crate) async fn commit(&self, new: &NewCommit) -> scm_core::Result<scm_core::Commit> {
        self.git.create_commit(new, &bot()).await
    }
}

pub(crate) fn bot() -> Person {
    Person::new("A Bot", "bot@example.com").unwrap()
}

pub(crate) fn direct() -> Transport {
    Transport::new(DirectTransport::new(&Network::new()).unwrap())
}

fn repository(
    sim: &GitLabSim,
    token: SecretString,
    transport: Transport,
    max_body: Option<usize>,
) -> GitRepository {
    let credentials = Arc::new(StaticCredential::token(token));
    let root: Url = sim.url().parse().unwrap();
    let mut config = PipelineConfig::new(root, transport, Arc::clone(&credentials) as _);
    config.max_body = max_body.unwrap_or(config.max_body);
    config.retry = config.retry.with_backoff(Duration::from_millis(1), Duration::from_millis(5));
    let pipeline = Pipeline::new(config, Arc::new(Plain)).unwrap();
    let server = GitServer::new("test", HeaderName::from_static("x-request-id"));
    let url = format!("{}/{PROJECT}.git", sim.url()).parse().unwrap();
    server.repository(&pipeline, &GitRemote::new(url, "oauth2", credentials)).unwrap()
}

pub(crate) fn branch(name: &str) -> BranchName {
    name.parse().unwrap()
}

/// Runs the real git and gives what it prints.
pub(crate) fn git(dir: &Path, args: &[&str], input: &[u8]) -> String {
    use std::io::Write as _;
    let mut command = Command::new("git");
    command.current_dir(dir).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
}
