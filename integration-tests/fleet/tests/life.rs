//! Simulated machines of every vendor live their whole life beside the real region and rack. What really happened to them
//! is the judge.
//!
//! Needs root. The machines are in a network namespace of their own, on the lab's bridge, and ask for addresses through a relay.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

#[path = "support/outlet.rs"]
mod outlet;
#[path = "support/person.rs"]
mod person;

use std::{collections::HashSet, time::Duration};

use anyhow::{Context as _, ensure};
use farrier_common::{
    clock::Clock,
    hardware::{Architecture, BmcProtocol},
};
use farrier_fleet::{
    accounts::User,
    boot::{Firmware, Pace},
    cave::Cave,
    fault_plan::FaultPlan,
    http::Depth,
    population::{self, FirmwareWord, Member, Plan, Population, Wiring},
    truth::Fact,
};
use farrier_integration_tests::{
    assets::System,
    daemons::RegionOptions,
    lab::{Lab, text},
    site::{Site, word},
    wait,
};

const LIMIT: Duration = Duration::from_secs(600);
const VENDORS: [&str; 5] = ["dell", "hpe", "supermicro", "lenovo", "openbmc"];
const FIRMWARES: [Firmware; 2] = [Firmware::BiosIpxe, Firmware::UefiPxe(Architecture::Amd64)];

/// How their BMCs are spoken to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Ipmi,
    Redfish,
}

/// One machine of each vendor and firmware, switched off.
fn machines(cave: &Cave, by: By) -> Population {
    let redfish = (by == By::Redfish).then(|| BmcProtocol::Redfish.port());
    raise(cave, VENDORS.len() * FIRMWARES.len(), redfish)
}

fn raise(cave: &Cave, machines: usize, redfish: Option<u16>) -> Population {
    let plan = Plan {
        machines: u32::try_from(machines).unwrap(),
        seed: 1,
        vendors: VENDORS.map(str::to_owned).into(),
        firmwares: FIRMWARES.map(FirmwareWord).into(),
        disks: population::DISKS.to_vec(),
        faults: FaultPlan::default(),
        pace: Pace::new(0.01),
        depth: Depth::Full,
        clock: Clock::System,
    };
    Population::raise(&plan, &Wiring { redfish, ..Cave::wiring() }, Some(cave)).unwrap()
}

/// Everybody on its BMC by slot: name, access and password.
fn users(member: &Member) -> Vec<(String, String)> {
    let accounts = member.accounts.lock().unwrap();
    let key = |user: &User| user.key().map(|key| key.expose().clone());
    accounts.users().iter().map(|user| (user.name.clone(), format!("{user:?} {:?}", key(user)))).collect()
}

/// Is exactly one slot another than before, and is it ours?
fn only_ours_is_new(member: &Member, before: &[(String, String)]) -> bool {
    let after = users(member);
    let changed: Vec<_> = after.iter().zip(before).filter(|(now, then)| now != then).collect();
    after.len() == before.len() && matches!(changed[..], [((name, _), _)] if name == "maas")
}

/// Nobody says how the BMC is spoken to.
fn commission(lab: &Lab, site: &Site, member: &Member, name: &str) -> anyhow::Result<()> {
    let factory = &member.vendor.accounts.factory;
    let password = text(&lab.write(&format!("{name}.bmc"), &factory.password)?);
    let bmc = member.bmc.to_string();
    let given = ["--bmc-address", &bmc, "--bmc-user", &factory.name, "--bmc-password-file", &password];
    site.admin.run(&[&["machine", "commission", name][..], &given].concat())?;
    Ok(())
}

/// Each BMC was found out, its password can be changed, and it takes what the region believes.
fn passwords(site: &Site, members: &[Member], names: &[String], by: By) -> anyhow::Result<()> {
    let speaks = if by == By::Redfish { "redfish" } else { "ipmi" };
    for (member, name) in members.iter().zip(names) {
        let vendor = &member.vendor.name;
        let takes = |password: &str| member.accounts.lock().unwrap().takes("maas", password);
        let told = || -> anyhow::Result<String> {
            let told = site.admin.json(&["bmc", "reveal", name, "--comment", "a test compares"])?;
            Ok(word(&told, "password"))
        };
        let (before, rest) = (told()?, users(member));
        ensure!(takes(&before), "{vendor}: the BMC does not take what is revealed");
        let changed = site.admin.json(&["bmc", "rotate", name, "--comment", "it is time", "--wait"])?;
        let endpoint = &changed["endpoint"];
        ensure!(word(endpoint, "protocol") == speaks && !word(&endpoint["facts"], "because").is_empty(), "{changed}");
        let after = told()?;
        ensure!(before != after && takes(&after) && !takes(&before), "{vendor}: not changed");
        ensure!(only_ours_is_new(member, &rest), "{vendor}: other accounts changed");
        let (refused, locked) = (member.truth.of(Fact::LoginRefused), member.truth.of(Fact::Lockout));
        // A poll that was under way may have had the old password.
        ensure!(refused <= 1 && locked == 0, "{vendor}: {:?}", member.truth.snapshot());
        ensure!(endpoint["facts"]["capabilities"].to_string().contains("event-log"), "{endpoint}");
        let record = [0, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 0x0c, 0x12, 0x6f, 1, 0xff, 0xff];
        let id = member.chassis.log().add(record, 1_700_000_000).context("room in the log")?;
        let log = site.admin.json(&["bmc", "events", name, "--limit", "1"])?;
        ensure!(
            word(&log["events"][0], "id") == id.to_string() && word(&log["events"][0], "at").starts_with("2023-11-14"),
            "{log}"
        );
        firmware(site, name, by)?;
        println!("{speaks}, {vendor}: {}", word(&endpoint["facts"], "because"));
    }
    Ok(())
}

/// Settings of the firmware are there by Redfish alone.
fn firmware(site: &Site, name: &str, by: By) -> anyhow::Result<()> {
    if by == By::Ipmi {
        let (_, refused) = site.admin.refused(&["bmc", "bios", name])?;
        ensure!(refused.contains("Redfish"), "{refused}");
        return Ok(());
    }
    let told = || site.admin.json(&["bmc", "bios", name]);
    ensure!(told()?["secure_boot"]["enable"] == false, "as delivered");
    site.admin.run(&["bmc", "set-bios", name, "--secure-boot", "on"])?;
    let after = told()?;
    ensure!(after["secure_boot"]["enable"] == true && after["secure_boot"]["enforced"] == false, "{after}");
    Ok(())
}

fn live(lab: &Lab, members: &[Member], by: By) -> anyhow::Result<()> {
    // Seldom enough that polling does not slow the lives down, and often enough to wait for.
    let options = RegionOptions { power_poll_seconds: 20, ..RegionOptions::default() };
    let site = Site::start(lab, &options, System::Mini)?;
    members.iter().for_each(Member::switch_on);
    let names: Vec<String> =
        members.iter().map(|m| Ok(site.enlisted(&m.mac.to_string())?)).collect::<anyhow::Result<_>>()?;
    let before: Vec<_> = members.iter().map(users).collect();
    let all_reach = |state: &str| names.iter().try_for_each(|n| site.reaches(n, state, LIMIT).map(|_| ()));
    let each = |verb: &[&str]| {
        names.iter().try_for_each(|n| site.admin.run(&[&["machine", verb[0], n], &verb[1..]].concat()).map(|_| ()))
    };

    members.iter().zip(&names).try_for_each(|(m, n)| commission(lab, &site, m, n))?;
    all_reach("ready")?;
    each(&["allocate"])?;
    each(&["deploy", "--image", System::Mini.name()])?;
    all_reach("deployed")?;
    for member in members {
        ensure!(member.holds_image(), "{}: deployed, but no disk holds the image", member.vendor.name);
    }
    each(&["release"])?;
    all_reach("ready")?;

    for (member, before) in members.iter().zip(&before) {
        let (happened, vendor) = (member.truth.snapshot(), &member.vendor.name);
        let of = |fact| member.truth.of(fact);
        ensure!(of(Fact::Install) == 1, "{vendor}: {happened:?}");
        ensure!(of(Fact::Wipe) == 2, "{vendor}: both disks are wiped once: {happened:?}");
        ensure!(of(Fact::AccountMade) == 1, "{vendor}: {happened:?}");
        ensure!(of(Fact::LoginRefused) == 0 && of(Fact::Lockout) == 0, "{vendor}: {happened:?}");
        ensure!(of(Fact::PowerOn) <= 5, "{vendor}: {happened:?}");
        ensure!(!member.holds_image(), "{vendor}: a disk still holds the image");
        ensure!(only_ours_is_new(member, before), "{vendor}: other accounts changed");
    }
    passwords(&site, members, &names, by)?;
    if by == By::Redfish {
        certificates(lab, &site, members, &names)?;
    }
    Ok(())
}

/// A certificate that changes is an alarm, until an admin sets the BMC again.
fn certificates(lab: &Lab, site: &Site, members: &[Member], names: &[String]) -> anyhow::Result<()> {
    let (member, name) = (members.first().context("a machine")?, names.first().context("its name")?);
    let shown = |name: &str| -> anyhow::Result<String> { Ok(word(&site.machine(name)?["bmc"], "certificate_sha256")) };
    let before = shown(name)?;
    ensure!(before.len() == 64, "{before:?} is no fingerprint");
    let taken = names.iter().map(|n| shown(n)).collect::<anyhow::Result<HashSet<_>>>()?;
    ensure!(taken.len() == names.len(), "every BMC has a certificate of its own");
    member.tls.as_ref().context("HTTPS")?.renew();
    let alarm = |what: &str| -> anyhow::Result<bool> { Ok(site.explain(name)?.to_string().contains(what)) };
    wait::until_true("the alarm of a machine at rest", LIMIT, || alarm("bmc-certificate: ").unwrap_or_default())?;
    let ons = member.truth.of(Fact::PowerOn);
    site.admin.run(&["machine", "commission", name])?;
    site.reaches(name, "failed-commissioning", LIMIT)?;
    let (machine, explained) = (site.machine(name)?, site.explain(name)?);
    ensure!(
        word(&explained["why"], "reason_code") == "bmc-certificate" && word(&machine, "reason").contains(&before),
        "{machine}"
    );
    let (_, refused) = site.admin.refused(&["machine", "power", "on", name])?;
    ensure!(refused.contains("certificate has changed"), "{refused}");
    ensure!(member.truth.of(Fact::PowerOn) == ons, "switched although nobody knows whom");
    commission(lab, site, member, name)?;
    site.reaches(name, "ready", LIMIT)?;
    ensure!(
        shown(name)? != before && member.truth.of(Fact::AccountMade) == 1,
        "the new one is known, the account is as it was"
    );

    site.admin.run(&["machine", "delete", name])?;
    ensure!(member.truth.of(Fact::AccountRemoved) == 1, "our account is given back");
    Ok(())
}

fn lives(by: By) {
    let lab = Lab::new().expect("this host can hold a virtual lab");
    let cave = Cave::beside(&lab).unwrap();
    let fleet = machines(&cave, by);
    if let Err(error) = live(&lab, fleet.members(), by) {
        for member in fleet.members() {
            println!("{} {}: {:?}", member.vendor.name, member.mac, member.truth.snapshot());
        }
        panic!("{error:#}");
    }
}

#[test]
fn machines_of_every_vendor_live_beside_the_real_daemons() {
    lives(By::Ipmi);
}

#[test]
fn machines_of_every_vendor_live_by_redfish() {
    lives(By::Redfish);
}

/// One machine lives; if it does not, what the daemons said is shown.
fn one_lives(live: fn(&Lab, &Population) -> anyhow::Result<()>) {
    let lab = Lab::new().expect("this host can hold a virtual lab");
    let cave = Cave::beside(&lab).unwrap();
    let fleet = raise(&cave, 1, None);
    if let Err(error) = live(&lab, &fleet) {
        lab.show_logs();
        panic!("{error:#}");
    }
}

#[test]
fn a_machine_lives_by_webhook() {
    one_lives(outlet::live);
}

#[test]
fn a_machine_lives_by_the_hands_of_people() {
    one_lives(person::live);
}
