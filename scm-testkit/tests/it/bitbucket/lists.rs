//! Pages: limits, caps, gaps, and what lists are filtered by.

use scm_testkit::sim::bitbucket_dc::{BitbucketDcSim, RepositorySpec, Role, TokenKind, TokenSpec};
use serde_json::{Value, json};

use super::{REPO, bearer, client, column, fill, started};

#[tokio::test]
async fn pages_are_walked_by_the_servers_numbers() {
    let sim = BitbucketDcSim::builder().projects(60).start().await.unwrap();
    let client = client(&sim);
    let first = client.get("/api/1.0/repos").await.json();
    assert_eq!(
        [&first["size"], &first["limit"], &first["isLastPage"], &first["start"], &first["nextPageStart"]],
        [&json!(25), &json!(25), &json!(false), &json!(0), &json!(25)]
    );
    let last = client.get("/api/1.0/repos?start=50").await.json();
    assert_eq!(
        [&last["size"], &last["isLastPage"], &last["nextPageStart"]],
        [&json!(10), &json!(true), &Value::Null]
    );
    let beyond = client.get("/api/1.0/repos?start=500").await.json();
    assert_eq!([&beyond["size"], &beyond["isLastPage"]], [&json!(0), &json!(true)]);
    let large = client.get("/api/1.0/repos?limit=100000").await.json();
    assert_eq!([&large["size"], &large["limit"]], [&json!(60), &json!(1000)], "the limit is the server's");
}

#[tokio::test]
async fn caps_differ_by_what_is_listed_and_can_be_lowered() {
    let sim = BitbucketDcSim::builder().page_cap(2).start().await.unwrap();
    fill(&sim);
    let page = client(&sim).get(&format!("{REPO}/files?limit=50")).await.json();
    assert_eq!([&page["limit"], &page["size"], &page["nextPageStart"]], [&json!(2), &json!(2), &json!(2)]);
    let sim = started().await;
    let page = client(&sim).get(&format!("{REPO}/commits?limit=1000")).await.json();
    assert_eq!(page["limit"], 100);
}

#[tokio::test]
async fn rows_that_are_hidden_make_numbers_jump_and_pages_empty() {
    let sim = BitbucketDcSim::builder().projects(7).hidden_rows().start().await.unwrap();
    let client = client(&sim);
    let (mut start, mut seen, mut sizes) = (0, Vec::new(), Vec::new());
    loop {
        let page = client.get(&format!("/api/1.0/repos?limit=3&start={start}")).await.json();
        seen.extend(column(&page, "/slug"));
        sizes.push(page["size"].as_u64().unwrap());
        if page["isLastPage"] == true {
            break;
        }
        let next = page["nextPageStart"].as_u64().unwrap();
        assert!(next > start + 3, "{next} jumps beyond {start} and the limit");
        start = next;
    }
    assert_eq!(sizes, [0, 3, 3, 1]);
    let expected: Vec<String> = (1..=7).map(|n| format!("project-{n:05}")).collect();
    assert_eq!(seen, expected);
    let nothing = client.get("/api/1.0/repos?name=nothing").await.json();
    assert_eq!([&nothing["size"], &nothing["isLastPage"]], [&json!(0), &json!(true)]);
}

#[tokio::test]
async fn repositories_are_found_by_project_name_permission_and_state() {
    let sim = started().await;
    sim.create_repository("OTHER/web", &RepositorySpec::new()).unwrap();
    sim.create_repository("OTHER/old", &RepositorySpec::new().archived()).unwrap();
    sim.create_repository("OPEN/pub", &RepositorySpec::new().public()).unwrap();
    let spec = TokenSpec::new(TokenKind::User, "ann").on("OTHER").role(Role::Read);
    let ann = bearer(&sim, &sim.issue_token(&spec).unwrap().token);
    sim.add_member("DEMO/web", "ann", Role::Write).unwrap();
    let names = |query: &str| {
        let (ann, path) = (ann.clone(), format!("/api/1.0/repos?{query}"));
        async move {
            let page = ann.get(&path).await.json();
            let (keys, slugs) = (column(&page, "/project/key"), column(&page, "/slug"));
            keys.iter().zip(slugs).map(|(key, slug)| format!("{key}/{slug}")).collect::<Vec<_>>()
        }
    };
    assert_eq!(names("").await, ["DEMO/web", "OPEN/pub", "OTHER/web"], "archived ones are left out");
    assert_eq!(names("permission=REPO_READ").await, ["DEMO/web", "OTHER/web"]);
    assert_eq!(names("permission=REPO_WRITE").await, ["DEMO/web"]);
    assert_eq!(names("permission=REPO_ADMIN").await, [""; 0]);
    assert_eq!(names("projectkey=OTHER").await, ["OTHER/web"]);
    assert_eq!(names("name=WEB").await, ["DEMO/web", "OTHER/web"], "in whatever case");
    assert_eq!(names("name=we").await, [""; 0], "the whole name");
    assert_eq!(names("archived=ARCHIVED").await, ["OTHER/old"]);
    assert_eq!(names("archived=ALL&projectkey=OTHER").await, ["OTHER/old", "OTHER/web"]);
    assert_eq!(names("visibility=public").await, ["OPEN/pub"]);
    assert_eq!(ann.get("/api/1.0/repos?visibility=secret").await.status, 400);
    assert_eq!(ann.get("/api/1.0/repos?permission=KING").await.status, 400);
    assert_eq!(column(&ann.get("/api/1.0/projects").await.json(), "/key"), ["DEMO", "OPEN", "OTHER"]);
    assert_eq!(column(&ann.get("/api/1.0/projects?name=oth").await.json(), "/key"), ["OTHER"]);
}

#[tokio::test]
async fn ten_thousand_repositories_are_listed_and_touched() {
    let sim = BitbucketDcSim::builder().projects(10_000).start().await.unwrap();
    let client = client(&sim);
    let page = client.get("/api/1.0/repos?permission=REPO_WRITE&start=9000&limit=1000").await.json();
    assert_eq!([&page["size"], &page["isLastPage"]], [&json!(1000), &json!(true)]);
    let files = client.get("/api/1.0/projects/LOAD/repos/project-07421/files").await.json();
    assert_eq!(files["values"], json!(["README.md", "package.json", "src/index.js"]));
}
