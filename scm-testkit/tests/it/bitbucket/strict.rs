//! As strict as the server: content types, required parameters, unknown ones, paths.

use scm_testkit::{fault::Fault, sim::bitbucket_dc::BitbucketDcSim};
use serde_json::json;

use super::{REPO, client, fill, refusal, started};

#[tokio::test]
async fn other_content_types_are_refused() {
    let sim = started().await;
    let client = client(&sim);
    let path = format!("{REPO}/branches");
    let body = br#"{"name":"x","startPoint":"main"}"#;
    for (content_type, status) in [
        (Some("application/xml"), 415),
        (Some("text/plain"), 403),
        (Some("application/x-www-form-urlencoded"), 403),
        (None, 403),
    ] {
        let answer = client.send("POST", &path, content_type, body).await.unwrap();
        assert_eq!(answer.status, status, "{content_type:?}");
    }
    let mut unchecked = client.clone();
    unchecked.headers.push(("X-Atlassian-Token".to_owned(), "no-check".to_owned()));
    assert_eq!(unchecked.send("POST", &path, Some("text/plain"), body).await.unwrap().status, 415);
    let broken = client.send("POST", &path, Some("application/json"), b"{\"name\":").await.unwrap();
    assert_eq!(broken.status, 400);
    assert_eq!(client.get(&format!("{path}?filterText=x")).await.json()["size"], 0, "nothing was made");
    assert_eq!(client.send("POST", &path, Some("application/json"), body).await.unwrap().status, 200);
    let gone = br#"{"name":"x"}"#;
    let path = "/branch-utils/latest/projects/DEMO/repos/web/branches";
    assert_eq!(client.send("DELETE", path, None, gone).await.unwrap().status, 415);
}

#[tokio::test]
async fn missing_parameters_are_named_each_under_its_field() {
    let sim = started().await;
    let client = client(&sim);
    let answer = client.post(&format!("{REPO}/pull-requests"), &json!({ "description": "x" })).await;
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    let fields: Vec<&str> = errors.iter().map(|error| error["context"].as_str().unwrap()).collect();
    assert_eq!((answer.status, fields), (400, vec!["title", "fromRef.id", "toRef.id"]));
    for path in [
        format!("{REPO}/changes"),
        format!("{REPO}/diff/README.md"),
        "/default-reviewers/1.0/projects/DEMO/repos/web/reviewers".to_owned(),
    ] {
        assert_eq!(client.get(&path).await.status, 400, "{path}");
    }
    let head = sim.revision("DEMO/web", "main").unwrap().unwrap();
    assert_eq!(client.get(&format!("{REPO}/commits/{head}/builds")).await.status, 400);
}

#[tokio::test]
async fn unknown_parameters_are_ignored_but_recorded() {
    let sim = started().await;
    let client = client(&sim);
    assert_eq!(client.get("/api/1.0/repos?permission=REPO_READ&flavour=sweet").await.status, 200);
    let body = json!({ "name": "x", "startPoint": "main", "colour": "red" });
    assert_eq!(client.post(&format!("{REPO}/branches"), &body).await.status, 200);
    assert_eq!(client.get(&format!("{REPO}/pull-requests?username.1=scm&role.1=AUTHOR")).await.status, 200);
    let found: Vec<(String, String, bool)> =
        sim.unknown_parameters().into_iter().map(|p| (p.route, p.name, p.in_body)).collect();
    assert_eq!(
        found,
        [
            ("/api/repos".to_owned(), "flavour".to_owned(), false),
            ("/api/projects/:key/repos/:slug/branches".to_owned(), "colour".to_owned(), true),
        ]
    );
    let made = &sim.requests()[1];
    assert_eq!((made.method.as_str(), made.status), ("POST", Some(200)));
    assert_eq!(made.path, "/rest/api/latest/projects/DEMO/repos/web/branches");
    assert_eq!(made.body_keys, ["colour", "name", "startPoint"]);
}

#[tokio::test]
async fn paths_have_real_slashes_modules_and_versions() {
    let sim = BitbucketDcSim::builder().context_path("/git/bucket").start().await.unwrap();
    fill(&sim);
    let client = client(&sim);
    assert_eq!(client.get(&format!("{REPO}/raw/src/deep/b.txt")).await.text(), "b\n");
    assert_eq!(client.get(&format!("{REPO}/raw/src%2Fdeep%2Fb.txt")).await.status, 400);
    assert_eq!(client.get("/api/1.0/projects/demo/repos/web").await.status, 404, "keys have a case");
    assert_eq!(client.get("/api/7.0/projects").await.status, 404);
    assert_eq!(client.get("/nothing/1.0/projects").await.status, 404);
    assert_eq!(client.delete("/api/1.0/projects").await.status, 405);
    let restrictions = "/projects/DEMO/repos/web/restrictions";
    assert_eq!(client.get(&format!("/branch-permissions/2.0{restrictions}")).await.status, 200);
}

#[tokio::test]
async fn faults_strike_by_method_and_route() {
    let sim = started().await;
    let client = client(&sim);
    let route = "/api/projects/:key/repos/:slug/branches";
    let lost = sim.faults().add(Fault::on("POST", route).reset_after().times(1));
    let body = json!({ "name": "x", "startPoint": "main" });
    assert!(client.try_json("POST", &format!("{REPO}/branches"), &body).await.is_err());
    assert_eq!(sim.faults().hits(lost), 1);
    let again = client.post(&format!("{REPO}/branches"), &body).await;
    assert_eq!(again.status, 400, "the work was done and its answer lost: {}", again.text());
    sim.faults().add(Fault::on("GET", route).html(502, "<h1>Bad Gateway</h1>").times(1));
    let page = client.get(&format!("{REPO}/branches")).await;
    assert_eq!((page.status, page.text().as_str()), (502, "<h1>Bad Gateway</h1>"));
    sim.faults().add(Fault::on("GET", route).truncate().times(1));
    assert!(client.send("GET", &format!("{REPO}/branches"), None, b"").await.is_err());
    assert_eq!(client.get(&format!("{REPO}/branches")).await.status, 200);
}

#[tokio::test]
async fn old_servers_name_exceptions_after_the_old_product() {
    let sim = BitbucketDcSim::builder().old_exception_names().start().await.unwrap();
    let answer = client(&sim).get("/api/1.0/projects/NOPE").await;
    assert_eq!(refusal(&answer), (404, "NoSuchProjectException".to_owned()));
    let name = answer.json()["errors"][0]["exceptionName"].clone();
    assert_eq!(name, "com.atlassian.stash.exception.NoSuchProjectException");
}
