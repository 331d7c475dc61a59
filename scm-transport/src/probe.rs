//! The network rungs of the check ladder: name, connection, TLS.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls::ProtocolVersion;
use scm_core::{Code, Rung, RungReport, TransportError};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use url::Url;

use crate::certificate::{Summary, interceptor};
use crate::classify::{INTERCEPTOR, Target};
use crate::client::target;
use crate::dial::{self, Clock, Io};
use crate::resolve::Names;
use crate::tls::Tls;

/// One climb, with one time limit for all of it.
pub(crate) struct Probe<'a> {
    pub(crate) tls: &'a Tls,
    pub(crate) names: &'a Names,
    pub(crate) clock: Clock,
}

impl<'a> Probe<'a> {
    /// The time begins now.
    pub(crate) fn new(tls: &'a Tls, names: &'a Names, limit: Duration) -> Self {
        Self { tls, names, clock: Clock::start(limit) }
    }

    pub(crate) async fn climb(&self, url: &Url) -> Vec<RungReport> {
        let Some(target) = target(url) else { return unusable(url) };
        let mut rungs = Vec::with_capacity(3);
        let (rung, addresses) = self.name(&target).await;
        rungs.push(rung);
        let stream = match addresses {
            Some(addresses) => {
                let (rung, stream) = self.connection(&target, &addresses).await;
                rungs.push(rung);
                stream
            }
            None => {
                rungs.push(RungReport::skipped(Rung::Connection, "there is no address to connect to"));
                None
            }
        };
        rungs.push(match stream {
            None => RungReport::skipped(Rung::Tls, "there is no connection"),
            Some(_) if !target.tls => RungReport::skipped(Rung::Tls, "the URL is plain http"),
            Some(stream) => self.tls(&target, stream).await,
        });
        rungs
    }

    async fn name(&self, target: &Target) -> (RungReport, Option<Vec<SocketAddr>>) {
        let start = Instant::now();
        let (rung, addresses) = match dial::resolve(target, self.names, self.clock).await {
            Ok(addresses) => {
                let mut shown = addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>();
                shown.dedup();
                let shown = shown.join(", ");
                let seen = match target.host.parse::<IpAddr>() {
                    Ok(ip) => format!("{ip} is an address"),
                    Err(_) => format!("{} is {shown}", target.host),
                };
                (RungReport::passed(Rung::Name, seen).with_detail("addresses", shown), Some(addresses))
            }
            Err(error) => (failed(&error, target, false), None),
        };
        (rung.with_elapsed(start.elapsed()), addresses)
    }

    async fn connection(&self, target: &Target, addresses: &[SocketAddr]) -> (RungReport, Option<TcpStream>) {
        let start = Instant::now();
        let (rung, stream) = match dial::tcp(target, addresses, self.clock).await {
            Ok(dialled) => {
                let address = dialled.address.to_string();
                let mut rung = RungReport::passed(Rung::Connection, format!("{address} accepts connections"))
                    .with_detail("address", address);
                if let Some(failed) = dialled.failed {
                    rung = rung.with_detail("failed_addresses", failed);
                }
                (rung, Some(dialled.stream))
            }
            Err(error) => (failed(&error, target, false), None),
        };
        (rung.with_elapsed(start.elapsed()), stream)
    }

    /// TLS over a connection, or over a tunnel.
    pub(crate) async fn tls(&self, target: &Target, stream: impl Io) -> RungReport {
        let start = Instant::now();
        let tls = self.tls.fresh();
        let rung = match dial::tls(target, stream, &tls, self.clock).await {
            Ok(stream) => seen(&stream, target, &tls),
            Err(error) => failed(&error, target, tls.has_identity()),
        };
        rung.with_elapsed(start.elapsed())
    }
}

/// There is nothing to climb to.
pub(crate) fn unusable(url: &Url) -> Vec<RungReport> {
    let why = "the URL cannot be used";
    vec![
        RungReport::failed(
            Code::UrlInvalid,
            format!("a URL with the scheme {} and no usable host", url.scheme()),
            "Give the root of the server as an http or https URL, such as https://gitlab.company.com/.",
        ),
        RungReport::skipped(Rung::Name, why),
        RungReport::skipped(Rung::Connection, why),
        RungReport::skipped(Rung::Tls, why),
    ]
}

fn seen<S>(stream: &TlsStream<S>, target: &Target, tls: &Tls) -> RungReport {
    let session = stream.get_ref().1;
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    let certificate = session.peer_certificates().and_then(|chain| Summary::parse(chain.first()?));
    let issuer = certificate.as_ref().map(|certificate| format!(", certificate by {}", certificate.issuer));
    let mut rung =
        RungReport::passed(Rung::Tls, format!("{version} with {target}{}", issuer.unwrap_or_default()))
            .with_detail("protocol", version)
            .with_detail(
                "client_certificate",
                match (tls.was_asked(), tls.has_identity()) {
                    (false, _) => "not asked for",
                    (true, true) => "sent",
                    (true, false) => "asked for, none sent",
                },
            );
    if let Some(alpn) = session.alpn_protocol() {
        rung = rung.with_detail("alpn", String::from_utf8_lossy(alpn));
    }
    for (name, value) in certificate.iter().flat_map(Summary::details) {
        rung = rung.with_detail(name, value);
    }
    match session.peer_certificates().and_then(interceptor) {
        Some(issuer) => intercepted(rung.with_detail(INTERCEPTOR, &issuer), &issuer, target),
        None => rung,
    }
}

fn intercepted(rung: RungReport, issuer: &str, target: &Target) -> RungReport {
    let host = &target.host;
    rung.with_warning(
        Code::TlsIntercepted,
        format!("the certificate looks like one of a proxy that intercepts TLS: {issuer}"),
        format!(
            "Something between seems to open TLS and sign anew. Its CA certificate belongs into the setting `ca`; rather \
             ask whoever runs it to leave {host} out, since it reads every token and file."
        ),
    )
}

fn failed(error: &TransportError, target: &Target, has_identity: bool) -> RungReport {
    let code = error.code().unwrap_or(Code::TlsHandshake);
    let detail = |name: &str| error.details().get(name);
    let remedy = match (code, detail("certificate_subject")) {
        (Code::TlsUnknownIssuer, subject @ Some(_)) if subject == detail("certificate_issuer") => {
            "The server has signed its certificate itself. If that is meant, put this certificate (PEM, or base64 of PEM) into \
             the setting `ca`; better, have one issued by an authority of yours."
                .to_owned()
        }
        (Code::TlsHandshake, Some(_)) => format!(
            "The certificate of {} itself is at fault. Have one issued for a server, by an authority and not marked as one, \
             with a key and a signature that still count as safe (RSA of 2048 bits or more or ECDSA, with SHA-256).",
            target.host
        ),
        _ => remedy(code, target, has_identity),
    };
    let mut rung = RungReport::failed(code, error.to_string(), remedy);
    rung.details.clone_from(error.details());
    match error.details().get(INTERCEPTOR) {
        Some(issuer) => intercepted(rung, issuer, target),
        None => rung,
    }
}

/// What to do, as a support engineer would write it.
pub(crate) fn remedy(code: Code, target: &Target, has_identity: bool) -> String {
    let Target { host, port, .. } = target;
    match code {
        Code::DnsNotFound => format!(
            "Check the spelling of {host}. If it is an internal name, this machine needs a DNS server that knows it, \
             or the connection has to go through a proxy or an agent inside that network."
        ),
        Code::DnsFailed => format!(
            "The DNS server of this machine does not answer for {host}. Check its resolver settings and that port 53 \
             is open, then try again."
        ),
        Code::RelayAgentDenied => format!("Allow the addresses of {host} in the settings, if they are what is meant."),
        Code::TcpRefused => format!(
            "The machine is there, but nothing listens on port {port}. Check the port in the URL and that the server \
             is running; a firewall may also refuse on its behalf."
        ),
        Code::TcpTimeout => format!(
            "Packets to {host} port {port} are dropped on the way. Open the port in the firewall or network policy for \
             the addresses of this service, or use a proxy or an agent inside that network."
        ),
        Code::TcpUnreachable => format!(
            "This machine has no way to {host} port {port}. Check its routes, VPN, network policy and local firewall."
        ),
        Code::TlsUnknownIssuer => {
            "The server's certificate is signed by an authority that this machine does not know. Put that authority's \
             certificate (PEM, or base64 of PEM) into the setting `ca`; where the server sends no intermediate \
             certificates, add those too."
                .to_owned()
        }
        Code::TlsExpired => {
            "Renew the server's certificate. If it looks valid, check the clock of this machine.".to_owned()
        }
        Code::TlsNameMismatch => format!(
            "Use the name that the certificate was made for in the URL, or have a certificate issued whose subject \
             alternative names contain {host}."
        ),
        Code::TlsNotTls => format!(
            "Port {port} answers, but not with TLS. Use http:// in the URL if the server has no TLS, or the port on \
             which it has (often 443)."
        ),
        Code::TlsClientCertRequired if has_identity => {
            "The server does not accept the client certificate. Check that `client_cert` holds the whole chain, is \
             not expired, and comes from an authority the server trusts."
                .to_owned()
        }
        Code::TlsClientCertRequired => {
            "The server asks for a client certificate. Have one issued and put it and its key into the settings \
             `client_cert` and `client_key`."
                .to_owned()
        }
        _ => format!(
            "The TLS handshake did not come to an end. Check that port {port} is the server's https port and that no \
             firewall cuts TLS to {host}; the server must offer TLS 1.2 or 1.3."
        ),
    }
}
