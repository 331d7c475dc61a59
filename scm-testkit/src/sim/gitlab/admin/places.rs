//! Users, groups, projects and tokens.

use std::path::Path;

use crate::sim::{
    SimError,
    gitlab::{
        GitLabSim, Inner, IssuedToken, PipelineScript, ProjectSpec, Protection, Role, TokenKind, TokenSpec,
        Visibility, access_tokens,
        state::{
            Member, Namespace, Project, ProjectSettings, ProtectedBranch, Source, Token, TokenHolder, User,
        },
        tokens,
    },
    repo::{GitError, Repo},
};

use super::{MergeRules, unknown};

impl GitLabSim {
    /// Makes a user with a namespace of the same name; an existing one is left as it is. Returns its number.
    pub fn create_user(&self, username: &str) -> u64 {
        self.inner.make_user(username, false)
    }

    /// Blocks a user: its tokens answer 403.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn block_user(&self, username: &str) -> Result<(), SimError> {
        let mut state = self.inner.state();
        let id = state.user_named(username).map(|user| user.id).ok_or_else(|| unknown("user", username))?;
        if let Some(user) = state.users.get_mut(&id) {
            user.blocked = true;
        }
        Ok(())
    }

    /// Makes a group and those above it, by full path; an existing one keeps its visibility. Returns its number.
    ///
    /// # Errors
    /// When the path belongs to a user or a project.
    pub fn create_group(&self, full_path: &str, visibility: Visibility) -> Result<u64, SimError> {
        self.inner.make_group(full_path, visibility)
    }

    /// Makes a project, and the groups above it where they are missing. Returns its number.
    ///
    /// # Errors
    /// When the path is taken, or git refuses.
    pub fn create_project(&self, full_path: &str, spec: &ProjectSpec) -> Result<u64, SimError> {
        self.inner.make_project(full_path, spec)
    }

    /// Makes a fork of a project under another path. Returns its number.
    ///
    /// # Errors
    /// When the source is missing or the path is taken.
    pub fn fork_project(&self, source: &str, full_path: &str) -> Result<u64, SimError> {
        let (parent, visibility) = {
            let state = self.inner.state();
            let project = state.project_at(source).ok_or_else(|| unknown("project", source))?;
            (project.id, project.visibility)
        };
        let repo = self.inner.repo(parent).map_err(|failure| super::refused(&failure))?;
        let id = self.inner.import_project(full_path, repo.path())?;
        let mut state = self.inner.state();
        *state.forks.entry(parent).or_insert(0) += 1;
        if let Some(project) = state.projects.get_mut(&id) {
            project.forked_from = Some(parent);
            project.visibility = visibility;
        }
        Ok(id)
    }

    /// Archives a project, or takes it out again.
    ///
    /// # Errors
    /// When there is no such project.
    pub fn set_archived(&self, project: &str, archived: bool) -> Result<(), SimError> {
        self.inner.edit_project(project, |project| project.archived = archived)
    }

    /// Changes who may see a project.
    ///
    /// # Errors
    /// When there is no such project.
    pub fn set_visibility(&self, project: &str, visibility: Visibility) -> Result<(), SimError> {
        self.inner.edit_project(project, |project| project.visibility = visibility)
    }

    /// Changes when and how merge requests of a project can be merged.
    ///
    /// # Errors
    /// When there is no such project.
    pub fn set_merge_rules(&self, project: &str, rules: MergeRules) -> Result<(), SimError> {
        self.inner.edit_project(project, |project| project.settings = rules.settings())
    }

    /// Protects branches by name or pattern, in place of a rule of the same pattern.
    ///
    /// # Errors
    /// When there is no such project.
    pub fn protect_branch(
        &self,
        project: &str,
        pattern: &str,
        protection: Protection,
    ) -> Result<(), SimError> {
        let id = self.inner.state().next_id("protected branch");
        self.inner.edit_project(project, |project| {
            project.protected.retain(|rule| rule.pattern != pattern);
            project.protected.extend(rule(id, pattern, protection));
        })
    }

    /// Sets what pipelines pushes get; `None` for no CI.
    ///
    /// # Errors
    /// When there is no such project.
    pub fn set_pipeline_script(&self, project: &str, script: Option<PipelineScript>) -> Result<(), SimError> {
        self.inner.set_script(project, script)
    }

    /// Moves a project to another path. The old one answers by redirects.
    ///
    /// # Errors
    /// When there is no such project, or the new path is taken.
    pub fn move_project(&self, from: &str, to: &str) -> Result<(), SimError> {
        let id = self.project_id(from)?;
        self.inner.move_project_by_id(id, to)
    }

    /// Number of a project by its full path.
    ///
    /// # Errors
    /// When there is no such project.
    pub fn project_id(&self, full_path: &str) -> Result<u64, SimError> {
        let state = self.inner.state();
        state.project_at(full_path).map(|project| project.id).ok_or_else(|| unknown("project", full_path))
    }

    /// Makes a user, who is made when missing, a member of a group or project, or changes the role.
    ///
    /// # Errors
    /// When there is no such group or project.
    pub fn add_member(&self, full_path: &str, username: &str, role: Role) -> Result<(), SimError> {
        let user = self.inner.make_user(username, false);
        let source = self.inner.source_at(full_path)?;
        let now = self.inner.clock.now();
        self.inner.state().add_member(source, user, role.level(), now);
        Ok(())
    }

    /// Ends a membership.
    ///
    /// # Errors
    /// When there is no such user, group or project.
    pub fn remove_member(&self, full_path: &str, username: &str) -> Result<(), SimError> {
        let source = self.inner.source_at(full_path)?;
        let mut state = self.inner.state();
        let user = state.user_named(username).map(|user| user.id).ok_or_else(|| unknown("user", username))?;
        if let Some(members) = state.members.get_mut(&source) {
            members.remove(&user);
        }
        Ok(())
    }

    /// Issues a token. A role without a place holds for every project there is.
    ///
    /// # Errors
    /// When its place does not exist.
    pub fn issue_token(&self, spec: &TokenSpec) -> Result<IssuedToken, SimError> {
        let id = self.inner.issue(spec)?;
        let state = self.inner.state();
        tokens::announce(&state, id).ok_or_else(|| SimError::Config("the token is gone".to_owned()))
    }

    /// Revokes a token by its secret.
    ///
    /// # Errors
    /// When nobody has such a token.
    pub fn revoke_token(&self, secret: &str) -> Result<(), SimError> {
        let mut state = self.inner.state();
        let id = state.secrets.get(secret).copied();
        let token = id.and_then(|id| state.tokens.get_mut(&id));
        token.map(|token| token.revoked = true).ok_or_else(|| SimError::Config("no such token".to_owned()))
    }
}

/// The rule that a protection amounts to.
fn rule(id: u64, pattern: &str, protection: Protection) -> Option<ProtectedBranch> {
    let (push_level, merge_level) = match protection {
        Protection::Full => (40, 40),
        Protection::DevelopersCanMerge => (40, 30),
        Protection::DevelopersCanPush => (30, 30),
        Protection::None => return None,
    };
    Some(ProtectedBranch {
        id,
        pattern: pattern.to_owned(),
        push_level,
        merge_level,
        allow_force_push: false,
        code_owner_approval_required: false,
    })
}

impl Inner {
    pub(crate) fn make_user(&self, username: &str, admin: bool) -> u64 {
        let now = self.clock.now();
        let mut state = self.state();
        if let Some(user) = state.user_named(username) {
            return user.id;
        }
        let id = state.next_id("user");
        let namespace_id = state.next_id("namespace");
        state.namespaces.insert(
            namespace_id,
            Namespace {
                id: namespace_id,
                name: username.to_owned(),
                path: username.to_owned(),
                full_path: username.to_owned(),
                parent_id: None,
                user_id: Some(id),
                visibility: Visibility::Public,
                description: String::new(),
                unprotected: false,
                created_at: now,
            },
        );
        state.namespace_paths.insert(username.to_lowercase(), namespace_id);
        state.usernames.insert(username.to_lowercase(), id);
        state.users.insert(
            id,
            User {
                id,
                username: username.to_owned(),
                name: username.to_owned(),
                email: format!("{username}@example.com"),
                blocked: false,
                bot: false,
                admin,
                namespace_id,
                created_at: now,
            },
        );
        id
    }

    pub(crate) fn make_group(&self, full_path: &str, visibility: Visibility) -> Result<u64, SimError> {
        let now = self.clock.now();
        let mut state = self.state();
        let mut parent = None;
        let mut path = String::new();
        for part in full_path.split('/') {
            if part.is_empty() || part.chars().any(|letter| letter.is_whitespace() || letter == ':') {
                return Err(SimError::Config(format!("`{full_path}` is not a path of a group")));
            }
            path = if path.is_empty() { part.to_owned() } else { format!("{path}/{part}") };
            if state.project_at(&path).is_some() {
                return Err(SimError::Config(format!("`{path}` is a project")));
            }
            if let Some(space) = state.namespace_at(&path) {
                if space.user_id.is_some() && path != full_path {
                    return Err(SimError::Config(format!("`{path}` belongs to a user")));
                }
                parent = Some(space.id);
                continue;
            }
            let id = state.next_id("namespace");
            let group = Namespace {
                id,
                name: part.to_owned(),
                path: part.to_owned(),
                full_path: path.clone(),
                parent_id: parent,
                user_id: None,
                visibility,
                description: String::new(),
                unprotected: false,
                created_at: now,
            };
            state.namespaces.insert(id, group);
            state.namespace_paths.insert(path.to_lowercase(), id);
            parent = Some(id);
        }
        parent.ok_or_else(|| SimError::Config("a group needs a path".to_owned()))
    }

    fn register(&self, full_path: &str, spec: &ProjectSpec) -> Result<u64, SimError> {
        let (space, path) = full_path
            .rsplit_once('/')
            .ok_or_else(|| SimError::Config(format!("`{full_path}` has no group: use group/name")))?;
        let namespace_id = self.make_group(space, Visibility::Private)?;
        let state = self.state();
        if state.project_at(full_path).is_some() || state.namespace_at(full_path).is_some() {
            return Err(SimError::Config(format!("`{full_path}` is taken")));
        }
        drop(state);
        let branch = spec.default_branch.clone().unwrap_or_else(|| "main".to_owned());
        Ok(self.insert_project(namespace_id, path, &branch, spec))
    }

    fn insert_project(&self, namespace_id: u64, path: &str, branch: &str, spec: &ProjectSpec) -> u64 {
        let now = self.clock.now();
        let mut state = self.state();
        let id = state.next_id("project");
        let rule_id = state.next_id("protected branch");
        let project = Project {
            id,
            name: path.to_owned(),
            path: path.to_owned(),
            namespace_id,
            creator_id: 1,
            description: spec.description.clone(),
            visibility: spec.visibility,
            default_branch: branch.to_owned(),
            empty: spec.empty,
            archived: spec.archived,
            topics: Vec::new(),
            created_at: now,
            updated_at: now,
            last_activity_at: now,
            forked_from: None,
            settings: ProjectSettings::default(),
            protected: rule(rule_id, branch, spec.protected).into_iter().collect(),
            script: None,
            merge_requests: std::collections::BTreeMap::new(),
            pipelines: std::collections::BTreeMap::new(),
            jobs: std::collections::BTreeMap::new(),
            statuses: std::collections::BTreeMap::new(),
            hooks: std::collections::BTreeMap::new(),
            last_mr_iid: 0,
            last_pipeline_iid: 0,
        };
        let full_path = state.full_path(&project);
        state.project_paths.insert(full_path.to_lowercase(), id);
        state.projects_in.entry(namespace_id).or_default().insert(id);
        state.projects.insert(id, project);
        id
    }

    pub(crate) fn make_project(&self, full_path: &str, spec: &ProjectSpec) -> Result<u64, SimError> {
        let id = self.register(full_path, spec)?;
        let branch = spec.default_branch.as_deref().unwrap_or("main");
        let repo = Repo::create(&self.git, &self.repo_path(id), branch).map_err(git_error)?;
        if !spec.empty {
            repo.first_commit(branch, full_path, &spec.files).map_err(git_error)?;
        }
        self.keep_repo(id, repo);
        Ok(id)
    }

    pub(crate) fn import_project(&self, full_path: &str, source: &Path) -> Result<u64, SimError> {
        let id = self.register(full_path, &ProjectSpec::new())?;
        let repo = Repo::copy_of(&self.git, &self.repo_path(id), source).map_err(git_error)?;
        let branch = repo.head_branch().map_err(git_error)?;
        let empty = repo.refs("refs/heads/").map_err(git_error)?.is_empty();
        self.keep_repo(id, repo);
        let mut state = self.state();
        if let Some(project) = state.projects.get_mut(&id) {
            project.empty = empty;
            for rule in &mut project.protected {
                branch.clone_into(&mut rule.pattern);
            }
            project.default_branch = branch;
        }
        Ok(id)
    }

    /// A project whose repository is made when it is first touched.
    pub(crate) fn register_lazy(&self, namespace_id: u64, path: &str) -> u64 {
        self.insert_project(
            namespace_id,
            path,
            "main",
            &ProjectSpec::new().protection(Protection::DevelopersCanMerge),
        )
    }

    pub(crate) fn edit_project(
        &self,
        full_path: &str,
        edit: impl FnOnce(&mut Project),
    ) -> Result<(), SimError> {
        let mut state = self.state();
        let id = state
            .project_at(full_path)
            .map(|project| project.id)
            .ok_or_else(|| unknown("project", full_path))?;
        state.projects.get_mut(&id).map(edit).ok_or_else(|| unknown("project", full_path))
    }

    pub(crate) fn set_script(&self, project: &str, script: Option<PipelineScript>) -> Result<(), SimError> {
        self.edit_project(project, |project| project.script = script)
    }

    pub(crate) fn move_project_by_id(&self, id: u64, to: &str) -> Result<(), SimError> {
        let (space, path) =
            to.rsplit_once('/').ok_or_else(|| SimError::Config(format!("`{to}` has no group")))?;
        let namespace_id = self.make_group(space, Visibility::Private)?;
        let mut state = self.state();
        if state.project_at(to).is_some_and(|other| other.id != id) {
            return Err(SimError::Config(format!("`{to}` is taken")));
        }
        let project = state.projects.get(&id).ok_or_else(|| unknown("project", to))?;
        let (old, old_space) = (state.full_path(project), project.namespace_id);
        state.project_paths.remove(&old.to_lowercase());
        state.moved.insert(old.to_lowercase(), id);
        state.moved.remove(&to.to_lowercase());
        state.project_paths.insert(to.to_lowercase(), id);
        if let Some(projects) = state.projects_in.get_mut(&old_space) {
            projects.remove(&id);
        }
        state.projects_in.entry(namespace_id).or_default().insert(id);
        if let Some(project) = state.projects.get_mut(&id) {
            project.namespace_id = namespace_id;
            path.clone_into(&mut project.path);
        }
        Ok(())
    }

    pub(crate) fn remove_project(&self, id: u64) {
        let mut state = self.state();
        if let Some(project) = state.projects.remove(&id) {
            let path = state.full_path(&project).to_lowercase();
            state.project_paths.remove(&path);
            state.moved.retain(|_, moved| *moved != id);
            state.members.remove(&Source::Project(id));
            if let Some(projects) = state.projects_in.get_mut(&project.namespace_id) {
                projects.remove(&id);
            }
        }
    }

    fn source_at(&self, full_path: &str) -> Result<Source, SimError> {
        let state = self.state();
        let project = state.project_at(full_path).map(|project| Source::Project(project.id));
        let group =
            || state.namespace_at(full_path).filter(|g| g.user_id.is_none()).map(|g| Source::Group(g.id));
        project.or_else(group).ok_or_else(|| unknown("group or project", full_path))
    }

    /// Issues a token and announces it.
    pub(crate) fn issue(&self, spec: &TokenSpec) -> Result<u64, SimError> {
        let id = self.issue_quietly(spec)?;
        self.state().issued.push(id);
        Ok(id)
    }

    /// Issues a token with its user and memberships.
    pub(crate) fn issue_quietly(&self, spec: &TokenSpec) -> Result<u64, SimError> {
        let place = spec.place.as_deref().map(|path| self.source_at(path)).transpose()?;
        let kind = self.holder(spec, place)?;
        let user_id = self.token_user(spec, kind);
        let now = self.clock.now();
        let mut state = self.state();
        let mut level = spec.role.map(Role::level);
        match (place.or(access_tokens::source(kind).filter(|_| spec.place.is_some())), spec.role) {
            (Some(source), role) => {
                let role = role.unwrap_or(Role::Maintainer);
                level = Some(role.level());
                state.add_member(source, user_id, role.level(), now);
            }
            (None, Some(role)) if spec.everywhere => everywhere(&mut state, user_id, role, now),
            (None, _) => {}
        }
        let id = state.next_id("token");
        let secret = spec.secret.clone().unwrap_or_else(tokens::new_secret);
        state.secrets.insert(secret.clone(), id);
        state.tokens.insert(
            id,
            Token {
                id,
                secret,
                name: spec.user.clone(),
                user_id,
                kind,
                scopes: spec.scopes.clone(),
                created_at: now,
                last_used_at: None,
                expires_at: spec.expires_at.clone(),
                revoked: spec.revoked,
                level,
                family: id,
                rotated: false,
                description: None,
            },
        );
        Ok(id)
    }

    fn holder(&self, spec: &TokenSpec, place: Option<Source>) -> Result<TokenHolder, SimError> {
        Ok(match (spec.kind, place) {
            (TokenKind::Personal, _) => TokenHolder::Person,
            (TokenKind::ServiceAccount, _) => TokenHolder::ServiceAccount,
            (TokenKind::Group, Some(Source::Group(id))) => TokenHolder::Group(id),
            (TokenKind::Project, Some(Source::Project(id))) => TokenHolder::Project(id),
            (TokenKind::Group, Some(Source::Project(_))) => {
                return Err(SimError::Config("a group token is made on a group".to_owned()));
            }
            (TokenKind::Project, Some(Source::Group(_))) => {
                return Err(SimError::Config("a project token is made on a project".to_owned()));
            }
            // Without a place it belongs to the first there is; that one need not hold anything.
            (TokenKind::Group, None) => {
                let first = {
                    let state = self.state();
                    state.namespaces.values().find(|space| space.user_id.is_none()).map(|space| space.id)
                };
                TokenHolder::Group(match first {
                    Some(id) => id,
                    None => self.make_group("local", Visibility::Private)?,
                })
            }
            (TokenKind::Project, None) => {
                let first = self.state().projects.keys().next().copied();
                TokenHolder::Project(first.ok_or_else(|| SimError::Config("there is no project".to_owned()))?)
            }
        })
    }

    /// The user behind a token: bots get a name as the product makes it.
    fn token_user(&self, spec: &TokenSpec, kind: TokenHolder) -> u64 {
        let serial = self.state().tokens.len() + 1;
        let (username, bot) = match kind {
            TokenHolder::Person => (spec.user.clone(), false),
            TokenHolder::ServiceAccount => (spec.user.clone(), true),
            TokenHolder::Group(id) => (format!("group_{id}_bot_{serial:032x}"), true),
            TokenHolder::Project(id) => (format!("project_{id}_bot_{serial:032x}"), true),
        };
        let id = self.make_user(&username, false);
        if let Some(user) = self.state().users.get_mut(&id)
            && bot
        {
            user.bot = true;
            spec.user.clone_into(&mut user.name);
            user.email = format!("{username}@noreply.example.com");
        }
        id
    }
}

/// A role in every project. Projects of a large group are held through the group.
fn everywhere(state: &mut crate::sim::gitlab::state::State, user_id: u64, role: Role, now: jiff::Timestamp) {
    let spaces: Vec<(u64, Vec<u64>)> = state
        .projects_in
        .iter()
        .map(|(space, projects)| (*space, projects.iter().copied().collect()))
        .collect();
    for (space, projects) in spaces {
        let lazy = state.namespaces.get(&space).is_some_and(|space| space.full_path == "load");
        if lazy {
            state.add_member(Source::Group(space), user_id, role.level(), now);
            continue;
        }
        for project in projects {
            let level = if state.read_only.contains(&project) { role.level().min(20) } else { role.level() };
            let member = Member { level, created_at: now, expires_at: None };
            state.members.entry(Source::Project(project)).or_default().insert(user_id, member);
        }
    }
}

fn git_error(error: GitError) -> SimError {
    SimError::Git(error.to_string())
}
