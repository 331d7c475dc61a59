//! Commits of many files, reading them back, and what they refuse.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use scm_testkit::sim::gitlab::{GitLabSim, ProjectSpec, Protection};
use serde_json::{Value, json};

use crate::client::Client;

const COMMITS: &str = "/projects/demo%2Fweb/repository/commits";

async fn demo() -> (GitLabSim, Client) {
    let sim = GitLabSim::builder().seed_demo().start().await.unwrap();
    let client = Client::of(&sim);
    (sim, client)
}

fn commit(branch: &str, actions: Value) -> Value {
    json!({ "branch": branch, "start_branch": "main", "commit_message": "Change\n\nBody", "actions": actions })
}

#[tokio::test]
async fn every_kind_of_action_in_one_commit() {
    let (sim, client) = demo().await;
    let bytes: Vec<u8> = (0..=255).collect();
    let body = commit(
        "many",
        json!([
            { "action": "create", "file_path": "a/new.bin", "encoding": "base64", "content": STANDARD.encode(&bytes) },
            { "action": "update", "file_path": "README.md", "content": "# changed" },
            { "action": "delete", "file_path": "src/cart.js" },
            { "action": "move", "file_path": "src/main.js", "previous_path": "src/server.js" },
            { "action": "chmod", "file_path": "package.json", "execute_filemode": true },
        ]),
    );
    let answer = client.post(COMMITS, &body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made = answer.json();
    assert_eq!(made["title"], "Change");
    assert_eq!(made["message"], "Change\n\nBody");
    assert_eq!(made["parent_ids"], json!([sim.revision("demo/web", "main").unwrap().unwrap()]));
    let total = made["stats"]["additions"].as_u64().unwrap() + made["stats"]["deletions"].as_u64().unwrap();
    assert_eq!(made["stats"]["total"], total);
    assert_eq!(sim.file("demo/web", "many", "a/new.bin").unwrap(), Some(bytes));
    assert_eq!(
        sim.file("demo/web", "many", "README.md").unwrap(),
        Some(b"# changed".to_vec()),
        "no newline added"
    );
    assert_eq!(sim.file("demo/web", "many", "src/cart.js").unwrap(), None);
    assert_eq!(
        sim.file("demo/web", "many", "src/main.js").unwrap(),
        sim.file("demo/web", "main", "src/server.js").unwrap()
    );
    let file = client.get("/projects/demo%2Fweb/repository/files/package.json?ref=many").await.json();
    assert_eq!(file["execute_filemode"], true);
    assert_eq!(file["last_commit_id"], made["id"]);
    let diff = client.get(&format!("{COMMITS}/{}/diff", made["id"].as_str().unwrap())).await.json();
    let renamed = diff.as_array().unwrap().iter().find(|file| file["renamed_file"] == true).unwrap();
    assert_eq!(
        (&renamed["old_path"], &renamed["new_path"]),
        (&json!("src/server.js"), &json!("src/main.js"))
    );
}

#[tokio::test]
async fn one_failing_action_writes_nothing() {
    let (sim, client) = demo().await;
    let before = sim.revision("demo/web", "main").unwrap();
    for (action, reason) in [
        (
            json!({ "action": "update", "file_path": "none", "content": "x" }),
            "A file with this name doesn't exist",
        ),
        (json!({ "action": "delete", "file_path": "none" }), "A file with this name doesn't exist"),
        (
            json!({ "action": "chmod", "file_path": "none", "execute_filemode": true }),
            "A file with this name doesn't exist",
        ),
        (
            json!({ "action": "create", "file_path": "README.md", "content": "x" }),
            "A file with this name already exists",
        ),
        (
            json!({ "action": "create", "file_path": "src", "content": "x" }),
            "A directory with this name already exists",
        ),
        (
            json!({ "action": "create", "file_path": "a/../../b", "content": "x" }),
            "Path cannot include directory traversal",
        ),
        (json!({ "action": "create", "file_path": "", "content": "x" }), "You must provide a file path"),
        (json!({ "action": "create", "file_path": "a//b", "content": "x" }), "invalid path: 'a//b'"),
    ] {
        let good = json!({ "action": "create", "file_path": "good.txt", "content": "good" });
        let mut body = commit("main", json!([good, action]));
        body.as_object_mut().unwrap().remove("start_branch");
        let (status, message) = client.post(COMMITS, &body).await.refusal();
        assert_eq!(status, 400, "{action}");
        assert!(message.as_str().unwrap().starts_with(reason), "{message}");
    }
    assert_eq!(sim.revision("demo/web", "main").unwrap(), before);
    assert_eq!(sim.file("demo/web", "main", "good.txt").unwrap(), None);
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_is_not_overwritten() {
    let (sim, client) = demo().await;
    let file = "/projects/demo%2Fweb/repository/files/README.md";
    let seen = client.get(&format!("{file}?ref=main")).await.json()["last_commit_id"].clone();
    // Another file may change: the lock is on the file.
    sim.push_commit("demo/web", "main", "other", &[("other.txt", Some(b"x"))]).unwrap();
    let body = |id: &Value, content: &str| {
        json!({ "branch": "main", "commit_message": "m", "actions": [
            { "action": "update", "file_path": "README.md", "content": content, "last_commit_id": id },
        ] })
    };
    assert_eq!(client.post(COMMITS, &body(&seen, "one")).await.status, 201);
    let answer = client.post(COMMITS, &body(&seen, "two")).await;
    let reason = "You are attempting to update a file that has changed since you started editing it.";
    assert_eq!(answer.refusal(), (400, json!(reason)));
    assert_eq!(sim.file("demo/web", "main", "README.md").unwrap(), Some(b"one".to_vec()));
}

#[tokio::test]
async fn starting_points_are_exact() {
    let (sim, client) = demo().await;
    let first = sim.revision("demo/web", "main").unwrap().unwrap();
    sim.push_commit("demo/web", "main", "later", &[("later.txt", Some(b"x"))]).unwrap();
    let create = json!([{ "action": "create", "file_path": "n", "content": "n" }]);
    let body = json!({ "branch": "old", "start_sha": first, "commit_message": "m", "actions": create });
    assert_eq!(client.post(COMMITS, &body).await.json()["parent_ids"], json!([first]));
    let (status, message) = client.post(COMMITS, &body).await.refusal();
    assert_eq!(status, 400);
    assert_eq!(
        message,
        "A branch called 'old' already exists. Switch to that branch in order to make changes"
    );
    let mut forced = body.clone();
    forced["force"] = json!(true);
    assert_eq!(client.post(COMMITS, &forced).await.status, 201);
    let missing = json!({ "branch": "nowhere", "commit_message": "m", "actions": create });
    let (status, message) = client.post(COMMITS, &missing).await.refusal();
    assert_eq!((status, message), (400, json!("You can only create or edit files when you are on a branch")));
}

#[tokio::test]
async fn an_empty_repository_gets_its_first_branch() {
    let (sim, client) = demo().await;
    let empty = client.get("/projects/demo%2Fempty").await.json();
    assert_eq!((&empty["default_branch"], &empty["empty_repo"]), (&json!(null), &json!(true)));
    assert_eq!(client.get("/projects/demo%2Fempty/repository/tree").await.status, 404);
    let body = json!({ "branch": "main", "commit_message": "first", "actions": [
        { "action": "create", "file_path": "README.md", "content": "# hi\n" },
    ] });
    let answer = client.post("/projects/demo%2Fempty/repository/commits", &body).await;
    assert_eq!(answer.json()["parent_ids"], json!([]), "{}", answer.text());
    assert_eq!(client.get("/projects/demo%2Fempty").await.json()["default_branch"], "main");
    assert!(sim.file("demo/empty", "main", "README.md").unwrap().is_some());
}

#[tokio::test]
async fn writers_at_the_same_time_do_not_lose_each_others_work() {
    let sim = GitLabSim::builder().start().await.unwrap();
    sim.create_project("a/b", &ProjectSpec::new().protection(Protection::None)).unwrap();
    let spec = scm_testkit::sim::gitlab::TokenSpec::parse("personal:ann:api::developer").unwrap();
    let client = Client::anonymous(&sim).with_token(&sim.issue_token(&spec).unwrap().token);
    let tasks = (0..6).map(|n| {
        let client = client.clone();
        async move {
            let body = json!({ "branch": "main", "commit_message": "m", "actions": [
                { "action": "create", "file_path": format!("f{n}"), "content": "x" },
            ] });
            client.post("/projects/a%2Fb/repository/commits", &body).await.status
        }
    });
    assert_eq!(futures_util::future::join_all(tasks).await, [201; 6]);
    for n in 0..6 {
        assert!(sim.file("a/b", "main", &format!("f{n}")).unwrap().is_some());
    }
}

#[tokio::test]
async fn files_are_read_in_every_form() {
    let (_sim, client) = demo().await;
    let file = "/projects/demo%2Fweb/repository/files/package.json";
    let read = client.get(&format!("{file}?ref=main")).await.json();
    let raw = client.get(&format!("{file}/raw?ref=main")).await;
    assert_eq!(STANDARD.decode(read["content"].as_str().unwrap()).unwrap(), raw.body);
    assert!(raw.text().contains("\"lodash\": \"^4.17.20\""));
    let head = client.send("HEAD", &format!("{file}?ref=main"), None, b"").await.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("x-gitlab-blob-id"), read["blob_id"].as_str());
    assert_eq!(head.header("x-gitlab-size"), Some(raw.body.len().to_string().as_str()));
    assert!(head.body.is_empty());
    let blob =
        client.get(&format!("/projects/1/repository/blobs/{}/raw", read["blob_id"].as_str().unwrap())).await;
    assert_eq!(blob.body, raw.body);
    let missing = client.get("/projects/demo%2Fweb/repository/files/no?ref=main").await;
    assert_eq!(missing.refusal(), (404, json!("404 File Not Found")));
    let archive = client.get("/projects/demo%2Fweb/repository/archive.tar.gz?sha=main").await;
    assert_eq!(&archive.body[..2], [0x1f, 0x8b]);
    assert!(archive.header("content-disposition").unwrap().contains("web-main-"));
}

/// GitLab parses trailers for its list alone, and there only where it is asked to.
#[tokio::test]
async fn trailers_stand_in_the_list_alone() {
    let (_sim, client) = demo().await;
    let mut body = commit("trailers", json!([{ "action": "create", "file_path": "a", "content": "a" }]));
    body["commit_message"] = json!("Change\n\nCc: Ann\nCc: Bob\n");
    let made = client.post(COMMITS, &body).await.json();
    let id = made["id"].as_str().unwrap();
    let shown = client.get(&format!("{COMMITS}/{id}")).await.json();
    let plain = client.get(&format!("{COMMITS}?ref_name=trailers&per_page=1")).await.json();
    for commit in [&made, &shown, &plain[0]] {
        assert_eq!((&commit["trailers"], &commit["extended_trailers"]), (&json!({}), &json!({})));
    }
    let list = client.get(&format!("{COMMITS}?ref_name=trailers&per_page=1&trailers=true")).await.json();
    assert_eq!(list[0]["trailers"], json!({ "Cc": "Bob" }));
    assert_eq!(list[0]["extended_trailers"], json!({ "Cc": ["Ann", "Bob"] }));
}
