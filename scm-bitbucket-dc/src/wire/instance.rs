use scm_core::Timestamp;
use serde::Deserialize;

/// One page of a list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WirePage<T> {
    pub(crate) values: Vec<T>,
    pub(crate) start: Option<u64>,
    pub(crate) is_last_page: Option<bool>,
    pub(crate) next_page_start: Option<u64>,
}

impl<T> WirePage<T> {
    pub(crate) fn map<U>(self, make: impl Fn(usize, T) -> U) -> WirePage<U> {
        let Self { values, start, is_last_page, next_page_start } = self;
        let values = values.into_iter().enumerate().map(|(index, value)| make(index, value)).collect();
        WirePage { values, start, is_last_page, next_page_start }
    }
}

/// A point in time: milliseconds since 1970, or from some versions on ISO 8601.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum WireTime {
    Millis(i64),
    Text(String),
}

impl WireTime {
    pub(crate) fn read(&self) -> Option<Timestamp> {
        match self {
            Self::Millis(millis) => Timestamp::from_millis(*millis).ok(),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireProperties {
    pub(crate) version: String,
    display_name: Option<String>,
}

impl WireProperties {
    /// The other products of the family answer at the same path.
    pub(crate) fn is_bitbucket(&self) -> bool {
        let name = self.display_name.as_deref();
        name.is_none_or(|name| name.contains("Bitbucket") || name.contains("Stash"))
    }
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireUser {
    pub(crate) name: String,
    pub(crate) id: Option<u64>,
    pub(crate) display_name: Option<String>,
    pub(crate) email_address: Option<String>,
    pub(crate) active: Option<bool>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireAccessToken {
    pub(crate) name: Option<String>,
    pub(crate) permissions: Option<Vec<String>>,
    pub(crate) expiry_date: Option<WireTime>,
}

#[derive(Deserialize)]
pub(crate) struct WireProject {
    pub(crate) key: String,
    pub(crate) name: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) links: Option<WireLinks>,
}

#[derive(Deserialize)]
pub(crate) struct WireRepository {
    pub(crate) id: u64,
    pub(crate) slug: String,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) archived: Option<bool>,
    pub(crate) public: Option<bool>,
    pub(crate) project: WireProject,
    pub(crate) origin: Option<Box<WireRepository>>,
    pub(crate) links: Option<WireLinks>,
}

#[derive(Default, Deserialize)]
pub(crate) struct WireLinks {
    #[serde(default)]
    clone: Vec<WireLink>,
    #[serde(default, rename = "self")]
    own: Vec<WireLink>,
}

#[derive(Deserialize)]
struct WireLink {
    href: Option<String>,
    name: Option<String>,
}

impl WireLinks {
    /// Its page.
    pub(crate) fn page(self) -> Option<String> {
        self.own.into_iter().find_map(|link| link.href)
    }

    /// Where git finds it over HTTP.
    pub(crate) fn clone_url(&self) -> Option<&str> {
        let http = |link: &&WireLink| matches!(link.name.as_deref(), Some("http" | "https"));
        self.clone.iter().find(http)?.href.as_deref()
    }
}
