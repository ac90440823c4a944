//! Secrets at rest: seals them under a key that is in a file of its own, never in the database, and derives tokens from
//! it that need no storing.
//!
//! **Invariant:** a sealed value opens only under the purpose for which it was sealed, so that a value copied to another
//! row of the database is worthless there.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use farrier_common::secret::{Secret, random_bytes};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use thiserror::Error;

use crate::domain;

const KEY: usize = 32;
const NONCE: usize = 24;

/// First byte of everything sealed: which key. There is one so far.
const FIRST_KEY: u8 = 1;

/// The vault cannot be used.
#[derive(Debug, Error)]
pub enum VaultError {
    /// The key file cannot be read or made.
    #[error("cannot use the key file {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key file holds no key.
    #[error("the key file {path} holds {bytes} bytes instead of {KEY}: restore it from a backup")]
    Length {
        /// Which file.
        path: PathBuf,
        /// What it holds.
        bytes: usize,
    },
    /// Others may read the key file.
    #[error("the key file {path} may be read by others (mode {mode:o}): set its mode to 600")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The value was sealed under another key or purpose, or was changed.
    #[error("the secret {purpose} does not open: another key sealed it, or it was changed")]
    Sealed {
        /// What was to be opened.
        purpose: String,
    },
}

impl From<VaultError> for domain::Error {
    fn from(e: VaultError) -> Self {
        Self::Internal(match &e {
            VaultError::File { source, .. } => format!("{e}: {source}"),
            VaultError::Length { .. } | VaultError::Open { .. } | VaultError::Sealed { .. } => e.to_string(),
        })
    }
}

/// Seals, opens and derives secrets. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vault {
    keys: Arc<Keys>,
}

/// One key for each use, both derived from the file's.
#[derive(Debug)]
struct Keys {
    seal: Secret<[u8; KEY]>,
    derive: Secret<[u8; KEY]>,
}

impl Vault {
    /// Reads `secrets.key` in `data_dir`, or makes it.
    ///
    /// # Errors
    /// The file cannot be read or made, holds no key, or may be read by others.
    pub fn open(data_dir: &Path) -> Result<Self, VaultError> {
        let path = data_dir.join("secrets.key");
        let key = match read(&path)? {
            Some(key) => key,
            None => {
                make(data_dir, &path).map_err(|source| VaultError::File { path: path.clone(), source })?;
                // Read back: somebody else may have been faster.
                let gone = || VaultError::File { path: path.clone(), source: io::ErrorKind::NotFound.into() };
                read(&path)?.ok_or_else(gone)?
            }
        };
        let part = |label: &str| Secret::new(mac(key.expose(), label));
        Ok(Self { keys: Arc::new(Keys { seal: part("farrier seal"), derive: part("farrier derive") }) })
    }

    /// Seals `plain` for a purpose such as `bmc-own/MACHINE_ID`.
    #[must_use]
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE] = random_bytes();
        let payload = Payload { msg: plain, aad: purpose.as_bytes() };
        let body = self.cipher().encrypt(XNonce::from_slice(&nonce), payload).expect("secrets are far below 256 GiB");
        [&[FIRST_KEY], nonce.as_slice(), &body].concat()
    }

    /// Opens what was sealed for the same purpose.
    ///
    /// # Errors
    /// It was sealed under another key or purpose, or was changed.
    pub fn open_sealed(&self, purpose: &str, sealed: &[u8]) -> Result<Secret<Vec<u8>>, VaultError> {
        let closed = || VaultError::Sealed { purpose: purpose.to_owned() };
        let (&FIRST_KEY, rest) = sealed.split_first().ok_or_else(closed)? else { return Err(closed()) };
        let (nonce, body) = rest.split_at_checked(NONCE).ok_or_else(closed)?;
        let payload = Payload { msg: body, aad: purpose.as_bytes() };
        self.cipher().decrypt(XNonce::from_slice(nonce), payload).map(Secret::new).map_err(|_| closed())
    }

    /// A token of 256 bits in hex that only this vault can make, the same each time for the same purpose.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Secret<String> {
        let bytes = Secret::new(mac(self.keys.derive.expose(), purpose));
        Secret::new(hex::encode(bytes.expose()))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.keys.seal.expose().into())
    }
}

fn mac(key: &[u8], text: &str) -> [u8; KEY] {
    let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// The key, if the file is there.
fn read(path: &Path) -> Result<Option<Secret<[u8; KEY]>>, VaultError> {
    let failed = |source| VaultError::File { path: path.to_owned(), source };
    let file = match fs::File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(VaultError::Open { path: path.to_owned(), mode });
    }
    // One byte more than a key, so that a longer file is seen to be one.
    let limit = u64::try_from(KEY + 1).expect("a small constant");
    let mut read = Vec::with_capacity(KEY + 1);
    file.take(limit).read_to_end(&mut read).map_err(failed)?;
    let bytes = Secret::new(read);
    let length = |_| VaultError::Length { path: path.to_owned(), bytes: bytes.expose().len() };
    bytes.expose().as_slice().try_into().map(|key| Some(Secret::new(key))).map_err(length)
}

/// Makes the key file: whole and on the disk, or not there. One that has come into being meanwhile stays.
fn make(data_dir: &Path, path: &Path) -> io::Result<()> {
    let key = Secret::new(random_bytes::<KEY>());
    let draft = data_dir.join(format!("secrets.key.{}", hex::encode(random_bytes::<8>())));
    let written = write(&draft, key.expose()).and_then(|()| match fs::hard_link(&draft, path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    fs::remove_file(&draft)?;
    written?;
    fs::File::open(data_dir)?.sync_all()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> (tempfile::TempDir, Vault) {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        (dir, vault)
    }

    #[test]
    fn what_is_sealed_opens_for_its_purpose_only() {
        let (dir, vault) = vault();
        let sealed = vault.seal("bmc-own/1", b"hunter2");
        assert_eq!(vault.open_sealed("bmc-own/1", &sealed).unwrap().expose(), b"hunter2");
        assert!(vault.open_sealed("bmc-own/2", &sealed).is_err());
        assert_ne!(sealed, vault.seal("bmc-own/1", b"hunter2"), "nonces differ");
        assert!(!sealed.windows(7).any(|w| w == b"hunter2"));
        let again = Vault::open(dir.path()).unwrap();
        assert_eq!(again.open_sealed("bmc-own/1", &sealed).unwrap().expose(), b"hunter2");
    }

    #[test]
    fn whatever_byte_is_changed_it_stays_shut() {
        let (_dir, vault) = vault();
        let sealed = vault.seal("p", b"secret");
        for at in 0..sealed.len() {
            let mut tampered = sealed.clone();
            tampered[at] ^= 1;
            assert!(vault.open_sealed("p", &tampered).is_err(), "byte {at}");
            assert!(vault.open_sealed("p", &sealed[..at]).is_err(), "cut to {at}");
        }
    }

    #[test]
    fn another_vault_opens_nothing_and_derives_other_tokens() {
        let ((_a, one), (_b, other)) = (vault(), vault());
        assert!(other.open_sealed("p", &one.seal("p", b"x")).is_err());
        assert_eq!(one.derive("boot-token/1").expose(), one.derive("boot-token/1").expose());
        assert_eq!(one.derive("boot-token/1").expose().len(), 64);
        assert_ne!(one.derive("boot-token/1").expose(), one.derive("boot-token/2").expose());
        assert_ne!(one.derive("boot-token/1").expose(), other.derive("boot-token/1").expose());
    }

    #[test]
    fn the_key_file_is_ours_alone_and_never_replaced() {
        let (dir, _vault) = vault();
        let path = dir.path().join("secrets.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Vault::open(dir.path()), Err(VaultError::Open { mode: 0o640, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for wrong in [31, 33] {
            fs::write(&path, vec![7; wrong]).unwrap();
            assert!(matches!(Vault::open(dir.path()), Err(VaultError::Length { .. })));
        }
    }
}
