//! Cases for [`scm_core::GitAccess`].

use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use scm_core::{Credential, ErrorKind, GitRemote, RepoId, Role};
use secrecy::ExposeSecret as _;
use tokio::process::Command;

use super::case::{Ctx, Result, Stop};
use super::fixture::RepoSpec;
use super::support::{cases, ensure, ensure_eq};

cases! {
    "git_access";
    a_remote_names_the_repository [GitAccess::git_remote];
    git_clones_with_it [GitAccess::git_remote];
    git_pushes_with_it [GitAccess::git_remote];
    what_cannot_be_seen_is_not_found [GitAccess::git_remote];
}

/// A URL of http(s) that holds no secret.
pub async fn a_remote_names_the_repository(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let remote = ctx.scm.git().git_remote(&repo.id).await?;
    ensure!(matches!(remote.url.scheme(), "http" | "https"), "{}", remote.url);
    ensure!(
        remote.url.username().is_empty() && remote.url.password().is_none(),
        "the URL holds a credential"
    );
    let name = repo.path.as_str().rsplit('/').next().unwrap_or_default();
    ensure!(remote.url.path().contains(name), "{} does not name {name}", remote.url);
    ctx.no_secret("a remote", &format!("{remote:?} {}", remote.url))?;
    let by_path = ctx.scm.git().git_remote(&repo.path).await?;
    ensure_eq!(by_path.url, remote.url, "by path");
    Ok(())
}

/// Runs git in `at`; the credential goes by the environment, so that no command line shows it.
async fn git(at: &Path, remote: &GitRemote, args: &[&str]) -> Result<String> {
    let header = match remote.credentials.credential().await? {
        Credential::Token(token) => basic(remote.token_username, token.expose_secret()),
        Credential::Basic { username, password } => basic(&username, password.expose_secret()),
        other => return Err(Stop::unavailable(format!("git cannot use {other:?} from here"))),
    };
    let mut command = Command::new("git");
    command
        .current_dir(at)
        .args(args)
        .stdin(Stdio::null())
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_COUNT", "4")
        .env("GIT_CONFIG_KEY_0", format!("http.{}.extraHeader", remote.url.origin().ascii_serialization()))
        .env("GIT_CONFIG_VALUE_0", header)
        .env("GIT_CONFIG_KEY_1", "user.name")
        .env("GIT_CONFIG_VALUE_1", "Suite")
        .env("GIT_CONFIG_KEY_2", "user.email")
        .env("GIT_CONFIG_VALUE_2", "suite@example.com")
        .env("GIT_CONFIG_KEY_3", "credential.helper")
        .env("GIT_CONFIG_VALUE_3", "")
        .kill_on_drop(true);
    let output = match command.output().await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Stop::unavailable("git is not installed here"));
        }
        output => output?,
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "git {} failed: {said}", args.first().unwrap_or(&""));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn basic(username: &str, password: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    format!("Authorization: Basic {pair}")
}

/// A private repository, with the git program.
pub async fn git_clones_with_it(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().with_file("dir/a b.txt", "content\n")).await?;
    let remote = ctx.scm.git().git_remote(&repo.id).await?;
    let dir = tempfile::tempdir()?;
    git(dir.path(), &remote, &["clone", "--quiet", remote.url.as_str(), "copy"]).await?;
    let copy = dir.path().join("copy");
    let content = std::fs::read_to_string(copy.join("dir/a b.txt"))?;
    ensure_eq!(content, "content\n", "a file of the clone");
    let head = git(&copy, &remote, &["rev-parse", "HEAD"]).await?;
    ensure_eq!(head.trim(), repo.head()?.as_str(), "HEAD of the clone");
    let config = std::fs::read_to_string(copy.join(".git/config"))?;
    ctx.no_secret("the clone's configuration", &config)
}

/// A new branch, which is seen through the API.
pub async fn git_pushes_with_it(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let remote = ctx.scm.git().git_remote(&repo.id).await?;
    let dir = tempfile::tempdir()?;
    git(dir.path(), &remote, &["clone", "--quiet", remote.url.as_str(), "copy"]).await?;
    let copy = dir.path().join("copy");
    git(&copy, &remote, &["commit", "--quiet", "--allow-empty", "-m", "By git"]).await?;
    git(&copy, &remote, &["push", "--quiet", "origin", "HEAD:refs/heads/by/git"]).await?;
    let pushed = git(&copy, &remote, &["rev-parse", "HEAD"]).await?;
    let branch = ctx.scm.branches().branch(&repo.id, &"by/git".parse()?).await?;
    ensure_eq!(branch.head.as_str(), pushed.trim(), "the branch that git pushed");
    Ok(())
}

/// Missing, or hidden.
pub async fn what_cannot_be_seen_is_not_found(ctx: &Ctx) -> Result<()> {
    let hidden = ctx.repository_with(RepoSpec::new().with_role(Role::None)).await?;
    let missing = RepoId::new(format!("{}-is-not-there", hidden.path))?;
    for repo in [hidden.id, missing] {
        ctx.refused(ctx.scm.git().git_remote(&repo).await, &[ErrorKind::NotFound])?;
    }
    Ok(())
}
