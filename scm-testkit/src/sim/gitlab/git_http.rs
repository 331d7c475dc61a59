//! git over HTTP: credentials and roles in front of git's own back end, and what a push sets off behind it.

use std::sync::Arc;

use axum::{body::Body, extract::Request};
use http::{HeaderMap, Response, StatusCode};

use crate::sim::{
    cgi::{self, CgiRequest, Mode},
    params::pairs,
    receive::{Command, branches, declined, drain, read_commands},
    repo::{Repo, ZERO},
};

use super::{Inner, auth, events, reply::Failure, state::Project};

const SERVICES: &[&str] = &["info/refs", "git-upload-pack", "git-receive-pack"];

/// Splits `/group/project.git/info/refs` into the project's path and the service.
pub(crate) fn split(path: &str) -> Option<(&str, &'static str)> {
    SERVICES.iter().find_map(|service| {
        let project = path.strip_suffix(service)?.strip_suffix('/')?.trim_start_matches('/');
        Some((project.strip_suffix(".git").unwrap_or(project), *service))
    })
}

pub(crate) async fn serve(
    inner: &Arc<Inner>,
    project: &str,
    service: &str,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let pushing = service == "git-receive-pack"
        || pairs(&query).iter().any(|(name, value)| name == "service" && value == "git-receive-pack");
    let admitted = match admit(inner, project, pushing, &parts.headers) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    let repo = {
        let inner = Arc::clone(inner);
        match tokio::task::spawn_blocking(move || inner.repo(admitted.project)).await {
            Ok(Ok(repo)) => repo,
            _ => return text(500, "git is not available"),
        }
    };
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let user = admitted.user.map(|id| id.to_string());
    let mut cgi = CgiRequest {
        method: &parts.method,
        service_path: service,
        query: &query,
        content_type: header("content-type"),
        content_encoding: header("content-encoding"),
        git_protocol: header("git-protocol"),
        user: user.as_deref(),
        settings: inner.git_filters().settings(),
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
    if let Some(reason) = refusal(inner, &admitted, &commands) {
        drain(body).await;
        return declined(&commands, &capabilities, &format!("GitLab: {reason}"));
    }
    let keep = [("receive.denyNonFastForwards", "true")];
    if touches_protected(inner, &admitted, &commands) {
        cgi.settings = &keep;
    }
    push(inner, &repo, &admitted, cgi, body).await
}

async fn push(
    inner: &Arc<Inner>,
    repo: &Arc<Repo>,
    admitted: &Admitted,
    cgi: CgiRequest<'_>,
    body: Body,
) -> Response<Body> {
    let before = branches(repo).await;
    let response = match cgi::run(&repo.git, repo.path(), cgi, body, Mode::Whole).await {
        Ok(response) => response,
        Err(error) => return text(500, &error.to_string()),
    };
    let after = branches(repo).await;
    let (inner, project, user) = (Arc::clone(inner), admitted.project, admitted.user.unwrap_or(0));
    let settled = tokio::task::spawn_blocking(move || {
        let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            let (old, new) = (before.get(name), after.get(name));
            if old != new
                && let Err(error) = events::branch_moved(&inner, project, name, old, new, user)
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
    project: u64,
    user: Option<u64>,
    level: u32,
}

fn admit(
    inner: &Inner,
    path: &str,
    pushing: bool,
    headers: &HeaderMap,
) -> Result<Admitted, Box<Response<Body>>> {
    let refuse = |status, words: &str| Err(Box::new(text(status, words)));
    let caller = match auth::git_caller(inner, headers) {
        Some(Ok(caller)) => Some(caller),
        Some(Err(Failure(reply))) if reply.status == 403 => {
            return refuse(403, "Your account has been blocked.");
        }
        Some(Err(_)) => return Err(Box::new(challenge())),
        None => None,
    };
    let scopes: &[&str] =
        if pushing { &["api", "write_repository"] } else { &["api", "read_repository", "write_repository"] };
    if caller.as_ref().is_some_and(|caller| !caller.has_any(scopes)) {
        return Err(Box::new(challenge()));
    }
    let user = caller.map(|caller| caller.user_id);
    let today = inner.today();
    let state = inner.state();
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let known = state
        .project_at(&decoded)
        .or_else(|| state.moved.get(&decoded.to_lowercase()).and_then(|id| state.projects.get(id)));
    let visible = known.filter(|project| state.can_see(project, user, &today));
    let Some(project) = visible else {
        drop(state);
        // Strangers are asked who they are before they learn that there is nothing.
        return if user.is_none() {
            Err(Box::new(challenge()))
        } else {
            refuse(
                404,
                "The project you were looking for could not be found or you don't have permission to view it.",
            )
        };
    };
    let level = match user {
        Some(user) if state.is_admin(user) => 60,
        Some(user) => state.project_level(project, user, &today),
        None => 0,
    };
    let admitted = Admitted { project: project.id, user, level };
    let private = project.visibility == super::types::Visibility::Private;
    let archived = project.archived;
    drop(state);
    if pushing {
        if user.is_none() {
            return Err(Box::new(challenge()));
        }
        if archived {
            return refuse(403, "You can't push code to a read-only GitLab instance or an archived project.");
        }
        if level < 30 {
            return refuse(403, "You are not allowed to push code to this project.");
        }
    } else if private && level < 20 {
        return refuse(403, "You are not allowed to download code from this project.");
    }
    Ok(admitted)
}

fn challenge() -> Response<Body> {
    let mut response = text(
        401,
        "HTTP Basic: Access denied. The provided password or token is incorrect or your account has 2FA enabled and you must use a personal access token instead of a password.\n",
    );
    response
        .headers_mut()
        .insert("WWW-Authenticate", http::HeaderValue::from_static("Basic realm=\"GitLab\""));
    response
}

fn text(status: u16, words: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(words.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Why the whole push is refused, as a pre-receive hook would say it.
fn refusal(inner: &Inner, admitted: &Admitted, commands: &[Command]) -> Option<String> {
    let state = inner.state();
    let project: &Project = state.projects.get(&admitted.project)?;
    commands.iter().find_map(|command| {
        let branch = command.name.strip_prefix("refs/heads/")?;
        let rule = state.protection(project, branch)?;
        let creating_first = project.empty && command.old == ZERO;
        if admitted.level < state.push_level(project, branch) && !(creating_first && admitted.level >= 40) {
            return Some(
                "You are not allowed to push code to protected branches on this project.".to_owned(),
            );
        }
        let deleting = command.new == ZERO && !rule.pattern.is_empty();
        deleting.then(|| "You can only delete protected branches using the web interface.".to_owned())
    })
}

/// Protected branches are not rewritten, unless their rule allows it.
fn touches_protected(inner: &Inner, admitted: &Admitted, commands: &[Command]) -> bool {
    let state = inner.state();
    let Some(project) = state.projects.get(&admitted.project) else { return false };
    commands
        .iter()
        .filter_map(|command| command.name.strip_prefix("refs/heads/"))
        .any(|branch| state.protection(project, branch).is_some_and(|rule| !rule.allow_force_push))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_git_requests_are_split() {
        assert_eq!(split("/a/b.git/info/refs"), Some(("a/b", "info/refs")));
        assert_eq!(split("/a/b/c/git-upload-pack"), Some(("a/b/c", "git-upload-pack")));
        assert_eq!(split("/a/b"), None);
    }
}
