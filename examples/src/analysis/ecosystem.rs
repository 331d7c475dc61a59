//! The package registries that are understood.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A package registry, under the name that OSV gives it.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ecosystem {
    /// Rust crates of crates.io: `Cargo.toml`, `Cargo.lock`.
    #[serde(rename = "crates.io")]
    CratesIo,
    /// JavaScript packages: `package.json`, `package-lock.json`.
    #[serde(rename = "npm")]
    Npm,
    /// Python packages: `requirements.txt`.
    #[serde(rename = "PyPI")]
    PyPi,
    /// Java artifacts, named `group:artifact`: `pom.xml`.
    #[serde(rename = "Maven")]
    Maven,
}

impl Ecosystem {
    /// The ecosystem of an OSV record. A suffix such as in `Maven:https://repo.example.com` names a repository and is
    /// ignored: the version rules are the same.
    #[must_use]
    pub fn from_osv(name: &str) -> Option<Self> {
        match name.split_once(':').map_or(name, |(base, _)| base) {
            "crates.io" => Some(Self::CratesIo),
            "npm" => Some(Self::Npm),
            "PyPI" => Some(Self::PyPi),
            "Maven" => Some(Self::Maven),
            _ => None,
        }
    }

    /// The name in OSV, in the versions file and in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CratesIo => "crates.io",
            Self::Npm => "npm",
            Self::PyPi => "PyPI",
            Self::Maven => "Maven",
        }
    }

    /// The name in a branch: that of the tool, short and without a dot.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::CratesIo => "cargo",
            Self::Npm => "npm",
            Self::PyPi => "pypi",
            Self::Maven => "maven",
        }
    }

    /// The one spelling of a package's name. Only PyPI has several (PEP 503): `Zope.Interface` is `zope-interface`.
    #[must_use]
    pub fn normalise(self, package: &str) -> String {
        if self != Self::PyPi {
            return package.to_owned();
        }
        let mut name = String::with_capacity(package.len());
        for c in package.chars() {
            if !matches!(c, '-' | '_' | '.') {
                name.extend(c.to_lowercase());
            } else if !name.ends_with('-') {
                name.push('-');
            }
        }
        name
    }
}

impl fmt::Display for Ecosystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
