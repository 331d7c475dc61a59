//! The program `scm-hub`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use scm_core::{Body, Code, Delivery, ErrorKind, Outcome, Rung, Transport};
use scm_relay::{AgentSettings, AgentStatus, KeyHash, Policy};
use scm_testkit::fault::socket::{Script, ScriptedServer};
use scm_transport::{CaCertificates, ClientIdentity, DirectTransport, Network, RelayTransport};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::agent_world::{self, Files, Pki};
use crate::world::{AGENT_KEY, Running, SERVICE_KEY, direct, run_agent, run_agent_by};

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scm-hub"));
    command.env_remove("SCM_HUB_LOG").env_remove("SCM_HUB_LISTEN").env_remove("SCM_HUB_CONFIG");
    command
}

fn run(args: &[&str]) -> Output {
    command().args(args).output().unwrap()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The entries of one agent and one service.
fn entries(agent_keys: &[&str]) -> String {
    let hashes: Vec<_> = agent_keys.iter().map(|key| format!("\"{}\"", KeyHash::of(key))).collect();
    format!(
        "[[agent]]\nname = \"acme\"\nkeys = [{}]\n[[service]]\nname = \"fixer\"\nagents = [\"acme\"]\nkeys = [\"{}\"]\n",
        hashes.join(", "),
        KeyHash::of(SERVICE_KEY)
    )
}

/// A hub in a process of its own, with its configuration in a folder of its own.
struct Program {
    child: Child,
    url: String,
    folder: TempDir,
    log: PathBuf,
}

impl Program {
    /// `settings` stand before the entries of the keys.
    fn start(settings: &str) -> Self {
        Self::with(TempDir::new().unwrap(), settings, command())
    }

    fn with(folder: TempDir, settings: &str, mut command: Command) -> Self {
        let config = folder.path().join("hub.toml");
        std::fs::write(&config, format!("{settings}\n{}", entries(&[AGENT_KEY]))).unwrap();
        let log = folder.path().join("log");
        command.args(["serve", "--config"]).arg(&config);
        if !settings.starts_with("listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !settings.contains("tls") {
            command.arg("--danger-plain-http");
        }
        let child = command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap()).spawn();
        let mut child = child.unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{}", std::fs::read_to_string(&log).unwrap()));
        let url = ready["url"].as_str().unwrap().to_owned();
        assert_eq!(ready.as_object().unwrap().len(), 1);
        Self { child, url, folder, log }
    }

    fn address(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn agent(&self, key: &str, allow: &str) -> Running {
        run_agent(&self.url, key, &[allow])
    }

    fn transport(&self) -> Transport {
        relay(&self.url, direct())
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// As operators stop it: what it exits with.
    async fn stop(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        let log = self.log.clone();
        // Dropped on the way out, and its folder with it.
        tokio::task::spawn_blocking(move || {
            let code = self.child.wait().unwrap().code();
            (code, std::fs::read_to_string(log).unwrap())
        })
        .await
        .unwrap()
    }

    async fn agents(&self) -> Vec<AgentStatus> {
        let request =
            http::Request::get(format!("{}/v1/agents", self.url)).header("scm-hub-key", SERVICE_KEY);
        let answer = direct().send(request.body(Body::empty()).unwrap()).await.unwrap();
        serde_json::from_slice(&answer.into_body().collect(10_000).await.unwrap()).unwrap()
    }

    async fn tunnels(&self, wanted: usize) {
        while self.agents().await[0].tunnels != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn relay(hub: &str, inner: Transport) -> Transport {
    let plain = hub.starts_with("http://");
    let key = SERVICE_KEY.to_owned().into();
    Transport::new(RelayTransport::new(hub.parse().unwrap(), "acme", key, inner, plain).unwrap())
}

fn get(url: &str) -> http::Request<Body> {
    http::Request::get(format!("{url}/")).body(Body::empty()).unwrap()
}

#[test]
fn keygen_shows_a_key_once_and_an_entry_with_its_hash() {
    let dir = TempDir::new().unwrap();
    let mut config = String::from("danger_plain_http = true\nlisten = \"256.0.0.1:0\"\n");
    for (args, entry) in [
        (&["keygen", "--agent", "acme"][..], "[[agent]]\nname = \"acme\"\nkeys = "),
        (
            &["keygen", "--service", "the \"fixer\"", "--agents", "acme,globex"],
            "[[service]]\nname = 'the \"fixer\"'\nagents = [\"acme\", \"globex\"]\nkeys = ",
        ),
    ] {
        let made = run(args);
        assert!(made.status.success(), "{}", words(&made.stderr));
        let text = words(&made.stdout);
        let keys: Vec<_> = text.lines().filter(|line| line.starts_with("scmhub-")).collect();
        let [key] = keys[..] else { panic!("{text}") };
        assert_eq!(key.len(), 50);
        assert!(text.contains(&format!("{entry}[\"{}\"]\n", KeyHash::of(key))), "{text}");
        assert_eq!(text.matches(key).count(), 1);
        config.push_str(&text.replace(key, ""));
    }
    // What is left is as the hub reads it: what it does not like is the address alone.
    let path = dir.path().join("hub.toml");
    std::fs::write(&path, config).unwrap();
    let refused = run(&["serve", "--config", path.to_str().unwrap()]);
    assert!(words(&refused.stderr).contains("hub.toml, line 2: "), "{}", words(&refused.stderr));
    for args in [
        &["keygen"][..],
        &["keygen", "--agent", "a/b"],
        &["keygen", "--service", "x"],
        &["keygen", "--agent", "acme", "--agents", "acme"],
        &["keygen", "--agent", "acme", "--service", "x", "--agents", "acme"],
    ] {
        let refused = run(args);
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{args:?}");
    }
}

#[test]
fn a_configuration_that_cannot_work_says_so_and_exits_with_its_own_code() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("hub.toml");
    let hash = KeyHash::of("k");
    let listen = "listen = \"127.0.0.1:0\"";
    let plain = format!("{listen}\ndanger_plain_http = true\n");
    for (text, said) in [
        (listen.to_owned(), "there is no certificate"),
        ("danger_plain_http = true".to_owned(), "no address to listen on"),
        (format!("{plain}lisen = 1"), "unknown field `lisen`"),
        (format!("{plain}[limits]\npatience = 1"), "unknown field `patience`"),
        (format!("{plain}[limits]\npatience_s = -1"), "patience_s is a number of seconds above 0"),
        (format!("{plain}[limits]\nin_flight_per_agent = 0"), "in_flight_per_agent is 0"),
        (format!("{plain}minimum_agent = \"new\""), "it is written like 1.2.0"),
        (format!("{plain}[[agent]]\nname = \"a/b\"\nkeys = []"), "the name of an agent"),
        (
            format!("{plain}[[agent]]\nname = \"a\"\nkeys = [\"secret\"]"),
            "the agent a: config: the hash of a key",
        ),
        (
            format!(
                "{plain}[[agent]]\nname = \"a\"\nkeys = [\"{hash}\"]\n[[agent]]\nname = \"b\"\nkeys = [\"{hash}\"]"
            ),
            "the agent a and the agent b have the same key",
        ),
        (format!("{listen}\ntls = {{ certificate = \"c.pem\", key = \"k.pem\" }}"), "c.pem cannot be read"),
    ] {
        std::fs::write(&path, &text).unwrap();
        let refused = run(&["serve", "--config", path.to_str().unwrap()]);
        let stderr = words(&refused.stderr);
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(3), 0), "{text}: {stderr}");
        assert!(stderr.contains(said), "{text}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
    assert_eq!(run(&["serve", "--config", "/nowhere/hub.toml"]).status.code(), Some(3));
    assert_eq!(run(&["serve"]).status.code(), Some(2));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std::fs::write(&path, &plain).unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let failed = run(&["serve", "--config", path.to_str().unwrap(), "--listen", &listen]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(words(&failed.stderr).contains(&listen), "{}", words(&failed.stderr));
}

#[tokio::test]
async fn it_carries_requests_says_who_is_here_and_writes_a_line_for_each() {
    let server = ScriptedServer::start([Script::new().request().json(200, "\"yes\"")]).await.unwrap();
    let hub = Program::start("");
    let _agent = hub.agent(AGENT_KEY, &format!("{}=any", server.url()));
    let mut request = get(&format!("{}/a?private=1", server.url()));
    request.headers_mut().insert("x-request-id", http::HeaderValue::from_static("r-1"));
    request.headers_mut().insert("private-token", http::HeaderValue::from_static("t0ken"));
    let answer = hub.transport().send(request).await.unwrap();
    assert_eq!(answer.into_body().collect(100).await.unwrap(), "\"yes\"");
    hub.tunnels(2).await;

    let key = hub.folder.path().join("key");
    std::fs::write(&key, format!("{SERVICE_KEY}\n")).unwrap();
    let shown = async |more: &[&str]| {
        let mut command = command();
        command.args(["agents", "--hub", &hub.url, "--key-file"]).arg(&key).args(more);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let json = shown(&["--json", "--danger-plain-http"]).await;
    let agents: Vec<AgentStatus> = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((agents[0].name.as_str(), agents[0].tunnels), ("acme", 2));
    let table = shown(&["--danger-plain-http"]).await;
    let text = words(&table.stdout);
    assert!(text.contains("acme") && text.contains("connected") && !text.contains('\u{1b}'), "{text}");
    assert_eq!(shown(&[]).await.status.code(), Some(3));
    std::fs::write(&key, "wrong").unwrap();
    let refused = shown(&["--danger-plain-http"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused.stderr).contains("relay.key_rejected"), "{}", words(&refused.stderr));

    let (code, log) = hub.stop().await;
    assert_eq!(code, Some(0), "{log}");
    let line = log.lines().find(|line| line.contains("request_id=\"r-1\"")).unwrap();
    for part in [
        "service=\"fixer\"",
        "agent=acme",
        "method=\"GET\"",
        "path=\"/a\"",
        "status=200",
        "received=5",
        "attempts=1",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    for secret in [SERVICE_KEY, AGENT_KEY, "t0ken", "private=1"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn keys_are_read_again_and_a_file_that_cannot_be_used_changes_nothing() {
    let hub = Program::start("");
    let config = hub.folder.path().join("hub.toml");
    let _old = hub.agent(AGENT_KEY, "http://git.test=any");
    hub.tunnels(2).await;
    std::fs::write(&config, "no = toml = at all").unwrap();
    hub.signal("HUP");
    while !hub.log().contains("a file cannot be used") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    hub.tunnels(2).await;
    // Both are valid now; without a signal, by the change alone.
    std::fs::write(&config, entries(&[AGENT_KEY, "next"])).unwrap();
    let _new = hub.agent("next", "http://git.test=any");
    hub.tunnels(4).await;
    std::fs::write(&config, entries(&["next"])).unwrap();
    hub.signal("HUP");
    hub.tunnels(2).await;
    assert!(!hub.log().contains(AGENT_KEY));
}

#[tokio::test]
async fn what_is_in_flight_is_finished_when_the_hub_stops() {
    let gate = Arc::new(Semaphore::new(0));
    let script = Script::new().request().gate(&gate).json(200, "\"late\"");
    let server = ScriptedServer::start([script]).await.unwrap();
    let hub = Program::start("");
    let _agent = hub.agent(AGENT_KEY, &format!("{}=any", server.url()));
    let transport = hub.transport();
    let (url, address) = (server.url(), hub.address().to_owned());
    let sent =
        tokio::spawn(async move { transport.send(get(&url)).await.unwrap().into_body().collect(100).await });
    while server.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let stopped = tokio::spawn(hub.stop());
    // Nothing new is taken.
    while TcpStream::connect(&address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gate.add_permits(1);
    assert_eq!(sent.await.unwrap().unwrap(), "\"late\"");
    let (code, log) = stopped.await.unwrap();
    assert_eq!(code, Some(0));
    assert!(!log.contains("still in flight"), "{log}");
}

#[tokio::test]
async fn a_grace_that_is_over_ends_what_is_in_flight() {
    let server = ScriptedServer::start([Script::new().request().stall()]).await.unwrap();
    let hub = Program::start("[limits]\ngrace_s = 0.2");
    let _agent = hub.agent(AGENT_KEY, &format!("{}=any", server.url()));
    let transport = hub.transport();
    let url = server.url();
    let sent = tokio::spawn(async move { transport.send(get(&url)).await });
    while server.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (code, log) = hub.stop().await;
    assert_eq!(code, Some(0));
    assert!(log.contains("still in flight"), "{log}");
    assert_eq!(sent.await.unwrap().unwrap_err().delivery(), Delivery::Unknown);
    server.ended(1).await;
}

#[tokio::test]
async fn metrics_are_on_an_address_of_their_own() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = ScriptedServer::start([Script::new().request().json(404, "{}")]).await.unwrap();
    let hub = Program::start(&format!("metrics_listen = \"{address}\""));
    let _agent = hub.agent(AGENT_KEY, &format!("{}=any", server.url()));
    let answer = hub.transport().send(get(&server.url())).await.unwrap();
    answer.into_body().collect(100).await.unwrap();
    hub.transport().send(get("http://not.listed.test")).await.unwrap_err();
    hub.tunnels(2).await;
    let text = async |url: String| {
        let request = http::Request::get(format!("{url}/metrics")).body(Body::empty()).unwrap();
        let answer = direct().send(request).await.unwrap();
        let status = answer.status().as_u16();
        (status, words(&answer.into_body().collect(100_000).await.unwrap()))
    };
    assert_eq!(text(hub.url.clone()).await.0, 401);
    // Whoever is let in for figures is let in for nothing else.
    for (path, expected) in [("healthz", 200), ("v1/agents", 404), ("v1/agents/acme/https/git.test/", 404)] {
        let request =
            http::Request::get(format!("http://{address}/{path}")).header("scm-hub-key", SERVICE_KEY);
        let answer = direct().send(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), expected, "{path}");
    }
    let (status, text) = text(format!("http://{address}")).await;
    assert_eq!(status, 200);
    for line in [
        "scm_hub_tunnels{agent=\"acme\"} 2",
        "scm_hub_tunnels_opened_total{agent=\"acme\"} 2",
        "scm_hub_requests_total{agent=\"acme\",outcome=\"4xx\"} 1",
        "scm_hub_requests_total{agent=\"acme\",outcome=\"relay.agent_denied\"} 1",
        "scm_hub_refused_total{reason=\"service_key\"} 1",
        "scm_hub_bytes_total{agent=\"acme\",direction=\"from_server\"} 2",
        "scm_hub_request_seconds_count 2",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}

#[tokio::test]
async fn connections_that_are_too_many_or_too_slow_do_not_keep_others_out() {
    let folder = TempDir::new().unwrap();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 48; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_scm-hub")]);
    let hub = Program::with(folder, "[limits]\nheader_timeout_s = 1", limited);
    // More than there are descriptors for, all silent or slow: the first are cut, and the others come in.
    let mut idle = Vec::new();
    for n in 0..80 {
        let mut stream = TcpStream::connect(hub.address()).await.unwrap();
        stream.write_all(if n % 2 == 0 { b"" } else { b"GET /healthz HTTP/1.1\r\nHost:" }).await.unwrap();
        idle.push(stream);
    }
    while !hub.log().contains("no connection can be taken") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for mut stream in idle {
        let mut rest = Vec::new();
        // Closed by the hub: with a word or two for the slow ones.
        let _ = stream.read_to_end(&mut rest).await;
    }
    let health = http::Request::get(format!("{}/healthz", hub.url)).body(Body::empty()).unwrap();
    assert_eq!(direct().send(health).await.unwrap().status(), 200);
}

/// What trusts those whom `pki` signs for.
fn trusting(pki: &Pki) -> Network {
    Network::new().with_roots_only(CaCertificates::parse(&pki.ca).unwrap())
}

/// Certificate and key of a hub on loopback.
fn write(pki: &Pki, folder: &Path) {
    let (certificate, key) = pki.issue(&["127.0.0.1"], |_| {});
    std::fs::write(folder.join("hub.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("hub.key"), key.serialize_pem()).unwrap();
}

fn inner(network: &Network) -> Transport {
    Transport::new(DirectTransport::new(network).unwrap())
}

#[tokio::test]
async fn tls_takes_both_versions_of_http_and_certificates_are_read_again() {
    let (first, second) = (Pki::new("first"), Pki::new("second"));
    let folder = TempDir::new().unwrap();
    write(&first, folder.path());
    let tls = "tls = { certificate = \"hub.pem\", key = \"hub.key\" }";
    let hub = Program::with(folder, tls, command());
    assert!(hub.url.starts_with("https://"), "{}", hub.url);
    let health = || http::Request::get(format!("{}/readyz", hub.url)).body(Body::empty()).unwrap();
    let answer = inner(&trusting(&first)).send(health()).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));

    let url = "http://git.test/".parse().unwrap();
    let rungs = relay(&hub.url, inner(&trusting(&second))).probe(&url).await;
    assert_eq!((rungs[0].rung, rungs[0].outcome), (Rung::Route, Outcome::Failed));
    assert_eq!(rungs[0].findings[0].code, Code::RelayHubUnreachable);
    assert_eq!(rungs[0].details["hub_fault"], "tls.unknown_issuer");
    assert!(rungs[0].findings[0].remedy.contains("authority"), "{rungs:?}");

    write(&second, hub.folder.path());
    hub.signal("HUP");
    let renewed = inner(&trusting(&second));
    while renewed.send(health()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Over HTTP/2 all of a service's requests share one connection, and its window.
#[tokio::test]
async fn readers_and_uploads_that_stall_hold_nobody_up_over_http_2() {
    let large = Script::new().request().answer(200, &[], &"x".repeat(1_000_000));
    let mut scripts = vec![Script::new().touch().stall(); 16];
    scripts.extend(vec![large; 64]);
    scripts.push(Script::new().request().json(200, "\"quick\""));
    let pki = Pki::new("CA");
    let folder = TempDir::new().unwrap();
    write(&pki, folder.path());
    let hub = Program::with(folder, "tls = { certificate = \"hub.pem\", key = \"hub.key\" }", command());
    let server = ScriptedServer::start(scripts).await.unwrap();
    let policy = Policy::new().with(format!("{}=any", server.url()).parse().unwrap());
    let settings = AgentSettings::new().with_tunnel_network(trusting(&pki));
    let _agent = run_agent_by(&hub.url, AGENT_KEY, policy, settings);
    let transport = relay(&hub.url, inner(&trusting(&pki)));
    let uploads: Vec<_> = (0..16)
        .map(|_| {
            let (transport, mut request) = (transport.clone(), get(&server.url()));
            *request.method_mut() = http::Method::POST;
            *request.body_mut() = vec![1; 1_000_000].into();
            tokio::spawn(async move { transport.send(request).await })
        })
        .collect();
    while server.connections() < 16 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut stalled = Vec::new();
    for _ in 0..64 {
        let answer = transport.send(get(&server.url())).await.unwrap();
        assert_eq!(answer.version(), http::Version::HTTP_2);
        stalled.push(answer.into_body());
    }
    for _ in 0..10 {
        let mut request = get(&server.url());
        *request.method_mut() = http::Method::POST;
        *request.body_mut() = vec![1; 100_000].into();
        let answer = transport.send(request).await.unwrap();
        assert_eq!(answer.into_body().collect(100).await.unwrap(), "\"quick\"");
    }
    uploads.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn who_has_no_client_certificate_is_not_let_in_where_one_is_wanted() {
    let pki = Pki::new("CA");
    let folder = TempDir::new().unwrap();
    write(&pki, folder.path());
    std::fs::write(folder.path().join("clients.pem"), &pki.ca).unwrap();
    let tls = "tls = { certificate = \"hub.pem\", key = \"hub.key\", client_ca = \"clients.pem\" }";
    let hub = Program::with(folder, tls, command());
    let health = || http::Request::get(format!("{}/healthz", hub.url)).body(Body::empty()).unwrap();
    let error = inner(&trusting(&pki)).send(health()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Tls, Some(Code::TlsClientCertRequired)));
    let (certificate, key) = pki.issue(&["127.0.0.1"], |_| {});
    let identity = ClientIdentity::parse(certificate.pem(), &key.serialize_pem().into()).unwrap();
    let answer = inner(&trusting(&pki).with_client_identity(identity)).send(health()).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn both_programs_find_each_other_again_when_the_hub_was_killed() {
    let scripts = [Script::new().request().stall(), Script::new().request().json(200, "\"yes\"")];
    let server = ScriptedServer::start(scripts).await.unwrap();
    let pki = Pki::new("CA");
    let folder = TempDir::new().unwrap();
    write(&pki, folder.path());
    let tls = "tls = { certificate = \"hub.pem\", key = \"hub.key\" }";
    let mut hub = Program::with(folder, tls, command());
    let files = Files::new();
    let (key, ca) = (files.key(), files.write("ca.pem", &pki.ca));
    let allow = format!("{}=any", server.url());
    let mut agent = agent_world::Program::start(
        &["run", "--hub", &hub.url, "--access-key-file", &key, "--ca-file", &ca, "--allow", &allow],
        &[],
    );
    let ready = agent.ready().await;
    assert_eq!((&ready["agent"], ready["hub"].as_str()), (&"acme".into(), Some(&*hub.url)));
    let transport = relay(&hub.url, inner(&trusting(&pki)));
    let sent = {
        let (transport, mut request) = (transport.clone(), get(&server.url()));
        *request.method_mut() = http::Method::POST;
        tokio::spawn(async move { transport.send(request).await })
    };
    while server.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    hub.child.kill().unwrap();
    hub.child.wait().unwrap();
    assert_eq!(sent.await.unwrap().unwrap_err().delivery(), Delivery::Unknown);
    // What nobody waits for any more is let go at the server, too.
    server.ended(1).await;

    let folder = TempDir::new().unwrap();
    write(&pki, folder.path());
    let listen = format!("listen = \"{}\"\n{tls}\n[limits]\npatience_s = 60", hub.address());
    let again = Program::with(folder, &listen, command());
    assert_eq!(again.url, hub.url);
    let answer = transport.send(get(&server.url())).await.unwrap();
    assert_eq!(answer.into_body().collect(100).await.unwrap(), "\"yes\"");
    assert_eq!(server.requests().len(), 2);
}
