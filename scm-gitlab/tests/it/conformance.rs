//! The conformance suite against the simulator, with retry and limits as users have them. scm-client runs it over
//! the other routes and paths.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use scm_core::{Scm, StaticCredential, Transport};
use scm_gitlab::{GitLab, GitLabConfig};
use scm_testkit::conformance::{self, Fixture, GitLabFixture, Outcome, Repo, RepoSpec, RunOptions, run};
use scm_testkit::fault::Fault;
use scm_testkit::sim::gitlab::{GitLabSim, GitLabSimBuilder};
use scm_transport::{DirectTransport, Network};

async fn fixture(builder: GitLabSimBuilder) -> (Arc<GitLabSim>, Arc<GitLabFixture>) {
    let sim = Arc::new(builder.start().await.unwrap());
    let transport = Transport::new(DirectTransport::new(&Network::new()).unwrap());
    let connect = move |url: &str, token| -> scm_core::Result<Arc<dyn Scm>> {
        let config = GitLabConfig::new(url, Arc::new(StaticCredential::token(token)))?;
        Ok(Arc::new(GitLab::new(config, transport.clone())?))
    };
    let fixture = GitLabFixture::new(Arc::clone(&sim), connect).unwrap();
    (sim, Arc::new(fixture))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_the_root() {
    let (sim, fixture) = fixture(GitLabSim::builder()).await;
    let report = run(fixture.scm(), fixture, &RunOptions::new()).await;
    println!("{report}");
    assert!(report.is_ok(), "{:#?}", report.unexpected().collect::<Vec<_>>());
    let unknown = sim.unknown_parameters();
    assert!(unknown.is_empty(), "parameters that the server does not know: {unknown:#?}");
}

/// A fixture with nothing but what it must have.
#[derive(Debug)]
struct Lean(Arc<GitLabFixture>);

#[async_trait]
impl Fixture for Lean {
    fn secrets(&self) -> Vec<String> {
        self.0.secrets()
    }

    async fn repository(&self, spec: &RepoSpec) -> conformance::Result<Repo> {
        self.0.repository(spec).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_skip_that_nobody_expects_fails() {
    let (_sim, fixture) = fixture(GitLabSim::builder()).await;
    let only = RunOptions::new().only("branches.c");
    let report = run(fixture.scm(), Arc::new(Lean(Arc::clone(&fixture))), &only).await;
    let skipped: Vec<_> = report.unexpected().map(|case| (case.name, &case.outcome)).collect();
    assert!(!skipped.is_empty() && skipped.iter().all(|(_, seen)| matches!(seen, Outcome::Skipped(_))));
    assert!(report.to_string().contains("no second user who pushes"), "{report}");
    let allowed = only.named("again").allowing_skip("branches.create_", "one user only");
    let report = run(fixture.scm(), Arc::new(Lean(Arc::clone(&fixture))), &allowed).await;
    assert!(report.is_ok(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_broken_promise_and_a_case_that_hangs_fail() {
    let (sim, fixture) = fixture(GitLabSim::builder()).await;
    sim.faults().add(Fault::on("POST", "/projects/:id/repository/branches").text(201, "{}"));
    let only = RunOptions::new().only("branches.create_makes_a_branch");
    let report = run(fixture.scm(), Arc::clone(&fixture) as _, &only).await;
    assert!(matches!(&report.cases[..], [case] if matches!(case.outcome, Outcome::Failed(_))), "{report}");

    sim.faults().clear();
    sim.faults().add(Fault::on("POST", "/projects/:id/repository/branches").delay(Duration::from_secs(30)));
    let hanging = only.named("again").with_timeout(Duration::from_millis(500));
    let report = run(fixture.scm(), fixture, &hanging).await;
    assert!(report.to_string().contains("did not end within 500ms"), "{report}");
}
