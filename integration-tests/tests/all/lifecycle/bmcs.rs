//! What a machine's BMC is: one that speaks Redfish, and ones on which nobody knows an account.

use anyhow::ensure;
use farrier_common::hardware::Firmware;
use farrier_integration_tests::{
    assets::{self, Python, System},
    binaries::repository,
    bmc::{ADMIN, ADMIN_PASSWORD, BmcKind},
    daemons::RegionOptions,
    lab::Lab,
    machine::MachineSpec,
    process,
    site::{LONG, Site, word},
    wait,
};
use serde_json::json;

use super::{Life, OURS, SOON};
use crate::in_lab;

/// The same of a machine that is neither tested nor rescued.
const SHORT_LIFE: [&str; 8] = [
    "new",
    "new commissioning",
    "commissioning ready",
    "ready allocated",
    "allocated deploying",
    "deploying deployed",
    "deployed releasing",
    "releasing ready",
];

/// The mini OS on a UEFI machine whose BMC is OpenStack's emulator: nobody says that it speaks Redfish. It knows no accounts,
/// so Farrier uses the one that it is given.
#[test]
fn a_machine_lives_by_redfish() {
    in_lab(|lab| {
        let index = lab.add_machine(MachineSpec { bmc: BmcKind::Sushy, ..MachineSpec::new(1, Firmware::Uefi) })?;
        let reports = lab.start_reports()?;
        let mut site = Site::start(lab, &RegionOptions::default(), System::Mini)?;
        let alice = site.add_user(lab, "alice")?;
        let life = Life::enlist(&mut site, &lab.machines()[index])?;
        life.start_commissioning(lab, &["--bmc-use-as-is", "--test", "none", "--wait", "--timeout", "2400"])?;
        life.redfish_was_found()?;
        alice.run(&["machine", "allocate", &life.name])?;
        life.deploy_ends_with_the_phone_call(lab, &alice, &reports, System::Mini)?;
        life.release_leaves_nothing_on_the_disk(&alice)?;
        let transitions = life.site.transitions(&life.name)?;
        ensure!(transitions == SHORT_LIFE, "{transitions:?}");
        Ok(())
    });
}

/// Nobody knows an account on the BMC: the machine is switched on by hand, and its agent makes one by the kernel's device.
#[test]
fn an_account_is_made_from_inside() {
    in_lab(|lab| {
        let index = lab.add_machine(MachineSpec::new(1, Firmware::Uefi))?;
        let mut site = Site::start(lab, &RegionOptions::default(), System::Mini)?;
        let life = Life::enlist(&mut site, &lab.machines()[index])?;
        let bmc = life.machine.bmc();
        bmc.store_accounts()?;
        let before = bmc.accounts()?;
        let shown = life.commission_from_inside()?;
        ensure!(shown["bmc"]["address"] == bmc.address() && shown["bmc"]["protocol"] == "ipmi", "{shown}");
        life.one_account_of_ours(&shown, &before)
    });
}

/// The same with a BMC that speaks Redfish too, which is found out: the account that was made by IPMI is used by it.
#[test]
fn an_account_made_from_inside_opens_redfish() {
    in_lab(|lab| {
        let index = lab.add_machine(MachineSpec { bmc: BmcKind::Fleet, ..MachineSpec::new(1, Firmware::Bios) })?;
        let mut site = Site::start(lab, &RegionOptions::default(), System::Mini)?;
        let life = Life::enlist(&mut site, &lab.machines()[index])?;
        let shown = life.commission_from_inside()?;
        ensure!(shown["bmc"]["protocol"] == "redfish" && shown["bmc"]["managed_account"] == true, "{shown}");
        let told = life.site.admin.json(&["bmc", "reveal", &life.name, "--comment", "somebody else logs in"])?;
        let password = word(&told, "password");

        let bmc = life.machine.bmc();
        let seen = redfish_login(lab, bmc.address(), OURS, &password)?;
        let roles = json!({ ADMIN: "Administrator", OURS: "Administrator" });
        ensure!(seen["roles"] == roles && seen["power"] == "Off", "{seen}");
        ensure!(redfish_login(lab, bmc.address(), OURS, "another-one").is_err(), "any password does");
        bmc.ipmitool(OURS, &password, &["chassis", "power", "status"])?;
        ensure!(redfish_login(lab, bmc.address(), ADMIN, ADMIN_PASSWORD)?["roles"] == roles);

        life.site.admin.run(&["machine", "power", "on", &life.name])?;
        wait::until_true("power on", SOON, || life.machine.is_on().is_ok_and(|on| on))?;
        Ok(())
    });
}

impl Life<'_> {
    /// Commissions without any account: a person switches the machine on.
    fn commission_from_inside(&self) -> anyhow::Result<serde_json::Value> {
        wait::until_true("power off after enlistment", LONG, || self.machine.is_on().is_ok_and(|on| !on))?;
        self.site.admin.run(&["machine", "commission", &self.name, "--bmc-in-band", "--test", "none"])?;
        let told = |m: &serde_json::Value| word(m, "reason").contains("switch the machine on");
        self.site.sees(&self.name, "that somebody must switch it on", SOON, told)?;
        self.machine.set_power(true)?;
        Ok(self.site.reaches(&self.name, "ready", LONG)?)
    }

    /// The region tells what the BMC speaks and how that was found out, and what it says is what the machine is.
    fn redfish_was_found(&self) -> anyhow::Result<()> {
        let shown = self.site.machine(&self.name)?;
        ensure!(shown["state"] == "ready", "{shown}");
        let bmc = &shown["bmc"];
        ensure!(bmc["protocol"] == "redfish" && bmc["managed_account"] == false, "{shown}");
        let explained = self.site.explain(&self.name)?;
        let timeline = explained["timeline"].as_array().cloned().unwrap_or_default();
        ensure!(timeline.iter().any(|e| word(e, "text").contains("nothing but Redfish answers")), "{explained:#}");
        let system = self.machine.bmc().get(&format!("/redfish/v1/Systems/{}", self.machine.spec().uuid))?;
        let system: serde_json::Value = serde_json::from_str(&system)?;
        ensure!(system["PowerState"] == "Off", "{system}");
        Ok(())
    }
}

/// What the DMTF's client sees when it logs in.
fn redfish_login(lab: &Lab, address: &str, user: &str, password: &str) -> anyhow::Result<serde_json::Value> {
    let mut command = lab.net().command(assets::python(Python::Bmc)?.join("bin/python"));
    command.arg(repository().join("integration-tests/python/redfish_login.py"));
    command.arg(format!("https://{address}")).arg(user).arg(password);
    Ok(serde_json::from_str(&process::succeed(command, SOON)?)?)
}
