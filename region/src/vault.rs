//! Secrets at rest: seals them under a key that is in a file of its own, never in the database, and derives tokens that need
//! no storing.
//!
//! Keys are numbered. The newest one seals, and what is sealed names its key, so that a new one can take over while what
//! earlier ones sealed still opens; [`crate::app::App::reseal`] brings that under the new one. Tokens come from the first key alone.
//!
//! **Invariant:** a sealed value opens only under the purpose for which it was sealed, so that a value copied to another
//! row of the database is worthless there.

mod keys;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
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

/// Which key: the first byte of everything sealed. Keys are counted from 1.
pub type KeyId = u8;

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
    /// There is no number left for another key.
    #[error("there are 255 keys already, and no more can be numbered")]
    Full,
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
            VaultError::Length { .. } | VaultError::Open { .. } | VaultError::Sealed { .. } | VaultError::Full => {
                e.to_string()
            }
        })
    }
}

/// Seals, opens and derives secrets. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vault {
    keys: Arc<Keys>,
}

#[derive(Debug)]
struct Keys {
    data_dir: PathBuf,
    /// Of the first key.
    derive: Secret<[u8; KEY]>,
    newest: (KeyId, SealKey),
    /// Those that were needed so far.
    earlier: Mutex<BTreeMap<KeyId, SealKey>>,
}

/// What a key's file gives for sealing.
type SealKey = Arc<Secret<[u8; KEY]>>;

impl Vault {
    /// Reads the newest of the keys in `data_dir`: `secrets-2.key` and so on, or else `secrets.key`, which it makes if there is
    /// none.
    ///
    /// # Errors
    /// A file cannot be read or made, holds no key, or may be read by others.
    pub fn open(data_dir: &Path) -> Result<Self, VaultError> {
        let newest = keys::newest(data_dir)?;
        let derive = part(&keys::get(data_dir, keys::FIRST)?, "farrier derive");
        let newest = (newest, seal_key(data_dir, newest)?);
        let data_dir = data_dir.to_owned();
        Ok(Self { keys: Arc::new(Keys { data_dir, derive, newest, earlier: Mutex::default() }) })
    }

    /// Makes another key, with which vaults that are opened from now on seal; tells its file. Those that are open already read it
    /// when they meet what it sealed.
    ///
    /// # Errors
    /// As [`Vault::open`]; there are as many keys as there can be.
    pub fn add_key(data_dir: &Path) -> Result<PathBuf, VaultError> {
        keys::add(data_dir)
    }

    /// The key that seals.
    #[must_use]
    pub fn newest(&self) -> KeyId {
        self.keys.newest.0
    }

    /// Seals `plain` for a purpose such as `bmc-own/MACHINE_ID`.
    #[must_use]
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE] = random_bytes();
        let payload = Payload { msg: plain, aad: purpose.as_bytes() };
        let (id, key) = &self.keys.newest;
        let body = cipher(key).encrypt(XNonce::from_slice(&nonce), payload).expect("secrets are far below 256 GiB");
        [&[*id], nonce.as_slice(), &body].concat()
    }

    /// Opens what was sealed for the same purpose.
    ///
    /// # Errors
    /// It was sealed under another key or purpose, or was changed; its key's file cannot be used.
    pub fn open_sealed(&self, purpose: &str, sealed: &[u8]) -> Result<Secret<Vec<u8>>, VaultError> {
        let closed = || VaultError::Sealed { purpose: purpose.to_owned() };
        let (&id, rest) = sealed.split_first().ok_or_else(closed)?;
        let (nonce, body) = rest.split_at_checked(NONCE).ok_or_else(closed)?;
        let payload = Payload { msg: body, aad: purpose.as_bytes() };
        let key = self.key(id)?.ok_or_else(closed)?;
        cipher(&key).decrypt(XNonce::from_slice(nonce), payload).map(Secret::new).map_err(|_| closed())
    }

    /// A token of 256 bits in hex that only this vault can make, the same each time for the same purpose.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Secret<String> {
        let bytes = Secret::new(mac(self.keys.derive.expose(), purpose));
        Secret::new(hex::encode(bytes.expose()))
    }

    /// The key of that number; `None`: no such number is given.
    fn key(&self, id: KeyId) -> Result<Option<SealKey>, VaultError> {
        let (newest, key) = &self.keys.newest;
        if id == *newest {
            return Ok(Some(Arc::clone(key)));
        }
        if id < keys::FIRST {
            return Ok(None);
        }
        let mut earlier = self.keys.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = earlier.get(&id) {
            return Ok(Some(Arc::clone(key)));
        }
        let key = seal_key(&self.keys.data_dir, id)?;
        earlier.insert(id, Arc::clone(&key));
        Ok(Some(key))
    }
}

/// Which key sealed it.
#[must_use]
pub fn key_of(sealed: &[u8]) -> Option<KeyId> {
    sealed.first().copied()
}

fn seal_key(data_dir: &Path, id: KeyId) -> Result<SealKey, VaultError> {
    Ok(Arc::new(part(&keys::get(data_dir, id)?, "farrier seal")))
}

/// One key for each use, all derived from the file's.
fn part(key: &Secret<[u8; KEY]>, label: &str) -> Secret<[u8; KEY]> {
    Secret::new(mac(key.expose(), label))
}

fn cipher(key: &Secret<[u8; KEY]>) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.expose().into())
}

fn mac(key: &[u8], text: &str) -> [u8; KEY] {
    let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

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
    fn a_new_key_seals_and_what_an_earlier_one_sealed_still_opens() {
        let (dir, old) = vault();
        let (before, token) = (old.seal("p", b"hunter2"), old.derive("token/1"));
        let file = Vault::add_key(dir.path()).unwrap();
        assert_eq!(file, dir.path().join("secrets-2.key"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let new = Vault::open(dir.path()).unwrap();
        let after = new.seal("p", b"hunter3");
        assert_eq!((key_of(&before), key_of(&after), new.newest()), (Some(1), Some(2), 2));
        assert_eq!(new.open_sealed("p", &before).unwrap().expose(), b"hunter2");
        assert_eq!(old.open_sealed("p", &after).unwrap().expose(), b"hunter3", "a region that runs on finds the key");
        assert_eq!(key_of(&old.seal("p", b"x")), Some(1), "it goes on with its own");
        assert_eq!(new.derive("token/1").expose(), token.expose(), "tokens that people have stay good");

        let mut renamed = after.clone();
        renamed[0] = 1;
        assert!(new.open_sealed("p", &renamed).is_err());
        renamed[0] = 3;
        let told = new.open_sealed("p", &renamed).unwrap_err().to_string();
        assert!(told.contains("secrets-3.key"), "{told}");
        assert_eq!(Vault::add_key(dir.path()).unwrap(), dir.path().join("secrets-3.key"));
    }

    #[test]
    fn no_first_key_is_made_up_where_later_ones_are() {
        let (dir, _vault) = vault();
        Vault::add_key(dir.path()).unwrap();
        fs::remove_file(dir.path().join("secrets.key")).unwrap();
        let told = Vault::open(dir.path()).unwrap_err().to_string();
        assert!(told.contains("secrets.key"), "{told}");
        assert!(!dir.path().join("secrets.key").exists());
        fs::write(dir.path().join("secrets-x.key"), b"not ours").unwrap();
        assert!(Vault::add_key(dir.path()).is_err());
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
