use serde::{Deserialize, Serialize};

use super::{WirePipeline, WireUserRef};

#[derive(Deserialize)]
pub(crate) struct WireMergeRequest {
    pub(crate) iid: u64,
    pub(crate) title: String,
    pub(crate) description: Option<String>,
    pub(crate) state: String,
    pub(crate) draft: Option<bool>,
    pub(crate) source_branch: String,
    pub(crate) target_branch: String,
    pub(crate) source_project_id: Option<u64>,
    pub(crate) target_project_id: Option<u64>,
    pub(crate) sha: Option<String>,
    pub(crate) merge_commit_sha: Option<String>,
    pub(crate) squash_commit_sha: Option<String>,
    pub(crate) author: Option<WireUserRef>,
    /// Names, or objects where the list was asked for details.
    #[serde(default)]
    pub(crate) labels: Vec<String>,
    #[serde(default)]
    pub(crate) assignees: Vec<WireUserRef>,
    #[serde(default)]
    pub(crate) reviewers: Vec<WireUserRef>,
    pub(crate) merge_when_pipeline_succeeds: Option<bool>,
    pub(crate) detailed_merge_status: Option<String>,
    pub(crate) has_conflicts: Option<bool>,
    /// In the answer for one merge request only.
    pub(crate) head_pipeline: Option<WirePipeline>,
    pub(crate) web_url: Option<String>,
    pub(crate) created_at: Option<String>,
    pub(crate) updated_at: Option<String>,
    pub(crate) merged_at: Option<String>,
}

#[derive(Serialize, Default)]
pub(crate) struct WireCreateMergeRequest<'a> {
    pub(crate) source_branch: &'a str,
    pub(crate) target_branch: &'a str,
    pub(crate) title: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_project_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) assignee_ids: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) reviewer_ids: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remove_source_branch: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) squash: Option<bool>,
}

#[derive(Serialize, Default)]
pub(crate) struct WireUpdateMergeRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_branch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) add_labels: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remove_labels: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) assignee_ids: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reviewer_ids: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state_event: Option<&'static str>,
}

#[derive(Serialize, Default)]
pub(crate) struct WireMerge<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) merge_commit_message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) squash_commit_message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) squash: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) should_remove_source_branch: Option<bool>,
}

#[derive(Deserialize)]
pub(crate) struct WireNote {
    pub(crate) id: u64,
    pub(crate) body: String,
    pub(crate) author: Option<WireUserRef>,
    #[serde(default)]
    pub(crate) system: bool,
    #[serde(default)]
    pub(crate) resolvable: bool,
    pub(crate) resolved: Option<bool>,
    pub(crate) position: Option<WirePosition>,
    pub(crate) created_at: Option<String>,
    pub(crate) updated_at: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct WirePosition {
    pub(crate) position_type: Option<String>,
    pub(crate) new_path: Option<String>,
    pub(crate) old_path: Option<String>,
    pub(crate) new_line: Option<u32>,
    pub(crate) old_line: Option<u32>,
    pub(crate) line_range: Option<WireLineRange>,
}

#[derive(Deserialize)]
pub(crate) struct WireLineRange {
    pub(crate) start: Option<WireLine>,
    pub(crate) end: Option<WireLine>,
}

#[derive(Deserialize)]
pub(crate) struct WireLine {
    pub(crate) new_line: Option<u32>,
    pub(crate) old_line: Option<u32>,
}

#[derive(Serialize)]
pub(crate) struct WireNoteBody<'a> {
    pub(crate) body: &'a str,
}
