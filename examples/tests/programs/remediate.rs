use std::process::Command as StdCommand;

use scm_testkit::proxy::Proxy;
use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use scm_testkit::sim::gitlab::GitLabSim;
use serde_json::Value;

use super::{Setup, json, run, text};

const REMEDIATE: &str = env!("CARGO_BIN_EXE_remediate");

async fn demo() -> GitLabSim {
    GitLabSim::builder().context_path("/gitlab").seed_demo().start().await.unwrap()
}

fn results<'a>(report: &'a Value, result: &str) -> Vec<&'a str> {
    let all = report["connections"][0]["results"].as_array().unwrap();
    all.iter()
        .filter(|line| line["result"] == result)
        .map(|line| line["repository"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_does_the_whole_job() {
    let output = run(REMEDIATE, &["--json"]).await;
    let (exit, report) = json(&output);
    assert_eq!(exit, Some(0), "{report}");
    let own = &report["connections"][0];
    assert_eq!((&own["provider"], &own["route"]), (&Value::from("gitlab"), &Value::from("direct")));
    assert_eq!(own["repositories"], 10);
    assert_eq!(
        (&own["created"], &own["existing"], &own["failed"]),
        (&5.into(), &0.into(), &0.into()),
        "{own}"
    );
    assert_eq!(own["skipped"], 2, "one archived, one without write permission");
    assert_eq!(
        results(&report, "created"),
        ["demo/web", "demo/api", "demo/worker", "demo/billing", "demo/platform/cli"]
    );
    let worker = &own["results"][2];
    assert_eq!(worker["checks"], "failed");
    assert!(worker["failed_jobs"][0]["log"].as_str().unwrap().lines().count() > 1, "{worker}");
    assert_eq!(own["results"][4]["checks"], "success", "followed over several polls");
    let notes = own["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note["kind"] == "transitive" && note["repository"] == "demo/transitive"));

    let [_, other, elsewhere @ ..] = report["connections"].as_array().unwrap().as_slice() else {
        panic!("{report}")
    };
    assert_eq!((&other["provider"], &other["repositories"]), (&Value::from("bitbucket-dc"), &10.into()));
    assert_eq!((&other["created"], &other["failed"], &other["skipped"]), (&5.into(), &0.into(), &2.into()));
    let ends: Vec<_> =
        other["results"].as_array().unwrap().iter().map(|line| line["checks"].as_str().unwrap()).collect();
    assert_eq!(ends.iter().filter(|end| **end == "failed").count(), 1, "{ends:?}");
    assert_eq!(ends.iter().filter(|end| **end == "success").count(), 4, "{ends:?}");

    // The same over the other routes, over the proxy at names that it alone knows.
    assert_eq!(elsewhere.len(), 4);
    for (seen, twin, route, url) in [
        (&elsewhere[0], own, "proxy", "http://gitlab.company.test/gitlab/demo/"),
        (&elsewhere[1], other, "proxy", "http://bitbucket.company.test/bitbucket/projects/DEMO/"),
        (&elsewhere[2], own, "agent", "http://127.0.0.1:"),
        (&elsewhere[3], other, "agent", "http://127.0.0.1:"),
    ] {
        assert_eq!((&seen["provider"], &seen["route"]), (&twin["provider"], &route.into()));
        for count in ["repositories", "vulnerable", "skipped", "created", "existing", "failed", "notes"] {
            assert_eq!(seen[count], twin[count], "{count}");
        }
        for (line, twin) in
            seen["results"].as_array().unwrap().iter().zip(twin["results"].as_array().unwrap())
        {
            assert!(line["url"].as_str().unwrap().starts_with(url), "{line}");
            for same in ["repository", "result", "packages", "checks"] {
                assert_eq!(line[same], twin[same], "{line}");
            }
        }
    }
    let table = run(REMEDIATE, &["--dry-run"]).await;
    let shown = String::from_utf8_lossy(&table.stdout);
    assert!(
        shown.contains("would create") && shown.contains("lodash") && !shown.contains('\u{1b}'),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_changes_nothing_and_a_fix_changes_version_texts_only() {
    let sim = demo().await;
    let setup = Setup::for_sim(&sim);
    let args = ["--json", "--config", text(&setup.config), "--wait", "0"];
    let (exit, first) = json(&run(REMEDIATE, &args).await);
    assert_eq!((exit, &first["connections"][0]["created"]), (Some(0), &5.into()), "{first}");
    sim.clear_requests();
    let (exit, second) = json(&run(REMEDIATE, &args).await);
    let own = &second["connections"][0];
    assert_eq!((exit, &own["created"], &own["existing"]), (Some(0), &0.into(), &5.into()), "{own}");
    let writes: Vec<_> = sim.requests().into_iter().filter(|request| request.method != "GET").collect();
    assert!(writes.is_empty(), "{writes:?}");

    // Every branch differs from its target by version texts and nothing else.
    for line in first["connections"][0]["results"].as_array().unwrap() {
        let repository = line["repository"].as_str().unwrap();
        let clone = setup.path(&repository.replace('/', "-"));
        let url = format!("{}/{repository}.git", sim.url())
            .replace("://", &format!("://git:{}@", sim.tokens()[0].token));
        git(&["clone", "-q", &url, text(&clone)]);
        let diff = git(&[
            "-C",
            text(&clone),
            "diff",
            "-U0",
            "--word-diff=porcelain",
            "--word-diff-regex=[A-Za-z0-9.+-]+",
            "origin/main",
            &branch(&clone),
        ]);
        let changed: Vec<_> = diff.lines().filter(|line| is_change(line)).collect();
        assert!(!changed.is_empty(), "{repository}: {diff}");
        for word in changed {
            let version = word[1..].trim_matches(|c: char| !c.is_ascii_alphanumeric());
            assert!(
                version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.'),
                "{repository}: {word}\n{diff}"
            );
        }
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_a_proxied_connection_goes_through_the_proxy() {
    let gitlab = demo().await;
    let bitbucket_dc = BitbucketDcSim::builder().seed_demo().start().await.unwrap();
    for (provider, url, token, requests) in [
        (
            "gitlab",
            gitlab.url(),
            &gitlab.tokens()[0].token,
            &(|| gitlab.requests().len()) as &dyn Fn() -> usize,
        ),
        ("bitbucket-dc", bitbucket_dc.url(), &bitbucket_dc.tokens()[0].token, &|| {
            bitbucket_dc.requests().len()
        }),
    ] {
        let proxy = Proxy::builder().basic_auth("svc", "p@ss").start().await.unwrap();
        let setup = Setup::of(provider, &url, token);
        let network = format!(
            "route = \"proxy\"\nnetwork = {{ http_proxy = \"{}\", proxy_loopback = true }}\n",
            proxy.url_with("svc:p%40ss")
        );
        let direct = std::fs::read_to_string(&setup.config).unwrap();
        std::fs::write(&setup.config, direct + &network).unwrap();
        let (exit, report) = json(&run(REMEDIATE, &["--json", "--config", text(&setup.config)]).await);
        let own = &report["connections"][0];
        assert_eq!((exit, &own["route"], &own["created"]), (Some(0), &"proxy".into(), &5.into()), "{own}");
        assert!(requests() > 50, "{}", requests());
        // One more than the server counts: the check asks for the host's root, which is none of the API.
        assert_eq!((proxy.traffic().requests, proxy.traffic().refused), (requests() + 1, 0));
    }
}

fn is_change(line: &str) -> bool {
    (line.starts_with('+') && !line.starts_with("+++")) || (line.starts_with('-') && !line.starts_with("---"))
}

fn branch(clone: &std::path::Path) -> String {
    let refs = git(&[
        "-C",
        text(clone),
        "for-each-ref",
        "--format=%(refname:short)",
        "refs/remotes/origin/remediate",
    ]);
    refs.lines().next().expect("a branch of remediate").to_owned()
}

fn git(args: &[&str]) -> String {
    let output = StdCommand::new("git")
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_applied_as_far_as_it_is_approved() {
    let sim = demo().await;
    let setup = Setup::for_sim(&sim);
    let (config, plan) = (text(&setup.config).to_owned(), setup.path("plan.json"));
    let planned = run(REMEDIATE, &["plan", "--config", &config, "--out", text(&plan)]).await;
    assert_eq!(planned.status.code(), Some(0), "{}", String::from_utf8_lossy(&planned.stderr));
    assert!(sim.requests().iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD")));

    // Nothing is approved by itself.
    let apply = ["apply", text(&plan), "--config", &config, "--json", "--wait", "0"];
    let (exit, report) = json(&run(REMEDIATE, &apply).await);
    assert_eq!((exit, &report["connections"][0]["created"]), (Some(0), &0.into()));

    // Two repositories of five, of the first one package of two.
    let mut edited: Value = serde_json::from_str(&std::fs::read_to_string(&plan).unwrap()).unwrap();
    let repositories = edited["repositories"].as_array_mut().unwrap();
    let at = |path: &str, all: &[Value]| all.iter().position(|own| own["path"] == path).unwrap();
    let (web, api) = (at("demo/web", repositories), at("demo/api", repositories));
    repositories[web]["entries"][0]["approved"] = true.into();
    for entry in repositories[api]["entries"].as_array_mut().unwrap() {
        entry["approved"] = true.into();
    }
    std::fs::write(&plan, edited.to_string()).unwrap();

    // One of them changes before the plan is applied.
    let clone = setup.path("api");
    let url =
        format!("{}/demo/api.git", sim.url()).replace("://", &format!("://git:{}@", sim.tokens()[0].token));
    git(&["clone", "-q", &url, text(&clone)]);
    let manifest = clone.join("Cargo.toml");
    let text_now = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, format!("{text_now}\n# touched\n")).unwrap();
    git(&["-C", text(&clone), "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qam", "Touch"]);
    git(&["-C", text(&clone), "push", "-q", "origin", "HEAD"]);

    let (exit, report) = json(&run(REMEDIATE, &apply).await);
    let own = &report["connections"][0];
    assert_eq!((exit, &own["created"], &own["stale"]), (Some(1), &1.into(), &1.into()), "{own}");
    assert_eq!(results(&report, "created"), ["demo/web"]);
    assert_eq!(own["results"][0]["packages"].as_array().unwrap().len(), 1, "only what was approved");
    assert!(own["results"][1]["reason"].as_str().unwrap().contains("Cargo.toml"), "{own}");

    let (exit, status) = json(&run(REMEDIATE, &["status", "--json", "--config", &config]).await);
    let tracked = status["connections"][0]["pull_requests"].as_array().unwrap();
    assert_eq!((exit, tracked.len()), (Some(0), 1), "{status}");
    assert_eq!((&tracked[0]["repository"], &tracked[0]["state"]), (&"demo/web".into(), &"open".into()));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_dry_runs_hold() {
    let sim = demo().await;
    let setup = Setup::for_sim(&sim);
    let config = text(&setup.config).to_owned();
    let (_, dry) = json(&run(REMEDIATE, &["--json", "--dry-run", "--config", &config]).await);
    assert_eq!(results(&dry, "would create").len(), 5, "{dry}");
    assert!(sim.requests().iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD")));
    let (exit, two) =
        json(&run(REMEDIATE, &["--json", "--max", "2", "--config", &config, "--wait", "0"]).await);
    assert_eq!((exit, &two["connections"][0]["created"]), (Some(0), &2.into()));
    assert_eq!(results(&two, "postponed").len(), 3);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outdated_packages_are_listed_apart_and_changed_only_when_approved() {
    let sim = demo().await;
    let setup = Setup::for_sim(&sim);
    let versions = setup.path("versions.json");
    std::fs::write(&versions, r#"[{"ecosystem":"crates.io","package":"smallvec","version":"1.13.2"}]"#)
        .unwrap();
    let args = ["--json", "--config", text(&setup.config), "--versions", text(&versions), "--wait", "0"];
    let (exit, report) = json(&run(REMEDIATE, &args).await);
    assert_eq!((exit, &report["connections"][0]["created"]), (Some(0), &5.into()), "{report}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_before_anything_is_written() {
    let sim = demo().await;
    let setup = Setup::for_sim(&sim);
    let config = text(&setup.config).to_owned();
    let bad = setup.path("bad.json");
    std::fs::write(&bad, r#"{"id": 5, "nothing": "osv"}"#).unwrap();
    for args in [
        vec!["--config", &config, "--advisories", text(&bad)],
        vec!["--config", &config, "--versions", text(&bad)],
        vec!["apply", text(&bad), "--config", &config],
        vec!["apply", "/nonexistent/plan.json", "--config", &config],
        vec!["--config", "/nonexistent/connections.toml"],
        vec!["--max", "many"],
    ] {
        let output = run(REMEDIATE, &args).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(
            said.contains("bad.json") || said.contains("nonexistent") || said.contains("--max"),
            "{said}"
        );
    }
    assert!(sim.requests().is_empty());
    sim.shutdown().await;
}
