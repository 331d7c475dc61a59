//! Comments on pull requests: general, on files, on lines; replies, threads that are resolved, and tasks, which are
//! comments that block.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sim::repo::{DiffLines, FileDiff, Repo};

use super::{
    Inner,
    call::Call,
    entities,
    page::cap,
    pull_requests::{self, Action, PullRequest, find, find_mut, record},
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::Always},
    state::State,
};

const WRITE: &str = "text parent:any severity state anchor:any version:int id threadResolved:bool properties:any author \
     createdDate updatedDate comments:any tasks:any permittedOperations:any";
const LIST: &str = "path fromHash anchorState diffType toHash state diffTypes states &page";
const TASKS: &str = "count:bool state states &page";

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/api/projects/:key/repos/:slug/pull-requests/:id/comments", Always, LIST, list),
    ("POST", "/api/projects/:key/repos/:slug/pull-requests/:id/comments", Always, WRITE, create),
    ("GET", "/api/projects/:key/repos/:slug/pull-requests/:id/comments/:commentId", Always, "", show),
    ("PUT", "/api/projects/:key/repos/:slug/pull-requests/:id/comments/:commentId", Always, WRITE, update),
    (
        "DELETE",
        "/api/projects/:key/repos/:slug/pull-requests/:id/comments/:commentId",
        Always,
        "version:int",
        delete,
    ),
    ("GET", "/api/projects/:key/repos/:slug/pull-requests/:id/blocker-comments", Always, TASKS, tasks),
    ("POST", "/api/projects/:key/repos/:slug/pull-requests/:id/blocker-comments", Always, WRITE, create_task),
    ("GET", "/api/projects/:key/repos/:slug/pull-requests/:id/blocker-comments/:commentId", Always, "", show),
    (
        "PUT",
        "/api/projects/:key/repos/:slug/pull-requests/:id/blocker-comments/:commentId",
        Always,
        WRITE,
        update,
    ),
    (
        "DELETE",
        "/api/projects/:key/repos/:slug/pull-requests/:id/blocker-comments/:commentId",
        Always,
        "version:int",
        delete,
    ),
];

#[derive(Debug)]
pub(crate) struct Comment {
    pub(crate) id: u64,
    pub(crate) version: u64,
    pub(crate) text: String,
    pub(crate) author_id: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// `NORMAL` or `BLOCKER`.
    pub(crate) severity: &'static str,
    /// `OPEN`, `PENDING` or `RESOLVED`.
    pub(crate) state: &'static str,
    pub(crate) resolved: Option<(u64, Timestamp)>,
    pub(crate) thread_resolved: Option<(u64, Timestamp)>,
    pub(crate) parent: Option<u64>,
    pub(crate) anchor: Option<Anchor>,
}

/// The place of a comment in a diff.
#[derive(Debug, Clone)]
pub(crate) struct Anchor {
    pub(crate) path: String,
    src_path: Option<String>,
    pub(crate) line: Option<u64>,
    line_type: Option<String>,
    file_type: String,
    diff_type: String,
    from_hash: String,
    to_hash: String,
    /// The line is not part of the diff any more.
    pub(crate) orphaned: bool,
    /// Start and span of comments on several lines, as they came.
    multiline: Value,
}

impl Anchor {
    pub(crate) fn old_side(&self) -> bool {
        self.file_type == "FROM"
    }

    /// The place, its path made into JSON by `path`: activities show text, comments the parts.
    pub(crate) fn json(&self, path: impl Fn(&str) -> Value) -> Value {
        let mut value = json!({
            "path": path(&self.path),
            "diffType": self.diff_type,
            "fromHash": self.from_hash,
            "toHash": self.to_hash,
            "orphaned": self.orphaned,
        });
        if let Some(source) = &self.src_path {
            entities::extend(&mut value, json!({ "srcPath": path(source) }));
        }
        if let Some(line) = self.line {
            let place = json!({ "line": line, "lineType": self.line_type, "fileType": self.file_type });
            entities::extend(&mut value, place);
        }
        entities::extend(&mut value, self.multiline.clone());
        value
    }
}

/// A comment with its replies.
pub(crate) fn json(call: &Call, state: &State, pull: &PullRequest, comment: &Comment) -> Value {
    let inner = &call.inner;
    let replies: Vec<Value> = pull
        .comments
        .values()
        .filter(|reply| reply.parent == Some(comment.id))
        .map(|reply| json(call, state, pull, reply))
        .collect();
    let user = call.caller.as_ref().map_or(0, |caller| caller.user_id);
    let own = comment.author_id == user;
    let admin = state.repos.get(&pull.to.repo_id).is_some_and(|repo| call.level_on(state, repo) >= 3);
    let mut value = json!({
        "properties": { "repositoryId": pull.to.repo_id },
        "id": comment.id,
        "version": comment.version,
        "text": comment.text,
        "author": entities::user_by_id(inner, state, comment.author_id),
        "createdDate": inner.date(comment.created_at),
        "updatedDate": inner.date(comment.updated_at),
        "comments": replies,
        "threadResolved": comment.thread_resolved.is_some(),
        "severity": comment.severity,
        "state": comment.state,
        "permittedOperations": {
            "editable": own,
            "deletable": (own || admin) && replies.is_empty(),
            "transitionable": own || admin || pull.author_id == user,
        },
    });
    for (who, when, done) in [
        ("resolver", "resolvedDate", comment.resolved),
        ("threadResolver", "threadResolvedDate", comment.thread_resolved),
    ] {
        if let Some((by, at)) = done {
            entities::extend(
                &mut value,
                json!({ who: entities::user_by_id(inner, state, by), when: inner.date(at) }),
            );
        }
    }
    if let Some(anchor) = &comment.anchor {
        entities::extend(&mut value, json!({ "anchor": anchor.json(entities::path), "anchored": true }));
    }
    if let Some(parent) = comment.parent {
        entities::extend(&mut value, json!({ "parent": { "id": parent } }));
    }
    value
}

/// Marks comments whose place has gone from the diff.
pub(crate) fn orphan(pull: &mut PullRequest, diff: &[FileDiff]) {
    for anchor in pull.comments.values_mut().filter_map(|comment| comment.anchor.as_mut()) {
        let file = diff.iter().find(|file| file.new_path == anchor.path);
        anchor.orphaned |= match (file, anchor.line) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(file), Some(line)) => {
                let lines = DiffLines::of(&file.hunks);
                match anchor.line_type.as_deref() {
                    Some("ADDED") => !lines.added.contains(&line),
                    Some("REMOVED") => !lines.removed.contains(&line),
                    _ => false,
                }
            }
        };
    }
}

/// The states a list is limited to.
fn wanted_states(call: &Call) -> Vec<String> {
    let named = call.query.iter().filter(|(name, _)| name == "state" || name == "states");
    named.flat_map(|(_, value)| value.split(',').map(str::to_uppercase)).collect()
}

fn list(call: &Call) -> Outcome {
    let path = call.params.filled("path").ok_or_else(|| {
        Failure::field("path", "The path query parameter is required when retrieving comments.")
    })?;
    let orphans = call.params.filled("anchorState").unwrap_or("ACTIVE");
    let states = wanted_states(call);
    let state = call.state();
    let pull = find(call, &state)?;
    let found: Vec<&Comment> = pull
        .comments
        .values()
        .filter(|comment| {
            comment.anchor.as_ref().is_some_and(|anchor| {
                anchor.path == path
                    && match orphans {
                        "ALL" => true,
                        "ORPHANED" => anchor.orphaned,
                        _ => !anchor.orphaned,
                    }
            })
        })
        .filter(|comment| states.is_empty() || states.iter().any(|state| state == comment.state))
        .collect();
    call.paged(found, cap::DEFAULT, |comment| json(call, &state, pull, comment))
}

fn tasks(call: &Call) -> Outcome {
    let states = wanted_states(call);
    let state = call.state();
    let pull = find(call, &state)?;
    let tasks = || pull.comments.values().filter(|comment| comment.severity == "BLOCKER");
    if call.params.flag("count") {
        let count = |wanted| tasks().filter(|task| task.state == wanted).count();
        return Ok(Reply::ok(json!({ "OPEN": count("OPEN"), "RESOLVED": count("RESOLVED") })));
    }
    let found: Vec<&Comment> = tasks()
        .filter(|comment| states.is_empty() || states.iter().any(|state| state == comment.state))
        .collect();
    call.paged(found, cap::DEFAULT, |comment| json(call, &state, pull, comment))
}

fn comment_in<'a>(call: &Call, pull: &'a PullRequest) -> Result<&'a Comment, Failure> {
    let id = call.part("commentId");
    id.parse().ok().and_then(|id: u64| pull.comments.get(&id)).ok_or_else(|| no_comment(id))
}

fn no_comment(id: &str) -> Failure {
    Failure::new(404, "comment.NoSuchCommentException", format!("Comment {id} does not exist."))
}

fn show(call: &Call) -> Outcome {
    let state = call.state();
    let pull = find(call, &state)?;
    Ok(Reply::ok(json(call, &state, pull, comment_in(call, pull)?)))
}

fn severity(call: &Call) -> Result<Option<&'static str>, Failure> {
    match call.params.filled("severity") {
        None => Ok(None),
        Some("NORMAL") => Ok(Some("NORMAL")),
        Some("BLOCKER") => Ok(Some("BLOCKER")),
        Some(_) => Err(Failure::field("severity", "must be NORMAL or BLOCKER")),
    }
}

fn create(call: &Call) -> Outcome {
    let severity = severity(call)?.unwrap_or("NORMAL");
    add(call, severity)
}

fn create_task(call: &Call) -> Outcome {
    add(call, "BLOCKER")
}

fn may_comment(call: &Call) -> Result<u64, Failure> {
    let user = call.user()?;
    let state = call.state();
    let repo = call.repo_in(&state)?;
    find(call, &state)?;
    if repo.archived { Err(Failure::archived(&repo.slug)) } else { Ok(user) }
}

fn add(call: &Call, severity: &'static str) -> Outcome {
    let user = may_comment(call)?;
    let text = call.params.text("text").unwrap_or_default().to_owned();
    if text.trim().is_empty() {
        return Err(Failure::field("text", "A comment's text is required."));
    }
    let parent = match call.params.get("parent").map(|parent| &parent["id"]) {
        None => None,
        Some(id) => {
            let state = call.state();
            let pull = find(call, &state)?;
            let known = id.as_u64().filter(|id| pull.comments.contains_key(id));
            Some(known.ok_or_else(|| no_comment(&id.to_string()))?)
        }
    };
    let anchor = match call.params.get("anchor").filter(|_| parent.is_none()) {
        None => None,
        Some(value) => Some(place(call, value)?),
    };
    let pending = call.params.filled("state") == Some("PENDING");
    let now = call.inner.clock.now();
    let mut state = call.state();
    let id = state.next_id("comment");
    let activity = state.next_id("activity");
    let pull = find_mut(call, &mut state)?;
    let comment = Comment {
        id,
        version: 0,
        text,
        author_id: user,
        created_at: now,
        updated_at: now,
        severity,
        state: if pending { "PENDING" } else { "OPEN" },
        resolved: None,
        thread_resolved: None,
        parent,
        anchor,
    };
    keep(pull, comment, activity, now);
    let pull = find(call, &state)?;
    let made = pull.comments.get(&id).ok_or_else(|| no_comment(""))?;
    Ok(Reply::created(json(call, &state, pull, made)))
}

fn keep(pull: &mut PullRequest, comment: Comment, activity: u64, now: Timestamp) {
    let (id, user) = (comment.id, comment.author_id);
    let thread = comment.parent.is_none();
    pull.comments.insert(id, comment);
    if thread {
        record(pull, activity, user, Action::Commented(id), now);
    }
}

/// A general comment, from behind the API. `None` when there is no such pull request.
pub(crate) fn add_plain(inner: &Inner, repo_id: u64, number: u64, author_id: u64, text: &str) -> Option<u64> {
    let now = inner.clock.now();
    let mut state = inner.state();
    let (id, activity) = (state.next_id("comment"), state.next_id("activity"));
    let pull = state.repos.get_mut(&repo_id)?.pull_requests.get_mut(&number)?;
    let comment = Comment {
        id,
        version: 0,
        text: text.to_owned(),
        author_id,
        created_at: now,
        updated_at: now,
        severity: "NORMAL",
        state: "OPEN",
        resolved: None,
        thread_resolved: None,
        parent: None,
        anchor: None,
    };
    keep(pull, comment, activity, now);
    Some(id)
}

fn word(value: &Value, name: &str, known: &[&str]) -> Result<Option<String>, Failure> {
    match value.get(name).filter(|value| !value.is_null()) {
        None => Ok(None),
        Some(Value::String(text)) if known.contains(&text.as_str()) => Ok(Some(text.clone())),
        Some(_) => {
            Err(Failure::field(&format!("anchor.{name}"), format!("must be one of {}", known.join(", "))))
        }
    }
}

/// Path text of an anchor, which newer clients may give in parts.
fn path_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(parts) => {
            let components = parts.get("components")?.as_array()?;
            Some(components.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("/"))
        }
        _ => None,
    }
    .filter(|path| !path.is_empty())
}

/// Reads an anchor and holds it against the diff.
fn place(call: &Call, value: &Value) -> Result<Anchor, Failure> {
    let path = path_of(&value["path"]).ok_or_else(|| Failure::field("anchor.path", "A path is required."))?;
    let diff_type = word(value, "diffType", &["EFFECTIVE", "COMMIT", "RANGE"])?;
    let line_type = word(value, "lineType", &["ADDED", "REMOVED", "CONTEXT"])?;
    let file_type = word(value, "fileType", &["FROM", "TO"])?;
    let hash = |name: &str| value[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let diff_type = diff_type.unwrap_or_else(|| "EFFECTIVE".to_owned());
    let (base, head) = {
        let state = call.state();
        let pull = find(call, &state)?;
        (pull.base.clone(), pull.from.commit.clone())
    };
    let (from_hash, to_hash) = match (diff_type.as_str(), hash("fromHash"), hash("toHash")) {
        ("EFFECTIVE", ..) => (base, head),
        (_, Some(from), Some(to)) => (from, to),
        _ => {
            return Err(Failure::field(
                "anchor.fromHash",
                format!("fromHash and toHash are required for diffs of the type {diff_type}."),
            ));
        }
    };
    let git = call.git()?;
    let (old, new) = (call.commit(&git, Some(&from_hash))?, call.commit(&git, Some(&to_hash))?);
    let files = git.diff(&old, &new)?;
    let file =
        files.iter().find(|file| file.new_path == path).ok_or_else(|| Failure::no_path(&path, &to_hash))?;
    let line = value["line"].as_u64();
    if let Some(line) = line {
        let Some(kind) = &line_type else {
            return Err(Failure::field("anchor.lineType", "A line comment needs the type of its line."));
        };
        let old_side = file_type.as_deref() == Some("FROM") || (file_type.is_none() && kind == "REMOVED");
        if !accepts(&git, file, kind, old_side, line)? {
            return Err(Failure::bad_argument(format!(
                "Line {line} of {path} is not a line of the type {kind} in this diff."
            )));
        }
    } else if line_type.is_some() {
        return Err(Failure::field("anchor.line", "A line type needs a line."));
    }
    let old_by_kind = line_type.as_deref() == Some("REMOVED");
    let mut multiline = json!({});
    for name in ["multilineMarker", "multilineSpan"] {
        if let Some(found) = value.get(name).filter(|_| call.inner.release >= (9, 4)) {
            entities::extend(&mut multiline, json!({ name: found }));
        }
    }
    Ok(Anchor {
        path,
        src_path: path_of(&value["srcPath"]),
        line,
        line_type,
        file_type: file_type.unwrap_or_else(|| if old_by_kind { "FROM" } else { "TO" }.to_owned()),
        diff_type,
        from_hash,
        to_hash,
        orphaned: false,
        multiline,
    })
}

/// Whether a line is what the anchor says: added ones are on the new side, removed ones on the old, others on both.
fn accepts(git: &Repo, file: &FileDiff, kind: &str, old_side: bool, line: u64) -> Result<bool, Failure> {
    let lines = DiffLines::of(&file.hunks);
    Ok(match (kind, old_side) {
        ("ADDED", false) => lines.added.contains(&line),
        ("REMOVED", true) => lines.removed.contains(&line),
        ("CONTEXT", _) => {
            let (changed, blob) =
                if old_side { (&lines.removed, &file.old_id) } else { (&lines.added, &file.new_id) };
            let there = !blob.bytes().all(|byte| byte == b'0');
            let count = if there { git.blob(blob)?.split(|byte| *byte == b'\n').count() } else { 0 };
            line > 0 && line <= count as u64 && !changed.contains(&line)
        }
        _ => false,
    })
}

fn stale(current: u64, expected: i64) -> Failure {
    Failure::new(
        409,
        "comment.CommentOutOfDateException",
        "You are attempting to modify a comment based on out-of-date information.",
    )
    .with(json!({ "currentVersion": current, "expectedVersion": expected }))
}

/// The comment of the path, if the caller saw its latest version.
fn current<'a>(call: &Call, pull: &'a PullRequest) -> Result<&'a Comment, Failure> {
    let comment = comment_in(call, pull)?;
    let expected = call
        .params
        .int("version")
        .ok_or_else(|| Failure::bad_argument("The comment's version must be supplied."))?;
    if u64::try_from(expected).is_ok_and(|expected| expected == comment.version) {
        Ok(comment)
    } else {
        Err(stale(comment.version, expected))
    }
}

fn update(call: &Call) -> Outcome {
    let user = may_comment(call)?;
    let now = call.inner.clock.now();
    let severity = severity(call)?;
    let wanted = match call.params.filled("state") {
        None => None,
        Some("OPEN") => Some("OPEN"),
        Some("PENDING") => Some("PENDING"),
        Some("RESOLVED") => Some("RESOLVED"),
        Some(_) => return Err(Failure::field("state", "must be OPEN, PENDING or RESOLVED")),
    };
    let text = call.params.text("text").map(str::to_owned);
    let thread = call.params.bool("threadResolved");
    let id = {
        let mut state = call.state();
        let repo = call.repo_in(&state)?;
        let pull = find(call, &state)?;
        let comment = current(call, pull)?;
        let id = comment.id;
        let own = comment.author_id == user;
        let changes_text = text.as_ref().is_some_and(|text| *text != comment.text);
        let others = severity.is_some() || wanted.is_some() || thread.is_some();
        let may = own || pull.author_id == user || call.level_on(&state, repo) >= 3;
        if (changes_text && !own) || (others && !may) {
            return Err(Failure::not_permitted());
        }
        if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
            return Err(Failure::field("text", "A comment's text is required."));
        }
        let pull = find_mut(call, &mut state)?;
        let comment = pull.comments.get_mut(&id).ok_or_else(|| no_comment(""))?;
        if let Some(text) = text {
            comment.text = text;
        }
        comment.severity = severity.unwrap_or(comment.severity);
        if let Some(wanted) = wanted {
            comment.resolved = (wanted == "RESOLVED").then_some((user, now));
            comment.state = wanted;
        }
        if let Some(thread) = thread {
            comment.thread_resolved = thread.then_some((user, now));
        }
        comment.version += 1;
        comment.updated_at = now;
        id
    };
    pull_requests::auto_merge(&call.inner, call.repo);
    let state = call.state();
    let pull = find(call, &state)?;
    let comment = pull.comments.get(&id).ok_or_else(|| no_comment(""))?;
    Ok(Reply::ok(json(call, &state, pull, comment)))
}

fn delete(call: &Call) -> Outcome {
    let user = may_comment(call)?;
    let mut state = call.state();
    let repo = call.repo_in(&state)?;
    let pull = find(call, &state)?;
    let comment = comment_in(call, pull)?;
    if comment.author_id != user && call.level_on(&state, repo) < 3 {
        return Err(Failure::not_permitted());
    }
    let id = current(call, pull)?.id;
    if pull.comments.values().any(|reply| reply.parent == Some(id)) {
        return Err(Failure::new(
            409,
            "comment.CommentDeletionException",
            "The comment has replies and cannot be deleted.",
        ));
    }
    let pull = find_mut(call, &mut state)?;
    pull.comments.remove(&id);
    pull.activities
        .retain(|activity| !matches!(activity.action, Action::Commented(comment) if comment == id));
    Ok(Reply::no_content())
}
