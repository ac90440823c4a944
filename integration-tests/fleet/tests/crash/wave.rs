//! One wave: machines go through a working state while a daemon dies at one cell after the other.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use farrier_common::clock::Timestamp;
use farrier_fleet::{
    chassis::Cause,
    drive::{DriveError, Region},
    machine::{
        brain::Whereabouts,
        fault::{Fault, Stage as Doing},
    },
    population::Member,
};
use farrier_integration_tests::{
    assets::System,
    error::LabError,
    wait::{self, Seen},
};
use farrier_region::domain::lifecycle::State;
use tokio::task::JoinHandle;

use crate::{
    LIMIT,
    cells::{Cell, Who},
    stage::{Death, SMALL, Stage, Subject},
};

/// A cell that is not hit for so long gives way to the next one, and has its turn again later. Each time that nothing came
/// of it the wait doubles: whoever dies all the time lets nobody get anywhere.
const STALLED: Duration = Duration::from_secs(6);
/// So long a machine that starts anew in rescue takes to say so: longer than daemons take to be told where to die.
pub(crate) const SLOW: Duration = Duration::from_secs(4);
/// A rack that was started is there after that.
const SETTLED: Duration = Duration::from_secs(1);
/// Works that also happen just after the state: they count while nobody has left it.
const LATE: [&str; 2] = ["put-intent", "phone-home"];
const DAEMONS: [Who; 2] = [Who::Region, Who::Rack];

/// What was hit so far.
#[derive(Default)]
pub(crate) struct Score {
    /// In which states somebody is to die.
    pub(crate) states: &'static [State],
    pub(crate) hit: BTreeSet<Cell>,
    pub(crate) deaths: usize,
    /// Excepted cells are tried in turn when nothing else is left.
    tried: usize,
}

impl Score {
    /// Of a part in which somebody is to die in these states.
    pub(crate) fn of(states: &'static [State]) -> Self {
        Self { states, ..Self::default() }
    }

    /// What is still to be hit by someone in a state. `fresh`: by machines on whose BMC Farrier has no account yet.
    pub(crate) fn left(&self, who: Who, state: State, fresh: bool) -> Vec<Cell> {
        let mut left: Vec<_> = Cell::all()
            .into_iter()
            .filter(|c| c.who == who && c.state == state && self.states.contains(&state))
            .filter(|c| c.exception().is_none() && !self.hit.contains(c))
            .filter(|c| fresh || !c.is_about_accounts())
            .collect();
        left.sort_by_key(|cell| cell.turn());
        left
    }

    /// The cells to try in a wave, in order.
    fn queue(&mut self, who: Who, state: State, fresh: bool) -> VecDeque<Cell> {
        if !self.states.contains(&state) {
            return VecDeque::new();
        }
        let left = self.left(who, state, fresh);
        if !left.is_empty() {
            return left.into();
        }
        let excepted: Vec<_> =
            Cell::all().into_iter().filter(|c| c.who == who && c.state == state && c.exception().is_some()).collect();
        self.tried += 1;
        excepted.get(self.tried % excepted.len().max(1)).copied().into_iter().collect()
    }
}

/// What one daemon is still to do in a wave.
#[derive(Default)]
struct Queue {
    cells: VecDeque<Cell>,
    /// So often cells gave way since something was hit.
    turns: u32,
    /// The cell for which a region was started anew.
    helped: Option<Cell>,
}

/// A wave of some of the machines.
pub(crate) struct Wave<'a> {
    pub(crate) stage: &'a mut Stage,
    pub(crate) score: &'a mut Score,
    pub(crate) state: State,
    /// Indices of the machines.
    pub(crate) who: &'a [usize],
    /// Which daemon is to die, if one is.
    pub(crate) dies: Option<Who>,
}

impl Wave<'_> {
    /// Plays it to its end, at which all its machines rest again.
    pub(crate) fn play(mut self) -> anyhow::Result<()> {
        let members = self.who;
        let (state, label) = (self.state, format!("{} of {}", self.who.len(), self.state));
        for subject in self.each() {
            subject.judge.has_rested(&subject.member).with_context(|| subject.name.clone())?;
        }
        let fresh = self.each().any(|subject| subject.judge.state() == State::New);
        let buttons = self.press()?;
        let mut queues = DAEMONS.map(|who| {
            let cells = if self.dies == Some(who) { self.score.queue(who, state, fresh) } else { VecDeque::new() };
            Queue { cells, ..Queue::default() }
        });
        for (who, queue) in DAEMONS.iter().zip(&mut queues) {
            self.stage.arm(*who, queue.cells.pop_front())?;
        }
        self.stage.say(&format!("wave: {label}"))?;
        let boots: Vec<usize> = self.each().map(|s| s.plan().map_or(0, |p| p.hits().len())).collect();
        let mut verbs: Vec<_> = members.iter().map(|n| self.verb(*n)).collect();
        let mut deaths = Vec::new();
        let played = wait::until(&label, LIMIT, || {
            self.look(&mut queues, &mut deaths, &mut verbs).map_err(|e| LabError::answer("the wave", format!("{e:#}")))
        });
        if let Err(error) = played {
            bail!("{error}\n{}", self.explain());
        }
        self.count(&deaths)?;
        self.each().for_each(|subject| subject.member.faults.clear());
        self.settle()?;
        for ((n, before), button) in members.iter().zip(boots).zip(buttons) {
            let subject = &mut self.stage.subjects[*n];
            let again = subject.plan().map_or(0, |p| p.hits().len()) - before;
            let real = subject.program.is_some();
            let judged = subject.judge.has_worked(&subject.member, state, real, again as u64, button);
            judged.with_context(|| format!("{} ({})", subject.name, subject.member.vendor.name))?;
        }
        Ok(())
    }

    fn each(&self) -> impl Iterator<Item = &Subject> {
        self.who.iter().map(|n| &self.stage.subjects[*n])
    }

    /// Every other machine is not as its work expects it. Tells which were switched on.
    fn press(&mut self) -> anyhow::Result<Vec<bool>> {
        let off = matches!(self.state, State::Commissioning | State::Testing | State::Deploying);
        let anew = self.state == State::ExitingRescue && self.dies.is_some();
        // Before the wave begins nobody sees who dies: whoever is still to die by the wave before would stay dead.
        for who in DAEMONS {
            if anew && self.stage.armed(who).0.is_some() {
                self.stage.arm(who, None)?;
            }
        }
        let pressed: Vec<&Member> = self.each().step_by(2).map(|subject| &subject.member).collect();
        if off {
            pressed.iter().for_each(|member| member.switch_on());
        } else if anew {
            start_anew(&pressed)?;
        }
        Ok(self.who.iter().enumerate().map(|(n, _)| off && n % 2 == 0).collect())
    }

    /// Asks for the work. Whoever is not answered asks again, with the same request.
    fn verb(&mut self, n: usize) -> JoinHandle<Result<(), DriveError>> {
        let (region, state) = (self.stage.region.clone(), self.state);
        let subject = &mut self.stage.subjects[n];
        let image = if subject.program.is_some() { System::Mini.name() } else { SMALL };
        let first = subject.judge.state() == State::New;
        subject.judge.enter(state);
        let (name, member) = (subject.name.clone(), subject.member.clone());
        self.stage.population.runtime().spawn(async move { ask(&region, state, &name, &member, first, image).await })
    }

    /// Looks once: who died is started again, to die elsewhere.
    fn look(
        &mut self,
        queues: &mut [Queue; 2],
        deaths: &mut Vec<Death>,
        verbs: &mut Vec<JoinHandle<Result<(), DriveError>>>,
    ) -> anyhow::Result<Seen<()>> {
        for (who, queue) in DAEMONS.iter().zip(queues.iter_mut()) {
            if let Some(death) = self.stage.death(*who)? {
                self.stage.say(&death.cell.to_string())?;
                deaths.push(death);
                queue.turns = 0;
                self.stage.arm(*who, queue.cells.pop_front())?;
            }
            // What has its turn and does not come must not keep the others from theirs.
            let (armed, since) = self.stage.armed(*who);
            if let Some(cell) = armed
                && !queue.cells.is_empty()
                && since > STALLED * 2_u32.pow(queue.turns.min(5))
            {
                queue.turns += 1;
                queue.cells.push_back(cell);
                self.stage.say(&format!("not yet: {cell}"))?;
                self.stage.arm(*who, queue.cells.pop_front())?;
            }
        }
        self.help(&mut queues[1])?;
        for verb in verbs.extract_if(.., |verb| verb.is_finished()) {
            self.stage.population.runtime().block_on(verb)??;
        }
        let mut away = BTreeMap::new();
        for subject in self.each() {
            let stays = self.stage.ledger.stays(&subject.id);
            let state = stays.last().map_or("nowhere", |stay| stay.state.as_str_name());
            ensure!(!state.contains("FAILED"), "{} ({}) is {state}", subject.name, subject.member.vendor.name);
            if stays.len() < subject.judge.stays() {
                *away.entry(state).or_insert(0) += 1;
            }
        }
        let over = verbs.is_empty() && away.is_empty();
        Ok(if over { Seen::Now(()) } else { Seen::NotYet(format!("{} verbs are under way; {away:?}", verbs.len())) })
    }

    /// A rack is given all intents anew by a region that was started anew, so that has to happen for those cells.
    fn help(&mut self, rack: &mut Queue) -> anyhow::Result<()> {
        let (armed, since) = self.stage.armed(Who::Rack);
        let needs = armed.filter(|cell| cell.context == "sync-intents" && since > SETTLED && rack.helped != armed);
        if needs.is_some() && self.stage.armed(Who::Region).0.is_none() {
            rack.helped = armed;
            self.stage.arm(Who::Region, None)?;
        }
        Ok(())
    }

    /// Waits until machines are where they rest, and knows what is on their disks. A machine with the real agent looks at them
    /// itself when the agent has ended, but not if the power went just then.
    fn settle(&self) -> anyhow::Result<()> {
        for Subject { program, member, name, judge, .. } in self.each() {
            if judge.state() == State::Rescue {
                continue;
            }
            let place = if judge.state() == State::Deployed { Whereabouts::System } else { Whereabouts::Off };
            wait::until_true(&format!("{name}: {place}"), LIMIT, || *member.whereabouts.borrow() == place)?;
            if let Some(program) = program.as_ref().filter(|_| place == Whereabouts::Off) {
                self.stage.population.runtime().block_on(program.look(&member.disks))?;
            }
        }
        Ok(())
    }

    /// Takes down what was hit. What a rack does not tell, the times do: whether somebody was in the state when it died.
    fn count(&mut self, deaths: &[Death]) -> anyhow::Result<()> {
        self.score.deaths += deaths.len();
        let stays: Vec<(Timestamp, Timestamp)> = self
            .each()
            .filter_map(|subject| {
                let stays = self.stage.ledger.stays(&subject.id);
                let last = stays.len().checked_sub(2)?;
                Some((stays[last].since, stays[last + 1].since))
            })
            .collect();
        for death in deaths {
            let late = LATE.contains(&death.cell.context);
            let mut inside = stays.iter().map(|(came, left)| *came < death.at && death.at < *left);
            let nobody_left = stays.iter().all(|(_, left)| death.at < *left);
            if death.cell.who == Who::Region || if late { nobody_left } else { inside.any(|inside| inside) } {
                self.score.hit.insert(death.cell);
            } else {
                self.stage.say(&format!("too late to count: {}", death.cell))?;
            }
        }
        Ok(())
    }

    /// Why machines are where they are.
    fn explain(&self) -> String {
        let (runtime, region) = (self.stage.population.runtime(), &self.stage.region);
        let one = |subject: &Subject| {
            let told = runtime.block_on(async {
                let explained = tokio::time::timeout(Duration::from_secs(5), region.explain(&subject.name));
                explained.await.map(|e| format!("{e:#?}"))
            });
            let truth = subject.member.truth.snapshot();
            let told = told.unwrap_or_default().lines().take(60).collect::<Vec<_>>().join("\n");
            let at = *subject.member.whereabouts.borrow();
            format!("{} ({}) is {at}: {truth:?}\n{told}\n", subject.name, subject.member.vendor.name)
        };
        self.each().filter(|s| self.stage.ledger.stays(&s.id).len() < s.judge.stays()).map(one).collect()
    }
}

/// Machines in rescue start anew, and their agents say hello when they are no longer wanted.
fn start_anew(members: &[&Member]) -> anyhow::Result<()> {
    for member in members {
        member.faults.arm(Fault::Delay { stage: Doing::Kernel, by: SLOW }, u32::MAX);
        member.chassis.reset(Cause::Button);
    }
    for (what, booted) in [("the machines' resets", false), ("the rescue environment anew", true)] {
        let so = |member: &&Member| (*member.whereabouts.borrow() == Whereabouts::Agent) == booted;
        wait::until_true(what, LIMIT, || members.iter().all(so))?;
    }
    Ok(())
}

async fn ask(
    region: &Region,
    state: State,
    name: &str,
    member: &Member,
    first: bool,
    image: &str,
) -> Result<(), DriveError> {
    if state == State::Commissioning {
        if first { region.commission(name, member).await } else { region.recommission(name).await }
    } else if state == State::Testing {
        region.test(name, &["disk-read", "network"]).await
    } else if state == State::Deploying {
        region.allocate(name).await?;
        region.deploy(name, image).await
    } else if state == State::EnteringRescue {
        region.rescue(name).await
    } else if state == State::ExitingRescue {
        region.exit_rescue(name).await
    } else {
        region.release(name).await
    }
    .map(drop)
}
