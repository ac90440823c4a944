//! The BMC's own address, asked in band.

use std::{
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use ipmi_rs::{File, Ipmi};
use ipmi_rs_core::{
    connection::Channel,
    transport::{GetLanConfigParameters, LanConfigParameter},
};

use crate::host::Host;

/// Channels that may be a LAN; the first is it on most machines.
const CHANNELS: std::ops::RangeInclusive<u8> = 1..=11;
const ANSWER: Duration = Duration::from_secs(3);
const ALTOGETHER: Duration = Duration::from_secs(15);

/// The first address that a LAN channel of the BMC has; empty if there is no BMC, or none that answers. Blocks for seconds.
#[must_use]
pub fn address(host: &Host) -> String {
    let device = ["ipmi0", "ipmi/0", "ipmidev/0"].into_iter().map(|d| host.dev(d)).find(|d| d.exists());
    device.and_then(|d| ask(&d)).map(|a| a.to_string()).unwrap_or_default()
}

fn ask(device: &Path) -> Option<Ipv4Addr> {
    let start = Instant::now();
    let mut ipmi = Ipmi::new(File::new(device, ANSWER).ok()?);
    CHANNELS.take_while(|_| start.elapsed() < ALTOGETHER).filter_map(Channel::new).find_map(|channel| {
        let answer = ipmi.send_recv(GetLanConfigParameters::new(channel, LanConfigParameter::IpAddress)).ok()?;
        usable(&answer.data)
    })
}

fn usable(data: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = data.get(..4)?.try_into().ok()?;
    let address = Ipv4Addr::from(octets);
    (!address.is_unspecified() && !address.is_broadcast()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_address_counts() {
        assert_eq!(usable(&[10, 0, 0, 9]), Some(Ipv4Addr::new(10, 0, 0, 9)));
        assert_eq!(usable(&[0, 0, 0, 0]), None);
        assert_eq!(usable(&[10, 0, 0]), None);
        assert_eq!(usable(&[]), None);
    }

    #[test]
    fn no_device_is_no_address() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(address(&Host::below(dir.path())), "");
    }
}
