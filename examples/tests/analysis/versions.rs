//! The versions file, the order of versions and outdated dependencies.

use std::cmp::Ordering;

use scm_examples::analysis::{Ecosystem, NewestVersions, Version, edit};

use crate::support::{VERSIONS, analyse_with_hashes, files};

#[test]
fn ascending() {
    for (ecosystem, row) in [
        (
            Ecosystem::CratesIo,
            &[
                "0.0.0-0",
                "1.0.0-alpha",
                "1.0.0-alpha.1",
                "1.0.0-rc.2",
                "1.0.0-rc.10",
                "1.0.0",
                "1.0.1",
                "1.10.0",
            ][..],
        ),
        (
            Ecosystem::Npm,
            &["0.0.0-0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta", "1.0.0", "1.9.0", "1.10.0"],
        ),
        (
            Ecosystem::PyPi,
            &["1.0.dev1", "1.0a1", "1.0b2", "1.0rc1", "1.0", "1.0.post1", "1.1", "1.10", "1!0.1"],
        ),
        (Ecosystem::Maven, &["1-alpha", "1-beta", "1-rc", "1-SNAPSHOT", "1", "1-sp", "1.1", "1.10"]),
    ] {
        for pair in row.windows(2) {
            let (low, high) =
                (Version::parse(ecosystem, pair[0]).unwrap(), Version::parse(ecosystem, pair[1]).unwrap());
            assert_eq!(low.partial_cmp(&high), Some(Ordering::Less), "{ecosystem} {pair:?}");
        }
    }
    for (ecosystem, one, other) in [
        (Ecosystem::CratesIo, "1.0.0+a", "1.0.0+b"),
        (Ecosystem::Npm, "1.0.0+a", "1.0.0+b"),
        (Ecosystem::PyPi, "1.0", "1.0.0"),
        (Ecosystem::PyPi, "1.0-RC.1", "1.0rc1"),
        (Ecosystem::Maven, "1.0.RELEASE", "1"),
    ] {
        assert_eq!(Version::parse(ecosystem, one).unwrap(), Version::parse(ecosystem, other).unwrap());
    }
    let (npm, cargo) = (
        Version::parse(Ecosystem::Npm, "1.0.0").unwrap(),
        Version::parse(Ecosystem::CratesIo, "1.0.0").unwrap(),
    );
    assert_eq!(npm.partial_cmp(&cargo), None);
}

#[test]
fn compatible() {
    for (ecosystem, from, to, compatible) in [
        (Ecosystem::CratesIo, "1.6.0", "1.9.0", true),
        (Ecosystem::CratesIo, "0.6.0", "0.7.0", false),
        (Ecosystem::CratesIo, "0.0.1", "0.0.2", false),
        (Ecosystem::Npm, "1.6.0", "2.0.0", false),
        (Ecosystem::PyPi, "2.0", "2.31.0", true),
        (Ecosystem::PyPi, "2.0", "1!2.0", false),
        (Ecosystem::Maven, "2.14.1", "2.17.1", true),
        (Ecosystem::Maven, "1.9", "2.0", false),
    ] {
        let version = |text| Version::parse(ecosystem, text).unwrap();
        assert_eq!(version(from).is_compatible_with(&version(to)), compatible, "{from} {to}");
    }
}

#[test]
fn file() {
    let newest = NewestVersions::from_json(VERSIONS).unwrap();
    assert_eq!(newest.newest(Ecosystem::PyPi, "flask").unwrap().version, "3.0.0");
    assert!(newest.exact(Ecosystem::CratesIo, "smallvec", "1.6.0").is_none());
    let two = r#"[{"ecosystem":"npm","package":"a","version":"1.10.0"},{"ecosystem":"npm","package":"a","version":"1.9.0"}]"#;
    assert_eq!(
        NewestVersions::from_json(two).unwrap().newest(Ecosystem::Npm, "a").unwrap().version,
        "1.10.0"
    );
}

#[test]
fn errors_name_entry_and_field() {
    for (entry, message) in [
        (
            r#"{"ecosystem":"npm","package":"a"}"#,
            "versions: entry 0, at the top level: missing field `version`",
        ),
        (
            r#"{"ecosystem":"Go","package":"a","version":"1"}"#,
            "versions: entry 0, at `ecosystem`: unknown variant `Go`",
        ),
        (
            r#"{"ecosystem":"npm","package":"a","version":"x"}"#,
            "versions: entry 0, at `version`: `x` is not a version of npm",
        ),
        (
            r#"{"ecosystem":"npm","package":"","version":"1.0.0"}"#,
            "versions: entry 0, at `package`: expected a name",
        ),
        (
            r#"{"ecosystem":"npm","package":"a","version":"1.0.0","checksum":"00"}"#,
            "versions: entry 0, at `checksum`: only crates.io",
        ),
        (
            r#"{"ecosystem":"crates.io","package":"a","version":"1.0.0","checksum":"00"}"#,
            "versions: entry 0, at `checksum`: expected a SHA-256",
        ),
        (
            r#"{"ecosystem":"npm","package":"a","version":"1.0.0","integrity":"sha512-\""}"#,
            "versions: entry 0, at `integrity`: expected",
        ),
        (
            r#"{"ecosystem":"npm","package":"a","version":"1.0.0","resolved":"http://x"}"#,
            "versions: entry 0, at `resolved`: expected",
        ),
        (
            r#"{"ecosystem":"npm","package":"a","version":"1.0.0","sum":"x"}"#,
            "versions: entry 0, at `sum`: unknown field `sum`",
        ),
    ] {
        let error = NewestVersions::from_json(&format!("[{entry}]")).expect_err(entry).to_string();
        assert!(error.starts_with(message), "{error}");
    }
    assert!(
        NewestVersions::from_json("{}").unwrap_err().to_string().starts_with("versions: expected an array")
    );
    assert!(
        NewestVersions::from_json("[\n,").unwrap_err().to_string().starts_with("versions: not JSON (line 2)")
    );
}

#[test]
fn outdated() {
    let files = files([
        ("Cargo.toml", "[package]\nname = \"a\"\n[dependencies]\nitoa = \"1.0\"\n"),
        (
            "Cargo.lock",
            "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"0.1.0\"\ndependencies = [\"itoa\"]\n\n[[package]]\nname = \"itoa\"\nversion = \"1.0.5\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"00\"\n",
        ),
        ("package.json", r#"{"dependencies":{"lodash":"^4.17.20","minimist":"1.2.6"}}"#),
        ("requirements.txt", "flask<3\nFlask>=2.3,<3\nflask==2.3.0\n"),
        (
            "pom.xml",
            "<project><dependencies><dependency><groupId>org.slf4j</groupId><artifactId>slf4j-api</artifactId><version>1.7.36</version></dependency></dependencies></project>",
        ),
    ]);
    let found = analyse_with_hashes(&files);
    let all: Vec<_> = found
        .outdated
        .iter()
        .map(|one| {
            format!("{} {} {} {}", one.package, one.from, one.to, one.reason.as_deref().unwrap_or("ok"))
        })
        .collect();
    assert_eq!(
        all,
        [
            "itoa 1.0.5 1.0.9 ok",
            "org.slf4j:slf4j-api 1.7.36 2.0.9 ok",
            "flask 2.3 3.0.0 the rest of `>=2.3,<3` does not allow 3.0.0",
            "flask 2.3.0 3.0.0 ok",
        ]
    );
    // Vulnerable ones are fixes, not outdated.
    assert_eq!(found.fixes.len(), 1);
    let fixes: Vec<_> = found.outdated.iter().filter_map(|one| one.as_fix()).collect();
    let changed = edit::apply(&files, &fixes).unwrap();
    assert_eq!(changed["Cargo.toml"], "[package]\nname = \"a\"\n[dependencies]\nitoa = \"1.0.9\"\n");
    assert!(changed["Cargo.lock"].contains("version = \"1.0.9\""));
    assert!(changed["pom.xml"].contains("<version>2.0.9</version>") && found.outdated[1].breaking);
    assert_eq!(changed["requirements.txt"], "flask<3\nFlask>=2.3,<3\nflask==3.0.0\n");
    assert_eq!(fixes[2].key(), "PyPI:flask:requirements.txt");
}
