use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use scm_core::Scm;
use tokio::task::JoinSet;

use super::case::{Case, Ctx, Outcome};
use super::fixture::Fixture;

/// How the suite runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunOptions {
    name: String,
    concurrent: usize,
    timeout: Duration,
    only: Option<String>,
    without: Vec<String>,
    part: (usize, usize),
    skips: Vec<(String, String)>,
}

impl RunOptions {
    /// Eight cases at a time, each within two minutes, no skip allowed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            name: "conf".to_owned(),
            concurrent: 8,
            timeout: Duration::from_secs(120),
            only: None,
            without: Vec::new(),
            part: (0, 1),
            skips: Vec::new(),
        }
    }

    /// Names the run. Everything made on the server is named after it, so a server that keeps what earlier runs made
    /// needs another name for each. Default: `conf`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how many cases run at the same time.
    #[must_use]
    pub fn with_concurrent(mut self, cases: usize) -> Self {
        self.concurrent = cases.max(1);
        self
    }

    /// Sets how long one case may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs only the cases whose name holds `text`.
    #[must_use]
    pub fn only(mut self, text: impl Into<String>) -> Self {
        self.only = Some(text.into());
        self
    }

    /// Leaves out the cases whose name holds `text`; may be called several times.
    #[must_use]
    pub fn without(mut self, text: impl Into<String>) -> Self {
        self.without.push(text.into());
        self
    }

    /// Runs only one of `of` parts, which together are the whole: every `of`th case, beginning with the `nth` (from 0).
    #[must_use]
    pub fn part(mut self, nth: usize, of: usize) -> Self {
        self.part = (nth, of.max(1));
        self
    }

    /// Whether a case of this name is run.
    pub fn takes(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|text| name.contains(text))
            && !self.without.iter().any(|text| name.contains(text.as_str()))
            && super::all()
                .position(|case| case.name == name)
                .is_some_and(|at| at % self.part.1 == self.part.0)
    }

    /// Expects that the cases whose name starts with `prefix` may be skipped, and says why. Any other skip fails.
    #[must_use]
    pub fn allowing_skip(mut self, prefix: impl Into<String>, why: impl Into<String>) -> Self {
        self.skips.push((prefix.into(), why.into()));
        self
    }

    fn allows(&self, name: &str) -> bool {
        self.skips.iter().any(|(prefix, _)| name.starts_with(prefix))
    }
}

impl Default for RunOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs the cases. A panic or a timeout of a case is its failure and leaves the others alone.
pub async fn run(scm: Arc<dyn Scm>, fixture: Arc<dyn Fixture>, opts: &RunOptions) -> Report {
    let provider = scm.provider();
    let capabilities = match scm.capabilities().await {
        Ok(capabilities) => capabilities,
        Err(error) => {
            let outcome = Outcome::Failed(error.report());
            let case = CaseReport { name: "capabilities", outcome, elapsed: Duration::ZERO, expected: false };
            return Report { provider, cases: vec![case] };
        }
    };
    let chosen = super::all().filter(|case| opts.takes(case.name));
    let runs = futures_util::stream::iter(chosen).map(|case| {
        let ctx = Ctx::with_capabilities(
            Arc::clone(&scm),
            Arc::clone(&fixture),
            capabilities.clone(),
            &opts.name,
            case,
        );
        run_one(case, ctx, opts)
    });
    let mut cases: Vec<_> = runs.buffer_unordered(opts.concurrent).collect().await;
    cases.sort_by_key(|case| super::all().position(|known| known.name == case.name));
    Report { provider, cases }
}

async fn run_one(case: &'static Case, ctx: Ctx, opts: &RunOptions) -> CaseReport {
    let started = Instant::now();
    let secrets = Arc::clone(&ctx.fixture);
    // A task of its own, so that a panic stays inside; the set ends it when it is dropped.
    let mut task = JoinSet::new();
    task.spawn(async move { case.run(&ctx).await });
    let mut outcome = match tokio::time::timeout(opts.timeout, task.join_next()).await {
        Ok(Some(Ok(outcome))) => outcome,
        Ok(Some(Err(join))) => Outcome::Failed(match join.try_into_panic() {
            Ok(panic) => format!("panicked: {}", panic_text(panic.as_ref())),
            Err(join) => format!("was ended: {join}"),
        }),
        Ok(None) => Outcome::Failed("was never started".to_owned()),
        Err(_) => Outcome::Failed(format!("did not end within {:?}", opts.timeout)),
    };
    if let Outcome::Failed(text) | Outcome::Skipped(text) = &outcome
        && secrets.secrets().iter().any(|secret| text.contains(secret.as_str()))
    {
        outcome = Outcome::Failed("the text of the failure shows a secret and is withheld".to_owned());
    }
    let expected = match &outcome {
        Outcome::Passed | Outcome::Unsupported => true,
        Outcome::Skipped(_) => opts.allows(case.name),
        Outcome::Failed(_) => false,
    };
    CaseReport { name: case.name, outcome, elapsed: started.elapsed(), expected }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text")
}

/// How the suite ended. `Display` lists everything but the cases that passed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The provider under test.
    pub provider: &'static str,
    /// The cases that were run, in the order of the registry.
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// Did every case pass, get refused as declared, or get skipped as expected?
    pub fn is_ok(&self) -> bool {
        !self.cases.is_empty() && self.cases.iter().all(|case| case.expected)
    }

    /// The cases that failed, and those that were skipped although nobody expected it.
    pub fn unexpected(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| !case.expected)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = BTreeMap::<&str, usize>::new();
        for case in &self.cases {
            let word = match &case.outcome {
                Outcome::Passed => "passed",
                Outcome::Unsupported => "unsupported as declared",
                Outcome::Skipped(_) => "skipped",
                Outcome::Failed(_) => "failed",
            };
            *counts.entry(word).or_default() += 1;
            match &case.outcome {
                Outcome::Passed | Outcome::Unsupported => {}
                Outcome::Skipped(why) if case.expected => writeln!(f, "  skip {}: {why}", case.name)?,
                Outcome::Skipped(why) => writeln!(f, "  SKIP {} (unexpected): {why}", case.name)?,
                Outcome::Failed(text) => writeln!(f, "  FAIL {}: {text}", case.name)?,
            }
        }
        let counts: Vec<_> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        write!(f, "{}: {} cases: {}", self.provider, self.cases.len(), counts.join(", "))
    }
}

/// How one case ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaseReport {
    /// The case.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether that is fine: a failure never is, a skip only where it was allowed.
    pub expected: bool,
}
