//! Cipher suites 17 and 3: algorithms and keys (IPMI 2.0 13.28 to 13.32, 22.15.2).

use aes::cipher::{BlockDecryptMut as _, BlockEncryptMut as _, KeyIvInit as _, block_padding::NoPadding};
use hmac::Hmac;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A cipher suite that we speak. Both encrypt with AES-CBC-128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128.
    Seventeen,
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96.
    Three,
}

impl Suite {
    /// In order of preference.
    #[cfg(test)]
    pub(super) const ALL: [Self; 2] = [Self::Seventeen, Self::Three];

    /// Its number in the specification.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Seventeen => 17,
            Self::Three => 3,
        }
    }

    /// Numbers of the authentication, integrity and confidentiality algorithms.
    pub(super) const fn algorithms(self) -> [u8; 3] {
        match self {
            Self::Seventeen => [3, 4, 1],
            Self::Three => [1, 1, 1],
        }
    }

    /// Length of the integrity check values in RAKP 4 and in every packet.
    pub(super) const fn check_length(self) -> usize {
        match self {
            Self::Seventeen => 16,
            Self::Three => 12,
        }
    }

    /// HMAC of the concatenated parts, whole.
    pub(super) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Seventeen => hmac_of::<Hmac<sha2::Sha256>>(key, parts),
            Self::Three => hmac_of::<Hmac<sha1::Sha1>>(key, parts),
        }
    }

    /// Is `given` the beginning, `length` long, of the HMAC of the parts? Takes the same time whatever the answer.
    pub(super) fn verifies(self, key: &[u8], parts: &[&[u8]], given: &[u8], length: usize) -> bool {
        let whole = self.hmac(key, parts);
        whole.get(..length).is_some_and(|wanted| bool::from(wanted.ct_eq(given)))
    }

    /// Length of the whole HMAC, as RAKP 2 carries it.
    pub(super) const fn digest_length(self) -> usize {
        match self {
            Self::Seventeen => 32,
            Self::Three => 20,
        }
    }
}

fn hmac_of<M: hmac::Mac + hmac::digest::KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <M as hmac::Mac>::new_from_slice(key).expect("HMAC takes keys of every length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// The keys of one session.
pub(super) struct Keys {
    pub(super) suite: Suite,
    /// Session integrity key.
    pub(super) session: Zeroizing<Vec<u8>>,
    integrity: Zeroizing<Vec<u8>>,
    encryption: Zeroizing<[u8; 16]>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({:?}, …)", self.suite)
    }
}

impl Keys {
    /// Derives the keys from the key-generating key (the user's, as we set no BMC key) and what both sides exchanged.
    pub(super) fn derive(suite: Suite, key: &[u8], own_random: &[u8], bmc_random: &[u8], who: &[u8]) -> Self {
        let session = Zeroizing::new(suite.hmac(key, &[own_random, bmc_random, who]));
        let integrity = Zeroizing::new(suite.hmac(&session, &[&[1; 20]]));
        let second = Zeroizing::new(suite.hmac(&session, &[&[2; 20]]));
        let mut encryption = Zeroizing::new([0; 16]);
        for (to, from) in encryption.iter_mut().zip(second.iter()) {
            *to = *from;
        }
        Self { suite, session, integrity, encryption }
    }

    pub(super) fn sign(&self, parts: &[u8]) -> Vec<u8> {
        let mut check = self.suite.hmac(&self.integrity, &[parts]);
        check.truncate(self.suite.check_length());
        check
    }

    pub(super) fn verifies(&self, signed: &[u8], check: &[u8]) -> bool {
        self.suite.verifies(&self.integrity, &[signed], check, self.suite.check_length())
    }

    /// Encrypts in place; the length must be a multiple of 16.
    pub(super) fn encrypt(&self, iv: &[u8; 16], plain: &mut [u8]) {
        let length = plain.len();
        cbc::Encryptor::<aes::Aes128>::new((&*self.encryption).into(), iv.into())
            .encrypt_padded_mut::<NoPadding>(plain, length)
            .expect("the caller padded to whole blocks");
    }

    /// Decrypts; `None` unless the length is a multiple of 16.
    pub(super) fn decrypt(&self, iv: &[u8; 16], cipher: &[u8]) -> Option<Vec<u8>> {
        let mut plain = cipher.to_vec();
        cbc::Decryptor::<aes::Aes128>::new((&*self.encryption).into(), iv.into())
            .decrypt_padded_mut::<NoPadding>(&mut plain)
            .ok()?;
        Some(plain)
    }
}
