//! A transport that answers from memory, and pages as GitLab sends them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use scm_core::{Body, HttpTransport, Result, Route, RungReport, StaticCredential, Transport, TransportError};
use scm_gitlab::{GitLab, GitLabConfig};
use serde_json::{Value, json};
use url::Url;

/// Answers every request with the same JSON, without a network.
#[derive(Clone, Debug)]
pub struct Memory(Bytes);

impl Memory {
    /// Answers with this JSON.
    #[must_use]
    pub fn new(body: &Value) -> Self {
        Self(body.to_string().into())
    }
}

#[async_trait]
impl HttpTransport for Memory {
    async fn send(&self, _: http::Request<Body>) -> Result<http::Response<Body>, TransportError> {
        let mut answer = http::Response::new(Body::from(self.0.clone()));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(answer)
    }

    async fn probe(&self, _: &Url) -> Vec<RungReport> {
        Vec::new()
    }

    fn route(&self) -> Route {
        Route::Direct
    }
}

/// A GitLab client over memory.
///
/// # Errors
/// None in practice: the settings are fixed.
pub fn gitlab(body: &Value) -> Result<GitLab> {
    let token = Arc::new(StaticCredential::token("glpat-benchmark".into()));
    GitLab::new(GitLabConfig::new("https://gitlab.company.com", token)?, Transport::new(Memory::new(body)))
}

/// A page of projects, each of about the size that GitLab sends.
#[must_use]
pub fn projects(count: u64) -> Value {
    (1..=count).map(project).collect()
}

fn project(id: u64) -> Value {
    let path = format!("group/sub/project-{id}");
    let url = format!("https://gitlab.company.com/{path}");
    let links: serde_json::Map<_, _> = [
        "self",
        "issues",
        "merge_requests",
        "repo_branches",
        "labels",
        "events",
        "members",
        "cluster_agents",
    ]
    .map(|name| (name.to_owned(), json!(format!("https://gitlab.company.com/api/v4/projects/{id}/{name}"))))
    .into_iter()
    .collect();
    json!({
        "id": id, "name": format!("project-{id}"), "path": format!("project-{id}"), "path_with_namespace": path,
        "name_with_namespace": format!("Group / Sub / project-{id}"), "description": "A service of the company",
        "default_branch": "main", "visibility": "private", "archived": false, "empty_repo": false, "web_url": url,
        "http_url_to_repo": format!("{url}.git"), "ssh_url_to_repo": format!("git@gitlab.company.com:{path}.git"),
        "namespace": {"id": 7, "name": "Sub", "path": "sub", "kind": "group", "full_path": "group/sub", "parent_id": 3},
        "permissions": {"project_access": null, "group_access": {"access_level": 30, "notification_level": 3}},
        "_links": links, "merge_method": "merge", "squash_option": "default_off", "lfs_enabled": true,
        "last_activity_at": "2026-01-02T03:04:05.678Z", "created_at": "2020-01-02T03:04:05.678Z", "topics": [],
        "container_registry_enabled": true, "issues_enabled": true, "merge_requests_enabled": true,
        "wiki_enabled": true, "jobs_enabled": true, "snippets_enabled": false, "ci_default_git_depth": 20,
        "shared_with_groups": [], "only_allow_merge_if_pipeline_succeeds": false, "star_count": 0, "forks_count": 0,
    })
}
