//! Plays scenarios: a lab for each, whose daemons this thread starts and ends, and a fleet on threads of its own.

use std::{
    collections::{BTreeMap, HashMap},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use farrier_common::clock::Clock;
use farrier_integration_tests::lab::Lab;

use super::{
    Script, Step,
    command::{Command, Damage, DiskDeed, FleetOptions, PowerDeed, Process, SiteOptions, Verb, state_word},
    normal, render,
    site::Works,
};
use crate::{
    boot::Pace,
    cave::Cave,
    chassis::Cause,
    drive::{DriveError, Region},
    fault_plan::{FaultPlan, Line, Selector},
    http::Depth,
    ledger::Ledger,
    population::{Member, Plan, Population},
    small_images::SYSTEM,
};

/// How much faster than real machines those of scenarios are.
const PACE: f64 = 0.01;
/// Sizes of disks, in turns: the first takes images.
const DISKS: [u64; 2] = [4 << 30, 8 << 30];
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(50);
/// No answer of the region takes longer, however often it is asked again.
pub(super) const ANSWER: Duration = Duration::from_mins(3);
/// The event log is behind the answer to a verb by less.
const LAG: Duration = Duration::from_secs(30);

/// What is recorded against what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Another outcome than the recorded one is an error.
    Judge,
    /// Outcomes are for whoever reads them, or to be recorded.
    Record,
}

/// Where a scenario plays. Dropped in this order.
pub(super) struct Stage {
    pub(super) link: Option<Link>,
    population: Option<Population>,
    pub(super) works: Option<Works>,
    cave: Option<Cave>,
    pub(super) lab: Lab,
    /// Faults that were said before there were machines.
    early: Vec<Line>,
    /// What the region calls the machines.
    pub(super) known: BTreeMap<u32, Known>,
}

/// The region as a program sees it.
pub(super) struct Link {
    pub(super) region: Region,
    pub(super) ledger: Ledger,
}

/// A machine of ours as the region knows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) name: String,
    /// So many of its stays were told already.
    pub(super) told: usize,
}

/// Plays `script` and tells each command, with its outcome, as it ends.
///
/// # Errors
/// This host cannot hold a lab, a wait is over, or something came other than is recorded.
pub fn play(script: &Script, mode: Mode, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Vec<Vec<String>>> {
    let mut stage = Stage::new()?;
    let played: anyhow::Result<_> = script.steps().map(|step| stage.step(step, mode, tell)).collect();
    if played.is_err() {
        stage.lab.show_logs();
    }
    played
}

impl Stage {
    fn new() -> anyhow::Result<Self> {
        let lab = Lab::new()?;
        let (link, population, works, cave, early) = (None, None, None, None, Vec::new());
        Ok(Self { link, population, works, cave, lab, early, known: BTreeMap::new() })
    }

    fn step(&mut self, step: &Step, mode: Mode, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Vec<String>> {
        let outcome = self.perform(&step.command).with_context(|| format!("line {}: {}", step.line, step.text))?;
        tell(render(&step.text, &outcome).trim_end());
        if mode == Mode::Judge {
            step.compare(&outcome).map_err(anyhow::Error::msg)?;
        }
        Ok(outcome)
    }

    fn perform(&mut self, command: &Command) -> anyhow::Result<Vec<String>> {
        match command {
            Command::Fleet(options) => self.fleet(options)?,
            Command::Site(options) => self.site(options)?,
            Command::Power(who, deed) => self.power(who, *deed)?,
            Command::Say(verb, who) => self.say(*verb, who)?,
            Command::Refused(verb, who) => return self.refused(*verb, who),
            Command::Until(who, state, within) => return self.until(who, *state, *within),
            Command::Stays(who, state, time) => self.stays(who, *state, *time)?,
            Command::Reason(who, text, within) => self.reason(who, text, *within)?,
            Command::Fault(line) => self.fault(line)?,
            Command::Heal(who) => self.heal(who)?,
            Command::Faults(who) => return self.faults(who),
            Command::End { process, kill, after, lasts } => {
                self.undisturbed(*process)?;
                self.works()?.end(*process, *kill, *after, *lasts)?;
            }
            Command::Start(process) => self.works()?.start_again(*process)?,
            Command::Edges => return self.edges(),
            Command::Explain(number) => return self.explain(*number),
            Command::Timeline(number, text, bound) => self.timeline(*number, text, *bound)?,
            Command::Truth(who) => return self.truth(who),
            Command::Judge(who, fact, bound) => self.judge(who, *fact, *bound)?,
            Command::Disk(number, disk, deed) => self.disk(*number, *disk, *deed)?,
            Command::Disks(who) => return self.disks(who),
            Command::Delete(who, force) => return self.delete(who, *force),
            Command::Accounts(who) => return self.accounts(who),
            Command::SoftOff(who) => self.soft_off(who)?,
            Command::Tells(who, power, within) => self.tells(who, *power, *within)?,
            Command::Cache(damage) => self.cache(*damage)?,
            Command::Log(process, text, within) => self.log(*process, text, *within)?,
            Command::Wait(time) => self.wait(*time)?,
        }
        Ok(Vec::new())
    }

    fn fleet(&mut self, options: &FleetOptions) -> anyhow::Result<()> {
        ensure!(self.population.is_none(), "there is a fleet already");
        let cave = Cave::beside(&self.lab)?;
        let plan = Plan {
            machines: options.machines,
            seed: options.seed,
            vendors: options.vendors.clone(),
            firmwares: options.firmwares.clone(),
            disks: DISKS.iter().copied().cycle().take(options.disks).collect(),
            faults: FaultPlan(std::mem::take(&mut self.early)),
            pace: Pace::new(PACE),
            depth: Depth::Full,
            clock: Clock::System,
        };
        self.population = Some(Population::raise(&plan, &Cave::wiring(), Some(&cave))?);
        self.cave = Some(cave);
        self.connect()
    }

    fn site(&mut self, options: &SiteOptions) -> anyhow::Result<()> {
        ensure!(self.works.is_none(), "there is a site already");
        self.works = Some(Works::start(&self.lab, options)?);
        self.connect()
    }

    /// Once there are machines and a region, somebody watches the region.
    fn connect(&mut self) -> anyhow::Result<()> {
        let (Some(population), Some(works)) = (&self.population, &self.works) else { return Ok(()) };
        let _inside = population.runtime().enter();
        let region = Region::new(&works.access()?)?;
        self.link = Some(Link { ledger: Ledger::follow(region.clone()), region });
        Ok(())
    }

    pub(super) fn works(&mut self) -> anyhow::Result<&mut Works> {
        self.works.as_mut().context("there is no site yet: say `site` first")
    }

    pub(super) fn population(&self) -> anyhow::Result<&Population> {
        self.population.as_ref().context("there is no fleet yet: say `fleet N` first")
    }

    pub(super) fn link(&self) -> anyhow::Result<&Link> {
        self.link.as_ref().context("there must be a site and a fleet for this")
    }

    /// The machines that a selector means; at least one.
    pub(super) fn chosen(&self, who: &Selector) -> anyhow::Result<Vec<Member>> {
        let population = self.population()?;
        let all = population.members().iter();
        let chosen: Vec<_> = all.filter(|m| who.chooses(m.target(population.seed()))).cloned().collect();
        ensure!(!chosen.is_empty(), "no machine of this fleet is {who}");
        Ok(chosen)
    }

    pub(super) fn one(&self, number: u32) -> anyhow::Result<&Member> {
        let member = self.population()?.members().iter().find(|m| m.number == number);
        member.with_context(|| format!("there is no m{number} in this fleet"))
    }

    /// Runs `work` on the machines' threads, while this one starts and ends daemons as it should.
    pub(super) fn drive<T: Send + 'static>(
        &mut self,
        limit: Duration,
        work: impl Future<Output = T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (give, take) = mpsc::channel();
        self.population()?.runtime().spawn(async move {
            // Nobody takes it any more if the time is over.
            let _ = give.send(work.await);
        });
        let end = Instant::now() + limit;
        loop {
            let next = self.works.as_ref().and_then(Works::next).unwrap_or(LOOK);
            match take.recv_timeout(next.min(LOOK)) {
                Ok(done) => return Ok(done),
                Err(mpsc::RecvTimeoutError::Disconnected) => bail!("what was asked for has died"),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            ensure!(Instant::now() < end, "no answer within {limit:?}");
            if let Some(works) = &mut self.works {
                works.attend()?;
            }
        }
    }

    /// Looks until `look` sees what it wants; it says what it sees instead.
    pub(super) fn look<T>(
        &mut self,
        within: Duration,
        mut look: impl FnMut(&mut Self) -> anyhow::Result<Result<T, String>>,
    ) -> anyhow::Result<T> {
        let end = Instant::now() + within;
        loop {
            let last = match look(self)? {
                Ok(found) => return Ok(found),
                Err(last) => last,
            };
            ensure!(Instant::now() < end, "it did not come within {within:?}; last seen: {last}");
            self.wait(LOOK)?;
        }
    }

    pub(super) fn wait(&mut self, time: Duration) -> anyhow::Result<()> {
        let limit = time + ANSWER;
        self.drive(limit, async move { tokio::time::sleep(time).await })
    }

    /// Waits until what was to happen to `process` by itself has happened.
    fn undisturbed(&mut self, process: Process) -> anyhow::Result<()> {
        self.look(ANSWER, |stage| {
            let awaits = stage.works()?.awaits(process);
            Ok(if awaits { Err(format!("the {process} is still to be ended or started")) } else { Ok(()) })
        })
    }

    fn power(&self, who: &Selector, deed: PowerDeed) -> anyhow::Result<()> {
        for member in self.chosen(who)? {
            let changed = match deed {
                PowerDeed::On => member.chassis.power_on(Cause::Button),
                PowerDeed::Off => member.chassis.power_off(Cause::Button),
                PowerDeed::Reset => member.chassis.reset(Cause::Button),
            };
            ensure!(changed || deed == PowerDeed::Off, "m{} is not in a state for this", member.number);
        }
        Ok(())
    }

    fn fault(&mut self, line: &Line) -> anyhow::Result<()> {
        match &self.population {
            Some(population) => line.apply(population)?,
            None => self.early.push(line.clone()),
        }
        Ok(())
    }

    fn heal(&self, who: &Selector) -> anyhow::Result<()> {
        for member in self.chosen(who)? {
            member.heal();
        }
        Ok(())
    }

    fn disk(&self, number: u32, disk: usize, deed: DiskDeed) -> anyhow::Result<()> {
        let member = self.one(number)?;
        let place = disk.checked_sub(1).context("disks are counted from 1")?;
        let no = || format!("m{number} has no disk {disk}");
        match deed {
            DiskDeed::Hide | DiskDeed::Show => {
                ensure!(!member.chassis.is_on(), "m{number} is on; disks are only put in and out without power");
                ensure!(member.disks.pull(place, deed == DiskDeed::Hide), no());
            }
            DiskDeed::Mark | DiskDeed::Tear => {
                ensure!(place < member.disks.list().len(), no());
                if deed == DiskDeed::Mark { member.disks.mark(place, 1) } else { member.disks.tear(place) }
            }
        }
        Ok(())
    }

    fn cache(&mut self, damage: Damage) -> anyhow::Result<()> {
        let lab = self.lab.dir().to_owned();
        if damage != Damage::Whole {
            return self.works()?.damage(&lab, damage);
        }
        self.look(LAG, |stage| {
            let whole = stage.works()?.is_cached(&lab)?;
            Ok(if whole { Ok(()) } else { Err("the rack's copy is not the image".to_owned()) })
        })
    }

    /// Asks for the same of several machines at once; each answer with its machine.
    fn ask(&mut self, verb: Verb, who: &Selector) -> anyhow::Result<Vec<(u32, Result<(), DriveError>)>> {
        let members = self.chosen(who)?;
        let mut asked = Vec::new();
        for member in members {
            let name = if verb.is_birth() { String::new() } else { self.named(&member)?.name };
            let region = self.link()?.region.clone();
            asked.push((member.number, async move {
                match verb {
                    Verb::Add => region.add(&member).await,
                    Verb::AddLive => region.add_live(&member).await,
                    Verb::Commission => region.commission(&name, &member).await,
                    Verb::CommissionInBand => region.commission_in_band(&name).await,
                    Verb::CommissionAndTest => region.commission_and_test(&name, &member).await,
                    Verb::Test => region.test(&name, &[]).await,
                    Verb::Allocate => region.allocate(&name).await,
                    Verb::Lend => region.lend(&name).await,
                    Verb::Deploy => region.deploy(&name, SYSTEM).await,
                    Verb::Release => region.release(&name).await,
                    Verb::Abort => region.abort(&name).await,
                    Verb::MarkBroken => region.mark_broken(&name).await,
                    Verb::MarkFixed => region.mark_fixed(&name).await,
                    Verb::OverrideFailedTest => region.override_failed_test(&name).await,
                    Verb::Rescue => region.rescue(&name).await,
                    Verb::ExitRescue => region.exit_rescue(&name).await,
                }
                .map(drop)
            }));
        }
        let (numbers, works): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let answers = self.drive(ANSWER, futures_util::future::join_all(works))?;
        Ok(numbers.into_iter().zip(answers).collect())
    }

    fn say(&mut self, verb: Verb, who: &Selector) -> anyhow::Result<()> {
        let members = self.chosen(who)?;
        let mut before = HashMap::new();
        for member in &members {
            let known = self.seek(member)?;
            ensure!(verb.is_birth() || known.is_some(), "the region does not know m{} yet", member.number);
            let stays = known.map(|known| Ok::<_, anyhow::Error>(self.link()?.ledger.stays(&known.id).len()));
            before.insert(member.number, stays.transpose()?.unwrap_or(0));
        }
        for (number, answer) in self.ask(verb, who)? {
            answer.with_context(|| format!("m{number}: {verb}"))?;
        }
        // The log may lag behind the answer: what is waited for next is what came since.
        self.look(LAG, |stage| {
            for member in &members {
                stage.seek(member)?;
            }
            let link = stage.link()?;
            let behind = |(n, before): &(&u32, &usize)| {
                stage.known.get(n).is_none_or(|known| link.ledger.stays(&known.id).len() <= **before)
            };
            Ok(match before.iter().find(behind) {
                Some((n, _)) => Err(format!("the event log does not tell that m{n} took the verb")),
                None => Ok(()),
            })
        })
    }

    fn refused(&mut self, verb: Verb, who: &Selector) -> anyhow::Result<Vec<String>> {
        let mut told = Vec::new();
        for (number, answer) in self.ask(verb, who)? {
            let Err(DriveError::Status { status, .. }) = answer else {
                bail!("m{number}: {verb} was not refused");
            };
            told.push((number, self.normal(&format!("{:?}: {}", status.code(), status.message()))));
        }
        Ok(normal::merged(&told))
    }

    /// The region's names for machines give way to ours, and what varies to words.
    pub(super) fn normal(&self, text: &str) -> String {
        let names = self.known.iter().map(|(number, known)| (known.name.clone(), format!("m{number}")));
        normal::text(text, &names.collect())
    }

    /// What the region calls a machine; asks once.
    pub(super) fn named(&mut self, member: &Member) -> anyhow::Result<Known> {
        match self.seek(member)? {
            Some(known) => Ok(known),
            None => bail!("the region does not know m{} yet: wait with `until m{0} new`", member.number),
        }
    }

    pub(super) fn seek(&mut self, member: &Member) -> anyhow::Result<Option<Known>> {
        if let Some(known) = self.known.get(&member.number) {
            return Ok(Some(known.clone()));
        }
        let region = self.link()?.region.clone();
        let machines = self.drive(ANSWER, async move { region.machines().await })??;
        let all = self.population()?.members().to_vec();
        for machine in machines {
            let macs: Vec<_> = machine.status.iter().flat_map(|s| s.interfaces.iter().map(|i| i.mac.clone())).collect();
            if let Some(ours) = all.iter().find(|m| macs.contains(&m.mac.to_string())) {
                let known = Known { id: machine.id, name: machine.name, told: 0 };
                self.known.entry(ours.number).or_insert(known);
            }
        }
        Ok(self.known.get(&member.number).cloned())
    }

    /// Where machines are, for messages.
    pub(super) fn places(&mut self, members: &[Member]) -> anyhow::Result<String> {
        let mut told = Vec::new();
        for member in members {
            let place = match self.seek(member)? {
                None => "not met".to_owned(),
                Some(known) => {
                    let region = self.link()?.region.clone();
                    let machine = self.drive(ANSWER, async move { region.machine(&known.name).await })??;
                    let status = machine.status.unwrap_or_default();
                    let phase = if status.phase.is_empty() { String::new() } else { format!(" ({})", status.phase) };
                    format!("{}{phase}: {}", state_word(status.state()), status.reason)
                }
            };
            told.push((member.number, place));
        }
        Ok(normal::merged(&told).join("; "))
    }
}
