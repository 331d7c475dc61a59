//! The program: its settings, its lines, and its end.

use std::sync::Arc;

use scm_core::{Body, Code};
use scm_testkit::fault::socket::{Script, ScriptedServer, closed_port};
use tokio::sync::Semaphore;

use crate::agent_world::{Files, Program, TlsHub, ask};
use crate::world::AGENT_KEY;

async fn fails(args: &[&str], vars: &[(&str, &str)]) -> (Option<i32>, String) {
    let (status, out, log) = Program::start(args, vars).end().await;
    assert_eq!(out, "");
    assert!(!log.contains("panicked") && !log.contains("stack backtrace"), "{log}");
    (status.code(), log)
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_named_with_an_example() {
    let files = Files::new();
    let (key, empty) = (files.key(), files.write("empty", ""));
    let odd = files.write("odd.toml", "hub = \"https://hub.test\"\nacessKey = \"scmhub-hunter2\"\n");
    let torn = files.write("torn.toml", "accessKey = \"scmhub-hunter2\nhub =");
    let typed = files.write("typed.toml", "accessKey = { value = \"scmhub-hunter2\" }");
    let ca = files.write("ca.pem", "no certificate");
    let hub = ["--hub", "https://hub.test"];
    let keyed = ["--hub", "https://hub.test", "--access-key-file", &key];
    let allowed = [&keyed[..], &["--allow", "https://git.test=gitlab"]].concat();
    let with = |more: &[&'static str]| [&allowed[..], more].concat();
    for (args, words) in [
        (vec![], "hub is missing: "),
        (vec![], "--hub https://hub.example.com, or in the file: hub = \"https://hub.example.com\""),
        (vec!["--hub", "hub.test"], "hub is no URL; it is written like https://hub.example.com"),
        (vec!["--hub", "http://hub.test"], "hub is http://"),
        (vec!["--hub", "http://hub.test"], "--danger-plain-http"),
        (hub.to_vec(), "accessKey is missing: "),
        (hub.to_vec(), "accessKey = { file = \"/etc/scm-agent/accessKey\" }"),
        (
            [&hub[..], &["--access-key-file", "/nowhere/key"]].concat(),
            "accessKey: the secret file /nowhere/key cannot be read",
        ),
        ([&hub[..], &["--access-key-file", &empty]].concat(), "empty is empty"),
        (keyed.to_vec(), "allow is missing: "),
        (keyed.to_vec(), "allow = [\"https://gitlab.company.com=gitlab\"]"),
        (
            [&keyed[..], &["--allow", "git.test=gitlab"]].concat(),
            "allow: the allow entry \"git.test=gitlab\" does not start with an origin",
        ),
        (
            [&keyed[..], &["--allow", "gitlab"]].concat(),
            "it is written like https://gitlab.company.com=gitlab",
        ),
        (with(&["--allow-address", "localhost"]), "it is written like 127.0.0.1"),
        (with(&["--proxy", "proxy.test:3128"]), "proxy.httpProxy: a proxy's URL begins with http://"),
        (with(&["--credential", "https://other.test=/nowhere"]), "credential: the secret file /nowhere"),
        (with(&["--health-listen", "8080"]), "healthListen is an address and a port"),
        (with(&["--tunnels", "0"]), "at least one tunnel"),
        ([&allowed[..], &["--ca-file", &ca]].concat(), "customCaCert: CA certificates: "),
        (vec!["--config", "/nowhere/agent.toml"], "the configuration /nowhere/agent.toml cannot be read"),
        (vec!["--config", &odd], "odd.toml, line 2: unknown field `acessKey`"),
        (vec!["--config", &torn], "torn.toml, line 1: not valid TOML"),
        (vec!["--config", &typed], "typed.toml, line 1: expected a text, or { file = \"...\" }"),
    ] {
        for command in ["run", "check"] {
            let (code, log) = fails(&[&[command], &args[..]].concat(), &[]).await;
            assert_eq!(code, Some(3), "{args:?}: {log}");
            assert!(log.starts_with("scm-agent: ") && log.contains(words), "{args:?}: {log}");
            assert_eq!(log.lines().count(), 1, "{log}");
            assert!(!log.contains("hunter2"), "{log}");
        }
    }
    let other = files.write("token", "t");
    let credential = format!("https://other.test={other}");
    let (code, log) = fails(&[&["run"], &allowed[..], &["--credential", &credential]].concat(), &[]).await;
    assert!(code == Some(3) && log.contains("https://other.test, which is not on the allow list"), "{log}");
    assert_eq!(fails(&["run", "--nonsense"], &[]).await.0, Some(2));
}

#[tokio::test]
async fn flags_win_over_variables_and_variables_over_the_file() {
    let (hub, files) = (TlsHub::start().await, Files::new());
    let closed = closed_port().await.unwrap();
    files.write("ca.pem", &hub.pki.ca);
    files.write("wrong", "scmhub-wrong");
    let config = files.write(
        "agent.toml",
        &format!(
            r#"
            hub = "{}"
            accessKey = {{ file = "wrong" }}
            allow = ["https://of-the-file.test=gitlab"]
            tunnels = 3
            customCaCert = {{ file = "ca.pem" }}

            [proxy]
            httpsProxy = "http://{closed}"
            noProxy = "nothing.test"

            [tunnel]
            proxyLoopback = true
            proxy = {{ httpsProxy = "" }}
            "#,
            hub.url()
        ),
    );
    let vars = [
        ("SCM_AGENT_CONFIG", config.as_str()),
        ("SCM_AGENT_ACCESS_KEY", AGENT_KEY),
        ("SCM_AGENT_ALLOW", "https://of-a-variable.test=gitlab  http://second.test=any"),
        ("SCM_AGENT_TUNNELS", "4"),
    ];
    let mut agent = Program::start(&["run", "--tunnels", "1"], &vars);
    agent.ready().await;
    hub.tunnels(1).await;
    let log = agent.log();
    assert!(log.contains("allowed: https://of-a-variable.test=gitlab http://second.test=any"), "{log}");
    // The way to the servers has the proxy that the tunnel does without.
    let request =
        http::Request::get("https://of-a-variable.test/api/v4/version").body(Body::empty()).unwrap();
    let error = hub.transport().send(request).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::ProxyUnreachable), "{error}");
    agent.terminate().await;
    assert_eq!(agent.end().await.0.code(), Some(0));
}

#[tokio::test]
async fn a_term_signal_lets_what_is_in_flight_finish_and_ends_well() {
    let (hub, files, gate) = (TlsHub::start().await, Files::new(), Arc::new(Semaphore::new(0)));
    let script = Script::new().request().gate(&gate).json(200, "\"late\"");
    let server = ScriptedServer::start([script]).await.unwrap();
    let health = closed_port().await.unwrap();
    let (allow, listen) = (format!("{}=any", server.url()), health.to_string());
    let mut agent = Program::run(&hub, &files, &["--allow", &allow, "--health-listen", &listen]);
    let ready = agent.ready().await;
    assert_eq!(ready.as_object().unwrap().keys().collect::<Vec<_>>(), ["agent", "hub"]);
    hub.tunnels(2).await;

    for (line, status) in
        [("GET /healthz", 200), ("HEAD /readyz", 200), ("GET /x", 404), ("POST /readyz", 405)]
    {
        assert_eq!(ask(health, line).await.0, status, "{line}");
    }
    let transport = hub.transport();
    let url = format!("{}/a/b?private=hunter2", server.url());
    let sent = tokio::spawn(async move {
        let request =
            http::Request::post(url).header("x-request-id", "id-7").body(Body::from("12345".to_owned()));
        transport.send(request.unwrap()).await.unwrap().into_body().collect(100).await
    });
    while server.requests().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let (_, metrics) = ask(health, "GET /metrics").await;
    for line in
        ["scm_agent_tunnels 2\n", "scm_agent_requests_in_flight 1\n", "scm_agent_tunnels_opened_total 2\n"]
    {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    agent.terminate().await;
    agent.says("stopping").await;
    hub.tunnels(1).await;
    assert_eq!(ask(health, "GET /readyz").await.0, 503);
    gate.add_permits(1);
    assert_eq!(sent.await.unwrap().unwrap(), "\"late\"");
    let (status, out, log) = agent.end().await;
    assert_eq!((status.code(), out.as_str()), (Some(0), ""), "{log}");
    assert!(log.trim_end().ends_with("stopped"), "{log}");
    // One line, with all that an audit needs and nothing that is secret.
    let lines: Vec<_> = log.lines().filter(|line| line.contains("scm_relay::audit")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    let origin = format!("origin=\"{}\"", server.url());
    for part in [
        "method=\"POST\"",
        &origin,
        "path=\"/a/b\"",
        "rule=\"any\"",
        "status=200",
        "bytes=6",
        "uploaded=5",
        "millis=",
        "request_id=\"id-7\"",
        "agent=",
    ] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
    assert!(!log.contains("hunter2") && !log.contains("12345"), "{log}");
}

#[tokio::test]
async fn requests_still_in_flight_after_the_grace_are_given_up() {
    let (hub, files) = (TlsHub::start().await, Files::new());
    let server = ScriptedServer::start([Script::new().request().stall()]).await.unwrap();
    let allow = format!("{}=any", server.url());
    let mut agent = Program::run(&hub, &files, &["--allow", &allow, "--grace", "0"]);
    agent.ready().await;
    let transport = hub.transport();
    let request = http::Request::post(server.url()).body(Body::from("x".to_owned())).unwrap();
    let sent = tokio::spawn(async move { transport.send(request).await });
    while server.requests().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    agent.terminate().await;
    let (status, _, log) = agent.end().await;
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("still in flight at the end of the grace"), "{log}");
    let error = sent.await.unwrap().unwrap_err();
    assert_eq!(error.delivery(), scm_core::Delivery::Unknown, "{error}");
}

#[tokio::test]
async fn a_log_for_machines_has_one_object_on_each_line_and_no_secret_at_any_level() {
    let (hub, files) = (TlsHub::start().await, Files::new());
    let server = ScriptedServer::start([Script::new().request().json(200, "{}")]).await.unwrap();
    let token = files.write("token", "held-hunter2");
    let (allow, held) = (format!("{}=any", server.url()), format!("{}={token}", server.url()));
    let (url, key, ca) = (hub.url(), files.key(), files.write("ca.pem", &hub.pki.ca));
    let args = [
        "run",
        "--hub",
        &url,
        "--access-key-file",
        &key,
        "--ca-file",
        &ca,
        "--allow",
        &allow,
        "--credential",
        &held,
        "--log-format",
        "json",
    ];
    let mut agent = Program::start(&args, &[("SCM_AGENT_LOG", "trace")]);
    agent.ready().await;
    let request = http::Request::get(format!("{}/x?a=query-hunter2", server.url()))
        .header("authorization", "Bearer caller-hunter2")
        .body(Body::from("body-hunter2".to_owned()));
    let answer = hub.transport().send(request.unwrap()).await.unwrap();
    assert_eq!(answer.into_body().collect(100).await.unwrap(), "{}");
    let log = agent.says("scm_relay::audit").await;
    agent.terminate().await;
    agent.end().await;
    let audit = log.lines().find(|line| line.contains("scm_relay::audit")).unwrap();
    let audit: serde_json::Value = serde_json::from_str(audit).unwrap();
    assert_eq!((audit["path"].as_str(), audit["status"].as_u64()), (Some("/x"), Some(200)));
    assert!(audit["timestamp"].is_string());
    for secret in [AGENT_KEY, "held-hunter2", "caller-hunter2", "body-hunter2", "query-hunter2"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}

#[tokio::test]
async fn an_agent_that_never_got_in_ends_as_well() {
    let (files, closed) = (Files::new(), closed_port().await.unwrap());
    let (hub, key) = (format!("https://{closed}"), files.key());
    // One flag may have several entries.
    let args = [
        "run",
        "--hub",
        &hub,
        "--access-key-file",
        &key,
        "--allow",
        "https://a.test=gitlab",
        "http://b.test=any",
    ];
    let agent = Program::start(&args, &[]);
    agent.says("allowed: https://a.test=gitlab http://b.test=any").await;
    agent.says("tcp.refused").await;
    agent.terminate().await;
    let (status, out, log) = agent.end().await;
    assert_eq!((status.code(), out.as_str()), (Some(0), ""), "{log}");
}

#[tokio::test]
async fn the_file_of_the_readme_is_read() {
    let files = Files::new();
    std::fs::remove_file(files.path("accessKey")).unwrap();
    let readme = include_str!("../../README.md");
    let text = readme.split("```toml\n").find(|text| text.starts_with("hub = ")).unwrap();
    let config = files.write("agent.toml", text.split("```").next().unwrap());
    let (code, log) = fails(&["check", "--config", &config], &[]).await;
    // All of it was, up to the files that it names.
    assert!(code == Some(3) && log.starts_with("scm-agent: accessKey: the secret file "), "{log}");
}
