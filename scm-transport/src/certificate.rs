//! What a certificate says about itself, for people.

use std::fmt;

use rustls::pki_types::CertificateDer;
use scm_core::{Timestamp, TransportError};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Names shown of a certificate; some carry hundreds.
const MAX_NAMES: usize = 8;

/// What stands in the issuers of proxies and programs that open TLS on the way, in lower case.
const INTERCEPTORS: &[&str] = &[
    "zscaler",
    "netskope",
    "blue coat",
    "bluecoat",
    "fortinet",
    "fortigate",
    "palo alto networks",
    "forcepoint",
    "websense",
    "check point",
    "sophos",
    "umbrella",
    "ironport",
    "mcafee",
    "skyhigh",
    "barracuda",
    "sonicwall",
    "watchguard",
    "untangle",
    "iboss",
    "menlo security",
    "cloudflare gateway",
    "cato networks",
    "mitmproxy",
    "fiddler",
    "charles proxy",
    "squid",
    "portswigger",
    "kaspersky",
    "avast",
    "bitdefender",
    "eset ssl filter",
    "interception",
    "inspection",
    "decryption",
    "web gateway",
    "tls proxy",
    "ssl proxy",
    "ssl-proxy",
    "proxy ca",
    "proxy root",
];

/// The issuer in a chain that looks like one of a proxy that intercepts TLS. A guess by names, good for a hint.
pub(crate) fn interceptor<'a>(chain: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> Option<String> {
    chain.into_iter().find_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let issuer = certificate.issuer();
        // Where somebody is says nothing about what they do.
        let names = issuer
            .iter_common_name()
            .chain(issuer.iter_organization())
            .chain(issuer.iter_organizational_unit());
        let is_marked = names
            .filter_map(|name| name.as_str().ok())
            .map(str::to_lowercase)
            .any(|name| INTERCEPTORS.iter().any(|mark| name.contains(mark)));
        is_marked.then(|| issuer.to_string())
    })
}

/// The parts of a certificate that explain why it is trusted or not. Whoever owns the server chose the texts: they
/// reach people only through `redact::line`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// Subject alternative names. The common name does not count any more.
    pub(crate) names: Vec<String>,
    /// Seconds since 1970.
    pub(crate) not_before: i64,
    /// Seconds since 1970.
    pub(crate) not_after: i64,
}

impl Summary {
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = match certificate.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.iter().filter_map(name).collect(),
            _ => Vec::new(),
        };
        Some(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names,
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }

    pub(crate) fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }

    /// Whose it is and who signed it, for people.
    pub(crate) fn presented(&self) -> String {
        match (self.is_self_signed(), self.subject.as_str()) {
            (true, subject) => format!("self-signed: {subject}"),
            (false, "") => format!("issuer: {}", self.issuer),
            (false, subject) => format!("issuer: {}, subject: {subject}", self.issuer),
        }
    }

    /// The names, cut to what a person reads.
    pub(crate) fn names(&self) -> String {
        let mut out = self.names.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
        if self.names.len() > MAX_NAMES {
            out.push_str(&format!(" and {} more", self.names.len() - MAX_NAMES));
        }
        out
    }

    /// The facts for machines, the same on an error and on a rung.
    pub(crate) fn details(&self) -> [(&'static str, String); 5] {
        [
            ("certificate_subject", self.subject.clone()),
            ("certificate_issuer", self.issuer.clone()),
            ("certificate_names", self.names()),
            ("certificate_not_before", At(self.not_before).to_string()),
            ("certificate_not_after", At(self.not_after).to_string()),
        ]
    }

    pub(crate) fn add_to(&self, mut error: TransportError) -> TransportError {
        for (name, value) in self.details() {
            error = error.with_detail(name, value);
        }
        error
    }
}

/// A moment, in seconds since 1970.
pub(crate) struct At(pub(crate) i64);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_millis(self.0.saturating_mul(1000)) {
            Ok(at) => at.fmt(f),
            Err(_) => write!(f, "{} s since 1970", self.0),
        }
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|ip| std::net::Ipv6Addr::from(ip).to_string()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interceptor_is_told_by_its_name_and_not_by_its_place() {
        let issuer = |parts: &[(rcgen::DnType, &str)]| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            for (kind, text) in parts {
                params.distinguished_name.push(kind.clone(), *text);
            }
            let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone();
            interceptor([&der])
        };
        use rcgen::DnType::{CommonName, LocalityName, OrganizationName, OrganizationalUnitName};
        assert_eq!(
            issuer(&[(LocalityName, "Palo Alto"), (OrganizationName, "Acme"), (CommonName, "Acme CA")]),
            None
        );
        for (kind, name) in [
            (CommonName, "Acme TLS Inspection"),
            (OrganizationName, "Palo Alto Networks"),
            (OrganizationalUnitName, "Zscaler Inc."),
        ] {
            assert!(issuer(&[(kind, name)]).is_some_and(|issuer| issuer.contains(name)), "{name}");
        }
    }

    #[test]
    fn a_certificate_tells_its_names_and_dates() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params =
            rcgen::CertificateParams::new(vec!["git.test".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "Git");
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let summary = Summary::parse(params.self_signed(&key).unwrap().der()).unwrap();
        assert_eq!((summary.subject.as_str(), summary.names().as_str()), ("CN=Git", "git.test, 127.0.0.1"));
        assert!(summary.is_self_signed());
        assert!(At(summary.not_after).to_string().starts_with("2031-02-03T00:00:00"));
        assert_eq!(Summary::parse(b"no certificate"), None);
    }
}
