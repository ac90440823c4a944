//! Where the matrix is played: one region, one rack, one fleet, and two daemons that can be told where to die.

use std::{
    fs::{self, File},
    io::{self, IsTerminal as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    time::Instant,
};

use anyhow::{Context as _, bail, ensure};
use farrier_common::{
    clock::{Clock, Timestamp},
    secret::Secret,
};
use farrier_fleet::{
    agent::program::{AgentKind, CrashPlan, Layout, Program, ProgramSpec},
    boot::Pace,
    cave::Cave,
    dice::Dice,
    drive::{Access, Region},
    fault_plan::FaultPlan,
    http::Depth,
    ledger::Ledger,
    population::{Member, Plan, Population},
};
use farrier_integration_tests::{
    assets::{System, disk_image},
    binaries::binary,
    daemon::{Daemon, tail},
    daemons::{self, RegionOptions},
    lab::{Lab, text},
    net::{DYNAMIC, SUBNET},
    postgres::Postgres,
    site::{RACK, Site, join_token, rack_is_connected},
    wait::{self, Seen},
};

use crate::{
    LIMIT,
    cells::{Cell, Who},
    judge::Judge,
};

/// The system that machines with the simulated agent are given: nobody looks into it.
pub(crate) const SMALL: &str = "small";
const VENDORS: [&str; 5] = ["dell", "hpe", "supermicro", "lenovo", "openbmc"];
const FIRMWARES: [&str; 2] = ["bios-ipxe", "uefi"];
/// Big enough for the system that real agents write.
const DISKS: [u64; 2] = [512 << 20, 1 << 30];
/// What somebody left on the disks.
const LEFTOVERS: u64 = 77;
/// Seconds that a machine has to switch itself off: more than [`crate::wave::SLOW`].
const GRACE: u32 = 6;
/// Minutes until a boot that leads nowhere is given up: far more than one takes here.
const BOOT_MINUTES: u32 = 2;
/// Boots in one state, for machines whose agents die and whose racks are away.
const BOOTS: u32 = 10;
const SIGABRT: i32 = 6;

/// Everything that lives.
pub(crate) struct Stage {
    pub(crate) ledger: Ledger,
    pub(crate) region: Region,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) population: Population,
    pub(crate) site: Site,
    arms: [Arm; 2],
    pub(crate) label: &'static str,
    start: Instant,
    story: File,
    _postgres: Option<Postgres>,
    _cave: Cave,
    lab: Lab,
}

/// One machine, as the region knows it and as it really is.
pub(crate) struct Subject {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) member: Member,
    /// Its agent, if it is the real one.
    pub(crate) program: Option<Program>,
    pub(crate) judge: Judge,
}

impl Subject {
    /// Where its agent is to die, if it is the real one.
    pub(crate) fn plan(&self) -> Option<&CrashPlan> {
        self.program.as_ref().map(|program| &program.spec().plan)
    }
}

/// Where a daemon that runs was told to die.
#[derive(Clone, Copy)]
struct Arm {
    cell: Option<Cell>,
    /// What its log held when it was started.
    log: u64,
    since: Instant,
}

/// A daemon died where it was told to.
#[derive(Clone, Copy)]
pub(crate) struct Death {
    pub(crate) cell: Cell,
    pub(crate) at: Timestamp,
}

impl Stage {
    /// Starts everything; the machines are off.
    pub(crate) fn start(label: &'static str, postgres: bool, simulated: u32, real: u32) -> anyhow::Result<Self> {
        let start = Instant::now();
        let lab = Lab::new()?;
        let story = File::create(lab.dir().join("story.log")).context("cannot write the story")?;
        let cave = Cave::beside(&lab)?;
        let postgres = postgres.then(|| lab.start_postgres()).transpose()?;
        let database = postgres.as_ref().map(Postgres::url);
        // Whoever asks a BMC at rest would blur for what a rack died.
        // And a machine whose agent died in the end is not to be waited for.
        // A machine whose rack was away while it booted is in the system on its disk: that is found out soon, however often.
        let deadlines = vec![("power_off_grace_seconds", GRACE), ("boot_minutes", BOOT_MINUTES), ("boot_tries", BOOTS)];
        let options = RegionOptions { database, power_poll_seconds: 86_400, deadlines };
        let mini = (real > 0).then(|| disk_image(System::Mini)).transpose()?;
        let site = site(&lab, &options, mini.as_deref())?;
        let (population, programs) = population(&lab, &cave, simulated, real, mini.as_deref())?;
        let access = Access {
            address: daemons::Region::address(),
            ca_pem: fs::read_to_string(site.region.ca()).context("cannot read the region's CA")?,
            token: Secret::new(fs::read_to_string(site.region.admin_token())?.trim().to_owned()),
        };
        let (region, ledger) = population.runtime().block_on(async {
            let region = Region::new(&access)?;
            anyhow::Ok((region.clone(), Ledger::follow(region)))
        })?;
        let subjects = meet(&population, &region, &ledger, programs)?;
        let arm = Arm { cell: None, log: 0, since: Instant::now() };
        let arms = [arm; 2];
        let stage = Self {
            ledger,
            region,
            subjects,
            population,
            site,
            arms,
            label,
            start,
            story,
            _postgres: postgres,
            _cave: cave,
            lab,
        };
        stage.say(&format!("{} machines are there", stage.subjects.len()))?;
        Ok(stage)
    }

    /// Tells how far it is: to who watches, and to a log beside the others', so that a failure's reason comes before it.
    pub(crate) fn say(&self, what: &str) -> io::Result<()> {
        let line = format!("{} {:6.1} s  {what}\n", self.label, self.start.elapsed().as_secs_f32());
        if io::stderr().is_terminal() {
            io::stderr().write_all(line.as_bytes())?;
        }
        (&self.story).write_all(line.as_bytes())
    }

    /// Shows what everybody said.
    pub(crate) fn show_logs(&self) {
        self.lab.show_logs();
    }

    fn daemon(&mut self, who: Who) -> &mut Daemon {
        if who == Who::Region { &mut self.site.region.daemon } else { &mut self.site.rack.daemon }
    }

    const fn arm_of(&mut self, who: Who) -> &mut Arm {
        &mut self.arms[if matches!(who, Who::Region) { 0 } else { 1 }]
    }

    /// Where a daemon was told to die, and for how long it has not.
    pub(crate) fn armed(&mut self, who: Who) -> (Option<Cell>, std::time::Duration) {
        let arm = self.arm_of(who);
        (arm.cell, arm.since.elapsed())
    }

    /// Starts a daemon that is to die there, or not at all. One that runs is killed first.
    pub(crate) fn arm(&mut self, who: Who, cell: Option<Cell>) -> anyhow::Result<()> {
        let daemon = self.daemon(who);
        if daemon.ended()?.is_none() {
            daemon.kill()?;
        }
        let log = fs::metadata(daemon.log())?.len();
        let arguments = cell.map(|cell| vec!["--crash-at".to_owned(), cell.argument()]);
        daemon.start_with(&arguments.unwrap_or_default())?;
        *self.arm_of(who) = Arm { cell, log, since: Instant::now() };
        Ok(())
    }

    /// Has a daemon died? It must have, where it was told to and by its own hand.
    pub(crate) fn death(&mut self, who: Who) -> anyhow::Result<Option<Death>> {
        let arm = *self.arm_of(who);
        let daemon = self.daemon(who);
        let Some(status) = daemon.ended()? else { return Ok(None) };
        let at = Clock::System.now();
        let said = fs::read(daemon.log())?;
        let said = String::from_utf8_lossy(said.get(usize::try_from(arm.log)?..).unwrap_or_default()).into_owned();
        let place = arm.cell.map(|cell| (cell, format!("crash point {} reached", cell.argument())));
        match place {
            Some((cell, line)) if status.signal() == Some(SIGABRT) && said.lines().any(|l| l.ends_with(&line)) => {
                Ok(Some(Death { cell, at }))
            }
            Some((cell, _)) => bail!("{} for {cell} ended with {status}:\n{}", who.as_str(), tail(daemon.log(), 20)),
            None => bail!("{} ended with {status}, unasked:\n{}", who.as_str(), tail(daemon.log(), 20)),
        }
    }
}

/// Region and rack, with images that are small.
fn site(lab: &Lab, options: &RegionOptions, mini: Option<&Path>) -> anyhow::Result<Site> {
    let region = lab.start_region(options)?;
    let admin = lab.login(&region, "admin", &region.admin_token())?;
    let disk = zstd::encode_all(&noise("disk", 2 << 20)[..], 1)?;
    let files = [("kernel", noise("kernel", 64 << 10)), ("initrd", noise("initrd", 64 << 10)), ("disk", disk)];
    let [kernel, initrd, disk] = files.map(|(name, bytes)| {
        let path = lab.dir().join(format!("{name}.zst"));
        fs::write(&path, bytes).map(|()| text(&path))
    });
    let create = ["image", "create", "ephemeral", "--kind", "ephemeral", "--arch", "amd64"];
    admin.run(&[&create[..], &["--kernel", &kernel?, "--initrd", &initrd?]].concat())?;
    for (name, file) in [(SMALL, Some(disk?)), (System::Mini.name(), mini.map(text))] {
        if let Some(file) = file {
            admin.run(&["image", "create", name, "--kind", "disk", "--arch", "amd64", "--disk", &file])?;
        }
    }
    let rack = lab.start_rack(&join_token(&admin)?)?;
    rack_is_connected(&admin)?;
    admin.run(&["subnet", "create", "--cidr", SUBNET, "--rack", RACK, "--dynamic", DYNAMIC])?;
    Ok(Site { region, rack, admin })
}

/// The fleet: first those with the simulated agent, then those with the real one. Gives the latter's.
fn population(
    lab: &Lab,
    cave: &Cave,
    simulated: u32,
    real: u32,
    mini: Option<&Path>,
) -> anyhow::Result<(Population, Vec<Option<Program>>)> {
    let plan = Plan {
        machines: simulated + real,
        seed: 7,
        vendors: VENDORS.map(str::to_owned).to_vec(),
        firmwares: FIRMWARES.map(|word| word.parse().expect("it is a firmware")).to_vec(),
        disks: DISKS.to_vec(),
        faults: FaultPlan::default(),
        pace: Pace::new(0.01),
        depth: Depth::Full,
        clock: Clock::System,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let layout = match mini {
        Some(mini) => runtime.block_on(Layout::of_image(mini, lab.dir()))?,
        None => Layout::default(),
    };
    let binary = binary("farrier-agent")?;
    let programs: Vec<_> = (1..=plan.machines)
        .map(|number| {
            let dir = lab.dir().join(format!("machine-{number}"));
            let spec = ProgramSpec { binary: binary.clone(), dir, layout: layout.clone(), plan: CrashPlan::default() };
            (number > simulated).then(|| Program::new(spec))
        })
        .collect();
    let agents = |number: u32| {
        let program = programs.get(number as usize - 1).cloned().flatten();
        program.map_or(AgentKind::Simulated, AgentKind::Program)
    };
    Ok((Population::raise_with(&plan, &Cave::wiring(), Some(cave), &agents)?, programs))
}

/// All are switched on; the region meets them, and they go off.
fn meet(
    population: &Population,
    region: &Region,
    ledger: &Ledger,
    programs: Vec<Option<Program>>,
) -> anyhow::Result<Vec<Subject>> {
    let members = population.members();
    for (member, _) in members.iter().zip(&programs).filter(|(_, program)| program.is_some()) {
        // The files of these tell nothing of the wipe of a disk that is blank.
        (0..DISKS.len()).for_each(|n| member.disks.mark(n, LEFTOVERS));
    }
    members.iter().for_each(Member::switch_on);
    wait::until("all machines are met, and off", LIMIT, || {
        let met = *ledger.count().borrow();
        let off = members.iter().filter(|m| !m.chassis.is_on()).count();
        let all = met == members.len() && off == members.len();
        Ok(if all { Seen::Now(()) } else { Seen::NotYet(format!("{met} are met, {off} are off")) })
    })?;
    let known = population.runtime().block_on(region.machines())?;
    let subjects = members.iter().zip(programs).map(|(member, program)| {
        let mac = member.mac.to_string();
        let has = |m: &&farrier_proto::v1::Machine| m.status.iter().flat_map(|s| &s.interfaces).any(|i| i.mac == mac);
        let machine = known.iter().find(has).with_context(|| format!("nobody has {mac}"))?;
        ensure!(!member.holds_image(), "{} holds an image that nobody wrote", machine.name);
        let judge = Judge::of(member);
        Ok(Subject { id: machine.id.clone(), name: machine.name.clone(), member: member.clone(), program, judge })
    });
    subjects.collect()
}

/// Bytes that are the same in every run.
fn noise(label: &str, length: usize) -> Vec<u8> {
    let mut dice = Dice::new(0).fork(label);
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        bytes.extend(dice.bytes::<8>());
    }
    bytes
}
