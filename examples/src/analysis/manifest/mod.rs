//! Manifests: what a repository asks for directly, and where it says so.

mod cargo;
mod maven;
mod npm;
mod pip;

use std::collections::BTreeSet;

use super::files::FileKind;
use super::text::Source;

/// A manifest that was read.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    /// The name of the package it describes, where a lock file would know it by that.
    pub(crate) name: Option<String>,
    /// Every dependency, in the order of the file.
    pub(crate) declarations: Vec<Declaration>,
    /// What other manifests may take a version from: the workspace's dependencies, a parent's managed ones.
    pub(crate) offers: BTreeSet<String>,
    /// Where this manifest may take versions from: the path of a parent.
    pub(crate) parent: Option<String>,
    /// Parts that could not be read, by line.
    pub(crate) unread: Vec<(usize, String)>,
}

/// One dependency.
#[derive(Debug, Clone)]
pub(crate) struct Declaration {
    /// The package's name in its registry.
    pub(crate) package: String,
    /// The name the manifest gives it, where that is another.
    pub(crate) alias: Option<String>,
    /// Where it stands.
    pub(crate) line: usize,
    /// The requirement as written, if it has one.
    pub(crate) requirement: Option<String>,
    /// Whether that can be changed.
    pub(crate) place: Place,
}

/// Where a requirement can be changed, or why it cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The requirement's bytes are the file's, from this one on.
    At(usize),
    /// Another manifest names the version, under this name.
    Elsewhere(String),
    /// It comes from a registry, but the text cannot be changed.
    Fixed(String),
    /// It is pinned by hashes, which are not known for another version.
    Hashed,
    /// It does not come from the registry at all.
    Foreign(String),
}

/// Why a file could not be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) line: Option<usize>,
    pub(crate) reason: String,
}

impl Manifest {
    /// Reads a manifest; `None` for a kind of file that is none.
    pub(crate) fn parse(kind: FileKind, path: &str, text: &str) -> Option<Result<Self, Unreadable>> {
        let source = Source::new(text);
        match kind {
            FileKind::CargoManifest => Some(cargo::parse(&source)),
            FileKind::NpmManifest => Some(npm::parse(&source)),
            FileKind::PipRequirements => Some(Ok(pip::parse(&source))),
            FileKind::MavenPom => Some(maven::parse(path, &source)),
            FileKind::CargoLock | FileKind::NpmLock => None,
        }
    }
}
