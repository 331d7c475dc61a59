use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

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
    ] {
        let output = run(CONFORMANCE, &args).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(words) && output.stdout.is_empty(), "{args:?}: {said}");
    }
}
