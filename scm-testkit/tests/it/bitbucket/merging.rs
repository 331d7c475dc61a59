//! Merging, what stands against it, waiting for it, and rebasing.

use scm_testkit::sim::bitbucket_dc::{
    BitbucketDcSim, MergeChecks, Permission, RestrictionKind, Role, TokenKind, TokenSpec,
};
use serde_json::json;

use super::{REPO, bearer, client, column, member, refusal, started};
use crate::client::Client;

const PULL: &str = "/api/latest/projects/DEMO/repos/web/pull-requests/1";
const REBASE: &str = "/git/latest/projects/DEMO/repos/web/pull-requests/1/rebase";

/// A topic of two commits, and a target that has gone on; `clash` in both when they are to conflict.
async fn opened(conflict: bool) -> (BitbucketDcSim, Client) {
    let sim = started().await;
    sim.push_commit("DEMO/web", "topic", "One", &[("one", Some(b"1\n"))]).unwrap();
    sim.push_commit("DEMO/web", "topic", "Two", &[("README.md", Some(b"# topic\n"))]).unwrap();
    let file = if conflict { "README.md" } else { "other" };
    sim.push_commit("DEMO/web", "main", "Main", &[(file, Some(b"# main\n"))]).unwrap();
    sim.open_pull_request("DEMO/web", "ann", "topic", "main", "Topic").unwrap();
    let client = client(&sim);
    (sim, client)
}

async fn merge(client: &Client, body: serde_json::Value) -> crate::client::Answer {
    client.post(&format!("{PULL}/merge"), &body).await
}

#[tokio::test]
async fn a_merge_needs_the_version_and_answers_the_end_of_it() {
    let (sim, client) = opened(false).await;
    let mergeable = client.get(&format!("{PULL}/merge")).await.json();
    assert_eq!(mergeable, json!({ "canMerge": true, "conflicted": false, "outcome": "CLEAN", "vetoes": [] }));
    assert_eq!(refusal(&merge(&client, json!({})).await), (409, "PullRequestOutOfDateException".to_owned()));
    assert_eq!(refusal(&merge(&client, json!({ "version": 7 })).await).0, 409);
    let done = client.post(&format!("{PULL}/merge?version=0"), &json!({})).await.json();
    let head = sim.revision("DEMO/web", "main").unwrap().unwrap();
    assert_eq!((&done["state"], &done["version"]), (&json!("MERGED"), &json!(1)));
    assert_eq!(done["properties"]["mergeCommit"]["id"], head);
    let commit = client.get(&format!("{REPO}/commits/{head}")).await.json();
    assert_eq!(commit["parents"].as_array().unwrap().len(), 2);
    let message = commit["message"].as_str().unwrap();
    assert!(
        message.starts_with("Pull request #1: Topic\n\nMerge in DEMO/web from topic to main\n"),
        "{message}"
    );
    assert!(sim.revision("DEMO/web", "topic").unwrap().is_some(), "the source stays");
    assert_eq!(client.get(&format!("{PULL}/merge")).await.status, 409);
    let again = merge(&client, json!({ "version": 1 })).await;
    assert_eq!(refusal(&again), (409, "IllegalPullRequestStateException".to_owned()));
    assert_eq!(column(&client.get(&format!("{PULL}/commits")).await.json(), "/message"), ["Two", "One"]);
}

#[tokio::test]
async fn conflicts_are_told_and_refused() {
    let (_sim, client) = opened(true).await;
    let mergeable = client.get(&format!("{PULL}/merge")).await.json();
    assert_eq!(
        [&mergeable["canMerge"], &mergeable["conflicted"], &mergeable["outcome"]],
        [&json!(false), &json!(true), &json!("CONFLICTED")]
    );
    let refused = merge(&client, json!({ "version": 0 })).await;
    assert_eq!(refusal(&refused), (409, "PullRequestMergeVetoedException".to_owned()));
    let error = &refused.json()["errors"][0];
    assert_eq!(error["message"], "The pull request has conflicts and cannot be merged.");
    assert_eq!((&error["conflicted"], &error["vetoes"]), (&json!(true), &json!([])));
    assert_eq!(client.get(PULL).await.json()["state"], "OPEN");
}

#[tokio::test]
async fn checks_veto_until_they_are_content() {
    let (sim, client) = opened(false).await;
    let checks = MergeChecks::new()
        .approvals(1)
        .builds(1)
        .all_tasks()
        .no_needs_work()
        .veto("Frozen", "No merges before the release.");
    sim.set_merge_checks("DEMO/web", checks.clone()).unwrap();
    sim.review("DEMO/web", 1, "bob", "NEEDS_WORK").unwrap();
    let task = client.post(&format!("{PULL}/blocker-comments"), &json!({ "text": "Do it" })).await.json();
    let refused = merge(&client, json!({ "version": 0 })).await;
    let error = refused.json()["errors"][0].clone();
    assert_eq!((refused.status, &error["conflicted"]), (409, &json!(false)));
    assert_eq!(
        error["vetoes"][0],
        json!({ "summaryMessage": "Frozen", "detailedMessage": "No merges before the release." })
    );
    assert_eq!(error["vetoes"].as_array().unwrap().len(), 5);
    let mergeable = client.get(&format!("{PULL}/merge")).await.json();
    assert_eq!((&mergeable["canMerge"], &mergeable["vetoes"]), (&json!(false), &error["vetoes"]));
    sim.set_merge_checks("DEMO/web", MergeChecks::new().approvals(1).builds(1).all_tasks().no_needs_work())
        .unwrap();
    sim.review("DEMO/web", 1, "bob", "APPROVED").unwrap();
    sim.set_build("DEMO/web", "topic", "ci", "SUCCESSFUL").unwrap();
    let path = format!("{PULL}/comments/{}", task["id"]);
    assert_eq!(client.put(&path, &json!({ "version": 0, "state": "RESOLVED" })).await.status, 200);
    assert_eq!(client.get(&format!("{PULL}/merge")).await.json()["canMerge"], true);
    assert_eq!(merge(&client, json!({ "version": 0 })).await.json()["state"], "MERGED");
}

#[tokio::test]
async fn readers_see_that_they_cannot_and_may_not() {
    let (sim, _) = opened(false).await;
    let reader = member(&sim, "bob", "DEMO/web", Role::Read);
    let mergeable = reader.get(&format!("{PULL}/merge")).await.json();
    assert_eq!((&mergeable["canMerge"], &mergeable["vetoes"]), (&json!(false), &json!([])));
    assert_eq!(
        refusal(&merge(&reader, json!({ "version": 0 })).await),
        (401, "AuthorisationException".to_owned())
    );
    sim.restrict_branch("DEMO/web", "main", RestrictionKind::PullRequestOnly, &[]).unwrap();
    let writer = member(&sim, "cat", "DEMO/web", Role::Write);
    assert_eq!(merge(&writer, json!({ "version": 0 })).await.json()["state"], "MERGED");
}

#[tokio::test]
async fn strategies_make_the_history_they_are_named_for() {
    for (strategy, parents, files) in
        [("no-ff", 2, 3), ("squash", 1, 3), ("rebase-no-ff", 2, 3), ("rebase-ff-only", 1, 3), ("ff", 2, 3)]
    {
        let (sim, client) = opened(false).await;
        sim.set_merge_checks("DEMO/web", MergeChecks::new().strategies([strategy])).unwrap();
        let body = json!({ "version": 0, "message": "Said so", "strategyId": strategy });
        let merged = merge(&client, body).await;
        assert_eq!(merged.json()["state"], "MERGED", "{strategy}");
        let head = sim.revision("DEMO/web", "main").unwrap().unwrap();
        let commit = client.get(&format!("{REPO}/commits/{head}")).await.json();
        assert_eq!(commit["parents"].as_array().unwrap().len(), parents, "{strategy}");
        let found = ["one", "other", "README.md"]
            .iter()
            .filter(|name| sim.file("DEMO/web", "main", name).unwrap().is_some())
            .count();
        assert_eq!(found, files, "{strategy}");
        if strategy != "rebase-ff-only" {
            assert_eq!(commit["message"], "Pull request #1: Topic\n\nSaid so", "{strategy}");
        }
    }
    let (sim, client) = opened(false).await;
    sim.set_merge_checks("DEMO/web", MergeChecks::new().strategies(["ff-only"])).unwrap();
    assert_eq!(merge(&client, json!({ "version": 0 })).await.status, 409, "the target has gone on");
    assert_eq!(
        merge(&client, json!({ "version": 0, "strategyId": "squash" })).await.status,
        400,
        "not offered"
    );
    assert_eq!(client.get(PULL).await.json()["state"], "OPEN");
    let settings = client.get(&format!("{REPO}/settings/pull-requests")).await.json();
    assert_eq!(settings["mergeConfig"]["defaultStrategy"]["id"], "ff-only");
}

#[tokio::test]
async fn a_merge_can_wait_where_that_is_allowed() {
    let (sim, client) = opened(false).await;
    let wait = json!({ "version": 0, "autoMerge": true });
    assert_eq!(merge(&client, wait.clone()).await.status, 403, "not for this repository");
    sim.set_merge_checks("DEMO/web", MergeChecks::new().builds(1).auto_merge()).unwrap();
    let path = format!("{PULL}/auto-merge");
    assert_eq!(client.get(&path).await.status, 404);
    assert_eq!(merge(&client, wait.clone()).await.json()["state"], "OPEN");
    let waiting = client.get(&path).await.json();
    assert_eq!(
        (&waiting["toRefId"], &waiting["fromHash"]),
        (&json!("refs/heads/main"), &json!(sim.revision("DEMO/web", "topic").unwrap()))
    );
    let tried = client.post(&path, &json!({})).await.json();
    assert_eq!(tried["autoMergeProcessingStatus"], "VETOED");
    assert_eq!(client.delete(&path).await.status, 204);
    sim.set_build("DEMO/web", "topic", "ci", "SUCCESSFUL").unwrap();
    assert_eq!(client.get(PULL).await.json()["state"], "OPEN", "it was taken back");
    sim.set_build("DEMO/web", "topic", "ci", "INPROGRESS").unwrap();
    assert_eq!(merge(&client, wait).await.json()["state"], "OPEN");
    sim.set_build("DEMO/web", "topic", "ci", "SUCCESSFUL").unwrap();
    assert_eq!(client.get(PULL).await.json()["state"], "MERGED");
    let actions = column(&client.get(&format!("{PULL}/activities")).await.json(), "/action");
    assert_eq!(
        actions,
        ["MERGED", "AUTO_MERGE_REQUESTED", "AUTO_MERGE_CANCELLED", "AUTO_MERGE_REQUESTED", "OPENED"]
    );
}

#[tokio::test]
async fn rebasing_rewrites_the_source_once() {
    let (sim, client) = opened(false).await;
    assert_eq!(client.get(REBASE).await.json()["vetoes"], json!([]));
    assert_eq!(client.post(REBASE, &json!({})).await.status, 409, "no version");
    let old = sim.revision("DEMO/web", "topic").unwrap().unwrap();
    let change = client.post(REBASE, &json!({ "version": 0 })).await.json()["refChange"].clone();
    let new = sim.revision("DEMO/web", "topic").unwrap().unwrap();
    assert_eq!((&change["fromHash"], &change["toHash"]), (&json!(old), &json!(new)));
    assert_eq!((&change["type"], &change["ref"]["displayId"]), (&json!("UPDATE"), &json!("topic")));
    assert_ne!(old, new);
    let pull = client.get(PULL).await.json();
    assert_eq!((&pull["fromRef"]["latestCommit"], &pull["version"]), (&json!(new), &json!(0)));
    let commits = client.get(&format!("{REPO}/compare/commits?from=topic&to=main")).await.json();
    assert_eq!(column(&commits, "/message"), ["Two", "One"]);
    assert_eq!(commits["values"][0]["committer"]["name"], "scm");
    let nothing = client.post(REBASE, &json!({ "version": 0 })).await;
    assert_eq!((nothing.status, nothing.body.len()), (204, 0));
}

#[tokio::test]
async fn rebasing_is_refused_for_conflicts_and_for_who_may_not_write() {
    let (sim, client) = opened(true).await;
    let before = sim.revision("DEMO/web", "topic").unwrap();
    assert_eq!(client.post(REBASE, &json!({ "version": 0 })).await.status, 409);
    let reader = member(&sim, "bob", "DEMO/web", Role::Read);
    assert_eq!(reader.post(REBASE, &json!({ "version": 0 })).await.status, 401);
    assert_ne!(reader.get(REBASE).await.json()["vetoes"], json!([]));
    let spec = TokenSpec::new(TokenKind::Project, "ci").on("DEMO").permissions([Permission::RepoWrite]);
    let project = bearer(&sim, &sim.issue_token(&spec).unwrap().token);
    assert_ne!(project.get(REBASE).await.json()["vetoes"], json!([]), "nobody to be the committer");
    assert_eq!(sim.revision("DEMO/web", "topic").unwrap(), before);
}

#[tokio::test]
async fn drafts_are_not_merged() {
    let sim = started().await;
    sim.push_commit("DEMO/web", "topic", "One", &[("one", Some(b"1\n"))]).unwrap();
    let client = client(&sim);
    let body = json!({ "title": "Wip", "draft": true, "fromRef": { "id": "refs/heads/topic" }, "toRef": { "id": "refs/heads/main" } });
    client.post(&format!("{REPO}/pull-requests"), &body).await;
    assert_eq!(client.get(&format!("{PULL}/merge")).await.json()["canMerge"], false);
    let ready = client.put(PULL, &json!({ "version": 0, "title": "Done", "draft": false })).await.json();
    assert_eq!(ready["draft"], false);
    assert_eq!(merge(&client, json!({ "version": 1 })).await.json()["state"], "MERGED");
}
