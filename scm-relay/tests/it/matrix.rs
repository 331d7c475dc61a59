//! The cells of the conformance matrix over the agent route: product × hub in this process or on its own × at the root or under a
//! path. The agent is a process of its own. All of the suite runs on two cells, which cover every value; the others of a product
//! share the cases, and with the variable `SCM_MATRIX=whole` they run all of them.

use std::sync::Arc;

use scm_bitbucket_dc::{BitbucketDc, BitbucketDcConfig};
use scm_core::{Scm, StaticCredential, Transport};
use scm_gitlab::{GitLab, GitLabConfig};
use scm_testkit::conformance::{BitbucketDcFixture, GitLabFixture, RunOptions, run};
use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use scm_testkit::sim::gitlab::GitLabSim;
use secrecy::SecretString;

use crate::agent_world::{Files, Program, TlsHub};
use crate::fault_world::{HubProcess, Process};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Product {
    GitLab,
    BitbucketDc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HubAt {
    InProcess,
    StandAlone,
}

/// A hub with an agent, for as long as this.
enum Way {
    /// TLS from the agent to the hub.
    InProcess {
        hub: Box<TlsHub>,
        agent: Program,
        _files: Files,
    },
    StandAlone {
        hub: Box<HubProcess>,
        _agent: Process,
    },
}

impl Way {
    async fn open(hub: HubAt, allow: &str) -> Self {
        match hub {
            HubAt::InProcess => {
                let (hub, files) = (TlsHub::start().await, Files::new());
                let mut agent = Program::run(&hub, &files, &["--allow", allow]);
                agent.ready().await;
                Self::InProcess { hub: Box::new(hub), agent, _files: files }
            }
            HubAt::StandAlone => {
                let hub = HubProcess::start("").await;
                let agent = hub.agent(&[allow]).await;
                Self::StandAlone { hub: Box::new(hub), _agent: agent }
            }
        }
    }

    fn transport(&self) -> Transport {
        match self {
            Self::InProcess { hub, .. } => hub.transport(),
            Self::StandAlone { hub, .. } => hub.transport(),
        }
    }

    /// What of the agent's log says about requests.
    fn audited(&self) -> Option<usize> {
        match self {
            Self::InProcess { agent, .. } => Some(agent.log().matches("scm_relay::audit").count()),
            Self::StandAlone { .. } => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    product: Product,
    hub: HubAt,
    under_a_path: bool,
}

impl Cell {
    const FULL: [Self; 2] = [
        Self { product: Product::GitLab, hub: HubAt::StandAlone, under_a_path: true },
        Self { product: Product::BitbucketDc, hub: HubAt::InProcess, under_a_path: false },
    ];

    async fn check(self, opts: &RunOptions) {
        let (report, unknown, audited) = match self.product {
            Product::GitLab => {
                let mut sim = GitLabSim::builder();
                if self.under_a_path {
                    sim = sim.context_path("/gitlab").external_url("https://gitlab.example.com/gitlab");
                }
                let sim = Arc::new(sim.start().await.unwrap());
                let way = Way::open(self.hub, &format!("{}=gitlab", sim.url())).await;
                let transport = way.transport();
                let connect = move |url: &str, token: SecretString| -> scm_core::Result<Arc<dyn Scm>> {
                    let config = GitLabConfig::new(url, Arc::new(StaticCredential::token(token)))?;
                    Ok(Arc::new(GitLab::new(config, transport.clone())?))
                };
                let fixture = Arc::new(GitLabFixture::new(Arc::clone(&sim), connect).unwrap());
                (run(fixture.scm(), fixture, opts).await, sim.unknown_parameters(), way.audited())
            }
            Product::BitbucketDc => {
                let mut sim = BitbucketDcSim::builder();
                if self.under_a_path {
                    sim = sim.context_path("/bitbucket").external_url("https://git.example.com/bitbucket");
                }
                let sim = Arc::new(sim.start().await.unwrap());
                let way = Way::open(self.hub, &format!("{}=bitbucket-dc", sim.url())).await;
                let transport = way.transport();
                let connect = move |url: &str, token: SecretString| -> scm_core::Result<Arc<dyn Scm>> {
                    let config = BitbucketDcConfig::new(url, Arc::new(StaticCredential::token(token)))?;
                    Ok(Arc::new(BitbucketDc::new(config, transport.clone())?))
                };
                let fixture = Arc::new(BitbucketDcFixture::new(Arc::clone(&sim), connect).unwrap());
                (run(fixture.scm(), fixture, opts).await, sim.unknown_parameters(), way.audited())
            }
        };
        println!("{self:?}: {report}");
        assert!(report.is_ok(), "{self:?}: {:#?}", report.unexpected().collect::<Vec<_>>());
        assert!(unknown.is_empty(), "parameters that the server does not know: {unknown:#?}");
        if let Some(audited) = audited {
            assert!(audited > 2 * report.cases.len(), "the agent carried out {audited} requests");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn gitlab_through_a_hub_of_its_own_under_a_context_path() {
    Cell::FULL[0].check(&RunOptions::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bitbucket_dc_through_a_hub_in_process_at_the_root() {
    Cell::FULL[1].check(&RunOptions::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn gitlab_elsewhere() {
    check_others(Product::GitLab).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bitbucket_dc_elsewhere() {
    check_others(Product::BitbucketDc).await;
}

async fn check_others(product: Product) {
    let cells = [false, true].map(|under_a_path| {
        [HubAt::InProcess, HubAt::StandAlone].map(|hub| Cell { product, hub, under_a_path })
    });
    let others: Vec<Cell> = cells.into_iter().flatten().filter(|cell| !Cell::FULL.contains(cell)).collect();
    assert_eq!(others.len(), 3);
    for (nth, cell) in others.iter().enumerate() {
        let opts = RunOptions::new();
        cell.check(&if whole() { opts } else { opts.part(nth, others.len()) }).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a recipe asks for the whole matrix")]
fn whole() -> bool {
    std::env::var("SCM_MATRIX").is_ok_and(|matrix| matrix == "whole")
}
