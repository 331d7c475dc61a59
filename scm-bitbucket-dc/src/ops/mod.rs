pub(crate) mod branches;
mod checks;
mod comments;
mod commits;
mod connection;
mod contents;
mod git_access;
mod pull_requests;
mod repositories;
