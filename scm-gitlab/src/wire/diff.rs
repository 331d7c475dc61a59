use serde::{Deserialize, Serialize};

use super::WireCommit;

/// One changed file. Its diff has no file header, and is empty where it is binary, or too large to be shown.
#[derive(Deserialize)]
pub(crate) struct WireDiff {
    pub(crate) old_path: String,
    pub(crate) new_path: String,
    pub(crate) a_mode: Option<String>,
    pub(crate) b_mode: Option<String>,
    #[serde(default)]
    pub(crate) diff: String,
    #[serde(default)]
    pub(crate) new_file: bool,
    #[serde(default)]
    pub(crate) renamed_file: bool,
    #[serde(default)]
    pub(crate) deleted_file: bool,
    pub(crate) collapsed: Option<bool>,
    pub(crate) too_large: Option<bool>,
}

#[derive(Deserialize)]
pub(crate) struct WireComparison {
    #[serde(default)]
    pub(crate) commits: Vec<WireCommit>,
    #[serde(default)]
    pub(crate) diffs: Vec<WireDiff>,
    pub(crate) compare_timeout: Option<bool>,
}

/// The three commits that a diff of a merge request is made of.
#[derive(Clone, Deserialize)]
pub(crate) struct WireDiffRefs {
    pub(crate) base_sha: String,
    pub(crate) start_sha: String,
    pub(crate) head_sha: String,
}

/// Where a new comment goes.
#[derive(Serialize)]
pub(crate) struct WireNewPosition<'a> {
    pub(crate) position_type: &'static str,
    pub(crate) base_sha: &'a str,
    pub(crate) start_sha: &'a str,
    pub(crate) head_sha: &'a str,
    pub(crate) old_path: &'a str,
    pub(crate) new_path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) old_line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) new_line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line_range: Option<WireNewRange>,
}

#[derive(Serialize)]
pub(crate) struct WireNewRange {
    pub(crate) start: WireNewLine,
    pub(crate) end: WireNewLine,
}

#[derive(Serialize)]
pub(crate) struct WireNewLine {
    pub(crate) line_code: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) old_line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) new_line: Option<u32>,
}
