//! Self-signed certificates, made when first needed.

use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::NoServerSessionStorage,
};
use thiserror::Error;

/// A certificate cannot be made.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The certificate itself.
    #[error("cannot make a self-signed certificate")]
    Certificate(#[from] rcgen::Error),
    /// Its use.
    #[error("cannot use the certificate")]
    Use(#[from] rustls::Error),
}

/// The certificate of one BMC, or of many that share it.
#[derive(Debug)]
pub struct Tls {
    names: Vec<String>,
    config: Mutex<Option<Arc<ServerConfig>>>,
}

// === impl Tls ===

impl Tls {
    /// A certificate for these names and addresses; it is made when the first connection comes.
    #[must_use]
    pub const fn new(names: Vec<String>) -> Self {
        Self { names, config: Mutex::new(None) }
    }

    /// Forgets the certificate: the next connection sees another one, as after a reset to factory defaults.
    pub fn renew(&self) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The server's side of TLS.
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = config.as_ref() {
            return Ok(Arc::clone(config));
        }
        let made = Arc::new(self.make()?);
        *config = Some(Arc::clone(&made));
        Ok(made)
    }

    fn make(&self) -> Result<ServerConfig, TlsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(self.names.clone())?;
        let name = self.names.first().map_or("bmc", String::as_str);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        // Thousands of BMCs in one process: none keeps sessions that no client comes back to.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}
