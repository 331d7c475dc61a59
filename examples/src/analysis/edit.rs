//! Applying fixes: bytes are replaced, nothing is printed anew.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::files::FileKind;
use super::lock::Lock;
use super::manifest::{Manifest, Place};
use super::model::{Edit, Fix};
use super::text::shown;

/// Why fixes cannot be applied. Nothing is applied then.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// A file is gone.
    #[error("stale: {path} is no longer there")]
    Missing {
        /// Path of the file.
        path: String,
    },
    /// A file has changed: the package's version is not in this place, or is another.
    #[error("stale: {path}:{line} no longer holds `{old}` for {package}")]
    Stale {
        /// Path of the file.
        path: String,
        /// The line that held it.
        line: usize,
        /// The package.
        package: String,
        /// The text that is expected there.
        old: String,
    },
    /// Two of the fixes want different texts in one place.
    #[error("{path}:{line}: two fixes change `{old}` to different texts")]
    Conflict {
        /// Path of the file.
        path: String,
        /// The line they disagree about.
        line: usize,
        /// The text there.
        old: String,
    },
}

/// The texts of the files that change. Everything but the replaced version texts stays as it is, byte for byte:
/// order, comments, spaces, line ends, a byte order mark, a missing newline at the end.
///
/// Before anything is replaced, each file is parsed again, and the package's version must be in the place that the
/// fix names.
///
/// # Errors
/// [`EditError`] when a file is no longer what the fixes were made for, or when two of them disagree.
pub fn apply(
    files: &BTreeMap<String, String>,
    fixes: &[&Fix],
) -> Result<BTreeMap<String, String>, EditError> {
    let mut by_path: BTreeMap<&str, BTreeSet<&Edit>> = BTreeMap::new();
    let mut places: BTreeMap<&str, Places> = BTreeMap::new();
    for fix in fixes {
        for edit in &fix.edits {
            let text = files.get(&edit.path).ok_or_else(|| EditError::Missing { path: edit.path.clone() })?;
            let places = places.entry(&edit.path).or_insert_with(|| Places::of(&edit.path, text));
            if !places.holds(&fix.package, edit, text) {
                return Err(EditError::Stale {
                    path: edit.path.clone(),
                    line: edit.line,
                    package: shown(&fix.package),
                    old: shown(&edit.old),
                });
            }
            // The same edit may serve two fixes, as of a property or of a shared lock entry.
            by_path.entry(&edit.path).or_default().insert(edit);
        }
    }
    let mut changed = BTreeMap::new();
    for (path, edits) in by_path {
        let Some(text) = files.get(path) else { continue };
        changed.insert(path.to_owned(), replace(text, &edits)?);
    }
    Ok(changed)
}

fn replace(text: &str, edits: &BTreeSet<&Edit>) -> Result<String, EditError> {
    let mut after = String::with_capacity(text.len() + 16);
    let mut done = 0;
    // In the order of their places, as edits of one file sort by `at`.
    for edit in edits {
        let end = edit.at + edit.old.len();
        let (Some(before), true) = (text.get(done..edit.at), edit.at >= done) else {
            return Err(EditError::Conflict {
                path: edit.path.clone(),
                line: edit.line,
                old: shown(&edit.old),
            });
        };
        after.push_str(before);
        after.push_str(&edit.new);
        done = end;
    }
    after.push_str(text.get(done..).unwrap_or_default());
    Ok(after)
}

/// Where a file holds texts that belong to a package and may be replaced.
struct Places(Vec<(String, Range<usize>)>);

impl Places {
    /// A file that can no longer be read holds nothing.
    fn of(path: &str, text: &str) -> Self {
        let mut all = Vec::new();
        let Some(kind) = FileKind::of(path) else { return Self(all) };
        if let Some(Ok(manifest)) = Manifest::parse(kind, path, text) {
            for declaration in manifest.declarations {
                if let (Place::At(at), Some(requirement)) = (declaration.place, declaration.requirement) {
                    all.push((declaration.package, at..at + requirement.len()));
                }
            }
        }
        if let Some(Ok(lock)) = Lock::parse(kind, text) {
            for entry in &lock.entries {
                let own = [&entry.versions, &entry.checksums, &entry.resolved, &entry.integrity];
                for field in own.into_iter().flatten() {
                    all.push((entry.package.clone(), field.at..field.at + field.text.len()));
                }
                for require in &entry.requires {
                    let found = require.entry.and_then(|index| lock.entries.get(index));
                    for field in &require.fields {
                        let package = found.map_or(&require.name, |entry| &entry.package);
                        all.push((package.clone(), field.at..field.at + field.text.len()));
                    }
                }
            }
        }
        Self(all)
    }

    fn holds(&self, package: &str, edit: &Edit, text: &str) -> bool {
        let Some(end) = edit.at.checked_add(edit.old.len()) else { return false };
        text.get(edit.at..end) == Some(&edit.old)
            && self
                .0
                .iter()
                .any(|(owner, range)| owner == package && range.start <= edit.at && end <= range.end)
    }
}
