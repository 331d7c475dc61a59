//! Runs a simulator for users of any language.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};
use scm_testkit::sim::{
    bitbucket_dc::{self, BitbucketDcSim},
    gitlab::{GitLabSim, TokenSpec},
};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Simulated source control servers on real git repositories.
///
/// Prints one line of JSON when the server is ready: its address, tokens and repositories. Logs go to standard error
/// (RUST_LOG=debug for more). Stops on Ctrl-C or SIGTERM and leaves nothing behind.
#[derive(Debug, Parser)]
#[command(name = "scm-sim", version)]
struct Cli {
    #[command(subcommand)]
    product: Product,
}

#[derive(Debug, Subcommand)]
enum Product {
    /// GitLab: REST API v4 and git over HTTP.
    ///
    /// Examples:
    ///
    ///   scm-sim gitlab --seed demo
    ///
    ///   scm-sim gitlab --listen 127.0.0.1:4110 --context-path /gitlab --projects 10000
    ///
    ///   scm-sim gitlab --repo team/app=./app --token personal:ann:api:2027-01-01:developer
    ///
    /// Kinds of tokens: personal, group, project, service_account. Roles: guest, reporter, developer, maintainer, owner.
    #[command(verbatim_doc_comment)]
    Gitlab(Options),
    /// Bitbucket Data Center: REST API and git over HTTP.
    ///
    /// Examples:
    ///
    ///   scm-sim bitbucket-dc --seed demo
    ///
    ///   scm-sim bitbucket-dc --listen 127.0.0.1:4110 --context-path /bitbucket --projects 10000
    ///
    ///   scm-sim bitbucket-dc --repo TEAM/app=./app --token user:ann:PROJECT_READ+REPO_WRITE:2027-01-01:write
    ///
    /// Kinds of tokens: user; project and repository, with KEY or KEY/slug for the user. Roles: read, write, admin.
    /// The password of a user is the name.
    #[command(verbatim_doc_comment)]
    BitbucketDc(Options),
}

#[derive(Debug, Args)]
struct Options {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
    /// Path below which the server lives, such as /gitlab.
    #[arg(long, value_name = "PATH", default_value = "")]
    context_path: String,
    /// The address the server believes to have: it stands in links and clone URLs.
    #[arg(long, value_name = "URL")]
    external_url: Option<String>,
    /// Serves a copy of an existing git repository; may be given several times.
    #[arg(long = "repo", value_name = "NAME=PATH")]
    repositories: Vec<String>,
    /// Adds N more projects, whose repositories are made at the first touch.
    #[arg(long, value_name = "N", default_value_t = 0)]
    projects: u64,
    /// Adds prepared repositories.
    #[arg(long, value_enum)]
    seed: Option<Seed>,
    /// Issues a token: `kind:user:scopes[:expires[:role]]`; may be given several times.
    ///
    /// Scopes, or permissions, are joined by `+`. The role holds for every repository; `none` makes the user a member of
    /// nothing. A date that has passed gives an expired token. Without any --token there is one that may do everything.
    #[arg(long = "token", value_name = "SPEC")]
    tokens: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Seed {
    /// Ten small repositories in the group demo or the project DEMO, some with vulnerable dependencies.
    Demo,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let result = match Cli::parse().product {
        Product::Gitlab(options) => gitlab(options).await,
        Product::BitbucketDc(options) => bitbucket_dc(options).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(&message);
            ExitCode::from(2)
        }
    }
}

async fn gitlab(options: Options) -> Result<(), String> {
    let repositories = options.repositories()?;
    let mut builder = GitLabSim::builder()
        .listen(options.listen)
        .context_path(options.context_path)
        .projects(options.projects);
    if let Some(url) = options.external_url {
        builder = builder.external_url(url);
    }
    if let Some(Seed::Demo) = options.seed {
        builder = builder.seed_demo();
    }
    for (name, path) in repositories {
        builder = builder.repository(name, path);
    }
    for token in &options.tokens {
        builder = builder.token(TokenSpec::parse(token)?);
    }
    let stop = Stop::new()?;
    let sim = builder.start().await.map_err(|error| error.to_string())?;
    announce(&json!({
        "provider": "gitlab",
        "url": sim.url(),
        "tokens": sim.tokens(),
        "repositories": sim.repositories(),
    }));
    stop.wait().await;
    sim.shutdown().await;
    Ok(())
}

async fn bitbucket_dc(options: Options) -> Result<(), String> {
    let repositories = options.repositories()?;
    let mut builder = BitbucketDcSim::builder()
        .listen(options.listen)
        .context_path(options.context_path)
        .projects(options.projects);
    if let Some(url) = options.external_url {
        builder = builder.external_url(url);
    }
    if let Some(Seed::Demo) = options.seed {
        builder = builder.seed_demo();
    }
    for (name, path) in repositories {
        builder = builder.repository(name, path);
    }
    for token in &options.tokens {
        builder = builder.token(bitbucket_dc::TokenSpec::parse(token)?);
    }
    let stop = Stop::new()?;
    let sim = builder.start().await.map_err(|error| error.to_string())?;
    announce(&json!({
        "provider": "bitbucket-dc",
        "url": sim.url(),
        "tokens": sim.tokens(),
        "repositories": sim.repositories(),
    }));
    stop.wait().await;
    sim.shutdown().await;
    Ok(())
}

impl Options {
    fn repositories(&self) -> Result<Vec<(String, PathBuf)>, String> {
        let split = |text: &String| {
            let (name, path) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=PATH"))?;
            Ok((name.to_owned(), PathBuf::from(path)))
        };
        self.repositories.iter().map(split).collect()
    }
}

/// The signals that end the program. Listened to before the announcement, so that a stop right after it is not missed.
struct Stop {
    terminate: Signal,
}

impl Stop {
    fn new() -> Result<Self, String> {
        signal(SignalKind::terminate()).map(|terminate| Self { terminate }).map_err(|error| error.to_string())
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }
}

#[expect(clippy::print_stdout, reason = "the announcement is the program's output")]
fn announce(line: &serde_json::Value) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "a program says on standard error why it failed")]
fn complain(message: &str) {
    eprintln!("scm-sim: {message}");
}
