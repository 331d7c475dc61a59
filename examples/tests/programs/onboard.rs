use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use serde_json::Value;

use super::{Setup, json, run, text};

const ONBOARD: &str = env!("CARGO_BIN_EXE_onboard");

/// The paths of a catalogue, after their connection; each must be there once.
fn paths(file: &Path) -> BTreeSet<String> {
    let catalogue = std::fs::read_to_string(file).unwrap();
    let mut paths = BTreeSet::new();
    for line in catalogue.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let part = |value: &Value| value.as_str().unwrap().to_owned();
        let path = format!("{}: {}", part(&entry["connection"]), part(&entry["repository"]["path"]));
        assert!(paths.insert(path.clone()), "{path} is there twice");
    }
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_is_listed_whole() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("all.jsonl");
    let (exit, report) = json(&run(ONBOARD, &["--json", "--out", text(&out)]).await);
    assert_eq!(exit, Some(0), "{report}");
    assert_eq!(report["complete"], true);
    let paths = paths(&out);
    assert_eq!(report["repositories"], paths.len(), "{report}");
    for listed in ["demo-gitlab: demo/web", "demo-bitbucket-dc-proxy: DEMO/web"] {
        assert!(paths.contains(listed), "{listed} in {paths:?}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing but the catalogue is left");
    let again = run(ONBOARD, &["--out", text(&out)]).await;
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--restart"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_goes_on_where_it_stopped() {
    let sim = BitbucketDcSim::builder().projects(23).start().await.unwrap();
    let setup = Setup::of("bitbucket-dc", &sim.url(), &sim.tokens()[0].token);
    let (whole, pieces) = (setup.path("whole.jsonl"), setup.path("pieces.jsonl"));
    let config = ["--config", text(&setup.config), "--json"];
    let (exit, report) = json(&run(ONBOARD, &[&config[..], &["--out", text(&whole)]].concat()).await);
    assert_eq!((exit, &report["repositories"]), (Some(0), &23.into()), "{report}");

    let piece = [&config[..], &["--out", text(&pieces), "--page-size", "4", "--pages", "2"]].concat();
    sim.clear_requests();
    let mut runs = 0;
    loop {
        runs += 1;
        let (exit, report) = json(&run(ONBOARD, &piece).await);
        if exit == Some(0) {
            assert_eq!(report["repositories"], 23, "{report}");
            break;
        }
        assert_eq!((exit, &report["complete"]), (Some(3), &false.into()), "{report}");
        // As a run that was killed after a part of its next page: nobody has said yet that it is there.
        let mut file = std::fs::OpenOptions::new().append(true).open(&pieces).unwrap();
        file.write_all(b"{\"connection\":\"acme\",\"repository\":{\"pa").unwrap();
        assert!(runs < 10, "it never ends");
    }
    assert_eq!(runs, 3, "six pages, two at a time");
    assert_eq!(paths(&pieces), paths(&whole));
    let pages =
        sim.requests().iter().filter(|request| request.route.as_deref() == Some("/api/repos")).count();
    assert_eq!(pages, 6, "no page is asked for twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_read_is_no_reason_to_begin_anew_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("all.jsonl");
    std::fs::write(dir.path().join("all.jsonl.place"), "{broken").unwrap();
    let refused = run(ONBOARD, &["--out", text(&out)]).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--restart"), "{refused:?}");
    let (exit, report) = json(&run(ONBOARD, &["--json", "--restart", "--out", text(&out)]).await);
    assert_eq!((exit, &report["complete"]), (Some(0), &true.into()), "{report}");
}
