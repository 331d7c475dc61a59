//! What goes over the wire for CI, logs and listings.

use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use scm_core::{
    CheckState, ChecksExt as _, ErrorKind, FollowLog, JobId, JobLog, ListRepositories, NamespaceId,
    NewStatus, PipelineId, RepositoriesExt as _, Scm,
};
use serde_json::{Value, json};
use wiremock::matchers::{method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::wire::{answer, gitlab, ok, project, repo, sha};

const PROJECT: &str = "/api/v4/projects/group%2Fsub%2Frepo";

/// More than 32 bits hold.
const LARGE: u64 = 3_000_000_000;

fn job(state: &str) -> Value {
    json!({"id": LARGE, "name": "test", "stage": "test", "status": state, "allow_failure": false})
}

#[tokio::test]
async fn ids_need_sixty_four_bits() {
    let server = MockServer::start().await;
    let pipeline = json!({"id": LARGE + 1, "status": "success", "sha": "a".repeat(40)});
    answer(&server, "GET", &format!("{PROJECT}/pipelines/{}", LARGE + 1), ok(pipeline)).await;
    answer(&server, "GET", &format!("{PROJECT}/jobs/{LARGE}"), ok(job("running"))).await;
    answer(&server, "GET", &format!("/api/v4/projects/{}", LARGE + 2), ok(project(LARGE + 2))).await;
    let gitlab = gitlab(&server, "");
    let id = PipelineId::new("3000000001").unwrap();
    assert_eq!(gitlab.checks().pipeline(&repo(), &id).await.unwrap().id, id);
    let id = JobId::new("3000000000").unwrap();
    assert_eq!(gitlab.checks().job(&repo(), &id).await.unwrap().id, id);
    let id = "3000000002".parse().unwrap();
    assert_eq!(gitlab.repositories().repository(&id).await.unwrap().id, id);
}

async fn statuses(server: &MockServer, pipelines: Value, answer_to_post: ResponseTemplate) {
    answer(server, "GET", &format!("{PROJECT}/pipelines"), ok(pipelines)).await;
    let at = "a".repeat(40);
    answer(server, "POST", &format!("{PROJECT}/statuses/{at}"), answer_to_post).await;
    let known = json!([
        {"id": 1, "name": "scan", "status": "failed"},
        {"id": 2, "name": "scan", "status": "running", "target_url": "https://ci.example.com/2"},
    ]);
    answer(server, "GET", &format!("{PROJECT}/repository/commits/{at}/statuses"), ok(known)).await;
}

#[tokio::test]
async fn a_status_goes_into_the_newest_pipeline() {
    let server = MockServer::start().await;
    let made = json!({"id": 3, "name": "scan", "status": "success"});
    statuses(
        &server,
        json!([{"id": 9, "status": "running"}]),
        ResponseTemplate::new(201).set_body_json(made),
    )
    .await;
    let new = NewStatus::new("scan", CheckState::Success)
        .with_branch("main".parse().unwrap())
        .with_url("https://ci.example.com/1?a=b".parse().unwrap())
        .with_description("Nothing found");
    let seen = gitlab(&server, "").checks().publish_status(&repo(), &sha('a'), &new).await.unwrap();
    assert_eq!((seen.name.as_str(), seen.state), ("scan", CheckState::Success));
    let requests = server.received_requests().await.unwrap();
    let sent: Value =
        requests.iter().find(|request| request.method.as_str() == "POST").unwrap().body_json().unwrap();
    let wanted = json!({"state": "success", "name": "scan", "ref": "main", "pipeline_id": 9,
        "target_url": "https://ci.example.com/1?a=b", "description": "Nothing found"});
    assert_eq!(sent, wanted);
}

#[tokio::test]
async fn the_same_state_again_is_no_error_and_a_step_back_is_one() {
    let refusal = "Cannot transition status via :run from :running";
    let refused = || ResponseTemplate::new(400).set_body_json(json!({"message": refusal}));
    let server = MockServer::start().await;
    statuses(&server, json!([]), refused()).await;
    let gitlab = gitlab(&server, "");
    let publish = async |state| {
        gitlab.checks().publish_status(&repo(), &sha('a'), &NewStatus::new("scan", state)).await
    };
    let seen = publish(CheckState::Running).await.unwrap();
    assert_eq!(seen.url.unwrap().as_str(), "https://ci.example.com/2", "the newest of this name");
    let error = publish(CheckState::Pending).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidInput, refusal));
    for state in [CheckState::Manual, CheckState::Unknown("odd".to_owned())] {
        assert_eq!(publish(state).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[tokio::test]
async fn what_has_ended_needs_no_cancelling() {
    for (status, state, expected) in
        [(422, "success", None), (403, "failed", None), (403, "running", Some(ErrorKind::PermissionDenied))]
    {
        let server = MockServer::start().await;
        let at = format!("{PROJECT}/jobs/{LARGE}");
        let refused =
            ResponseTemplate::new(status).set_body_json(json!({"message": "Job is not cancelable"}));
        answer(&server, "POST", &format!("{at}/cancel"), refused).await;
        answer(&server, "GET", &at, ok(job(state))).await;
        let id = JobId::new(LARGE.to_string()).unwrap();
        let done = gitlab(&server, "").checks().cancel_job(&repo(), &id).await;
        assert_eq!(done.err().map(|error| error.kind()), expected, "{status} {state}");
    }
}

async fn log_of(server: &MockServer, state: &str, trace: ResponseTemplate) {
    answer(server, "GET", &format!("{PROJECT}/jobs/{LARGE}"), ok(job(state))).await;
    answer(server, "GET", &format!("{PROJECT}/jobs/{LARGE}/trace"), trace).await;
}

#[tokio::test]
async fn a_job_without_a_log_has_an_empty_one_and_a_missing_job_has_none() {
    let missing = || ResponseTemplate::new(404).set_body_json(json!({"message": "404 Not found"}));
    let server = MockServer::start().await;
    log_of(&server, "pending", missing()).await;
    let gitlab = gitlab(&server, "");
    let read = async |job: &str| {
        let job = JobId::new(job).unwrap();
        gitlab.ci_logs().unwrap().job_log(&repo(), &job, &JobLog::default()).await?.collect(100).await
    };
    assert_eq!(read("3000000000").await.unwrap(), "");
    assert_eq!(read("1").await.unwrap_err().kind(), ErrorKind::NotFound);
    let job = JobId::new("1").unwrap();
    let followed = gitlab.ci_logs().unwrap().follow_job_log(&repo(), &job, &FollowLog::default()).await;
    assert_eq!(followed.unwrap_err().kind(), ErrorKind::NotFound, "at once, not in the stream");
}

#[tokio::test]
async fn a_followed_log_gives_each_byte_once_though_it_comes_whole_each_time() {
    let server = MockServer::start().await;
    let trace = |text: &'static str| {
        Mock::given(path(format!("{PROJECT}/jobs/{LARGE}/trace")))
            .respond_with(ResponseTemplate::new(200).set_body_string(text))
    };
    let state =
        |state: &str| Mock::given(path(format!("{PROJECT}/jobs/{LARGE}"))).respond_with(ok(job(state)));
    // The end is seen before the last look at the log, so that nothing written before it is missed.
    state("pending").up_to_n_times(1).mount(&server).await;
    state("running").up_to_n_times(3).mount(&server).await;
    state("success").mount(&server).await;
    for text in ["", "on", "one\ntwo", "one\ntwo"] {
        trace(text).up_to_n_times(1).mount(&server).await;
    }
    trace("one\ntwo\nthree\n").mount(&server).await;
    let opts = FollowLog::default().with_interval(Duration::from_millis(1)).with_offset(1);
    let id = JobId::new(LARGE.to_string()).unwrap();
    let gitlab = gitlab(&server, "");
    let log = gitlab.ci_logs().unwrap().follow_job_log(&repo(), &id, &opts).await.unwrap();
    let parts: Vec<_> = log.try_collect().await.unwrap();
    assert_eq!(parts, ["n", "e\ntwo", "\nthree\n"]);
}

/// Answers to the looks at where a listing can be cut: the ids of all projects in ascending order.
async fn countable(server: &MockServer, ids: &[u64], counted: bool) {
    for (index, id) in ids.iter().enumerate() {
        let mut found = ok(json!([{"id": id}]));
        if counted {
            found = found.insert_header("x-total", ids.len().to_string().as_str());
        }
        let page = Mock::given(path("/api/v4/projects")).and(query_param("sort", "asc"));
        page.and(query_param("page", (index + 1).to_string())).respond_with(found).mount(server).await;
    }
    let last = ok(json!([{"id": ids.last().unwrap()}]));
    let page = Mock::given(path("/api/v4/projects")).and(query_param("sort", "desc"));
    page.respond_with(last).mount(server).await;
}

#[tokio::test]
async fn a_listing_is_cut_where_the_projects_are() {
    let ids = [3, 4, 5, 6, 900, 901, 902, 1_000];
    for (counted, parts, expected) in [
        (true, 2, vec![(None, Some(900)), (Some(899), None)]),
        (true, 4, vec![(None, Some(5)), (Some(4), Some(900)), (Some(899), Some(902)), (Some(901), None)]),
        // More than the server counts: equal ranges of ids.
        (false, 2, vec![(None, Some(502)), (Some(501), None)]),
        (true, 1, vec![(None, None)]),
    ] {
        let server = MockServer::start().await;
        countable(&server, &ids, counted).await;
        let opts = ListRepositories::default();
        let parts = NonZeroUsize::new(parts).unwrap();
        let cut = gitlab(&server, "").repositories().partition_repositories(&opts, parts).await.unwrap();
        let cut: Vec<_> = cut.iter().map(|part| (part.id_after, part.id_before)).collect();
        assert_eq!(cut, expected);
    }
}

#[tokio::test]
async fn parts_are_read_at_the_same_time_and_give_everything() {
    let server = MockServer::start().await;
    countable(&server, &[1, 2, 3, 4], true).await;
    let listing = || Mock::given(path("/api/v4/projects")).and(query_param("pagination", "keyset"));
    let low = listing().and(query_param("id_before", "3")).and(query_param_is_missing("id_after"));
    low.respond_with(ok(json!([project(1), project(2)]))).expect(1).with_priority(1).mount(&server).await;
    let high = listing().and(query_param("id_after", "2")).and(query_param_is_missing("id_before"));
    high.respond_with(ok(json!([project(3), project(4)]))).expect(1).with_priority(1).mount(&server).await;
    let gitlab = gitlab(&server, "");
    let parts = NonZeroUsize::new(2).unwrap();
    let all = gitlab.repositories().list_repositories_in_parts(ListRepositories::default(), parts);
    let all: Vec<_> = all.try_collect().await.unwrap();
    let mut ids: Vec<_> = all.iter().map(|repository| repository.id.to_string()).collect();
    ids.sort();
    assert_eq!(ids, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_groups_list_takes_shared_projects_in_where_asked() {
    for (shared, sent) in [(None, "false"), (Some(true), "true")] {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .and(path("/api/v4/groups/acme%2Fteam/projects"))
            .and(query_param("with_shared", sent))
            .and(query_param("include_subgroups", "true"))
            .respond_with(ok(json!([project(1)])))
            .expect(1)
            .mount(&server)
            .await;
        let mut opts = ListRepositories::default().with_namespace(NamespaceId::new("acme/team").unwrap());
        opts.shared = shared;
        let page = gitlab(&server, "").repositories().list_repositories_page(&opts, None).await.unwrap();
        assert_eq!(page.into_items().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_list_past_the_offset_limit_ends_with_the_servers_own_words() {
    let server = MockServer::start().await;
    let words = "Offset pagination has a maximum allowed offset of 50000 for requests that return objects of type \
                 Ci::Pipeline. Remaining records can be retrieved using keyset pagination.";
    let refused = ResponseTemplate::new(405).set_body_json(json!({"error": words}));
    let second = Mock::given(query_param("page", "2")).respond_with(refused);
    second.mount(&server).await;
    let first = ok(json!([{"id": 1, "status": "success"}])).insert_header("x-next-page", "2");
    answer(&server, "GET", &format!("{PROJECT}/pipelines"), first).await;
    let gitlab = gitlab(&server, "");
    let mut all = Box::pin(gitlab.checks().list_pipelines(&repo(), Default::default()));
    assert!(all.try_next().await.unwrap().is_some());
    let error = all.try_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("maximum allowed offset of 50000"), "{error}");
    assert!(all.try_next().await.unwrap().is_none(), "the stream has ended");
}

#[tokio::test]
async fn an_unknown_route_is_told_from_a_missing_thing() {
    let server = MockServer::start().await;
    let unknown = ResponseTemplate::new(404).set_body_json(json!({"error": "404 Not Found"}));
    answer(&server, "GET", PROJECT, unknown).await;
    let error = gitlab(&server, "").repositories().repository(&repo()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("%2F"), "{error}");
}
