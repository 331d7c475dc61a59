use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(crate) struct WirePipeline {
    pub(crate) id: u64,
    pub(crate) status: String,
    pub(crate) sha: Option<String>,
    #[serde(rename = "ref")]
    pub(crate) reference: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) web_url: Option<String>,
    pub(crate) created_at: Option<String>,
    pub(crate) updated_at: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct WireJob {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) stage: Option<String>,
    pub(crate) allow_failure: Option<bool>,
    pub(crate) failure_reason: Option<String>,
    pub(crate) web_url: Option<String>,
    pub(crate) started_at: Option<String>,
    pub(crate) finished_at: Option<String>,
}

/// A commit status. A job shows up here too, under the same id.
#[derive(Deserialize)]
pub(crate) struct WireStatus {
    pub(crate) id: u64,
    pub(crate) name: Option<String>,
    pub(crate) status: String,
    pub(crate) description: Option<String>,
    pub(crate) target_url: Option<String>,
    pub(crate) sha: Option<String>,
    pub(crate) allow_failure: Option<bool>,
}

#[derive(Serialize)]
pub(crate) struct WireNewStatus<'a> {
    pub(crate) state: &'static str,
    pub(crate) name: &'a str,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pipeline_id: Option<u64>,
}
