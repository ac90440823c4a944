//! Addresses on the machines' wire.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use thiserror::Error;

/// An EUI-48 address; displayed in lower case with colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

/// A text that is no MAC address.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not a MAC address such as 52:54:00:12:34:56")]
pub struct BadMac(String);

impl FromStr for MacAddr {
    type Err = BadMac;

    /// Accepts colons or hyphens, either case.
    fn from_str(text: &str) -> Result<Self, BadMac> {
        let bad = || BadMac(text.chars().take(40).collect());
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An inclusive range of IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Range {
    start: Ipv4Addr,
    end: Ipv4Addr,
}

impl Ipv4Range {
    /// From first to last, both included; `None` if last comes before first.
    #[must_use]
    pub fn new(start: Ipv4Addr, end: Ipv4Addr) -> Option<Self> {
        (start <= end).then_some(Self { start, end })
    }

    /// The first address.
    #[must_use]
    pub const fn start(&self) -> Ipv4Addr {
        self.start
    }

    /// The last address.
    #[must_use]
    pub const fn end(&self) -> Ipv4Addr {
        self.end
    }

    /// Is `address` one of them?
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.start..=self.end).contains(&address)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (self.start.to_bits()..=self.end.to_bits()).map(Ipv4Addr::from_bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mac_survives_its_text(bytes: [u8; 6]) {
            prop_assert_eq!(MacAddr(bytes).to_string().parse(), Ok(MacAddr(bytes)));
        }

        #[test]
        fn parsing_a_mac_never_panics(text: String) {
            let _ = text.parse::<MacAddr>();
        }
    }

    #[test]
    fn iteration_is_inclusive() {
        let range = Ipv4Range::new([10, 0, 0, 254].into(), [10, 0, 1, 1].into()).unwrap();
        assert_eq!(range.iter().count(), 4);
        assert!(range.iter().all(|a| range.contains(a)));
    }
}
