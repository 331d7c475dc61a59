use serde::{Deserialize, Serialize};

use super::{WireNewPosition, WireUserRef};

#[derive(Deserialize)]
pub(crate) struct WireDiscussion {
    pub(crate) id: String,
    pub(crate) notes: Vec<WireNote>,
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

/// A new note, or the first one of a new discussion.
#[derive(Serialize)]
pub(crate) struct WireNewNote<'a> {
    pub(crate) body: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<WireNewPosition<'a>>,
}
