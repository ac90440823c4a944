//! freeipmi's tools with both cipher suites, without any of their workaround flags.

use farrier_fleet::truth::Fact;

use crate::rig::{Bmc, Rig, freeipmi, run};

fn does(bmc: &Bmc, tool: &str, suite: u8, arguments: &[&str]) -> String {
    let said = bmc.freeipmi(tool, suite, arguments);
    assert!(said.success, "{tool} -I {suite} {arguments:?}: {}", said.text);
    said.text
}

#[test]
fn ipmipower_switches() {
    for suite in [3, 17] {
        let (_rig, bmc) = Rig::one("dell");
        let power = |option| does(&bmc, "ipmipower", suite, &[option]);
        assert!(power("--stat").contains(": off"));
        assert!(does(&bmc, "ipmipower", suite, &["--cycle", "--on-if-off"]).contains(": ok"));
        assert!(power("--stat").contains(": on"));
        for option in ["--cycle", "--reset", "--soft", "--off"] {
            assert!(power(option).contains(": ok"), "{option}");
        }
        assert!(power("--stat").contains(": off"));
        let wrong = freeipmi(bmc.address, "root", "wrong", "ipmipower", suite, &["--stat"]);
        assert!(wrong.text.contains("password invalid"), "{}", wrong.text);
        assert_eq!(bmc.chassis.truth().of(Fact::PowerCycle), 1);
    }
}

#[test]
fn bmc_info_reads_the_bmc() {
    let (_rig, bmc) = Rig::one("supermicro");
    for suite in [3, 17] {
        let text = does(&bmc, "bmc-info", suite, &[]);
        for line in ["(10876)", "Product ID            : 2404", "System GUID : 00000000-", "802.3 LAN"] {
            assert!(text.contains(line), "no {line:?} in:\n{text}");
        }
    }
}

#[test]
fn ipmi_config_makes_an_account_as_maas_does() {
    for suite in [3, 17] {
        let (_rig, bmc) = Rig::one("supermicro");
        let set = |pair: &str| does(&bmc, "ipmi-config", suite, &["--commit", &format!("--key-pair={pair}")]);
        for pair in [
            "User3:Username=maas",
            "User3:Password=Abcdefg12345",
            "User3:Enable_User=Yes",
            "User3:Lan_Privilege_Limit=Administrator",
            "User3:Lan_Enable_IPMI_Msgs=Yes",
        ] {
            set(pair);
        }
        // It ends with an error because this vendor does not tell whether a user is enabled.
        let sections = ["--checkout", "-S", "User3", "-S", "Lan_Channel", "-S", "Lan_Conf"];
        let text = bmc.freeipmi("ipmi-config", suite, &sections).text;
        for words in ["Username maas", "Lan_Privilege_Limit Administrator", "Volatile_Access_Mode Always_Available"] {
            let found = text.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == words);
            assert!(found, "no {words:?} in:\n{text}");
        }
        let status = freeipmi(bmc.address, "maas", "Abcdefg12345", "ipmipower", suite, &["-l", "ADMIN", "--stat"]);
        assert!(status.text.contains(": off"), "{}", status.text);
    }
}

#[test]
fn ipmi_config_sets_the_boot_device() {
    let (_rig, bmc) = Rig::one("hpe");
    let pairs = [
        "--key-pair=Chassis_Boot_Flags:Boot_Flags_Persistent=No",
        "--key-pair=Chassis_Boot_Flags:BIOS_Boot_Type=EFI",
        "--key-pair=Chassis_Boot_Flags:Boot_Device=PXE",
    ];
    does(&bmc, "ipmi-config", 17, &[&["--category=chassis", "--commit"][..], &pairs].concat());
    let boot = bmc.chassis.boot().0.unwrap();
    assert_eq!((boot.target.as_str(), boot.uefi, boot.persistent), ("network", true, false));
}

#[test]
fn pings_are_answered_at_the_well_known_port() {
    let mut rig = Rig::new();
    // The pings of freeipmi know no other port, and this one takes root's rights.
    rig.add("lenovo", ([127, 94, 0, 1], 623).into()).unwrap();
    for (tool, lost) in [("rmcpping", "pongs received in time, 0.0%"), ("ipmiping", "responses received in time, 0.0%")]
    {
        let said = run(tool, &["-c", "2", "127.94.0.1"]);
        assert!(said.text.contains(lost), "{tool}: {}", said.text);
    }
}
