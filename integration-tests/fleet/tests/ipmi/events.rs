//! The event log: ipmitool and freeipmi read and write it, and the rack reads what they do.

use std::{fs, net::SocketAddr};

use farrier_fleet::event_log::ROOM;
use farrier_rack::bmc::{Bmcs, Face, Login, events::EventLog, ipmi::lanplus::KnownSuites};

use crate::rig::{Bmc, Rig};

const EVENTS: &str = "\
0x04 0x0c 0x12 0x6f 0x01 0xff 0xff # an uncorrectable memory error
0x04 0x04 0x31 0x01 0x50 0x10 0x20 # a fan below its limit
";

/// What the rack reads.
fn read(bmc: &Bmc, limit: usize) -> EventLog {
    let SocketAddr::V4(address) = bmc.address else { panic!("bound to IPv4") };
    let factory = &bmc.personality.accounts.factory;
    let (username, password) = (factory.name.clone(), factory.password.clone().into());
    let login = Login { address, username, password, face: Face::Ipmi, suites: KnownSuites::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Bmcs::default().events(&login, limit)).unwrap()
}

fn ids(log: &EventLog) -> Vec<u16> {
    log.events.iter().map(|event| event.id.parse().unwrap()).collect()
}

#[test]
fn consoles_and_the_rack_read_the_same() {
    let (_rig, bmc) = Rig::one("supermicro");
    assert!(bmc.does(3, "sel list").contains("no entries"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events");
    fs::write(&file, EVENTS).unwrap();
    bmc.does(3, &format!("sel add {}", file.display()));
    let (listed, info) = (bmc.does(3, "sel list"), bmc.does(17, "sel info"));
    assert!(listed.contains("Memory #0x12") && listed.contains("Fan #0x31"), "{listed}");
    assert!(info.lines().any(|line| line.starts_with("Entries") && line.ends_with(": 2")), "{info}");
    let said = bmc.freeipmi("ipmi-sel", 3, &["--sdr-cache-recreate", "--quiet-cache"]);
    assert!(said.success && said.text.contains("Uncorrectable memory error"), "{}", said.text);

    let log = read(&bmc, 50);
    assert_eq!((ids(&log), log.more), (vec![2, 1], false));
    assert!(log.events[1].text.starts_with("Memory, sensor 0x12: Uncorrectable ECC"), "{log:?}");
    bmc.does(3, "sel delete 1");
    assert_eq!(ids(&read(&bmc, 50)), [2]);
    bmc.does(3, "sel clear");
    assert!(read(&bmc, 50).events.is_empty());
}

#[test]
fn the_newest_of_many_are_read_without_the_others() {
    let (_rig, bmc) = Rig::one("dell");
    for n in 0..ROOM {
        let record = [0, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 0x0c, u8::try_from(n % 250).unwrap(), 0x6f, 1, 0xff, 0xff];
        bmc.chassis.log().add(record, 1_700_000_000).unwrap();
    }
    assert_eq!(bmc.chassis.log().add([0; 16], 0), None, "it is full");
    let newest: Vec<u16> = (463..=512).rev().collect();
    let log = read(&bmc, 50);
    assert_eq!((ids(&log), log.more), (newest, true));
    // The number from which on one would read is gone: then all are read.
    assert!(bmc.chassis.log().delete(463));
    let log = read(&bmc, 50);
    assert_eq!((ids(&log), log.more), ((462..=512).rev().filter(|id| *id != 463).collect(), true));
    let all = read(&bmc, 600);
    assert_eq!((all.events.len(), all.more), (ROOM - 1, false));
}
