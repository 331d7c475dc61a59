//! Forms of `requirements.txt`.

use crate::support::{analyse, diff, files, problems};

#[test]
fn forms() {
    let text = "\u{feff}-r base.txt\r\n--index-url https://example.com/simple\r\n\r\nJinja2 == 2.11.2\r\n\
        requests[security,socks] >=2.3.0,<3 ; python_version >= \"3.8\" # note\r\n\
        jinja2~=2.11.2;extra=='x'\r\nrequests===2.30.0\r\nflask==1.0 \\\r\n    ; python_version < '3'\r\n./wheels/x.whl\r\nrequests (>=2.4)";
    let files = files([("requirements/base.txt", text)]);
    let found = analyse(&files);
    assert!(problems(&found).is_empty(), "{:?}", problems(&found));
    assert_eq!(
        diff(&files, &found),
        [
            "requirements/base.txt:4 Jinja2 == 2.11.2 => Jinja2 == 2.11.3",
            "requirements/base.txt:5 requests[security,socks] >=2.3.0,<3 ; python_version >= \"3.8\" # note => requests[security,socks] >=2.31.0,<3 ; python_version >= \"3.8\" # note",
            "requirements/base.txt:6 jinja2~=2.11.2;extra=='x' => jinja2~=2.11.3;extra=='x'",
            "requirements/base.txt:7 requests===2.30.0 => requests===2.31.0",
            "requirements/base.txt:11 requests (>=2.4) => requests (>=2.31)",
        ]
    );
}

#[test]
fn forms_that_stay() {
    let files = files([(
        "requirements.txt",
        "jinja2==2.11.* \njinja2\njinja2 @ https://example.com/jinja2.whl\nrequests<3\nrequests>2.29\n\
         requests==2.30.0 \\\n  --hash=sha256:00\n!!\njinja2~=2.11\nunknown\n",
    )]);
    let found = analyse(&files);
    assert!(found.fixes.is_empty());
    let problems = problems(&found);
    assert_eq!(problems.len(), 8, "{problems:#?}");
    assert_eq!(
        problems[0],
        "requirements.txt:1: jinja2: 2.11 is vulnerable, 2.11.3 is not: `==2.11.*` has a wildcard"
    );
    assert_eq!(problems[1], "requirements.txt:2: jinja2: cannot be judged: no version is named");
    assert_eq!(
        problems[2],
        "requirements.txt:3: jinja2: cannot be judged: it comes from an address, not from PyPI"
    );
    assert!(problems[5].contains("pinned by hashes"));
    assert_eq!(
        found.problems[5].command.as_deref(),
        Some(
            "pip-compile --generate-hashes --upgrade-package requests==2.31.0 --output-file requirements.txt requirements.in"
        )
    );
    assert!(problems[6].starts_with("requirements.txt:8: cannot be read: "));
    assert!(problems[7].contains("stands for a range"));
}
