//! Branches.

use serde_json::{Value, json};

use crate::sim::repo::{CommitInfo, Repo, ZERO};

use super::{
    auth::Access,
    call::Call,
    contents, entities, events,
    reply::{Failure, Outcome, Reply},
    router::Route,
    state::State,
};

pub(crate) const ROUTES: &[Route] = &[
    (
        "GET",
        "/projects/:id/repository/branches",
        Access::Open,
        "search regex sort:enum(name_asc|updated_asc|updated_desc) page_token pagination &page",
        list,
    ),
    ("POST", "/projects/:id/repository/branches", Access::Write, "branch!:filled ref!:filled", create),
    ("GET", "/projects/:id/repository/branches/:branch", Access::Open, "", show),
    ("HEAD", "/projects/:id/repository/branches/:branch", Access::Open, "", exists),
    ("DELETE", "/projects/:id/repository/branches/:branch", Access::Write, "", delete),
    ("DELETE", "/projects/:id/repository/merged_branches", Access::Write, "", delete_merged),
];

struct View<'a> {
    call: &'a Call,
    state: &'a State,
    url: String,
    /// Branches that are contained in the default branch.
    merged: Vec<String>,
}

impl<'a> View<'a> {
    fn of(call: &'a Call, state: &'a State, repo: &Repo) -> Result<Self, Failure> {
        let project = call.project_in(state)?;
        let merged = match repo.branch_id(&project.default_branch)? {
            Some(head) => repo.merged_branches(&head)?,
            None => Vec::new(),
        };
        Ok(Self { call, state, url: entities::project_url(&call.inner, state, project.id), merged })
    }

    fn json(&self, name: &str, commit: &CommitInfo) -> Result<Value, Failure> {
        let project = self.call.project_in(self.state)?;
        let rule = self.state.protection(project, name);
        let level = self.call.level_on(self.state, project);
        let default = name == project.default_branch;
        Ok(json!({
            "name": name,
            "commit": entities::commit_json(&self.url, commit),
            "merged": !default && self.merged.iter().any(|other| other == name),
            "protected": rule.is_some(),
            "developers_can_push": rule.is_some_and(|rule| rule.push_level == 30),
            "developers_can_merge": rule.is_some_and(|rule| rule.merge_level == 30),
            "can_push": !project.archived && level >= 30 && level >= self.state.push_level(project, name),
            "default": default,
            "web_url": format!("{}/-/tree/{name}", self.url),
        }))
    }
}

fn list(call: &Call) -> Outcome {
    call.may_read_code()?;
    let repo = call.repo()?;
    let mut found: Vec<(String, String)> = repo
        .refs("refs/heads/")?
        .into_iter()
        .filter_map(|(name, id)| name.strip_prefix("refs/heads/").map(|name| (name.to_owned(), id)))
        .filter(|(name, _)| call.params.filled("search").is_none_or(|search| searched(name, search)))
        .filter(|(name, _)| call.params.filled("regex").is_none_or(|regex| simple_regex(regex, name)))
        .collect();
    if let Some(sort) = call.params.text("sort").filter(|sort| sort.starts_with("updated")) {
        let ids: Vec<String> = found.iter().map(|(_, id)| id.clone()).collect();
        let dates: Vec<Option<jiff::Timestamp>> =
            repo.commits(&ids)?.iter().map(|commit| commit.committed.parse().ok()).collect();
        let mut dated: Vec<_> = dates.into_iter().zip(found).collect();
        dated.sort();
        if sort == "updated_desc" {
            dated.reverse();
        }
        found = dated.into_iter().map(|(_, branch)| branch).collect();
    }
    let asked = call.asked();
    let keyset = call.params.text("pagination") == Some("keyset") || call.params.has("page_token");
    let start = match call.params.filled("page_token").filter(|_| keyset) {
        Some(token) => found.iter().position(|(name, _)| name == token).map_or(found.len(), |at| at + 1),
        None if keyset => 0,
        None => asked.skip(),
    };
    let page: Vec<(String, String)> = found.iter().skip(start).take(asked.per_page).cloned().collect();
    let ids: Vec<String> = page.iter().map(|(_, id)| id.clone()).collect();
    let commits = repo.commits(&ids)?;
    let state = call.state();
    let view = View::of(call, &state, &repo)?;
    let values = page.iter().zip(&commits).map(|((name, _), commit)| view.json(name, commit));
    let values: Vec<Value> = values.collect::<Result<_, _>>()?;
    if keyset {
        let more = start + page.len() < found.len();
        let next = page.last().filter(|_| more).map(|(name, _)| name.clone());
        return match next {
            Some(token) => call.keyset(values, Some(&[("page_token", token)])),
            None => call.keyset(values, None),
        };
    }
    let mut made = values.into_iter();
    let positions: Vec<usize> = (0..found.len()).collect();
    call.paged(positions, |_| made.next().unwrap_or(Value::Null))
}

/// `^x` is a beginning, `x$` an end, anything else a part; letters in either case.
pub(crate) fn searched(name: &str, search: &str) -> bool {
    let (name, search) = (name.to_lowercase(), search.to_lowercase());
    match (search.strip_prefix('^'), search.strip_suffix('$')) {
        (Some(head), _) if search.ends_with('$') => name == head.trim_end_matches('$'),
        (Some(head), _) => name.starts_with(head),
        (None, Some(tail)) => name.ends_with(tail),
        (None, None) => name.contains(&search),
    }
}

/// Enough of regular expressions for branch names: anchors, `.*` and plain text.
fn simple_regex(regex: &str, name: &str) -> bool {
    let head = if regex.starts_with('^') { "" } else { "*" };
    let tail = if regex.ends_with('$') { "" } else { "*" };
    let middle = regex.trim_start_matches('^').trim_end_matches('$').replace(".*", "*").replace('\\', "");
    super::state::wildcard(&format!("{head}{middle}{tail}"), name)
}

fn find(call: &Call) -> Result<(String, String), Failure> {
    call.may_read_code()?;
    let name = call.part("branch").to_owned();
    let id = call.repo()?.branch_id(&name)?.ok_or_else(|| Failure::not_found("Branch"))?;
    Ok((name, id))
}

fn branch_json(call: &Call, name: &str, id: &str) -> Result<Value, Failure> {
    let repo = call.repo()?;
    let commit = repo.commit(id)?;
    let state = call.state();
    View::of(call, &state, &repo)?.json(name, &commit)
}

fn show(call: &Call) -> Outcome {
    let (name, id) = find(call)?;
    Ok(Reply::ok(branch_json(call, &name, &id)?))
}

fn exists(call: &Call) -> Outcome {
    find(call)?;
    Ok(Reply::no_content())
}

fn create(call: &Call) -> Outcome {
    let user = call.may_write(30)?;
    let repo = call.repo()?;
    let name = call.params.text("branch").unwrap_or_default().to_owned();
    let reference = call.params.text("ref").unwrap_or_default();
    let writing = repo.lock();
    if !repo.valid_ref(&name)? {
        return Err(Failure::plain("Branch name is invalid"));
    }
    let id = contents::revision(call, &repo, Some(reference))?;
    if repo.branch_id(&name)?.is_some() {
        return Err(Failure::plain("Branch already exists"));
    }
    let id = id.ok_or_else(|| Failure::plain(format!("Invalid reference name: {reference}")))?;
    {
        let state = call.state();
        let project = call.project_in(&state)?;
        if call.level_on(&state, project) < state.push_level(project, &name) {
            return Err(Failure::forbidden_because("You are not allowed to create protected branches"));
        }
    }
    if !repo.update_ref(&format!("refs/heads/{name}"), &id, ZERO)? {
        // Another branch is in the way: `a` and `a/b` cannot both be.
        return Err(Failure::plain(format!(
            "Failed to create branch '{name}': invalid reference name '{reference}'"
        )));
    }
    drop(writing);
    events::branch_moved(&call.inner, call.project_id(), &name, None, Some(&id), user)?;
    Ok(Reply::created(branch_json(call, &name, &id)?))
}

fn delete(call: &Call) -> Outcome {
    let user = call.may_write(30)?;
    let name = call.part("branch").to_owned();
    let repo = call.repo()?;
    let writing = repo.lock();
    let id = repo.branch_id(&name)?.ok_or_else(|| Failure::not_found("Branch"))?;
    {
        let state = call.state();
        let project = call.project_in(&state)?;
        if name == project.default_branch {
            return Err(Failure::message(403, "Cannot remove HEAD branch"));
        }
        if state.protection(project, &name).is_some() {
            return Err(Failure::message(403, "Protected branch cant be removed"));
        }
    }
    if !repo.update_ref(&format!("refs/heads/{name}"), ZERO, &id)? {
        return Err(Failure::plain("Failed to remove branch"));
    }
    drop(writing);
    events::branch_moved(&call.inner, call.project_id(), &name, Some(&id), None, user)?;
    Ok(Reply::no_content())
}

fn delete_merged(call: &Call) -> Outcome {
    let user = call.may_write(30)?;
    let repo = call.repo()?;
    let default = call.project_in(&call.state())?.default_branch.clone();
    let Some(head) = repo.branch_id(&default)? else {
        return Ok(Reply::json(202, json!({ "message": "202 Accepted" })));
    };
    for name in repo.merged_branches(&head)? {
        let kept = {
            let state = call.state();
            name == default || state.protection(call.project_in(&state)?, &name).is_some()
        };
        let Some(id) = repo.branch_id(&name)?.filter(|_| !kept) else { continue };
        if repo.update_ref(&format!("refs/heads/{name}"), ZERO, &id)? {
            events::branch_moved(&call.inner, call.project_id(), &name, Some(&id), None, user)?;
        }
    }
    Ok(Reply::json(202, json!({ "message": "202 Accepted" })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_are_anchored_on_request() {
        assert!(searched("feature/X", "^feat") && !searched("my-feature", "^feat"));
        assert!(searched("a-fix", "fix$") && !searched("fix-a", "fix$"));
        assert!(searched("one", "^one$") && !searched("ones", "^one$"));
        assert!(simple_regex("^release/.*$", "release/1") && !simple_regex("^release/.*$", "x/release/1"));
    }
}
