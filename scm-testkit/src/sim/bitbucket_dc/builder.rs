use std::{
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
};

use axum::{body::Body, extract::Request};

use crate::{
    fault::Faults,
    seed,
    sim::{
        Clock, GitFilters, SimError,
        gitlab::JobOutcome,
        http::Server,
        record::Recorder,
        repo::{Git, GitError, Repo},
    },
};

use super::{
    BitbucketDcSim, BuildScript, EmptyDefaultBranch, Inner, RateLimit, RepositorySpec, Role, TokenKind,
    TokenSpec, access_tokens, branches, browse, builds, comments, commits, contents, hooks, insights,
    instance,
    limit::Limiter,
    permissions, projects, pull_requests, repositories, restrictions, reviewers,
    router::{self, Release, Router},
    settings, tags,
};

/// Project of the many repositories that [`BitbucketDcSimBuilder::projects`] makes.
pub(crate) const LOAD_PROJECT: &str = "LOAD";
/// Project of the demonstration repositories.
const DEMO_PROJECT: &str = "DEMO";
/// Project of those in which others write.
const OTHERS_PROJECT: &str = "OTHERS";
/// Project of repositories given without one.
const DEFAULT_PROJECT: &str = "LOCAL";

/// Options of a [`BitbucketDcSim`].
#[derive(Debug, Clone)]
pub struct BitbucketDcSimBuilder {
    listen: String,
    context_path: String,
    external_url: Option<String>,
    version: String,
    demo: bool,
    projects: u64,
    repositories: Vec<(String, PathBuf)>,
    tokens: Vec<TokenSpec>,
    rate_limit: Option<RateLimit>,
    clock: Clock,
    page_cap: Option<usize>,
    hidden_rows: bool,
    max_diff_lines: usize,
    iso_dates: bool,
    old_packages: bool,
    bad_tokens_are_anonymous: bool,
    public_counts_as_read: bool,
    files_need_no_check: bool,
    tokens_make_tokens: bool,
    captcha_after: Option<u32>,
    empty_default_branch: EmptyDefaultBranch,
    git_filters: GitFilters,
}

impl Default for BitbucketDcSimBuilder {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            context_path: String::new(),
            external_url: None,
            version: "9.4.1".to_owned(),
            demo: false,
            projects: 0,
            repositories: Vec::new(),
            tokens: Vec::new(),
            rate_limit: None,
            clock: Clock::default(),
            page_cap: None,
            hidden_rows: false,
            max_diff_lines: 10_000,
            iso_dates: false,
            old_packages: false,
            bad_tokens_are_anonymous: false,
            public_counts_as_read: false,
            files_need_no_check: false,
            tokens_make_tokens: false,
            captcha_after: None,
            empty_default_branch: EmptyDefaultBranch::default(),
            git_filters: GitFilters::default(),
        }
    }
}

impl BitbucketDcSimBuilder {
    /// Address to listen on; a free port of 127.0.0.1 without it.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Path below which the server lives, such as `/bitbucket`.
    #[must_use]
    pub fn context_path(mut self, path: impl Into<String>) -> Self {
        self.context_path = path.into();
        self
    }

    /// The address the server believes to have, such as `https://git.example.com/bitbucket`.
    #[must_use]
    pub fn external_url(mut self, url: impl Into<String>) -> Self {
        self.external_url = Some(url.into());
        self
    }

    /// Version text, `9.4.1` without it. Endpoints and fields that came later, or went before, are not there.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Adds the demonstration repositories of [`crate::seed`] in the project `DEMO`; what others write in is in `OTHERS`.
    #[must_use]
    pub fn seed_demo(mut self) -> Self {
        self.demo = true;
        self
    }

    /// Adds `n` repositories in the project `LOAD`. Their git repositories are made at the first touch.
    #[must_use]
    pub fn projects(mut self, n: u64) -> Self {
        self.projects = n;
        self
    }

    /// Adds a copy of an existing git repository as `KEY/slug`; a name without a slash goes into the project `LOCAL`.
    #[must_use]
    pub fn repository(mut self, name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.repositories.push((name.into(), path.into()));
        self
    }

    /// Issues a token. Without any, the first token announced may do everything.
    #[must_use]
    pub fn token(mut self, spec: TokenSpec) -> Self {
        self.tokens.push(spec);
        self
    }

    /// Limits requests from the start.
    #[must_use]
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.rate_limit = Some(limit);
        self
    }

    /// A clock that others may hold too.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// No page has more items than this, whatever the `limit` and the endpoint.
    #[must_use]
    pub fn page_cap(mut self, items: usize) -> Self {
        self.page_cap = Some(items.max(1));
        self
    }

    /// Lists have rows between those that the caller may see: the first page is empty and not the last, and
    /// `nextPageStart` jumps beyond `start` plus `limit`.
    #[must_use]
    pub fn hidden_rows(mut self) -> Self {
        self.hidden_rows = true;
        self
    }

    /// Lines of a diff after which it is cut, 10 000 without it.
    #[must_use]
    pub fn max_diff_lines(mut self, lines: usize) -> Self {
        self.max_diff_lines = lines;
        self
    }

    /// Dates are ISO 8601 texts in place of milliseconds, but for those of commits.
    #[must_use]
    pub fn iso_dates(mut self) -> Self {
        self.iso_dates = true;
        self
    }

    /// Exceptions are named as in the package of the product's old name.
    #[must_use]
    pub fn old_exception_names(mut self) -> Self {
        self.old_packages = true;
        self
    }

    /// A bad bearer token makes its request an anonymous one in place of a refused one.
    #[must_use]
    pub fn bad_tokens_are_anonymous(mut self) -> Self {
        self.bad_tokens_are_anonymous = true;
        self
    }

    /// Lists of repositories by `permission=REPO_READ` hold public ones too, to which nobody gave the caller access.
    #[must_use]
    pub fn public_counts_as_read(mut self) -> Self {
        self.public_counts_as_read = true;
        self
    }

    /// The form that writes a file needs `X-Atlassian-Token: no-check` too, as every form that is posted does.
    #[must_use]
    pub fn files_need_no_check(mut self) -> Self {
        self.files_need_no_check = true;
        self
    }

    /// Tokens can be made with a token, not only with a password.
    #[must_use]
    pub fn tokens_make_tokens(mut self) -> Self {
        self.tokens_make_tokens = true;
        self
    }

    /// So many wrong passwords lock a user out.
    #[must_use]
    pub fn captcha_after(mut self, failures: u32) -> Self {
        self.captcha_after = Some(failures);
        self
    }

    /// What `default-branch` answers for an empty repository.
    #[must_use]
    pub fn empty_default_branch(mut self, answer: EmptyDefaultBranch) -> Self {
        self.empty_default_branch = answer;
        self
    }

    /// What git clients may leave out of a fetch.
    #[must_use]
    pub fn git_filters(mut self, filters: GitFilters) -> Self {
        self.git_filters = filters;
        self
    }

    /// Makes the repositories and starts to listen.
    ///
    /// # Errors
    /// When git is missing, the address is taken, or an option does not make sense.
    pub async fn start(self) -> Result<BitbucketDcSim, SimError> {
        let context_path = self.context_path.trim_end_matches('/').to_owned();
        if !context_path.is_empty() && !context_path.starts_with('/') {
            return Err(SimError::Config(format!(
                "the context path `{context_path}` must start with a slash"
            )));
        }
        let release = release(&self.version)?;
        let (listener, address) = Server::bind(&self.listen).await?;
        let external = self.external_url.clone().unwrap_or_else(|| format!("http://{address}{context_path}"));
        let external = external.trim_end_matches('/').to_owned();
        let made = tokio::task::spawn_blocking(move || self.prepare(context_path, external, release)).await;
        let (inner, files) = made.map_err(|error| SimError::Config(error.to_string()))??;
        let mut tables = vec![
            instance::ROUTES,
            access_tokens::ROUTES,
            projects::ROUTES,
            repositories::ROUTES,
            permissions::ROUTES,
            contents::ROUTES,
            browse::ROUTES,
            branches::ROUTES,
            tags::ROUTES,
            restrictions::ROUTES,
            commits::ROUTES,
            comments::ROUTES,
            reviewers::ROUTES,
            settings::ROUTES,
            builds::ROUTES,
            insights::ROUTES,
            hooks::ROUTES,
        ];
        tables.extend_from_slice(pull_requests::TABLES);
        let router = Arc::new(Router::new(release, &tables));
        let shared = Arc::clone(&inner);
        let server = Server::start(listener, address, move |request| {
            let request: Request = request.map(Body::new);
            router::handle(Arc::clone(&shared), Arc::clone(&router), request)
        });
        Ok(BitbucketDcSim { inner, server, _files: files })
    }

    fn prepare(
        self,
        context_path: String,
        external: String,
        release: Release,
    ) -> Result<(Arc<Inner>, tempfile::TempDir), SimError> {
        let files = tempfile::Builder::new()
            .prefix("scm-sim-")
            .tempdir()
            .map_err(SimError::io("temporary directory"))?;
        let git = Git::new(&files.path().join("home"), &["refs/pull-requests", "refs/internal"])
            .map_err(git_error)?;
        let repo_dir = files.path().join("repositories");
        std::fs::create_dir_all(&repo_dir).map_err(SimError::io("repositories"))?;
        let template = match self.projects {
            0 => None,
            _ => Some(Repo::template(&git, &repo_dir).map_err(git_error)?),
        };
        let inner = Arc::new(Inner {
            state: Mutex::default(),
            repos: Mutex::default(),
            git,
            repo_dir,
            template,
            clock: self.clock.clone(),
            faults: Faults::default(),
            recorder: Recorder::default(),
            limiter: Mutex::new(self.rate_limit.map(Limiter::new)),
            context_path,
            external_url: OnceLock::from(external),
            version: self.version.clone(),
            release,
            page_cap: self.page_cap,
            hidden_rows: self.hidden_rows,
            max_diff_lines: self.max_diff_lines,
            iso_dates: self.iso_dates,
            old_packages: self.old_packages,
            bad_tokens_are_anonymous: self.bad_tokens_are_anonymous,
            public_counts_as_read: self.public_counts_as_read,
            files_need_no_check: self.files_need_no_check,
            tokens_make_tokens: self.tokens_make_tokens,
            captcha_after: self.captcha_after,
            empty_default_branch: self.empty_default_branch,
            git_filters: Mutex::new(self.git_filters),
        });
        self.fill(&inner)?;
        Ok((inner, files))
    }

    fn fill(&self, inner: &Arc<Inner>) -> Result<(), SimError> {
        inner.make_user("admin", true);
        if self.demo {
            fill_demo(inner)?;
        }
        for (name, path) in &self.repositories {
            let full = if name.contains('/') { name.clone() } else { format!("{DEFAULT_PROJECT}/{name}") };
            inner.import_repository(&full, path)?;
        }
        if self.projects > 0 {
            let project = inner.project_of(LOAD_PROJECT)?;
            for number in 1..=self.projects {
                inner.register_lazy(project, &format!("project-{number:05}"));
            }
        }
        let default = [TokenSpec::new(TokenKind::User, "scm")
            .role(Role::Admin)
            .expires_at(inner.clock.date_in_days(300))];
        for spec in if self.tokens.is_empty() { &default[..] } else { &self.tokens } {
            inner.issue(spec)?;
        }
        Ok(())
    }
}

/// The repositories of the seed in one project, with builds where they have pipelines elsewhere.
fn fill_demo(inner: &Inner) -> Result<(), SimError> {
    for seed in seed::demo() {
        let project = if seed.read_only { OTHERS_PROJECT } else { DEMO_PROJECT };
        let name = format!("{project}/{}", seed.name());
        let files = seed.files.iter().filter(|(path, _)| *path != ".gitlab-ci.yml").cloned();
        let mut spec = RepositorySpec::new().files(files).description(seed.description);
        spec.archived = seed.archived;
        spec.empty = seed.empty;
        let id = inner.make_repository_at(&name, &spec)?;
        if seed.read_only {
            inner.state().read_only.insert(id);
        }
        let builds: Vec<BuildScript> = seed
            .pipeline
            .iter()
            .flat_map(|pipeline| pipeline.outcomes())
            .map(|(job, outcome)| {
                let state = if outcome == JobOutcome::Failed { "FAILED" } else { "SUCCESSFUL" };
                BuildScript::new(job, state)
            })
            .collect();
        inner.edit_repository(&name, |repo| repo.script = builds)?;
    }
    Ok(())
}

/// The first two numbers of a version.
fn release(version: &str) -> Result<Release, SimError> {
    let mut numbers = version.split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(SimError::Config(format!("`{version}` is not a version such as 9.4.1"))),
    }
}

fn git_error(error: GitError) -> SimError {
    SimError::Git(error.to_string())
}
