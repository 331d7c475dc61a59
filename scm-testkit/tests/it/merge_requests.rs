//! Merge requests from opening to merging, with their comments.

use scm_testkit::sim::gitlab::{GitLabSim, MergeRules, Role, TokenKind, TokenSpec};
use serde_json::{Value, json};

use crate::client::{Answer, Client};

const WEB: &str = "/projects/demo%2Fweb";

async fn demo() -> (GitLabSim, Client) {
    let sim = GitLabSim::builder().seed_demo().start().await.unwrap();
    // CI is another test's subject.
    sim.set_pipeline_script("demo/web", None).unwrap();
    let client = Client::of(&sim);
    (sim, client)
}

async fn opened(sim: &GitLabSim, client: &Client, title: &str) -> Answer {
    sim.push_commit("demo/web", "fix", "Fix it", &[("README.md", Some(b"# web\n\nFixed.\n"))]).unwrap();
    let body = json!({ "source_branch": "fix", "target_branch": "main", "title": title, "labels": "a,b" });
    client.post(&format!("{WEB}/merge_requests"), &body).await
}

#[tokio::test]
async fn a_second_one_for_the_same_branches_is_a_conflict() {
    let (sim, client) = demo().await;
    let first = opened(&sim, &client, "Draft: Fix").await;
    assert_eq!(first.status, 201);
    let mr = first.json();
    assert_eq!(
        (&mr["draft"], &mr["labels"], &mr["state"]),
        (&json!(true), &json!(["a", "b"]), &json!("opened"))
    );
    assert_eq!(mr["diff_refs"]["head_sha"], mr["sha"]);
    assert_eq!(mr["changes_count"], "1");
    assert_eq!(mr["detailed_merge_status"], "draft_status");
    let body = json!({ "source_branch": "fix", "target_branch": "main", "title": "Again" });
    let answer = client.post(&format!("{WEB}/merge_requests"), &body).await;
    let text = "Another open merge request already exists for this source branch: !1";
    assert_eq!(answer.refusal(), (409, json!([text])));
    sim.close_merge_request("demo/web", 1, "ann").unwrap();
    let closed = client.get(&format!("{WEB}/merge_requests/1")).await.json();
    assert_eq!((&closed["state"], &closed["closed_by"]["username"]), (&json!("closed"), &json!("ann")));
    assert_eq!(client.post(&format!("{WEB}/merge_requests"), &body).await.json()["iid"], 2);
    let open =
        client.get(&format!("{WEB}/merge_requests?state=opened&source_branch=fix&target_branch=main")).await;
    assert_eq!(open.json().as_array().unwrap().len(), 1);
    let reopen = client.put(&format!("{WEB}/merge_requests/1"), &json!({ "state_event": "reopen" })).await;
    assert_eq!(reopen.status, 409);
}

#[tokio::test]
async fn a_push_moves_head_diff_and_versions() {
    let (sim, client) = demo().await;
    let first = opened(&sim, &client, "Fix").await.json();
    let head = sim.push_commit("demo/web", "fix", "More", &[("new.txt", Some(b"1\n2\n"))]).unwrap();
    let path = format!("{WEB}/merge_requests/1");
    let now = client.get(&path).await.json();
    assert_eq!(now["sha"], head);
    assert_eq!(now["changes_count"], "2");
    assert_eq!(client.get(&format!("{path}/versions")).await.json().as_array().unwrap().len(), 2);
    let commits = client.get(&format!("{path}/commits")).await.json();
    assert_eq!(
        commits.as_array().unwrap().iter().map(|c| c["title"].as_str().unwrap()).collect::<Vec<_>>(),
        ["More", "Fix it"]
    );
    let diffs = client.get(&format!("{path}/diffs")).await.json();
    let added = diffs.as_array().unwrap().iter().find(|file| file["new_path"] == "new.txt").unwrap();
    assert_eq!((&added["diff"], &added["new_file"]), (&json!("@@ -0,0 +1,2 @@\n+1\n+2\n"), &json!(true)));
    let stale = client.put(&format!("{path}/merge"), &json!({ "sha": first["sha"] })).await;
    assert_eq!(stale.refusal(), (409, json!(format!("SHA does not match HEAD of source branch: {head}"))));
}

#[tokio::test]
async fn merging_moves_the_target_and_removes_the_source() {
    let (sim, client) = demo().await;
    let sha = opened(&sim, &client, "Fix").await.json()["sha"].clone();
    let body = json!({ "sha": sha, "should_remove_source_branch": true });
    let answer = client.put(&format!("{WEB}/merge_requests/1/merge"), &body).await;
    let merged = answer.json();
    assert_eq!((answer.status, &merged["state"]), (200, &json!("merged")));
    let head = sim.revision("demo/web", "main").unwrap().unwrap();
    assert_eq!(merged["merge_commit_sha"], head);
    assert_eq!(sim.file("demo/web", "main", "README.md").unwrap().unwrap(), b"# web\n\nFixed.\n");
    assert_eq!(client.get(&format!("{WEB}/repository/branches/fix")).await.status, 404);
    assert_eq!(client.put(&format!("{WEB}/merge_requests/1/merge"), &json!({})).await.status, 405);
}

#[tokio::test]
async fn who_may_not_merge_is_told_401_and_what_cannot_be_merged_405_or_422() {
    let (sim, client) = demo().await;
    opened(&sim, &client, "Draft: Fix").await;
    let path = format!("{WEB}/merge_requests/1");
    let spec = TokenSpec::new(TokenKind::Personal, "rita").role(Role::Reporter);
    let reporter = Client::anonymous(&sim).with_token(&sim.issue_token(&spec).unwrap().token);
    assert_eq!(
        reporter.put(&format!("{path}/merge"), &json!({})).await.refusal(),
        (401, json!("401 Unauthorized"))
    );
    assert_eq!(client.put(&format!("{path}/merge"), &json!({})).await.status, 405);
    client.put(&path, &json!({ "title": "Fix" })).await;
    sim.push_commit("demo/web", "main", "clash", &[("README.md", Some(b"# other\n"))]).unwrap();
    let mr = client.get(&path).await.json();
    assert_eq!((&mr["detailed_merge_status"], &mr["has_conflicts"]), (&json!("conflict"), &json!(true)));
    let answer = client.put(&format!("{path}/merge"), &json!({})).await;
    assert_eq!(answer.refusal(), (422, json!("Branch cannot be merged")));
}

#[tokio::test]
async fn mergeability_takes_its_time_and_conditions_come_in_order() {
    let (sim, client) = demo().await;
    let rules =
        MergeRules::new().checking_reads(2).approvals(1).discussions_must_be_resolved().fast_forward();
    sim.set_merge_rules("demo/web", rules).unwrap();
    opened(&sim, &client, "Fix").await;
    let path = format!("{WEB}/merge_requests/1");
    let status =
        || async { client.get(&path).await.json()["detailed_merge_status"].as_str().unwrap().to_owned() };
    assert_eq!([status().await, status().await, status().await], ["checking", "checking", "not_approved"]);
    sim.approve_merge_request("demo/web", 1, "ann").unwrap();
    let thread = client.post(&format!("{path}/discussions"), &json!({ "body": "why?" })).await.json();
    assert_eq!(status().await, "discussions_not_resolved");
    let id = thread["id"].as_str().unwrap();
    client.put(&format!("{path}/discussions/{id}"), &json!({ "resolved": true })).await;
    sim.push_commit("demo/web", "main", "other", &[("other", Some(b"x"))]).unwrap();
    assert_eq!([status().await, status().await, status().await], ["checking", "checking", "need_rebase"]);
}

#[tokio::test]
async fn a_rebase_is_polled_and_moves_the_head() {
    let (sim, client) = demo().await;
    let old = opened(&sim, &client, "Fix").await.json()["sha"].clone();
    let target = sim.push_commit("demo/web", "main", "other", &[("other", Some(b"x"))]).unwrap();
    let path = format!("{WEB}/merge_requests/1");
    let behind = client.get(&format!("{path}?include_diverged_commits_count=true")).await.json();
    assert_eq!(behind["diverged_commits_count"], 1);
    let answer = client.put(&format!("{path}/rebase"), &json!({})).await;
    assert_eq!((answer.status, answer.json()), (202, json!({ "rebase_in_progress": true })));
    assert_eq!(client.put(&format!("{path}/rebase"), &json!({})).await.status, 409);
    let poll = format!("{path}?include_rebase_in_progress=true");
    assert_eq!(client.get(&poll).await.json()["rebase_in_progress"], true);
    let done = client.get(&poll).await.json();
    assert_eq!((&done["rebase_in_progress"], &done["merge_error"]), (&json!(false), &json!(null)));
    assert_ne!(done["sha"], old);
    let commit = client.get(&format!("{WEB}/repository/commits/fix")).await.json();
    assert_eq!(commit["parent_ids"], json!([target]));
    sim.push_commit("demo/web", "main", "clash", &[("README.md", Some(b"# other\n"))]).unwrap();
    client.put(&format!("{path}/rebase"), &json!({})).await;
    client.get(&poll).await;
    let failed = client.get(&poll).await.json();
    assert!(failed["merge_error"].as_str().unwrap().contains("Rebase failed"));
    assert_eq!(failed["sha"], done["sha"]);
}

#[tokio::test]
async fn comments_are_counted_sorted_and_changed() {
    let (sim, client) = demo().await;
    opened(&sim, &client, "Fix").await;
    let path = format!("{WEB}/merge_requests/1");
    let before = client.get(WEB).await.json()["last_activity_at"].clone();
    sim.clock().advance(std::time::Duration::from_secs(5));
    let note = client.post(&format!("{path}/notes"), &json!({ "body": "one" })).await;
    assert_eq!((note.status, &note.json()["system"]), (201, &json!(false)));
    assert!(note.json().get("resolved").is_none());
    sim.add_note("demo/web", 1, "ann", "two").unwrap();
    let list = client.get(&format!("{path}/notes?sort=asc&activity_filter=only_comments")).await.json();
    let bodies: Vec<&Value> = list.as_array().unwrap().iter().map(|note| &note["body"]).collect();
    assert_eq!(bodies, ["one", "two"]);
    assert_eq!(client.get(&path).await.json()["user_notes_count"], 2);
    assert_ne!(client.get(WEB).await.json()["last_activity_at"], before);
    let id = note.json()["id"].clone();
    let changed = client.put(&format!("{path}/notes/{id}"), &json!({ "body": "uno" })).await;
    assert_eq!(changed.json()["body"], "uno");
    assert_eq!(client.delete(&format!("{path}/notes/{id}")).await.status, 204);
    assert_eq!(client.get(&path).await.json()["user_notes_count"], 1);
    assert_eq!(
        client.post(&format!("{path}/notes"), &json!({})).await.refusal(),
        (400, json!("body is missing"))
    );
}

#[tokio::test]
async fn inline_comments_stand_on_lines_of_the_diff() {
    let (sim, client) = demo().await;
    let mr = opened(&sim, &client, "Fix").await.json();
    let path = format!("{WEB}/merge_requests/1/discussions");
    let at = |line: u64| {
        let mut position = mr["diff_refs"].clone();
        for (key, value) in [
            ("position_type", json!("text")),
            ("old_path", json!("README.md")),
            ("new_path", json!("README.md")),
            ("new_line", json!(line)),
        ] {
            position[key] = value;
        }
        json!({ "body": "here", "position": position })
    };
    let made = client.post(&path, &at(3)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let thread = made.json();
    let note = &thread["notes"][0];
    assert_eq!(
        (&note["type"], &note["resolvable"], &note["position"]["new_line"]),
        (&json!("DiffNote"), &json!(true), &json!(3))
    );
    assert_eq!(client.post(&path, &at(400)).await.status, 400);
    let id = thread["id"].as_str().unwrap();
    assert_eq!(id.len(), 40);
    let reply = client.post(&format!("{path}/{id}/notes"), &json!({ "body": "and here" })).await;
    assert_eq!(reply.json()["type"], "DiffNote");
    let resolved = client.put(&format!("{path}/{id}"), &json!({ "resolved": true })).await.json();
    assert_eq!(resolved["notes"][1]["resolved"], true);
    assert_eq!(resolved["notes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_fork_offers_its_branch_to_the_original() {
    let (sim, client) = demo().await;
    let fork = sim.fork_project("demo/web", "ann/web").unwrap();
    let spec = TokenSpec::new(TokenKind::Personal, "ann");
    let ann = Client::anonymous(&sim).with_token(&sim.issue_token(&spec).unwrap().token);
    sim.add_member("demo/web", "ann", Role::Reporter).unwrap();
    sim.add_member("ann/web", "ann", Role::Maintainer).unwrap();
    sim.push_commit("ann/web", "fix", "Fix", &[("README.md", Some(b"forked\n"))]).unwrap();
    let target = sim.project_id("demo/web").unwrap();
    let body = json!({
        "source_branch": "fix", "target_branch": "main", "title": "From a fork", "target_project_id": target,
    });
    let mr = ann.post("/projects/ann%2Fweb/merge_requests", &body).await.json();
    assert_eq!((&mr["source_project_id"], &mr["target_project_id"]), (&json!(fork), &json!(target)));
    assert_eq!(mr["web_url"], format!("{}/demo/web/-/merge_requests/1", sim.url()));
    let merged = client.put(&format!("{WEB}/merge_requests/1/merge"), &json!({})).await.json();
    assert_eq!(merged["state"], "merged");
    assert_eq!(sim.file("demo/web", "main", "README.md").unwrap().unwrap(), b"forked\n");
}
