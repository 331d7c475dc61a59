//! Comments on pull requests: places, replies, versions, tasks, threads.

use scm_testkit::sim::bitbucket_dc::{BitbucketDcSim, Role};
use serde_json::{Value, json};

use super::{client, column, member, refusal, started};
use crate::client::Client;

const PULL: &str = "/api/latest/projects/DEMO/repos/web/pull-requests/1";
const COMMENTS: &str = "/api/latest/projects/DEMO/repos/web/pull-requests/1/comments";

/// `src/a.txt`: line 2 of three is changed to two lines.
async fn opened() -> (BitbucketDcSim, Client) {
    let sim = started().await;
    let text = b"one\nzwei\nzwo\nthree\n".as_slice();
    sim.push_commit("DEMO/web", "topic", "Topic", &[("src/a.txt", Some(text))]).unwrap();
    sim.open_pull_request("DEMO/web", "ann", "topic", "main", "Topic").unwrap();
    let client = client(&sim);
    (sim, client)
}

fn on(line: u64, line_type: &str, file_type: &str) -> Value {
    let anchor = json!({
        "path": "src/a.txt", "line": line, "lineType": line_type, "fileType": file_type, "diffType": "EFFECTIVE",
    });
    json!({ "text": "Here", "anchor": anchor })
}

#[tokio::test]
async fn a_comment_is_changed_by_its_author_with_its_version() {
    let (sim, client) = opened().await;
    assert_eq!(client.post(COMMENTS, &json!({ "text": "  " })).await.status, 400);
    let made = client.post(COMMENTS, &json!({ "text": "Hello" })).await;
    let comment = made.json();
    assert_eq!((made.status, &comment["version"], &comment["text"]), (201, &json!(0), &json!("Hello")));
    assert_eq!((&comment["severity"], &comment["state"]), (&json!("NORMAL"), &json!("OPEN")));
    assert_eq!((&comment["author"]["name"], &comment["comments"]), (&json!("scm"), &json!([])));
    let path = format!("{COMMENTS}/{}", comment["id"]);
    assert_eq!(client.put(&path, &json!({ "text": "Hi" })).await.status, 400, "no version");
    let edited = client.put(&path, &json!({ "text": "Hi", "version": 0 })).await.json();
    assert_eq!((&edited["text"], &edited["version"]), (&json!("Hi"), &json!(1)));
    let stale = client.put(&path, &json!({ "text": "Hm", "version": 0 })).await;
    assert_eq!(stale.status, 409);
    assert_eq!(stale.json()["errors"][0]["currentVersion"], 1);
    let other = member(&sim, "bob", "DEMO/web", Role::Write);
    assert_eq!(other.put(&path, &json!({ "text": "Mine", "version": 1 })).await.status, 401);
    assert_eq!(other.delete(&format!("{path}?version=1")).await.status, 401);
    assert_eq!(client.get(&path).await.json()["text"], "Hi");
    assert_eq!(client.delete(&path).await.status, 400, "no version");
    assert_eq!(client.delete(&format!("{path}?version=0")).await.status, 409);
    assert_eq!(client.delete(&format!("{path}?version=1")).await.status, 204);
    assert_eq!(client.get(&path).await.status, 404);
    assert_eq!(client.get(PULL).await.json()["version"], 0, "comments do not count");
}

#[tokio::test]
async fn replies_nest_and_keep_what_they_answer() {
    let (_sim, client) = opened().await;
    let root = client.post(COMMENTS, &json!({ "text": "Why?" })).await.json();
    let reply = client.post(COMMENTS, &json!({ "text": "So.", "parent": { "id": root["id"] } })).await.json();
    assert_eq!(client.post(COMMENTS, &json!({ "text": "x", "parent": { "id": 9_999 } })).await.status, 404);
    let shown = client.get(&format!("{COMMENTS}/{}", root["id"])).await.json();
    assert_eq!((&shown["comments"][0]["id"], &shown["comments"][0]["text"]), (&reply["id"], &json!("So.")));
    let root_path = format!("{COMMENTS}/{}?version=0", root["id"]);
    assert_eq!(refusal(&client.delete(&root_path).await), (409, "CommentDeletionException".to_owned()));
    assert_eq!(client.delete(&format!("{COMMENTS}/{}?version=0", reply["id"])).await.status, 204);
    assert_eq!(client.delete(&root_path).await.status, 204);
    assert_eq!(column(&client.get(&format!("{PULL}/activities")).await.json(), "/action"), ["OPENED"]);
}

#[tokio::test]
async fn places_are_held_against_the_diff() {
    let (_sim, client) = opened().await;
    for (body, status, why) in [
        (on(2, "ADDED", "TO"), 201, "an added line"),
        (on(3, "ADDED", "TO"), 201, "another"),
        (on(2, "REMOVED", "FROM"), 201, "a removed line by its old number"),
        (on(3, "CONTEXT", "FROM"), 201, "an unchanged line by its old number"),
        (on(4, "CONTEXT", "TO"), 201, "an unchanged line by its new number"),
        (on(1, "ADDED", "TO"), 400, "it is not added"),
        (on(1, "REMOVED", "FROM"), 400, "it is not removed"),
        (on(2, "CONTEXT", "TO"), 400, "it is added"),
        (on(99, "CONTEXT", "TO"), 400, "the file is not that long"),
    ] {
        let answer = client.post(COMMENTS, &body).await;
        assert_eq!(answer.status, status, "{why}: {}", answer.text());
    }
    let file = json!({ "text": "All of it", "anchor": { "path": "src/a.txt", "diffType": "EFFECTIVE" } });
    let made = client.post(COMMENTS, &file).await.json();
    assert!(made["anchor"].get("line").is_none() && made["anchor"].get("lineType").is_none());
    let mut wrong = on(2, "ADDED", "TO");
    wrong["anchor"]["path"] = json!("README.md");
    assert_eq!(client.post(COMMENTS, &wrong).await.status, 404, "no part of the diff");
    wrong = on(2, "ADDED", "TO");
    wrong["anchor"]["diffType"] = json!("RANGE");
    assert_eq!(client.post(COMMENTS, &wrong).await.status, 400, "a range has two ends");
    let no_type = json!({ "text": "x", "anchor": { "path": "src/a.txt", "line": 2 } });
    assert_eq!(client.post(COMMENTS, &no_type).await.status, 400);
}

#[tokio::test]
async fn comments_are_listed_by_path_and_by_activities() {
    let (sim, client) = opened().await;
    client.post(COMMENTS, &json!({ "text": "General" })).await;
    let inline = client.post(COMMENTS, &on(2, "ADDED", "TO")).await.json();
    assert_eq!(client.get(COMMENTS).await.status, 400, "a path is required");
    let page = client.get(&format!("{COMMENTS}?path=src/a.txt")).await.json();
    assert_eq!(column(&page, "/text"), ["Here"]);
    assert_eq!(client.get(&format!("{COMMENTS}?path=README.md")).await.json()["size"], 0);
    let activities = client.get(&format!("{PULL}/activities")).await.json();
    let newest = &activities["values"][0];
    assert_eq!((&newest["action"], &newest["commentAction"]), (&json!("COMMENTED"), &json!("ADDED")));
    assert_eq!((&newest["comment"]["id"], &newest["comment"]["text"]), (&inline["id"], &json!("Here")));
    assert_eq!(
        (&newest["commentAnchor"]["path"], &newest["commentAnchor"]["line"]),
        (&json!("src/a.txt"), &json!(2))
    );
    assert_eq!(activities["values"][1].get("commentAnchor"), None);
    let diff = client.get(&format!("{PULL}/diff/src/a.txt")).await.json();
    let lines: Vec<&Value> = diff["diffs"][0]["hunks"][0]["segments"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|segment| segment["lines"].as_array().unwrap())
        .filter(|line| line.get("commentIds").is_some())
        .collect();
    assert_eq!(
        (lines.len(), &lines[0]["line"], &lines[0]["commentIds"]),
        (1, &json!("zwei"), &json!([inline["id"]]))
    );
    sim.push_commit("DEMO/web", "topic", "Gone", &[("src/a.txt", Some(b"one\ntwo\nthree\nfour\n"))]).unwrap();
    assert_eq!(client.get(&format!("{COMMENTS}?path=src/a.txt")).await.json()["size"], 0);
    let orphans = client.get(&format!("{COMMENTS}?path=src/a.txt&anchorState=ORPHANED")).await.json();
    assert_eq!(orphans["values"][0]["anchor"]["orphaned"], true);
}

#[tokio::test]
async fn tasks_block_and_threads_are_resolved() {
    let (sim, client) = opened().await;
    let task = client.post(COMMENTS, &json!({ "text": "Do it", "severity": "BLOCKER" })).await.json();
    assert_eq!((&task["severity"], &task["state"]), (&json!("BLOCKER"), &json!("OPEN")));
    let tasks = format!("{PULL}/blocker-comments");
    assert_eq!(client.get(&format!("{tasks}?count=true")).await.json(), json!({ "OPEN": 1, "RESOLVED": 0 }));
    assert_eq!(client.get(PULL).await.json()["properties"]["openTaskCount"], 1);
    let path = format!("{COMMENTS}/{}", task["id"]);
    let other = member(&sim, "bob", "DEMO/web", Role::Write);
    assert_eq!(other.put(&path, &json!({ "version": 0, "state": "RESOLVED" })).await.status, 401);
    let done = client.put(&path, &json!({ "version": 0, "state": "RESOLVED" })).await.json();
    assert_eq!(
        (&done["state"], &done["resolver"]["name"], &done["text"]),
        (&json!("RESOLVED"), &json!("scm"), &json!("Do it"))
    );
    assert!(done["resolvedDate"].is_i64());
    assert_eq!(column(&client.get(&format!("{tasks}?states=RESOLVED")).await.json(), "/text"), ["Do it"]);
    assert_eq!(client.get(&format!("{tasks}?states=OPEN")).await.json()["size"], 0);
    let plain = client.put(&path, &json!({ "version": 1, "severity": "NORMAL" })).await.json();
    assert_eq!(plain["severity"], "NORMAL");
    assert_eq!(client.get(&tasks).await.json()["size"], 0);
    let thread = client.put(&path, &json!({ "version": 2, "threadResolved": true })).await.json();
    assert_eq!((&thread["threadResolved"], &thread["threadResolver"]["name"]), (&json!(true), &json!("scm")));
    let open = client.put(&path, &json!({ "version": 3, "threadResolved": false })).await.json();
    assert_eq!((&open["threadResolved"], open.get("threadResolver")), (&json!(false), None));
    assert_eq!(client.put(&path, &json!({ "version": 4, "severity": "HUGE" })).await.status, 400);
}

#[tokio::test]
async fn others_comment_meanwhile() {
    let (sim, client) = opened().await;
    let id = sim.add_comment("DEMO/web", 1, "someone-else", "Hm").unwrap();
    let comment = client.get(&format!("{COMMENTS}/{id}")).await.json();
    assert_eq!((&comment["author"]["name"], &comment["text"]), (&json!("someone-else"), &json!("Hm")));
    assert_eq!(
        comment["permittedOperations"],
        json!({ "editable": false, "deletable": true, "transitionable": true })
    );
    assert!(sim.add_comment("DEMO/web", 7, "someone-else", "Hm").is_err());
}
