//! What the firmware says of the machine (SMBIOS).

use std::fs;

use farrier_common::hardware::Firmware;

use crate::host::Host;

/// The system as its maker describes it; empty where the maker did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// Who made it.
    pub vendor: String,
    /// What it is.
    pub product: String,
    /// Which one it is.
    pub serial: String,
    /// Its UUID, lower case.
    pub uuid: String,
    /// Version of the BIOS or UEFI.
    pub firmware_version: String,
}

/// What firmware says when nobody filled in the field; telling machines apart by these would join strangers.
const PLACEHOLDERS: [&str; 12] = [
    "to be filled by o.e.m.",
    "default string",
    "not specified",
    "not applicable",
    "system serial number",
    "system product name",
    "system manufacturer",
    "0123456789",
    "none",
    "n/a",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
];

impl System {
    /// Reads what the kernel kept of SMBIOS types 0 and 1.
    #[must_use]
    pub fn read(host: &Host) -> Self {
        let field = |name: &str| {
            Some(host.attribute(format!("class/dmi/id/{name}"))).filter(|t| !is_placeholder(t)).unwrap_or_default()
        };
        Self {
            vendor: field("sys_vendor"),
            product: field("product_name"),
            serial: field("product_serial"),
            uuid: field("product_uuid").to_lowercase(),
            firmware_version: field("bios_version"),
        }
    }
}

fn is_placeholder(text: &str) -> bool {
    PLACEHOLDERS.contains(&text.to_lowercase().as_str())
}

/// How this boot was started.
#[must_use]
pub fn kind(host: &Host) -> Firmware {
    if host.sys("firmware/efi").exists() { Firmware::Uefi } else { Firmware::Bios }
}

/// Bytes of memory installed: what the modules hold together, or what the kernel can use if the firmware does not tell.
#[must_use]
pub fn memory_bytes(host: &Host) -> u64 {
    let table = fs::read(host.sys("firmware/dmi/tables/DMI")).unwrap_or_default();
    match installed_bytes(&table) {
        0 => usable_bytes(&fs::read_to_string(host.proc("meminfo")).unwrap_or_default()),
        bytes => bytes,
    }
}

fn usable_bytes(meminfo: &str) -> u64 {
    let kib = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Sum of the memory modules (type 17) in an SMBIOS table.
fn installed_bytes(table: &[u8]) -> u64 {
    const MEMORY_DEVICE: u8 = 17;
    const END: u8 = 127;
    let (mut rest, mut sum) = (table, 0_u64);
    // Each turn takes at least four bytes, so a damaged table ends the loop too.
    while let [kind, length, ..] = *rest {
        let length = usize::from(length);
        if length < 4 || length > rest.len() || kind == END {
            break;
        }
        let (body, tail) = rest.split_at(length);
        if kind == MEMORY_DEVICE {
            sum = sum.saturating_add(module_bytes(body));
        }
        // The structure's texts follow, ended by two zero bytes.
        let Some(end) = tail.windows(2).position(|w| w == [0, 0]) else { break };
        rest = tail.get(end + 2..).unwrap_or_default();
    }
    sum
}

fn module_bytes(body: &[u8]) -> u64 {
    const MIB: u64 = 1 << 20;
    let size = body.get(0x0c..0x0e).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
    match size {
        0 | 0xffff => 0,
        0x7fff => body
            .get(0x1c..0x20)
            .map_or(0, |b| u64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]) & 0x7fff_ffff) * MIB),
        kib if kib & 0x8000 != 0 => u64::from(kib & 0x7fff) << 10,
        mib => u64::from(mib) * MIB,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn structure(kind: u8, size: u16, extended: u32) -> Vec<u8> {
        let mut bytes = vec![0; 0x28];
        (bytes[0], bytes[1]) = (kind, 0x28);
        bytes[0x0c..0x0e].copy_from_slice(&size.to_le_bytes());
        bytes[0x1c..0x20].copy_from_slice(&extended.to_le_bytes());
        bytes.extend(b"DIMM 0\0maker\0\0");
        bytes
    }

    #[test]
    fn memory_is_the_sum_of_the_modules() {
        let table = [
            structure(1, 77, 0),
            structure(17, 512, 0),         // MiB
            structure(17, 0x8000 | 64, 0), // KiB
            structure(17, 0x7fff, 65_536), // 64 GiB, extended
            structure(17, 0, 0),           // empty slot
            structure(17, 0xffff, 0),      // unknown
            structure(127, 0, 0),
            structure(17, 1, 0), // after the end
        ];
        assert_eq!(installed_bytes(&table.concat()), (512 << 20) + (64 << 10) + (64 << 30));
        assert_eq!(usable_bytes("MemFree: 1 kB\nMemTotal:       498304 kB\n"), 498_304 * 1024);
    }

    #[test]
    fn placeholders_are_no_names() {
        assert!(is_placeholder("To Be Filled By O.E.M.") && is_placeholder("Not Specified") && !is_placeholder("QEMU"));
    }

    proptest! {
        #[test]
        fn a_damaged_table_never_panics(table: Vec<u8>) {
            let _ = installed_bytes(&table);
        }

        #[test]
        fn a_table_cut_short_never_panics(cut in 0_usize..160) {
            let table = [structure(17, 512, 0), structure(17, 0x7fff, u32::MAX), structure(17, 1, 0)].concat();
            let _ = installed_bytes(&table[..cut.min(table.len())]);
        }
    }
}
