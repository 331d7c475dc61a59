//! The conformance suite as a matrix: product × route × at the root or under a path. All of it runs on four cells, which
//! cover every pair of values: here the two behind real proxies, beside each provider the direct one. The other cells of
//! a product share the cases, so that each runs once more; with the variable `SCM_MATRIX=whole` they run all of them.

use std::sync::Arc;

use scm_testkit::conformance::{BitbucketDcFixture, GitLabFixture, RunOptions, run};
use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use scm_testkit::sim::gitlab::GitLabSim;

use crate::routes::{self, Hop, Via};

const ROUTES: [Via; 4] = [Via::Direct, Via::SmallProxy, Via::Squid, Via::Tinyproxy];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Product {
    GitLab,
    BitbucketDc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    product: Product,
    via: Via,
    under_a_path: bool,
}

impl Cell {
    /// Those that run the whole suite at every change, two of them in the crates of the providers.
    const FULL: [Self; 4] = [
        Self { product: Product::GitLab, via: Via::Direct, under_a_path: false },
        Self { product: Product::GitLab, via: Via::Squid, under_a_path: true },
        Self { product: Product::BitbucketDc, via: Via::Direct, under_a_path: true },
        Self { product: Product::BitbucketDc, via: Via::Tinyproxy, under_a_path: false },
    ];

    async fn check(self, opts: &RunOptions) {
        let Some(hop) = Hop::start(self.via).await else { return };
        let transport = hop.transport();
        let (report, unknown) = match self.product {
            Product::GitLab => {
                let mut sim = GitLabSim::builder();
                if self.under_a_path {
                    // The server believes to be elsewhere, as behind a reverse proxy: its links must not lead there.
                    sim = sim.context_path("/gitlab").external_url("https://gitlab.example.com/gitlab");
                }
                let sim = Arc::new(sim.start().await.unwrap());
                let connect = move |url: &str, token| routes::gitlab(&transport, url, token);
                let fixture = Arc::new(GitLabFixture::new(Arc::clone(&sim), connect).unwrap());
                (run(fixture.scm(), fixture, opts).await, sim.unknown_parameters())
            }
            Product::BitbucketDc => {
                let mut sim = BitbucketDcSim::builder();
                if self.under_a_path {
                    sim = sim.context_path("/bitbucket").external_url("https://git.example.com/bitbucket");
                }
                let sim = Arc::new(sim.start().await.unwrap());
                let connect = move |url: &str, token| routes::bitbucket_dc(&transport, url, token);
                let fixture = Arc::new(BitbucketDcFixture::new(Arc::clone(&sim), connect).unwrap());
                (run(fixture.scm(), fixture, opts).await, sim.unknown_parameters())
            }
        };
        println!("{self:?}: {report}");
        assert!(report.is_ok(), "{self:?}: {:#?}", report.unexpected().collect::<Vec<_>>());
        assert!(unknown.is_empty(), "parameters that the server does not know: {unknown:#?}");
        if let Some(requests) = hop.requests() {
            assert!(requests > 2 * report.cases.len(), "{requests} requests went through the proxy");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn gitlab_through_squid_under_a_context_path() {
    Cell::FULL[1].check(&RunOptions::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bitbucket_dc_through_tinyproxy_at_the_root() {
    Cell::FULL[3].check(&RunOptions::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn gitlab_elsewhere() {
    check_others(Product::GitLab).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bitbucket_dc_elsewhere() {
    check_others(Product::BitbucketDc).await;
}

#[expect(clippy::disallowed_methods, reason = "a recipe asks for the whole matrix")]
async fn check_others(product: Product) {
    let cells = [false, true].map(|under_a_path| ROUTES.map(|via| Cell { product, via, under_a_path }));
    let others: Vec<Cell> = cells.into_iter().flatten().filter(|cell| !Cell::FULL.contains(cell)).collect();
    assert_eq!(others.len(), 6);
    let whole = std::env::var("SCM_MATRIX").is_ok_and(|matrix| matrix == "whole");
    for (nth, cell) in others.iter().enumerate() {
        let opts = RunOptions::new();
        cell.check(&if whole { opts } else { opts.part(nth, others.len()) }).await;
    }
}
