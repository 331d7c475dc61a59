//! What stands between the agent and the servers, told in the words of the agent's settings.

use std::sync::Arc;
use std::time::Duration;

use scm_client::core::{Code, Outcome};
use scm_client::transport::{CaCertificates, Network, Proxies};
use scm_relay::{HubSettings, Policy};
use scm_testkit::fault::program::Program;
use scm_testkit::fault::socket::closed_port;
use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use scm_testkit::sim::gitlab::GitLabSim;

use super::agent::{Mounted, allowing};
use super::network::{Full, KnowsNothing, Silent};
use super::tls::{FAULTS, OPENED, Rig};
use super::{BOTH, Connection, Section, needed};

const PRESETS: [&str; 2] = BOTH;

fn hasty() -> Network {
    Network::new().with_connect_timeout(Duration::from_secs(2)).with_resolver(Arc::new(KnowsNothing))
}

fn proxied(network: Network, proxy: impl std::fmt::Display, exceptions: &str) -> Network {
    let proxy = format!("http://{proxy}").into();
    let proxies = Proxies::new().with_https_proxy(&proxy).unwrap().with_http_proxy(&proxy).unwrap();
    network.with_proxies(proxies.with_no_proxy(exceptions).with_proxied_loopback())
}

/// One fault behind an agent of these settings.
struct Fault {
    network: Network,
    url: String,
    code: Code,
    cause: String,
}

impl Fault {
    fn new(network: &Network, url: impl Into<String>, code: Code, cause: impl Into<String>) -> Self {
        Self { network: network.clone(), url: url.into(), code, cause: cause.into() }
    }
}

#[tokio::test]
async fn each_fault_has_its_code_and_the_agents_words() {
    let mut section = Section::new("behind the agent");
    let gitlab = GitLabSim::builder().seed_demo().start().await.unwrap();
    let bitbucket = BitbucketDcSim::builder().seed_demo().start().await.unwrap();
    let sims = [
        (gitlab.url(), gitlab.tokens()[0].token.clone()),
        (bitbucket.url(), bitbucket.tokens()[0].token.clone()),
    ];
    let rules = "acl bad dstdomain forbidden.company.com\nhttp_access deny bad\nhttp_access allow all\nhosts_file DIR/hosts\n";
    let hosts = [("hosts", "127.0.0.1 gitlab.company.com\n")];
    let Some(squid) = needed("squid", Program::squid(rules, &hosts).await) else { return };
    let strict = "acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all\n";
    let Some(strict) = needed("squid", Program::squid(strict, &[]).await) else { return };
    let full = Full::start().await;
    let [closed, nobody] = [closed_port().await.unwrap(), closed_port().await.unwrap()];
    for (address, port) in [
        (closed, "8443"),
        (nobody, "3130"),
        (squid.address(), "3128"),
        (strict.address(), "3129"),
        (full.address, "443"),
    ] {
        section.stable(address.port(), port);
    }
    let mounted = Mounted::start(HubSettings::new()).await;
    for ((provider, preset), (sim, token)) in BOTH.into_iter().zip(PRESETS).zip(sims) {
        let Some(rig) = Rig::start(&mut section, &sim).await else { return };
        let plain = hasty();
        let known = plain.clone().with_extra_roots(CaCertificates::parse(&rig.root.pem).unwrap());
        let opened = plain.clone().with_extra_roots(CaCertificates::parse(&rig.opener.pem).unwrap());
        let silent =
            plain.clone().with_connect_timeout(Duration::from_millis(500)).with_resolver(Arc::new(Silent));
        let patient = plain.clone().with_connect_timeout(Duration::from_millis(500));
        let internal = format!("https://gitlab.company.com:{}", closed.port());
        let exceptions = ".svc,.cluster.local";
        let mut faults = vec![
            Fault::new(
                &plain,
                "https://git.company.invalid",
                Code::DnsNotFound,
                "a name that nobody knows there",
            ),
            Fault::new(
                &silent,
                "https://git.company.invalid",
                Code::DnsFailed,
                "a DNS server that does not answer",
            ),
            Fault::new(&plain, format!("http://{closed}"), Code::TcpRefused, "the wrong port"),
            Fault::new(
                &patient,
                format!("https://{}", full.address),
                Code::TcpTimeout,
                "a firewall that drops packets",
            ),
            Fault::new(
                &proxied(plain.clone(), nobody, ""),
                &internal,
                Code::ProxyUnreachable,
                "nothing listens where the agent's proxy should be",
            ),
            Fault::new(
                &proxied(plain.clone(), strict.address(), ""),
                &internal,
                Code::ProxyAuthRequired,
                "the proxy wants a password, none is given",
            ),
            Fault::new(
                &proxied(plain.clone(), squid.address(), ""),
                "https://forbidden.company.com",
                Code::ProxyForbidden,
                "the proxy forbids the target",
            ),
            Fault::new(
                &proxied(plain.clone(), squid.address(), exceptions),
                &internal,
                Code::ProxyBadGateway,
                "an internal server is missing from the agent's `proxy.noProxy`",
            ),
            Fault::new(
                &plain,
                rig.url(0),
                Code::TlsUnknownIssuer,
                "the agent does not know the company's CA",
            ),
            Fault::new(
                &opened,
                rig.url(OPENED),
                Code::TlsIntercepted,
                "a proxy opens TLS on the way; its CA is given",
            ),
        ];
        if cfg!(target_os = "linux") {
            let cause = "no way to that network";
            faults.push(Fault::new(&plain, "https://127.255.255.255", Code::TcpUnreachable, cause));
        }
        faults.extend(FAULTS.map(|(index, code, cause)| Fault::new(&known, rig.url(index), code, cause)));
        for Fault { network, url, code, cause } in faults {
            let entry = format!("{}={preset}", url.trim_end_matches('/'));
            let agent = mounted.agent(allowing([entry.as_str()]), network).await;
            let report = mounted.through(Connection::to(provider, &url).token(&token)).check().await;
            section.found(code, &cause, &report);
            for finding in report.findings().filter(|finding| finding.code == code) {
                // The names of this library's own settings would send people to the wrong place.
                for own in ["`ca`", "`client_cert`", "no_proxy", "https_proxy"] {
                    assert!(!finding.remedy.contains(own), "{}", finding.remedy);
                }
            }
            agent.stop(&mounted.hub).await;
        }
        // All in order, in front of the server and through the proxy.
        let entry = format!("{}={preset}", rig.url(9).trim_end_matches('/'));
        for network in [known.clone(), proxied(known, squid.address(), "")] {
            let agent = mounted.agent(allowing([entry.as_str()]), network).await;
            let report = mounted.through(Connection::to(provider, rig.url(9)).token(&token)).check().await;
            assert!(report.is_ok(), "{report}");
            agent.stop(&mounted.hub).await;
        }
    }
    if cfg!(target_os = "linux") {
        section.assert_on_page();
    }
}

/// An address that no name may lead to is refused by the agent, and the setting that would allow it is named.
#[tokio::test]
async fn a_name_that_leads_to_the_agent_itself_is_denied() {
    let gitlab = GitLabSim::builder().seed_demo().start().await.unwrap();
    let port = gitlab.address().port();
    let mounted = Mounted::start(HubSettings::new()).await;
    let url = format!("http://localhost:{port}");
    let entry = format!("{url}=gitlab");
    let to = || mounted.through(Connection::to("gitlab", &url).token(&gitlab.tokens()[0].token));
    let agent = mounted.agent(allowing([entry.as_str()]), Network::new()).await;
    let report = to().check().await;
    let failed: Vec<_> = report.findings().filter(|finding| finding.outcome == Outcome::Failed).collect();
    assert_eq!(failed.len(), 1, "{report}");
    assert_eq!(failed[0].code, Code::RelayAgentDenied);
    assert!(failed[0].remedy.contains("`allowAddresses`"), "{report}");
    agent.stop(&mounted.hub).await;
    let policy: Policy = allowing([entry.as_str()])
        .with_address("127.0.0.1".parse().unwrap())
        .with_address("::1".parse().unwrap());
    let _agent = mounted.agent(policy, Network::new()).await;
    let report = to().check().await;
    assert!(report.is_ok(), "{report}");
}
