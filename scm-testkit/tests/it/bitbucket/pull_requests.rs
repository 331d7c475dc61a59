//! Pull requests: opened, found, changed, declined, reopened, reviewed, followed.

use scm_testkit::sim::bitbucket_dc::{BitbucketDcSim, RepositorySpec, Role};
use serde_json::{Value, json};

use super::{REPO, basic, client, column, member, refusal, started};
use crate::client::Client;

const PULLS: &str = "/api/latest/projects/DEMO/repos/web/pull-requests";
const PULL: &str = "/api/latest/projects/DEMO/repos/web/pull-requests/1";

fn new(title: &str, from: &str) -> Value {
    json!({
        "title": title,
        "description": "Why",
        "fromRef": { "id": from, "repository": { "slug": "web", "project": { "key": "DEMO" } } },
        "toRef": { "id": "refs/heads/main", "repository": { "slug": "web", "project": { "key": "DEMO" } } },
    })
}

async fn with_topic() -> (BitbucketDcSim, Client, String) {
    let sim = started().await;
    let head = sim.push_commit("DEMO/web", "topic", "Topic", &[("new", Some(b"x\n"))]).unwrap();
    let client = client(&sim);
    (sim, client, head)
}

async fn with_pull_request() -> (BitbucketDcSim, Client, String) {
    let (sim, client, head) = with_topic().await;
    assert_eq!(client.post(PULLS, &new("Topic", "refs/heads/topic")).await.status, 201);
    (sim, client, head)
}

#[tokio::test]
async fn a_new_one_has_everything_that_is_known_about_it() {
    let (sim, client, head) = with_topic().await;
    sim.add_member("DEMO/web", "ann", Role::Read).unwrap();
    let mut body = new("Topic", "refs/heads/topic");
    body["reviewers"] = json!([{ "user": { "name": "ann" } }]);
    body["draft"] = json!(true);
    let made = client.post(PULLS, &body).await;
    let pull = made.json();
    assert_eq!(made.status, 201, "{pull}");
    let some = ["id", "version", "title", "description", "state", "open", "closed", "locked", "draft"];
    assert_eq!(
        some.map(|name| pull[name].clone()),
        [
            json!(1),
            json!(0),
            json!("Topic"),
            json!("Why"),
            json!("OPEN"),
            json!(true),
            json!(false),
            json!(false),
            json!(true)
        ]
    );
    assert!(pull.get("closedDate").is_none());
    assert_eq!(
        (&pull["fromRef"]["id"], &pull["fromRef"]["latestCommit"]),
        (&json!("refs/heads/topic"), &json!(head))
    );
    assert_eq!(
        (&pull["toRef"]["displayId"], &pull["toRef"]["repository"]["slug"]),
        (&json!("main"), &json!("web"))
    );
    assert_eq!((&pull["author"]["role"], &pull["author"]["user"]["name"]), (&json!("AUTHOR"), &json!("scm")));
    let reviewer = &pull["reviewers"][0];
    assert_eq!(
        (&reviewer["role"], &reviewer["status"], &reviewer["approved"]),
        (&json!("REVIEWER"), &json!("UNAPPROVED"), &json!(false))
    );
    let page = pull["links"]["self"][0]["href"].as_str().unwrap();
    assert_eq!(page, format!("{}/projects/DEMO/repos/web/pull-requests/1", sim.url()));
    assert_eq!(client.get(PULL).await.json(), pull);
    let bare = json!({ "title": "x", "fromRef": { "id": "topic" }, "toRef": { "id": "other" } });
    sim.push_commit("DEMO/web", "other", "Other", &[("other", Some(b"x\n"))]).unwrap();
    let bare = client.post(PULLS, &bare).await.json();
    assert_eq!((&bare["fromRef"]["id"], bare.get("description")), (&json!("refs/heads/topic"), None));
}

#[tokio::test]
async fn duplicates_emptiness_and_bad_ends_are_refused() {
    let (sim, client, _) = with_pull_request().await;
    let again = client.post(PULLS, &new("Again", "refs/heads/topic")).await;
    assert_eq!(refusal(&again), (409, "DuplicatePullRequestException".to_owned()));
    let error = &again.json()["errors"][0];
    assert_eq!(error["message"], "Only one pull request may be open for a given source and target branch");
    assert_eq!(
        (&error["existingPullRequest"]["id"], &error["existingPullRequest"]["title"]),
        (&json!(1), &json!("Topic"))
    );
    let branch = json!({ "name": "same", "startPoint": "main" });
    assert_eq!(client.post(&format!("{REPO}/branches"), &branch).await.status, 200);
    let empty = client.post(PULLS, &new("Empty", "refs/heads/same")).await;
    assert_eq!(refusal(&empty), (409, "EmptyPullRequestException".to_owned()));
    assert_eq!(client.post(PULLS, &new("Same", "refs/heads/main")).await.status, 409);
    assert_eq!(client.post(PULLS, &new("None", "refs/heads/none")).await.status, 404);
    assert_eq!(client.post(PULLS, &new(&"x".repeat(256), "refs/heads/topic")).await.status, 400);
    sim.create_repository("DEMO/other", &RepositorySpec::new()).unwrap();
    let mut foreign = new("Foreign", "refs/heads/main");
    foreign["fromRef"]["repository"]["slug"] = json!("other");
    assert_eq!(client.post(PULLS, &foreign).await.status, 409);
    assert_eq!(client.get(PULLS).await.json()["size"], 1);
}

#[tokio::test]
async fn reviewers_must_be_able_to_review() {
    let (sim, client, _) = with_topic().await;
    sim.create_user("stranger");
    for name in ["nobody", "stranger", "scm"] {
        let mut body = new("Topic", "refs/heads/topic");
        body["reviewers"] = json!([{ "user": { "name": name } }]);
        let answer = client.post(PULLS, &body).await;
        assert_eq!(refusal(&answer), (409, "InvalidPullRequestReviewersException".to_owned()), "{name}");
        assert_eq!(answer.json()["errors"][0]["reviewerErrors"][0]["context"], name);
    }
    let mut body = new("Topic", "refs/heads/topic");
    body["reviewers"] = json!([{ "user": {} }]);
    assert_eq!(client.post(PULLS, &body).await.status, 400);
}

#[tokio::test]
async fn lists_go_by_state_direction_branch_and_order() {
    let (sim, client, _) = with_pull_request().await;
    sim.push_commit("DEMO/web", "next", "Next", &[("next", Some(b"x\n"))]).unwrap();
    sim.open_pull_request("DEMO/web", "ann", "next", "main", "Next").unwrap();
    sim.open_pull_request("DEMO/web", "ann", "next", "topic", "Into the topic").unwrap();
    sim.decline_pull_request("DEMO/web", 3, "ann").unwrap();
    let titles = |query: &'static str| {
        let client = client.clone();
        async move { column(&client.get(&format!("{PULLS}?{query}")).await.json(), "/title") }
    };
    assert_eq!(titles("").await, ["Next", "Topic"]);
    assert_eq!(titles("order=OLDEST").await, ["Topic", "Next"]);
    assert_eq!(titles("state=DECLINED").await, ["Into the topic"]);
    assert_eq!(titles("state=ALL&order=OLDEST").await, ["Topic", "Next", "Into the topic"]);
    assert_eq!(titles("at=refs/heads/topic&state=ALL").await, ["Into the topic"], "the target");
    assert_eq!(titles("direction=OUTGOING&at=refs/heads/next").await, ["Next"], "the source");
    assert_eq!(titles("direction=OUTGOING&at=next").await, [""; 0], "only full names fit");
    assert_eq!(titles("filterText=topi").await, ["Topic"]);
    assert_eq!(titles("username.1=ann&role.1=AUTHOR").await, ["Next"]);
    assert_eq!(client.get(&format!("{PULLS}?state=SLEEPING")).await.status, 400);
    assert_eq!(
        refusal(&client.get(&format!("{PULLS}/77")).await),
        (404, "NoSuchPullRequestException".to_owned())
    );
    let mine = client.get("/api/1.0/dashboard/pull-requests?role=AUTHOR").await.json();
    assert_eq!(column(&mine, "/title"), ["Topic"]);
}

#[tokio::test]
async fn an_update_needs_the_version_and_replaces_what_it_leaves_out() {
    let (sim, client, _) = with_pull_request().await;
    sim.add_member("DEMO/web", "ann", Role::Read).unwrap();
    let ann = json!([{ "user": { "name": "ann" } }]);
    assert_eq!(client.put(PULL, &json!({ "title": "New" })).await.status, 400, "no version");
    let body = json!({ "version": 0, "title": "New", "description": "Because", "reviewers": ann });
    let changed = client.put(PULL, &body).await.json();
    assert_eq!(
        (&changed["version"], &changed["title"], &changed["description"]),
        (&json!(1), &json!("New"), &json!("Because"))
    );
    let stale = client.put(PULL, &body).await;
    assert_eq!(refusal(&stale), (409, "PullRequestOutOfDateException".to_owned()));
    let error = &stale.json()["errors"][0];
    assert_eq!((&error["currentVersion"], &error["expectedVersion"]), (&json!(1), &json!(0)));
    assert_eq!(error["pullRequest"]["title"], "New");
    let bare = client.put(PULL, &json!({ "version": 1, "title": "New" })).await.json();
    assert_eq!((&bare["reviewers"], &bare["version"]), (&json!([]), &json!(2)));
    let mut whole = client.get(PULL).await.json();
    whole["title"] = json!("Whole");
    assert_eq!(client.put(PULL, &whole).await.json()["title"], "Whole", "what was read can be sent back");
    let author = json!({ "version": 3, "title": "x", "author": { "user": { "name": "ann" } } });
    assert_eq!(client.put(PULL, &author).await.status, 400);
    sim.push_commit("DEMO/web", "base", "Base", &[("base", Some(b"x\n"))]).unwrap();
    let target = json!({ "version": 3, "title": "x", "toRef": { "id": "refs/heads/base" } });
    assert_eq!(client.put(PULL, &target).await.json()["toRef"]["displayId"], "base");
    let reader = member(&sim, "bob", "DEMO/web", Role::Read);
    assert_eq!(reader.put(PULL, &json!({ "version": 4, "title": "y" })).await.status, 401);
}

#[tokio::test]
async fn declining_and_reopening_count_and_hold_the_version() {
    let (_sim, client, _) = with_pull_request().await;
    let missing = client.post(&format!("{PULL}/decline"), &json!({})).await;
    assert_eq!(refusal(&missing), (409, "PullRequestOutOfDateException".to_owned()));
    assert_eq!(missing.json()["errors"][0]["expectedVersion"], -1);
    let declined =
        client.post(&format!("{PULL}/decline"), &json!({ "version": 0, "comment": "No" })).await.json();
    assert_eq!(
        (&declined["state"], &declined["version"], &declined["closed"]),
        (&json!("DECLINED"), &json!(1), &json!(true))
    );
    assert!(declined["closedDate"].is_i64());
    let again = client.post(&format!("{PULL}/decline?version=1"), &json!({})).await;
    assert_eq!(refusal(&again), (409, "IllegalPullRequestStateException".to_owned()));
    assert_eq!(client.post(&format!("{PULL}/reopen?version=0"), &json!({})).await.status, 409);
    let reopened = client.post(&format!("{PULL}/reopen?version=1"), &json!({})).await.json();
    assert_eq!((&reopened["state"], &reopened["version"]), (&json!("OPEN"), &json!(2)));
    assert_eq!(client.post(&format!("{PULL}/reopen?version=2"), &json!({})).await.status, 409);
    let actions = column(&client.get(&format!("{PULL}/activities")).await.json(), "/action");
    assert_eq!(actions, ["REOPENED", "DECLINED", "COMMENTED", "OPENED"]);
    let stale = client.delete_with(PULL, &json!({ "version": 0 })).await;
    assert_eq!(stale.status, 409);
    assert_eq!(client.delete_with(PULL, &json!({ "version": 2 })).await.status, 204);
    assert_eq!(client.get(PULL).await.status, 404);
}

#[tokio::test]
async fn a_push_moves_it_without_a_new_version() {
    let (sim, client, head) = with_pull_request().await;
    let newer = sim.push_commit("DEMO/web", "topic", "More", &[("more", Some(b"x\n"))]).unwrap();
    let pull = client.get(PULL).await.json();
    assert_eq!((&pull["fromRef"]["latestCommit"], &pull["version"]), (&json!(newer), &json!(0)));
    let target = sim.push_commit("DEMO/web", "main", "Elsewhere", &[("else", Some(b"x\n"))]).unwrap();
    assert_eq!(client.get(PULL).await.json()["toRef"]["latestCommit"], target);
    let rescoped = client.get(&format!("{PULL}/activities")).await.json()["values"][0].clone();
    assert_eq!(rescoped["action"], "RESCOPED");
    assert_eq!((&rescoped["fromHash"], &rescoped["previousFromHash"]), (&json!(newer), &json!(head)));
    assert_eq!(rescoped["added"]["commits"][0]["message"], "More");
    assert_eq!(rescoped["removed"]["total"], 0);
    assert_eq!(column(&client.get(&format!("{PULL}/commits")).await.json(), "/message"), ["More", "Topic"]);
    assert_eq!(
        column(&client.get(&format!("{PULL}/changes")).await.json(), "/path/toString"),
        ["more", "new"]
    );
    let diff = client.get(&format!("{PULL}/diff")).await.json();
    assert_eq!(diff["diffs"].as_array().unwrap().len(), 2, "what the target got is no part of it");
    assert_eq!(
        client.get(&format!("{PULL}/diff/new")).await.json()["diffs"][0]["destination"]["name"],
        "new"
    );
    assert!(client.get(&format!("{PULL}.diff")).await.text().starts_with("diff --git a/more b/more\n"));
    let patch = client.get(&format!("{PULL}.patch")).await.text();
    assert!(
        patch.contains("Subject: [PATCH 1/2] Topic") && patch.contains("Subject: [PATCH 2/2] More"),
        "{patch}"
    );
    let base = client.get(&format!("{PULL}/merge-base")).await.json();
    assert_eq!(base["parents"], json!([]));
}

#[tokio::test]
async fn reviewers_say_what_they_think_and_authors_do_not() {
    let (sim, client, head) = with_pull_request().await;
    let ann = member(&sim, "ann", "DEMO/web", Role::Read);
    let own = client.post(&format!("{PULL}/approve"), &json!({})).await;
    assert!((400..500).contains(&own.status), "{}", own.text());
    let approved = ann.post(&format!("{PULL}/approve"), &json!({})).await.json();
    assert_eq!((&approved["approved"], &approved["status"]), (&json!(true), &json!("APPROVED")));
    assert_eq!(approved["lastReviewedCommit"], head);
    let path = format!("{PULL}/participants/ann");
    let needs = ann.put(&path, &json!({ "user": { "name": "ann" }, "status": "NEEDS_WORK" })).await.json();
    assert_eq!((&needs["status"], &needs["approved"]), (&json!("NEEDS_WORK"), &json!(false)));
    assert_eq!(ann.put(&path, &json!({ "status": "GREAT" })).await.status, 400);
    assert_eq!(client.put(&path, &json!({ "status": "APPROVED" })).await.status, 400, "only one's own");
    assert_eq!(ann.delete(&format!("{PULL}/approve")).await.json()["status"], "UNAPPROVED");
    let roles = column(&client.get(&format!("{PULL}/participants")).await.json(), "/role");
    assert_eq!(roles, ["AUTHOR", "REVIEWER"]);
    let actions = column(&client.get(&format!("{PULL}/activities")).await.json(), "/action");
    assert_eq!(actions, ["UNAPPROVED", "REVIEWED", "APPROVED", "OPENED"]);
    assert_eq!(client.get(PULL).await.json()["version"], 0);
    assert_eq!(client.delete(&path).await.status, 204);
    assert_eq!(client.get(PULL).await.json()["participants"][0]["user"]["name"], "ann");
    let body = json!({ "user": { "name": "ann" }, "role": "REVIEWER" });
    assert_eq!(client.post(&format!("{PULL}/participants"), &body).await.json()["role"], "REVIEWER");
}

#[tokio::test]
async fn default_reviewers_are_told_not_added() {
    let (sim, client, _) = with_topic().await;
    sim.add_member("DEMO/web", "ann", Role::Read).unwrap();
    sim.set_default_reviewers("DEMO/web", Some("main"), &["ann"]).unwrap();
    let id = sim.repository_id("DEMO/web").unwrap();
    let asked = |target: &str| {
        format!(
            "/default-reviewers/1.0/projects/DEMO/repos/web/reviewers?sourceRepoId={id}&targetRepoId={id}\
             &sourceRefId=refs/heads/topic&targetRefId={target}"
        )
    };
    let told = client.get(&asked("refs/heads/main")).await.json();
    assert_eq!((told.as_array().unwrap().len(), &told[0]["name"]), (1, &json!("ann")));
    assert_eq!(client.get(&asked("refs/heads/other")).await.json(), json!([]));
    let made = client.post(PULLS, &new("Topic", "refs/heads/topic")).await.json();
    assert_eq!(made["reviewers"], json!([]));
}

#[tokio::test]
async fn one_comes_from_a_fork() {
    let (sim, client, _) = with_topic().await;
    let ann = member(&sim, "ann", "DEMO/web", Role::Read);
    assert_eq!(ann.post(REPO, &json!({})).await.status, 201);
    let head = sim.push_commit("~ann/web", "mine", "Mine", &[("mine", Some(b"x\n"))]).unwrap();
    let mut body = new("From afar", "refs/heads/mine");
    body["fromRef"]["repository"] = json!({ "slug": "web", "project": { "key": "~ann" } });
    let made = ann.post(PULLS, &body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json()["fromRef"]["repository"]["project"]["key"], "~ann");
    let newer = sim.push_commit("~ann/web", "mine", "More", &[("more", Some(b"x\n"))]).unwrap();
    assert_ne!(head, newer);
    assert_eq!(client.get(PULL).await.json()["fromRef"]["latestCommit"], newer);
    assert_eq!(
        column(&client.get(&format!("{PULL}/changes")).await.json(), "/path/toString"),
        ["mine", "more"]
    );
    let out = ann.get("/api/latest/projects/~ann/repos/web/pull-requests?direction=OUTGOING").await.json();
    assert_eq!(column(&out, "/title"), ["From afar"]);
    let merged = client.post(&format!("{PULL}/merge?version=0"), &json!({})).await.json();
    assert_eq!(merged["state"], "MERGED");
    assert_eq!(sim.file("DEMO/web", "main", "more").unwrap().unwrap(), b"x\n");
    let stranger = basic(&sim, "admin", "admin");
    assert_eq!(stranger.get(PULL).await.status, 200);
}

#[tokio::test]
async fn a_source_that_is_gone_or_contained_ends_it() {
    let (sim, client, _) = with_pull_request().await;
    let utils = "/branch-utils/latest/projects/DEMO/repos/web/branches";
    assert_eq!(client.delete_with(utils, &json!({ "name": "topic" })).await.status, 204);
    assert_eq!(client.get(PULL).await.json()["state"], "DECLINED");
    assert_eq!(client.post(&format!("{PULL}/reopen?version=1"), &json!({})).await.status, 404);
    sim.push_commit("DEMO/web", "next", "Next", &[("next", Some(b"x\n"))]).unwrap();
    let number = sim.open_pull_request("DEMO/web", "ann", "next", "main", "Next").unwrap();
    let other = sim.push_commit("DEMO/web", "twin", "Twin", &[("twin", Some(b"x\n"))]).unwrap();
    let second = sim.open_pull_request("DEMO/web", "ann", "twin", "next", "Twin").unwrap();
    sim.merge_pull_request("DEMO/web", second, "ann").unwrap();
    let next = client.get(&format!("{PULLS}/{number}")).await.json();
    assert_ne!(next["fromRef"]["latestCommit"], other);
    sim.merge_pull_request("DEMO/web", number, "ann").unwrap();
    assert_eq!(client.get(&format!("{PULLS}/{number}")).await.json()["state"], "MERGED");
}
