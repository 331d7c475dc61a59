//! Pages by offset and by keyset.

use scm_testkit::sim::gitlab::GitLabSim;

use crate::client::Client;

const EXTERNAL: &str = "https://gitlab.example.com/git";

async fn many() -> GitLabSim {
    GitLabSim::builder().context_path("/lab").external_url(EXTERNAL).projects(10_050).start().await.unwrap()
}

#[tokio::test]
async fn links_carry_the_external_address() {
    let sim =
        GitLabSim::builder().context_path("/lab").external_url(EXTERNAL).projects(45).start().await.unwrap();
    let answer = Client::of(&sim).get("/projects?membership=true&per_page=20&page=2").await;
    let url = format!("{EXTERNAL}/api/v4/projects?membership=true");
    assert_eq!(
        answer.header("link").unwrap(),
        format!(
            "<{url}&page=1&per_page=20>; rel=\"prev\", <{url}&page=3&per_page=20>; rel=\"next\", \
             <{url}&page=1&per_page=20>; rel=\"first\", <{url}&page=3&per_page=20>; rel=\"last\""
        )
    );
    let numbers: Vec<&str> =
        ["x-page", "x-per-page", "x-next-page", "x-prev-page", "x-total", "x-total-pages"]
            .iter()
            .map(|name| answer.header(name).unwrap())
            .collect();
    assert_eq!(numbers, ["2", "20", "3", "1", "45", "3"]);
    let last = Client::of(&sim).get("/projects?membership=true&per_page=20&page=3").await;
    assert_eq!(last.header("x-next-page"), Some(""));
    assert_eq!(last.json().as_array().unwrap().len(), 5);
    let first = &last.json()[0];
    assert!(first["http_url_to_repo"].as_str().unwrap().starts_with(EXTERNAL));
    assert!(first["web_url"].as_str().unwrap().starts_with(EXTERNAL));
}

#[tokio::test]
async fn large_lists_are_not_counted_and_deep_offsets_are_refused() {
    let sim = many().await;
    let client = Client::of(&sim);
    let answer = client.get("/projects?membership=true&per_page=1000").await;
    assert_eq!(answer.json().as_array().unwrap().len(), 100, "cut silently");
    assert_eq!(answer.header("x-per-page"), Some("100"));
    assert_eq!(answer.header("x-total"), None);
    assert_eq!(answer.header("x-total-pages"), None);
    assert!(!answer.header("link").unwrap().contains("rel=\"last\""));
    assert_eq!(
        client.get("/projects?per_page=100&page=501").await.status,
        200,
        "an offset of 50,000 is allowed"
    );
    assert_eq!(client.get("/projects?per_page=100&page=502").await.status, 405);
}

#[tokio::test]
async fn a_keyset_walk_sees_every_project_once() {
    let sim = many().await;
    let client = Client::of(&sim);
    let mut path = "/projects?membership=true&pagination=keyset&order_by=id&sort=asc&per_page=100".to_owned();
    let mut ids = Vec::new();
    loop {
        let answer = client.get(&path).await;
        assert_eq!(answer.header("x-page"), None, "a keyset has no page numbers");
        ids.extend(answer.json().as_array().unwrap().iter().map(|project| project["id"].as_u64().unwrap()));
        let Some(link) = answer.header("link") else { break };
        let next = link.strip_suffix(">; rel=\"next\"").and_then(|link| link.strip_prefix('<')).unwrap();
        path = next.strip_prefix(&format!("{EXTERNAL}/api/v4")).unwrap().to_owned();
    }
    assert_eq!(ids, (1..=10_050).collect::<Vec<u64>>());
    let down = client.get("/projects?pagination=keyset&order_by=id&sort=desc&per_page=2").await;
    assert_eq!(down.json()[0]["id"], 10_050);
    assert!(down.header("link").unwrap().contains("id_before=10049"));
}

#[tokio::test]
async fn a_tree_is_paged_by_the_id_of_its_last_entry() {
    let sim = GitLabSim::builder().seed_demo().start().await.unwrap();
    let client = Client::of(&sim);
    let path = "/projects/demo%2Fweb/repository/tree?recursive=true";
    let all = client.get(&format!("{path}&pagination=none&per_page=1")).await.json();
    let names: Vec<&str> =
        all.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    assert_eq!(names[0], "src", "directories first");
    assert!(names.contains(&"src/server.js"));
    let first = client.get(&format!("{path}&pagination=keyset&per_page=2")).await;
    let token = first.json()[1]["id"].as_str().unwrap().to_owned();
    assert!(first.header("link").unwrap().contains(&format!("page_token={token}")));
    let second = client.get(&format!("{path}&pagination=keyset&per_page=2&page_token={token}")).await;
    assert_eq!(second.json()[0], all[2]);
}
