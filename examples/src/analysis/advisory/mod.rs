//! Advisories: what is vulnerable, and in which version it is mended.

mod osv;
mod severity;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::ecosystem::Ecosystem;
use super::text::shown;
use super::version::{Version, VersionError};

pub use self::severity::Severity;

/// One advisory, as far as reports need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advisory {
    /// The record's id, such as `GHSA-35jh-r3h4-6jhm`.
    pub id: String,
    /// Other databases' ids for the same thing, such as a CVE.
    pub aliases: Vec<String>,
    /// One line, empty if the record has neither summary nor details.
    pub summary: String,
    /// The database's own word, else the highest CVSS 3 score.
    pub severity: Severity,
    /// Where to read on: the record's own reference, else its page on osv.dev.
    pub url: String,
}

/// An advisory that affects the version asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match<'a> {
    /// The advisory.
    pub advisory: &'a Advisory,
    /// The smallest version above the one asked about that the advisory no longer affects, on the branch of that
    /// version; `None` if the record names none.
    pub fixed: Option<&'a str>,
}

/// Something in an advisory file that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The record's id.
    pub id: String,
    /// What is not used, for a person to read.
    pub reason: String,
}

/// Why a file of advisories cannot be used.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdvisoryError {
    /// The text is not JSON.
    #[error("advisories: not JSON (line {line}): {message}")]
    NotJson {
        /// Line of the file, from 1.
        line: usize,
        /// What the parser expected.
        message: String,
    },
    /// JSON, but nothing that can hold OSV records.
    #[error(
        "advisories: expected an OSV record, an array of them, {{\"vulns\": [...]}} or one record a line; found {found}"
    )]
    NotOsv {
        /// What was found instead.
        found: String,
    },
    /// One record does not follow the OSV schema.
    #[error(
        "advisories: record {record}{id}, at {path}: {message} (an OSV record needs `id` and `affected`)",
        id = id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default()
    )]
    Record {
        /// Index of the record, from 0.
        record: usize,
        /// Its id, if it has one.
        id: Option<String>,
        /// The JSON path inside the record.
        path: String,
        /// What was expected there.
        message: String,
    },
}

/// Advisories by package.
#[derive(Debug, Clone, Default)]
pub struct AdvisoryDb {
    advisories: Vec<Advisory>,
    by_package: BTreeMap<(Ecosystem, String), Vec<Affects>>,
    withdrawn: usize,
    other_ecosystems: BTreeMap<String, usize>,
    skipped: Vec<Skipped>,
}

/// What one advisory says about one package.
#[derive(Debug, Clone)]
struct Affects {
    advisory: usize,
    ranges: Vec<Range>,
    versions: Vec<Version>,
}

#[derive(Debug, Clone)]
struct Range {
    /// In ascending order.
    events: Vec<(Bound, Event)>,
    limits: Vec<Version>,
}

/// A version, or what is less than every version.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Bound {
    Start,
    At(Version),
}

/// In the order in which events at the same version count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Fixed,
    Introduced,
    LastAffected,
}

impl AdvisoryDb {
    /// The few advisories that come with the program, for its demonstration: no substitute for a current feed.
    #[must_use]
    pub fn embedded() -> Self {
        // A test reads the same text, so an unreadable one never leaves the workshop.
        Self::from_json(include_str!("../../data/advisories.json")).unwrap_or_default()
    }

    /// Reads OSV records: a single one, an array, `{"vulns": [...]}` or one a line. Withdrawn records are left
    /// out, and so are other ecosystems and ranges of commits; the accessors tell what.
    ///
    /// # Errors
    /// [`AdvisoryError`] names the record and the JSON path of the first thing that is not OSV.
    pub fn from_json(text: &str) -> Result<Self, AdvisoryError> {
        let mut db = Self::default();
        for (index, value) in osv::split(text)?.into_iter().enumerate() {
            match osv::record(index, value)? {
                Some(record) => db.add(record),
                None => db.withdrawn += 1,
            }
        }
        Ok(db)
    }

    /// How many advisories there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.advisories.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.advisories.is_empty()
    }

    /// How many records were left out because they were withdrawn.
    #[must_use]
    pub const fn withdrawn(&self) -> usize {
        self.withdrawn
    }

    /// Ecosystems that are not understood, with the number of packages left out for it.
    #[must_use]
    pub const fn other_ecosystems(&self) -> &BTreeMap<String, usize> {
        &self.other_ecosystems
    }

    /// What of the records in known ecosystems cannot be used.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Whether any advisory is about this package, in whatever version.
    #[must_use]
    pub fn knows(&self, ecosystem: Ecosystem, package: &str) -> bool {
        self.by_package.contains_key(&(ecosystem, ecosystem.normalise(package)))
    }

    /// The advisories that affect this version of a package, in the order of their records.
    ///
    /// # Errors
    /// [`VersionError`] when the text is no version of that ecosystem.
    pub fn matches(
        &self,
        ecosystem: Ecosystem,
        package: &str,
        version: &str,
    ) -> Result<Vec<Match<'_>>, VersionError> {
        Ok(self.matching(package, &Version::parse(ecosystem, version)?))
    }

    pub(crate) fn matching(&self, package: &str, version: &Version) -> Vec<Match<'_>> {
        let ecosystem = version.ecosystem();
        self.by_package
            .get(&(ecosystem, ecosystem.normalise(package)))
            .into_iter()
            .flatten()
            .filter(|affects| affects.includes(version))
            .filter_map(|affects| {
                let advisory = self.advisories.get(affects.advisory)?;
                Some(Match { advisory, fixed: affects.first_fixed_after(version).map(Version::as_str) })
            })
            .collect()
    }

    /// The smallest known version that none of the package's advisories affects, reached by going from fix to fix;
    /// `None` if some advisory on the way has no fix.
    pub(crate) fn first_unaffected(&self, package: &str, version: &Version) -> Option<Version> {
        let mut at = version.clone();
        loop {
            let matching = self.matching(package, &at);
            if matching.is_empty() {
                return Some(at);
            }
            let mut highest = at.clone();
            for found in matching {
                let fixed = Version::parse(at.ecosystem(), found.fixed?).ok()?;
                if fixed > highest {
                    highest = fixed;
                }
            }
            // Every step goes up, so the loop ends with the last fixed version.
            if highest <= at {
                return None;
            }
            at = highest;
        }
    }

    fn add(&mut self, record: osv::Record) {
        let advisory = self.advisories.len();
        let mut used = false;
        for affected in &record.affected {
            let Some(package) = &affected.package else {
                self.skip(&record.id, "an `affected` entry names no package".to_owned());
                continue;
            };
            let Some(ecosystem) = Ecosystem::from_osv(&package.ecosystem) else {
                *self.other_ecosystems.entry(shown(&package.ecosystem)).or_default() += 1;
                continue;
            };
            let (ranges, versions) = self.read(&record.id, ecosystem, affected);
            let known = self.by_package.entry((ecosystem, ecosystem.normalise(&package.name))).or_default();
            match known.iter_mut().find(|affects| affects.advisory == advisory) {
                Some(affects) => {
                    affects.ranges.extend(ranges);
                    affects.versions.extend(versions);
                }
                None => known.push(Affects { advisory, ranges, versions }),
            }
            used = true;
        }
        if used {
            self.advisories.push(Advisory::from(record));
        }
    }

    fn read(
        &mut self,
        id: &str,
        ecosystem: Ecosystem,
        affected: &osv::Affected,
    ) -> (Vec<Range>, Vec<Version>) {
        let mut ranges = Vec::new();
        for range in &affected.ranges {
            match range.kind.as_str() {
                "SEMVER" | "ECOSYSTEM" => match Range::read(ecosystem, &range.events) {
                    Ok(range) => ranges.push(range),
                    Err(error) => self.skip(id, format!("a range: {error}")),
                },
                // Says the same again, in commits.
                "GIT" => {}
                other => self.skip(id, format!("a range of unknown type `{}`", shown(other))),
            }
        }
        let mut versions = Vec::new();
        for text in &affected.versions {
            match Version::parse(ecosystem, text) {
                Ok(version) => versions.push(version),
                Err(error) => self.skip(id, format!("a listed version: {error}")),
            }
        }
        if ranges.is_empty() && versions.is_empty() {
            self.skip(id, "an `affected` entry from which no version follows".to_owned());
        }
        (ranges, versions)
    }

    fn skip(&mut self, id: &str, reason: String) {
        self.skipped.push(Skipped { id: shown(id), reason });
    }
}

impl Affects {
    fn includes(&self, version: &Version) -> bool {
        self.versions.contains(version) || self.ranges.iter().any(|range| range.includes(version))
    }

    /// From fix to fix: the end of one range may lie inside another.
    fn first_fixed_after(&self, version: &Version) -> Option<&Version> {
        let mut at = version;
        loop {
            let own = self.ranges.iter().filter(|range| range.includes(at)).collect::<Vec<_>>();
            // A version that is only listed is on no range's branch: any fix above it will do.
            let candidates = if own.is_empty() { self.ranges.iter().collect() } else { own };
            let next = candidates
                .into_iter()
                .filter_map(|range| range.next_fix(at))
                .min_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal))?;
            if !self.includes(next) {
                return Some(next);
            }
            at = next;
        }
    }
}

impl Range {
    fn read(ecosystem: Ecosystem, from: &[osv::Event]) -> Result<Self, VersionError> {
        let mut events = Vec::new();
        let mut limits = Vec::new();
        for event in from {
            for (text, kind) in [
                (&event.introduced, Event::Introduced),
                (&event.fixed, Event::Fixed),
                (&event.last_affected, Event::LastAffected),
            ] {
                match text.as_deref() {
                    None => {}
                    Some("0") if kind == Event::Introduced => events.push((Bound::Start, kind)),
                    Some(text) => events.push((Bound::At(Version::parse(ecosystem, text)?), kind)),
                }
            }
            if let Some(limit) = event.limit.as_deref().filter(|limit| *limit != "*") {
                limits.push(Version::parse(ecosystem, limit)?);
            }
        }
        events.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then(a.1.cmp(&b.1)));
        Ok(Self { events, limits })
    }

    fn includes(&self, version: &Version) -> bool {
        let mut affected = false;
        for (bound, event) in &self.events {
            let (reached, passed) = match bound {
                Bound::Start => (true, true),
                Bound::At(at) => (version >= at, version > at),
            };
            match event {
                Event::Introduced if reached => affected = true,
                Event::Fixed if reached => affected = false,
                Event::LastAffected if passed => affected = false,
                _ => {}
            }
        }
        affected && (self.limits.is_empty() || self.limits.iter().any(|limit| version < limit))
    }

    fn next_fix(&self, version: &Version) -> Option<&Version> {
        self.events.iter().find_map(|(bound, event)| match bound {
            Bound::At(at) if *event == Event::Fixed && at > version => Some(at),
            _ => None,
        })
    }
}

impl From<osv::Record> for Advisory {
    fn from(record: osv::Record) -> Self {
        let text = if record.summary.trim().is_empty() {
            record.details.lines().find(|line| !line.trim().is_empty()).unwrap_or_default()
        } else {
            &record.summary
        };
        let word = record.database_specific.severity.as_str().and_then(Severity::from_word);
        let scored = || {
            let scores = record.severity.iter().filter(|score| score.kind == "CVSS_V3");
            scores.filter_map(|score| Severity::from_cvss3(&score.score)).max()
        };
        let usable = |reference: &&osv::Reference| is_web_link(&reference.url);
        let url = record
            .references
            .iter()
            .filter(usable)
            .find(|reference| reference.kind == "ADVISORY")
            .or_else(|| record.references.iter().find(usable))
            .map_or_else(|| osv_page(&record.id), |reference| reference.url.clone());
        Self {
            severity: word.or_else(scored).unwrap_or_default(),
            summary: shown(text),
            url,
            aliases: record.aliases.iter().map(|alias| shown(alias)).collect(),
            id: shown(&record.id),
        }
    }
}

/// Whether it can be put into Markdown's `<...>` or `(...)` as it is.
fn is_web_link(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://"))
        && url.len() <= 500
        && url.bytes().all(|b| b.is_ascii_graphic() && !b"<>()[]\\`\"'|".contains(&b))
}

fn osv_page(id: &str) -> String {
    let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    format!("https://osv.dev/vulnerability/{id}")
}
