//! The join token: one line that tells a new rack where its region is, whom to trust and the secret that lets it in.
//!
//! Base64 (URL alphabet, no padding) of JSON `{"region": "host:port", "ca_pem": "…", "secret": "…"}`; the region writes the same.

use std::{io, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use farrier_common::secret::Secret;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

/// What a join token holds.
#[derive(Clone, Debug)]
pub struct JoinToken {
    /// The region's `host:port`.
    pub region: String,
    /// The region's CA certificate: the only one that the rack will trust.
    pub ca_pem: String,
    /// Works once.
    pub secret: Secret<String>,
}

/// A text that is no join token. Never shows the text, which holds a secret.
#[derive(Debug, Error)]
pub enum BadJoinToken {
    /// It cannot be read.
    #[error("cannot read the join token")]
    Read(#[source] io::Error),
    /// It is not what `farrier rack join-token` prints.
    #[error("the join token is damaged ({0}); copy the whole line that the region gave")]
    Damaged(&'static str),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    region: String,
    ca_pem: String,
    secret: String,
}

impl JoinToken {
    /// Reads a token from a file.
    ///
    /// # Errors
    /// The file cannot be read or holds no token.
    pub fn from_file(path: &Path) -> Result<Self, BadJoinToken> {
        let text = Secret::from_file(path).map_err(BadJoinToken::Read)?;
        Self::decode(text.expose())
    }

    /// Reads a token from text; white space around it does not count.
    ///
    /// # Errors
    /// It is no token.
    pub fn decode(text: &str) -> Result<Self, BadJoinToken> {
        let json =
            URL_SAFE_NO_PAD.decode(text.trim()).map(Zeroizing::new).map_err(|_| BadJoinToken::Damaged("no base64"))?;
        let wire: Wire =
            serde_json::from_slice(&json).map_err(|_| BadJoinToken::Damaged("fields are missing or unknown"))?;
        if !host_and_port(&wire.region) {
            return Err(BadJoinToken::Damaged("region is no host:port"));
        }
        if !wire.ca_pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(BadJoinToken::Damaged("ca_pem is no certificate"));
        }
        if wire.secret.is_empty() {
            return Err(BadJoinToken::Damaged("secret is empty"));
        }
        Ok(Self { region: wire.region, ca_pem: wire.ca_pem, secret: Secret::new(wire.secret) })
    }

    /// The token as text.
    #[must_use]
    pub fn encode(&self) -> Secret<String> {
        let wire =
            Wire { region: self.region.clone(), ca_pem: self.ca_pem.clone(), secret: self.secret.expose().clone() };
        let json = Zeroizing::new(serde_json::to_vec(&wire).expect("three strings are always JSON"));
        Secret::new(URL_SAFE_NO_PAD.encode(&*json))
    }
}

/// Is it `host:port`, with a host name, an IPv4 address or an IPv6 address in brackets?
#[must_use]
pub fn host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let good_host = match bracketed {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&host.len()) && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        }
    };
    good_host && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_survives_its_text() {
        let token = JoinToken {
            region: "region.example:5240".into(),
            ca_pem: "-----BEGIN CERTIFICATE-----\n".into(),
            secret: "s".to_owned().into(),
        };
        let read = JoinToken::decode(&format!(" {}\n", token.encode().expose())).unwrap();
        assert_eq!((read.region, read.ca_pem, read.secret.expose().as_str()), (token.region, token.ca_pem, "s"));
    }

    #[test]
    fn addresses_have_host_and_port() {
        for good in ["a:1", "10.0.0.1:5240", "[fe80::1]:5240"] {
            assert!(host_and_port(good), "{good}");
        }
        for bad in ["", "a", "a:", ":1", "a:0", "a:65536", "a b:1", "fe80::1:5240", "a:+1", "http://a:1"] {
            assert!(!host_and_port(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn decoding_never_panics_and_never_shows_the_text(text: String) {
            if let Err(error) = JoinToken::decode(&text) {
                prop_assert!(text.len() < 40 || !error.to_string().contains(&text));
            }
        }
    }
}
