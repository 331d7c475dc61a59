//! The fields that our client reads, as plain serde makes them: nothing is checked or parsed further. Named as GitLab
//! names them.

#![allow(
    missing_docs,
    reason = "named as GitLab names them; a peer outside of the workspace takes this file too"
)]

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub struct Project {
    pub id: u64,
    pub path_with_namespace: String,
    pub name: String,
    pub description: Option<String>,
    pub namespace: Namespace,
    pub default_branch: Option<String>,
    pub empty_repo: bool,
    pub archived: bool,
    pub visibility: String,
    pub permissions: Permissions,
    pub web_url: String,
    pub http_url_to_repo: String,
    pub last_activity_at: String,
    pub forked_from_project: Option<ForkedFrom>,
}

#[derive(Debug, Deserialize)]
pub struct Namespace {
    pub full_path: String,
}

#[derive(Debug, Deserialize)]
pub struct Permissions {
    pub project_access: Option<Access>,
    pub group_access: Option<Access>,
}

#[derive(Debug, Deserialize)]
pub struct Access {
    pub access_level: u32,
}

#[derive(Debug, Deserialize)]
pub struct ForkedFrom {
    pub id: u64,
}
