//! Shapes that several endpoints share.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sim::repo::{CommitInfo, FileDiff, Stats};

use super::{
    Inner,
    state::{Namespace, Project, Source, State, User},
};

/// Times as the product writes them, in UTC with milliseconds.
pub(crate) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Commit times keep their offset: `2026-01-02T03:04:05.000+01:00`.
pub(crate) fn commit_time(iso: &str) -> String {
    let (whole, offset) = iso.split_at_checked(19).unwrap_or((iso, ""));
    let offset = if offset == "Z" { "+00:00" } else { offset };
    format!("{whole}.000{offset}")
}

pub(crate) fn extend(value: &mut Value, more: Value) {
    if let (Value::Object(map), Value::Object(more)) = (value, more) {
        map.extend(more);
    }
}

pub(crate) fn path_of(state: &State, project_id: u64) -> String {
    state.projects.get(&project_id).map(|project| state.full_path(project)).unwrap_or_default()
}

pub(crate) fn project_url(inner: &Inner, state: &State, project_id: u64) -> String {
    format!("{}/{}", inner.external_url(), path_of(state, project_id))
}

pub(crate) fn user_basic(inner: &Inner, state: &State, user_id: u64) -> Value {
    match state.users.get(&user_id) {
        Some(user) => user_json(inner, user),
        None => json!({
            "id": user_id, "username": "ghost", "name": "Ghost User", "state": "active", "locked": false,
            "avatar_url": null, "web_url": format!("{}/ghost", inner.external_url()),
        }),
    }
}

pub(crate) fn user_json(inner: &Inner, user: &User) -> Value {
    json!({
        "id": user.id,
        "username": user.username,
        "public_email": "",
        "name": user.name,
        "state": if user.blocked { "blocked" } else { "active" },
        "locked": false,
        "avatar_url": null,
        "web_url": format!("{}/{}", inner.external_url(), user.username),
    })
}

pub(crate) fn namespace_json(inner: &Inner, space: &Namespace) -> Value {
    let group = space.user_id.is_none();
    let url = if group { "groups/" } else { "" };
    json!({
        "id": space.id,
        "name": space.name,
        "path": space.path,
        "kind": if group { "group" } else { "user" },
        "full_path": space.full_path,
        "parent_id": space.parent_id,
        "avatar_url": null,
        "web_url": format!("{}/{url}{}", inner.external_url(), space.full_path),
    })
}

pub(crate) fn full_name(state: &State, namespace_id: u64) -> String {
    let names: Vec<&str> =
        state.ancestry(namespace_id).iter().rev().map(|space| space.name.as_str()).collect();
    names.join(" / ")
}

/// What `simple=true` shows, and every other form begins with.
pub(crate) fn project_simple(inner: &Inner, state: &State, project: &Project) -> Value {
    let full_path = state.full_path(project);
    let url = format!("{}/{full_path}", inner.external_url());
    let host = inner.host().split(':').next().unwrap_or_default();
    json!({
        "id": project.id,
        "description": project.description,
        "name": project.name,
        "name_with_namespace": format!("{} / {}", full_name(state, project.namespace_id), project.name),
        "path": project.path,
        "path_with_namespace": full_path,
        "created_at": time(project.created_at),
        "default_branch": (!project.empty).then_some(&project.default_branch),
        "tag_list": project.topics,
        "topics": project.topics,
        "ssh_url_to_repo": format!("git@{host}:{full_path}.git"),
        "http_url_to_repo": format!("{url}.git"),
        "web_url": url,
        "readme_url": (!project.empty).then(|| format!("{url}/-/blob/{}/README.md", project.default_branch)),
        "forks_count": state.forks.get(&project.id).copied().unwrap_or(0),
        "avatar_url": null,
        "star_count": 0,
        "last_activity_at": time(project.last_activity_at),
        "visibility": project.visibility.name(),
        "namespace": state.namespaces.get(&project.namespace_id).map(|space| namespace_json(inner, space)),
    })
}

/// The whole project for someone who is signed in, with the caller's own access.
pub(crate) fn project_full(inner: &Inner, state: &State, project: &Project, user: u64) -> Value {
    let today = inner.today();
    let mut value = project_simple(inner, state, project);
    let api = format!("{}/api/v4/projects/{}", inner.external_url(), project.id);
    let owner = state.namespaces.get(&project.namespace_id).and_then(|space| space.user_id);
    let level = state.project_level(project, user, &today);
    extend(
        &mut value,
        json!({
            "repository_storage": "default",
            "container_registry_image_prefix": format!("registry.example.com/{}", state.full_path(project)),
            "_links": {
                "self": api,
                "merge_requests": format!("{api}/merge_requests"),
                "repo_branches": format!("{api}/repository/branches"),
                "labels": format!("{api}/labels"),
                "events": format!("{api}/events"),
                "members": format!("{api}/members"),
                "cluster_agents": format!("{api}/cluster_agents"),
            },
            "marked_for_deletion_at": null,
            "marked_for_deletion_on": null,
            "packages_enabled": true,
            "empty_repo": project.empty,
            "archived": project.archived,
            "resolve_outdated_diff_discussions": false,
            "repository_object_format": "sha1",
            "issues_enabled": true,
            "merge_requests_enabled": true,
            "wiki_enabled": true,
            "jobs_enabled": true,
            "snippets_enabled": true,
            "container_registry_enabled": false,
            "service_desk_enabled": false,
            "can_create_merge_request_in": level >= 20 && !project.archived,
            "issues_access_level": "enabled",
            "repository_access_level": "enabled",
            "merge_requests_access_level": "enabled",
            "forking_access_level": "enabled",
            "builds_access_level": "enabled",
            "emails_enabled": true,
            "shared_runners_enabled": true,
            "lfs_enabled": true,
            "creator_id": project.creator_id,
            "import_status": "none",
            "open_issues_count": 0,
            "updated_at": time(project.updated_at),
            "ci_default_git_depth": 20,
            "ci_config_path": "",
            "public_jobs": true,
            "shared_with_groups": [],
            "only_allow_merge_if_pipeline_succeeds": project.settings.pipeline_must_succeed,
            "allow_merge_on_skipped_pipeline": false,
            "request_access_enabled": true,
            "only_allow_merge_if_all_discussions_are_resolved": project.settings.discussions_must_be_resolved,
            "remove_source_branch_after_merge": project.settings.remove_source_branch,
            "printing_merge_request_link_enabled": true,
            "merge_method": project.settings.merge_method,
            "squash_option": project.settings.squash_option,
            "suggestion_commit_message": "",
            "merge_commit_template": null,
            "squash_commit_template": null,
            "autoclose_referenced_issues": true,
            "approvals_before_merge": project.settings.approvals_required,
        }),
    );
    if let Some(owner) = owner {
        extend(&mut value, json!({ "owner": user_basic(inner, state, owner) }));
    }
    if let Some(parent) = project.forked_from.and_then(|id| state.projects.get(&id)) {
        extend(&mut value, json!({ "forked_from_project": project_simple(inner, state, parent) }));
    }
    value
}

/// The caller's access to a project, direct and through groups.
pub(crate) fn permissions(inner: &Inner, state: &State, project: &Project, user: u64) -> Value {
    let today = inner.today();
    let access = |level: Option<u32>| {
        level
            .filter(|level| *level > 0)
            .map(|level| json!({ "access_level": level, "notification_level": 3 }))
    };
    let direct = state.direct_level(Source::Project(project.id), user, &today);
    let owner = state.namespaces.get(&project.namespace_id).is_some_and(|space| space.user_id == Some(user));
    let group = state.namespaces.get(&project.namespace_id).filter(|space| space.user_id.is_none());
    json!({
        "project_access": access(direct.or(owner.then_some(50))),
        "group_access": access(group.map(|group| state.namespace_level(group.id, user, &today))),
    })
}

/// A commit. Its trailers stay empty: only the list parses them, where it is asked to.
pub(crate) fn commit_json(project_url: &str, commit: &CommitInfo) -> Value {
    json!({
        "id": commit.id,
        "short_id": &commit.id[..8.min(commit.id.len())],
        "created_at": commit_time(&commit.committed),
        "parent_ids": commit.parents,
        "title": commit.title(),
        "message": commit.message,
        "author_name": commit.author_name,
        "author_email": commit.author_email,
        "authored_date": commit_time(&commit.authored),
        "committer_name": commit.committer_name,
        "committer_email": commit.committer_email,
        "committed_date": commit_time(&commit.committed),
        "trailers": {},
        "extended_trailers": {},
        "web_url": format!("{project_url}/-/commit/{}", commit.id),
    })
}

/// The last value of each trailer, and all of them.
pub(crate) fn trailers_json(commit: &CommitInfo) -> Value {
    let mut extended: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, value) in &commit.trailers {
        extended.entry(key).or_default().push(value);
    }
    let last: BTreeMap<_, _> = extended.iter().map(|(key, values)| (key, values.last())).collect();
    json!({ "trailers": last, "extended_trailers": extended })
}

pub(crate) fn stats_json(stats: Stats) -> Value {
    json!({
        "additions": stats.additions,
        "deletions": stats.deletions,
        "total": stats.additions + stats.deletions,
    })
}

/// One file of a diff. `unified` adds the lines that a patch program wants.
pub(crate) fn diff_json(file: &FileDiff, unified: bool) -> Value {
    let mut text = file.hunks.clone();
    if unified && !text.is_empty() {
        let old = if file.status == 'A' { "/dev/null".to_owned() } else { format!("a/{}", file.old_path) };
        let new = if file.status == 'D' { "/dev/null".to_owned() } else { format!("b/{}", file.new_path) };
        text = format!("--- {old}\n+++ {new}\n{text}");
    }
    json!({
        "diff": text,
        "collapsed": false,
        "too_large": false,
        "new_path": file.new_path,
        "old_path": file.old_path,
        "a_mode": mode(&file.old_mode),
        "b_mode": mode(&file.new_mode),
        "new_file": file.status == 'A',
        "renamed_file": file.status == 'R',
        "deleted_file": file.status == 'D',
        "generated_file": false,
    })
}

/// The product writes an absent side's mode as a plain zero.
fn mode(mode: &str) -> &str {
    if mode == "000000" { "0" } else { mode }
}
