//! The network rungs of the check ladder: name, connection, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ProtocolVersion;
use rustls::pki_types::ServerName;
use scm_core::{Code, Rung, RungReport, TransportError};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

use crate::certificate::Summary;
use crate::classify::{self, Target};
use crate::direct::target;
use crate::resolve::lookup;
use crate::tls::Tls;

/// How long a server that asked for a client certificate may take to say that it wants one, with TLS 1.3.
const VERDICT: Duration = Duration::from_secs(1);

/// One climb.
pub(crate) struct Probe<'a> {
    pub(crate) tls: &'a Tls,
    /// Longest time for each rung.
    pub(crate) limit: Duration,
}

impl Probe<'_> {
    pub(crate) async fn climb(&self, url: &Url) -> Vec<RungReport> {
        let Some(target) = target(url) else {
            return vec![
                RungReport::failed(
                    Code::UrlInvalid,
                    format!("a URL with the scheme {} and no usable host", url.scheme()),
                    "Give the root of the server as an http or https URL, such as https://gitlab.company.com/.",
                ),
                RungReport::skipped(Rung::Name, "the URL cannot be used"),
                RungReport::skipped(Rung::Connection, "the URL cannot be used"),
                RungReport::skipped(Rung::Tls, "the URL cannot be used"),
            ];
        };

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
        if let Ok(ip) = target.host.parse::<IpAddr>() {
            let rung = RungReport::passed(Rung::Name, format!("{ip} is an address"))
                .with_detail("addresses", ip.to_string());
            return (rung, Some(vec![SocketAddr::new(ip, target.port)]));
        }
        let start = Instant::now();
        match lookup(&target.host, target.port, self.limit).await {
            Ok(addresses) => {
                let mut shown = addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>();
                shown.dedup();
                let shown = shown.join(", ");
                let rung = RungReport::passed(Rung::Name, format!("{} is {shown}", target.host))
                    .with_detail("addresses", shown)
                    .with_elapsed(start.elapsed());
                (rung, Some(addresses))
            }
            Err(error) => {
                let rung = failed(&error.to_transport(), target, false);
                (rung.with_elapsed(start.elapsed()), None)
            }
        }
    }

    /// Tries the addresses in turn, each with its share of the time that is left.
    async fn connection(&self, target: &Target, addresses: &[SocketAddr]) -> (RungReport, Option<TcpStream>) {
        let start = Instant::now();
        let mut failures: Vec<(SocketAddr, TransportError)> = Vec::new();
        for (index, address) in addresses.iter().enumerate() {
            let left = self.limit.saturating_sub(start.elapsed());
            let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let error = match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let mut rung =
                        RungReport::passed(Rung::Connection, format!("{address} accepts connections"))
                            .with_detail("address", address.to_string());
                    if !failures.is_empty() {
                        rung = rung.with_detail("failed_addresses", list(&failures));
                    }
                    return (rung.with_elapsed(start.elapsed()), Some(stream));
                }
                // No handshake has begun, so that every failure is one of the connection.
                Ok(Err(error)) => classify::connect(&error, &Target { tls: false, ..target.clone() }),
                Err(_) => classify::connect_timed_out(target, self.limit),
            };
            failures.push((*address, error));
        }
        // The most telling one: a refusal proves that a machine is there, a timeout proves nothing.
        let rank = |error: &TransportError| match error.code() {
            Some(Code::TcpRefused) => 0,
            Some(Code::TcpTimeout) => 1,
            _ => 2,
        };
        let shown = list(&failures);
        let rung = match failures.iter().min_by_key(|(_, error)| rank(error)) {
            Some((_, error)) => failed(error, target, false).with_detail("failed_addresses", shown),
            None => RungReport::failed(Code::DnsNotFound, format!("{} has no address", target.host), ""),
        };
        (rung.with_elapsed(start.elapsed()), None)
    }

    async fn tls(&self, target: &Target, stream: TcpStream) -> RungReport {
        let start = Instant::now();
        let tls = self.tls.fresh();
        let outcome = match timeout(self.limit, self.handshake(target, stream, &tls)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(classify::tls_fault(
                Code::TlsHandshake,
                format!("{target} did not finish the TLS handshake within {:?}", self.limit),
            )),
        };
        let rung = match outcome {
            Ok(rung) => rung,
            Err(error) => failed(&error, target, tls.has_identity()),
        };
        rung.with_elapsed(start.elapsed())
    }

    async fn handshake(
        &self,
        target: &Target,
        stream: TcpStream,
        tls: &Tls,
    ) -> Result<RungReport, TransportError> {
        let name = ServerName::try_from(target.host.clone()).map_err(|_| {
            classify::tls_fault(
                Code::TlsNameMismatch,
                format!("{} cannot be a name in a certificate", target.host),
            )
        })?;
        let fault = |error: &io::Error| match classify::find::<rustls::Error>(error) {
            Some(error) => classify::handshake(error, target, tls),
            None => classify::connect(error, target),
        };
        let connector = TlsConnector::from(Arc::clone(tls.config()));
        let mut stream = connector.connect(name, stream).await.map_err(|error| fault(&error))?;
        let late = tls.was_asked() && stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        if late {
            verdict(&mut stream, target, tls, fault).await?;
        }
        Ok(seen(&stream, target, tls))
    }
}

/// With TLS 1.3 the handshake is over for the client before the server has looked at the client's certificate.
async fn verdict(
    stream: &mut TlsStream<TcpStream>,
    target: &Target,
    tls: &Tls,
    fault: impl Fn(&io::Error) -> TransportError,
) -> Result<(), TransportError> {
    match timeout(VERDICT, stream.read(&mut [0; 1])).await {
        // Silence, or the start of HTTP/2: the server is content.
        Err(_) | Ok(Ok(1..)) => Ok(()),
        Ok(Err(error)) if classify::find::<rustls::Error>(&error).is_some() => Err(fault(&error)),
        Ok(_) if tls.has_identity() => Err(classify::broken_handshake(target)),
        Ok(_) => Err(classify::tls_fault(
            Code::TlsClientCertRequired,
            format!("{target} asked for a client certificate, got none, and closed the connection"),
        )),
    }
}

fn seen(stream: &TlsStream<TcpStream>, target: &Target, tls: &Tls) -> RungReport {
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
    rung
}

fn list(failures: &[(SocketAddr, TransportError)]) -> String {
    let shown = failures.iter().map(|(address, error)| {
        let code = error.code().map_or("failed", Code::as_str);
        format!("{}: {code}", address.ip())
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn failed(error: &TransportError, target: &Target, has_identity: bool) -> RungReport {
    let code = error.code().unwrap_or(Code::TlsHandshake);
    let remedy = remedy(code, target, has_identity);
    let mut rung = RungReport::failed(code, error.to_string(), remedy);
    rung.details.clone_from(error.details());
    rung
}

/// What to do, as a support engineer would write it.
fn remedy(code: Code, target: &Target, has_identity: bool) -> String {
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
