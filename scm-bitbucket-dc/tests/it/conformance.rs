//! The conformance suite against the simulator, with retry and limits as users have them. scm-client runs it over
//! the other routes and paths.

use std::sync::Arc;

use scm_bitbucket_dc::{BitbucketDc, BitbucketDcConfig};
use scm_core::{Scm, StaticCredential, Transport};
use scm_testkit::conformance::{BitbucketDcFixture, RunOptions, run};
use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use scm_transport::{DirectTransport, Network};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_a_context_path() {
    // The server believes to be elsewhere, as behind a reverse proxy: its links must not lead there.
    let sim = BitbucketDcSim::builder()
        .context_path("/bitbucket")
        .external_url("https://git.example.com/bitbucket");
    let sim = Arc::new(sim.start().await.unwrap());
    let transport = Transport::new(DirectTransport::new(&Network::new()).unwrap());
    let connect = move |url: &str, token| -> scm_core::Result<Arc<dyn Scm>> {
        let config = BitbucketDcConfig::new(url, Arc::new(StaticCredential::token(token)))?;
        Ok(Arc::new(BitbucketDc::new(config, transport.clone())?))
    };
    let fixture = Arc::new(BitbucketDcFixture::new(Arc::clone(&sim), connect).unwrap());
    let report = run(fixture.scm(), fixture, &RunOptions::new()).await;
    println!("{report}");
    assert!(report.is_ok(), "{:#?}", report.unexpected().collect::<Vec<_>>());
    let unknown = sim.unknown_parameters();
    assert!(unknown.is_empty(), "parameters that the server does not know: {unknown:#?}");
}
