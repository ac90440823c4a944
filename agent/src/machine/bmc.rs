//! The BMC from inside the machine, by the kernel's IPMI device: where it is, and the way to it.

use std::{
    io,
    net::Ipv4Addr,
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

/// The kernel's IPMI device.
pub(crate) type Device = Ipmi<File>;

/// The first address that a LAN channel of the BMC has; empty if there is no BMC, or none that answers. Blocks for seconds.
#[must_use]
pub fn address(host: &Host) -> String {
    let found = open(host).and_then(Result::ok).and_then(|mut device| lan(&mut device));
    found.map(|(_, address)| address.to_string()).unwrap_or_default()
}

/// Opens the kernel's IPMI device; `None`: the machine offers none.
pub(crate) fn open(host: &Host) -> Option<io::Result<Device>> {
    let device = ["ipmi0", "ipmi/0", "ipmidev/0"].into_iter().map(|d| host.dev(d)).find(|d| d.exists());
    device.map(|device| File::new(device, ANSWER).map(Ipmi::new))
}

/// The first channel that has an address, and that.
pub(crate) fn lan(device: &mut Device) -> Option<(Channel, Ipv4Addr)> {
    let start = Instant::now();
    CHANNELS.take_while(|_| start.elapsed() < ALTOGETHER).filter_map(Channel::new).find_map(|channel| {
        let answer = device.send_recv(GetLanConfigParameters::new(channel, LanConfigParameter::IpAddress)).ok()?;
        Some((channel, usable(&answer.data)?))
    })
}

fn usable(data: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = data.get(..4)?.try_into().ok()?;
    let address = Ipv4Addr::from(octets);
    // A link-local one is of the network between the BMC and its own machine, or of nobody's.
    let real = !address.is_unspecified() && !address.is_broadcast() && !address.is_link_local();
    real.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_address_counts() {
        assert_eq!(usable(&[10, 0, 0, 9]), Some(Ipv4Addr::new(10, 0, 0, 9)));
        assert_eq!(usable(&[0, 0, 0, 0]), None);
        assert_eq!(usable(&[169, 254, 0, 17]), None);
        assert_eq!(usable(&[10, 0, 0]), None);
        assert_eq!(usable(&[]), None);
    }

    #[test]
    fn no_device_is_no_address() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(address(&Host::below(dir.path())), "");
    }
}
