//! The ways to a server by direct connection, nginx, this relay and those that others wrote, in alternation; then tables. A
//! smoke run (`cargo test --benches`) does a little of it once, without peers, and gives no figures.

mod rivals;
mod tables;

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use benches::{AUTHORITY, CERTIFICATE, KEY, Process};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use rivals::{BORE, DIRECT, IN_PROCESS, NGINX, RATHOLE, Rival, SNYK, STAND_ALONE, Scene};

const ORIGIN: &str = env!("CARGO_BIN_EXE_bench-origin");

pub(crate) const CALLERS: [usize; 3] = [1, 16, 64];

/// How much is done.
struct Plan {
    rivals: &'static [&'static str],
    far: &'static [&'static str],
    rounds: usize,
    /// For so many callers, in milliseconds.
    time: u32,
    /// Of large bodies.
    bytes: u32,
    /// No round begins after it.
    budget: Duration,
}

const FULL: Plan = Plan {
    rivals: &[DIRECT, NGINX, IN_PROCESS, STAND_ALONE, RATHOLE, BORE, SNYK],
    far: &[IN_PROCESS, STAND_ALONE, RATHOLE],
    rounds: 5,
    time: 700,
    bytes: 100_000_000,
    budget: Duration::from_secs(110),
};

const SMOKE: Plan = Plan {
    rivals: &[DIRECT, IN_PROCESS, STAND_ALONE],
    far: &[STAND_ALONE],
    rounds: 1,
    time: 20,
    bytes: 100_000,
    budget: Duration::from_secs(60),
};

/// The long wire.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// What so many callers got.
#[derive(Clone, Copy)]
pub(crate) struct Small {
    /// Requests in a second.
    pub(crate) rate: f64,
    /// In microseconds.
    pub(crate) median: f64,
    /// In microseconds.
    pub(crate) slow: f64,
}

/// One round of one rival. What failed is not there.
#[derive(Clone, Default)]
pub(crate) struct Round {
    pub(crate) small: [Option<Small>; 3],
    /// Down and up, in milliseconds.
    pub(crate) large: [Option<f64>; 2],
}

/// All of one rival, over plain connections or encrypted ones.
pub(crate) struct Figures {
    pub(crate) name: &'static str,
    pub(crate) tls: bool,
    pub(crate) rounds: Vec<Round>,
    /// In MiB, where callers come in and where servers are reached.
    pub(crate) memory: (Option<f64>, Option<f64>),
    /// Over the long wire, down and up, in milliseconds.
    pub(crate) far: Vec<[Option<f64>; 2]>,
}

fn main() -> Result<()> {
    let smoke = std::env::args().any(|arg| arg == "--test") || !std::env::args().any(|arg| arg == "--bench");
    let plan = if smoke { &SMOKE } else { &FULL };
    build()?;
    let runtime = Runtime::new()?;
    let mut figures = Vec::new();
    for tls in [false, true] {
        let folder = TempDir::new()?;
        let certificates = tls.then(|| certificates(folder.path())).transpose()?;
        figures.extend(measure(plan, certificates.as_deref(), folder.path(), &runtime)?);
    }
    if smoke {
        say("a smoke run: everything ran, nothing was measured");
        return Ok(());
    }
    say(&tables::render(&figures, f64::from(plan.bytes) / 1e6));
    Ok(())
}

/// How hub and agent are built: as they are handed out.
const PROFILE: &str = if cfg!(debug_assertions) { "dev" } else { "dist" };

/// Hub and agent, which are programs of another package.
fn build() -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "scm-relay", "--bins", "--profile", PROFILE]);
    cargo.current_dir(here("")).arg("--target-dir").arg(target_dir());
    if cargo.status()?.success() { Ok(()) } else { Err(Error::other("hub and agent cannot be built")) }
}

fn measure(
    plan: &Plan,
    certificates: Option<&Path>,
    folder: &Path,
    runtime: &Runtime,
) -> Result<Vec<Figures>> {
    let tls = certificates.is_some();
    let certificates_arg = certificates.map(Path::to_string_lossy);
    let args: Vec<&str> = certificates_arg.as_deref().into_iter().collect();
    let mut origin = Process::start(ORIGIN, &args)?;
    let origin = (format!("{}://{}", if tls { "https" } else { "http" }, origin.line()?), origin);
    let mut scene = Scene { origin: &origin.0, certificates, round_trip: Duration::ZERO, folder, runtime };
    let mut figures: Vec<Figures> = Vec::new();
    let mut rivals = start(&scene, plan.rivals);
    for rival in &rivals {
        figures.push(Figures {
            name: rival.name,
            tls,
            rounds: Vec::new(),
            memory: (None, None),
            far: Vec::new(),
        });
    }
    let begin = Instant::now();
    for round in 0..plan.rounds {
        if round > 0 && begin.elapsed() > plan.budget {
            say(&format!("only {round} rounds: the time is over"));
            break;
        }
        let mut done = vec![Round::default(); rivals.len()];
        // One kind after the other, so that what is compared is close in time.
        for (nth, callers) in CALLERS.into_iter().enumerate() {
            each(&mut rivals, round, |at, rival| {
                done[at].small[nth] = small(rival, callers, plan.time);
            });
        }
        for (nth, way) in ["down", "up"].into_iter().enumerate() {
            each(&mut rivals, round, |at, rival| {
                // What failed once takes long to fail again.
                if figures[at].rounds.iter().all(|round| round.large[nth].is_some()) {
                    done[at].large[nth] = large(rival, way, plan.bytes);
                }
            });
        }
        for (figures, round) in figures.iter_mut().zip(done) {
            figures.rounds.push(round);
        }
    }
    for (figures, rival) in figures.iter_mut().zip(&rivals) {
        figures.memory = rival.memory();
    }
    drop(rivals);
    scene.round_trip = ROUND_TRIP;
    let mut rivals = start(&scene, plan.far);
    for round in 0..plan.rounds {
        each(&mut rivals, round, |_, rival| {
            let took = ["down", "up"].map(|way| large(rival, way, plan.bytes));
            if let Some(figures) = figures.iter_mut().find(|figures| figures.name == rival.name) {
                figures.far.push(took);
            }
        });
    }
    Ok(figures)
}

fn start(scene: &Scene<'_>, names: &[&'static str]) -> Vec<Rival> {
    let over = if scene.certificates.is_some() { "TLS" } else { "plain" };
    let mut out = Vec::new();
    for name in names {
        match scene.start(name) {
            Ok(rival) => out.push(rival),
            Err(why) => say(&format!("{name} ({over}) is left out: {why}")),
        }
    }
    out
}

/// Lets each rival work, who begins changes.
fn each(rivals: &mut [Rival], round: usize, mut work: impl FnMut(usize, &mut Rival)) {
    let mut order: Vec<usize> = (0..rivals.len()).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    for at in order {
        work(at, &mut rivals[at]);
    }
}

fn small(rival: &mut Rival, callers: usize, time: u32) -> Option<Small> {
    match ask(rival, &format!("get {callers} {time}"))?[..] {
        [rate, median, slow] => Some(Small { rate, median, slow }),
        _ => None,
    }
}

fn large(rival: &mut Rival, way: &str, bytes: u32) -> Option<f64> {
    ask(rival, &format!("{way} {bytes}"))?.first().copied()
}

/// The numbers it answers; what fails is said.
fn ask(rival: &mut Rival, line: &str) -> Option<Vec<f64>> {
    let answer = rival.caller.ask(line).map(|(answer, _)| answer);
    let numbers = answer
        .as_ref()
        .ok()
        .and_then(|answer| answer.split(' ').map(|number| number.parse().ok()).collect::<Option<Vec<f64>>>());
    if numbers.is_none() {
        say(&format!("{}, {line}: {answer:?}", rival.name));
    }
    numbers
}

/// A certificate of this machine, in a folder for programs.
fn certificates(folder: &Path) -> Result<PathBuf> {
    let made = || -> std::result::Result<[(&str, String); 3], rcgen::Error> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate whose issuer has its own name for one that nobody else has signed.
        authority.distinguished_name.push(DnType::CommonName, "authority");
        let (own, key) = (KeyPair::generate()?, KeyPair::generate()?);
        let pem = authority.self_signed(&own)?.pem();
        let server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let server = server.signed_by(&key, &Issuer::new(authority, own))?.pem();
        Ok([(AUTHORITY, pem), (CERTIFICATE, server), (KEY, key.serialize_pem())])
    };
    let folder = folder.join("certificates");
    std::fs::create_dir(&folder)?;
    for (name, text) in made().map_err(|error| Error::new(ErrorKind::InvalidData, error))? {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(folder)
}

/// One of the programs of hub and agent.
pub(crate) fn program(name: &str) -> PathBuf {
    let folder = if PROFILE == "dev" { "debug" } else { PROFILE };
    target_dir().join(folder).join(name)
}

/// Where cargo builds.
fn target_dir() -> PathBuf {
    let mut dir = PathBuf::from(ORIGIN);
    dir.pop();
    dir.pop();
    dir
}

/// Seen from the folder of this package.
pub(crate) fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[expect(clippy::print_stdout, reason = "the tables are the program's output")]
fn say(line: &str) {
    println!("{line}");
}
