//! Commits: lists, single ones, diffs, comparisons.

use serde_json::{Value, json};

use crate::sim::{
    params::timestamp,
    repo::{CommitInfo, LogQuery, Repo},
};

use super::{
    auth::Access,
    call::Call,
    ci, commit_create, contents, entities,
    reply::{Failure, Outcome, Reply},
    router::Route,
};

pub(crate) const ROUTES: &[Route] = &[
    (
        "GET",
        "/projects/:id/repository/commits",
        Access::Open,
        "ref_name since:time until:time path follow:bool author all:bool with_stats:bool first_parent:bool \
         order:enum(default|topo) trailers:bool &page",
        list,
    ),
    ("POST", "/projects/:id/repository/commits", Access::Write, commit_create::PARAMS, commit_create::create),
    ("GET", "/projects/:id/repository/commits/:sha", Access::Open, "stats:bool", show),
    ("GET", "/projects/:id/repository/commits/:sha/diff", Access::Open, "unidiff:bool &page", diff),
    (
        "GET",
        "/projects/:id/repository/commits/:sha/refs",
        Access::Open,
        "type:enum(branch|tag|all) &page",
        refs,
    ),
    (
        "GET",
        "/projects/:id/repository/commits/:sha/merge_requests",
        Access::Open,
        "state &page",
        merge_requests,
    ),
    (
        "GET",
        "/projects/:id/repository/compare",
        Access::Code,
        "from!:filled to!:filled from_project_id:int straight:bool unidiff:bool",
        compare,
    ),
    ("GET", "/projects/:id/repository/merge_base", Access::Code, "refs!:list", merge_base),
];

/// A commit with what only the single read shows. Holds no lock when it is called.
pub(crate) fn detail_json(
    call: &Call,
    repo: &Repo,
    commit: &CommitInfo,
    with_stats: bool,
) -> Result<Value, Failure> {
    let stats = if with_stats { Some(repo.stats(&commit.id)?) } else { None };
    let state = call.state();
    let project = call.project_id();
    let mut value = entities::commit_json(&entities::project_url(&call.inner, &state, project), commit);
    let pipeline = ci::newest(&state, project, &commit.id);
    entities::extend(
        &mut value,
        json!({
            "status": pipeline.map(|pipeline| pipeline.status.as_str()),
            "project_id": project,
            "last_pipeline": pipeline.map(|pipeline| ci::basic_json(&call.inner, &state, project, pipeline)),
        }),
    );
    if let Some(stats) = stats {
        entities::extend(&mut value, json!({ "stats": entities::stats_json(stats) }));
    }
    Ok(value)
}

fn list(call: &Call) -> Outcome {
    call.may_read_code()?;
    let repo = call.repo()?;
    let all = call.params.flag("all");
    let asked = call.asked();
    let mut query = LogQuery {
        all,
        path: call.params.filled("path").map(str::to_owned),
        author: call.params.filled("author").map(str::to_owned),
        first_parent: call.params.flag("first_parent"),
        topo_order: call.params.text("order") == Some("topo"),
        skip: asked.skip(),
        limit: Some(asked.per_page + 1),
        ..LogQuery::default()
    };
    let time = |name| call.params.filled(name).and_then(timestamp).map(|at| at.as_second().to_string());
    query.since = time("since");
    query.until = time("until");
    if !all {
        let name = call.params.filled("ref_name").unwrap_or("HEAD");
        if let Some((from, to)) = name.split_once("..") {
            let missing = || Failure::not_found("Commit");
            let to =
                contents::revision(call, &repo, Some(to.trim_start_matches('.')))?.ok_or_else(missing)?;
            let from = contents::revision(call, &repo, Some(from))?.ok_or_else(missing)?;
            query.revisions = vec![to, format!("^{from}")];
        } else {
            match contents::revision(call, &repo, Some(name))? {
                Some(id) => query.revisions = vec![id],
                None if name == "HEAD" => return call.paged_uncounted(Vec::new(), false),
                None => return Err(Failure::not_found("Commit")),
            }
        }
    }
    let mut commits = repo.log(&query)?;
    let more = commits.len() > asked.per_page;
    commits.truncate(asked.per_page);
    let url = contents::project_url(call);
    let (with_stats, with_trailers) = (call.params.flag("with_stats"), call.params.flag("trailers"));
    let mut values = Vec::new();
    for commit in &commits {
        let mut value = entities::commit_json(&url, commit);
        if with_stats {
            entities::extend(&mut value, json!({ "stats": entities::stats_json(repo.stats(&commit.id)?) }));
        }
        if with_trailers {
            entities::extend(&mut value, entities::trailers_json(commit));
        }
        values.push(value);
    }
    call.paged_uncounted(values, more)
}

fn find(call: &Call) -> Result<(std::sync::Arc<Repo>, String), Failure> {
    call.may_read_code()?;
    let repo = call.repo()?;
    let id = contents::revision(call, &repo, Some(call.part("sha")))?;
    Ok((repo, id.ok_or_else(|| Failure::not_found("Commit"))?))
}

fn show(call: &Call) -> Outcome {
    let (repo, id) = find(call)?;
    let commit = repo.commit(&id)?;
    ci::read_by_sha(&call.inner, call.project_id(), &id);
    Ok(Reply::ok(detail_json(call, &repo, &commit, call.params.bool("stats") != Some(false))?))
}

fn diff(call: &Call) -> Outcome {
    let (repo, id) = find(call)?;
    let unified = call.params.flag("unidiff");
    call.paged(repo.commit_diff(&id)?, |file| entities::diff_json(&file, unified))
}

fn refs(call: &Call) -> Outcome {
    let (repo, id) = find(call)?;
    let mut found = Vec::new();
    let kind = call.params.text("type").unwrap_or("all");
    if kind != "tag" {
        for (name, head) in repo.refs("refs/heads/")? {
            if repo.is_ancestor(&id, &head)? {
                found.push(("branch", name.trim_start_matches("refs/heads/").to_owned()));
            }
        }
    }
    if kind != "branch" {
        for (name, head) in repo.refs("refs/tags/")? {
            if repo.is_ancestor(&id, &head)? {
                found.push(("tag", name.trim_start_matches("refs/tags/").to_owned()));
            }
        }
    }
    call.paged(found, |(kind, name)| json!({ "type": kind, "name": name }))
}

fn merge_requests(call: &Call) -> Outcome {
    let (repo, id) = find(call)?;
    let mut found = Vec::new();
    let heads: Vec<(u64, Option<String>, Option<String>)> = {
        let state = call.state();
        let requests = call.project_in(&state)?.merge_requests.values();
        requests.map(|mr| (mr.iid, mr.base_sha().map(str::to_owned), mr.sha.clone())).collect()
    };
    for (iid, base, head) in heads {
        let (Some(base), Some(head)) = (base, head) else { continue };
        if repo.is_ancestor(&id, &head)? && !repo.is_ancestor(&id, &base)? {
            found.push(iid);
        }
    }
    let state = call.state();
    let project = call.project_in(&state)?;
    let found: Vec<_> = found.iter().filter_map(|iid| project.merge_requests.get(iid)).collect();
    call.paged(found, |mr| super::merge_requests::basic_json(&call.inner, &state, mr))
}

fn compare(call: &Call) -> Outcome {
    call.may_read_code()?;
    let repo = call.repo()?;
    let missing = || Failure::not_found("Ref");
    let source = match call.params.id("from_project_id") {
        Some(id) if id != call.project_id() => call.inner.repo(id)?,
        _ => std::sync::Arc::clone(&repo),
    };
    let (from_name, to_name) =
        (call.params.text("from").unwrap_or_default(), call.params.text("to").unwrap_or_default());
    let from = contents::revision(call, &source, Some(from_name))?.ok_or_else(missing)?;
    let to = contents::revision(call, &repo, Some(to_name))?.ok_or_else(missing)?;
    if repo.object_kind(&from)?.is_none() {
        repo.fetch_from(&source, &from, "refs/keep-around/compare")?;
    }
    let straight = call.params.flag("straight");
    let start = if straight { Some(from.clone()) } else { repo.merge_base(&[from.clone(), to.clone()])? };
    let (commits, diffs) = match &start {
        Some(start) => {
            let query = LogQuery { revisions: vec![to.clone(), format!("^{from}")], ..LogQuery::default() };
            let mut commits = repo.log(&query)?;
            commits.reverse();
            (commits, repo.diff(start, &to)?)
        }
        None => (Vec::new(), Vec::new()),
    };
    let url = contents::project_url(call);
    let unified = call.params.flag("unidiff");
    let dots = if straight { ".." } else { "..." };
    let commits: Vec<Value> = commits.iter().map(|commit| entities::commit_json(&url, commit)).collect();
    let diffs: Vec<Value> = diffs.iter().map(|file| entities::diff_json(file, unified)).collect();
    Ok(Reply::ok(json!({
        "commit": commits.last(),
        "commits": commits,
        "diffs": diffs,
        "compare_timeout": false,
        "compare_same_ref": from == to,
        "web_url": format!("{url}/-/compare/{from_name}{dots}{to_name}"),
    })))
}

fn merge_base(call: &Call) -> Outcome {
    call.may_read_code()?;
    let repo = call.repo()?;
    let names = call.params.texts("refs").unwrap_or_default();
    if names.len() < 2 {
        return Err(Failure::bad_request("Provide at least 2 refs"));
    }
    let mut ids = Vec::new();
    for name in &names {
        match contents::revision(call, &repo, Some(name))? {
            Some(id) => ids.push(id),
            None => return Err(Failure::bad_request(&format!("Could not find ref: {name}"))),
        }
    }
    let base = repo.merge_base(&ids)?.ok_or_else(|| Failure::not_found("Merge Base"))?;
    Ok(Reply::ok(entities::commit_json(&contents::project_url(call), &repo.commit(&base)?)))
}
