use serde::Deserialize;

use super::WirePath;

/// One changed file, without its lines.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireChange {
    pub(crate) path: WirePath,
    pub(crate) src_path: Option<WirePath>,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) node_type: Option<String>,
    pub(crate) executable: Option<bool>,
}

/// The lines of changed files.
#[derive(Deserialize)]
pub(crate) struct WireDiff {
    #[serde(default)]
    pub(crate) diffs: Vec<WireFileDiff>,
    pub(crate) truncated: Option<bool>,
}

#[derive(Deserialize)]
pub(crate) struct WireFileDiff {
    pub(crate) source: Option<WirePath>,
    pub(crate) destination: Option<WirePath>,
    #[serde(default)]
    pub(crate) hunks: Vec<WireHunk>,
    pub(crate) truncated: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireHunk {
    pub(crate) source_line: u32,
    pub(crate) source_span: u32,
    pub(crate) destination_line: u32,
    pub(crate) destination_span: u32,
    #[serde(default)]
    pub(crate) segments: Vec<WireSegment>,
}

#[derive(Deserialize)]
pub(crate) struct WireSegment {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) lines: Vec<WireLine>,
}

#[derive(Deserialize)]
pub(crate) struct WireLine {
    pub(crate) source: u32,
    pub(crate) destination: u32,
    #[serde(default)]
    pub(crate) line: String,
}
