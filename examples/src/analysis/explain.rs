//! What the reviewer reads: title and body of a merge request, and the branch it comes from.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::model::{AdvisoryRef, Finding, Fix, Problem};
use super::text::shown;

/// Title and body of a merge request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Plain text of one line, at most [`MAX_TITLE`] characters.
    pub title: String,
    /// Markdown with tables, at most [`MAX_BODY`] bytes.
    pub body: String,
}

/// What GitLab and Bitbucket both take as a title.
pub const MAX_TITLE: usize = 255;

/// What Bitbucket Data Center takes as a description; GitLab takes more.
pub const MAX_BODY: usize = 32_768;

/// Explains a change: what is raised and why, how to bring lock files up to date, and what was left alone for
/// which reason.
///
/// Names, summaries and paths come from other people's files. They are shown as text: no markup, no mention of a
/// user, no command of the server is made of them. What does not fit is counted instead.
#[must_use]
pub fn explain(fixes: &[&Fix], transitive: &[Finding], problems: &[Problem]) -> Explanation {
    let mut body = Body::default();
    updates(&mut body, fixes);
    relock(&mut body, fixes);
    not_fixed(&mut body, transitive, problems);
    Explanation { title: title(fixes), body: body.0 }
}

/// The branch for a set of fixes: the same set has the same branch in every run, in whatever order.
///
/// One fix is `remediate/npm-lodash-4.17.21`; it does not say in which manifest, so fixes of the same package in one
/// repository belong together in one branch. Several are `remediate/security-` and a hash of their keys and versions.
#[must_use]
pub fn branch_name(fixes: &[&Fix]) -> String {
    if let [fix] = fixes {
        let name = format!("{}-{}-{}", fix.ecosystem.slug(), fix.package, fix.to);
        return format!("remediate/{}", ref_component(&name));
    }
    let lines: BTreeSet<String> = fixes.iter().map(|fix| format!("{}\0{}\n", fix.key(), fix.to)).collect();
    format!("remediate/security-{}", short_hash(&lines.into_iter().collect::<String>()))
}

fn title(fixes: &[&Fix]) -> String {
    let packages: BTreeSet<&str> = fixes.iter().map(|fix| fix.package.as_str()).collect();
    let vulnerable = fixes.iter().any(|fix| !fix.advisories.is_empty());
    let title = match fixes {
        [] => "No dependency needs a change".to_owned(),
        [fix] => {
            let why = match fix.advisories.as_slice() {
                [] => String::new(),
                [one] => format!(" ({})", one.id),
                [first, rest @ ..] => format!(" ({} and {} more)", first.id, rest.len()),
            };
            format!("Update {} from {} to {}{why}", fix.package, fix.from, fix.to)
        }
        _ => {
            let kind = if vulnerable { "vulnerable" } else { "outdated" };
            let names = packages.iter().copied().collect::<Vec<_>>().join(", ");
            match packages.len() {
                1 => format!("Update {kind} dependency {names} in {} places", fixes.len()),
                count => format!("Update {count} {kind} dependencies: {names}"),
            }
        }
    };
    let title: String = title.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    let title: String = title.chars().filter(|c| !c.is_control()).collect();
    if title.chars().count() <= MAX_TITLE {
        return title;
    }
    let mut short: String = title.chars().take(MAX_TITLE - 1).collect();
    short.push('…');
    short
}

fn updates(body: &mut Body, fixes: &[&Fix]) {
    body.line("This changes version texts and nothing else. The packages and why:\n");
    let rows = fixes.iter().map(|fix| {
        let why = match fix.advisories.is_empty() {
            true => "a newer version is known".to_owned(),
            false => advisories(&fix.advisories),
        };
        let to = format!("{}{}", cell(&fix.to), if fix.breaking { " ⚠" } else { "" });
        let severity = if fix.advisories.is_empty() { "–".to_owned() } else { fix.severity().to_string() };
        let place = cell(&format!("{}:{}", fix.manifest, fix.line));
        format!("| {} | {} | {to} | {severity} | {why} | {place} |", cell(&fix.package), cell(&fix.from))
    });
    body.rows(
        "| Package | From | To | Severity | Advisories | Where |\n|---|---|---|---|---|---|\n",
        rows.collect(),
    );
    if fixes.iter().any(|fix| fix.breaking) {
        body.line("\n⚠ By the ecosystem's version rules this step may break users of the package.");
    }
}

fn relock(body: &mut Body, fixes: &[&Fix]) {
    let commands: BTreeSet<&str> = fixes.iter().filter_map(|fix| fix.relock.as_deref()).collect();
    if commands.is_empty() {
        return;
    }
    body.line("\n### Lock files\n");
    body.line("These commands, from the root of the repository, bring the lock files up to date:\n");
    body.rows("", commands.into_iter().map(|command| format!("- {}", code(command))).collect());
}

fn not_fixed(body: &mut Body, transitive: &[Finding], problems: &[Problem]) {
    if transitive.is_empty() && problems.is_empty() {
        return;
    }
    body.line("\n### Not fixed\n");
    if !transitive.is_empty() {
        body.line("Vulnerable through other packages; an update of those may mend it:\n");
        let rows = transitive.iter().map(|finding| {
            let via = match finding.via.as_slice() {
                [] => "–".to_owned(),
                via => via.iter().map(|name| cell(name)).collect::<Vec<_>>().join(" → "),
            };
            let fixed = finding.fixed.as_deref().map_or_else(|| "–".to_owned(), cell);
            let why = advisories(&finding.advisories);
            let place = cell(&format!("{}:{}", finding.lock, finding.line));
            let (package, version) = (cell(&finding.package), cell(&finding.version));
            format!("| {package} | {version} | {fixed} | {via} | {why} | {place} |")
        });
        body.rows(
            "| Package | Version | Fixed in | Through | Advisories | Where |\n|---|---|---|---|---|---|\n",
            rows.collect(),
        );
    }
    if !problems.is_empty() {
        body.line("\nTo be looked at:\n");
        let rows = problems.iter().map(|problem| {
            let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
            let mut row = format!("- {}", code(&format!("{}{line}", problem.path)));
            if let Some(package) = &problem.package {
                let _ = write!(row, ": {}", code(package));
            }
            let _ = write!(row, ": {}", plain(&problem.reason));
            if !problem.advisories.is_empty() {
                let _ = write!(row, " ({})", advisories(&problem.advisories));
            }
            if let Some(command) = &problem.command {
                let _ = write!(row, "; {} would help", code(command));
            }
            row
        });
        body.rows("", rows.collect());
    }
}

fn advisories(all: &[AdvisoryRef]) -> String {
    let one = |advisory: &AdvisoryRef| {
        let alias = advisory.aliases.iter().find(|alias| alias.starts_with("CVE-"));
        let alias = alias.map(|alias| format!(" {}", plain(alias))).unwrap_or_default();
        let link = format!("[{}]({}){alias}", plain(&advisory.id), link(&advisory.url));
        if advisory.summary.is_empty() { link } else { format!("{link}: {}", plain(&advisory.summary)) }
    };
    all.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// The body so far, within its limit.
#[derive(Default)]
struct Body(String);

impl Body {
    /// Kept for headings and the lines that count what was left out.
    const RESERVE: usize = 1_024;

    fn line(&mut self, text: &str) {
        if self.0.len() + text.len() < MAX_BODY {
            self.0.push_str(text);
            self.0.push('\n');
        }
    }

    fn rows(&mut self, head: &str, rows: Vec<String>) {
        let total = rows.len();
        self.0.push_str(head);
        for (done, row) in rows.into_iter().enumerate() {
            if self.0.len() + row.len() + Self::RESERVE > MAX_BODY {
                self.line(&format!("\n… and {} more.", total - done));
                return;
            }
            self.0.push_str(&row);
            self.0.push('\n');
        }
    }
}

/// Text that means nothing to a Markdown renderer or to the server behind it.
fn plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in shown(text).chars() {
        match c {
            '@' => {
                // Servers look for mentions after rendering, so a backslash would not do; a word joiner does.
                escaped.push_str("@\u{2060}");
            }
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            c if c.is_ascii_punctuation() && !",;:'\"/=%?.".contains(c) => {
                escaped.push('\\');
                escaped.push(c);
            }
            // Would make a bare address a link.
            ':' if escaped.ends_with("http") || escaped.ends_with("https") => escaped.push_str(":\u{2060}"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A code span inside a table, which ends its cell at a bar even there.
fn cell(text: &str) -> String {
    code(text).replace('|', "\\|")
}

/// A code span: inside it nothing is markup.
fn code(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control())
        .take(400)
        .collect();
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if longest > 0 { " " } else { "" };
    if text.trim().is_empty() { "–".to_owned() } else { format!("{fence}{space}{text}{space}{fence}") }
}

/// An address that stays inside the brackets of a link.
fn link(url: &str) -> String {
    let web = url.starts_with("https://") || url.starts_with("http://");
    if !web {
        return "#".to_owned();
    }
    let mut safe = String::with_capacity(url.len());
    for b in url.bytes().take(500) {
        if b.is_ascii_alphanumeric() || b"-._~:/?#@!$&*+,;=%".contains(&b) {
            safe.push(char::from(b));
        } else {
            let _ = write!(safe, "%{b:02X}");
        }
    }
    safe
}

/// One part of a ref name that git accepts (`git check-ref-format`), on file systems of any kind.
fn ref_component(text: &str) -> String {
    const MAX: usize = 120;
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        let c = if c.is_ascii_alphanumeric() || "._+".contains(c) { c } else { '-' };
        // No two separators in a row: `..` is forbidden, and the rest is for the eye.
        if c.is_ascii_alphanumeric() || !name.ends_with(['.', '-', '_', '+']) {
            name.push(c);
        }
    }
    let name = name.trim_matches(['.', '-', '_', '+']);
    let long = name.len() > MAX;
    let locked = name.to_ascii_lowercase().ends_with(".lock");
    if name.is_empty() || long || locked {
        let start = &name[..name.len().min(MAX)];
        return format!("{start}-{}", short_hash(text)).trim_start_matches('-').to_owned();
    }
    name.to_owned()
}

fn short_hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(5).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_text() {
        for (text, escaped) in [
            ("a|b\nc", "a\\|b c"),
            ("![x](y) <b>", "\\!\\[x\\]\\(y\\) &lt;b&gt;"),
            ("@all #1", "@\u{2060}all \\#1"),
            ("see https://x", "see https:\u{2060}//x"),
        ] {
            assert_eq!(plain(text), escaped);
        }
    }

    #[test]
    fn code_spans() {
        for (text, span) in
            [("a", "`a`"), ("a`b", "`` a`b ``"), ("a|b", "`a|b`"), ("a\nb", "`a b`"), ("", "–")]
        {
            assert_eq!(code(text), span);
        }
    }

    #[test]
    fn links() {
        assert_eq!(link("https://osv.dev/vulnerability/X-1"), "https://osv.dev/vulnerability/X-1");
        assert_eq!(link("https://x/a)b|c d"), "https://x/a%29b%7Cc%20d");
        assert_eq!(link("javascript:alert(1)"), "#");
    }

    proptest! {
        #[test]
        fn ref_names_are_valid(text in "\\PC{0,200}") {
            let name = ref_component(&text);
            prop_assert!(!name.is_empty() && name.len() < 200);
            prop_assert!(!name.starts_with(['.', '-']) && !name.ends_with('.') && !name.ends_with(".lock"));
            prop_assert!(!name.contains("..") && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b)));
        }

        #[test]
        fn cells_stay_cells(text in "[ -~\\n|`]{0,40}") {
            for cell in [plain(&text), cell(&text)] {
                prop_assert!(!cell.contains('\n'));
                let bars = cell.match_indices('|').filter(|(at, _)| !cell[..*at].ends_with('\\'));
                prop_assert_eq!(bars.count(), 0);
            }
        }
    }
}
