//! What is large and what is many: a clone of `CLONE_MB`, and `IDLE_AGENTS` that wait for work.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use scm_relay::{Agent, AgentSettings, KeyHash};
use scm_testkit::sim::gitlab::{GitLabSim, Role, TokenKind, TokenSpec};
use scm_transport::{CaCertificates, Network};
use tokio::task::JoinSet;

use crate::fault_world::{HubProcess, soon, variable};
use crate::world::{SERVICE_KEY, secret};

/// Files of the repository that is cloned.
const FILE: usize = 4 * 1024 * 1024;

/// Hub and agent stay below it, each, in KiB.
const CLONE_PEAK: u64 = 100 * 1024;

/// Largest cost of an idle tunnel to the hub, in bytes.
const IDLE: u64 = 64 * 1024;

fn git(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_TERMINAL_PROMPT", "0");
    command
}

/// What it says, where it goes well.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A bare repository with so many files of noise, which git cannot make smaller, each in a commit of its own.
fn make(path: &Path, files: usize) {
    use std::io::Write as _;

    said(git(path.parent().unwrap()).args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(path));
    // Nothing in it is like anything else, and looking for that takes longer than all the rest.
    said(git(path).args(["config", "core.bigFileThreshold", "1m"]));
    let mut import = git(path);
    import.args(["-c", "core.compression=0", "fast-import", "--quiet", "--depth=0"]).stdin(Stdio::piped());
    let mut import = import.spawn().unwrap();
    let mut stream = std::io::BufWriter::new(import.stdin.take().unwrap());
    let mut random = fastrand::Rng::with_seed(7);
    let mut noise = vec![0; FILE];
    for n in 0..files {
        random.fill(&mut noise);
        let date = 1_767_348_245 + n;
        write!(
            stream,
            "commit refs/heads/main\ncommitter Ada <ada@example.com> {date} +0100\ndata 5\nMore\n\n"
        )
        .unwrap();
        write!(stream, "M 100644 inline dir-{}/file-{n}\ndata {FILE}\n", n % 7).unwrap();
        stream.write_all(&noise).unwrap();
        stream.write_all(b"\n").unwrap();
    }
    drop(stream);
    assert!(import.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_clone_arrives_as_it_is_and_needs_little_memory() {
    let megabytes = usize::try_from(variable("CLONE_MB").unwrap_or(50)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.git");
    let files = (megabytes << 20).div_ceil(FILE);
    tokio::task::spawn_blocking({
        let path = path.clone();
        move || make(&path, files)
    })
    .await
    .unwrap();
    let sim = GitLabSim::builder().repository("group/large", &path).start().await.unwrap();
    let token = sim.issue_token(&TokenSpec::new(TokenKind::Group, "bot").role(Role::Maintainer)).unwrap();
    let hub = HubProcess::start("").await;
    let agent = hub.agent(&[&format!("{}=gitlab:clone", sim.url())]).await;
    hub.tunnels(2).await;
    let before = (hub.process.memory().now, agent.memory().now);

    let server = sim.url().strip_prefix("http://").unwrap().to_owned();
    let url =
        format!("http://bot:{}@{}/v1/agents/acme/http/{server}/group/large.git", token.token, hub.address());
    let mut clone = git(dir.path());
    clone.args([
        "-c",
        &format!("http.extraHeader=Scm-Hub-Key: {SERVICE_KEY}"),
        "clone",
        "--quiet",
        "--no-checkout",
    ]);
    clone.args([&url, "clone"]);
    let start = Instant::now();
    let cloned = tokio::task::spawn_blocking(move || clone.output().unwrap()).await.unwrap();
    let took = start.elapsed();
    assert!(cloned.status.success(), "{}", String::from_utf8_lossy(&cloned.stderr));

    let (ours, work) = (dir.path().join("large.git"), dir.path().join("clone"));
    let size = said(git(&work).args(["count-objects", "-v"]));
    println!(
        "a clone of {files} files of 4 MiB took {took:?}; memory of the hub: {} KiB before, peak {} KiB; of the agent: {} KiB \
         before, peak {} KiB; {}",
        before.0,
        hub.process.memory().peak,
        before.1,
        agent.memory().peak,
        size.replace('\n', ", ")
    );
    let list = ["log", "--format=%H %T", "main"];
    assert_eq!(said(git(&work).args(list)), said(git(&ours).args(list)));
    assert_eq!(said(git(&work).args(list)).lines().count(), files);
    tokio::task::spawn_blocking(move || said(git(&work).args(["fsck", "--strict", "--no-dangling"])))
        .await
        .unwrap();
    for peak in [hub.process.memory().peak, agent.memory().peak] {
        assert!(peak < CLONE_PEAK, "{peak} KiB");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_agent_costs_the_hub_little() {
    let count = variable("IDLE_AGENTS").unwrap_or(200);
    let key = |n| format!("scmhub-idle-{n}");
    let mut entries = String::new();
    for n in 0..count {
        writeln!(entries, "[[agent]]\nname = \"idle-{n}\"\nkeys = [\"{}\"]", KeyHash::of(&key(n))).unwrap();
    }
    let hub = HubProcess::quiet(&entries).await;
    // The first one brings what all of them share.
    let _first = hub.agent(&["http://git.test=any"]).await;
    hub.tunnels(2).await;
    let before = (hub.process.memory().now, hub.process.descriptors());
    let authority = rcgen::generate_simple_self_signed(["authority.test".to_owned()]).unwrap().cert.pem();
    let network = Network::new().with_roots_only(CaCertificates::parse(&authority).unwrap());
    let start = Instant::now();
    let mut agents = JoinSet::new();
    let mut ready = Vec::new();
    for n in 0..count {
        let policy = scm_relay::Policy::new().with("http://git.test=any".parse().unwrap());
        let settings =
            AgentSettings::new().with_network(network.clone()).with_tunnels(1).with_danger_plain_http();
        let agent = Agent::new(hub.url().parse().unwrap(), secret(&key(n)), policy, settings).unwrap();
        ready.push(agent.health());
        agents.spawn(async move { agent.run(std::future::pending()).await });
    }
    for health in ready {
        soon("a tunnel", health.ready()).await;
    }
    let took = start.elapsed();
    let after = (hub.process.memory().now, hub.process.descriptors());
    let bytes = (after.0 - before.0) * 1024 / count;
    // Long enough for each to be pinged.
    let busy = hub.process.cpu();
    let idle = variable("IDLE_SECONDS").unwrap_or(0);
    tokio::time::sleep(Duration::from_secs(idle)).await;
    let later = hub.process.memory().now;
    println!(
        "{count} agents came in {took:?}; memory of the hub: {} KiB before, {} KiB after, {bytes} bytes for each; descriptors: \
         {} before, {} after; after {idle} s: {later} KiB, {} ms of processor time",
        before.0,
        after.0,
        before.1,
        after.1,
        (hub.process.cpu() - busy).as_millis()
    );
    // One each; a connection that asked for the state may have ended since.
    assert!(after.1 <= before.1 + usize::try_from(count).unwrap(), "{} descriptors", after.1);
    assert!(bytes <= IDLE, "{bytes} bytes for each");
    assert!((later - before.0) * 1024 / count <= IDLE, "{later} KiB after {idle} s");
    assert_eq!(agents.len(), usize::try_from(count).unwrap());
}
