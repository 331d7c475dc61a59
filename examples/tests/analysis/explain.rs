//! Titles, bodies and branches.

use scm_examples::analysis::explain::{MAX_BODY, MAX_TITLE, branch_name, explain};
use scm_examples::analysis::{Fix, Problem};

use crate::demo::{BILLING, WEB_LOCK, WEB_MANIFEST, WORKER};
use crate::support::{analyse, files};

#[test]
fn one_fix() {
    let found = analyse(&files([("package.json", WEB_MANIFEST), ("package-lock.json", WEB_LOCK)]));
    let fix = &found.fixes[0];
    let text = explain(&[fix], &[], &[]);
    assert_eq!(text.title, "Update lodash from 4.17.20 to 4.17.21 (GHSA-35jh-r3h4-6jhm)");
    assert!(
        text.body.contains(
            "| `lodash` | `4.17.20` | `4.17.21` | high | \
         [GHSA\\-35jh\\-r3h4\\-6jhm](https://osv.dev/vulnerability/GHSA-35jh-r3h4-6jhm) CVE\\-2021\\-23337: "
        ),
        "{}",
        text.body
    );
    assert!(text.body.contains("- `npm install lodash@4.17.21 --package-lock-only`"));
    assert!(!text.body.contains("Not fixed"));
    assert_eq!(branch_name(&[fix]), "remediate/npm-lodash-4.17.21");
}

#[test]
fn branches() {
    let found = analyse(&files([("requirements.txt", WORKER), ("pom.xml", BILLING)]));
    let all: Vec<&Fix> = found.fixes.iter().collect();
    assert_eq!(branch_name(&all[..1]), "remediate/maven-org.apache.logging.log4j-log4j-core-2.17.1");
    let name = branch_name(&all);
    assert!(name.starts_with("remediate/security-") && name.len() == "remediate/security-".len() + 10);
    let mut reversed = all.clone();
    reversed.reverse();
    assert_eq!(branch_name(&reversed), name);
    assert_ne!(branch_name(&all[1..]), name);
    assert_eq!(
        explain(&all, &[], &[]).title,
        "Update 4 vulnerable dependencies: jinja2, org.apache.commons:commons-text, org.apache.logging.log4j:log4j-core, requests"
    );
}

#[test]
fn texts_of_others_stay_texts() {
    let found = analyse(&files([("requirements.txt", WORKER)]));
    let mut fix = found.fixes[0].clone();
    fix.package = "a`|b\n/merge @all".repeat(50);
    fix.manifest = "dir|`x`/requirements.txt".to_owned();
    fix.advisories[0].summary = "x | y\n\n# Heading\n/close\n@all <img src=x> ![i](http://e)".to_owned();
    fix.advisories[0].url = "https://x/) [y](z".to_owned();
    let problem = Problem {
        path: "a\n/merge".to_owned(),
        line: None,
        package: Some("`".to_owned()),
        reason: "*bold* @all".to_owned(),
        command: None,
        advisories: Vec::new(),
    };
    let text = explain(&[&fix], &[], &[problem]);
    assert!(text.title.chars().count() <= MAX_TITLE && !text.title.contains('\n'));
    assert!(text.body.lines().all(|line| !line.trim_start().starts_with('/')), "{}", text.body);
    assert!(!text.body.contains("<img") && !text.body.contains("@all <") && !text.body.contains("*bold* @"));
    let row = text.body.lines().find(|line| line.starts_with("| `")).unwrap();
    let bars = row.match_indices('|').filter(|(at, _)| !row[..*at].ends_with('\\')).count();
    assert_eq!(bars, 7, "{row}");
    assert!(branch_name(&[&fix]).len() < 200);
}

#[test]
fn long_lists_are_counted() {
    let found = analyse(&files([("requirements.txt", WORKER)]));
    let problem = Problem {
        path: "requirements.txt".to_owned(),
        line: Some(1),
        package: None,
        reason: "x".repeat(150),
        command: Some("y".repeat(100)),
        advisories: Vec::new(),
    };
    let fixes = vec![&found.fixes[0]; 300];
    let text = explain(&fixes, &[], &vec![problem; 400]);
    assert!(text.body.len() <= MAX_BODY);
    assert!(text.body.contains("more."));
}
