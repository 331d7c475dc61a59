//! What proxies say, by squid and tinyproxy as they are installed.

use scm_client::core::{Code, Outcome, Rung};
use scm_testkit::fault::program::Program;
use scm_testkit::fault::socket::closed_port;
use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use scm_testkit::sim::gitlab::GitLabSim;

use super::{BOTH, Connection, Section, needed};

fn through(connection: Connection, proxy: impl std::fmt::Display, more: &str) -> Connection {
    connection.with(format!(
        "route = \"proxy\"\nnetwork = {{ http_proxy = \"http://{proxy}\", https_proxy = \"http://{proxy}\", proxy_loopback = true{more} }}"
    ))
}

#[tokio::test]
async fn each_fault_has_its_code() {
    let squid = "acl bad dstdomain forbidden.company.com\nhttp_access deny bad\nhttp_access allow all\nhosts_file DIR/hosts\n";
    let strict = "acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all\n";
    let filter = [("filter", "^forbidden\\.company\\.com$\n")];
    let Some(squid) =
        needed("squid", Program::squid(squid, &[("hosts", "127.0.0.1 gitlab.company.com\n")]).await)
    else {
        return;
    };
    let Some(strict) = needed("squid", Program::squid(strict, &[]).await) else { return };
    let tinyproxy = Program::tinyproxy("Filter \"DIR/filter\"\n", &filter).await;
    let Some(tinyproxy) = needed("tinyproxy", tinyproxy) else { return };
    let mut section = Section::new("proxy");
    let closed = closed_port().await.unwrap();
    section.stable(closed.port(), "8443");
    for (program, port) in [(&squid, "3128"), (&strict, "3129"), (&tinyproxy, "8888")] {
        section.stable(program.address().port(), port);
    }
    let gitlab = GitLabSim::builder().seed_demo().start().await.unwrap();
    let bitbucket = BitbucketDcSim::builder().seed_demo().start().await.unwrap();
    let sims = [
        (gitlab.url(), gitlab.tokens()[0].token.clone()),
        (bitbucket.url(), bitbucket.tokens()[0].token.clone()),
    ];
    for (provider, (sim, token)) in BOTH.into_iter().zip(sims) {
        for proxy in [squid.address(), tinyproxy.address()] {
            let report = through(Connection::to(provider, &sim).token(&token), proxy, "").check().await;
            assert!(report.is_ok(), "{report}");
            let passed = report.rungs.iter().find(|rung| rung.rung == Rung::Proxy).unwrap();
            assert_eq!(passed.outcome, Outcome::Passed, "{report}");
        }
        let to = |url: &str| Connection::to(provider, url);
        let nobody = closed_port().await.unwrap();
        section.stable(nobody.port(), "3130");
        let report = through(to("https://gitlab.company.com"), nobody, "").check().await;
        section.found(Code::ProxyUnreachable, "nothing listens where the proxy should be", &report);
        let report =
            through(to("https://gitlab.company.com"), "proxy.company.invalid:3128", "").check().await;
        assert!(report.has(Code::ProxyUnreachable), "{report}");

        let report = through(to("https://gitlab.company.com"), strict.address(), "").check().await;
        section.found(Code::ProxyAuthRequired, "squid wants a password, none is given", &report);
        let wrong = format!("svc:wrong@{}", strict.address());
        let report = through(to("https://gitlab.company.com"), wrong, "").check().await;
        section.found(Code::ProxyAuthRequired, "squid does not accept the password", &report);

        for (name, proxy) in [("squid", squid.address()), ("tinyproxy", tinyproxy.address())] {
            for scheme in ["http", "https"] {
                let report =
                    through(to(&format!("{scheme}://forbidden.company.com")), proxy, "").check().await;
                section.found(
                    Code::ProxyForbidden,
                    &format!("{name} forbids the target ({scheme})"),
                    &report,
                );
                // tinyproxy asks the system for names.
                let host = if name == "squid" { "gitlab.company.com" } else { "127.0.0.1" };
                let internal = format!("{scheme}://{host}:{}", closed.port());
                let list = ", no_proxy = \".svc,.cluster.local\"";
                let report = through(to(&internal), proxy, list).check().await;
                let cause = format!("an internal server goes through {name} ({scheme})");
                section.found(Code::ProxyBadGateway, &cause, &report);
            }
        }
    }
    // A proxy that does not say who speaks.
    let silent =
        format!("server {{ listen 127.0.0.1:PORT0; location / {{ proxy_pass http://{closed}; }} }}\n");
    let Some(silent) = needed("nginx", Program::nginx(1, &silent, &[]).await) else { return };
    for provider in BOTH {
        let connection = Connection::to(provider, "http://gitlab.company.com");
        let report = through(connection, silent.address(), "").check().await;
        section.found(
            Code::ServerUnavailable,
            "a 502 that may be the proxy's: it does not say who speaks (http)",
            &report,
        );
        assert!(report.to_string().contains("add `gitlab.company.com` to `no_proxy`"), "{report}");
    }
    section.assert_on_page();
}
