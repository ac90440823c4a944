//! One TLS stack for the process, and certificates that are known by their fingerprint.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// URI in the region's client certificate, by which a rack knows its region.
pub const REGION_IDENTITY: &str = "spiffe://farrier/region";

/// Prefix of the URI in a rack's certificate; the rack's id follows.
pub const RACK_IDENTITY_PREFIX: &str = "spiffe://farrier/rack/";

/// DNS name in every rack's and region's certificate, verified by whoever dials them: addresses may change, this does not.
pub const SERVER_NAME: &str = "farrier.internal";

/// Makes rustls use ring. Call once, first thing in `main`; a second call does nothing.
pub fn install_provider() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
}

/// DNS name in one rack's certificate alone, so that no other rack can answer in its place.
#[must_use]
pub fn rack_server_name(rack: crate::id::RackId) -> String {
    format!("{rack}.rack.{SERVER_NAME}")
}

/// SHA-256 of a certificate as it is sent (DER): by it a peer is known again whose certificate nobody vouches for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// A text that is no fingerprint.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("must be a SHA-256: 64 of 0-9 and a-f")]
pub struct BadFingerprint;

// === impl Fingerprint ===

impl Fingerprint {
    /// That of the certificate `der`.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        let mut bytes = [0; 32];
        let lower = text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        if lower && hex::decode_to_slice(text, &mut bytes).is_ok() { Ok(Self(bytes)) } else { Err(BadFingerprint) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_has_one_spelling() {
        let abc = Fingerprint::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((abc.to_string().as_str(), text.parse()), (text, Ok(abc)));
        for wrong in ["", &text[1..], &text.to_uppercase(), &format!("{text}00"), &text.replace('b', "g")] {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(BadFingerprint), "{wrong}");
        }
    }
}
