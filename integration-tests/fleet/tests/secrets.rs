//! A whole life, with mistakes: no password, token or key of it is in a log, an event, an answer, a command line, an environment or
//! the database, and what crashes leaves no core dump.
//!
//! Needs root.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/hunt.rs"]
mod hunt;

use std::{
    collections::HashSet,
    fs,
    os::unix::process::ExitStatusExt as _,
    process::Command,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::ensure;
use farrier_common::{clock::Clock, hardware::Architecture};
use farrier_fleet::{
    boot::{Firmware, Pace},
    cave::Cave,
    fault_plan::FaultPlan,
    http::Depth,
    population::{FirmwareWord, HTTPS, Member, Plan, Population, Wiring},
    small_images::{SYSTEM, SmallImages},
};
use farrier_integration_tests::{
    cli::Cli,
    daemon::Daemon,
    daemons::RegionOptions,
    lab::{Lab, text},
    net::DYNAMIC,
    process,
    site::{Site, word},
    wait,
};

use self::hunt::Hunt;

const LIMIT: Duration = Duration::from_secs(600);
/// How often everybody's command line and environment are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Their passwords are no words that stand in a log for another reason.
const VENDORS: [&str; 2] = ["hpe", "lenovo"];
const WRONG: &str = "Wr0ngWr0ngWr0ng";

/// Everything that the region tells of a life and of its people.
const LISTS: [&str; 14] = [
    "machine list",
    "event list",
    "audit",
    "operation list",
    "rack list",
    "rack show r1",
    "user list",
    "token list",
    "subnet list",
    "image list",
    "script list",
    "project list",
    "pool list",
    "ssh-key list",
];
const OF_ONE: [&str; 5] = ["machine show", "machine explain", "machine results", "bmc show", "bmc log"];

#[test]
fn nothing_secret_is_to_be_seen() {
    let lab = Lab::new().expect("this host can hold a virtual lab");
    let cave = Cave::beside(&lab).unwrap();
    let plan = Plan {
        machines: 2,
        seed: 5,
        vendors: VENDORS.map(str::to_owned).into(),
        firmwares: vec![FirmwareWord(Firmware::UefiPxe(Architecture::Amd64))],
        disks: vec![1 << 30],
        faults: FaultPlan::default(),
        pace: Pace::new(0.01),
        depth: Depth::Shared,
        clock: Clock::System,
    };
    let wiring = Wiring { redfish: Some(HTTPS), ..Cave::wiring() };
    let fleet = Population::raise(&plan, &wiring, Some(&cave)).unwrap();
    if let Err(error) = hunted(&lab, fleet.members()) {
        lab.show_logs();
        panic!("{error:#}");
    }
}

fn hunted(lab: &Lab, members: &[Member]) -> anyhow::Result<()> {
    let (stop, stopped) = mpsc::channel::<()>();
    let watcher = thread::spawn(move || command_lines(&stopped));
    let images = SmallImages::write(lab)?;
    let options = RegionOptions { power_poll_seconds: 2, ..RegionOptions::default() };
    let mut site = Site::start_with(lab, &options, DYNAMIC, |admin| images.upload(admin))?;
    let mut hunt = Hunt::default();
    let mut seen = Vec::new();
    members.iter().try_for_each(|member| live(lab, &site, member, &mut hunt, &mut seen))?;
    people(lab, &site, &mut hunt)?;
    drop(stop);
    let lines = watcher.join().expect("the watcher only reads");

    for folder in ["region/data", "rack/data/identity"] {
        hunt.wants_keys_in(&lab.dir().join(folder))?;
    }
    for file in ["region/admin-token", "rack/join-token"] {
        hunt.wants(file, fs::read_to_string(lab.dir().join(file))?.trim());
    }
    // Stopped, so that all of the database is in its files.
    let dumped = [crash(&mut site.region.daemon)?, crash(&mut site.rack.daemon)?];
    ensure!(dumped == [false, false], "region or rack left a core dump: {dumped:?}");
    ensure!(control_dumps(lab)?, "nobody leaves a core dump here, so that the daemons leave none proves nothing");
    ensure!(lines.len() > 20 && lines.iter().any(|line| line.contains("farrier-rack")), "nobody was looked at");

    for (what, text) in &seen {
        hunt.look(what, text.as_bytes());
    }
    lines.iter().for_each(|line| hunt.look("a command line or environment", line.as_bytes()));
    for file in ["region/region.log", "rack/rack.log"] {
        let log = fs::read(lab.dir().join(file))?;
        ensure!(log.len() > 1000, "{file} holds next to nothing");
        hunt.look(file, &log);
    }
    let database = hunt::files(&lab.dir().join("region/data"), |name| name.starts_with("farrier.db"))?;
    ensure!(!database.is_empty(), "no database");
    for (name, bytes) in &database {
        hunt.look(name, bytes);
    }
    let seen: Vec<_> = seen.iter().map(|(_, text)| text.as_str()).chain(lines.iter().map(String::as_str)).collect();
    hunt.look_for_tokens(&database, &seen);
    ensure!(hunt.wanted() >= 14, "{} secrets were known", hunt.wanted());
    ensure!(hunt.found().is_empty(), "{:#?}", hunt.found());
    Ok(())
}

/// One machine's life: two wrong passwords, the right one, a deployment, another password, the end of it.
fn live(
    lab: &Lab,
    site: &Site,
    member: &Member,
    hunt: &mut Hunt,
    seen: &mut Vec<(String, String)>,
) -> anyhow::Result<()> {
    let admin = &site.admin;
    member.switch_on();
    let name = site.enlisted(&member.mac.to_string())?;
    let factory = &member.vendor.accounts.factory;
    hunt.wants("the password that a BMC is delivered with", &factory.password);
    hunt.wants("a wrong password", WRONG);
    let commission = |password: &str| -> anyhow::Result<()> {
        let file = text(&lab.write(&format!("{name}.bmc"), password)?);
        let given =
            ["--bmc-address", &member.bmc.to_string(), "--bmc-user", &factory.name, "--bmc-password-file", &file]
                .map(str::to_owned);
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        // One of each protocol.
        let by: &[&str] = if member.vendor.name == VENDORS[0] { &["--bmc-protocol", "ipmi"] } else { &[] };
        admin.run(&[&["machine", "commission", &name][..], &given, by].concat())?;
        Ok(())
    };
    commission(WRONG)?;
    wait::until_true("a refused login", LIMIT, || {
        site.machine(&name).is_ok_and(|machine| machine["state"] == "failed-commissioning")
    })?;
    commission(&factory.password)?;
    site.reaches(&name, "ready", LIMIT)?;
    admin.run(&["machine", "allocate", &name])?;
    admin.run(&["machine", "deploy", &name, "--image", SYSTEM])?;
    site.reaches(&name, "deployed", LIMIT)?;
    let mut reveal = |which: &str| -> anyhow::Result<()> {
        let told = admin.json(&["bmc", "reveal", &name, "--comment", "a test hunts for it"])?;
        hunt.wants(which, &word(&told, "password"));
        ensure!(hunt.would_find(told.to_string().as_bytes()), "the hunt finds nothing");
        Ok(())
    };
    reveal("the first password of an account")?;
    admin.run(&["bmc", "rotate", &name, "--wait"])?;
    reveal("the second password of an account")?;
    for verb in [&["machine", "power", "off"][..], &["machine", "power", "on"], &["bmc", "probe"]] {
        seen.push((verb.join(" "), admin.run(&[verb, &[&name]].concat())?));
    }
    for format in ["table", "json"] {
        for what in OF_ONE {
            let words: Vec<_> = what.split(' ').chain([&*name, "-o", format]).collect();
            seen.push((words.join(" "), admin.run(&words)?));
        }
        for list in LISTS {
            let words: Vec<_> = list.split(' ').chain(["-o", format]).collect();
            seen.push((words.join(" "), admin.run(&words)?));
        }
    }
    admin.run(&["machine", "release", &name])?;
    site.reaches(&name, "ready", LIMIT)?;
    admin.run(&["machine", "delete", &name])?;
    seen.push(("event list".into(), admin.run(&["event", "list", "-o", "json"])?));
    Ok(())
}

/// Somebody with a token, and somebody with a wrong one.
fn people(lab: &Lab, site: &Site, hunt: &mut Hunt) -> anyhow::Result<()> {
    let person: Cli = site.add_user(lab, "ada")?;
    hunt.wants("a user's token", fs::read_to_string(lab.dir().join("ada.token"))?.trim());
    person.run(&["whoami"])?;
    let wrong = "5".repeat(64);
    hunt.wants("a wrong token", &wrong);
    let file = lab.write("wrong.token", &wrong)?;
    ensure!(lab.login(&site.region, "nobody", &file).is_err(), "a wrong token is good for a login");
    Ok(())
}

/// Command lines and environments of all processes, until there is nobody who listens.
fn command_lines(stopped: &mpsc::Receiver<()>) -> HashSet<String> {
    let mut lines = HashSet::new();
    while stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Disconnected) {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
        for process in processes.filter(|path| path.join("cmdline").exists()) {
            for file in ["cmdline", "environ"] {
                // It may be gone by now.
                let bytes = fs::read(process.join(file)).unwrap_or_default();
                lines.insert(String::from_utf8_lossy(&bytes).replace('\0', " "));
            }
        }
    }
    lines
}

/// Dies as a process does that has met its own mistake, with all the room for a core dump that there is; did it leave one?
fn crash(daemon: &mut Daemon) -> anyhow::Result<bool> {
    let pid = daemon.pid()?.to_string();
    let mut room = Command::new("prlimit");
    room.args(["--pid", &pid, "--core=unlimited"]);
    process::succeed(room, LIMIT)?;
    let mut abort = Command::new("kill");
    abort.args(["-ABRT", &pid]);
    process::succeed(abort, LIMIT)?;
    let mut ended = None;
    wait::until_true("its death", LIMIT, || {
        ended = daemon.ended().ok().flatten();
        ended.is_some()
    })?;
    Ok(ended.is_some_and(|status| status.core_dumped()))
}

/// Does somebody else leave one, who dies the same way?
fn control_dumps(lab: &Lab) -> anyhow::Result<bool> {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -c unlimited; kill -ABRT $$"]).current_dir(lab.dir());
    Ok(shell.status()?.core_dumped())
}
