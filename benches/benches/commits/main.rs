//! Commits in large repositories, by our client and by the git program, in pairs, over a wire on which the bytes are
//! counted; then one table. A smoke run (`cargo test --benches`) does a little of it once and gives no figures.

use std::io::{Error, Result};

use benches::Process;
use comfy_table::{CellAlignment, Table, presets};

const SERVER: &str = env!("CARGO_BIN_EXE_bench-git-server");
const COMMITTER: &str = env!("CARGO_BIN_EXE_bench-committer");

/// One comparison.
#[derive(Clone, Copy)]
struct Case {
    files: usize,
    changes: &'static str,
    /// In milliseconds.
    round_trip: u32,
    filters: &'static str,
    rounds: usize,
}

const FULL: &[usize] = &[500, 5_000, 50_000];
const SMOKE: &[usize] = &[500];

/// What one commit took.
struct Cost {
    milliseconds: f64,
    requests: f64,
    connections: f64,
    sent: f64,
    received: f64,
    /// KiB.
    peak: f64,
}

fn main() -> Result<()> {
    let smoke = std::env::args().any(|arg| arg == "--test") || !std::env::args().any(|arg| arg == "--bench");
    let mut server = Server::start(if smoke { SMOKE } else { FULL })?;
    let case =
        |files, changes, round_trip, filters, rounds| Case { files, changes, round_trip, filters, rounds };
    if smoke {
        for filters in ["all", "off"] {
            measure(&mut server, case(500, "one", 1, filters, 1))?;
        }
        say("a smoke run: everything ran, nothing was measured");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header([
        "files",
        "changed",
        "round trip",
        "filters",
        "client",
        "time",
        "of git's",
        "requests",
        "connections",
        "sent",
        "received",
        "memory",
    ]);
    for files in [500, 5_000] {
        rows(&mut table, &mut server, case(files, "one", 0, "all", 15))?;
    }
    for filters in ["all", "off"] {
        for changes in ["one", "many"] {
            for round_trip in [0, 50] {
                let rounds = if filters == "all" { 15 } else { 5 };
                rows(&mut table, &mut server, case(50_000, changes, round_trip, filters, rounds))?;
            }
        }
    }
    for column in [0, 2, 5, 6, 7, 8, 9, 10, 11] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    say(&format!("\n{table}"));
    Ok(())
}

struct Server {
    process: Process,
    url: String,
    token: String,
    commits: u32,
}

impl Server {
    fn start(sizes: &[usize]) -> Result<Self> {
        let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
        let mut process = Process::start(SERVER, &sizes.iter().map(String::as_str).collect::<Vec<_>>())?;
        let ready = process.line()?;
        let (url, token) = ready.split_once(' ').ok_or_else(|| Error::other("no address and token"))?;
        Ok(Self { url: url.to_owned(), token: token.to_owned(), process, commits: 0 })
    }

    fn client(&self, name: &str, case: Case) -> Result<Process> {
        let mut client =
            Process::start(COMMITTER, &[name, &self.url, &case.files.to_string(), case.changes])?;
        client.ask(&self.token)?;
        Ok(client)
    }

    /// Lets a client commit.
    fn commit(&mut self, client: &mut Process, case: Case) -> Result<Cost> {
        self.process.ask(&format!("{} {}", case.round_trip, case.filters))?;
        self.commits += 1;
        let (answer, cost) = client.ask(&format!("change-{}", self.commits))?;
        let numbers =
            |line: &str| -> Vec<f64> { line.split(' ').filter_map(|word| word.parse().ok()).collect() };
        let (_, peak) = answer.split_once(' ').ok_or_else(|| Error::other("no commit"))?;
        let traffic = numbers(&self.process.ask("end")?.0);
        match (&numbers(peak)[..], &traffic[..]) {
            (&[peak], &[requests, connections, sent, received]) => Ok(Cost {
                milliseconds: cost.wall.as_secs_f64() * 1000.0,
                requests,
                connections,
                sent,
                received,
                peak,
            }),
            _ => Err(Error::other("no numbers")),
        }
    }
}

/// What each client took in each round: ours, ours again with what it then knows of the server, and git.
fn measure(server: &mut Server, case: Case) -> Result<[Vec<Cost>; 3]> {
    let mut out = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..case.rounds {
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                let mut scm = server.client("scm", case)?;
                out[0].push(server.commit(&mut scm, case)?);
                out[1].push(server.commit(&mut scm, case)?);
            } else {
                let mut git = server.client("git", case)?;
                out[2].push(server.commit(&mut git, case)?);
            }
        }
    }
    Ok(out)
}

fn rows(table: &mut Table, server: &mut Server, case: Case) -> Result<()> {
    let costs = measure(server, case)?;
    for (name, own) in ["scm-git", "scm-git, again", "git"].into_iter().zip(&costs) {
        let of = |number: fn(&Cost) -> f64| median(own.iter().map(number).collect());
        let ratio = own.iter().zip(&costs[2]).map(|(own, git)| own.milliseconds / git.milliseconds).collect();
        table.add_row([
            case.files.to_string(),
            case.changes.to_owned(),
            format!("{} ms", case.round_trip),
            case.filters.to_owned(),
            name.to_owned(),
            format!("{:.0} ms", of(|cost| cost.milliseconds)),
            format!("{:.2}", median(ratio)),
            of(|cost| cost.requests).to_string(),
            of(|cost| cost.connections).to_string(),
            format!("{:.1} KB", of(|cost| cost.sent) / 1e3),
            format!("{:.1} KB", of(|cost| cost.received) / 1e3),
            format!("{:.1} MiB", of(|cost| cost.peak) / 1024.0),
        ]);
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::print_stdout, reason = "the table is the program's output")]
fn say(line: &str) {
    println!("{line}");
}
