//! The event log: of `ipmi_sim`, filled and read a second time by ipmitool.

use std::fs;

use chrono::TimeDelta;
use farrier_common::clock::Clock;

use crate::{bmcs, sim::Sim};

/// As `ipmitool sel add` reads it: revision, sensor type, sensor, direction and event type, three bytes of data.
const EVENTS: &str = "\
0x04 0x0c 0x12 0x6f 0x01 0xff 0xff # an uncorrectable memory error
0x04 0x08 0x40 0x6f 0x03 0xff 0xff # a power supply without input
0x04 0x08 0x40 0xef 0x03 0xff 0xff # that has it again
0x04 0x01 0x30 0x01 0x59 0x60 0x5a # a temperature above its upper limit
";

#[tokio::test]
async fn the_event_log_is_what_ipmitool_reads() {
    let (sim, bmcs) = (Sim::start().await, bmcs());
    let empty = bmcs.events(&sim.admin(), 50).await.unwrap();
    assert!(empty.events.is_empty() && !empty.more && empty.name == "SEL", "{empty:?}");

    let file = sim.dir.path().join("events");
    fs::write(&file, EVENTS).unwrap();
    sim.as_admin(&["sel", "time", "set", "now"]);
    sim.as_admin(&["sel", "add", file.to_str().unwrap()]);
    let log = bmcs.events(&sim.admin(), 50).await.unwrap();
    let texts: Vec<_> = log.events.iter().map(|e| e.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "Temperature, sensor 0x30: Upper Critical - going high (data 59 60 5a)",
            "Power Supply, sensor 0x40: Power Supply input lost (AC/DC), no longer",
            "Power Supply, sensor 0x40: Power Supply input lost (AC/DC)",
            "Memory, sensor 0x12: Uncorrectable ECC / other uncorrectable memory error",
        ]
    );
    assert!(!log.more);
    // ipmitool tells the oldest first, and numbers in hex.
    let theirs = sim.as_admin(&["sel", "list"]);
    let ids = theirs.lines().filter_map(|line| u16::from_str_radix(line.split('|').next()?.trim(), 16).ok());
    let ours: Vec<u16> = log.events.iter().rev().map(|e| e.id.parse().unwrap()).collect();
    assert_eq!(ours, ids.collect::<Vec<_>>(), "{theirs}");
    for (line, word) in theirs.lines().zip(["Uncorrectable ECC", "AC lost", "AC lost", "Upper Critical going high"]) {
        assert!(line.contains(word), "{theirs}");
    }
    let at = log.events[0].at.unwrap();
    assert!((Clock::System.now() - at).abs() < TimeDelta::minutes(10), "by a clock that is right: {at}");

    let two = bmcs.events(&sim.admin(), 2).await.unwrap();
    assert_eq!((&two.events[..], two.more), (&log.events[..2], true));
}
