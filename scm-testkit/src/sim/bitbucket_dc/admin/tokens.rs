//! Tokens and the users behind them.

use std::collections::BTreeSet;

use crate::sim::{
    SimError,
    bitbucket_dc::{
        BitbucketDcSim, Inner, IssuedToken, Permission, Role, TokenKind, TokenSpec, access_tokens,
        builder::LOAD_PROJECT,
        state::{State, Token, TokenHolder},
    },
};

use super::unknown;

impl BitbucketDcSim {
    /// Issues a token. A role without a place holds for every repository there is.
    ///
    /// # Errors
    /// When its place does not exist.
    pub fn issue_token(&self, spec: &TokenSpec) -> Result<IssuedToken, SimError> {
        let id = self.inner.issue(spec)?;
        let state = self.inner.state();
        access_tokens::announce(&state, id).ok_or_else(|| SimError::Config("the token is gone".to_owned()))
    }

    /// Revokes a token by its secret.
    ///
    /// # Errors
    /// When nobody has such a token.
    pub fn revoke_token(&self, secret: &str) -> Result<(), SimError> {
        let known = self.inner.state().secrets.remove(secret);
        known.map(drop).ok_or_else(|| SimError::Config("no such token".to_owned()))
    }
}

impl Inner {
    /// Issues a token with its user and role, and announces it.
    pub(crate) fn issue(&self, spec: &TokenSpec) -> Result<u64, SimError> {
        let holder = match spec.kind {
            TokenKind::User => TokenHolder::User(self.make_user(&spec.user, false)),
            TokenKind::Project => {
                let key =
                    self.place_of(spec, |state| state.projects.values().next().map(|p| p.key.clone()))?;
                let state = self.state();
                let project = state.project_at(&key).ok_or_else(|| unknown("project", &key))?;
                TokenHolder::Project(project.id)
            }
            TokenKind::Repository => {
                let first = |state: &State| state.repos.values().next().map(|repo| state.full_name(repo));
                let name = self.place_of(spec, first)?;
                let state = self.state();
                let repo = state.repo_named(&name).ok_or_else(|| unknown("repository", &name))?;
                TokenHolder::Repository(repo.id)
            }
        };
        if let (TokenHolder::User(user), Some(role)) = (holder, spec.role) {
            match &spec.place {
                Some(place) => self.set_member(place, user, Some(role))?,
                None => everywhere(&mut self.state(), user, role),
            }
        }
        let role = spec.role.map_or("none", Role::name);
        let id = self.add_token(
            holder,
            &spec.user,
            spec.permissions.clone(),
            spec.expires_at.clone(),
            spec.secret.clone(),
            role,
        );
        let mut state = self.state();
        if spec.revoked
            && let Some(secret) = state.tokens.get(&id).map(|token| token.secret.clone())
        {
            state.secrets.remove(&secret);
        }
        state.issued.push(id);
        Ok(id)
    }

    /// Where a token without a user is made; the first place there is, if the specification does not say.
    fn place_of(
        &self,
        spec: &TokenSpec,
        first: impl Fn(&State) -> Option<String>,
    ) -> Result<String, SimError> {
        let place = spec.place.clone().or_else(|| first(&self.state()));
        place.ok_or_else(|| SimError::Config(format!("there is no {} to make a token on", spec.kind.name())))
    }

    pub(crate) fn add_token(
        &self,
        holder: TokenHolder,
        name: &str,
        permissions: Vec<Permission>,
        expires_at: Option<String>,
        secret: Option<String>,
        role: &'static str,
    ) -> u64 {
        let serial = self.state().next_id("token");
        let (id, made) = access_tokens::new_secret(serial);
        let secret = secret.unwrap_or(made);
        let user_id = match holder {
            TokenHolder::User(user) => user,
            TokenHolder::Project(place) => self.stand_in("project", place, serial),
            TokenHolder::Repository(place) => self.stand_in("repository", place, serial),
        };
        let created_at = self.clock.now();
        let mut state = self.state();
        state.secrets.insert(secret.clone(), id);
        state.tokens.insert(
            id,
            Token {
                id,
                secret,
                name: name.to_owned(),
                user_id,
                holder,
                permissions,
                created_at,
                last_used_at: None,
                expires_at,
                role,
            },
        );
        id
    }

    /// The made-up user of a token that has none.
    fn stand_in(&self, kind: &str, place: u64, serial: u64) -> u64 {
        let id = self.make_user(&format!("access-token-user/{kind}/{place}/{serial}"), false);
        if let Some(user) = self.state().users.get_mut(&id) {
            user.service = true;
            user.password = None;
            user.email = None;
        }
        id
    }
}

/// A role in every repository. Those of the project for many are held through it, and who may do everything
/// administers the projects too, but for those in which some may only be read.
fn everywhere(state: &mut State, user: u64, role: Role) {
    let many = state.project_at(LOAD_PROJECT).map(|project| project.id);
    let read_only = state.read_only.clone();
    let spared: BTreeSet<u64> =
        read_only.iter().filter_map(|id| state.repos.get(id)).map(|repo| repo.project_id).collect();
    for project in state.projects.values_mut() {
        let whole = Some(project.id) == many || role == Role::Admin;
        if whole && !spared.contains(&project.id) && project.owner.is_none() {
            project.members.insert(user, role.level());
        }
    }
    for repo in state.repos.values_mut().filter(|repo| Some(repo.project_id) != many) {
        let level = if read_only.contains(&repo.id) { 1 } else { role.level() };
        repo.members.insert(user, level);
    }
}
