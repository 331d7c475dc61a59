//! The umbrella trait: one server.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::capability::Capabilities;
use crate::error::Result;
use crate::macros::options;
use crate::ops::{
    Branches, Checks, CiLogs, Comments, Commits, Connection, Contents, GitAccess, PullRequests, Repositories,
    Tokens, Webhooks,
};

/// One server, used as `Arc<dyn Scm>`. Making one does no I/O.
///
/// Groups that every product has are `&dyn X`; those that one may lack are `Result<&dyn X>`, whose error is
/// `Unsupported` with the reason. Finer limits are in [`capabilities`](Self::capabilities).
#[async_trait]
pub trait Scm: Debug + Send + Sync + 'static {
    /// The provider's name, such as `gitlab`.
    fn provider(&self) -> &'static str;

    /// What this server, version and token can do; asked once and remembered, and asked again after the credential
    /// has changed.
    ///
    /// # Errors
    /// Those of asking the server for its version.
    async fn capabilities(&self) -> Result<Capabilities>;

    /// The same server with other call options: a cheap handle.
    fn with_options(&self, opts: CallOptions) -> Arc<dyn Scm>;

    /// The connection itself.
    fn connection(&self) -> &dyn Connection;

    /// Repositories and namespaces.
    fn repositories(&self) -> &dyn Repositories;

    /// Files.
    fn contents(&self) -> &dyn Contents;

    /// Branches and tags.
    fn branches(&self) -> &dyn Branches;

    /// Commits.
    fn commits(&self) -> &dyn Commits;

    /// Pull requests.
    fn pull_requests(&self) -> &dyn PullRequests;

    /// Comments on pull requests.
    fn comments(&self) -> &dyn Comments;

    /// CI.
    fn checks(&self) -> &dyn Checks;

    /// Logs of CI jobs.
    ///
    /// # Errors
    /// `Unsupported` with the reason.
    fn ci_logs(&self) -> Result<&dyn CiLogs>;

    /// Webhooks.
    ///
    /// # Errors
    /// `Unsupported` with the reason.
    fn webhooks(&self) -> Result<&dyn Webhooks>;

    /// Rotation of the token.
    ///
    /// # Errors
    /// `Unsupported` with the reason.
    fn tokens(&self) -> Result<&dyn Tokens>;

    /// What git itself needs.
    fn git(&self) -> &dyn GitAccess;
}

options! {
    /// How calls are made through one handle.
    pub struct CallOptions {
        /// Longest time for one operation, with all its tries and waits. A byte stream is bound by it until it starts.
        deadline / with_deadline: Duration,
        /// Kept in the trace, and sent as `X-Correlation-Id`, so that one job can be followed through every log.
        correlation_id / with_correlation_id: CorrelationId,
        /// Who goes first when requests wait. Default: interactive.
        priority / with_priority: Priority,
    }
}

/// A caller's own id for a job: up to 128 letters, digits, `-`, `_`, `.` and `:`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CorrelationId(String);

impl CorrelationId {
    /// Checks `text` and takes it.
    ///
    /// # Errors
    /// `InvalidInput` for other characters, none, or too many.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        if text.is_empty() || text.len() > 128 || !text.bytes().all(fits) {
            return Err(crate::Error::invalid(
                "a correlation id takes up to 128 letters, digits, '-', '_', '.' and ':'",
            ));
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who goes first when requests wait for their turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Priority {
    /// Someone waits for it.
    #[default]
    Interactive,
    /// A scan; leaves room for the others.
    Bulk,
}
