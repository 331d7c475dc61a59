//! What helps, in the words of the agent's settings.

use scm_core::{Code, RungReport, TransportError};

/// The routes' own words, and the agent's: their advice is written for a service that is a program's own.
const WORDS: &[(&str, &str)] = &[
    (", or the connection has to go through a proxy or an agent inside that network", ""),
    (" for the addresses of this service, or use a proxy or an agent inside that network", ""),
    ("that this service cannot do", "that the agent cannot do"),
    ("This machine has", "The agent's machine has"),
    ("this machine", "the agent's machine"),
    ("`ca`", "`customCaCert`"),
    ("`client_cert`", "`clientCert`"),
    ("`client_key`", "`clientKey`"),
    ("`no_proxy = ", "`proxy.noProxy = "),
    ("`http_proxy`", "`proxy.httpProxy`"),
    ("`https_proxy`", "`proxy.httpsProxy`"),
];

/// `text` of a route as the agent says it.
pub(crate) fn in_own_words(text: &str) -> String {
    WORDS.iter().fold(text.to_owned(), |text, (theirs, own)| text.replace(theirs, own))
}

/// A rung of a route as the agent reports it.
pub(crate) fn own_rung(mut rung: RungReport) -> RungReport {
    rung.seen = in_own_words(&rung.seen);
    for finding in &mut rung.findings {
        finding.seen = in_own_words(&finding.seen);
        finding.remedy = match finding.code {
            Code::RelayAgentDenied => {
                "Check what the name leads to, seen from the agent. If that address is meant, list it in the agent's \
                 `allowAddresses`."
                    .to_owned()
            }
            _ => in_own_words(&finding.remedy),
        };
    }
    rung
}

/// What helps where no tunnel opens, and the setting to look at.
pub(crate) fn for_tunnel(error: &TransportError) -> String {
    let text = match error.code() {
        Some(Code::DnsNotFound) => {
            "check the name in `hub`; behind a proxy, which resolves names itself, set `proxy.httpsProxy`"
        }
        Some(Code::DnsFailed) => {
            "the resolver does not answer: check the DNS settings of this machine or cluster"
        }
        Some(Code::TcpRefused) => "check host and port in `hub`",
        Some(Code::TcpTimeout | Code::TcpUnreachable) => {
            "open the way out to the hub (firewall, network policy), or set `proxy.httpsProxy` where a proxy is the way out"
        }
        Some(Code::ProxyUnreachable) => "check `proxy.httpsProxy`, and that this machine may connect to it",
        Some(Code::ProxyAuthRequired) => {
            "put user name and password into `proxy.httpsProxy`, as http://USER:PASSWORD@HOST:PORT, percent-encoded"
        }
        Some(Code::ProxyForbidden) => "ask whoever runs the proxy to allow the hub",
        Some(Code::ProxyBadGateway) => {
            "the proxy cannot reach the hub: ask whoever runs it, or add the hub to `proxy.noProxy` if the way is direct"
        }
        Some(Code::TlsUnknownIssuer) => {
            "put the certificate of the authority that signed it (PEM, or base64 of PEM) into `customCaCert`; a proxy that \
             opens TLS on the way has one of its own"
        }
        Some(Code::TlsExpired) => {
            let clock = error.details().get("clock").map_or("", String::as_str);
            return format!(
                "the clock of this machine says {clock}: if that is wrong, put it right; else the hub's certificate has to \
                 be renewed"
            );
        }
        Some(Code::TlsNameMismatch) => "use the name that the hub's certificate was made for in `hub`",
        Some(Code::TlsNotTls) => "check the port in `hub`: it has no TLS",
        Some(Code::TlsClientCertRequired) => {
            "the hub wants a client certificate: set `tunnel.clientCert` and `tunnel.clientKey`"
        }
        Some(Code::RelayKeyRejected) => {
            "check `accessKey`: the hub's operator makes one by `scm-hub keygen --agent NAME` and lists its hash"
        }
        Some(Code::RelayVersion) => "update the agent, or the hub",
        Some(Code::RelayHubUnreachable) if error.details().contains_key("hub_code") => {
            "the hub is there, and takes no tunnel now: it may be restarting"
        }
        Some(Code::RelayHubUnreachable) => "check that `hub` is the URL of a hub, as its operator gave it",
        _ => "`scm-agent check` shows each step of the way",
    };
    text.to_owned()
}
