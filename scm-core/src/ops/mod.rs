//! One small trait per resource, each beside its options.
//!
//! A provider implements the general form of each operation; shortcuts and streams are in [`crate::ext`]. Every method
//! can fail with the kinds that the pipeline itself reports (`Connect`, `Tls`, `Proxy`, `Relay`, `Timeout`,
//! `RateLimited`, `Unavailable`, `Decode`, `Unauthenticated`, `PermissionDenied`, `Cancelled`); the `# Errors` sections
//! name what is particular to the method. Endpoints are given under `/api/v4` for GitLab and under `/rest/api/latest`
//! (or the module named) for Bitbucket Data Center.

mod branches;
mod checks;
mod ci_logs;
mod comments;
mod commits;
mod connection;
mod contents;
mod git_access;
mod pull_requests;
mod repositories;
mod tokens;
mod webhooks;

pub use branches::{Branches, DeleteBranch, ListBranches, ListTags, NewTag};
pub use checks::{CheckTarget, Checks, ListPipelines};
pub use ci_logs::{CiLogs, FollowLog, JobLog};
pub use comments::{Comments, ListComments};
pub use commits::{Commits, Compare, ListCommits};
pub use connection::Connection;
pub use contents::{Archive, ArchiveFormat, Contents, ListTree};
pub use git_access::GitAccess;
pub use pull_requests::{
    Align, AlignStrategy, Approve, ListPullRequests, MergePullRequest, MergeStrategy, MergeWhen,
    PullRequests, UpdatePullRequest,
};
pub use repositories::{ArchivedFilter, ListNamespaces, ListRepositories, Repositories};
pub use tokens::{RotateToken, SecretSink, Tokens};
pub use webhooks::Webhooks;
