//! The call that commits many files at once: checked whole, written whole, or not at all.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::sim::repo::{Change, Identity, NewCommit, Repo, ZERO};

use super::{
    call::Call,
    commits, events,
    reply::{Failure, Outcome, Reply},
};

pub(crate) const PARAMS: &str = "branch!:filled commit_message!:filled actions!:list start_branch start_sha \
     start_project:any author_email author_name stats:bool force:bool";

/// What is done to one file.
#[derive(Debug)]
pub(crate) struct Action {
    pub(crate) kind: ActionKind,
    pub(crate) path: String,
    pub(crate) previous_path: Option<String>,
    pub(crate) content: Option<Vec<u8>>,
    pub(crate) last_commit_id: Option<String>,
    pub(crate) executable: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActionKind {
    Create,
    Update,
    Delete,
    Move,
    Chmod,
}

/// A commit as it is asked for.
#[derive(Debug)]
pub(crate) struct Request {
    branch: String,
    message: String,
    actions: Vec<Action>,
    start_branch: Option<String>,
    start_sha: Option<String>,
    author_name: Option<String>,
    author_email: Option<String>,
    force: bool,
}

impl Request {
    pub(crate) fn of(call: &Call, actions: Vec<Action>) -> Self {
        let text = |name: &str| call.params.filled(name).map(str::to_owned);
        Self {
            branch: text("branch").unwrap_or_default(),
            message: text("commit_message").unwrap_or_default(),
            actions,
            start_branch: text("start_branch"),
            start_sha: text("start_sha"),
            author_name: text("author_name"),
            author_email: text("author_email"),
            force: call.params.flag("force"),
        }
    }
}

pub(crate) fn create(call: &Call) -> Outcome {
    if call.params.filled("start_branch").is_some() && call.params.filled("start_sha").is_some() {
        return Err(Failure::error(400, "start_branch, start_sha are mutually exclusive"));
    }
    let actions = read_actions(&call.params.list("actions").unwrap_or_default())?;
    let id = make(call, &Request::of(call, actions))?;
    let repo = call.repo()?;
    let commit = repo.commit(&id)?;
    let with_stats = call.params.bool("stats") != Some(false);
    Ok(Reply::created(commits::detail_json(call, &repo, &commit, with_stats)?))
}

/// Text as it is, or the bytes behind base64.
pub(crate) fn content(text: &str, encoded: bool) -> Result<Vec<u8>, Failure> {
    if !encoded {
        return Ok(text.as_bytes().to_vec());
    }
    let compact: String = text.split_whitespace().collect();
    STANDARD.decode(compact).map_err(|_| Failure::plain("invalid base64"))
}

fn read_actions(list: &[Value]) -> Result<Vec<Action>, Failure> {
    if list.is_empty() {
        return Err(Failure::error(400, "actions is empty"));
    }
    let mut complaints = Vec::new();
    let mut actions = Vec::new();
    for (at, value) in list.iter().enumerate() {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let mut complain =
            |name: &str, problem: &str| complaints.push(format!("actions[{at}][{name}] {problem}"));
        let kind = match text("action").as_deref() {
            Some("create") => Some(ActionKind::Create),
            Some("update") => Some(ActionKind::Update),
            Some("delete") => Some(ActionKind::Delete),
            Some("move") => Some(ActionKind::Move),
            Some("chmod") => Some(ActionKind::Chmod),
            Some(_) => {
                complain("action", "does not have a valid value");
                None
            }
            None => {
                complain("action", "is missing");
                None
            }
        };
        let path = text("file_path");
        if path.is_none() {
            complain("file_path", "is missing");
        }
        match kind {
            Some(ActionKind::Create | ActionKind::Update) if text("content").is_none() => {
                complain("content", "is missing");
            }
            Some(ActionKind::Move) if text("previous_path").is_none() => {
                complain("previous_path", "is missing")
            }
            Some(ActionKind::Chmod) if value.get("execute_filemode").is_none() => {
                complain("execute_filemode", "is missing");
            }
            _ => {}
        }
        let encoded = match text("encoding").as_deref() {
            None | Some("text" | "") => false,
            Some("base64") => true,
            Some(_) => {
                complain("encoding", "does not have a valid value");
                false
            }
        };
        let flag = |value: &Value| {
            value.as_bool().or_else(|| value.as_str().map(|text| text == "true" || text == "1"))
        };
        let (Some(kind), Some(path)) = (kind, path) else { continue };
        actions.push(Action {
            kind,
            path,
            previous_path: text("previous_path"),
            content: text("content").map(|text| content(&text, encoded)).transpose()?,
            last_commit_id: text("last_commit_id").filter(|id| !id.is_empty()),
            executable: value.get("execute_filemode").and_then(flag),
        });
    }
    if complaints.is_empty() { Ok(actions) } else { Err(Failure::error(400, complaints.join(", "))) }
}

/// Makes the commit and moves the branch. Returns the new commit.
pub(crate) fn make(call: &Call, request: &Request) -> Result<String, Failure> {
    let user = call.may_push(&request.branch)?;
    let repo = call.repo()?;
    let writing = repo.lock();
    let head = repo.branch_id(&request.branch)?;
    let base = starting_point(call, &repo, request, head.as_deref())?;
    if !repo.valid_ref(&request.branch)? {
        return Err(Failure::plain("Branch name is invalid"));
    }
    let changes = plan(&repo, base.as_deref(), &request.actions)?;
    let tree = repo.write_tree(base.as_deref(), &changes)?;
    let (author, committer) = identities(call, request, user)?;
    let parents: Vec<String> = base.into_iter().collect();
    let id = repo.write_commit(&NewCommit {
        tree: &tree,
        parents: &parents,
        message: &request.message,
        author: &author,
        committer: &committer,
    })?;
    let old = head.as_deref().unwrap_or(ZERO);
    let name = format!("refs/heads/{}", request.branch);
    if !repo.update_ref(&name, &id, old)? {
        return Err(Failure::plain(format!("Could not update {name}. Please refresh and try again.")));
    }
    drop(writing);
    events::branch_moved(&call.inner, call.project_id(), &request.branch, head.as_ref(), Some(&id), user)?;
    Ok(id)
}

/// The commit to build on; `None` in an empty repository.
fn starting_point(
    call: &Call,
    repo: &Repo,
    request: &Request,
    head: Option<&str>,
) -> Result<Option<String>, Failure> {
    let start = match (&request.start_branch, &request.start_sha) {
        (None, None) => {
            return match head {
                Some(head) => Ok(Some(head.to_owned())),
                None if repo.refs("refs/heads/")?.is_empty() => Ok(None),
                None => Err(Failure::plain("You can only create or edit files when you are on a branch")),
            };
        }
        (Some(branch), _) => (branch, foreign(call, repo)?.branch_id(branch)?),
        (None, Some(sha)) => (sha, foreign(call, repo)?.commit_id(sha)?),
    };
    if head.is_some() && !request.force && request.start_branch.as_deref() != Some(request.branch.as_str()) {
        return Err(Failure::plain(format!(
            "A branch called '{}' already exists. Switch to that branch in order to make changes",
            request.branch
        )));
    }
    let (asked, found) = start;
    let found = match found {
        Some(found) => found,
        None if repo.refs("refs/heads/")?.is_empty() => return Ok(None),
        None if request.start_sha.is_some() => {
            return Err(Failure::plain(format!("Cannot find start_sha '{asked}'")));
        }
        None => return Err(Failure::plain(format!("Cannot find start_branch '{asked}'"))),
    };
    if repo.object_kind(&found)?.is_none() {
        // It lives in the project named by `start_project`.
        let source = foreign(call, repo)?;
        repo.fetch_from(&source, &found, "refs/keep-around/start")?;
    }
    Ok(Some(found))
}

/// The repository that `start_project` names, or the project's own.
fn foreign(call: &Call, _own: &Repo) -> Result<std::sync::Arc<Repo>, Failure> {
    let Some(wanted) = call.params.get("start_project") else { return call.repo() };
    let today = call.inner.today();
    let id = {
        let state = call.state();
        let project = match (wanted.as_u64(), wanted.as_str()) {
            (Some(id), _) => state.projects.get(&id),
            (None, Some(text)) => text
                .parse::<u64>()
                .ok()
                .and_then(|id| state.projects.get(&id))
                .or_else(|| state.project_at(text)),
            _ => None,
        };
        project.filter(|project| state.can_see(project, call.user_id(), &today)).map(|project| project.id)
    };
    call.inner.repo(id.ok_or_else(|| Failure::not_found("Project"))?)
}

fn identities(call: &Call, request: &Request, user: u64) -> Result<(Identity, Identity), Failure> {
    let state = call.state();
    let user = state.users.get(&user).ok_or_else(Failure::unauthorized)?;
    let date = format!("{} +0000", call.inner.clock.unix_seconds());
    let committer = Identity { name: user.name.clone(), email: user.email.clone(), date: date.clone() };
    let author = Identity {
        name: request.author_name.clone().unwrap_or_else(|| user.name.clone()),
        email: request.author_email.clone().unwrap_or_else(|| user.email.clone()),
        date,
    };
    Ok((author, committer))
}

/// One file as it stands while the actions are gone through, or `None` when it was removed.
type Overlay = BTreeMap<String, Option<Entry>>;

#[derive(Debug, Clone)]
enum Entry {
    Blob { id: String, mode: String },
    Bytes { content: Vec<u8>, executable: bool },
}

/// Turns the actions into changes of the tree, or says which of them cannot be done.
fn plan(repo: &Repo, base: Option<&str>, actions: &[Action]) -> Result<Vec<Change>, Failure> {
    let mut overlay = Overlay::new();
    for action in actions {
        let path = clean(&action.path)?;
        let locked = action.previous_path.as_deref().unwrap_or(&path);
        check_lock(repo, base, locked, action)?;
        let absent = || Failure::plain(format!("A file with this name doesn't exist: {path}"));
        match action.kind {
            ActionKind::Create => {
                refuse_existing(repo, base, &overlay, &path)?;
                let content = action.content.clone().unwrap_or_default();
                overlay.insert(
                    path,
                    Some(Entry::Bytes { content, executable: action.executable == Some(true) }),
                );
            }
            ActionKind::Update => {
                let entry = lookup(repo, base, &overlay, &path)?.ok_or_else(absent)?;
                let executable = action.executable.unwrap_or(entry.executable());
                let content = action.content.clone().unwrap_or_default();
                overlay.insert(path, Some(Entry::Bytes { content, executable }));
            }
            ActionKind::Delete => {
                lookup(repo, base, &overlay, &path)?.ok_or_else(absent)?;
                overlay.insert(path, None);
            }
            ActionKind::Move => {
                let previous = clean(action.previous_path.as_deref().unwrap_or_default())?;
                let missing = || Failure::plain(format!("A file with this name doesn't exist: {previous}"));
                let entry = lookup(repo, base, &overlay, &previous)?.ok_or_else(missing)?;
                refuse_existing(repo, base, &overlay, &path)?;
                let entry = match &action.content {
                    Some(content) => {
                        Entry::Bytes { content: content.clone(), executable: entry.executable() }
                    }
                    None => entry,
                };
                overlay.insert(previous, None);
                overlay.insert(path, Some(entry));
            }
            ActionKind::Chmod => {
                let entry = lookup(repo, base, &overlay, &path)?.ok_or_else(absent)?;
                overlay.insert(path, Some(entry.with_mode(action.executable == Some(true))));
            }
        }
    }
    // Removals first: a file may give way to a directory of its name.
    let (gone, kept): (Vec<_>, Vec<_>) = overlay.into_iter().partition(|(_, entry)| entry.is_none());
    let mut changes: Vec<Change> = gone.into_iter().map(|(path, _)| Change::Remove { path }).collect();
    changes.extend(kept.into_iter().filter_map(|(path, entry)| {
        entry.map(|entry| match entry {
            Entry::Blob { id, mode } => Change::Put { path, mode, id },
            Entry::Bytes { content, executable } => Change::Write { path, content, executable },
        })
    }));
    Ok(changes)
}

impl Entry {
    fn executable(&self) -> bool {
        match self {
            Self::Blob { mode, .. } => mode == "100755",
            Self::Bytes { executable, .. } => *executable,
        }
    }

    fn with_mode(self, executable: bool) -> Self {
        match self {
            Self::Blob { id, .. } => {
                Self::Blob { id, mode: if executable { "100755" } else { "100644" }.to_owned() }
            }
            Self::Bytes { content, .. } => Self::Bytes { content, executable },
        }
    }
}

/// The path as git stores it, or why it cannot be one.
fn clean(path: &str) -> Result<String, Failure> {
    let path = path.trim_start_matches('/');
    if path.is_empty() {
        return Err(Failure::plain("You must provide a file path"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(Failure::plain("Path cannot include directory traversal"));
    }
    let broken = |part: &str| part.is_empty() || part == "." || part.eq_ignore_ascii_case(".git");
    if path.split('/').any(broken) || path.contains(['\0', '\n']) {
        return Err(Failure::plain(format!("invalid path: '{path}'")));
    }
    Ok(path.to_owned())
}

fn check_lock(repo: &Repo, base: Option<&str>, path: &str, action: &Action) -> Result<(), Failure> {
    let Some(expected) = &action.last_commit_id else { return Ok(()) };
    if !matches!(action.kind, ActionKind::Update | ActionKind::Move | ActionKind::Delete) {
        return Ok(());
    }
    let last = match base {
        Some(base) => repo.last_commit_of(base, path)?,
        None => None,
    };
    if last.as_deref().is_some_and(|last| last != expected) {
        return Err(Failure::plain(
            "You are attempting to update a file that has changed since you started editing it.",
        ));
    }
    Ok(())
}

fn lookup(repo: &Repo, base: Option<&str>, overlay: &Overlay, path: &str) -> Result<Option<Entry>, Failure> {
    if let Some(entry) = overlay.get(path) {
        return Ok(entry.clone());
    }
    let Some(base) = base else { return Ok(None) };
    let entry = repo.entry(base, path)?.filter(|entry| entry.kind == "blob");
    Ok(entry.map(|entry| Entry::Blob { id: entry.id, mode: entry.mode }))
}

fn refuse_existing(repo: &Repo, base: Option<&str>, overlay: &Overlay, path: &str) -> Result<(), Failure> {
    if lookup(repo, base, overlay, path)?.is_some() {
        return Err(Failure::plain(format!("A file with this name already exists: {path}")));
    }
    let folder = format!("{path}/");
    let below = overlay.iter().any(|(other, entry)| entry.is_some() && other.starts_with(&folder));
    let directory = match base {
        Some(base) => repo.entry(base, path)?.is_some_and(|entry| entry.kind == "tree"),
        None => false,
    };
    if below || directory {
        return Err(Failure::plain("A directory with this name already exists"));
    }
    // A parent that is a file stands in the way as well.
    let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
    for parent in parents {
        if lookup(repo, base, overlay, parent)?.is_some() {
            return Err(Failure::plain(format!("A file with this name already exists: {parent}")));
        }
    }
    Ok(())
}
