//! The rack's identity on disk: `identity/{rack.key,rack.pem,ca.pem,region}`.
//!
//! Invariant: `rack.pem` is written last, so where it is, everything is. The key is made once and never leaves the rack.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::PathBuf,
    sync::Arc,
};

use chrono::{DateTime, TimeDelta};
use farrier_common::{clock::Timestamp, id::RackId, secret::Secret, tls};
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData as _};
use thiserror::Error;
use x509_parser::{extensions::GeneralName, pem::parse_x509_pem};

use crate::{boot::files, gateway::Credentials};

/// An identity that cannot be used or kept.
#[derive(Clone, Debug, Error)]
pub enum IdentityError {
    /// A file of it.
    #[error("cannot keep the rack's identity in {path}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// A key that cannot be used.
    #[error("the rack's key cannot be used: {0}")]
    Key(String),
    /// A certificate that cannot be used.
    #[error("the rack's certificate cannot be used: {0}")]
    Certificate(String),
}

/// Who this rack is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its id.
    pub rack_id: RackId,
    /// Where its region is.
    pub region: String,
    /// Key and certificates.
    pub credentials: Credentials,
    /// Since when the certificate counts.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// The folder that an identity is kept in.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

const KEY: &str = "rack.key";
const CERTIFICATE: &str = "rack.pem";
const CA: &str = "ca.pem";
const REGION: &str = "region";

impl Folder {
    /// Opens the folder (mode 0700), which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be made, or others could read the key in it.
    pub fn open(path: PathBuf) -> Result<Self, IdentityError> {
        let folder = Self(path);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder.0).map_err(|e| folder.error("", e))?;
        let key = folder.0.join(KEY);
        match fs::metadata(&key) {
            Ok(found) if found.permissions().mode() & 0o077 != 0 => {
                let text = "others may read it: set its mode to 0600, and enrol anew if it may have been read";
                Err(folder.error(KEY, io::Error::new(io::ErrorKind::PermissionDenied, text)))
            }
            Ok(_) => Ok(folder),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(folder),
            Err(e) => Err(folder.error(KEY, e)),
        }
    }

    /// The identity, if the rack has enrolled.
    ///
    /// # Errors
    /// It is there and cannot be used.
    pub fn load(&self) -> Result<Option<Identity>, IdentityError> {
        let Some(certificate_pem) = self.read(CERTIFICATE)? else { return Ok(None) };
        let part = |name| {
            let missing = || self.error(name, io::Error::from(io::ErrorKind::NotFound));
            self.read(name).and_then(|found| found.ok_or_else(missing))
        };
        let credentials = Credentials { key_pem: part(KEY)?.into(), certificate_pem, ca_pem: part(CA)? };
        Identity::new(part(REGION)?.trim().to_owned(), credentials).map(Some)
    }

    /// Keeps an identity for good.
    ///
    /// # Errors
    /// It cannot be written; the old one, if any, is still there.
    pub fn store(&self, identity: &Identity) -> Result<(), IdentityError> {
        self.write(REGION, &identity.region)?;
        self.write(CA, &identity.credentials.ca_pem)?;
        self.write(CERTIFICATE, &identity.credentials.certificate_pem)
    }

    /// The rack's key, made if there is none yet.
    ///
    /// # Errors
    /// It cannot be read, made or kept.
    pub fn key(&self) -> Result<Secret<String>, IdentityError> {
        if let Some(key) = self.read(KEY)? {
            return Ok(key.into());
        }
        let key = KeyPair::generate().map_err(|e| IdentityError::Key(e.to_string()))?;
        let pem = Secret::new(key.serialize_pem());
        self.write(KEY, pem.expose())?;
        Ok(pem)
    }

    fn read(&self, name: &str) -> Result<Option<String>, IdentityError> {
        match fs::read_to_string(self.0.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.error(name, e)),
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<(), IdentityError> {
        files::replace(&self.0.join(name), text.as_bytes()).map_err(|e| self.error(name, e))
    }

    fn error(&self, name: &str, error: io::Error) -> IdentityError {
        IdentityError::Io { path: self.0.join(name), source: Arc::new(error) }
    }
}

impl Identity {
    /// Checks that the certificate is a rack's, that it can be dialled and that it is for the key.
    ///
    /// # Errors
    /// It is not.
    pub fn new(region: String, credentials: Credentials) -> Result<Self, IdentityError> {
        let bad = |text: &str| IdentityError::Certificate(text.to_owned());
        let key = parse_key(&credentials.key_pem)?;
        let (_, pem) = parse_x509_pem(credentials.certificate_pem.as_bytes()).map_err(|_| bad("it is no PEM"))?;
        let certificate = pem.parse_x509().map_err(|_| bad("it is no X.509 certificate"))?;
        let names = certificate.subject_alternative_name().map_err(|_| bad("its alternative names are damaged"))?;
        let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let rack_id = names.iter().find_map(|name| {
            let GeneralName::URI(uri) = name else { return None };
            uri.strip_prefix(tls::RACK_IDENTITY_PREFIX)?.parse().ok()
        });
        let rack_id = rack_id.ok_or_else(|| bad("it names no rack"))?;
        let dialled = tls::rack_server_name(rack_id);
        if !names.iter().any(|name| matches!(name, GeneralName::DNSName(dns) if *dns == dialled)) {
            return Err(IdentityError::Certificate(format!("it lacks the DNS name {dialled}")));
        }
        if certificate.public_key().raw != key.subject_public_key_info().as_slice() {
            return Err(bad("it is for another key"));
        }
        let time = |seconds| DateTime::from_timestamp(seconds, 0).ok_or_else(|| bad("its validity is out of range"));
        let validity = certificate.validity();
        Ok(Self {
            rack_id,
            not_before: time(validity.not_before.timestamp())?,
            not_after: time(validity.not_after.timestamp())?,
            region,
            credentials,
        })
    }

    /// A request for a certificate for the same key.
    ///
    /// # Errors
    /// The key cannot be used.
    pub fn csr(&self) -> Result<String, IdentityError> {
        csr(&self.credentials.key_pem)
    }

    /// With another certificate for the same key.
    ///
    /// # Errors
    /// The certificate cannot be used, or is another rack's.
    pub fn renewed(&self, certificate_pem: String, ca_pem: String) -> Result<Self, IdentityError> {
        let credentials = Credentials { key_pem: self.credentials.key_pem.clone(), certificate_pem, ca_pem };
        let renewed = Self::new(self.region.clone(), credentials)?;
        if renewed.rack_id != self.rack_id {
            return Err(IdentityError::Certificate(format!("it names rack {}, not {}", renewed.rack_id, self.rack_id)));
        }
        Ok(renewed)
    }

    /// Is less than a third of the certificate's life left?
    #[must_use]
    pub fn is_old(&self, now: Timestamp) -> bool {
        let life = self.not_after - self.not_before;
        self.not_after - now < TimeDelta::seconds(life.num_seconds() / 3)
    }

    /// Has the certificate expired?
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.not_after
    }
}

/// A certificate request for a key. The region takes the public key from it and nothing else.
///
/// # Errors
/// The key cannot be used.
pub fn csr(key_pem: &Secret<String>) -> Result<String, IdentityError> {
    let key = parse_key(key_pem)?;
    let bad = |e: rcgen::Error| IdentityError::Key(e.to_string());
    let mut params = CertificateParams::new(vec![tls::SERVER_NAME.to_owned()]).map_err(bad)?;
    params.distinguished_name.push(DnType::CommonName, "farrier-rack");
    params.serialize_request(&key).and_then(|request| request.pem()).map_err(bad)
}

fn parse_key(pem: &Secret<String>) -> Result<KeyPair, IdentityError> {
    KeyPair::from_pem(pem.expose()).map_err(|e| IdentityError::Key(e.to_string()))
}
