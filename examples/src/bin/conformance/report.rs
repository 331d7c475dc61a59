//! What people and machines read at the end.

use std::collections::BTreeMap;

use comfy_table::{Cell, CellAlignment, Color, Row};
use scm_core::Result;
use scm_examples::output::{print, print_json, table};
use scm_testkit::conformance::{self, Case, CaseReport, Outcome, Report, RunOptions};
use scm_testkit::sim::UnknownParameter;
use serde_json::{Value, json};

use crate::judge::Judge;

/// Shows the cases that were chosen.
pub(crate) fn list(opts: &RunOptions, json: bool) -> Result<()> {
    let chosen: Vec<&Case> = conformance::all().filter(|case| opts.takes(case.name)).collect();
    let need = |case: &Case| case.needs.map(|need| need.field);
    if json {
        let cases: Vec<_> = chosen
            .iter()
            .map(|case| json!({ "name": case.name, "methods": case.methods, "needs": need(case) }))
            .collect();
        return print_json(&json!({ "cases": cases }));
    }
    let mut table = table(&["Case", "Exercises", "Needs"]);
    for case in &chosen {
        table.add_row(vec![case.name, &case.methods.join("\n"), need(case).unwrap_or_default()]);
    }
    print(&format!("{table}\n{} cases\n", chosen.len()))
}

/// How the suite ended, with all that was watched beside it.
pub(crate) struct Ending {
    pub(crate) report: Report,
    /// The judge between client and server.
    pub(crate) judge: Option<Judge>,
    /// What the client sent and the server does not know.
    pub(crate) unknown: Vec<UnknownParameter>,
}

impl Ending {
    pub(crate) fn is_ok(&self) -> bool {
        self.report.is_ok() && self.unknown.is_empty() && self.judge.as_ref().is_none_or(Judge::is_content)
    }

    pub(crate) fn print(&self, json: bool) -> Result<()> {
        if json { print_json(&self.as_json()) } else { print(&self.as_text()) }
    }

    fn as_json(&self) -> Value {
        let case = |case: &CaseReport| {
            let (word, text) = outcome(case);
            let ms = u64::try_from(case.elapsed.as_millis()).unwrap_or(u64::MAX);
            json!({ "name": case.name, "outcome": word, "text": text, "expected": case.expected, "elapsed_ms": ms })
        };
        let judge = self.judge.as_ref().map(|judge| {
            json!({ "requests": judge.requests(), "findings": judge.findings(), "stale_exceptions": judge.stale() })
        });
        json!({
            "ok": self.is_ok(),
            "provider": self.report.provider,
            "cases": self.report.cases.iter().map(case).collect::<Vec<_>>(),
            "unknown_parameters": self.unknown.iter().map(parameter).collect::<Vec<_>>(),
            "judge": judge,
        })
    }

    fn as_text(&self) -> String {
        let cases = &self.report.cases;
        let mut table = table(&["Group", "Passed", "Unsupported", "Skipped", "Failed", "Longest"]);
        for cases in cases.chunk_by(|one, two| group(one) == group(two)) {
            table.add_row(row(cases.first().map_or("", group), cases));
        }
        table.add_row(row("together", cases));
        let mut out = format!("{table}\n");
        for case in cases {
            let (word, text) = outcome(case);
            if let Some(text) = text {
                let unexpected = if case.expected { "" } else { ", and nobody expected it" };
                out.push_str(&format!("\n{} {word}{unexpected}\n  {text}\n", case.name));
            }
        }
        for unknown in &self.unknown {
            out.push_str(&format!("\nThe server knows no parameter of this name: {}\n", parameter(unknown)));
        }
        if let Some(judge) = &self.judge {
            out.push_str(&judged(judge));
        }
        out
    }
}

/// The trait, by the name of its module.
fn group(case: &CaseReport) -> &str {
    case.name.split('.').next().unwrap_or(case.name)
}

fn outcome(case: &CaseReport) -> (&'static str, Option<&str>) {
    match &case.outcome {
        Outcome::Passed => ("passed", None),
        Outcome::Unsupported => ("unsupported", None),
        Outcome::Skipped(why) => ("skipped", Some(why)),
        Outcome::Failed(text) => ("failed", Some(text)),
        _ => ("unknown", None),
    }
}

fn row(name: &str, cases: &[CaseReport]) -> Row {
    let cell = |word: &str, colour: Color| {
        let count = cases.iter().filter(|case| outcome(case).0 == word).count();
        let cell = Cell::new(count).set_alignment(CellAlignment::Right);
        if count == 0 { cell } else { cell.fg(colour) }
    };
    let longest = cases.iter().map(|case| case.elapsed).max().unwrap_or_default();
    Row::from(vec![
        Cell::new(name),
        cell("passed", Color::Green),
        cell("unsupported", Color::Blue),
        cell("skipped", Color::Yellow),
        cell("failed", Color::Red),
        Cell::new(format!("{:.1} s", longest.as_secs_f64())).set_alignment(CellAlignment::Right),
    ])
}

fn parameter(unknown: &UnknownParameter) -> String {
    let place = if unknown.in_body { "body" } else { "query" };
    format!("{} in the {place} of {} {}", unknown.name, unknown.method, unknown.route)
}

/// What the judge said, each complaint once.
fn judged(judge: &Judge) -> String {
    let findings = judge.findings();
    let mut seen = BTreeMap::<_, usize>::new();
    for finding in findings.iter().filter(|finding| !finding.excepted) {
        let line =
            format!("{} → {}\n    {}", finding.request, finding.status, finding.complaints.join("\n    "));
        *seen.entry(line).or_default() += 1;
    }
    let mut out = String::new();
    for (line, times) in seen {
        out.push_str(&format!("\n{times} × {line}\n"));
    }
    for stale in judge.stale() {
        out.push_str(&format!("\nNo complaint needs this exception any more: {stale}\n"));
    }
    let excepted = findings.iter().filter(|finding| finding.excepted).count();
    let (requests, violations) = (judge.requests(), findings.len() - excepted);
    out.push_str(&format!(
        "\nThe judge saw {requests} requests: {violations} violations, {excepted} by known exceptions\n"
    ));
    out
}
