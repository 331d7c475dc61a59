//! What an agent reaches: addresses, and credentials of its own.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use scm_bitbucket_dc::{BitbucketDc, BitbucketDcConfig};
use scm_core::{Body, Code, Credential, Delivery, ErrorKind, HttpTransport as _, Scm, StaticCredential};
use scm_gitlab::{GitLab, GitLabConfig};
use scm_relay::{AgentSettings, HeldCredential, Secret};
use scm_testkit::fault::socket::{Script, ScriptedServer};
use scm_testkit::proxy::Proxy;
use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use scm_testkit::sim::gitlab::{GitLabSim, ProjectSpec, Role, TokenKind, TokenSpec};
use scm_transport::{Network, Proxies, Resolver};
use tokio::sync::Semaphore;

use crate::world::{SERVICE_KEY, World, acme, policy, secret};

/// Leads every name to these addresses.
#[derive(Debug)]
struct To(Vec<IpAddr>);

impl To {
    fn network(addresses: &[&str]) -> Network {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Network::new().with_resolver(Arc::new(Self(addresses)))
    }
}

#[async_trait]
impl Resolver for To {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(self.0.clone())
    }
}

fn get(url: &str) -> http::Request<Body> {
    http::Request::get(url).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_name_may_not_lead_where_no_server_is() {
    for (address, what) in [
        ("127.0.0.1", "an address of the agent's own machine"),
        ("127.8.8.8", "an address of the agent's own machine"),
        ("::1", "an address of the agent's own machine"),
        ("::ffff:127.0.0.1", "an address of the agent's own machine"),
        ("::ffff:169.254.169.254", "the cloud's metadata service"),
        ("169.254.169.254", "the cloud's metadata service"),
        ("fd00:ec2::254", "the cloud's metadata service"),
        ("169.254.1.1", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("0.0.0.0", "no address of a server"),
    ] {
        let world = World::new().await;
        // A good one beside it changes nothing.
        let network = To::network(&["192.0.2.1", address]);
        let _agent =
            world.agent_by(policy(&["http://git.test=any"]), AgentSettings::new().with_network(network));
        let error = world.transport().send(get("http://git.test/")).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Relay, Some(Code::RelayAgentDenied)), "{error}");
        assert_eq!((error.delivery(), error.retryable()), (Delivery::NotSent, Some(false)));
        let words = format!("git.test: it leads to {address}, {what}");
        assert!(error.to_string().contains(&words), "{error}");
        assert!(error.to_string().contains(&format!("allowAddresses = [\"{address}\"]")), "{error}");
        let rungs = world.hub.transport(acme()).probe(&"http://git.test/".parse().unwrap()).await;
        let failed: Vec<_> =
            rungs.iter().flat_map(|rung| &rung.findings).map(|finding| finding.code).collect();
        assert_eq!(failed, [Code::RelayAgentDenied], "{rungs:?}");
        let remedy = &rungs[1].findings[0].remedy;
        assert!(remedy.contains("`allowAddresses`"), "{remedy}");
    }
}

#[tokio::test]
async fn an_address_that_is_listed_may_be_where_a_name_leads() {
    let server = ScriptedServer::start([Script::new().request().json(200, "{}")]).await.unwrap();
    let world = World::new().await;
    let place = format!("http://git.test:{}", server.address().port());
    let policy = policy(&[&format!("{place}=any")]).with_address("127.0.0.1".parse().unwrap());
    let settings = AgentSettings::new().with_network(To::network(&["127.0.0.1"]));
    let _agent = world.agent_by(policy, settings);
    assert_eq!(world.transport().send(get(&place)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn localhost_is_a_name_like_others_and_an_address_of_a_cloud_is_none_of_a_server() {
    let world = World::new().await;
    let entries =
        ["http://localhost:1=any", "http://169.254.169.254=any", "http://[::ffff:a9fe:a9fe]:81=any"];
    let _agent = world.agent(&entries);
    for (url, words) in [
        ("http://localhost:1/", "localhost: it leads to "),
        ("http://169.254.169.254/latest/meta-data/", "refuses 169.254.169.254, the cloud's metadata service"),
        ("http://[::ffff:169.254.169.254]/", "refuses 169.254.169.254, the cloud's metadata service"),
        ("http://0xa9fea9fe/", "refuses 169.254.169.254, the cloud's metadata service"),
        ("http://169.254.169.254:81/", "refuses 169.254.169.254, the cloud's metadata service"),
    ] {
        let error = world.transport().send(get(url)).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::RelayAgentDenied), "{url}: {error}");
        assert!(error.to_string().contains(words), "{url}: {error}");
    }
}

#[tokio::test]
async fn behind_a_proxy_the_proxy_resolves_and_may_be_on_this_machine() {
    let server = ScriptedServer::start([Script::new().request().json(200, "{}")]).await.unwrap();
    let proxy = Proxy::builder().host("git.test", server.address()).start().await.unwrap();
    // By name: it is loopback, which no server's name may be.
    let url = format!("http://localhost:{}", proxy.address().port());
    let proxies = Proxies::new().with_http_proxy(&url.as_str().into()).unwrap();
    let world = World::new().await;
    let network = Network::new().with_proxies(proxies);
    // The way to the hub is direct: it is loopback.
    let _agent = world.agent_by(policy(&["http://git.test=any"]), AgentSettings::new().with_network(network));
    assert_eq!(world.transport().send(get("http://git.test/")).await.unwrap().status(), 200);
    assert_eq!(proxy.traffic().requests, 1);
}

#[tokio::test]
async fn the_agents_credential_takes_the_place_of_the_callers() {
    let session = [("Set-Cookie", "session=1"), ("X-Seen", "1")];
    let scripts = (0..8).map(|_| Script::new().request().answer(200, &session, "{}"));
    let server = ScriptedServer::start(scripts).await.unwrap();
    let other = ScriptedServer::start([Script::new().request().answer(200, &session, "{}")]).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "held-one\n").unwrap();
    let held = HeldCredential::new(&format!("{}/bitbucket", server.url()), Secret::file(&file).unwrap());
    let settings = AgentSettings::new().with_credential(held.unwrap().with_username("svc")).with_credential(
        HeldCredential::new(&format!("{}/gitlab", server.url()), secret("of-gitlab")).unwrap(),
    );
    let world = World::new().await;
    let (bitbucket, gitlab) =
        (format!("{}/bitbucket=bitbucket-dc", server.url()), format!("{}/gitlab=gitlab", server.url()));
    let (own, any) = (format!("{}/own=any", server.url()), format!("{}=any", other.url()));
    let settings = settings
        .with_credential(HeldCredential::new(&format!("{}/own", server.url()), secret("of-own")).unwrap());
    let _agent = world.agent_by(policy(&[&bitbucket, &gitlab, &own, &any]), settings);

    let ask = async |url: String| {
        let request = http::Request::get(url)
            .header("authorization", "Bearer of-the-caller")
            .header("private-token", "of-the-caller")
            .header("cookie", "session=of-the-caller")
            .body(Body::empty())
            .unwrap();
        let answer = world.transport().send(request).await.unwrap();
        (answer.status().as_u16(), answer.headers().contains_key("set-cookie"))
    };
    let refs = "info/refs?service=git-upload-pack";
    let root = server.url();
    let rest = format!("{root}/bitbucket/rest/api/latest/projects");
    for (url, expected) in [
        (rest.clone(), "bearer held-one"),
        // svc:held-one
        (format!("{root}/bitbucket/scm/proj/repo.git/{refs}"), "basic c3zjomhlbgqtb25l"),
        (format!("{root}/gitlab/api/v4/version"), "bearer of-gitlab"),
        (format!("{root}/own/x"), "bearer of-own"),
        // oauth2:of-own
        (format!("{root}/own/x.git/{refs}"), "basic b2f1dggyom9mlw93bg=="),
        // oauth2:of-gitlab
        (format!("{root}/gitlab/group/repo.git/{refs}"), "basic b2f1dggyom9mlwdpdgxhyg=="),
    ] {
        assert_eq!(ask(url.clone()).await, (200, false), "{url}");
        let head = server.requests().last().unwrap().head.to_lowercase();
        assert!(head.contains(&format!("\r\nauthorization: {expected}\r\n")), "{url}: {head}");
        assert_eq!(head.matches("authorization").count(), 1, "{head}");
        assert!(!head.contains("of-the-caller"), "{head}");
    }
    // The file is read again.
    std::fs::write(&file, "held-two").unwrap();
    assert_eq!(ask(rest).await, (200, false));
    assert!(server.requests().last().unwrap().head.contains("Bearer held-two"));
    // Elsewhere the caller's own is what counts.
    assert_eq!(ask(format!("{}/", other.url())).await, (200, true));
    let head = other.requests()[0].head.to_lowercase();
    assert!(head.contains("\r\nauthorization: bearer of-the-caller\r\n"), "{head}");
    assert!(!head.contains("held"), "{head}");
}

#[tokio::test]
async fn no_more_requests_are_in_flight_than_the_agent_takes() {
    let gate = Arc::new(Semaphore::new(0));
    let scripts =
        [Script::new().request().gate(&gate).json(200, "1"), Script::new().request().json(200, "2")];
    let server = ScriptedServer::start(scripts).await.unwrap();
    let world = World::new().await;
    let _agent =
        world.agent_by(policy(&[&format!("{}=any", server.url())]), AgentSettings::new().with_in_flight(1));
    let (transport, url) = (world.transport(), server.url());
    let first =
        tokio::spawn(async move { transport.send(get(&url)).await.unwrap().into_body().collect(9).await });
    while server.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (transport, url) = (world.transport(), server.url());
    let second =
        tokio::spawn(async move { transport.send(get(&url)).await.unwrap().into_body().collect(9).await });
    while world.hub.agents()[0].in_flight < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(server.connections(), 1);
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().unwrap(), "1");
    assert_eq!(second.await.unwrap().unwrap(), "2");
}

fn git(dir: &Path, args: &[&str]) -> std::process::Output {
    let mut command = Command::new("git");
    command.current_dir(dir).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0").output().unwrap()
}

/// A clone without any credential but the service's key, which git has room for as a password.
async fn clones(world: &World, place: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let url = world.place(place).replace("http://", &format!("http://x:{SERVICE_KEY}@"));
    let path = dir.path().to_owned();
    let cloned =
        tokio::task::spawn_blocking(move || git(&path, &["clone", "--quiet", &url, "work"])).await.unwrap();
    assert!(cloned.status.success(), "{}", String::from_utf8_lossy(&cloned.stderr));
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_and_git_of_gitlab_work_with_the_agents_token() {
    let sim = GitLabSim::builder().start().await.unwrap();
    sim.create_project("group/repo", &ProjectSpec::new().file("a.txt", "1\n")).unwrap();
    let token = sim.issue_token(&TokenSpec::new(TokenKind::Group, "bot").role(Role::Maintainer)).unwrap();
    let world = World::new().await;
    let held = HeldCredential::new(&sim.url(), secret(&token.token)).unwrap();
    let entry = format!("{}=gitlab", sim.url());
    let _agent = world.agent_by(policy(&[&entry]), AgentSettings::new().with_credential(held));
    let nothing = Arc::new(StaticCredential::new(Credential::HeldByAgent));
    let config = GitLabConfig::new(&sim.url(), nothing).unwrap();
    let scm = GitLab::new(config, world.transport()).unwrap();
    let report = scm.connection().check(&scm_core::CheckOptions::default()).await;
    assert!(report.is_ok(), "{report}");
    let dir = clones(&world, &format!("{}/group/repo.git", sim.url())).await;
    assert_eq!(std::fs::read(dir.path().join("work/a.txt")).unwrap(), b"1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_and_git_of_bitbucket_work_with_the_agents_token() {
    let sim = BitbucketDcSim::builder().context_path("/bitbucket").seed_demo().start().await.unwrap();
    let token = sim.tokens()[0].token.clone();
    let world = World::new().await;
    let held = HeldCredential::new(&sim.url(), secret(&token)).unwrap();
    let entry = format!("{}=bitbucket-dc", sim.url());
    let _agent = world.agent_by(policy(&[&entry]), AgentSettings::new().with_credential(held));
    let nothing = Arc::new(StaticCredential::new(Credential::HeldByAgent));
    let config = BitbucketDcConfig::new(&sim.url(), nothing).unwrap();
    let scm = BitbucketDc::new(config, world.transport()).unwrap();
    let report = scm.connection().check(&scm_core::CheckOptions::default()).await;
    assert!(report.is_ok(), "{report}");
    let name = sim.repositories()[0].to_lowercase();
    let dir = clones(&world, &format!("{}/scm/{name}.git", sim.url())).await;
    assert!(dir.path().join("work/.git/HEAD").is_file());
}
