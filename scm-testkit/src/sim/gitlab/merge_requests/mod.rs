//! Merge requests.

mod api;
mod approvals;
mod create;
mod diffs;
mod list;
mod merge;
mod model;
mod rebase;

pub(crate) use api::ROUTES;
pub(crate) use create::{Draft, open};
pub(crate) use merge::{auto_merge, merge_as};
pub(crate) use model::{
    AutoMerge, Discussion, MergeRequest, Note, basic_json, branch_moved, close_as, discussion_id, find,
    find_mut,
};
