use serde::Serialize;

/// Role of a member of a group or project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Role {
    /// Sees issues of private projects, no code.
    Guest,
    /// Reads code, writes nothing.
    Reporter,
    /// Pushes to unprotected branches and opens merge requests.
    Developer,
    /// Pushes to protected branches, manages hooks and members.
    Maintainer,
    /// Everything.
    Owner,
}

impl Role {
    pub(crate) fn level(self) -> u32 {
        match self {
            Self::Guest => 10,
            Self::Reporter => 20,
            Self::Developer => 30,
            Self::Maintainer => 40,
            Self::Owner => 50,
        }
    }

    /// The role of this name, in lower case as tokens are announced.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Guest, Self::Reporter, Self::Developer, Self::Maintainer, Self::Owner]
            .into_iter()
            .find(|role| role.name() == name)
    }

    /// Lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Reporter => "reporter",
            Self::Developer => "developer",
            Self::Maintainer => "maintainer",
            Self::Owner => "owner",
        }
    }
}

/// Who may see a group or project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Visibility {
    /// Members only.
    #[default]
    Private,
    /// Everyone who is signed in.
    Internal,
    /// Everyone.
    Public,
}

impl Visibility {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Internal => "internal",
            Self::Public => "public",
        }
    }

    pub(crate) fn from_name(name: &str) -> Self {
        match name {
            "public" => Self::Public,
            "internal" => Self::Internal,
            _ => Self::Private,
        }
    }
}

/// Whose a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenKind {
    /// A person's.
    Personal,
    /// A group's bot.
    Group,
    /// A project's bot.
    Project,
    /// A service account's.
    ServiceAccount,
}

impl TokenKind {
    /// The name used on the command line and in announcements.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Personal => "personal",
            Self::Group => "group",
            Self::Project => "project",
            Self::ServiceAccount => "service_account",
        }
    }
}

/// A token to be issued.
#[derive(Debug, Clone)]
pub struct TokenSpec {
    pub(crate) kind: TokenKind,
    pub(crate) user: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) expires_at: Option<String>,
    pub(crate) revoked: bool,
    pub(crate) place: Option<String>,
    pub(crate) role: Option<Role>,
    pub(crate) secret: Option<String>,
    /// Given by the command line or the builder: the role holds for every repository.
    pub(crate) everywhere: bool,
}

impl TokenSpec {
    /// A token for a user, who is made when it does not exist. Without scopes it has `api`.
    #[must_use]
    pub fn new(kind: TokenKind, user: impl Into<String>) -> Self {
        Self {
            kind,
            user: user.into(),
            scopes: vec!["api".to_owned()],
            expires_at: None,
            revoked: false,
            place: None,
            role: None,
            secret: None,
            everywhere: true,
        }
    }

    /// Replaces the scopes.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Day of expiry as `YYYY-MM-DD`, which may lie in the past.
    #[must_use]
    pub fn expires_at(mut self, date: impl Into<String>) -> Self {
        self.expires_at = Some(date.into());
        self
    }

    /// Issued and then revoked.
    #[must_use]
    pub fn revoked(mut self) -> Self {
        self.revoked = true;
        self
    }

    /// The group or project the token is made on, by full path. The bot becomes a member there with the role.
    #[must_use]
    pub fn on(mut self, full_path: impl Into<String>) -> Self {
        self.place = Some(full_path.into());
        self
    }

    /// Makes the user a member with this role: where the token was made when [`on`](Self::on) says so, else of every
    /// repository there is when the simulator starts. Without a role the user is a member of nothing new.
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

    /// Reads `kind:user:scopes[:expires[:role]]`, scopes joined by `+`, such as
    /// `group:bot:api+read_repository:2027-01-01:developer`. The expiry may be empty; the role `none` (or no role at
    /// all) makes the user a member of nothing.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let (kind, user, scopes, rest) = match parts[..] {
            [kind, user, scopes, ref rest @ ..] if !user.is_empty() && rest.len() <= 2 => {
                (kind, user, scopes, rest)
            }
            _ => return Err(format!("`{text}` is not kind:user:scopes[:expires[:role]]")),
        };
        let kind = match kind {
            "personal" => TokenKind::Personal,
            "group" => TokenKind::Group,
            "project" => TokenKind::Project,
            "service_account" | "service-account" => TokenKind::ServiceAccount,
            other => return Err(format!("`{other}` is not personal, group, project or service_account")),
        };
        let mut spec = Self::new(kind, user).scopes(scopes.split('+').filter(|scope| !scope.is_empty()));
        if let Some(date) = rest.first().filter(|date| !date.is_empty()) {
            if date.parse::<jiff::civil::Date>().is_err() {
                return Err(format!("`{date}` is not a date such as 2027-01-01"));
            }
            spec = spec.expires_at(*date);
        }
        match rest.get(1) {
            None | Some(&"none" | &"") => {}
            Some(name) => {
                let role = Role::from_name(name).ok_or_else(|| {
                    format!("`{name}` is not guest, reporter, developer, maintainer, owner or none")
                })?;
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
    /// User name of its owner; bots get names as the server gives them.
    pub user: String,
    /// `personal`, `group`, `project` or `service_account`.
    pub kind: &'static str,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Day of expiry as `YYYY-MM-DD`.
    pub expires_at: Option<String>,
    /// Role it was given, or `none`.
    pub role: String,
    /// Number of the token, by which it can be rotated.
    #[serde(skip)]
    pub id: u64,
}

/// A project to be made.
#[derive(Debug, Clone, Default)]
pub struct ProjectSpec {
    pub(crate) visibility: Visibility,
    pub(crate) archived: bool,
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) empty: bool,
    pub(crate) default_branch: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) protected: Protection,
}

/// How the default branch of a new project is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Protection {
    /// Maintainers push and merge: the product's default.
    #[default]
    Full,
    /// Maintainers push, developers may merge.
    DevelopersCanMerge,
    /// Developers push and merge.
    DevelopersCanPush,
    /// Not protected.
    None,
}

impl ProjectSpec {
    /// A private project with a README.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Who may see it.
    #[must_use]
    pub fn visibility(mut self, visibility: Visibility) -> Self {
        self.visibility = visibility;
        self
    }

    /// Archived projects refuse every write.
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

    /// Protection of the default branch.
    #[must_use]
    pub fn protection(mut self, protection: Protection) -> Self {
        self.protected = protection;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_specs_are_read_or_explained() {
        let spec = TokenSpec::parse("group:bot:api+read_repository:2027-01-01:developer").unwrap();
        assert_eq!((spec.kind, spec.role), (TokenKind::Group, Some(Role::Developer)));
        assert_eq!(spec.scopes, ["api", "read_repository"]);
        assert_eq!(spec.expires_at.as_deref(), Some("2027-01-01"));
        assert_eq!(TokenSpec::parse("personal:ann:api::none").unwrap().role, None);
        for wrong in
            ["x", "robot:a:api", "personal:a:api:tomorrow", "personal:a:api::king", "personal:a:b:c:d:e"]
        {
            assert!(TokenSpec::parse(wrong).is_err(), "{wrong}");
        }
    }
}
