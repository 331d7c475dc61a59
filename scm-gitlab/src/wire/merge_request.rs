use serde::{Deserialize, Serialize};

use super::{WireDiffRefs, WirePipeline, WireUserRef};

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
    /// In the answer for one merge request only, and not before the server has worked it out.
    pub(crate) diff_refs: Option<WireDiffRefs>,
    /// Where it was asked for.
    pub(crate) rebase_in_progress: Option<bool>,
    /// Where it was asked for.
    pub(crate) diverged_commits_count: Option<u64>,
    pub(crate) merge_error: Option<String>,
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
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(crate) labels: &'a [String],
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
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(crate) add_labels: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(crate) remove_labels: &'a [String],
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
    /// Since 17.11 by this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auto_merge: Option<bool>,
    /// Before 17.11 by this name, which is read still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) merge_when_pipeline_succeeds: Option<bool>,
}

#[derive(Serialize)]
pub(crate) struct WireRebase {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) skip_ci: Option<bool>,
}

#[derive(Serialize)]
pub(crate) struct WireApprove<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha: Option<&'a str>,
}

/// `GET …/approvals`. The free edition tells no numbers.
#[derive(Deserialize)]
pub(crate) struct WireApprovals {
    pub(crate) approved: Option<bool>,
    pub(crate) approvals_required: Option<u32>,
    pub(crate) approvals_left: Option<u32>,
    #[serde(default)]
    pub(crate) approved_by: Vec<WireApprover>,
    pub(crate) user_has_approved: Option<bool>,
}

#[derive(Deserialize)]
pub(crate) struct WireApprover {
    pub(crate) user: WireUserRef,
}

/// `GET …/reviewers`
#[derive(Deserialize)]
pub(crate) struct WireReviewer {
    pub(crate) user: WireUserRef,
    pub(crate) state: Option<String>,
}
