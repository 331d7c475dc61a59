use scm_core::UserName;
use serde::{Deserialize, Serialize};

use super::instance::WireLinks;
use super::{WireRepository, WireTime, WireUser};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WirePullRequest {
    pub(crate) id: u64,
    pub(crate) version: u64,
    pub(crate) title: String,
    pub(crate) description: Option<String>,
    pub(crate) state: String,
    pub(crate) draft: Option<bool>,
    pub(crate) created_date: Option<WireTime>,
    pub(crate) updated_date: Option<WireTime>,
    pub(crate) closed_date: Option<WireTime>,
    pub(crate) from_ref: WireRef,
    pub(crate) to_ref: WireRef,
    pub(crate) author: Option<WireParticipant>,
    #[serde(default)]
    pub(crate) reviewers: Vec<WireParticipant>,
    #[serde(default)]
    pub(crate) participants: Vec<WireParticipant>,
    pub(crate) links: Option<WireLinks>,
    pub(crate) properties: Option<WirePullRequestProperties>,
}

impl WirePullRequest {
    /// Is it open, and this user's?
    pub(crate) fn is_open_of(&self, user: &UserName) -> bool {
        self.state == "OPEN" && self.author.as_ref().is_some_and(|author| author.user.name == user.as_str())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireRef {
    pub(crate) id: String,
    pub(crate) latest_commit: Option<String>,
    pub(crate) repository: Option<WireRepository>,
}

#[derive(Deserialize)]
pub(crate) struct WireParticipant {
    pub(crate) user: WireUser,
    pub(crate) status: Option<String>,
    pub(crate) approved: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WirePullRequestProperties {
    pub(crate) merge_commit: Option<WireMergeCommit>,
}

#[derive(Deserialize)]
pub(crate) struct WireMergeCommit {
    pub(crate) id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireCreatePullRequest<'a> {
    pub(crate) title: &'a str,
    pub(crate) description: &'a str,
    pub(crate) from_ref: WireNewRef,
    pub(crate) to_ref: WireNewRef,
    pub(crate) reviewers: Vec<WireNewReviewer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) draft: Option<bool>,
}

/// Replaces all of it: what is left out is lost.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireUpdatePullRequest<'a> {
    pub(crate) version: u64,
    pub(crate) title: &'a str,
    pub(crate) description: &'a str,
    pub(crate) to_ref: WireNewRef,
    pub(crate) reviewers: Vec<WireNewReviewer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) draft: Option<bool>,
}

#[derive(Serialize)]
pub(crate) struct WireNewRef {
    pub(crate) id: String,
    pub(crate) repository: WireRefRepository,
}

#[derive(Serialize)]
pub(crate) struct WireRefRepository {
    pub(crate) slug: String,
    pub(crate) project: WireProjectKey,
}

#[derive(Serialize)]
pub(crate) struct WireProjectKey {
    pub(crate) key: String,
}

#[derive(Serialize)]
pub(crate) struct WireNewReviewer {
    pub(crate) user: WireUserName,
}

#[derive(Serialize)]
pub(crate) struct WireUserName {
    pub(crate) name: String,
}

#[derive(Serialize)]
pub(crate) struct WireVersion {
    pub(crate) version: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireMerge<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<&'a str>,
    /// `false` as text: the message is the whole of it, without the line that the server would put before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auto_subject: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strategy_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auto_merge: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireMergeability {
    pub(crate) can_merge: Option<bool>,
    pub(crate) conflicted: Option<bool>,
    pub(crate) outcome: Option<String>,
    #[serde(default)]
    pub(crate) vetoes: Vec<WireVeto>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireVeto {
    pub(crate) summary_message: Option<String>,
    pub(crate) detailed_message: Option<String>,
}

/// The answer to a rebase.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireRebased {
    pub(crate) ref_change: WireRefChange,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireRefChange {
    pub(crate) to_hash: String,
}

/// How pull requests of a repository are merged.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireSettings {
    pub(crate) merge_config: Option<WireMergeConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireMergeConfig {
    pub(crate) default_strategy: Option<WireStrategy>,
    #[serde(default)]
    pub(crate) strategies: Vec<WireStrategy>,
}

#[derive(Deserialize)]
pub(crate) struct WireStrategy {
    pub(crate) id: String,
    pub(crate) enabled: Option<bool>,
}
