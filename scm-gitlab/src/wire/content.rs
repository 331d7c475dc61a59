use std::borrow::Cow;

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(crate) struct WireFile {
    pub(crate) content: String,
    pub(crate) encoding: Option<String>,
    pub(crate) blob_id: Option<String>,
    pub(crate) last_commit_id: Option<String>,
    pub(crate) execute_filemode: Option<bool>,
}

#[derive(Deserialize)]
pub(crate) struct WireTreeEntry {
    pub(crate) id: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) path: String,
    pub(crate) mode: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct WireBranch {
    pub(crate) name: String,
    pub(crate) commit: WireCommitRef,
    pub(crate) default: Option<bool>,
    pub(crate) protected: Option<bool>,
    pub(crate) can_push: Option<bool>,
    pub(crate) web_url: Option<String>,
}

/// A branch of which the commit is wanted.
#[derive(Deserialize)]
pub(crate) struct WireBranchTip {
    pub(crate) commit: WireCommit,
}

#[derive(Deserialize)]
pub(crate) struct WireCommitRef {
    pub(crate) id: String,
}

#[derive(Serialize)]
pub(crate) struct WireCreateBranch<'a> {
    pub(crate) branch: &'a str,
    #[serde(rename = "ref")]
    pub(crate) reference: &'a str,
}

#[derive(Deserialize)]
pub(crate) struct WireTag {
    pub(crate) name: String,
    pub(crate) message: Option<String>,
    pub(crate) commit: WireCommitRef,
}

#[derive(Serialize)]
pub(crate) struct WireCreateTag<'a> {
    pub(crate) tag_name: &'a str,
    #[serde(rename = "ref")]
    pub(crate) reference: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<&'a str>,
}

#[derive(Deserialize)]
pub(crate) struct WireProtectedBranch {
    /// A name, or a pattern with `*`.
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) push_access_levels: Vec<WireBranchAccess>,
    pub(crate) allow_force_push: Option<bool>,
}

/// Who may push: a role, or one user, group or key.
#[derive(Deserialize)]
pub(crate) struct WireBranchAccess {
    pub(crate) access_level: Option<u32>,
    pub(crate) user_id: Option<u64>,
    pub(crate) group_id: Option<u64>,
    pub(crate) deploy_key_id: Option<u64>,
}

#[derive(Deserialize)]
pub(crate) struct WireCommit {
    pub(crate) id: String,
    pub(crate) message: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) author_name: Option<String>,
    pub(crate) author_email: Option<String>,
    pub(crate) authored_date: Option<String>,
    pub(crate) committer_name: Option<String>,
    pub(crate) committer_email: Option<String>,
    pub(crate) committed_date: Option<String>,
    #[serde(default)]
    pub(crate) parent_ids: Vec<String>,
    pub(crate) web_url: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct WireCommitRequest<'a> {
    pub(crate) branch: &'a str,
    pub(crate) commit_message: String,
    pub(crate) actions: Vec<WireAction<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_sha: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_project: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) author_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) author_email: Option<&'a str>,
    /// Line counts that nobody reads.
    pub(crate) stats: bool,
}

#[derive(Serialize, Default)]
pub(crate) struct WireAction<'a> {
    pub(crate) action: &'static str,
    pub(crate) file_path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) previous_path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_commit_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) execute_filemode: Option<bool>,
}
