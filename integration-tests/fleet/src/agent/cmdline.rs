//! What the rack's script put on the kernel's command line.

use std::net::SocketAddrV4;

use farrier_common::{id::BootId, net::MacAddr, secret::Secret};

/// Where the rack is and what this boot is for.
#[derive(Debug)]
pub(super) struct Options {
    /// Its `AgentService`.
    pub(super) agent: SocketAddrV4,
    /// Base of its files, without a slash at the end.
    pub(super) http: String,
    /// What opens the boot's session; none: the machine can only enlist.
    pub(super) pass: Option<(BootId, Secret<String>)>,
    /// The interface that it booted from.
    pub(super) boot_mac: Option<MacAddr>,
}

impl Options {
    /// # Errors
    /// Names the word that is missing or does not fit. Never shows the token.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let value = |name: &str| {
            let words = text.split_ascii_whitespace().rev();
            words.filter_map(|w| w.strip_prefix(name)?.strip_prefix('=')).find(|v| !v.is_empty())
        };
        let agent = value("farrier.agent").and_then(|v| v.parse().ok());
        let http = value("farrier.http").map(|v| v.trim_end_matches('/')).filter(|v| v.starts_with("http://"));
        let pass = match (value("farrier.boot"), value("farrier.token")) {
            (None, None) => None,
            (Some(boot), Some(token)) => {
                let boot = boot.parse().map_err(|_| "farrier.boot: is not a boot id".to_owned())?;
                Some((boot, Secret::new(token.to_owned())))
            }
            (Some(_), None) => return Err("farrier.token: is missing; it goes with farrier.boot".to_owned()),
            (None, Some(_)) => return Err("farrier.boot: is missing; it goes with farrier.token".to_owned()),
        };
        Ok(Self {
            agent: agent.ok_or("farrier.agent: is missing or not ADDRESS:PORT")?,
            http: http.ok_or("farrier.http: is missing or not http://ADDRESS:PORT")?.to_owned(),
            pass,
            boot_mac: value("BOOTIF").and_then(|v| v.strip_prefix("01-").unwrap_or(v).parse().ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rack_is_found_and_what_is_wrong_is_named() {
        let rack = "initrd=initrd farrier.agent=10.77.0.1:5250 farrier.http=http://10.77.0.1:5248/";
        let boot = BootId::generate();
        let line = format!("{rack} farrier.boot={boot} farrier.token=s3cret BOOTIF=01-52-54-00-77-00-01");
        let options = Options::parse(&line).unwrap();
        assert_eq!((options.http.as_str(), options.agent.port()), ("http://10.77.0.1:5248", 5250));
        assert_eq!(options.pass.unwrap().0, boot);
        assert_eq!(options.boot_mac.unwrap().to_string(), "52:54:00:77:00:01");
        assert!(Options::parse(rack).unwrap().pass.is_none());
        for bad in [
            "quiet".to_owned(),
            format!("{rack} farrier.token=s3cret"),
            format!("{rack} farrier.boot=7 farrier.token=s3cret"),
        ] {
            let error = Options::parse(&bad).unwrap_err();
            assert!(error.starts_with("farrier.") && !error.contains("s3cret"), "{error}");
        }
    }
}
