//! Values that must not be seen.

use std::{fmt, fs, io, path::Path};

use rand::TryRng as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize;

/// Holds a value that is never printed; overwritten when dropped.
#[derive(Clone, Default)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Hides `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one place that needs it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl From<String> for Secret<String> {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl Secret<String> {
    /// 256 random bits in hex, from the operating system's generator.
    #[must_use]
    pub fn random_token() -> Self {
        Self(hex::encode(random_bytes::<32>()))
    }

    /// SHA-256 in hex. For high-entropy tokens only: a password needs a slow hash.
    #[must_use]
    pub fn digest(&self) -> String {
        sha256_hex(self.0.as_bytes())
    }

    /// Does the token have this [`Secret::digest`]? Takes the same time whatever the answer.
    #[must_use]
    pub fn has_digest(&self, digest: &str) -> bool {
        bool::from(self.digest().as_bytes().ct_eq(digest.as_bytes()))
    }

    /// Reads a secret from a file, without the newline at its end.
    ///
    /// # Errors
    /// The file cannot be read as text.
    pub fn from_file(path: &Path) -> io::Result<Self> {
        let mut text = fs::read_to_string(path)?;
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
        Ok(Self(text))
    }
}

/// Has the kernel write no memory of this process to disk when it crashes (prctl(2), `PR_SET_DUMPABLE`), and lets nobody but
/// root look at it. What a process works with is in its memory in clear.
///
/// # Errors
/// The kernel does not know it.
pub fn forbid_core_dumps() -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(false)?)
}

/// SHA-256 of `bytes` in lower-case hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// `N` bytes from the operating system's generator.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rngs::SysRng
        .try_fill_bytes(&mut bytes)
        .expect("the kernel's random generator does not fail once it is seeded");
    bytes
}

/// A BMC password of `length` characters: letters and digits, at least one of each kind, nothing that looks like another
/// (no 0/O, 1/l/I), and none twice in a row, because some BMCs refuse runs (Lenovo XCC: more than two). Sixteen such
/// characters hold 92 bits; punctuation is left out because BMCs disagree on it.
#[must_use]
pub fn bmc_password(length: usize) -> Secret<String> {
    const KINDS: [&[u8]; 3] = [b"ABCDEFGHJKLMNPQRSTUVWXYZ", b"abcdefghijkmnopqrstuvwxyz", b"23456789"];
    let all = KINDS.concat();
    loop {
        let mut text = String::with_capacity(length);
        while text.len() < length {
            // Six bits index 56 characters; the eight values without a character are drawn again, so all are equally likely.
            let [byte] = random_bytes::<1>();
            if let Some(&c) = all.get(usize::from(byte & 63))
                && text.as_bytes().last() != Some(&c)
            {
                text.push(char::from(c));
            }
        }
        if length < KINDS.len() || KINDS.iter().all(|k| text.bytes().any(|b| k.contains(&b))) {
            return Secret::new(text);
        }
        text.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".to_owned())), "Secret(…)");
    }

    #[test]
    fn a_digest_fits_its_token_only() {
        let token = Secret::random_token();
        assert!(token.has_digest(&token.digest()));
        assert!(!Secret::random_token().has_digest(&token.digest()));
    }

    #[test]
    fn bmc_passwords_hold_every_kind_and_fit() {
        for _ in 0..2000 {
            let password = bmc_password(16);
            let text = password.expose();
            assert_eq!(text.len(), 16);
            assert!(text.bytes().any(|b| b.is_ascii_digit()));
            assert!(text.bytes().any(|b| b.is_ascii_uppercase()));
            assert!(text.bytes().any(|b| b.is_ascii_lowercase()));
            assert!(text.as_bytes().windows(2).all(|pair| pair[0] != pair[1]));
        }
    }
}
