use std::process::Output;

use scm_testkit::sim::gitlab::{GitLabSim, Role, TokenKind, TokenSpec, Visibility};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::{json, run, text};

const CONFORMANCE: &str = env!("CARGO_BIN_EXE_conformance");

#[tokio::test]
async fn a_chosen_group_runs_and_is_reported() {
    let chosen = ["--filter", "connection.", "--without", "_is_named", "--context-path", "/gitlab"];
    let (exit, report) = json(&run(CONFORMANCE, &[&chosen[..], &["--json"]].concat()).await);
    assert_eq!(exit, Some(0), "{report}");
    assert_eq!((&report["ok"], &report["provider"]), (&Value::Bool(true), &"gitlab".into()));
    let cases = report["cases"].as_array().unwrap();
    assert!(cases.iter().all(|case| case["outcome"] == "passed" && case["expected"] == true), "{report}");
    assert!(cases.iter().any(|case| case["name"] == "connection.identity_names_the_user"), "{report}");
    assert!(!cases.iter().any(|case| case["name"] == "connection.a_missing_scope_is_named"), "{report}");
    assert_eq!((&report["unknown_parameters"], &report["judge"]), (&Value::Array(vec![]), &Value::Null));

    let output = run(CONFORMANCE, &chosen).await;
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains(" connection ") && shown.contains(" together "), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no colours where there is no terminal");
}

#[tokio::test]
async fn the_list_names_cases_operations_and_capabilities() {
    let (exit, list) = json(&run(CONFORMANCE, &["--list", "--json"]).await);
    assert_eq!(exit, Some(0));
    let cases = list["cases"].as_array().unwrap();
    let case = cases.iter().find(|case| case["name"] == "pull_requests.create_takes_labels").unwrap();
    assert_eq!(case["methods"][0], "PullRequests::create_pull_request");
    assert_eq!(case["needs"], "pull_request_labels");

    let output = run(CONFORMANCE, &["--list", "--filter", "branches."]).await;
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("Branches::create_branch") && !shown.contains("webhooks."), "{shown}");
}

/// Answers every request with a complaint, and its URL.
async fn complaining() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let word = r#"{"title": "Invalid request", "validation": [{"location": ["query", "x"], "message": "must be y"}]}"#;
        let answer = format!(
            "HTTP/1.1 422 Unprocessable Entity\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{word}",
            word.len()
        );
        while let Ok((mut stream, _)) = listener.accept().await {
            // One read holds a whole GET.
            let _ = stream.read(&mut [0; 8192]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

#[tokio::test]
async fn a_complaint_of_the_judge_fails_the_run_unless_it_is_known() {
    let judge = complaining().await;
    let through = ["--json", "--listen", "127.0.0.1:0", "--via", &judge, "--filter", "connection.identity"];
    let (exit, report) = json(&run(CONFORMANCE, &through).await);
    assert_eq!(exit, Some(1));
    let first = &report["judge"]["findings"][0];
    assert_eq!((&first["status"], &first["excepted"]), (&422.into(), &Value::Bool(false)), "{report}");
    assert_eq!(first["complaints"][0], "query.x: must be y");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known.toml");
    let table = |path: &str| {
        format!(
            "[[exception]]\nrequest = \"GET /api/v4/{path}\"\ncomplaint = \"query.x\"\nreason = \"as a test\"\n"
        )
    };
    // What the case and the capabilities ask; the server answers then, and the case passes.
    let asked = ["user", "metadata", "version", "personal_access_tokens/*"];
    let known = |paths: &[&str]| paths.iter().copied().map(table).collect::<String>();
    std::fs::write(&file, known(&asked)).unwrap();
    let with_known = [&through[..], &["--exceptions", text(&file)]].concat();
    let (_, report) = json(&run(CONFORMANCE, &with_known).await);
    let findings = report["judge"]["findings"].as_array().unwrap();
    assert!(!findings.is_empty() && findings.iter().all(|finding| finding["excepted"] == true), "{report}");
    assert_eq!(report["cases"][0]["outcome"], "passed");

    let stale: Vec<_> = report["judge"]["stale_exceptions"].as_array().unwrap().iter().collect();
    let needed: Vec<_> = asked
        .into_iter()
        .filter(|path| !stale.iter().any(|stale| stale["request"] == format!("GET /api/v4/{path}")))
        .collect();
    std::fs::write(&file, known(&needed)).unwrap();
    assert_eq!(json(&run(CONFORMANCE, &with_known).await).0, Some(0));

    std::fs::write(&file, known(&[&needed[..], &["runners"]].concat())).unwrap();
    let (exit, report) = json(&run(CONFORMANCE, &with_known).await);
    assert_eq!(exit, Some(1));
    assert_eq!(report["judge"]["stale_exceptions"][0]["request"], "GET /api/v4/runners");
}

/// A server that others use too: a group, its owner, and a user to test with.
async fn server() -> (GitLabSim, [(&'static str, String); 4]) {
    let sim = GitLabSim::builder().context_path("/gitlab").start().await.unwrap();
    sim.create_group("team/live", Visibility::Private).unwrap();
    let [owner, user] = ["olga", "sue"].map(|name| {
        sim.issue_token(&TokenSpec::new(TokenKind::Personal, name).scopes(["api"])).unwrap().token
    });
    sim.add_member("team/live", "olga", Role::Owner).unwrap();
    let variables = [
        ("SCM_CONFORMANCE_URL", sim.url()),
        ("SCM_CONFORMANCE_TOKEN", user),
        ("SCM_CONFORMANCE_OWNER_TOKEN", owner),
        ("SCM_CONFORMANCE_GROUP", "team/live".to_owned()),
    ];
    (sim, variables)
}

async fn live(variables: &[(&str, String)], args: &[&str]) -> Output {
    let mut command = Command::new(CONFORMANCE);
    command.arg("--live").args(args).envs(variables.iter().map(|(name, value)| (name, value)));
    command.kill_on_drop(true).output().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_server_is_left_as_it_was() {
    let (sim, variables) = server().await;
    let output = live(&variables, &["--json", "--filter", "pull_requests."]).await;
    let (exit, report) = json(&output);
    assert_eq!(exit, Some(0), "{report:#}");
    let cases = report["cases"].as_array().unwrap();
    let ended = |word: &str| cases.iter().filter(|case| case["outcome"] == word).collect::<Vec<_>>();
    assert!(ended("passed").len() > 15 && ended("failed").is_empty(), "{report:#}");
    for case in ended("skipped") {
        let why = case["text"].as_str().unwrap();
        assert!(why.starts_with("this fixture ") || why.starts_with("an owner makes "), "{case}");
    }
    assert_eq!((sim.repositories(), report["judge"].clone()), (vec![], Value::Null));
    let groups = sim.requests().into_iter().filter(|request| request.route.as_deref() == Some("/groups/:id"));
    assert_eq!(groups.filter(|request| request.method == "DELETE").count(), 1);
}

#[tokio::test]
async fn what_a_live_run_lacks_is_named() {
    let (sim, variables) = server().await;
    for (name, _) in &variables {
        let others: Vec<_> = variables.iter().filter(|(other, _)| other != name).cloned().collect();
        let output = live(&others, &["--filter", "branches."]).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.contains(name)), (Some(2), true), "{said}");
    }
    let mut wrong = variables.clone();
    wrong[2].1 = wrong[1].1.clone();
    let output = live(&wrong, &["--filter", "branches."]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("GET /groups/team%2Flive: 404") && !said.contains(&wrong[1].1), "{said}");
    assert_eq!(sim.repositories(), [""; 0]);
}

#[tokio::test]
async fn wrong_usage_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bare.toml");
    std::fs::write(&file, "[[exception]]\nrequest = \"GET /x\"\ncomplaint = \"y\"\nreason = \" \"\n")
        .unwrap();
    let via = ["--listen", "127.0.0.1:0", "--via", "http://127.0.0.1:9"];
    for (args, words) in [
        (vec!["--filter", "no such case"], "no case"),
        (vec!["--via", "http://127.0.0.1:9"], "--listen"),
        (vec!["--exceptions", "x.toml"], "--via"),
        ([&via[..], &["--exceptions", "/nonexistent/x.toml"]].concat(), "x.toml"),
        ([&via[..], &["--exceptions", text(&file)]].concat(), "needs a reason"),
        (vec!["--context-path", "gitlab"], "start with a slash"),
        ([&["--live"], &via[..]].concat(), "cannot be used with"),
    ] {
        let output = run(CONFORMANCE, &args).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(words) && output.stdout.is_empty(), "{args:?}: {said}");
    }
}
