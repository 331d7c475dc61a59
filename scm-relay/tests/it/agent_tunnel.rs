//! The way of the tunnel: TLS, proxies, and what is told when it fails.

use rcgen::date_time_ymd;
use scm_core::Body;
use scm_testkit::fault::socket::{Script, ScriptedServer, closed_port};
use scm_testkit::proxy::{Proxy, RealProxy};

use crate::agent_world::{Files, Pki, Program, TlsHub};

async fn hello() -> ScriptedServer {
    let script = || Script::new().request().answer(200, &[], "hello");
    ScriptedServer::start((0..4).map(|_| script())).await.unwrap()
}

async fn get(hub: &TlsHub, url: &str) -> String {
    let request = http::Request::get(url).body(Body::empty()).unwrap();
    let answer = hub.transport().send(request).await.unwrap();
    String::from_utf8(answer.into_body().collect(1024).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn the_agent_comes_in_over_tls_with_the_hubs_own_authority() {
    let (hub, files, server) = (TlsHub::start().await, Files::new(), hello().await);
    let mut agent = Program::run(&hub, &files, &["--allow", &format!("{}=any", server.url())]);
    assert_eq!(agent.ready().await["hub"], hub.url());
    assert_eq!(get(&hub, &server.url()).await, "hello");
}

#[tokio::test]
async fn a_proxy_that_alone_knows_the_hub_takes_the_tunnel_and_not_the_servers() {
    let (hub, files, server) = (TlsHub::start().await, Files::new(), hello().await);
    let proxy =
        Proxy::builder().host("hub.test", hub.address).basic_auth("svc", "p@ss").start().await.unwrap();
    let (key, ca) = (files.key(), files.write("ca.pem", &hub.pki.ca));
    let (allow, proxy_url) = (format!("{}=any", server.url()), proxy.url_with("svc:p%40ss"));
    let args =
        ["run", "--hub", "https://hub.test", "--access-key-file", &key, "--ca-file", &ca, "--allow", &allow];
    let mut agent = Program::start(&args, &[("SCM_AGENT_HTTPS_PROXY", &proxy_url)]);
    agent.ready().await;
    hub.tunnels(2).await;
    assert_eq!(get(&hub, &server.url()).await, "hello");
    let traffic = proxy.traffic();
    assert_eq!((traffic.tunnels, traffic.requests, traffic.refused), (2, 0, 0));
    assert!(!agent.log().contains("p@ss") && !agent.log().contains("p%40ss"), "{}", agent.log());
}

#[tokio::test]
async fn squid_and_tinyproxy_let_the_tunnel_through() {
    let squid = RealProxy::squid("http_access allow all").await.unwrap();
    let tinyproxy = RealProxy::tinyproxy("").await.unwrap();
    for proxy in [squid, tinyproxy].into_iter().flatten() {
        let (hub, files, server) = (TlsHub::start().await, Files::new(), hello().await);
        let (allow, url) = (format!("{}=any", server.url()), proxy.url());
        let list = server.address().to_string();
        let more = ["--allow", &allow, "--proxy", &url, "--proxy-loopback", "--no-proxy", &list];
        let mut agent = Program::run(&hub, &files, &more);
        agent.ready().await;
        assert_eq!(get(&hub, &server.url()).await, "hello");
    }
}

#[tokio::test]
async fn what_fails_is_told_with_the_setting_that_helps() {
    let (hub, files) = (TlsHub::start().await, Files::new());
    let late = TlsHub::altered(|params| {
        params.not_before = date_time_ymd(2998, 1, 1);
        params.not_after = date_time_ymd(2999, 1, 1);
    })
    .await;
    let other = TlsHub::altered(|params| params.subject_alt_names.truncate(1)).await;
    let closed = closed_port().await.unwrap();
    let locked = Proxy::builder().basic_auth("svc", "p").start().await.unwrap();
    let open = Proxy::builder().start().await.unwrap();
    let no_hub = ScriptedServer::start([Script::new().request().answer(404, &[("Server", "nginx")], "")]);
    let no_hub = no_hub.await.unwrap();
    // Something on the way that forbids says nothing about the key.
    let forbids = ScriptedServer::start([Script::new().request().answer(403, &[], "")]).await.unwrap();
    let newer = [("Scm-Hub-Error", "relay.version"), ("Content-Type", "application/json")];
    let body = r#"{"code":"relay.version","error":{"message":"at least 9.0.0"}}"#;
    let newer = ScriptedServer::start([Script::new().request().answer(426, &newer, body)]).await.unwrap();

    let key = files.key();
    let wrong = files.write("wrong", "scmhub-wrong");
    let ca = files.write("ca.pem", &hub.pki.ca);
    let late_ca = files.write("late.pem", &late.pki.ca);
    let other_ca = files.write("other.pem", &other.pki.ca);
    let (locked, open, nowhere) = (locked.url(), open.url(), format!("http://{closed}"));
    let closed = format!("https://{closed}");
    for (url, key, more, code, words) in [
        ("https://hub.invalid", &key, vec![], "dns.not_found", "check the name in `hub`"),
        (&closed, &key, vec![], "tcp.refused", "check host and port in `hub`"),
        (&hub.url(), &key, vec![], "tls.unknown_issuer", "into `customCaCert`"),
        (&late.url(), &key, vec!["--ca-file", &late_ca], "tls.expired", "the clock of this machine says 20"),
        (&other.url(), &key, vec!["--ca-file", &other_ca], "tls.name_mismatch", "is valid for hub.test"),
        (
            &hub.url(),
            &key,
            vec!["--ca-file", &ca, "--proxy", &locked, "--proxy-loopback"],
            "proxy.auth_required",
            "into `proxy.httpsProxy`",
        ),
        (&closed, &key, vec!["--proxy", &open, "--proxy-loopback"], "proxy.bad_gateway", "`proxy.noProxy`"),
        (
            &closed,
            &key,
            vec!["--proxy", &nowhere, "--proxy-loopback"],
            "proxy.unreachable",
            "`proxy.httpsProxy`",
        ),
        (&hub.url(), &wrong, vec!["--ca-file", &ca], "relay.key_rejected", "check `accessKey`"),
        (&no_hub.url(), &key, vec!["--danger-plain-http"], "relay.hub_unreachable", "404 Not Found by nginx"),
        (&forbids.url(), &key, vec!["--danger-plain-http"], "relay.hub_unreachable", "403 Forbidden"),
        (&newer.url(), &key, vec!["--danger-plain-http"], "relay.version", "at least 9.0.0"),
    ] {
        let mut args =
            vec!["run", "--hub", url, "--access-key-file", key, "--allow", "https://git.test=gitlab"];
        args.extend(more);
        let agent = Program::start(&args, &[]);
        let log = agent.says("no tunnel to the hub").await;
        let line = log.lines().find(|line| line.contains("no tunnel to the hub")).unwrap();
        assert!(
            line.contains("ERROR") && line.contains(code) && line.contains(words),
            "{code} {words}: {log}"
        );
        assert!(line.contains("Next try in "), "{line}");
        assert!(!log.contains("scmhub-"), "{log}");
    }
}

#[tokio::test]
async fn a_replaced_access_key_is_taken_without_a_restart() {
    let (hub, files) = (TlsHub::start().await, Files::new());
    let mut agent = Program::run(&hub, &files, &["--allow", "https://git.test=gitlab"]);
    agent.ready().await;
    hub.tunnels(2).await;
    files.write("accessKey", "scmhub-next");
    let next = scm_relay::KeyHash::of("scmhub-next");
    hub.hub.set_keys(scm_relay::Keys::new().with_agent(crate::world::acme(), next).unwrap());
    agent.says("is lost").await;
    hub.tunnels(2).await;
    assert!(!agent.log().contains("relay.key_rejected"), "{}", agent.log());
}

#[tokio::test]
async fn a_hub_that_wants_a_certificate_gets_the_agents() {
    let (own, clients, files) = (Pki::new("Hub CA"), Pki::new("Agents CA"), Files::new());
    let acceptor = own.server_for(&["127.0.0.1"], &clients);
    let hub = TlsHub::behind(own, acceptor).await;
    let agent = Program::run(&hub, &files, &["--allow", "https://git.test=gitlab"]);
    let log = agent.says("no tunnel to the hub").await;
    assert!(log.contains("tls.client_cert_required") && log.contains("`tunnel.clientCert`"), "{log}");

    let (certificate, key) = clients.issue(&["agent.test"], |_| {});
    files.write("agent.pem", &certificate.pem());
    files.write("agent.key", &key.serialize_pem());
    let config = "[tunnel]\nclientCert = { file = \"agent.pem\" }\nclientKey = { file = \"agent.key\" }\n";
    let config = files.write("agent.toml", config);
    let mut agent = Program::run(&hub, &files, &["--allow", "https://git.test=gitlab", "--config", &config]);
    agent.ready().await;
    hub.tunnels(2).await;
}
