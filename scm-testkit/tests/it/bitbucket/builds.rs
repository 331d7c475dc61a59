//! Build states, Code Insights and webhooks.

use scm_testkit::sim::bitbucket_dc::{BitbucketDcSim, BuildScript, Role};
use serde_json::{Value, json};

use super::{REPO, anonymous, client, column, fill, member, started};

#[tokio::test]
async fn builds_are_published_to_a_repository_and_listed_by_commit() {
    let sim = started().await;
    let client = client(&sim);
    let head = sim.revision("DEMO/web", "main").unwrap().unwrap();
    let path = format!("{REPO}/commits/{head}/builds");
    let build = |key: &str, state: &str| json!({ "key": key, "state": state, "url": "https://ci.example.com/1", "name": "CI", "parent": "plan", "buildNumber": "7", "testResults": { "failed": 0, "successful": 3, "skipped": 1 } });
    assert_eq!(client.post(&path, &build("a", "INPROGRESS")).await.status, 204);
    assert_eq!(client.post(&path, &build("a", "FAILED")).await.status, 204, "the same key again");
    assert_eq!(client.post(&path, &build("b", "CANCELLED")).await.status, 204);
    let one = client.get(&format!("{path}?key=a")).await.json();
    let some = ["key", "state", "url", "name", "parent", "buildNumber", "projectKey", "repositorySlug"];
    assert_eq!(
        some.map(|name| one[name].as_str().unwrap().to_owned()),
        ["a", "FAILED", "https://ci.example.com/1", "CI", "plan", "7", "DEMO", "web"]
    );
    assert_eq!(one["testResults"]["successful"], 3);
    assert_eq!(client.get(&format!("{path}?key=c")).await.status, 404);
    let list = format!("/build-status/1.0/commits/{head}");
    assert_eq!(column(&client.get(&list).await.json(), "/key"), ["b", "a"]);
    let stats = client.get(&format!("/build-status/1.0/commits/stats/{head}")).await.json();
    assert_eq!(stats, json!({ "successful": 0, "failed": 1, "inProgress": 0, "cancelled": 1, "unknown": 0 }));
    let other = "0123456789012345678901234567890123456789";
    let many = client.post("/build-status/1.0/commits/stats", &json!([head, other])).await.json();
    assert_eq!(many.as_object().unwrap().keys().collect::<Vec<_>>(), [&head]);
    let writer = member(&sim, "ann", "DEMO/web", Role::Write);
    assert_eq!(writer.delete(&format!("{path}?key=a")).await.status, 401);
    assert_eq!(client.delete(&format!("{path}?key=a")).await.status, 204);
    assert_eq!(client.get(&format!("{path}?key=a")).await.status, 404);
    assert_eq!(anonymous(&sim).get(&list).await.status, 401);
    sim.create_user("stranger");
    assert_eq!(
        super::basic(&sim, "stranger", "stranger").get(&list).await.json()["size"],
        0,
        "not of hidden repositories"
    );
}

#[tokio::test]
async fn builds_are_checked() {
    let sim = started().await;
    let client = client(&sim);
    let head = sim.revision("DEMO/web", "main").unwrap().unwrap();
    let (new, old) = (format!("{REPO}/commits/{head}/builds"), format!("/build-status/1.0/commits/{head}"));
    let url = "https://ci.example.com/1";
    for (body, field) in [
        (json!({ "state": "FAILED", "url": url }), "key"),
        (json!({ "key": "a", "url": url }), "state"),
        (json!({ "key": "a", "state": "FAILED" }), "url"),
        (json!({ "key": "a", "state": "BORED", "url": url }), "state"),
        (json!({ "key": "a", "state": "FAILED", "url": "nowhere" }), "url"),
        (json!({ "key": "x".repeat(256), "state": "FAILED", "url": url }), "key"),
        (json!({ "key": "a", "state": "FAILED", "url": format!("{url}{}", "x".repeat(450)) }), "url"),
        (json!({ "key": "a", "state": "FAILED", "url": url, "description": "x".repeat(256) }), "description"),
    ] {
        for path in [&new, &old] {
            let answer = client.post(path, &body).await;
            assert_eq!(
                (answer.status, &answer.json()["errors"][0]["context"]),
                (400, &json!(field)),
                "{path} {body}"
            );
        }
    }
    let body = json!({ "key": "a", "state": "CANCELLED", "url": url });
    assert_eq!(client.post(&old, &body).await.status, 400, "the older resource knows three states");
    let body = json!({ "key": "a", "state": "SUCCESSFUL", "url": url });
    assert_eq!(client.post(&old, &body).await.status, 204);
    assert_eq!(client.post("/build-status/1.0/commits/abc123", &body).await.status, 400, "the full id");
    let unknown = format!("{REPO}/commits/{}/builds", "0".repeat(40));
    assert_eq!(client.post(&unknown, &body).await.status, 404);
    let older = BitbucketDcSim::builder().version("8.8.0").start().await.unwrap();
    fill(&older);
    let head = older.revision("DEMO/web", "main").unwrap().unwrap();
    let body = json!({ "key": "a", "state": "CANCELLED", "url": url });
    let path = format!("{REPO}/commits/{head}/builds");
    assert_eq!(super::client(&older).post(&path, &body).await.status, 400, "since 8.9");
}

#[tokio::test]
async fn pushes_set_builds_off_that_end_when_they_were_looked_at() {
    let sim = started().await;
    let script =
        [BuildScript::new("unit", "SUCCESSFUL"), BuildScript::new("lint", "FAILED").finish_after_reads(0)];
    sim.set_build_script("DEMO/web", script).unwrap();
    let head = sim.push_commit("DEMO/web", "topic", "Topic", &[("new", Some(b"x\n"))]).unwrap();
    let client = client(&sim);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let page = client.get(&format!("/build-status/1.0/commits/{head}?orderBy=OLDEST")).await.json();
        seen.push(column(&page, "/state"));
    }
    assert_eq!(seen[0], ["INPROGRESS", "FAILED"]);
    assert_eq!(seen[3], ["SUCCESSFUL", "FAILED"]);
}

#[tokio::test]
async fn reports_have_annotations_up_to_a_thousand() {
    let sim = started().await;
    let client = client(&sim);
    let head = sim.revision("DEMO/web", "main").unwrap().unwrap();
    let path = format!("/insights/1.0/projects/DEMO/repos/web/commits/{head}/reports/com.example.scan");
    let notes = format!("{path}/annotations");
    let note =
        json!({ "message": "Old", "severity": "HIGH", "path": "README.md", "line": 1, "externalId": "1" });
    assert_eq!(client.post(&notes, &json!({ "annotations": [note] })).await.status, 404, "no report yet");
    assert_eq!(client.put(&path, &json!({ "result": "PASS" })).await.status, 400, "no title");
    let body = json!({ "title": "Scan", "result": "FAIL", "data": [{ "title": "Found", "type": "NUMBER", "value": 3 }] });
    let made = client.put(&path, &body).await.json();
    assert_eq!(
        (&made["key"], &made["title"], &made["result"]),
        (&json!("com.example.scan"), &json!("Scan"), &json!("FAIL"))
    );
    assert_eq!(made["data"][0]["value"], 3);
    assert_eq!(client.post(&notes, &json!({ "annotations": [note] })).await.status, 204);
    assert_eq!(client.get(&notes).await.json()["annotations"][0]["message"], "Old");
    let bad = json!({ "annotations": [{ "message": "x", "severity": "MILD" }] });
    assert_eq!(client.post(&notes, &bad).await.status, 400);
    let many: Vec<Value> =
        (0..1_000).map(|n| json!({ "message": format!("{n}"), "severity": "LOW" })).collect();
    assert_eq!(client.post(&notes, &json!({ "annotations": many })).await.status, 400, "one too many");
    assert_eq!(client.post(&notes, &json!({ "annotations": &many[..999] })).await.status, 204);
    let other = member(&sim, "ann", "DEMO/web", Role::Write);
    assert_eq!(other.put(&path, &body).await.status, 401, "it is another's");
    assert_eq!(client.get(&path).await.json(), made);
    assert_eq!(client.delete(&format!("{notes}?externalId=1")).await.status, 204);
    assert_eq!(client.get(&notes).await.json()["annotations"].as_array().unwrap().len(), 999);
    assert_eq!(client.delete(&path).await.status, 204);
    assert_eq!(client.get(&path).await.status, 404);
}

#[tokio::test]
async fn webhooks_are_kept_without_their_secret() {
    let sim = started().await;
    let client = client(&sim);
    let path = format!("{REPO}/webhooks");
    let hook = json!({ "name": "ci", "url": "https://ci.example.com/hook", "events": ["repo:refs_changed"], "configuration": { "secret": "s3cret" }, "active": true });
    let writer = member(&sim, "ann", "DEMO/web", Role::Write);
    assert_eq!(writer.post(&path, &hook).await.status, 401);
    let made = client.post(&path, &hook).await;
    assert!([200, 201].contains(&made.status));
    assert!(!made.text().contains("s3cret"));
    let id = made.json()["id"].clone();
    assert_eq!(column(&client.get(&path).await.json(), "/name"), ["ci"]);
    let mut wrong = hook.clone();
    wrong["events"] = json!(["pr:merged", "pr:cooked"]);
    let refused = client.post(&path, &wrong).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["context"]), (400, &json!("events")));
    for field in ["name", "url", "events"] {
        let mut body = hook.clone();
        body.as_object_mut().unwrap().remove(field);
        assert_eq!(client.post(&path, &body).await.status, 400, "{field}");
    }
    let mut changed = hook;
    changed["active"] = json!(false);
    assert_eq!(client.put(&format!("{path}/{id}"), &changed).await.json()["active"], false);
    assert_eq!(
        client.post(&format!("{path}/test?url=https://ci.example.com/hook"), &json!({})).await.status,
        200
    );
    assert_eq!(client.delete(&format!("{path}/{id}")).await.status, 204);
    assert_eq!(client.get(&format!("{path}/{id}")).await.status, 404);
}
