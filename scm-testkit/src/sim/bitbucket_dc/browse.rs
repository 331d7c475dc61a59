//! Looking at files and directories, and writing one file.

use serde_json::{Value, json};

use crate::sim::{
    multipart,
    repo::{Change, NewCommit, Repo, TreeEntry, ZERO},
};

use super::{
    call::Call,
    contents::entry,
    entities, events,
    page::{cap, envelope},
    reply::{Failure, Outcome, Reply},
    restrictions::{self, Move},
    router::{Route, Since::Always},
};

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/api/projects/:key/repos/:slug/browse", Always, BROWSE, browse),
    ("GET", "/api/projects/:key/repos/:slug/browse/*path", Always, BROWSE, browse),
    ("PUT", "/api/projects/:key/repos/:slug/browse/*path", Always, "", write),
];

const BROWSE: &str = "noContent at size blame type &page";

/// `x` and `x=true` ask for it.
fn asked(call: &Call, name: &str) -> bool {
    call.params.text(name).is_some_and(|text| text != "false")
}

fn browse(call: &Call) -> Outcome {
    let git = call.git()?;
    let path = call.part("path");
    let (commit, found) = if path.is_empty() {
        (call.commit(&git, call.at())?, None)
    } else {
        let (commit, found) = entry(call, path)?;
        (commit, Some(found))
    };
    let kind = found.as_ref().map_or("tree", |entry| entry.kind.as_str());
    if asked(call, "size")
        && let Some(file) = found.as_ref().filter(|_| kind == "blob")
    {
        return Ok(Reply::ok(json!({ "size": git.blob(&file.id)?.len() })));
    }
    if asked(call, "type") {
        return Ok(Reply::ok(json!({ "type": kind_name(kind) })));
    }
    match found {
        Some(file) if kind == "blob" => lines(call, &git, &commit, &file),
        Some(_) if kind == "commit" => Ok(Reply::ok(json!({ "type": "SUBMODULE" }))),
        _ => directory(call, &git, &commit, path),
    }
}

fn kind_name(kind: &str) -> &'static str {
    match kind {
        "tree" => "DIRECTORY",
        "commit" => "SUBMODULE",
        _ => "FILE",
    }
}

/// Line ends and encoding are lost on the way.
fn lines(call: &Call, git: &Repo, commit: &str, file: &TreeEntry) -> Outcome {
    let bytes = git.blob(&file.id)?;
    if bytes.contains(&0) {
        return Ok(Reply::ok(json!({ "binary": true, "path": entities::path(&file.path) })));
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let window = call.window(cap::LINES);
    let more = window.skip.saturating_add(window.take) < all.len();
    let shown: Vec<&&str> = all.iter().skip(window.skip).take(window.take).collect();
    let blame = || -> Result<Value, Failure> {
        let last = git.last_commit_of(commit, &file.path)?.unwrap_or_else(|| commit.to_owned());
        let last = git.commit(&last)?;
        let who = entities::commit(&call.inner, &call.state(), &last);
        Ok(json!([{
            "author": who["author"], "authorTimestamp": who["authorTimestamp"],
            "committer": who["committer"], "committerTimestamp": who["committerTimestamp"],
            "commitHash": last.id, "displayCommitHash": entities::display_id(&last.id),
            "commitId": last.id, "commitDisplayId": entities::display_id(&last.id),
            "fileName": file.path, "lineNumber": window.skip + 1, "spannedLines": shown.len(),
        }]))
    };
    if asked(call, "blame") && asked(call, "noContent") {
        return blame().map(Reply::ok);
    }
    let rows = shown.iter().map(|text| json!({ "text": text })).collect();
    let mut page = envelope(window, rows, more);
    if let Value::Object(map) = &mut page
        && let Some(rows) = map.remove("values")
    {
        map.insert("lines".to_owned(), rows);
    }
    if asked(call, "blame") {
        entities::extend(&mut page, json!({ "blame": blame()? }));
    }
    Ok(Reply::ok(page))
}

fn directory(call: &Call, git: &Repo, commit: &str, path: &str) -> Outcome {
    let mut entries =
        git.tree(commit, path, false)?.ok_or_else(|| Failure::no_path(path, call.at().unwrap_or(commit)))?;
    entries.sort_by_key(|entry| entry.kind != "tree");
    let window = call.window(cap::DEFAULT);
    let more = window.skip.saturating_add(window.take) < entries.len();
    let entries: Vec<TreeEntry> = entries.into_iter().skip(window.skip).take(window.take).collect();
    let ids: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
    let sizes = git.sizes(&ids)?;
    let values = entries.iter().zip(sizes).map(|(entry, size)| {
        let name = entry.path.rsplit('/').next().unwrap_or_default();
        let mut value = json!({
            "path": { "components": [name], "parent": "", "name": name, "toString": name },
            "type": kind_name(&entry.kind),
        });
        if let Some((_, ending)) = name.rsplit_once('.') {
            entities::extend(&mut value["path"], json!({ "extension": ending }));
        }
        entities::extend(
            &mut value,
            match entry.kind.as_str() {
                "blob" => json!({ "contentId": entry.id, "size": size }),
                _ => json!({ "node": entry.id }),
            },
        );
        value
    });
    let children = envelope(window, values.collect(), more);
    Ok(Reply::ok(json!({
        "path": entities::path(path),
        "revision": call.at().unwrap_or(commit),
        "children": children,
    })))
}

fn write(call: &Call) -> Outcome {
    let user = call.may_change(2)?;
    if !call.caller()?.has_user() {
        return Err(Failure::plain(
            403,
            "The request was authenticated using an access token that does not have a valid user associated with it.",
        ));
    }
    let form = multipart::parts(&call.content_type, &call.body)
        .ok_or_else(|| Failure::plain(400, "The request body is not a form."))?;
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, bytes)| *bytes);
    let text = |name: &str| {
        let text = field(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        text.filter(|text| !text.is_empty())
    };
    let (Some(branch), Some(content)) = (text("branch"), field("content")) else {
        let missing = |name: &str| (name.to_owned(), format!("The {name} is missing."));
        let names = [("branch", text("branch").is_none()), ("content", field("content").is_none())];
        return Err(Failure::fields(names.iter().filter(|(_, gone)| *gone).map(|(name, _)| missing(name))));
    };
    let branch = entities::short(&branch).to_owned();
    let path = call.part("path").to_owned();
    let git = call.git()?;
    let head = git.branch_id(&branch)?;
    restrictions::check(call, &branch, if head.is_some() { Move::Update } else { Move::Create })?;
    let base = match (&head, text("sourceBranch")) {
        (Some(head), _) => Some(head.clone()),
        (None, Some(source)) => {
            let source = entities::short(&source).to_owned();
            Some(git.branch_id(&source)?.ok_or_else(|| Failure::no_branch(&source))?)
        }
        (None, None) if call.repo_in(&call.state())?.empty => None,
        (None, None) => return Err(Failure::no_branch(&branch)),
    };
    let old = match &base {
        Some(base) => git.entry(base, &path)?,
        None => None,
    };
    check_source(&git, base.as_deref(), &path, old.as_ref(), text("sourceCommitId").as_deref())?;
    if let Some(old) = &old
        && old.kind == "blob"
        && git.blob(&old.id)? == content
    {
        return Err(Failure::new(
            409,
            "content.FileContentUnmodifiedException",
            format!("The file '{path}' could not be edited: its content was not modified."),
        ));
    }
    let executable = old.is_some_and(|old| old.mode == "100755");
    let change = Change::Write { path: path.clone(), content: content.to_vec(), executable };
    let message = text("message").unwrap_or_else(|| format!("{path} edited online with Bitbucket"));
    let who = call.inner.identity(user);
    let tree = git.write_tree(base.as_deref(), &[change])?;
    let parents: Vec<String> = base.into_iter().collect();
    let new = NewCommit { tree: &tree, parents: &parents, message: &message, author: &who, committer: &who };
    let new = git.write_commit(&new)?;
    let id = format!("refs/heads/{branch}");
    if !git.update_ref(&id, &new, head.as_deref().unwrap_or(ZERO))? {
        return Err(out_of_date(&path));
    }
    events::branch_moved(&call.inner, call.repo, &id, head.as_ref(), Some(&new), user)?;
    let made = git.commit(&new)?;
    Ok(Reply::ok(entities::commit(&call.inner, &call.state(), &made)))
}

/// A new file must not be there; a known one must be as it was at `sourceCommitId`.
fn check_source(
    git: &Repo,
    base: Option<&str>,
    path: &str,
    old: Option<&TreeEntry>,
    source: Option<&str>,
) -> Result<(), Failure> {
    match (old, source) {
        (Some(_), None) => Err(Failure::new(
            409,
            "content.FileAlreadyExistsException",
            format!("The file '{path}' could not be created because it already exists."),
        )),
        (old, Some(source)) => {
            let known = match git.commit_id(source)? {
                Some(source) => git.entry(&source, path)?,
                None => None,
            };
            let unchanged = base.is_some() && known.map(|known| known.id) == old.map(|old| old.id.clone());
            if unchanged { Ok(()) } else { Err(out_of_date(path)) }
        }
        (None, None) => Ok(()),
    }
}

fn out_of_date(path: &str) -> Failure {
    Failure::new(
        409,
        "content.FileOutOfDateException",
        format!("The file '{path}' could not be edited because it has changed since you last saw it."),
    )
}
