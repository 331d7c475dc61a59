//! As strict as the server: parameters, content types, unknown names, unknown routes, moved projects.

use scm_testkit::sim::gitlab::{GitLabSim, ProjectSpec, Visibility};
use serde_json::json;

use crate::client::Client;

#[tokio::test]
async fn missing_and_invalid_parameters_are_named_together() {
    let sim = GitLabSim::builder().seed_demo().start().await.unwrap();
    let client = Client::of(&sim);
    let answer = client.post("/projects/demo%2Fweb/repository/commits", &json!({ "actions": [{}] })).await;
    assert_eq!(answer.refusal(), (400, json!("branch is missing, commit_message is missing")));
    let answer = client.get("/projects/demo%2Fweb/merge_requests?state=sleeping").await;
    assert_eq!(answer.refusal(), (400, json!("state does not have a valid value")));
    let answer = client.post("/projects/demo%2Fweb/merge_requests", &json!({ "title": "x" })).await;
    assert_eq!(answer.refusal(), (400, json!("source_branch is missing, target_branch is missing")));
    let answer = client.get("/projects/demo%2Fweb/repository/files/README.md").await;
    assert_eq!(answer.refusal(), (400, json!("ref is missing")));
    let answer = client.get("/projects/demo%2Fweb/merge_requests/77").await;
    assert_eq!(answer.refusal(), (404, json!("404 Not found")));
}

#[tokio::test]
async fn forms_are_read_and_other_content_types_are_refused() {
    let sim = GitLabSim::builder().seed_demo().start().await.unwrap();
    let client = Client::of(&sim);
    let path = "/projects/demo%2Fweb/repository/branches";
    let form =
        client.send("POST", path, Some("application/x-www-form-urlencoded"), b"branch=a%2Fb&ref=main").await;
    assert_eq!(form.unwrap().json()["name"], "a/b");
    let parts = b"--x\r\nContent-Disposition: form-data; name=\"branch\"\r\n\r\nd/e\r\n--x\r\nContent-Disposition: form-data; name=\"ref\"\r\n\r\nmain\r\n--x--\r\n";
    let parts = client.send("POST", path, Some("multipart/form-data; boundary=x"), parts).await.unwrap();
    assert_eq!((parts.status, &parts.json()["name"]), (201, &json!("d/e")));
    let plain = client.send("POST", path, Some("text/plain"), b"branch=c&ref=main").await.unwrap();
    assert!((400..=415).contains(&plain.status), "{}", plain.status);
    let broken = client.send("POST", path, Some("application/json"), b"{\"branch\":").await.unwrap();
    assert_eq!(broken.status, 400);
    assert_eq!(client.get(&format!("{path}/c")).await.refusal(), (404, json!("404 Branch Not Found")));
}

#[tokio::test]
async fn unknown_parameters_are_ignored_but_recorded() {
    let sim = GitLabSim::builder().seed_demo().start().await.unwrap();
    let client = Client::of(&sim);
    assert_eq!(client.get("/projects?membership=true&flavour=sweet").await.status, 200);
    let body = json!({ "branch": "x", "ref": "main", "colour": "red" });
    assert_eq!(client.post("/projects/demo%2Fweb/repository/branches", &body).await.status, 201);
    let found: Vec<(String, String, bool)> =
        sim.unknown_parameters().into_iter().map(|p| (p.route, p.name, p.in_body)).collect();
    assert_eq!(
        found,
        [
            ("/projects".to_owned(), "flavour".to_owned(), false),
            ("/projects/:id/repository/branches".to_owned(), "colour".to_owned(), true),
        ]
    );
    let last = sim.requests().pop().unwrap();
    assert_eq!((last.method.as_str(), last.status), ("POST", Some(201)));
    assert_eq!(last.path, "/api/v4/projects/demo%2Fweb/repository/branches");
    assert_eq!(last.body_keys, ["branch", "colour", "ref"]);
}

#[tokio::test]
async fn an_encoded_slash_is_not_a_slash() {
    let sim = GitLabSim::builder().context_path("/git/lab").seed_demo().start().await.unwrap();
    let client = Client::of(&sim);
    assert_eq!(
        client.get("/projects/demo%2Fplatform%2Fcli").await.json()["path_with_namespace"],
        "demo/platform/cli"
    );
    assert_eq!(client.get("/projects/demo/web").await.json(), json!({ "error": "404 Not Found" }));
    let file = "/projects/demo%2Fweb/repository/files/src%2Fserver.js?ref=main";
    assert_eq!(client.get(file).await.json()["file_path"], "src/server.js");
    let literal = "/projects/demo%2Fweb/repository/files/src/server.js?ref=main";
    assert_eq!(client.get(literal).await.status, 404);
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let sim = GitLabSim::builder().seed_demo().start().await.unwrap();
    let client = Client::of(&sim);
    for path in ["/version", "/projects/1", "/projects/nope", "/nowhere"] {
        let answer = client.get(path).await;
        assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()), "{path}");
        assert!(answer.header("x-runtime").is_some_and(|text| text.parse::<f64>().is_ok()), "{path}");
    }
    assert_eq!(client.get("/version").await.json()["version"], "17.11.2-ee");
}

#[tokio::test]
async fn a_moved_project_redirects_reading_and_refuses_the_rest() {
    let sim = GitLabSim::builder()
        .context_path("/gitlab")
        .external_url("https://gitlab.example.com/gitlab")
        .seed_demo()
        .start()
        .await
        .unwrap();
    sim.move_project("demo/web", "shop/front").unwrap();
    let client = Client::of(&sim);
    let answer = client.get("/projects/demo%2Fweb/repository/branches?search=m").await;
    assert_eq!(answer.status, 301);
    let target = "https://gitlab.example.com/gitlab/api/v4/projects/1/repository/branches?search=m";
    assert_eq!(answer.header("location"), Some(target));
    assert_eq!(answer.text(), format!("This resource has been moved permanently to {target}"));
    let body = json!({ "branch": "x", "ref": "main" });
    let answer = client.post("/projects/demo%2Fweb/repository/branches", &body).await;
    assert_eq!(answer.refusal(), (405, json!("Non GET methods are not allowed for moved projects")));
    assert_eq!(client.get("/projects/shop%2Ffront").await.json()["id"], 1);
}

#[tokio::test]
async fn a_group_goes_with_all_that_is_in_it() {
    let sim = GitLabSim::builder().start().await.unwrap();
    let client = Client::of(&sim);
    let body = json!({ "name": "Top", "path": "top", "default_branch_protection": 0 });
    let top = client.post("/groups", &body).await.json()["id"].clone();
    let body = json!({ "name": "Below", "path": "below", "parent_id": top });
    let below = client.post("/groups", &body).await.json()["id"].clone();
    for (space, path, protected) in [(&top, "top%2Fone", false), (&below, "top%2Fbelow%2Ftwo", true)] {
        let name = path.rsplit("%2F").next().unwrap();
        let body = json!({ "name": name, "namespace_id": space, "initialize_with_readme": true });
        assert_eq!(client.post("/projects", &body).await.status, 201);
        let branch = client.get(&format!("/projects/{path}/repository/branches/main")).await.json();
        assert_eq!(branch["protected"], protected, "{path}");
    }
    assert!((200..300).contains(&client.delete(&format!("/groups/{top}")).await.status));
    for path in ["/groups/top", "/groups/top%2Fbelow", "/projects/top%2Fone", "/projects/top%2Fbelow%2Ftwo"] {
        assert_eq!(client.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn groups_nest_and_list_what_is_below() {
    let sim = GitLabSim::builder().seed_demo().start().await.unwrap();
    sim.create_group("demo/platform/deep", Visibility::Private).unwrap();
    sim.create_project("demo/platform/deep/one", &ProjectSpec::new()).unwrap();
    let client = Client::of(&sim);
    let names = |answer: &serde_json::Value, key: &str| -> Vec<String> {
        answer.as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
    };
    let below =
        client.get("/groups/demo/projects?include_subgroups=true&per_page=100&order_by=id&sort=asc").await;
    assert!(names(&below.json(), "path_with_namespace").contains(&"demo/platform/cli".to_owned()));
    let direct = client.get("/groups/demo/projects?per_page=100").await;
    assert!(!names(&direct.json(), "path_with_namespace").contains(&"demo/platform/cli".to_owned()));
    assert_eq!(names(&client.get("/groups/demo/subgroups").await.json(), "full_path"), ["demo/platform"]);
    // The caller is a member of nothing in `deep`.
    assert_eq!(
        client.get("/groups/demo%2Fplatform%2Fdeep").await.refusal(),
        (404, json!("404 Group Not Found"))
    );
}
