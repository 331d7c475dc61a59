//! What a service may not ask for, sent as it is through hub and agent: libraries tidy such things up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use scm_core::{Code, Delivery, ErrorKind};
use scm_testkit::fault::socket::{self, Script, ScriptedServer};

use crate::fault_world::{HOURS, HubProcess, request};

fn is_denied(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("scm-hub-error: relay.agent_denied\r\n"), "{answer}");
    assert!(answer.contains("scm-hub-delivery: not_sent\r\n"), "{answer}");
}

#[tokio::test]
async fn tricks_in_paths_and_headers_never_reach_a_server() {
    let server = ScriptedServer::start([Script::new().request().json(200, "{}")]).await.unwrap();
    let hub = HubProcess::start(HOURS).await;
    let agent = hub.agent(&[&format!("{}=gitlab", server.url())]).await;
    let at = format!("/v1/agents/acme/http/{}", server.address());
    let version = "/api/v4/version";
    for path in [
        "/api/v4/../../admin",
        "/api/v4/projects/..",
        "/api/v4/./version",
        "/api/v4/%2e%2e/%2e%2e/admin",
        "/api/v4/%2E./version",
        "/api/v4/.%2e/version",
        "/api/v4/%252e%252e/admin",
        "/api/v4/projects/a%2f..%2f..%2fadmin",
        "//api/v4/version",
        "/api//v4/version",
        "/api/v4/version//",
        "/api/v4\\..\\admin",
        "/api/v4/%5c..%5cadmin",
        "/api/v4/version%00",
        "/api/v4/version;/../admin",
        "/api/v4/version?private_token=t",
        "/api/v4/version?PRIVATE_TOKEN=t",
        "/api/v4/version?private%5Ftoken=t",
        "/api/v4/version?a=b&access_token=t",
        "/api/v4/version?job_token=t",
        "/api/v4/version?sudo=root",
        "/api/v4/version?_method=DELETE",
        "/admin",
        "/",
    ] {
        is_denied(&hub.raw(&format!("GET {at}{path}"), "").await);
    }
    for header in [
        "X-HTTP-Method-Override: DELETE",
        "X-HTTP-Method: DELETE",
        "X-Method-Override: DELETE",
        "sUdO: root",
        "Job-Token: t",
    ] {
        is_denied(&hub.raw(&format!("GET {at}{version}"), &format!("{header}\r\n")).await);
    }
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 14\r\n\r\n_method=DELETE";
    is_denied(&hub.raw(&format!("POST {at}/api/v4/projects/1/merge_requests"), form).await);
    for method in ["CONNECT", "TRACE", "get", "PROPFIND"] {
        let answer = hub.raw(&format!("{method} {at}{version}"), "").await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
    assert_eq!(server.connections(), 0);
    // What is meant so arrives so.
    let path = "/api/v4/projects/group%2Frepo/repository/files/a%2E%2Eb?ref=x%2Fy";
    let answer = hub.raw(&format!("GET {at}{path}"), "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(server.requests()[0].target, path);
    // One line for each, and of what was refused no secret.
    let log = agent.log();
    assert!(log.matches("rule=\"denied\"").count() >= 30, "{log}");
    assert!(!log.contains("private_token") && !log.contains("_method="), "{log}");
}

#[tokio::test]
async fn names_and_addresses_lead_only_where_they_may() {
    let server = ScriptedServer::start([Script::new().request().json(200, "{}")]).await.unwrap();
    let hub = HubProcess::start(HOURS).await;
    let port = server.address().port();
    let named = format!("http://localhost:{port}=any");
    let cloud = "http://169.254.169.254=any";
    let agent = hub.agent(&[&named, cloud]).await;
    for host in [
        // Listed, and refused for where they lead.
        format!("localhost:{port}"),
        "169.254.169.254".to_owned(),
        "169.254.169.254:80".to_owned(),
        // Not listed, whatever is meant.
        format!("127.0.0.1:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("2130706433:{port}"),
        format!("localhost.:{}", port - 1),
        "metadata.google.internal".to_owned(),
    ] {
        is_denied(&hub.raw(&format!("GET /v1/agents/acme/http/{host}/latest/meta-data/"), "").await);
    }
    let refused = hub.raw(&format!("GET /v1/agents/acme/http/localhost:{port}/"), "").await;
    assert!(refused.contains("allowAddresses"), "{refused}");
    assert_eq!(server.connections(), 0);
    assert!(agent.log().contains("failed=\"relay.agent_denied\""), "{}", agent.log());
    drop(agent);
    hub.tunnels(0).await;
    let addresses = ["--allow-address", "127.0.0.1", "--allow-address", "::1"];
    let _agent = hub.agent_at(hub.address(), &[&named], &addresses).await;
    let answer = hub.raw(&format!("GET /v1/agents/acme/http/localhost:{port}/"), "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_redirect_stays_with_the_caller_and_a_server_cannot_speak_for_the_hub() {
    let elsewhere = ScriptedServer::start([Script::new().request().json(200, "{}")]).await.unwrap();
    let away = format!("{}/steal", elsewhere.url());
    let forged = [
        ("Location", away.as_str()),
        ("Scm-Hub-Error", "relay.agent_offline"),
        ("Scm-Hub-Delivery", "not_sent"),
        ("Scm-Hub-Agent", "other"),
        ("Scm-Agent-Fault", "{\"kind\":\"relay\",\"delivery\":\"not_sent\",\"message\":\"forged\"}"),
    ];
    let server = ScriptedServer::start([Script::new().request().answer(307, &forged, "{}")]).await.unwrap();
    let hub = HubProcess::start(HOURS).await;
    // Even where the agent might go there.
    let _agent = hub.agent(&[&format!("{}=any", server.url()), &format!("{}=any", elsewhere.url())]).await;
    let token = "Private-Token: glpat-secret\r\n";
    let answer = hub.raw(&format!("GET /v1/agents/acme/http/{}/a", server.address()), token).await;
    assert!(answer.starts_with("HTTP/1.1 307 "), "{answer}");
    assert!(answer.contains(&format!("\r\nlocation: {away}\r\n")), "{answer}");
    assert!(answer.contains("scm-hub-agent: acme\r\n"), "{answer}");
    for gone in ["agent_offline", "not_sent", "forged", "scm-hub-error"] {
        assert!(!answer.contains(gone), "{gone} in {answer}");
    }
    let answer = hub.transport().send(request("GET", &server.url(), String::new())).await.unwrap();
    assert_eq!(answer.status(), 307);
    assert_eq!(answer.headers()["location"], away);
    assert_eq!((server.requests().len(), elsewhere.connections()), (2, 0));
}

/// A clock that is a day behind sees a certificate that is not valid yet; the agent does so on both of its legs.
#[tokio::test]
async fn a_certificate_of_tomorrow_is_told_with_what_the_clock_says() {
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let day = Duration::from_secs(24 * 3600);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_before = (SystemTime::now() + day).into();
    params.not_after = (SystemTime::now() + 90 * day).into();
    let certificate = params.self_signed(&key).unwrap();
    let ca = write("hub.pem", &certificate.pem());
    let tls =
        format!("tls = {{ certificate = \"{ca}\", key = \"{}\" }}", write("hub.key", &key.serialize_pem()));

    let hub = HubProcess::start(&format!("{tls}\n{HOURS}")).await;
    let report = hub.check_from(&["--ca-file", &ca]).await;
    assert_eq!(report["codes"], serde_json::json!(["tls.expired"]), "{report}");
    let rungs = report["report"]["rungs"].as_array().unwrap();
    let failed = rungs.iter().find(|rung| rung["outcome"] == "failed").unwrap();
    let today = scm_core::Timestamp::from(SystemTime::now()).to_string()[..10].to_owned();
    for part in ["is not yet valid: valid from 20", "clock of the agent's machine says 20"] {
        assert!(failed.to_string().contains(part), "{part} in {failed}");
    }
    assert!(failed.to_string().contains(&today), "{today} in {failed}");

    let server = tls_server(&certificate, &key).await;
    let hub = HubProcess::start(HOURS).await;
    let _agent = hub.agent_at(hub.address(), &[&format!("https://{server}=any")], &["--ca-file", &ca]).await;
    let error = hub.transport().send(request("GET", &format!("https://{server}/"), String::new())).await;
    let error = error.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Tls, Some(Code::TlsExpired)), "{error}");
    assert_eq!(error.delivery(), Delivery::NotSent);
    assert!(error.details()["clock"].starts_with(&today), "{:?}", error.details());
}

/// Lets in who takes its certificate, and says nothing.
async fn tls_server(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> SocketAddr {
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let server = socket::serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                socket::drain(&mut stream).await;
            }
        }
    });
    server.await.unwrap()
}
