//! Commits: log, one, compared, and what they changed.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::sim::repo::{LogQuery, Repo};

use super::{
    call::{Call, no_default_branch},
    diffs::{self, Asked},
    entities,
    page::cap,
    pull_requests,
    reply::{Failure, Outcome, Reply},
    router::{
        Route,
        Since::{Always, V},
    },
    state::State,
};

const DIFF: &str = "srcPath avatarSize filter avatarScheme contextLines:int autoSrcPath whitespace withComments:bool \
     since until from to fromRepo diffType sinceId untilId";

pub(crate) const ROUTES: &[Route] = &[
    (
        "GET",
        "/api/projects/:key/repos/:slug/commits",
        Always,
        "avatarScheme path withCounts:bool followRenames:bool until avatarSize since merges ignoreMissing:bool &page",
        log,
    ),
    ("GET", "/api/projects/:key/repos/:slug/commits/:commitId", Always, "path", show),
    (
        "GET",
        "/api/projects/:key/repos/:slug/commits/:commitId/changes",
        Always,
        "withComments:bool since &page",
        changes_of,
    ),
    ("GET", "/api/projects/:key/repos/:slug/commits/:commitId/diff", Always, DIFF, diff_of),
    ("GET", "/api/projects/:key/repos/:slug/commits/:commitId/diff/*path", Always, DIFF, diff_of),
    (
        "GET",
        "/api/projects/:key/repos/:slug/commits/:commitId/merge-base",
        V(8, 16),
        "otherCommitId",
        merge_base,
    ),
    (
        "GET",
        "/api/projects/:key/repos/:slug/commits/:commitId/pull-requests",
        Always,
        "&page",
        pull_requests_of,
    ),
    ("GET", "/api/projects/:key/repos/:slug/changes", Always, "until since &page", changes),
    ("GET", "/api/projects/:key/repos/:slug/diff", Always, DIFF, diff),
    ("GET", "/api/projects/:key/repos/:slug/diff/*path", Always, DIFF, diff),
    (
        "GET",
        "/api/projects/:key/repos/:slug/compare/commits",
        Always,
        "fromRepo from to &page",
        compare_commits,
    ),
    (
        "GET",
        "/api/projects/:key/repos/:slug/compare/changes",
        Always,
        "fromRepo from to &page",
        compare_changes,
    ),
    ("GET", "/api/projects/:key/repos/:slug/compare/diff", Always, DIFF, compare_diff),
    ("GET", "/api/projects/:key/repos/:slug/compare/diff/*path", Always, DIFF, compare_diff),
];

fn log(call: &Call) -> Outcome {
    let git = call.git()?;
    let params = &call.params;
    let ignoring = params.flag("ignoreMissing");
    let resolve = |name: Option<&str>| match call.commit(&git, name) {
        Err(_) if ignoring && name.is_some() => Ok(None),
        found => found.map(Some),
    };
    let Some(until) = resolve(params.filled("until"))? else {
        return call.paged(Vec::new(), cap::COMMITS, |value| value);
    };
    let mut revisions = vec![until];
    if params.filled("since").is_some() {
        revisions.extend(resolve(params.filled("since"))?.map(|id| format!("^{id}")));
    }
    let query = LogQuery {
        revisions: revisions.clone(),
        path: params.filled("path").map(str::to_owned),
        merges: match params.filled("merges") {
            Some("exclude") => Some(false),
            Some("only") => Some(true),
            None | Some("include") => None,
            Some(_) => return Err(Failure::field("merges", "must be exclude, include or only")),
        },
        follow: params.flag("followRenames") && params.filled("path").is_some(),
        ..LogQuery::default()
    };
    let mut reply = paged(call, &git, &query)?;
    if params.flag("withCounts")
        && let super::reply::Content::Json(value) = &mut reply.body
    {
        let all = git.log(&query)?;
        let authors: std::collections::BTreeSet<&str> =
            all.iter().map(|commit| commit.author_email.as_str()).collect();
        entities::extend(value, json!({ "totalCount": all.len(), "authorCount": authors.len() }));
    }
    Ok(reply)
}

/// A page of a log, read no further than the page goes.
pub(crate) fn paged(call: &Call, git: &Repo, query: &LogQuery) -> Outcome {
    let fetch = |skip, limit| {
        let query = LogQuery { skip, limit: Some(limit), ..query.clone() };
        Ok(git.log(&query)?)
    };
    let mut found = Vec::new();
    let mut reply = call.paged_by(cap::COMMITS, fetch, |commit| {
        found.push(commit);
        Value::Null
    })?;
    if let super::reply::Content::Json(page) = &mut reply.body {
        let state = call.state();
        page["values"] = found.iter().map(|commit| entities::commit(&call.inner, &state, commit)).collect();
    }
    Ok(reply)
}

/// The commit of the path, which is named by its id and nothing else.
fn commit_of(call: &Call, git: &Repo, name: &str) -> Result<String, Failure> {
    let hex = (4..=40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex {
        return Err(Failure::no_commit(name, call.part("slug")));
    }
    call.commit(git, Some(name))
}

fn show(call: &Call) -> Outcome {
    let git = call.git()?;
    let mut id = commit_of(call, &git, call.part("commitId"))?;
    if let Some(path) = call.params.filled("path") {
        id = git.last_commit_of(&id, path)?.ok_or_else(|| Failure::no_path(path, &id))?;
    }
    let found = git.commit(&id)?;
    Ok(Reply::ok(entities::commit(&call.inner, &call.state(), &found)))
}

/// What a commit is compared with: `since`, else its first parent, else nothing at all.
fn since(call: &Call, git: &Repo, until: &str) -> Result<String, Failure> {
    if let Some(name) = call.params.filled("since") {
        return call.commit(git, Some(name));
    }
    let parent = git.resolve_all(&[format!("{until}^1^{{commit}}")])?.into_iter().flatten().next();
    match parent {
        Some(parent) => Ok(parent),
        None => Ok(git.empty_tree()?),
    }
}

fn changes_of(call: &Call) -> Outcome {
    let git = call.git()?;
    let until = commit_of(call, &git, call.part("commitId"))?;
    let since = since(call, &git, &until)?;
    diffs::changes(call, &git, &since, &until)
}

fn diff_of(call: &Call) -> Outcome {
    let git = call.git()?;
    let until = commit_of(call, &git, call.part("commitId"))?;
    let since = since(call, &git, &until)?;
    diffs::diff(call, &git, &since, &until, &Asked::of(call), &[])
}

/// `until` is required, as for all comparisons that are not of a commit in the path.
fn until(call: &Call, git: &Repo) -> Result<String, Failure> {
    let name = call.params.filled("until");
    let name = name.ok_or_else(|| Failure::field("until", "The until parameter is missing."))?;
    call.commit(git, Some(name))
}

fn changes(call: &Call) -> Outcome {
    let git = call.git()?;
    let until = until(call, &git)?;
    let since = since(call, &git, &until)?;
    diffs::changes(call, &git, &since, &until)
}

fn diff(call: &Call) -> Outcome {
    let git = call.git()?;
    let until = until(call, &git)?;
    let since = since(call, &git, &until)?;
    diffs::diff(call, &git, &since, &until, &Asked::of(call), &[])
}

fn merge_base(call: &Call) -> Outcome {
    let git = call.git()?;
    let one = commit_of(call, &git, call.part("commitId"))?;
    let other = call.params.filled("otherCommitId");
    let other = other.ok_or_else(|| Failure::field("otherCommitId", "The other commit is missing."))?;
    let other = commit_of(call, &git, other)?;
    common(call, &git, one, other)
}

/// The best common ancestor of two commits, or no content.
pub(crate) fn common(call: &Call, git: &Repo, one: String, other: String) -> Outcome {
    match git.merge_base(&[one, other])? {
        None => Ok(Reply::no_content()),
        Some(base) => {
            let found = git.commit(&base)?;
            Ok(Reply::ok(entities::commit(&call.inner, &call.state(), &found)))
        }
    }
}

fn pull_requests_of(call: &Call) -> Outcome {
    let git = call.git()?;
    let id = commit_of(call, &git, call.part("commitId"))?;
    let candidates: Vec<(u64, String, String)> = {
        let state = call.state();
        let pulls = call.repo_in(&state)?.pull_requests.values();
        pulls.map(|pull| (pull.id, pull.base.clone(), pull.from.commit.clone())).collect()
    };
    let mut numbers = Vec::new();
    for (number, base, head) in candidates {
        if git.is_ancestor(&id, &head)? && !git.is_ancestor(&id, &base)? {
            numbers.push(number);
        }
    }
    let state = call.state();
    let repo = call.repo_in(&state)?;
    let found: Vec<_> = numbers.iter().filter_map(|number| repo.pull_requests.get(number)).collect();
    call.paged(found, cap::PULL_REQUESTS, |pull| pull_requests::json(&call.inner, &state, repo, pull))
}

/// The repository of `fromRepo`: by its number, or as `KEY/slug`; else the one of the path.
fn source_repo(call: &Call, state: &State) -> Result<u64, Failure> {
    let Some(name) = call.params.filled("fromRepo") else { return Ok(call.repo) };
    let found = match name.parse::<u64>() {
        Ok(id) => state.repos.get(&id),
        Err(_) => state.repo_named(name),
    };
    let found = found.filter(|repo| call.level_on(state, repo) > 0);
    found.map(|repo| repo.id).ok_or_else(|| Failure::no_such(&format!("Repository {name}")))
}

/// The two sides of a comparison. `from` has the new commits, `to` is what they come on top of.
fn sides(call: &Call) -> Result<(Arc<Repo>, String, String), Failure> {
    let git = call.git()?;
    let (source, default) = {
        let state = call.state();
        let source = source_repo(call, &state)?;
        let branch = state.repos.get(&source).map(|repo| repo.default_branch.clone());
        (source, branch.unwrap_or_default())
    };
    let to = call.commit(&git, call.params.filled("to"))?;
    if source == call.repo {
        let from = call.commit(&git, call.params.filled("from"))?;
        return Ok((git, from, to));
    }
    let other = call.inner.repo(source)?;
    let name = call.params.filled("from").unwrap_or(&default);
    let slug = call.params.filled("fromRepo").unwrap_or_default();
    let from = other.commit_id(name)?.ok_or_else(|| match call.params.filled("from") {
        Some(name) => Failure::no_commit(name, slug),
        None => no_default_branch(slug),
    })?;
    git.fetch_from(&other, &from, &format!("refs/internal/compare/{from}"))?;
    Ok((git, from, to))
}

fn compare_commits(call: &Call) -> Outcome {
    let (git, from, to) = sides(call)?;
    let query = LogQuery { revisions: vec![from, format!("^{to}")], ..LogQuery::default() };
    paged(call, &git, &query)
}

/// Where the two sides parted; what `to` got since then is no part of the comparison.
fn parted(git: &Repo, from: &str, to: &str) -> Result<String, Failure> {
    Ok(git.merge_base(&[to.to_owned(), from.to_owned()])?.unwrap_or_else(|| to.to_owned()))
}

fn compare_changes(call: &Call) -> Outcome {
    let (git, from, to) = sides(call)?;
    diffs::changes(call, &git, &parted(&git, &from, &to)?, &from)
}

fn compare_diff(call: &Call) -> Outcome {
    let (git, from, to) = sides(call)?;
    diffs::diff(call, &git, &parted(&git, &from, &to)?, &from, &Asked::of(call), &[])
}
