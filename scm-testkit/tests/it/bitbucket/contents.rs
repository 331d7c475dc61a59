//! Files, directories, archives, commits and what they changed.

use serde_json::{Value, json};

use super::{REPO, basic, bearer, client, column, fill, member, refusal, started};
use scm_testkit::sim::bitbucket_dc::{
    BitbucketDcSim, Permission, RepositorySpec, Role, TokenKind, TokenSpec,
};

#[tokio::test]
async fn raw_gives_bytes_at_any_revision() {
    let sim = started().await;
    let client = client(&sim);
    let binary = [0_u8, 159, 146, 150];
    sim.push_commit("DEMO/web", "feature/x", "Bin", &[("päth with #&+.bin", Some(&binary))]).unwrap();
    let path = "p%C3%A4th%20with%20%23%26%2B.bin";
    let answer = client.get(&format!("{REPO}/raw/{path}?at=refs%2Fheads%2Ffeature%2Fx")).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &binary[..]));
    assert_eq!(client.get(&format!("{REPO}/raw/{path}?at=feature/x")).await.body, binary);
    let missing = client.get(&format!("{REPO}/raw/{path}")).await;
    assert_eq!(refusal(&missing), (404, "NoSuchPathException".to_owned()));
    assert_eq!(client.get(&format!("{REPO}/raw/README.md?at=nope")).await.status, 404);
    let directory = client.get(&format!("{REPO}/raw/src")).await;
    assert!((400..500).contains(&directory.status), "{}", directory.text());
}

#[tokio::test]
async fn files_are_names_below_a_directory() {
    let sim = started().await;
    let client = client(&sim);
    let names = |path: &'static str| {
        let client = client.clone();
        async move { client.get(&format!("{REPO}/files{path}")).await.json()["values"].clone() }
    };
    assert_eq!(names("").await, json!(["README.md", "src/a.txt", "src/deep/b.txt"]));
    assert_eq!(names("/src").await, json!(["a.txt", "deep/b.txt"]));
    assert_eq!(names("/src/deep").await, json!(["b.txt"]));
    assert_eq!(client.get(&format!("{REPO}/files/README.md")).await.status, 400);
    assert_eq!(client.get(&format!("{REPO}/files/nope")).await.status, 404);
}

#[tokio::test]
async fn browse_pages_lines_and_nests_directories() {
    let sim = started().await;
    let client = client(&sim);
    let lines = client.get(&format!("{REPO}/browse/src/a.txt?start=1&limit=1")).await.json();
    assert_eq!(lines["lines"], json!([{ "text": "two" }]));
    assert_eq!([&lines["isLastPage"], &lines["nextPageStart"]], [&json!(false), &json!(2)]);
    let directory = client.get(&format!("{REPO}/browse/src")).await.json();
    assert_eq!(directory["path"]["toString"], "src");
    let children = directory["children"]["values"].as_array().unwrap();
    let kinds: Vec<(&str, &str)> = children
        .iter()
        .map(|child| (child["path"]["toString"].as_str().unwrap(), child["type"].as_str().unwrap()))
        .collect();
    assert_eq!(kinds, [("deep", "DIRECTORY"), ("a.txt", "FILE")]);
    assert_eq!((&children[1]["size"], children[0].get("size")), (&json!(14), None));
    assert_eq!(
        client.get(&format!("{REPO}/browse/src?type=true")).await.json(),
        json!({ "type": "DIRECTORY" })
    );
    assert_eq!(
        client.get(&format!("{REPO}/browse/src/a.txt?type=true")).await.json(),
        json!({ "type": "FILE" })
    );
    assert_eq!(client.get(&format!("{REPO}/browse/src/a.txt?size=true")).await.json(), json!({ "size": 14 }));
    assert!(
        client.get(&format!("{REPO}/browse/src/a.txt?blame=true&noContent=true")).await.json().is_array()
    );
    assert_eq!(client.get(&format!("{REPO}/browse")).await.json()["children"]["size"], 2);
}

#[tokio::test]
async fn last_modified_names_the_commit_of_each_entry() {
    let sim = started().await;
    let client = client(&sim);
    let first = sim.revision("DEMO/web", "main").unwrap().unwrap();
    let second = sim.push_commit("DEMO/web", "main", "Deep", &[("src/deep/b.txt", Some(b"c\n"))]).unwrap();
    let told = client.get(&format!("{REPO}/last-modified/src?at=main")).await.json();
    assert_eq!(told["files"]["a.txt"]["id"], first);
    assert_eq!(told["files"]["deep"]["id"], second);
    assert_eq!(told["latestCommit"]["message"], "Deep");
}

#[tokio::test]
async fn archives_come_in_the_formats_that_are_known() {
    let sim = started().await;
    let client = client(&sim);
    let zip = client.get(&format!("{REPO}/archive?at=main")).await;
    assert_eq!((&zip.body[..2], zip.header("content-type")), (&b"PK"[..], Some("application/zip")));
    let gz = client.get(&format!("{REPO}/archive?format=tar.gz")).await;
    assert_eq!(&gz.body[..2], [0x1f, 0x8b]);
    let head = sim.revision("DEMO/web", "main").unwrap().unwrap();
    let tar = client
        .get(&format!("{REPO}/archive?format=tar&at={head}&path=src/deep&path=README.md&prefix=top"))
        .await;
    let text = String::from_utf8_lossy(&tar.body).into_owned();
    assert!(text.contains("top/src/deep/b.txt") && text.contains("top/README.md") && !text.contains("a.txt"));
    let disposition = tar.header("content-disposition").unwrap();
    assert!(disposition.contains(&format!("web-{head}.tar")), "{disposition}");
    assert_eq!(client.get(&format!("{REPO}/archive?format=rar")).await.status, 400);
    assert_eq!(client.get(&format!("{REPO}/archive?at=nope")).await.status, 404);
}

fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let part = |(name, value): &(&str, &str)| {
        let file = if *name == "content" { "; filename=\"blob\"" } else { "" };
        format!("--xx\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n")
    };
    (fields.iter().map(part).collect::<String>() + "--xx--\r\n").into_bytes()
}

#[tokio::test]
async fn one_file_is_written_by_a_form_against_its_last_commit() {
    let sim = BitbucketDcSim::builder().files_need_no_check().start().await.unwrap();
    fill(&sim);
    let mut client = client(&sim);
    let first = sim.revision("DEMO/web", "main").unwrap().unwrap();
    let path = format!("{REPO}/browse/src/a.txt");
    let kind = Some("multipart/form-data; boundary=xx");
    let edit =
        form(&[("branch", "main"), ("content", "new\n"), ("message", "Edit"), ("sourceCommitId", &first)]);
    assert_eq!(client.send("PUT", &path, kind, &edit).await.unwrap().status, 403, "XSRF");
    client.headers.push(("X-Atlassian-Token".to_owned(), "no-check".to_owned()));
    assert_eq!(client.send("PUT", &path, Some("application/json"), b"{}").await.unwrap().status, 415);
    let made = client.send("PUT", &path, kind, &edit).await.unwrap();
    assert_eq!((made.status, &made.json()["message"]), (200, &json!("Edit")));
    assert_eq!(sim.file("DEMO/web", "main", "src/a.txt").unwrap().unwrap(), b"new\n");
    for (fields, status, why) in [
        (
            vec![("branch", "main"), ("content", "newer\n"), ("sourceCommitId", first.as_str())],
            409,
            "it has changed",
        ),
        (vec![("branch", "main"), ("content", "new\n")], 409, "it is there"),
        (vec![("branch", "main"), ("content", "new\n"), ("sourceCommitId", "main")], 409, "nothing changes"),
        (vec![("content", "x")], 400, "no branch"),
        (vec![("branch", "main")], 400, "no content"),
    ] {
        assert_eq!(client.send("PUT", &path, kind, &form(&fields)).await.unwrap().status, status, "{why}");
    }
    let fields = [("branch", "topic"), ("sourceBranch", "main"), ("content", "x"), ("message", "New")];
    let new = client.send("PUT", &format!("{REPO}/browse/new.txt"), kind, &form(&fields)).await.unwrap();
    assert_eq!(new.json()["parents"][0]["id"], made.json()["id"]);
    let spec = TokenSpec::new(TokenKind::Project, "ci").on("DEMO").permissions([Permission::RepoWrite]);
    let mut project = bearer(&sim, &sim.issue_token(&spec).unwrap().token);
    project.headers.push(("X-Atlassian-Token".to_owned(), "no-check".to_owned()));
    let fields = [("branch", "main"), ("content", "x")];
    let refused = project.send("PUT", &format!("{REPO}/browse/b"), kind, &form(&fields)).await.unwrap();
    assert_eq!(refused.status, 403, "no user stands behind the token");
    let mut reader = member(&sim, "ann", "DEMO/web", Role::Read);
    reader.headers.push(("X-Atlassian-Token".to_owned(), "no-check".to_owned()));
    let refused = reader.send("PUT", &format!("{REPO}/browse/b"), kind, &form(&fields)).await.unwrap();
    assert_eq!(refused.status, 401);
}

async fn with_history() -> (BitbucketDcSim, [String; 4]) {
    let sim = started().await;
    let first = sim.revision("DEMO/web", "main").unwrap().unwrap();
    let left = sim
        .push_commit(
            "DEMO/web",
            "topic",
            "Left",
            &[("src/a.txt", Some(b"one\n2\nthree\n")), ("left", Some(b"l\n"))],
        )
        .unwrap();
    let right = sim.push_commit("DEMO/web", "main", "Right", &[("right", Some(b"r\n"))]).unwrap();
    sim.open_pull_request("DEMO/web", "ann", "topic", "main", "Both").unwrap();
    sim.merge_pull_request("DEMO/web", 1, "ann").unwrap();
    let merge = sim.revision("DEMO/web", "main").unwrap().unwrap();
    (sim, [first, left, right, merge])
}

#[tokio::test]
async fn the_log_has_ranges_paths_and_merges() {
    let (sim, [first, left, right, merge]) = with_history().await;
    let client = client(&sim);
    let ids = |query: String| {
        let client = client.clone();
        async move {
            let mut ids = column(&client.get(&format!("{REPO}/commits?{query}")).await.json(), "/id");
            ids.sort();
            ids
        }
    };
    let sorted = |ids: &[&String]| {
        let mut ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(String::new()).await, sorted(&[&first, &left, &right, &merge]));
    assert_eq!(ids(format!("since={right}&until=main")).await, sorted(&[&left, &merge]));
    assert_eq!(ids("merges=only".to_owned()).await, sorted(&[&merge]));
    assert_eq!(ids("merges=exclude&path=right".to_owned()).await, sorted(&[&right]));
    assert_eq!(ids("until=nope&ignoreMissing=true".to_owned()).await, [""; 0]);
    assert_eq!(client.get(&format!("{REPO}/commits?until=nope")).await.status, 404);
    let one = client.get(&format!("{REPO}/commits/{left}")).await.json();
    assert_eq!((&one["displayId"], &one["message"]), (&json!(left[..11]), &json!("Left")));
    assert_eq!(one["author"]["emailAddress"], "someone-else@example.com");
    assert_eq!(one["author"]["slug"], "someone-else", "whose address is known is shown as a user");
    assert_eq!(one["parents"], json!([{ "id": first, "displayId": first[..11] }]));
    assert!(one["authorTimestamp"].as_i64().unwrap() > 1_700_000_000_000);
    assert_eq!(client.get(&format!("{REPO}/commits/main")).await.status, 404, "names are not ids");
    let counts = client.get(&format!("{REPO}/commits?withCounts=true&limit=1")).await.json();
    assert_eq!(counts["totalCount"], 4);
    let pulls = client.get(&format!("{REPO}/commits/{left}/pull-requests")).await.json();
    assert_eq!(column(&pulls, "/title"), ["Both"]);
}

#[tokio::test]
async fn comparing_is_from_what_is_new_to_what_it_comes_on_top_of() {
    let sim = started().await;
    let client = client(&sim);
    let left = sim.push_commit("DEMO/web", "topic", "Left", &[("left", Some(b"l\n"))]).unwrap();
    let right = sim.push_commit("DEMO/web", "main", "Right", &[("right", Some(b"r\n"))]).unwrap();
    let ids = |query: &'static str| {
        let client = client.clone();
        async move { column(&client.get(&format!("{REPO}/compare/commits?{query}")).await.json(), "/id") }
    };
    assert_eq!(ids("from=topic&to=main").await, std::slice::from_ref(&left));
    assert_eq!(ids("from=main&to=topic").await, [right]);
    assert_eq!(ids("from=topic").await, [left], "the default branch is what is left out");
    let changes = client.get(&format!("{REPO}/compare/changes?from=topic&to=main")).await.json();
    assert_eq!(column(&changes, "/path/toString"), ["left"]);
    let diff = client.get(&format!("{REPO}/compare/diff?from=topic&to=main")).await.json();
    assert_eq!(diff["diffs"][0]["destination"]["toString"], "left");
    let one = client.get(&format!("{REPO}/compare/diff/left?from=topic&to=main")).await.json();
    assert_eq!(one["diffs"].as_array().unwrap().len(), 1);
    assert_eq!(client.get(&format!("{REPO}/compare/commits?from=nope&to=main")).await.status, 404);
    sim.fork_repository("DEMO/web", "FORKS/web").unwrap();
    sim.add_member("FORKS", "scm", Role::Read).unwrap();
    let far = sim.push_commit("FORKS/web", "far", "Far", &[("far", Some(b"f\n"))]).unwrap();
    assert_eq!(ids("from=refs/heads/far&to=main&fromRepo=FORKS/web").await, [far]);
}

#[tokio::test]
async fn changes_and_diffs_tell_kinds_modes_and_lines() {
    let sim = started().await;
    let client = client(&sim);
    let old = sim.revision("DEMO/web", "main").unwrap().unwrap();
    let moved = b"one\ntwo\nthree\n".as_slice();
    let files = [
        ("src/a.txt", None),
        ("src/moved.txt", Some(moved)),
        ("README.md", Some(b"# web\n\nMore.\n".as_slice())),
        ("src/deep/b.txt", None),
        ("data.bin", Some(b"\0\x01".as_slice())),
    ];
    let new = sim.push_commit("DEMO/web", "main", "Much", &files).unwrap();
    let page = client.get(&format!("{REPO}/commits/{new}/changes")).await.json();
    assert_eq!((&page["fromHash"], &page["toHash"]), (&json!(old), &json!(new)));
    let kinds: Vec<(String, String)> =
        column(&page, "/path/toString").into_iter().zip(column(&page, "/type")).collect();
    let expected = [
        ("README.md", "MODIFY"),
        ("data.bin", "ADD"),
        ("src/deep/b.txt", "DELETE"),
        ("src/moved.txt", "MOVE"),
    ];
    assert_eq!(kinds, expected.map(|(path, kind)| (path.to_owned(), kind.to_owned())));
    let rename = &page["values"][3];
    assert_eq!(
        (&rename["srcPath"]["toString"], &rename["percentUnchanged"]),
        (&json!("src/a.txt"), &json!(100))
    );
    assert_eq!(client.get(&format!("{REPO}/changes?until={new}&since={old}")).await.json()["size"], 4);
    let diff = client.get(&format!("{REPO}/commits/{new}/diff?contextLines=1")).await.json();
    let readme = &diff["diffs"][0];
    assert_eq!(readme["hunks"][0]["segments"][1]["type"], "ADDED");
    assert_eq!(
        readme["hunks"][0]["segments"][1]["lines"][1],
        json!({ "source": 2, "destination": 3, "line": "More.", "truncated": false })
    );
    assert_eq!((&diff["diffs"][1]["binary"], &diff["diffs"][1]["source"]), (&json!(true), &Value::Null));
    assert_eq!((&diff["truncated"], &diff["contextLines"]), (&json!(false), &json!(1)));
    let path = format!("{REPO}/diff/README.md?until={new}&since={old}");
    assert_eq!(client.get(&path).await.json()["diffs"].as_array().unwrap().len(), 1);
    let mut text = client.clone();
    text.headers.push(("Accept".to_owned(), "text/plain".to_owned()));
    let patch = text.get(&path).await.text();
    assert!(
        patch.starts_with("diff --git a/README.md b/README.md\n") && patch.contains("\n+More.\n"),
        "{patch}"
    );
}

#[tokio::test]
async fn long_diffs_are_cut_and_say_so() {
    let sim = BitbucketDcSim::builder().max_diff_lines(5).start().await.unwrap();
    sim.create_repository("DEMO/web", &RepositorySpec::new()).unwrap();
    let many: String = (0..20).map(|n| format!("{n}\n")).collect();
    let new = sim.push_commit("DEMO/web", "main", "Many", &[("many", Some(many.as_bytes()))]).unwrap();
    let diff = basic(&sim, "admin", "admin").get(&format!("{REPO}/commits/{new}/diff")).await.json();
    assert_eq!((&diff["truncated"], &diff["diffs"][0]["truncated"]), (&json!(true), &json!(true)));
    let lines = diff["diffs"][0]["hunks"][0]["segments"][0]["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 5);
}

#[tokio::test]
async fn white_space_can_be_left_out_of_diffs() {
    let sim = started().await;
    let client = client(&sim);
    let files = [
        ("src/a.txt", Some(b"one\n  two\nthree\n".as_slice())),
        ("README.md", Some(b"# other\n".as_slice())),
    ];
    let new = sim.push_commit("DEMO/web", "main", "Indent", &files).unwrap();
    let hunks = |query: &'static str| {
        let (client, path) = (client.clone(), format!("{REPO}/commits/{new}/diff{query}"));
        async move {
            let diff = client.get(&path).await.json();
            let of = |diff: &Value| diff["hunks"].as_array().unwrap().len();
            diff["diffs"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
        }
    };
    assert_eq!(hunks("").await, [1, 1]);
    assert_eq!(hunks("?whitespace=ignore-all").await, [1, 0]);
}
