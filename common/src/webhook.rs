//! Power by webhook: what is asked where, and how the answer is read. Checked once, by whoever takes it in.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Bytes of a URL.
pub const LONGEST_URL: usize = 2048;
/// Bytes of a regex.
pub const LONGEST_REGEX: usize = 512;
/// Bytes that a compiled regex may take.
const REGEX_SIZE: usize = 1 << 20;

/// A field that cannot be, and what may be instead.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{field}: {text}")]
pub struct Invalid {
    /// Name of the field.
    pub field: &'static str,
    /// What is wrong with it.
    pub text: String,
}

/// An `http` or `https` URL without user, password and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookUrl {
    tls: bool,
    host: String,
    port: u16,
    path: String,
}

/// A regular expression that is looked for anywhere in an answer.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

/// Where power is asked for, and how the answer is read. All URLs are on one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Given", into = "Given")]
pub struct Webhook {
    /// `POST` here switches on.
    pub on: HookUrl,
    /// `POST` here switches off.
    pub off: HookUrl,
    /// `GET` here tells the power.
    pub query: HookUrl,
    /// Found in what `query` answers: the power is on.
    pub is_on: Pattern,
    /// Found in what `query` answers: the power is off.
    pub is_off: Pattern,
    /// Take any certificate that the server shows.
    pub insecure: bool,
}

/// The same, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// See [`Webhook::on`].
    pub on_url: String,
    /// See [`Webhook::off`].
    pub off_url: String,
    /// See [`Webhook::query`].
    pub query_url: String,
    /// See [`Webhook::is_on`].
    pub on_regex: String,
    /// See [`Webhook::is_off`].
    pub off_regex: String,
    /// See [`Webhook::insecure`].
    pub insecure: bool,
}

// === impl HookUrl ===

impl HookUrl {
    /// Is it HTTPS?
    #[must_use]
    pub const fn tls(&self) -> bool {
        self.tls
    }

    /// Name or address of the server.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What a request names as its host.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == default_port(self.tls) { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The server's address, if the URL has one.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.host.parse().ok()
    }

    /// Do both lead to the same server, in the same way?
    #[must_use]
    pub fn same_server(&self, other: &Self) -> bool {
        (self.tls, &self.host, self.port) == (other.tls, &other.host, other.port)
    }

    /// Where a redirect leads that this URL answered; `None`: away from this server, or nowhere.
    #[must_use]
    pub fn redirect(&self, location: &str) -> Option<Self> {
        // "//elsewhere/" is another server.
        let to = if location.starts_with('/') && !location.starts_with("//") {
            let scheme = if self.tls { "https" } else { "http" };
            format!("{scheme}://{}{location}", self.authority())
        } else {
            location.to_owned()
        };
        to.parse().ok().filter(|to| self.same_server(to))
    }
}

const fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

impl FromStr for HookUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is required: it is an http:// or https:// URL".to_owned());
        }
        if text.len() > LONGEST_URL || !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains(['#', '\\']) {
            return Err(format!("must be at most {LONGEST_URL} printable ASCII characters without blanks and '#'"));
        }
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err("must begin with http:// or https://".to_owned()),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("must not hold user or password: they are given apart, and kept sealed".to_owned());
        }
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|p| *p != 0)),
            None => (authority, Some(default_port(tls))),
        };
        let port = port.ok_or_else(|| "must name a port of 1 to 65535, or none".to_owned())?;
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        if !(1..=253).contains(&host.len()) || !host.bytes().all(word) {
            return Err("must name a host: an IPv4 address or a DNS name".to_owned());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { tls, host: host.to_ascii_lowercase(), port, path })
    }
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

// === impl Pattern ===

impl Pattern {
    /// Is it found in `text`?
    #[must_use]
    pub fn found_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !(1..=LONGEST_REGEX).contains(&text.len()) {
            return Err(format!("is a regular expression of 1 to {LONGEST_REGEX} bytes"));
        }
        let built = RegexBuilder::new(text).size_limit(REGEX_SIZE).dfa_size_limit(REGEX_SIZE).build();
        let regex = built.map_err(|e| format!("is no regular expression: {e}"))?;
        // It would take every answer, that of a broken server too, for a proof.
        if regex.is_match("") {
            return Err("must not match an empty answer".to_owned());
        }
        Ok(Self(regex))
    }
}

// === impl Webhook ===

impl TryFrom<Given> for Webhook {
    type Error = Invalid;

    fn try_from(given: Given) -> Result<Self, Invalid> {
        let (on, off) = (field("on_url", &given.on_url)?, field("off_url", &given.off_url)?);
        let query: HookUrl = field("query_url", &given.query_url)?;
        for (name, url) in [("on_url", &on), ("off_url", &off)] {
            if !query.same_server(url) {
                let text =
                    format!("must be on the same server as query_url, by the same scheme: {}", query.authority());
                return Err(Invalid { field: name, text });
            }
        }
        let (is_on, is_off): (Pattern, Pattern) =
            (field("on_regex", &given.on_regex)?, field("off_regex", &given.off_regex)?);
        if is_on == is_off {
            return Err(Invalid { field: "off_regex", text: "must not be the same as on_regex".to_owned() });
        }
        if given.insecure && !query.tls() {
            return Err(Invalid { field: "insecure", text: "is for https:// URLs".to_owned() });
        }
        Ok(Self { on, off, query, is_on, is_off, insecure: given.insecure })
    }
}

fn field<T: FromStr<Err = String>>(field: &'static str, text: &str) -> Result<T, Invalid> {
    text.parse().map_err(|text| Invalid { field, text })
}

impl From<Webhook> for Given {
    fn from(hook: Webhook) -> Self {
        Self {
            on_url: hook.on.to_string(),
            off_url: hook.off.to_string(),
            query_url: hook.query.to_string(),
            on_regex: hook.is_on.as_str().to_owned(),
            off_regex: hook.is_off.as_str().to_owned(),
            insecure: hook.insecure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Given {
        Given {
            on_url: "http://10.0.0.9:8080/outlet/3/on".to_owned(),
            off_url: "http://10.0.0.9:8080/outlet/3/off".to_owned(),
            query_url: "http://10.0.0.9:8080/outlet?id=3".to_owned(),
            on_regex: "\"power\": *\"on\"".to_owned(),
            off_regex: "\"power\": *\"off\"".to_owned(),
            insecure: false,
        }
    }

    #[test]
    fn what_is_checked_comes_back_as_it_was_given() {
        let hook = Webhook::try_from(given()).unwrap();
        assert_eq!(Given::from(hook.clone()), given());
        assert_eq!((hook.query.port(), hook.query.path()), (8080, "/outlet?id=3"));
        assert_eq!(hook.query.address(), Some(Ipv4Addr::new(10, 0, 0, 9)));
        let named: HookUrl = "HTTPS://Plug.lab".parse().unwrap();
        assert_eq!((named.to_string().as_str(), named.port(), named.address()), ("https://plug.lab/", 443, None));
    }

    #[test]
    fn each_wrong_field_is_named() {
        type Spoil = fn(&mut Given);
        let spoiled: [(&str, Spoil); 15] = [
            ("query_url", |g| g.query_url.clear()),
            ("on_url", |g| g.on_url = "ftp://10.0.0.9/".into()),
            ("on_url", |g| g.on_url = "http://u:p@10.0.0.9:8080/".into()),
            ("on_url", |g| g.on_url = "http://10.0.0.9:8080/a b".into()),
            ("on_url", |g| g.on_url = "http://10.0.0.9:0/".into()),
            ("on_url", |g| g.on_url = "http:///on".into()),
            ("on_url", |g| g.on_url = format!("http://10.0.0.9:8080/{}", "x".repeat(LONGEST_URL))),
            ("on_url", |g| g.on_url = "https://10.0.0.9:8080/on".into()),
            ("off_url", |g| g.off_url = "http://10.0.0.8:8080/off".into()),
            ("on_regex", |g| g.on_regex = "(on".into()),
            ("on_regex", |g| g.on_regex = "x".repeat(LONGEST_REGEX + 1)),
            ("on_regex", |g| g.on_regex = "(a{1000}){1000}".into()),
            ("off_regex", |g| g.off_regex = ".*".into()),
            ("off_regex", |g| g.off_regex = g.on_regex.clone()),
            ("insecure", |g| g.insecure = true),
        ];
        for (field, spoil) in spoiled {
            let mut g = given();
            spoil(&mut g);
            assert_eq!(Webhook::try_from(g).unwrap_err().field, field);
        }
    }

    #[test]
    fn redirects_stay_on_the_server() {
        let url: HookUrl = "http://10.0.0.9:8080/outlet".parse().unwrap();
        let to = |location: &str| url.redirect(location).map(|u| u.path().to_owned());
        assert_eq!(to("/outlets/3").as_deref(), Some("/outlets/3"));
        assert_eq!(to("http://10.0.0.9:8080/x?y").as_deref(), Some("/x?y"));
        for away in ["//evil/x", "http://10.0.0.9/x", "https://10.0.0.9:8080/x", "http://10.0.0.9:8080@evil/", "x", ""]
        {
            assert_eq!(to(away), None, "{away}");
        }
    }
}
