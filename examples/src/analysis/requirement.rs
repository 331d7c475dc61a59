//! Version requirements: what they ask for at least, what they allow, and how to raise them.
//!
//! A requirement is raised by replacing the one version text that is its lower bound; the operator, the spaces and
//! the other clauses stay. How precisely the new version is written:
//!
//! - `>=1.5`, and in Cargo `1.5` and `^1.5`: as precisely as before if nothing is lost by it (`1.6` for 1.6.0),
//!   else in full (`1.5.3`). A longer text only raises the lower bound.
//! - `~1.5`, `~=2.11`, Cargo's `=1.6`, npm's `1.2`: a shorter text stands for a range that a longer one would
//!   narrow. The precision stays, or the requirement cannot be changed.
//! - exact pins: in full.
//!
//! The result is parsed again and must allow the new version and nothing below it.

use std::ops::Range;
use std::str::FromStr;

use super::ecosystem::Ecosystem;
use super::text::shown;
use super::version::Version;

/// A requirement that was understood.
#[derive(Debug, Clone)]
pub(crate) struct Requirement {
    ecosystem: Ecosystem,
    text: String,
    floor: Option<Version>,
    slot: Result<Slot, String>,
    allows: Allows,
}

/// Where the lower bound's version stands in the text, and how it may be written.
#[derive(Debug, Clone)]
struct Slot {
    range: Range<usize>,
    precision: Precision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precision {
    /// As before where nothing is lost by it, else in full.
    Free,
    /// With as many numbers as before.
    Kept,
    /// In full.
    Full,
}

#[derive(Debug, Clone)]
enum Allows {
    Cargo(semver::VersionReq),
    Npm(Box<nodejs_semver::Range>),
    PyPi(Vec<pep440_rs::VersionSpecifier>),
    /// Only itself: what Maven makes of a version depends on the rest of the tree.
    Maven,
}

/// The one change that raises a requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raise {
    /// The replaced part of the requirement's text.
    pub(crate) range: Range<usize>,
    /// What stands there then.
    pub(crate) new: String,
}

/// A clause such as `>= 1.5`, by its place in the text.
struct Clause<'a> {
    operator: &'a str,
    version: &'a str,
    at: usize,
}

impl Requirement {
    /// Reads a requirement. The error says why it names no versions.
    pub(crate) fn parse(ecosystem: Ecosystem, text: &str) -> Result<Self, String> {
        match ecosystem {
            Ecosystem::CratesIo => cargo(text),
            Ecosystem::Npm => npm(text),
            Ecosystem::PyPi => pypi(text),
            Ecosystem::Maven => Ok(maven(text)),
        }
    }

    /// The text it was read from.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The lowest version it asks for; of an exclusive bound, the bound.
    pub(crate) const fn floor(&self) -> Option<&Version> {
        self.floor.as_ref()
    }

    /// Whether a version satisfies it.
    pub(crate) fn allows(&self, version: &Version) -> bool {
        match &self.allows {
            Allows::Cargo(requirement) => version.as_cargo().is_some_and(|v| requirement.matches(v)),
            Allows::Npm(range) => version.as_npm().is_some_and(|v| range.satisfies(v)),
            Allows::PyPi(specifiers) => {
                version.as_pypi().is_some_and(|v| specifiers.iter().all(|one| one.contains(v)))
            }
            Allows::Maven => self.slot.is_ok() && self.floor.as_ref() == Some(version),
        }
    }

    /// The change after which it asks for at least `to`. The error says why there is none.
    pub(crate) fn raise(&self, to: &Version) -> Result<Raise, String> {
        let Slot { range, precision } = self.slot.clone()?;
        let old = &self.text[range.clone()];
        let to_text = match self.ecosystem {
            // Build metadata has no meaning in a requirement.
            Ecosystem::CratesIo | Ecosystem::Npm => {
                to.as_str().split_once('+').map_or(to.as_str(), |(core, _)| core)
            }
            Ecosystem::PyPi | Ecosystem::Maven => to.as_str(),
        };
        let kept = with_precision(to_text, numbers(old).unwrap_or(usize::MAX));
        let new = match precision {
            Precision::Full => to_text.to_owned(),
            Precision::Free => kept.unwrap_or_else(|| to_text.to_owned()),
            Precision::Kept => kept.ok_or_else(|| {
                format!("`{}` stands for a range that `{to_text}` in full would narrow", shown(&self.text))
            })?,
        };
        let text = format!("{}{new}{}", &self.text[..range.start], &self.text[range.end..]);
        let after = Self::parse(self.ecosystem, &text)?;
        if !after.allows(to) || after.floor().is_none_or(|floor| floor < to) {
            return Err(format!("the rest of `{}` does not allow {to_text}", shown(&self.text)));
        }
        Ok(Raise { range, new })
    }
}

/// How many numbers a plain release such as `1.6` has; `None` for anything with more than numbers.
fn numbers(version: &str) -> Option<usize> {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    version.split('.').all(plain).then(|| version.split('.').count())
}

/// The version written with so many numbers, if it can be without becoming another one.
fn with_precision(version: &str, count: usize) -> Option<String> {
    let has = numbers(version)?;
    if count == usize::MAX {
        return None;
    }
    let mut parts: Vec<&str> = version.split('.').collect();
    if count < has && parts[count..].iter().any(|part| part.bytes().any(|b| b != b'0')) {
        return None;
    }
    parts.resize(count, "0");
    Some(parts.join("."))
}

/// Takes `text`, whose place in the whole requirement is `at`, apart into operator and version.
fn clause<'a>(text: &'a str, at: usize, operators: &str) -> Clause<'a> {
    let trimmed = text.trim_start();
    let version = trimmed.trim_start_matches(|c| operators.contains(c));
    let operator = &trimmed[..trimmed.len() - version.len()];
    let bare = version.trim_start();
    Clause { operator, version: bare.trim_end(), at: at + text.len() - bare.len() }
}

/// The clauses between separators.
fn clauses<'a>(text: &'a str, separator: char, operators: &'a str) -> impl Iterator<Item = Clause<'a>> {
    let mut at = 0;
    text.split(separator).map(move |part| {
        let found = clause(part, at, operators);
        at += part.len() + separator.len_utf8();
        found
    })
}

fn highest(versions: impl Iterator<Item = Version>) -> Option<Version> {
    versions.reduce(|best, next| if next > best { next } else { best })
}

/// The one slot of the lower bounds that were found, or why there is none.
fn only_slot(mut slots: Vec<Result<Slot, String>>, text: &str) -> Result<Slot, String> {
    match slots.len() {
        0 => Err(format!("`{}` names no lowest version", shown(text))),
        1 => slots.remove(0),
        _ => Err(format!("`{}` has several lower bounds", shown(text))),
    }
}

fn cargo(text: &str) -> Result<Requirement, String> {
    let parsed = semver::VersionReq::parse(text).map_err(|error| shown(&error.to_string()))?;
    let mut floors = Vec::new();
    let mut slots = Vec::new();
    for (comparator, clause) in parsed.comparators.iter().zip(clauses(text, ',', "=<>~^")) {
        let numbers = numbers(clause.version);
        let precision = match comparator.op {
            semver::Op::Less | semver::Op::LessEq => continue,
            semver::Op::Caret | semver::Op::GreaterEq => Ok(Precision::Free),
            semver::Op::Exact => {
                Ok(if numbers.is_some_and(|count| count < 3) { Precision::Kept } else { Precision::Full })
            }
            semver::Op::Tilde => Ok(if numbers == Some(1) { Precision::Kept } else { Precision::Free }),
            semver::Op::Greater => Err(format!("`{}` excludes its own version", shown(text))),
            _ => Err(format!("`{}` has a wildcard", shown(text))),
        };
        let floor = semver::Version {
            pre: comparator.pre.clone(),
            ..semver::Version::new(
                comparator.major,
                comparator.minor.unwrap_or(0),
                comparator.patch.unwrap_or(0),
            )
        };
        floors.extend(Version::parse(Ecosystem::CratesIo, &floor.to_string()));
        let range = clause.at..clause.at + clause.version.len();
        slots.push(precision.map(|precision| Slot { range, precision }));
    }
    Ok(Requirement {
        ecosystem: Ecosystem::CratesIo,
        text: text.to_owned(),
        floor: highest(floors.into_iter()),
        slot: only_slot(slots, text),
        allows: Allows::Cargo(parsed),
    })
}

fn npm(text: &str) -> Result<Requirement, String> {
    const OPERATORS: &str = "=<>~^";
    // Between an operator and its version there may be spaces, so words are put together first.
    let mut words: Vec<Clause<'_>> = Vec::new();
    let mut start = 0;
    while let Some(skipped) = text[start..].find(|c: char| !c.is_whitespace()) {
        start += skipped;
        let rest = &text[start..];
        let version = rest.trim_start_matches(|c| OPERATORS.contains(c)).trim_start();
        let length = version.find(char::is_whitespace).unwrap_or(version.len());
        let end = start + rest.len() - version.len() + length;
        words.push(clause(&text[start..end], start, OPERATORS));
        start = end;
    }
    let number_like = |version: &str| {
        let version = version.strip_prefix(['v', 'V']).unwrap_or(version);
        version.starts_with(|c: char| c.is_ascii_digit() || matches!(c, 'x' | 'X' | '*'))
    };
    let alternatives = text.contains("||");
    if !alternatives && words.iter().any(|word| word.version != "-" && !number_like(word.version)) {
        return Err(format!("`{}` is a tag, not a version", shown(text)));
    }
    let parsed = nodejs_semver::Range::parse(text)
        .map_err(|_| format!("`{}` is not a version range of npm", shown(text)))?;
    let slot = if alternatives {
        Err(format!("`{}` has alternatives", shown(text)))
    } else if words.iter().any(|word| word.version == "-") {
        Err(format!("`{}` is a range from one version to another", shown(text)))
    } else {
        let slots = words.iter().filter_map(|word| npm_slot(word, text)).collect();
        only_slot(slots, text)
    };
    // Only what asks for nothing has no floor: `*` would otherwise count as 0.0.0, and so as vulnerable.
    let anything = words.iter().all(|word| matches!(word.version, "*" | "x" | "X"));
    let floor = if anything { None } else { parsed.min_version() };
    Ok(Requirement {
        ecosystem: Ecosystem::Npm,
        text: text.to_owned(),
        floor: floor.and_then(|v| Version::parse(Ecosystem::Npm, &v.to_string()).ok()),
        slot,
        allows: Allows::Npm(Box::new(parsed)),
    })
}

fn npm_slot(word: &Clause<'_>, text: &str) -> Option<Result<Slot, String>> {
    let prefix = usize::from(word.version.starts_with(['v', 'V']));
    let version = &word.version[prefix..];
    let core = version.split(['-', '+']).next().unwrap_or_default();
    if core.split('.').any(|part| matches!(part, "x" | "X" | "*")) {
        return Some(Err(format!("`{}` has a wildcard", shown(text))));
    }
    let count = numbers(core).unwrap_or(3);
    let precision = match word.operator {
        "<" | "<=" => return None,
        ">" => return Some(Err(format!("`{}` excludes its own version", shown(text)))),
        "" | "=" if count < 3 => Precision::Kept,
        "" | "=" => Precision::Full,
        "~" | "~>" if count < 2 => Precision::Kept,
        "~" | "~>" | "^" | ">=" => Precision::Free,
        other => return Some(Err(format!("`{}` has an unknown operator `{}`", shown(text), shown(other)))),
    };
    let at = word.at + prefix;
    Some(Ok(Slot { range: at..at + version.len(), precision }))
}

fn pypi(text: &str) -> Result<Requirement, String> {
    let mut specifiers = Vec::new();
    let mut floors = Vec::new();
    let mut slots = Vec::new();
    for clause in clauses(text, ',', "=<>~!") {
        if clause.operator.is_empty() && clause.version.is_empty() {
            continue;
        }
        let written = format!("{}{}", clause.operator, clause.version);
        let specifier =
            pep440_rs::VersionSpecifier::from_str(&written).map_err(|error| shown(&error.to_string()))?;
        let wildcard = || Err(format!("`{}` has a wildcard", shown(text)));
        let precision = match clause.operator {
            "==" if clause.version.ends_with(".*") => Some(wildcard()),
            "==" | "===" => Some(Ok(Precision::Full)),
            "~=" => Some(Ok(Precision::Kept)),
            ">=" => Some(Ok(Precision::Free)),
            ">" => Some(Err(format!("`{}` excludes its own version", shown(text)))),
            _ => None,
        };
        if let Some(precision) = precision {
            let version = clause.version.strip_suffix(".*").unwrap_or(clause.version);
            floors.extend(Version::parse(Ecosystem::PyPi, version));
            let range = clause.at..clause.at + clause.version.len();
            slots.push(precision.map(|precision| Slot { range, precision }));
        }
        specifiers.push(specifier);
    }
    Ok(Requirement {
        ecosystem: Ecosystem::PyPi,
        text: text.to_owned(),
        floor: highest(floors.into_iter()),
        slot: only_slot(slots, text),
        allows: Allows::PyPi(specifiers),
    })
}

fn maven(text: &str) -> Requirement {
    let (floor, slot) = match Version::parse(Ecosystem::Maven, text) {
        Ok(_) if matches!(text, "LATEST" | "RELEASE") => (None, Err(format!("`{text}` names no version"))),
        Ok(version) => (Some(version), Ok(Slot { range: 0..text.len(), precision: Precision::Full })),
        Err(_) => {
            let lowest = text.strip_prefix(['[', '(']).and_then(|rest| rest.split([',', ']', ')']).next());
            let floor = lowest.and_then(|version| Version::parse(Ecosystem::Maven, version).ok());
            (floor, Err(format!("`{}` is a version range", shown(text))))
        }
    };
    Requirement { ecosystem: Ecosystem::Maven, text: text.to_owned(), floor, slot, allows: Allows::Maven }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raised(ecosystem: Ecosystem, text: &str, to: &str) -> Option<String> {
        let requirement = Requirement::parse(ecosystem, text).expect(text);
        let raise = requirement.raise(&Version::parse(ecosystem, to).expect(to)).ok()?;
        let mut after = text.to_owned();
        after.replace_range(raise.range, &raise.new);
        Some(after)
    }

    #[test]
    fn raise() {
        use Ecosystem::{CratesIo, Maven, Npm, PyPi};
        for (ecosystem, from, to, expected) in [
            (CratesIo, "1.6.0", "1.6.1", Some("1.6.1")),
            (CratesIo, "1.6", "1.6.1", Some("1.6.1")),
            (CratesIo, "1.5", "1.6.0", Some("1.6")),
            (CratesIo, "1", "2.0.0", Some("2")),
            (CratesIo, "^1.6.0", "1.6.1", Some("^1.6.1")),
            (CratesIo, "= 1.6.0", "1.6.1", Some("= 1.6.1")),
            (CratesIo, "=1.6", "1.6.1", None),
            (CratesIo, "=1.6", "1.7.0", Some("=1.7")),
            (CratesIo, "~1.6", "1.6.1", Some("~1.6.1")),
            (CratesIo, "~1", "1.6.1", None),
            (CratesIo, ">=1.5, <2", "1.6.1", Some(">=1.6.1, <2")),
            (CratesIo, "<2 , >= 1.5", "1.6.1", Some("<2 , >= 1.6.1")),
            (CratesIo, ">=1.5, <1.6", "1.6.1", None),
            (CratesIo, "1.*", "1.6.1", None),
            (CratesIo, "*", "1.6.1", None),
            (CratesIo, ">1.5.0", "1.6.1", None),
            (CratesIo, "1.0.0-rc.1", "1.0.0+build", Some("1.0.0")),
            (Npm, "^4.17.20", "4.17.21", Some("^4.17.21")),
            (Npm, "~4.17.20", "4.17.21", Some("~4.17.21")),
            (Npm, "=4.17.20", "4.17.21", Some("=4.17.21")),
            (Npm, "v4.17.20", "4.17.21", Some("v4.17.21")),
            (Npm, "4.17.20", "4.17.21", Some("4.17.21")),
            (Npm, " >= 4.17.20  <5", "4.17.21", Some(" >= 4.17.21  <5")),
            (Npm, ">=1 <2", "2.1.0", None),
            (Npm, "^4", "4.17.21", Some("^4.17.21")),
            (Npm, "4.17", "4.17.21", None),
            (Npm, "4.x", "4.17.21", None),
            (Npm, "*", "4.17.21", None),
            (Npm, "", "4.17.21", None),
            (Npm, "^3.0.0 || ^4.17.20", "4.17.21", None),
            (Npm, "4.0.0 - 5.0.0", "4.17.21", None),
            (PyPi, "==2.11.2", "2.11.3", Some("==2.11.3")),
            (PyPi, "=== 2.11.2", "2.11.3", Some("=== 2.11.3")),
            (PyPi, "~=2.11.2", "2.11.3", Some("~=2.11.3")),
            (PyPi, "~=2.11.2", "2.12", Some("~=2.12.0")),
            (PyPi, "~=2.11", "2.11.3", None),
            (PyPi, ">=2.3,<3", "2.31.0", Some(">=2.31,<3")),
            (PyPi, ">=2.3, !=2.31.0", "2.31.0", None),
            (PyPi, "==2.11.*", "2.11.3", None),
            (PyPi, "<3", "2.11.3", None),
            (PyPi, "==1!2.0", "1!2.1", Some("==1!2.1")),
            (Maven, "2.14.1", "2.15.0", Some("2.15.0")),
            (Maven, "[2.14.1]", "2.15.0", None),
            (Maven, "LATEST", "2.15.0", None),
        ] {
            assert_eq!(raised(ecosystem, from, to).as_deref(), expected, "{ecosystem} `{from}` to {to}");
        }
    }

    #[test]
    fn floors() {
        use Ecosystem::{CratesIo, Maven, Npm, PyPi};
        for (ecosystem, text, floor) in [
            (CratesIo, "1", Some("1.0.0")),
            (CratesIo, ">=1.2, <2", Some("1.2.0")),
            (CratesIo, "1.*", Some("1.0.0")),
            (CratesIo, "*", None),
            (CratesIo, "<2", None),
            (Npm, "1.x", Some("1.0.0")),
            (Npm, "*", None),
            (Npm, "", None),
            (Npm, "^1.2.5 || ^2", Some("1.2.5")),
            (PyPi, "==2.11.*", Some("2.11")),
            (PyPi, "", None),
            (Maven, "[1.5,2)", Some("1.5")),
            (Maven, "(,2)", None),
            (Maven, "RELEASE", None),
        ] {
            let requirement = Requirement::parse(ecosystem, text).expect(text);
            assert_eq!(requirement.floor().map(Version::as_str), floor, "{ecosystem} `{text}`");
        }
    }

    #[test]
    fn no_requirement() {
        for text in ["latest", "next", "user/repository", "not a version"] {
            assert!(Requirement::parse(Ecosystem::Npm, text).is_err(), "{text}");
        }
        assert!(Requirement::parse(Ecosystem::CratesIo, "one").is_err());
        assert!(Requirement::parse(Ecosystem::PyPi, "2.0").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "[ -~é]{0,20}", like in "[0-9x*.,<>=~^!v| -]{0,16}") {
            for ecosystem in [Ecosystem::CratesIo, Ecosystem::Npm, Ecosystem::PyPi, Ecosystem::Maven] {
                for text in [&text, &like] {
                    let to = Version::parse(ecosystem, "3.2.1").unwrap();
                    let _ = Version::parse(ecosystem, text);
                    if let Ok(requirement) = Requirement::parse(ecosystem, text) {
                        let _ = requirement.allows(&to);
                        if let Ok(raise) = requirement.raise(&to) {
                            let mut after = text.clone();
                            after.replace_range(raise.range, &raise.new);
                            let after = Requirement::parse(ecosystem, &after).unwrap();
                            prop_assert!(after.allows(&to) && after.floor().unwrap() >= &to);
                        }
                    }
                }
            }
        }
    }
}
