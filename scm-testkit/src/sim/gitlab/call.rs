//! One request on its way through an endpoint.

use std::sync::{Arc, MutexGuard};

use crate::sim::{params::Params, repo::Repo};

use super::{
    Inner,
    auth::Caller,
    reply::{Failure, Reply},
    state::{Project, State},
};

/// Everything an endpoint needs.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) inner: Arc<Inner>,
    pub(crate) caller: Option<Caller>,
    pub(crate) params: Params,
    /// Parts of the path, decoded.
    pub(crate) path: Vec<(String, String)>,
    /// Path as it arrived, without the context path.
    pub(crate) raw_path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) get: bool,
    pub(crate) project: Option<u64>,
    pub(crate) group: Option<u64>,
}

impl Call {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state()
    }

    pub(crate) fn user_id(&self) -> Option<u64> {
        self.caller.as_ref().map(|caller| caller.user_id)
    }

    /// The caller of an endpoint that needs one.
    pub(crate) fn user(&self) -> Result<u64, Failure> {
        self.user_id().ok_or_else(Failure::unauthorized)
    }

    pub(crate) fn part(&self, name: &str) -> &str {
        self.path.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    /// A number in the path; anything else is a complaint of the framework.
    pub(crate) fn number(&self, name: &str) -> Result<u64, Failure> {
        self.part(name).parse().map_err(|_| Failure::error(400, format!("{name} is invalid")))
    }

    /// Looks the project or group of the path up, as far as the caller may see it.
    pub(crate) fn locate(&mut self, kind: &str) -> Result<(), Failure> {
        let wanted = self.part("id").to_owned();
        let today = self.inner.today();
        let state = self.inner.state();
        if kind == "groups" {
            let group = match wanted.parse::<u64>() {
                Ok(id) => state.namespaces.get(&id),
                Err(_) => state.namespace_at(&wanted),
            };
            let group = group
                .filter(|group| group.user_id.is_none())
                .filter(|group| state.can_see_group(group, self.user_id(), &today))
                .map(|group| group.id)
                .ok_or_else(|| Failure::not_found("Group"));
            drop(state);
            self.group = Some(group?);
            return Ok(());
        }
        let mut moved = None;
        let project = match wanted.parse::<u64>() {
            Ok(id) => state.projects.get(&id),
            Err(_) => state.project_at(&wanted).or_else(|| {
                moved = state.moved.get(&wanted.to_lowercase()).copied();
                moved.and_then(|id| state.projects.get(&id))
            }),
        };
        let project = project
            .filter(|project| state.can_see(project, self.user_id(), &today))
            .map(|project| project.id)
            .ok_or_else(|| Failure::not_found("Project"));
        drop(state);
        let project = project?;
        if let Some(id) = moved {
            return Err(self.moved_to(id));
        }
        self.project = Some(project);
        Ok(())
    }

    fn moved_to(&self, id: u64) -> Failure {
        if !self.get {
            return Failure::message(405, "Non GET methods are not allowed for moved projects");
        }
        // The answer names the project by its number, which no later move changes.
        let rest = self.raw_path.splitn(6, '/').nth(5).map(|rest| format!("/{rest}")).unwrap_or_default();
        let mut url = format!("{}/api/v4/projects/{id}{rest}", self.inner.external_url());
        if !self.query.is_empty() {
            let pairs: Vec<String> = self
                .query
                .iter()
                .map(|(name, value)| {
                    let encode = |text: &str| {
                        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                            .to_string()
                    };
                    format!("{}={}", encode(name), encode(value))
                })
                .collect();
            url = format!("{url}?{}", pairs.join("&"));
        }
        let mut reply = Reply::bytes(
            "text/plain",
            format!("This resource has been moved permanently to {url}").into_bytes(),
        )
        .header("Location", url);
        reply.status = 301;
        Failure(Box::new(reply))
    }

    pub(crate) fn project_id(&self) -> u64 {
        self.project.unwrap_or(0)
    }

    pub(crate) fn group_id(&self) -> u64 {
        self.group.unwrap_or(0)
    }

    /// The project of the path, out of a state that is already locked.
    pub(crate) fn project_in<'a>(&self, state: &'a State) -> Result<&'a Project, Failure> {
        state.projects.get(&self.project_id()).ok_or_else(|| Failure::not_found("Project"))
    }

    pub(crate) fn project_mut<'a>(&self, state: &'a mut State) -> Result<&'a mut Project, Failure> {
        state.projects.get_mut(&self.project_id()).ok_or_else(|| Failure::not_found("Project"))
    }

    pub(crate) fn repo(&self) -> Result<Arc<Repo>, Failure> {
        self.inner.repo(self.project_id())
    }

    /// The caller's level on the project: membership, or 0 for the public.
    pub(crate) fn level(&self) -> u32 {
        let state = self.state();
        let Some(project) = state.projects.get(&self.project_id()) else { return 0 };
        self.level_on(&state, project)
    }

    pub(crate) fn level_on(&self, state: &State, project: &Project) -> u32 {
        match self.user_id() {
            Some(user) if state.is_admin(user) => 60,
            Some(user) => state.project_level(project, user, &self.inner.today()),
            None => 0,
        }
    }

    /// Reading of code: everyone who sees a project that is not private, reporters and above elsewhere.
    pub(crate) fn may_read_code(&self) -> Result<(), Failure> {
        let state = self.state();
        let project = self.project_in(&state)?;
        let private = project.visibility == super::types::Visibility::Private;
        if private && self.level_on(&state, project) < 20 { Err(Failure::forbidden()) } else { Ok(()) }
    }

    /// A write that needs a role, on a project that is not archived.
    pub(crate) fn may_write(&self, level: u32) -> Result<u64, Failure> {
        let user = self.user()?;
        let state = self.state();
        let project = self.project_in(&state)?;
        if project.archived || self.level_on(&state, project) < level {
            return Err(Failure::forbidden());
        }
        Ok(user)
    }

    /// A reading that needs a role.
    pub(crate) fn needs(&self, level: u32) -> Result<(), Failure> {
        if self.level() < level { Err(Failure::forbidden()) } else { Ok(()) }
    }

    /// Pushing to a branch, by whatever way.
    pub(crate) fn may_push(&self, branch: &str) -> Result<u64, Failure> {
        let user = self.user()?;
        let state = self.state();
        let project = self.project_in(&state)?;
        let level = self.level_on(&state, project);
        if project.archived || level < 30 || level < state.push_level(project, branch) {
            return Err(Failure::forbidden_because("You are not allowed to push into this branch"));
        }
        Ok(user)
    }
}
