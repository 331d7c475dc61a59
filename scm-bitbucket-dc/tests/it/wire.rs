//! What goes over the wire, against scripted answers: each as Bitbucket, or something before it, gives them.

use futures_util::{StreamExt as _, TryStreamExt as _};
use scm_bitbucket_dc::BitbucketDc;
use scm_core::pipeline::ApiRequest;
use scm_core::{
    BranchesExt as _, ChecksExt as _, Compare, Error, ErrorKind, FilePath, ListBranches, ListPullRequests,
    ListRepositories, NewStatus, PullRequestId, PullRequestsExt as _, RepoId, RepositoriesExt as _, Revision,
    Scm as _, Sha,
};
use serde_json::{Value, json};
use wiremock::matchers::{header, method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::versions::pull;
use crate::world::{config, direct, is};

pub(crate) const AT: &str = "/rest/api/latest/projects/PROJ/repos/repo";
const TOKEN: &str = "BBDC-canary-0123456789";

pub(crate) fn bitbucket(server: &MockServer, context: &str) -> BitbucketDc {
    BitbucketDc::new(config(&format!("{}{context}", server.uri()), TOKEN), direct()).unwrap()
}

pub(crate) fn repo() -> RepoId {
    RepoId::new("PROJ/repo").unwrap()
}

pub(crate) fn sha(digit: char) -> Sha {
    Sha::new(digit.to_string().repeat(40)).unwrap()
}

pub(crate) async fn answer(server: &MockServer, verb: &str, at: &str, answer: ResponseTemplate) {
    Mock::given(method(verb)).and(path(at)).respond_with(answer).mount(server).await;
}

pub(crate) fn ok(body: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

pub(crate) fn error_body(exception: &str, message: &str) -> Value {
    json!({"errors": [{"context": null, "message": message, "exceptionName": exception}]})
}

pub(crate) fn refused(status: u16, exception: &str, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(error_body(exception, message))
}

fn page(values: Value) -> Value {
    json!({"values": values, "start": 0, "isLastPage": true, "nextPageStart": null})
}

fn branch(name: &str) -> Value {
    json!({"id": format!("refs/heads/{name}"), "displayId": name, "latestCommit": "a".repeat(40)})
}

fn repository(id: u64) -> Value {
    json!({"id": id, "slug": format!("repo{id}"), "name": "Repo", "project": {"key": "PROJ"}})
}

/// One page of a list: what it holds, where it starts, and what comes next.
async fn page_at(server: &MockServer, at: &str, start: Option<&str>, values: Value, next: Value) {
    let body = json!({"values": values, "start": start.map_or(0, |start| start.parse().unwrap()),
        "size": values.as_array().unwrap().len(), "limit": 100, "isLastPage": next.is_null(), "nextPageStart": next});
    let mock = Mock::given(method("GET")).and(path(at));
    let mock = match start {
        Some(start) => mock.and(query_param("start", start)),
        None => mock.and(query_param_is_missing("start")),
    };
    mock.respond_with(ok(body)).mount(server).await;
}

#[tokio::test]
async fn paths_stay_segments_and_the_token_is_a_bearer() {
    let server = MockServer::start().await;
    let at =
        "/bitbucket/rest/api/latest/projects/~j.smith/repos/re.po/raw/a%20b/c%2B%23%26%3F%25/d%C3%A4.txt";
    Mock::given(method("GET"))
        .and(path(at))
        .and(query_param("at", "refs/heads/feature/#1&x+y"))
        .and(header("authorization", format!("Bearer {TOKEN}")))
        .respond_with(ResponseTemplate::new(200).set_body_string("hi"))
        .expect(1)
        .mount(&server)
        .await;
    let path = FilePath::new("a b/c+#&?%/dä.txt").unwrap();
    let at = Revision::Branch("feature/#1&x+y".parse().unwrap());
    let repo = RepoId::new("~j.smith/re.po").unwrap();
    let file = bitbucket(&server, "/bitbucket").contents().file(&repo, &at, &path).await.unwrap();
    assert_eq!(file.content, "hi");
    // As `git hash-object` says.
    assert_eq!(file.blob_id.unwrap().as_str(), "32f95c0d1244a78b2be1bab8de17906fabb2c4a8");
    let query = server.received_requests().await.unwrap()[0].url.query().unwrap().to_owned();
    assert_eq!(query, "at=refs%2Fheads%2Ffeature%2F%231%26x%2By");
}

#[tokio::test]
async fn a_branch_is_found_by_its_whole_name_among_those_that_hold_it() {
    let server = MockServer::start().await;
    let at = format!("{AT}/branches");
    let similar: Vec<_> = (0..100).map(|n| branch(&format!("fix-{n}"))).collect();
    page_at(&server, &at, None, json!(similar), json!(100)).await;
    page_at(&server, &at, Some("100"), json!([branch("hot/fix"), branch("FIX"), branch("fix")]), Value::Null)
        .await;
    let scm = bitbucket(&server, "");
    assert_eq!(scm.branches().branch(&repo(), &"fix".parse().unwrap()).await.unwrap().name.as_str(), "fix");
    assert_eq!(
        server.received_requests().await.unwrap()[0].url.query(),
        Some("filterText=fix&boostMatches=true&limit=100")
    );
    let none = scm.branches().branch(&repo(), &"fi".parse().unwrap()).await;
    is(none, ErrorKind::NotFound, "there is no branch 'fi'");
    assert!(!scm.branches().branch_exists(&repo(), &"Fix".parse().unwrap()).await.unwrap());
}

#[tokio::test]
async fn lists_go_on_where_the_server_says_over_empty_pages_too() {
    let server = MockServer::start().await;
    let at = format!("{AT}/branches");
    page_at(&server, &at, None, json!([]), json!(1000)).await;
    page_at(&server, &at, Some("1000"), json!([branch("one")]), json!(1007)).await;
    page_at(&server, &at, Some("1007"), json!([branch("two")]), Value::Null).await;
    let scm = bitbucket(&server, "");
    let all = scm.branches().list_branches(&repo(), ListBranches::default());
    let names: Vec<_> = all.map(|item| item.unwrap().name.to_string()).collect().await;
    assert_eq!(names, ["one", "two"]);
    // A cursor belongs to one list.
    let opts = ListBranches::default();
    let first = scm.branches().list_branches_page(&repo(), &opts, None).await.unwrap();
    let other = RepoId::new("PROJ/other").unwrap();
    let foreign = scm.branches().list_branches_page(&other, &opts, first.next.as_ref()).await;
    is(foreign, ErrorKind::InvalidInput, "the cursor belongs to another list");
}

/// The last of the items of a list, which must be an error: how many came before, and what it says.
async fn broken_list(values: [Value; 2], more: [Value; 2]) -> (usize, Error) {
    let server = MockServer::start().await;
    let at = format!("{AT}/branches");
    for ((start, values), more) in [None, Some("1")].into_iter().zip(values).zip(more) {
        let mut body = json!({"values": values});
        for (name, more) in more.as_object().unwrap() {
            body[name] = more.clone();
        }
        let mock = Mock::given(method("GET")).and(path(at.as_str()));
        let mock = match start {
            Some(start) => mock.and(query_param("start", start)),
            None => mock.and(query_param_is_missing("start")),
        };
        mock.respond_with(ok(body)).mount(&server).await;
    }
    let scm = bitbucket(&server, "");
    let all = scm.branches().list_branches(&repo(), ListBranches::default());
    let mut all: Vec<_> = all.take(10).collect().await;
    let last = all.pop().unwrap().unwrap_err();
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    (all.len(), last)
}

#[tokio::test]
async fn a_list_that_does_not_go_on_is_told_and_not_followed_for_ever() {
    let first = json!({"start": 0, "isLastPage": false, "nextPageStart": 1});
    let values = || [json!([branch("one")]), json!([branch("two")])];
    for (second, before, words) in [
        (
            json!({"start": 1, "isLastPage": false, "nextPageStart": 1}),
            1,
            "the next page does not come after this one",
        ),
        (
            json!({"start": 1, "isLastPage": false, "nextPageStart": 0}),
            1,
            "the next page does not come after this one",
        ),
        // Changes of pull requests on some versions: `start` is ignored.
        (
            json!({"start": 0, "isLastPage": false, "nextPageStart": 1}),
            1,
            "the server gives the first page again",
        ),
        (json!({"start": 1, "isLastPage": false}), 2, "the server has more than it gives"),
        (
            json!({"start": 1, "isLastPage": false, "nextPageStart": null}),
            2,
            "the server has more than it gives",
        ),
    ] {
        let (came, error) = broken_list(values(), [first.clone(), second]).await;
        assert_eq!((error.kind(), came), (ErrorKind::Decode, before), "{error}");
        assert!(error.message().contains(words), "{error} does not say {words:?}");
    }
}

#[tokio::test]
async fn a_list_whose_end_is_not_told_goes_on_while_there_is_a_next_page() {
    let server = MockServer::start().await;
    let at = format!("{AT}/branches");
    let first = json!({"values": [branch("one")], "nextPageStart": 1});
    Mock::given(path(at.as_str()))
        .and(query_param_is_missing("start"))
        .respond_with(ok(first))
        .mount(&server)
        .await;
    let second = json!({"values": [branch("two")]});
    Mock::given(path(at.as_str()))
        .and(query_param("start", "1"))
        .respond_with(ok(second))
        .mount(&server)
        .await;
    let scm = bitbucket(&server, "");
    let all = scm.branches().list_branches(&repo(), ListBranches::default());
    assert_eq!(all.try_collect::<Vec<_>>().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_broken_item_does_not_lose_its_page() {
    let server = MockServer::start().await;
    let mut broken = repository(2);
    broken["id"] = json!("s3cret");
    answer(&server, "GET", "/rest/api/latest/repos", ok(page(json!([repository(1), broken, repository(3)]))))
        .await;
    let scm = bitbucket(&server, "");
    let page = scm.repositories().list_repositories_page(&ListRepositories::default(), None).await.unwrap();
    assert!(page.items[0].is_ok() && page.items[2].is_ok());
    let error = page.items[1].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("values[1].id") && !error.to_string().contains("s3cret"), "{error}");
    // One level deeper.
    let entry = |name: &str, kind: Value| json!({"path": {"toString": name}, "type": kind});
    let entries = json!([entry("a", json!("FILE")), entry("b", json!(7)), entry("c", json!("DIRECTORY"))]);
    let body = json!({"children": {"values": entries, "start": 0, "isLastPage": true}});
    answer(&server, "GET", &format!("{AT}/browse"), ok(body)).await;
    let tree =
        scm.contents().list_tree_page(&repo(), &Revision::Head, &Default::default(), None).await.unwrap();
    let error = tree.items[1].as_ref().unwrap_err();
    assert!(error.to_string().contains("children.values[1].type"), "{error}");
    assert_eq!(tree.items.iter().filter(|item| item.is_ok()).count(), 2);
}

#[tokio::test]
async fn changes_of_a_pull_request_that_cannot_be_paged_end() {
    let server = MockServer::start().await;
    let change = |name: &str| json!({"path": {"toString": name}, "type": "MODIFY"});
    let body =
        json!({"values": [change("a"), change("b")], "start": 0, "isLastPage": false, "nextPageStart": 25});
    answer(&server, "GET", &format!("{AT}/pull-requests/7/changes"), ok(body)).await;
    let scm = bitbucket(&server, "");
    let files = scm.pull_requests().list_pull_request_files(&repo(), PullRequestId::new(7));
    let files: Vec<_> = files.collect().await;
    assert_eq!(files.len(), 3);
    is(files.into_iter().next_back().unwrap(), ErrorKind::Decode, "the server gives the first page again");
    let asked = server.received_requests().await.unwrap();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].url.query(), Some("limit=1000"));
}

#[tokio::test]
async fn dates_come_as_numbers_and_as_texts() {
    let server = MockServer::start().await;
    let told = |created: Value, updated: Value| {
        let mut pull = pull(1, "OPEN");
        (pull["createdDate"], pull["updatedDate"]) = (created, updated);
        pull
    };
    let pulls = json!([
        told(json!(1359075920000_u64), json!(1359085920123_u64)),
        told(json!("2013-01-25T01:05:20Z"), json!("2013-01-25T14:52:00.123+1100")),
        told(Value::Null, json!("yesterday")),
    ]);
    answer(&server, "GET", &format!("{AT}/pull-requests"), ok(page(pulls))).await;
    let scm = bitbucket(&server, "");
    let all = scm.pull_requests().list_pull_requests(&repo(), ListPullRequests::default());
    let all: Vec<_> = all.try_collect().await.unwrap();
    let times =
        |n: usize| (all[n].created_at.map(|at| at.to_string()), all[n].updated_at.map(|at| at.to_string()));
    let expected = ["2013-01-25T01:05:20Z", "2013-01-25T03:52:00.123Z"].map(|text| Some(text.to_owned()));
    assert_eq!(times(0), expected.clone().into());
    assert_eq!(times(1), expected.into());
    assert_eq!(times(2), (None, None));
}

/// The side with the new commits is Bitbucket's `from`.
#[tokio::test]
async fn a_comparison_names_its_sides_as_bitbucket_does() {
    let server = MockServer::start().await;
    let commits = page(json!([{"id": "c".repeat(40), "message": "New"}]));
    let diff = json!({"diffs": [], "truncated": true});
    for at in [AT, "/rest/api/latest/projects/UP/repos/stream"] {
        answer(&server, "GET", &format!("{at}/compare/commits"), ok(commits.clone())).await;
        answer(&server, "GET", &format!("{at}/compare/diff"), ok(diff.clone())).await;
        let changes = page(json!([{"path": {"toString": "a"}, "type": "ADD"}]));
        answer(&server, "GET", &format!("{at}/changes"), ok(changes)).await;
    }
    let scm = bitbucket(&server, "");
    let (old, new) = (Revision::Branch("main".parse().unwrap()), Revision::from(sha('c')));
    let compare = async |opts: Compare| {
        let before = server.received_requests().await.unwrap().len();
        let out = scm.commits().compare(&repo(), &old, &new, &opts).await.unwrap();
        let direct = opts.direct == Some(true);
        assert_eq!((out.commits[0].title.as_str(), out.truncated), ("New", !direct));
        assert_eq!(out.files.len(), usize::from(direct));
        let all = server.received_requests().await.unwrap();
        let asked = all[before..].iter().map(|request| {
            let (_, end) = request.url.path().split_once("/projects/").unwrap();
            format!("{end}?{}", request.url.query().unwrap())
        });
        asked.collect::<Vec<_>>()
    };
    let c = "c".repeat(40);
    assert_eq!(
        compare(Compare::default()).await,
        [
            format!("PROJ/repos/repo/compare/commits?from={c}&to=refs%2Fheads%2Fmain&limit=100"),
            format!("PROJ/repos/repo/compare/diff?from={c}&to=refs%2Fheads%2Fmain"),
        ]
    );
    assert_eq!(
        compare(Compare::default().with_direct(true)).await[1],
        format!("PROJ/repos/repo/changes?since=refs%2Fheads%2Fmain&until={c}&limit=100")
    );
    let upstream = Compare::default().with_from_repository("UP/stream".parse().unwrap());
    assert_eq!(
        compare(upstream).await,
        [
            format!(
                "UP/repos/stream/compare/commits?from={c}&to=refs%2Fheads%2Fmain&fromRepo=PROJ%2Frepo&limit=100"
            ),
            format!("UP/repos/stream/compare/diff?from={c}&to=refs%2Fheads%2Fmain&fromRepo=PROJ%2Frepo"),
        ]
    );
}

#[tokio::test]
async fn a_build_in_a_state_that_is_new_is_shown_as_it_is() {
    let server = MockServer::start().await;
    let build = |key: &str, state: &str| json!({"key": key, "state": state, "url": format!("https://ci.example.com/{key}"), "dateAdded": 1});
    let builds =
        json!([build("unit tests", "SUCCESSFUL"), build("lint", "INPROGRESS"), build("new", "PAUSED")]);
    answer(&server, "GET", &format!("/rest/build-status/latest/commits/{}", sha('a')), ok(page(builds)))
        .await;
    answer(&server, "GET", &format!("{AT}/commits/{}", sha('a')), ok(json!({"id": "a".repeat(40)}))).await;
    let scm = bitbucket(&server, "");
    let checks: Vec<_> = scm.checks().list_checks(&repo(), &sha('a')).try_collect().await.unwrap();
    let seen: Vec<_> = checks
        .iter()
        .map(|check| (check.id.as_str(), check.name.as_str(), check.state.to_string()))
        .collect();
    let expected =
        [("unit_tests", "unit tests", "success"), ("lint", "lint", "running"), ("new", "new", "PAUSED")];
    assert_eq!(seen, expected.map(|(id, name, state)| (id, name, state.to_owned())));
    assert_eq!(checks[1].url.as_ref().unwrap().as_str(), "https://ci.example.com/lint");
    let nowhere = NewStatus::new("ci", scm_core::CheckState::Success);
    is(
        scm.checks().publish_status(&repo(), &sha('a'), &nowhere).await,
        ErrorKind::InvalidInput,
        "needs the URL",
    );
}

#[tokio::test]
async fn a_moved_repository_is_followed_under_our_own_root_and_not_written() {
    let server = MockServer::start().await;
    let to = "https://external.example/bitbucket/rest/api/latest/projects/NEW/repos/repo";
    let moved = || ResponseTemplate::new(302).insert_header("location", to);
    answer(&server, "GET", AT, moved()).await;
    answer(&server, "GET", &format!("{AT}/default-branch"), ok(branch("main"))).await;
    let mut there = repository(1);
    there["project"]["key"] = json!("NEW");
    answer(&server, "GET", "/rest/api/latest/projects/NEW/repos/repo", ok(there)).await;
    answer(&server, "POST", &format!("{AT}/branches"), moved()).await;
    let scm = bitbucket(&server, "");
    assert_eq!(scm.repositories().repository(&repo()).await.unwrap().id.as_str(), "NEW/repo1");
    let name = "fix".parse().unwrap();
    let error = scm.branches().create_branch(&repo(), &name, &sha('a').into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn all_repositories_are_asked_for_by_the_right_that_is_needed() {
    let server = MockServer::start().await;
    answer(&server, "GET", "/rest/api/latest/repos", ok(page(json!([repository(1)])))).await;
    let key = "PROJ".parse().unwrap();
    let settings = config(&server.uri(), TOKEN).with_project_key(key).unwrap();
    let scm = BitbucketDc::new(settings, direct()).unwrap();
    let opts = ListRepositories::default().with_min_role(scm_core::Role::Write);
    assert_eq!(scm.repositories().list_repositories(opts).count().await, 1);
    let asked = server.received_requests().await.unwrap();
    assert_eq!(asked.len(), 1);
    let query = "permission=REPO_WRITE&archived=ACTIVE&projectkey=PROJ&limit=100";
    assert_eq!(asked[0].url.query(), Some(query));
    // A slug alone is of that project.
    answer(&server, "GET", &format!("{AT}/branches"), ok(page(json!([branch("main")])))).await;
    let slug = RepoId::new("repo").unwrap();
    scm.branches().branch(&slug, &"main".parse().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_raw_request_takes_the_whole_pipeline() {
    let server = MockServer::start().await;
    let at = "/bitbucket/rest/api/latest/projects/PROJ/repos/repo/forks";
    Mock::given(path(at))
        .and(header("authorization", format!("Bearer {TOKEN}")))
        .respond_with(ResponseTemplate::new(503))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    answer(&server, "GET", at, ok(page(json!([])))).await;
    let request = ApiRequest::to_path(http::Method::GET, &at[11..]).unwrap();
    let forks: Value = bitbucket(&server, "/bitbucket").request(request).await.unwrap().json().unwrap();
    assert_eq!(forks["isLastPage"], true);
    let request = ApiRequest::to_path(http::Method::GET, "rest/api/latest/nothing").unwrap();
    let missing = json!({"message": "null for uri: http://h/rest/nothing", "status-code": 404});
    answer(&server, "GET", "/rest/api/latest/nothing", ResponseTemplate::new(404).set_body_json(missing))
        .await;
    is(bitbucket(&server, "").request(request).await.map(drop), ErrorKind::NotFound, "null for uri");
}
