//! What the simulated server knows, and the rules that need nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    builds::Build,
    insights::Report,
    pull_requests::PullRequest,
    restrictions::Restriction,
    reviewers::Condition,
    settings::PullRequestSettings,
    types::{BuildScript, Permission},
};

/// Everything but the git repositories.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) users: BTreeMap<u64, User>,
    /// By name in lower case.
    pub(crate) user_names: HashMap<String, u64>,
    pub(crate) projects: BTreeMap<u64, Project>,
    pub(crate) project_keys: HashMap<String, u64>,
    pub(crate) repos: BTreeMap<u64, Repository>,
    /// By project and slug.
    pub(crate) slugs: HashMap<(u64, String), u64>,
    pub(crate) repos_in: HashMap<u64, BTreeSet<u64>>,
    /// Places that repositories had before they were moved or renamed.
    pub(crate) moved: HashMap<(u64, String), u64>,
    pub(crate) tokens: BTreeMap<u64, Token>,
    pub(crate) secrets: HashMap<String, u64>,
    /// Ids of the tokens in the order they were announced.
    pub(crate) issued: Vec<u64>,
    /// Builds by commit; the older resource does not know repositories.
    pub(crate) builds: HashMap<String, Vec<Build>>,
    /// Repositories in which tokens' users may read at most.
    pub(crate) read_only: BTreeSet<u64>,
    last: HashMap<&'static str, u64>,
}

#[derive(Debug)]
pub(crate) struct User {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) slug: String,
    pub(crate) display_name: String,
    pub(crate) email: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) active: bool,
    /// Stands behind a token of a project or repository.
    pub(crate) service: bool,
    pub(crate) admin: bool,
    /// Wrong passwords since the last right one.
    pub(crate) failures: u32,
    pub(crate) locked: bool,
    /// Repositories lately visited, newest first.
    pub(crate) recent: Vec<u64>,
}

#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) id: u64,
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) public: bool,
    /// The owner of a personal project.
    pub(crate) owner: Option<u64>,
    pub(crate) members: BTreeMap<u64, u8>,
    /// What everyone who is signed in may do.
    pub(crate) default_level: u8,
    pub(crate) restrictions: BTreeMap<u64, Restriction>,
    pub(crate) conditions: BTreeMap<u64, Condition>,
    pub(crate) hooks: BTreeMap<u64, Value>,
}

#[derive(Debug)]
pub(crate) struct Repository {
    pub(crate) id: u64,
    pub(crate) project_id: u64,
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    /// Shared by a repository and all its forks.
    pub(crate) hierarchy: String,
    pub(crate) public: bool,
    pub(crate) forkable: bool,
    pub(crate) archived: bool,
    pub(crate) origin: Option<u64>,
    pub(crate) default_branch: String,
    /// No branch yet.
    pub(crate) empty: bool,
    pub(crate) members: BTreeMap<u64, u8>,
    pub(crate) restrictions: BTreeMap<u64, Restriction>,
    pub(crate) conditions: BTreeMap<u64, Condition>,
    pub(crate) hooks: BTreeMap<u64, Value>,
    pub(crate) settings: PullRequestSettings,
    pub(crate) pull_requests: BTreeMap<u64, PullRequest>,
    pub(crate) last_pull_request: u64,
    pub(crate) script: Vec<BuildScript>,
    /// By commit and key.
    pub(crate) reports: BTreeMap<(String, String), Report>,
}

#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) id: u64,
    pub(crate) secret: String,
    pub(crate) name: String,
    pub(crate) user_id: u64,
    pub(crate) holder: TokenHolder,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) created_at: Timestamp,
    pub(crate) last_used_at: Option<Timestamp>,
    /// `YYYY-MM-DD`; the token is dead from the first moment of that day.
    pub(crate) expires_at: Option<String>,
    pub(crate) role: &'static str,
}

impl Token {
    pub(crate) fn active(&self, today: &str) -> bool {
        self.expires_at.as_deref().is_none_or(|date| date > today)
    }
}

/// Whose token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenHolder {
    User(u64),
    Project(u64),
    Repository(u64),
}

impl State {
    /// The next number of a kind; ids of different kinds are independent, as in a database.
    pub(crate) fn next_id(&mut self, kind: &'static str) -> u64 {
        let last = self.last.entry(kind).or_insert(0);
        *last += 1;
        *last
    }

    pub(crate) fn user_named(&self, name: &str) -> Option<&User> {
        self.user_names.get(&name.to_lowercase()).and_then(|id| self.users.get(id))
    }

    pub(crate) fn user_by_slug(&self, slug: &str) -> Option<&User> {
        self.users.values().find(|user| user.slug == slug)
    }

    pub(crate) fn project_at(&self, key: &str) -> Option<&Project> {
        self.project_keys.get(key).and_then(|id| self.projects.get(id))
    }

    pub(crate) fn repo_at(&self, key: &str, slug: &str) -> Option<&Repository> {
        let place = (self.project_at(key)?.id, slug.to_lowercase());
        self.slugs.get(&place).or_else(|| self.moved.get(&place)).and_then(|id| self.repos.get(id))
    }

    /// By `KEY/slug`.
    pub(crate) fn repo_named(&self, name: &str) -> Option<&Repository> {
        let (key, slug) = name.split_once('/')?;
        self.repo_at(key, slug)
    }

    pub(crate) fn repos_of(&self, project_id: u64) -> impl Iterator<Item = &Repository> {
        self.repos_in.get(&project_id).into_iter().flatten().filter_map(|id| self.repos.get(id))
    }

    pub(crate) fn key_of(&self, repo: &Repository) -> &str {
        self.projects.get(&repo.project_id).map_or("", |project| project.key.as_str())
    }

    /// `KEY/slug`.
    pub(crate) fn full_name(&self, repo: &Repository) -> String {
        format!("{}/{}", self.key_of(repo), repo.slug)
    }

    pub(crate) fn is_public(&self, repo: &Repository) -> bool {
        repo.public || self.projects.get(&repo.project_id).is_some_and(|project| project.public)
    }

    pub(crate) fn project_level(&self, project_id: u64, user_id: u64) -> u8 {
        let admin = self.users.get(&user_id).is_some_and(|user| user.admin);
        let Some(project) = self.projects.get(&project_id) else { return 0 };
        if admin || project.owner == Some(user_id) {
            return 3;
        }
        project.members.get(&user_id).copied().unwrap_or(0).max(project.default_level)
    }

    pub(crate) fn repo_level(&self, repo: &Repository, user_id: u64) -> u8 {
        let direct = repo.members.get(&user_id).copied().unwrap_or(0);
        direct.max(self.project_level(repo.project_id, user_id))
    }
}

/// Whether a name matches a pattern as the product reads them: `?` is one character, `*` any text without a slash,
/// `**` any text.
pub(crate) fn ant_match(pattern: &str, name: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix("**") {
        let rest = rest.strip_prefix('/').filter(|_| pattern.len() > 3).unwrap_or(rest);
        return ends(name).any(|tail| ant_match(rest, tail));
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        return ends(name)
            .take_while(|tail| !name[..name.len() - tail.len()].contains('/'))
            .any(|tail| ant_match(rest, tail));
    }
    match (pattern.chars().next(), name.chars().next()) {
        (None, None) => true,
        (Some(wanted), Some(found)) if wanted == found || (wanted == '?' && found != '/') => {
            ant_match(&pattern[wanted.len_utf8()..], &name[found.len_utf8()..])
        }
        _ => false,
    }
}

fn ends(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().map(|(at, _)| &text[at..]).chain([""])
}

#[cfg(test)]
mod tests {
    use super::ant_match;

    #[test]
    fn patterns_know_one_star_from_two() {
        for (pattern, name, fits) in [
            ("main", "main", true),
            ("main", "main2", false),
            ("release/*", "release/1", true),
            ("release/*", "release/1/2", false),
            ("release/**", "release/1/2", true),
            ("**/fix", "a/b/fix", true),
            ("*-stable", "1-stable", true),
            ("v?", "v1", true),
            ("v?", "v/", false),
        ] {
            assert_eq!(ant_match(pattern, name), fits, "{pattern} {name}");
        }
    }
}
