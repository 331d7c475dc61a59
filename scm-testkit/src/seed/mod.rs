//! Repositories to start with.

mod demo;
mod large;

use crate::sim::gitlab::PipelineScript;

pub use demo::demo;
pub use large::Large;

/// One repository of a seed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SeedRepository {
    /// Full path, such as `demo/web`.
    pub path: &'static str,
    /// One line about it.
    pub description: &'static str,
    /// Files of the first commit, by path.
    pub files: Vec<(&'static str, String)>,
    /// Whether it has no commit at all.
    pub empty: bool,
    /// Whether it is archived.
    pub archived: bool,
    /// The most a token's user may be there.
    pub read_only: bool,
    /// What happens on a push; `None` for no CI.
    pub pipeline: Option<PipelineScript>,
}

impl SeedRepository {
    /// The path without its first group, as one name: `platform-cli` of `demo/platform/cli`.
    pub(crate) fn name(&self) -> String {
        self.path.split_once('/').map_or(self.path, |(_, rest)| rest).replace('/', "-")
    }
}
