//! What the simulated instance knows, and the rules that need nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::Value;

use super::{ci::PipelineScript, merge_requests::MergeRequest, types::Visibility};

/// Above every level there is: a rule for nobody.
const NO_ONE: u32 = 99;

/// Everything but the git repositories.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) users: BTreeMap<u64, User>,
    pub(crate) usernames: HashMap<String, u64>,
    pub(crate) namespaces: BTreeMap<u64, Namespace>,
    /// Lower-case full path of groups and users' namespaces.
    pub(crate) namespace_paths: HashMap<String, u64>,
    pub(crate) projects: BTreeMap<u64, Project>,
    pub(crate) projects_in: HashMap<u64, BTreeSet<u64>>,
    pub(crate) project_paths: HashMap<String, u64>,
    /// Paths that projects had before they were moved.
    pub(crate) moved: HashMap<String, u64>,
    pub(crate) members: HashMap<Source, BTreeMap<u64, Member>>,
    pub(crate) tokens: BTreeMap<u64, Token>,
    pub(crate) secrets: HashMap<String, u64>,
    /// Ids of the tokens in the order they were announced.
    pub(crate) issued: Vec<u64>,
    /// Number of forks by project.
    pub(crate) forks: HashMap<u64, u64>,
    /// Projects in which tokens' users are reporters at most.
    pub(crate) read_only: BTreeSet<u64>,
    last: HashMap<&'static str, u64>,
}

/// Where a membership is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Group(u64),
    Project(u64),
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) level: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<String>,
}

#[derive(Debug)]
pub(crate) struct User {
    pub(crate) id: u64,
    pub(crate) username: String,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) blocked: bool,
    pub(crate) bot: bool,
    pub(crate) admin: bool,
    pub(crate) namespace_id: u64,
    pub(crate) created_at: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) full_path: String,
    pub(crate) parent_id: Option<u64>,
    /// The owner of a personal namespace; `None` for a group.
    pub(crate) user_id: Option<u64>,
    pub(crate) visibility: Visibility,
    pub(crate) description: String,
    /// Leaves the default branches of new projects unprotected.
    pub(crate) unprotected: bool,
    pub(crate) created_at: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) id: u64,
    pub(crate) secret: String,
    pub(crate) name: String,
    pub(crate) user_id: u64,
    pub(crate) kind: TokenHolder,
    pub(crate) scopes: Vec<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) last_used_at: Option<Timestamp>,
    /// `YYYY-MM-DD`; the token is dead from the first moment of that day.
    pub(crate) expires_at: Option<String>,
    pub(crate) revoked: bool,
    pub(crate) level: Option<u32>,
    /// Tokens that came from one another by rotation share it.
    pub(crate) family: u64,
    pub(crate) rotated: bool,
    pub(crate) description: Option<String>,
}

/// Whose token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenHolder {
    Person,
    ServiceAccount,
    Group(u64),
    Project(u64),
}

#[derive(Debug, Clone)]
pub(crate) struct ProtectedBranch {
    pub(crate) id: u64,
    /// May hold `*`.
    pub(crate) pattern: String,
    pub(crate) push_level: u32,
    pub(crate) merge_level: u32,
    pub(crate) allow_force_push: bool,
    pub(crate) code_owner_approval_required: bool,
}

#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) namespace_id: u64,
    pub(crate) creator_id: u64,
    pub(crate) description: Option<String>,
    pub(crate) visibility: Visibility,
    pub(crate) default_branch: String,
    /// No branch yet; `default_branch` is then null for callers.
    pub(crate) empty: bool,
    pub(crate) archived: bool,
    pub(crate) topics: Vec<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) last_activity_at: Timestamp,
    pub(crate) forked_from: Option<u64>,
    pub(crate) settings: ProjectSettings,
    pub(crate) protected: Vec<ProtectedBranch>,
    pub(crate) script: Option<PipelineScript>,
    pub(crate) merge_requests: BTreeMap<u64, MergeRequest>,
    pub(crate) pipelines: BTreeMap<u64, super::ci::Pipeline>,
    pub(crate) jobs: BTreeMap<u64, super::ci::Job>,
    pub(crate) statuses: BTreeMap<u64, super::ci::Status>,
    pub(crate) hooks: BTreeMap<u64, Value>,
    pub(crate) last_mr_iid: u64,
    pub(crate) last_pipeline_iid: u64,
}

/// Settings of a project that decide whether and how merge requests can be merged.
#[derive(Debug, Clone)]
pub(crate) struct ProjectSettings {
    pub(crate) merge_method: String,
    pub(crate) squash_option: String,
    pub(crate) pipeline_must_succeed: bool,
    pub(crate) discussions_must_be_resolved: bool,
    pub(crate) remove_source_branch: bool,
    pub(crate) approvals_required: u32,
    /// How many reads of a merge request still say `checking` after a change.
    pub(crate) mergeability_reads: u32,
    /// How many reads of a merge request show a rebase as going on.
    pub(crate) rebase_reads: u32,
}

impl Default for ProjectSettings {
    fn default() -> Self {
        Self {
            merge_method: "merge".to_owned(),
            squash_option: "default_off".to_owned(),
            pipeline_must_succeed: false,
            discussions_must_be_resolved: false,
            remove_source_branch: true,
            approvals_required: 0,
            mergeability_reads: 0,
            rebase_reads: 1,
        }
    }
}

impl State {
    /// The next number of a kind; ids of different kinds are independent, as in a database.
    pub(crate) fn next_id(&mut self, kind: &'static str) -> u64 {
        let last = self.last.entry(kind).or_insert(0);
        *last += 1;
        *last
    }

    pub(crate) fn user_named(&self, username: &str) -> Option<&User> {
        self.usernames.get(&username.to_lowercase()).and_then(|id| self.users.get(id))
    }

    pub(crate) fn namespace_at(&self, full_path: &str) -> Option<&Namespace> {
        self.namespace_paths.get(&full_path.to_lowercase()).and_then(|id| self.namespaces.get(id))
    }

    pub(crate) fn project_at(&self, full_path: &str) -> Option<&Project> {
        self.project_paths.get(&full_path.to_lowercase()).and_then(|id| self.projects.get(id))
    }

    pub(crate) fn full_path(&self, project: &Project) -> String {
        let namespace =
            self.namespaces.get(&project.namespace_id).map_or("", |space| space.full_path.as_str());
        format!("{namespace}/{}", project.path)
    }

    /// A namespace and all above it, nearest first.
    pub(crate) fn ancestry(&self, namespace_id: u64) -> Vec<&Namespace> {
        let mut chain = Vec::new();
        let mut next = Some(namespace_id);
        while let Some(space) = next.and_then(|id| self.namespaces.get(&id)) {
            next = space.parent_id;
            chain.push(space);
        }
        chain
    }

    fn membership(&self, source: Source, user_id: u64, today: &str) -> Option<&Member> {
        self.members
            .get(&source)
            .and_then(|members| members.get(&user_id))
            .filter(|member| member.expires_at.as_deref().is_none_or(|date| date > today))
    }

    pub(crate) fn direct_level(&self, source: Source, user_id: u64, today: &str) -> Option<u32> {
        self.membership(source, user_id, today).map(|member| member.level)
    }

    /// Highest level from the groups above a namespace, or from owning it.
    pub(crate) fn namespace_level(&self, namespace_id: u64, user_id: u64, today: &str) -> u32 {
        self.ancestry(namespace_id)
            .iter()
            .map(|space| {
                if space.user_id == Some(user_id) {
                    50
                } else {
                    self.direct_level(Source::Group(space.id), user_id, today).unwrap_or(0)
                }
            })
            .max()
            .unwrap_or(0)
    }

    pub(crate) fn project_level(&self, project: &Project, user_id: u64, today: &str) -> u32 {
        let direct = self.direct_level(Source::Project(project.id), user_id, today).unwrap_or(0);
        direct.max(self.namespace_level(project.namespace_id, user_id, today))
    }

    pub(crate) fn is_admin(&self, user_id: u64) -> bool {
        self.users.get(&user_id).is_some_and(|user| user.admin)
    }

    /// Whether a caller may know that a project exists.
    pub(crate) fn can_see(&self, project: &Project, user_id: Option<u64>, today: &str) -> bool {
        match (project.visibility, user_id) {
            (Visibility::Public, _) | (Visibility::Internal, Some(_)) => true,
            (_, None) => false,
            (Visibility::Private, Some(user)) => {
                self.is_admin(user) || self.project_level(project, user, today) > 0
            }
        }
    }

    /// Whether a caller may know that a group exists: by its visibility, or by a membership in it, above or below it.
    pub(crate) fn can_see_group(&self, group: &Namespace, user_id: Option<u64>, today: &str) -> bool {
        let Some(user) = user_id else { return group.visibility == Visibility::Public };
        if group.visibility != Visibility::Private
            || self.is_admin(user)
            || self.namespace_level(group.id, user, today) > 0
        {
            return true;
        }
        self.descendants(group.id).iter().chain([&group.id]).any(|id| {
            self.direct_level(Source::Group(*id), user, today).is_some()
                || self.projects_in.get(id).is_some_and(|projects| {
                    projects
                        .iter()
                        .any(|project| self.direct_level(Source::Project(*project), user, today).is_some())
                })
        })
    }

    /// Groups below a group, at any depth, in the order of their ids.
    pub(crate) fn descendants(&self, group_id: u64) -> Vec<u64> {
        self.namespaces
            .values()
            .filter(|space| {
                space.id != group_id && self.ancestry(space.id).iter().any(|above| above.id == group_id)
            })
            .map(|space| space.id)
            .collect()
    }

    /// The strictest rules that apply to a branch: levels for pushing and merging, `None` when it is not protected.
    pub(crate) fn protection<'a>(&self, project: &'a Project, branch: &str) -> Option<&'a ProtectedBranch> {
        project.protected.iter().find(|rule| wildcard(&rule.pattern, branch))
    }

    pub(crate) fn push_level(&self, project: &Project, branch: &str) -> u32 {
        self.protection(project, branch)
            .map_or(30, |rule| if rule.push_level == 0 { NO_ONE } else { rule.push_level })
    }

    pub(crate) fn merge_level(&self, project: &Project, branch: &str) -> u32 {
        self.protection(project, branch)
            .map_or(30, |rule| if rule.merge_level == 0 { NO_ONE } else { rule.merge_level })
    }

    pub(crate) fn touch(&mut self, project_id: u64, now: Timestamp) {
        if let Some(project) = self.projects.get_mut(&project_id) {
            project.last_activity_at = now;
            project.updated_at = now;
        }
    }

    pub(crate) fn add_member(&mut self, source: Source, user_id: u64, level: u32, now: Timestamp) {
        let member = Member { level, created_at: now, expires_at: None };
        self.members.entry(source).or_default().insert(user_id, member);
    }
}

impl Token {
    pub(crate) fn expired(&self, today: &str) -> bool {
        self.expires_at.as_deref().is_some_and(|date| date <= today)
    }

    pub(crate) fn active(&self, today: &str) -> bool {
        !self.revoked && !self.expired(today)
    }
}

/// Whether a name matches a pattern in which `*` stands for any text.
pub(crate) fn wildcard(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|tail| {
            (0..=tail.len()).filter(|at| tail.is_char_boundary(*at)).any(|at| wildcard(rest, &tail[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::wildcard;

    #[test]
    fn stars_match_any_text() {
        for (pattern, name, fits) in [
            ("main", "main", true),
            ("main", "main2", false),
            ("release/*", "release/1/2", true),
            ("*-stable", "1-stable", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXc", false),
        ] {
            assert_eq!(wildcard(pattern, name), fits, "{pattern} {name}");
        }
    }
}
