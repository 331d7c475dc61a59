//! Walks over a whole listing, for the programs that are measured.

use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::Arc;

use futures_util::{Stream, TryStreamExt as _};
use scm_core::{ListRepositories, RepositoriesExt as _, Repository, StaticCredential, Transport};
use scm_gitlab::{GitLab, GitLabConfig};
use scm_transport::{DirectTransport, Network};
use tokio::runtime::Runtime;

use crate::by_hand::ByHand;

pub(crate) type Fallible<T> = Result<T, Box<dyn Error>>;

/// A client that lists every project, with a runtime on the thread that calls it.
#[derive(Debug)]
pub struct Walk {
    client: Client,
    runtime: Runtime,
}

#[derive(Debug)]
enum Client {
    Scm(GitLab),
    /// In so many ranges of ids at the same time.
    ScmInParts(GitLab, NonZeroUsize),
    ByHand(ByHand),
}

impl Walk {
    /// From the arguments of the program: the client, which is `scm`, `scm/PARTS` or `hand`, and the server's URL. The
    /// token is the first line on standard input: arguments are for all to see.
    ///
    /// # Errors
    /// For an unknown client, or settings that cannot be.
    pub fn from_args() -> Fallible<Self> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let [client, url] = &args[..] else {
            return Err("two arguments: CLIENT URL".into());
        };
        let token = &std::io::stdin().lines().next().ok_or("no token on standard input")??;
        let client = match client.split_once('/') {
            None if client == "scm" => Client::Scm(gitlab(url, token)?),
            None if client == "hand" => Client::ByHand(ByHand::new(url, token)?),
            Some(("scm", parts)) => Client::ScmInParts(gitlab(url, token)?, parts.parse()?),
            _ => return Err(format!("no client is called {client}").into()),
        };
        Ok(Self { client, runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()? })
    }

    /// Lists everything, holds it, and counts it.
    ///
    /// # Errors
    /// The client's.
    pub fn walk(&self) -> Fallible<usize> {
        let opts = ListRepositories::default();
        self.runtime.block_on(async {
            match &self.client {
                Client::Scm(gitlab) => hold(gitlab.list_repositories(opts)).await,
                Client::ScmInParts(gitlab, parts) => {
                    hold(gitlab.list_repositories_in_parts(opts, *parts)).await
                }
                Client::ByHand(by_hand) => Ok(by_hand.list().await?.len()),
            }
        })
    }
}

fn gitlab(url: &str, token: &str) -> Fallible<GitLab> {
    let credential = Arc::new(StaticCredential::token(token.into()));
    let transport = Transport::new(DirectTransport::new(&Network::new())?);
    Ok(GitLab::new(GitLabConfig::new(url, credential)?, transport)?)
}

async fn hold(projects: impl Stream<Item = scm_core::Result<Repository>>) -> Fallible<usize> {
    Ok(projects.try_collect::<Vec<_>>().await?.len())
}
