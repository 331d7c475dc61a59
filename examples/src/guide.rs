//! What the examples of the guide stand on: a simulated GitLab, and a connection to it. Each page is a doc test.

use std::error::Error;
use std::sync::Arc;

use scm_client::{Config, connect};
use scm_core::{BranchName, FileChange, NewCommit, NewPullRequest, PullRequest, RepoId, Scm};
use scm_testkit::sim::gitlab::{GitLabSim, TokenKind, TokenSpec};

/// How an example ends.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Runs one example with a connection to a simulated GitLab that holds the demonstration's repositories.
///
/// # Panics
/// When the example fails: it is a test.
pub fn run(example: impl AsyncFnOnce(Arc<dyn Scm>, GitLabSim) -> Outcome) {
    let done = tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            let sim = GitLabSim::builder().seed_demo().start().await?;
            let scm = open(&connections_toml(&sim))?;
            example(scm, sim).await
        })
    });
    if let Err(error) = done {
        panic!("{error}");
    }
}

/// A configuration file for the simulator, with its first token.
pub fn connections_toml(sim: &GitLabSim) -> String {
    let first = sim.tokens().into_iter().next();
    with_token(sim, first.map(|token| token.token).as_deref().unwrap_or_default())
}

fn with_token(sim: &GitLabSim, token: &str) -> String {
    let url = sim.url();
    format!(
        "[[connection]]\nname = \"acme-gitlab\"\nprovider = \"gitlab\"\nurl = \"{url}\"\ntoken = {{ value = \"{token}\" }}\n"
    )
}

fn open(connections: &str) -> Outcome<Arc<dyn Scm>> {
    let config = Config::from_toml(connections, "")?;
    Ok(connect(config.connection("acme-gitlab")?, &|_| None)?)
}

/// A connection whose token has expired.
///
/// # Errors
/// None that is expected.
pub fn expired(sim: &GitLabSim) -> Outcome<Arc<dyn Scm>> {
    let yesterday = sim.clock().date_in_days(-1);
    let token = sim.issue_token(&TokenSpec::new(TokenKind::Group, "old").on("demo").expires_at(yesterday))?;
    open(&with_token(sim, &token.token))
}

/// What the pages before have done: a branch with one commit in `demo/web`, and its open pull request.
///
/// # Errors
/// Those of the calls.
pub async fn opened(scm: &dyn Scm, repo: &RepoId) -> Outcome<PullRequest> {
    let main = scm.branches().default_branch(repo).await?.ok_or("the repository is empty")?;
    let branch = BranchName::new("fix/lodash")?;
    let path = "package.json".parse()?;
    let package = scm.contents().file(repo, &main.head.clone().into(), &path).await?;
    let fixed = package.text()?.replace("\"lodash\": \"^4.17.20\"", "\"lodash\": \"^4.17.21\"");
    let commit = NewCommit::on_new_branch(branch.clone(), main.head, "Update lodash to 4.17.21")
        .with_change(FileChange::update(path, fixed));
    scm.commits().create_commit(repo, &commit).await?;
    let new = NewPullRequest::new(branch, main.name, "Update lodash to 4.17.21");
    Ok(scm.pull_requests().ensure_pull_request(repo, &new).await?.value)
}
