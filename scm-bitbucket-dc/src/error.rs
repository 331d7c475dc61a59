//! Status and body of an answer → [`Error`].

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, LOCATION};
use scm_core::pipeline::{AuthForm, Dialect, ErrorAnswer};
use scm_core::{Error, ErrorKind};
use serde::Deserialize;
use url::Url;

use crate::client::PROVIDER;

/// Who the server takes the caller for; missing on what it says to strangers.
pub(crate) const USER_NAME: &str = "x-ausername";
/// The server's reason to let nobody in.
const DENIED: &str = "x-authentication-denied-reason";

/// Server code of an account that was locked by wrong passwords.
pub(crate) const CAPTCHA: &str = "CaptchaRequiredAuthenticationException";
/// Server code of a second pull request for the same branches.
pub(crate) const DUPLICATE: &str = "DuplicatePullRequestException";
/// Server code of reviewers who cannot be.
pub(crate) const BAD_REVIEWERS: &str = "InvalidPullRequestReviewersException";
/// Server code of a merge that was refused.
const VETOED: &str = "PullRequestMergeVetoedException";
/// Server code of a target that moved during the merge.
const MERGE_RACE: &str = "MergeException";

/// What is particular to Bitbucket Data Center for the pipeline.
#[derive(Debug)]
pub(crate) struct BitbucketDialect;

impl Dialect for BitbucketDialect {
    fn provider(&self) -> &'static str {
        PROVIDER
    }

    /// Tokens of projects and repositories go as Bearer only.
    fn auth(&self) -> AuthForm {
        AuthForm::Bearer
    }

    fn error(&self, answer: &ErrorAnswer<'_>) -> Error {
        let said = Said::read(answer);
        let kind = classify(answer, &said);
        let away = answer.status.is_redirection() && kind == ErrorKind::Decode;
        let login = "the server leads elsewhere; a login page or a proxy seems to answer";
        let mut error = Error::new(kind, if away { login } else { &said.message });
        if let Some(code) = &said.code {
            error = error.with_server_code(code);
        }
        error
    }

    fn request_id_header(&self) -> HeaderName {
        HeaderName::from_static("x-arequestid")
    }

    /// Bitbucket writes its external URL into redirects of renamed projects and repositories; behind a proxy that is not
    /// where we reach it.
    fn relocate(&self, base: &Url, location: &Url) -> Option<Url> {
        let (_, rest) = location.path().split_once("/rest/")?;
        let mut url = base.clone();
        url.set_path(&format!("{}rest/{rest}", base.path()));
        url.set_query(location.query());
        Some(url)
    }
}

/// An error body.
#[derive(Deserialize)]
struct WireErrors {
    #[serde(default)]
    errors: Vec<WireError>,
    /// Of paths that no part of the product knows.
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireError {
    context: Option<String>,
    message: Option<String>,
    exception_name: Option<String>,
    #[serde(default)]
    vetoes: Vec<WireVeto>,
    #[serde(default)]
    reviewer_errors: Vec<WireError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireVeto {
    summary_message: Option<String>,
    detailed_message: Option<String>,
}

/// What the server said.
struct Said {
    message: String,
    /// The exception's name without its package, which older servers call otherwise.
    code: Option<String>,
    /// All that stands against it is a missing right; told by words, in English only.
    by_permission: bool,
}

impl Said {
    fn read(answer: &ErrorAnswer<'_>) -> Self {
        // Said in a header too, whatever the body is.
        let denied = answer.headers.get(DENIED).and_then(|reason| reason.to_str().ok());
        let captcha = denied.filter(|reason| reason.contains("CAPTCHA")).map(|_| CAPTCHA.to_owned());
        let Ok(body) = serde_json::from_slice::<WireErrors>(answer.body) else {
            return Self { message: answer.text(), code: captcha, by_permission: false };
        };
        let code = body.errors.iter().find_map(|error| error.exception_name.as_deref());
        let code = code.and_then(|name| name.rsplit('.').next()).map(str::to_owned).or(captcha);
        let lines: Vec<String> = body.errors.iter().flat_map(lines).chain(body.message).collect();
        let mut vetoes = body.errors.iter().flat_map(|error| &error.vetoes).peekable();
        let about = |veto: &WireVeto| {
            veto.summary_message.as_ref().is_some_and(|text| text.to_lowercase().contains("permission"))
        };
        let by_permission = vetoes.peek().is_some() && vetoes.all(about);
        Self { message: lines.join("; "), code, by_permission }
    }
}

/// What one entry says, with all that hangs on it.
fn lines(error: &WireError) -> Vec<String> {
    let mut out = Vec::new();
    match (&error.context, &error.message) {
        (Some(field), Some(message)) => out.push(format!("{field}: {message}")),
        (_, Some(message)) => out.push(message.clone()),
        (_, None) => {}
    }
    out.extend(error.reviewer_errors.iter().flat_map(lines));
    for veto in &error.vetoes {
        let texts = [veto.summary_message.as_deref(), veto.detailed_message.as_deref()];
        out.push(texts.into_iter().flatten().collect::<Vec<_>>().join(": "));
    }
    out
}

/// Does the server know the caller?
fn is_known(headers: &HeaderMap) -> bool {
    headers.get(USER_NAME).is_some_and(|name| !name.is_empty())
}

fn classify(answer: &ErrorAnswer<'_>, said: &Said) -> ErrorKind {
    use ErrorKind::{
        Conflict, Decode, InvalidInput, NotFound, PermissionDenied, RateLimited, Unauthenticated, Unavailable,
    };
    let code = said.code.as_deref().unwrap_or_default();
    let denied = answer.headers.get(DENIED).is_some();
    match answer.status.as_u16() {
        _ if code == CAPTCHA => Unauthenticated,
        // Without a name the credential was not taken; with one, its user may not.
        401 if is_known(answer.headers) && !code.contains("Authentication") => PermissionDenied,
        401 => Unauthenticated,
        403 if denied => Unauthenticated,
        403 => PermissionDenied,
        404 => NotFound,
        400 if code == "DuplicateRefException" => Conflict,
        409 if code.contains("Archived") || said.message.contains("archived") => PermissionDenied,
        409 if code == VETOED && said.by_permission => PermissionDenied,
        409 if matches!(code, "EmptyPullRequestException" | BAD_REVIEWERS) => InvalidInput,
        409 => Conflict,
        429 => RateLimited,
        status if status >= 500 => Unavailable,
        status if status >= 400 => InvalidInput,
        // Moved, and not followed.
        301 | 302 | 303 | 307 | 308 if leads_to_api(answer.headers) => NotFound,
        _ => Decode,
    }
}

/// Else it leads to a page for people, most often one for signing in, and tells nothing about what was asked for.
fn leads_to_api(headers: &HeaderMap) -> bool {
    headers
        .get(LOCATION)
        .is_some_and(|to| to.to_str().is_ok_and(|to| to.split('?').next().unwrap_or(to).contains("/rest/")))
}

/// An error that is about the version which was read before: reading again may help.
pub(crate) fn is_out_of_date(error: &Error) -> bool {
    error.status() == Some(StatusCode::CONFLICT)
        && error.server_code().is_some_and(|code| code.ends_with("OutOfDateException"))
}

/// The same, or that a branch moved while the server was at it.
pub(crate) fn is_overtaken(error: &Error) -> bool {
    is_out_of_date(error) || error.server_code() == Some(MERGE_RACE)
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_TYPE, HeaderValue};

    use super::*;

    fn error(status: u16, user: Option<&'static str>, body: &str) -> Error {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json;charset=UTF-8"));
        if let Some(user) = user {
            headers.insert(USER_NAME, HeaderValue::from_static(user));
        }
        let status = StatusCode::from_u16(status).unwrap();
        BitbucketDialect.error(&ErrorAnswer::new(status, &headers, body.as_bytes(), "op")).with_status(status)
    }

    fn entry(exception: &str, message: &str) -> String {
        format!(
            r#"{{"errors":[{{"context":null,"message":"{message}","exceptionName":"com.atlassian.{exception}"}}]}}"#
        )
    }

    /// The bodies of the published facts, one for each form.
    #[test]
    fn every_error_body_decodes() {
        use ErrorKind::{
            Conflict, InvalidInput, NotFound, PermissionDenied, RateLimited, Unauthenticated, Unavailable,
        };
        #[rustfmt::skip]
        let table = [
            (400, r#"{"errors":[{"context":"name","message":"too long","exceptionName":null},{"context":"url","message":"missing"}]}"#.to_owned(), InvalidInput, "name: too long; url: missing"),
            (404, entry("bitbucket.project.NoSuchProjectException", "Project X does not exist."), NotFound, "Project X does not exist."),
            (404, r#"{"message":"null for uri: http://h/rest/nothing","status-code":404}"#.to_owned(), NotFound, "null for uri: http://h/rest/nothing"),
            (409, entry("bitbucket.pull.EmptyPullRequestException", "already up-to-date"), InvalidInput, "already up-to-date"),
            (409, entry("bitbucket.pull.PullRequestOutOfDateException", "stale"), Conflict, "stale"),
            (409, entry("bitbucket.repository.ArchivedRepositoryException", "no"), PermissionDenied, "no"),
            (409, r#"{"errors":[{"message":"vetoed","exceptionName":"x.PullRequestMergeVetoedException","conflicted":false,"vetoes":[{"summaryMessage":"Builds","detailedMessage":"1 of 2 failed"}]}]}"#.to_owned(), Conflict, "vetoed; Builds: 1 of 2 failed"),
            (409, r#"{"errors":[{"message":"reviewers","exceptionName":"x.InvalidPullRequestReviewersException","reviewerErrors":[{"context":"bob","message":"bob is not a user."}]}]}"#.to_owned(), InvalidInput, "reviewers; bob: bob is not a user."),
            (429, "{}".to_owned(), RateLimited, ""),
            (503, "<html><title>Starting</title>".to_owned(), Unavailable, "a web page answers: Starting"),
            (500, "{broken".to_owned(), Unavailable, "{broken"),
            (401, entry("bitbucket.AuthorisationException", "not permitted"), Unauthenticated, "not permitted"),
        ];
        for (status, body, kind, message) in table {
            let error = error(status, None, &body);
            assert_eq!((error.kind(), error.message()), (kind, message), "{status} {body}");
        }
    }

    #[test]
    fn a_401_is_told_apart_by_the_user_it_names() {
        let denied =
            entry("bitbucket.AuthorisationException", "You are not permitted to access this resource");
        assert_eq!(error(401, Some("svc"), &denied).kind(), ErrorKind::PermissionDenied);
        assert_eq!(error(401, Some(""), &denied).kind(), ErrorKind::Unauthenticated);
        let wrong = entry("bitbucket.auth.AuthenticationException", "Authentication failed.");
        assert_eq!(error(401, Some("svc"), &wrong).kind(), ErrorKind::Unauthenticated);
        let captcha = entry("bitbucket.auth.CaptchaRequiredAuthenticationException", "CAPTCHA required");
        for status in [401, 403] {
            assert_eq!(error(status, None, &captcha).kind(), ErrorKind::Unauthenticated);
        }
        assert_eq!(error(403, Some("svc"), "{}").kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn exceptions_are_known_by_their_last_name() {
        for package in ["stash.exception", "bitbucket.pull"] {
            let error = error(409, None, &entry(&format!("{package}.{DUPLICATE}"), "Only one"));
            assert_eq!(error.server_code(), Some(DUPLICATE));
        }
        assert!(is_out_of_date(&error(409, None, &entry("x.CommentOutOfDateException", "stale"))));
        assert!(!is_out_of_date(&error(409, None, &entry("x.MergeException", "moved"))));
        // Sent again as it is, it would merge what nobody has seen.
        assert!(!error(409, None, &entry("bitbucket.scm.MergeException", "moved")).is_retryable());
    }

    #[test]
    fn redirects_of_moved_repositories_stay_under_our_own_root() {
        let base = Url::parse("http://10.0.0.1/bitbucket/").unwrap();
        let to = Url::parse("https://git.company.com/rest/api/latest/projects/NEW/repos/x?a=b").unwrap();
        let own = BitbucketDialect.relocate(&base, &to).unwrap();
        assert_eq!(own.as_str(), "http://10.0.0.1/bitbucket/rest/api/latest/projects/NEW/repos/x?a=b");
        assert!(
            BitbucketDialect.relocate(&base, &Url::parse("https://sso.example/login").unwrap()).is_none()
        );
    }
}
