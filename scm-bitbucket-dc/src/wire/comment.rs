use serde::{Deserialize, Serialize};

use super::{WireTime, WireUser};

/// A path, as text or in its parts: endpoints differ.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum WirePath {
    Text(String),
    Parts {
        #[serde(rename = "toString")]
        text: Option<String>,
        #[serde(default)]
        components: Vec<String>,
    },
}

impl WirePath {
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Text(text) | Self::Parts { text: Some(text), .. } => text,
            Self::Parts { text: None, components } => components.join("/"),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireActivity {
    pub(crate) action: String,
    pub(crate) comment_action: Option<String>,
    pub(crate) comment: Option<WireComment>,
    pub(crate) comment_anchor: Option<WireAnchor>,
    pub(crate) user: Option<WireUser>,
    pub(crate) id: Option<u64>,
    pub(crate) created_date: Option<WireTime>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireComment {
    pub(crate) id: u64,
    pub(crate) version: u64,
    #[serde(default)]
    pub(crate) text: String,
    pub(crate) author: Option<WireUser>,
    pub(crate) created_date: Option<WireTime>,
    pub(crate) updated_date: Option<WireTime>,
    #[serde(default)]
    pub(crate) comments: Vec<WireComment>,
    pub(crate) severity: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) thread_resolved: Option<bool>,
    pub(crate) anchor: Option<WireAnchor>,
    pub(crate) parent: Option<WireId>,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct WireId {
    pub(crate) id: u64,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireAnchor {
    pub(crate) path: WirePath,
    pub(crate) src_path: Option<WirePath>,
    pub(crate) line: Option<u32>,
    pub(crate) line_type: Option<String>,
    pub(crate) file_type: Option<String>,
    pub(crate) multiline_marker: Option<WireLineMarker>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireLineMarker {
    pub(crate) start_line: u32,
    pub(crate) start_line_type: String,
}

/// The stretch of a comment on several lines, on the sides where it has one.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireLineSpan {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) src_span_start: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) src_span_end: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dst_span_start: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dst_span_end: Option<u32>,
}

#[derive(Serialize)]
pub(crate) struct WireNewComment<'a> {
    pub(crate) text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<WireId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) severity: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) anchor: Option<WireNewAnchor<'a>>,
}

/// Where a new comment goes. On a file as a whole there is neither line nor type of one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireNewAnchor<'a> {
    pub(crate) path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) src_path: Option<&'a str>,
    pub(crate) diff_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) multiline_marker: Option<WireLineMarker>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) multiline_span: Option<WireLineSpan>,
}

/// A change of a comment in the version that was seen.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireChangeComment<'a> {
    pub(crate) version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thread_resolved: Option<bool>,
}
