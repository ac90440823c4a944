//! A machine's whole life, with real firmware, a BMC that others wrote, and the daemons as they are shipped.

mod bmcs;

use std::{collections::BTreeMap, time::Duration};

use anyhow::ensure;
use farrier_common::hardware::Firmware;
use farrier_integration_tests::{
    assets::{self, Python, System},
    binaries::repository,
    bmc::{ADMIN, ADMIN_PASSWORD, Account},
    cli::Cli,
    daemons::{Region, RegionOptions},
    lab::{Lab, text},
    machine::{Bus, DiskSpec, Machine, MachineSpec},
    process,
    reports::Reports,
    site::{LONG, Site, word},
    ssh::{SshKey, SshServer},
    wait,
};

use crate::in_lab;

const SOON: Duration = Duration::from_secs(180);
/// The account that Farrier makes.
const OURS: &str = "maas";
const SECRET: &str = "user-data-secret-5c1f0b7e";
const MARKER: &str = "marker-on-the-disk-93ad44c2";

/// Every transition of a life, once each; the first is from nowhere.
const LIFE: [&str; 12] = [
    "new",
    "new commissioning",
    "commissioning ready",
    "ready allocated",
    "allocated deploying",
    "deploying deployed",
    "deployed entering-rescue",
    "entering-rescue rescue",
    "rescue exiting-rescue",
    "exiting-rescue deployed",
    "deployed releasing",
    "releasing ready",
];

/// The same of a machine that is tested when it is commissioned.
const TESTED_LIFE: [&str; 9] = [
    "new",
    "new commissioning",
    "commissioning testing",
    "testing ready",
    "ready allocated",
    "allocated deploying",
    "deploying deployed",
    "deployed releasing",
    "releasing ready",
];

/// What the real environment must be, as a script sees it.
const PROBE: &str = "#!/bin/sh\nid -u\n[ \"$HOME\" = \"$PWD\" ] && [ -w . ] && ls /sys/block && echo probed >&2\n";

/// What a person types into the rescue environment: it is none if the agent does not run, if its root is not in memory, or
/// if anything of a disk is mounted already. Tells what the installed system's disk holds.
const LOOK: &str = "set -e
pidof farrier-agent > /dev/null
awk '$2 == \"/\" { print $1 }' /proc/mounts
if grep '^/dev/' /proc/mounts; then exit 1; fi
mkdir -p /run/disk
mount -t ext4 -o ro \"$(findfs LABEL=rootfs)\" /run/disk
cat /run/disk/var/marker
umount /run/disk";

/// One machine at a site.
struct Life<'a> {
    site: &'a mut Site,
    machine: &'a Machine,
    name: String,
}

/// Debian with cloud-init on a UEFI machine, SQLite: everything that the life-cycle promises.
#[test]
fn a_machine_lives_its_whole_life() {
    in_lab(|lab| {
        let index = lab.add_machine(MachineSpec::new(1, Firmware::Uefi))?;
        let reports = lab.start_reports()?;
        let mut site = Site::start(lab, &RegionOptions::default(), System::Debian)?;
        let (alice, bob) = (site.add_user(lab, "alice")?, site.add_user(lab, "bob")?);
        let life = Life::enlist(&mut site, &lab.machines()[index])?;
        life.commission_makes_one_account(lab)?;
        life.verbs_out_of_turn_are_refused(&alice, &bob)?;
        life.deploy_ends_with_the_phone_call(lab, &alice, &reports, System::Debian)?;
        life.release_leaves_nothing_on_the_disk(&alice)?;
        let transitions = life.site.transitions(&life.name)?;
        ensure!(transitions == TESTED_LIFE, "{transitions:?}");
        python_lists_it(lab, life.site, &life.name)
    });
}

/// The mini OS on a BIOS machine, PostgreSQL: region and rack die in the middle of each step, on the way into rescue and out
/// too, then the machine loses its power. Its disk lies: it says that it discards, and keeps everything.
#[test]
fn a_life_survives_the_death_of_the_daemons() {
    in_lab(|lab| {
        let mut spec = MachineSpec::new(1, Firmware::Bios);
        let serial = spec.disks[0].serial.clone();
        spec.disks = vec![DiskSpec { bus: Bus::Virtio, serial, size_mib: 512, discards: false }];
        let index = lab.add_machine(spec)?;
        let reports = lab.start_reports()?;
        let postgres = lab.start_postgres()?;
        let options = RegionOptions { database: Some(postgres.url()), ..RegionOptions::default() };
        let mut site = Site::start(lab, &options, System::Mini)?;
        let alice = site.add_user(lab, "alice")?;
        let mut life = Life::enlist(&mut site, &lab.machines()[index])?;
        life.commission_through_crashes(lab)?;
        alice.run(&["machine", "allocate", &life.name])?;
        life.deploy_through_crashes(lab, &alice, &reports)?;
        life.rescue_lets_the_right_key_in(lab, &alice, &reports)?;
        life.lost_power_is_seen()?;
        life.release_leaves_nothing_on_the_disk(&alice)?;
        let transitions = life.site.transitions(&life.name)?;
        ensure!(transitions == LIFE, "{transitions:?}");
        Ok(())
    });
}

impl<'a> Life<'a> {
    /// An unknown machine boots from the network.
    fn enlist(site: &'a mut Site, machine: &'a Machine) -> anyhow::Result<Self> {
        machine.set_power(true)?;
        let name = site.enlisted(&machine.spec().mac)?;
        let shown = site.reaches(&name, "new", SOON)?;
        ensure!(shown["architecture"] == "amd64", "{shown}");
        ensure!(shown["firmware"] == machine.spec().firmware.as_str(), "{shown}");
        Ok(Self { site, machine, name })
    }

    /// Starts to commission, with the BMC's own administrator.
    fn start_commissioning(&self, lab: &Lab, extra: &[&str]) -> anyhow::Result<()> {
        let password = text(&lab.write("bmc-password", ADMIN_PASSWORD)?);
        let verb = ["machine", "commission", &self.name, "--bmc-user", ADMIN, "--bmc-password-file", &password];
        let address = ["--bmc-address", self.machine.bmc().address()];
        self.site.admin.run(&[&verb[..], &address, extra].concat())?;
        Ok(())
    }

    /// What ran in the real environment, newest first.
    fn scripts_passed(&self) -> anyhow::Result<()> {
        let told = self.site.admin.json(&["machine", "results", &self.name])?;
        let results = told["results"].as_array().cloned().unwrap_or_default();
        let names: Vec<_> = results.iter().filter_map(|r| r["script"].as_str()).collect();
        ensure!(names == ["network", "disk-read", "memory", "cpu", "probe"], "{told:#}");
        ensure!(results.iter().all(|r| r["status"] == "passed" && r["exit_code"] == 0), "{told:#}");
        let probe = results[4]["output"].as_str().unwrap_or_default();
        ensure!(probe.starts_with("0\n") && probe.ends_with("probed\n"), "{probe}");
        Ok(())
    }

    fn commission_makes_one_account(&self, lab: &Lab) -> anyhow::Result<()> {
        let bmc = self.machine.bmc();
        bmc.store_accounts()?;
        let before = bmc.accounts()?;
        let probe = text(&lab.write("probe.sh", PROBE)?);
        self.site.admin.run(&["script", "create", "probe", "--kind", "commissioning", "--file", &probe])?;
        let tests = ["cpu", "memory", "disk-read", "network"].map(|test| ["--test", test]).concat();
        self.start_commissioning(
            lab,
            &[&["--script", "probe"], &tests[..], &["--wait", "--timeout", "2400"]].concat(),
        )?;
        self.scripts_passed()?;
        let shown = self.site.machine(&self.name)?;
        ensure!(shown["state"] == "ready", "{shown}");
        self.inventory_is_true(&shown)?;

        self.one_account_of_ours(&shown, &before)?;
        self.power_needs_no_other_account(&before)
    }

    /// The BMC has our account, which `ipmitool` can use over LAN, and is otherwise as it was.
    fn one_account_of_ours(&self, shown: &serde_json::Value, before: &BTreeMap<u32, Account>) -> anyhow::Result<()> {
        let bmc = self.machine.bmc();
        wait::until_true("the account of our own", SOON, || bmc.account(OURS).is_ok())?;
        let (slot, password) = bmc.account(OURS)?;
        ensure!(password.len() >= 16 && password != ADMIN_PASSWORD, "a password of {} characters", password.len());
        let mut after = bmc.accounts()?;
        after.remove(&slot);
        ensure!(*before == after, "other accounts changed:\n{before:?}\n{after:?}");
        ensure!(shown["bmc"]["username"] == OURS && shown["bmc"]["managed_account"] == true, "{shown}");
        ensure!(!shown.to_string().contains(&password), "the password is shown");

        let users = bmc.as_admin(&["user", "list", "1"])?;
        let row = users.lines().find(|l| l.split_whitespace().nth(1) == Some(OURS)).unwrap_or_default();
        ensure!(row.ends_with("ADMINISTRATOR"), "{users}");
        bmc.ipmitool(OURS, &password, &["chassis", "power", "status"])?;
        ensure!(bmc.ipmitool(OURS, "another-one", &["mc", "info"]).is_err(), "any password does");
        Ok(())
    }

    /// With the administrator's password changed, the power can still be driven.
    fn power_needs_no_other_account(&self, before: &BTreeMap<u32, Account>) -> anyhow::Result<()> {
        let bmc = self.machine.bmc();
        bmc.as_admin(&["user", "set", "password", "2", "another-one"])?;
        ensure!(bmc.as_admin(&["mc", "info"]).is_err(), "the administrator's password is unchanged");
        self.site.admin.run(&["machine", "power", "on", &self.name])?;
        wait::until_true("power on", SOON, || self.machine.is_on().is_ok_and(|on| on))?;
        self.site.admin.run(&["machine", "power", "off", &self.name])?;
        wait::until_true("power off", SOON, || self.machine.is_on().is_ok_and(|on| !on))?;
        let shown = self.site.admin.json(&["machine", "power", "query", &self.name])?;
        ensure!(shown["power"] == "off", "{shown}");
        bmc.ipmitool(ADMIN, "another-one", &["user", "set", "password", "2", ADMIN_PASSWORD])?;
        wait::until_true("the administrator's old password", SOON, || {
            bmc.accounts().is_ok_and(|now| before.iter().all(|(slot, account)| now.get(slot) == Some(account)))
        })?;
        Ok(())
    }

    fn inventory_is_true(&self, shown: &serde_json::Value) -> anyhow::Result<()> {
        let (spec, hardware) = (self.machine.spec(), &shown["hardware"]);
        ensure!(hardware["serial"] == spec.serial.as_str() && hardware["vendor"] == "Farrier", "{hardware}");
        ensure!(hardware["uuid"].as_str().is_some_and(|u| u.eq_ignore_ascii_case(&spec.uuid)), "{hardware}");
        ensure!(hardware["nics"][0]["mac"] == spec.mac.as_str(), "{hardware}");
        let disk = &hardware["disks"][0];
        ensure!(disk["serial"] == spec.disks[0].serial.as_str(), "{hardware}");
        ensure!(disk["size_bytes"] == spec.disks[0].size_mib << 20, "{hardware}");
        Ok(())
    }

    fn verbs_out_of_turn_are_refused(&self, alice: &Cli, bob: &Cli) -> anyhow::Result<()> {
        let deploy = ["machine", "deploy", &self.name, "--image", System::Debian.name()];
        let (code, said) = alice.refused(&deploy)?;
        ensure!(code == 3, "exit code {code}: {said}");
        ensure!(said.contains("ready") && said.contains("allocate"), "neither state nor allowed verbs: {said}");
        alice.run(&["machine", "allocate", &self.name])?;
        let shown = self.site.reaches(&self.name, "allocated", SOON)?;
        ensure!(shown["owner"] == "alice", "{shown}");
        for verb in [&deploy[..], &["machine", "release", &self.name]] {
            let (code, said) = bob.refused(verb)?;
            ensure!(code == 4 || code == 3, "exit code {code}: {said}");
        }
        let shown = self.site.machine(&self.name)?;
        ensure!(shown["state"] == "allocated" && shown["owner"] == "alice", "{shown}");
        Ok(())
    }

    fn start_deploying(&self, lab: &Lab, alice: &Cli, reports: &Reports, system: System) -> anyhow::Result<()> {
        let user_data = text(&lab.write("user-data", &reports.user_data(SECRET, MARKER))?);
        let answer =
            alice.run(&["machine", "deploy", &self.name, "--image", system.name(), "--user-data", &user_data])?;
        ensure!(!answer.contains(SECRET), "user data is shown");
        Ok(())
    }

    /// The system runs and has reported, but until it phones home the machine is not deployed.
    fn deploy_ends_with_the_phone_call(
        &self,
        lab: &Lab,
        alice: &Cli,
        reports: &Reports,
        system: System,
    ) -> anyhow::Result<()> {
        self.start_deploying(lab, alice, reports, system)?;
        self.runs_user_data(reports)?;
        let shown = self.site.machine(&self.name)?;
        ensure!(shown["state"] == "deploying", "deployed without a phone call: {shown}");
        ensure!(self.machine.disks_hold(MARKER)?, "the marker never reached the disk");
        reports.open_gate()?;
        self.site.reaches(&self.name, "deployed", LONG)?;
        Ok(())
    }

    /// Waits for the report of user data, but no longer than the machine is deploying.
    fn runs_user_data(&self, reports: &Reports) -> anyhow::Result<()> {
        let seen = |shown: &serde_json::Value| shown["state"] != "deploying" || reports.all().contains(SECRET);
        self.site.sees(&self.name, "user data's report", LONG, seen)?;
        ensure!(reports.all().contains(SECRET), "no report came");
        Ok(())
    }

    fn release_leaves_nothing_on_the_disk(&self, alice: &Cli) -> anyhow::Result<()> {
        ensure!(self.machine.disks_hold(MARKER)?, "the marker is not there to be erased");
        alice.run(&["machine", "release", &self.name, "--wait", "--timeout", "2400"])?;
        let shown = self.site.machine(&self.name)?;
        ensure!(shown["state"] == "ready" && word(&shown, "owner").is_empty(), "{shown}");
        for needle in [MARKER, SECRET, "EFI PART", "rootfs"] {
            ensure!(!self.machine.disks_hold(needle)?, "{needle:?} is still on the disk");
        }
        let erased = &shown["last_erase"][0];
        let lies = !self.machine.spec().disks[0].discards;
        ensure!(!lies || erased["method"] != "discard", "a discard that did nothing was believed: {shown}");
        ensure!(erased["disk_serial"] == self.machine.spec().disks[0].serial.as_str(), "{shown}");
        ensure!(erased["sampled_bytes"].as_u64().is_some_and(|b| b >= 32 << 20), "{shown}");
        Ok(())
    }

    fn commission_through_crashes(&mut self, lab: &Lab) -> anyhow::Result<()> {
        // Enlistment may still keep the machine on.
        wait::until_true("power off after enlistment", LONG, || self.machine.is_on().is_ok_and(|on| !on))?;
        self.start_commissioning(lab, &[])?;
        self.region_dies()?;
        wait::until_true("power on to commission", LONG, || self.machine.is_on().is_ok_and(|on| on))?;
        self.rack_dies()?;
        self.region_dies()?;
        self.site.reaches(&self.name, "ready", LONG)?;
        let accounts = self.machine.bmc().accounts()?;
        let ours = accounts.values().filter(|a| a.get("username").is_some_and(|n| n.starts_with(OURS))).count();
        ensure!(ours == 1, "{ours} accounts of ours");
        Ok(())
    }

    fn deploy_through_crashes(&mut self, lab: &Lab, alice: &Cli, reports: &Reports) -> anyhow::Result<()> {
        self.start_deploying(lab, alice, reports, System::Mini)?;
        wait::until_true("power on to deploy", LONG, || self.machine.is_on().is_ok_and(|on| on))?;
        self.region_dies()?;
        wait::until_true("first bytes on the disk", LONG, || {
            self.machine.disks_hold("EFI PART").is_ok_and(|held| held)
        })?;
        self.rack_dies()?;
        self.runs_user_data(reports)?;
        self.region_dies()?;
        self.rack_dies()?;
        reports.open_gate()?;
        self.site.reaches(&self.name, "deployed", LONG)?;
        Ok(())
    }

    /// Alice logs in to the rescue environment of her deployed machine, Mallory does not, and then it is as it was before.
    fn rescue_lets_the_right_key_in(&mut self, lab: &Lab, alice: &Cli, reports: &Reports) -> anyhow::Result<()> {
        let (hers, other) = (SshKey::make(lab, "alice-key")?, SshKey::make(lab, "mallory-key")?);
        let reported = || reports.all().matches(SECRET).count();
        let before = reported();

        alice.run(&["machine", "rescue", &self.name, "--ssh-key-file", &text(&hers.public())])?;
        self.region_dies()?;
        let shown = self.site.reaches(&self.name, "rescue", LONG)?;
        let server = SshServer::scan(lab, &word(&shown, "rescue_address"))?;
        let fingerprint = server.fingerprint()?;
        ensure!(
            fingerprint.starts_with("SHA256:") && shown["rescue_host_key"] == fingerprint,
            "{fingerprint}: {shown}"
        );
        let page = alice.run(&["machine", "explain", &self.name])?;
        ensure!(page.contains(&fingerprint), "its owner is not told of {fingerprint}:\n{page}");
        let said = server.run(&hers, LOOK)?;
        ensure!(said == format!("rootfs\n{MARKER}\n"), "{said}");
        server.refuses(&other)?;
        ensure!(reported() == before, "the installed system ran during rescue");

        alice.run(&["machine", "exit-rescue", &self.name])?;
        self.rack_dies()?;
        let shown = self.site.reaches(&self.name, "deployed", LONG)?;
        ensure!(shown["owner"] == "alice" && shown["rescue_address"].is_null(), "{shown}");
        ensure!(shown["rescue_host_key"].is_null(), "{shown}");
        // The mini OS runs its user data at each start.
        wait::until_true("the installed system's report", LONG, || reported() > before)?;
        Ok(())
    }

    /// A machine that loses its power while deployed stays deployed, and the region tells that it is off.
    fn lost_power_is_seen(&self) -> anyhow::Result<()> {
        self.site.sees(&self.name, "power on", SOON, |shown| shown["power"] == "on")?;
        self.machine.lose_power()?;
        let shown = self.site.sees(&self.name, "power off", SOON, |shown| shown["power"] == "off")?;
        ensure!(shown["state"] == "deployed", "{shown}");
        let explained = self.site.explain(&self.name)?;
        ensure!(explained["machine"]["power"] == "off", "{explained}");
        let timeline = explained["timeline"].as_array().cloned().unwrap_or_default();
        ensure!(timeline.iter().any(|e| e["kind"] == "power" && word(e, "text").contains("off")), "{explained}");
        Ok(())
    }

    fn region_dies(&mut self) -> anyhow::Result<()> {
        self.site.region.daemon.kill()?;
        Ok(self.site.region.restart()?)
    }

    fn rack_dies(&mut self) -> anyhow::Result<()> {
        self.site.rack.daemon.kill()?;
        Ok(self.site.rack.restart()?)
    }
}

/// A program in another language, with nothing but reflection, sees the machine.
fn python_lists_it(lab: &Lab, site: &Site, name: &str) -> anyhow::Result<()> {
    let mut command = lab.net().command(assets::python(Python::Grpc)?.join("bin/python"));
    command.arg(repository().join("integration-tests/python/list_machines.py"));
    command.arg(Region::address()).arg(site.region.ca()).arg(site.region.admin_token());
    let said: serde_json::Value = serde_json::from_str(&process::succeed(command, SOON)?)?;
    ensure!(said["machines"][0]["name"] == name, "{said}");
    ensure!(said["services"].as_array().is_some_and(|s| s.iter().any(|s| s == "farrier.v1.Machines")), "{said}");
    Ok(())
}
