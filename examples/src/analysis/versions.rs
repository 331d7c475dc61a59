//! The newest versions a service knows of, with the hashes that lock files hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ecosystem::Ecosystem;
use super::text::shown;
use super::version::Version;

/// One published version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownVersion {
    /// The registry.
    pub ecosystem: Ecosystem,
    /// The package's name there.
    pub package: String,
    /// The version.
    pub version: String,
    /// crates.io: SHA-256 of the crate file in hex, as in `Cargo.lock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// npm: where the tarball is. Used only where the lock file's own address cannot be carried over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<String>,
    /// npm: the hash as in `package-lock.json`, such as `sha512-...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<String>,
}

/// Known versions by package.
#[derive(Debug, Clone, Default)]
pub struct NewestVersions(BTreeMap<(Ecosystem, String), Vec<(Version, KnownVersion)>>);

/// Why a versions file cannot be used.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionsError {
    /// The text is not JSON.
    #[error("versions: not JSON (line {line}): {message}")]
    NotJson {
        /// Line of the file, from 1.
        line: usize,
        /// What the parser expected.
        message: String,
    },
    /// The file is JSON but no array.
    #[error("versions: expected an array of {{\"ecosystem\", \"package\", \"version\"}}")]
    NotAnArray,
    /// One entry is wrong.
    #[error("versions: entry {entry}, at {path}: {message}")]
    Entry {
        /// Index of the entry, from 0.
        entry: usize,
        /// The JSON path inside the entry.
        path: String,
        /// What was expected there.
        message: String,
    },
}

impl NewestVersions {
    /// Reads an array of [`KnownVersion`]s. A package may have several entries: the highest is its newest, all are
    /// sources of hashes.
    ///
    /// # Errors
    /// [`VersionsError`] names the entry and the field that is wrong: an unknown one, a version that is none, a
    /// hash of the wrong form or of another ecosystem.
    pub fn from_json(text: &str) -> Result<Self, VersionsError> {
        let value: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
            VersionsError::NotJson { line: error.line(), message: shown(&error.to_string()) }
        })?;
        let Value::Array(values) = value else { return Err(VersionsError::NotAnArray) };
        let mut all = Self::default();
        for (entry, value) in values.into_iter().enumerate() {
            let known: KnownVersion = serde_path_to_error::deserialize(value).map_err(|error| {
                let path = match error.path().to_string().as_str() {
                    "." => "the top level".to_owned(),
                    path => format!("`{}`", shown(path)),
                };
                VersionsError::Entry { entry, path, message: shown(&error.into_inner().to_string()) }
            })?;
            let wrong = |field: &str, message: String| VersionsError::Entry {
                entry,
                path: format!("`{field}`"),
                message,
            };
            let version = Version::parse(known.ecosystem, &known.version)
                .map_err(|error| wrong("version", error.to_string()))?;
            known.check().map_err(|(field, message)| wrong(field, message.to_owned()))?;
            let key = (known.ecosystem, known.ecosystem.normalise(&known.package));
            all.0.entry(key).or_default().push((version, known));
        }
        Ok(all)
    }

    /// The newest version of a package.
    #[must_use]
    pub fn newest(&self, ecosystem: Ecosystem, package: &str) -> Option<&KnownVersion> {
        self.newest_version(ecosystem, package).map(|(_, known)| known)
    }

    /// The entry for exactly this version of a package.
    #[must_use]
    pub fn exact(&self, ecosystem: Ecosystem, package: &str, version: &str) -> Option<&KnownVersion> {
        let entries = self.0.get(&(ecosystem, ecosystem.normalise(package)))?;
        entries.iter().map(|(_, known)| known).find(|known| known.version == version)
    }

    pub(crate) fn newest_version(
        &self,
        ecosystem: Ecosystem,
        package: &str,
    ) -> Option<&(Version, KnownVersion)> {
        let entries = self.0.get(&(ecosystem, ecosystem.normalise(package)))?;
        entries.iter().reduce(|best, next| if next.0 > best.0 { next } else { best })
    }
}

impl KnownVersion {
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.package.trim().is_empty() {
            return Err(("package", "expected a name"));
        }
        if let Some(checksum) = &self.checksum {
            if self.ecosystem != Ecosystem::CratesIo {
                return Err(("checksum", "only crates.io has one; npm has `integrity`"));
            }
            if checksum.len() != 64 || !checksum.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(("checksum", "expected a SHA-256 of 64 lower-case hex digits"));
            }
        }
        let npm = self.ecosystem == Ecosystem::Npm;
        if let Some(integrity) = &self.integrity {
            if !npm {
                return Err(("integrity", "only npm has one; crates.io has `checksum`"));
            }
            // 64 and 20 bytes in base64.
            let length = match integrity.split_once('-') {
                Some(("sha512", hash)) if hash.ends_with("==") => hash.len() == 88,
                Some(("sha1", hash)) if hash.ends_with('=') => hash.len() == 28,
                _ => false,
            };
            let base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=-".contains(&b);
            if !length || !integrity.bytes().all(base64) {
                return Err(("integrity", "expected `sha512-` or `sha1-` and a hash in base64"));
            }
        }
        if let Some(resolved) = &self.resolved {
            if !npm {
                return Err(("resolved", "only npm has one"));
            }
            let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
            if !resolved.starts_with("https://") || !resolved.bytes().all(plain) {
                return Err(("resolved", "expected an https address"));
            }
        }
        Ok(())
    }
}
