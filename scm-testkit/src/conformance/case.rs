use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use scm_core::{Capabilities, Error, ErrorKind, Scm};

use super::fixture::{Fixture, Repo, RepoSpec, TokenSpec};
use crate::sim::SimError;

/// Result inside the suite.
pub type Result<T, E = Stop> = std::result::Result<T, E>;

/// Longest text of a failure, in characters: what was compared may be megabytes.
const MAX_TEXT: usize = 4_000;

/// Why a case did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The provider does not keep a promise.
    Failed(String),
    /// The fixture cannot offer what the case needs.
    Unavailable(String),
}

impl Stop {
    /// A broken promise, with the place that found it.
    #[track_caller]
    #[must_use]
    pub fn failed(text: impl fmt::Display) -> Self {
        let place = Location::caller();
        let file = place.file().rsplit('/').next().unwrap_or_default();
        let mut text = format!("{file}:{}: {text}", place.line());
        if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
            text.truncate(end);
            text.push('…');
        }
        Self::Failed(text)
    }

    /// Something that this fixture does not have.
    #[must_use]
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable(reason.into())
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(text) => f.write_str(text),
            Self::Unavailable(reason) => write!(f, "not available here: {reason}"),
        }
    }
}

impl std::error::Error for Stop {}

impl From<Error> for Stop {
    #[track_caller]
    fn from(error: Error) -> Self {
        Self::failed(error.report())
    }
}

/// What breaks around a case fails it, with the place that asked.
macro_rules! fails {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for Stop {
            #[track_caller]
            fn from(error: $error) -> Self {
                Self::failed(error)
            }
        }
    )+};
}

fails!(SimError, serde_json::Error, std::io::Error, tokio::task::JoinError, url::ParseError);

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Every promise was kept.
    Passed,
    /// The provider says that it cannot do this, and refuses it properly.
    Unsupported,
    /// Not run, and why.
    Skipped(String),
    /// What was expected and what was seen.
    Failed(String),
}

/// A capability that a case needs.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Need {
    /// Name of the field of [`Capabilities`].
    pub field: &'static str,
    pub(super) has: fn(&Capabilities) -> bool,
    pub(super) refused: CaseFn,
}

impl fmt::Debug for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Need").field("field", &self.field).finish_non_exhaustive()
    }
}

pub(super) type CaseFn = for<'a> fn(&'a Ctx) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// One behaviour.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Case {
    /// Module and function, such as `branches.create_makes_a_branch`.
    pub name: &'static str,
    /// The trait methods it exercises, such as `Branches::create_branch`.
    pub methods: &'static [&'static str],
    /// The capability it needs.
    pub needs: Option<Need>,
    pub(super) run: CaseFn,
}

impl Case {
    /// Runs the case, or the other half of it where the provider lacks the capability.
    pub async fn run(&self, ctx: &Ctx) -> Outcome {
        let (run, well) = match &self.needs {
            Some(need) if !(need.has)(&ctx.capabilities) => (need.refused, Outcome::Unsupported),
            _ => (self.run, Outcome::Passed),
        };
        match run(ctx).await {
            Ok(()) => well,
            Err(Stop::Failed(text)) => Outcome::Failed(text),
            Err(Stop::Unavailable(reason)) => Outcome::Skipped(reason),
        }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("methods", &self.methods)
            .finish_non_exhaustive()
    }
}

/// What one case works with.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ctx {
    /// The provider under test, with a token that may do everything where its user has the role.
    pub scm: Arc<dyn Scm>,
    /// Makes things on the server.
    pub fixture: Arc<dyn Fixture>,
    /// What the provider says it can do.
    pub capabilities: Capabilities,
    /// What every name starts with.
    prefix: String,
    made: AtomicUsize,
}

impl Ctx {
    /// For one case: what it makes is named after `run` and `case`, so that neither runs nor cases meet.
    ///
    /// # Errors
    /// When the provider does not tell its capabilities.
    pub async fn new(
        scm: Arc<dyn Scm>,
        fixture: Arc<dyn Fixture>,
        run: &str,
        case: &Case,
    ) -> scm_core::Result<Self> {
        let capabilities = scm.capabilities().await?;
        Ok(Self::with_capabilities(scm, fixture, capabilities, run, case))
    }

    pub(super) fn with_capabilities(
        scm: Arc<dyn Scm>,
        fixture: Arc<dyn Fixture>,
        capabilities: Capabilities,
        run: &str,
        case: &Case,
    ) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let prefix = format!("{run}-{}", case.name).chars().map(plain).collect();
        Self { scm, fixture, capabilities, prefix, made: AtomicUsize::new(0) }
    }

    /// A name that nothing else on the server has: the run's and the case's, of letters, digits and `-`.
    pub fn unique(&self) -> String {
        format!("{}-{}", self.prefix, self.made.fetch_add(1, Ordering::Relaxed))
    }

    /// A private repository with the token's user as a member who may push, one README and `files`.
    pub async fn repository(&self) -> Result<Repo> {
        self.repository_with(RepoSpec::new()).await
    }

    /// A repository made to order.
    pub async fn repository_with(&self, spec: RepoSpec) -> Result<Repo> {
        self.fixture.repository(&spec.named_unless_named(|| self.unique())).await
    }

    /// The provider with another token.
    pub async fn scm_as(&self, token: TokenSpec) -> Result<Arc<dyn Scm>> {
        self.fixture.scm_as(&token.named(self.unique())).await
    }

    /// The error of `result`, which must be one of `kinds`, say something, and hold no secret.
    #[track_caller]
    pub fn refused<T>(&self, result: scm_core::Result<T>, kinds: &[ErrorKind]) -> Result<Error> {
        let error = match result {
            Ok(_) => return Err(Stop::failed(format!("was taken; expected an error of {kinds:?}"))),
            Err(error) => error,
        };
        if !kinds.contains(&error.kind()) {
            return Err(Stop::failed(format!("expected an error of {kinds:?}, got {}", error.report())));
        }
        if error.message().trim().is_empty() || error.operation().is_none() {
            return Err(Stop::failed(format!(
                "an error must name its operation and say something: {error:?}"
            )));
        }
        self.no_secret("an error", &format!("{error} {error:?} {}", error.report()))?;
        Ok(error)
    }

    /// `result` must be `Unsupported`, with a reason.
    #[track_caller]
    pub fn unsupported<T>(&self, result: scm_core::Result<T>) -> Result<()> {
        self.refused(result, &[ErrorKind::Unsupported]).map(|_| ())
    }

    /// None of the fixture's secrets may stand in `text`.
    #[track_caller]
    pub fn no_secret(&self, what: &str, text: &str) -> Result<()> {
        if self.fixture.secrets().iter().any(|secret| text.contains(secret.as_str())) {
            return Err(Stop::failed(format!("{what} shows a secret")));
        }
        Ok(())
    }
}
