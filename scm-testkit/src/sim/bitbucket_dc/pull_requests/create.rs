//! Opening a pull request.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::sim::bitbucket_dc::{
    Inner,
    call::Call,
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::Always},
    state::{Repository, State},
};

use super::model::{Action, Participant, PullRequest, Side, json, measure, record, tip};

pub(crate) const ROUTES: &[Route] = &[(
    "POST",
    "/api/projects/:key/repos/:slug/pull-requests",
    Always,
    "title description state open:bool closed:bool fromRef:any toRef:any locked:bool reviewers:any draft:bool id version links:any \
     author:any participants:any",
    create,
)];

/// A pull request as it is asked for.
#[derive(Debug, Default)]
pub(crate) struct NewPullRequest {
    pub(crate) title: String,
    pub(crate) description: Option<String>,
    pub(crate) draft: bool,
    /// Repository and ref.
    pub(crate) from: (u64, String),
    pub(crate) to: (u64, String),
    pub(crate) reviewers: Vec<u64>,
}

fn create(call: &Call) -> Outcome {
    let user = call.user()?;
    let params = &call.params;
    let title = params.text("title").unwrap_or_default().trim().to_owned();
    let mut problems = Vec::new();
    if title.is_empty() {
        problems.push(("title".to_owned(), "The title is required.".to_owned()));
    }
    if title.chars().count() > 255 {
        problems.push(("title".to_owned(), "The title may have at most 255 characters.".to_owned()));
    }
    for name in ["fromRef", "toRef"] {
        let id = params.get(name).and_then(|side| side.get("id")).and_then(Value::as_str);
        if id.is_none_or(str::is_empty) {
            problems.push((format!("{name}.id"), format!("The {name} is required.")));
        }
    }
    if !problems.is_empty() {
        return Err(Failure::fields(problems));
    }
    let from = side(call, "fromRef")?;
    let to = side(call, "toRef")?;
    if to.0 != call.repo {
        return Err(Failure::bad_argument(
            "The target of a pull request is in the repository it is created in.",
        ));
    }
    let names = reviewer_names(params.get("reviewers"))?;
    let reviewers = {
        let state = call.state();
        resolve_reviewers(&state, call.repo_in(&state)?, user, &names)?
    };
    let new = NewPullRequest {
        title,
        description: params.filled("description").map(str::to_owned),
        draft: call.inner.release >= (8, 17) && params.flag("draft"),
        from,
        to,
        reviewers,
    };
    let id = open(&call.inner, &new, user)?;
    let state = call.state();
    let repo = call.repo_in(&state)?;
    let pull = repo.pull_requests.get(&id).ok_or_else(|| Failure::no_such("Pull request"))?;
    Ok(Reply::created(json(&call.inner, &state, repo, pull)))
}

/// Repository and ref of one end. Without a repository it is the one of the path.
fn side(call: &Call, name: &str) -> Result<(u64, String), Failure> {
    let value = call.params.get(name).cloned().unwrap_or_default();
    let id = value["id"].as_str().unwrap_or_default().to_owned();
    let Some(repository) = value.get("repository").filter(|repository| !repository.is_null()) else {
        return Ok((call.repo, id));
    };
    let slug = repository["slug"].as_str().unwrap_or_default();
    let key = repository["project"]["key"].as_str().unwrap_or_default();
    if slug.is_empty() || key.is_empty() {
        return Err(Failure::field(
            &format!("{name}.repository"),
            "The repository needs its slug and the key of its project.",
        ));
    }
    let state = call.state();
    let found = state.repo_at(key, slug).filter(|repo| call.level_on(&state, repo) > 0);
    found.map(|repo| (repo.id, id)).ok_or_else(|| Failure::no_repository(key, slug))
}

/// `[{user: {name}}]` as names.
pub(crate) fn reviewer_names(value: Option<&Value>) -> Result<Vec<String>, Failure> {
    let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let name = |reviewer: &Value| {
        let name = reviewer.get("user").and_then(|user| user.get("name")).and_then(Value::as_str);
        name.filter(|name| !name.is_empty()).map(str::to_owned)
    };
    list.iter()
        .map(|reviewer| {
            name(reviewer).ok_or_else(|| Failure::field("reviewers", "A reviewer's user name is missing."))
        })
        .collect()
}

/// Users who may review: known, not the author, able to read the target.
pub(crate) fn resolve_reviewers(
    state: &State,
    repo: &Repository,
    author: u64,
    names: &[String],
) -> Result<Vec<u64>, Failure> {
    let (mut valid, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        let problem = match state.user_named(name).filter(|user| user.active) {
            None => format!("{name} is not a user."),
            Some(user) if user.id == author => {
                format!("{name} is the author of the pull request and cannot review it.")
            }
            Some(user) if state.repo_level(repo, user.id) == 0 && !state.is_public(repo) => {
                format!("{name} does not have permission to view this repository.")
            }
            Some(user) => {
                if !valid.contains(&user.id) {
                    valid.push(user.id);
                }
                continue;
            }
        };
        errors.push(json!({ "context": name, "message": problem, "exceptionName": null }));
    }
    if errors.is_empty() {
        return Ok(valid);
    }
    Err(Failure::new(
        409,
        "pull.InvalidPullRequestReviewersException",
        "Errors encountered while adding some reviewers to this pull request.",
    )
    .with(json!({ "reviewerErrors": errors, "validReviewers": [] })))
}

/// `refs/heads/x` of what may be short. Of a branch and a tag of one name the branch is meant.
fn full_ref(inner: &Inner, side: &(u64, String)) -> Result<Option<(String, String)>, Failure> {
    let git = inner.repo(side.0)?;
    let names = match side.1.as_str() {
        full if full.starts_with("refs/") => vec![full.to_owned()],
        short => vec![format!("refs/heads/{short}"), format!("refs/tags/{short}")],
    };
    for name in names {
        if let Some(commit) = tip(&git, &name)? {
            return Ok(Some((name, commit)));
        }
    }
    Ok(None)
}

/// Opens a pull request, however it was asked for. Returns its number.
pub(crate) fn open(inner: &Inner, new: &NewPullRequest, user_id: u64) -> Result<u64, Failure> {
    let end = |side: &(u64, String)| -> Result<Side, Failure> {
        let (id, commit) = full_ref(inner, side)?.ok_or_else(|| Failure::no_branch(&side.1))?;
        Ok(Side { repo_id: side.0, id, commit })
    };
    {
        let state = inner.state();
        let hierarchy = |id: u64| state.repos.get(&id).map(|repo| repo.hierarchy.clone());
        if hierarchy(new.from.0) != hierarchy(new.to.0) {
            return Err(Failure::plain(
                409,
                "The repositories are not in the same hierarchy and cannot have a pull request between them.",
            ));
        }
        if let Some(repo) = state.repos.get(&new.to.0).filter(|repo| repo.archived) {
            return Err(Failure::archived(&repo.slug));
        }
    }
    let (from, to) = (end(&new.from)?, end(&new.to)?);
    if !to.id.starts_with("refs/heads/") {
        return Err(Failure::bad_argument("The target of a pull request must be a branch."));
    }
    duplicate(inner, &from, &to, None)?;
    let measured = measure(inner, &from, &to)?;
    if measured.contained {
        return Err(empty(&from, &to));
    }
    let now = inner.clock.now();
    let number = {
        let mut state = inner.state();
        let activity = state.next_id("activity");
        let repo = state.repos.get_mut(&to.repo_id).ok_or_else(|| Failure::no_such("Repository"))?;
        repo.last_pull_request += 1;
        let id = repo.last_pull_request;
        let mut pull = PullRequest {
            id,
            version: 0,
            title: new.title.clone(),
            description: new.description.clone(),
            state: "OPEN",
            draft: new.draft,
            created_at: now,
            updated_at: now,
            closed_at: None,
            author_id: user_id,
            from: from.clone(),
            to,
            base: measured.base,
            conflicted: measured.conflicted,
            reviewers: new.reviewers.iter().copied().map(Participant::new).collect(),
            participants: Vec::new(),
            comments: BTreeMap::new(),
            activities: Vec::new(),
            merge_commit: None,
            auto_merge: None,
        };
        record(&mut pull, activity, user_id, Action::Plain("OPENED", json!({})), now);
        repo.pull_requests.insert(id, pull);
        id
    };
    inner.repo(new.to.0)?.set_ref(&format!("refs/pull-requests/{number}/from"), &from.commit)?;
    Ok(number)
}

fn empty(from: &Side, to: &Side) -> Failure {
    use crate::sim::bitbucket_dc::entities::short;
    Failure::new(
        409,
        "pull.EmptyPullRequestException",
        format!(
            "{} is already up-to-date with branch {}. There is nothing to merge.",
            short(&to.id),
            short(&from.id)
        ),
    )
}

/// Refuses a second open pull request between two refs.
pub(crate) fn duplicate(inner: &Inner, from: &Side, to: &Side, own: Option<u64>) -> Result<(), Failure> {
    let state = inner.state();
    let Some(repo) = state.repos.get(&to.repo_id) else { return Ok(()) };
    let same = |a: &Side, b: &Side| a.repo_id == b.repo_id && a.id == b.id;
    let existing = repo.pull_requests.values().find(|pull| {
        pull.state == "OPEN" && Some(pull.id) != own && same(&pull.from, from) && same(&pull.to, to)
    });
    match existing {
        None => Ok(()),
        Some(existing) => Err(Failure::new(
            409,
            "pull.DuplicatePullRequestException",
            "Only one pull request may be open for a given source and target branch",
        )
        .with(json!({ "existingPullRequest": json(inner, &state, repo, existing) }))),
    }
}
