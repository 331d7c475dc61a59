//! Faults on purpose, and the rate limiter.

use std::time::{Duration, Instant};

use scm_testkit::{
    fault::Fault,
    sim::gitlab::{GitLabSim, RateLimit},
};
use serde_json::json;

use crate::client::Client;

const BRANCHES: &str = "/projects/:id/repository/branches";
const PATH: &str = "/projects/demo%2Fweb/repository/branches";

async fn demo() -> (GitLabSim, Client) {
    let sim = GitLabSim::builder().seed_demo().start().await.unwrap();
    let client = Client::of(&sim);
    (sim, client)
}

#[tokio::test]
async fn a_reset_before_the_work_leaves_nothing_and_one_after_it_everything() {
    let (sim, client) = demo().await;
    sim.faults().add(Fault::on("POST", BRANCHES).reset_before().times(1));
    let lost = sim.faults().add(Fault::on("POST", BRANCHES).reset_after().times(1));
    let before = client.try_json("POST", PATH, &json!({ "branch": "one", "ref": "main" })).await;
    assert_eq!(before.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(sim.revision("demo/web", "one").unwrap(), None);
    assert_eq!(sim.requests()[0].status, None);
    let after = client.try_json("POST", PATH, &json!({ "branch": "two", "ref": "main" })).await;
    assert_eq!(after.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(sim.revision("demo/web", "two").unwrap().is_some());
    assert_eq!(sim.requests()[1].status, Some(201));
    assert_eq!(sim.faults().hits(lost), 1);
    assert_eq!(client.post(PATH, &json!({ "branch": "three", "ref": "main" })).await.status, 201);
}

#[tokio::test]
async fn bodies_are_cut_broken_slowed_or_replaced() {
    let (sim, client) = demo().await;
    let faults = sim.faults();
    faults.add(Fault::on("GET", "/projects/:id").truncate().times(1));
    faults.add(Fault::on("GET", "/projects/:id").garbage().times(1));
    faults.add(Fault::on("GET", "/projects/:id").login_page().times(1));
    faults.add(Fault::on("GET", "/projects/:id").html(502, "<h1>502 Bad Gateway</h1>").times(1));
    faults.add(Fault::on("GET", "/version").slow(40, Duration::from_millis(10)).times(1));
    let get = || client.send("GET", "/projects/1", None, b"");
    assert_eq!(get().await.unwrap_err().to_string(), "the body ends early");
    let garbage = get().await.unwrap();
    assert!(garbage.status == 200 && serde_json::from_slice::<serde_json::Value>(&garbage.body).is_err());
    let login = get().await.unwrap();
    assert_eq!((login.status, login.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(login.text().contains("Sign in"));
    assert_eq!(get().await.unwrap().status, 502);
    assert_eq!(get().await.unwrap().json()["id"], 1);
    let started = Instant::now();
    assert_eq!(client.get("/version").await.json()["enterprise"], true);
    assert!(started.elapsed() >= Duration::from_millis(30));
}

#[tokio::test]
async fn the_three_forms_of_429() {
    let (sim, client) = demo().await;
    let faults = sim.faults();
    faults.add(Fault::on("GET", "/user").throttled(17).times(1));
    faults.add(Fault::on("GET", "/user").throttled_without_headers().times(1));
    faults.add(Fault::on("GET", "/user").throttled_by_application().times(1));
    let first = client.get("/user").await;
    assert_eq!((first.status, first.header("retry-after")), (429, Some("17")));
    let reset: i64 = first.header("ratelimit-reset").unwrap().parse().unwrap();
    assert!((reset - sim.clock().unix_seconds() - 17).abs() <= 1);
    assert!(first.header("ratelimit-resettime").unwrap().ends_with("GMT"));
    let second = client.get("/user").await;
    assert_eq!(
        (second.status, second.header("retry-after"), second.text().trim()),
        (429, None, "Retry later")
    );
    let third = client.get("/user").await;
    assert_eq!(third.header("retry-after"), Some("60"));
    assert!(
        third.json()["message"]["error"].as_str().unwrap().starts_with("This endpoint has been requested")
    );
    assert_eq!(client.get("/user").await.status, 200);
}

#[tokio::test]
async fn a_limiter_counts_and_lets_go_again() {
    let (sim, client) = demo().await;
    assert_eq!(client.get("/user").await.header("ratelimit-limit"), None);
    sim.set_rate_limit(Some(RateLimit::new(2, Duration::from_secs(3_600))));
    let first = client.get("/user").await;
    assert_eq!(
        (first.header("ratelimit-observed"), first.header("ratelimit-remaining")),
        (Some("1"), Some("1"))
    );
    assert_eq!(first.header("retry-after"), None);
    client.get("/user").await;
    let refused = client.get("/user").await;
    assert_eq!((refused.status, refused.header("ratelimit-remaining")), (429, Some("0")));
    assert!(refused.header("retry-after").is_some());
    sim.clock().advance(Duration::from_secs(3_600));
    assert_eq!(client.get("/user").await.status, 200);
}
