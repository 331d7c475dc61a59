//! git over HTTP: credentials and permissions in front of git's own back end, and what a push sets off behind it.

use std::{collections::BTreeSet, sync::Arc};

use axum::{body::Body, extract::Request};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use percent_encoding::percent_decode_str;

use crate::sim::{
    cgi::{self, CgiRequest, Mode},
    params::pairs,
    receive::{Command, branches, declined, drain, read_commands},
    repo::{Repo, ZERO},
};

use super::{
    Inner, auth,
    entities::short,
    events,
    reply::{Content, Failure},
    restrictions::{self, Move},
    state::State,
};

const SERVICES: &[&str] = &["info/refs", "git-upload-pack", "git-receive-pack"];

/// Refs that are nobody's business.
const HIDDEN: (&str, &str) = ("uploadpack.hideRefs", "refs/internal");

/// Splits `/scm/key/slug.git/info/refs` into key, slug and service.
pub(crate) fn split(path: &str) -> Option<(String, String, &'static str)> {
    let rest = path.strip_prefix("/scm/")?;
    SERVICES.iter().find_map(|service| {
        let (key, slug) = rest.strip_suffix(service)?.strip_suffix('/')?.split_once('/')?;
        let slug = slug.strip_suffix(".git").unwrap_or(slug);
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Some((decode(key), decode(slug), *service))
    })
}

pub(crate) async fn serve(
    inner: &Arc<Inner>,
    key: &str,
    slug: &str,
    service: &str,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let pushing = service == "git-receive-pack"
        || pairs(&query).iter().any(|(name, value)| name == "service" && value == "git-receive-pack");
    let admitted = match admit(inner, key, slug, pushing, &parts.headers) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    let repo = {
        let inner = Arc::clone(inner);
        match tokio::task::spawn_blocking(move || inner.repo(admitted.repo)).await {
            Ok(Ok(repo)) => repo,
            _ => return text(500, "git is not available"),
        }
    };
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let user = admitted.user.map(|id| id.to_string());
    let mut settings = inner.git_filters().settings().to_vec();
    settings.push(HIDDEN);
    let mut cgi = CgiRequest {
        method: &parts.method,
        service_path: service,
        query: &query,
        content_type: header("content-type"),
        content_encoding: header("content-encoding"),
        git_protocol: header("git-protocol"),
        user: user.as_deref(),
        settings: &settings,
    };
    if service != "git-receive-pack" {
        return match cgi::run(&repo.git, repo.path(), cgi, body, Mode::Stream).await {
            Ok(response) => response,
            Err(error) => text(500, &error.to_string()),
        };
    }
    let (commands, capabilities, body) = match read_commands(body).await {
        Ok(read) => read,
        Err(problem) => return text(400, &problem),
    };
    if let Some(reason) = refusal(inner, admitted, &commands) {
        drain(body).await;
        return declined(&commands, &capabilities, &reason);
    }
    let keep = [("receive.denyNonFastForwards", "true")];
    if keeps_history(inner, admitted, &commands) {
        cgi.settings = &keep;
    }
    push(inner, &repo, admitted, cgi, body).await
}

async fn push(
    inner: &Arc<Inner>,
    repo: &Arc<Repo>,
    admitted: Admitted,
    cgi: CgiRequest<'_>,
    body: Body,
) -> Response<Body> {
    let before = branches(repo).await;
    let response = match cgi::run(&repo.git, repo.path(), cgi, body, Mode::Whole).await {
        Ok(response) => response,
        Err(error) => return text(500, &error.to_string()),
    };
    let after = branches(repo).await;
    let (inner, repo, user) = (Arc::clone(inner), admitted.repo, admitted.user.unwrap_or(0));
    let settled = tokio::task::spawn_blocking(move || {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            let (old, new) = (before.get(name), after.get(name));
            if old != new
                && let Err(error) = events::branch_moved(&inner, repo, name, old, new, user)
            {
                tracing::error!(?error, "after a push");
            }
        }
    });
    let _ = settled.await;
    response
}

/// A caller who may use the service.
#[derive(Debug, Clone, Copy)]
struct Admitted {
    repo: u64,
    user: Option<u64>,
}

/// Keys stand in clone URLs in lower case.
fn find(state: &State, key: &str, slug: &str) -> Option<u64> {
    let project = state.projects.values().find(|project| project.key.eq_ignore_ascii_case(key))?;
    state.repo_at(&project.key, slug).map(|repo| repo.id)
}

fn admit(
    inner: &Inner,
    key: &str,
    slug: &str,
    pushing: bool,
    headers: &HeaderMap,
) -> Result<Admitted, Box<Response<Body>>> {
    let caller = auth::git_caller(inner, headers).map_err(|Failure(reply)| {
        if reply.status == 401 {
            return Box::new(challenge());
        }
        let words = match &reply.body {
            Content::Json(body) => body["errors"][0]["message"].as_str().unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        let mut response = text(reply.status, &words);
        crate::sim::reply::put_headers(&mut response, reply.headers);
        Box::new(response)
    })?;
    let state = inner.state();
    let repo = find(&state, key, slug).and_then(|id| state.repos.get(&id));
    let level = |repo| match &caller {
        Some(caller) => caller.level_on(&state, repo),
        None => u8::from(state.is_public(repo)),
    };
    let Some(repo) = repo.filter(|repo| level(repo) > 0) else {
        drop(state);
        // Strangers are asked who they are before they learn that there is nothing.
        return Err(Box::new(match caller {
            None => challenge(),
            Some(_) => text(
                404,
                "Repository not found\nThe requested repository does not exist, or you do not have permission to access it.",
            ),
        }));
    };
    if pushing {
        if caller.is_none() {
            return Err(Box::new(challenge()));
        }
        if repo.archived {
            return Err(Box::new(text(403, "Repository is archived\nThe repository is read-only.")));
        }
        if level(repo) < 2 {
            return Err(Box::new(text(
                403,
                "Insufficient permissions\nYou have insufficient permissions to push to this repository.",
            )));
        }
    }
    Ok(Admitted { repo: repo.id, user: caller.as_ref().map(|caller| caller.user_id) })
}

fn challenge() -> Response<Body> {
    let mut response = text(401, "Authentication required\n");
    let value = HeaderValue::from_static("Basic realm=\"Atlassian Bitbucket\"");
    response.headers_mut().insert("WWW-Authenticate", value);
    response
}

fn text(status: u16, words: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(words.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Branches among the commands, with what happens to them. Whether history is rewritten is left to git.
fn moves(commands: &[Command]) -> impl Iterator<Item = (&str, Move)> {
    commands.iter().filter(|command| command.name.starts_with("refs/heads/")).map(|command| {
        let what = match (command.old.as_str(), command.new.as_str()) {
            (ZERO, _) => Move::Create,
            (_, ZERO) => Move::Delete,
            _ => Move::Update,
        };
        (short(&command.name), what)
    })
}

/// Why the whole push is refused, as a pre-receive hook would say it.
fn refusal(inner: &Inner, admitted: Admitted, commands: &[Command]) -> Option<String> {
    let state = inner.state();
    let repo = state.repos.get(&admitted.repo)?;
    let user = admitted.user.unwrap_or(0);
    moves(commands).find_map(|(branch, what)| restrictions::refusal(&state, repo, branch, what, user))
}

/// Some of the branches may only be fast-forwarded.
fn keeps_history(inner: &Inner, admitted: Admitted, commands: &[Command]) -> bool {
    let state = inner.state();
    let Some(repo) = state.repos.get(&admitted.repo) else { return false };
    let user = admitted.user.unwrap_or(0);
    moves(commands)
        .any(|(branch, _)| restrictions::refusal(&state, repo, branch, Move::Rewrite, user).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_git_requests_are_split() {
        let parts = |key: &str, slug: &str, service| Some((key.to_owned(), slug.to_owned(), service));
        assert_eq!(split("/scm/proj/a.b.git/info/refs"), parts("proj", "a.b", "info/refs"));
        assert_eq!(split("/scm/~ann/x/git-upload-pack"), parts("~ann", "x", "git-upload-pack"));
        assert_eq!(split("/scm/proj/a.git"), None);
        assert_eq!(split("/projects/a/repos/b/info/refs"), None);
    }
}
