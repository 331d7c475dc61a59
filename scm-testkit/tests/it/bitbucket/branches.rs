//! Branches, tags and branch permissions.

use scm_testkit::sim::bitbucket_dc::{RestrictionKind, Role};
use serde_json::json;

use super::{REPO, client, column, member, refusal, started};

const UTILS: &str = "/branch-utils/latest/projects/DEMO/repos/web/branches";

#[tokio::test]
async fn two_modules_make_branches_and_answer_differently() {
    let sim = started().await;
    let client = client(&sim);
    let head = sim.revision("DEMO/web", "main").unwrap().unwrap();
    let made =
        client.post(&format!("{REPO}/branches"), &json!({ "name": "a/b", "startPoint": "main" })).await;
    assert_eq!(made.status, 200);
    assert_eq!(
        made.json(),
        json!({
            "id": "refs/heads/a/b", "displayId": "a/b", "type": "BRANCH", "latestCommit": head,
            "latestChangeset": head, "isDefault": false,
        })
    );
    let other = client.post(UTILS, &json!({ "name": "refs/heads/c", "startPoint": head })).await;
    assert_eq!((other.status, &other.json()["displayId"]), (201, &json!("c")));
    for (name, start, status) in [
        ("c", "main", 400),
        ("a", "main", 409),
        ("c/d", "main", 409),
        ("a..b", "main", 400),
        ("e", "nope", 400),
    ] {
        let answer = client.post(UTILS, &json!({ "name": name, "startPoint": start })).await;
        assert_eq!(answer.status, status, "{name} at {start}: {}", answer.text());
    }
    assert_eq!(client.post(UTILS, &json!({ "name": "x" })).await.status, 400);
}

#[tokio::test]
async fn the_filter_is_a_contained_text() {
    let sim = started().await;
    let client = client(&sim);
    for name in ["fix", "prefix", "FIX-2", "other"] {
        sim.push_commit("DEMO/web", name, name, &[(name, Some(b"x"))]).unwrap();
    }
    let names = |query: &'static str| {
        let client = client.clone();
        async move { column(&client.get(&format!("{REPO}/branches?{query}")).await.json(), "/displayId") }
    };
    assert_eq!(names("").await, ["fix", "FIX-2", "main", "other", "prefix"]);
    assert_eq!(names("filterText=fix").await, ["fix", "FIX-2", "prefix"]);
    assert_eq!(names("filterText=FIX&boostMatches=true").await, ["fix", "FIX-2", "prefix"]);
    assert_eq!(names("filterText=prefix&limit=1").await, ["prefix"]);
    let page = client.get(&format!("{REPO}/branches?filterText=prefix&details=true&base=main")).await.json();
    let metadata = page["values"][0]["metadata"].as_object().unwrap();
    let distance = metadata.iter().find(|(name, _)| name.contains("ahead-behind")).unwrap().1;
    assert_eq!(distance, &json!({ "ahead": 1, "behind": 0 }));
}

#[tokio::test]
async fn deleting_compares_spares_the_default_branch_and_forgives_absence() {
    let sim = started().await;
    let client = client(&sim);
    let old = sim.push_commit("DEMO/web", "topic", "One", &[("a", Some(b"1"))]).unwrap();
    let new = sim.push_commit("DEMO/web", "topic", "Two", &[("a", Some(b"2"))]).unwrap();
    let stale = client.delete_with(UTILS, &json!({ "name": "refs/heads/topic", "endPoint": old })).await;
    assert_eq!(stale.status, 400, "{}", stale.text());
    let dry = client.delete_with(UTILS, &json!({ "name": "topic", "endPoint": new, "dryRun": true })).await;
    assert_eq!(dry.status, 204);
    assert_eq!(sim.revision("DEMO/web", "topic").unwrap(), Some(new.clone()));
    assert_eq!(client.delete_with(UTILS, &json!({ "name": "topic", "endPoint": new })).await.status, 204);
    assert_eq!(sim.revision("DEMO/web", "topic").unwrap(), None);
    assert_eq!(client.delete_with(UTILS, &json!({ "name": "topic" })).await.status, 204);
    assert_eq!(client.delete_with(UTILS, &json!({ "name": "main" })).await.status, 400);
    assert_eq!(client.delete_with(UTILS, &json!({})).await.status, 400);
    assert!(sim.revision("DEMO/web", "main").unwrap().is_some());
}

#[tokio::test]
async fn restrictions_are_administrators_business_and_hold_for_rest() {
    let sim = started().await;
    let client = client(&sim);
    let path = "/branch-permissions/2.0/projects/DEMO/repos/web/restrictions";
    let writer = member(&sim, "ann", "DEMO/web", Role::Write);
    assert_eq!(writer.get(path).await.status, 401);
    let rule = json!({
        "type": "no-creates",
        "matcher": { "id": "release/*", "type": { "id": "PATTERN" } },
        "users": ["scm"],
    });
    let made = client.post(path, &rule).await.json();
    assert_eq!((&made["type"], &made["users"][0]["name"]), (&json!("no-creates"), &json!("scm")));
    assert_eq!(client.post(path, &json!({ "type": "king" })).await.status, 400);
    let branch = |name: &str| json!({ "name": name, "startPoint": "main" });
    let refused = writer.post(&format!("{REPO}/branches"), &branch("release/1")).await;
    assert_eq!(refusal(&refused), (401, "AuthorisationException".to_owned()));
    assert_eq!(writer.post(&format!("{REPO}/branches"), &branch("released")).await.status, 200);
    assert_eq!(client.post(&format!("{REPO}/branches"), &branch("release/1")).await.status, 200);
    sim.restrict_branch("DEMO/web", "release/1", RestrictionKind::NoDeletes, &[]).unwrap();
    assert_eq!(client.delete_with(UTILS, &json!({ "name": "release/1" })).await.status, 401);
    let kinds = column(&client.get(path).await.json(), "/type");
    assert_eq!(kinds, ["no-creates", "no-deletes"]);
    let first = client.get(path).await.json()["values"][0]["id"].clone();
    assert_eq!(client.delete(&format!("{path}/{first}")).await.status, 204);
    assert_eq!(writer.post(&format!("{REPO}/branches"), &branch("release/2")).await.status, 200);
}

#[tokio::test]
async fn tags_are_light_or_annotated() {
    let sim = started().await;
    let client = client(&sim);
    let head = sim.revision("DEMO/web", "main").unwrap().unwrap();
    let git = "/git/latest/projects/DEMO/repos/web/tags";
    let light = client.post(git, &json!({ "name": "v1", "startPoint": "main", "type": "LIGHTWEIGHT" })).await;
    assert_eq!((light.status, &light.json()["hash"]), (201, &json!(null)));
    let body = json!({ "name": "r/v2", "startPoint": head, "type": "ANNOTATED", "message": "Two" });
    let annotated = client.post(git, &body).await.json();
    assert_eq!((&annotated["latestCommit"], &annotated["type"]), (&json!(head), &json!("TAG")));
    assert_ne!(annotated["hash"], json!(head));
    assert_eq!(client.post(git, &body).await.status, 400);
    assert_eq!(client.get(&format!("{REPO}/tags/r/v2")).await.json(), annotated);
    assert_eq!(
        column(&client.get(&format!("{REPO}/tags?filterText=v")).await.json(), "/displayId"),
        ["r/v2", "v1"]
    );
    assert_eq!(client.get(&format!("{REPO}/commits?until=refs/tags/v1")).await.json()["size"], 1);
    assert_eq!(client.delete(&format!("{git}/r/v2")).await.status, 204);
    assert_eq!(client.get(&format!("{REPO}/tags/r/v2")).await.status, 404);
}
