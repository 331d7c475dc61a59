//! The pipeline that every provider shares.
//!
//! Fixed order: operation → deadline → concurrency limit → retry → credential (asked anew for each try) → trace →
//! transport. A provider says what is particular to it in a [`Dialect`]; everything else stands here.

mod auth;
mod limit;
mod operation;
mod read;
mod request;
mod retry;
mod root;
mod trace;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, HeaderName};
use url::Url;

pub use self::auth::AuthForm;
pub use self::limit::Limits;
pub use self::operation::Operation;
pub(crate) use self::read::PAGE;
pub use self::read::{lenient, told};
pub use self::request::{ApiRequest, ApiResponse, Idempotency};
pub use self::retry::{Decision, RetryPolicy, Situation};
pub use self::root::server_root;
use crate::credential::{Credential, CredentialProvider};
use crate::error::{Error, Result};
use crate::macros::options;
use crate::scm::CallOptions;
use crate::time::{Clock, SystemClock};
use crate::transport::Transport;

/// What is particular to one product.
pub trait Dialect: fmt::Debug + Send + Sync + 'static {
    /// The provider's name, such as `gitlab`.
    fn provider(&self) -> &'static str;

    /// How credentials are written into headers.
    fn auth(&self) -> AuthForm;

    /// Turns an answer that is no success into an error: kind, message, server code, transient or not.
    fn error(&self, answer: &ErrorAnswer<'_>) -> Error;

    /// The header that holds the server's request id.
    fn request_id_header(&self) -> HeaderName;

    /// Where a redirect of the API leads under our own root, when the server names itself by another URL than the one
    /// it is reached by. `None`: the redirect is taken as it is.
    fn relocate(&self, base: &Url, location: &Url) -> Option<Url> {
        let _ = (base, location);
        None
    }
}

/// An answer that is no success.
#[derive(Debug)]
#[non_exhaustive]
pub struct ErrorAnswer<'a> {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// The start of the body.
    pub body: &'a [u8],
    /// The operation, as in [`Error::operation`].
    pub operation: &'static str,
}

impl<'a> ErrorAnswer<'a> {
    /// An answer, for the tests of a [`Dialect`].
    #[must_use]
    pub fn new(status: StatusCode, headers: &'a HeaderMap, body: &'a [u8], operation: &'static str) -> Self {
        Self { status, headers, body, operation }
    }

    /// Does the server call the body JSON?
    pub fn is_json(&self) -> bool {
        request::is_json(self.headers)
    }

    /// What a body says that is not JSON: the title of a web page, or the first line of a text.
    pub fn text(&self) -> String {
        read::text(self.headers, self.body)
    }
}

/// What a pipeline is made of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PipelineConfig {
    /// The server's root, with its context path.
    pub base: Url,
    /// The route.
    pub transport: Transport,
    /// Where the credential comes from.
    pub credentials: Arc<dyn CredentialProvider>,
    /// How often and when a call is repeated.
    pub retry: RetryPolicy,
    /// How many requests run at the same time.
    pub limits: Limits,
    /// Longest time for one operation, where the call says nothing.
    pub deadline: Duration,
    /// Largest answer that is held in memory.
    pub max_body: usize,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl PipelineConfig {
    /// Usual settings: two minutes per operation, 64 MiB per answer.
    #[must_use]
    pub fn new(base: Url, transport: Transport, credentials: Arc<dyn CredentialProvider>) -> Self {
        Self {
            base,
            transport,
            credentials,
            retry: RetryPolicy::default(),
            limits: Limits::default(),
            deadline: Duration::from_secs(120),
            max_body: 64 * 1024 * 1024,
            clock: Arc::new(SystemClock),
        }
    }

    /// The same with what `settings` name.
    #[must_use]
    pub fn with_settings(self, settings: PipelineSettings) -> Self {
        let PipelineSettings { retry, limits, deadline, max_body, clock } = settings;
        Self {
            retry: retry.unwrap_or(self.retry),
            limits: limits.unwrap_or(self.limits),
            deadline: deadline.unwrap_or(self.deadline),
            max_body: max_body.unwrap_or(self.max_body),
            clock: clock.unwrap_or(self.clock),
            ..self
        }
    }
}

options! {
    /// How calls to one server are made, where the usual settings will not do.
    ///
    /// ```
    /// use std::time::Duration;
    /// use scm_core::pipeline::{PipelineSettings, RetryPolicy};
    ///
    /// let impatient = PipelineSettings::default()
    ///     .with_retry(RetryPolicy::never())
    ///     .with_deadline(Duration::from_secs(10));
    /// # assert_eq!(impatient.deadline, Some(Duration::from_secs(10)));
    /// ```
    pub struct PipelineSettings {
        /// How often and when a call is repeated.
        retry / with_retry: RetryPolicy,
        /// How many requests run at the same time.
        limits / with_limits: Limits,
        /// Longest time for one operation, where the call says nothing. Default: two minutes.
        deadline / with_deadline: Duration,
        /// Largest answer that is held in memory, in bytes; byte streams are not bound by it. Default: 64 MiB.
        max_body / with_max_body: usize,
        /// The clock, for tests.
        clock / with_clock: Arc<dyn Clock>,
    }
}

/// The shared way of every request. Cheap to clone.
#[derive(Clone)]
pub struct Pipeline {
    shared: Arc<Shared>,
    options: CallOptions,
}

struct Shared {
    config: PipelineConfig,
    dialect: Arc<dyn Dialect>,
    gate: Arc<limit::Gate>,
    /// The credential used last, and how often it has changed.
    last_credential: Mutex<(Option<Credential>, u64)>,
}

impl Pipeline {
    /// A pipeline for one server.
    ///
    /// # Errors
    /// `Config` when the base URL has credentials, a query or a fragment, or is not http(s).
    pub fn new(mut config: PipelineConfig, dialect: Arc<dyn Dialect>) -> Result<Self> {
        let base = &mut config.base;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(Error::config("the server URL must start with https:// or http:// and name a host"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(Error::config("the server URL must not hold a user name or password; give a token"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(Error::config("the server URL must be the server's root, without '?' or '#'"));
        }
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        let gate = Arc::new(limit::Gate::new(config.limits, Arc::clone(&config.clock)));
        Ok(Self {
            shared: Arc::new(Shared { config, dialect, gate, last_credential: Mutex::default() }),
            options: CallOptions::default(),
        })
    }

    /// The same pipeline, with the same limits, for other call options.
    #[must_use]
    pub fn with_options(&self, options: CallOptions) -> Self {
        Self { shared: Arc::clone(&self.shared), options }
    }

    /// A pipeline of its own with the same settings for another root of the same origin.
    ///
    /// # Errors
    /// `Config` for another origin: the credential goes to the configured one only.
    pub fn at(&self, root: Url) -> Result<Self> {
        if root.origin() != self.base().origin() {
            return Err(Error::config("another origin than the configured one"));
        }
        let config = PipelineConfig { base: root, ..self.shared.config.clone() };
        Ok(Self::new(config, Arc::clone(&self.shared.dialect))?.with_options(self.options.clone()))
    }

    /// A pipeline for another root of the same origin that speaks another dialect, such as a repository for git. It
    /// shares the limits of this one, and a pause holds both.
    ///
    /// # Errors
    /// `Config` for another origin: the credential goes to the configured one only.
    pub fn beside(&self, root: Url, dialect: Arc<dyn Dialect>) -> Result<Self> {
        let mut other = self.at(root)?;
        if let Some(shared) = Arc::get_mut(&mut other.shared) {
            shared.dialect = dialect;
            shared.gate = Arc::clone(&self.shared.gate);
        }
        Ok(other)
    }

    /// The server's root, ending in `/`.
    pub fn base(&self) -> &Url {
        &self.shared.config.base
    }

    /// The route.
    pub fn transport(&self) -> &Transport {
        &self.shared.config.transport
    }

    /// Where the credential comes from.
    pub fn credentials(&self) -> &Arc<dyn CredentialProvider> {
        &self.shared.config.credentials
    }

    /// Time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.config.clock
    }

    /// How often the credential has changed so far: what was learnt with an older one may no longer hold.
    pub fn credential_changes(&self) -> u64 {
        self.shared.last_credential.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    fn note_credential(&self, credential: &Credential) {
        let mut last = self.shared.last_credential.lock().unwrap_or_else(PoisonError::into_inner);
        match &last.0 {
            Some(known) if known.same_as(credential) => return,
            Some(_) => last.1 += 1,
            None => {}
        }
        last.0 = Some(credential.clone());
    }

    /// Starts an operation: its deadline runs from now over every request it makes.
    pub fn operation(&self, name: &'static str) -> Operation {
        Operation::new(self.clone(), name)
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("provider", &self.shared.dialect.provider())
            .field("base", &self.base().as_str())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
