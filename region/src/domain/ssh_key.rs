//! Public keys for SSH: which lines are taken, and what they are known by. Pure.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use farrier_common::{
    clock::Timestamp,
    id::{SshKeyId, UserId},
};
use sha2::{Digest as _, Sha256};

/// So many keys may one user have, and so many may be given with one request.
pub const MOST_KEYS: usize = 20;
const MOST_LINE: usize = 8192;
const MOST_COMMENT: usize = 200;
/// Of RSA, in bits.
const LEAST_BITS: usize = 2048;
const MOST_BITS: usize = 16_384;
const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// A public key that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// One line, as in `authorized_keys`: type, key and comment.
    pub line: String,
    /// `SHA256:…`, as `ssh-keygen -l` shows it.
    pub fingerprint: String,
}

/// A user's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshKey {
    /// Never changes.
    pub id: SshKeyId,
    /// Whose.
    pub user: UserId,
    /// The key.
    pub key: PublicKey,
    /// Since when.
    pub created_at: Timestamp,
}

impl PublicKey {
    /// Reads one line of `authorized_keys`, without options.
    ///
    /// # Errors
    /// What is wrong, and what is allowed.
    pub fn parse(line: &str) -> Result<Self, String> {
        let line = line.trim();
        if line.is_empty() {
            return Err("is required: one line as in authorized_keys".to_owned());
        }
        if line.len() > MOST_LINE || line.chars().any(char::is_control) {
            return Err(format!("must be one line of at most {MOST_LINE} bytes, without control characters"));
        }
        let mut words = line.splitn(3, ' ');
        let (kind, blob) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let comment = words.next().unwrap_or_default().trim();
        if !TYPES.contains(&kind) {
            let hint = if TYPES.iter().any(|t| line.contains(&format!("{t} "))) {
                "options before the type are not taken; it must begin with"
            } else {
                "the type must be"
            };
            return Err(format!("{hint} one of {}", TYPES.join(", ")));
        }
        if comment.chars().count() > MOST_COMMENT {
            return Err(format!("the comment may have {MOST_COMMENT} characters"));
        }
        let bytes = STANDARD.decode(blob).map_err(|_| "the key is not base64".to_owned())?;
        check(kind, &bytes)?;
        let comment = if comment.is_empty() { String::new() } else { format!(" {comment}") };
        Ok(Self {
            line: format!("{kind} {blob}{comment}"),
            fingerprint: format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&bytes))),
        })
    }
}

/// Is it a key of that type, from its first byte to its last?
fn check(kind: &str, bytes: &[u8]) -> Result<(), String> {
    let broken = || format!("the key is not one of type {kind}, or part of it is missing");
    let mut rest = Fields(bytes);
    let mut next = || rest.next().ok_or_else(broken);
    if next()? != kind.as_bytes() {
        return Err(format!("the key inside is not of type {kind}"));
    }
    let sound = match kind {
        "ssh-ed25519" => next()?.len() == 32,
        "sk-ssh-ed25519@openssh.com" => next()?.len() == 32 && !next()?.is_empty(),
        "ssh-rsa" => {
            let (_exponent, modulus) = (next()?, next()?);
            let bits = bits(modulus);
            if !(LEAST_BITS..=MOST_BITS).contains(&bits) {
                return Err(format!("an RSA key must have {LEAST_BITS} to {MOST_BITS} bits, not {bits}"));
            }
            true
        }
        "sk-ecdsa-sha2-nistp256@openssh.com" => {
            next()? == b"nistp256" && is_point(next()?, b"nistp256") && !next()?.is_empty()
        }
        _ => {
            let curve = next()?;
            kind.as_bytes().ends_with(curve) && is_point(next()?, curve)
        }
    };
    if sound && rest.0.is_empty() { Ok(()) } else { Err(broken()) }
}

/// An uncompressed point of that curve.
fn is_point(point: &[u8], curve: &[u8]) -> bool {
    let length = match curve {
        b"nistp256" => 65,
        b"nistp384" => 97,
        b"nistp521" => 133,
        _ => return false,
    };
    point.len() == length && point.first() == Some(&4)
}

fn bits(number: &[u8]) -> usize {
    let number = &number[number.iter().take_while(|b| **b == 0).count()..];
    number.first().map_or(0, |first| number.len() * 8 - usize::try_from(first.leading_zeros()).unwrap_or(0))
}

/// Strings as SSH writes them: four bytes of length, then so many bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (field, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    fn field(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    fn line(kind: &str, fields: &[&[u8]]) -> String {
        let blob = [&[kind.as_bytes()], fields].concat().iter().flat_map(|f| field(f)).collect::<Vec<_>>();
        format!("{kind} {}", STANDARD.encode(blob))
    }

    fn modulus(bits: usize) -> Vec<u8> {
        let mut number = vec![0xff; bits / 8];
        number.insert(0, 0);
        number
    }

    #[test]
    fn sound_keys_of_all_types_are_taken() {
        let key = PublicKey::parse(&format!(" {ED25519}  ann on her laptop \n")).unwrap();
        assert_eq!(key.fingerprint, "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU");
        assert_eq!(key.line, format!("{ED25519} ann on her laptop"));
        let point = |length: usize| [&[4][..], &vec![7; length - 1]].concat();
        for good in [
            line("ssh-rsa", &[&[1, 0, 1], &modulus(2048)]),
            line("ecdsa-sha2-nistp256", &[b"nistp256", &point(65)]),
            line("ecdsa-sha2-nistp384", &[b"nistp384", &point(97)]),
            line("ecdsa-sha2-nistp521", &[b"nistp521", &point(133)]),
            line("sk-ssh-ed25519@openssh.com", &[&[7; 32], b"ssh:"]),
            line("sk-ecdsa-sha2-nistp256@openssh.com", &[b"nistp256", &point(65), b"ssh:"]),
        ] {
            assert_eq!(PublicKey::parse(&good).unwrap().line, good);
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let point = [&[4][..], &[7; 64]].concat();
        for (bad, told) in [
            (String::new(), "is required"),
            ("ssh-dss AAAA".to_owned(), "the type must be one of"),
            (format!("command=\"rm\" {ED25519}"), "options before the type"),
            (format!("{ED25519}\n{ED25519}"), "one line"),
            ("ssh-ed25519".to_owned(), "part of it is missing"),
            ("ssh-ed25519 ****".to_owned(), "not base64"),
            (ED25519.replace("ssh-ed25519 ", "ssh-rsa "), "is not of type ssh-rsa"),
            (line("ssh-ed25519", &[&[7; 31]]), "part of it is missing"),
            (line("ssh-ed25519", &[&[7; 32], b"more"]), "part of it is missing"),
            (line("ssh-rsa", &[&[1, 0, 1], &modulus(1024)]), "2048 to 16384 bits, not 1024"),
            (line("ecdsa-sha2-nistp384", &[b"nistp256", &point]), "part of it is missing"),
            (format!("{ED25519} {}", "x".repeat(201)), "200 characters"),
            (format!("{ED25519} {}", "x".repeat(9000)), "8192 bytes"),
        ] {
            let said = PublicKey::parse(&bad).unwrap_err();
            assert!(said.contains(told), "{said}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(kind in prop::sample::select(&TYPES[..]), bytes: Vec<u8>, text: String) {
            let _: Result<_, _> = PublicKey::parse(&format!("{kind} {}", STANDARD.encode(bytes)));
            let _: Result<_, _> = PublicKey::parse(&text);
        }
    }
}
