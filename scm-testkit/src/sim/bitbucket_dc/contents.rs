//! Bytes, file lists, last changes, archives.

use serde_json::{Map, Value, json};

use crate::sim::repo::TreeEntry;

use super::{
    call::Call,
    entities,
    page::cap,
    reply::{Content, Failure, Outcome, Reply},
    router::{
        Route,
        Since::{Always, Until},
    },
};

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/api/projects/:key/repos/:slug/raw", Until(8, 3), RAW, raw),
    ("GET", "/api/projects/:key/repos/:slug/raw/*path", Always, RAW, raw),
    ("GET", "/api/projects/:key/repos/:slug/files", Always, "at &page", files),
    ("GET", "/api/projects/:key/repos/:slug/files/*path", Always, "at &page", files),
    ("GET", "/api/projects/:key/repos/:slug/last-modified", Always, "at", last_modified),
    ("GET", "/api/projects/:key/repos/:slug/last-modified/*path", Always, "at", last_modified),
    ("GET", "/api/projects/:key/repos/:slug/archive", Always, "path filename at prefix format", archive),
];

const RAW: &str = "at markup htmlEscape includeHeadingId hardwrap";

/// The entry at a path of the call's revision, and the revision's commit.
pub(crate) fn entry(call: &Call, path: &str) -> Result<(String, TreeEntry), Failure> {
    let git = call.git()?;
    let commit = call.commit(&git, call.at())?;
    let found = git.entry(&commit, path)?;
    let found = found.ok_or_else(|| Failure::no_path(path, call.at().unwrap_or(&commit)))?;
    Ok((commit, found))
}

fn raw(call: &Call) -> Outcome {
    let path = call.part("path");
    if path.is_empty() {
        return Err(Failure::field("path", "The path is missing."));
    }
    let (_, entry) = entry(call, path)?;
    if entry.kind != "blob" {
        return Err(Failure::bad_argument(format!("The path \"{path}\" is not a file.")));
    }
    let bytes = call.git()?.blob(&entry.id)?;
    let text = !bytes.contains(&0) && std::str::from_utf8(&bytes).is_ok();
    let content_type = if text { "text/plain;charset=UTF-8" } else { "application/octet-stream" };
    let name = path.rsplit('/').next().unwrap_or_default().replace('"', "\\\"");
    let place = if text { "inline" } else { "attachment" };
    Ok(Reply::bytes(content_type, bytes)
        .header("Content-Disposition", format!("{place}; filename=\"{name}\"; filename*=UTF-8''{name}")))
}

fn files(call: &Call) -> Outcome {
    let git = call.git()?;
    let path = call.part("path");
    let commit = call.commit(&git, call.at())?;
    let Some(entries) = git.tree(&commit, path, true)? else {
        entry(call, path)?;
        return Err(Failure::bad_argument(format!("The path \"{path}\" is not a directory.")));
    };
    let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
    let names: Vec<String> = entries
        .into_iter()
        .filter(|entry| entry.kind == "blob")
        .map(|entry| entry.path.strip_prefix(&prefix).unwrap_or(&entry.path).to_owned())
        .collect();
    call.paged(names, cap::FILES, Value::from)
}

fn last_modified(call: &Call) -> Outcome {
    let git = call.git()?;
    let path = call.part("path");
    let commit = call.commit(&git, call.at())?;
    let missing = || Failure::no_path(path, call.at().unwrap_or(&commit));
    let entries = git.tree(&commit, path, false)?.ok_or_else(missing)?;
    let show = |id: &str| -> Result<Value, Failure> {
        let found = git.commit(id)?;
        Ok(entities::commit(&call.inner, &call.state(), &found))
    };
    let mut files = Map::new();
    for entry in entries {
        let last = git.last_commit_of(&commit, &entry.path)?.unwrap_or_else(|| commit.clone());
        let name = entry.path.rsplit('/').next().unwrap_or_default().to_owned();
        files.insert(name, show(&last)?);
    }
    let latest = match path {
        "" => commit.clone(),
        _ => git.last_commit_of(&commit, path)?.unwrap_or_else(|| commit.clone()),
    };
    Ok(Reply::ok(json!({ "latestCommit": show(&latest)?, "files": files })))
}

fn archive(call: &Call) -> Outcome {
    let git = call.git()?;
    let format = call.params.filled("format").unwrap_or("zip");
    let (kind, content_type) = match format {
        "zip" => ("zip", "application/zip"),
        "tar" => ("tar", "application/x-tar"),
        "tar.gz" | "tgz" => ("tar.gz", "application/x-gzip"),
        _ => {
            return Err(Failure::bad_argument(format!(
                "The format \"{format}\" is not supported; it must be one of zip, tar, tar.gz or tgz."
            )));
        }
    };
    let commit = call.commit(&git, call.at())?;
    let paths: Vec<&str> =
        call.query.iter().filter(|(name, _)| name == "path").map(|(_, value)| value.as_str()).collect();
    for path in &paths {
        if git.entry(&commit, path.trim_end_matches('/'))?.is_none() {
            return Err(Failure::no_path(path, call.at().unwrap_or(&commit)));
        }
    }
    let mut command = git.command();
    command.args(["--literal-pathspecs", "archive"]).arg(format!("--format={kind}"));
    if let Some(prefix) = call.params.filled("prefix") {
        command.arg(format!("--prefix={}/", prefix.trim_end_matches('/')));
    }
    command.arg(&commit).arg("--").args(&paths);
    let name =
        call.params.filled("filename").map_or_else(|| archive_name(call, &commit, format), str::to_owned);
    let body = Content::Program { content_type: content_type.to_owned(), command: Box::new(command) };
    let reply = Reply { status: 200, headers: Vec::new(), body };
    Ok(reply
        .header("Content-Disposition", format!("attachment; filename=\"{name}\"; filename*=UTF-8''{name}")))
}

fn archive_name(call: &Call, commit: &str, format: &str) -> String {
    let slug = call.part("slug");
    let revision = match call.at() {
        Some(at) if at == commit => at.to_owned(),
        at => {
            let state = call.state();
            let default = call.repo_in(&state).map_or("", |repo| repo.default_branch.as_str());
            let name = at.map_or(default, |at| at.rsplit("refs/heads/").next().unwrap_or(at));
            format!("{}@{}", name.replace('/', "-"), entities::display_id(commit))
        }
    };
    format!("{slug}-{revision}.{format}")
}
