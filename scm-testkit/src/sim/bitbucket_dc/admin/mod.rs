//! Arranging state behind the API's back, as other people on a real server would.

mod actions;
mod places;
mod rules;
mod tokens;

pub use rules::MergeChecks;

use crate::sim::{SimError, repo::GitError};

use super::reply::Failure;

/// An endpoint's refusal as an error of the admin side.
fn refused(failure: &Failure) -> SimError {
    SimError::Config(format!("{:?}", failure.0.body))
}

fn unknown(what: &str, name: &str) -> SimError {
    SimError::Config(format!("no {what} `{name}`"))
}

fn git_error(error: GitError) -> SimError {
    SimError::Git(error.to_string())
}
