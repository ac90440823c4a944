//! Wired network interfaces.

use std::io;

use farrier_common::net::MacAddr;
use farrier_proto::v1;

use crate::host::Host;

/// A physical Ethernet interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's name.
    pub name: String,
    /// Its address.
    pub mac: MacAddr,
    /// The driver's name.
    pub driver: String,
    /// It has a link.
    pub carrier: bool,
    /// 0 if the driver does not say.
    pub speed_mbps: u32,
}

/// The interfaces, the one that the machine booted from first, the others ordered by name.
///
/// # Errors
/// The kernel's list cannot be read.
pub fn list(host: &Host, boot: Option<MacAddr>) -> io::Result<Vec<Interface>> {
    let mut found: Vec<_> = host.names("class/net")?.into_iter().filter_map(|name| look(host, name)).collect();
    found.sort_by_key(|i| Some(i.mac) != boot);
    Ok(found)
}

fn look(host: &Host, name: String) -> Option<Interface> {
    let of = |attribute: &str| format!("class/net/{name}/{attribute}");
    // Bridges, tunnels and the loop-back have no device; wireless ones are no way to boot.
    if !host.sys(of("device")).exists() || host.sys(of("wireless")).exists() || host.attribute(of("type")) != "1" {
        return None;
    }
    let mac = host.attribute(of("address")).parse().ok().filter(|mac| *mac != MacAddr([0; 6]))?;
    let driver = host.link_name(of("device/driver"));
    // An interface that is down answers these two with an error, one without a link may say -1.
    let carrier = host.attribute(of("carrier")) == "1";
    let speed_mbps = host.attribute(of("speed")).parse::<u32>().ok().filter(|s| *s != u32::MAX).unwrap_or(0);
    Some(Interface { name, mac, driver, carrier, speed_mbps })
}

impl From<&Interface> for v1::Nic {
    fn from(i: &Interface) -> Self {
        Self {
            name: i.name.clone(),
            mac: i.mac.to_string(),
            driver: i.driver.clone(),
            carrier: i.carrier,
            speed_mbps: i.speed_mbps,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn physical_interfaces_with_the_boot_interface_first() {
        let dir = tempfile::tempdir().unwrap();
        let add = |name: &str, mac: &str, physical: bool| {
            let path = dir.path().join("sys/class/net").join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("address"), format!("{mac}\n")).unwrap();
            fs::write(path.join("type"), "1\n").unwrap();
            fs::write(path.join("speed"), "-1\n").unwrap();
            if physical {
                fs::create_dir(path.join("device")).unwrap();
                symlink("../../bus/pci/drivers/e1000e", path.join("device/driver")).unwrap();
            }
        };
        add("eth0", "52:54:00:00:00:01", true);
        add("eth1", "52:54:00:00:00:02", true);
        add("br0", "52:54:00:00:00:03", false);
        add("odd0", "00:00:00:00:00:00", true);
        let boot = "52:54:00:00:00:02".parse().unwrap();
        let found = list(&Host::below(dir.path()), Some(boot)).unwrap();
        let names: Vec<_> = found.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names, ["eth1", "eth0"]);
        assert_eq!((found[0].driver.as_str(), found[0].speed_mbps, found[0].carrier), ("e1000e", 0, false));
    }
}
