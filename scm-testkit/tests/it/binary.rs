//! The program `scm-sim`.

use std::process::Stdio;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scm-sim"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn it_announces_itself_on_one_line_and_stops_when_told() {
    let arguments = [
        "gitlab",
        "--context-path",
        "/gitlab",
        "--seed",
        "demo",
        "--projects",
        "3",
        "--token",
        "group:bot:api+read_repository:2127-01-01:developer",
        "--token",
        "personal:foreign:api::none",
        "--token",
        "personal:late:api:2020-01-01:developer",
    ];
    let mut child = program(&arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(line["provider"], "gitlab");
    assert!(line["url"].as_str().unwrap().ends_with("/gitlab"));
    assert_eq!(line["repositories"][0], "demo/web");
    let tokens = line["tokens"].as_array().unwrap();
    let summary: Vec<(&str, &str)> = tokens
        .iter()
        .map(|token| (token["kind"].as_str().unwrap(), token["role"].as_str().unwrap()))
        .collect();
    assert_eq!(summary, [("group", "developer"), ("personal", "none"), ("personal", "developer")]);
    assert_eq!(tokens[0]["expires_at"], "2127-01-01");
    assert_eq!(tokens[0]["scopes"], serde_json::json!(["api", "read_repository"]));
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert!(child.wait().await.unwrap().success());
    assert_eq!(lines.next_line().await.unwrap(), None, "one line only");
}

#[tokio::test]
async fn mistakes_are_explained() {
    for (arguments, words) in [
        (vec!["bitbucket-dc", "--token", "user:ann:api"], "not a permission"),
        (vec!["bitbucket-dc", "--repo", "a/b/c=/tmp"], "not KEY/slug"),
        (vec!["gitlab", "--repo", "nonsense"], "NAME=PATH"),
        (vec!["gitlab", "--token", "king:arthur:api"], "not personal, group, project or service_account"),
        (vec!["gitlab", "--context-path", "x"], "must start with a slash"),
    ] {
        let output = program(&arguments).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(words), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty());
    }
}
