//! The plan: what could be changed, for a person to approve.

use std::collections::BTreeMap;
use std::path::Path;

use scm_core::{BranchName, Error, RepoId, Result, Sha};
use scm_examples::analysis::{Finding, Fix, Problem};
use scm_examples::connections::Connection;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::scan::Found;

/// Version of the file's form.
const FORM: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    form: u32,
    pub(crate) repositories: Vec<PlannedRepository>,
}

/// What could be changed in one repository. The approved entries go into one pull request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlannedRepository {
    pub(crate) connection: String,
    pub(crate) repository: RepoId,
    pub(crate) path: RepoId,
    pub(crate) target: BranchName,
    /// Tip of the target branch at the time of the scan.
    pub(crate) head: Sha,
    /// SHA-256 of each file that an entry changes, to find out whether it has changed since.
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) entries: Vec<Entry>,
    /// Vulnerable, but only through other packages: for the reader.
    pub(crate) transitive: Vec<Finding>,
    /// What could not be read, judged or changed: for the reader.
    pub(crate) problems: Vec<Problem>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Set to true to have it done by `remediate apply`.
    pub(crate) approved: bool,
    pub(crate) kind: EntryKind,
    pub(crate) fix: Fix,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EntryKind {
    Vulnerable,
    Outdated,
}

/// The approved entries of one repository.
pub(crate) struct Work<'a> {
    pub(crate) repository: &'a PlannedRepository,
    pub(crate) fixes: Vec<&'a Fix>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { form: FORM, repositories: Vec::new() }
    }
}

impl Plan {
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let text = crate::read(path)?;
        let mut reader = serde_json::Deserializer::from_str(&text);
        let plan: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            Error::config(format!(
                "{}: not a plan of `remediate plan` (at '{}': {})",
                path.display(),
                error.path(),
                error.inner()
            ))
        })?;
        if plan.form != FORM {
            return Err(Error::config(format!(
                "{}: a plan of form {}, this program reads form {FORM}; make a new plan",
                path.display(),
                plan.form
            )));
        }
        Ok(plan)
    }

    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::config(format!("the plan cannot be written: {error}")))?;
        text.push('\n');
        std::fs::write(path, text)
            .map_err(|error| Error::config(format!("{} cannot be written: {}", path.display(), error.kind())))
    }

    pub(crate) fn add(&mut self, connection: &str, found: Vec<Found>) {
        for found in found {
            let Some(target) = found.target else { continue };
            let analysis = found.analysis;
            // What may not be written is reported, not planned.
            let writable = found.read_only.is_none();
            let vulnerable = analysis.fixes.into_iter().map(|fix| (EntryKind::Vulnerable, fix));
            let outdated = analysis.outdated.into_iter().filter_map(|outdated| outdated.fix);
            let outdated = outdated.map(|fix| (EntryKind::Outdated, fix));
            let entries: Vec<_> = vulnerable
                .chain(outdated)
                .filter(|_| writable)
                .map(|(kind, fix)| Entry { approved: false, kind, fix })
                .collect();
            if entries.is_empty() && analysis.transitive.is_empty() && analysis.problems.is_empty() {
                continue;
            }
            let touched = entries.iter().flat_map(|entry| entry.fix.edits.iter().map(|edit| &edit.path));
            let files = touched
                .filter_map(|path| found.files.get(path).map(|text| (path.clone(), digest(text.as_bytes()))))
                .collect();
            self.repositories.push(PlannedRepository {
                connection: connection.to_owned(),
                repository: found.repository.id,
                path: found.repository.path,
                target: target.name,
                head: target.head,
                files,
                entries,
                transitive: analysis.transitive,
                problems: analysis.problems,
            });
        }
    }

    /// Approves what mends a vulnerability; what is only outdated takes a person.
    pub(crate) fn approve_vulnerable(&mut self) {
        for entry in self.repositories.iter_mut().flat_map(|repository| &mut repository.entries) {
            entry.approved = entry.kind == EntryKind::Vulnerable;
        }
    }

    pub(crate) fn approved_for(&self, connection: &str) -> Vec<Work<'_>> {
        let own = self.repositories.iter().filter(|repository| repository.connection == connection);
        let work = own.map(|repository| {
            let approved = repository.entries.iter().filter(|entry| entry.approved);
            Work { repository, fixes: approved.map(|entry| &entry.fix).collect() }
        });
        work.filter(|work| !work.fixes.is_empty()).collect()
    }

    /// Every connection that the plan names must be there.
    pub(crate) fn check_connections(&self, connections: &[Connection]) -> Result<()> {
        for repository in &self.repositories {
            if !connections.iter().any(|connection| connection.name == repository.connection) {
                return Err(Error::config(format!(
                    "the plan names the connection '{}', which the configuration does not have",
                    repository.connection
                )));
            }
        }
        Ok(())
    }
}

pub(crate) fn digest(text: &[u8]) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
