//! A fixture over a server that is there: plain REST with the token of an owner, in a group that goes afterwards.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use scm_client::transport::{CaCertificates, DirectTransport, Network};
use scm_core::{
    Body, BranchName, Error, NamespaceId, PullRequestId, RepoId, Role, Scm, Sha, TokenKind, Transport,
    Visibility,
};
use scm_testkit::conformance::{Access, Fixture, Repo, RepoSpec, Result, Stop, TokenSpec, Validity};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

/// The largest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 16 << 20;

type Connect = dyn Fn(&str, SecretString) -> scm_core::Result<Arc<dyn Scm>> + Send + Sync;

/// The server, and who works on it. The variables are in the program's help.
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) transport: Transport,
    token: SecretString,
    owner: SecretString,
    group: String,
}

impl Settings {
    pub(crate) fn read(lookup: impl Fn(&str) -> Option<String>) -> scm_core::Result<Self> {
        let wanted = |name: &str| {
            let value = lookup(name).filter(|value| !value.trim().is_empty());
            value.ok_or_else(|| Error::config(format!("--live needs the variable {name}; see --help")))
        };
        let mut network = Network::new();
        if let Some(path) = lookup("SCM_CONFORMANCE_CA") {
            let pem = std::fs::read_to_string(&path)
                .map_err(|error| Error::config(format!("SCM_CONFORMANCE_CA: {path}: {}", error.kind())))?;
            network = network.with_extra_roots(CaCertificates::parse(&pem)?);
        }
        Ok(Self {
            url: wanted("SCM_CONFORMANCE_URL")?.trim_end_matches('/').to_owned(),
            transport: Transport::new(DirectTransport::new(&network)?),
            token: wanted("SCM_CONFORMANCE_TOKEN")?.into(),
            owner: wanted("SCM_CONFORMANCE_OWNER_TOKEN")?.into(),
            group: wanted("SCM_CONFORMANCE_GROUP")?,
        })
    }
}

/// REST with one token.
struct Rest {
    transport: Transport,
    api: String,
    token: SecretString,
}

impl Rest {
    async fn ask(&self, method: Method, path: &str, body: Value) -> Result<(StatusCode, Value)> {
        let mut token = HeaderValue::from_str(self.token.expose_secret())
            .map_err(|_| Stop::failed("a token holds what no header can"))?;
        token.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.api))
            .header("private-token", token);
        let request = match body {
            Value::Null => request.body(Body::empty()),
            body => request.header(CONTENT_TYPE, "application/json").body(Body::from(body.to_string())),
        };
        let answer = self.transport.send(request.map_err(Stop::failed)?).await.map_err(Error::from)?;
        let (head, body) = answer.into_parts();
        let bytes = body.collect(ANSWER_LIMIT).await.map_err(Error::from)?;
        Ok((head.status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    /// A call that must be done.
    async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value> {
        let (status, answer) = self.ask(method.clone(), path, body).await?;
        if status.is_success() {
            return Ok(answer);
        }
        let why = answer.get("message").or_else(|| answer.get("error")).cloned().unwrap_or_default();
        Err(Stop::failed(format!("the fixture's {method} {path}: {status} {why}")))
    }

    async fn is_there(&self, path: &str) -> Result<bool> {
        let (status, answer) = self.ask(Method::GET, path, Value::Null).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            status => Err(Stop::failed(format!("the fixture's GET {path}: {status} {answer}"))),
        }
    }
}

/// See the module.
pub(crate) struct Live {
    owner: Rest,
    connect: Box<Connect>,
    url: String,
    scm: Arc<dyn Scm>,
    /// Whose token the suite has.
    user: u64,
    /// Where everything is made: its number and full path.
    group: (u64, String),
    secrets: Mutex<Vec<String>>,
}

impl Live {
    /// Makes a group of this name for everything else.
    pub(crate) async fn begin(
        settings: Settings,
        name: &str,
        connect: impl Fn(&str, SecretString) -> scm_core::Result<Arc<dyn Scm>> + Send + Sync + 'static,
    ) -> Result<Self> {
        let rest = |token| Rest {
            transport: settings.transport.clone(),
            api: format!("{}/api/v4", settings.url),
            token,
        };
        let suite = rest(settings.token.clone());
        let user = number(&suite.call(Method::GET, "/user", Value::Null).await?, "id")?;
        let owner = rest(settings.owner.clone());
        let around =
            owner.call(Method::GET, &format!("/groups/{}", encoded(&settings.group)), Value::Null).await?;
        let group = new_group(&owner, number(&around, "id")?, name).await?;
        Ok(Self {
            scm: connect(&settings.url, settings.token.clone())?,
            owner,
            connect: Box::new(connect),
            user,
            group,
            secrets: Mutex::new(
                [&settings.token, &settings.owner].map(|token| token.expose_secret().to_owned()).to_vec(),
            ),
            url: settings.url,
        })
    }

    pub(crate) fn scm(&self) -> Arc<dyn Scm> {
        Arc::clone(&self.scm)
    }

    /// Removes the group with all that was made in it.
    pub(crate) async fn end(&self) -> Result<()> {
        self.owner.call(Method::DELETE, &format!("/groups/{}", self.group.0), Value::Null).await.map(|_| ())
    }

    async fn commit(
        &self,
        repo: &str,
        branch: &str,
        start: Option<&str>,
        actions: Vec<Value>,
    ) -> Result<Sha> {
        let mut body = json!({ "branch": branch, "commit_message": "By someone else", "actions": actions });
        if let Some(start) = start {
            body["start_branch"] = start.into();
        }
        let made = self.owner.call(Method::POST, &format!("{repo}/repository/commits"), body).await?;
        Ok(Sha::new(text(&made, "id")?)?)
    }
}

#[async_trait]
impl Fixture for Live {
    fn secrets(&self) -> Vec<String> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn repository(&self, spec: &RepoSpec) -> Result<Repo> {
        let namespace = match &spec.namespace {
            None => self.group.0,
            Some(path) => {
                let path = format!("/groups/{}", encoded(path.as_str()));
                number(&self.owner.call(Method::GET, &path, Value::Null).await?, "id")?
            }
        };
        let branch = spec.default_branch.clone().map_or_else(|| BranchName::new("main"), Ok)?;
        let visibility = match &spec.visibility {
            Visibility::Public => "public",
            Visibility::Internal => "internal",
            _ => "private",
        };
        let project = json!({
            "name": spec.name, "path": spec.name, "namespace_id": namespace, "visibility": visibility,
            "default_branch": branch.as_str(),
        });
        let project = self.owner.call(Method::POST, "/projects", project).await?;
        let (id, path) = (number(&project, "id")?, text(&project, "path_with_namespace")?);
        let at = format!("/projects/{id}");
        let head = match spec.empty {
            true => None,
            false => {
                let files =
                    spec.files.iter().map(|(path, content)| action("create", path, content)).collect();
                Some(self.commit(&at, branch.as_str(), None, files).await?)
            }
        };
        if spec.protected {
            let rule = json!({ "name": branch.as_str(), "push_access_level": 40, "merge_access_level": 40 });
            self.owner.call(Method::POST, &format!("{at}/protected_branches"), rule).await?;
        }
        if let Some(level) = level(spec.role) {
            let member = json!({ "user_id": self.user, "access_level": level });
            self.owner.call(Method::POST, &format!("{at}/members"), member).await?;
        }
        if spec.archived {
            self.owner.call(Method::POST, &format!("{at}/archive"), Value::Null).await?;
        }
        Ok(Repo::new(RepoId::new(id.to_string())?, RepoId::new(path)?, branch, head))
    }

    async fn namespace(&self, name: &str, parent: Option<&NamespaceId>) -> Result<NamespaceId> {
        let parent = match parent {
            None => self.group.0,
            Some(path) => {
                let path = format!("/groups/{}", encoded(path.as_str()));
                number(&self.owner.call(Method::GET, &path, Value::Null).await?, "id")?
            }
        };
        Ok(NamespaceId::new(new_group(&self.owner, parent, name).await?.1)?)
    }

    async fn push_as_other(&self, repo: &Repo, branch: &BranchName, files: &[(&str, &[u8])]) -> Result<Sha> {
        let at = project(repo);
        let there = format!("{at}/repository/branches/{}", encoded(branch.as_str()));
        let start =
            if self.owner.is_there(&there).await? { None } else { Some(repo.default_branch.as_str()) };
        let mut actions = Vec::new();
        for (path, content) in files {
            let seen = encoded(start.unwrap_or(branch.as_str()));
            let file = format!("{at}/repository/files/{}?ref={seen}", encoded(path));
            let word = if self.owner.is_there(&file).await? { "update" } else { "create" };
            actions.push(action(word, path, content));
        }
        self.commit(&at, branch.as_str(), start, actions).await
    }

    async fn scm_as(&self, token: &TokenSpec) -> Result<Arc<dyn Scm>> {
        let days = match token.validity {
            // Never issued; of the form that tokens have.
            Validity::Unknown => {
                return Ok((self.connect)(&self.url, "glpat-00000000000000000000".to_owned().into())?);
            }
            Validity::Valid | Validity::Revoked => 30,
            Validity::Days(days) => i64::from(days),
            _ => return Err(Stop::unavailable("an owner makes no token that is expired, nor blocks a user")),
        };
        let (at, level) = match (&token.kind, &token.grants[..]) {
            (TokenKind::Group, []) => {
                (format!("/groups/{}", new_group(&self.owner, self.group.0, &token.name).await?.0), 30)
            }
            (TokenKind::Project, [(repo, role)]) => (format!("/projects/{repo}"), level(*role).unwrap_or(10)),
            _ => {
                return Err(Stop::unavailable("an owner makes tokens of groups and of single projects only"));
            }
        };
        let scope = if token.access == Access::Read { "read_api" } else { "api" };
        let expires =
            jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date() + jiff::Span::new().days(days);
        let made = json!({
            "name": token.name, "scopes": [scope], "access_level": level, "expires_at": expires.to_string(),
        });
        let made = self.owner.call(Method::POST, &format!("{at}/access_tokens"), made).await?;
        let secret = text(&made, "token")?;
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).push(secret.clone());
        if token.validity == Validity::Revoked {
            let at = format!("{at}/access_tokens/{}", number(&made, "id")?);
            self.owner.call(Method::DELETE, &at, Value::Null).await?;
        }
        Ok((self.connect)(&self.url, secret.into())?)
    }

    async fn comment_as_other(&self, repo: &Repo, id: PullRequestId, body: &str) -> Result<()> {
        let at = format!("{}/merge_requests/{id}/notes", project(repo));
        self.owner.call(Method::POST, &at, json!({ "body": body })).await.map(|_| ())
    }

    async fn close_as_other(&self, repo: &Repo, id: PullRequestId) -> Result<()> {
        let at = format!("{}/merge_requests/{id}", project(repo));
        self.owner.call(Method::PUT, &at, json!({ "state_event": "close" })).await.map(|_| ())
    }

    async fn merge_as_other(&self, repo: &Repo, id: PullRequestId) -> Result<()> {
        let at = format!("{}/merge_requests/{id}/merge", project(repo));
        // Refused while the server works out whether it can be merged.
        for _ in 0..20 {
            if self.owner.ask(Method::PUT, &at, json!({})).await?.0.is_success() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.owner.call(Method::PUT, &at, json!({})).await.map(|_| ())
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("url", &self.url).field("group", &self.group).finish_non_exhaustive()
    }
}

/// A private group whose projects leave their default branches unprotected.
async fn new_group(owner: &Rest, parent: u64, name: &str) -> Result<(u64, String)> {
    let group = json!({
        "name": name, "path": name, "parent_id": parent, "visibility": "private", "default_branch_protection": 0,
    });
    let made = owner.call(Method::POST, "/groups", group).await?;
    Ok((number(&made, "id")?, text(&made, "full_path")?))
}

fn action(word: &str, path: &str, content: &[u8]) -> Value {
    json!({ "action": word, "file_path": path, "encoding": "base64", "content": STANDARD.encode(content) })
}

fn project(repo: &Repo) -> String {
    format!("/projects/{}", repo.id)
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn number(value: &Value, key: &str) -> Result<u64> {
    value[key].as_u64().ok_or_else(|| Stop::failed(format!("the server's answer has no number '{key}'")))
}

fn text(value: &Value, key: &str) -> Result<String> {
    let text = value[key].as_str().map(str::to_owned);
    text.ok_or_else(|| Stop::failed(format!("the server's answer has no text '{key}'")))
}

fn level(role: Role) -> Option<u64> {
    match role {
        Role::Guest => Some(10),
        Role::Read => Some(20),
        Role::Write => Some(30),
        Role::Maintain => Some(40),
        Role::Own => Some(50),
        _ => None,
    }
}
