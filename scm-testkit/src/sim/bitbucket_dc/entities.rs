//! The shapes of users, projects, repositories, refs and commits.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sim::repo::CommitInfo;

use super::{
    Inner,
    state::{Project, Repository, State, User},
};

impl Inner {
    /// A point in time: milliseconds since 1970, or ISO 8601 where the server is told so.
    pub(crate) fn date(&self, at: Timestamp) -> Value {
        if self.iso_dates {
            Value::from(at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
        } else {
            Value::from(at.as_millisecond())
        }
    }

    /// The links of something that has a page of its own.
    pub(crate) fn self_link(&self, path: &str) -> Value {
        json!({ "self": [{ "href": format!("{}{path}", self.external_url()) }] })
    }
}

/// Adds members to an object.
pub(crate) fn extend(value: &mut Value, more: Value) {
    if let (Value::Object(map), Value::Object(more)) = (value, more) {
        map.extend(more);
    }
}

pub(crate) fn user(inner: &Inner, user: &User) -> Value {
    let mut value = json!({
        "name": user.name,
        "active": user.active,
        "displayName": user.display_name,
        "id": user.id,
        "slug": user.slug,
        "type": if user.service { "SERVICE" } else { "NORMAL" },
        "links": inner.self_link(&format!("/users/{}", user.slug)),
    });
    if let Some(email) = &user.email {
        extend(&mut value, json!({ "emailAddress": email }));
    }
    value
}

pub(crate) fn user_by_id(inner: &Inner, state: &State, id: u64) -> Value {
    state.users.get(&id).map_or(Value::Null, |found| user(inner, found))
}

pub(crate) fn project(inner: &Inner, state: &State, project: &Project) -> Value {
    let owner = project.owner.and_then(|id| state.users.get(&id));
    let page =
        owner.map_or_else(|| format!("/projects/{}", project.key), |owner| format!("/users/{}", owner.slug));
    let mut value = json!({
        "key": project.key,
        "id": project.id,
        "name": project.name,
        "public": project.public,
        "type": if owner.is_some() { "PERSONAL" } else { "NORMAL" },
        "links": inner.self_link(&page),
    });
    if let Some(text) = &project.description {
        extend(&mut value, json!({ "description": text }));
    }
    if let Some(owner) = owner {
        extend(&mut value, json!({ "owner": user(inner, owner) }));
    }
    value
}

pub(crate) fn repository(inner: &Inner, state: &State, repo: &Repository) -> Value {
    let mut value = plain_repository(inner, state, repo);
    if let Some(origin) = repo.origin.and_then(|id| state.repos.get(&id)) {
        extend(&mut value, json!({ "origin": plain_repository(inner, state, origin) }));
    }
    value
}

fn plain_repository(inner: &Inner, state: &State, repo: &Repository) -> Value {
    let key = state.key_of(repo);
    let (base, slug) = (inner.external_url(), &repo.slug);
    let home = match key.strip_prefix('~') {
        Some(owner) => format!("{base}/users/{owner}"),
        None => format!("{base}/projects/{key}"),
    };
    let host = base.split("://").nth(1).unwrap_or(base);
    let host = host.split(['/', ':']).next().unwrap_or_default();
    let path = format!("{}/{slug}.git", key.to_lowercase());
    let mut value = json!({
        "slug": slug,
        "id": repo.id,
        "name": repo.name,
        "hierarchyId": repo.hierarchy,
        "scmId": "git",
        "state": "AVAILABLE",
        "statusMessage": "Available",
        "forkable": repo.forkable,
        "project": state.projects.get(&repo.project_id).map(|found| project(inner, state, found)),
        "public": repo.public,
        "archived": repo.archived,
        "links": {
            "clone": [
                { "href": format!("ssh://git@{host}:7999/{path}"), "name": "ssh" },
                { "href": format!("{base}/scm/{path}"), "name": "http" },
            ],
            "self": [{ "href": format!("{home}/repos/{slug}/browse") }],
        },
    });
    if let Some(text) = &repo.description {
        extend(&mut value, json!({ "description": text }));
    }
    value
}

/// A branch or tag by its full name.
pub(crate) fn minimal_ref(id: &str) -> Value {
    let (kind, name) = match id.strip_prefix("refs/tags/") {
        Some(name) => ("TAG", name),
        None => ("BRANCH", short(id)),
    };
    json!({ "id": id, "displayId": name, "type": kind })
}

/// The name of a branch without `refs/heads/`.
pub(crate) fn short(name: &str) -> &str {
    name.strip_prefix("refs/heads/").unwrap_or(name)
}

pub(crate) fn display_id(id: &str) -> &str {
    id.get(..11).unwrap_or(id)
}

/// A commit; its people are shown as users where their addresses are known.
pub(crate) fn commit(inner: &Inner, state: &State, commit: &CommitInfo) -> Value {
    let person = |name: &str, email: &str| {
        let known =
            state.users.values().find(|user| user.email.as_deref().is_some_and(|known| known == email));
        match known {
            Some(known) => user(inner, known),
            None => json!({ "name": name, "emailAddress": email }),
        }
    };
    let parent = |id: &String| json!({ "id": id, "displayId": display_id(id) });
    json!({
        "id": commit.id,
        "displayId": display_id(&commit.id),
        "author": person(&commit.author_name, &commit.author_email),
        "authorTimestamp": millis(&commit.authored),
        "committer": person(&commit.committer_name, &commit.committer_email),
        "committerTimestamp": millis(&commit.committed),
        "message": commit.message.trim_end_matches('\n'),
        "parents": commit.parents.iter().map(parent).collect::<Vec<_>>(),
    })
}

fn millis(date: &str) -> i64 {
    date.parse::<Timestamp>().map_or(0, Timestamp::as_millisecond)
}

/// A path and its parts.
pub(crate) fn path(text: &str) -> Value {
    let name = text.rsplit('/').next().unwrap_or_default();
    let mut value = json!({
        "components": text.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>(),
        "parent": text.rsplit_once('/').map_or("", |(parent, _)| parent),
        "name": name,
        "toString": text,
    });
    if let Some((_, ending)) = name.rsplit_once('.') {
        extend(&mut value, json!({ "extension": ending }));
    }
    value
}
