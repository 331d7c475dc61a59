//! Whatever is in the files: no panic, and what is changed is a version text.

use proptest::prelude::*;
use scm_examples::analysis::{self, AdvisoryDb, Fix, NewestVersions, edit};

use crate::demo::{API_LOCK, API_MANIFEST, BILLING, WEB_LOCK, WEB_MANIFEST, WORKER};
use crate::support::{Files, VERSIONS, analyse, files, newest, undo};

const NAMES: [&str; 6] =
    ["Cargo.toml", "Cargo.lock", "package.json", "package-lock.json", "requirements.txt", "pom.xml"];
const TEXTS: [&str; 6] = [API_MANIFEST, API_LOCK, WEB_MANIFEST, WEB_LOCK, WORKER, BILLING];

/// Analyses, applies everything that can be applied, and compares without the changed texts.
fn run(files: &Files) {
    let found = analysis::analyse(files, &AdvisoryDb::embedded(), Some(&newest()));
    let fixes: Vec<&Fix> =
        found.fixes.iter().chain(found.outdated.iter().filter_map(|one| one.as_fix())).collect();
    for fix in fixes {
        let changed = edit::apply(files, &[fix]).expect("fresh fixes apply");
        for (path, after) in changed {
            let mut edits: Vec<_> = fix.edits.iter().filter(|edit| edit.path == path).collect();
            edits.sort();
            assert_eq!(undo(&after, &edits), files[&path]);
        }
    }
    let all: Vec<&Fix> = found.fixes.iter().collect();
    let _ = analysis::explain::explain(&all, &found.transitive, &found.problems);
    let _ = analysis::explain::branch_name(&all);
}

#[test]
fn unreadable_files_are_named() {
    let files = files([
        ("Cargo.lock", "[[package]\n"),
        ("Cargo.toml", "[dependencies]\na = \n"),
        ("package-lock.json", "[]"),
        ("package.json", "{\n\"a\": 1,\n}"),
        ("pom.xml", "<project>\n<a>\n</project>"),
        ("sub/pom.xml", "<html/>"),
    ]);
    let found = analyse(&files);
    let places: Vec<_> = found.problems.iter().map(|problem| (problem.path.as_str(), problem.line)).collect();
    assert_eq!(
        places,
        [
            ("Cargo.lock", Some(1)),
            ("Cargo.toml", Some(2)),
            ("package-lock.json", Some(1)),
            ("package.json", Some(2)),
            ("pom.xml", Some(3)),
            ("sub/pom.xml", Some(1)),
        ]
    );
    assert!(found.problems.iter().all(|problem| problem.reason.starts_with("cannot be read: ")));
}

#[test]
fn deep_nesting() {
    for depth in [600, 100_000] {
        let files = files([
            ("package.json", &"{\"a\":".repeat(depth)),
            (
                "package-lock.json",
                &format!("{}{}", "{\"dependencies\":{\"a\":".repeat(depth), "}}".repeat(depth)),
            ),
            ("Cargo.toml", &format!("a = {}{}", "[".repeat(depth), "]".repeat(depth))),
            ("sub/Cargo.toml", &format!("a{} = 1", ".a".repeat(depth))),
            ("Cargo.lock", &format!("a = {}{}", "{a=".repeat(depth), "}".repeat(depth))),
        ]);
        run(&files);
    }
    run(&files([("pom.xml", &format!("{}{}", "<project>".repeat(5_000), "</project>".repeat(5_000)))]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text(text in "\\PC{0,80}", lines in "([ -~]{0,20}\\r?\\n){0,5}") {
        for name in NAMES {
            run(&files([(name, &text)]));
            run(&files([(name, &lines)]));
        }
        let _ = AdvisoryDb::from_json(&text);
        let _ = NewestVersions::from_json(&lines);
    }

    #[test]
    fn damaged_files(at in 0_usize..1_200, cut in 0_usize..12, put in "[ -~\\n\\ré]{0,6}") {
        let mut all = Files::new();
        for (name, text) in NAMES.iter().zip(TEXTS) {
            let mut text = text.to_owned();
            let start = at % text.len();
            let end = (start + cut).min(text.len());
            text.replace_range(start..end, &put);
            all.insert((*name).to_owned(), text);
        }
        run(&all);
    }

    #[test]
    fn line_ends_and_marks_stay(crlf: bool, mark: bool, newline: bool) {
        let mut all = Files::new();
        for (name, text) in NAMES.iter().zip(TEXTS) {
            let mut text = text.to_owned();
            if !newline {
                text = text.trim_end().to_owned();
            }
            if crlf {
                text = text.replace('\n', "\r\n");
            }
            if mark {
                text.insert(0, '\u{feff}');
            }
            all.insert((*name).to_owned(), text);
        }
        let found = analysis::analyse(&all, &AdvisoryDb::embedded(), Some(&newest()));
        prop_assert_eq!(found.fixes.len(), 8);
        crate::support::diff(&all, &found);
        run(&all);
    }

    #[test]
    fn damaged_advisories(at in 0_usize..8_000, put in "[ -~]{0,6}") {
        for text in [include_str!("../../src/data/advisories.json"), VERSIONS] {
            let mut text = text.to_owned();
            let start = at % text.len();
            text.replace_range(start..start + 1, &put);
            let _ = AdvisoryDb::from_json(&text);
            let _ = NewestVersions::from_json(&text);
        }
    }
}
