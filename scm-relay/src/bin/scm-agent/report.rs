//! The report of a check, for people and for programs.

use std::io::{IsTerminal as _, Write as _};

use scm_core::{CheckReport, Outcome};

/// Prints it; a reader that has gone away (`| head`) is no fault.
pub(crate) fn print(reports: &[CheckReport], json: bool) -> std::io::Result<()> {
    let text = if json { as_json(reports) } else { as_tree(reports, std::io::stdout().is_terminal()) };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

fn as_json(reports: &[CheckReport]) -> String {
    let checks: Vec<_> = reports
        .iter()
        .map(|report| {
            let codes: Vec<_> = report.findings().map(|finding| finding.code.as_str()).collect();
            serde_json::json!({ "ok": report.is_ok(), "codes": codes, "report": report })
        })
        .collect();
    let ok = reports.iter().all(CheckReport::is_ok);
    format!("{}\n", serde_json::json!({ "ok": ok, "checks": checks }))
}

fn as_tree(reports: &[CheckReport], colour: bool) -> String {
    let paint = |text: &str, outcome: Outcome| {
        let code = match outcome {
            Outcome::Passed => "32",
            Outcome::Warning => "33",
            Outcome::Failed => "31",
            _ => "2",
        };
        if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    };
    let mut out = String::new();
    for report in reports {
        out.push_str(&format!("{} at {}, {}\n", report.provider, report.url, report.route));
        for (index, rung) in report.rungs.iter().enumerate() {
            let last = index + 1 == report.rungs.len();
            let (branch, below) = if last { ("└─", "  ") } else { ("├─", "│ ") };
            let mark = match rung.outcome {
                Outcome::Passed => "ok  ",
                Outcome::Warning => "warn",
                Outcome::Failed => "FAIL",
                _ => "skip",
            };
            let (mark, word) = (paint(mark, rung.outcome), rung.rung.as_str());
            out.push_str(&format!("{branch} {mark} {word:<12} {} ({} ms)\n", rung.seen, rung.elapsed_ms));
            for finding in &rung.findings {
                let code = paint(finding.code.as_str(), rung.outcome);
                if finding.seen == rung.seen {
                    out.push_str(&format!("{below}      {code}\n"));
                } else {
                    out.push_str(&format!("{below}      {code}: {}\n", finding.seen));
                }
                out.push_str(&format!("{below}      → {}\n", finding.remedy));
            }
        }
        out.push('\n');
    }
    out
}
