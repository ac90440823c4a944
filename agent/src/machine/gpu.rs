//! Display and 3D controllers, but for those that only draw the console.

use std::{fs, io};

use farrier_proto::v1;

use crate::host::Host;

/// PCI class "display controller": VGA, 3D and others.
const DISPLAY: &str = "0x03";
/// Makers of the console's adapter inside BMCs: ASPEED, and Matrox with its G200 family. They compute nothing, whether or
/// not the firmware drew on them.
const CONSOLES: [&str; 2] = ["1a03", "102b"];

/// The controllers, ordered by address.
///
/// # Errors
/// The kernel's list cannot be read.
pub fn list(host: &Host) -> io::Result<Vec<v1::Gpu>> {
    Ok(host.names("bus/pci/devices")?.into_iter().filter_map(|slot| look(host, slot)).collect())
}

fn look(host: &Host, slot: String) -> Option<v1::Gpu> {
    let of = |what: &str| host.attribute(format!("bus/pci/devices/{slot}/{what}"));
    let id = |what: &str| of(what).trim_start_matches("0x").to_ascii_lowercase();
    if !of("class").starts_with(DISPLAY) || of("boot_vga") == "1" {
        return None;
    }
    // A virtual function is a part of a controller that is counted already.
    let is_part = fs::symlink_metadata(host.sys(format!("bus/pci/devices/{slot}/physfn"))).is_ok();
    let (vendor_id, device_id) = (id("vendor"), id("device"));
    if is_part || CONSOLES.contains(&vendor_id.as_str()) {
        return None;
    }
    Some(v1::Gpu { pci_address: slot, vendor_id, device_id })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn controllers_that_compute_are_found_and_consoles_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let add = |slot: &str, told: &[(&str, &str)]| {
            let at = dir.path().join("sys/bus/pci/devices").join(slot);
            fs::create_dir_all(&at).unwrap();
            told.iter().for_each(|(name, text)| fs::write(at.join(name), format!("{text}\n")).unwrap());
            at
        };
        add("0000:00:02.0", &[("class", "0x030000"), ("vendor", "0x8086"), ("device", "0x1234"), ("boot_vga", "1")]);
        add("0000:04:00.0", &[("class", "0x030000"), ("vendor", "0x1a03"), ("device", "0x2000"), ("boot_vga", "0")]);
        add("0000:65:00.0", &[("class", "0x030200"), ("vendor", "0x10DE"), ("device", "0x2330")]);
        add("0000:66:00.0", &[("class", "0x038000"), ("vendor", "0x1002"), ("device", "0x740f"), ("boot_vga", "0")]);
        let part = add("0000:66:02.0", &[("class", "0x038000"), ("vendor", "0x1002"), ("device", "0x7410")]);
        symlink("../0000:66:00.0", part.join("physfn")).unwrap();
        add("0000:00:1f.0", &[("class", "0x060100"), ("vendor", "0x8086"), ("device", "0x7000")]);
        let found = list(&Host::below(dir.path())).unwrap();
        let seen: Vec<_> = found.iter().map(|g| (&*g.pci_address, &*g.vendor_id, &*g.device_id)).collect();
        assert_eq!(seen, [("0000:65:00.0", "10de", "2330"), ("0000:66:00.0", "1002", "740f")]);
        assert!(list(&Host::below(&dir.path().join("none"))).unwrap().is_empty());
    }
}
