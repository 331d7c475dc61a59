//! TLS for those who call: certificates that are read again when their files change.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use scm_core::{Error, Result};

use crate::config::TlsFiles;

/// What handshakes are made with.
pub(crate) struct Tls {
    files: TlsFiles,
    current: RwLock<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    read: Vec<Vec<u8>>,
}

impl Tls {
    pub(crate) fn new(files: TlsFiles) -> Result<Self> {
        let read = read(&files)?;
        let config = build(&files, &read)?;
        Ok(Self { files, current: RwLock::new(Current { config, read }) })
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    /// Takes what the files have now, where that has changed.
    pub(crate) fn reload(&self) -> Result<bool> {
        let read = read(&self.files)?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).read == read {
            return Ok(false);
        }
        let config = build(&self.files, &read)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Current { config, read };
        Ok(true)
    }
}

fn read(files: &TlsFiles) -> Result<Vec<Vec<u8>>> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|error| Error::config(format!("{} cannot be read: {error}", path.display())))
    };
    [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()]
        .into_iter()
        .flatten()
        .map(|path| read(path))
        .collect()
}

fn build(files: &TlsFiles, read: &[Vec<u8>]) -> Result<Arc<ServerConfig>> {
    let certificates = |path: &Path, pem: &[u8]| -> Result<Vec<CertificateDer<'static>>> {
        let wrong = || Error::config(format!("{} has no certificate in PEM", path.display()));
        let found =
            CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| wrong())?;
        if found.is_empty() { Err(wrong()) } else { Ok(found) }
    };
    let [certificate, key, clients @ ..] = read else {
        return Err(Error::config("TLS needs a certificate and its key"));
    };
    let chain = certificates(&files.certificate, certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| Error::config(format!("{} has no private key in PEM", files.key.display())))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let unusable = |error: &dyn std::fmt::Display| Error::config(format!("TLS cannot be set up: {error}"));
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    let builder = match (clients, &files.client_ca) {
        ([pem, ..], Some(path)) => {
            let mut store = RootCertStore::empty();
            for authority in certificates(path, pem)? {
                store.add(authority).map_err(|error| unusable(&error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider)
                .build()
                .map_err(|error| unusable(&error))?;
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| unusable(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
