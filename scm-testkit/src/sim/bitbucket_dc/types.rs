use serde::Serialize;

/// What a user may do in a project or repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Role {
    /// Reads code, opens and comments on pull requests.
    Read,
    /// Pushes and merges.
    Write,
    /// Everything: settings, hooks, permissions.
    Admin,
}

impl Role {
    pub(crate) fn level(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Admin => 3,
        }
    }

    /// The role of this name, in lower case as tokens are announced.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Read, Self::Write, Self::Admin].into_iter().find(|role| role.name() == name)
    }

    /// Lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// A permission as tokens carry it and as users are granted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Permission {
    /// `REPO_READ`.
    RepoRead,
    /// `REPO_WRITE`.
    RepoWrite,
    /// `REPO_ADMIN`.
    RepoAdmin,
    /// `PROJECT_READ`.
    ProjectRead,
    /// `PROJECT_WRITE`.
    ProjectWrite,
    /// `PROJECT_ADMIN`.
    ProjectAdmin,
}

impl Permission {
    const ALL: [Self; 6] = [
        Self::RepoRead,
        Self::RepoWrite,
        Self::RepoAdmin,
        Self::ProjectRead,
        Self::ProjectWrite,
        Self::ProjectAdmin,
    ];

    /// The permission of this name, in whatever case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.name().eq_ignore_ascii_case(name))
    }

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RepoRead => "REPO_READ",
            Self::RepoWrite => "REPO_WRITE",
            Self::RepoAdmin => "REPO_ADMIN",
            Self::ProjectRead => "PROJECT_READ",
            Self::ProjectWrite => "PROJECT_WRITE",
            Self::ProjectAdmin => "PROJECT_ADMIN",
        }
    }

    pub(crate) fn level(self) -> u8 {
        match self {
            Self::RepoRead | Self::ProjectRead => 1,
            Self::RepoWrite | Self::ProjectWrite => 2,
            Self::RepoAdmin | Self::ProjectAdmin => 3,
        }
    }

    pub(crate) fn of_project(self) -> bool {
        matches!(self, Self::ProjectRead | Self::ProjectWrite | Self::ProjectAdmin)
    }

    /// The permission of a level on repositories or on projects.
    pub(crate) fn at(level: u8, project: bool) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.level() == level && known.of_project() == project)
    }
}

/// Whose a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenKind {
    /// A user's: it may do what the user may, as far as its permissions go.
    User,
    /// A project's; there is no user behind it.
    Project,
    /// A repository's; there is no user behind it.
    Repository,
}

impl TokenKind {
    /// Lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Project => "project",
            Self::Repository => "repository",
        }
    }
}

/// An HTTP access token to be issued.
#[derive(Debug, Clone)]
pub struct TokenSpec {
    pub(crate) kind: TokenKind,
    /// Name of the user, or of the token where there is no user.
    pub(crate) user: String,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) expires_at: Option<String>,
    pub(crate) revoked: bool,
    pub(crate) place: Option<String>,
    pub(crate) role: Option<Role>,
    pub(crate) secret: Option<String>,
}

impl TokenSpec {
    /// A token for a user, who is made when it does not exist. It has every permission unless told otherwise.
    #[must_use]
    pub fn new(kind: TokenKind, user: impl Into<String>) -> Self {
        let permissions = match kind {
            TokenKind::User | TokenKind::Project => vec![Permission::ProjectAdmin, Permission::RepoAdmin],
            TokenKind::Repository => vec![Permission::RepoAdmin],
        };
        Self {
            kind,
            user: user.into(),
            permissions,
            expires_at: None,
            revoked: false,
            place: None,
            role: None,
            secret: None,
        }
    }

    /// Replaces the permissions.
    #[must_use]
    pub fn permissions(mut self, permissions: impl IntoIterator<Item = Permission>) -> Self {
        self.permissions = permissions.into_iter().collect();
        self
    }

    /// Day of expiry as `YYYY-MM-DD`, which may lie in the past.
    #[must_use]
    pub fn expires_at(mut self, date: impl Into<String>) -> Self {
        self.expires_at = Some(date.into());
        self
    }

    /// Issued and then deleted.
    #[must_use]
    pub fn revoked(mut self) -> Self {
        self.revoked = true;
        self
    }

    /// Where the role holds, and for tokens without a user where the token is made: `KEY` or `KEY/slug`.
    #[must_use]
    pub fn on(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// What the user may do: where [`on`](Self::on) says so, else in every repository there is. Without a role the
    /// user is granted nothing new.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }

    /// The secret itself, where a test wants to choose it.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Reads `kind:user:permissions[:expires[:role]]`, permissions joined by `+`, such as
    /// `user:ann:PROJECT_READ+REPO_WRITE:2027-01-01:write`. The expiry may be empty; the role `none` (or no role at
    /// all) grants the user nothing. For `project` and `repository` the second part is `KEY` or `KEY/slug`, where
    /// the token is made.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let (kind, user, permissions, rest) = match parts[..] {
            [kind, user, permissions, ref rest @ ..] if !user.is_empty() && rest.len() <= 2 => {
                (kind, user, permissions, rest)
            }
            _ => return Err(format!("`{text}` is not kind:user:permissions[:expires[:role]]")),
        };
        let kind = match kind {
            "user" | "personal" => TokenKind::User,
            "project" => TokenKind::Project,
            "repository" => TokenKind::Repository,
            other => return Err(format!("`{other}` is not user, project or repository")),
        };
        let permissions = permissions
            .split('+')
            .filter(|name| !name.is_empty())
            .map(|name| {
                Permission::from_name(name)
                    .ok_or_else(|| format!("`{name}` is not a permission such as REPO_WRITE or PROJECT_READ"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut spec = Self::new(kind, user).permissions(permissions);
        if kind != TokenKind::User {
            spec = spec.on(user);
        }
        if let Some(date) = rest.first().filter(|date| !date.is_empty()) {
            if date.parse::<jiff::civil::Date>().is_err() {
                return Err(format!("`{date}` is not a date such as 2027-01-01"));
            }
            spec = spec.expires_at(*date);
        }
        match rest.get(1) {
            None | Some(&"none" | &"") => {}
            Some(name) => {
                let role = Role::from_name(name)
                    .ok_or_else(|| format!("`{name}` is not read, write, admin or none"))?;
                spec = spec.role(role);
            }
        }
        Ok(spec)
    }
}

/// A token as it is announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IssuedToken {
    /// The secret.
    pub token: String,
    /// User name of its owner; tokens of projects and repositories have a made-up one.
    pub user: String,
    /// `user`, `project` or `repository`.
    pub kind: &'static str,
    /// Permissions.
    pub scopes: Vec<&'static str>,
    /// Day of expiry as `YYYY-MM-DD`.
    pub expires_at: Option<String>,
    /// Role it was given, or `none`.
    pub role: String,
    /// Number of the token, as its text tells it too.
    #[serde(skip)]
    pub id: u64,
}

/// A repository to be made.
#[derive(Debug, Clone, Default)]
pub struct RepositorySpec {
    pub(crate) name: Option<String>,
    pub(crate) public: bool,
    pub(crate) archived: bool,
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) empty: bool,
    pub(crate) default_branch: Option<String>,
    pub(crate) description: Option<String>,
}

impl RepositorySpec {
    /// A private repository with a README.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Name for people; the slug without it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Everyone may read it, without signing in.
    #[must_use]
    pub fn public(mut self) -> Self {
        self.public = true;
        self
    }

    /// Archived repositories refuse every write.
    #[must_use]
    pub fn archived(mut self) -> Self {
        self.archived = true;
        self
    }

    /// Adds a file to the first commit.
    #[must_use]
    pub fn file(mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    /// Adds files to the first commit.
    #[must_use]
    pub fn files<P: Into<String>, C: Into<Vec<u8>>>(
        mut self,
        files: impl IntoIterator<Item = (P, C)>,
    ) -> Self {
        self.files.extend(files.into_iter().map(|(path, content)| (path.into(), content.into())));
        self
    }

    /// No commit at all.
    #[must_use]
    pub fn empty(mut self) -> Self {
        self.empty = true;
        self
    }

    /// Name of the default branch; `main` without it.
    #[must_use]
    pub fn default_branch(mut self, name: impl Into<String>) -> Self {
        self.default_branch = Some(name.into());
        self
    }

    /// One line about it.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }
}

/// What `default-branch` answers for an empty repository: servers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum EmptyDefaultBranch {
    /// 404.
    #[default]
    NotFound,
    /// 204 without a body.
    NoContent,
    /// 200 with the branch that the first push is expected to make.
    Configured,
}

/// One build that a push sets off.
#[derive(Debug, Clone)]
pub struct BuildScript {
    pub(crate) key: String,
    pub(crate) state: String,
    pub(crate) reads: u32,
}

impl BuildScript {
    /// A build of this key and name that goes on until the commit's builds were read twice, then has `state`
    /// (`SUCCESSFUL`, `FAILED` ...).
    #[must_use]
    pub fn new(key: impl Into<String>, state: impl Into<String>) -> Self {
        Self { key: key.into(), state: state.into(), reads: 2 }
    }

    /// In its last state after the builds of the commit were read `n` times; 0 is at once.
    #[must_use]
    pub fn finish_after_reads(mut self, n: u32) -> Self {
        self.reads = n;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_specs_are_read_or_explained() {
        let spec = TokenSpec::parse("user:ann:PROJECT_READ+repo_write:2027-01-01:write").unwrap();
        assert_eq!((spec.kind, spec.role), (TokenKind::User, Some(Role::Write)));
        assert_eq!(spec.permissions, [Permission::ProjectRead, Permission::RepoWrite]);
        assert_eq!(spec.expires_at.as_deref(), Some("2027-01-01"));
        let spec = TokenSpec::parse("repository:DEMO/web:REPO_READ").unwrap();
        assert_eq!((spec.place.as_deref(), spec.role), (Some("DEMO/web"), None));
        for wrong in [
            "x",
            "robot:a:REPO_READ",
            "user:a:api",
            "user:a:REPO_READ:tomorrow",
            "user:a:REPO_READ::king",
            "user:a:b:c:d:e",
        ] {
            assert!(TokenSpec::parse(wrong).is_err(), "{wrong}");
        }
    }
}
