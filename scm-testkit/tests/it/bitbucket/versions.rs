//! Endpoints and fields that are there in some versions only.

use scm_testkit::sim::bitbucket_dc::{BitbucketDcSim, MergeChecks};
use serde_json::{Value, json};

use super::{REPO, client, fill};

async fn of_version(version: &str) -> BitbucketDcSim {
    let sim = BitbucketDcSim::builder().version(version).start().await.unwrap();
    fill(&sim);
    sim.push_commit("DEMO/web", "topic", "Topic", &[("new", Some(b"x\n"))]).unwrap();
    sim.open_pull_request("DEMO/web", "ann", "topic", "main", "Topic").unwrap();
    sim
}

#[tokio::test]
async fn what_came_later_is_not_there_before() {
    let pull = format!("{REPO}/pull-requests/1");
    for (path, before, since) in [
        (format!("{REPO}/webhooks/search"), "8.7.0", "8.8.0"),
        ("/api/latest/projects/DEMO/webhooks".to_owned(), "8.7.3", "8.8.0"),
        (format!("{pull}/commit-message-suggestion"), "8.11.1", "8.12.0"),
        (format!("{REPO}/settings/auto-merge"), "8.14.0", "8.15.0"),
        (format!("{pull}/merge-base"), "8.15.1", "8.16.0"),
        (format!("{pull}/diff-stats-summary/new"), "9.0.0", "9.1.0"),
    ] {
        assert_eq!(client(&of_version(before).await).get(&path).await.status, 404, "{path} in {before}");
        assert_eq!(client(&of_version(since).await).get(&path).await.status, 200, "{path} in {since}");
    }
}

#[tokio::test]
async fn drafts_and_auto_merge_are_ignored_where_they_are_not_known() {
    for (version, draft) in [("8.16.2", Value::Null), ("8.17.0", json!(true))] {
        let sim = of_version(version).await;
        sim.push_commit("DEMO/web", "wip", "Wip", &[("wip", Some(b"x\n"))]).unwrap();
        let body = json!({
            "title": "Wip", "draft": true, "fromRef": { "id": "refs/heads/wip" }, "toRef": { "id": "refs/heads/main" },
        });
        let made = client(&sim).post(&format!("{REPO}/pull-requests"), &body).await.json();
        assert_eq!(made["draft"], draft, "{version}");
    }
    let sim = of_version("8.14.0").await;
    sim.set_merge_checks("DEMO/web", MergeChecks::new().auto_merge()).unwrap();
    let body = json!({ "autoMerge": true });
    let merged = client(&sim).post(&format!("{REPO}/pull-requests/1/merge?version=0"), &body).await;
    assert_eq!(merged.json()["state"], "MERGED", "an older server merges at once");
}

#[tokio::test]
async fn a_version_tells_itself() {
    let sim = BitbucketDcSim::builder().version("8.9.12").start().await.unwrap();
    let told = client(&sim).get("/api/latest/application-properties").await.json();
    assert_eq!(told["version"], "8.9.12");
    assert_eq!(told["buildNumber"], "8009012");
    assert_eq!(told["displayName"], "Bitbucket");
    assert!(BitbucketDcSim::builder().version("new").start().await.is_err());
}

#[tokio::test]
async fn dates_are_milliseconds_or_texts() {
    let sim = of_version("9.4.0").await;
    let pull = client(&sim).get(&format!("{REPO}/pull-requests/1")).await.json();
    assert!(pull["createdDate"].as_i64().unwrap() > 1_700_000_000_000);
    let sim = BitbucketDcSim::builder().iso_dates().start().await.unwrap();
    fill(&sim);
    sim.push_commit("DEMO/web", "topic", "Topic", &[("new", Some(b"x\n"))]).unwrap();
    sim.open_pull_request("DEMO/web", "ann", "topic", "main", "Topic").unwrap();
    let pull = client(&sim).get(&format!("{REPO}/pull-requests/1")).await.json();
    let text = pull["createdDate"].as_str().unwrap();
    assert_eq!((text.len(), &text[10..11], &text[23..]), (24, "T", "Z"), "{text}");
}
