//! What failed, told from the chain of causes under a reqwest error.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::{AlertDescription, CertificateError};
use scm_core::{Code, Delivery, ErrorKind, TransportError};

use crate::certificate::{At, Summary};
use crate::resolve::ResolveError;
use crate::tls::{NoTrustStore, Tls};

/// The detail that names who seems to intercept TLS on the way.
pub(crate) const INTERCEPTOR: &str = "certificate_interceptor";

/// Host and port of a request, which are safe to show.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Without brackets, also for IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Why no head of an answer came.
pub(crate) fn request(
    error: reqwest::Error,
    target: &Target,
    tls: &Tls,
    connect_limit: Duration,
) -> TransportError {
    let error = error.without_url();
    let fault = if let Some(cause) = find::<ResolveError>(&error) {
        cause.to_transport()
    } else if error.is_connect() {
        if let Some(cause) = find::<rustls::Error>(&error) {
            handshake(cause, target, tls)
        } else if error.is_timeout() {
            connect_timed_out(target, connect_limit)
        } else if let Some(cause) = io_cause(&error) {
            connect(cause, target)
        } else {
            TransportError::new(ErrorKind::Connect, Delivery::NotSent, format!("no connection to {target}"))
        }
    } else if let Some(alert) = find::<rustls::Error>(&error)
        .or(in_words(&error).as_ref())
        .and_then(|cause| client_certificate(cause, target, tls))
    {
        // With TLS 1.3 the server's verdict comes after the handshake, but before it takes any request.
        alert
    } else {
        exchange(&error, target, tls)
    };
    fault.with_source(error)
}

/// A connection was there, and failed before the head of an answer was complete.
fn exchange(error: &reqwest::Error, target: &Target, tls: &Tls) -> TransportError {
    let unavailable = |delivery, message: &str| {
        TransportError::new(ErrorKind::Unavailable, delivery, format!("{target}: {message}"))
    };
    if let Some(cause) = find::<h2::Error>(error) {
        let refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        // The server is shutting down. It answers streams up to a number it names; those above, such as this one,
        // it never took.
        let never_taken = cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR);
        if cause.is_remote() && (refused || never_taken) {
            return unavailable(
                Delivery::NotSent,
                "the server took no further request on this HTTP/2 connection",
            );
        }
        return unavailable(Delivery::Unknown, "the HTTP/2 exchange failed before an answer came");
    }
    if let Some(cause) = find::<hyper::Error>(error) {
        if cause.is_canceled() {
            return unavailable(
                Delivery::NotSent,
                "the connection was closed before the request was written",
            );
        }
        if cause.is_parse() {
            let hint = if target.tls { "" } else { "; is this the port for https?" };
            let message = format!("{target}: the answer is not valid HTTP{hint}");
            return TransportError::new(ErrorKind::Decode, Delivery::Unknown, message).with_retryable(false);
        }
        if cause.is_user() {
            // The caller's own body is asked before this; what is left is a defect, or a runtime that shuts down.
            let message = format!("{target}: the HTTP client gave the request up");
            return TransportError::new(ErrorKind::Internal, Delivery::Unknown, message);
        }
    }
    if error.is_builder() {
        let message = format!("{target}: the request cannot be made");
        return TransportError::new(ErrorKind::InvalidInput, Delivery::NotSent, message);
    }
    if io_cause(error).is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut) {
        let message = format!("{target}: the connection died before an answer came");
        return TransportError::new(ErrorKind::Timeout, Delivery::Unknown, message);
    }
    // A reset can overtake the alert that would have said so.
    let hint = match target.tls && tls.was_asked() && !tls.has_identity() {
        true => "; the server had asked for a client certificate",
        false => "",
    };
    unavailable(Delivery::Unknown, &format!("the connection was closed before an answer came{hint}"))
}

/// Why the body of an answer ended early.
pub(crate) fn answer_body(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    let fault = if io_cause(&error).is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut) {
        TransportError::new(ErrorKind::Timeout, Delivery::Unknown, "the connection died within the answer")
    } else {
        let message = "the answer was cut off: the connection broke before its end";
        TransportError::new(ErrorKind::Unavailable, Delivery::Unknown, message)
    };
    fault.with_source(error)
}

/// The server was silent for too long.
pub(crate) fn silent(limit: Duration) -> TransportError {
    let message = format!("the server sent nothing for {limit:?}");
    TransportError::new(ErrorKind::Timeout, Delivery::Unknown, message)
}

/// The request as a whole took too long.
pub(crate) fn out_of_time(limit: Duration) -> TransportError {
    let message = format!("the request did not end within its limit of {limit:?}");
    TransportError::new(ErrorKind::Timeout, Delivery::Unknown, message)
}

/// No TCP connection in time.
pub(crate) fn connect_timed_out(target: &Target, limit: Duration) -> TransportError {
    let message = format!("no connection to {target} within {limit:?}");
    TransportError::new(ErrorKind::Connect, Delivery::NotSent, message).with_code(Code::TcpTimeout)
}

/// A failed system call on the way to a connection. What breaks an established one breaks it within the handshake.
pub(crate) fn connect(error: &io::Error, target: &Target) -> TransportError {
    use io::ErrorKind as Io;

    let kind = io_cause(error).unwrap_or(error).kind();
    let (code, message) = match kind {
        Io::ConnectionRefused => (Code::TcpRefused, format!("connection refused by {target}")),
        Io::TimedOut => (Code::TcpTimeout, format!("connection to {target} timed out")),
        Io::ConnectionReset
        | Io::ConnectionAborted
        | Io::BrokenPipe
        | Io::UnexpectedEof
        | Io::NotConnected
            if target.tls =>
        {
            return broken_handshake(target);
        }
        _ => (Code::TcpUnreachable, format!("{target} is unreachable: {kind}")),
    };
    TransportError::new(ErrorKind::Connect, Delivery::NotSent, message).with_code(code)
}

/// The connection ended within the handshake: often a firewall, sometimes a server that is just restarting.
pub(crate) fn broken_handshake(target: &Target) -> TransportError {
    let message = format!("{target} closed the connection during the TLS handshake");
    TransportError::new(ErrorKind::Tls, Delivery::NotSent, message)
        .with_code(Code::TlsHandshake)
        .with_retryable(true)
}

/// A TLS handshake that failed for a reason of its own.
pub(crate) fn handshake(error: &rustls::Error, target: &Target, tls: &Tls) -> TransportError {
    if let Some(fault) = client_certificate(error, target, tls) {
        return fault;
    }
    let rejected = tls.rejected(&target.host);
    let clock = now().to_string();
    let (code, message) = match error {
        rustls::Error::InvalidCertificate(cause) => {
            let seen = rejected.as_ref().map(|rejected| &rejected.certificate);
            let (code, mut message) = certificate(cause, target, seen, &clock);
            if let Some(seen) = seen {
                message.push_str(&format!(" ({})", seen.presented()));
            }
            (code, message)
        }
        rustls::Error::InvalidMessage(_) => (
            Code::TlsNotTls,
            format!("{target} does not speak TLS: the first record does not look like a TLS handshake"),
        ),
        rustls::Error::AlertReceived(alert) => {
            (Code::TlsHandshake, format!("{target} ended the TLS handshake with the alert {alert:?}"))
        }
        rustls::Error::PeerIncompatible(_) => {
            (Code::TlsHandshake, format!("{target} offers no TLS version or cipher that is safe to use"))
        }
        _ => (Code::TlsHandshake, format!("the TLS handshake with {target} failed")),
    };
    let fault = tls_fault(code, message);
    match rejected {
        Some(rejected) if matches!(error, rustls::Error::InvalidCertificate(_)) => {
            let fault = rejected.certificate.add_to(fault);
            // A wrong clock looks like a wrong certificate.
            let fault = if code == Code::TlsExpired { fault.with_detail("clock", clock) } else { fault };
            match rejected.interceptor {
                Some(interceptor) => fault.with_detail(INTERCEPTOR, interceptor),
                None => fault,
            }
        }
        _ => fault,
    }
}

/// What this machine takes for the time.
fn now() -> At {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    At(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// The words are those that people find when they search for them.
fn certificate(
    error: &CertificateError,
    target: &Target,
    seen: Option<&Summary>,
    clock: &str,
) -> (Code, String) {
    use CertificateError as E;

    let unknown =
        || (Code::TlsUnknownIssuer, format!("{target}: x509: certificate signed by unknown authority"));
    match error {
        E::UnknownIssuer => unknown(),
        E::Other(other) if find::<NoTrustStore>(&*other.0).is_some() => (
            Code::TlsUnknownIssuer,
            format!(
                "{target}: x509: certificate signed by unknown authority: this machine has no trust store and no CA \
                 was given"
            ),
        ),
        E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => {
            let yet = matches!(error, E::NotValidYet | E::NotValidYetContext { .. });
            let dates = match seen {
                Some(seen) if yet => {
                    format!(
                        ": valid from {}, and the clock of this machine says {clock}",
                        At(seen.not_before)
                    )
                }
                Some(seen) => format!(": valid until {}", At(seen.not_after)),
                None => String::new(),
            };
            (Code::TlsExpired, format!("{target}: x509: certificate has expired or is not yet valid{dates}"))
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            let names = match seen {
                Some(seen) if seen.names.is_empty() => "has no subject alternative name at all".to_owned(),
                Some(seen) => format!("is valid for {}, not for {}", seen.names(), target.host),
                None => format!("is not valid for {}", target.host),
            };
            (Code::TlsNameMismatch, format!("{target}: x509: certificate {names}"))
        }
        // webpki stops at what is wrong with it in itself, and most are marked as authorities. Whoever gives it as a root has it
        // trusted all the same.
        E::Other(_) if seen.is_some_and(Summary::is_self_signed) => unknown(),
        other => {
            let why = match other {
                E::Other(other) => other.0.to_string(),
                other => other.to_string(),
            };
            (Code::TlsHandshake, format!("{target}: the server's certificate is not accepted: {why}"))
        }
    }
}

/// The server wants a client certificate, or does not like the one it got.
fn client_certificate(error: &rustls::Error, target: &Target, tls: &Tls) -> Option<TransportError> {
    use AlertDescription as Alert;

    let rustls::Error::AlertReceived(alert) = error else { return None };
    let about_certificate = matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    );
    let message = match alert {
        Alert::CertificateRequired => {
            format!("{target}: tls: certificate required: the server wants a client certificate")
        }
        _ if about_certificate && tls.has_identity() => {
            format!("{target} does not accept the client certificate: alert {alert:?}")
        }
        // TLS 1.2 has no alert of its own for it.
        _ if (about_certificate || *alert == Alert::HandshakeFailure)
            && tls.was_asked()
            && !tls.has_identity() =>
        {
            format!(
                "{target} asked for a client certificate, got none, and ended the handshake: alert {alert:?}"
            )
        }
        _ => return None,
    };
    Some(tls_fault(Code::TlsClientCertRequired, message))
}

/// A fault that lasts until somebody changes a certificate or a setting.
pub(crate) fn tls_fault(code: Code, message: String) -> TransportError {
    TransportError::new(ErrorKind::Tls, Delivery::NotSent, message).with_code(code).with_retryable(false)
}

/// The first cause of type `T`, looking also into I/O errors, which hide what they wrap.
pub(crate) fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|wrapped| find(wrapped)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The alert about a client certificate of which HTTP/2 has kept the words alone.
fn in_words(error: &reqwest::Error) -> Option<rustls::Error> {
    use AlertDescription as Alert;

    let words = io_cause(error)?.to_string();
    [
        Alert::CertificateRequired,
        Alert::BadCertificate,
        Alert::UnsupportedCertificate,
        Alert::CertificateRevoked,
        Alert::CertificateExpired,
        Alert::CertificateUnknown,
        Alert::UnknownCA,
        Alert::AccessDenied,
    ]
    .into_iter()
    .map(rustls::Error::AlertReceived)
    .find(|alert| alert.to_string() == words)
}

/// The innermost I/O error: the outer ones only pass it on.
fn io_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    let mut found = find::<io::Error>(error)?;
    while let Some(inner) = found.get_ref().and_then(|wrapped| find::<io::Error>(wrapped)) {
        found = inner;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::Network;

    fn target() -> Target {
        Target { host: "git.test".to_owned(), port: 443, tls: true }
    }

    #[test]
    fn causes_are_found_through_io_errors() {
        let inner = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::HandshakeNotComplete);
        let outer = io::Error::other(inner);
        assert_eq!(find::<rustls::Error>(&outer), Some(&rustls::Error::HandshakeNotComplete));
        assert!(find::<h2::Error>(&outer).is_none());
        let outer = io::Error::other(io::Error::other(io::Error::from(io::ErrorKind::ConnectionReset)));
        assert_eq!(io_cause(&outer).unwrap().kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn failed_connections_have_their_codes() {
        use io::ErrorKind as Io;

        for (kind, code, error_kind) in [
            (Io::ConnectionRefused, Code::TcpRefused, ErrorKind::Connect),
            (Io::TimedOut, Code::TcpTimeout, ErrorKind::Connect),
            (Io::HostUnreachable, Code::TcpUnreachable, ErrorKind::Connect),
            (Io::NetworkUnreachable, Code::TcpUnreachable, ErrorKind::Connect),
            (Io::PermissionDenied, Code::TcpUnreachable, ErrorKind::Connect),
            (Io::AddrNotAvailable, Code::TcpUnreachable, ErrorKind::Connect),
            (Io::ConnectionReset, Code::TlsHandshake, ErrorKind::Tls),
            (Io::UnexpectedEof, Code::TlsHandshake, ErrorKind::Tls),
        ] {
            let error = connect(&kind.into(), &target());
            assert_eq!((error.code(), error.kind()), (Some(code), error_kind), "{kind:?}");
            assert_eq!(error.delivery(), Delivery::NotSent);
            assert!(scm_core::Error::from(error).is_retryable(), "{kind:?}");
        }
    }

    #[test]
    fn tls_faults_have_their_codes_and_are_not_repeated() {
        use rustls::Error as E;

        let tls = Tls::new(&Network::new()).unwrap();
        for (error, code, words) in [
            (
                E::InvalidCertificate(CertificateError::UnknownIssuer),
                Code::TlsUnknownIssuer,
                "x509: certificate signed by unknown authority",
            ),
            (
                E::InvalidCertificate(CertificateError::Expired),
                Code::TlsExpired,
                "x509: certificate has expired",
            ),
            (E::InvalidCertificate(CertificateError::NotValidYet), Code::TlsExpired, "not yet valid"),
            (E::InvalidCertificate(CertificateError::NotValidForName), Code::TlsNameMismatch, "git.test"),
            (E::InvalidCertificate(CertificateError::Revoked), Code::TlsHandshake, "not accepted"),
            (
                E::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                Code::TlsNotTls,
                "does not speak TLS",
            ),
            (
                E::AlertReceived(AlertDescription::CertificateRequired),
                Code::TlsClientCertRequired,
                "required",
            ),
            // Nobody was asked for a certificate, so this is about something else.
            (E::AlertReceived(AlertDescription::HandshakeFailure), Code::TlsHandshake, "HandshakeFailure"),
            (E::HandshakeNotComplete, Code::TlsHandshake, "failed"),
        ] {
            let fault = handshake(&error, &target(), &tls);
            assert_eq!((fault.code(), fault.kind()), (Some(code), ErrorKind::Tls), "{error:?}");
            assert_eq!(fault.delivery(), Delivery::NotSent);
            assert!(fault.to_string().contains(words), "{fault}");
            assert!(!scm_core::Error::from(fault).is_retryable(), "{error:?}");
        }
    }
}
