//! Repositories: of a project and of everyone, making, changing, forking and deleting them.

use serde_json::Value;

use super::{
    call::{Call, no_default_branch},
    entities,
    page::cap,
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::Always},
    state::{Repository, State},
    types::{EmptyDefaultBranch, Permission, RepositorySpec},
};

const WRITE: &str = "name slug scmId description forkable:bool public:bool archived:bool defaultBranch project:any id \
     hierarchyId links:any origin:any state statusMessage";

pub(crate) const ROUTES: &[Route] = &[
    (
        "GET",
        "/api/repos",
        Always,
        "archived projectname projectkey visibility name permission state &page",
        list,
    ),
    ("GET", "/api/projects/:key/repos", Always, "&page", list_of_project),
    ("POST", "/api/projects/:key/repos", Always, WRITE, create),
    ("GET", "/api/projects/:key/repos/:slug", Always, "", show),
    ("POST", "/api/projects/:key/repos/:slug", Always, WRITE, fork),
    ("PUT", "/api/projects/:key/repos/:slug", Always, WRITE, update),
    ("DELETE", "/api/projects/:key/repos/:slug", Always, "", delete),
    ("GET", "/api/projects/:key/repos/:slug/forks", Always, "&page", forks),
    ("GET", "/api/projects/:key/repos/:slug/default-branch", Always, "", default_branch),
    ("PUT", "/api/projects/:key/repos/:slug/default-branch", Always, "id displayId", set_default_branch),
    ("GET", "/api/projects/:key/repos/:slug/branches/default", Always, "", old_default_branch),
    ("PUT", "/api/projects/:key/repos/:slug/branches/default", Always, "id displayId", set_default_branch),
];

fn in_order<'a>(state: &State, mut found: Vec<&'a Repository>) -> Vec<&'a Repository> {
    found.sort_by_cached_key(|repo| {
        let project = state.projects.get(&repo.project_id).map_or("", |project| project.name.as_str());
        (project.to_lowercase(), repo.name.to_lowercase(), repo.id)
    });
    found
}

fn list(call: &Call) -> Outcome {
    let params = &call.params;
    let same = |name: &str, value: &str| {
        params.filled(name).is_none_or(|wanted| value.trim().eq_ignore_ascii_case(wanted.trim()))
    };
    let least = match params.filled("permission").map(Permission::from_name) {
        None => 0,
        Some(Some(permission)) if !permission.of_project() => permission.level(),
        Some(_) => return Err(Failure::bad_argument("The permission is not one of repositories")),
    };
    let public = match params.filled("visibility").map(str::to_lowercase).as_deref() {
        None => None,
        Some("public") => Some(true),
        Some("private") => Some(false),
        Some(_) => return Err(Failure::field("visibility", "must be public or private")),
    };
    let archived = match params.filled("archived").map(str::to_uppercase).as_deref() {
        None | Some("ACTIVE") => Some(false),
        Some("ARCHIVED") => Some(true),
        Some("ALL") => None,
        Some(_) => return Err(Failure::field("archived", "must be ACTIVE, ARCHIVED or ALL")),
    };
    let state = call.state();
    let found = state
        .repos
        .values()
        .filter(|repo| archived.is_none_or(|archived| repo.archived == archived))
        .filter(|repo| public.is_none_or(|public| state.is_public(repo) == public))
        .filter(|_| params.filled("state").is_none_or(|wanted| wanted == "AVAILABLE"))
        .filter(|repo| same("name", &repo.name))
        .filter(|repo| {
            let project = state.projects.get(&repo.project_id);
            project
                .is_some_and(|project| same("projectkey", &project.key) && same("projectname", &project.name))
        })
        // Without the parameter what is public counts; the permission itself is held by those who were given it.
        .filter(|repo| match &call.caller {
            Some(caller) if least > 0 && !call.inner.public_counts_as_read => {
                caller.granted_on(&state, repo) >= least
            }
            Some(caller) => caller.level_on(&state, repo) >= least.max(1),
            None => least == 0 && state.is_public(repo),
        })
        .collect();
    call.paged(in_order(&state, found), cap::DEFAULT, |repo| entities::repository(&call.inner, &state, repo))
}

fn list_of_project(call: &Call) -> Outcome {
    let state = call.state();
    let found = state.repos_of(call.project).filter(|repo| call.level_on(&state, repo) > 0).collect();
    call.paged(in_order(&state, found), cap::DEFAULT, |repo| entities::repository(&call.inner, &state, repo))
}

fn shown(call: &Call, status: u16, id: u64) -> Outcome {
    let state = call.state();
    let repo = state.repos.get(&id).ok_or_else(|| Failure::no_such("Repository"))?;
    Ok(Reply::json(status, entities::repository(&call.inner, &state, repo)))
}

/// The slug of a name: lower case, what is not a letter, digit, `.`, `_` or `-` becomes a `-`.
pub(crate) fn slug_of(name: &str) -> String {
    let mut slug = String::new();
    for letter in name.trim().to_lowercase().chars() {
        if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_') {
            slug.push(letter);
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug
}

/// The name, if it is one that a repository may have and nobody has in the project yet.
fn free_name(
    call: &Call,
    project: u64,
    name: &str,
    taken_status: u16,
    own: Option<u64>,
) -> Result<String, Failure> {
    let slug = slug_of(name);
    if name.trim().is_empty() || name.chars().count() > 128 || !name.starts_with(char::is_alphanumeric) {
        return Err(Failure::field(
            "name",
            "Repository names are limited to 128 characters. They must start with a letter or number and may contain \
             spaces, hyphens, underscores and periods",
        ));
    }
    let state = call.state();
    let taken = state.slugs.get(&(project, slug.clone())).is_some_and(|id| Some(*id) != own);
    if !taken {
        return Ok(slug);
    }
    Err(Failure::new(
        taken_status,
        "DuplicateEntityException",
        "This repository URL is already taken by another repository in the project.",
    ))
}

fn create(call: &Call) -> Outcome {
    call.user()?;
    call.needs_project(3)?;
    let name = call.params.text("name").unwrap_or_default().to_owned();
    if call.params.filled("scmId").is_some_and(|scm| scm != "git") {
        return Err(Failure::field("scmId", "The SCM is not supported."));
    }
    let slug = free_name(call, call.project, &name, 409, None)?;
    let mut spec = RepositorySpec::new().name(name).empty();
    if let Some(branch) = call.params.filled("defaultBranch") {
        spec = spec.default_branch(entities::short(branch));
    }
    if let Some(text) = call.params.filled("description") {
        spec = spec.description(text);
    }
    let id = call.inner.make_repository(call.project, &slug, &spec)?;
    if let Some(repo) = call.state().repos.get_mut(&id) {
        repo.forkable = call.params.bool("forkable").unwrap_or(true);
        repo.public = call.params.flag("public");
    }
    shown(call, 201, id)
}

fn show(call: &Call) -> Outcome {
    shown(call, 200, call.repo)
}

fn fork(call: &Call) -> Outcome {
    let user = call.user()?;
    let (name, forkable) = {
        let state = call.state();
        let repo = call.repo_in(&state)?;
        (repo.name.clone(), repo.forkable)
    };
    if !forkable {
        return Err(Failure::bad_argument("This repository may not be forked."));
    }
    let name = call.params.filled("name").map_or(name, str::to_owned);
    let target = match call.params.get("project") {
        Some(project) => {
            let key = project.get("key").and_then(Value::as_str);
            let key = key.ok_or_else(|| Failure::field("project.key", "The project's key is missing."))?;
            let state = call.state();
            let id = state.project_at(key).map(|project| project.id).filter(|id| {
                // What the caller cannot see is not admitted to exist.
                call.level_on_project(&state, *id) > 0
            });
            let id = id.ok_or_else(|| Failure::no_project(key))?;
            if call.level_on_project(&state, id) < 3 {
                return Err(Failure::not_permitted());
            }
            id
        }
        None if call.caller()?.has_user() => call.inner.personal_project(user)?,
        None => return Err(Failure::not_permitted()),
    };
    let slug = free_name(call, target, &name, 400, None)?;
    let id = call.inner.make_fork(call.repo, target, &slug, &name)?;
    if let Some(branch) = call.params.filled("defaultBranch")
        && let Some(repo) = call.state().repos.get_mut(&id)
    {
        entities::short(branch).clone_into(&mut repo.default_branch);
    }
    shown(call, 201, id)
}

fn update(call: &Call) -> Outcome {
    call.user()?;
    call.needs(3)?;
    let params = &call.params;
    let archiving = params.bool("archived");
    {
        let state = call.state();
        let repo = call.repo_in(&state)?;
        if repo.archived && archiving != Some(false) {
            return Err(Failure::archived(&repo.slug));
        }
        if archiving == Some(true) && repo.pull_requests.values().any(|pull| pull.state == "OPEN") {
            return Err(Failure::plain(
                403,
                "The repository has open pull requests and therefore cannot be archived.",
            ));
        }
    }
    let project = match params.get("project").and_then(|project| project.get("key")).and_then(Value::as_str) {
        None => call.project,
        Some(key) => {
            let state = call.state();
            let id = state.project_at(key).map(|project| project.id);
            let id = id.ok_or_else(|| Failure::no_project(key))?;
            if call.level_on_project(&state, id) < 3 {
                return Err(Failure::not_permitted());
            }
            id
        }
    };
    let name = {
        let state = call.state();
        params
            .filled("name")
            .map_or_else(|| call.repo_in(&state).map(|repo| repo.name.clone()), |name| Ok(name.to_owned()))?
    };
    let slug = free_name(call, project, &name, 409, Some(call.repo))?;
    if let Some(branch) = params.filled("defaultBranch") {
        change_default_branch(call, branch)?;
    }
    call.inner.move_repository(call.repo, project, &slug, &name);
    let mut state = call.state();
    let repo = call.repo_mut(&mut state)?;
    if let Some(text) = params.text("description") {
        repo.description = Some(text.to_owned()).filter(|text| !text.is_empty());
    }
    repo.forkable = params.bool("forkable").unwrap_or(repo.forkable);
    repo.public = params.bool("public").unwrap_or(repo.public);
    repo.archived = archiving.unwrap_or(repo.archived);
    drop(state);
    shown(call, 201, call.repo)
}

fn delete(call: &Call) -> Outcome {
    call.user()?;
    call.needs(3)?;
    call.inner.remove_repository(call.repo);
    Ok(Reply::json(
        202,
        serde_json::json!({
            "context": null,
            "message": format!("Repository {} has been scheduled for deletion.", call.part("slug")),
            "exceptionName": null,
        }),
    ))
}

fn forks(call: &Call) -> Outcome {
    let state = call.state();
    let found = state
        .repos
        .values()
        .filter(|repo| repo.origin == Some(call.repo) && call.level_on(&state, repo) > 0)
        .collect();
    call.paged(in_order(&state, found), cap::DEFAULT, |repo| entities::repository(&call.inner, &state, repo))
}

/// The default branch, whether it exists, and whether any branch does.
fn configured(call: &Call) -> Result<(String, bool, bool, String), Failure> {
    let git = call.git()?;
    let (name, empty, slug) = {
        let state = call.state();
        let repo = call.repo_in(&state)?;
        (repo.default_branch.clone(), repo.empty, repo.slug.clone())
    };
    let there = !empty && git.branch_id(&name)?.is_some();
    Ok((format!("refs/heads/{name}"), there, empty, slug))
}

fn default_branch(call: &Call) -> Outcome {
    let (id, there, _, slug) = configured(call)?;
    match (there, call.inner.empty_default_branch) {
        (true, _) | (false, EmptyDefaultBranch::Configured) => Ok(Reply::ok(entities::minimal_ref(&id))),
        (false, EmptyDefaultBranch::NoContent) => Ok(Reply::no_content()),
        (false, EmptyDefaultBranch::NotFound) => Err(no_default_branch(&slug)),
    }
}

fn old_default_branch(call: &Call) -> Outcome {
    let (id, there, empty, slug) = configured(call)?;
    if empty {
        return Ok(Reply::no_content());
    }
    if !there {
        return Err(no_default_branch(&slug));
    }
    super::branches::one(call, &id).map(Reply::ok)
}

fn set_default_branch(call: &Call) -> Outcome {
    call.may_change(3)?;
    let branch = call.params.filled("id").ok_or_else(|| Failure::field("id", "The branch is missing."))?;
    change_default_branch(call, branch)?;
    Ok(Reply::no_content())
}

fn change_default_branch(call: &Call, branch: &str) -> Result<(), Failure> {
    let name = entities::short(branch);
    let git = call.git()?;
    if !call.repo_in(&call.state())?.empty && git.branch_id(name)?.is_none() {
        return Err(Failure::no_branch(name));
    }
    git.set_head_branch(name)?;
    name.clone_into(&mut call.repo_mut(&mut call.state())?.default_branch);
    Ok(())
}
