//! The simulators and what they share: an HTTP server whose connections can be broken, git behind subprocesses, a
//! clock that can be moved, and a record of every request.

pub mod bitbucket_dc;
mod cgi;
mod clock;
pub mod gitlab;
mod http;
mod multipart;
mod params;
mod receive;
mod record;
mod reply;
pub(crate) mod repo;

pub use cgi::GitFilters;
pub use clock::Clock;
pub use record::{RequestRecord, UnknownParameter};

/// Why a simulator could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// An address, a path or a directory could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The git program is missing or refused what was asked.
    #[error("git: {0}")]
    Git(String),
    /// An option does not make sense.
    #[error("{0}")]
    Config(String),
}

impl SimError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
