//! Pipelines, jobs, logs and reported statuses.

use scm_testkit::sim::gitlab::{GitLabSim, JobOutcome, JobScript, MergeRules, PipelineScript};
use serde_json::json;

use crate::client::Client;

async fn demo() -> (GitLabSim, Client) {
    let sim = GitLabSim::builder().seed_demo().start().await.unwrap();
    let client = Client::of(&sim);
    (sim, client)
}

#[tokio::test]
async fn a_failing_pipeline_shows_its_log() {
    let (sim, client) = demo().await;
    let sha = sim.push_commit("demo/worker", "fix", "Fix", &[("a", Some(b"a"))]).unwrap();
    let list = client.get("/projects/demo%2Fworker/pipelines?ref=fix").await.json();
    assert_eq!(
        (&list[0]["sha"], &list[0]["status"], &list[0]["source"]),
        (&json!(sha), &json!("running"), &json!("push"))
    );
    let id = list[0]["id"].clone();
    let pipeline = client.get(&format!("/projects/demo%2Fworker/pipelines/{id}")).await.json();
    assert_eq!(pipeline["status"], "failed");
    assert!(pipeline["duration"].is_number() && pipeline["finished_at"].is_string());
    assert_eq!(pipeline["queued_duration"], json!(null), "no fraction of a second");
    let jobs =
        client.get(&format!("/projects/demo%2Fworker/pipelines/{id}/jobs?scope[]=failed")).await.json();
    assert_eq!((jobs.as_array().unwrap().len(), &jobs[0]["name"]), (1, &json!("pytest")));
    assert_eq!(jobs[0]["failure_reason"], "script_failure");
    let job = jobs[0]["id"].clone();
    let trace = client.get(&format!("/projects/demo%2Fworker/jobs/{job}/trace")).await;
    assert!(trace.header("content-type").unwrap().starts_with("text/plain"));
    assert!(trace.text().contains("FAILED tests/test_mail.py::test_subject_escapes"));
    let again = client.post(&format!("/projects/demo%2Fworker/jobs/{job}/retry"), &json!({})).await;
    assert_eq!((again.status, &again.json()["status"]), (201, &json!("pending")));
    assert_ne!(again.json()["id"], job);
}

#[tokio::test]
async fn a_log_grows_while_the_job_runs() {
    let (sim, client) = demo().await;
    sim.push_commit("demo/platform/cli", "fix", "Fix", &[("a", Some(b"a"))]).unwrap();
    let (pipeline, jobs) = sim.latest_pipeline("demo/platform/cli", "fix").unwrap().unwrap();
    let path = format!("/projects/demo%2Fplatform%2Fcli/jobs/{}/trace", jobs[1]);
    let mut lengths = Vec::new();
    for _ in 0..6 {
        lengths.push(client.get(&path).await.body.len());
    }
    assert!(lengths.windows(2).all(|pair| pair[0] <= pair[1]) && lengths[0] < lengths[5], "{lengths:?}");
    let done = client.get(&format!("/projects/demo%2Fplatform%2Fcli/pipelines/{pipeline}")).await.json();
    assert_eq!(done["status"], "success");
}

#[tokio::test]
async fn a_merge_waits_for_the_pipeline() {
    let (sim, client) = demo().await;
    sim.set_pipeline_script("demo/web", Some(PipelineScript::new([JobScript::new("test")]).by_hand()))
        .unwrap();
    sim.set_merge_rules("demo/web", MergeRules::new().pipeline_must_succeed()).unwrap();
    sim.push_commit("demo/web", "fix", "Fix", &[("a", Some(b"a"))]).unwrap();
    sim.open_merge_request("demo/web", "ann", "fix", "main", "Fix").unwrap();
    let path = "/projects/demo%2Fweb/merge_requests/1";
    let mr = client.get(path).await.json();
    assert_eq!(
        (&mr["detailed_merge_status"], &mr["head_pipeline"]["status"]),
        (&json!("ci_still_running"), &json!("pending"))
    );
    assert_eq!(client.put(&format!("{path}/merge"), &json!({})).await.status, 405);
    let body = json!({ "auto_merge": true, "merge_when_pipeline_succeeds": true });
    let waiting = client.put(&format!("{path}/merge"), &body).await.json();
    assert_eq!(
        (&waiting["state"], &waiting["merge_when_pipeline_succeeds"]),
        (&json!("opened"), &json!(true))
    );
    let (pipeline, jobs) = sim.latest_pipeline("demo/web", "fix").unwrap().unwrap();
    sim.append_job_log("demo/web", jobs[0], "half way\n").unwrap();
    let trace = client.get(&format!("/projects/demo%2Fweb/jobs/{}/trace", jobs[0])).await;
    assert_eq!(trace.text(), "half way\n");
    sim.set_pipeline_status("demo/web", pipeline, "success").unwrap();
    assert_eq!(client.get(path).await.json()["state"], "merged");
}

#[tokio::test]
async fn manual_and_cancelled_jobs_count_as_they_should() {
    let (sim, client) = demo().await;
    let script = PipelineScript::new([
        JobScript::new("test").log("ok\n"),
        JobScript::new("deploy").stage("deploy").outcome(JobOutcome::Manual),
    ])
    .finish_after_reads(0);
    sim.push_commit("demo/clean", "fix", "Fix", &[("a", Some(b"a"))]).unwrap();
    let id = sim.create_pipeline("demo/clean", "fix", &script).unwrap();
    let pipeline = client.get(&format!("/projects/demo%2Fclean/pipelines/{id}")).await.json();
    assert_eq!(pipeline["status"], "success");
    let (_, jobs) = sim.latest_pipeline("demo/clean", "fix").unwrap().unwrap();
    let job = client.get(&format!("/projects/demo%2Fclean/jobs/{}", jobs[1])).await.json();
    assert_eq!(job["status"], "manual");
    sim.set_job_status("demo/clean", jobs[0], "running").unwrap();
    let cancelled = client.post(&format!("/projects/demo%2Fclean/pipelines/{id}/cancel"), &json!({})).await;
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (201, &json!("canceled")));
}

#[tokio::test]
async fn other_systems_report_statuses() {
    let (sim, client) = demo().await;
    sim.set_pipeline_script("demo/api", None).unwrap();
    let sha = sim.push_commit("demo/api", "fix", "Fix", &[("a", Some(b"a"))]).unwrap();
    let path = format!("/projects/demo%2Fapi/statuses/{sha}");
    let report =
        |state: &str| json!({ "state": state, "name": "scan", "target_url": "https://ci.example.com/1" });
    assert_eq!(client.post(&path, &report("running")).await.status, 201);
    assert_eq!(client.post(&path, &report("running")).await.status, 400);
    assert_eq!(client.post(&path, &report("failed")).await.json()["status"], "failed");
    let list = client.get(&format!("/projects/demo%2Fapi/repository/commits/{sha}/statuses")).await.json();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["name"]), (1, &json!("scan")));
    let commit = client.get(&format!("/projects/demo%2Fapi/repository/commits/{sha}")).await.json();
    assert_eq!(
        (&commit["status"], &commit["last_pipeline"]["source"]),
        (&json!("failed"), &json!("external"))
    );
}
