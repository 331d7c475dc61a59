//! What goes over the wire, against scripted answers: each as GitLab, or something before it, gives them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use scm_core::pipeline::{ApiRequest, PipelineSettings, RetryPolicy};
use scm_core::{
    BranchesExt as _, CheckOptions, CheckReport, Code, CommitsExt as _, Error, ErrorKind, FileChange,
    FilePath, ListBranches, ListCommits, ListRepositories, MergePullRequest, NewComment, NewCommit,
    NewPullRequest, PullRequestId, RepoId, RepositoriesExt as _, Revision, Scm, Sha, StaticCredential,
    Transport, UpdatePullRequest,
};
use scm_gitlab::{GitLab, GitLabConfig};
use scm_transport::{DirectTransport, Network};
use serde_json::{Value, json};
use wiremock::matchers::{body_partial_json, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const TOKEN: &str = "glpat-canary-0123456789";

pub(crate) fn gitlab(server: &MockServer, context: &str) -> GitLab {
    let token = Arc::new(StaticCredential::token(TOKEN.into()));
    let retry = RetryPolicy::default().with_backoff(Duration::from_millis(1), Duration::from_millis(5));
    let config = GitLabConfig::new(&format!("{}{context}", server.uri()), token)
        .unwrap()
        .with_pipeline(PipelineSettings::default().with_retry(retry));
    let transport = DirectTransport::new(&Network::new()).unwrap();
    GitLab::new(config, Transport::new(transport)).unwrap()
}

pub(crate) fn repo() -> RepoId {
    RepoId::new("group/sub/repo").unwrap()
}

pub(crate) fn sha(digit: char) -> Sha {
    Sha::new(digit.to_string().repeat(40)).unwrap()
}

pub(crate) fn project(id: u64) -> Value {
    json!({"id": id, "path_with_namespace": "group/sub/repo", "name": "repo", "default_branch": "main",
        "permissions": {"project_access": {"access_level": 30}, "group_access": null}})
}

pub(crate) fn merge_request(state: &str) -> Value {
    json!({"id": 1, "iid": 7, "title": "Fix", "state": state, "source_branch": "fix", "target_branch": "main",
        "source_project_id": 1, "target_project_id": 1, "sha": "a".repeat(40), "labels": []})
}

pub(crate) async fn answer(server: &MockServer, verb: &str, at: &str, answer: ResponseTemplate) {
    Mock::given(method(verb)).and(path(at)).respond_with(answer).mount(server).await;
}

pub(crate) fn ok(body: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

#[tokio::test]
async fn paths_are_encoded_once_and_the_token_is_a_bearer() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/gitlab/api/v4/projects/group%2Fsub%2Frepo/repository/files/a%20b%2Fc%2B%23.txt"))
        .and(query_param("ref", "feature/x"))
        .and(header("authorization", format!("Bearer {TOKEN}")))
        .respond_with(ok(json!({"content": "aGk=", "encoding": "base64", "blob_id": "b".repeat(40)})))
        .expect(1)
        .mount(&server)
        .await;
    let path = FilePath::new("a b/c+#.txt").unwrap();
    let at = "feature/x".parse::<Revision>().unwrap();
    let file = gitlab(&server, "/gitlab").contents().file(&repo(), &at, &path).await.unwrap();
    assert_eq!(file.content, "hi");
}

#[tokio::test]
async fn the_next_page_is_asked_from_our_own_origin() {
    let server = MockServer::start().await;
    let link = r#"<https://external.example/gitlab/api/v4/projects?id_after=1&per_page=1>; rel="next""#;
    Mock::given(query_param("id_after", "1")).respond_with(ok(json!([project(2)]))).mount(&server).await;
    Mock::given(query_param("membership", "true"))
        .and(query_param("pagination", "keyset"))
        .respond_with(ok(json!([project(1)])).insert_header("link", link))
        .mount(&server)
        .await;
    let gitlab = gitlab(&server, "");
    let ids: Vec<_> = gitlab
        .repositories()
        .list_repositories(ListRepositories::default())
        .map(|item| item.unwrap().id.to_string())
        .collect()
        .await;
    assert_eq!(ids, ["1", "2"]);
}

#[tokio::test]
async fn pages_go_on_by_header_where_there_is_no_link() {
    let server = MockServer::start().await;
    let branch = |name: &str| json!([{"name": name, "commit": {"id": "a".repeat(40)}}]);
    Mock::given(query_param("page", "2"))
        .and(query_param("per_page", "1"))
        .respond_with(ok(branch("two")).insert_header("x-next-page", ""))
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .respond_with(ok(branch("one")).insert_header("x-next-page", "2"))
        .mount(&server)
        .await;
    let gitlab = gitlab(&server, "");
    let opts = ListBranches::default().with_page_size(1);
    let first = gitlab.branches().list_branches_page(&repo(), &opts, None).await.unwrap();
    let second = gitlab.branches().list_branches_page(&repo(), &opts, first.next.as_ref()).await.unwrap();
    assert_eq!(second.into_items().unwrap()[0].name.as_str(), "two");
    let other = RepoId::new("other/repo").unwrap();
    let error = gitlab.branches().list_branches_page(&other, &opts, first.next.as_ref()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "a cursor of another repository");
}

#[tokio::test]
async fn a_broken_item_does_not_lose_its_page() {
    let server = MockServer::start().await;
    let mut broken = project(2);
    broken["id"] = json!("s3cret");
    answer(&server, "GET", "/api/v4/projects", ok(json!([project(1), broken, project(3)]))).await;
    let page = gitlab(&server, "")
        .repositories()
        .list_repositories_page(&ListRepositories::default(), None)
        .await
        .unwrap();
    assert!(page.items[0].is_ok() && page.items[2].is_ok());
    let error = page.items[1].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("[1].id") && !error.to_string().contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_moved_project_is_followed_under_our_own_root() {
    let server = MockServer::start().await;
    let to = "https://external.example/api/v4/projects/42";
    let moved = ResponseTemplate::new(301)
        .insert_header("location", to)
        .set_body_string(format!("This resource has been moved permanently to {to}"));
    answer(&server, "GET", "/api/v4/projects/group%2Fsub%2Frepo", moved).await;
    answer(&server, "GET", "/api/v4/projects/42", ok(project(42))).await;
    let refused =
        json!({"message": "405 Method Not Allowed - Non GET methods are not allowed for moved projects"});
    answer(
        &server,
        "POST",
        "/api/v4/projects/group%2Fsub%2Frepo/repository/branches",
        ResponseTemplate::new(405).set_body_json(refused),
    )
    .await;
    let gitlab = gitlab(&server, "");
    assert_eq!(gitlab.repositories().repository(&repo()).await.unwrap().id.as_str(), "42");
    let name = "fix".parse().unwrap();
    let error = gitlab.branches().create_branch(&repo(), &name, &sha('a').into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// A single sign-on before the server says nothing of what was asked for: neither is it there nor is it missing.
#[tokio::test]
async fn a_way_to_a_login_page_is_no_missing_branch() {
    let server = MockServer::start().await;
    let to_login =
        ResponseTemplate::new(302).insert_header("location", "https://sso.example/login?to=/api/v4/projects");
    answer(&server, "GET", "/api/v4/projects/group%2Fsub%2Frepo/repository/branches/fix", to_login).await;
    let name = "fix".parse().unwrap();
    let gitlab = gitlab(&server, "");
    for error in [
        gitlab.branches().branch_exists(&repo(), &name).await.map(drop).unwrap_err(),
        gitlab.branches().branch(&repo(), &name).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
        assert!(error.to_string().contains("sign-on"), "{error}");
    }
}

#[tokio::test]
async fn quick_actions_in_place_of_a_comment_are_told() {
    let server = MockServer::start().await;
    let done =
        ResponseTemplate::new(202).set_body_json(json!({"commands_changes": {}, "summary": ["Closed"]}));
    answer(&server, "POST", "/api/v4/projects/group%2Fsub%2Frepo/merge_requests/7/notes", done).await;
    let new = NewComment::new("/close");
    let error = gitlab(&server, "")
        .comments()
        .create_comment(&repo(), PullRequestId::new(7), &new)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("quick actions"), "{error}");
}

#[tokio::test]
async fn a_merge_whose_answer_was_lost_is_looked_up_and_not_sent_again() {
    let server = MockServer::start().await;
    let at = "/api/v4/projects/group%2Fsub%2Frepo/merge_requests/7";
    Mock::given(method("PUT"))
        .and(path(format!("{at}/merge")))
        .and(body_partial_json(json!({"sha": "a".repeat(40)})))
        .respond_with(ResponseTemplate::new(502).set_body_string("<html><title>Bad Gateway</title>"))
        .expect(1)
        .mount(&server)
        .await;
    answer(&server, "GET", at, ok(merge_request("merged"))).await;
    let opts = MergePullRequest::default().with_expected_head(sha('a'));
    let gitlab = gitlab(&server, "");
    let merged =
        gitlab.pull_requests().merge_pull_request(&repo(), PullRequestId::new(7), &opts).await.unwrap();
    assert_eq!(merged.state, scm_core::PullRequestState::Merged);
    // Merged at another tip: that was not our merge.
    let stale = MergePullRequest::default().with_expected_head(sha('b'));
    answer(&server, "PUT", &format!("{at}/merge"), ResponseTemplate::new(502)).await;
    let error =
        gitlab.pull_requests().merge_pull_request(&repo(), PullRequestId::new(7), &stale).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_found_on_its_branch() {
    let commits = "/api/v4/projects/group%2Fsub%2Frepo/repository/commits";
    let log = |message: &str, parent: char| json!([{"id": "c".repeat(40), "message": message, "parent_ids": [parent.to_string().repeat(40)]}]);
    let plain = NewCommit::on_new_branch("fix".parse().unwrap(), sha('a'), "Fix it")
        .with_change(FileChange::update("a.txt".parse().unwrap(), "1"));
    let named = plain.clone().with_operation_id("op-1".parse().unwrap());
    for (commit, found, sent, is_ok) in [
        (&plain, log("Fix it\n", 'a'), 1, true),
        (&named, log("Fix it\n\nScm-Operation-Id: op-1\n", 'a'), 1, true),
        // Not ours: sent again, which is safe, since GitLab refuses to make a branch that exists.
        (&plain, log("Fix it", 'b'), 3, false),
        (&named, log("Fix it\n\nScm-Operation-Id: op-2", 'a'), 3, false),
    ] {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path(commits))
            .respond_with(ResponseTemplate::new(504))
            .expect(sent)
            .mount(&server)
            .await;
        Mock::given(method("GET")).and(path(commits)).respond_with(ok(found)).mount(&server).await;
        let made = gitlab(&server, "").commits().create_commit(&repo(), commit).await;
        assert_eq!(made.is_ok(), is_ok, "{made:?}");
        if let Err(error) = made {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
    }
}

#[tokio::test]
async fn an_empty_repository_has_an_empty_log_and_a_missing_one_has_none() {
    let server = MockServer::start().await;
    let at = "/api/v4/projects/group%2Fsub%2Frepo";
    let gone = || ResponseTemplate::new(404).set_body_json(json!({"message": "404 Not found"}));
    answer(&server, "GET", &format!("{at}/repository/commits"), gone()).await;
    let mut empty = project(1);
    empty["empty_repo"] = json!(true);
    answer(&server, "GET", at, ok(empty)).await;
    let gitlab = gitlab(&server, "");
    assert_eq!(gitlab.commits().list_commits(&repo(), ListCommits::default()).count().await, 0);
    let missing = RepoId::new("group/missing").unwrap();
    let first = std::pin::pin!(gitlab.commits().list_commits(&missing, ListCommits::default())).next().await;
    assert_eq!(first.unwrap().unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_fork_is_never_mistaken_for_our_own_branch() {
    let server = MockServer::start().await;
    let mut from_fork = merge_request("opened");
    from_fork["source_project_id"] = json!(99);
    answer(
        &server,
        "GET",
        "/api/v4/projects/group%2Fsub%2Frepo/merge_requests",
        ok(json!([from_fork, merge_request("opened")])),
    )
    .await;
    let (source, target) = ("fix".parse().unwrap(), "main".parse().unwrap());
    let found =
        gitlab(&server, "").pull_requests().find_pull_request(&repo(), &source, &target, None).await.unwrap();
    assert_eq!(found.unwrap().source_repository.unwrap().as_str(), "1");
}

#[tokio::test]
async fn a_raw_request_takes_the_whole_pipeline() {
    let server = MockServer::start().await;
    Mock::given(path("/gitlab/api/v4/projects/1/languages"))
        .and(header("authorization", format!("Bearer {TOKEN}")))
        .respond_with(ResponseTemplate::new(503))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    answer(&server, "GET", "/gitlab/api/v4/projects/1/languages", ok(json!({"Rust": 100.0}))).await;
    let request = ApiRequest::to_path(http::Method::GET, "api/v4/projects/1/languages").unwrap();
    let languages: Value = gitlab(&server, "/gitlab").request(request).await.unwrap().json().unwrap();
    assert_eq!(languages["Rust"], 100.0);
}

async fn check(server: &MockServer, context: &str, opts: &CheckOptions) -> CheckReport {
    let token = Arc::new(StaticCredential::token(TOKEN.into()));
    let config = GitLabConfig::new(&format!("{}{context}", server.uri()), token)
        .unwrap()
        .with_pipeline(PipelineSettings::default().with_retry(RetryPolicy::never()));
    let transport = Transport::new(DirectTransport::new(&Network::new()).unwrap());
    GitLab::new(config, transport).unwrap().connection().check(opts).await
}

/// A GitLab in order, for the faults of single rungs.
async fn healthy(server: &MockServer, root: &str) {
    let at = |rest: &str| format!("{root}/api/v4/{rest}");
    answer(server, "GET", &at("metadata"), ok(json!({"version": "17.11.2-ee", "enterprise": true}))).await;
    answer(server, "GET", &at("version"), ok(json!({"version": "17.11.2-ee"}))).await;
    let user = json!({"id": 5, "username": "group_7_bot_ab", "bot": true, "state": "active"});
    answer(server, "GET", &at("user"), ok(user)).await;
    let token = json!({"id": 3, "scopes": ["api"], "active": true, "revoked": false, "expires_at": null});
    answer(server, "GET", &at("personal_access_tokens/self"), ok(token)).await;
    answer(server, "GET", &at("projects"), ok(json!([project(1)]))).await;
    answer(server, "GET", &at("projects/group%2Fsub%2Frepo"), ok(project(1))).await;
}

/// As the published description has them; only the documentation's prose joins them with commas.
#[tokio::test]
async fn labels_go_as_a_list() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(body_partial_json(json!({"labels": ["security", "with space"]})))
        .respond_with(ResponseTemplate::new(201).set_body_json(merge_request("opened")))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("PUT"))
        .and(body_partial_json(json!({"add_labels": ["a", "b"], "remove_labels": ["c"]})))
        .respond_with(ok(merge_request("opened")))
        .expect(1)
        .mount(&server)
        .await;
    let gitlab = gitlab(&server, "");
    let new = NewPullRequest::new("fix".parse().unwrap(), "main".parse().unwrap(), "Fix");
    let new = new.with_labels(["security", "with space"]);
    let made = gitlab.pull_requests().create_pull_request(&repo(), &new).await.unwrap();
    let changes = UpdatePullRequest::default()
        .with_add_labels(vec!["a".to_owned(), "b".to_owned()])
        .with_remove_labels(vec!["c".to_owned()]);
    gitlab.pull_requests().update_pull_request(&repo(), made.value.id, &changes).await.unwrap();
}

#[tokio::test]
async fn the_ladder_passes_where_all_is_well() {
    let server = MockServer::start().await;
    healthy(&server, "").await;
    let report = check(&server, "", &CheckOptions::default().with_repositories([repo()])).await;
    assert!(report.is_ok() && report.findings().count() == 0, "{report}");
}

#[tokio::test]
async fn the_ladder_names_what_answers_in_place_of_gitlab() {
    let html = |status, body: &str| ResponseTemplate::new(status).set_body_raw(body.to_owned(), "text/html");
    let login = "<html><form action='/sso'><input type=\"password\"></form>";
    for (given, code) in [
        (html(404, "<html><title>404</title>"), Code::ProductNotFound),
        (html(200, login), Code::ProductLoginPage),
        (html(200, "<html><title>Welcome to nginx!</title>"), Code::ProductOther),
        (ok(json!({"name": "another service"})), Code::ProductOther),
        (html(502, "<html><title>502 Bad Gateway</title>"), Code::ServerUnavailable),
        (html(503, "<html><title>GitLab is not responding</title>"), Code::ServerUnavailable),
        (ok(json!({"version": "16.7.9-ee"})), Code::ServerTooOld),
    ] {
        let server = MockServer::start().await;
        Mock::given(method("GET")).respond_with(given).mount(&server).await;
        let report = check(&server, "", &CheckOptions::default()).await;
        assert!(report.has(code) && !report.is_ok(), "{code}: {report}");
        assert!(!report.to_string().contains(TOKEN));
    }
}

#[tokio::test]
async fn the_ladder_suggests_the_root_it_found() {
    let server = MockServer::start().await;
    healthy(&server, "/gitlab").await;
    let report = check(&server, "/gitlab/group/project", &CheckOptions::default()).await;
    let finding = report.findings().find(|finding| finding.code == Code::UrlNotRoot).expect("a finding");
    assert!(finding.remedy.contains(&format!("{}/gitlab/", server.uri())), "{}", finding.remedy);

    // Strangers are sent to the login page wherever they go.
    let login = "<html><form action='/users/sign_in'><input type=\"password\"></form>".to_owned();
    let login = ResponseTemplate::new(200).set_body_raw(login, "text/html");
    Mock::given(path("/gitlab/group/project/api/v4/metadata")).respond_with(login).mount(&server).await;
    let report = check(&server, "/gitlab/group/project", &CheckOptions::default()).await;
    assert!(report.has(Code::UrlNotRoot) && !report.has(Code::ProductLoginPage), "{report}");
}

#[tokio::test]
async fn the_ladder_finds_a_proxy_that_decodes_slashes() {
    let server = MockServer::start().await;
    answer(
        &server,
        "GET",
        "/api/v4/projects/group%2Fsub%2Frepo",
        ResponseTemplate::new(404).set_body_json(json!({"error": "404 Not Found"})),
    )
    .await;
    healthy(&server, "").await;
    let report = check(&server, "", &CheckOptions::default()).await;
    assert!(report.has(Code::ProductSlashDecoded) && report.is_ok(), "{report}");
}

#[tokio::test]
async fn no_failure_shows_the_token() {
    let echo = format!("your token {TOKEN} is bad, see /x?private_token={TOKEN}");
    let bodies = [
        (401, json!({"message": echo}).to_string(), "application/json"),
        (
            403,
            json!({"error": "insufficient_scope", "error_description": echo}).to_string(),
            "application/json",
        ),
        (400, json!({"message": {"base": [echo]}}).to_string(), "application/json"),
        (500, format!("<html><title>{echo}</title>"), "text/html"),
        (429, echo.clone(), "text/plain"),
        (200, format!("<html>{echo}"), "text/html"),
        (200, format!("{{\"id\": \"{TOKEN}\""), "application/json"),
        (200, format!("{{\"id\": \"{TOKEN}\"}}"), "application/json"),
    ];
    for (status, body, kind) in bodies {
        let server = MockServer::start().await;
        let given = ResponseTemplate::new(status).set_body_raw(body, kind);
        Mock::given(wiremock::matchers::any()).respond_with(given).mount(&server).await;
        let gitlab = gitlab(&server, "");
        let new = NewPullRequest::new("a".parse().unwrap(), "b".parse().unwrap(), "t");
        let errors: Vec<Error> = vec![
            gitlab.repositories().repository(&repo()).await.unwrap_err(),
            gitlab.connection().identity().await.unwrap_err(),
            gitlab.pull_requests().create_pull_request(&repo(), &new).await.unwrap_err(),
        ];
        for error in errors {
            let shown = format!("{error} {error:?} {} {gitlab:?}", error.report());
            assert!(!shown.contains(TOKEN), "{status}: {shown}");
        }
    }
}
