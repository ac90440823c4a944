//! What the boot script put on the kernel's command line.

use std::net::SocketAddr;

use farrier_common::{id::BootId, net::MacAddr, secret::Secret};
use reqwest::Url;
use thiserror::Error;

/// How to reach the rack and what for.
#[derive(Debug)]
pub struct Options {
    /// The rack's `AgentService`.
    pub agent: SocketAddr,
    /// The rack's HTTP service.
    pub http: Url,
    /// Present if this boot belongs to a known machine; without it the agent can only enlist.
    pub pass: Option<Pass>,
    /// The interface that the machine booted from.
    pub boot_mac: Option<MacAddr>,
}

/// What opens the session of one boot.
#[derive(Debug)]
pub struct Pass {
    /// The boot.
    pub boot_id: BootId,
    /// Works once.
    pub token: Secret<String>,
}

/// A command line that lacks something or has something that does not fit. Never shows the token.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{word}: {problem}")]
pub struct BadCmdline {
    word: &'static str,
    problem: String,
}

const AGENT: &str = "farrier.agent";
const HTTP: &str = "farrier.http";
const BOOT: &str = "farrier.boot";
const TOKEN: &str = "farrier.token";
const BOOTIF: &str = "BOOTIF";
const LONGEST_TOKEN: usize = 256;

impl Options {
    /// Reads the text of `/proc/cmdline`. Of a word given twice the last one counts, as for the kernel.
    ///
    /// # Errors
    /// Names the word that is missing or does not fit, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, BadCmdline> {
        let value = |word: &str| {
            text.split_ascii_whitespace()
                .rev()
                .find_map(|w| w.strip_prefix(word)?.strip_prefix('='))
                .filter(|v| !v.is_empty())
        };
        let bad = |word, problem: String| BadCmdline { word, problem };
        let agent = value(AGENT).ok_or_else(|| bad(AGENT, "is missing; ADDRESS:PORT of the rack".to_owned()))?;
        let agent = agent.parse().map_err(|_| bad(AGENT, format!("{agent:?} is not ADDRESS:PORT")))?;
        let http = value(HTTP).ok_or_else(|| bad(HTTP, "is missing; http://ADDRESS:PORT of the rack".to_owned()))?;
        let http = Url::parse(http)
            .ok()
            .filter(|url| url.scheme() == "http" && url.has_host())
            .ok_or_else(|| bad(HTTP, format!("{http:?} is not http://ADDRESS:PORT")))?;
        let pass = match (value(BOOT), value(TOKEN)) {
            (None, None) => None,
            (Some(_), None) => return Err(bad(TOKEN, format!("is missing; it goes with {BOOT}"))),
            (None, Some(_)) => return Err(bad(BOOT, format!("is missing; it goes with {TOKEN}"))),
            (Some(boot), Some(token)) => {
                if token.len() > LONGEST_TOKEN || !token.bytes().all(|b| b.is_ascii_graphic()) {
                    return Err(bad(TOKEN, format!("must be at most {LONGEST_TOKEN} printable ASCII characters")));
                }
                let boot_id = boot.parse().map_err(|e| bad(BOOT, format!("{e}")))?;
                Some(Pass { boot_id, token: Secret::new(token.to_owned()) })
            }
        };
        // A loader's odd BOOTIF costs only the order of interfaces, so it does not stop the boot.
        let boot_mac = value(BOOTIF).and_then(|v| v.strip_prefix("01-").unwrap_or(v).parse().ok());
        Ok(Self { agent, http, pass, boot_mac })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RACK: &str = "quiet farrier.agent=10.77.0.1:5250 farrier.http=http://10.77.0.1:5248";

    #[test]
    fn a_full_line_is_understood() {
        let id = BootId::generate();
        let line = format!("{RACK} farrier.boot={id} farrier.token=abc123 BOOTIF=01-52-54-00-AB-00-01 console=ttyS0\n");
        let options = Options::parse(&line).unwrap();
        let pass = options.pass.unwrap();
        assert_eq!((pass.boot_id, pass.token.expose().as_str()), (id, "abc123"));
        assert_eq!(options.boot_mac.unwrap().to_string(), "52:54:00:ab:00:01");
        assert_eq!(options.agent.to_string(), "10.77.0.1:5250");
    }

    #[test]
    fn without_boot_and_token_it_can_only_enlist() {
        assert!(Options::parse(RACK).unwrap().pass.is_none());
        assert!(Options::parse(&format!("{RACK} farrier.boot= farrier.token=")).unwrap().pass.is_none());
    }

    #[test]
    fn what_is_wrong_is_named_and_the_token_never_shown() {
        let check = |line: &str, expected: &str| {
            let error = Options::parse(line).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("s3cr3t"), "{error}");
        };
        check("quiet", "farrier.agent: is missing");
        check("farrier.agent=rack:5250", "farrier.agent: \"rack:5250\"");
        check("farrier.agent=10.0.0.1:1 farrier.http=ftp://x", "farrier.http: \"ftp://x\"");
        check(&format!("{RACK} farrier.token=s3cr3t"), "farrier.boot: is missing");
        check(&format!("{RACK} farrier.boot=7 farrier.token=s3cr3t"), "farrier.boot: \"7\" is not a boot id");
        check(&format!("{RACK} farrier.boot=7"), "farrier.token: is missing");
    }

    proptest! {
        #[test]
        fn never_panics(text: String) {
            let _ = Options::parse(&text);
            let _ = Options::parse(&format!("{RACK} {text}"));
        }
    }
}
