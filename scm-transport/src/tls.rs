//! rustls, set up explicitly: provider, versions, trust, client certificate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};
use scm_core::{Error, Result};

use crate::builder::{Crypto, Network};
use crate::certificate::{Summary, interceptor};

/// The TLS side of one transport.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    trust: Arc<Trust>,
    identity: Arc<Identity>,
}

impl Tls {
    pub(crate) fn new(network: &Network) -> Result<Self> {
        let provider = Arc::new(provider(network.crypto)?);
        let trust = Arc::new(Trust::new(network, &provider)?);
        let identity = Arc::new(Identity::new(network, &provider)?);
        Self::assemble(provider, trust, identity)
    }

    fn assemble(provider: Arc<CryptoProvider>, trust: Arc<Trust>, identity: Arc<Identity>) -> Result<Self> {
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| {
                Error::config("TLS cannot be set up with this crypto provider").with_source(error)
            })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Trust>::clone(&trust) as _)
            .with_client_cert_resolver(Arc::<Identity>::clone(&identity) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), trust, identity })
    }

    /// The same settings with a memory of its own, so that what one handshake leaves behind is its own.
    pub(crate) fn fresh(&self) -> Self {
        let trust = Arc::new(self.trust.fresh());
        let identity = Arc::new(self.identity.fresh());
        let mut config = ClientConfig::clone(&self.config);
        config.dangerous().set_certificate_verifier(Arc::<Trust>::clone(&trust) as _);
        config.client_auth_cert_resolver = Arc::<Identity>::clone(&identity) as _;
        // A resumed session would show no certificate.
        config.resumption = Resumption::disabled();
        Self { config: Arc::new(config), trust, identity }
    }

    /// The same without a choice of protocols, for a server that speaks HTTP/1 only.
    #[cfg(feature = "proxy")]
    pub(crate) fn without_alpn(mut self) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols.clear();
        self
    }

    /// The same for HTTP/1.1 alone: its upgrades are not in HTTP/2.
    #[cfg(feature = "proxy")]
    pub(crate) fn http1(mut self) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = vec![b"http/1.1".to_vec()];
        self
    }

    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// What was last rejected for `host`.
    pub(crate) fn rejected(&self, host: &str) -> Option<Rejected> {
        let rejected = self.trust.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        rejected.as_ref().filter(|rejected| rejected.host == host).cloned()
    }

    /// Has any server asked for a client certificate?
    pub(crate) fn was_asked(&self) -> bool {
        self.identity.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn has_identity(&self) -> bool {
        self.identity.own.is_some()
    }
}

fn provider(choice: Option<Crypto>) -> Result<CryptoProvider> {
    let missing = |name: &str| {
        Error::config(format!(
            "{name} is not built in: turn on the feature `{name}` of the crate scm-transport"
        ))
    };
    match choice {
        Some(Crypto::AwsLcRs) => aws_lc_rs().ok_or_else(|| missing("aws-lc-rs")),
        Some(Crypto::Ring) => ring().ok_or_else(|| missing("ring")),
        None => aws_lc_rs().or_else(ring).ok_or_else(|| {
            Error::config(
                "no cryptography is built in: turn on the feature `aws-lc-rs` or `ring` of the crate scm-transport",
            )
        }),
    }
}

fn aws_lc_rs() -> Option<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    return Some(rustls::crypto::aws_lc_rs::default_provider());
    #[cfg(not(feature = "aws-lc-rs"))]
    return None;
}

fn ring() -> Option<CryptoProvider> {
    #[cfg(feature = "ring")]
    return Some(rustls::crypto::ring::default_provider());
    #[cfg(not(feature = "ring"))]
    return None;
}

/// Whom to trust. Remembers the last certificate it rejected, so that an error can name its issuer.
#[derive(Debug)]
struct Trust {
    inner: Arc<dyn ServerCertVerifier>,
    given: Arc<[CertificateDer<'static>]>,
    rejected: Mutex<Option<Rejected>>,
}

/// A certificate that is not trusted.
#[derive(Clone, Debug)]
pub(crate) struct Rejected {
    host: String,
    pub(crate) certificate: Summary,
    /// Who seems to intercept TLS on the way.
    pub(crate) interceptor: Option<String>,
}

impl Trust {
    fn new(network: &Network, provider: &Arc<CryptoProvider>) -> Result<Self> {
        let (inner, given): (Arc<dyn ServerCertVerifier>, _) = match (
            &network.roots_only,
            &network.extra_roots,
        ) {
            (Some(_), Some(_)) => {
                return Err(Error::config(
                    "extra roots and only roots contradict each other: give all certificates as one of them",
                ));
            }
            (Some(only), None) => (webpki(only.der(), provider)?, only.der()),
            (None, extra) => {
                let extra = extra.as_ref().map_or(&[][..], |extra| extra.der());
                (platform(extra, provider)?, extra)
            }
        };
        Ok(Self { inner, given: given.into(), rejected: Mutex::new(None) })
    }

    fn fresh(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), given: Arc::clone(&self.given), rejected: Mutex::new(None) }
    }

    /// A self-signed server certificate that was given as a root: what `openssl req -x509` makes is marked as an
    /// authority, which webpki never takes for a server's own, while OpenSSL and Go do.
    fn verify_given(
        &self,
        end_entity: &CertificateDer<'_>,
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Option<Result<ServerCertVerified, rustls::Error>> {
        if !self.given.contains(end_entity) {
            return None;
        }
        let summary = Summary::parse(end_entity)?;
        let now = i64::try_from(now.as_secs()).ok()?;
        Some(if now > summary.not_after {
            Err(CertificateError::Expired.into())
        } else if now < summary.not_before {
            Err(CertificateError::NotValidYet.into())
        } else {
            ParsedCertificate::try_from(end_entity)
                .and_then(|certificate| verify_server_name(&certificate, server_name))
                .map(|()| ServerCertVerified::assertion())
        })
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let verified = match verified {
            Ok(verified) => return Ok(verified),
            Err(error) => self.verify_given(end_entity, server_name, now).unwrap_or(Err(error)),
        };
        if verified.is_err()
            && let Some(certificate) = Summary::parse(end_entity)
        {
            let host = server_name.to_str().into_owned();
            let interceptor = interceptor(std::iter::once(end_entity).chain(intermediates));
            *self.rejected.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Rejected { host, certificate, interceptor });
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.inner.requires_raw_public_keys()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.inner.root_hint_subjects()
    }
}

fn platform(
    extra: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>> {
    let verifier =
        rustls_platform_verifier::Verifier::new_with_extra_roots(extra.iter().cloned(), Arc::clone(provider));
    match verifier {
        Ok(verifier) => Ok(Arc::new(verifier)),
        // A machine without a trust store: what was given must do.
        Err(_) if !extra.is_empty() => webpki(extra, provider),
        // Nobody can be trusted, which is no fault until TLS is asked for.
        Err(error) => Ok(Arc::new(NoTrust {
            why: OtherError(Arc::new(NoTrustStore(error))),
            schemes: provider.signature_verification_algorithms.supported_schemes(),
        })),
    }
}

fn webpki(
    roots: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>> {
    let fault = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::config("the CA certificates cannot be used as roots").with_source(error)
    };
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(|error| fault(error.into()))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
        .build()
        .map_err(|error| fault(error.into()))?;
    Ok(verifier)
}

/// There is neither a trust store on this machine nor a CA in the settings.
#[derive(Debug, thiserror::Error)]
#[error("this machine has no trust store and no CA was given")]
pub(crate) struct NoTrustStore(#[source] rustls::Error);

/// Trusts nobody, and says why.
#[derive(Debug)]
struct NoTrust {
    why: OtherError,
    schemes: Vec<SignatureScheme>,
}

impl NoTrust {
    fn error(&self) -> rustls::Error {
        CertificateError::Other(self.why.clone()).into()
    }
}

impl ServerCertVerifier for NoTrust {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Err(self.error())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(self.error())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(self.error())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// The client certificate, or none. Remembers whether a server has asked.
#[derive(Debug)]
struct Identity {
    own: Option<Arc<SingleCertAndKey>>,
    asked: AtomicBool,
}

impl Identity {
    fn new(network: &Network, provider: &CryptoProvider) -> Result<Self> {
        let own = match &network.client_identity {
            None => None,
            Some(identity) => {
                let certified = CertifiedKey::from_der(identity.chain().to_vec(), identity.key()?, provider);
                let certified = certified.map_err(|error| {
                    Error::config(
                        "client certificate: key and certificate cannot be used together; are they of one pair?",
                    )
                    .with_source(error)
                })?;
                Some(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        Ok(Self { own, asked: AtomicBool::new(false) })
    }

    fn fresh(&self) -> Self {
        Self { own: self.own.clone(), asked: AtomicBool::new(false) }
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, root_hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.own.as_ref()?.resolve(root_hints, schemes)
    }

    fn has_certs(&self) -> bool {
        self.own.is_some()
    }
}

#[cfg(test)]
mod tests {
    use scm_core::ErrorKind;

    use super::*;
    use crate::pem::{CaCertificates, ClientIdentity};

    fn pair(name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn the_process_default_stays_untouched() {
        Tls::new(&Network::new()).unwrap();
        assert!(CryptoProvider::get_default().is_none());
    }

    #[test]
    fn a_crypto_that_is_not_built_in_is_named() {
        for (choice, name, built_in) in [
            (Crypto::AwsLcRs, "aws-lc-rs", cfg!(feature = "aws-lc-rs")),
            (Crypto::Ring, "ring", cfg!(feature = "ring")),
        ] {
            match provider(Some(choice)) {
                Ok(_) => assert!(built_in),
                Err(error) => {
                    assert!(!built_in);
                    assert_eq!(error.kind(), ErrorKind::Config);
                    assert!(error.message().contains(&format!("`{name}`")), "{error}");
                }
            }
        }
    }

    #[test]
    fn contradicting_roots_are_a_config_error() {
        let roots = CaCertificates::parse(pair("a.test").0).unwrap();
        let network = Network::new().with_extra_roots(roots.clone()).with_roots_only(roots);
        assert_eq!(Tls::new(&network).unwrap_err().kind(), ErrorKind::Config);
    }

    #[test]
    fn a_key_of_another_certificate_is_a_config_error() {
        let identity = ClientIdentity::parse(pair("a.test").0, &pair("b.test").1.into()).unwrap();
        let error = Tls::new(&Network::new().with_client_identity(identity)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("one pair"), "{error}");
    }
}
