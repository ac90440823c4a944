//! ipmitool does everything that a manager does, with both cipher suites.

use std::time::{Duration, Instant};

use farrier_fleet::{
    chassis::BootTarget,
    ipmi::{Action, Fault, Selector},
    truth::Fact,
};

use crate::rig::{Bmc, Rig, ipmitool};

fn check(bmc: &Bmc, suite: u8, arguments: &str, expected: &[&str]) {
    let text = bmc.does(suite, arguments);
    for line in expected {
        assert!(text.contains(line), "-C {suite} {arguments}: no {line:?} in:\n{text}");
    }
}

#[test]
fn power_and_boot_device_with_both_suites() {
    for suite in [3, 17] {
        let (_rig, bmc) = Rig::one("dell");
        check(&bmc, suite, "chassis power status", &["Chassis Power is off"]);
        check(&bmc, suite, "chassis bootdev pxe options=efiboot", &["Set Boot Device to pxe"]);
        let flags = ["Boot Flag Valid", "only next boot", "BIOS EFI boot", "Force PXE"];
        check(&bmc, suite, "chassis bootparam get 5", &flags);
        check(&bmc, suite, "chassis power on", &["Up/On"]);
        check(&bmc, suite, "chassis power status", &["Chassis Power is on"]);
        let boot = bmc.chassis.power().boot.unwrap();
        assert_eq!((boot.target, boot.uefi, boot.persistent), (BootTarget::Network, true, false));
        check(&bmc, suite, "chassis bootparam get 5", &["Boot Flag Invalid"]);
        check(&bmc, suite, "chassis bootdev disk options=persistent", &["Set Boot Device to disk"]);
        check(&bmc, suite, "chassis power cycle", &["Cycle"]);
        let flags = ["Boot Flag Valid", "all future boots", "PC Compatible (legacy)", "default Hard-Drive"];
        check(&bmc, suite, "chassis bootparam get 5", &flags);
        check(&bmc, suite, "chassis bootdev none", &[]);
        assert_eq!(bmc.chassis.boot().0, None);
        check(&bmc, suite, "chassis power reset", &["Reset"]);
        check(&bmc, suite, "chassis power soft", &["Soft"]);
        assert_eq!(bmc.chassis.power().soft_requests, 1);
        check(&bmc, suite, "chassis power off", &["Down/Off"]);
        check(&bmc, suite, "chassis status", &["System Power         : off", "Power Restore Policy : always-off"]);
        let counted = [Fact::PowerOn, Fact::PowerCycle, Fact::Reset, Fact::SoftOff, Fact::PowerOff];
        assert!(counted.iter().all(|fact| bmc.chassis.truth().of(*fact) == 1), "{:?}", bmc.chassis.truth());
    }
}

#[test]
fn the_bmc_describes_itself() {
    let (_rig, bmc) = Rig::one("hpe");
    for suite in [3, 17] {
        check(&bmc, suite, "mc info", &["Manufacturer ID           : 11\n", "Firmware Revision         : 3.04"]);
        check(&bmc, suite, "mc guid", &["System GUID"]);
        check(&bmc, suite, "mc selftest", &["passed"]);
        check(&bmc, suite, "channel info 2", &["802.3 LAN", "multi-session", "always available"]);
        check(&bmc, suite, "channel getaccess 2 1", &["User Name            : Administrator", "ADMINISTRATOR"]);
        check(&bmc, suite, "channel getciphers ipmi 2", &["hmac_sha1_96", "sha256_128"]);
        check(&bmc, suite, "lan print 2", &["10.0.0.0", "02:00:00:00:00:00", "RMCP+ Cipher Suites     : 3,17"]);
        check(&bmc, suite, "session info active", &["user id                       : 1", "IPMIv2/RMCP+"]);
        check(&bmc, suite, "user list 2", &["1   Administrator", "(Empty User)"]);
        check(&bmc, suite, "sel info", &["Entries          : 0"]);
        check(&bmc, suite, "sel list", &["no entries"]);
        check(&bmc, suite, "fru print", &["Product Manufacturer  : HPE", "Product Serial        : SN0000"]);
        check(&bmc, suite, "sdr list all", &["BMC"]);
        check(&bmc, suite, "chassis identify 5", &["5 seconds"]);
    }
    let said = bmc.ipmitool(17, "raw 6 0x99");
    assert!(!said.success && said.text.contains("rsp=0xc1"), "{}", said.text);
}

#[test]
fn lan_parameters_and_channel_access_are_kept() {
    let (_rig, bmc) = Rig::one("lenovo");
    check(&bmc, 17, "raw 0x0c 0x01 1 3 192 0 2 7", &[]);
    check(&bmc, 17, "raw 0x0c 0x01 1 5 2 0 0 0 0 0x99", &[]);
    check(&bmc, 17, "lan print 1", &["192.0.2.7", "02:00:00:00:00:99"]);
    // User limit on the channel, volatile only: nobody rises above it any more.
    check(&bmc, 17, "raw 6 0x40 1 0 0x82", &[]);
    let said = bmc.ipmitool(17, "chassis power status");
    assert!(!said.success, "{}", said.text);
    let user = ["-L", "USER", "chassis", "power", "status"].join(" ");
    check(&bmc, 17, &user, &["is off"]);
}

#[test]
fn an_account_is_made_and_works_with_what_it_may_do() {
    for suite in [3, 17] {
        let (_rig, bmc) = Rig::one("dell");
        check(&bmc, suite, "user set name 3 maas", &[]);
        check(&bmc, suite, "user set password 3 0123456789abcdefWXYZ 20", &[]);
        check(&bmc, suite, "channel setaccess 1 3 link=on ipmi=on callin=on privilege=3", &[]);
        let login = |password, arguments| ipmitool(bmc.address, "maas", password, suite, arguments);
        let operator = "-L OPERATOR chassis power on";
        assert!(!login("0123456789abcdefWXYZ", operator).success, "not enabled yet");
        check(&bmc, suite, "user enable 3", &[]);
        assert!(login("0123456789abcdefWXYZ", operator).success);
        assert!(!login("wrong", operator).success);
        assert!(!login("0123456789abcdefWXYZ", "user list 1").success, "administrator is more than its limit");
        let denied = login("0123456789abcdefWXYZ", "-L OPERATOR user set name 4 evil");
        assert!(denied.text.contains("Insufficient privilege"), "{}", denied.text);
        check(&bmc, suite, "user test 3 20 0123456789abcdefWXYZ", &["Success"]);
        assert!(!bmc.ipmitool(suite, "user test 3 20 wrong").success);
        assert!(bmc.ipmitool(suite, "user test 3 16 0123456789abcdef").text.contains("wrong password size"));
        check(&bmc, suite, "user disable 3", &[]);
        assert!(!login("0123456789abcdefWXYZ", operator).success);
        let truth = bmc.chassis.truth();
        assert_eq!([Fact::AccountMade, Fact::PasswordSet].map(|fact| truth.of(fact)), [1, 1]);
        assert_eq!(bmc.accounts.lock().unwrap().user(3).unwrap().name, "maas");
    }
}

#[test]
fn faults_are_met_by_a_real_console() {
    let (_rig, bmc) = Rig::one("supermicro");
    let fault = |fault| assert!(bmc.faults.lock().unwrap().add(fault).is_some());
    for on in [Selector::OpenSession, Selector::Rakp1, Selector::Rakp3, Selector::PowerReads] {
        fault(Fault::nth(on, Action::DropAnswer, 1));
        fault(Fault::nth(on, Action::Duplicate, 2));
    }
    check(&bmc, 17, "chassis power status", &["is off"]);
    fault(Fault::nth(Selector::PowerReads, Action::LieAboutPower, 1));
    check(&bmc, 17, "chassis power status", &["is on"]);
    fault(Fault::nth(Selector::PowerReads, Action::Delay(Duration::from_millis(300)), 1));
    let start = Instant::now();
    check(&bmc, 17, "chassis power status", &["is off"]);
    assert!(start.elapsed() >= Duration::from_millis(300));
    fault(Fault::nth(Selector::Rakp1, Action::Nonsense, 1));
    check(&bmc, 17, "chassis power status", &["is off"]);
    fault(Fault::nth(Selector::OpenSession, Action::SessionTableFull, 1));
    let full = bmc.ipmitool(17, "chassis power status").text;
    assert!(full.contains("insufficient resources"), "{full}");
    fault(Fault::always(Selector::AccountWrites, Action::AckWithoutApplying));
    check(&bmc, 17, "user set name 3 maas", &[]);
    assert_eq!(bmc.accounts.lock().unwrap().user(3).unwrap().name, "");
}
