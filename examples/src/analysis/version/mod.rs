//! Versions, compared by the rules of their ecosystem.

mod maven;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use self::maven::MavenVersion;
use super::ecosystem::Ecosystem;
use super::text::shown;

/// A version of one ecosystem, ordered by that ecosystem's own rules: SemVer precedence for crates.io, node-semver
/// for npm, PEP 440 for PyPI, Maven's version order for Maven.
///
/// Versions of different ecosystems are neither equal nor ordered.
#[derive(Debug, Clone)]
pub struct Version {
    text: String,
    parsed: Parsed,
}

#[derive(Debug, Clone)]
enum Parsed {
    Cargo(semver::Version),
    Npm(nodejs_semver::Version),
    PyPi(pep440_rs::Version),
    Maven(MavenVersion),
}

impl Version {
    /// Reads a complete version.
    ///
    /// # Errors
    /// [`VersionError`] when the text is no version of that ecosystem. Maven takes any
    /// letters and digits with `.`, `-`, `_`, `+` and `~`.
    pub fn parse(ecosystem: Ecosystem, text: &str) -> Result<Self, VersionError> {
        let bad = |reason: String| VersionError { ecosystem, text: shown(text), reason: shown(&reason) };
        let text = text.trim();
        let parsed = match ecosystem {
            Ecosystem::CratesIo => {
                Parsed::Cargo(semver::Version::parse(text).map_err(|e| bad(e.to_string()))?)
            }
            Ecosystem::Npm => Parsed::Npm(
                nodejs_semver::Version::parse(text)
                    .map_err(|_| bad("expected MAJOR.MINOR.PATCH, each at most 15 digits".to_owned()))?,
            ),
            Ecosystem::PyPi => {
                Parsed::PyPi(pep440_rs::Version::from_str(text).map_err(|e| bad(e.to_string()))?)
            }
            Ecosystem::Maven => Parsed::Maven(
                MavenVersion::parse(text).ok_or_else(|| bad("expected a version, not a range".to_owned()))?,
            ),
        };
        Ok(Self { text: text.to_owned(), parsed })
    }

    /// The version as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The ecosystem whose rules apply.
    #[must_use]
    pub const fn ecosystem(&self) -> Ecosystem {
        match self.parsed {
            Parsed::Cargo(_) => Ecosystem::CratesIo,
            Parsed::Npm(_) => Ecosystem::Npm,
            Parsed::PyPi(_) => Ecosystem::PyPi,
            Parsed::Maven(_) => Ecosystem::Maven,
        }
    }

    /// Whether a step between the two should break nothing: the same leftmost non-zero number for crates.io and npm,
    /// the same first number for PyPI and Maven, which promise less.
    #[must_use]
    pub fn is_compatible_with(&self, other: &Self) -> bool {
        fn caret(a: [u64; 3], b: [u64; 3]) -> bool {
            let significant = a.iter().position(|n| *n != 0).unwrap_or(2);
            a[..=significant] == b[..=significant]
        }
        match (&self.parsed, &other.parsed) {
            (Parsed::Cargo(a), Parsed::Cargo(b)) => {
                caret([a.major, a.minor, a.patch], [b.major, b.minor, b.patch])
            }
            (Parsed::Npm(a), Parsed::Npm(b)) => {
                caret([a.major(), a.minor(), a.patch()], [b.major(), b.minor(), b.patch()])
            }
            (Parsed::PyPi(a), Parsed::PyPi(b)) => {
                a.epoch() == b.epoch() && a.release().first() == b.release().first()
            }
            (Parsed::Maven(a), Parsed::Maven(b)) => a.same_first_number(b),
            _ => false,
        }
    }

    pub(crate) const fn as_cargo(&self) -> Option<&semver::Version> {
        if let Parsed::Cargo(version) = &self.parsed { Some(version) } else { None }
    }

    pub(crate) const fn as_npm(&self) -> Option<&nodejs_semver::Version> {
        if let Parsed::Npm(version) = &self.parsed { Some(version) } else { None }
    }

    pub(crate) const fn as_pypi(&self) -> Option<&pep440_rs::Version> {
        if let Parsed::PyPi(version) = &self.parsed { Some(version) } else { None }
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (&self.parsed, &other.parsed) {
            // Not `cmp`: that one orders build metadata too, which SemVer says to ignore.
            (Parsed::Cargo(a), Parsed::Cargo(b)) => Some(a.cmp_precedence(b)),
            (Parsed::Npm(a), Parsed::Npm(b)) => Some(a.cmp(b)),
            (Parsed::PyPi(a), Parsed::PyPi(b)) => Some(a.cmp(b)),
            (Parsed::Maven(a), Parsed::Maven(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text that is no version of its ecosystem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a version of {ecosystem}: {reason}")]
pub struct VersionError {
    ecosystem: Ecosystem,
    text: String,
    reason: String,
}
