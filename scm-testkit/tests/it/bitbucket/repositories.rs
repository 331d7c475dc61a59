//! Projects and repositories: made, changed, forked, moved, archived, empty.

use scm_testkit::sim::bitbucket_dc::{BitbucketDcSim, EmptyDefaultBranch, RepositorySpec, Role};
use serde_json::json;

use super::{REPO, basic, bearer, client, column, fill, member, refusal, started};

#[tokio::test]
async fn a_repository_tells_its_links_by_the_external_url() {
    let sim = BitbucketDcSim::builder()
        .context_path("/bb")
        .external_url("https://git.example.com/bb/")
        .start()
        .await
        .unwrap();
    fill(&sim);
    let repo = client(&sim).get("/api/1.0/projects/DEMO/repos/web").await.json();
    assert_eq!(
        repo["links"],
        json!({
            "clone": [
                { "href": "ssh://git@git.example.com:7999/demo/web.git", "name": "ssh" },
                { "href": "https://git.example.com/bb/scm/demo/web.git", "name": "http" },
            ],
            "self": [{ "href": "https://git.example.com/bb/projects/DEMO/repos/web/browse" }],
        })
    );
    let some = ["slug", "scmId", "state", "archived", "public", "forkable"].map(|name| repo[name].clone());
    assert_eq!(
        some,
        [json!("web"), json!("git"), json!("AVAILABLE"), json!(false), json!(false), json!(true)]
    );
    assert_eq!((&repo["project"]["key"], &repo["project"]["type"]), (&json!("DEMO"), &json!("NORMAL")));
    assert!(repo.get("description").is_none() && repo.get("origin").is_none());
}

#[tokio::test]
async fn projects_are_made_changed_and_deleted_when_empty() {
    let sim = started().await;
    let admin = basic(&sim, "admin", "admin");
    let body = json!({ "key": "new", "name": "New one", "description": "x" });
    let made = admin.post("/api/1.0/projects", &body).await;
    assert_eq!((made.status, &made.json()["key"]), (201, &json!("NEW")));
    assert_eq!(admin.post("/api/1.0/projects", &body).await.status, 409);
    assert_eq!(admin.post("/api/1.0/projects", &json!({ "key": "1x", "name": "" })).await.status, 400);
    let renamed = admin.put("/api/1.0/projects/NEW", &json!({ "name": "Newer" })).await;
    assert_eq!(renamed.json()["name"], "Newer");
    assert_eq!(admin.delete("/api/1.0/projects/DEMO").await.status, 409, "it has repositories");
    assert_eq!(admin.delete("/api/1.0/projects/NEW").await.status, 204);
    assert_eq!(
        refusal(&admin.get("/api/1.0/projects/NEW").await),
        (404, "NoSuchProjectException".to_owned())
    );
}

#[tokio::test]
async fn slugs_come_from_names_and_may_have_dots() {
    let sim = started().await;
    let client = client(&sim);
    let path = "/api/1.0/projects/DEMO/repos";
    let made = client.post(path, &json!({ "name": "My Site.v2", "scmId": "git" })).await;
    assert_eq!((made.status, &made.json()["slug"]), (201, &json!("my-site.v2")));
    assert_eq!(client.get(&format!("{path}/my-site.v2")).await.json()["name"], "My Site.v2");
    assert_eq!(client.post(path, &json!({ "name": "my site.V2" })).await.status, 409);
    let wrong = client.post(path, &json!({ "name": "/x" })).await;
    assert_eq!((wrong.status, &wrong.json()["errors"][0]["context"]), (400, &json!("name")));
    let reader = member(&sim, "ann", "DEMO", Role::Write);
    assert_eq!(reader.post(path, &json!({ "name": "mine" })).await.status, 401);
    let renamed =
        client.put(&format!("{path}/my-site.v2"), &json!({ "name": "Site", "description": "x" })).await;
    assert_eq!((renamed.status, &renamed.json()["slug"]), (201, &json!("site")));
    assert_eq!(client.get(&format!("{path}/my-site.v2")).await.json()["slug"], "site", "for a while");
    assert_eq!(client.delete(&format!("{path}/site")).await.status, 202);
    assert_eq!(client.get(&format!("{path}/site")).await.status, 404);
}

#[tokio::test]
async fn personal_projects_hold_forks() {
    let sim = started().await;
    let ann = member(&sim, "ann.lee", "DEMO/web", Role::Read);
    let fork = ann.post(REPO, &json!({})).await;
    let body = fork.json();
    assert_eq!((fork.status, &body["project"]["key"]), (201, &json!("~ann.lee")));
    assert_eq!(
        (&body["project"]["type"], &body["project"]["owner"]["name"]),
        (&json!("PERSONAL"), &json!("ann.lee"))
    );
    assert_eq!(body["origin"]["slug"], "web");
    assert_eq!(body["hierarchyId"], body["origin"]["hierarchyId"]);
    let clone = body["links"]["clone"][1]["href"].as_str().unwrap();
    assert!(clone.ends_with("/scm/~ann.lee/web.git"), "{clone}");
    let path = "/api/1.0/projects/~ann.lee/repos/web";
    assert_eq!(
        ann.post(&format!("{path}/branches"), &json!({ "name": "x", "startPoint": "main" })).await.status,
        200
    );
    assert_eq!(client(&sim).get(path).await.status, 404, "others do not see it");
    assert_eq!(column(&ann.get(&format!("{REPO}/forks")).await.json(), "/project/key"), ["~ann.lee"]);
    assert_eq!(ann.post(REPO, &json!({})).await.status, 400, "the name is taken there");
    let elsewhere = ann.post(REPO, &json!({ "project": { "key": "DEMO" }, "name": "mine" })).await;
    assert_eq!(elsewhere.status, 401);
}

#[tokio::test]
async fn archived_repositories_are_read_only() {
    let sim = started().await;
    let client = client(&sim);
    sim.push_commit("DEMO/web", "topic", "Topic", &[("new", Some(b"x\n"))]).unwrap();
    sim.open_pull_request("DEMO/web", "ann", "topic", "main", "Topic").unwrap();
    let busy = client.put(REPO, &json!({ "archived": true })).await;
    assert_eq!(busy.status, 403, "it has open pull requests");
    sim.decline_pull_request("DEMO/web", 1, "ann").unwrap();
    assert_eq!(client.put(REPO, &json!({ "archived": true })).await.json()["archived"], true);
    let branch = json!({ "name": "x", "startPoint": "main" });
    assert_eq!(client.post(&format!("{REPO}/branches"), &branch).await.status, 409);
    let reopened = client.post(&format!("{REPO}/pull-requests/1/reopen?version=1"), &json!({})).await;
    assert_eq!(reopened.status, 409);
    assert_eq!(client.get(&format!("{REPO}/raw/README.md")).await.text(), "# web\n");
    assert_eq!(client.put(REPO, &json!({ "archived": false })).await.json()["archived"], false);
    assert_eq!(client.post(&format!("{REPO}/branches"), &branch).await.status, 200);
}

#[tokio::test]
async fn an_empty_repository_has_no_branch_in_one_of_the_ways_servers_say_it() {
    for (switch, status) in [
        (EmptyDefaultBranch::NotFound, 404),
        (EmptyDefaultBranch::NoContent, 204),
        (EmptyDefaultBranch::Configured, 200),
    ] {
        let sim = BitbucketDcSim::builder().empty_default_branch(switch).start().await.unwrap();
        fill(&sim);
        sim.create_repository("DEMO/empty", &RepositorySpec::new().empty()).unwrap();
        let client = client(&sim);
        let path = "/api/1.0/projects/DEMO/repos/empty";
        assert_eq!(client.get(&format!("{path}/default-branch")).await.status, status);
        assert_eq!(client.get(&format!("{path}/branches/default")).await.status, 204);
        assert_eq!(client.get(&format!("{path}/branches")).await.json()["values"], json!([]));
        for inside in ["browse", "files", "commits", "archive"] {
            assert_eq!(client.get(&format!("{path}/{inside}")).await.status, 404, "{inside}");
        }
        let full = client.get(&format!("{REPO}/default-branch")).await.json();
        assert_eq!(full, json!({ "id": "refs/heads/main", "displayId": "main", "type": "BRANCH" }));
    }
}

#[tokio::test]
async fn the_default_branch_is_moved_by_administrators() {
    let sim = started().await;
    let client = client(&sim);
    sim.push_commit("DEMO/web", "next", "Next", &[("new", Some(b"x\n"))]).unwrap();
    let body = json!({ "id": "refs/heads/next" });
    let writer = member(&sim, "ann", "DEMO/web", Role::Write);
    assert_eq!(writer.put(&format!("{REPO}/default-branch"), &body).await.status, 401);
    assert_eq!(client.put(&format!("{REPO}/default-branch"), &json!({ "id": "nope" })).await.status, 404);
    assert_eq!(client.put(&format!("{REPO}/default-branch"), &body).await.status, 204);
    assert_eq!(client.get(&format!("{REPO}/branches/default")).await.json()["isDefault"], true);
    assert_eq!(client.get(&format!("{REPO}/raw/new")).await.text(), "x\n");
}

#[tokio::test]
async fn permissions_are_granted_and_taken() {
    let sim = started().await;
    let client = client(&sim);
    sim.create_user("ann");
    let ann = basic(&sim, "ann", "ann");
    assert_eq!(ann.get(REPO).await.status, 404);
    let path = format!("{REPO}/permissions/users");
    let grant = |permission: &str| format!("{path}?name=ann&permission={permission}");
    assert_eq!(client.put(&grant("REPO_WRITE"), &json!({})).await.status, 204);
    assert_eq!(client.put(&grant("PROJECT_WRITE"), &json!({})).await.status, 400);
    assert_eq!(column(&client.get(&path).await.json(), "/permission"), ["REPO_WRITE"]);
    assert_eq!(ann.get(&path).await.status, 401);
    assert_eq!(
        ann.post(&format!("{REPO}/branches"), &json!({ "name": "x", "startPoint": "main" })).await.status,
        200
    );
    assert_eq!(client.delete(&format!("{path}?name=ann")).await.status, 204);
    assert_eq!(ann.get(REPO).await.status, 404);
    let all = "/api/1.0/projects/DEMO/permissions/PROJECT_READ/all";
    assert_eq!(client.post(&format!("{all}?allow=true"), &json!({})).await.status, 204);
    assert_eq!((ann.get(REPO).await.status, &client.get(all).await.json()["permitted"]), (200, &json!(true)));
}

#[tokio::test]
async fn the_demo_has_one_project_to_administer_and_one_to_look_at() {
    let sim = BitbucketDcSim::builder().seed_demo().start().await.unwrap();
    assert_eq!(sim.repositories()[0], "DEMO/web");
    let token = &sim.tokens()[0];
    assert_eq!((token.user.as_str(), token.kind, token.role.as_str()), ("scm", "user", "admin"));
    let client = bearer(&sim, &token.token);
    let names = |path: &'static str| {
        let client = client.clone();
        async move { column(&client.get(path).await.json(), "/slug") }
    };
    let all = names("/api/1.0/repos?permission=REPO_READ").await;
    let writable = names("/api/1.0/repos?permission=REPO_WRITE").await;
    assert_eq!(all.iter().filter(|name| !writable.contains(name)).collect::<Vec<_>>(), ["readonly"]);
    assert_eq!(names("/api/1.0/repos?archived=ARCHIVED").await, ["legacy"]);
    assert_eq!(client.get("/api/1.0/projects/DEMO/repos/empty/branches").await.json()["size"], 0);
    let files = client.get("/api/1.0/projects/DEMO/repos/web/files").await.json();
    assert_eq!(
        files["values"],
        json!(["README.md", "package-lock.json", "package.json", "src/cart.js", "src/server.js"])
    );
}

/// Two projects of one key would hide what is in one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_project_that_many_make_at_once_is_one() {
    let sim = std::sync::Arc::new(BitbucketDcSim::builder().seed_demo().start().await.unwrap());
    let user = sim.tokens()[0].user.clone();
    for round in 0..20 {
        let works = (0..8).map(|nth| {
            let (sim, user) = (std::sync::Arc::clone(&sim), user.clone());
            tokio::task::spawn_blocking(move || {
                let name = format!("NEW{round}/repo-{nth}");
                sim.create_repository(&name, &RepositorySpec::new().empty()).unwrap();
                sim.add_member(&name, &user, Role::Write)
            })
        });
        for added in futures_util::future::join_all(works).await {
            added.unwrap().unwrap();
        }
    }
}
