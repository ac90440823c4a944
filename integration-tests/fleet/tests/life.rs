//! Simulated machines of every vendor live their whole life beside the real region and rack. What really happened to them
//! is the judge.
//!
//! Needs root. The machines are in a network namespace of their own, on the lab's bridge, and ask for addresses through a relay.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::time::Duration;

use anyhow::ensure;
use farrier_common::{clock::Clock, hardware::Architecture};
use farrier_fleet::{
    accounts::User,
    boot::{Firmware, Pace},
    cave::Cave,
    fault_plan::FaultPlan,
    http::Depth,
    population::{self, FirmwareWord, Member, Plan, Population},
    truth::Fact,
};
use farrier_integration_tests::{
    assets::System,
    daemons::RegionOptions,
    lab::{Lab, text},
    site::Site,
};

const LIMIT: Duration = Duration::from_secs(600);
const VENDORS: [&str; 5] = ["dell", "hpe", "supermicro", "lenovo", "openbmc"];
const FIRMWARES: [Firmware; 2] = [Firmware::BiosIpxe, Firmware::UefiPxe(Architecture::Amd64)];

/// One machine of each vendor and firmware, switched off.
fn machines(cave: &Cave) -> Population {
    let plan = Plan {
        machines: u32::try_from(VENDORS.len() * FIRMWARES.len()).unwrap(),
        seed: 1,
        vendors: VENDORS.map(str::to_owned).into(),
        firmwares: FIRMWARES.map(FirmwareWord).into(),
        disks: population::DISKS.to_vec(),
        faults: FaultPlan::default(),
        pace: Pace::new(0.01),
        depth: Depth::Full,
        clock: Clock::System,
    };
    Population::raise(&plan, &Cave::wiring(), Some(cave)).unwrap()
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

fn commission(lab: &Lab, site: &Site, member: &Member, name: &str) -> anyhow::Result<()> {
    let factory = &member.vendor.accounts.factory;
    let password = text(&lab.write(&format!("{name}.bmc"), &factory.password)?);
    let bmc = member.bmc.to_string();
    let given = ["--bmc-address", &bmc, "--bmc-user", &factory.name, "--bmc-password-file", &password];
    site.admin.run(&[&["machine", "commission", name][..], &given].concat())?;
    Ok(())
}

fn live(lab: &Lab, members: &[Member]) -> anyhow::Result<()> {
    let site = Site::start(lab, &RegionOptions::default(), System::Mini)?;
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
    Ok(())
}

#[test]
fn machines_of_every_vendor_live_beside_the_real_daemons() {
    let lab = Lab::new().expect("this host can hold a virtual lab");
    let cave = Cave::beside(&lab).unwrap();
    let fleet = machines(&cave);
    if let Err(error) = live(&lab, fleet.members()) {
        for member in fleet.members() {
            println!("{} {}: {:?}", member.vendor.name, member.mac, member.truth.snapshot());
        }
        panic!("{error:#}");
    }
}
