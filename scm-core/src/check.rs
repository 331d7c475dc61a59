//! Test Connection: a ladder of rungs that names the fault, and its report.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::id::RepoId;
use crate::redact;
use crate::transport::{Route, TransportError};

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

/// What the connection is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Purpose {
    /// Reading only.
    Read,
    /// Branches, commits and pull requests too.
    #[default]
    Write,
}

/// What a check looks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckOptions {
    /// Repositories that must be there; each is reported on its own.
    pub repositories: Vec<RepoId>,
    /// What the connection is for.
    pub purpose: Purpose,
    /// Warn when a token or certificate expires within so many days.
    pub warn_days: u16,
}

impl Default for CheckOptions {
    /// No named repositories, for writing, warning 14 days ahead.
    fn default() -> Self {
        Self { repositories: Vec::new(), purpose: Purpose::default(), warn_days: 14 }
    }
}

impl CheckOptions {
    /// Also looks at these repositories by name.
    #[must_use]
    pub fn with_repositories(mut self, repositories: impl IntoIterator<Item = RepoId>) -> Self {
        self.repositories = repositories.into_iter().collect();
        self
    }

    /// Sets what the connection is for.
    #[must_use]
    pub fn with_purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
    }

    /// Sets how many days ahead an expiry is warned of.
    #[must_use]
    pub fn with_warn_days(mut self, days: u16) -> Self {
        self.warn_days = days;
        self
    }
}

/// One thing a rung found: a warning or a failure with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// `Warning` or `Failed`.
    pub outcome: Outcome,
    /// What was seen.
    pub seen: String,
    /// What to do, in words that a support engineer could send as they are.
    pub remedy: String,
}

/// One rung of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RungReport {
    /// Which rung.
    pub rung: Rung,
    /// The worst of its findings, or passed, or skipped.
    pub outcome: Outcome,
    /// What was seen, in one line.
    pub seen: String,
    /// Warnings and failures.
    pub findings: Vec<Finding>,
    /// Facts for machines, such as addresses or an issuer.
    pub details: BTreeMap<String, String>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

impl RungReport {
    /// A rung in order so far.
    #[must_use]
    pub fn passed(rung: Rung, seen: impl AsRef<str>) -> Self {
        Self {
            rung,
            outcome: Outcome::Passed,
            seen: redact::line(seen.as_ref()),
            findings: Vec::new(),
            details: BTreeMap::new(),
            elapsed_ms: 0,
        }
    }

    /// A rung that was not climbed, and why.
    #[must_use]
    pub fn skipped(rung: Rung, why: impl AsRef<str>) -> Self {
        Self { outcome: Outcome::Skipped, ..Self::passed(rung, why) }
    }

    /// A rung that failed with one code.
    #[must_use]
    pub fn failed(code: Code, seen: impl AsRef<str>, remedy: impl Into<String>) -> Self {
        Self::passed(code.rung(), seen.as_ref()).with_failure(code, seen, remedy)
    }

    /// The rung that a transport error belongs to, where it names one.
    pub fn from_transport_error(error: &TransportError, remedy: impl Into<String>) -> Option<Self> {
        let mut report = Self::failed(error.code()?, error.to_string(), remedy);
        report.details.clone_from(error.details());
        Some(report)
    }

    /// Adds a warning.
    #[must_use]
    pub fn with_warning(self, code: Code, seen: impl AsRef<str>, remedy: impl Into<String>) -> Self {
        self.with_finding(code, Outcome::Warning, seen.as_ref(), remedy.into())
    }

    /// Adds a failure.
    #[must_use]
    pub fn with_failure(self, code: Code, seen: impl AsRef<str>, remedy: impl Into<String>) -> Self {
        self.with_finding(code, Outcome::Failed, seen.as_ref(), remedy.into())
    }

    fn with_finding(mut self, code: Code, outcome: Outcome, seen: &str, remedy: String) -> Self {
        self.outcome = self.outcome.max(outcome);
        self.findings.push(Finding { code, outcome, seen: redact::line(seen), remedy });
        self
    }

    /// Adds a fact for machines.
    #[must_use]
    pub fn with_detail(mut self, name: impl Into<String>, value: impl AsRef<str>) -> Self {
        self.details.insert(name.into(), redact::line(value.as_ref()));
        self
    }

    /// Sets how long it took.
    #[must_use]
    pub fn with_elapsed(mut self, elapsed: Duration) -> Self {
        self.elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self
    }
}

/// The whole ladder. `Display` prints it as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// The provider, such as `gitlab`.
    pub provider: String,
    /// The server's root.
    pub url: String,
    /// The route taken.
    pub route: Route,
    /// The rungs, in climbing order.
    pub rungs: Vec<RungReport>,
}

impl CheckReport {
    /// A report without rungs yet.
    #[must_use]
    pub fn new(provider: impl Into<String>, url: impl AsRef<str>, route: Route) -> Self {
        Self { provider: provider.into(), url: redact::line(url.as_ref()), route, rungs: Vec::new() }
    }

    /// Adds a rung.
    pub fn push(&mut self, rung: RungReport) {
        self.rungs.push(rung);
    }

    /// Did every climbed rung pass, with or without warnings?
    pub fn is_ok(&self) -> bool {
        self.rungs.iter().all(|rung| rung.outcome != Outcome::Failed)
    }

    /// Every finding, in climbing order.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.rungs.iter().flat_map(|rung| &rung.findings)
    }

    /// Is this code among the findings?
    pub fn has(&self, code: Code) -> bool {
        self.findings().any(|finding| finding.code == code)
    }

    /// The first failure as an error, for callers that want a `Result`.
    ///
    /// # Errors
    /// The first failed finding, with its code as [`Error::server_code`], its remedy in the message.
    pub fn into_result(self) -> Result<Self, Error> {
        let failed = self.findings().find(|finding| finding.outcome == Outcome::Failed);
        let Some(finding) = failed else { return Ok(self) };
        let kind = match finding.code.rung() {
            Rung::Address => ErrorKind::Config,
            Rung::Route => ErrorKind::Relay,
            Rung::Name | Rung::Connection => ErrorKind::Connect,
            Rung::Proxy => ErrorKind::Proxy,
            Rung::Tls => ErrorKind::Tls,
            Rung::Product => ErrorKind::Unavailable,
            Rung::Credential => ErrorKind::Unauthenticated,
            Rung::Scopes | Rung::Role => ErrorKind::PermissionDenied,
            Rung::Repositories => ErrorKind::NotFound,
        };
        let message = format!("{}: {}. {}", finding.code, finding.seen, finding.remedy);
        Err(Error::new(kind, message).with_operation("check").with_server_code(finding.code.as_str()))
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} at {} ({})", self.provider, self.url, self.route)?;
        for rung in &self.rungs {
            let mark = match rung.outcome {
                Outcome::Passed => "ok  ",
                Outcome::Warning => "warn",
                Outcome::Failed => "FAIL",
                Outcome::Skipped => "skip",
            };
            writeln!(f, "  {mark} {:<12} {} ({} ms)", rung.rung, rung.seen, rung.elapsed_ms)?;
            for finding in &rung.findings {
                writeln!(f, "       {}: {}", finding.code, finding.seen)?;
                writeln!(f, "       -> {}", finding.remedy)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_what_failed_and_reads_back() {
        let mut report = CheckReport::new("gitlab", "https://u:p@gitlab.company.com/", Route::Direct);
        report.push(RungReport::passed(Rung::Address, "server root"));
        report.push(
            RungReport::passed(Rung::Credential, "token of svc")
                .with_warning(Code::AuthPersonalToken, "a person's token", "Use a group token.")
                .with_failure(Code::AuthExpired, "expired on 2026-01-01", "Make a new token."),
        );
        assert!(!report.is_ok() && report.has(Code::AuthExpired));
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains("\"auth.expired\"") && !json.contains("u:p"), "{json}");
        assert_eq!(serde_json::from_str::<CheckReport>(&json).unwrap(), report);
        let error = report.into_result().unwrap_err();
        assert_eq!((error.kind(), error.server_code()), (ErrorKind::Unauthenticated, Some("auth.expired")));
    }

    #[test]
    fn codes_are_unique() {
        let mut texts: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Code::ALL.len());
    }
}
