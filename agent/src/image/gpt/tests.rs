use gptman::{GPT, GPTPartitionEntry};
use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// A file of `mib` MiB with a table made by an independent implementation: 1 MiB for the loader, the rest for a root.
fn image(mib: u64, sector: u64) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.set_len(mib * MIB).unwrap();
    let mut gpt = GPT::new_from(&mut file, sector, [7; 16]).unwrap();
    let mut add = |number: u32, first: u64, last: u64, name: &str| {
        gpt[number] = GPTPartitionEntry {
            partition_type_guid: [number as u8; 16],
            unique_partition_guid: [0x40 + number as u8; 16],
            starting_lba: first,
            ending_lba: last,
            attribute_bits: 0,
            partition_name: name.into(),
        };
    };
    add(1, MIB / sector, 2 * MIB / sector - 1, "boot");
    add(3, 2 * MIB / sector, (mib - 1) * MIB / sector - 1, "rootfs");
    gpt.write_into(&mut file).unwrap();
    GPT::write_protective_mbr_into(&mut file, sector).unwrap();
    file
}

#[test]
fn a_grown_disk_gets_a_table_that_others_accept() {
    for sector in [512, 4096] {
        let mut file = image(8, sector);
        file.set_len(50 * MIB).unwrap();
        let mut table = Table::read(&file, sector).unwrap().unwrap();
        table.fit(&file, 50 * MIB).unwrap();
        let last = 50 * MIB / sector - 1;
        let check = |gpt: &GPT| {
            assert_eq!(gpt.header.last_usable_lba, last - 16_384_u64.div_ceil(sector) - 1);
            assert_eq!((gpt[1].starting_lba, gpt[3].partition_name.as_str()), (MIB / sector, "rootfs"));
        };
        let gpt = GPT::read_from(&mut file, sector).unwrap();
        assert_eq!((gpt.header.primary_lba, gpt.header.backup_lba), (1, last));
        check(&gpt);
        let mut mbr = [0; 512];
        file.read_exact_at(&mut mbr, 0).unwrap();
        assert_eq!(u64::from(get32(&mbr, 458)), last);
        // The backup alone must do as well.
        file.write_all_at(&[0; 512], sector).unwrap();
        let gpt = GPT::read_from(&mut file, sector).unwrap();
        assert_eq!((gpt.header.primary_lba, gpt.header.backup_lba), (last, 1));
        check(&gpt);
    }
}

#[test]
fn partitions_in_use_are_told() {
    let entries = Table::read(&image(8, 512), 512).unwrap().unwrap().entries();
    let seen: Vec<_> = entries.iter().map(|e| (e.number, e.name.as_str(), e.kind[0], e.first, e.last)).collect();
    assert_eq!(seen, [(1, "boot", 1, 2048, 4095), (3, "rootfs", 3, 4096, 14_335)]);
}

#[test]
fn a_disk_that_is_too_small_is_refused() {
    let file = image(8, 512);
    let mut table = Table::read(&file, 512).unwrap().unwrap();
    let error = table.fit(&file, 7 * MIB).unwrap_err().to_string();
    assert!(error.contains("end in sector 14335"), "{error}");
}

#[test]
fn a_table_for_other_sectors_is_refused_and_none_is_none() {
    let error = Table::read(&image(8, 512), 4096).unwrap_err().to_string();
    assert!(error.contains("sectors of 512 bytes, the disk has 4096"), "{error}");
    assert!(Table::read(&image(8, 4096), 512).unwrap_err().to_string().contains("of 4096 bytes, the disk has 512"));
    let empty = tempfile::tempfile().unwrap();
    assert!(Table::read(&empty, 512).unwrap().is_none());
    empty.set_len(MIB).unwrap();
    assert!(Table::read(&empty, 512).unwrap().is_none());
}

#[test]
fn damage_is_told() {
    let check = |at: u64, expected: &str| {
        let file = image(8, 512);
        file.write_all_at(&[0xff], at).unwrap();
        let error = Table::read(&file, 512).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(512 + 60, "checksum of the header");
    check(1024 + 50, "checksum of the entries");
    check(512 + 15, "a header of");
}

proptest! {
    /// Even with right checksums the fields may be anything.
    #[test]
    fn foreign_headers_never_panic(entries: u32, entry_bytes: u32, array_lba: u64, first: u64, disk in 0_u64..100, small: bool) {
        let file = image(8, 512);
        let mut header = vec![0; 512];
        file.read_exact_at(&mut header, 512).unwrap();
        let put32 = |h: &mut [u8], at: usize, v: u32| h[at..at + 4].copy_from_slice(&v.to_le_bytes());
        put32(&mut header, ENTRIES, if small { entries % 300 } else { entries });
        put32(&mut header, ENTRY_BYTES, if small { entry_bytes % 600 } else { entry_bytes });
        put64(&mut header, ARRAY_LBA, if small { array_lba % 64 } else { array_lba });
        put64(&mut header, FIRST_USABLE, first);
        let length = (get32(&header, ENTRIES) as usize).saturating_mul(get32(&header, ENTRY_BYTES) as usize).min(MIB as usize);
        let mut array = vec![0; length];
        let _ = file.read_at(&mut array, get64(&header, ARRAY_LBA).saturating_mul(512).min(u64::from(u32::MAX)));
        put32(&mut header, ARRAY_CRC, crc(&array));
        seal(&mut header);
        file.write_all_at(&header, 512).unwrap();
        if let Ok(Some(mut table)) = Table::read(&file, 512) {
            let _ = table.entries();
            let _ = table.fit(&file, disk * MIB);
        }
    }
}
