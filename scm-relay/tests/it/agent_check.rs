//! The ladder from where the agent stands, and the same through the hub.

use scm_core::{Code, HttpTransport as _};
use scm_testkit::fault::socket::closed_port;
use scm_testkit::proxy::Proxy;
use scm_testkit::sim::gitlab::GitLabSim;
use serde_json::Value;

use crate::agent_world::{Files, Pki, Program, TlsHub, hello_tls};
use crate::world::{AGENT_KEY, acme};

/// What `scm-agent check --json` says of each leg, with its exit code.
async fn check(hub: &TlsHub, files: &Files, more: &[&str]) -> (Option<i32>, Value) {
    let (url, key, ca) = (hub.url(), files.key(), files.write("ca.pem", &hub.pki.ca));
    let mut args = vec!["check", "--json", "--hub", &url, "--access-key-file", &key, "--ca-file", &ca];
    args.extend(more);
    let (status, out, log) = Program::start(&args, &[]).end().await;
    (status.code(), serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out} {log}")))
}

fn codes(report: &Value) -> Vec<Vec<String>> {
    let of = |check: &Value| serde_json::from_value(check["codes"].clone()).unwrap();
    report["checks"].as_array().unwrap().iter().map(of).collect()
}

fn remedy(report: &Value, leg: usize) -> String {
    let rungs = report["checks"][leg]["report"]["rungs"].as_array().unwrap();
    let found = rungs.iter().find_map(|rung| rung["findings"].as_array().unwrap().first()).unwrap();
    found["remedy"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn all_in_order_is_exit_code_0_and_opens_no_tunnel_that_could_get_work() {
    let (hub, files) = (TlsHub::start().await, Files::new());
    let sim = GitLabSim::builder().start().await.unwrap();
    let allow = format!("{}=gitlab", sim.url());
    let (code, report) = check(&hub, &files, &["--allow", &allow]).await;
    assert_eq!((code, &report["ok"]), (Some(0), &Value::Bool(true)), "{report}");
    assert_eq!(codes(&report), [[""; 0], [""; 0]]);
    let hub_rungs = &report["checks"][0]["report"]["rungs"];
    let words = hub_rungs.as_array().unwrap().last().unwrap()["seen"].as_str().unwrap();
    assert!(words.contains("takes the access key of the agent"), "{words}");
    assert!(hub.hub.agents().is_empty(), "{:?}", hub.hub.agents());
    assert!(sim.requests().is_empty());

    let (url, key, ca) = (hub.url(), files.key(), files.write("ca.pem", &hub.pki.ca));
    let args = ["check", "--hub", &url, "--access-key-file", &key, "--ca-file", &ca, "--allow", &allow];
    let (status, tree, _) = Program::start(&args, &[]).end().await;
    assert_eq!(status.code(), Some(0));
    for line in [format!("hub at {url}/, direct\n├─ ok   name"), format!("gitlab at {}, direct\n", sim.url())]
    {
        assert!(tree.contains(&line), "{line} in {tree}");
    }
    assert!(!tree.contains('\u{1b}') && !tree.contains(AGENT_KEY), "{tree}");
}

#[tokio::test]
async fn each_leg_says_what_fails_in_the_words_of_the_chart() {
    let (hub, files) = (TlsHub::start().await, Files::new());
    let closed = closed_port().await.unwrap();
    let own = Pki::new("Company Root CA");
    let server = hello_tls(own.server(&["127.0.0.1"], |_| {})).await;
    let proxy = Proxy::builder().start().await.unwrap();
    let nowhere = "https://gitlab.company.invalid=gitlab";
    let refused = format!("https://{closed}=gitlab");
    let unknown = format!("https://{server}=gitlab");
    let allow = ["--allow", nowhere, "--allow", &refused, "--allow", &unknown];
    let (code, report) = check(&hub, &files, &allow).await;
    assert_eq!((code, &report["ok"]), (Some(1), &Value::Bool(false)));
    let expected = [&[][..], &["dns.not_found"], &["tcp.refused"], &["tls.unknown_issuer"]];
    assert_eq!(codes(&report), expected, "{report}");
    assert!(remedy(&report, 3).contains("setting `customCaCert`"), "{report}");

    // A server that the proxy cannot reach, and that is missing from noProxy.
    let files_proxy = proxy.url();
    let hub_host = hub.address.to_string();
    let mut more = allow.to_vec();
    more.extend(["--proxy", &files_proxy, "--proxy-loopback", "--no-proxy", &hub_host]);
    let (code, report) = check(&hub, &files, &more).await;
    assert_eq!(code, Some(1));
    let expected = [&[][..], &["proxy.bad_gateway"], &["proxy.bad_gateway"], &["tls.unknown_issuer"]];
    assert_eq!(codes(&report), expected, "{report}");
    let line = format!(
        "add it, or its domain `.company.invalid`, to noProxy, `proxy.noProxy = \"{hub_host},gitlab.company.invalid\"`"
    );
    let said = remedy(&report, 1);
    assert!(said.starts_with("Bad Gateway means") && said.contains(&line), "{said}");
    for theirs in ["this machine", "this service", "`ca`", "`no_proxy", "_proxy`", "or an agent"] {
        assert!(!report.to_string().contains(theirs), "{theirs} in {report}");
    }

    // The hub's leg.
    files.write("accessKey", "scmhub-wrong");
    let (code, report) = check(&hub, &files, &["--allow", &unknown]).await;
    assert_eq!((code, &codes(&report)[0][..]), (Some(1), &["relay.key_rejected".to_owned()][..]));
    assert!(remedy(&report, 0).contains("`accessKey`"), "{report}");
    assert!(!report.to_string().contains("scmhub-wrong"));
}

#[tokio::test]
async fn test_connection_through_the_hub_says_the_same() {
    let (hub, files) = (TlsHub::start().await, Files::new());
    let own = Pki::new("Company Root CA");
    let server = hello_tls(own.server(&["127.0.0.1"], |_| {})).await;
    let proxy = Proxy::builder().start().await.unwrap();
    let unknown = format!("https://{server}");
    let (allow, proxy_url) = (format!("{unknown}=gitlab"), proxy.url());
    let hub_host = hub.address.to_string();
    let more = [
        "--allow",
        &allow,
        "--allow",
        "http://gitlab.company.invalid=gitlab",
        "--proxy",
        &proxy_url,
        "--proxy-loopback",
        "--no-proxy",
        &hub_host,
    ];
    let mut agent = Program::run(&hub, &files, &more);
    agent.ready().await;
    let transport = hub.hub.transport(acme());
    for (url, code, words) in [
        (unknown.as_str(), Code::TlsUnknownIssuer, "setting `customCaCert`"),
        ("http://gitlab.company.invalid", Code::ProxyBadGateway, "proxy.noProxy = \""),
    ] {
        let rungs = transport.probe(&url.parse().unwrap()).await;
        let findings: Vec<_> = rungs.iter().flat_map(|rung| &rung.findings).collect();
        assert_eq!(findings.len(), 1, "{rungs:?}");
        assert_eq!(findings[0].code, code);
        assert!(findings[0].remedy.contains(words), "{rungs:?}");
    }
}
