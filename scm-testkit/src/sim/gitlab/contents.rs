//! Files, trees, blobs, archives.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::sim::repo::{Repo, TreeEntry};

use super::{
    auth::Access,
    call::Call,
    commit_create::{self, Action, ActionKind, Request},
    entities,
    reply::{Content, Failure, Outcome, Reply},
    router::Route,
};

const WRITE: &str = "branch!:filled commit_message!:filled content! encoding:enum(text|base64) start_branch \
     author_email author_name last_commit_id execute_filemode:bool start_sha";
const ARCHIVE: &str = "sha format path include_lfs_blobs:bool exclude_paths:list";

pub(crate) const ROUTES: &[Route] = &[
    (
        "GET",
        "/projects/:id/repository/tree",
        Access::Code,
        "ref path recursive:bool pagination:enum(legacy|keyset|none) page_token &page",
        tree,
    ),
    ("GET", "/projects/:id/repository/files/:file_path", Access::Code, "ref!:filled", file),
    ("HEAD", "/projects/:id/repository/files/:file_path", Access::Code, "ref!:filled", file_head),
    ("POST", "/projects/:id/repository/files/:file_path", Access::Write, WRITE, create_file),
    ("PUT", "/projects/:id/repository/files/:file_path", Access::Write, WRITE, update_file),
    (
        "DELETE",
        "/projects/:id/repository/files/:file_path",
        Access::Write,
        "branch!:filled commit_message!:filled start_branch author_email author_name last_commit_id start_sha",
        delete_file,
    ),
    ("GET", "/projects/:id/repository/files/:file_path/raw", Access::Code, "ref lfs:bool", raw),
    ("GET", "/projects/:id/repository/blobs/:sha", Access::Code, "", blob),
    ("GET", "/projects/:id/repository/blobs/:sha/raw", Access::Code, "", blob_raw),
    ("GET", "/projects/:id/repository/archive", Access::Code, ARCHIVE, archive),
    ("GET", "/projects/:id/repository/archive.tar.gz", Access::Code, ARCHIVE, archive),
    ("GET", "/projects/:id/repository/archive.tgz", Access::Code, ARCHIVE, archive),
    ("GET", "/projects/:id/repository/archive.tar", Access::Code, ARCHIVE, archive_tar),
    ("GET", "/projects/:id/repository/archive.tar.bz2", Access::Code, ARCHIVE, archive_bz2),
    ("GET", "/projects/:id/repository/archive.tbz", Access::Code, ARCHIVE, archive_bz2),
    ("GET", "/projects/:id/repository/archive.tbz2", Access::Code, ARCHIVE, archive_bz2),
    ("GET", "/projects/:id/repository/archive.tb2", Access::Code, ARCHIVE, archive_bz2),
    ("GET", "/projects/:id/repository/archive.bz2", Access::Code, ARCHIVE, archive_bz2),
    ("GET", "/projects/:id/repository/archive.zip", Access::Code, ARCHIVE, archive_zip),
];

/// The commit that a `ref` parameter means; the default branch without one.
pub(crate) fn revision(call: &Call, repo: &Repo, name: Option<&str>) -> Result<Option<String>, Failure> {
    let default = call.project_in(&call.state())?.default_branch.clone();
    let wanted = match name {
        None | Some("" | "HEAD") => default.as_str(),
        Some(name) => name,
    };
    Ok(repo.commit_id(wanted)?)
}

fn tree(call: &Call) -> Outcome {
    call.may_read_code()?;
    let repo = call.repo()?;
    let missing = || Failure::not_found("invalid revision or path");
    let path = call.params.text("path").unwrap_or_default().to_owned();
    if call.project_in(&call.state())?.empty {
        return Err(Failure::not_found("Tree"));
    }
    let commit = revision(call, &repo, call.params.text("ref"))?.ok_or_else(missing)?;
    let mut entries = repo.tree(&commit, &path, call.params.flag("recursive"))?.ok_or_else(missing)?;
    // Directories come first, each kind in git's order.
    entries.sort_by_key(|entry| match entry.kind.as_str() {
        "tree" => 0,
        "blob" => 1,
        _ => 2,
    });
    match call.params.text("pagination") {
        Some("none") => Ok(Reply::ok(entries.iter().map(tree_json).collect())),
        Some("keyset") => {
            let start = match call.params.filled("page_token") {
                None => 0,
                Some(token) => {
                    let at = entries.iter().position(|entry| entry.id == token);
                    at.ok_or_else(|| Failure::plain("Invalid page token"))? + 1
                }
            };
            let per_page = call.asked().per_page;
            let page: Vec<&TreeEntry> = entries.iter().skip(start).take(per_page).collect();
            let more = start + page.len() < entries.len();
            let next = page.last().filter(|_| more).map(|entry| entry.id.clone());
            let values = page.into_iter().map(tree_json).collect();
            match next {
                Some(token) => call.keyset(values, Some(&[("page_token", token)])),
                None => call.keyset(values, None),
            }
        }
        _ => call.paged(entries, |entry| tree_json(&entry)),
    }
}

fn tree_json(entry: &TreeEntry) -> Value {
    json!({
        "id": entry.id,
        "name": entry.path.rsplit('/').next().unwrap_or_default(),
        "type": entry.kind,
        "path": entry.path,
        "mode": entry.mode,
    })
}

#[derive(Debug)]
struct Found {
    path: String,
    reference: String,
    commit: String,
    last_commit: String,
    blob: String,
    executable: bool,
    bytes: Vec<u8>,
}

fn find(call: &Call) -> Result<Found, Failure> {
    call.may_read_code()?;
    let repo = call.repo()?;
    let path = call.part("file_path").to_owned();
    let reference = call.params.filled("ref").unwrap_or("HEAD").to_owned();
    let commit = revision(call, &repo, Some(&reference))?.ok_or_else(|| Failure::not_found("Commit"))?;
    let entry = repo.entry(&commit, &path)?.filter(|entry| entry.kind == "blob");
    let entry = entry.ok_or_else(|| Failure::not_found("File"))?;
    let bytes = repo.blob(&entry.id)?;
    let last_commit = repo.last_commit_of(&commit, &path)?.unwrap_or_else(|| commit.clone());
    let executable = entry.mode == "100755";
    Ok(Found { path, reference, commit, last_commit, blob: entry.id, executable, bytes })
}

impl Found {
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    fn digest(&self) -> String {
        Sha256::digest(&self.bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn headers(&self, mut reply: Reply) -> Reply {
        for (name, value) in [
            ("X-Gitlab-Blob-Id", self.blob.clone()),
            ("X-Gitlab-Commit-Id", self.commit.clone()),
            ("X-Gitlab-Content-Sha256", self.digest()),
            ("X-Gitlab-Encoding", "base64".to_owned()),
            ("X-Gitlab-Execute-Filemode", self.executable.to_string()),
            ("X-Gitlab-File-Name", self.name().to_owned()),
            ("X-Gitlab-File-Path", self.path.clone()),
            ("X-Gitlab-Last-Commit-Id", self.last_commit.clone()),
            ("X-Gitlab-Ref", self.reference.clone()),
            ("X-Gitlab-Size", self.bytes.len().to_string()),
        ] {
            reply = reply.header(name, value);
        }
        reply
    }
}

fn file(call: &Call) -> Outcome {
    let found = find(call)?;
    let value = json!({
        "file_name": found.name(),
        "file_path": found.path,
        "size": found.bytes.len(),
        "encoding": "base64",
        "content_sha256": found.digest(),
        "ref": found.reference,
        "blob_id": found.blob,
        "commit_id": found.commit,
        "last_commit_id": found.last_commit,
        "execute_filemode": found.executable,
        "content": STANDARD.encode(&found.bytes),
    });
    Ok(found.headers(Reply::ok(value)))
}

fn file_head(call: &Call) -> Outcome {
    let found = find(call)?;
    let reply = Reply { status: 200, headers: Vec::new(), body: Content::Empty };
    Ok(found.headers(reply))
}

fn raw(call: &Call) -> Outcome {
    let found = find(call)?;
    let name = found.name().to_owned();
    let bytes = found.bytes.clone();
    let reply = Reply::bytes(content_type(&bytes), bytes)
        .header("Content-Disposition", format!("inline; filename=\"{}\"", name.replace('"', "\\\"")));
    Ok(found.headers(reply))
}

fn content_type(bytes: &[u8]) -> &'static str {
    let text = !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok();
    if text { "text/plain; charset=utf-8" } else { "application/octet-stream" }
}

fn blob_bytes(call: &Call) -> Result<Vec<u8>, Failure> {
    call.may_read_code()?;
    let repo = call.repo()?;
    let id = call.part("sha");
    let hex = id.len() >= 7 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex || repo.object_kind(id)?.as_deref() != Some("blob") {
        return Err(Failure::not_found("Blob"));
    }
    Ok(repo.blob(id)?)
}

fn blob(call: &Call) -> Outcome {
    let bytes = blob_bytes(call)?;
    Ok(Reply::ok(json!({
        "size": bytes.len(),
        "encoding": "base64",
        "content": STANDARD.encode(&bytes),
        "sha": call.part("sha"),
    })))
}

fn blob_raw(call: &Call) -> Outcome {
    let bytes = blob_bytes(call)?;
    Ok(Reply::bytes(content_type(&bytes), bytes))
}

fn archive(call: &Call) -> Outcome {
    match call.params.text("format") {
        Some("zip") => archive_zip(call),
        Some("tar") => archive_tar(call),
        Some("tar.bz2" | "tbz" | "tbz2" | "tb2" | "bz2") => archive_bz2(call),
        _ => archive_as(call, "tar.gz", "application/x-gzip"),
    }
}

fn archive_tar(call: &Call) -> Outcome {
    archive_as(call, "tar", "application/x-tar")
}

fn archive_bz2(call: &Call) -> Outcome {
    archive_as(call, "tar.bz2", "application/x-bzip2")
}

fn archive_zip(call: &Call) -> Outcome {
    archive_as(call, "zip", "application/zip")
}

fn archive_as(call: &Call, format: &str, content_type: &str) -> Outcome {
    call.may_read_code()?;
    let repo = call.repo()?;
    let asked = call.params.filled("sha");
    let commit = revision(call, &repo, asked)?.ok_or_else(|| Failure::not_found("File"))?;
    let (name, default) = {
        let state = call.state();
        let project = call.project_in(&state)?;
        (project.path.clone(), project.default_branch.clone())
    };
    let path = call.params.filled("path").map(|path| path.trim_matches('/').to_owned());
    let mut root = format!("{name}-{}-{commit}", asked.unwrap_or(&default).replace('/', "-"));
    if let Some(path) = &path {
        if repo.entry(&commit, path)?.is_none() {
            return Err(Failure::not_found("File"));
        }
        root = format!("{root}-{}", path.replace('/', "-"));
    }
    let mut command = repo.command();
    command.args(["--literal-pathspecs", "archive"]);
    command.arg(format!("--format={format}")).arg(format!("--prefix={root}/")).arg(&commit).arg("--");
    command.args(&path);
    let reply = Reply {
        status: 200,
        headers: Vec::new(),
        body: Content::Program { content_type: content_type.to_owned(), command: Box::new(command) },
    };
    Ok(reply.header("Content-Disposition", format!("attachment; filename=\"{root}.{format}\"")))
}

/// The single-file calls are the multi-file one with one action.
fn write_one(call: &Call, kind: ActionKind) -> Result<String, Failure> {
    let params = &call.params;
    let path = call.part("file_path").to_owned();
    let encoded = params.text("encoding") == Some("base64");
    let content = params.text("content").map(|text| commit_create::content(text, encoded)).transpose()?;
    let action = Action {
        kind,
        path: path.clone(),
        previous_path: None,
        content,
        last_commit_id: params.filled("last_commit_id").map(str::to_owned),
        executable: params.bool("execute_filemode"),
    };
    let request = Request::of(call, vec![action]);
    commit_create::make(call, &request)?;
    Ok(path)
}

fn written(call: &Call, path: &str) -> Value {
    json!({ "file_path": path, "branch": call.params.text("branch").unwrap_or_default() })
}

fn create_file(call: &Call) -> Outcome {
    let path = write_one(call, ActionKind::Create)?;
    Ok(Reply::created(written(call, &path)))
}

fn update_file(call: &Call) -> Outcome {
    let path = write_one(call, ActionKind::Update)?;
    Ok(Reply::ok(written(call, &path)))
}

fn delete_file(call: &Call) -> Outcome {
    write_one(call, ActionKind::Delete)?;
    Ok(Reply::no_content())
}

/// The web address of the project of a call.
pub(crate) fn project_url(call: &Call) -> String {
    entities::project_url(&call.inner, &call.state(), call.project_id())
}
