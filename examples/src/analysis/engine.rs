//! Judging every dependency of a repository.

use std::collections::{BTreeMap, BTreeSet};

use super::advisory::AdvisoryDb;
use super::ecosystem::Ecosystem;
use super::files::FileKind;
use super::lock::{Lock, Origin};
use super::manifest::{Declaration, Manifest, Place, Unreadable};
use super::model::{AdvisoryRef, Analysis, Edit, Finding, Fix, Outdated, Problem};
use super::requirement::Requirement;
use super::text::{directory, join, shown, upward};
use super::version::Version;
use super::versions::NewestVersions;

mod change;

use self::change::{Blocked, Change};

/// Judges the manifests and lock files among `files` (path to text); other files are passed over.
///
/// A direct dependency counts in the version that a lock file holds, else in the lowest that its requirement asks
/// for. It never fails: what cannot be read or mended is among the problems. A dependency in a form that cannot be
/// judged is one only if some advisory is about its package.
#[must_use]
pub fn analyse(
    files: &BTreeMap<String, String>,
    advisories: &AdvisoryDb,
    newest: Option<&NewestVersions>,
) -> Analysis {
    let mut found = Analysis::default();
    let repository = Repository::read(files, &mut found.problems);
    let engine = Engine { repository: &repository, advisories, newest, judged: repository.judge() };
    engine.direct(&mut found);
    engine.locked(&mut found);
    found.problems.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    found
}

/// What could be read.
struct Repository<'a> {
    manifests: BTreeMap<&'a str, Manifest>,
    locks: BTreeMap<&'a str, Lock>,
}

/// A direct dependency and what is known of it.
struct Judged<'a> {
    path: &'a str,
    ecosystem: Ecosystem,
    declaration: &'a Declaration,
    requirement: Option<Requirement>,
    locked: Option<Locked<'a>>,
    /// The version in use, or why it is not known.
    version: Result<Version, String>,
}

/// The lock file that goes with a manifest, and the dependency's entry in it.
#[derive(Clone, Copy)]
struct Locked<'a> {
    path: &'a str,
    lock: &'a Lock,
    entry: Option<usize>,
}

struct Engine<'a> {
    repository: &'a Repository<'a>,
    advisories: &'a AdvisoryDb,
    newest: Option<&'a NewestVersions>,
    judged: Vec<Judged<'a>>,
}

/// A dependency that should be raised.
struct Wanted<'e> {
    judged: &'e Judged<'e>,
    from: &'e Version,
    to: Version,
    advisories: Vec<AdvisoryRef>,
}

impl<'a> Repository<'a> {
    fn read(files: &'a BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Self {
        let mut all = Self { manifests: BTreeMap::new(), locks: BTreeMap::new() };
        for (path, text) in files {
            let Some(kind) = FileKind::of(path) else { continue };
            let mut unreadable = |error: Unreadable| {
                problems.push(problem(path, error.line, None, format!("cannot be read: {}", error.reason)));
            };
            match Manifest::parse(kind, path, text) {
                Some(Ok(manifest)) => {
                    for (line, reason) in &manifest.unread {
                        unreadable(Unreadable { line: Some(*line), reason: reason.clone() });
                    }
                    all.manifests.insert(path, manifest);
                }
                Some(Err(error)) => unreadable(error),
                None => {}
            }
            match Lock::parse(kind, text) {
                Some(Ok(lock)) => {
                    all.locks.insert(path, lock);
                }
                Some(Err(error)) => unreadable(error),
                None => {}
            }
        }
        all
    }

    fn judge(&self) -> Vec<Judged<'_>> {
        let mut all = Vec::new();
        for (path, manifest) in &self.manifests {
            let Some(ecosystem) = FileKind::of(path).map(FileKind::ecosystem) else { continue };
            for declaration in &manifest.declarations {
                if let Place::Elsewhere(name) = &declaration.place
                    && self.offered(path, name)
                {
                    continue;
                }
                all.push(self.judge_one(path, ecosystem, manifest, declaration));
            }
        }
        all
    }

    fn judge_one<'r>(
        &'r self,
        path: &'r str,
        ecosystem: Ecosystem,
        manifest: &'r Manifest,
        declaration: &'r Declaration,
    ) -> Judged<'r> {
        let parsed = declaration.requirement.as_deref().map(|text| Requirement::parse(ecosystem, text));
        let unknown = match (&declaration.place, &parsed) {
            (Place::Foreign(reason) | Place::Fixed(reason), _) => reason.clone(),
            (Place::Elsewhere(_), _) => "its version is managed in a file that is not here".to_owned(),
            (_, Some(Err(reason))) => reason.clone(),
            _ => match &declaration.requirement {
                Some(text) => format!("`{}` names no lowest version", shown(text)),
                None => "it has no version".to_owned(),
            },
        };
        let requirement = parsed.and_then(Result::ok);
        let locked = match ecosystem {
            Ecosystem::CratesIo => self.cargo_lock(path, manifest, declaration, requirement.as_ref()),
            Ecosystem::Npm => self.npm_lock(path, declaration),
            Ecosystem::PyPi | Ecosystem::Maven => None,
        };
        let entry = locked.and_then(|locked| locked.lock.entries.get(locked.entry?));
        let floor = requirement.as_ref().and_then(Requirement::floor);
        let version = match (entry, floor) {
            (Some(entry), _) => Version::parse(ecosystem, &entry.version).map_err(|error| error.to_string()),
            (None, Some(floor)) => Ok(floor.clone()),
            (None, None) => Err(unknown),
        };
        Judged { path, ecosystem, declaration, requirement, locked, version }
    }

    /// Whether a file of this repository names the version that `path` takes from elsewhere: it is judged there.
    fn offered(&self, path: &str, name: &str) -> bool {
        if FileKind::of(path) == Some(FileKind::CargoManifest) {
            return upward(directory(path))
                .filter_map(|dir| self.manifests.get(join(dir, "Cargo.toml").as_str()))
                .any(|manifest| manifest.offers.contains(name));
        }
        let mut seen = BTreeSet::new();
        let mut at = Some(path);
        while let Some(path) = at
            && seen.insert(path)
        {
            let Some(manifest) = self.manifests.get(path) else { return false };
            if manifest.offers.contains(name) {
                return true;
            }
            at = manifest.parent.as_deref();
        }
        false
    }

    fn cargo_lock(
        &self,
        path: &str,
        manifest: &Manifest,
        declaration: &Declaration,
        requirement: Option<&Requirement>,
    ) -> Option<Locked<'_>> {
        upward(directory(path)).find_map(|dir| {
            let (path, lock) = self.locks.get_key_value(join(dir, "Cargo.lock").as_str())?;
            let own = match &manifest.name {
                // A lock file that does not know the package is another workspace's.
                Some(name) => Some(lock.own(name)?),
                None => None,
            };
            let candidates: Vec<usize> = match own {
                Some(own) => {
                    let same = own.requires.iter().filter(|require| require.name == declaration.package);
                    same.filter_map(|require| require.entry).collect()
                }
                None => lock.keyed(&declaration.package).to_vec(),
            };
            let version = |index: &usize| {
                let entry = lock.entries.get(*index)?;
                Version::parse(Ecosystem::CratesIo, &entry.version).ok()
            };
            let allowed = candidates.iter().copied().filter(|index| {
                requirement.is_none_or(|requirement| version(index).is_some_and(|v| requirement.allows(&v)))
            });
            let best = allowed.reduce(|a, b| if version(&b) > version(&a) { b } else { a });
            // Who is asked for by name and found once is meant, even if the requirement has moved on since.
            let entry = best.or_else(|| own.and(candidates.first().copied()));
            Some(Locked { path, lock, entry })
        })
    }

    fn npm_lock(&self, path: &str, declaration: &Declaration) -> Option<Locked<'_>> {
        let dir = directory(path);
        upward(dir).find_map(|root| {
            let (path, lock) = self.locks.get_key_value(join(root, "package-lock.json").as_str())?;
            let member = relative(dir, root);
            lock.own(member)?;
            let name = declaration.alias.as_ref().unwrap_or(&declaration.package);
            let entry = upward(member)
                .find_map(|dir| lock.keyed(&join(dir, &format!("node_modules/{name}"))).first().copied());
            Some(Locked { path, lock, entry })
        })
    }
}

impl<'a> Engine<'a> {
    fn direct(&self, found: &mut Analysis) {
        let mut vulnerable = Vec::new();
        let mut outdated = Vec::new();
        for judged in &self.judged {
            let package = &judged.declaration.package;
            let version = match &judged.version {
                Ok(version) => version,
                Err(reason) => {
                    if self.advisories.knows(judged.ecosystem, package) {
                        found.problems.push(judged.problem(reason.clone(), Vec::new()));
                    }
                    continue;
                }
            };
            let matches = self.advisories.matching(package, version);
            if matches.is_empty() {
                outdated.extend(self.newer(judged, version));
                continue;
            }
            let advisories = AdvisoryRef::collect(&matches);
            match self.advisories.first_unaffected(package, version) {
                Some(to) => vulnerable.push(Wanted { judged, from: version, to, advisories }),
                None => {
                    let reason = format!("{version} is vulnerable and no version without that is known");
                    found.problems.push(judged.problem(reason, advisories));
                }
            }
        }
        self.agree(&mut vulnerable);
        for (fix, blocked) in self.changes(vulnerable) {
            match blocked {
                None => found.fixes.push(fix),
                Some(Blocked { reason, command }) => found.problems.push(Problem {
                    path: fix.manifest,
                    line: Some(fix.line),
                    package: Some(fix.package),
                    reason: format!("{} is vulnerable, {} is not: {reason}", fix.from, fix.to),
                    command,
                    advisories: fix.advisories,
                }),
            }
        }
        self.agree(&mut outdated);
        for (fix, blocked) in self.changes(outdated) {
            found.outdated.push(Outdated {
                ecosystem: fix.ecosystem,
                package: fix.package.clone(),
                manifest: fix.manifest.clone(),
                line: fix.line,
                from: fix.from.clone(),
                to: fix.to.clone(),
                breaking: fix.breaking,
                reason: blocked.as_ref().map(|blocked| blocked.reason.clone()),
                fix: blocked.is_none().then_some(fix),
            });
        }
    }

    fn newer<'e>(&self, judged: &'e Judged<'e>, from: &'e Version) -> Option<Wanted<'e>> {
        let package = &judged.declaration.package;
        let (to, _) = self.newest?.newest_version(judged.ecosystem, package)?;
        let foreign = matches!(judged.declaration.place, Place::Foreign(_));
        let sound = self.advisories.matching(package, to).is_empty();
        (to > from && sound && !foreign).then(|| Wanted {
            judged,
            from,
            to: to.clone(),
            advisories: Vec::new(),
        })
    }

    /// One text may be the version of several packages, such as a property: it is raised to what is enough for all of
    /// them, if that is sound for each.
    fn agree(&self, wanted: &mut [Wanted<'_>]) {
        let mut shared: BTreeMap<(&str, usize), Vec<usize>> = BTreeMap::new();
        for (index, one) in wanted.iter().enumerate() {
            if let Place::At(at) = one.judged.declaration.place {
                shared.entry((one.judged.path, at)).or_default().push(index);
            }
        }
        for group in shared.into_values().filter(|group| group.len() > 1) {
            let versions = group.iter().map(|index| wanted[*index].to.clone());
            let Some(highest) = versions.reduce(|a, b| if b > a { b } else { a }) else { continue };
            let sound = |index: &usize| {
                self.advisories.matching(&wanted[*index].judged.declaration.package, &highest).is_empty()
            };
            if group.iter().all(sound) {
                for index in group {
                    wanted[index].to = highest.clone();
                }
            }
        }
    }

    /// The changes, those of one package in one manifest with the same versions together.
    fn changes(&self, wanted: Vec<Wanted<'_>>) -> Vec<(Fix, Option<Blocked>)> {
        let mut all: Vec<(Fix, Option<Blocked>)> = Vec::new();
        let mut aliases: Vec<Option<&str>> = Vec::new();
        for Wanted { judged, from, to, advisories } in &wanted {
            let Declaration { package, alias, line, .. } = judged.declaration;
            let (change, blocked) = match self.change(judged, from, to) {
                Ok(change) => (change, None),
                Err(blocked) => (Change::default(), Some(blocked)),
            };
            let same = all.iter_mut().zip(&aliases).find(|((fix, other), known)| {
                fix.package == *package
                    && fix.manifest == judged.path
                    && (&fix.from, &fix.to) == (&from.to_string(), &to.to_string())
                    && **known == alias.as_deref()
                    && other.is_none()
                    && blocked.is_none()
            });
            if let Some(((fix, _), _)) = same {
                fix.edits.extend(
                    change.edits.into_iter().filter(|edit| !fix.edits.contains(edit)).collect::<Vec<_>>(),
                );
                fix.relock = fix.relock.take().or(change.relock);
                continue;
            }
            aliases.push(alias.as_deref());
            let fix = Fix {
                ecosystem: judged.ecosystem,
                package: package.clone(),
                variant: alias.clone(),
                manifest: judged.path.to_owned(),
                line: *line,
                from: from.to_string(),
                to: to.to_string(),
                breaking: !from.is_compatible_with(to),
                advisories: advisories.clone(),
                edits: change.edits,
                relock: change.relock,
            };
            all.push((fix, blocked));
        }
        name_variants(&mut all);
        all.sort_by(|(a, _), (b, _)| (&a.manifest, a.line).cmp(&(&b.manifest, b.line)));
        all
    }

    /// What is vulnerable in lock files without being asked for by a manifest.
    fn locked(&self, found: &mut Analysis) {
        for (path, lock) in &self.repository.locks {
            let direct: BTreeSet<usize> = self
                .judged
                .iter()
                .filter_map(|judged| judged.locked.filter(|locked| locked.path == *path)?.entry)
                .collect();
            for (index, entry) in lock.entries.iter().enumerate() {
                let judged_already = direct.contains(&index) || entry.origin != Origin::Registry;
                if judged_already || !self.advisories.knows(lock.ecosystem, &entry.package) {
                    continue;
                }
                let version = match Version::parse(lock.ecosystem, &entry.version) {
                    Ok(version) => version,
                    Err(error) => {
                        let package = Some(entry.package.clone());
                        found.problems.push(problem(path, Some(entry.line), package, error.to_string()));
                        continue;
                    }
                };
                let matches = self.advisories.matching(&entry.package, &version);
                if matches.is_empty() {
                    continue;
                }
                let fixed = self.advisories.first_unaffected(&entry.package, &version);
                found.transitive.push(Finding {
                    ecosystem: lock.ecosystem,
                    package: entry.package.clone(),
                    version: entry.version.clone(),
                    lock: (*path).to_owned(),
                    line: entry.line,
                    via: lock.chain(index, &direct),
                    fixed: fixed.map(|version| version.to_string()),
                    advisories: AdvisoryRef::collect(&matches),
                });
            }
        }
    }
}

impl Judged<'_> {
    fn problem(&self, reason: String, advisories: Vec<AdvisoryRef>) -> Problem {
        let package = Some(self.declaration.package.clone());
        let reason = match advisories.is_empty() {
            true => format!("cannot be judged: {reason}"),
            false => reason,
        };
        Problem { advisories, ..problem(self.path, Some(self.declaration.line), package, reason) }
    }
}

fn problem(path: &str, line: Option<usize>, package: Option<String>, reason: String) -> Problem {
    Problem { path: path.to_owned(), line, package, reason, command: None, advisories: Vec::new() }
}

/// A directory as seen from one above it.
fn relative<'a>(dir: &'a str, root: &str) -> &'a str {
    if root.is_empty() { dir } else { dir.strip_prefix(root).unwrap_or(dir).trim_start_matches('/') }
}

/// Fixes of one package in one manifest must differ in their keys.
fn name_variants(all: &mut [(Fix, Option<Blocked>)]) {
    let mut keys: BTreeMap<String, usize> = BTreeMap::new();
    for (fix, _) in all.iter().filter(|(_, blocked)| blocked.is_none()) {
        *keys.entry(fix.key()).or_default() += 1;
    }
    for (fix, _) in all {
        if keys.get(&fix.key()).is_some_and(|count| *count > 1) {
            fix.variant = Some(match &fix.variant {
                Some(alias) => format!("{alias}@{}", fix.from),
                None => fix.from.clone(),
            });
        }
    }
}
