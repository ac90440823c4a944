//! The region's certificate authority: it vouches for the region and for each rack, and for nobody else.
//!
//! **Invariant:** a rack's certificate holds only names made from the rack's id; of its request the public key alone is
//! used. It does not hold [`tls::SERVER_NAME`], so no rack can pass for the region.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use chrono::TimeDelta;
use farrier_common::{
    clock::Timestamp,
    id::RackId,
    secret::{Secret, sha256_hex},
    tls,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType,
};
use thiserror::Error;
use x509_parser::extensions::GeneralName;

use crate::files::{self, Access};

/// How long a rack's certificate is good.
pub const RACK_DAYS: i64 = 90;
/// The region makes its own anew at each start.
const REGION_DAYS: i64 = 5 * 365;
const NO_REQUEST: &str = "not a certificate signing request (PKCS #10, PEM)";
/// Clocks of racks may be behind ours.
const SKEW: TimeDelta = TimeDelta::hours(24);

/// The authority cannot do its work.
#[derive(Debug, Error)]
pub enum PkiError {
    /// Its files cannot be read or written.
    #[error("{path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The certificate is there, its key is not.
    #[error(
        "{0} is missing, though ca.pem is there: restore it from a backup, or remove both and enrol all racks anew"
    )]
    KeyLost(PathBuf),
    /// A key, certificate or request cannot be.
    #[error("{what}")]
    Malformed {
        /// What was at hand.
        what: &'static str,
        /// Why.
        source: rcgen::Error,
    },
    /// A name that no certificate can hold.
    #[error("{0:?} is neither an address nor a DNS name")]
    Name(String),
}

/// A certificate with its private key, PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: Secret<String>,
}

/// The authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ca(…)")
    }
}

impl Ca {
    /// Opens the authority of `data_dir`; makes it the first time.
    ///
    /// # Errors
    /// Its files cannot be read or written, are malformed, or the key is gone.
    pub fn open(data_dir: &Path) -> Result<Self, PkiError> {
        let (key_path, pem_path) = (data_dir.join("ca.key"), data_dir.join("ca.pem"));
        let key = match (read(&key_path)?, pem_path.exists()) {
            (Some(pem), _) => KeyPair::from_pem(&pem).map_err(malformed("ca.key is no private key"))?,
            (None, true) => return Err(PkiError::KeyLost(key_path)),
            (None, false) => {
                let key = KeyPair::generate().map_err(malformed("no key could be made"))?;
                write(&key_path, &key.serialize_pem(), Access::Private)?;
                key
            }
        };
        // A crash may have come between the two files: the certificate follows from the key.
        let pem = match read(&pem_path)? {
            Some(pem) => pem,
            None => {
                let pem = own(&key)?;
                write(&pem_path, &pem, Access::Public)?;
                pem
            }
        };
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(malformed("ca.pem is no certificate"))?;
        Ok(Self { issuer, pem })
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.pem
    }

    /// A fresh identity of the region, for serving and for calling racks. `hosts`: how people reach it.
    ///
    /// # Errors
    /// One of the hosts is neither an address nor a DNS name.
    pub fn server_identity(&self, hosts: &[String], now: Timestamp) -> Result<Identity, PkiError> {
        let key = KeyPair::generate().map_err(malformed("no key could be made"))?;
        let mut params = leaf("Farrier region", now, TimeDelta::days(REGION_DAYS))?;
        params.subject_alt_names = vec![dns(tls::SERVER_NAME)?, uri(tls::REGION_IDENTITY)?];
        for host in hosts {
            params
                .subject_alt_names
                .push(host.parse::<IpAddr>().map_or_else(|_| dns(host), |ip| Ok(SanType::IpAddress(ip)))?);
        }
        let cert = params.signed_by(&key, &self.issuer).map_err(malformed("the region's certificate"))?;
        Ok(Identity { cert_pem: cert.pem(), key_pem: key.serialize_pem().into() })
    }

    /// Certifies the public key of `csr_pem` as that of a rack; answers the certificate and when it ends.
    ///
    /// # Errors
    /// The request is malformed or does not prove that its maker holds the key.
    pub fn sign_rack(&self, csr_pem: &str, rack: RackId, now: Timestamp) -> Result<(String, Timestamp), PkiError> {
        let csr = CertificateSigningRequestParams::from_pem(csr_pem).map_err(malformed(NO_REQUEST))?;
        let lasts = TimeDelta::days(RACK_DAYS);
        let mut params = leaf(&format!("Farrier rack {rack}"), now, lasts)?;
        params.subject_alt_names =
            vec![dns(&tls::rack_server_name(rack))?, uri(&format!("{}{rack}", tls::RACK_IDENTITY_PREFIX))?];
        let cert = params.signed_by(&csr.public_key, &self.issuer).map_err(malformed("the rack's certificate"))?;
        Ok((cert.pem(), now + lasts))
    }
}

/// The rack that a certificate (DER, already verified against our CA) is of; `None` if it is nobody's or not a rack's.
#[must_use]
pub fn rack_of(der: &[u8]) -> Option<RackId> {
    let (_, cert) = x509_parser::parse_x509_certificate(der).ok()?;
    let names = cert.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| {
        let GeneralName::URI(uri) = name else { return None };
        uri.strip_prefix(tls::RACK_IDENTITY_PREFIX)?.parse().ok()
    })
}

/// Digest of the public key in a certificate signing request.
///
/// # Errors
/// The request is malformed.
pub fn key_digest(csr_pem: &str) -> Result<String, PkiError> {
    let csr = CertificateSigningRequestParams::from_pem(csr_pem).map_err(malformed(NO_REQUEST))?;
    Ok(sha256_hex(csr.public_key.der_bytes()))
}

fn own(key: &KeyPair) -> Result<String, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = called("Farrier region CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params.self_signed(key).map_err(malformed("the CA's certificate"))?.pem())
}

fn leaf(name: &str, now: Timestamp, lasts: TimeDelta) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = called(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = moment(now - SKEW)?;
    params.not_after = moment(now + lasts)?;
    Ok(params)
}

fn called(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    all.push(DnType::CommonName, name);
    all
}

fn moment(at: Timestamp) -> Result<time::OffsetDateTime, PkiError> {
    time::OffsetDateTime::from_unix_timestamp(at.timestamp())
        .map_err(|_| PkiError::Malformed { what: "the clock is out of all bounds", source: rcgen::Error::Time })
}

fn dns(name: &str) -> Result<SanType, PkiError> {
    let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let text = if fits { name.try_into().ok() } else { None };
    text.map(SanType::DnsName).ok_or_else(|| PkiError::Name(name.to_owned()))
}

fn uri(text: &str) -> Result<SanType, PkiError> {
    text.try_into().map(SanType::URI).map_err(|_| PkiError::Name(text.to_owned()))
}

fn malformed(what: &'static str) -> impl FnOnce(rcgen::Error) -> PkiError {
    move |source| PkiError::Malformed { what, source }
}

fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::File { path: path.to_owned(), source }),
    }
}

fn write(path: &Path, text: &str, access: Access) -> Result<(), PkiError> {
    files::replace(path, text.as_bytes(), access).map_err(|source| PkiError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
