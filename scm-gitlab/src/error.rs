//! Status and body of an answer → [`Error`].

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, LOCATION};
use scm_core::pipeline::{AuthForm, Dialect, ErrorAnswer};
use scm_core::{Error, ErrorKind};
use serde_json::Value;
use url::Url;

use crate::client::PROVIDER;

/// What GitLab says of a path that it does not know, unlike of a thing that is not there.
const UNKNOWN_ROUTE: &str = " (GitLab knows no such API path: look at the context path of the URL, and for a reverse proxy that decodes '%2F')";

/// What a redirect to a page for people means.
const LEADS_AWAY: &str =
    "the answer leads to another page in place of the API, as a single sign-on before the server does";

/// What is particular to GitLab for the pipeline.
#[derive(Debug)]
pub(crate) struct GitLabDialect;

impl Dialect for GitLabDialect {
    fn provider(&self) -> &'static str {
        PROVIDER
    }

    /// Bearer, not `PRIVATE-TOKEN`: it carries access tokens and OAuth tokens alike, and every HTTP client knows that
    /// it must not follow a redirect to another host.
    fn auth(&self) -> AuthForm {
        AuthForm::Bearer
    }

    fn error(&self, answer: &ErrorAnswer<'_>) -> Error {
        if answer.status.is_redirection() && !leads_to_api(answer.headers) {
            return Error::new(ErrorKind::Decode, LEADS_AWAY);
        }
        let said = Said::read(answer);
        let (kind, retryable) = classify(answer.status, &said, answer.operation);
        let mut error = Error::new(kind, &said.message);
        if let Some(code) = &said.code {
            error = error.with_server_code(code);
        }
        match retryable {
            Some(retryable) => error.with_retryable(retryable),
            None => error,
        }
    }

    fn request_id_header(&self) -> HeaderName {
        HeaderName::from_static("x-request-id")
    }

    /// GitLab writes its external URL into redirects of moved projects; behind a proxy that is not where we reach it.
    fn relocate(&self, base: &Url, location: &Url) -> Option<Url> {
        let (_, rest) = location.path().split_once("/api/v4/")?;
        let mut url = base.clone();
        url.set_path(&format!("{}api/v4/{rest}", base.path()));
        url.set_query(location.query());
        Some(url)
    }
}

/// What the server said, whatever form it chose.
struct Said {
    message: String,
    /// The machine-readable `error`, such as `insufficient_scope`.
    code: Option<String>,
}

impl Said {
    fn read(answer: &ErrorAnswer<'_>) -> Self {
        if let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(answer.body) {
            let text = |name: &str| body.get(name).map(flatten).filter(|text| !text.is_empty());
            let error = text("error");
            // A code is one word; a sentence in its place is the message.
            let code = error.clone().filter(|error| !error.contains(' ')).or_else(|| text("error_code"));
            let message = [text("message"), text("error_description"), error].into_iter().flatten().next();
            let mut message = message.unwrap_or_default();
            if body.get("error").and_then(Value::as_str) == Some("404 Not Found") {
                message.push_str(UNKNOWN_ROUTE);
            }
            if let Some(scope) = text("scope") {
                message.push_str(&format!(" (scope needed: {scope})"));
            }
            return Self { message, code };
        }
        Self { message: answer.text(), code: None }
    }
}

/// A message of any shape as one line: text as it is, lists joined, objects as `key: value`.
fn flatten(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(flatten).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let line = |(name, value): (&String, &Value)| match name.as_str() {
                // `base` and the limiter's `error` say nothing about a field.
                "base" | "error" => flatten(value),
                name => format!("{name}: {}", flatten(value)),
            };
            fields.iter().map(line).collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

/// Else a redirect is to a page for people, and tells nothing about what was asked for.
fn leads_to_api(headers: &HeaderMap) -> bool {
    headers
        .get(LOCATION)
        .is_some_and(|to| to.to_str().is_ok_and(|to| to.split('?').next().unwrap_or(to).contains("/api/v4/")))
}

/// Kind of an answer, and whether it passes, where the kind alone does not tell.
fn classify(status: StatusCode, said: &Said, operation: &str) -> (ErrorKind, Option<bool>) {
    use ErrorKind::{
        Conflict, Decode, InvalidInput, NotFound, PermissionDenied, PreconditionFailed, RateLimited,
        Unauthenticated, Unavailable, Unsupported,
    };
    let text = said.message.as_str();
    let has = |words: &str| text.contains(words);
    let merging = operation == "merge_pull_request";
    let kind = match status.as_u16() {
        // Another push got in between; nothing was written.
        400 if has("Could not update refs/heads/") => return (Conflict, Some(true)),
        // Right after a push the new branch is not yet known everywhere.
        400 if has("source_branch does not exist") => return (InvalidInput, Some(true)),
        400 if has("You are attempting to update a file that has changed") => PreconditionFailed,
        400 if has("Branch already exists")
            || ((has("A branch called") || text.starts_with("Tag ")) && has("already exists"))
            || has("You can only create or edit files when you are on a branch") =>
        {
            Conflict
        }
        400 if has("not allowed to push") => PermissionDenied,
        // On these 401 means "you may not", not "who are you": a bad token says `invalid_token`.
        401 if said.code.is_none()
            && (merging || matches!(operation, "approve_pull_request" | "cancel_auto_merge")) =>
        {
            PermissionDenied
        }
        401 => Unauthenticated,
        403 => PermissionDenied,
        404 => NotFound,
        // A moved project answers GET by a redirect and everything else by this.
        405 if has("moved projects") => NotFound,
        // A list too long to be read page by page.
        405 if has("keyset pagination") => Unsupported,
        405 | 406 | 422 if merging => Conflict,
        409 if has("Resource lock") || has("Try again later") => return (Conflict, Some(true)),
        409 if has("SHA does not match") => PreconditionFailed,
        409 => Conflict,
        412 => PreconditionFailed,
        429 => RateLimited,
        code if code >= 500 => Unavailable,
        code if code >= 400 => InvalidInput,
        // Moved, and not followed.
        301 | 302 | 303 | 307 | 308 => NotFound,
        _ => Decode,
    };
    (kind, None)
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;

    use super::*;

    fn error(status: u16, kind: &'static str, body: &str, operation: &'static str) -> Error {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        let answer = ErrorAnswer::new(status, &headers, body.as_bytes(), operation);
        GitLabDialect.error(&answer).with_status(status)
    }

    /// The bodies of the published facts, one for each form.
    #[test]
    fn every_error_body_decodes() {
        use ErrorKind::{
            Conflict, InvalidInput, NotFound, PermissionDenied, PreconditionFailed, RateLimited,
            Unauthenticated, Unavailable, Unsupported,
        };
        let json = "application/json";
        #[rustfmt::skip]
        let table = [
            (400, json, r#"{"message":"400 Bad request - ref is empty"}"#, InvalidInput, "400 Bad request - ref is empty"),
            (400, json, r#"{"error":"branch is missing, ref is missing"}"#, InvalidInput, "branch is missing, ref is missing"),
            (400, json, r#"{"message":{"base":["is bad"],"title":["can't be blank","is short"]}}"#, InvalidInput, "is bad; title: can't be blank, is short"),
            (400, json, r#"{"message":"A file with this name already exists"}"#, InvalidInput, "A file with this name already exists"),
            (400, json, r#"{"message":"Branch already exists"}"#, Conflict, "Branch already exists"),
            (400, json, r#"{"message":"Tag v1.0 already exists"}"#, Conflict, "Tag v1.0 already exists"),
            (400, json, r#"{"message":"You are attempting to update a file that has changed since you started editing it."}"#, PreconditionFailed, "You are attempting to update a file that has changed since you started editing it."),
            (401, json, r#"{"message":"401 Unauthorized"}"#, Unauthenticated, "401 Unauthorized"),
            (401, json, r#"{"error":"invalid_token","error_description":"Token was revoked. You have to re-authorize from the user."}"#, Unauthenticated, "Token was revoked. You have to re-authorize from the user."),
            (403, json, r#"{"error":"insufficient_scope","error_description":"Too small.","scope":"api read_api"}"#, PermissionDenied, "Too small. (scope needed: api read_api)"),
            (403, json, r#"{"message":"403 Forbidden - Your account is blocked"}"#, PermissionDenied, "403 Forbidden - Your account is blocked"),
            (404, json, r#"{"message":"404 Project Not Found"}"#, NotFound, "404 Project Not Found"),
            (404, json, r#"{"error":"404 Not Found"}"#, NotFound, "404 Not Found (GitLab knows no such API path: look at the context path of the URL, and for a reverse proxy that decodes '%2F')"),
            (405, json, r#"{"message":"405 Method Not Allowed"}"#, InvalidInput, "405 Method Not Allowed"),
            (405, json, r#"{"error":"Remaining records can be retrieved using keyset pagination."}"#, Unsupported, "Remaining records can be retrieved using keyset pagination."),
            (409, json, r#"{"message":["Another open merge request already exists for this source branch: !5"]}"#, Conflict, "Another open merge request already exists for this source branch: !5"),
            (409, json, r#"{"message":"SHA does not match HEAD of source branch: abc"}"#, PreconditionFailed, "SHA does not match HEAD of source branch: abc"),
            (413, "text/html", "<html><head><title>413 Request Entity Too Large</title>", InvalidInput, "a web page answers: 413 Request Entity Too Large"),
            (422, json, r#"{"message":["You can't use same project/branch"]}"#, InvalidInput, "You can't use same project/branch"),
            (429, json, r#"{"message":{"error":"This endpoint has been requested too many times."}}"#, RateLimited, "This endpoint has been requested too many times."),
            (429, "text/plain", "Retry later\n", RateLimited, "Retry later"),
            (500, json, r#"{"message":"500 Internal Server Error"}"#, Unavailable, "500 Internal Server Error"),
            (502, "text/html", "<!DOCTYPE html><TITLE lang=en>GitLab is\n not responding</TITLE>", Unavailable, "a web page answers: GitLab is not responding"),
            (503, "", "<html>", Unavailable, "a web page answers in place of the API"),
            (500, json, "{broken", Unavailable, "{broken"),
            (404, "", "", NotFound, ""),
        ];
        for (status, kind, body, expected, message) in table {
            let error = error(status, kind, body, "op");
            assert_eq!((error.kind(), error.message()), (expected, message), "{status} {body}");
        }
    }

    #[test]
    fn a_merge_reads_its_statuses_differently() {
        let json = "application/json";
        let merge = |status, body| error(status, json, body, "merge_pull_request").kind();
        assert_eq!(merge(401, r#"{"message":"401 Unauthorized"}"#), ErrorKind::PermissionDenied);
        assert_eq!(merge(401, r#"{"error":"invalid_token"}"#), ErrorKind::Unauthenticated);
        for status in [405, 406, 422] {
            assert_eq!(merge(status, r#"{"message":"Branch cannot be merged"}"#), ErrorKind::Conflict);
        }
    }

    #[test]
    fn transient_texts_may_be_repeated() {
        let lock = error(409, "application/json", r#"{"message":"409 Conflict: Resource lock"}"#, "op");
        assert!(lock.is_retryable());
        assert!(!error(409, "application/json", r#"{"message":"409 Conflict"}"#, "op").is_retryable());
    }

    #[test]
    fn redirects_of_moved_projects_stay_under_our_own_root() {
        let base = Url::parse("http://10.0.0.1/gitlab/").unwrap();
        let to = Url::parse("https://gitlab.company.com/api/v4/projects/7/issues?a=b").unwrap();
        let own = GitLabDialect.relocate(&base, &to).unwrap();
        assert_eq!(own.as_str(), "http://10.0.0.1/gitlab/api/v4/projects/7/issues?a=b");
        assert!(GitLabDialect.relocate(&base, &Url::parse("https://storage.example/x").unwrap()).is_none());
    }
}
