use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::doctor::DOCTOR;
use super::{Setup, json, run, text};

async fn route(args: &[&str]) -> (Option<i32>, String, String) {
    let output = run(DOCTOR, &[&["route"], args].concat()).await;
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, err)
}

/// Answers to these lines, with the exit code and what was complained of.
async fn lines(input: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let mut child = Command::new(DOCTOR)
        .args(["route", "--stdin"])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, err)
}

#[tokio::test]
async fn each_url_gets_its_way_and_the_reason() {
    let list = ".company.com,10.0.0.0/8 http://oops";
    let proxy = "http://svc:hunter2@proxy.company.com:3128";
    let (code, out, err) = route(&[
        "--proxy",
        proxy,
        "--no-proxy",
        list,
        "https://gitlab.company.com/group",
        "https://svc:hunter2@gitlab.com",
        "http://10.1.2.3:7990",
        "http://[::1%25lo]/",
    ])
    .await;
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        out,
        "direct  https://gitlab.company.com/group  entry `.company.com`\n\
         proxy   https://[redacted]@gitlab.com  no entry matches\n\
         direct  http://10.1.2.3:7990  entry `10.0.0.0/8`\n\
         direct  http://[::1%25lo]/  loopback is always direct\n"
    );
    assert_eq!(err, "warning: --no-proxy: an entry is ignored: `http://oops`: a URL; give the host alone\n");
    let (_, out, _) = route(&["--proxy", proxy, "--proxy-loopback", "http://localhost"]).await;
    assert_eq!(out, "proxy   http://localhost  no entry matches\n");
}

#[tokio::test]
async fn what_cannot_be_answered_exits_with_2() {
    let (code, out, _) = route(&["--no-proxy", "", "gitlab.company.com", "https://gitlab.com"]).await;
    assert_eq!(code, Some(2));
    assert_eq!(
        out,
        "refused gitlab.company.com  the URL has no valid host\nproxy   https://gitlab.com  no entry matches\n"
    );
    for (args, words) in [
        (&["--proxy", "hunter2.company.com:3128", "https://gitlab.com"][..], "--proxy: a proxy's URL begins"),
        (&["--proxy", "socks5://u:hunter2@p:1080", "https://gitlab.com"], "--proxy: SOCKS"),
        (&[], "<URL>"),
        (&["--stdin", "https://gitlab.com"], "cannot be used with"),
        (&["--stdin", "--no-proxy", ".svc"], "cannot be used with"),
    ] {
        let (code, out, err) = route(args).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        assert!(err.contains(words) && !err.contains("hunter2"), "{err}");
    }
    let (code, out, err) = lines("{\"no_proxy\":\"\",\"url\":\"http://a.test\"}\n{\"url\":5}\n", &[]).await;
    assert_eq!((code, out.as_str()), (Some(2), "{\"because\":\"no entry matches\",\"route\":\"proxy\"}\n"));
    assert!(err.contains("standard input, line 2: not a JSON object"), "{err}");
}

#[tokio::test]
async fn lines_are_answered_by_lines() {
    let input = r#"{"no_proxy":".svc","url":"https://git.default.svc/"}
{"no_proxy":".svc","url":"https://gitlab.com/"}

{"no_proxy":"*:8443","url":"https://gitlab.com:8443/"}
{"no_proxy":"*","url":"not a URL"}
{"no_proxy":"","url":"http://127.0.0.1/"}
"#;
    let (code, out, err) = lines(input, &[]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(
        out,
        "{\"because\":\"entry `.svc`\",\"route\":\"direct\"}\n\
         {\"because\":\"no entry matches\",\"route\":\"proxy\"}\n\
         {\"because\":\"entry `*:8443`\",\"route\":\"direct\"}\n\
         {\"because\":\"the URL has no valid host\",\"route\":\"refused\"}\n\
         {\"because\":\"loopback is always direct\",\"route\":\"direct\"}\n"
    );
    let (_, out, _) = lines("{\"no_proxy\":\"\",\"url\":\"http://127.0.0.1/\"}", &["--proxy-loopback"]).await;
    assert_eq!(out, "{\"because\":\"no entry matches\",\"route\":\"proxy\"}\n");
}

#[tokio::test]
async fn the_help_teaches_the_rules() {
    let (code, out, _) = route(&["--help"]).await;
    assert_eq!(code, Some(0));
    for words in ["every name under it", "--stdin", "Examples:", "Exit codes:"] {
        assert!(out.contains(words), "{words} in {out}");
    }
}

#[tokio::test]
async fn a_malformed_entry_of_a_connection_is_told_by_name_at_the_start() {
    let setup = Setup::new("http://scm-no-such-host.invalid", "glpat-any");
    let network = "route = \"proxy\"\nnetwork = { http_proxy = \"http://127.0.0.1:1\", no_proxy = \".svc;.local,10.0.*\" }\n";
    let config = std::fs::read_to_string(&setup.config).unwrap() + network;
    std::fs::write(&setup.config, config).unwrap();
    let output = run(DOCTOR, &["--config", text(&setup.config)]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with(
            "warning: connection 'acme': no_proxy: an entry is ignored: `.svc;.local`: entries are separated by commas or \
             white space\nwarning: connection 'acme': no_proxy: an entry is ignored: `10.0.*`: "
        ),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1));
    let output = run(DOCTOR, &["--json", "--config", text(&setup.config)]).await;
    let (_, report) = json(&output);
    assert_eq!(report["connections"][0]["ignored_no_proxy"].as_array().unwrap().len(), 2);
    let output = run(env!("CARGO_BIN_EXE_onboard"), &["--config", text(&setup.config)]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("warning: connection 'acme': no_proxy: an entry is ignored: `.svc;.local`"),
        "{said}"
    );
}

#[tokio::test]
async fn a_connection_that_is_not_chosen_stands_in_nobodys_way() {
    let setup = Setup::new("http://127.0.0.1:1", "glpat-any");
    let other =
        "[[connection]]\nname = \"broken\"\nprovider = \"gitlab\"\ntoken = { file = \"gone.token\" }\n";
    let config = std::fs::read_to_string(&setup.config).unwrap() + other;
    std::fs::write(&setup.config, config).unwrap();
    for (chosen, code) in [("acme", 1), ("broken", 2)] {
        let output = run(DOCTOR, &["--config", text(&setup.config), "--connection", chosen]).await;
        assert_eq!(output.status.code(), Some(code), "{chosen}");
    }
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_and_the_next_line_answered() {
    let asked =
        "{\"no_proxy\":\"\",\"url\":\"http://u]@[::1\"}\n{\"no_proxy\":\"*\",\"url\":\"http://git.test\"}\n";
    let (code, out, _) = lines(asked, &[]).await;
    assert_eq!(code, Some(0));
    let routes: Vec<_> =
        out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect();
    assert_eq!((routes[0]["route"].as_str(), routes[1]["route"].as_str()), (Some("refused"), Some("direct")));
}
