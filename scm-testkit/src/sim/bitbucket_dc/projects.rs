//! Projects, and the repositories of one.

use super::{
    call::Call,
    entities,
    page::cap,
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::Always},
    state::Project,
    types::Permission,
};

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/api/projects", Always, "name permission &page", list),
    (
        "POST",
        "/api/projects",
        Always,
        "key name description avatar public:bool defaultBranch links:any",
        create,
    ),
    ("GET", "/api/projects/:key", Always, "", show),
    (
        "PUT",
        "/api/projects/:key",
        Always,
        "key name description avatar public:bool id type links:any owner:any",
        update,
    ),
    ("DELETE", "/api/projects/:key", Always, "", delete),
];

fn list(call: &Call) -> Outcome {
    let least = match call.params.filled("permission").map(Permission::from_name) {
        None => 1,
        Some(Some(permission)) if permission.of_project() => permission.level(),
        Some(_) => return Err(Failure::bad_argument("The permission is not one of projects")),
    };
    let wanted = call.params.filled("name").unwrap_or_default().to_lowercase();
    let state = call.state();
    let mut found: Vec<&Project> = state
        .projects
        .values()
        .filter(|project| project.owner.is_none())
        .filter(|project| project.name.to_lowercase().contains(&wanted))
        .filter(|project| call.level_on_project(&state, project.id) >= least)
        .collect();
    found.sort_by_key(|project| project.name.to_lowercase());
    call.paged(found, cap::DEFAULT, |project| entities::project(&call.inner, &state, project))
}

/// Letters, digits, `_` and `-`, a letter first.
pub(crate) fn valid_key(key: &str) -> bool {
    key.len() <= 128
        && key.starts_with(|first: char| first.is_ascii_uppercase())
        && key.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
}

fn create(call: &Call) -> Outcome {
    let user = call.user()?;
    let key = call.params.text("key").unwrap_or_default().to_uppercase();
    let name = call.params.text("name").unwrap_or_default().to_owned();
    let mut problems = Vec::new();
    if !valid_key(&key) {
        problems.push((
            "key".to_owned(),
            "The project key must start with a letter and may contain letters, digits, underscores and hyphens."
                .to_owned(),
        ));
    }
    if name.trim().is_empty() {
        problems.push(("name".to_owned(), "The project name is required.".to_owned()));
    }
    if !problems.is_empty() {
        return Err(Failure::fields(problems));
    }
    if !call.caller()?.has_user() {
        return Err(Failure::not_permitted());
    }
    let taken = |project: &Project| project.key == key || project.name.eq_ignore_ascii_case(&name);
    if call.state().projects.values().any(taken) {
        return Err(Failure::new(
            409,
            "project.NameConflictException",
            "The project key or name is already in use.",
        ));
    }
    let id = call.inner.make_project(&key, &name, None);
    let mut state = call.state();
    if let Some(project) = state.projects.get_mut(&id) {
        project.description = call.params.filled("description").map(str::to_owned);
        project.public = call.params.flag("public");
        project.members.insert(user, 3);
    }
    let project = state.projects.get(&id).ok_or_else(|| Failure::no_project(&key))?;
    Ok(Reply::created(entities::project(&call.inner, &state, project)))
}

fn show(call: &Call) -> Outcome {
    let state = call.state();
    Ok(Reply::ok(entities::project(&call.inner, &state, call.project_in(&state)?)))
}

fn update(call: &Call) -> Outcome {
    call.needs_project(3)?;
    let mut state = call.state();
    let project = call.project_mut(&mut state)?;
    if let Some(name) = call.params.filled("name") {
        name.clone_into(&mut project.name);
    }
    if let Some(text) = call.params.text("description") {
        project.description = Some(text.to_owned()).filter(|text| !text.is_empty());
    }
    if let Some(public) = call.params.bool("public") {
        project.public = public;
    }
    Ok(Reply::ok(entities::project(&call.inner, &state, call.project_in(&state)?)))
}

fn delete(call: &Call) -> Outcome {
    call.needs_project(3)?;
    let mut state = call.state();
    if state.repos_of(call.project).next().is_some() {
        let key = call.part("key");
        return Err(Failure::new(
            409,
            "IntegrityException",
            format!("The project \"{key}\" cannot be deleted because it has repositories."),
        ));
    }
    if let Some(project) = state.projects.remove(&call.project) {
        state.project_keys.remove(&project.key);
    }
    Ok(Reply::no_content())
}
