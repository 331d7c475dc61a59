use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(crate) struct WireBuild {
    pub(crate) key: String,
    pub(crate) state: String,
    pub(crate) name: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) description: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct WireNewBuild<'a> {
    pub(crate) key: &'a str,
    pub(crate) state: &'static str,
    pub(crate) url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<&'a str>,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<String>,
}

/// A Code Insights report.
#[derive(Serialize)]
pub(crate) struct WireReport<'a> {
    pub(crate) title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) details: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<&'a str>,
    /// Figures; there are none, and some versions want the list.
    pub(crate) data: [(); 0],
}

#[derive(Serialize)]
pub(crate) struct WireAnnotations<'a> {
    pub(crate) annotations: Vec<WireAnnotation<'a>>,
}

#[derive(Serialize)]
pub(crate) struct WireAnnotation<'a> {
    pub(crate) message: &'a str,
    pub(crate) severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<&'a str>,
}
