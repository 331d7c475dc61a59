//! The state of a pull request, its shape, and what a moved branch does to it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sim::{
    bitbucket_dc::{
        Inner,
        call::Call,
        comments::{self, Comment},
        entities,
        reply::Failure,
        state::{Repository, State},
    },
    repo::{LogQuery, Repo},
};

use super::auto_merge::AutoMerge;

#[derive(Debug)]
pub(crate) struct PullRequest {
    pub(crate) id: u64,
    /// Counts changes of title, description, reviewers, target and state; not pushes, not comments.
    pub(crate) version: u64,
    pub(crate) title: String,
    pub(crate) description: Option<String>,
    /// `OPEN`, `DECLINED` or `MERGED`.
    pub(crate) state: &'static str,
    pub(crate) draft: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) closed_at: Option<Timestamp>,
    pub(crate) author_id: u64,
    pub(crate) from: Side,
    pub(crate) to: Side,
    /// Where the source left the target; the diff starts there.
    pub(crate) base: String,
    pub(crate) conflicted: bool,
    pub(crate) reviewers: Vec<Participant>,
    pub(crate) participants: Vec<Participant>,
    pub(crate) comments: BTreeMap<u64, Comment>,
    /// Oldest first.
    pub(crate) activities: Vec<Activity>,
    pub(crate) merge_commit: Option<String>,
    pub(crate) auto_merge: Option<AutoMerge>,
}

/// One end of a pull request.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    pub(crate) repo_id: u64,
    /// Full name of the ref.
    pub(crate) id: String,
    pub(crate) commit: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Participant {
    pub(crate) user_id: u64,
    /// `UNAPPROVED`, `NEEDS_WORK` or `APPROVED`.
    pub(crate) status: &'static str,
    pub(crate) last_reviewed: Option<String>,
}

impl Participant {
    pub(crate) fn new(user_id: u64) -> Self {
        Self { user_id, status: "UNAPPROVED", last_reviewed: None }
    }
}

#[derive(Debug)]
pub(crate) struct Activity {
    pub(crate) id: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) user_id: u64,
    pub(crate) action: Action,
}

#[derive(Debug)]
pub(crate) enum Action {
    /// The action's name, and what it has beside it.
    Plain(&'static str, Value),
    /// A thread of comments, by its first.
    Commented(u64),
}

/// Notes down what was done to a pull request.
pub(crate) fn record(pull: &mut PullRequest, id: u64, user_id: u64, action: Action, now: Timestamp) {
    pull.activities.push(Activity { id, created_at: now, user_id, action });
}

/// A change that counts: the version goes up.
pub(crate) fn touched(pull: &mut PullRequest, now: Timestamp) {
    pull.version += 1;
    pull.updated_at = now;
}

/// The pull request of the path.
pub(crate) fn find<'a>(call: &Call, state: &'a State) -> Result<&'a PullRequest, Failure> {
    let id = call.part("id");
    let number = id.parse::<u64>().ok();
    let repo = call.repo_in(state)?;
    number.and_then(|number| repo.pull_requests.get(&number)).ok_or_else(|| missing(call, id))
}

pub(crate) fn find_mut<'a>(call: &Call, state: &'a mut State) -> Result<&'a mut PullRequest, Failure> {
    let id = call.part("id");
    let number = id.parse::<u64>().ok();
    let repo = call.repo_mut(state)?;
    number.and_then(|number| repo.pull_requests.get_mut(&number)).ok_or_else(|| missing(call, id))
}

fn missing(call: &Call, id: &str) -> Failure {
    Failure::new(
        404,
        "pull.NoSuchPullRequestException",
        format!("No pull request exists with ID {id} for this repository {}", call.part("slug")),
    )
}

/// Refuses a change of what is not open any more.
pub(crate) fn must_be_open(pull: &PullRequest) -> Result<(), Failure> {
    if pull.state == "OPEN" {
        return Ok(());
    }
    Err(Failure::new(
        409,
        "pull.IllegalPullRequestStateException",
        format!(
            "This pull request has already been {}, so it is not possible to change it.",
            pull.state.to_lowercase()
        ),
    ))
}

/// Refuses a change that was made in view of something older. A missing version is one that never was.
pub(crate) fn must_be_current(call: &Call, state: &State) -> Result<(), Failure> {
    let pull = find(call, state)?;
    let expected = call.params.int("version").unwrap_or(-1);
    if u64::try_from(expected).is_ok_and(|expected| expected == pull.version) {
        return Ok(());
    }
    let more = json!({
        "currentVersion": pull.version,
        "expectedVersion": expected,
        "pullRequest": json(&call.inner, state, call.repo_in(state)?, pull),
    });
    Err(Failure::new(
        409,
        "pull.PullRequestOutOfDateException",
        "You are attempting to modify a pull request based on out-of-date information.",
    )
    .with(more))
}

pub(crate) fn participant_json(inner: &Inner, state: &State, role: &str, one: &Participant) -> Value {
    let mut value = json!({
        "user": entities::user_by_id(inner, state, one.user_id),
        "role": role,
        "approved": one.status == "APPROVED",
        "status": one.status,
    });
    if let Some(commit) = &one.last_reviewed {
        entities::extend(&mut value, json!({ "lastReviewedCommit": commit }));
    }
    value
}

fn side_json(inner: &Inner, state: &State, side: &Side) -> Value {
    let mut value = entities::minimal_ref(&side.id);
    let repo = state.repos.get(&side.repo_id).map(|repo| entities::repository(inner, state, repo));
    entities::extend(&mut value, json!({ "latestCommit": side.commit, "repository": repo }));
    value
}

pub(crate) fn json(inner: &Inner, state: &State, repo: &Repository, pull: &PullRequest) -> Value {
    let listed = |role: &str, list: &[Participant]| -> Vec<Value> {
        list.iter().map(|one| participant_json(inner, state, role, one)).collect()
    };
    let tasks = |wanted: &str| {
        pull.comments.values().filter(|c| c.severity == "BLOCKER" && c.state == wanted).count()
    };
    let outcome = if pull.conflicted { "CONFLICTED" } else { "CLEAN" };
    let mut value = json!({
        "id": pull.id,
        "version": pull.version,
        "title": pull.title,
        "state": pull.state,
        "open": pull.state == "OPEN",
        "closed": pull.state != "OPEN",
        "createdDate": inner.date(pull.created_at),
        "updatedDate": inner.date(pull.updated_at),
        "fromRef": side_json(inner, state, &pull.from),
        "toRef": side_json(inner, state, &pull.to),
        "locked": false,
        "author": participant_json(inner, state, "AUTHOR", &Participant::new(pull.author_id)),
        "reviewers": listed("REVIEWER", &pull.reviewers),
        "participants": listed("PARTICIPANT", &pull.participants),
        "links": inner.self_link(&format!(
            "/projects/{}/repos/{}/pull-requests/{}", state.key_of(repo), repo.slug, pull.id
        )),
        "properties": {
            "resolvedTaskCount": tasks("RESOLVED"),
            "openTaskCount": tasks("OPEN"),
            "commentCount": pull.comments.len(),
        },
    });
    if let Some(text) = pull.description.as_ref().filter(|text| !text.is_empty()) {
        entities::extend(&mut value, json!({ "description": text }));
    }
    if let Some(at) = pull.closed_at {
        entities::extend(&mut value, json!({ "closedDate": inner.date(at) }));
    }
    if inner.release >= (8, 17) {
        entities::extend(&mut value, json!({ "draft": pull.draft }));
    }
    let properties = &mut value["properties"];
    match &pull.merge_commit {
        Some(id) => {
            let commit = json!({ "id": id, "displayId": entities::display_id(id) });
            entities::extend(properties, json!({ "mergeCommit": commit }));
        }
        None => {
            entities::extend(properties, json!({ "mergeResult": { "outcome": outcome, "current": true } }))
        }
    }
    value
}

/// What git says about two ends.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) base: String,
    pub(crate) conflicted: bool,
    /// Everything of the source is in the target.
    pub(crate) contained: bool,
}

/// Brings the source's commits into the target's repository and compares the two.
pub(crate) fn measure(inner: &Inner, from: &Side, to: &Side) -> Result<Measured, Failure> {
    let git = inner.repo(to.repo_id)?;
    if from.repo_id != to.repo_id {
        let source = inner.repo(from.repo_id)?;
        git.fetch_from(&source, &from.commit, &format!("refs/internal/{}", from.commit))?;
    }
    let contained = git.is_ancestor(&from.commit, &to.commit)?;
    let base = git.merge_base(&[to.commit.clone(), from.commit.clone()])?;
    let conflicted = !contained && git.merge_tree(&to.commit, &from.commit)?.is_err();
    Ok(Measured { base: base.unwrap_or_else(|| to.commit.clone()), conflicted, contained })
}

/// The commit that a ref of a pull request is at; `None` when it is gone.
pub(crate) fn tip(git: &Repo, id: &str) -> Result<Option<String>, Failure> {
    Ok(git.resolve_all(&[format!("{id}^{{commit}}")])?.into_iter().flatten().next())
}

/// Lets the open pull requests from and to a branch follow it.
pub(crate) fn branch_moved(inner: &Inner, repo_id: u64, id: &str, user_id: u64) -> Result<(), Failure> {
    let concerned: Vec<(u64, u64)> = {
        let state = inner.state();
        let side = |side: &Side| side.repo_id == repo_id && side.id == id;
        state
            .repos
            .values()
            .flat_map(|repo| repo.pull_requests.values())
            .filter(|pull| pull.state == "OPEN" && (side(&pull.from) || side(&pull.to)))
            .map(|pull| (pull.to.repo_id, pull.id))
            .collect()
    };
    for (repo, number) in concerned {
        rescope(inner, repo, number, user_id)?;
    }
    Ok(())
}

fn rescope(inner: &Inner, repo_id: u64, number: u64, user_id: u64) -> Result<(), Failure> {
    let now = inner.clock.now();
    let sides = {
        let state = inner.state();
        let pull = state.repos.get(&repo_id).and_then(|repo| repo.pull_requests.get(&number));
        pull.map(|pull| (pull.from.clone(), pull.to.clone()))
    };
    let Some((old_from, old_to)) = sides else { return Ok(()) };
    let git = inner.repo(repo_id)?;
    let from = tip(&*inner.repo(old_from.repo_id)?, &old_from.id)?;
    let to = tip(&git, &old_to.id)?;
    let (Some(from), Some(to)) = (from, to) else {
        close(inner, repo_id, number, user_id, "DECLINED", None);
        return Ok(());
    };
    let from = Side { commit: from, ..old_from.clone() };
    let to = Side { commit: to, ..old_to.clone() };
    let measured = measure(inner, &from, &to)?;
    if measured.contained {
        let commit = to.commit.clone();
        close(inner, repo_id, number, user_id, "MERGED", Some(commit));
        return Ok(());
    }
    git.set_ref(&format!("refs/pull-requests/{number}/from"), &from.commit)?;
    let moved = from.commit != old_from.commit;
    let extra = if moved { Some(rescoped(inner, &git, &old_from, &from, &old_to, &to)?) } else { None };
    let diff = git.diff(&measured.base, &from.commit)?;
    let mut state = inner.state();
    let id = state.next_id("activity");
    let pull = state.repos.get_mut(&repo_id).and_then(|repo| repo.pull_requests.get_mut(&number));
    let Some(pull) = pull else { return Ok(()) };
    (pull.base, pull.conflicted) = (measured.base, measured.conflicted);
    (pull.from, pull.to) = (from, to);
    comments::orphan(pull, &diff);
    if let Some(extra) = extra {
        pull.updated_at = now;
        pull.auto_merge = None;
        record(pull, id, user_id, Action::Plain("RESCOPED", extra), now);
    }
    Ok(())
}

/// What a push changed, as activities tell it.
fn rescoped(
    inner: &Inner,
    git: &Repo,
    old_from: &Side,
    from: &Side,
    old_to: &Side,
    to: &Side,
) -> Result<Value, Failure> {
    let log = |new: &str, old: &str| {
        let revisions = vec![new.to_owned(), format!("^{old}"), format!("^{}", to.commit)];
        git.log(&LogQuery { revisions, ..LogQuery::default() })
    };
    let (added, removed) = (log(&from.commit, &old_from.commit)?, log(&old_from.commit, &from.commit)?);
    let state = inner.state();
    let listed = |commits: &[crate::sim::repo::CommitInfo]| {
        let shown: Vec<Value> =
            commits.iter().map(|commit| entities::commit(inner, &state, commit)).collect();
        json!({ "commits": shown, "total": commits.len() })
    };
    Ok(json!({
        "fromHash": from.commit,
        "previousFromHash": old_from.commit,
        "previousToHash": old_to.commit,
        "toHash": to.commit,
        "added": listed(&added),
        "removed": listed(&removed),
    }))
}

/// Ends a pull request.
pub(crate) fn close(
    inner: &Inner,
    repo_id: u64,
    number: u64,
    user_id: u64,
    how: &'static str,
    merge_commit: Option<String>,
) {
    let now = inner.clock.now();
    let mut state = inner.state();
    let id = state.next_id("activity");
    let pull = state.repos.get_mut(&repo_id).and_then(|repo| repo.pull_requests.get_mut(&number));
    let Some(pull) = pull else { return };
    pull.state = how;
    pull.closed_at = Some(now);
    pull.auto_merge = None;
    touched(pull, now);
    let extra = merge_commit
        .as_ref()
        .map_or(json!({}), |id| json!({ "commit": { "id": id, "displayId": entities::display_id(id) } }));
    pull.merge_commit = merge_commit;
    record(pull, id, user_id, Action::Plain(how, extra), now);
}
