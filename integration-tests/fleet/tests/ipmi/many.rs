//! Many BMCs in one process, each at an address of its own and all at one port.

use std::{fmt::Write as _, net::SocketAddr};

use farrier_fleet::{personality::Personality, truth::Fact};

use crate::rig::{Bmc, Rig, ipmitool, run};

const MANY: u8 = 200;

#[test]
fn two_hundred_bmcs_are_switched_at_once() {
    let mut rig = Rig::new();
    let first = rig.add("dell", ([127, 91, 0, 1], 0).into()).unwrap();
    let port = first.address.port();
    let factory = first.personality.accounts.factory.clone();
    let rest = (2..=MANY).map(|n| rig.add("dell", SocketAddr::from(([127, 91, 0, n], port))).unwrap());
    let bmcs: Vec<Bmc> = std::iter::once(first).chain(rest).collect();
    // ipmipower speaks to all of them at the same time.
    let mut hosts = String::new();
    for bmc in &bmcs {
        write!(hosts, "{},", bmc.address).unwrap();
    }
    let power = |option| {
        let login = ["-h", hosts.trim_end_matches(','), "-u", &factory.name, "-p", &factory.password];
        run("ipmipower", &[&login[..], &["-D", "LAN_2_0", "-I", "17", option]].concat())
    };
    let said = power("--on");
    assert_eq!(said.text.matches(": ok").count(), usize::from(MANY), "{}", said.text);
    let said = power("--stat");
    assert_eq!(said.text.matches(": on").count(), usize::from(MANY), "{}", said.text);
    assert!(bmcs.iter().all(|bmc| bmc.chassis.truth().of(Fact::PowerOn) == 1));
    // Each answers for itself.
    let said = ipmitool(bmcs[77].address, &factory.name, &factory.password, 3, "chassis power off");
    assert!(said.success, "{}", said.text);
    let off: Vec<_> = (0..bmcs.len()).filter(|n| !bmcs[*n].chassis.is_on()).collect();
    assert_eq!(off, [77]);
}

#[test]
fn a_host_is_bounded_and_an_address_is_taken_once() {
    let mut rig = Rig::new();
    let vendor = Personality::names().next().unwrap();
    let bmc = rig.add(vendor, ([127, 92, 0, 1], 0).into()).unwrap();
    let taken = rig.add(vendor, bmc.address).err().unwrap().to_string();
    assert!(taken.starts_with(&format!("no socket at {}", bmc.address)), "{taken}");
    for _ in 1..300 {
        rig.add(vendor, ([127, 92, 0, 2], 0).into()).unwrap();
    }
    let full = rig.add(vendor, ([127, 92, 0, 3], 0).into()).err().unwrap().to_string();
    assert_eq!(full, "this host has 300 BMCs already, which is its limit");
}
