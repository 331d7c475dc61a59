//! What answers in place of the product, by nginx.

use scm_client::core::{Code, Outcome, Rung};
use scm_testkit::fault::Fault;
use scm_testkit::fault::program::Program;
use scm_testkit::fault::socket::closed_port;
use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use scm_testkit::sim::gitlab::GitLabSim;

use super::{BOTH, Connection, Section, needed};

#[tokio::test]
async fn each_fault_has_its_code() {
    let mut section = Section::new("product");
    let gitlab = GitLabSim::builder().seed_demo().start().await.unwrap();
    let bitbucket = BitbucketDcSim::builder().seed_demo().start().await.unwrap();
    let sims = [
        (gitlab.url(), gitlab.tokens()[0].token.clone()),
        (bitbucket.url(), bitbucket.tokens()[0].token.clone()),
    ];
    let closed = closed_port().await.unwrap();
    for (provider, (sim, token)) in BOTH.into_iter().zip(sims) {
        let server = |index: usize, rule: &str| {
            format!("server {{ listen 127.0.0.1:PORT{index}; default_type text/html; {rule} }}\n")
        };
        let page = "<html><title>Sign in</title><form><input type=password></form>";
        let servers = [
            server(0, "return 404;"),
            server(1, "return 200 '<html><title>Welcome to nginx!</title>';"),
            server(2, &format!("return 200 '{page}login';")),
            server(3, "return 302 'https://sso.company.com/login?to=$request_uri';"),
            server(4, &format!("location / {{ proxy_pass http://{closed}; }}")),
            server(5, "return 503;"),
            server(6, "return 301 'https://git.company.com$request_uri';"),
            // With a path of its own nginx passes on what it has decoded.
            server(7, &format!("location / {{ proxy_pass {sim}/; }}")),
            server(8, &format!("location / {{ proxy_pass {sim}; }}")),
            server(
                9,
                &format!(
                    "auth_basic staff; auth_basic_user_file DIR/staff; location / {{ proxy_pass {sim}; }}"
                ),
            ),
        ];
        let nginx = Program::nginx(servers.len(), &servers.concat(), &[("staff", "")]).await;
        let Some(nginx) = needed("nginx", nginx) else { return };
        for address in nginx.addresses() {
            section.stable(address.port(), "80");
        }
        let to = |index: usize| {
            Connection::to(provider, format!("http://{}/", nginx.addresses()[index])).token(&token)
        };
        for (index, code, cause) in [
            (0, Code::ProductNotFound, "nothing is there"),
            (1, Code::ProductOther, "another service"),
            (2, Code::ProductLoginPage, "a portal shows its login"),
            (3, Code::ProductLoginPage, "single sign-on leads to its login"),
            (9, Code::ProductLoginPage, "nginx wants a password of its own"),
            (4, Code::ServerUnavailable, "nginx is there, the server behind it is not (502)"),
            (5, Code::ServerUnavailable, "maintenance (503)"),
            (6, Code::UrlNotRoot, "a redirect to the address that the server goes by now"),
        ] {
            section.found(code, cause, &to(index).check().await);
        }
        let report = to(8).check().await;
        assert!(report.is_ok(), "{report}");
        let report = to(7).check().await;
        match provider {
            "gitlab" => section.found(Code::ProductSlashDecoded, "nginx decodes `%2F`", &report),
            _ => assert!(report.is_ok() && !report.has(Code::ProductSlashDecoded), "{report}"),
        }
    }
    let old = GitLabSim::builder().version("15.11.0").seed_demo().start().await.unwrap();
    let report = Connection::to("gitlab", old.url()).token(&old.tokens()[0].token).check().await;
    section.found(Code::ServerTooOld, "GitLab before 16.8", &report);
    let old = BitbucketDcSim::builder().version("7.21.3").seed_demo().start().await.unwrap();
    let report = Connection::to("bitbucket-dc", old.url()).token(&old.tokens()[0].token).check().await;
    section.found(Code::ServerTooOld, "Bitbucket before 8.0; the climb goes on", &report);
    section.assert_on_page();
}

/// What came up only on a rung above says nothing about the token, role or repository.
#[tokio::test]
async fn a_fault_further_up_is_coded_as_what_it_is() {
    let gitlab = GitLabSim::builder().seed_demo().start().await.unwrap();
    let bitbucket = BitbucketDcSim::builder().seed_demo().start().await.unwrap();
    let page = |status| Fault::anywhere().html(status, "<html><title>Blocked by policy</title>");
    for (fault, code) in [
        (page(503), Code::ServerUnavailable),
        (page(502), Code::ServerUnavailable),
        (page(403), Code::ProductOther),
        (page(200), Code::ProductOther),
        (Fault::anywhere().reset_before(), Code::ServerUnavailable),
    ] {
        for (provider, (calls, rung)) in BOTH
            .into_iter()
            .flat_map(|provider| [(0, Rung::Product), (1, Rung::Credential)].map(|at| (provider, at)))
        {
            let (url, token, faults) = match provider {
                "gitlab" => (gitlab.url(), gitlab.tokens()[0].token.clone(), gitlab.faults()),
                _ => (bitbucket.url(), bitbucket.tokens()[0].token.clone(), bitbucket.faults()),
            };
            faults.add(fault.clone().after(calls));
            let report = Connection::to(provider, url).token(token).check().await;
            faults.clear();
            let failed = report.rungs.iter().find(|climbed| climbed.rung == rung).unwrap();
            assert_eq!(failed.outcome, Outcome::Failed, "{report}");
            assert_eq!(failed.findings[0].code, code, "{report}");
        }
    }
}
