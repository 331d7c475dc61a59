//! A commit in a large repository by our client and by the git program, from the same start: an address, a token, the name
//! of a branch and the changes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use http::HeaderName;
use scm_core::pipeline::{AuthForm, Dialect, ErrorAnswer, Pipeline, PipelineConfig};
use scm_core::{Error, ErrorKind, FileChange, GitRemote, NewCommit, Person, StaticCredential, Transport};
use scm_git::{GitRepository, GitServer};
use scm_testkit::seed::Large;
use scm_transport::{DirectTransport, Network};

use crate::walk::Fallible;

/// What is committed, and where.
#[derive(Debug)]
pub struct Task {
    /// Address of the server.
    pub url: String,
    /// The token.
    pub token: String,
    /// Files of the repository.
    pub files: usize,
    /// Many changes, else one.
    pub many: bool,
}

impl Task {
    fn remote(&self) -> String {
        format!("{}/group/{}.git", self.url, self.files)
    }

    fn changes(&self) -> Vec<FileChange> {
        let project = Large::new(self.files);
        if self.many { project.many() } else { project.one() }
    }
}

/// Our client.
#[derive(Debug)]
pub struct ByScm {
    git: GitRepository,
    changes: Vec<FileChange>,
}

impl ByScm {
    /// A client that has not asked the server anything yet.
    ///
    /// # Errors
    /// For an address that is none.
    pub fn new(task: &Task) -> Fallible<Self> {
        let credentials = Arc::new(StaticCredential::token(task.token.as_str().into()));
        let transport = Transport::new(DirectTransport::new(&Network::new())?);
        let config = PipelineConfig::new(task.url.parse()?, transport, Arc::clone(&credentials) as _);
        let pipeline = Pipeline::new(config, Arc::new(Plain))?;
        let remote = GitRemote::new(task.remote().parse()?, "oauth2", credentials);
        let git = GitServer::new("bench", Plain.request_id_header()).repository(&pipeline, &remote)?;
        Ok(Self { git, changes: task.changes() })
    }

    /// Commits on top of `main`, as a new branch, and gives the id.
    ///
    /// # Errors
    /// The server's.
    pub async fn commit(&self, branch: &str) -> Fallible<String> {
        let tip = self.git.tip(&"main".parse()?).await?.ok_or("there is no main")?;
        let new = NewCommit::on_new_branch(branch.parse()?, tip, "Change").with_changes(self.changes.clone());
        let made = self.git.create_commit(&new, &Person::new("A Bot", "bot@example.com")?).await?;
        Ok(made.sha.to_string())
    }
}

/// The part of a provider that git borrows from.
#[derive(Debug)]
struct Plain;

impl Dialect for Plain {
    fn provider(&self) -> &'static str {
        "bench"
    }

    fn auth(&self) -> AuthForm {
        AuthForm::Bearer
    }

    fn error(&self, _: &ErrorAnswer<'_>) -> Error {
        Error::new(ErrorKind::Unavailable, "nothing but git is asked here")
    }

    fn request_id_header(&self) -> HeaderName {
        HeaderName::from_static("x-request-id")
    }
}

/// The git program, in the way that costs it least: no work tree, no index, one import.
#[derive(Debug)]
pub struct ByGit {
    remote: String,
    header: String,
    project: Large,
    changes: Vec<FileChange>,
}

impl ByGit {
    /// Of the same task.
    #[must_use]
    pub fn new(task: &Task) -> Self {
        use base64::Engine as _;
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("oauth2:{}", task.token));
        Self {
            remote: task.remote(),
            header: format!("Authorization: Basic {basic}"),
            project: Large::new(task.files),
            changes: task.changes(),
        }
    }

    /// Clones into `dir`, commits on top of `main`, pushes as a new branch, and gives the id.
    ///
    /// # Errors
    /// What git says.
    pub fn commit(&self, dir: &Path, branch: &str) -> Fallible<String> {
        let clone = [
            "clone",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--filter=blob:none",
            "--no-checkout",
            &self.remote,
            ".",
        ];
        self.run(dir, &clone, b"")?;
        let import = self.project.import(branch, "refs/heads/main", &self.changes);
        self.run(dir, &["fast-import", "--quiet"], &import)?;
        let branch = format!("refs/heads/{branch}");
        self.run(dir, &["push", "--quiet", "origin", &branch], b"")?;
        Ok(self.run(dir, &["rev-parse", &branch], b"")?.trim().to_owned())
    }

    fn run(&self, dir: &Path, args: &[&str], input: &[u8]) -> Fallible<String> {
        let mut command = Command::new("git");
        command
            .current_dir(dir)
            .args(args)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        // Given at once, which saves git the request that is answered by 401. Not to wait for the disk, not to tidy up,
        // and to keep memory that it needs again at once, is in its favour too.
        let settings = [
            ("http.extraHeader", self.header.as_str()),
            ("core.fsync", "none"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
        ];
        command.env("MALLOC_TRIM_THRESHOLD_", "100000000");
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (at, (key, value)) in settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{at}"), key).env(format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // Nothing is printed before all is read.
        child.stdin.take().ok_or("no input")?.write_all(input)?;
        let done = child.wait_with_output()?;
        if !done.status.success() {
            return Err(format!("git {}: {}", args[0], String::from_utf8_lossy(&done.stderr)).into());
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }
}
