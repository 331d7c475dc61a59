//! Rungs, outcomes and codes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;

/// One step of the ladder, in climbing order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rung {
    /// The configured URL itself.
    Address,
    /// Hub and agent, where the route has them.
    Route,
    /// Name resolution.
    Name,
    /// The TCP connection.
    Connection,
    /// The HTTP proxy, where the route has one.
    Proxy,
    /// Certificates and the TLS handshake.
    Tls,
    /// Is it the expected product, in a supported version?
    Product,
    /// Does the server accept the credential?
    Credential,
    /// What the token may do.
    Scopes,
    /// What the token's user may do.
    Role,
    /// What the token can see.
    Repositories,
}

impl Rung {
    /// The word shown in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Route => "route",
            Self::Name => "name",
            Self::Connection => "connection",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Product => "product",
            Self::Credential => "credential",
            Self::Scopes => "scopes",
            Self::Role => "role",
            Self::Repositories => "repositories",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a rung ended. Ordered: the later, the worse, but for `Skipped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Not climbed: an earlier rung failed, or the route has no such rung.
    Skipped,
    /// In order.
    Passed,
    /// Works, but somebody should look at it.
    Warning,
    /// Broken.
    Failed,
}

/// The codes, with the rung each belongs to, as stable text.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal on $rung:ident),+ $(,)?) => {
        /// What exactly a rung found, as a stable code such as `tls.unknown_issuer`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name),+
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable text.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// The rung that reports it.
            pub fn rung(self) -> Rung {
                match self { $(Self::$name => Rung::$rung),+ }
            }

            /// The kind of the error that it makes.
            pub fn error_kind(self) -> ErrorKind {
                match self.rung() {
                    Rung::Address => ErrorKind::Config,
                    Rung::Route => ErrorKind::Relay,
                    Rung::Name | Rung::Connection => ErrorKind::Connect,
                    Rung::Proxy => ErrorKind::Proxy,
                    Rung::Tls => ErrorKind::Tls,
                    Rung::Product => ErrorKind::Unavailable,
                    Rung::Credential => ErrorKind::Unauthenticated,
                    Rung::Scopes | Rung::Role => ErrorKind::PermissionDenied,
                    Rung::Repositories => ErrorKind::NotFound,
                }
            }
        }
    };
}

codes! {
    /// The URL cannot be used.
    UrlInvalid = "url.invalid" on Address,
    /// The URL is not the server's root.
    UrlNotRoot = "url.not_root" on Address,
    /// The hub cannot be reached.
    RelayHubUnreachable = "relay.hub_unreachable" on Route,
    /// The hub does not accept the key.
    RelayKeyRejected = "relay.key_rejected" on Route,
    /// The agent has never connected.
    RelayAgentNeverSeen = "relay.agent_never_seen" on Route,
    /// The agent was connected and is gone.
    RelayAgentOffline = "relay.agent_offline" on Route,
    /// The agent's policy does not allow the request.
    RelayAgentDenied = "relay.agent_denied" on Route,
    /// Hub and agent do not speak the same version.
    RelayVersion = "relay.version" on Route,
    /// The name does not resolve.
    DnsNotFound = "dns.not_found" on Name,
    /// The resolver does not answer.
    DnsFailed = "dns.failed" on Name,
    /// Nothing listens on the port.
    TcpRefused = "tcp.refused" on Connection,
    /// Nothing answers.
    TcpTimeout = "tcp.timeout" on Connection,
    /// There is no way to the address.
    TcpUnreachable = "tcp.unreachable" on Connection,
    /// The proxy cannot be reached.
    ProxyUnreachable = "proxy.unreachable" on Proxy,
    /// The proxy wants a user name and password (407).
    ProxyAuthRequired = "proxy.auth_required" on Proxy,
    /// The proxy forbids the target (403).
    ProxyForbidden = "proxy.forbidden" on Proxy,
    /// The proxy cannot reach the target.
    ProxyBadGateway = "proxy.bad_gateway" on Proxy,
    /// The certificate's issuer is not trusted.
    TlsUnknownIssuer = "tls.unknown_issuer" on Tls,
    /// The certificate is expired or not valid yet.
    TlsExpired = "tls.expired" on Tls,
    /// The certificate is for another name.
    TlsNameMismatch = "tls.name_mismatch" on Tls,
    /// The port does not speak TLS.
    TlsNotTls = "tls.not_tls" on Tls,
    /// The server wants a client certificate.
    TlsClientCertRequired = "tls.client_cert_required" on Tls,
    /// The handshake failed in another way.
    TlsHandshake = "tls.handshake" on Tls,
    /// The certificate expires soon.
    TlsExpiresSoon = "tls.expires_soon" on Tls,
    /// The chain looks like an intercepting proxy's.
    TlsIntercepted = "tls.intercepted" on Tls,
    /// There is no such API at this address.
    ProductNotFound = "product.not_found" on Product,
    /// Something else answers.
    ProductOther = "product.other" on Product,
    /// A login page answers.
    ProductLoginPage = "product.login_page" on Product,
    /// The server is down or being deployed.
    ServerUnavailable = "server.unavailable" on Product,
    /// The server's version is not supported.
    ServerTooOld = "server.too_old" on Product,
    /// A reverse proxy decodes `%2F`.
    ProductSlashDecoded = "product.slash_decoded" on Product,
    /// The server does not accept the token.
    AuthInvalid = "auth.invalid" on Credential,
    /// The token has expired.
    AuthExpired = "auth.expired" on Credential,
    /// The token was revoked.
    AuthRevoked = "auth.revoked" on Credential,
    /// The server wants a captcha solved in a browser first.
    AuthCaptcha = "auth.captcha" on Credential,
    /// The user is blocked.
    AuthBlocked = "auth.blocked" on Credential,
    /// The token belongs to another user than configured.
    AuthUsernameMismatch = "auth.username_mismatch" on Credential,
    /// The token expires soon.
    AuthExpiresSoon = "auth.expires_soon" on Credential,
    /// The token belongs to a person.
    AuthPersonalToken = "auth.personal_token" on Credential,
    /// A scope is missing.
    ScopeMissing = "scope.missing" on Scopes,
    /// The server does not tell the token's scopes.
    ScopeUnknown = "scope.unknown" on Scopes,
    /// The role is too small on every repository.
    RoleInsufficient = "role.insufficient" on Role,
    /// The role is too small on some repositories.
    RolePartial = "role.partial" on Role,
    /// The token is a member of nothing.
    RepositoriesNone = "repositories.none" on Repositories,
    /// The configured namespace does not exist or cannot be seen.
    NamespaceNotFound = "namespace.not_found" on Repositories,
    /// A named repository does not exist or cannot be seen.
    RepositoryNotVisible = "repository.not_visible" on Repositories,
    /// A named repository is outside the configured namespace.
    RepositoryOutsideNamespace = "repository.outside_namespace" on Repositories,
    /// A named repository may not be written.
    RepositoryWriteDenied = "repository.write_denied" on Repositories,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique() {
        let mut texts: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Code::ALL.len());
    }
}
