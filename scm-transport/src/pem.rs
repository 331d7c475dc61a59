//! Certificates and keys as people have them: PEM, or base64 of PEM as a Helm value carries it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use rustls::RootCertStore;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use scm_core::{Error, Result};
use secrecy::{ExposeSecret as _, SecretString};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Certificates of authorities, one or many.
///
/// ```
/// use scm_transport::CaCertificates;
///
/// let error = CaCertificates::parse("MIIB…").unwrap_err();
/// assert_eq!(error.kind(), scm_core::ErrorKind::Config);
/// ```
#[derive(Clone)]
pub struct CaCertificates(Vec<CertificateDer<'static>>);

impl CaCertificates {
    /// Reads PEM, or base64 of PEM, with or without line breaks. Text around the certificates is skipped.
    ///
    /// # Errors
    /// `Config`, naming the entry that is wrong and what to do: nothing there, DER, broken base64, a private key, a
    /// certificate request, or anything else that is not a certificate.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self> {
        let what = "CA certificates";
        let text = armoured(text.as_ref(), what)?;
        let mut certificates = Vec::new();
        for entry in entries(&text) {
            let Entry { number, label, .. } = entry;
            let instead = match label {
                "CERTIFICATE" | "X509 CERTIFICATE" => None,
                "TRUSTED CERTIFICATE" => Some(
                    "a certificate in OpenSSL's own form: convert it with `openssl x509 -in FILE -out ca.pem`",
                ),
                "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Some(
                    "a certificate request: give the certificate of the authority that signs such requests",
                ),
                "PKCS7" | "CMS" => {
                    Some("a PKCS#7 bundle: convert it with `openssl pkcs7 -print_certs -in FILE -out ca.pem`")
                }
                "X509 CRL" => Some("a revocation list: leave it out"),
                label if label.ends_with("PRIVATE KEY") => Some(
                    "a private key: take it out, and replace it if others could see it; only certificates go here",
                ),
                _ => Some("not a certificate: leave it out"),
            };
            if let Some(instead) = instead {
                return Err(Error::config(format!("{what}: entry {number} is {instead}")));
            }
            let der = CertificateDer::from(entry.decode(what)?);
            RootCertStore::empty().add(der.clone()).map_err(|error| {
                Error::config(format!(
                    "{what}: entry {number} is not a usable certificate; check it with `openssl x509 -noout -text`"
                ))
                .with_source(error)
            })?;
            certificates.push(der);
        }
        Ok(Self(certificates))
    }

    #[cfg(feature = "direct")]
    pub(crate) fn der(&self) -> &[CertificateDer<'static>] {
        &self.0
    }
}

impl fmt::Debug for CaCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaCertificates").field("count", &self.0.len()).finish_non_exhaustive()
    }
}

/// A client certificate with its chain, and the secret key that goes with it.
#[derive(Clone)]
pub struct ClientIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: SecretString,
}

impl ClientIdentity {
    /// Reads certificate (own first, then the chain) and key from PEM or base64 of PEM. Both may stand in one text
    /// that is given twice. Whether the two belong together shows when a transport is built.
    ///
    /// # Errors
    /// `Config` when there is no certificate or no key, or the key is encrypted.
    pub fn parse(certificate: impl AsRef<[u8]>, key: &SecretString) -> Result<Self> {
        let what = "client certificate";
        let text = armoured(certificate.as_ref(), what)?;
        let chain = entries(&text)
            .filter(|entry| matches!(entry.label, "CERTIFICATE" | "X509 CERTIFICATE"))
            .map(|entry| entry.decode(what).map(CertificateDer::from))
            .collect::<Result<Vec<_>>>()?;
        if chain.is_empty() {
            return Err(Error::config(format!("{what}: there is no certificate among the entries")));
        }
        let identity = Self { chain, key: key.clone() };
        identity.key()?;
        Ok(identity)
    }

    #[cfg(feature = "direct")]
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>> {
        let what = "client key";
        let text = armoured(self.key.expose_secret().as_bytes(), what)?;
        for entry in entries(&text) {
            if entry.label == "ENCRYPTED PRIVATE KEY" || entry.content.contains("ENCRYPTED") {
                return Err(Error::config(format!(
                    "{what}: the key is encrypted; decrypt it with `openssl pkey -in FILE -out key.pem`"
                )));
            }
            match entry.label {
                "PRIVATE KEY" => return Ok(PrivatePkcs8KeyDer::from(entry.decode(what)?).into()),
                "RSA PRIVATE KEY" => return Ok(PrivatePkcs1KeyDer::from(entry.decode(what)?).into()),
                "EC PRIVATE KEY" => return Ok(PrivateSec1KeyDer::from(entry.decode(what)?).into()),
                _ => {}
            }
        }
        Err(Error::config(format!("{what}: there is no private key among the entries")))
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

/// `input` as PEM text with at least one entry.
fn armoured<'a>(input: &'a [u8], what: &str) -> Result<Cow<'a, str>> {
    let fault = |text: &str| Error::config(format!("{what}: {text}"));
    let input = input.trim_ascii();
    if input.is_empty() {
        return Err(fault("the text is empty; give PEM, or base64 of PEM"));
    }
    let text = std::str::from_utf8(input).map_err(|_| fault(not_pem(input)))?;
    if text.contains(BEGIN) {
        return Ok(Cow::Borrowed(text));
    }
    let decoded = decode_base64(text).ok_or_else(|| {
        fault("this is neither PEM (it would begin with `-----BEGIN`) nor base64; was it cut or altered in transit?")
    })?;
    match String::from_utf8(decoded) {
        Ok(text) if text.contains(BEGIN) => Ok(Cow::Owned(text)),
        Ok(text) => Err(fault(not_pem(text.as_bytes()))),
        Err(error) => Err(fault(not_pem(error.as_bytes()))),
    }
}

fn not_pem(bytes: &[u8]) -> &'static str {
    // Every DER structure that could be meant here is a SEQUENCE with a long length.
    if bytes.starts_with(&[0x30, 0x82]) || bytes.starts_with(&[0x30, 0x81]) {
        "this is DER, not PEM; convert it with `openssl x509 -inform der -in FILE -out FILE.pem`"
    } else {
        "this is not PEM, nor base64 of PEM; PEM begins with `-----BEGIN`"
    }
}

struct Entry<'a> {
    /// Position among the entries, from 1.
    number: usize,
    label: &'a str,
    /// What stands between the two lines; `None` where the closing line is missing.
    content: &'a str,
    closed: bool,
}

impl Entry<'_> {
    fn decode(&self, what: &str) -> Result<Vec<u8>> {
        let Self { number, label, .. } = self;
        if !self.closed {
            return Err(Error::config(format!(
                "{what}: entry {number} is cut off: its `-----END {label}-----` is missing"
            )));
        }
        decode_base64(self.content).filter(|der| !der.is_empty()).ok_or_else(|| {
            Error::config(format!("{what}: entry {number} is broken base64; copy the whole file again"))
        })
    }
}

/// The entries of PEM text. Line breaks do not matter, since variables and YAML often lose them.
fn entries(text: &str) -> impl Iterator<Item = Entry<'_>> {
    let mut rest = text;
    let mut number = 0;
    std::iter::from_fn(move || {
        let begin = rest.find(BEGIN)?;
        let after = &rest[begin + BEGIN.len()..];
        let (label, body) = after.split_once(DASHES).unwrap_or((after, ""));
        number += 1;
        // A missing closing line must not swallow the next entry.
        let next = body.find(BEGIN).unwrap_or(body.len());
        let end = body[..next].find(END);
        let content = &body[..end.unwrap_or(next)];
        rest = &body[end.unwrap_or(next)..];
        Some(Entry { number, label: label.trim(), content, closed: end.is_some() })
    })
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    // Escaped line breaks are what JSON and shell variables often leave behind.
    let packed: String = text.replace("\\r", "").replace("\\n", "").split_ascii_whitespace().collect();
    ENGINE.decode(packed).ok()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use scm_core::ErrorKind;

    use super::*;

    fn certificate(name: &str) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap().pem()
    }

    fn fault(text: impl AsRef<[u8]>) -> String {
        let error = CaCertificates::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    }

    #[test]
    fn every_form_that_people_have_is_read() {
        let (one, two) = (certificate("one.test"), certificate("two.test"));
        let both = format!("subject=CN one\n{one}\nissuer: somebody\r\n{}", two.replace('\n', "\r\n"));
        let encoded = STANDARD.encode(&both);
        let wrapped: String =
            encoded.as_bytes().chunks(76).map(|c| format!("{}\n", str::from_utf8(c).unwrap())).collect();
        for (text, count) in [
            (one.clone(), 1),
            (both.clone(), 2),
            (one.replace('\n', " "), 1),
            (one.trim().replace('\n', "\\n"), 1),
            (encoded.trim_end_matches('=').to_owned(), 2),
            (encoded, 2),
            (wrapped, 2),
            (format!("\u{feff}{one}"), 1),
        ] {
            assert_eq!(CaCertificates::parse(&text).unwrap().0.len(), count, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_entry() {
        let good = certificate("good.test");
        let key = rcgen::KeyPair::generate().unwrap();
        let request = rcgen::CertificateParams::new(vec!["x.test".to_owned()]).unwrap();
        let request = request.serialize_request(&key).unwrap().pem().unwrap();
        let der =
            STANDARD.decode(good.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();

        assert!(fault("").contains("empty") && fault("  \n").contains("empty"));
        assert!(fault(&der).contains("DER"));
        assert!(fault(STANDARD.encode(&der)).contains("DER"));
        assert!(fault(STANDARD.encode("hello world")).contains("not PEM"));
        assert!(fault("not base64!").contains("neither PEM"));
        let text = fault(format!("{good}{}", key.serialize_pem()));
        assert!(text.contains("entry 2 is a private key"), "{text}");
        assert!(fault(&request).contains("entry 1 is a certificate request"));
        assert!(fault(good.replacen("MII", "M!I", 1)).contains("entry 1 is broken base64"));
        assert!(fault(format!("{}{good}", &good[..100])).contains("entry 1 is cut off"));
        assert!(
            fault("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----")
                .contains("entry 1 is not a usable")
        );
        assert!(fault("-----BEGIN PKCS7-----\naGVsbG8=\n-----END PKCS7-----").contains("openssl pkcs7"));
    }

    #[test]
    fn a_fault_never_shows_the_key() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let inner: String = key.lines().filter(|line| !line.starts_with('-')).collect();
        let error = CaCertificates::parse(&key).unwrap_err();
        let identity = ClientIdentity::parse(certificate("c.test"), &key.clone().into()).unwrap();
        for shown in [error.report(), format!("{error:?}"), format!("{identity:?}")] {
            assert!(!shown.contains(&inner[..20]), "{shown}");
        }
    }

    #[test]
    fn an_identity_needs_a_certificate_and_a_plain_key() {
        let good = certificate("c.test");
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert!(ClientIdentity::parse(&good, &STANDARD.encode(&key).into()).is_ok());
        assert!(ClientIdentity::parse(format!("{key}{good}"), &format!("{key}{good}").into()).is_ok());
        let fault = |certificate: &str, key: &str| {
            ClientIdentity::parse(certificate, &key.to_owned().into()).unwrap_err().to_string()
        };
        assert!(fault(&key, &key).contains("no certificate"));
        assert!(fault(&good, &good).contains("no private key"));
        assert!(fault(&good, &key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")).contains("openssl pkey"));
        let old =
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----";
        assert!(fault(&good, old).contains("openssl pkey"));
    }

    #[test]
    fn odd_input_never_panics() {
        for text in [
            "-----BEGIN ",
            "-----BEGIN X",
            "-----BEGIN -----",
            "-----BEGIN A----------END A",
            "-----BEGIN ä-----ö",
        ] {
            assert_eq!(CaCertificates::parse(text).unwrap_err().kind(), ErrorKind::Config, "{text}");
        }
    }
}
