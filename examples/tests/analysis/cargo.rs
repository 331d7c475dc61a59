//! Forms of `Cargo.toml` and `Cargo.lock`.

use crate::support::{analyse, analyse_with_hashes, diff, files, problems, steps};

#[test]
fn every_section_and_form() {
    let manifest = "\u{feff}[package]\r\nname = 'a'\r\n\r\n[dependencies]\r\nsmallvec = '1.6' # why\r\n\
        small0 = { version = \"0.6.13\", package = \"smallvec\" }\r\nregex.version = \"1.5.4\"\r\n\r\n\
        [dev-dependencies.regex]\r\nversion   =   \"~1.5.4\"\r\n\r\n\
        [build-dependencies]\r\nregex = \">= 1.5, <2\"\r\n\r\n\
        [target.'cfg(unix)'.dependencies]\r\nregex = { default-features = false, version = \"=1.5.4\" }\r\n\r\n\
        [workspace.dependencies]\r\nsmallvec = \"^1.0.0\"";
    let files = files([("Cargo.toml", manifest)]);
    let found = analyse(&files);
    assert!(problems(&found).is_empty(), "{:?}", problems(&found));
    assert_eq!(
        diff(&files, &found),
        [
            "Cargo.toml:5 smallvec = '1.6' # why => smallvec = '1.6.1' # why",
            "Cargo.toml:6 small0 = { version = \"0.6.13\", package = \"smallvec\" } => small0 = { version = \"0.6.14\", package = \"smallvec\" }",
            "Cargo.toml:7 regex.version = \"1.5.4\" => regex.version = \"1.5.5\"",
            "Cargo.toml:10 version   =   \"~1.5.4\" => version   =   \"~1.5.5\"",
            "Cargo.toml:13 regex = \">= 1.5, <2\" => regex = \">= 1.5.5, <2\"",
            "Cargo.toml:16 regex = { default-features = false, version = \"=1.5.4\" } => regex = { default-features = false, version = \"=1.5.5\" }",
            "Cargo.toml:19 smallvec = \"^1.0.0\" => smallvec = \"^1.6.1\"",
        ]
    );
    let keys: Vec<_> = found.fixes.iter().map(|fix| fix.key()).collect();
    assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len(), "{keys:?}");
    assert!(keys.contains(&"crates.io:smallvec#small0:Cargo.toml".to_owned()));
}

#[test]
fn workspace_inheritance() {
    let files = files([
        ("Cargo.toml", "[workspace]\nmembers = [\"a\"]\n[workspace.dependencies]\nsmallvec = \"1.6.0\"\n"),
        (
            "a/Cargo.toml",
            "[package]\nname = \"a\"\n[dependencies]\nsmallvec = { workspace = true }\nregex.workspace = true\n",
        ),
    ]);
    let found = analyse(&files);
    assert_eq!(diff(&files, &found), ["Cargo.toml:4 smallvec = \"1.6.0\" => smallvec = \"1.6.1\""]);
    assert_eq!(
        problems(&found),
        ["a/Cargo.toml:5: regex: cannot be judged: its version is managed in a file that is not here"]
    );
}

#[test]
fn forms_that_stay() {
    let files = files([(
        "Cargo.toml",
        "[dependencies]\nsmallvec = { git = \"https://example.com/x\", version = \"1.6.0\" }\nregex = \"1.*\"\n\
         other = { path = \"../x\" }\n[dev-dependencies]\nregex = \"1\\u002e5.4\"\nsmallvec = 1\n\
         [build-dependencies]\nsmallvec = \"*\"\nregex = { path = \"r\" }\n",
    )]);
    let found = analyse(&files);
    assert!(found.fixes.is_empty());
    assert_eq!(
        problems(&found),
        [
            "Cargo.toml:2: smallvec: 1.6.0 is vulnerable, 1.6.1 is not: it comes from a git repository, not from crates.io",
            "Cargo.toml:3: regex: 1.0.0 is vulnerable, 1.5.5 is not: `1.*` has a wildcard",
            "Cargo.toml:6: regex: 1.5.4 is vulnerable, 1.5.5 is not: its version is written with escapes",
            "Cargo.toml:7: cannot be read: `smallvec` in [dev-dependencies] is neither text nor a table",
            "Cargo.toml:9: smallvec: cannot be judged: `*` names no lowest version",
            "Cargo.toml:10: regex: cannot be judged: it comes from a path, not from crates.io",
        ]
    );
    assert!(!found.problems[0].advisories.is_empty());
}

fn lock(packages: &str) -> String {
    format!("version = 4\n\n[[package]]\nname = \"a\"\nversion = \"0.1.0\"\n{packages}")
}

const REGISTRY: &str =
    "source = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"00\"\n";

#[test]
fn the_locked_version_counts() {
    let manifest = "[package]\nname = \"a\"\n[dependencies]\nsmallvec = \"1\"\n";
    let entry = |version: &str| {
        lock(&format!(
            "dependencies = [\"smallvec\"]\n\n[[package]]\nname = \"smallvec\"\nversion = \"{version}\"\n{REGISTRY}"
        ))
    };
    let fine = files([("Cargo.toml", manifest), ("Cargo.lock", &entry("1.13.2"))]);
    assert!(analyse(&fine).fixes.is_empty());
    let bad = files([("Cargo.toml", manifest), ("Cargo.lock", &entry("1.6.0"))]);
    assert_eq!(steps(&analyse(&bad)), ["smallvec 1.6.0 1.6.1"]);
    // The requirement is enough, only the lock file is behind.
    let behind =
        files([("Cargo.toml", &manifest.replace("\"1\"", "\"1.6.1\"")), ("Cargo.lock", &entry("1.6.0"))]);
    let found = analyse(&behind);
    assert_eq!(found.problems[0].command.as_deref(), Some("cargo update -p smallvec --precise 1.6.1"));
    let found = analyse_with_hashes(&behind);
    assert_eq!(diff(&behind, &found)[0], "Cargo.lock:10 version = \"1.6.0\" => version = \"1.6.1\"");
}

#[test]
fn several_versions_and_members() {
    let files = files([
        ("Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\"]\n"),
        ("a/Cargo.toml", "[package]\nname = \"a\"\n[dependencies]\nsmallvec = \"1.6.0\"\n"),
        ("b/Cargo.toml", "[package]\nname = \"b\"\n[dependencies]\nsmallvec = \"0.6.13\"\n"),
        (
            "Cargo.lock",
            &lock(&format!(
                "dependencies = [\n \"smallvec 1.6.0\",\n]\n\n[[package]]\nname = \"b\"\nversion = \"0.1.0\"\n\
                 dependencies = [\"smallvec 0.6.13\", \"c\"]\n\n[[package]]\nname = \"c\"\nversion = \"1.0.0\"\n{REGISTRY}\
                 dependencies = [\"regex\"]\n\n[[package]]\nname = \"regex\"\nversion = \"1.5.4\"\n{REGISTRY}\n\
                 [[package]]\nname = \"smallvec\"\nversion = \"0.6.13\"\n{REGISTRY}\n\
                 [[package]]\nname = \"smallvec\"\nversion = \"1.6.0\"\n{REGISTRY}"
            )),
        ),
    ]);
    let found = analyse_with_hashes(&files);
    assert_eq!(steps(&found), ["smallvec 1.6.0 1.6.1", "smallvec 0.6.13 0.6.14"]);
    assert_eq!(found.fixes[0].relock, None);
    assert_eq!(found.fixes[1].relock.as_deref(), Some("cargo update -p smallvec@0.6.13 --precise 0.6.14"));
    let diff = diff(&files, &found);
    assert!(
        diff.contains(&"Cargo.lock:7 \"smallvec 1.6.0\", => \"smallvec 1.6.1\",".to_owned()),
        "{diff:#?}"
    );
    assert_eq!(found.transitive.len(), 1);
    assert_eq!(found.transitive[0].via, ["c 1.0.0"]);
}

#[test]
fn a_lock_entry_that_another_member_pins_is_left_to_cargo() {
    let member = |name: &str, requirement: &str| {
        format!("[package]\nname = \"{name}\"\n[dependencies]\nsmallvec = \"{requirement}\"\n")
    };
    let lock = lock(&format!(
        "dependencies = [\"smallvec\"]\n\n[[package]]\nname = \"b\"\nversion = \"0.1.0\"\ndependencies = [\"smallvec\"]\n\n\
         [[package]]\nname = \"smallvec\"\nversion = \"1.6.0\"\n{REGISTRY}"
    ));
    let files = files([
        ("a/Cargo.toml", &member("a", "1.6.0")),
        ("b/Cargo.toml", &member("b", "=1.6.0")),
        ("Cargo.lock", &lock),
    ]);
    let found = analyse_with_hashes(&files);
    // The one that is pinned could take its lock entry along: the other would follow.
    assert!(found.fixes[0].relock.is_some() && found.fixes[0].edits.len() == 1);
    assert!(found.fixes[1].relock.is_none() && found.fixes[1].edits.len() == 3);
}

#[test]
fn old_and_foreign_lock_entries() {
    let first_format = "[[package]]\nname = \"a\"\nversion = \"0.1.0\"\ndependencies = [\n \
        \"smallvec 1.6.0 (registry+https://github.com/rust-lang/crates.io-index)\",\n]\n\n[[package]]\nname = \"smallvec\"\n\
        version = \"1.6.0\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n\n[metadata]\n\
        \"checksum smallvec 1.6.0 (registry+https://github.com/rust-lang/crates.io-index)\" = \"00\"\n";
    let manifest = "[package]\nname = \"a\"\n[dependencies]\nsmallvec = \"1.6.0\"\n";
    let found = analyse_with_hashes(&files([("Cargo.toml", manifest), ("Cargo.lock", first_format)]));
    assert!(found.fixes[0].relock.is_some() && found.fixes[0].edits.len() == 1);
    // A fork under the same name is nobody's advisory.
    let fork = lock(
        "\n[[package]]\nname = \"smallvec\"\nversion = \"1.6.0\"\nsource = \"git+https://example.com/x#1\"\n",
    );
    let found = analyse(&files([("Cargo.lock", &fork)]));
    assert!(found.transitive.is_empty());
}
