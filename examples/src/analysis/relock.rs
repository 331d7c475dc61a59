//! The commands that bring a lock file up to date, for a person to paste into a shell.

use super::text::{directory, join};
use super::version::Version;

/// `cargo update` of one package. `several` says that the lock file has other versions of it too.
pub(crate) fn cargo(lock: &str, package: &str, from: &str, to: &Version, several: bool) -> String {
    let manifest = match directory(lock) {
        "" => String::new(),
        dir => format!("--manifest-path {} ", word(&join(dir, "Cargo.toml"))),
    };
    let package = if several { format!("{package}@{from}") } else { package.to_owned() };
    format!("cargo update {manifest}-p {} --precise {}", word(&package), word(to.as_str()))
}

/// npm, once the manifest asks for the new version. An explicit package would be saved as `^version`, so it is named
/// only where that is what the manifest says, or where the manifest did not change.
pub(crate) fn npm(lock: &str, package: &str, to: &Version, requirement: Option<&str>) -> String {
    let what = match requirement {
        Some(text) if text == format!("^{to}") => format!("install {} ", word(&format!("{package}@{to}"))),
        Some(_) => "install ".to_owned(),
        None => format!("update {} ", word(package)),
    };
    let dir = match directory(lock) {
        "" => String::new(),
        dir => format!(" --prefix {}", word(dir)),
    };
    format!("npm {what}--package-lock-only{dir}")
}

/// pip-tools, which writes files with hashes from the `.in` file beside them.
pub(crate) fn pip_hashes(manifest: &str, package: &str, to: &Version) -> String {
    let input =
        manifest.strip_suffix(".txt").map_or_else(|| manifest.to_owned(), |stem| format!("{stem}.in"));
    let upgrade = word(&format!("{package}=={to}"));
    let (output, input) = (word(manifest), word(&input));
    format!("pip-compile --generate-hashes --upgrade-package {upgrade} --output-file {output} {input}")
}

/// One word of a POSIX shell. Paths and names come from the repository: they must not become commands.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text.to_owned();
    }
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    // A word that begins with a dash would be an option.
    let clean = if clean.starts_with('-') { format!("./{clean}") } else { clean };
    format!("'{}'", clean.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Ecosystem;

    #[test]
    fn commands() {
        let version = |ecosystem, text| Version::parse(ecosystem, text).unwrap();
        let to = version(Ecosystem::CratesIo, "1.6.1");
        assert_eq!(
            cargo("Cargo.lock", "smallvec", "1.6.0", &to, false),
            "cargo update -p smallvec --precise 1.6.1"
        );
        assert_eq!(
            cargo("a b/Cargo.lock", "smallvec", "1.6.0", &to, true),
            "cargo update --manifest-path 'a b/Cargo.toml' -p smallvec@1.6.0 --precise 1.6.1"
        );
        let to = version(Ecosystem::Npm, "4.17.21");
        let lock = "package-lock.json";
        assert_eq!(
            npm(lock, "lodash", &to, Some("^4.17.21")),
            "npm install lodash@4.17.21 --package-lock-only"
        );
        assert_eq!(npm(lock, "lodash", &to, Some("4.17.21")), "npm install --package-lock-only");
        assert_eq!(
            npm("w/package-lock.json", "lodash", &to, None),
            "npm update lodash --package-lock-only --prefix w"
        );
        let to = version(Ecosystem::PyPi, "2.11.3");
        assert_eq!(
            pip_hashes("requirements.txt", "jinja2", &to),
            "pip-compile --generate-hashes --upgrade-package jinja2==2.11.3 --output-file requirements.txt requirements.in"
        );
    }

    #[test]
    fn words() {
        for (text, quoted) in [
            ("a", "a"),
            ("a b", "'a b'"),
            ("$(x)", "'$(x)'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("-x", "'./-x'"),
        ] {
            assert_eq!(word(text), quoted);
        }
    }
}
