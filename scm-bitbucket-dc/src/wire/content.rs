use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{WirePage, WireTime};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireBranch {
    pub(crate) id: String,
    pub(crate) latest_commit: Option<String>,
    #[serde(alias = "default")]
    pub(crate) is_default: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireCreateBranch<'a> {
    pub(crate) name: &'a str,
    pub(crate) start_point: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireDeleteBranch<'a> {
    pub(crate) name: &'a str,
    pub(crate) dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end_point: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireTag {
    pub(crate) id: String,
    pub(crate) latest_commit: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireCreateTag<'a> {
    pub(crate) name: &'a str,
    pub(crate) start_point: &'a str,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<&'a str>,
}

/// A rule for branches.
#[derive(Deserialize)]
pub(crate) struct WireRestriction {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) matcher: WireMatcher,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireMatcher {
    pub(crate) id: String,
    pub(crate) display_id: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: WireMatcherKind,
}

#[derive(Deserialize)]
pub(crate) struct WireMatcherKind {
    pub(crate) id: String,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WirePerson {
    pub(crate) name: Option<String>,
    pub(crate) display_name: Option<String>,
    pub(crate) email_address: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireCommit {
    pub(crate) id: String,
    pub(crate) message: Option<String>,
    pub(crate) author: Option<WirePerson>,
    pub(crate) author_timestamp: Option<WireTime>,
    pub(crate) committer: Option<WirePerson>,
    pub(crate) committer_timestamp: Option<WireTime>,
    #[serde(default)]
    pub(crate) parents: Vec<WireParent>,
}

#[derive(Deserialize)]
pub(crate) struct WireParent {
    pub(crate) id: String,
}

/// A directory, with a page of what is in it.
#[derive(Deserialize)]
pub(crate) struct WireBrowse {
    pub(crate) children: WirePage<WireEntry>,
}

/// The same, before its entries are read.
#[derive(Deserialize)]
pub(crate) struct WireBrowseRaw {
    pub(crate) children: WirePage<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireEntry {
    pub(crate) path: super::WirePath,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) content_id: Option<String>,
    pub(crate) node: Option<String>,
}

/// What stands at a path.
#[derive(Deserialize)]
pub(crate) struct WireKind {
    #[serde(rename = "type")]
    pub(crate) kind: String,
}
