//! Where names may lead: the addresses that were checked are the ones that are dialled.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use scm_core::{Code, Delivery, ErrorKind, TransportError};
use scm_transport::{Network, Resolver};

use super::policy::{Denied, Policy};

/// Resolves as the network's resolver does, and fails where an address is one that the policy refuses.
#[derive(Debug)]
pub(crate) struct Guard {
    policy: Arc<Policy>,
    inner: Option<Arc<dyn Resolver>>,
    /// Proxies are where the settings say, be it this machine.
    proxies: BTreeSet<String>,
}

impl Guard {
    /// `network` with its resolver guarded.
    pub(crate) fn over(network: Network, policy: &Arc<Policy>) -> Network {
        let proxies = network.proxies.iter().flat_map(|proxies| proxies.hosts());
        // The name of a server stays one, whatever else it is.
        let of_servers = |host: &str| policy.allowed().iter().any(|entry| entry.is_at(host));
        let proxies = proxies.filter(|host| !of_servers(host)).map(str::to_owned).collect();
        let guard = Self { policy: Arc::clone(policy), inner: network.resolver.clone(), proxies };
        network.with_resolver(Arc::new(guard))
    }
}

#[async_trait]
impl Resolver for Guard {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let addresses: Vec<IpAddr> = match &self.inner {
            Some(inner) => inner.resolve(host).await?,
            None => tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect(),
        };
        if self.proxies.contains(host) {
            return Ok(addresses);
        }
        // One that may not be is enough: which of them is dialled is not for the name's owner to say.
        for &address in &addresses {
            if let Some(what) = self.policy.refuses(address) {
                let host = host.to_owned();
                return Err(io::Error::other(denied(&Denied::Address { host, address, what })));
            }
        }
        Ok(addresses)
    }
}

/// A refusal as an error.
pub(crate) fn denied(why: &Denied) -> TransportError {
    TransportError::new(ErrorKind::Relay, Delivery::NotSent, why.to_string())
        .with_code(Code::RelayAgentDenied)
        .with_retryable(false)
}
