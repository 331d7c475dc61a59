//! Fixes meet files that have changed since.

use scm_examples::analysis::edit::{self, EditError};

use crate::demo::{API_LOCK, API_MANIFEST, WEB_LOCK, WEB_MANIFEST, WORKER};
use crate::support::{analyse, analyse_with_hashes, files};

#[test]
fn changed_files() {
    let before = files([("requirements.txt", WORKER)]);
    let found = analyse(&before);
    let fix = &found.fixes[0];
    for (now, why) in [
        (WORKER.replace("2.11.2", "2.11.1"), "another version"),
        (format!("# new line\n{WORKER}"), "another place"),
        (WORKER.replace("jinja2", "jinja9"), "another package"),
        (String::new(), "empty"),
        ("é".repeat(40), "no character boundary"),
    ] {
        let error = edit::apply(&files([("requirements.txt", &now)]), &[fix]).expect_err(why);
        assert_eq!(
            error.to_string(),
            "stale: requirements.txt:1 no longer holds `2.11.2` for jinja2",
            "{why}"
        );
    }
    let error = edit::apply(&files([]), &[fix]).unwrap_err();
    assert_eq!(error, EditError::Missing { path: "requirements.txt".to_owned() });
    // Elsewhere in the file others may have worked.
    let now = files([("requirements.txt", &format!("{WORKER}flask==3.0\n"))]);
    assert!(edit::apply(&now, &[fix]).is_ok());
}

#[test]
fn changed_lock_files() {
    let before = files([("Cargo.toml", API_MANIFEST), ("Cargo.lock", API_LOCK)]);
    let found = analyse_with_hashes(&before);
    let now =
        files([("Cargo.toml", API_MANIFEST), ("Cargo.lock", &API_LOCK.replace("1a55ca5f", "1a55ca50"))]);
    let error = edit::apply(&now, &[&found.fixes[0]]).unwrap_err();
    assert!(matches!(error, EditError::Stale { line: 31, .. }), "{error}");

    let before = files([("package.json", WEB_MANIFEST), ("package-lock.json", WEB_LOCK)]);
    let found = analyse_with_hashes(&before);
    let now = files([
        ("package.json", WEB_MANIFEST),
        ("package-lock.json", &WEB_LOCK.replace("sha512-AAAA", "sha512-ABAA")),
    ]);
    assert!(matches!(edit::apply(&now, &[&found.fixes[0]]), Err(EditError::Stale { .. })));
}

#[test]
fn fixes_that_disagree() {
    let before = files([("requirements.txt", WORKER)]);
    let found = analyse(&before);
    let mut other = found.fixes[0].clone();
    other.edits[0].new = "3.0.0".to_owned();
    let error = edit::apply(&before, &[&found.fixes[0], &other]).unwrap_err();
    assert!(matches!(error, EditError::Conflict { line: 1, .. }), "{error}");
    // The same fix twice is one change.
    let once = edit::apply(&before, &[&found.fixes[0]]).unwrap();
    assert_eq!(edit::apply(&before, &[&found.fixes[0], &found.fixes[0]]).unwrap(), once);
    assert!(edit::apply(&before, &[]).unwrap().is_empty());
}

#[test]
fn a_forged_plan_changes_nothing_else() {
    let before = files([("requirements.txt", WORKER), ("notes.txt", "2.11.2")]);
    let found = analyse(&before);
    let mut forged = found.fixes[0].clone();
    (forged.edits[0].path, forged.edits[0].at) = ("notes.txt".to_owned(), 0);
    assert!(edit::apply(&before, &[&forged]).is_err());
    let mut forged = found.fixes[0].clone();
    forged.edits[0].at = usize::MAX;
    assert!(edit::apply(&before, &[&forged]).is_err());
}
