use std::{
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
};

use axum::{body::Body, extract::Request};

use crate::{
    fault::Faults,
    seed,
    sim::{
        Clock, SimError,
        http::Server,
        record::Recorder,
        repo::{Git, GitError, Repo},
    },
};

use super::{
    GitLabSim, Inner, RateLimit, Role, TokenKind, TokenSpec, access_tokens, branches, ci, commits, contents,
    groups, hooks, instance,
    limit::Limiter,
    members, merge_requests, notes, projects, protected, router, tags, tokens,
    types::{ProjectSpec, Protection, Visibility},
};

/// Group of the many projects that [`GitLabSimBuilder::projects`] makes.
const LOAD_GROUP: &str = "load";
/// Group of projects given without one.
const DEFAULT_GROUP: &str = "local";

/// Options of a [`GitLabSim`].
#[derive(Debug, Clone)]
pub struct GitLabSimBuilder {
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
}

impl Default for GitLabSimBuilder {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            context_path: String::new(),
            external_url: None,
            version: "17.11.2-ee".to_owned(),
            demo: false,
            projects: 0,
            repositories: Vec::new(),
            tokens: Vec::new(),
            rate_limit: None,
            clock: Clock::default(),
        }
    }
}

impl GitLabSimBuilder {
    /// Address to listen on; a free port of 127.0.0.1 without it.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Path below which the instance lives, such as `/gitlab`.
    #[must_use]
    pub fn context_path(mut self, path: impl Into<String>) -> Self {
        self.context_path = path.into();
        self
    }

    /// The address the instance believes to have, such as `https://gitlab.example.com/gitlab`.
    #[must_use]
    pub fn external_url(mut self, url: impl Into<String>) -> Self {
        self.external_url = Some(url.into());
        self
    }

    /// Version text, `17.11.2-ee` without it.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Adds the demonstration repositories of [`crate::seed`].
    #[must_use]
    pub fn seed_demo(mut self) -> Self {
        self.demo = true;
        self
    }

    /// Adds `n` projects in the group `load`. Their repositories are made at the first touch.
    #[must_use]
    pub fn projects(mut self, n: u64) -> Self {
        self.projects = n;
        self
    }

    /// Adds a copy of an existing repository under a full path; a name without a slash goes into the group `local`.
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

    /// Makes the repositories and starts to listen.
    ///
    /// # Errors
    /// When git is missing, the address is taken, or an option does not make sense.
    pub async fn start(self) -> Result<GitLabSim, SimError> {
        let context_path = self.context_path.trim_end_matches('/').to_owned();
        if !context_path.is_empty() && !context_path.starts_with('/') {
            return Err(SimError::Config(format!(
                "the context path `{context_path}` must start with a slash"
            )));
        }
        let (listener, address) = Server::bind(&self.listen).await?;
        let external = self.external_url.clone().unwrap_or_else(|| format!("http://{address}{context_path}"));
        let external = external.trim_end_matches('/').to_owned();
        let made = tokio::task::spawn_blocking(move || self.prepare(context_path, external)).await;
        let (inner, files) = made.map_err(|error| SimError::Config(error.to_string()))??;
        let router = router::router(
            &inner,
            &[
                instance::ROUTES,
                tokens::ROUTES,
                access_tokens::ROUTES,
                projects::ROUTES,
                groups::ROUTES,
                members::ROUTES,
                contents::ROUTES,
                branches::ROUTES,
                protected::ROUTES,
                tags::ROUTES,
                commits::ROUTES,
                merge_requests::ROUTES,
                notes::ROUTES,
                ci::ROUTES,
                hooks::ROUTES,
            ],
        );
        let shared = Arc::clone(&inner);
        let server = Server::start(listener, address, move |request| {
            let request: Request = request.map(Body::new);
            router::handle(Arc::clone(&shared), router.clone(), request)
        });
        Ok(GitLabSim { inner, server, _files: files })
    }

    fn prepare(
        self,
        context_path: String,
        external: String,
    ) -> Result<(Arc<Inner>, tempfile::TempDir), SimError> {
        let files = tempfile::Builder::new()
            .prefix("scm-sim-")
            .tempdir()
            .map_err(SimError::io("temporary directory"))?;
        let git = Git::new(&files.path().join("home"), &["refs/merge-requests", "refs/pipelines"])
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
            git_filters: Mutex::default(),
            context_path,
            external_url: OnceLock::from(external),
            version: self.version.clone(),
        });
        self.fill(&inner)?;
        Ok((inner, files))
    }

    fn fill(&self, inner: &Arc<Inner>) -> Result<(), SimError> {
        inner.make_user("root", true);
        if self.demo {
            for project in seed::demo() {
                let mut spec = ProjectSpec::new()
                    .files(project.files)
                    .description(project.description)
                    .protection(Protection::DevelopersCanMerge);
                spec.archived = project.archived;
                spec.empty = project.empty;
                let id = inner.make_project(project.path, &spec)?;
                if project.read_only {
                    inner.state().read_only.insert(id);
                }
                if let Some(script) = project.pipeline {
                    inner.set_script(project.path, Some(script))?;
                }
            }
        }
        for (name, path) in &self.repositories {
            let full = if name.contains('/') { name.clone() } else { format!("{DEFAULT_GROUP}/{name}") };
            inner.import_project(&full, path)?;
        }
        if self.projects > 0 {
            let group = inner.make_group(LOAD_GROUP, Visibility::Private)?;
            for number in 1..=self.projects {
                inner.register_lazy(group, &format!("project-{number:05}"));
            }
        }
        let default = [TokenSpec::new(TokenKind::Group, "scm")
            .role(Role::Maintainer)
            .expires_at(inner.clock.date_in_days(300))];
        for spec in if self.tokens.is_empty() { &default[..] } else { &self.tokens } {
            inner.issue(spec)?;
        }
        Ok(())
    }
}

fn git_error(error: GitError) -> SimError {
    SimError::Git(error.to_string())
}
