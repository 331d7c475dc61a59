//! What is particular to a product on the ladder. For providers.

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::code::{Code, Outcome};
use super::report::{Purpose, RungReport};
use crate::error::{Error, Result};
use crate::ext::RepositoriesExt as _;
use crate::id::NamespaceId;
use crate::model::{Identity, Repository, Role, TokenInfo, Version};
use crate::ops::ListRepositories;
use crate::pipeline::{ApiRequest, ApiResponse, Pipeline};
use crate::scm::Scm;

/// What is particular to a product on the ladder above the network.
#[async_trait]
pub trait Ladder: Send + Sync {
    /// The server to look at.
    fn scm(&self) -> &dyn Scm;

    /// How requests reach it.
    fn pipeline(&self) -> &Pipeline;

    /// How reports speak of the product.
    fn words(&self) -> &'static Words;

    /// A request that every version answers.
    fn probe(&self) -> ApiRequest;

    /// Is this the product's answer to the probe?
    fn is_api(&self, answer: &ApiResponse) -> bool;

    /// Why the server refuses the token, and what to do about it.
    fn refusal(&self, error: &Error) -> (Code, String);

    /// Looks at whose token it is, beyond what every product looks at.
    fn owner(&self, rung: RungReport, owner: &Identity, token: Option<&TokenInfo>) -> RungReport {
        let _ = (owner, token);
        rung
    }

    /// What none of these scopes allows although the purpose needs it, and what to do about it.
    fn missing_scope(&self, scopes: &[String], purpose: Purpose) -> Option<(&'static str, &'static str)>;

    /// The namespace that the connection is limited to.
    fn namespace(&self) -> Option<&NamespaceId> {
        None
    }

    /// The token's first repositories, with the role in each as far as it can be compared with the one needed.
    async fn sample(&self, needed: Role, size: u16) -> Result<Vec<Repository>> {
        let _ = needed;
        first(self.scm(), ListRepositories::default(), size).await
    }

    /// The role in a repository that was named.
    async fn role_in(&self, repository: &Repository) -> Result<Option<Role>> {
        Ok(repository.role)
    }

    /// Looks at what else can go wrong with repositories by one that the token can see.
    async fn repositories(&self, rung: RungReport, first: &Repository) -> RungReport {
        let _ = first;
        rung
    }
}

/// How reports speak of a product.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Its name, such as `GitLab`.
    pub product: &'static str,
    /// Where its API begins, such as `/api/v4`.
    pub api: &'static str,
    /// A root with a context path, such as `https://host/gitlab`.
    pub root: &'static str,
    /// The pages that are taken for the root, such as `project or group`.
    pub pages: &'static str,
    /// The oldest supported version.
    pub oldest: Version,
    /// How the rung ends below it: failed, or with a warning.
    pub too_old: Outcome,
    /// How a new token is made.
    pub new_token: &'static str,
    /// What is seen of a person's token.
    pub personal: &'static str,
    /// What to use in its place.
    pub rather: &'static str,
    /// What to look at where the server does not tell the token's scopes.
    pub unknown_scope: &'static str,
    /// What to do where the token sees no repository.
    pub no_repository: &'static str,
    /// What to do about a namespace that cannot be seen.
    pub no_namespace: &'static str,
    /// What to look at where a repository cannot be seen, after its name.
    pub not_visible: &'static str,
    /// Where the role in one repository is given, after its name, such as `or on its group`.
    pub role_place: &'static str,
    /// The role that reading takes.
    pub reading: RoleWords,
    /// The role that writing takes.
    pub writing: RoleWords,
}

/// How reports speak of a role.
#[derive(Clone, Copy, Debug)]
pub struct RoleWords {
    /// Its name, such as `Developer`.
    pub name: &'static str,
    /// What it is, such as `the role Developer`.
    pub term: &'static str,
    /// Having it, such as `is Developer`.
    pub holds: &'static str,
    /// What to do where the token's user has it nowhere.
    pub grant: &'static str,
}

/// The first repositories of a listing, across pages that are short or empty.
///
/// # Errors
/// Those of the listing, and of an item that cannot be read.
pub async fn first(scm: &dyn Scm, opts: ListRepositories, count: u16) -> Result<Vec<Repository>> {
    let listed = scm.repositories().list_repositories(opts.with_page_size(count));
    listed.take(count.into()).try_collect().await
}
