//! The check ladder for GitLab: what is particular to it.

use async_trait::async_trait;
use http::Method;
use scm_core::check::{Ladder, RoleWords, Words};
use scm_core::pipeline::{ApiRequest, ApiResponse, Pipeline};
use scm_core::{
    Code, Error, ErrorKind, Outcome, Purpose, Repositories as _, Repository, RungReport, Scm, Version,
};

use crate::client::{GitLab, api};
use crate::wire::WireVersion;

const NEW_TOKEN: &str = "Make a new token (group settings, Access tokens, or a service account's) with the scope api and at \
                         least the role Developer, and put it into `token`; its secret is shown only once.";

static WORDS: Words = Words {
    product: "GitLab",
    api: "/api/v4",
    root: "https://host/gitlab",
    pages: "project or group",
    oldest: Version::new(16, 8, 0),
    too_old: Outcome::Failed,
    new_token: NEW_TOKEN,
    personal: "the token belongs to a person",
    rather: "It works, but stops when that person leaves or changes roles. Rather use a service account or a group access \
             token.",
    unknown_scope: "Make sure that it has the scope api, which allows everything, git included.",
    no_repository: "Add the token's user to the projects or their group as Developer. A group access token must be made on \
                    the group: one made on a project sees only that project.",
    no_namespace: "Check the path of the group, and that the token's user is a member of it.",
    not_visible: "and that the token's user is a member of that project or of its group; GitLab answers the same for both.",
    role_place: "or on its group",
    reading: RoleWords {
        name: "Reporter",
        term: "the role Reporter",
        holds: "is Reporter",
        grant: "Give the token's user at least the role Reporter on the projects or on their group.",
    },
    writing: RoleWords {
        name: "Developer",
        term: "the role Developer",
        holds: "is Developer",
        grant: "Give the token's user at least the role Developer on the projects or on their group.",
    },
};

#[derive(Debug)]
pub(crate) struct Steps<'a>(pub(crate) &'a GitLab);

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
        api(Method::GET, &["version"])
    }

    fn is_api(&self, answer: &ApiResponse) -> bool {
        answer.json::<WireVersion>().is_ok()
    }

    fn refusal(&self, error: &Error) -> (Code, String) {
        let text = error.message().to_ascii_lowercase();
        let (code, remedy) = if text.contains("expired") {
            (Code::AuthExpired, NEW_TOKEN)
        } else if text.contains("revoked") {
            (Code::AuthRevoked, NEW_TOKEN)
        } else if text.contains("blocked") || text.contains("deactivated") {
            (Code::AuthBlocked, "Ask an administrator to unblock the user, or use the token of another one.")
        } else if error.kind() == ErrorKind::Unauthenticated {
            (
                Code::AuthInvalid,
                "GitLab does not know the token in `token`: check that it was copied whole and belongs to this server. Else \
                 make a new one with the scope api, whose secret is shown only once.",
            )
        } else {
            (
                Code::AuthInvalid,
                "GitLab refuses the token before it looks at its rights: an address restriction, terms of use that nobody \
                 has accepted, or a ban after failed logins. Its answer says which.",
            )
        };
        (code, remedy.to_owned())
    }

    fn missing_scope(&self, scopes: &[String], purpose: Purpose) -> Option<(&'static str, &'static str)> {
        let has = |scope: &str| scopes.iter().any(|given| given == scope);
        // `api` allows everything, git included.
        if has("api") {
            return None;
        }
        match purpose {
            Purpose::Read if has("read_api") => None,
            Purpose::Read => Some((
                "listing repositories",
                "Make a token with the scope read_api (and read_repository for git), or api.",
            )),
            _ => Some((
                "making branches, commits and merge requests",
                "Make a token with the scope api; write_repository alone allows git, but no merge request.",
            )),
        }
    }

    /// A reverse proxy that decodes `%2F` breaks every call with a path in it.
    async fn repositories(&self, rung: RungReport, first: &Repository) -> RungReport {
        match self.0.repository(&first.path).await {
            Err(error) if error.kind() == ErrorKind::NotFound => rung.with_warning(
                Code::ProductSlashDecoded,
                format!("'{}' is found by its number but not by its path", first.path),
                "A reverse proxy before GitLab decodes %2F. On Apache set AllowEncodedSlashes NoDecode and ProxyPass … \
                 nocanon; on nginx pass the URI as it came.",
            ),
            _ => rung,
        }
    }
}
