//! Groups, their subgroups and projects.

use serde_json::{Value, json};

use super::{
    auth::Access,
    call::Call,
    entities, projects,
    reply::{Failure, Outcome, Reply},
    router::Route,
    state::{Namespace, Source, State},
    types::Visibility,
};

const LIST: &str = "statistics:bool archived:bool skip_groups:ints all_available:bool \
     visibility:enum(private|internal|public) search owned:bool order_by:enum(name|path|id|similarity) \
     sort:enum(asc|desc) min_access_level:int top_level_only:bool marked_for_deletion_on active:bool \
     repository_storage with_custom_attributes:bool pagination &page";
const PROJECTS: &str = "archived:bool visibility:enum(private|internal|public) search \
     order_by:enum(id|name|path|created_at|updated_at|last_activity_at|similarity|star_count) sort:enum(asc|desc) \
     simple:bool owned:bool starred:bool with_issues_enabled:bool with_merge_requests_enabled:bool with_shared:bool \
     include_subgroups:bool include_ancestor_groups:bool min_access_level:int with_custom_attributes:bool \
     with_security_reports:bool &page";

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/groups", Access::Open, LIST, list),
    (
        "POST",
        "/groups",
        Access::Write,
        "name!:filled path!:filled parent_id:int description visibility:enum(private|internal|public) \
         default_branch_protection:int",
        create,
    ),
    ("GET", "/groups/:id", Access::Open, "with_custom_attributes:bool with_projects:bool", show),
    ("DELETE", "/groups/:id", Access::Write, "", delete),
    ("GET", "/groups/:id/projects", Access::Open, PROJECTS, group_projects),
    ("GET", "/groups/:id/subgroups", Access::Open, LIST, subgroups),
    ("GET", "/groups/:id/descendant_groups", Access::Open, LIST, descendants),
];

pub(crate) fn group_json(call: &Call, state: &State, group: &Namespace) -> Value {
    json!({
        "id": group.id,
        "web_url": format!("{}/groups/{}", call.inner.external_url(), group.full_path),
        "name": group.name,
        "path": group.path,
        "description": group.description,
        "visibility": group.visibility.name(),
        "share_with_group_lock": false,
        "require_two_factor_authentication": false,
        "two_factor_grace_period": 48,
        "project_creation_level": "developer",
        "auto_devops_enabled": null,
        "subgroup_creation_level": "maintainer",
        "emails_disabled": false,
        "emails_enabled": true,
        "mentions_disabled": null,
        "lfs_enabled": true,
        "archived": false,
        "default_branch": null,
        "default_branch_protection": if group.unprotected { 0 } else { 2 },
        "avatar_url": null,
        "request_access_enabled": true,
        "full_name": entities::full_name(state, group.id),
        "full_path": group.full_path,
        "created_at": entities::time(group.created_at),
        "parent_id": group.parent_id,
        "organization_id": 1,
        "shared_runners_setting": "enabled",
        "marked_for_deletion_on": null,
    })
}

fn listed<'a>(
    call: &Call,
    state: &'a State,
    groups: impl Iterator<Item = &'a Namespace>,
) -> Vec<&'a Namespace> {
    let user = call.user_id();
    let today = call.inner.today();
    let search = call.params.filled("search").map(str::to_lowercase);
    let least = call.params.int("min_access_level").or_else(|| call.params.flag("owned").then_some(50));
    let skip = call.params.ids("skip_groups").unwrap_or_default();
    let mut found: Vec<&Namespace> = groups
        .filter(|group| group.user_id.is_none() && !skip.contains(&group.id))
        .filter(|group| state.can_see_group(group, user, &today))
        .filter(|group| !call.params.flag("top_level_only") || group.parent_id.is_none())
        .filter(|group| call.params.text("visibility").is_none_or(|wanted| wanted == group.visibility.name()))
        .filter(|group| {
            search.as_deref().is_none_or(|text| {
                group.name.to_lowercase().contains(text) || group.path.to_lowercase().contains(text)
            })
        })
        .filter(|group| {
            least.is_none_or(|least| {
                user.is_some_and(|user| i64::from(state.namespace_level(group.id, user, &today)) >= least)
            })
        })
        .collect();
    match call.params.text("order_by").unwrap_or("name") {
        "id" => found.sort_by_key(|group| group.id),
        "path" => found.sort_by(|a, b| (&a.path, a.id).cmp(&(&b.path, b.id))),
        _ => found.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id))),
    }
    if call.params.text("sort") == Some("desc") {
        found.reverse();
    }
    found
}

fn list(call: &Call) -> Outcome {
    call.refuse_deep_offset("Group")?;
    let state = call.state();
    let found = listed(call, &state, state.namespaces.values());
    call.paged(found, |group| group_json(call, &state, group))
}

fn subgroups(call: &Call) -> Outcome {
    let state = call.state();
    let found = listed(call, &state, state.namespaces.values().filter(|group| group.parent_id == call.group));
    call.paged(found, |group| group_json(call, &state, group))
}

fn descendants(call: &Call) -> Outcome {
    let state = call.state();
    let below = state.descendants(call.group_id());
    let found = listed(call, &state, below.iter().filter_map(|id| state.namespaces.get(id)));
    call.paged(found, |group| group_json(call, &state, group))
}

fn show(call: &Call) -> Outcome {
    let state = call.state();
    let group = state.namespaces.get(&call.group_id()).ok_or_else(|| Failure::not_found("Group"))?;
    let mut value = group_json(call, &state, group);
    entities::extend(
        &mut value,
        json!({ "shared_with_groups": [], "prevent_sharing_groups_outside_hierarchy": false }),
    );
    Ok(Reply::ok(value))
}

fn group_projects(call: &Call) -> Outcome {
    let state = call.state();
    let mut spaces = vec![call.group_id()];
    if call.params.flag("include_subgroups") {
        spaces.extend(state.descendants(call.group_id()));
    }
    let candidates = spaces
        .iter()
        .filter_map(|space| state.projects_in.get(space))
        .flatten()
        .filter_map(|id| state.projects.get(id));
    let found = projects::filtered(call, &state, candidates)?;
    let simple = call.params.flag("simple");
    call.paged(found, |project| {
        if simple {
            entities::project_simple(&call.inner, &state, project)
        } else {
            projects::project_json(call, &state, project)
        }
    })
}

fn create(call: &Call) -> Outcome {
    let user = call.user()?;
    let path = call.params.text("path").unwrap_or_default().to_owned();
    let now = call.inner.clock.now();
    let parent = {
        let state = call.state();
        match call.params.id("parent_id") {
            None => None,
            Some(id) => {
                let parent = state.namespaces.get(&id).filter(|space| space.user_id.is_none());
                let parent = parent.ok_or_else(|| Failure::not_found("Group"))?;
                if state.namespace_level(id, user, &call.inner.today()) < 40 && !state.is_admin(user) {
                    return Err(Failure::forbidden());
                }
                Some(parent.full_path.clone())
            }
        }
    };
    let full = parent.map_or_else(|| path.clone(), |parent| format!("{parent}/{path}"));
    if call.state().namespace_at(&full).is_some() {
        return Err(Failure::message(400, json!({ "path": ["has already been taken"] })));
    }
    let visibility = call.params.text("visibility").map_or(Visibility::Private, Visibility::from_name);
    let id =
        call.inner.make_group(&full, visibility).map_err(|error| Failure::bad_request(&error.to_string()))?;
    let mut state = call.state();
    state.add_member(Source::Group(id), user, 50, now);
    if let Some(group) = state.namespaces.get_mut(&id) {
        call.params.text("name").unwrap_or_default().clone_into(&mut group.name);
        call.params.text("description").unwrap_or_default().clone_into(&mut group.description);
        group.unprotected = call.params.int("default_branch_protection") == Some(0);
    }
    let group = state.namespaces.get(&id).ok_or_else(|| Failure::not_found("Group"))?;
    Ok(Reply::created(group_json(call, &state, group)))
}

/// With all that is in it.
fn delete(call: &Call) -> Outcome {
    let user = call.user()?;
    let id = call.group.ok_or_else(Failure::nothing_here)?;
    let (groups, projects) = {
        let state = call.state();
        if state.namespace_level(id, user, &call.inner.today()) < 50 && !state.is_admin(user) {
            return Err(Failure::forbidden());
        }
        let below = |space: &&Namespace| state.ancestry(space.id).iter().any(|above| above.id == id);
        let groups: Vec<u64> = state.namespaces.values().filter(below).map(|space| space.id).collect();
        let projects: Vec<u64> =
            groups.iter().filter_map(|id| state.projects_in.get(id)).flatten().copied().collect();
        (groups, projects)
    };
    for project in projects {
        call.inner.remove_project(project);
    }
    let mut state = call.state();
    for id in groups {
        if let Some(group) = state.namespaces.remove(&id) {
            state.namespace_paths.remove(&group.full_path.to_lowercase());
            state.members.remove(&Source::Group(id));
        }
    }
    Ok(Reply::json(202, json!({ "message": "202 Accepted" })))
}
