//! OSV files, good and bad.

use scm_examples::analysis::{AdvisoryDb, Ecosystem, Severity};

fn record(id: &str, ecosystem: &str, package: &str, events: &str) -> String {
    format!(
        r#"{{"id":"{id}","affected":[{{"package":{{"ecosystem":"{ecosystem}","name":"{package}"}},"ranges":[{{"type":"ECOSYSTEM","events":[{events}]}}]}}],"x-unknown":1}}"#
    )
}

fn affected(
    db: &AdvisoryDb,
    ecosystem: Ecosystem,
    package: &str,
    version: &str,
) -> Vec<(String, Option<String>)> {
    let matches = db.matches(ecosystem, package, version).expect(version);
    matches.into_iter().map(|found| (found.advisory.id.clone(), found.fixed.map(str::to_owned))).collect()
}

#[test]
fn embedded() {
    let text = include_str!("../../src/data/advisories.json");
    let db = AdvisoryDb::from_json(text).unwrap();
    assert_eq!(db.len(), 11);
    assert_eq!(AdvisoryDb::embedded().len(), db.len());
    assert!(db.skipped().is_empty() && db.other_ecosystems().is_empty() && db.withdrawn() == 0);
    for (ecosystem, package, version, fixed) in [
        (Ecosystem::Npm, "lodash", "4.17.20", Some("4.17.21")),
        (Ecosystem::Npm, "lodash", "4.17.21-rc.1", Some("4.17.21")),
        (Ecosystem::Npm, "lodash", "4.17.21", None),
        (Ecosystem::Npm, "minimist", "0.0.8", Some("0.2.4")),
        (Ecosystem::Npm, "minimist", "0.2.4", None),
        (Ecosystem::Npm, "minimist", "1.2.5", Some("1.2.6")),
        (Ecosystem::CratesIo, "smallvec", "0.6.2", None),
        (Ecosystem::CratesIo, "smallvec", "0.6.3", Some("0.6.14")),
        (Ecosystem::CratesIo, "smallvec", "1.6.0", Some("1.6.1")),
        (Ecosystem::CratesIo, "regex", "1.5.4", Some("1.5.5")),
        (Ecosystem::PyPi, "Jinja2", "2.11.2", Some("2.11.3")),
        (Ecosystem::PyPi, "jinja2", "2.11.3.post1", None),
        (Ecosystem::PyPi, "requests", "2.2.1", None),
        (Ecosystem::PyPi, "requests", "2.30.0", Some("2.31.0")),
        (Ecosystem::Maven, "org.apache.commons:commons-text", "1.9", Some("1.10.0")),
        (Ecosystem::Maven, "org.apache.commons:commons-text", "1.4", None),
    ] {
        let found = affected(&db, ecosystem, package, version);
        assert_eq!(found.first().and_then(|(_, fixed)| fixed.as_deref()), fixed, "{package} {version}");
        assert_eq!(found.is_empty(), fixed.is_none(), "{package} {version}");
    }
    for (version, fixed) in
        [("2.14.1", "2.15.0"), ("2.12.1", "2.12.2"), ("2.3", "2.3.1"), ("2.0-rc1", "2.3.1")]
    {
        let found = affected(&db, Ecosystem::Maven, "org.apache.logging.log4j:log4j-core", version);
        assert_eq!(found[0], ("GHSA-jfh8-c2jp-5v3q".to_owned(), Some(fixed.to_owned())), "{version}");
    }
    let critical = db.matches(Ecosystem::CratesIo, "smallvec", "1.6.0").unwrap();
    assert_eq!(critical[0].advisory.severity, Severity::Critical);
    assert_eq!(critical[0].advisory.url, "https://osv.dev/vulnerability/RUSTSEC-2021-0003");
}

#[test]
fn forms_of_a_file() {
    let one = record("A", "npm", "a", r#"{"introduced":"0"},{"fixed":"1.0.1"}"#);
    let two = record("B", "npm", "a", r#"{"introduced":"1.0.0"}"#);
    for (text, count) in [
        (one.clone(), 1),
        (format!("\u{feff}{one}"), 1),
        (format!("[{one},{two}]"), 2),
        (format!("{{\"vulns\":[{one},{two}]}}"), 2),
        (format!("{one}\r\n\n{two}\n"), 2),
        ("[]".to_owned(), 0),
    ] {
        assert_eq!(AdvisoryDb::from_json(&text).expect(&text).len(), count, "{text}");
    }
}

#[test]
fn errors_name_record_and_path() {
    for (text, message) in [
        ("", "advisories: not JSON (line 1): "),
        ("{\n \"id\": }", "advisories: not JSON (line 2): "),
        (
            "7",
            "advisories: expected an OSV record, an array of them, {\"vulns\": [...]} or one record a line; found a number",
        ),
        ("{\"vulns\":1}", "advisories: expected an OSV record"),
        (
            "{}",
            "advisories: record 0, at the top level: missing field `id` (an OSV record needs `id` and `affected`)",
        ),
        (
            "[{\"id\":\"A\",\"affected\":[]},{\"id\":\"B\"}]",
            "advisories: record 1 (B), at the top level: missing field `affected`",
        ),
        (
            "[{\"id\":\"A\",\"affected\":[{\"package\":{\"ecosystem\":\"npm\"}}]}]",
            "advisories: record 0 (A), at `affected[0].package`: missing field `name`",
        ),
        (
            "[{\"id\":\"A\",\"affected\":[{\"ranges\":[{\"type\":\"SEMVER\",\"events\":[{\"fixed\":1}]}]}]}]",
            "advisories: record 0 (A), at `affected[0].ranges[0].events[0].fixed`: invalid type",
        ),
        ("{\"id\":\"A\",\"affected\":[]}\n{\"id\":", "advisories: not JSON (line 2): "),
        ("[1]", "advisories: record 0, at the top level: invalid type"),
    ] {
        let error = AdvisoryDb::from_json(text).expect_err(text).to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn what_is_left_out_is_counted() {
    let text = format!(
        "[{},{},{},{}]",
        record("A", "Go", "a", r#"{"introduced":"0"}"#),
        record("B", "npm", "b", r#"{"introduced":"not a version"}"#),
        r#"{"id":"C","withdrawn":"2024-01-01T00:00:00Z"}"#,
        r#"{"id":"D","affected":[{"ranges":[{"type":"GIT","events":[{"introduced":"0"}]}]}],"aliases":null}"#,
    );
    let db = AdvisoryDb::from_json(&text).unwrap();
    assert_eq!(db.withdrawn(), 1);
    assert_eq!(db.other_ecosystems().get("Go"), Some(&1));
    let skipped: Vec<_> = db.skipped().iter().map(|skipped| skipped.id.as_str()).collect();
    assert_eq!(skipped, ["B", "B", "D"]);
    assert!(db.knows(Ecosystem::Npm, "b") && !db.knows(Ecosystem::Npm, "a"));
}

#[test]
fn events() {
    let check = |events: &str, version: &str| {
        let db = AdvisoryDb::from_json(&record("A", "npm", "a", events)).unwrap();
        affected(&db, Ecosystem::Npm, "a", version).pop().map(|(_, fixed)| fixed)
    };
    // In any order in the file, and a second branch later.
    let two = r#"{"fixed":"2.0.5"},{"introduced":"2.0.0"},{"fixed":"1.2.0"},{"introduced":"1.0.0"}"#;
    assert_eq!(check(two, "0.9.0"), None);
    assert_eq!(check(two, "1.1.0"), Some(Some("1.2.0".to_owned())));
    assert_eq!(check(two, "1.9.0"), None);
    assert_eq!(check(two, "2.0.0"), Some(Some("2.0.5".to_owned())));
    let last = r#"{"introduced":"1.0.0"},{"last_affected":"1.0.0"}"#;
    assert_eq!((check(last, "1.0.0"), check(last, "1.0.1")), (Some(None), None));
    let limit = r#"{"introduced":"0"},{"limit":"2.0.0"}"#;
    assert_eq!((check(limit, "1.0.0"), check(limit, "2.0.0")), (Some(None), None));
}

#[test]
fn listed_versions_and_suffixes() {
    let text = r#"[{"id":"A","affected":[{"package":{"ecosystem":"PyPI","name":"Some_Package"},"versions":["1.0","1.1"]}]},
        {"id":"B","affected":[{"package":{"ecosystem":"Maven:https://repo.example.com","name":"g:a"},
        "ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"2"}]}]}],"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"}],
        "references":[{"type":"WEB","url":"javascript:x"},{"type":"WEB","url":"https://example.com/b"}],"details":"\nFirst line.\nSecond."}]"#;
    let db = AdvisoryDb::from_json(text).unwrap();
    assert_eq!(affected(&db, Ecosystem::PyPi, "some.package", "1.0.0"), [("A".to_owned(), None)]);
    assert!(affected(&db, Ecosystem::PyPi, "some-package", "1.2").is_empty());
    let found = db.matches(Ecosystem::Maven, "g:a", "2-rc1").unwrap();
    assert_eq!((found[0].advisory.severity, found[0].fixed), (Severity::High, Some("2")));
    assert_eq!(
        (found[0].advisory.url.as_str(), found[0].advisory.summary.as_str()),
        ("https://example.com/b", "First line.")
    );
    assert!(db.matches(Ecosystem::PyPi, "x", "not a version").is_err());
}
