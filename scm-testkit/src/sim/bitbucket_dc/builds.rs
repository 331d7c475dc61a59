//! What CI servers report about commits: by repository, and by the older resource that only knows commits.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Inner,
    call::Call,
    entities,
    page::cap,
    pull_requests,
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::Always},
    state::State,
};

const WRITE: &str = "key state url name description parent ref buildNumber duration:int lastUpdated testResults:any \
     dateAdded";

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/api/projects/:key/repos/:slug/commits/:commitId/builds", Always, "key", show),
    ("POST", "/api/projects/:key/repos/:slug/commits/:commitId/builds", Always, WRITE, publish),
    ("DELETE", "/api/projects/:key/repos/:slug/commits/:commitId/builds", Always, "key", delete),
    ("GET", "/build-status/commits/:commitId", Always, "orderBy &page", list),
    ("POST", "/build-status/commits/:commitId", Always, WRITE, publish_old),
    ("GET", "/build-status/commits/stats/:commitId", Always, "includeUnique:bool", stats),
    ("POST", "/build-status/commits/stats", Always, "", stats_of_many),
];

#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) key: String,
    /// `SUCCESSFUL`, `FAILED`, `INPROGRESS`, `CANCELLED` or `UNKNOWN`.
    pub(crate) state: String,
    pub(crate) url: String,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    /// The rest as it came: parent, ref, buildNumber, duration, testResults.
    more: Value,
    pub(crate) repo_id: Option<u64>,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// Reads until it is done, and how it ends.
    ends: Option<(u32, String)>,
}

fn json(inner: &Inner, state: &State, build: &Build) -> Value {
    let mut value = json!({
        "key": build.key,
        "state": build.state,
        "url": build.url,
        "name": build.name,
        "description": build.description,
        "createdDate": inner.date(build.created_at),
        "updatedDate": inner.date(build.updated_at),
        "dateAdded": inner.date(build.updated_at),
    });
    entities::extend(&mut value, build.more.clone());
    if let Some(repo) = build.repo_id.and_then(|id| state.repos.get(&id)) {
        entities::extend(
            &mut value,
            json!({ "projectKey": state.key_of(repo), "repositorySlug": repo.slug }),
        );
    }
    if let Value::Object(map) = &mut value {
        map.retain(|_, value| !value.is_null());
    }
    value
}

/// The builds of a commit, which go on by being read.
fn read<'a>(state: &'a mut State, commit: &str, now: Timestamp) -> &'a [Build] {
    let Some(builds) = state.builds.get_mut(commit) else { return &[] };
    for build in builds.iter_mut() {
        match &mut build.ends {
            Some((0, end)) => {
                build.state = std::mem::take(end);
                build.updated_at = now;
                build.ends = None;
            }
            Some((reads, _)) => *reads -= 1,
            None => {}
        }
    }
    builds
}

/// Builds of a commit that passed, and those that did not or not yet.
pub(crate) fn counts(state: &State, commit: &str) -> (u64, u64) {
    let builds = state.builds.get(commit).map(Vec::as_slice).unwrap_or_default();
    let passed = builds.iter().filter(|build| build.state == "SUCCESSFUL").count() as u64;
    (passed, builds.len() as u64 - passed)
}

/// Sets off the builds that a repository's script says.
pub(crate) fn start(inner: &Inner, state: &mut State, repo_id: u64, commit: &str, id: &str) {
    let now = inner.clock.now();
    let Some(repo) = state.repos.get(&repo_id) else { return };
    let script = repo.script.clone();
    let number = u64::try_from(state.builds.len()).unwrap_or(0) + 1;
    for step in script {
        let ends = (step.reads > 0).then(|| (step.reads, step.state.clone()));
        let build = Build {
            url: format!("https://ci.example.com/job/{}/{number}", step.key),
            name: Some(step.key.clone()),
            description: None,
            key: step.key,
            state: if ends.is_some() { "INPROGRESS".to_owned() } else { step.state },
            more: json!({ "ref": id, "buildNumber": number.to_string() }),
            repo_id: Some(repo_id),
            created_at: now,
            updated_at: now,
            ends,
        };
        keep(state, commit, build);
    }
}

/// A build of the same key in the same repository is replaced.
fn keep(state: &mut State, commit: &str, mut build: Build) {
    let builds = state.builds.entry(commit.to_owned()).or_default();
    let same = |known: &Build| known.key == build.key && known.repo_id == build.repo_id;
    if let Some(at) = builds.iter().position(same) {
        build.created_at = builds.remove(at).created_at;
    }
    builds.push(build);
}

/// Reports a build from behind the API.
pub(crate) fn report(inner: &Inner, repo_id: u64, commit: &str, key: &str, status: &str) {
    let now = inner.clock.now();
    let build = Build {
        key: key.to_owned(),
        state: status.to_owned(),
        url: format!("https://ci.example.com/job/{key}"),
        name: Some(key.to_owned()),
        description: None,
        more: json!({}),
        repo_id: Some(repo_id),
        created_at: now,
        updated_at: now,
        ends: None,
    };
    keep(&mut inner.state(), commit, build);
    pull_requests::auto_merge(inner, repo_id);
}

fn full_id(call: &Call) -> Result<String, Failure> {
    let id = call.part("commitId");
    if id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(id.to_owned());
    }
    Err(Failure::field("commitId", "A commit is named by its full id of 40 characters."))
}

/// Reads a report out of a request; newer states are for the newer resource of newer servers.
fn parse(call: &Call, repo_id: Option<u64>) -> Result<Build, Failure> {
    let params = &call.params;
    let text = |name: &str| params.filled(name).map(str::to_owned);
    let mut problems = Vec::new();
    let mut complain = |name: &str, problem: &str| problems.push((name.to_owned(), problem.to_owned()));
    for (name, most) in [("key", 255), ("state", 255), ("url", 450)] {
        match params.text(name).map(str::trim) {
            None | Some("") => complain(name, "is required"),
            Some(text) if text.chars().count() > most => {
                complain(name, &format!("has more than {most} characters"))
            }
            Some(_) => {}
        }
    }
    for name in ["name", "description", "parent", "buildNumber"] {
        if params.text(name).is_some_and(|text| text.chars().count() > 255) {
            complain(name, "has more than 255 characters");
        }
    }
    let newer = repo_id.is_some() && call.inner.release >= (8, 9);
    let known = match params.text("state") {
        Some("SUCCESSFUL" | "FAILED" | "INPROGRESS") | None => true,
        Some("CANCELLED" | "UNKNOWN") => newer,
        Some(_) => false,
    };
    if !known {
        complain("state", "is not a known state");
    }
    if params.filled("url").is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
        complain("url", "is not an address");
    }
    if !problems.is_empty() {
        return Err(Failure::fields(problems));
    }
    let more: Map<String, Value> = ["parent", "ref", "buildNumber", "duration", "testResults"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), params.get(name)?.clone())))
        .collect();
    let now = call.inner.clock.now();
    Ok(Build {
        key: text("key").unwrap_or_default(),
        state: text("state").unwrap_or_default(),
        url: text("url").unwrap_or_default(),
        name: text("name"),
        description: text("description"),
        more: Value::Object(more),
        repo_id,
        created_at: now,
        updated_at: now,
        ends: None,
    })
}

/// The commit of the path, which must be in the repository.
fn commit_here(call: &Call) -> Result<String, Failure> {
    let id = full_id(call)?;
    call.commit(&*call.git()?, Some(&id))
}

fn publish(call: &Call) -> Outcome {
    call.user()?;
    let commit = commit_here(call)?;
    let build = parse(call, Some(call.repo))?;
    keep(&mut call.state(), &commit, build);
    pull_requests::auto_merge(&call.inner, call.repo);
    Ok(Reply::no_content())
}

fn key(call: &Call) -> Result<String, Failure> {
    let key = call.params.filled("key").map(str::to_owned);
    key.ok_or_else(|| Failure::field("key", "The key of the build status is required."))
}

fn no_build(key: &str) -> Failure {
    Failure::new(
        404,
        "build.status.NoSuchBuildStatusException",
        format!("A build status with the key '{key}' does not exist for this commit."),
    )
}

fn show(call: &Call) -> Outcome {
    let key = key(call)?;
    let commit = commit_here(call)?;
    let now = call.inner.clock.now();
    let mut state = call.state();
    let found = read(&mut state, &commit, now)
        .iter()
        .find(|build| build.key == key && build.repo_id.is_none_or(|id| id == call.repo))
        .cloned();
    let found = found.ok_or_else(|| no_build(&key))?;
    Ok(Reply::ok(json(&call.inner, &state, &found)))
}

fn delete(call: &Call) -> Outcome {
    call.user()?;
    call.needs(3)?;
    let key = key(call)?;
    let commit = commit_here(call)?;
    if let Some(builds) = call.state().builds.get_mut(&commit) {
        builds.retain(|build| build.key != key || build.repo_id != Some(call.repo));
    }
    Ok(Reply::no_content())
}

fn list(call: &Call) -> Outcome {
    call.user()?;
    let commit = call.part("commitId").to_owned();
    let now = call.inner.clock.now();
    let mut state = call.state();
    let mut found: Vec<Build> = read(&mut state, &commit, now).to_vec();
    // Whoever may not see a repository does not see its builds.
    found.retain(|build| {
        let repo = build.repo_id.and_then(|id| state.repos.get(&id));
        repo.is_none_or(|repo| call.level_on(&state, repo) > 0)
    });
    match call.params.filled("orderBy") {
        Some("OLDEST") => {}
        Some("STATUS") => found.sort_by(|a, b| a.state.cmp(&b.state)),
        _ => found.reverse(),
    }
    found.truncate(cap::BUILDS);
    call.paged(found, cap::BUILDS, |build| json(&call.inner, &state, &build))
}

fn publish_old(call: &Call) -> Outcome {
    call.user()?;
    let commit = full_id(call)?;
    let build = parse(call, None)?;
    keep(&mut call.state(), &commit, build);
    Ok(Reply::no_content())
}

fn stats_json(call: &Call, commit: &str) -> Option<Value> {
    let now = call.inner.clock.now();
    let mut state = call.state();
    let builds = read(&mut state, commit, now);
    let count = |wanted: &str| builds.iter().filter(|build| build.state == wanted).count();
    (!builds.is_empty()).then(|| {
        json!({
            "successful": count("SUCCESSFUL"),
            "inProgress": count("INPROGRESS"),
            "failed": count("FAILED"),
            "cancelled": count("CANCELLED"),
            "unknown": count("UNKNOWN"),
        })
    })
}

fn stats(call: &Call) -> Outcome {
    call.user()?;
    let none = json!({ "successful": 0, "inProgress": 0, "failed": 0, "cancelled": 0, "unknown": 0 });
    Ok(Reply::ok(stats_json(call, call.part("commitId")).unwrap_or(none)))
}

fn stats_of_many(call: &Call) -> Outcome {
    call.user()?;
    let list = call.json.as_array();
    let list = list.ok_or_else(|| Failure::plain(400, "The request body is a list of commit ids."))?;
    let found: Map<String, Value> = list
        .iter()
        .filter_map(Value::as_str)
        .filter_map(|id| Some((id.to_owned(), stats_json(call, id)?)))
        .collect();
    Ok(Reply::ok(Value::Object(found)))
}
