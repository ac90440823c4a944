//! Which BMC is on the other end: the certificate that is pinned, or one that the configured authorities vouch for.
//!
//! Invariant: no byte of ours but the handshake reaches a peer that did not prove to hold the key of an accepted certificate.

use std::sync::{Arc, Mutex, PoisonError};

use farrier_common::tls::Fingerprint;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use thiserror::Error;

/// What is to be known of a BMC's certificate before it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// This one, or one that the authorities vouch for.
    Known(Fingerprint),
    /// Nothing yet: the one that is seen first is to be remembered.
    FirstSeen,
    /// One that the authorities vouch for; no other.
    Vouched,
}

/// Those who may vouch for the certificates of BMCs; by default nobody.
#[derive(Clone, Debug, Default)]
pub struct Authorities(Option<Arc<WebPkiServerVerifier>>);

/// The authorities cannot be used.
#[derive(Debug, Error)]
pub enum AuthoritiesError {
    /// No PEM, or no certificate in it.
    #[error("it holds no certificate in PEM form")]
    Empty,
    /// Not certificates.
    #[error("its certificates cannot be read: {0}")]
    Unreadable(String),
}

/// A certificate that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bmc) struct Changed {
    pub(in crate::bmc) pinned: Fingerprint,
    pub(in crate::bmc) seen: Fingerprint,
}

/// Judges the certificates of one BMC during one operation.
#[derive(Debug)]
pub(in crate::bmc) struct Judge {
    authorities: Authorities,
    provider: Arc<CryptoProvider>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    pin: Pin,
    accepted: Option<Fingerprint>,
    refused: Option<Changed>,
}

// === impl Authorities ===

impl Authorities {
    /// From certificates in PEM form.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, AuthoritiesError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| AuthoritiesError::Unreadable(e.to_string()))?;
            roots.add(certificate).map_err(|e| AuthoritiesError::Unreadable(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(AuthoritiesError::Empty);
        }
        let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()));
        built.build().map(|v| Self(Some(v))).map_err(|e| AuthoritiesError::Unreadable(e.to_string()))
    }
}

// === impl Judge ===

impl Judge {
    pub(in crate::bmc) fn new(pin: Pin, authorities: Authorities) -> Arc<Self> {
        let known = Mutex::new(Known { pin, accepted: None, refused: None });
        Arc::new(Self { authorities, provider: Arc::new(ring::default_provider()), known })
    }

    /// The client's side of TLS, under this judge.
    pub(in crate::bmc) fn config(self: &Arc<Self>) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Self>::clone(self))
            .with_no_client_auth();
        // A resumed session would not show the certificate.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// The certificate that was accepted last.
    pub(in crate::bmc) fn accepted(&self) -> Option<Fingerprint> {
        self.known().accepted
    }

    /// The certificate that was refused last.
    pub(in crate::bmc) fn refused(&self) -> Option<Changed> {
        self.known().refused
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen = Fingerprint::of(end_entity);
        let vouched = self
            .authorities
            .0
            .as_ref()
            .is_some_and(|v| v.verify_server_cert(end_entity, intermediates, name, ocsp, now).is_ok());
        let mut known = self.known();
        match known.pin {
            Pin::Known(pinned) if pinned != seen && !vouched => {
                known.refused = Some(Changed { pinned, seen });
                return Err(CertificateError::ApplicationVerificationFailure.into());
            }
            Pin::Vouched if !vouched => return Err(CertificateError::UnknownIssuer.into()),
            Pin::Vouched | Pin::Known(_) | Pin::FirstSeen => {}
        }
        // Whoever answers the rest of the operation must be who answered its beginning.
        known.pin = Pin::Known(seen);
        known.accepted = Some(seen);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(judge: &Judge, certificate: &CertificateDer<'_>) -> bool {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        judge.verify_server_cert(certificate, &[], &name, &[], UnixTime::now()).is_ok()
    }

    fn signed(name: &str, by: Option<&rcgen::Issuer<'_, rcgen::KeyPair>>) -> rcgen::Certificate {
        let (key, params) =
            (rcgen::KeyPair::generate().unwrap(), rcgen::CertificateParams::new([name.into()]).unwrap());
        match by {
            Some(issuer) => params.signed_by(&key, issuer).unwrap(),
            None => params.self_signed(&key).unwrap(),
        }
    }

    #[test]
    fn the_first_is_remembered_and_another_is_refused() {
        let (first, other) = (signed("127.0.0.1", None), signed("127.0.0.1", None));
        let judge = Judge::new(Pin::FirstSeen, Authorities::default());
        assert!(judged(&judge, first.der()) && judged(&judge, first.der()));
        assert!(!judged(&judge, other.der()), "not even within one operation");
        let (pinned, seen) = (Fingerprint::of(first.der()), Fingerprint::of(other.der()));
        assert_eq!((judge.accepted(), judge.refused()), (Some(pinned), Some(Changed { pinned, seen })));
        assert!(!judged(&Judge::new(Pin::Known(pinned), Authorities::default()), other.der()));
    }

    #[test]
    fn authorities_vouch_for_what_they_signed_and_for_the_name_in_it() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new([]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let authorities = Authorities::from_pem(authority.pem().as_bytes()).unwrap();
        let judge = || Judge::new(Pin::Known(Fingerprint::of(b"an older one")), authorities.clone());
        assert!(judged(&judge(), signed("127.0.0.1", Some(&issuer)).der()), "a renewed one");
        assert!(!judged(&judge(), signed("127.0.0.2", Some(&issuer)).der()), "that of another BMC");
        assert!(!judged(&judge(), signed("127.0.0.1", None).der()), "nobody's");
        let strict = |by: &Authorities| Judge::new(Pin::Vouched, by.clone());
        assert!(judged(&strict(&authorities), signed("127.0.0.1", Some(&issuer)).der()));
        assert!(!judged(&strict(&authorities), signed("127.0.0.1", None).der()));
        assert!(!judged(&strict(&Authorities::default()), signed("127.0.0.1", None).der()), "nobody vouches");
        assert!(matches!(Authorities::from_pem(b"nothing"), Err(AuthoritiesError::Empty)));
    }
}
