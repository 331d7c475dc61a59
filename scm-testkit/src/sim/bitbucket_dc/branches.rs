//! Branches. There is no call for one of them: lists are filtered, and the filter is a contained text.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::sim::repo::{Repo, ZERO};

use super::{
    call::Call,
    entities::{self, short},
    events,
    page::cap,
    reply::{Failure, Outcome, Reply},
    restrictions::{self, Move},
    router::{Route, Since::Always},
};

pub(crate) const ROUTES: &[Route] = &[
    (
        "GET",
        "/api/projects/:key/repos/:slug/branches",
        Always,
        "boostMatches:bool context orderBy details:bool filterText base &page",
        list,
    ),
    ("POST", "/api/projects/:key/repos/:slug/branches", Always, "name startPoint message", create),
    (
        "POST",
        "/branch-utils/projects/:key/repos/:slug/branches",
        Always,
        "name startPoint message",
        create_201,
    ),
    (
        "DELETE",
        "/branch-utils/projects/:key/repos/:slug/branches",
        Always,
        "name endPoint dryRun:bool",
        delete,
    ),
    ("GET", "/branch-utils/projects/:key/repos/:slug/branches/info/:commitId", Always, "&page", containing),
];

const AHEAD_BEHIND: &str = "com.atlassian.bitbucket.server.bitbucket-branch:ahead-behind-metadata-provider";
const LATEST: &str = "com.atlassian.bitbucket.server.bitbucket-branch:latest-commit-metadata";

fn branch_json(id: &str, commit: &str, default: &str) -> Value {
    let name = short(id);
    json!({
        "id": id,
        "displayId": name,
        "type": "BRANCH",
        "latestCommit": commit,
        "latestChangeset": commit,
        "isDefault": name == default,
    })
}

/// One branch by its full name.
pub(crate) fn one(call: &Call, id: &str) -> Result<Value, Failure> {
    let commit = call.git()?.branch_id(short(id))?.ok_or_else(|| Failure::no_branch(short(id)))?;
    Ok(branch_json(id, &commit, &call.repo_in(&call.state())?.default_branch))
}

/// Filters refs by a contained text and puts them in the order asked for.
pub(crate) fn chosen(call: &Call, git: &Repo, prefix: &str) -> Result<Vec<(String, String)>, Failure> {
    let wanted = call.params.filled("filterText").unwrap_or_default().to_lowercase();
    let mut refs = git.refs(prefix)?;
    refs.retain(|(name, _)| name[prefix.len()..].to_lowercase().contains(&wanted));
    if call.params.text("orderBy") == Some("MODIFICATION") {
        let ids: Vec<String> = refs.iter().map(|(_, id)| format!("{id}^{{commit}}")).collect();
        let ids: Vec<String> = git.resolve_all(&ids)?.into_iter().flatten().collect();
        let dates: HashMap<String, String> =
            git.commits(&ids)?.into_iter().map(|commit| (commit.id, commit.committed)).collect();
        refs.sort_by(|(_, a), (_, b)| dates.get(b).cmp(&dates.get(a)));
    } else {
        refs.sort_by_key(|(name, _)| name.to_lowercase());
    }
    if call.params.flag("boostMatches") && !wanted.is_empty() {
        refs.sort_by_key(|(name, _)| {
            let name = name[prefix.len()..].to_lowercase();
            (name != wanted, !name.starts_with(&wanted))
        });
    }
    Ok(refs)
}

fn list(call: &Call) -> Outcome {
    let git = call.git()?;
    let refs = chosen(call, &git, "refs/heads/")?;
    let default = call.repo_in(&call.state())?.default_branch.clone();
    let window = call.window(cap::DEFAULT);
    let mut details = HashMap::new();
    if call.params.flag("details") {
        let base = match call.params.filled("base") {
            Some(base) => git.commit_id(base)?,
            None => git.branch_id(&default)?,
        };
        for (id, commit) in refs.iter().skip(window.skip).take(window.take) {
            details.insert(id.clone(), metadata(call, &git, base.as_deref(), commit)?);
        }
    }
    call.paged(refs, cap::DEFAULT, |(id, commit)| {
        let mut value = branch_json(&id, &commit, &default);
        if let Some(found) = details.remove(&id) {
            entities::extend(&mut value, json!({ "metadata": found }));
        }
        value
    })
}

fn metadata(call: &Call, git: &Repo, base: Option<&str>, commit: &str) -> Result<Value, Failure> {
    let latest = git.commit(commit)?;
    let mut found = json!({ LATEST: entities::commit(&call.inner, &call.state(), &latest) });
    if let Some(base) = base.filter(|base| *base != commit) {
        let count = |from: &str, to: &str| git.count(&[to.to_owned(), format!("^{from}")]);
        let distance = json!({ "ahead": count(base, commit)?, "behind": count(commit, base)? });
        entities::extend(&mut found, json!({ AHEAD_BEHIND: distance }));
    }
    Ok(found)
}

fn create(call: &Call) -> Outcome {
    made(call).map(Reply::ok)
}

fn create_201(call: &Call) -> Outcome {
    made(call).map(Reply::created)
}

fn made(call: &Call) -> Result<Value, Failure> {
    let user = call.may_change(2)?;
    let git = call.git()?;
    let name = call.params.filled("name").map(short).unwrap_or_default().to_owned();
    let start = call.params.filled("startPoint").unwrap_or_default().to_owned();
    let mut problems = Vec::new();
    if name.is_empty() {
        problems.push(("name".to_owned(), "A branch name is required.".to_owned()));
    }
    if start.is_empty() {
        problems.push(("startPoint".to_owned(), "A start point is required.".to_owned()));
    }
    if !problems.is_empty() {
        return Err(Failure::fields(problems));
    }
    if !git.valid_ref(&name)? {
        return Err(Failure::new(
            400,
            "scm.ref.InvalidRefNameException",
            format!("\"{name}\" is not a valid branch name."),
        ));
    }
    let commit = git.commit_id(&start)?.ok_or_else(|| {
        let slug = call.part("slug");
        Failure::new(
            400,
            "commit.NoSuchCommitException",
            format!("Commit '{start}' does not exist in repository '{slug}'."),
        )
    })?;
    restrictions::check(call, &name, Move::Create)?;
    let writing = git.lock();
    for (other, _) in git.refs("refs/heads/")? {
        let other = short(&other);
        if other == name {
            return Err(Failure::new(
                400,
                "repository.DuplicateRefException",
                format!("Branch '{name}' already exists in this repository."),
            ));
        }
        if other.starts_with(&format!("{name}/")) || name.starts_with(&format!("{other}/")) {
            return Err(Failure::new(
                409,
                "repository.DuplicateRefException",
                format!("The branch name '{name}' conflicts with the existing branch '{other}'."),
            ));
        }
    }
    let id = format!("refs/heads/{name}");
    if !git.update_ref(&id, &commit, ZERO)? {
        return Err(Failure::plain(409, format!("Branch '{name}' could not be created.")));
    }
    drop(writing);
    events::branch_moved(&call.inner, call.repo, &id, None, Some(&commit), user)?;
    Ok(branch_json(&id, &commit, &call.repo_in(&call.state())?.default_branch))
}

fn delete(call: &Call) -> Outcome {
    let user = call.may_change(2)?;
    let name = call.params.filled("name").map(short).unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(Failure::field("name", "A branch name is required."));
    }
    restrictions::check(call, &name, Move::Delete)?;
    if call.repo_in(&call.state())?.default_branch == name {
        return Err(Failure::new(
            400,
            "branch.DefaultBranchDeletionException",
            format!("The default branch '{name}' cannot be deleted."),
        ));
    }
    let git = call.git()?;
    let writing = git.lock();
    // What is not there needs no deleting.
    let Some(commit) = git.branch_id(&name)? else { return Ok(Reply::no_content()) };
    if let Some(expected) = call.params.filled("endPoint")
        && expected != commit
    {
        return Err(Failure::new(
            400,
            "repository.ref.RefOutOfDateException",
            format!("Branch '{name}' is at {commit}, not at {expected}, and was not deleted."),
        ));
    }
    if call.params.flag("dryRun") {
        return Ok(Reply::no_content());
    }
    let id = format!("refs/heads/{name}");
    if !git.update_ref(&id, ZERO, &commit)? {
        return Err(Failure::plain(409, format!("Branch '{name}' could not be deleted.")));
    }
    drop(writing);
    events::branch_moved(&call.inner, call.repo, &id, Some(&commit), None, user)?;
    Ok(Reply::no_content())
}

fn containing(call: &Call) -> Outcome {
    let git = call.git()?;
    let commit = call.commit(&git, Some(call.part("commitId")))?;
    let default = call.repo_in(&call.state())?.default_branch.clone();
    let mut found = Vec::new();
    for (id, tip) in git.refs("refs/heads/")? {
        if git.is_ancestor(&commit, &tip)? {
            found.push((id, tip));
        }
    }
    call.paged(found, cap::DEFAULT, |(id, tip)| branch_json(&id, &tip, &default))
}
