//! A connection of a configuration whose route is a proxy.

use std::sync::Arc;

use scm_client::core::{Body, CheckOptions, Code, ErrorKind, Outcome, Rung, Scm};
use scm_client::{Config, connect};
use scm_testkit::fault::socket::{Script, ScriptedServer, closed_port};

fn open(url: &str, network: &str) -> Arc<dyn Scm> {
    let text = format!(
        "[[connection]]\nname = \"acme\"\nprovider = \"gitlab\"\nurl = \"{url}\"\ntoken = {{ value = \"t\" }}\nroute = \"proxy\"\n\
         network = {{ {network} }}\n"
    );
    let config = Config::from_toml(&text, "").unwrap();
    connect(&config.connections[0], &|_| None).unwrap()
}

#[tokio::test]
async fn calls_go_through_the_proxy_and_past_it() {
    let refusal = |said: &'static str| Script::new().request().json(401, said);
    let proxy = ScriptedServer::start([refusal("{\"message\":\"through the proxy\"}")]).await.unwrap();
    let server = ScriptedServer::start([refusal("{\"message\":\"past the proxy\"}")]).await.unwrap();
    for (more, words) in [
        ("proxy_loopback = true", "through the proxy"),
        ("proxy_loopback = true, no_proxy = \"127.0.0.0/8\"", "past the proxy"),
        ("no_proxy = \"\"", "past the proxy"),
    ] {
        let scm = open(&server.url(), &format!("http_proxy = \"{}\", {more}", proxy.url()));
        let error = scm.connection().identity().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.message().contains(words), "{more}: {error}");
    }
    assert!(proxy.requests()[0].target.starts_with(&format!("{}/api/v4/", server.url())));
}

#[tokio::test]
async fn the_check_names_the_proxy_and_the_line_to_add() {
    let closed = closed_port().await.unwrap();
    let script = Script::new().request().answer(503, &[("X-Squid-Error", "ERR_CONNECT_FAIL 111")], "");
    let squid = ScriptedServer::start([script]).await.unwrap();
    for (proxy, code) in [(closed, Code::ProxyUnreachable), (squid.address(), Code::ProxyBadGateway)] {
        for url in ["https://gitlab.company.com", "http://gitlab.company.com"] {
            let proxies = format!("https_proxy = \"http://{proxy}\", http_proxy = \"http://{proxy}\"");
            let scm = open(url, &format!("{proxies}, no_proxy = \".svc\""));
            let report = scm.connection().check(&CheckOptions::default()).await;
            assert!(report.has(code) && !report.is_ok(), "{report}");
            let failed: Vec<_> = report.rungs.iter().filter(|rung| rung.outcome == Outcome::Failed).collect();
            assert_eq!(failed.iter().map(|rung| rung.rung).collect::<Vec<_>>(), [Rung::Proxy], "{report}");
            let remedy = &failed[0].findings[0].remedy;
            assert!(remedy.contains("`no_proxy = \".svc,gitlab.company.com\"`"), "{remedy}");
        }
    }
}

#[tokio::test]
async fn time_limits_of_the_configuration_hold() {
    let silent = ScriptedServer::start([Script::new().request().stall()]).await.unwrap();
    let config = Config::from_toml(
        &format!(
            "[[connection]]\nname = \"acme\"\nprovider = \"gitlab\"\nurl = \"{}\"\ntoken = {{ value = \"any\" }}\n\
             network = {{ connect_timeout_s = 5, read_timeout_s = 1 }}\n",
            silent.url()
        ),
        "",
    )
    .unwrap();
    let transport = scm_client::transport_of(&config.connections[0], &|_| None).unwrap();
    let request = http::Request::get(silent.url()).body(Body::empty()).unwrap();
    let error = transport.send(request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("1s"), "{error}");
}

#[test]
fn a_ca_in_the_wrong_form_is_named_before_anything_is_sent() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (content, words) in [
        (certificate.der().to_vec(), "this is DER, not PEM; convert it with `openssl x509"),
        (Vec::new(), "empty"),
        (key.serialize_pem().into_bytes(), "private key"),
        (certificate.pem().replacen("MII", "M!I", 1).into_bytes(), "broken base64"),
    ] {
        std::fs::write(dir.path().join("ca"), content).unwrap();
        let text = "[[connection]]\nname = \"acme\"\nprovider = \"gitlab\"\ntoken = { value = \"t\" }\n\
                    network = { ca = { file = \"ca\" } }\n";
        let config = Config::from_toml(text, dir.path()).unwrap();
        let error = connect(&config.connections[0], &|_| None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("network.ca: ") && error.message().contains(words), "{error}");
    }
}

#[tokio::test]
async fn the_usual_variables_count_where_that_is_asked_for() {
    let refusal = |said: &'static str| Script::new().request().json(401, said);
    let proxy = ScriptedServer::start([refusal("{\"message\":\"through the proxy\"}")]).await.unwrap();
    let text = "[[connection]]\nname = \"acme\"\nprovider = \"gitlab\"\nurl = \"http://git.test\"\ntoken = { value = \"t\" }\n\
                route = \"proxy\"\nnetwork = { proxy_from_env = true }\n";
    let config = Config::from_toml(text, "").unwrap();
    let variables = |name: &str| match name {
        "HTTP_PROXY" => Some(proxy.url()),
        "no_proxy" => Some(".svc".to_owned()),
        _ => None,
    };
    let scm = connect(&config.connections[0], &variables).unwrap();
    let error = scm.connection().identity().await.unwrap_err();
    assert!(error.message().contains("through the proxy"), "{error}");
    // There the variable comes from a request's header.
    let cgi = |name: &str| if name == "REQUEST_METHOD" { Some("GET".to_owned()) } else { variables(name) };
    let error = connect(&config.connections[0], &cgi).unwrap_err();
    assert!(error.message().contains("neither http_proxy nor all_proxy is set"), "{error}");
}
