use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct WireVersion {
    pub(crate) version: String,
}

#[derive(Deserialize)]
pub(crate) struct WireMetadata {
    pub(crate) version: String,
    pub(crate) enterprise: Option<bool>,
}

/// `GET /user`
#[derive(Deserialize)]
pub(crate) struct WireUser {
    pub(crate) id: u64,
    pub(crate) username: String,
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) bot: Option<bool>,
    pub(crate) state: Option<String>,
}

/// A user inside another object, or in a list of users.
#[derive(Deserialize)]
pub(crate) struct WireUserRef {
    pub(crate) id: u64,
    pub(crate) username: String,
}

/// `GET /personal_access_tokens/self`
#[derive(Deserialize)]
pub(crate) struct WireToken {
    pub(crate) id: u64,
    pub(crate) name: Option<String>,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) expires_at: Option<String>,
    pub(crate) active: Option<bool>,
    pub(crate) revoked: Option<bool>,
}

/// A project of which only the id is wanted.
#[derive(Deserialize)]
pub(crate) struct WireId {
    pub(crate) id: u64,
}

#[derive(Deserialize)]
pub(crate) struct WireProject {
    pub(crate) id: u64,
    pub(crate) path_with_namespace: String,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) namespace: Option<WireNamespace>,
    pub(crate) default_branch: Option<String>,
    pub(crate) empty_repo: Option<bool>,
    pub(crate) archived: Option<bool>,
    pub(crate) visibility: Option<String>,
    pub(crate) permissions: Option<WirePermissions>,
    pub(crate) web_url: Option<String>,
    pub(crate) http_url_to_repo: Option<String>,
    pub(crate) last_activity_at: Option<String>,
    pub(crate) forked_from_project: Option<WireForkedFrom>,
}

#[derive(Deserialize)]
pub(crate) struct WireNamespace {
    pub(crate) full_path: String,
}

#[derive(Deserialize)]
pub(crate) struct WireForkedFrom {
    pub(crate) id: u64,
}

#[derive(Deserialize)]
pub(crate) struct WirePermissions {
    pub(crate) project_access: Option<WireAccess>,
    pub(crate) group_access: Option<WireAccess>,
}

#[derive(Deserialize)]
pub(crate) struct WireAccess {
    pub(crate) access_level: u32,
}

#[derive(Deserialize)]
pub(crate) struct WireGroup {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) full_path: String,
    pub(crate) parent_id: Option<u64>,
    pub(crate) web_url: Option<String>,
}
