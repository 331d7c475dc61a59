//! From "this dependency should be at that version" to edits, or to the reason why there are none.

use super::{Ecosystem, Edit, Engine, Judged, Locked, Origin, Place, Requirement, Version};
use crate::analysis::lock::{Entry, Field, Lock};
use crate::analysis::relock;
use crate::analysis::requirement::Raise;
use crate::analysis::text::directory;
use crate::analysis::versions::KnownVersion;

/// The edits that raise a dependency.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) edits: Vec<Edit>,
    pub(super) relock: Option<String>,
}

/// Why a dependency cannot be raised, and what would help.
#[derive(Debug)]
pub(super) struct Blocked {
    pub(super) reason: String,
    pub(super) command: Option<String>,
}

impl Engine<'_> {
    pub(super) fn change(
        &self,
        judged: &Judged<'_>,
        from: &Version,
        to: &Version,
    ) -> Result<Change, Blocked> {
        let package = &judged.declaration.package;
        let blocked = |reason: String| Blocked { reason, command: None };
        let requirement = judged.requirement.as_ref();
        let requires_it =
            requirement.is_some_and(|r| r.floor().is_some_and(|floor| floor >= to) && r.allows(to));
        let raise = match &judged.declaration.place {
            Place::Foreign(reason) => return Err(blocked(reason.clone())),
            Place::Elsewhere(_) => {
                return Err(blocked("its version is managed in a file that is not here".to_owned()));
            }
            Place::Hashed => {
                return Err(Blocked {
                    reason: "it is pinned by hashes, and those of the new version are not known".to_owned(),
                    command: Some(relock::pip_hashes(judged.path, package, to)),
                });
            }
            _ if requires_it => Ok(None),
            Place::Fixed(reason) => Err(reason.clone()),
            Place::At(at) => match requirement {
                Some(requirement) => requirement.raise(to).map(|raise| Some((*at, raise))),
                None => Err("its requirement was not understood".to_owned()),
            },
        };
        let raise = match raise {
            Ok(raise) => raise,
            // The manifest already lets the new version in: only the lock file holds the old one.
            Err(_) if judged.locked.is_some() && requirement.is_some_and(|r| r.allows(to)) => None,
            Err(reason) => return Err(blocked(reason)),
        };

        let mut change = Change::default();
        if let (Some((at, raise)), Some(requirement)) = (&raise, requirement) {
            change.edits.push(Edit {
                path: judged.path.to_owned(),
                at: at + raise.range.start,
                line: judged.declaration.line,
                old: requirement.text()[raise.range.clone()].to_owned(),
                new: raise.new.clone(),
            });
        }
        if let Some(locked) = judged.locked {
            let raise = raise.as_ref().map(|(_, raise)| raise);
            let edits = self.lock_edits(judged, locked, to, raise);
            let entry = locked.entry.and_then(|index| locked.lock.entries.get(index));
            // What the new version itself asks for may differ from what the lock file holds for the old one.
            let settled = edits.is_some() && entry.is_some_and(|entry| entry.requires.is_empty());
            if !settled {
                change.relock = Some(relock_command(judged, locked, from, to, raise));
            }
            change.edits.extend(edits.unwrap_or_default());
        }
        if change.edits.is_empty() {
            let reason =
                "the manifest already allows it, only the lock file holds the old version".to_owned();
            return Err(Blocked { reason, command: change.relock });
        }
        Ok(change)
    }

    /// The edits of a lock file, if all that has to change in it is known.
    fn lock_edits(
        &self,
        judged: &Judged<'_>,
        locked: Locked<'_>,
        to: &Version,
        raise: Option<&Raise>,
    ) -> Option<Vec<Edit>> {
        let index = locked.entry?;
        let entry = locked.lock.entries.get(index)?;
        let package = &judged.declaration.package;
        let known = self.newest?.exact(judged.ecosystem, package, to.as_str())?;
        let old = Version::parse(judged.ecosystem, &entry.version).ok()?;
        // A step that breaks users also breaks those in the lock file that asked for the old version.
        if !entry.editable || entry.origin != Origin::Registry || !old.is_compatible_with(to) {
            return None;
        }
        let stays_allowed = self
            .judged
            .iter()
            .filter(|other| other.path != judged.path)
            .filter(|other| other.locked.is_some_and(|l| l.path == locked.path && l.entry == Some(index)))
            .all(|other| other.requirement.as_ref().is_some_and(|requirement| requirement.allows(to)));
        if !stays_allowed {
            return None;
        }
        let mut edits = Edits { locked, all: Vec::new() };
        match judged.ecosystem {
            Ecosystem::CratesIo => cargo_entry(&mut edits, entry, known, to)?,
            Ecosystem::Npm => {
                npm_entry(&mut edits, entry, known, to)?;
                npm_dependents(&mut edits, index, judged, to, raise)?;
            }
            Ecosystem::PyPi | Ecosystem::Maven => return None,
        }
        Some(edits.all)
    }
}

/// The edits of one lock file entry.
struct Edits<'a> {
    locked: Locked<'a>,
    all: Vec<Edit>,
}

impl Edits<'_> {
    fn replace(&mut self, field: &Field, new: &str) {
        self.all.push(Edit {
            path: self.locked.path.to_owned(),
            at: field.at,
            line: field.line,
            old: field.text.clone(),
            new: new.to_owned(),
        });
    }
}

fn cargo_entry(edits: &mut Edits<'_>, entry: &Entry, known: &KnownVersion, to: &Version) -> Option<()> {
    let checksum = known.checksum.as_deref()?;
    let lock = edits.locked.lock;
    let same = |index: &usize| lock.entries.get(*index).is_some_and(|other| other.version == to.as_str());
    // Two entries would become one: that is Cargo's to do.
    if lock.keyed(&entry.package).iter().any(same) {
        return None;
    }
    entry.versions.iter().for_each(|field| edits.replace(field, to.as_str()));
    entry.checksums.iter().for_each(|field| edits.replace(field, checksum));
    Some(())
}

fn npm_entry(edits: &mut Edits<'_>, entry: &Entry, known: &KnownVersion, to: &Version) -> Option<()> {
    let integrity = known.integrity.as_deref()?;
    entry.versions.iter().for_each(|field| edits.replace(field, to.as_str()));
    entry.integrity.iter().for_each(|field| edits.replace(field, integrity));
    for field in &entry.resolved {
        // The same place as before where the address ends as usual: it may be a mirror of the registry.
        let carried = field.text.strip_suffix(&format!("-{}.tgz", entry.version));
        let new = match carried {
            Some(start) => format!("{start}-{to}.tgz"),
            None => known.resolved.clone()?,
        };
        edits.replace(field, &new);
    }
    Some(())
}

/// The manifest's requirement is repeated in the lock file; everyone else who asked for the entry must accept the new
/// version as things stand.
fn npm_dependents(
    edits: &mut Edits<'_>,
    index: usize,
    judged: &Judged<'_>,
    to: &Version,
    raise: Option<&Raise>,
) -> Option<()> {
    let lock: &Lock = edits.locked.lock;
    let member = super::relative(directory(judged.path), directory(edits.locked.path));
    for dependent in &lock.entries {
        let is_manifest = lock.own(member).is_some_and(|own| std::ptr::eq(own, dependent));
        for require in dependent.requires.iter().filter(|require| require.entry == Some(index)) {
            let Some(text) = require.requirement.as_deref() else { continue };
            match (raise, &judged.requirement) {
                (Some(raise), Some(requirement)) if is_manifest => {
                    let prefix = text.strip_suffix(requirement.text())?.len();
                    let field = require.fields.first()?;
                    let old = requirement.text().get(raise.range.clone())?;
                    let at = field.at + prefix + raise.range.start;
                    let part = Field { at, line: field.line, text: old.to_owned() };
                    edits.replace(&part, &raise.new);
                }
                _ => {
                    let text =
                        text.strip_prefix("npm:").and_then(|t| t.rsplit_once('@')).map_or(text, |(_, t)| t);
                    if !Requirement::parse(Ecosystem::Npm, text).ok()?.allows(to) {
                        return None;
                    }
                }
            }
        }
    }
    Some(())
}

fn relock_command(
    judged: &Judged<'_>,
    locked: Locked<'_>,
    from: &Version,
    to: &Version,
    raise: Option<&Raise>,
) -> String {
    let package = &judged.declaration.package;
    if judged.ecosystem == Ecosystem::CratesIo {
        let several = locked.lock.keyed(package).len() > 1;
        return relock::cargo(locked.path, package, from.as_str(), to, several);
    }
    let after = raise.zip(judged.requirement.as_ref()).map(|(raise, requirement)| {
        let mut text = requirement.text().to_owned();
        text.replace_range(raise.range.clone(), &raise.new);
        text
    });
    // With an alias or in a member of a workspace, `npm install package@version` would add a second one.
    let plain = judged.declaration.alias.is_none() && directory(judged.path) == directory(locked.path);
    let after = after.map(|text| if plain { text } else { String::new() });
    relock::npm(locked.path, package, to, after.as_deref())
}
