//! The routes there are, each to a server on loopback.

use std::sync::Arc;

use scm_client::core::{Result, Scm, StaticCredential, Transport};
use scm_client::transport::{DirectTransport, Network, Proxies, ProxyTransport};
use scm_testkit::proxy::{Proxy, RealProxy};
use secrecy::SecretString;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Direct,
    SmallProxy,
    Squid,
    Tinyproxy,
}

/// What stands between, for as long as this.
pub(crate) enum Hop {
    None,
    Small(Proxy),
    Real(RealProxy),
}

impl Hop {
    /// `None`, said aloud, where the proxy is not installed.
    pub(crate) async fn start(via: Via) -> Option<Self> {
        match via {
            Via::Direct => Some(Self::None),
            Via::SmallProxy => Some(Self::Small(Proxy::builder().start().await.unwrap())),
            Via::Squid => RealProxy::squid("http_access allow all\n").await.unwrap().map(Self::Real),
            Via::Tinyproxy => RealProxy::tinyproxy("").await.unwrap().map(Self::Real),
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        let network = Network::new();
        let url = match self {
            Self::None => return Transport::new(DirectTransport::new(&network).unwrap()),
            Self::Small(proxy) => proxy.url(),
            Self::Real(proxy) => proxy.url(),
        };
        let proxies = Proxies::new().with_http_proxy(&url.into()).unwrap().with_proxied_loopback();
        Transport::new(ProxyTransport::new(&network.with_proxies(proxies)).unwrap())
    }

    /// What has gone through.
    pub(crate) fn requests(&self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Small(proxy) => Some(proxy.traffic().requests),
            Self::Real(proxy) => Some(proxy.requests().unwrap()),
        }
    }
}

pub(crate) fn gitlab(transport: &Transport, url: &str, token: SecretString) -> Result<Arc<dyn Scm>> {
    use scm_client::gitlab::{GitLab, GitLabConfig};

    let config = GitLabConfig::new(url, Arc::new(StaticCredential::token(token)))?;
    Ok(Arc::new(GitLab::new(config, transport.clone())?))
}

pub(crate) fn bitbucket_dc(transport: &Transport, url: &str, token: SecretString) -> Result<Arc<dyn Scm>> {
    use scm_client::bitbucket_dc::{BitbucketDc, BitbucketDcConfig};

    let config = BitbucketDcConfig::new(url, Arc::new(StaticCredential::token(token)))?;
    Ok(Arc::new(BitbucketDc::new(config, transport.clone())?))
}
