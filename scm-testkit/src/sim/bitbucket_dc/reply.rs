//! Refusals in the product's words.

use serde_json::{Map, Value, json};

use crate::sim::repo::GitError;

pub(crate) use crate::sim::reply::{Content, Reply};

pub(crate) type Outcome = Result<Reply, Failure>;

/// A refusal. Boxed: it carries a whole answer.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Box<Reply>);

impl Failure {
    /// One entry in `errors`. The exception is named without the product's package.
    pub(crate) fn new(status: u16, exception: &str, message: impl Into<String>) -> Self {
        let name = format!("com.atlassian.bitbucket.{exception}");
        Self::entries(
            status,
            vec![json!({ "context": null, "message": message.into(), "exceptionName": name })],
        )
    }

    /// What is wrong with the fields of a request, each under its name.
    pub(crate) fn fields(problems: impl IntoIterator<Item = (String, String)>) -> Self {
        let entry = |(field, message): (String, String)| json!({ "context": field, "message": message, "exceptionName": null });
        Self::entries(400, problems.into_iter().map(entry).collect())
    }

    pub(crate) fn field(name: &str, message: impl Into<String>) -> Self {
        Self::fields([(name.to_owned(), message.into())])
    }

    /// A refusal that names no exception.
    pub(crate) fn plain(status: u16, message: impl Into<String>) -> Self {
        Self::entries(
            status,
            vec![json!({ "context": null, "message": message.into(), "exceptionName": null })],
        )
    }

    fn entries(status: u16, entries: Vec<Value>) -> Self {
        Self(Box::new(Reply::json(status, json!({ "errors": entries }))))
    }

    /// Adds members to the first entry.
    pub(crate) fn with(mut self, more: Value) -> Self {
        if let (Content::Json(body), Value::Object(more)) = (&mut self.0.body, more)
            && let Some(entry) = body.pointer_mut("/errors/0").and_then(Value::as_object_mut)
        {
            entry.extend(more);
        }
        self
    }

    pub(crate) fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Signed in or not, this may not be done.
    pub(crate) fn not_permitted() -> Self {
        Self::new(401, "AuthorisationException", "You are not permitted to access this resource")
    }

    pub(crate) fn bad_credentials(exception: &str) -> Self {
        Self::new(401, exception, "Authentication failed. Please check your credentials and try again.")
    }

    pub(crate) fn no_project(key: &str) -> Self {
        Self::new(404, "project.NoSuchProjectException", format!("Project {key} does not exist."))
    }

    pub(crate) fn no_repository(key: &str, slug: &str) -> Self {
        Self::new(
            404,
            "repository.NoSuchRepositoryException",
            format!("Repository {key}/{slug} does not exist."),
        )
    }

    pub(crate) fn no_commit(id: &str, slug: &str) -> Self {
        Self::new(
            404,
            "commit.NoSuchCommitException",
            format!("Commit '{id}' does not exist in repository '{slug}'."),
        )
    }

    pub(crate) fn no_path(path: &str, at: &str) -> Self {
        Self::new(
            404,
            "content.NoSuchPathException",
            format!("The path \"{path}\" does not exist at revision \"{at}\""),
        )
    }

    pub(crate) fn no_branch(name: &str) -> Self {
        Self::new(404, "repository.NoSuchBranchException", format!("Branch {name} does not exist."))
    }

    pub(crate) fn no_such(what: &str) -> Self {
        Self::new(404, "NoSuchEntityException", format!("{what} does not exist."))
    }

    pub(crate) fn archived(slug: &str) -> Self {
        Self::new(
            409,
            "repository.ArchivedRepositoryException",
            format!("The repository {slug} is archived and cannot be changed."),
        )
    }

    pub(crate) fn bad_argument(message: impl Into<String>) -> Self {
        Self::new(400, "validation.ArgumentValidationException", message)
    }
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        tracing::error!(%error, "git failed");
        Self::new(500, "server.InternalServerException", "An error occurred while executing git.")
    }
}

/// Older servers keep their exceptions in another package.
pub(crate) fn use_old_packages(body: &mut Value) {
    let Some(entries) = body.get_mut("errors").and_then(Value::as_array_mut) else { return };
    for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
        rename(entry);
    }
}

fn rename(entry: &mut Map<String, Value>) {
    if let Some(Value::String(name)) = entry.get_mut("exceptionName") {
        let simple = name.rsplit('.').next().unwrap_or_default();
        *name = format!("com.atlassian.stash.exception.{simple}");
    }
}
