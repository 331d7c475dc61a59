//! The demonstration repositories: small, realistic, formatted oddly enough to show when a format is lost.

use crate::sim::gitlab::{JobOutcome, JobScript, PipelineScript};

use super::SeedRepository;

/// The repositories of the group `demo`. The first one is writable by the first token.
#[must_use]
pub fn demo() -> Vec<SeedRepository> {
    vec![web(), api(), worker(), billing(), cli(), clean(), empty(), legacy(), readonly(), transitive()]
}

fn repository(
    path: &'static str,
    description: &'static str,
    files: Vec<(&'static str, String)>,
) -> SeedRepository {
    SeedRepository {
        path,
        description,
        files,
        empty: false,
        archived: false,
        read_only: false,
        pipeline: Some(passing("npm test\n\n  12 passing (48ms)\n")),
    }
}

/// A log as runners write it: sections, colours, carriage returns.
fn log(script: &str, end: &str) -> String {
    format!(
        "\u{1b}[0KRunning with gitlab-runner 17.11.0 (0f67ff19)\u{1b}[0;m\n\
         section_start:1767348260:prepare_executor\r\u{1b}[0K\u{1b}[0K\u{1b}[36;1mPreparing the \"docker\" executor\u{1b}[0;m\n\
         \u{1b}[0KUsing Docker executor with image debian:bookworm ...\u{1b}[0;m\n\
         section_end:1767348264:prepare_executor\r\u{1b}[0K\
         section_start:1767348264:step_script\r\u{1b}[0K\u{1b}[0K\u{1b}[36;1mExecuting \"step_script\" stage of the job script\u{1b}[0;m\n\
         {script}\
         section_end:1767348299:step_script\r\u{1b}[0K{end}\n"
    )
}

const SUCCEEDED: &str = "\u{1b}[32;1mJob succeeded\u{1b}[0;m";
const FAILED: &str = "\u{1b}[31;1mERROR: Job failed: exit code 1\u{1b}[0;m";

fn passing(script: &str) -> PipelineScript {
    PipelineScript::new([
        JobScript::new("build").stage("build").log(log("compiling\ndone\n", SUCCEEDED)),
        JobScript::new("test").log(log(script, SUCCEEDED)),
    ])
}

fn web() -> SeedRepository {
    let package = r#"{
  "name": "web",
  "version": "2.3.0",
  "private": true,
  "description":   "The shop's front end",

  "scripts": {
    "start": "node src/server.js",
    "test":  "mocha"
  },

  "dependencies": {
    "express": "4.21.2",
    "lodash": "^4.17.20",
    "minimist":  "1.2.5",
    "ms": "^2.1.3"
  },

  "devDependencies": { "mocha": "^11.0.1" }
}
"#;
    let lock = lock_file(
        "web",
        "2.3.0",
        &[("express", "4.21.2"), ("lodash", "^4.17.20"), ("minimist", "1.2.5"), ("ms", "^2.1.3")],
        &[
            ("node_modules/express", "4.21.2", EXPRESS),
            ("node_modules/lodash", "4.17.20", LODASH),
            ("node_modules/minimist", "1.2.5", MINIMIST),
            ("node_modules/ms", "2.1.3", MS),
        ],
    );
    repository(
        "demo/web",
        "Front end of the shop",
        vec![
            ("README.md", "# web\n\nFront end of the shop.\n\n    npm ci && npm start\n".to_owned()),
            ("package.json", package.to_owned()),
            ("package-lock.json", lock),
            ("src/server.js", SERVER_JS.to_owned()),
            (
                "src/cart.js",
                "const _ = require('lodash')\n\nexports.total = (lines) => _.sumBy(lines, 'price')\n"
                    .to_owned(),
            ),
            (
                ".gitlab-ci.yml",
                "test:\n  image: node:22\n  script:\n    - npm ci\n    - npm test\n".to_owned(),
            ),
        ],
    )
}

const SERVER_JS: &str = r"'use strict'

const express = require('express')
const argv    = require('minimist')(process.argv.slice(2))

const app = express()
app.get('/health', (request, response) => response.send('ok'))
app.listen(argv.port || 8080)
";

// Made up, but of the right form: 64 bytes in base64.
const EXPRESS: &str =
    "sha512-QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ==";
const LODASH: &str =
    "sha512-QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQg==";
const MINIMIST: &str =
    "sha512-Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQw==";
const MS: &str =
    "sha512-RERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERA==";

fn lock_file(name: &str, version: &str, wanted: &[(&str, &str)], locked: &[(&str, &str, &str)]) -> String {
    let wanted: Vec<String> =
        wanted.iter().map(|(name, range)| format!("        \"{name}\": \"{range}\"")).collect();
    let locked: Vec<String> = locked
        .iter()
        .map(|(path, version, integrity)| {
            let package = path.rsplit("node_modules/").next().unwrap_or(path);
            format!(
                "    \"{path}\": {{\n      \"version\": \"{version}\",\n      \"resolved\": \
                 \"https://registry.npmjs.org/{package}/-/{package}-{version}.tgz\",\n      \"integrity\": \
                 \"{integrity}\"\n    }}"
            )
        })
        .collect();
    format!(
        "{{\n  \"name\": \"{name}\",\n  \"version\": \"{version}\",\n  \"lockfileVersion\": 3,\n  \"requires\": true,\n  \
         \"packages\": {{\n    \"\": {{\n      \"name\": \"{name}\",\n      \"version\": \"{version}\",\n      \
         \"dependencies\": {{\n{}\n      }}\n    }},\n{}\n  }}\n}}\n",
        wanted.join(",\n"),
        locked.join(",\n")
    )
}

/// Entries of a Cargo.lock with made-up checksums of the right form.
fn cargo_lock(own: &[(&str, &str, &[&str])], locked: &[(&str, &str)]) -> String {
    let mut entries: Vec<(String, String)> = own
        .iter()
        .map(|(name, version, dependencies)| {
            let list: Vec<String> = dependencies.iter().map(|name| format!(" \"{name}\",\n")).collect();
            let entry = format!(
                "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\ndependencies = [\n{}]\n",
                list.concat()
            );
            ((*name).to_owned(), entry)
        })
        .collect();
    entries.extend(locked.iter().enumerate().map(|(at, (name, version))| {
        let checksum = format!("{:02x}", 0xa0 + at).repeat(32);
        let entry = format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \
             \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"{checksum}\"\n"
        );
        ((*name).to_owned(), entry)
    }));
    entries.sort();
    let entries: Vec<String> = entries.into_iter().map(|(_, entry)| entry).collect();
    format!(
        "# This file is automatically @generated by Cargo.\n# It is not intended for manual editing.\nversion = 4\n\n{}",
        entries.join("\n")
    )
}

fn api() -> SeedRepository {
    let manifest = r#"[package]
name    = "api"
version = "0.4.1"
edition = "2021"

# Keep in step with the gateway.
[dependencies]
itoa     = "1.0"
regex    = { version = "1.5.4", default-features = false }   # no unicode tables
smallvec = "1.6.0" # small lists stay off the heap

[profile.release]
lto = true
"#;
    let lock = cargo_lock(
        &[("api", "0.4.1", &["itoa", "regex", "smallvec"])],
        &[("itoa", "1.0.15"), ("regex", "1.5.4"), ("regex-syntax", "0.6.25"), ("smallvec", "1.6.0")],
    );
    let main = "use smallvec::SmallVec;\n\nfn main() {\n    let list: SmallVec<[u8; 4]> = SmallVec::new();\n    \
                println!(\"{}\", list.len());\n}\n";
    let mut seed = repository(
        "demo/api",
        "Orders and stock",
        vec![
            ("README.md", "# api\n\nOrders and stock, as a service.\n".to_owned()),
            ("Cargo.toml", manifest.to_owned()),
            ("Cargo.lock", lock),
            ("src/main.rs", main.to_owned()),
        ],
    );
    seed.pipeline = Some(passing("test result: ok. 31 passed; 0 failed\n").finish_after_reads(1));
    seed
}

fn worker() -> SeedRepository {
    let requirements = "# what the worker needs\n\njinja2==2.11.2  # templates\n\
                        requests[security]==2.30.0 ; python_version >= \"3.8\"\nidna==3.10\n\n# metrics\n\
                        prometheus-client ==  0.21.1\n";
    let mut seed = repository(
        "demo/worker",
        "Sends the mails",
        vec![
            ("README.md", "# worker\n\nSends the mails.\n".to_owned()),
            ("requirements.txt", requirements.to_owned()),
            (
                "worker/mail.py",
                "from jinja2 import Template\n\n\ndef subject(order):\n    return Template(\"Order {{ id }}\").render(id=order)\n"
                    .to_owned(),
            ),
        ],
    );
    seed.pipeline = Some(PipelineScript::new([
        JobScript::new("lint").stage("build").log(log("All checks passed!\n", SUCCEEDED)),
        JobScript::new("pytest").outcome(JobOutcome::Failed).log(log(PYTEST, FAILED)),
    ]));
    seed
}

const PYTEST: &str = "\
============================= test session starts ==============================
platform linux -- Python 3.12.8, pytest-8.3.4, pluggy-1.5.0
rootdir: /builds/demo/worker
collected 14 items

tests/test_mail.py ........F....                                         [ 92%]
tests/test_queue.py .                                                    [100%]

=================================== FAILURES ===================================
_____________________________ test_subject_escapes _____________________________

    def test_subject_escapes():
>       assert subject(\"<7>\") == \"Order &lt;7&gt;\"
E       AssertionError: assert 'Order <7>' == 'Order &lt;7&gt;'
E         - Order &lt;7&gt;
E         + Order <7>

tests/test_mail.py:41: AssertionError
=========================== short test summary info ============================
FAILED tests/test_mail.py::test_subject_escapes - AssertionError: assert 'Ord...
========================= 1 failed, 13 passed in 0.42s =========================
";

fn billing() -> SeedRepository {
    let pom = r#"<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>com.example</groupId>
  <artifactId>billing</artifactId>
  <version>5.2.0</version>

  <properties>
    <!-- one place for the logging version -->
    <log4j.version>2.14.1</log4j.version>
    <maven.compiler.release>17</maven.compiler.release>
  </properties>

  <dependencies>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-core</artifactId>
      <version>${log4j.version}</version>
    </dependency>
    <!-- templates of invoices -->
    <dependency>
      <groupId>org.apache.commons</groupId> <artifactId>commons-text</artifactId>
      <version>1.9</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-api</artifactId>
      <version>2.0.16</version>
    </dependency>
  </dependencies>
</project>
"#;
    let java = "package com.example;\n\nimport org.apache.logging.log4j.LogManager;\n\npublic final class Billing {\n    \
                public static void main(String[] args) {\n        LogManager.getLogger().info(\"billing\");\n    }\n}\n";
    let mut seed = repository(
        "demo/billing",
        "Invoices",
        vec![
            ("README.md", "# billing\n\nInvoices.\n".to_owned()),
            ("pom.xml", pom.to_owned()),
            ("src/main/java/com/example/Billing.java", java.to_owned()),
        ],
    );
    seed.pipeline = Some(passing("[INFO] Tests run: 8, Failures: 0\n[INFO] BUILD SUCCESS\n"));
    seed
}

fn cli() -> SeedRepository {
    let root = "[workspace]\nmembers  = [\"crates/*\"]\nresolver = \"2\"\n\n[workspace.package]\nedition = \"2021\"\n";
    let core = "[package]\nname = \"core\"\nversion = \"0.1.0\"\nedition.workspace = true\n\n[dependencies]\n\
                # pinned until the parser is rewritten\nsmallvec = \"=1.6.0\"\n";
    let lock = cargo_lock(&[("core", "0.1.0", &["smallvec"])], &[("smallvec", "1.6.0")]);
    let steps: String = (1..=24).map(|n| format!("test step_{n:02} ... ok\n")).collect();
    let mut seed = repository(
        "demo/platform/cli",
        "Command line of the platform",
        vec![
            ("README.md", "# cli\n\nCommand line of the platform.\n".to_owned()),
            ("Cargo.toml", root.to_owned()),
            ("Cargo.lock", lock),
            ("crates/core/Cargo.toml", core.to_owned()),
            ("crates/core/src/lib.rs", "pub type Words = smallvec::SmallVec<[String; 8]>;\n".to_owned()),
        ],
    );
    seed.pipeline =
        Some(passing(&format!("{steps}test result: ok. 24 passed; 0 failed\n")).finish_after_reads(6));
    seed
}

fn clean() -> SeedRepository {
    let package = "{\n  \"name\": \"clean\",\n  \"version\": \"1.0.0\",\n  \"dependencies\": {\n    \"ms\": \"2.1.3\"\n  }\n}\n";
    repository(
        "demo/clean",
        "Nothing to repair here",
        vec![
            ("README.md", "# clean\n\nNothing to repair here.\n".to_owned()),
            ("package.json", package.to_owned()),
            (
                "package-lock.json",
                lock_file("clean", "1.0.0", &[("ms", "2.1.3")], &[("node_modules/ms", "2.1.3", MS)]),
            ),
            ("index.js", "console.log(require('ms')('2 days'))\n".to_owned()),
        ],
    )
}

fn empty() -> SeedRepository {
    SeedRepository { empty: true, ..repository("demo/empty", "No commit yet", Vec::new()) }
}

fn legacy() -> SeedRepository {
    let files = vec![
        ("README.md", "# legacy\n\nKept for reference.\n".to_owned()),
        ("requirements.txt", "jinja2==2.11.2\nrequests==2.19.0\n".to_owned()),
    ];
    SeedRepository { archived: true, pipeline: None, ..repository("demo/legacy", "Archived", files) }
}

fn readonly() -> SeedRepository {
    let package = "{\n  \"name\": \"readonly\",\n  \"version\": \"1.0.0\",\n  \"dependencies\": {\n    \"minimist\": \"1.2.5\"\n  }\n}\n";
    let files = vec![
        ("README.md", "# readonly\n\nOthers write here.\n".to_owned()),
        ("package.json", package.to_owned()),
        ("index.js", "module.exports = require('minimist')\n".to_owned()),
    ];
    SeedRepository { read_only: true, ..repository("demo/readonly", "Others write here", files) }
}

fn transitive() -> SeedRepository {
    let package = "{\n  \"name\": \"transitive\",\n  \"version\": \"1.0.0\",\n  \"dependencies\": {\n    \"mkdirp\": \"0.5.6\"\n  }\n}\n";
    let lock = lock_file(
        "transitive",
        "1.0.0",
        &[("mkdirp", "0.5.6")],
        &[("node_modules/minimist", "1.2.5", MINIMIST), ("node_modules/mkdirp", "0.5.6", MS)],
    );
    let lock = lock.replace(
        "mkdirp-0.5.6.tgz\",\n      \"integrity\": \"",
        "mkdirp-0.5.6.tgz\",\n      \"dependencies\": {\n        \"minimist\": \"^1.2.5\"\n      },\n      \"integrity\": \"",
    );
    repository(
        "demo/transitive",
        "Vulnerable by way of another package",
        vec![
            ("README.md", "# transitive\n\nMakes folders.\n".to_owned()),
            ("package.json", package.to_owned()),
            ("package-lock.json", lock),
            ("index.js", "require('mkdirp').sync('out')\n".to_owned()),
        ],
    )
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;

    #[test]
    fn npm_files_are_json_with_well_formed_hashes() {
        for repository in demo() {
            for (path, text) in repository.files.iter().filter(|(path, _)| path.ends_with(".json")) {
                let value: serde_json::Value = serde_json::from_str(text)
                    .unwrap_or_else(|error| panic!("{} {path}: {error}", repository.path));
                for package in
                    value["packages"].as_object().into_iter().flat_map(|packages| packages.values())
                {
                    if let Some(hash) = package["integrity"].as_str() {
                        let bytes = STANDARD.decode(hash.trim_start_matches("sha512-")).unwrap();
                        assert_eq!(bytes.len(), 64, "{} {path}", repository.path);
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_repository_is_writable() {
        let all = demo();
        assert_eq!(all[0].path, "demo/web");
        assert!(!all[0].read_only && !all[0].archived && !all[0].empty);
    }
}
