//! One request on its way through an endpoint.

use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use serde_json::Value;

use crate::sim::{params::Params, repo::Repo};

use super::{
    Inner,
    auth::Caller,
    reply::Failure,
    state::{Project, Repository, State},
};

/// How many lately visited repositories are remembered.
const RECENT: usize = 50;

/// Everything an endpoint needs.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) inner: Arc<Inner>,
    pub(crate) caller: Option<Caller>,
    /// Query and body together; the body wins.
    pub(crate) params: Params,
    /// Parts of the path, decoded.
    pub(crate) path: Vec<(&'static str, String)>,
    pub(crate) query: Vec<(String, String)>,
    /// The body as JSON; null when there is none.
    pub(crate) json: Value,
    pub(crate) body: Bytes,
    pub(crate) content_type: String,
    /// The caller asked for `text/plain`.
    pub(crate) wants_text: bool,
    pub(crate) project: u64,
    pub(crate) repo: u64,
}

impl Call {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state()
    }

    /// The caller of an endpoint that needs one.
    pub(crate) fn caller(&self) -> Result<&Caller, Failure> {
        self.caller.as_ref().ok_or_else(Failure::not_permitted)
    }

    pub(crate) fn user(&self) -> Result<u64, Failure> {
        self.caller().map(|caller| caller.user_id)
    }

    pub(crate) fn part(&self, name: &str) -> &str {
        self.path.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value.as_str())
    }

    /// A number in the path; anything else names nothing.
    pub(crate) fn number(&self, name: &str) -> Result<u64, Failure> {
        self.part(name).parse().map_err(|_| Failure::no_such(&format!("{name} '{}'", self.part(name))))
    }

    /// Looks the project, and where there is one the repository, of the path up, as far as the caller may see them.
    pub(crate) fn locate(&mut self, with_repo: bool) -> Result<(), Failure> {
        let (key, slug) = (self.part("key").to_owned(), self.part("slug").to_owned());
        let mut state = self.inner.state();
        let project = state.project_at(&key).map(|project| project.id);
        let visible = |repo: &&Repository| self.level_on(&state, repo) > 0;
        let found = if with_repo {
            let repo = project.and_then(|_| state.repo_at(&key, &slug)).filter(visible);
            repo.map(|repo| (repo.project_id, repo.id))
        } else {
            project.filter(|id| self.level_on_project(&state, *id) > 0).map(|id| (id, 0))
        };
        let Some((project_id, repo_id)) = found else {
            // Strangers are asked who they are before they learn that there is nothing.
            return Err(match (&self.caller, project) {
                (None, _) => Failure::not_permitted(),
                (Some(_), Some(_)) if with_repo => Failure::no_repository(&key, &slug),
                _ => Failure::no_project(&key),
            });
        };
        if with_repo
            && let Some(caller) = self.caller.as_ref().filter(|caller| caller.has_user())
            && let Some(user) = state.users.get_mut(&caller.user_id)
        {
            user.recent.retain(|seen| *seen != repo_id);
            user.recent.insert(0, repo_id);
            user.recent.truncate(RECENT);
        }
        drop(state);
        (self.project, self.repo) = (project_id, repo_id);
        Ok(())
    }

    pub(crate) fn level_on(&self, state: &State, repo: &Repository) -> u8 {
        match &self.caller {
            Some(caller) => caller.level_on(state, repo),
            None => u8::from(state.is_public(repo)),
        }
    }

    pub(crate) fn level_on_project(&self, state: &State, project_id: u64) -> u8 {
        match &self.caller {
            Some(caller) => caller.level_on_project(state, project_id),
            None => u8::from(
                state.projects.get(&project_id).is_some_and(|project| project.public)
                    || state.repos_of(project_id).any(|repo| repo.public),
            ),
        }
    }

    /// The repository of the path, out of a state that is already locked.
    pub(crate) fn repo_in<'a>(&self, state: &'a State) -> Result<&'a Repository, Failure> {
        state.repos.get(&self.repo).ok_or_else(|| self.gone())
    }

    pub(crate) fn repo_mut<'a>(&self, state: &'a mut State) -> Result<&'a mut Repository, Failure> {
        state.repos.get_mut(&self.repo).ok_or_else(|| self.gone())
    }

    pub(crate) fn project_in<'a>(&self, state: &'a State) -> Result<&'a Project, Failure> {
        state.projects.get(&self.project).ok_or_else(|| Failure::no_project(self.part("key")))
    }

    pub(crate) fn project_mut<'a>(&self, state: &'a mut State) -> Result<&'a mut Project, Failure> {
        state.projects.get_mut(&self.project).ok_or_else(|| Failure::no_project(self.part("key")))
    }

    fn gone(&self) -> Failure {
        Failure::no_repository(self.part("key"), self.part("slug"))
    }

    pub(crate) fn git(&self) -> Result<Arc<Repo>, Failure> {
        self.inner.repo(self.repo)
    }

    /// Refuses a caller who may do less than this in the repository.
    pub(crate) fn needs(&self, level: u8) -> Result<(), Failure> {
        let state = self.state();
        let repo = self.repo_in(&state)?;
        if self.level_on(&state, repo) < level { Err(Failure::not_permitted()) } else { Ok(()) }
    }

    pub(crate) fn needs_project(&self, level: u8) -> Result<(), Failure> {
        let state = self.state();
        if self.level_on_project(&state, self.project) < level {
            return Err(Failure::not_permitted());
        }
        Ok(())
    }

    /// A change by someone signed in who may do this much, in a repository that is not archived.
    pub(crate) fn may_change(&self, level: u8) -> Result<u64, Failure> {
        let user = self.user()?;
        self.needs(level)?;
        let state = self.state();
        let repo = self.repo_in(&state)?;
        if repo.archived { Err(Failure::archived(&repo.slug)) } else { Ok(user) }
    }

    /// The commit that a revision means; that of the default branch without one.
    pub(crate) fn commit(&self, repo: &Repo, revision: Option<&str>) -> Result<String, Failure> {
        let (default, slug) = {
            let state = self.state();
            let repo = self.repo_in(&state)?;
            (repo.default_branch.clone(), repo.slug.clone())
        };
        match revision.filter(|name| !name.is_empty()) {
            Some(name) => repo.commit_id(name)?.ok_or_else(|| Failure::no_commit(name, &slug)),
            None => repo.branch_id(&default)?.ok_or_else(|| no_default_branch(&slug)),
        }
    }

    /// What a refusal calls the revision that was asked for.
    pub(crate) fn at(&self) -> Option<&str> {
        self.params.filled("at")
    }

    /// A point in time as this server writes it.
    pub(crate) fn date(&self, at: jiff::Timestamp) -> Value {
        self.inner.date(at)
    }
}

pub(crate) fn no_default_branch(slug: &str) -> Failure {
    Failure::new(
        404,
        "repository.NoDefaultBranchException",
        format!("Repository '{slug}' has no default branch. Does it contain any commits?"),
    )
}
