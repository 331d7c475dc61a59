//! Tags.

use serde_json::{Value, json};

use crate::sim::repo::{Identity, Repo, ZERO};

use super::{
    branches,
    call::Call,
    page::cap,
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::Always},
};

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/api/projects/:key/repos/:slug/tags", Always, "orderBy filterText &page", list),
    ("POST", "/api/projects/:key/repos/:slug/tags", Always, "name startPoint message", create_200),
    ("GET", "/api/projects/:key/repos/:slug/tags/*name", Always, "", show),
    (
        "POST",
        "/git/projects/:key/repos/:slug/tags",
        Always,
        "name startPoint message force:bool type",
        create_201,
    ),
    ("DELETE", "/git/projects/:key/repos/:slug/tags/*name", Always, "", delete),
];

fn tag_json(git: &Repo, id: &str, object: &str) -> Result<Value, Failure> {
    let commit = git.resolve_all(&[format!("{object}^{{commit}}")])?.into_iter().flatten().next();
    let annotated = git.tag_message(object)?.is_some();
    Ok(json!({
        "id": id,
        "displayId": id.strip_prefix("refs/tags/").unwrap_or(id),
        "type": "TAG",
        "latestCommit": commit,
        "latestChangeset": commit,
        "hash": annotated.then_some(object),
    }))
}

fn list(call: &Call) -> Outcome {
    let git = call.git()?;
    let refs = branches::chosen(call, &git, "refs/tags/")?;
    let mut values = Vec::new();
    for (id, object) in refs {
        values.push(tag_json(&git, &id, &object)?);
    }
    call.paged(values, cap::DEFAULT, |value| value)
}

fn find(call: &Call, git: &Repo) -> Result<(String, String), Failure> {
    let name = call.part("name");
    let id = format!("refs/tags/{}", name.strip_prefix("refs/tags/").unwrap_or(name));
    let found = git.resolve_all(std::slice::from_ref(&id))?.into_iter().flatten().next();
    let missing =
        || Failure::new(404, "repository.NoSuchTagException", format!("Tag '{name}' does not exist."));
    found.map(|object| (id, object)).ok_or_else(missing)
}

fn show(call: &Call) -> Outcome {
    let git = call.git()?;
    let (id, object) = find(call, &git)?;
    tag_json(&git, &id, &object).map(Reply::ok)
}

fn create_200(call: &Call) -> Outcome {
    made(call, call.params.filled("message").is_some()).map(Reply::ok)
}

fn create_201(call: &Call) -> Outcome {
    made(call, call.params.filled("type") == Some("ANNOTATED")).map(Reply::created)
}

fn made(call: &Call, annotated: bool) -> Result<Value, Failure> {
    let user = call.may_change(2)?;
    let git = call.git()?;
    let name = call.params.filled("name").unwrap_or_default();
    let name = name.strip_prefix("refs/tags/").unwrap_or(name).to_owned();
    let start = call.params.filled("startPoint").unwrap_or_default().to_owned();
    if name.is_empty() || !git.valid_ref(&name)? {
        return Err(Failure::field("name", format!("\"{name}\" is not a valid tag name.")));
    }
    let commit = git.commit_id(&start)?;
    let commit =
        commit.ok_or_else(|| Failure::field("startPoint", format!("\"{start}\" does not name a commit.")))?;
    let id = format!("refs/tags/{name}");
    let _writing = git.lock();
    let old = git.resolve_all(std::slice::from_ref(&id))?.into_iter().flatten().next();
    if old.is_some() && !call.params.flag("force") {
        return Err(Failure::new(
            400,
            "repository.DuplicateRefException",
            format!("Tag '{name}' already exists in this repository."),
        ));
    }
    let object = if annotated {
        let who = call.inner.identity(user);
        git.annotated_tag(&name, &commit, call.params.text("message").unwrap_or_default(), &who)?
    } else {
        commit
    };
    if !git.update_ref(&id, &object, old.as_deref().unwrap_or(ZERO))? {
        return Err(Failure::plain(409, format!("Tag '{name}' could not be created.")));
    }
    tag_json(&git, &id, &object)
}

fn delete(call: &Call) -> Outcome {
    call.may_change(2)?;
    let git = call.git()?;
    let (id, object) = find(call, &git)?;
    git.update_ref(&id, ZERO, &object)?;
    Ok(Reply::no_content())
}

impl super::Inner {
    /// The user as git writes authors, now.
    pub(crate) fn identity(&self, user_id: u64) -> Identity {
        let date = format!("{} +0000", self.clock.unix_seconds());
        let state = self.state();
        let (name, email) = state.users.get(&user_id).map_or_else(Default::default, |user| {
            let email = user.email.clone().unwrap_or_else(|| format!("{}@localhost", user.slug));
            (user.display_name.clone(), email)
        });
        Identity { name, email, date }
    }
}
