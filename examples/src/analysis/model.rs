//! What an analysis finds. All of it can be written to a plan and read back.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::advisory::{Match, Severity};
use super::ecosystem::Ecosystem;

/// Everything that was found in one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    /// Vulnerable direct dependencies that can be mended, by manifest and line.
    pub fixes: Vec<Fix>,
    /// Vulnerable packages that only lock files name: reported, never changed.
    pub transitive: Vec<Finding>,
    /// Direct dependencies that are not vulnerable and not the newest.
    pub outdated: Vec<Outdated>,
    /// What could not be read, judged or mended.
    pub problems: Vec<Problem>,
}

/// An advisory as reports name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvisoryRef {
    /// The advisory's id.
    pub id: String,
    /// Its other ids.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// How bad it is.
    pub severity: Severity,
    /// One line.
    pub summary: String,
    /// Where to read on.
    pub url: String,
}

/// A direct dependency that a change of version texts mends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fix {
    /// The registry.
    pub ecosystem: Ecosystem,
    /// The package's name there.
    pub package: String,
    /// Tells it apart where one manifest asks for a package more than once: the manifest's own name for it, or the
    /// version it starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Path of the manifest that asks for it.
    pub manifest: String,
    /// Line of the requirement there, from 1.
    pub line: usize,
    /// The version in use: the locked one, else the lowest that the requirement asks for.
    pub from: String,
    /// The version it is raised to.
    pub to: String,
    /// Whether the step may break users of the package, by the ecosystem's rules.
    pub breaking: bool,
    /// Why: empty when the dependency is only outdated.
    pub advisories: Vec<AdvisoryRef>,
    /// What changes, manifest first, then lock file.
    pub edits: Vec<Edit>,
    /// The command that brings the lock file up to date, from the root of the repository. `None` where there is no
    /// lock file, or where `edits` leave it right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relock: Option<String>,
}

/// The replacement of one version text, hash or address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edit {
    /// Path of the file.
    pub path: String,
    /// The text's first byte, a byte order mark counted.
    pub at: usize,
    /// Its line, from 1.
    pub line: usize,
    /// What stands there.
    pub old: String,
    /// What will stand there.
    pub new: String,
}

/// A vulnerable package that came in through others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The registry.
    pub ecosystem: Ecosystem,
    /// The package's name there.
    pub package: String,
    /// The locked version.
    pub version: String,
    /// Path of the lock file.
    pub lock: String,
    /// Line of the version there, from 1.
    pub line: usize,
    /// The packages through which it came, from the direct dependency on; empty if the lock file does not tell.
    pub via: Vec<String>,
    /// The smallest version that no advisory affects.
    pub fixed: Option<String>,
    /// What affects it.
    pub advisories: Vec<AdvisoryRef>,
}

/// A direct dependency of which a newer version is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outdated {
    /// The registry.
    pub ecosystem: Ecosystem,
    /// The package's name there.
    pub package: String,
    /// Path of the manifest that asks for it.
    pub manifest: String,
    /// Line of the requirement there, from 1.
    pub line: usize,
    /// The version in use.
    pub from: String,
    /// The newest known version.
    pub to: String,
    /// Whether the step may break users of the package.
    pub breaking: bool,
    /// The change that would bring it there.
    pub fix: Option<Fix>,
    /// Why there is no such change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Something that a person has to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Path of the file.
    pub path: String,
    /// The line, from 1, where one can be named.
    pub line: Option<usize>,
    /// The package it is about; `None` if it is about the file.
    pub package: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// A command that would help, from the root of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Known advisories that stay unmended for it.
    #[serde(default)]
    pub advisories: Vec<AdvisoryRef>,
}

impl Fix {
    /// The same for the same dependency in every run, as long as its manifest stays where it is:
    /// `ecosystem:package:manifest`, with `#variant` after the package where there is one.
    #[must_use]
    pub fn key(&self) -> String {
        let variant = self.variant.as_ref().map(|variant| format!("#{variant}")).unwrap_or_default();
        format!("{}:{}{variant}:{}", self.ecosystem, self.package, self.manifest)
    }

    /// The worst of its advisories.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.advisories.iter().map(|advisory| advisory.severity).max().unwrap_or_default()
    }
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ecosystem, package, from, to, manifest, line, .. } = self;
        write!(f, "{ecosystem} {package} {from} -> {to} in {manifest}:{line}")?;
        let ids: Vec<&str> = self.advisories.iter().map(|advisory| advisory.id.as_str()).collect();
        if !ids.is_empty() {
            write!(f, " ({}, {})", self.severity(), ids.join(", "))?;
        }
        Ok(())
    }
}

impl Outdated {
    /// The change that brings it to the newest version, to be applied like any fix; `None` where its requirement
    /// cannot be raised.
    #[must_use]
    pub const fn as_fix(&self) -> Option<&Fix> {
        self.fix.as_ref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(package) = &self.package {
            write!(f, ": {package}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl AdvisoryRef {
    /// The advisories of some matches. Databases describe the same thing under their own ids: records that name
    /// each other, or share an alias, become one.
    pub(crate) fn collect(matches: &[Match<'_>]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for Match { advisory, .. } in matches {
            let names = || advisory.aliases.iter().chain([&advisory.id]);
            let same = |known: &&mut Self| names().any(|id| *id == known.id || known.aliases.contains(id));
            if let Some(known) = all.iter_mut().find(same) {
                for id in names().filter(|id| **id != known.id) {
                    if !known.aliases.contains(id) {
                        known.aliases.push(id.clone());
                    }
                }
                known.severity = known.severity.max(advisory.severity);
                continue;
            }
            all.push(Self {
                id: advisory.id.clone(),
                aliases: advisory.aliases.clone(),
                severity: advisory.severity,
                summary: advisory.summary.clone(),
                url: advisory.url.clone(),
            });
        }
        all
    }
}
