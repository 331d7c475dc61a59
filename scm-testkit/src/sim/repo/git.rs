use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

pub(crate) type Result<T> = std::result::Result<T, GitError>;

/// What git said when it refused, or why it could not be run.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct GitError(pub(crate) String);

impl From<std::io::Error> for GitError {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Exit code and output of one run.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Variables of the caller's environment that would change what git does.
const INHERITED: &[&str] = &[
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_AUTHOR_DATE",
    "GIT_AUTHOR_EMAIL",
    "GIT_AUTHOR_NAME",
    "GIT_COMMITTER_DATE",
    "GIT_COMMITTER_EMAIL",
    "GIT_COMMITTER_NAME",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_SYSTEM",
    "GIT_DEFAULT_HASH",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PROTOCOL",
    "GIT_TEMPLATE_DIR",
    "GIT_TRACE",
    "GIT_WORK_TREE",
    "XDG_CONFIG_HOME",
];

/// The git program with an environment of its own.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    home: Arc<Path>,
}

impl Git {
    /// Prepares `home`, the only place git takes its settings from. Refs under `read_only_refs` cannot be pushed to.
    pub(crate) fn new(home: &Path, read_only_refs: &[&str]) -> Result<Self> {
        std::fs::create_dir_all(home)?;
        let mut config = String::from(
            "[init]\n\tdefaultBranch = main\n[user]\n\tname = Simulator\n\temail = simulator@example.com\n\
             [safe]\n\tdirectory = *\n[core]\n\tfsync = none\n\tlogAllRefUpdates = false\n[gc]\n\tauto = 0\n\
             [maintenance]\n\tauto = false\n[protocol]\n\tversion = 2\n[http]\n\treceivepack = true\n\
             [uploadpack]\n\tallowFilter = true\n\tallowAnySHA1InWant = true\n[receive]\n\tfsckObjects = true\n\
             \tautogc = false\n\tadvertisePushOptions = true\n",
        );
        for prefix in read_only_refs {
            config.push_str(&format!("\thideRefs = {prefix}\n"));
        }
        config.push_str("[tar \"tar.bz2\"]\n\tcommand = bzip2 -c\n");
        std::fs::write(home.join("gitconfig"), config)?;
        let git = Self { home: home.into() };
        git.run(git.bare_command().arg("--version"))?;
        Ok(git)
    }

    pub(crate) fn bare_command(&self) -> Command {
        let mut command = Command::new("git");
        for variable in INHERITED {
            command.env_remove(variable);
        }
        command
            .env("HOME", &*self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.home.join("gitconfig"))
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .env("TZ", "UTC");
        command
    }

    /// A directory for indexes and other short-lived files.
    pub(crate) fn scratch(&self) -> Result<tempfile::TempDir> {
        Ok(tempfile::tempdir_in(&*self.home)?)
    }

    /// Runs to the end and returns the output, whatever the exit code.
    #[expect(clippy::unused_self, reason = "reads as an operation of git")]
    pub(crate) fn output(&self, command: &mut Command, stdin: Option<&[u8]>) -> Result<Output> {
        command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let pipe = child.stdin.take();
        let output = std::thread::scope(|scope| {
            if let (Some(mut pipe), Some(bytes)) = (pipe, stdin) {
                // On a thread of its own: git may write before it has read everything.
                scope.spawn(move || pipe.write_all(bytes));
            }
            child.wait_with_output()
        })?;
        Ok(Output {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    pub(crate) fn run(&self, command: &mut Command) -> Result<Vec<u8>> {
        self.run_with(command, None)
    }

    pub(crate) fn run_with(&self, command: &mut Command, stdin: Option<&[u8]>) -> Result<Vec<u8>> {
        let output = self.output(command, stdin)?;
        if output.code == 0 { Ok(output.stdout) } else { Err(GitError(output.stderr.trim().to_owned())) }
    }
}

/// One line of output, without its end.
pub(super) fn line(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim_end().to_owned()
}
