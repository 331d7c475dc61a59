//! Listings of many projects by several clients, in alternation, so that what else the machine does meets all alike.

use std::io::{Error, Result};
use std::process::Command;
use std::time::Duration;

use benches::{Cost, Process};

use crate::table::{Row, milliseconds};
use crate::{here, say, target_dir};

const WALKER: &str = env!("CARGO_BIN_EXE_bench-walker");
/// A client begins no walk after so much time.
const TIME: Duration = Duration::from_secs(15);

/// How much is done.
pub(crate) struct Plan {
    projects: usize,
    rounds: usize,
    /// Rounds against the slow server.
    slow_rounds: usize,
    /// What the slow server adds to each page, in milliseconds.
    delay: u32,
    /// Clients that this workspace does not build.
    others: bool,
}

pub(crate) const FULL: Plan = Plan { projects: 10_000, rounds: 15, slow_rounds: 7, delay: 20, others: true };
pub(crate) const SMOKE: Plan = Plan { projects: 250, rounds: 1, slow_rounds: 1, delay: 1, others: false };

pub(crate) fn run(plan: &Plan) -> Vec<Row> {
    let mut rows = fast_server(plan).expect("listings of a fast server");
    rows.extend(slow_server(plan).expect("listings of a slow server"));
    rows
}

struct Server {
    url: String,
    token: String,
    _process: Process,
}

impl Server {
    fn start(projects: usize, delay: u32) -> Result<Self> {
        let sim = env!("CARGO_BIN_EXE_bench-sim");
        let mut process = Process::start(sim, &[&projects.to_string(), &delay.to_string()])?;
        let ready = process.line()?;
        let (url, token) = ready.split_once(' ').ok_or_else(|| Error::other("no address and token"))?;
        Ok(Self { url: url.to_owned(), token: token.to_owned(), _process: process })
    }

    fn client(&self, name: &'static str, program: &str, args: &[&str]) -> Result<Client> {
        let mut process = Process::start(program, &[args, &[&self.url]].concat())?;
        process.tell(&self.token)?;
        Ok(Client { name, process, costs: Vec::new() })
    }

    fn allocations(&self, client: &str) -> Result<(f64, f64)> {
        let program = env!("CARGO_BIN_EXE_bench-allocations");
        let (line, _) = Process::start(program, &[client, &self.url])?.ask(&self.token)?;
        let numbers: Vec<f64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
        match numbers[..] {
            [count, bytes] => Ok((count, bytes)),
            _ => Err(Error::other("no two numbers")),
        }
    }
}

struct Client {
    name: &'static str,
    process: Process,
    costs: Vec<Cost>,
}

impl Client {
    fn median(&self, of: impl Fn(&Cost) -> Duration) -> Duration {
        median(self.costs.iter().map(of).collect())
    }

    /// The median of what this client took for each thing that the other took in the same round.
    fn ratio(&self, other: &Self, of: impl Fn(&Cost) -> Duration) -> f64 {
        let pairs = self.costs.iter().zip(&other.costs);
        median(pairs.map(|(own, other)| of(own).as_secs_f64() / of(other).as_secs_f64()).collect())
    }

    fn row(
        &self,
        name: &'static str,
        what: String,
        other: &Self,
        of: impl Fn(&Cost) -> Duration + Copy,
    ) -> Row {
        Row {
            name,
            what,
            figure: milliseconds(self.median(of)),
            peer: other.name.to_owned(),
            peer_figure: milliseconds(other.median(of)),
            ratio: self.ratio(other, of),
        }
    }
}

fn fast_server(plan: &Plan) -> Result<Vec<Row>> {
    let server = Server::start(plan.projects, 0)?;
    let mut clients = vec![
        server.client("scm-gitlab", WALKER, &["scm"])?,
        server.client("reqwest and serde by hand", WALKER, &["hand"])?,
    ];
    if plan.others {
        for (name, found) in [("gitlab crate", gitlab_crate()), ("python-gitlab", python_gitlab())] {
            match found {
                Ok((program, args)) => {
                    let args: Vec<&str> = args.iter().map(String::as_str).collect();
                    clients.push(server.client(name, &program, &args)?);
                }
                Err(reason) => say(&format!("{name}: left out, {reason}")),
            }
        }
    }
    alternate(&mut clients, plan.projects, plan.rounds)?;

    let (ours, others) = clients.split_first().expect("our own client");
    let what = format!("{} projects by keyset", plan.projects);
    let mut rows: Vec<Row> =
        others.iter().map(|other| ours.row("list", what.clone(), other, |cost| cost.wall)).collect();
    if ours.costs.iter().all(|cost| cost.processor.is_some()) {
        let of = |cost: &Cost| cost.processor.unwrap_or_default();
        let what = "the same, processor time of the client".to_owned();
        rows.extend(others.iter().map(|other| ours.row("list", what.clone(), other, of)));
    }
    let (own, by_hand) = (server.allocations("scm")?, server.allocations("hand")?);
    for (what, own, by_hand) in [
        ("allocations per project listed", own.0, by_hand.0),
        ("bytes allocated per project listed", own.1, by_hand.1),
    ] {
        rows.push(Row {
            name: "memory",
            what: what.to_owned(),
            figure: format!("{own:.1}"),
            peer: others[0].name.to_owned(),
            peer_figure: format!("{by_hand:.1}"),
            ratio: own / by_hand,
        });
    }
    Ok(rows)
}

fn slow_server(plan: &Plan) -> Result<Vec<Row>> {
    let server = Server::start(plan.projects, plan.delay)?;
    let mut clients = vec![
        server.client("8 ranges of ids", WALKER, &["scm/8"])?,
        server.client("one after the other", WALKER, &["scm"])?,
    ];
    alternate(&mut clients, plan.projects, plan.slow_rounds)?;
    let what = format!("{} projects, {} ms more per page, in 8 ranges of ids", plan.projects, plan.delay);
    Ok(vec![clients[0].row("ranges", what, &clients[1], |cost| cost.wall)])
}

/// Rounds in which each client walks once, as far as its time allows; who begins changes from round to round.
fn alternate(clients: &mut [Client], expected: usize, rounds: usize) -> Result<()> {
    for round in 0..rounds {
        for turn in 0..clients.len() {
            let at = (round + turn) % clients.len();
            let client = &mut clients[at];
            if client.costs.iter().map(|cost| cost.wall).sum::<Duration>() > TIME {
                continue;
            }
            let (found, cost) = client.process.ask("")?;
            assert_eq!(found, expected.to_string(), "projects found by {}", client.name);
            client.costs.push(cost);
        }
    }
    Ok(())
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("a number"));
    values[values.len() / 2]
}

type Other = std::result::Result<(String, Vec<String>), String>;

/// Built by its own lock file, outside of this workspace, which shall not pay for its dependencies.
fn gitlab_crate() -> Other {
    say("gitlab crate: building, which takes minutes the first time");
    let target = target_dir();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--quiet", "--manifest-path"])
        .arg(here("peers/gitlab-crate/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status();
    match built {
        Ok(status) if status.success() => {
            Ok((target.join("release/gitlab-crate").display().to_string(), Vec::new()))
        }
        _ => Err("it cannot be built here".to_owned()),
    }
}

fn python_gitlab() -> Other {
    let there = Command::new("python3").args(["-c", "import gitlab"]).output();
    if there.is_ok_and(|output| output.status.success()) {
        Ok(("python3".to_owned(), vec![here("peers/python_gitlab.py").display().to_string()]))
    } else {
        Err("python3 cannot import gitlab (pip install python-gitlab)".to_owned())
    }
}
