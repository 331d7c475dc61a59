//! Users, projects, repositories.

use std::{collections::BTreeMap, path::Path};

use crate::sim::{
    SimError,
    bitbucket_dc::{
        BitbucketDcSim, BuildScript, Inner, RepositorySpec, Role,
        projects::valid_key,
        reply::Failure,
        settings::PullRequestSettings,
        state::{Project, Repository, User},
    },
    repo::Repo,
};

use super::{git_error, refused, unknown};

impl BitbucketDcSim {
    /// Makes a user whose password is the name; an existing one is left as it is. Returns its number.
    pub fn create_user(&self, name: &str) -> u64 {
        self.inner.make_user(name, false)
    }

    /// Sets a password.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn set_password(&self, name: &str, password: &str) -> Result<(), SimError> {
        self.edit_user(name, |user| user.password = Some(password.to_owned()))
    }

    /// Gives a user another e-mail address, or none.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn set_email(&self, name: &str, email: Option<&str>) -> Result<(), SimError> {
        self.edit_user(name, |user| user.email = email.map(str::to_owned))
    }

    /// Takes away a user's licence: nothing of theirs is accepted any more.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn deactivate_user(&self, name: &str) -> Result<(), SimError> {
        self.edit_user(name, |user| user.active = false)
    }

    /// Locks a user out, as too many wrong passwords do: `Basic` is answered by a CAPTCHA until `locked` is false.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn set_locked(&self, name: &str, locked: bool) -> Result<(), SimError> {
        self.edit_user(name, |user| (user.locked, user.failures) = (locked, 0))
    }

    fn edit_user(&self, name: &str, edit: impl FnOnce(&mut User)) -> Result<(), SimError> {
        let mut state = self.inner.state();
        let id = state.user_named(name).map(|user| user.id).ok_or_else(|| unknown("user", name))?;
        state.users.get_mut(&id).map(edit).ok_or_else(|| unknown("user", name))
    }

    /// Makes a project; an existing one is left as it is. Returns its number.
    ///
    /// # Errors
    /// When the key is not one.
    pub fn create_project(&self, key: &str) -> Result<u64, SimError> {
        self.inner.project_of(key)
    }

    /// Makes a repository as `KEY/slug`, and its project where that is missing; `~name` is the personal project of a
    /// user. Returns its number.
    ///
    /// # Errors
    /// When the place is taken, or git refuses.
    pub fn create_repository(&self, name: &str, spec: &RepositorySpec) -> Result<u64, SimError> {
        self.inner.make_repository_at(name, spec)
    }

    /// Makes a fork of a repository at another place. Returns its number.
    ///
    /// # Errors
    /// When the source is missing or the place is taken.
    pub fn fork_repository(&self, source: &str, name: &str) -> Result<u64, SimError> {
        let origin = self.repository_id(source)?;
        let (key, slug) = split(name)?;
        let project = self.inner.project_of(key)?;
        self.inner.must_be_free(name)?;
        self.inner.make_fork(origin, project, slug, slug).map_err(|failure| refused(&failure))
    }

    /// Number of a repository.
    ///
    /// # Errors
    /// When there is no such repository.
    pub fn repository_id(&self, name: &str) -> Result<u64, SimError> {
        let state = self.inner.state();
        state.repo_named(name).map(|repo| repo.id).ok_or_else(|| unknown("repository", name))
    }

    pub(super) fn edit_repository(
        &self,
        name: &str,
        edit: impl FnOnce(&mut Repository),
    ) -> Result<(), SimError> {
        self.inner.edit_repository(name, edit)
    }

    /// Archives a repository, or takes it out again.
    ///
    /// # Errors
    /// When there is no such repository.
    pub fn set_archived(&self, name: &str, archived: bool) -> Result<(), SimError> {
        self.edit_repository(name, |repo| repo.archived = archived)
    }

    /// Lets everyone read a repository, or not.
    ///
    /// # Errors
    /// When there is no such repository.
    pub fn set_public(&self, name: &str, public: bool) -> Result<(), SimError> {
        self.edit_repository(name, |repo| repo.public = public)
    }

    /// Lets everyone read all repositories of a project, or not.
    ///
    /// # Errors
    /// When there is no such project.
    pub fn set_project_public(&self, key: &str, public: bool) -> Result<(), SimError> {
        let mut state = self.inner.state();
        let id = state.project_at(key).map(|project| project.id).ok_or_else(|| unknown("project", key))?;
        if let Some(project) = state.projects.get_mut(&id) {
            project.public = public;
        }
        Ok(())
    }

    /// Moves or renames a repository. The old place goes on answering.
    ///
    /// # Errors
    /// When there is no such repository, or the new place is taken.
    pub fn move_repository(&self, from: &str, to: &str) -> Result<(), SimError> {
        let id = self.repository_id(from)?;
        let (key, slug) = split(to)?;
        let project = self.inner.project_of(key)?;
        self.inner.must_be_free(to)?;
        self.inner.move_repository(id, project, slug, slug);
        Ok(())
    }

    /// Sets which builds pushes set off; none without any.
    ///
    /// # Errors
    /// When there is no such repository.
    pub fn set_build_script(
        &self,
        name: &str,
        script: impl IntoIterator<Item = BuildScript>,
    ) -> Result<(), SimError> {
        self.edit_repository(name, |repo| repo.script = script.into_iter().collect())
    }

    /// Grants a user, who is made when missing, a role in a project (`KEY`) or repository (`KEY/slug`).
    ///
    /// # Errors
    /// When there is no such place.
    pub fn add_member(&self, place: &str, user: &str, role: Role) -> Result<(), SimError> {
        let user = self.inner.make_user(user, false);
        self.inner.set_member(place, user, Some(role))
    }

    /// Takes a user's role in a project or repository away.
    ///
    /// # Errors
    /// When there is no such user or place.
    pub fn remove_member(&self, place: &str, user: &str) -> Result<(), SimError> {
        let id = self.inner.state().user_named(user).map(|user| user.id);
        self.inner.set_member(place, id.ok_or_else(|| unknown("user", user))?, None)
    }
}

fn split(name: &str) -> Result<(&str, &str), SimError> {
    name.split_once('/')
        .filter(|(_, slug)| !slug.is_empty() && !slug.contains('/'))
        .ok_or_else(|| SimError::Config(format!("`{name}` is not KEY/slug")))
}

/// Letters, digits, `.`, `_` and `-` stay in slugs of users; everything else becomes a `_`.
fn user_slug(name: &str) -> String {
    name.to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .collect()
}

impl Inner {
    pub(crate) fn make_user(&self, name: &str, admin: bool) -> u64 {
        let mut state = self.state();
        if let Some(user) = state.user_named(name) {
            return user.id;
        }
        let id = state.next_id("user");
        state.user_names.insert(name.to_lowercase(), id);
        let slug = user_slug(name);
        let user = User {
            id,
            name: name.to_owned(),
            display_name: name.to_owned(),
            email: Some(format!("{slug}@example.com")),
            slug,
            password: Some(name.to_owned()),
            active: true,
            service: false,
            admin,
            failures: 0,
            locked: false,
            recent: Vec::new(),
        };
        state.users.insert(id, user);
        id
    }

    /// Whoever makes one of the same key at the same time gets the same one.
    pub(crate) fn make_project(&self, key: &str, name: &str, owner: Option<u64>) -> u64 {
        let mut state = self.state();
        if let Some(project) = state.project_at(key) {
            return project.id;
        }
        let id = state.next_id("project");
        let project = Project {
            id,
            key: key.to_owned(),
            name: name.to_owned(),
            description: None,
            public: false,
            owner,
            members: BTreeMap::new(),
            default_level: 0,
            restrictions: BTreeMap::new(),
            conditions: BTreeMap::new(),
            hooks: BTreeMap::new(),
        };
        state.project_keys.insert(key.to_owned(), id);
        state.projects.insert(id, project);
        id
    }

    /// The project of a key, made when it is missing.
    pub(crate) fn project_of(&self, key: &str) -> Result<u64, SimError> {
        if let Some(project) = self.state().project_at(key) {
            return Ok(project.id);
        }
        if let Some(owner) = key.strip_prefix('~') {
            let user = self.make_user(owner, false);
            return self.personal_project(user).map_err(|failure| refused(&failure));
        }
        if !valid_key(key) {
            return Err(SimError::Config(format!(
                "`{key}` is not a project key: upper-case letters, digits, `_` and `-`"
            )));
        }
        Ok(self.make_project(key, key, None))
    }

    /// The personal project of a user, made when it is missing.
    pub(crate) fn personal_project(&self, user_id: u64) -> Result<u64, Failure> {
        let (key, name) = {
            let state = self.state();
            let user = state.users.get(&user_id).ok_or_else(Failure::not_permitted)?;
            let key = format!("~{}", user.slug);
            if let Some(project) = state.project_at(&key) {
                return Ok(project.id);
            }
            (key, user.display_name.clone())
        };
        Ok(self.make_project(&key, &name, Some(user_id)))
    }

    fn must_be_free(&self, name: &str) -> Result<(), SimError> {
        match self.state().repo_named(name) {
            Some(_) => Err(SimError::Config(format!("`{name}` is taken"))),
            None => Ok(()),
        }
    }

    fn insert_repository(&self, project_id: u64, slug: &str, spec: &RepositorySpec) -> u64 {
        let mut state = self.state();
        let id = state.next_id("repository");
        let repo = Repository {
            id,
            project_id,
            slug: slug.to_owned(),
            name: spec.name.clone().unwrap_or_else(|| slug.to_owned()),
            description: spec.description.clone(),
            hierarchy: format!("{id:020x}"),
            public: spec.public,
            forkable: true,
            archived: spec.archived,
            origin: None,
            default_branch: spec.default_branch.clone().unwrap_or_else(|| "main".to_owned()),
            empty: spec.empty,
            members: BTreeMap::new(),
            restrictions: BTreeMap::new(),
            conditions: BTreeMap::new(),
            hooks: BTreeMap::new(),
            settings: PullRequestSettings::default(),
            pull_requests: BTreeMap::new(),
            last_pull_request: 0,
            script: Vec::new(),
            reports: BTreeMap::new(),
        };
        state.slugs.insert((project_id, slug.to_owned()), id);
        state.moved.remove(&(project_id, slug.to_owned()));
        state.repos_in.entry(project_id).or_default().insert(id);
        state.repos.insert(id, repo);
        id
    }

    /// A repository whose git repository is made when it is first touched.
    pub(crate) fn register_lazy(&self, project_id: u64, slug: &str) -> u64 {
        self.insert_repository(project_id, slug, &RepositorySpec::new())
    }

    pub(crate) fn make_repository(
        &self,
        project_id: u64,
        slug: &str,
        spec: &RepositorySpec,
    ) -> Result<u64, Failure> {
        let id = self.insert_repository(project_id, slug, spec);
        let branch = spec.default_branch.as_deref().unwrap_or("main");
        let repo = Repo::create(&self.git, &self.repo_path(id), branch)?;
        if !spec.empty {
            repo.first_commit(branch, slug, &spec.files)?;
        }
        self.keep_repo(id, repo);
        Ok(id)
    }

    pub(crate) fn make_repository_at(&self, name: &str, spec: &RepositorySpec) -> Result<u64, SimError> {
        let (key, slug) = split(name)?;
        let project = self.project_of(key)?;
        self.must_be_free(name)?;
        self.make_repository(project, slug, spec).map_err(|failure| refused(&failure))
    }

    pub(crate) fn import_repository(&self, name: &str, source: &Path) -> Result<u64, SimError> {
        let (key, slug) = split(name)?;
        let project = self.project_of(key)?;
        self.must_be_free(name)?;
        let id = self.insert_repository(project, slug, &RepositorySpec::new());
        self.adopt(id, source).map_err(git_error)?;
        Ok(id)
    }

    /// Copies a git repository and takes over what it says about itself.
    fn adopt(&self, id: u64, source: &Path) -> crate::sim::repo::Result<()> {
        let repo = Repo::copy_of(&self.git, &self.repo_path(id), source)?;
        let branch = repo.head_branch()?;
        let empty = repo.refs("refs/heads/")?.is_empty();
        self.keep_repo(id, repo);
        if let Some(repo) = self.state().repos.get_mut(&id) {
            (repo.empty, repo.default_branch) = (empty, branch);
        }
        Ok(())
    }

    pub(crate) fn make_fork(
        &self,
        origin: u64,
        project_id: u64,
        slug: &str,
        name: &str,
    ) -> Result<u64, Failure> {
        let git = self.repo(origin)?;
        let id = self.insert_repository(project_id, slug, &RepositorySpec::new().name(name));
        self.adopt(id, git.path())?;
        let mut state = self.state();
        let hierarchy = state.repos.get(&origin).map(|repo| repo.hierarchy.clone()).unwrap_or_default();
        if let Some(repo) = state.repos.get_mut(&id) {
            repo.origin = Some(origin);
            repo.hierarchy = hierarchy;
        }
        Ok(id)
    }

    /// Puts a repository elsewhere, or gives it another name; its old place leads to it.
    pub(crate) fn move_repository(&self, id: u64, project_id: u64, slug: &str, name: &str) {
        let mut state = self.state();
        let Some(repo) = state.repos.get_mut(&id) else { return };
        let old = (repo.project_id, std::mem::replace(&mut repo.slug, slug.to_owned()));
        repo.project_id = project_id;
        name.clone_into(&mut repo.name);
        let new = (project_id, slug.to_owned());
        if old == new {
            return;
        }
        state.slugs.remove(&old);
        state.moved.remove(&new);
        state.slugs.insert(new, id);
        if let Some(repos) = state.repos_in.get_mut(&old.0) {
            repos.remove(&id);
        }
        state.moved.insert(old, id);
        state.repos_in.entry(project_id).or_default().insert(id);
    }

    pub(crate) fn remove_repository(&self, id: u64) {
        let mut state = self.state();
        if let Some(repo) = state.repos.remove(&id) {
            state.slugs.remove(&(repo.project_id, repo.slug));
            state.moved.retain(|_, moved| *moved != id);
            if let Some(repos) = state.repos_in.get_mut(&repo.project_id) {
                repos.remove(&id);
            }
        }
    }

    pub(crate) fn edit_repository(
        &self,
        name: &str,
        edit: impl FnOnce(&mut Repository),
    ) -> Result<(), SimError> {
        let mut state = self.state();
        let id = state.repo_named(name).map(|repo| repo.id);
        let repo = id.and_then(|id| state.repos.get_mut(&id));
        repo.map(edit).ok_or_else(|| unknown("repository", name))
    }

    pub(super) fn set_member(&self, place: &str, user: u64, role: Option<Role>) -> Result<(), SimError> {
        let mut state = self.state();
        let members = if place.contains('/') {
            let id = state.repo_named(place).map(|repo| repo.id);
            id.and_then(|id| state.repos.get_mut(&id)).map(|repo| &mut repo.members)
        } else {
            let id = state.project_at(place).map(|project| project.id);
            id.and_then(|id| state.projects.get_mut(&id)).map(|project| &mut project.members)
        };
        let members = members.ok_or_else(|| unknown("project or repository", place))?;
        match role {
            Some(role) => members.insert(user, role.level()),
            None => members.remove(&user),
        };
        Ok(())
    }
}
