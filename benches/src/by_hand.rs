//! The peer that is hardest to beat: a loop as one writes it who needs this list and nothing else.

use http::HeaderMap;
use http::header::{HeaderValue, LINK};

use crate::project::Project;
use crate::walk::Fallible;

/// Lists with reqwest alone: no retry, no deadline, no limits, no error of a single item, no page fetched ahead.
#[derive(Debug)]
pub struct ByHand {
    client: reqwest::Client,
    first: String,
    token: HeaderValue,
}

impl ByHand {
    /// A loop over the projects of the server at `url`.
    ///
    /// # Errors
    /// For a token that is no header value.
    pub fn new(url: &str, token: &str) -> Fallible<Self> {
        // The server speaks plain HTTP; reqwest wants to know about TLS all the same.
        let tls =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        Ok(Self {
            client: reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?,
            first: format!(
                "{url}/api/v4/projects?membership=true&archived=false&pagination=keyset&order_by=id&sort=asc&per_page=100"
            ),
            token: token.try_into()?,
        })
    }

    /// Every project.
    ///
    /// # Errors
    /// Of the network, the status or the JSON.
    pub async fn list(&self) -> Fallible<Vec<Project>> {
        let mut all = Vec::new();
        let mut next = Some(self.first.clone());
        while let Some(url) = next {
            let answer = self.client.get(&url).header("PRIVATE-TOKEN", &self.token).send().await?;
            let answer = answer.error_for_status()?;
            next = next_link(answer.headers());
            all.extend(serde_json::from_slice::<Vec<Project>>(&answer.bytes().await?)?);
        }
        Ok(all)
    }
}

/// By keyset the server gives one link at most.
fn next_link(headers: &HeaderMap) -> Option<String> {
    let (target, rest) = headers.get(LINK)?.to_str().ok()?.strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then(|| target.to_owned())
}
