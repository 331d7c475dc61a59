//! Projects: lists by offset and keyset, one project, its settings.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sim::params::timestamp;

use super::{
    auth::Access,
    call::Call,
    entities,
    reply::{Failure, Outcome, Reply},
    router::Route,
    state::{Project, Source, State},
    types::{ProjectSpec, Protection, Visibility},
};

const LIST: &str = "order_by:enum(id|name|path|created_at|updated_at|last_activity_at|similarity|star_count|\
     storage_size|repository_size|wiki_size|packages_size) sort:enum(asc|desc) archived:bool \
     visibility:enum(private|internal|public) search search_namespaces:bool owned:bool starred:bool imported:bool \
     membership:bool with_issues_enabled:bool with_merge_requests_enabled:bool with_programming_language \
     min_access_level:int id_after:int id_before:int last_activity_after:time last_activity_before:time \
     repository_storage topic topic_id:int updated_before:time updated_after:time include_pending_delete:bool \
     marked_for_deletion_on active:bool wiki_checksum_failed:bool repository_checksum_failed:bool include_hidden:bool \
     simple:bool statistics:bool with_custom_attributes:bool pagination:enum(keyset|offset) cursor &page";
const SETTINGS: &str = "name path default_branch description visibility:enum(private|internal|public) topics:list \
     tag_list:list merge_method:enum(ff|rebase_merge|merge) squash_option:enum(never|always|default_on|default_off) \
     only_allow_merge_if_pipeline_succeeds:bool only_allow_merge_if_all_discussions_are_resolved:bool \
     remove_source_branch_after_merge:bool lfs_enabled:bool issues_enabled:bool merge_requests_enabled:bool \
     wiki_enabled:bool jobs_enabled:bool snippets_enabled:bool request_access_enabled:bool approvals_before_merge:int \
     initialize_with_readme:bool namespace_id:int ci_config_path auto_devops_enabled:bool shared_runners_enabled:bool \
     issues_access_level repository_access_level merge_requests_access_level builds_access_level import_url \
     merge_commit_template squash_commit_template allow_merge_on_skipped_pipeline:bool";

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/projects", Access::Open, LIST, list),
    ("POST", "/projects", Access::Write, SETTINGS, create),
    ("GET", "/projects/:id", Access::Open, "statistics:bool with_custom_attributes:bool license:bool", show),
    ("PUT", "/projects/:id", Access::Write, SETTINGS, update),
    ("DELETE", "/projects/:id", Access::Write, "permanently_remove:bool full_path", delete),
    ("POST", "/projects/:id/archive", Access::Write, "", archive),
    ("POST", "/projects/:id/unarchive", Access::Write, "", unarchive),
];

/// A project as lists and single reads show it to the caller.
pub(crate) fn project_json(call: &Call, state: &State, project: &Project) -> Value {
    match call.user_id() {
        None => entities::project_simple(&call.inner, state, project),
        Some(user) => {
            let mut value = entities::project_full(&call.inner, state, project, user);
            let permissions = entities::permissions(&call.inner, state, project, user);
            entities::extend(&mut value, json!({ "permissions": permissions }));
            value
        }
    }
}

/// The conditions of a list, read once.
#[derive(Debug)]
struct Filter<'a> {
    user: Option<u64>,
    today: String,
    search: Option<String>,
    namespaces_too: bool,
    member: bool,
    least: Option<u32>,
    archived: Option<bool>,
    visibility: Option<&'a str>,
    topic: Option<&'a str>,
    owned: bool,
    starred: bool,
    after: Option<u64>,
    before: Option<u64>,
    activity: (Option<Timestamp>, Option<Timestamp>),
    updated: (Option<Timestamp>, Option<Timestamp>),
}

impl<'a> Filter<'a> {
    fn of(call: &'a Call) -> Result<Self, Failure> {
        let params = &call.params;
        let time = |name| params.filled(name).and_then(timestamp);
        let least = match params.int("min_access_level") {
            None => None,
            Some(level) => Some(
                u32::try_from(level)
                    .ok()
                    .filter(|level| [5, 10, 15, 20, 30, 40, 50].contains(level))
                    .ok_or_else(|| Failure::error(400, "min_access_level does not have a valid value"))?,
            ),
        };
        Ok(Self {
            user: call.user_id(),
            today: call.inner.today(),
            search: params.filled("search").map(str::to_lowercase),
            namespaces_too: params.flag("search_namespaces"),
            member: params.flag("membership"),
            least,
            archived: params.bool("archived"),
            visibility: params.text("visibility"),
            topic: params.filled("topic"),
            owned: params.flag("owned"),
            starred: params.flag("starred"),
            after: params.id("id_after"),
            before: params.id("id_before"),
            activity: (time("last_activity_after"), time("last_activity_before")),
            updated: (time("updated_after"), time("updated_before")),
        })
    }

    fn takes(&self, state: &State, project: &Project) -> bool {
        let within = |range: (Option<Timestamp>, Option<Timestamp>), at: Timestamp| {
            range.0.is_none_or(|from| at > from) && range.1.is_none_or(|to| at < to)
        };
        if self.starred
            || self.after.is_some_and(|id| project.id <= id)
            || self.before.is_some_and(|id| project.id >= id)
            || self.archived.is_some_and(|archived| archived != project.archived)
            || self.visibility.is_some_and(|wanted| wanted != project.visibility.name())
            || self.topic.is_some_and(|topic| !project.topics.iter().any(|other| other == topic))
            || !within(self.activity, project.last_activity_at)
            || !within(self.updated, project.updated_at)
            || !state.can_see(project, self.user, &self.today)
        {
            return false;
        }
        if self.member || self.owned || self.least.is_some() {
            let level = self.user.map_or(0, |user| state.project_level(project, user, &self.today));
            let own = self.user.is_some_and(|user| {
                state.namespaces.get(&project.namespace_id).is_some_and(|space| space.user_id == Some(user))
            });
            if level == 0
                || (self.owned && !own && level < 50)
                || self.least.is_some_and(|least| level < least)
            {
                return false;
            }
        }
        self.search.as_deref().is_none_or(|text| {
            let own = |part: &str| part.to_lowercase().contains(text);
            own(&project.name)
                || own(&project.path)
                || (self.namespaces_too && own(&state.full_path(project)))
        })
    }
}

/// The projects that the conditions of the request leave, in the order it asks for.
pub(crate) fn filtered<'a>(
    call: &Call,
    state: &'a State,
    projects: impl Iterator<Item = &'a Project>,
) -> Result<Vec<&'a Project>, Failure> {
    let filter = Filter::of(call)?;
    let mut found: Vec<&Project> = projects.filter(|project| filter.takes(state, project)).collect();
    match call.params.text("order_by").unwrap_or("created_at") {
        "name" => found.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id))),
        "path" => found.sort_by(|a, b| (&a.path, a.id).cmp(&(&b.path, b.id))),
        "updated_at" => found.sort_by_key(|project| (project.updated_at, project.id)),
        "last_activity_at" => found.sort_by_key(|project| (project.last_activity_at, project.id)),
        "created_at" => found.sort_by_key(|project| (project.created_at, project.id)),
        _ => found.sort_by_key(|project| project.id),
    }
    if call.params.text("sort") != Some("asc") {
        found.reverse();
    }
    Ok(found)
}

fn list(call: &Call) -> Outcome {
    let simple = call.params.flag("simple");
    let keyset = call.params.text("pagination") == Some("keyset");
    if keyset {
        return by_keyset(call, simple);
    }
    call.refuse_deep_offset("Project")?;
    let state = call.state();
    let found = filtered(call, &state, state.projects.values())?;
    call.paged(found, |project| entity(call, &state, project, simple))
}

fn entity(call: &Call, state: &State, project: &Project, simple: bool) -> Value {
    if simple {
        entities::project_simple(&call.inner, state, project)
    } else {
        project_json(call, state, project)
    }
}

/// Walks the projects by id from where the last page ended; nothing is sorted.
fn by_keyset(call: &Call, simple: bool) -> Outcome {
    if call.params.text("order_by").unwrap_or("id") != "id" {
        return Err(Failure::error(405, "Keyset pagination is not yet available for this type of request"));
    }
    let filter = Filter::of(call)?;
    let ascending = call.params.text("sort") == Some("asc");
    let per_page = call.asked().per_page;
    let state = call.state();
    let low = filter.after.map_or(0, |id| id.saturating_add(1));
    let high = filter.before.unwrap_or(u64::MAX);
    if low >= high {
        return call.keyset(Vec::new(), None);
    }
    let range = state.projects.range(low..high).map(|(_, project)| project);
    let takes = |project: &&Project| filter.takes(&state, project);
    let found: Vec<&Project> = if ascending {
        range.filter(takes).take(per_page + 1).collect()
    } else {
        range.rev().filter(takes).take(per_page + 1).collect()
    };
    let more = found.len() > per_page;
    let page: Vec<&Project> = found.into_iter().take(per_page).collect();
    let last = page.last().map_or(0, |project| project.id);
    let values = page.into_iter().map(|project| entity(call, &state, project, simple)).collect();
    let key = if ascending { "id_after" } else { "id_before" };
    call.keyset(values, more.then_some(&[(key, last.to_string())]))
}

fn show(call: &Call) -> Outcome {
    let state = call.state();
    let project = call.project_in(&state)?;
    let mut value = project_json(call, &state, project);
    if call.params.flag("statistics") && call.level_on(&state, project) >= 20 {
        entities::extend(
            &mut value,
            json!({ "statistics": { "commit_count": 0, "storage_size": 0, "repository_size": 0 } }),
        );
    }
    Ok(Reply::ok(value))
}

fn create(call: &Call) -> Outcome {
    let user = call.user()?;
    let name = call.params.filled("name").or(call.params.filled("path"));
    let Some(name) = name.map(str::to_owned) else {
        return Err(Failure::error(400, "name, path are missing, at least one parameter must be provided"));
    };
    let slug: String = name
        .to_lowercase()
        .chars()
        .map(|letter| if letter.is_alphanumeric() || "-_.".contains(letter) { letter } else { '-' })
        .collect();
    let path = call.params.filled("path").map_or(slug, str::to_owned);
    let (namespace, protection) = {
        let state = call.state();
        let id = match call.params.id("namespace_id") {
            Some(id) => id,
            None => state.users.get(&user).map_or(0, |user| user.namespace_id),
        };
        let space = state.namespaces.get(&id);
        let space = space.ok_or_else(|| Failure::message(400, json!({ "namespace": ["is not valid"] })))?;
        if state.namespace_level(id, user, &call.inner.today()) < 30 && !state.is_admin(user) {
            return Err(Failure::message(400, json!({ "namespace": ["is not valid"] })));
        }
        let protection = if space.unprotected { Protection::None } else { Protection::Full };
        (space.full_path.clone(), protection)
    };
    let full = format!("{namespace}/{path}");
    if call.state().project_at(&full).is_some() {
        let taken = json!(["has already been taken"]);
        return Err(Failure::message(
            400,
            json!({ "project_namespace.name": taken, "name": taken, "path": taken }),
        ));
    }
    let mut spec = ProjectSpec::new()
        .visibility(call.params.text("visibility").map_or(Visibility::Private, Visibility::from_name))
        .protection(protection);
    if let Some(branch) = call.params.filled("default_branch") {
        spec = spec.default_branch(branch);
    }
    spec.empty = !call.params.flag("initialize_with_readme");
    let id =
        call.inner.make_project(&full, &spec).map_err(|error| Failure::bad_request(&error.to_string()))?;
    let now = call.inner.clock.now();
    let mut state = call.state();
    let level = state.project_level(state.projects.get(&id).ok_or_else(Failure::nothing_here)?, user, "");
    if level < 40 {
        state.add_member(Source::Project(id), user, 40, now);
    }
    if let Some(project) = state.projects.get_mut(&id) {
        project.name = name;
        project.creator_id = user;
        apply(call, project);
    }
    let project = state.projects.get(&id).ok_or_else(Failure::nothing_here)?;
    Ok(Reply::created(project_json(call, &state, project)))
}

fn apply(call: &Call, project: &mut Project) {
    let params = &call.params;
    if params.has("description") {
        project.description = params.text("description").map(str::to_owned);
    }
    if let Some(topics) = params.texts("topics").or_else(|| params.texts("tag_list")) {
        project.topics = topics;
    }
    let settings = &mut project.settings;
    for (name, slot) in [
        ("only_allow_merge_if_pipeline_succeeds", &mut settings.pipeline_must_succeed),
        ("only_allow_merge_if_all_discussions_are_resolved", &mut settings.discussions_must_be_resolved),
        ("remove_source_branch_after_merge", &mut settings.remove_source_branch),
    ] {
        if let Some(value) = params.bool(name) {
            *slot = value;
        }
    }
    for (name, slot) in
        [("merge_method", &mut settings.merge_method), ("squash_option", &mut settings.squash_option)]
    {
        if let Some(value) = params.text(name) {
            value.clone_into(slot);
        }
    }
    if let Some(count) = params.int("approvals_before_merge") {
        settings.approvals_required = u32::try_from(count).unwrap_or(0);
    }
    if let Some(visibility) = params.text("visibility") {
        project.visibility = Visibility::from_name(visibility);
    }
}

fn update(call: &Call) -> Outcome {
    call.may_write(40)?;
    let repo = call.repo()?;
    if let Some(branch) = call.params.filled("default_branch") {
        if repo.branch_id(branch)?.is_none() {
            return Err(Failure::message(
                400,
                json!({ "base": [format!("Could not change HEAD: branch '{branch}' does not exist")] }),
            ));
        }
        repo.set_head_branch(branch)?;
    }
    let renamed = call.params.filled("path").map(str::to_owned);
    let now = call.inner.clock.now();
    {
        let mut state = call.state();
        let project = call.project_mut(&mut state)?;
        if let Some(name) = call.params.filled("name") {
            name.clone_into(&mut project.name);
        }
        if let Some(branch) = call.params.filled("default_branch") {
            branch.clone_into(&mut project.default_branch);
        }
        apply(call, project);
        project.updated_at = now;
    }
    if let Some(path) = renamed {
        let target = {
            let state = call.state();
            let project = call.project_in(&state)?;
            let space =
                state.namespaces.get(&project.namespace_id).map_or("", |space| space.full_path.as_str());
            format!("{space}/{path}")
        };
        call.inner
            .move_project_by_id(call.project_id(), &target)
            .map_err(|_| Failure::message(400, json!({ "path": ["has already been taken"] })))?;
    }
    let state = call.state();
    Ok(Reply::ok(project_json(call, &state, call.project_in(&state)?)))
}

fn set_archived(call: &Call, archived: bool) -> Outcome {
    call.needs(50)?;
    let mut state = call.state();
    call.project_mut(&mut state)?.archived = archived;
    let project = call.project_in(&state)?;
    Ok(Reply::created(project_json(call, &state, project)))
}

fn archive(call: &Call) -> Outcome {
    set_archived(call, true)
}

fn unarchive(call: &Call) -> Outcome {
    set_archived(call, false)
}

fn delete(call: &Call) -> Outcome {
    call.needs(50)?;
    call.inner.remove_project(call.project_id());
    Ok(Reply::json(202, json!({ "message": "202 Accepted" })))
}
