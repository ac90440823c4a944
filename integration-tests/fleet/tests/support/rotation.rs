//! Passwords of many BMCs are changed while their power is asked and switched, region and rack are killed again and again, and
//! some BMCs say yes and do nothing. In the end each BMC takes exactly what the region believes, and none has locked anybody out.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use farrier_common::{clock::Clock, hardware::Architecture};
use farrier_fleet::{
    boot::{Firmware, Pace},
    cave::Cave,
    dice::Dice,
    fault_plan::FaultPlan,
    http::Depth,
    ipmi::faults::{Action, Fault, Selector},
    personality::Personality,
    population::{FirmwareWord, Member, Plan, Population},
    small_images::SmallImages,
    truth::Fact,
};
use farrier_integration_tests::{
    cli::Cli,
    daemons::RegionOptions,
    lab::{Lab, text},
    net::DYNAMIC,
    site::{Site, word},
    wait::{self, Seen},
};

/// For all machines together, even on a host that does ten other things.
const LIMIT: Duration = Duration::from_secs(1200);
/// One look in so many kills somebody.
const ODDS: u64 = 8;
/// Every so many-th BMC says yes to its new password and does nothing, so often.
const PRETENDER: usize = 10;
const PRETENDS: u32 = 2;
const SET_USER_PASSWORD: Selector = Selector::Command { netfn: 6, command: 0x47 };

/// What it came to.
#[derive(Debug)]
pub struct Outcome {
    /// BMCs whose password was changed.
    pub changed: usize,
    /// Deaths of the region and of the rack.
    pub kills: [usize; 2],
    /// Logins that BMCs refused.
    pub refused: u64,
    /// From the first wish to the last change.
    pub took: Duration,
}

/// Plays it.
///
/// # Errors
/// A BMC takes something else than the region believes, or locked somebody out, or its password was not changed.
pub fn play(machines: u32, most_kills: usize) -> anyhow::Result<Outcome> {
    let lab = Lab::new()?;
    let played = in_lab(&lab, machines, most_kills);
    if played.is_err() {
        lab.show_logs();
    }
    played
}

fn in_lab(lab: &Lab, machines: u32, most_kills: usize) -> anyhow::Result<Outcome> {
    let cave = Cave::beside(lab)?;
    let plan = Plan {
        machines,
        seed: 11,
        vendors: Personality::names().map(str::to_owned).collect(),
        firmwares: [Firmware::BiosIpxe, Firmware::UefiPxe(Architecture::Amd64)].map(FirmwareWord).to_vec(),
        disks: vec![1 << 30],
        faults: FaultPlan::default(),
        pace: Pace::new(0.01),
        depth: Depth::Shared,
        clock: Clock::System,
    };
    let fleet = Population::raise(&plan, &Cave::wiring(), Some(&cave))?;
    let images = SmallImages::write(lab)?;
    let options = RegionOptions { power_poll_seconds: 5, ..RegionOptions::default() };
    let mut site = Site::start_with(lab, &options, DYNAMIC, |admin| images.upload(admin))?;
    let names = ready(lab, &site, fleet.members())?;
    let before: Vec<String> = names.iter().map(|name| told(&site.admin, name)).collect::<anyhow::Result<_>>()?;
    let start = Instant::now();
    for member in fleet.members().iter().step_by(PRETENDER) {
        let fault = Fault { on: SET_USER_PASSWORD, action: Action::AckWithoutApplying, skip: 0, count: Some(PRETENDS) };
        member.bmc_faults.lock().unwrap().add(fault);
    }
    let kills = changed(&mut site, &names, most_kills)?;
    let took = start.elapsed();
    let mut refused = 0;
    for ((member, name), before) in fleet.members().iter().zip(&names).zip(&before) {
        let (after, vendor) = (told(&site.admin, name)?, &member.vendor.name);
        ensure!(after != *before && takes(member, &after), "{name} ({vendor}) does not take what the region believes");
        ensure!(!takes(member, before), "{name} ({vendor}) takes the old password still");
        let happened = member.truth.snapshot();
        ensure!(member.truth.of(Fact::Lockout) == 0, "{name} ({vendor}) locked somebody out: {happened:?}");
        refused += member.truth.of(Fact::LoginRefused);
    }
    Ok(Outcome { changed: names.len(), kills, refused, took })
}

/// All are met, commissioned, and ready.
fn ready(lab: &Lab, site: &Site, members: &[Member]) -> anyhow::Result<Vec<String>> {
    members.iter().for_each(Member::switch_on);
    let mut names = Vec::new();
    for member in members {
        let name = site.enlisted(&member.mac.to_string())?;
        let factory = &member.vendor.accounts.factory;
        let password = text(&lab.write(&format!("{name}.bmc"), &factory.password)?);
        let bmc = member.bmc.to_string();
        let given = ["--bmc-address", &bmc, "--bmc-user", &factory.name, "--bmc-password-file", &password];
        // Said, because the other protocol's door would be knocked at for nothing.
        let given = [&["machine", "commission", &name][..], &given, &["--bmc-protocol", "ipmi"]].concat();
        site.admin.run(&given)?;
        names.push(name);
    }
    for name in &names {
        site.reaches(name, "ready", LIMIT)?;
    }
    Ok(names)
}

/// The password that the region believes in.
fn told(admin: &Cli, name: &str) -> anyhow::Result<String> {
    Ok(word(&admin.json(&["bmc", "reveal", name, "--comment", "a test compares"])?, "password"))
}

/// Does the BMC take this password of our account, by what it holds?
fn takes(member: &Member, password: &str) -> bool {
    member.accounts.lock().unwrap().takes("maas", password)
}

/// Has every password changed, and kills in between; tells how often region and rack died.
fn changed(site: &mut Site, names: &[String], most_kills: usize) -> anyhow::Result<[usize; 2]> {
    let (admin, over) = (site.admin.clone(), AtomicBool::new(false));
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        let wishes = scope.spawn(|| {
            let wished = wish(&admin, names).and_then(|()| names.iter().try_for_each(|n| is_changed(&admin, n, &done)));
            over.store(true, Ordering::Relaxed);
            wished
        });
        let power = scope.spawn(|| {
            let mut dice = Dice::new(3);
            while !over.load(Ordering::Relaxed) {
                let at = usize::try_from(dice.below(names.len() as u64)).unwrap_or_default();
                let action = if dice.happens(500) { "on" } else { "off" };
                // Refused while the region is away or the BMC's turn does not come; what counts is that it is asked.
                let _ = admin.run(&["machine", "power", action, &names[at]]);
            }
        });
        let mut dice = Dice::new(5);
        let mut kills = [0, 0];
        wait::until("the last password", LIMIT, || {
            let which = usize::from(dice.happens(500));
            if kills.iter().sum::<usize>() < most_kills && dice.below(ODDS) == 0 {
                let daemon = if which == 0 { &mut site.region.daemon } else { &mut site.rack.daemon };
                daemon.kill()?;
                daemon.start()?;
                kills[which] += 1;
            }
            let is_over = over.load(Ordering::Relaxed);
            Ok(if is_over {
                Seen::Now(())
            } else {
                Seen::NotYet(format!("{} are changed", done.load(Ordering::Relaxed)))
            })
        })?;
        power.join().expect("it does not panic");
        wishes.join().expect("it does not panic")?;
        Ok(kills)
    })
}

fn wish(admin: &Cli, names: &[String]) -> anyhow::Result<()> {
    for name in names {
        // A region that is away is asked again by the command itself, and for good below.
        if let Err(error) = admin.run(&["bmc", "rotate", name]) {
            println!("{name}: {error}");
        }
    }
    Ok(())
}

fn is_changed(admin: &Cli, name: &str, done: &AtomicUsize) -> anyhow::Result<()> {
    let what = format!("the new password of {name}");
    wait::until(&what, LIMIT, || {
        let Ok(seen) = admin.json(&["bmc", "show", name]) else { return Ok(Seen::NotYet("no answer".to_owned())) };
        if !seen["rotation"].is_null() {
            return Ok(Seen::NotYet(seen["rotation"].to_string()));
        }
        if seen["rotated_at"].is_null() {
            // Given up, or never heard.
            let _ = admin.run(&["bmc", "rotate", name]);
            return Ok(Seen::NotYet("none is under way".to_owned()));
        }
        Ok(Seen::Now(()))
    })
    .context(what.clone())?;
    done.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
