//! The check ladder for Bitbucket: what is particular to it.

use async_trait::async_trait;
use http::Method;
use scm_core::check::{Ladder, RoleWords, Words, first};
use scm_core::pipeline::{ApiRequest, ApiResponse, Pipeline};
use scm_core::{
    Code, Error, ErrorKind, Identity, ListRepositories, NamespaceId, Outcome, Purpose, Repository, Result,
    Role, RungReport, Scm, TokenInfo, TokenKind, Version,
};

use crate::client::{BitbucketDc, MAX_PAGE, api};
use crate::convert;
use crate::error::CAPTCHA;
use crate::page::list_page;
use crate::wire::WireProperties;

static WORDS: Words = Words {
    product: "Bitbucket",
    api: "/rest/api",
    root: "https://host/bitbucket",
    pages: "project or repository",
    oldest: Version::new(8, 0, 0),
    too_old: Outcome::Warning,
    new_token: "Make a new HTTP access token with the permission Repository write and put it into `token`; its secret is \
                shown only once.",
    personal: "the token belongs to a user's account",
    rather: "If the account is a person's, the token stops when that person leaves or changes roles. Rather use an account \
             for this service alone, or an HTTP access token of the project.",
    unknown_scope: "Bitbucket tells nobody what a token may do. Look under HTTP access tokens that it has the permission \
                    Repository write, or Repository read where nothing is to be changed.",
    no_repository: "Give the token's user the permission Write on the repositories (Repository settings, Repository \
                    permissions) or on their project (Project settings, Project permissions). The HTTP access token of a \
                    project or repository sees that one only.",
    no_namespace: "Check the key in `project_key`: it stands behind /projects/ in the project's address, in upper case as a rule, or \
                   as ~name for a personal project. If it is right, give the token's user the permission Write on the \
                   project; Bitbucket answers the same for both.",
    not_visible: "which is project key and slug as in its address, and that the token's user may read that repository or its \
                  project; Bitbucket answers the same for both.",
    role_place: "or on its project, and the token itself the permission Repository write",
    reading: RoleWords {
        name: "Read",
        term: "the permission Read",
        holds: "has the permission Read",
        grant: "Give the token's user the permission Read on the repositories or on their project.",
    },
    writing: RoleWords {
        name: "Write",
        term: "the permission Write",
        holds: "has the permission Write",
        grant: "Give the token's user the permission Write on the repositories (Repository settings, Repository permissions) \
                or on their project (Project settings, Project permissions), and the token itself the permission Repository \
                write.",
    },
};

#[derive(Debug)]
pub(crate) struct Steps<'a>(pub(crate) &'a BitbucketDc);

#[async_trait]
impl Ladder for Steps<'_> {
    fn scm(&self) -> &dyn Scm {
        self.0
    }

    fn pipeline(&self) -> &Pipeline {
        &self.0.pipeline
    }

    fn words(&self) -> &'static Words {
        &WORDS
    }

    fn probe(&self) -> ApiRequest {
        api(Method::GET, &["application-properties"])
    }

    fn is_api(&self, answer: &ApiResponse) -> bool {
        answer.json().is_ok_and(|wire: WireProperties| wire.is_bitbucket())
    }

    fn refusal(&self, error: &Error) -> (Code, String) {
        let (code, remedy) = if error.server_code() == Some(CAPTCHA) {
            (
                Code::AuthCaptcha,
                "Too many wrong passwords have locked the account. Stop whatever goes on trying, then log in once to \
                 Bitbucket in a browser as that user, which clears the CAPTCHA.",
            )
        } else if error.kind() == ErrorKind::Unauthenticated {
            (
                Code::AuthInvalid,
                "Bitbucket answers the same for a token that is wrong, expired or revoked and for that of a blocked user. \
                 Look under HTTP access tokens whether it is still there, and that it was copied whole into `token`; else \
                 make a new one, whose secret is shown only once.",
            )
        } else {
            (
                Code::AuthInvalid,
                "Bitbucket did not say whether it takes the token; its answer says why. Try again, and if it stays so, show \
                 the answer to its administrator.",
            )
        };
        (code, remedy.to_owned())
    }

    fn owner(&self, rung: RungReport, owner: &Identity, token: Option<&TokenInfo>) -> RungReport {
        let Some(wanted) = &self.0.username else { return rung };
        let real = &owner.username;
        // The tokens of projects and repositories have no user; the name they go by is made up.
        let has_user = token.is_none_or(|token| token.kind != Some(TokenKind::Project));
        if !has_user || wanted.as_str().to_lowercase() == real.as_str().to_lowercase() {
            return rung;
        }
        rung.with_failure(
            Code::AuthUsernameMismatch,
            format!("the token belongs to '{real}', not to '{wanted}'"),
            format!("Set `username = \"{real}\"`, or give a token that '{wanted}' has made."),
        )
    }

    fn missing_scope(&self, scopes: &[String], purpose: Purpose) -> Option<(&'static str, &'static str)> {
        let writes = |scope: &String| scope.ends_with("_WRITE") || scope.ends_with("_ADMIN");
        match purpose {
            Purpose::Read if !scopes.is_empty() => None,
            Purpose::Read => Some((
                "reading repositories",
                "Give the token the permission Repository read under HTTP access tokens.",
            )),
            _ if scopes.iter().any(writes) => None,
            _ => Some((
                "making branches and commits",
                "Give the token the permission Repository write under HTTP access tokens.",
            )),
        }
    }

    fn namespace(&self) -> Option<&NamespaceId> {
        self.0.project_key.as_ref()
    }

    /// A repository does not tell the role, so two listings are compared. They have the same order, so the first of those
    /// that can be written cover the first of those that can be read.
    async fn sample(&self, needed: Role, size: u16) -> Result<Vec<Repository>> {
        let mut found = first(self.0, ListRepositories::default(), size).await?;
        let mut writable = Vec::new();
        if needed > Role::Read && !found.is_empty() {
            writable = first(self.0, ListRepositories::default().with_min_role(needed), size).await?;
        }
        for repository in &mut found {
            let enough = writable.iter().any(|other| other.path == repository.path);
            repository.role = Some(if enough { needed } else { Role::Read });
        }
        Ok(found)
    }

    async fn role_in(&self, repository: &Repository) -> Result<Option<Role>> {
        let operation = self.0.operation("check");
        let mut at = None;
        loop {
            let request = api(Method::GET, &["repos"])
                .query_some("permission", convert::repository_permission(Role::Write))
                .query("name", &repository.name)
                .query_some("projectkey", repository.namespace.as_ref())
                .query("limit", MAX_PAGE);
            let page = list_page(&operation, request, at.as_ref(), convert::repository).await?;
            // Names may be alike, and servers may not know the filters.
            if page.items.iter().flatten().any(|found| found.path == repository.path) {
                return Ok(Some(Role::Write));
            }
            match page.next {
                Some(next) => at = Some(next),
                None => return Ok(Some(Role::Read)),
            }
        }
    }
}
