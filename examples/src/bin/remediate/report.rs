//! What people and machines read at the end.

use std::path::Path;

use comfy_table::{Cell, Color};
use scm_core::{Error, Result};
use scm_examples::connections::Connection;
use scm_examples::output::{print, print_json, table};
use serde::Serialize;

use crate::apply::{Done, Ending};
use crate::follow::FailedJob;
use crate::plan::{EntryKind, Plan};
use crate::scan::Found;
use crate::status::Tracked;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    dry_run: bool,
    connections: Vec<ConnectionReport>,
}

/// Counts of repositories, but `created` and `existing` of pull requests.
#[derive(Debug, Default, Serialize)]
struct ConnectionReport {
    name: String,
    provider: String,
    route: String,
    repositories: usize,
    vulnerable: usize,
    skipped: usize,
    created: usize,
    existing: usize,
    failed: usize,
    outdated: usize,
    /// Repositories whose planned change no longer fits.
    stale: usize,
    /// Repositories left for another run by `--max`.
    postponed: usize,
    /// Why the connection could not be used at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    results: Vec<Line>,
    notes: Vec<Note>,
}

/// One repository's pull request.
#[derive(Debug, Serialize)]
struct Line {
    repository: String,
    result: &'static str,
    packages: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pull_request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed_jobs: Vec<FailedJob>,
}

/// Something found that no pull request mends.
#[derive(Debug, Serialize)]
struct Note {
    repository: String,
    kind: &'static str,
    text: String,
}

impl Report {
    pub(crate) fn new(connections: &[Connection], dry_run: bool) -> Self {
        let empty = |connection: &Connection| ConnectionReport {
            name: connection.name.clone(),
            provider: connection.provider.clone(),
            route: connection.route.clone(),
            ..ConnectionReport::default()
        };
        Self { dry_run, connections: connections.iter().map(empty).collect() }
    }

    /// Could everything be done? A pipeline that fails is the repository's affair.
    pub(crate) fn is_success(&self) -> bool {
        self.connections.iter().all(|own| own.failed == 0 && own.stale == 0 && own.error.is_none())
    }

    pub(crate) fn connection_failed(&mut self, name: &str, error: &Error) {
        if let Some(own) = self.of(name) {
            own.error = Some(error.to_string());
        }
    }

    pub(crate) fn scanned(&mut self, name: &str, found: &[Found]) {
        let Some(own) = self.of(name) else { return };
        own.repositories = found.len();
        for found in found {
            let analysis = &found.analysis;
            let advised = analysis.problems.iter().any(|problem| !problem.advisories.is_empty());
            own.vulnerable +=
                usize::from(!analysis.fixes.is_empty() || !analysis.transitive.is_empty() || advised);
            own.outdated += usize::from(!analysis.outdated.is_empty());
            own.skipped += usize::from(found.read_only.is_some());
            own.failed += usize::from(found.error.is_some());
            let repository = found.repository.path.to_string();
            let mut note =
                |kind, text: String| own.notes.push(Note { repository: repository.clone(), kind, text });
            if let Some(error) = &found.error {
                note("failed", error.to_string());
            }
            if let Some(why) = found.read_only {
                note("skipped", why.to_owned());
                for fix in &analysis.fixes {
                    note("vulnerable", fix.to_string());
                }
            }
            for finding in &analysis.transitive {
                let via = finding.via.join(" → ");
                note("transitive", format!("{} {} ({via})", finding.package, finding.version));
            }
            for outdated in &analysis.outdated {
                note("outdated", format!("{} {} → {}", outdated.package, outdated.from, outdated.to));
            }
            for problem in &analysis.problems {
                note("problem", problem.to_string());
            }
        }
    }

    pub(crate) fn applied(&mut self, name: &str, done: Vec<Done>) {
        let Some(own) = self.of(name) else { return };
        for done in done {
            let (result, reason) = match &done.ending {
                Ending::Created(_) => {
                    own.created += 1;
                    ("created", None)
                }
                Ending::Existing(_) => {
                    own.existing += 1;
                    ("existing", None)
                }
                Ending::Planned(branch) => ("would create", Some(branch.to_string())),
                Ending::Postponed => {
                    own.postponed += 1;
                    ("postponed", Some("over --max".to_owned()))
                }
                Ending::Stale(why) => {
                    own.stale += 1;
                    ("stale", Some(why.clone()))
                }
                Ending::Failed(error) => {
                    own.failed += 1;
                    ("failed", Some(error.to_string()))
                }
            };
            let made = done.ending.pull_request();
            own.results.push(Line {
                repository: done.path.clone(),
                result,
                packages: done.packages.clone(),
                pull_request: made.map(|made| made.id.to_string()),
                url: made.and_then(|made| made.web_url.as_ref()).map(ToString::to_string),
                reason,
                checks: done
                    .checks
                    .as_ref()
                    .map(|checks| checks.state.clone())
                    .or_else(|| made.map(|made| made.state.to_string())),
                failed_jobs: done.checks.map(|checks| checks.failed).unwrap_or_default(),
            });
        }
    }

    fn of(&mut self, name: &str) -> Option<&mut ConnectionReport> {
        self.connections.iter_mut().find(|own| own.name == name)
    }

    pub(crate) fn print(&self, json: bool) -> Result<()> {
        if json {
            return print_json(self);
        }
        let mut out = String::new();
        for own in &self.connections {
            own.write(&mut out, self.dry_run);
        }
        print(&out)
    }

    pub(crate) fn print_plan(&self, plan: &Plan, path: &Path, json: bool) -> Result<()> {
        if json {
            return print_json(self);
        }
        let mut out = String::new();
        for own in &self.connections {
            own.write_head(&mut out);
            own.write_notes(&mut out);
        }
        let mut table = table(&["Repository", "Kind", "Change"]);
        for repository in &plan.repositories {
            for entry in &repository.entries {
                let kind = match entry.kind {
                    EntryKind::Vulnerable => Cell::new("vulnerable").fg(Color::Red),
                    EntryKind::Outdated => Cell::new("outdated").fg(Color::Yellow),
                };
                table.add_row(vec![Cell::new(&repository.path), kind, Cell::new(&entry.fix)]);
            }
        }
        out.push_str(&format!("\n{table}\n\nThe plan is in {}. ", path.display()));
        out.push_str("Set \"approved\": true on the entries to do, then run `remediate apply` on it.\n");
        print(&out)
    }
}

impl ConnectionReport {
    fn write_head(&self, out: &mut String) {
        out.push_str(&format!(
            "\n{} ({}, {}): {} repositories, {} vulnerable, {} outdated, {} skipped\n",
            self.name,
            self.provider,
            self.route,
            self.repositories,
            self.vulnerable,
            self.outdated,
            self.skipped
        ));
        if let Some(error) = &self.error {
            out.push_str(&format!("  could not be used: {error}\n"));
        }
    }

    fn write(&self, out: &mut String, dry_run: bool) {
        self.write_head(out);
        let mut table = table(&["Repository", "Result", "Packages", "CI", "Pull request"]);
        for line in &self.results {
            let colour = match line.result {
                "created" => Color::Green,
                "failed" | "stale" => Color::Red,
                _ => Color::Blue,
            };
            let link = line.url.as_ref().or(line.reason.as_ref()).cloned().unwrap_or_default();
            table.add_row(vec![
                Cell::new(&line.repository),
                Cell::new(line.result).fg(colour),
                Cell::new(line.packages.join("\n")),
                state_cell(line.checks.as_deref().unwrap_or_default()),
                Cell::new(link),
            ]);
        }
        if !self.results.is_empty() {
            out.push_str(&format!("{table}\n"));
        }
        for line in &self.results {
            for job in &line.failed_jobs {
                write_job(out, &line.repository, job);
            }
        }
        self.write_notes(out);
        let would = if dry_run { " (dry run: nothing was changed)" } else { "" };
        out.push_str(&format!(
            "{} created, {} existing, {} failed, {} stale, {} postponed{would}\n",
            self.created, self.existing, self.failed, self.stale, self.postponed
        ));
    }

    fn write_notes(&self, out: &mut String) {
        if self.notes.is_empty() {
            return;
        }
        let mut table = table(&["Repository", "Not changed", "What"]);
        for note in &self.notes {
            table.add_row(vec![Cell::new(&note.repository), Cell::new(note.kind), Cell::new(&note.text)]);
        }
        out.push_str(&format!("{table}\n"));
    }
}

fn write_job(out: &mut String, repository: &str, job: &FailedJob) {
    out.push_str(&format!(
        "\n{repository}: job '{}' failed {}\n",
        job.name,
        job.url.as_deref().unwrap_or_default()
    ));
    match (&job.log, &job.no_log) {
        (Some(log), _) => log.lines().for_each(|line| out.push_str(&format!("  | {line}\n"))),
        (None, Some(why)) => out.push_str(&format!("  no log: {why}\n")),
        (None, None) => {}
    }
}

/// Every pull request that this program made.
pub(crate) fn status(tracked: &[Tracked], json: bool) -> Result<()> {
    if json {
        return print_json(&serde_json::json!({ "connections": tracked }));
    }
    let mut out = String::new();
    for connection in tracked {
        out.push_str(&format!("\n{}: {} pull requests\n", connection.name, connection.pull_requests.len()));
        if let Some(error) = &connection.error {
            out.push_str(&format!("  could not be used: {error}\n"));
        }
        let mut table = table(&["Repository", "State", "CI", "Merge", "Title", "Pull request"]);
        for own in &connection.pull_requests {
            table.add_row(vec![
                Cell::new(&own.repository),
                Cell::new(&own.state),
                state_cell(&own.checks.state),
                Cell::new(own.mergeability.as_deref().unwrap_or_default()),
                Cell::new(&own.title),
                Cell::new(own.url.as_deref().unwrap_or(&own.id)),
            ]);
        }
        if !connection.pull_requests.is_empty() {
            out.push_str(&format!("{table}\n"));
        }
        for own in &connection.pull_requests {
            for job in &own.checks.failed {
                write_job(&mut out, &own.repository, job);
            }
        }
    }
    print(&out)
}

fn state_cell(state: &str) -> Cell {
    let colour = match state {
        "success" | "merged" => Color::Green,
        "failed" => Color::Red,
        "running" | "pending" => Color::Yellow,
        _ => Color::Reset,
    };
    Cell::new(state).fg(colour)
}
