//! The way to a server: what a connection's route and network settings come to.

use std::time::Duration;

use scm_core::{Error, Result, Route, Transport};
use scm_transport::{
    CaCertificates, ClientIdentity, DirectTransport, Network, Proxies, ProxyTransport, RelayTransport,
};
use secrecy::ExposeSecret as _;
use url::Url;

use crate::config::{AgentConfig, ConnectionConfig};
use crate::source::{Source, Variables};

/// The route of a connection, for what goes beside its client, such as a gateway for git.
///
/// # Errors
/// `Config`, naming the setting and what to do.
pub fn transport_of(config: &ConnectionConfig, vars: Variables<'_>) -> Result<Transport> {
    let settings = &config.network;
    if config.route != Route::Agent && config.agent.is_some() {
        return Err(Error::config(format!(
            "the table 'agent' does nothing on the route '{}'; take it out, or use the route 'agent'",
            config.route
        )));
    }
    let network = network(config, vars)?;
    let is_proxied = settings.http_proxy.is_some()
        || settings.https_proxy.is_some()
        || settings.no_proxy.is_some()
        || settings.proxy_from_env
        || settings.proxy_loopback;
    match config.route {
        Route::Direct if is_proxied => Err(Error::config(
            // Never a silent direct connection.
            "proxy settings (http_proxy, https_proxy, no_proxy, proxy_from_env, proxy_loopback) do nothing on the route \
             'direct'; take them out, or use the route 'proxy'",
        )),
        Route::Direct => Ok(Transport::new(DirectTransport::new(&network)?)),
        Route::Proxy => {
            let proxies = proxies(config, config.url.as_deref(), vars)?;
            Ok(Transport::new(ProxyTransport::new(&network.with_proxies(proxies))?))
        }
        Route::Agent => through_agent(config, network, is_proxied, vars),
        other => Err(Error::config(format!("the route '{other}' is not known"))),
    }
}

/// The network settings are those of the way to the hub: the way to the server is the agent's.
fn through_agent(
    config: &ConnectionConfig,
    network: Network,
    is_proxied: bool,
    vars: Variables<'_>,
) -> Result<Transport> {
    let Some(AgentConfig { hub, name, key, danger_plain_http }) = &config.agent else {
        return Err(Error::config(
            "the route 'agent' needs the table agent, such as agent = { hub = \"https://hub.example.com\", name = \"acme\", \
             key = { file = \"hub.key\" } }",
        ));
    };
    let url = Url::parse(hub.trim())
        .map_err(|_| Error::config("agent.hub is no URL; it is written like https://hub.example.com"))?;
    let key = key.secret("agent.key", &config.dir, vars)?;
    let inner = match is_proxied {
        true => {
            let network = network.with_proxies(proxies(config, Some(url.as_str()), vars)?);
            Transport::new(ProxyTransport::new(&network)?)
        }
        false => Transport::new(DirectTransport::new(&network)?),
    };
    let relay = RelayTransport::new(url, name, key, inner, *danger_plain_http)
        .map_err(|error| Error::config(format!("agent: {}", error.message())))?;
    Ok(Transport::new(relay))
}

/// Those for requests to `target`.
fn proxies(config: &ConnectionConfig, target: Option<&str>, vars: Variables<'_>) -> Result<Proxies> {
    let settings = &config.network;
    let read = |source: &Option<Source>, what: &str| {
        source.as_ref().map(|source| source.secret(what, &config.dir, vars)).transpose()
    };
    let named = |error: Error| Error::config(format!("network.{}", error.message()));
    let given = [&settings.http_proxy, &settings.https_proxy].into_iter().any(Option::is_some);
    let mut proxies = match settings.proxy_from_env {
        true if given || settings.no_proxy.is_some() => {
            return Err(Error::config(
                "network.proxy_from_env takes proxies and exceptions from the usual variables: give either it, or \
                 http_proxy, https_proxy and no_proxy",
            ));
        }
        true => Proxies::from_vars(vars).map_err(|error| {
            Error::config(format!("network.proxy_from_env: the variable {}", error.message()))
        })?,
        false => Proxies::new().with_no_proxy(settings.no_proxy.as_deref().unwrap_or_default()),
    };
    if let Some(url) = read(&settings.http_proxy, "network.http_proxy")? {
        proxies = proxies.with_http_proxy(&url).map_err(named)?;
    }
    if let Some(url) = read(&settings.https_proxy, "network.https_proxy")? {
        proxies = proxies.with_https_proxy(&url).map_err(named)?;
    }
    if settings.proxy_loopback {
        proxies = proxies.with_proxied_loopback();
    }
    let url = target.and_then(|url| Url::parse(url.trim()).ok());
    let is_plain = url.is_some_and(|url| url.scheme() == "http");
    let scheme = if is_plain { "http" } else { "https" };
    if !proxies.has_proxy_for(scheme) {
        // The proxy of the other scheme would leave this connection direct.
        return Err(Error::config(match settings.proxy_from_env {
            true => format!(
                "network.proxy_from_env: neither {scheme}_proxy nor all_proxy is set, for {scheme}:// servers"
            ),
            false => {
                format!(
                    "the route '{}' needs network.{scheme}_proxy, the proxy for {scheme}:// servers",
                    config.route
                )
            }
        }));
    }
    Ok(proxies)
}

/// Certificates and the like, the same for every route.
fn network(config: &ConnectionConfig, vars: Variables<'_>) -> Result<Network> {
    let settings = &config.network;
    let read = |source: &Option<Source>, what: &str| {
        source.as_ref().map(|source| source.text(what, &config.dir, vars)).transpose()
    };
    let mut network = Network::new();
    for (name, limit, field) in [
        ("connect_timeout_s", settings.connect_timeout_s, &mut network.connect_timeout),
        ("read_timeout_s", settings.read_timeout_s, &mut network.read_timeout),
    ] {
        *field = seconds(name, limit)?.unwrap_or(*field);
    }
    network.request_timeout = seconds("request_timeout_s", settings.request_timeout_s)?;
    let ca = settings.ca.as_ref().map(|ca| ca.bytes("network.ca", &config.dir, vars)).transpose()?;
    if let Some(ca) = ca {
        let roots = CaCertificates::parse(ca.expose_secret())
            .map_err(|error| Error::config(format!("network.ca: {}", error.message())))?;
        network = match settings.ca_only {
            true => network.with_roots_only(roots),
            false => network.with_extra_roots(roots),
        };
    } else if settings.ca_only {
        return Err(Error::config("network.ca_only needs network.ca, the certificates to trust"));
    }
    match (
        read(&settings.client_cert, "network.client_cert")?,
        read(&settings.client_key, "network.client_key")?,
    ) {
        (Some(certificate), Some(key)) => {
            let identity = ClientIdentity::parse(certificate.expose_secret(), &key)
                .map_err(|error| Error::config(format!("network.client_cert: {}", error.message())))?;
            network = network.with_client_identity(identity);
        }
        (None, None) => {}
        _ => return Err(Error::config("network.client_cert and network.client_key go together; give both")),
    }
    Ok(network)
}

fn seconds(name: &str, limit: Option<u64>) -> Result<Option<Duration>> {
    match limit {
        Some(0) => Err(Error::config(format!(
            "network.{name} is 0, so that nothing could ever succeed; leave it out for the usual limit"
        ))),
        limit => Ok(limit.map(Duration::from_secs)),
    }
}
