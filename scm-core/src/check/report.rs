//! What a check looks for, and its report.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::code::{Code, Outcome, Rung};
use crate::error::Error;
use crate::id::RepoId;
use crate::redact;
use crate::transport::{Route, TransportError};

/// What the connection is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Purpose {
    /// Reading only.
    Read,
    /// Branches, commits and pull requests too.
    #[default]
    Write,
}

/// What a check looks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckOptions {
    /// Repositories that must be there; each is reported on its own.
    pub repositories: Vec<RepoId>,
    /// What the connection is for.
    pub purpose: Purpose,
    /// Warn when a token or certificate expires within so many days.
    pub warn_days: u16,
}

impl Default for CheckOptions {
    /// No named repositories, for writing, warning 14 days ahead.
    fn default() -> Self {
        Self { repositories: Vec::new(), purpose: Purpose::default(), warn_days: 14 }
    }
}

impl CheckOptions {
    /// Also looks at these repositories by name.
    #[must_use]
    pub fn with_repositories(mut self, repositories: impl IntoIterator<Item = RepoId>) -> Self {
        self.repositories = repositories.into_iter().collect();
        self
    }

    /// Sets what the connection is for.
    #[must_use]
    pub fn with_purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
    }

    /// Sets how many days ahead an expiry is warned of.
    #[must_use]
    pub fn with_warn_days(mut self, days: u16) -> Self {
        self.warn_days = days;
        self
    }
}

/// One thing a rung found: a warning or a failure with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// `Warning` or `Failed`.
    pub outcome: Outcome,
    /// What was seen.
    pub seen: String,
    /// What to do, in words that a support engineer could send as they are.
    pub remedy: String,
}

/// One rung of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RungReport {
    /// Which rung.
    pub rung: Rung,
    /// The worst of its findings, or passed, or skipped.
    pub outcome: Outcome,
    /// What was seen, in one line.
    pub seen: String,
    /// Warnings and failures.
    pub findings: Vec<Finding>,
    /// Facts for machines, such as addresses or an issuer.
    pub details: BTreeMap<String, String>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

impl RungReport {
    /// A rung in order so far.
    #[must_use]
    pub fn passed(rung: Rung, seen: impl AsRef<str>) -> Self {
        Self {
            rung,
            outcome: Outcome::Passed,
            seen: redact::line(seen.as_ref()),
            findings: Vec::new(),
            details: BTreeMap::new(),
            elapsed_ms: 0,
        }
    }

    /// A rung that was not climbed, and why.
    #[must_use]
    pub fn skipped(rung: Rung, why: impl AsRef<str>) -> Self {
        Self { outcome: Outcome::Skipped, ..Self::passed(rung, why) }
    }

    /// A rung that failed with one code.
    #[must_use]
    pub fn failed(code: Code, seen: impl AsRef<str>, remedy: impl Into<String>) -> Self {
        Self::passed(code.rung(), seen.as_ref()).with_failure(code, seen, remedy)
    }

    /// The rung that a transport error belongs to, where it names one.
    pub fn from_transport_error(error: &TransportError, remedy: impl Into<String>) -> Option<Self> {
        let mut report = Self::failed(error.code()?, error.to_string(), remedy);
        report.details.clone_from(error.details());
        Some(report)
    }

    /// Adds a warning.
    #[must_use]
    pub fn with_warning(self, code: Code, seen: impl AsRef<str>, remedy: impl Into<String>) -> Self {
        self.with_finding(code, Outcome::Warning, seen.as_ref(), remedy.into())
    }

    /// Adds a failure.
    #[must_use]
    pub fn with_failure(self, code: Code, seen: impl AsRef<str>, remedy: impl Into<String>) -> Self {
        self.with_finding(code, Outcome::Failed, seen.as_ref(), remedy.into())
    }

    fn with_finding(mut self, code: Code, outcome: Outcome, seen: &str, remedy: String) -> Self {
        self.outcome = self.outcome.max(outcome);
        self.findings.push(Finding { code, outcome, seen: redact::line(seen), remedy });
        self
    }

    /// Adds a fact for machines.
    #[must_use]
    pub fn with_detail(mut self, name: impl Into<String>, value: impl AsRef<str>) -> Self {
        self.details.insert(name.into(), redact::line(value.as_ref()));
        self
    }

    /// Sets how long it took.
    #[must_use]
    pub fn with_elapsed(mut self, elapsed: Duration) -> Self {
        self.elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self
    }
}

/// The whole ladder. `Display` prints it as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// The provider, such as `gitlab`.
    pub provider: String,
    /// The server's root.
    pub url: String,
    /// The route taken.
    pub route: Route,
    /// The rungs, in climbing order.
    pub rungs: Vec<RungReport>,
}

impl CheckReport {
    /// A report without rungs yet.
    #[must_use]
    pub fn new(provider: impl Into<String>, url: impl AsRef<str>, route: Route) -> Self {
        Self { provider: provider.into(), url: redact::line(url.as_ref()), route, rungs: Vec::new() }
    }

    /// Adds a rung.
    pub fn push(&mut self, rung: RungReport) {
        self.rungs.push(rung);
    }

    /// Did every climbed rung pass, with or without warnings?
    pub fn is_ok(&self) -> bool {
        self.rungs.iter().all(|rung| rung.outcome != Outcome::Failed)
    }

    /// Every finding, in climbing order.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.rungs.iter().flat_map(|rung| &rung.findings)
    }

    /// Is this code among the findings?
    pub fn has(&self, code: Code) -> bool {
        self.findings().any(|finding| finding.code == code)
    }

    /// The first failure as an error, for callers that want a `Result`.
    ///
    /// # Errors
    /// The first failed finding, with its code as [`Error::server_code`], its remedy in the message.
    pub fn into_result(self) -> Result<Self, Error> {
        let failed = self.findings().find(|finding| finding.outcome == Outcome::Failed);
        let Some(finding) = failed else { return Ok(self) };
        let message = format!("{}: {}. {}", finding.code, finding.seen, finding.remedy);
        Err(Error::new(finding.code.error_kind(), message)
            .with_operation("check")
            .with_server_code(finding.code.as_str()))
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} at {} ({})", self.provider, self.url, self.route)?;
        for rung in &self.rungs {
            let mark = match rung.outcome {
                Outcome::Passed => "ok  ",
                Outcome::Warning => "warn",
                Outcome::Failed => "FAIL",
                Outcome::Skipped => "skip",
            };
            writeln!(f, "  {mark} {:<12} {} ({} ms)", rung.rung, rung.seen, rung.elapsed_ms)?;
            for finding in &rung.findings {
                writeln!(f, "       {}: {}", finding.code, finding.seen)?;
                writeln!(f, "       -> {}", finding.remedy)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_report_says_what_failed_and_reads_back() {
        let mut report = CheckReport::new("gitlab", "https://u:p@gitlab.company.com/", Route::Direct);
        report.push(RungReport::passed(Rung::Address, "server root"));
        report.push(
            RungReport::passed(Rung::Credential, "token of svc")
                .with_warning(Code::AuthPersonalToken, "a person's token", "Use a group token.")
                .with_failure(Code::AuthExpired, "expired on 2026-01-01", "Make a new token."),
        );
        assert!(!report.is_ok() && report.has(Code::AuthExpired));
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains("\"auth.expired\"") && !json.contains("u:p"), "{json}");
        assert_eq!(serde_json::from_str::<CheckReport>(&json).unwrap(), report);
        let error = report.into_result().unwrap_err();
        assert_eq!((error.kind(), error.server_code()), (ErrorKind::Unauthenticated, Some("auth.expired")));
    }
}
