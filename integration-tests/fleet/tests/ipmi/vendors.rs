//! The account rules of each vendor, as a console meets them.

use std::{net::IpAddr, time::Instant};

use farrier_fleet::{
    accounts::AccountError,
    personality::{Personality, PrivilegeLookup},
    truth::Fact,
};

use crate::rig::{Bmc, Rig, ipmitool};

const SUITE: u8 = 17;
const PASSWORD: &str = "Abcdefg1.2345";

fn refused(bmc: &Bmc, arguments: &str, why: &str) {
    let said = bmc.ipmitool(SUITE, arguments);
    assert!(said.text.contains(why), "{} {arguments}: no {why:?} in: {}", bmc.personality.name, said.text);
}

/// The order of writes that all five take.
fn make_account(bmc: &Bmc, slot: u8) {
    let channel = bmc.personality.ipmi.lan_channel;
    bmc.does(SUITE, &format!("user set name {slot} farrier"));
    bmc.does(SUITE, &format!("user set password {slot} {PASSWORD} 20"));
    bmc.does(SUITE, &format!("channel setaccess {channel} {slot} link=on ipmi=on callin=on privilege=4"));
    bmc.does(SUITE, &format!("user enable {slot}"));
}

#[test]
fn every_vendor_takes_an_account_in_the_common_order() {
    for vendor in Personality::names() {
        let (_rig, bmc) = Rig::one(vendor);
        make_account(&bmc, 5);
        for suite in &bmc.personality.ipmi.cipher_suites {
            let said = ipmitool(bmc.address, "farrier", PASSWORD, *suite, "chassis power status");
            assert!(said.success, "{vendor}: {}", said.text);
        }
        assert_eq!(bmc.chassis.truth().of(Fact::AccountMade), 1, "{vendor}");
    }
}

#[test]
fn dell_wants_a_password_before_it_enables_and_keeps_its_first_slot() {
    let (_rig, bmc) = Rig::one("dell");
    refused(&bmc, "user enable 3", "Command not supported in present state");
    refused(&bmc, "user set name 1 maas", "Invalid data field");
    refused(&bmc, "user set name 17 maas", "Parameter out of range");
    refused(&bmc, "user set name 3 root", "Invalid data field");
    bmc.does(SUITE, "user set password 3 x 16");
    assert!(bmc.does(SUITE, "user list 1").lines().nth(2).unwrap().contains("root"));
}

#[test]
fn hpe_has_its_own_channel_and_names_for_free_slots() {
    let (_rig, bmc) = Rig::one("hpe");
    refused(&bmc, "user list 1", "Invalid data field");
    assert!(bmc.does(SUITE, "user list 2").contains("(Empty User)"));
    bmc.does(SUITE, "user set name 2 maas");
    refused(&bmc, "user set password 2 short 16", "Invalid data field");
    refused(&bmc, "user set password 3 longenough 16", "Command not supported in present state");
}

#[test]
fn supermicro_wants_a_privilege_before_messages_and_hides_who_is_enabled() {
    let (_rig, bmc) = Rig::one("supermicro");
    refused(&bmc, "channel setaccess 1 3 ipmi=on", "not supported in present state");
    bmc.does(SUITE, "channel setaccess 1 3 privilege=4");
    bmc.does(SUITE, "channel setaccess 1 3 ipmi=on");
    assert!(bmc.does(SUITE, "channel getaccess 1 2").contains("unknown"));
    // The same name twice, told apart by name and privilege.
    assert_eq!(bmc.personality.ipmi.privilege_lookup, PrivilegeLookup::Exact);
    bmc.does(SUITE, "user set name 3 ADMIN");
}

#[test]
fn lenovo_looks_at_what_passwords_are_made_of() {
    let (_rig, bmc) = Rig::one("lenovo");
    bmc.does(SUITE, "user set name 3 maas");
    for password in ["Short1x", "alllowercase1", "NODIGITSatall", "Aaaa1bcdefghi"] {
        refused(&bmc, &format!("user set password 3 {password} 20"), "Invalid data field");
    }
    refused(&bmc, "user enable 3", "not supported in present state");
    bmc.does(SUITE, "user set password 3 Abcdefgh12 20");
    bmc.does(SUITE, "user enable 3");
}

#[test]
fn openbmc_speaks_suite_17_only() {
    let (_rig, bmc) = Rig::one("openbmc");
    let said = bmc.ipmitool(3, "mc info");
    assert!(!said.success && said.text.contains("authentication algorithm"), "{}", said.text);
    bmc.does(17, "mc info");
    // Left to itself, ipmitool asks for the suites and takes the best.
    let (host, port) = (bmc.address.ip().to_string(), bmc.address.port().to_string());
    let login = ["-I", "lanplus", "-H", &host, "-p", &port, "-U", "root", "-P", "0penBmc", "mc", "info"];
    let said = crate::rig::run("ipmitool", &login);
    assert!(said.success, "{}", said.text);
}

#[test]
fn whom_one_face_has_locked_out_the_other_refuses() {
    let (_rig, bmc) = Rig::one("openbmc");
    let login = |password| ipmitool(bmc.address, "root", password, SUITE, "chassis power status").success;
    // ipmitool and freeipmi see by themselves that a password is wrong and tell no BMC: nothing to count for any BMC.
    assert!((0..11).all(|_| !login("wrong")) && login("0penBmc"));
    let from = IpAddr::from([127, 0, 0, 1]);
    for _ in 0..10 {
        let refused = bmc.accounts.lock().unwrap().login("root", "wrong", from, Instant::now());
        assert_eq!(refused, Err(AccountError::Wrong));
    }
    assert!(!login("0penBmc"), "locked out although it is right");
    assert_eq!(bmc.chassis.truth().of(Fact::Lockout), 1);
}
