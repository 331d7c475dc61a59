//! Pull requests: opened, changed, reviewed, merged, rebased, and moved along with their branches.

mod activities;
mod api;
mod auto_merge;
mod create;
mod list;
mod merge;
mod model;
mod rebase;
mod review;
mod views;

use super::router::Route;

pub(crate) use auto_merge::process as auto_merge;
pub(crate) use create::{NewPullRequest, open};
pub(crate) use merge::{Ask, merge_as};
pub(crate) use model::{Action, PullRequest, branch_moved, close, find, find_mut, json, record};
pub(crate) use review::set_status;

pub(crate) const TABLES: &[&[Route]] = &[
    list::ROUTES,
    create::ROUTES,
    api::ROUTES,
    merge::ROUTES,
    auto_merge::ROUTES,
    rebase::ROUTES,
    review::ROUTES,
    views::ROUTES,
    activities::ROUTES,
];
