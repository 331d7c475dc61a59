//! What every provider must do, as cases that run against any [`Scm`](scm_core::Scm).
//!
//! A case is one async function that needs nothing but a [`Ctx`]: the provider under test, and a [`Fixture`] that makes
//! what the case needs on the server (a repository, a token of a kind, a CI state). The same cases run against
//! simulators and live servers; what a fixture cannot offer is [`Stop::Unavailable`] with a reason, and the case is
//! skipped.
//!
//! A case that needs a capability names it. Where the provider's [`Capabilities`](scm_core::Capabilities) say no, the
//! case runs its other half: the call must answer `Unsupported` with a reason and change nothing. Provider differences
//! are that declared data and nothing else.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use scm_core::Scm;
//! # use scm_testkit::conformance::{Fixture, RunOptions, run};
//! # async fn example(scm: Arc<dyn Scm>, fixture: Arc<dyn Fixture>) {
//! let report = run(scm, fixture, &RunOptions::new().allowing_skip("git_access.", "git is not installed here")).await;
//! assert!(report.is_ok(), "{report}");
//! # }
//! ```

#![allow(
    clippy::missing_errors_doc,
    reason = "the error of a case is always its finding, or what it could not get"
)]

mod bitbucket_dc;
pub mod branches;
pub mod calls;
mod case;
pub mod checks;
pub mod ci_logs;
pub mod comments;
pub mod commit_creation;
pub mod commits;
pub mod connection;
pub mod contents;
#[cfg(test)]
mod coverage;
mod fixture;
pub mod git_access;
mod gitlab;
pub mod merging;
pub mod pull_requests;
pub mod repositories;
mod run;
mod support;
pub mod tokens;
pub mod webhooks;

pub use bitbucket_dc::BitbucketDcFixture;
pub use case::{Case, Ctx, Need, Outcome, Result, Stop};
pub use fixture::{Access, Fixture, JobSpec, PipelineRun, Repo, RepoSpec, TokenSpec, Validity};
pub use gitlab::GitLabFixture;
pub use run::{CaseReport, Report, RunOptions, run};

/// Every case there is, trait by trait.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [
        connection::CASES,
        repositories::CASES,
        contents::CASES,
        branches::CASES,
        commits::CASES,
        commit_creation::CASES,
        pull_requests::CASES,
        merging::CASES,
        comments::CASES,
        checks::CASES,
        ci_logs::CASES,
        webhooks::CASES,
        tokens::CASES,
        git_access::CASES,
        calls::CASES,
    ]
    .into_iter()
    .flatten()
}
