//! Forms of `package.json` and `package-lock.json`.

use crate::support::{analyse, analyse_with_hashes, diff, files, problems, steps};

#[test]
fn every_section_and_form() {
    let manifest = "{\r\n\t\"dependencies\": { \"lodash\": \"~4.17.20\", \"@scope/other\": \"latest\" },\r\n\
        \t\"devDependencies\": {\"minimist\":\"=1.2.5\"},\r\n\
        \t\"optionalDependencies\": { \"args\": \"npm:minimist@^0.2.1\" , \"underscore\": \"npm:lodash@>=4.17.0 <5\" }\r\n}";
    let files = files([("web/package.json", manifest)]);
    let found = analyse(&files);
    assert!(problems(&found).is_empty(), "{:?}", problems(&found));
    let changed = diff(&files, &found);
    assert_eq!(changed.len(), 3);
    assert!(
        changed[0].ends_with("\"dependencies\": { \"lodash\": \"~4.17.21\", \"@scope/other\": \"latest\" },")
    );
    assert!(changed[1].ends_with("\"devDependencies\": {\"minimist\":\"=1.2.6\"},"));
    assert!(
        changed[2]
            .ends_with("{ \"args\": \"npm:minimist@^0.2.4\" , \"underscore\": \"npm:lodash@>=4.17.21 <5\" }")
    );
}

#[test]
fn forms_that_stay() {
    let files = files([(
        "package.json",
        r#"{
  "dependencies": { "lodash": "4.x" },
  "devDependencies": { "lodash": "^3.0.0 || ^4.0.0" },
  "optionalDependencies": {
    "lodash": "github:lodash/lodash",
    "minimist": "latest",
    "minimist": "*",
    "minimist": "workspace:*",
    "minimist": 1,
    "minimist": "1\u002e2.5"
  }
}"#,
    )]);
    let found = analyse(&files);
    assert!(found.fixes.is_empty());
    assert_eq!(
        problems(&found),
        [
            "package.json:2: lodash: 4.0.0 is vulnerable, 4.17.21 is not: `4.x` has a wildcard",
            "package.json:3: lodash: 3.0.0 is vulnerable, 4.17.21 is not: `^3.0.0 || ^4.0.0` has alternatives",
            "package.json:5: lodash: cannot be judged: it comes from `github:lodash/lodash`, not from the registry",
            "package.json:6: minimist: cannot be judged: `latest` is a tag, not a version",
            "package.json:7: minimist: cannot be judged: `*` names no lowest version",
            "package.json:8: minimist: cannot be judged: it comes from `workspace:*`, not from the registry",
            "package.json:9: cannot be read: `minimist` in `optionalDependencies` is no text",
            "package.json:10: minimist: 1.2.5 is vulnerable, 1.2.6 is not: its version is written with escapes",
        ]
    );
}

#[test]
fn wildcard_with_lock() {
    let lock = r#"{"lockfileVersion":3,"packages":{"":{"dependencies":{"minimist":"*"}},
"node_modules/minimist":{"version":"1.2.5","resolved":"https://registry.npmjs.org/minimist/-/minimist-1.2.5.tgz","integrity":"sha512-AA"}}}"#;
    let files =
        files([("package.json", r#"{"dependencies":{"minimist":"*"}}"#), ("package-lock.json", lock)]);
    let found = analyse(&files);
    assert_eq!(found.problems[0].command.as_deref(), Some("npm update minimist --package-lock-only"));
    let found = analyse_with_hashes(&files);
    let changed = diff(&files, &found);
    assert!(changed.len() == 1 && changed[0].contains("\"version\":\"1.2.6\""), "{changed:?}");
}

#[test]
fn first_and_second_format() {
    let legacy = r#"  "dependencies": {
    "minimist": {
      "version": "1.2.5",
      "resolved": "https://registry.npmjs.org/minimist/-/minimist-1.2.5.tgz",
      "integrity": "sha512-BBBB"
    },
    "mkdirp": {
      "version": "0.5.1",
      "resolved": "https://registry.npmjs.org/mkdirp/-/mkdirp-0.5.1.tgz",
      "integrity": "sha512-CCCC",
      "requires": { "minimist": "0.0.8" },
      "dependencies": {
        "minimist": { "version": "0.0.8", "integrity": "sha512-DDDD" }
      }
    }
  }
}"#;
    let manifest = r#"{"dependencies":{"minimist":"^1.2.5","mkdirp":"0.5.1"}}"#;
    let first = format!("{{\n  \"lockfileVersion\": 1,\n{legacy}");
    let files_1 = files([("package.json", manifest), ("package-lock.json", &first)]);
    let found = analyse_with_hashes(&files_1);
    assert_eq!(steps(&found), ["minimist 1.2.5 1.2.6"]);
    assert_eq!(diff(&files_1, &found).len(), 4);
    assert_eq!(found.transitive[0].via, ["mkdirp 0.5.1"]);
    assert_eq!(found.transitive[0].fixed.as_deref(), Some("0.2.4"));

    let packages = r#"  "packages": {
    "": { "dependencies": { "minimist": "^1.2.5", "mkdirp": "0.5.1" } },
    "node_modules/minimist": {
      "version": "1.2.5",
      "resolved": "https://registry.npmjs.org/minimist/-/minimist-1.2.5.tgz",
      "integrity": "sha512-BBBB"
    }
  },
"#;
    let second = format!("{{\n  \"lockfileVersion\": 2,\n{packages}{legacy}");
    let files_2 = files([("package.json", manifest), ("package-lock.json", &second)]);
    let found = analyse_with_hashes(&files_2);
    assert_eq!(diff(&files_2, &found).len(), 8);
    assert_eq!(found.fixes[0].relock, None);
}

#[test]
fn dependents_that_would_not_accept_it() {
    let lock = r#"{"lockfileVersion":3,"packages":{"":{"dependencies":{"minimist":"^1.2.5","mkdirp":"1"}},
"node_modules/mkdirp":{"version":"1.0.0","dependencies":{"minimist":"1.2.5"}},
"node_modules/minimist":{"version":"1.2.5","integrity":"sha512-AA"}}}"#;
    let files =
        files([("package.json", r#"{"dependencies":{"minimist":"^1.2.5"}}"#), ("package-lock.json", lock)]);
    let found = analyse_with_hashes(&files);
    assert_eq!(found.fixes[0].edits.len(), 1);
    assert_eq!(found.fixes[0].relock.as_deref(), Some("npm install minimist@1.2.6 --package-lock-only"));
}

#[test]
fn workspaces() {
    let lock = r#"{
  "lockfileVersion": 3,
  "packages": {
    "": { "workspaces": ["packages/*"] },
    "node_modules/app": { "resolved": "packages/app", "link": true },
    "node_modules/lodash": { "version": "4.17.20", "resolved": "https://registry.npmjs.org/lodash/-/lodash-4.17.20.tgz", "integrity": "sha512-A" },
    "packages/app": { "name": "app", "dependencies": { "lodash": "^4.17.0" } }
  }
}"#;
    let files = files([
        ("app/package.json", r#"{"dependencies":{"lodash":"^4.17.20"}}"#),
        ("package-lock.json", lock),
        ("package.json", r#"{"workspaces":["packages/*"]}"#),
        ("packages/app/package.json", r#"{"name":"app","dependencies":{"lodash":"^4.17.0"}}"#),
    ]);
    let found = analyse_with_hashes(&files);
    // The first is no member: the lock file does not know it.
    assert_eq!(steps(&found), ["lodash 4.17.20 4.17.21", "lodash 4.17.20 4.17.21"]);
    assert_eq!(found.fixes[0].edits.len(), 1);
    let changed = diff(&files, &found);
    assert!(
        changed.iter().any(|line| line
            .contains(r#""packages/app": { "name": "app", "dependencies": { "lodash": "^4.17.21" } }"#)),
        "{changed:#?}"
    );
    let found = analyse(&files);
    assert_eq!(found.fixes[1].relock.as_deref(), Some("npm install --package-lock-only"));
}
