//! Keys and ciphers of RMCP+: cipher suites 3 and 17 (IPMI 2.0 sections 13.28 to 13.32).

use aes::Aes128;
use cbc::cipher::{BlockDecryptMut as _, BlockEncryptMut as _, KeyIvInit as _, block_padding::NoPadding};
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

const BLOCK: usize = 16;

/// A cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Three,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Seventeen,
}

impl Suite {
    pub(super) const fn from_number(number: u8) -> Option<Self> {
        match number {
            3 => Some(Self::Three),
            17 => Some(Self::Seventeen),
            _ => None,
        }
    }

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Three => 3,
            Self::Seventeen => 17,
        }
    }

    /// Numbers of authentication, integrity and confidentiality algorithm.
    pub(super) const fn algorithms(self) -> [u8; 3] {
        match self {
            Self::Three => [1, 1, 1],
            Self::Seventeen => [3, 4, 1],
        }
    }

    /// Length of an integrity code.
    pub(super) const fn code_length(self) -> usize {
        match self {
            Self::Three => 12,
            Self::Seventeen => 16,
        }
    }

    /// Keyed hash over all parts, in full length.
    pub(super) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Three => hmac_sha1(key, parts),
            Self::Seventeen => hmac_sha256(key, parts),
        }
    }

    /// Keyed hash cut to the length of an integrity code.
    pub(super) fn code(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let mut code = self.hmac(key, parts);
        code.truncate(self.code_length());
        code
    }
}

/// Additional key number `n`, 1 for integrity and 2 for confidentiality.
pub(super) fn additional_key(suite: Suite, session_key: &[u8], n: u8) -> Vec<u8> {
    suite.hmac(session_key, &[&[n; 20]])
}

/// Are they equal? Takes the same time whatever the answer.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    bool::from(a.ct_eq(b))
}

/// Pads and encrypts a payload; the initialization vector comes first.
pub(super) fn encrypt(key: &[u8; BLOCK], vector: [u8; BLOCK], payload: &[u8]) -> Vec<u8> {
    let mut padded = payload.to_vec();
    let pad = (padded.len() + 1).next_multiple_of(BLOCK) - padded.len() - 1;
    padded.extend((1_u8..).take(pad));
    padded.push(u8::try_from(pad).unwrap_or_default());
    let length = padded.len();
    let cipher = cbc::Encryptor::<Aes128>::new(key.into(), &vector.into());
    let _ = cipher.encrypt_padded_mut::<NoPadding>(&mut padded, length);
    [&vector[..], &padded].concat()
}

/// Takes away what [`encrypt`] has put around the payload; `None` if it was not so.
pub(super) fn decrypt(key: &[u8; BLOCK], bytes: &[u8]) -> Option<Vec<u8>> {
    let (vector, body) = bytes.split_first_chunk::<BLOCK>()?;
    let mut clear = body.to_vec();
    let cipher = cbc::Decryptor::<Aes128>::new(key.into(), vector.into());
    cipher.decrypt_padded_mut::<NoPadding>(&mut clear).ok()?;
    let pad = usize::from(clear.pop()?);
    let length = clear.len().checked_sub(pad)?;
    let right = pad < BLOCK && clear[length..].iter().zip(1_u8..).all(|(byte, n)| *byte == n);
    clear.truncate(length);
    right.then_some(clear)
}

fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encrypted_is_decrypted(key: [u8; 16], vector: [u8; 16], payload: Vec<u8>) {
            let bytes = encrypt(&key, vector, &payload);
            prop_assert_eq!(bytes.len() % BLOCK, 0);
            prop_assert_eq!(decrypt(&key, &bytes), Some(payload));
        }

        #[test]
        fn decrypting_anything_never_panics(key: [u8; 16], bytes: Vec<u8>) {
            let _ = decrypt(&key, &bytes);
        }
    }

    #[test]
    fn hashes_are_those_of_rfc_2202_and_rfc_4231() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let code = |suite: Suite| hex(&suite.code(b"Jefe", &[b"what do ya want ", b"for nothing?"]));
        assert_eq!(code(Suite::Three), "effcdf6ae5eb2fa2d27416d5");
        assert_eq!(code(Suite::Seventeen), "5bdcc146bf60754e6a042426089575c7");
    }
}
