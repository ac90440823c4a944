//! Renders what iPXE runs: pure.
//!
//! Whatever is put into a script is checked first: iPXE expands `${…}`, splits at white space, and takes `||`, `&&`, `;`
//! and `#` for itself.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddrV4},
};

use farrier_common::net::MacAddr;
use thiserror::Error;

use super::{answer::Answer, intent::EphemeralImage};

/// What x86 Linux takes, without the zero at its end.
const CMDLINE_LIMIT: usize = 2047;

/// Where the rack is, seen from the machine.
#[derive(Clone, Copy, Debug)]
pub struct Rack {
    /// Its address on the machine's subnet.
    pub address: Ipv4Addr,
    /// Where it serves scripts and blobs.
    pub http_port: u16,
    /// Where agents speak to it.
    pub agent_port: u16,
}

/// A value that cannot be put into a script.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadValue {
    /// A blob's name.
    #[error("{field}: {value:?} is not a SHA-256 in lower-case hex")]
    Digest {
        /// Which blob.
        field: &'static str,
        /// What was given.
        value: String,
    },
    /// The one-time token; it is not shown.
    #[error("token: allowed are 1 to 256 of letters, digits, '-' and '_'")]
    Token,
    /// The kernel's command line.
    #[error("extra_cmdline: {0}")]
    Cmdline(String),
}

impl Rack {
    /// The base of its HTTP addresses, without a slash at the end.
    #[must_use]
    pub fn http(&self) -> String {
        format!("http://{}", SocketAddrV4::new(self.address, self.http_port))
    }
}

/// Renders the script that leads the machine `name` (for people) with this interface to `answer`.
///
/// # Errors
/// The image or token holds a value that cannot be put into a script.
pub fn script(answer: &Answer<'_>, name: Option<&str>, mac: MacAddr, rack: Rack) -> Result<String, BadValue> {
    let name = printable(name.unwrap_or("unknown machine"));
    match answer {
        Answer::LocalDisk => Ok(local_disk(&name, mac)),
        Answer::Ephemeral { image, purpose, boot } => {
            let mut cmdline = String::from("initrd=initrd");
            let _ = write!(cmdline, " farrier.agent={}:{} farrier.http={}", rack.address, rack.agent_port, rack.http());
            if let Some((boot, token)) = boot {
                check_token(token.expose())?;
                let _ = write!(cmdline, " farrier.boot={boot} farrier.token={}", token.expose());
            }
            let _ = write!(cmdline, " BOOTIF=01-{} {CONSOLES}", mac.to_string().replace(':', "-"));
            for word in cmdline_words(&image.extra_cmdline)? {
                let _ = write!(cmdline, " {word}");
            }
            if cmdline.len() > CMDLINE_LIMIT {
                let (length, more) = (cmdline.len(), cmdline.len() - CMDLINE_LIMIT);
                return Err(BadValue::Cmdline(format!("the whole line has {length} characters, {more} too many")));
            }
            ephemeral(image, &format!("{name} boots for {}", printable(purpose)), &cmdline, mac, rack)
        }
    }
}

/// The last console is `/dev/console`: servers are watched over serial lines. A kernel that panics resets at once.
const CONSOLES: &str = "console=tty0 console=ttyS0,115200 panic=-1";

/// Splits a command line into words that iPXE hands on unchanged.
///
/// # Errors
/// A word would mean something to iPXE, or is not printable ASCII.
pub fn cmdline_words(text: &str) -> Result<Vec<&str>, BadValue> {
    let check = |word: &str| {
        if !word.bytes().all(|b| b.is_ascii_graphic()) {
            Err(BadValue::Cmdline(format!("{word:?} is not printable ASCII")))
        } else if word.contains("${") || word.starts_with('#') || ["||", "&&", ";"].contains(&word) {
            Err(BadValue::Cmdline(format!("{word:?} means something to iPXE (`${{`, `#…`, `||`, `&&`, `;`)")))
        } else {
            Ok(())
        }
    };
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    words.iter().try_for_each(|word| check(word)).map(|()| words)
}

/// On UEFI a failing exit makes the firmware try the next boot option (a successful one would show its menu); on BIOS
/// the disk is started by iPXE, since not every BIOS goes on after a network boot.
fn local_disk(name: &str, mac: MacAddr) -> String {
    format!(
        "#!ipxe\n\
         echo Farrier: {name} ({mac}) boots from its local disk\n\
         iseq ${{platform}} pcbios && goto bios ||\n\
         exit 1\n\
         :bios\n\
         sanboot --no-describe --drive 0x80 ||\n\
         exit 1\n"
    )
}

/// When something cannot be fetched the machine asks for a new script after a while, so it follows its intent, which
/// ends when it expires.
fn ephemeral(image: &EphemeralImage, title: &str, cmdline: &str, mac: MacAddr, rack: Rack) -> Result<String, BadValue> {
    let http = rack.http();
    let kernel = digest("image.kernel", &image.kernel.sha256)?;
    let initrd = digest("image.initrd", &image.initrd.sha256)?;
    Ok(format!(
        "#!ipxe\n\
         echo Farrier: {title} ({mac})\n\
         imgfree\n\
         kernel {http}/blobs/{kernel} {cmdline} || goto again\n\
         initrd --name initrd {http}/blobs/{initrd} || goto again\n\
         boot || goto again\n\
         :again\n\
         echo Farrier: this did not work, asking again in 10 seconds\n\
         imgfree\n\
         sleep 10\n\
         chain --replace {http}/boot/{mac}.ipxe ||\n\
         exit 1\n"
    ))
}

fn digest<'a>(field: &'static str, text: &'a str) -> Result<&'a str, BadValue> {
    let good = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    good.then_some(text).ok_or_else(|| BadValue::Digest { field, value: text.chars().take(80).collect() })
}

fn check_token(token: &str) -> Result<(), BadValue> {
    let good =
        (1..=256).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if good { Ok(()) } else { Err(BadValue::Token) }
}

/// A name without anything that means something to iPXE.
fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || " .-_".contains(c) { c } else { '?' };
    text.chars().take(80).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use farrier_common::{id::BootId, secret::Secret};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::boot::state::samples;

    const RACK: Rack = Rack { address: Ipv4Addr::new(10, 77, 0, 1), http_port: 5248, agent_port: 5250 };

    fn boot() -> (BootId, Secret<String>) {
        (BootId::from_uuid(Uuid::nil()), Secret::new("s3cret".to_owned()))
    }

    fn check(answer: &Answer<'_>, name: Option<&str>, expected: &Expect) {
        expected.assert_eq(&script(answer, name, samples::mac(1), RACK).unwrap());
    }

    #[test]
    fn ephemeral_script() {
        let (id, token) = boot();
        let image = samples::image();
        let answer = Answer::Ephemeral { image: &image, purpose: "commissioning", boot: Some((id, &token)) };
        check(
            &answer,
            Some("node-1"),
            &expect![[r#"
            #!ipxe
            echo Farrier: node-1 boots for commissioning (52:54:00:77:00:01)
            imgfree
            kernel http://10.77.0.1:5248/blobs/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa initrd=initrd farrier.agent=10.77.0.1:5250 farrier.http=http://10.77.0.1:5248 farrier.boot=00000000-0000-0000-0000-000000000000 farrier.token=s3cret BOOTIF=01-52-54-00-77-00-01 console=tty0 console=ttyS0,115200 panic=-1 quiet loglevel=3 || goto again
            initrd --name initrd http://10.77.0.1:5248/blobs/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb || goto again
            boot || goto again
            :again
            echo Farrier: this did not work, asking again in 10 seconds
            imgfree
            sleep 10
            chain --replace http://10.77.0.1:5248/boot/52:54:00:77:00:01.ipxe ||
            exit 1
        "#]],
        );
    }

    #[test]
    fn an_unknown_machine_gets_no_token() {
        let image = samples::image();
        let answer = Answer::Ephemeral { image: &image, purpose: "enlisting", boot: None };
        let text = script(&answer, None, samples::mac(1), RACK).unwrap();
        assert!(text.contains("farrier.http=http://10.77.0.1:5248 BOOTIF="), "{text}");
    }

    #[test]
    fn local_disk_script() {
        check(
            &Answer::LocalDisk,
            Some("node-${1}\n"),
            &expect![[r#"
            #!ipxe
            echo Farrier: node-??1?? (52:54:00:77:00:01) boots from its local disk
            iseq ${platform} pcbios && goto bios ||
            exit 1
            :bios
            sanboot --no-describe --drive 0x80 ||
            exit 1
        "#]],
        );
    }

    #[test]
    fn values_that_mean_something_to_ipxe_are_refused() {
        for bad in ["a ${net0/mac}", "x || shell", "a ; b", "#x", "ä", "a\u{7}b"] {
            assert!(cmdline_words(bad).is_err(), "{bad}");
        }
        assert_eq!(cmdline_words(" a=b\n c|d $HOME x# ").unwrap(), ["a=b", "c|d", "$HOME", "x#"]);
        let (id, _) = boot();
        let token = Secret::new("a\nshell".to_owned());
        let image = samples::image();
        let answer = Answer::Ephemeral { image: &image, purpose: "", boot: Some((id, &token)) };
        assert_eq!(script(&answer, None, samples::mac(1), RACK), Err(BadValue::Token));
        let mut image = samples::image();
        image.extra_cmdline = "x".repeat(2000);
        let answer = Answer::Ephemeral { image: &image, purpose: "", boot: None };
        assert!(matches!(script(&answer, None, samples::mac(1), RACK), Err(BadValue::Cmdline(_))));
        image.initrd.sha256 = "../../etc/passwd".to_owned();
        image.extra_cmdline.clear();
        let answer = Answer::Ephemeral { image: &image, purpose: "", boot: None };
        assert!(matches!(script(&answer, None, samples::mac(1), RACK), Err(BadValue::Digest { .. })));
    }

    proptest! {
        #[test]
        fn no_value_adds_a_line(name: String, purpose: String, extra in ".*", token: String) {
            let image = EphemeralImage { extra_cmdline: extra, ..samples::image() };
            let token = Secret::new(token);
            let answer = Answer::Ephemeral { image: &image, purpose: &purpose, boot: Some((boot().0, &token)) };
            if let Ok(text) = script(&answer, Some(&name), samples::mac(1), RACK) {
                prop_assert_eq!(text.lines().count(), 12);
                let expands = text.contains("${");
                prop_assert!(!expands);
            }
        }
    }
}
