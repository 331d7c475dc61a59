//! Tags.

use serde_json::{Value, json};

use crate::sim::repo::{Identity, Repo, ZERO};

use super::{
    auth::Access,
    branches,
    call::Call,
    contents, entities,
    reply::{Failure, Outcome, Reply},
    router::Route,
};

pub(crate) const ROUTES: &[Route] = &[
    (
        "GET",
        "/projects/:id/repository/tags",
        Access::Open,
        "sort:enum(asc|desc) order_by:enum(name|updated|version) search page_token &page",
        list,
    ),
    ("POST", "/projects/:id/repository/tags", Access::Write, "tag_name!:filled ref!:filled message", create),
    ("GET", "/projects/:id/repository/tags/:tag_name", Access::Open, "", show),
    ("DELETE", "/projects/:id/repository/tags/:tag_name", Access::Write, "", delete),
];

fn tag_json(call: &Call, repo: &Repo, name: &str, target: &str) -> Result<Value, Failure> {
    let peeled = repo.resolve_all(&[format!("{target}^{{commit}}")])?.into_iter().flatten().next();
    let commit = match peeled {
        Some(id) => Some(repo.commit(&id)?),
        None => None,
    };
    let message = repo.tag_message(target)?;
    let annotated = message.is_some();
    let created =
        commit.as_ref().filter(|_| annotated).map(|commit| entities::commit_time(&commit.committed));
    let url = contents::project_url(call);
    Ok(json!({
        "name": name,
        "message": message.unwrap_or_default(),
        "target": target,
        "commit": commit.map(|commit| entities::commit_json(&url, &commit)),
        "release": null,
        "protected": false,
        "created_at": created,
    }))
}

fn list(call: &Call) -> Outcome {
    call.may_read_code()?;
    let repo = call.repo()?;
    let mut found: Vec<(String, String)> = repo
        .refs("refs/tags/")?
        .into_iter()
        .filter_map(|(name, id)| name.strip_prefix("refs/tags/").map(|name| (name.to_owned(), id)))
        .filter(|(name, _)| {
            call.params.filled("search").is_none_or(|search| branches::searched(name, search))
        })
        .collect();
    if call.params.text("sort") != Some("asc") {
        found.reverse();
    }
    let asked = call.asked();
    let wanted: Vec<_> = found.iter().skip(asked.skip()).take(asked.per_page).collect();
    let made = wanted.iter().map(|(name, target)| tag_json(call, &repo, name, target));
    let mut values = made.collect::<Result<Vec<_>, _>>()?.into_iter();
    call.paged(found, |_| values.next().unwrap_or(Value::Null))
}

fn find(call: &Call, repo: &Repo) -> Result<(String, String), Failure> {
    let name = call.part("tag_name").to_owned();
    let id = repo.resolve_all(&[format!("refs/tags/{name}")])?.into_iter().flatten().next();
    Ok((name, id.ok_or_else(|| Failure::not_found("Tag"))?))
}

fn show(call: &Call) -> Outcome {
    call.may_read_code()?;
    let repo = call.repo()?;
    let (name, id) = find(call, &repo)?;
    Ok(Reply::ok(tag_json(call, &repo, &name, &id)?))
}

fn create(call: &Call) -> Outcome {
    let user = call.may_write(30)?;
    let repo = call.repo()?;
    let name = call.params.text("tag_name").unwrap_or_default().to_owned();
    let reference = call.params.text("ref").unwrap_or_default();
    if !repo.valid_ref(&name)? {
        return Err(Failure::plain("Tag name invalid"));
    }
    let target = contents::revision(call, &repo, Some(reference))?;
    let target = target.ok_or_else(|| Failure::plain(format!("Target {reference} is invalid")))?;
    let id = match call.params.filled("message") {
        None => target,
        Some(message) => {
            let tagger = {
                let state = call.state();
                let user = state.users.get(&user).ok_or_else(Failure::unauthorized)?;
                let date = format!("{} +0000", call.inner.clock.unix_seconds());
                Identity { name: user.name.clone(), email: user.email.clone(), date }
            };
            repo.annotated_tag(&name, &target, message, &tagger)?
        }
    };
    if !repo.update_ref(&format!("refs/tags/{name}"), &id, ZERO)? {
        return Err(Failure::plain(format!("Tag {name} already exists")));
    }
    call.state().touch(call.project_id(), call.inner.clock.now());
    Ok(Reply::created(tag_json(call, &repo, &name, &id)?))
}

fn delete(call: &Call) -> Outcome {
    call.may_write(30)?;
    let repo = call.repo()?;
    let (name, id) = find(call, &repo)?;
    if !repo.update_ref(&format!("refs/tags/{name}"), ZERO, &id)? {
        return Err(Failure::plain("Failed to remove tag"));
    }
    Ok(Reply::no_content())
}
