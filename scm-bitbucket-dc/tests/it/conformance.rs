//! The conformance suite against the simulator, with retry and limits as users have them.

use std::sync::Arc;

use scm_bitbucket_dc::{BitbucketDc, BitbucketDcConfig};
use scm_core::{Scm, StaticCredential, Transport};
use scm_testkit::conformance::{BitbucketDcFixture, Report, RunOptions, run};
use scm_testkit::sim::bitbucket_dc::{BitbucketDcSim, BitbucketDcSimBuilder};
use scm_transport::{DirectTransport, Network};

async fn suite(builder: BitbucketDcSimBuilder) -> Report {
    let sim = Arc::new(builder.start().await.unwrap());
    let transport = Transport::new(DirectTransport::new(&Network::new()).unwrap());
    let connect = move |url: &str, token| -> scm_core::Result<Arc<dyn Scm>> {
        let config = BitbucketDcConfig::new(url, Arc::new(StaticCredential::token(token)))?;
        Ok(Arc::new(BitbucketDc::new(config, transport.clone())?))
    };
    let fixture = Arc::new(BitbucketDcFixture::new(Arc::clone(&sim), connect).unwrap());
    let report = run(fixture.scm(), fixture, &RunOptions::new()).await;
    println!("{report}");
    let unknown = sim.unknown_parameters();
    assert!(unknown.is_empty(), "parameters that the server does not know: {unknown:#?}");
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_the_root() {
    let report = suite(BitbucketDcSim::builder()).await;
    assert!(report.is_ok(), "{:#?}", report.unexpected().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_a_context_path() {
    // The server believes to be elsewhere, as behind a reverse proxy: its links must not lead there.
    let sim = BitbucketDcSim::builder()
        .context_path("/bitbucket")
        .external_url("https://git.example.com/bitbucket");
    let report = suite(sim).await;
    assert!(report.is_ok(), "{:#?}", report.unexpected().collect::<Vec<_>>());
}
