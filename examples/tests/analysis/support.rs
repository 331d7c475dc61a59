//! Small repositories and what every test asks of an edit.

use std::collections::BTreeMap;

use scm_examples::analysis::{self, AdvisoryDb, Analysis, Edit, Fix, NewestVersions, edit};

pub(crate) type Files = BTreeMap<String, String>;

pub(crate) const VERSIONS: &str = include_str!("versions.json");

pub(crate) fn files<const N: usize>(files: [(&str, &str); N]) -> Files {
    files.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect()
}

pub(crate) fn newest() -> NewestVersions {
    NewestVersions::from_json(VERSIONS).expect("the versions file is right")
}

/// With the embedded advisories and without known versions.
pub(crate) fn analyse(files: &Files) -> Analysis {
    analysis::analyse(files, &AdvisoryDb::embedded(), None)
}

pub(crate) fn analyse_with_hashes(files: &Files) -> Analysis {
    analysis::analyse(files, &AdvisoryDb::embedded(), Some(&newest()))
}

/// `package from to` of every fix.
pub(crate) fn steps(found: &Analysis) -> Vec<String> {
    found.fixes.iter().map(|fix| format!("{} {} {}", fix.package, fix.from, fix.to)).collect()
}

/// `path:line reason` of every problem.
pub(crate) fn problems(found: &Analysis) -> Vec<String> {
    found.problems.iter().map(ToString::to_string).collect()
}

/// Applies all fixes and returns the lines that differ, as `path:line old => new`. Checks on the way that nothing
/// but the texts named by the edits has changed, and that nothing is left to fix.
pub(crate) fn diff(files: &Files, found: &Analysis) -> Vec<String> {
    let fixes: Vec<&Fix> = found.fixes.iter().collect();
    let changed = edit::apply(files, &fixes).expect("fresh fixes apply");
    let mut lines = Vec::new();
    for (path, after) in &changed {
        let before = &files[path];
        let (old, new): (Vec<_>, Vec<_>) = (before.split('\n').collect(), after.split('\n').collect());
        assert_eq!(old.len(), new.len(), "{path} keeps its lines");
        for (number, (old, new)) in old.iter().zip(&new).enumerate() {
            if old != new {
                lines.push(format!(
                    "{path}:{} {} => {}",
                    number + 1,
                    old.trim_end_matches('\r').trim(),
                    new.trim()
                ));
                assert_eq!(old.ends_with('\r'), new.ends_with('\r'), "{path}:{} keeps its end", number + 1);
            }
        }
        // Undoing the edits gives back the very same bytes.
        let mut edits: Vec<_> =
            fixes.iter().flat_map(|fix| &fix.edits).filter(|edit| edit.path == *path).collect();
        edits.sort();
        edits.dedup();
        let undone = undo(after, &edits);
        assert_eq!(&undone, before, "{path}");
    }
    let mut after = files.clone();
    after.extend(changed);
    let again = analysis::analyse(&after, &AdvisoryDb::embedded(), None);
    let unlocked: Vec<_> = found.fixes.iter().filter(|fix| fix.relock.is_none()).map(Fix::key).collect();
    assert!(
        again.fixes.iter().all(|fix| !unlocked.contains(&fix.key())),
        "still vulnerable: {:?}",
        steps(&again)
    );
    lines
}

/// The text without the edits, which are in the order of their places: each is undone before the next is looked for.
pub(crate) fn undo(after: &str, edits: &[&Edit]) -> String {
    let mut text = after.to_owned();
    for edit in edits {
        assert!(text[edit.at..].starts_with(&edit.new), "{}:{}", edit.path, edit.line);
        text.replace_range(edit.at..edit.at + edit.new.len(), &edit.old);
    }
    text
}
