//! The lab itself: what later tests rely on is true.

use std::{fs, time::Duration};

use farrier_common::hardware::Firmware;
use farrier_integration_tests::{
    assets::{self, Python, System},
    bmc::{ADMIN, ADMIN_PASSWORD, BmcKind},
    daemon::tail,
    lab::Lab,
    machine::{Machine, MachineSpec},
    wait,
};

use crate::in_lab;

const SOON: Duration = Duration::from_secs(120);

/// What the BMC says of the power, as `ipmitool` shows it.
fn power(machine: &Machine) -> String {
    machine.bmc().as_admin(&["chassis", "power", "status"]).unwrap_or_else(|e| e.to_string()).trim().to_owned()
}

fn becomes(machine: &Machine, wanted: &str) -> anyhow::Result<()> {
    Ok(wait::until_true(wanted, SOON, || power(machine) == wanted)?)
}

/// Waits until the owner has logged `text` since the log was `from` bytes long.
fn logs(machine: &Machine, from: usize, text: &str) -> anyhow::Result<()> {
    let log = machine.chassis_log();
    Ok(wait::until_true(text, SOON, || {
        fs::read_to_string(log).is_ok_and(|all| all.get(from..).is_some_and(|new| new.contains(text)))
    })?)
}

#[test]
fn a_bmc_drives_the_power_and_sees_it_lost() {
    in_lab(|lab| drives_the_power(lab, BmcKind::IpmiSim));
}

#[test]
fn a_bmc_of_our_own_does_so_too() {
    in_lab(|lab| drives_the_power(lab, BmcKind::Fleet));
}

fn drives_the_power(lab: &mut Lab, bmc: BmcKind) -> anyhow::Result<()> {
    let index = lab.add_machine(MachineSpec { bmc, ..MachineSpec::new(1, Firmware::Bios) })?;
    let machine = &lab.machines()[index];
    becomes(machine, "Chassis Power is off")?;

    machine.bmc().as_admin(&["chassis", "bootdev", "disk"])?;
    machine.bmc().as_admin(&["chassis", "power", "on"])?;
    becomes(machine, "Chassis Power is on")?;
    logs(machine, 0, "power on: first boots disk")?;

    let from = tail(machine.chassis_log(), usize::MAX).len();
    machine.bmc().as_admin(&["chassis", "power", "reset"])?;
    logs(machine, from, "reset: first boots network")?;

    machine.lose_power()?;
    becomes(machine, "Chassis Power is off")?;

    machine.bmc().as_admin(&["chassis", "power", "on"])?;
    becomes(machine, "Chassis Power is on")?;
    machine.bmc().as_admin(&["chassis", "power", "off"])?;
    becomes(machine, "Chassis Power is off")?;
    wait::until_true("the end of the emulator", SOON, || machine.emulator().is_ok_and(|pid| pid.is_none()))?;
    Ok(())
}

#[test]
fn a_bmc_has_accounts_of_its_own() {
    in_lab(|lab| {
        let index = lab.add_machine(MachineSpec::new(1, Firmware::Uefi))?;
        let bmc = lab.machines()[index].bmc();
        bmc.store_accounts()?;
        let before = bmc.accounts()?;
        anyhow::ensure!(before.len() == 5, "{before:?}");
        anyhow::ensure!(bmc.account(ADMIN)? == (2, ADMIN_PASSWORD.to_owned()));
        bmc.as_admin(&["user", "set", "name", "7", "other"])?;
        bmc.as_admin(&["user", "set", "password", "7", "0ther-passw0rd", "16"])?;
        bmc.as_admin(&["channel", "setaccess", "1", "7", "ipmi=on", "link=on", "callin=on", "privilege=4"])?;
        bmc.as_admin(&["user", "enable", "7"])?;
        wait::until_true("the new account", SOON, || bmc.account("other").is_ok_and(|a| a.1 == "0ther-passw0rd"))?;
        bmc.ipmitool("other", "0ther-passw0rd", &["chassis", "power", "status"])?;
        anyhow::ensure!(bmc.ipmitool("other", "wrong", &["chassis", "power", "status"]).is_err());
        let mut after = bmc.accounts()?;
        after.remove(&7);
        anyhow::ensure!(before == after, "{before:?}\n{after:?}");
        Ok(())
    });
}

#[test]
fn a_report_arrives() {
    in_lab(|lab| {
        let reports = lab.start_reports()?;
        let script =
            lab.write("user-data", &reports.user_data("a-secret", "a-marker").replace("/var/marker", "/dev/null"))?;
        reports.open_gate()?;
        let mut command = lab.net().command("sh");
        command.arg(script);
        farrier_integration_tests::process::succeed(command, SOON)?;
        Ok(reports.hold("a-secret", SOON)?)
    });
}

#[test]
fn postgres_runs_as_somebody_else() {
    in_lab(|lab| {
        let postgres = lab.start_postgres()?;
        let mut command = lab.net().command("psql");
        command.args([&postgres.url(), "-Atc", "select current_user || ' ' || current_database()"]);
        let said = farrier_integration_tests::process::succeed(command, SOON)?;
        anyhow::ensure!(said.trim() == "postgres farrier", "{said}");
        Ok(())
    });
}

#[test]
fn images_and_clients_are_built_or_kept() {
    let ephemeral = assets::ephemeral().unwrap();
    let python = assets::python(Python::Grpc).unwrap().join("bin/python");
    for path in [ephemeral.kernel, ephemeral.initrd, python, assets::disk_image(System::Mini).unwrap()] {
        assert!(fs::metadata(&path).is_ok_and(|m| m.len() > 0), "{}", path.display());
    }
}
