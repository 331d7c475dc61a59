//! Arranging state behind the API's back, as other people on a real server would.

mod actions;
mod places;
mod rules;

pub use rules::MergeRules;

use crate::sim::SimError;

use super::reply::Failure;

/// An endpoint's refusal as an error of the admin side.
fn refused(failure: &Failure) -> SimError {
    SimError::Config(format!("{:?}", failure.0.body))
}

fn unknown(what: &str, name: &str) -> SimError {
    SimError::Config(format!("no {what} `{name}`"))
}
