//! Which files of a repository are manifests and lock files.

use super::ecosystem::Ecosystem;

/// A file that can be analysed.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// `Cargo.toml`
    CargoManifest,
    /// `Cargo.lock`
    CargoLock,
    /// `package.json`
    NpmManifest,
    /// `package-lock.json`
    NpmLock,
    /// `requirements.txt`, `requirements-*.txt`, `requirements_*.txt`, `*-requirements.txt`, `requirements/*.txt`
    PipRequirements,
    /// `pom.xml`
    MavenPom,
}

impl FileKind {
    /// The kind of the file at a path (with `/`, from the root of the repository), in any directory but those of
    /// [`SKIPPED_DIRECTORIES`]; `None` for everything else.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        if dir.split('/').any(|part| SKIPPED_DIRECTORIES.contains(&part)) {
            return None;
        }
        match name {
            "Cargo.toml" => return Some(Self::CargoManifest),
            "Cargo.lock" => return Some(Self::CargoLock),
            "package.json" => return Some(Self::NpmManifest),
            "package-lock.json" => return Some(Self::NpmLock),
            "pom.xml" => return Some(Self::MavenPom),
            _ => {}
        }
        let stem = name.strip_suffix(".txt")?;
        let requirements = dir.rsplit('/').next() == Some("requirements")
            || stem == "requirements"
            || stem.starts_with("requirements-")
            || stem.starts_with("requirements_")
            || stem.ends_with("-requirements");
        requirements.then_some(Self::PipRequirements)
    }

    /// The ecosystem whose packages the file names.
    #[must_use]
    pub const fn ecosystem(self) -> Ecosystem {
        match self {
            Self::CargoManifest | Self::CargoLock => Ecosystem::CratesIo,
            Self::NpmManifest | Self::NpmLock => Ecosystem::Npm,
            Self::PipRequirements => Ecosystem::PyPi,
            Self::MavenPom => Ecosystem::Maven,
        }
    }
}

/// Directories of other people's code and of build output: what they hold is changed where it comes from.
pub const SKIPPED_DIRECTORIES: [&str; 12] = [
    ".git",
    ".hg",
    ".svn",
    ".tox",
    ".venv",
    "bower_components",
    "node_modules",
    "site-packages",
    "target",
    "third_party",
    "vendor",
    "venv",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (path, kind) in [
            ("Cargo.toml", Some(FileKind::CargoManifest)),
            ("crates/core/Cargo.toml", Some(FileKind::CargoManifest)),
            ("Cargo.lock", Some(FileKind::CargoLock)),
            ("web/package.json", Some(FileKind::NpmManifest)),
            ("web/package-lock.json", Some(FileKind::NpmLock)),
            ("pom.xml", Some(FileKind::MavenPom)),
            ("requirements.txt", Some(FileKind::PipRequirements)),
            ("requirements-dev.txt", Some(FileKind::PipRequirements)),
            ("dev-requirements.txt", Some(FileKind::PipRequirements)),
            ("app/requirements/prod.txt", Some(FileKind::PipRequirements)),
            ("requirements/prod.in", None),
            ("requirements.md", None),
            ("notes.txt", None),
            ("node_modules/lodash/package.json", None),
            ("a/target/package/Cargo.toml", None),
            ("vendor/x/Cargo.toml", None),
            (".git/Cargo.toml", None),
            ("targets/Cargo.toml", Some(FileKind::CargoManifest)),
            ("cargo.toml", None),
            ("", None),
        ] {
            assert_eq!(FileKind::of(path), kind, "{path}");
        }
    }
}
