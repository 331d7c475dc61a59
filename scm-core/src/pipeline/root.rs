//! The server's root, as people give it.

use url::Url;

use crate::check::Code;
use crate::error::{Error, Result};

/// Checks a server's root as far as can be told without asking the server, and ends it in `/`. `example` is one that
/// would do; `root_of_page` tells the root of a URL that is a page inside the product instead. Nothing of a refused URL
/// is shown but its host: the rest may be a secret.
///
/// # Errors
/// `Config` for a URL that cannot be a server's root: not http(s), with credentials, query or fragment (`url.invalid`), or
/// a page (`url.not_root`).
pub fn server_root(
    text: &str,
    example: &str,
    root_of_page: impl FnOnce(&Url) -> Option<String>,
) -> Result<Url> {
    let invalid = |what: String| Error::config(what).with_server_code(Code::UrlInvalid.as_str());
    let mut url = Url::parse(text.trim())
        .map_err(|error| invalid(format!("the server URL cannot be read ({error}); give it as {example}")))?;
    let Some(host) = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")).map(str::to_owned)
    else {
        return Err(invalid("the server URL must start with https:// or http:// and name a host".to_owned()));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(format!(
            "the server URL for {host} holds a user name or password; leave them out and give a token"
        )));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid(format!(
            "the server URL for {host} has a '?' or '#' part; give the server's root alone"
        )));
    }
    if let Some(root) = root_of_page(&url) {
        return Err(Error::config(format!(
            "the server URL names a page inside the product; give the server's root, {root}"
        ))
        .with_server_code(Code::UrlNotRoot.as_str()));
    }
    let path = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}
