//! Test Connection through the configuration: every fault made for real, its code, and the page that shows them.

mod agent;
mod behind;
mod network;
mod product;
mod proxy;
mod rights;
mod tls;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use scm_client::core::pipeline::{PipelineSettings, RetryPolicy};
use scm_client::core::{CheckOptions, CheckReport, Code, Error, Outcome, Scm, Transport};
use scm_client::{Config, ConnectionConfig, Registry, bitbucket_dc, gitlab};
use scm_testkit::fault::program::Program;

/// Set to anything, it makes the tests write the page in place of comparing it.
const WRITE: &str = "SCM_WRITE_TROUBLESHOOTING";

const BOTH: [&str; 2] = ["gitlab", "bitbucket-dc"];

/// Reads a variable that CI or a person set. Only tests do this.
#[expect(clippy::disallowed_methods, reason = "a test is told by its caller what to do")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A program that has to be there in CI, and is missed aloud elsewhere.
#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn needed(name: &str, found: std::io::Result<Option<Program>>) -> Option<Program> {
    let found = found.unwrap();
    if found.is_none() {
        assert_ne!(variable("CI").as_deref(), Some("true"), "{name} is not installed");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// The built-in providers, but for the pauses between repetitions; `instead` takes the place of the route.
fn registry(instead: Option<Transport>) -> Registry {
    let brief = || {
        let mut retry = RetryPolicy::default();
        (retry.base, retry.max_backoff) = (Duration::from_millis(1), Duration::from_millis(10));
        PipelineSettings::default().with_retry(retry)
    };
    let url = |config: &ConnectionConfig| config.url.clone().unwrap();
    let route = move |given: Transport| instead.clone().unwrap_or(given);
    let mut registry = Registry::new();
    let of = route.clone();
    registry.register("gitlab", move |config, transport, credentials| {
        let settings = gitlab::GitLabConfig::new(&url(config), credentials)?.with_pipeline(brief());
        Ok(Arc::new(gitlab::GitLab::new(settings, of(transport))?))
    });
    registry.register("bitbucket-dc", move |config, transport, credentials| {
        let settings = bitbucket_dc::BitbucketDcConfig::new(&url(config), credentials)?;
        let mut settings = settings.with_pipeline(brief());
        if let Some(username) = &config.username {
            settings = settings.with_username(username.parse()?);
        }
        if let Some(key) = &config.project_key {
            settings = settings.with_project_key(key.parse()?)?;
        }
        Ok(Arc::new(bitbucket_dc::BitbucketDc::new(settings, route(transport))?))
    });
    registry
}

/// One connection of a configuration file.
#[derive(Clone)]
struct Connection {
    provider: &'static str,
    url: String,
    token: String,
    /// Further lines.
    more: String,
    instead: Option<Transport>,
}

impl Connection {
    fn to(provider: &'static str, url: impl Into<String>) -> Self {
        Self { provider, url: url.into(), token: "any".to_owned(), more: String::new(), instead: None }
    }

    fn token(self, token: impl Into<String>) -> Self {
        Self { token: token.into(), ..self }
    }

    fn with(self, more: impl Into<String>) -> Self {
        Self { more: more.into(), ..self }
    }

    fn over(self, transport: Transport) -> Self {
        Self { instead: Some(transport), ..self }
    }

    fn open(&self) -> Result<Arc<dyn Scm>, Error> {
        let Self { provider, url, token, more, .. } = self;
        let text = format!(
            "[[connection]]\nname = \"acme\"\nprovider = \"{provider}\"\nurl = \"{url}\"\ntoken = {{ value = \"{token}\" }}\n\
             {more}\n"
        );
        let config = Config::from_toml(&text, "")?;
        registry(self.instead.clone()).connect(&config.connections[0], &|_| None)
    }

    async fn check(&self) -> CheckReport {
        self.check_for(&CheckOptions::default()).await
    }

    async fn check_for(&self, opts: &CheckOptions) -> CheckReport {
        self.open().unwrap().connection().check(opts).await
    }
}

/// One section of the page.
struct Section {
    name: &'static str,
    rows: Vec<(Code, String)>,
    /// What differs from run to run, and what stands for it.
    stable: Vec<(String, String)>,
}

impl Section {
    fn new(name: &'static str) -> Self {
        Self { name, rows: Vec::new(), stable: Vec::new() }
    }

    fn stable(&mut self, text: impl ToString, stands_for: &str) {
        self.stable.push((text.to_string(), stands_for.to_owned()));
    }

    /// The check found this code, and nothing else failed. `cause` says what was made wrong.
    fn found(&mut self, code: Code, cause: &str, report: &CheckReport) {
        let found: Vec<_> = report.findings().filter(|finding| finding.code == code).collect();
        assert_eq!(found.len(), 1, "{cause}: {code} in {report}");
        let failed: Vec<_> = report.findings().filter(|finding| finding.outcome == Outcome::Failed).collect();
        match found[0].outcome {
            Outcome::Failed => assert!(failed == found, "{cause}: {report}"),
            _ => assert!(failed.is_empty() || code == Code::TlsIntercepted, "{cause}: {report}"),
        }
        assert!(!found[0].remedy.is_empty() && found[0].remedy.ends_with('.'), "{report}");
        self.row(code, cause, &found[0].seen, &found[0].remedy);
    }

    fn row(&mut self, code: Code, cause: &str, seen: &str, remedy: &str) {
        let row = format!("| `{code}` | {} | {} | {} |", cell(cause), cell(seen), cell(remedy));
        // The same for both products is one row.
        if !self.rows.iter().any(|(_, known)| self.steady(known) == self.steady(&row)) {
            self.rows.push((code, row));
        }
    }

    fn steady(&self, text: &str) -> String {
        self.stable.iter().fold(text.to_owned(), |text, (part, stands_for)| text.replace(part, stands_for))
    }

    fn text(&self) -> String {
        let place = |code: Code| Code::ALL.iter().position(|known| *known == code);
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|(code, _)| place(*code));
        let rows: String = rows.iter().map(|(_, row)| format!("{}\n", self.steady(row))).collect();
        format!("| code | what is wrong | what is seen | what to do |\n|---|---|---|---|\n{rows}")
    }

    /// The page has exactly this.
    fn assert_on_page(self) {
        static WRITING: Mutex<()> = Mutex::new(());
        let _one_after_the_other = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = fs::read_to_string(page()).unwrap();
        let begin = format!("<!-- {} -->\n", self.name);
        let (before, rest) =
            whole.split_once(&begin).unwrap_or_else(|| panic!("no section {} on the page", self.name));
        let (there, after) = rest.split_once("<!-- end -->\n").unwrap();
        if variable(WRITE).is_some() {
            let page_text = format!("{before}{begin}{}<!-- end -->\n{after}", self.text());
            fs::write(page(), page_text).unwrap();
        } else {
            assert_eq!(
                there,
                self.text(),
                "docs/troubleshooting.md is not what the checks say; write it anew with `just troubleshooting`"
            );
        }
    }
}

/// As a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn page() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/troubleshooting.md"))
}

#[test]
fn every_code_is_on_the_page() {
    if variable(WRITE).is_some() {
        return;
    }
    let page = fs::read_to_string(page()).unwrap();
    for code in Code::ALL {
        assert!(page.contains(&format!("\n| `{code}` | ")), "{code}");
    }
}
