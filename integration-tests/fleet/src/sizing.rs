//! How a site bears a fleet: all machines through their whole life, stage by stage, and what that took.

mod report;
mod start;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use farrier_proto::v1::{self, MachineState};
use futures_util::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::timeout;

pub use self::{
    report::{Report, StageReport},
    start::{Order, beside, in_a_lab},
};
use crate::{
    drive::{DriveError, Region},
    ledger::{Ledger, Stay},
    meter::{Cost, Process},
    population::Member,
    truth::Fact,
};

/// How often the live line is drawn.
const LINE: Duration = Duration::from_millis(500);
/// So many failures are shown in full.
const SHOWN: usize = 5;

/// A fleet beside a region.
#[derive(Debug)]
pub struct Sizing {
    /// The region.
    pub region: Region,
    /// What its log says.
    pub ledger: Ledger,
    /// The machines.
    pub members: Vec<Member>,
    /// Machines beside them whose BMCs never answer: they are commissioned too, and nobody waits for them.
    pub dead: Vec<Member>,
    /// What is deployed.
    pub image: String,
    /// So many machines are worked on at a time.
    pub at_once: usize,
    /// A stage that takes longer has failed.
    pub limit: Duration,
    /// Who is metered; the first are the daemons, the last is this process.
    pub processes: Vec<Process>,
}

/// A part of the life that all machines go through before the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Commission,
    Allocate,
    Deploy,
    Release,
}

/// A machine with the name that the region gave it.
#[derive(Clone, Debug)]
struct Named {
    id: String,
    name: String,
    member: Member,
}

impl Verb {
    /// Where it leads, by which state.
    const fn states(self) -> (MachineState, MachineState) {
        match self {
            Self::Commission => (MachineState::Commissioning, MachineState::Ready),
            Self::Allocate => (MachineState::Ready, MachineState::Allocated),
            Self::Deploy => (MachineState::Deploying, MachineState::Deployed),
            Self::Release => (MachineState::Releasing, MachineState::Ready),
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Commission => "commissioned",
            Self::Allocate => "allocated",
            Self::Deploy => "deployed",
            Self::Release => "released",
        }
    }

    async fn say(self, region: &Region, machine: &Named, image: &str) -> Result<(), DriveError> {
        let (name, member) = (&machine.name, &machine.member);
        match self {
            Self::Commission => region.commission(name, member).await,
            Self::Allocate => region.allocate(name).await,
            Self::Deploy => region.deploy(name, image).await,
            Self::Release => region.release(name).await,
        }
        .map(drop)
    }
}

impl Sizing {
    /// Switches all machines on, and has each met, commissioned, deployed and released.
    ///
    /// # Errors
    /// A machine did not come to where it should, within the limit; the message names the first and why.
    pub async fn run(&self) -> anyhow::Result<Report> {
        let mut stages = Vec::new();
        let before = self.costs()?;
        stages.push(self.meet().await?);
        let known = self.region.machines().await?;
        for machine in named(&known, &self.dead)? {
            self.region.commission(&machine.name, &machine.member).await?;
        }
        let machines = named(&known, &self.members)?;
        for verb in [Verb::Commission, Verb::Allocate, Verb::Deploy, Verb::Release] {
            stages.push(self.stage(verb, &machines).await?);
        }
        self.judge()?;
        let spent = self.costs()?.into_iter().zip(before);
        let costs = self.processes.iter().zip(spent).map(|(process, (after, before))| {
            let cpu = after.cpu.saturating_sub(before.cpu);
            (process.name.clone(), Cost { cpu, ..after }, before)
        });
        Ok(Report { machines: self.members.len(), costs: costs.collect(), stages })
    }

    /// All are switched on; the region comes to know them.
    async fn meet(&self) -> anyhow::Result<StageReport> {
        let (start, before) = (Instant::now(), self.costs()?);
        let (total, mut count) = (self.members.len() + self.dead.len(), self.ledger.count());
        self.members.iter().chain(&self.dead).for_each(Member::switch_on);
        let bar = bar("met", total);
        let all = async {
            while *count.borrow_and_update() < total {
                bar.set_position(as_u64(*count.borrow()));
                if count.changed().await.is_err() {
                    break;
                }
            }
        };
        let met = timeout(self.limit, all).await;
        bar.finish_and_clear();
        let seen = *self.ledger.count().borrow();
        met.with_context(|| format!("the region met {seen} of {total} machines within {:?}", self.limit))?;
        self.report("met", start, &before, Vec::new())
    }

    async fn stage(&self, verb: Verb, machines: &[Arc<Named>]) -> anyhow::Result<StageReport> {
        let (start, before) = (Instant::now(), self.costs()?);
        let bar = bar(verb.title(), machines.len());
        let each = stream::iter(machines).map(|machine| {
            let bar = bar.clone();
            async move {
                let came = self.one(verb, machine).await;
                bar.inc(1);
                came.err().map(|why| format!("{}: {why}", machine.name))
            }
        });
        let ended =
            timeout(self.limit, each.buffer_unordered(self.at_once).filter_map(async |e| e).collect::<Vec<_>>());
        let failures = ended.await;
        bar.finish_and_clear();
        let failures = failures.with_context(|| {
            format!(
                "not all machines were {} within {:?}; they are {:?}",
                verb.title(),
                self.limit,
                self.ledger.states()
            )
        })?;
        if !failures.is_empty() {
            let shown: Vec<_> = failures.iter().take(SHOWN).map(String::as_str).collect();
            bail!("{} of {} machines were not {}:\n{}", failures.len(), machines.len(), verb.title(), shown.join("\n"));
        }
        let durations = if verb == Verb::Allocate { Vec::new() } else { self.ledger.durations(verb.states().0) };
        self.report(verb.title(), start, &before, durations.iter().map(|d| d.to_std().unwrap_or_default()).collect())
    }

    async fn one(&self, verb: Verb, machine: &Named) -> anyhow::Result<()> {
        let (_, goal) = verb.states();
        let mut changes = self.ledger.state(&machine.id).context("the region's log does not have it")?;
        let before = self.ledger.stays(&machine.id).len();
        verb.say(&self.region, machine, &self.image).await?;
        loop {
            // The log may lag behind the answer: only what came since counts.
            let stays = self.ledger.stays(&machine.id);
            match stays.get(before..).and_then(<[Stay]>::last) {
                Some(stay) if stay.state == goal => return Ok(()),
                Some(stay) if stay.state.as_str_name().contains("FAILED") => {
                    let machine = self.region.machine(&machine.name).await?;
                    bail!("{}: {}", stay.state.as_str_name(), machine.status.unwrap_or_default().reason);
                }
                Some(_) | None => changes.changed().await?,
            }
        }
    }

    /// What really happened to the machines must be what they were told.
    fn judge(&self) -> anyhow::Result<()> {
        for member in &self.members {
            let of = |fact| member.truth.of(fact);
            let good = of(Fact::Install) == 1
                && of(Fact::AccountMade) == 1
                && of(Fact::Wipe) == as_u64(member.disks.list().len())
                && of(Fact::Lockout) == 0
                && !member.holds_image();
            if !good {
                bail!("machine {} ({}): {:?}", member.number, member.vendor.name, member.truth.snapshot());
            }
        }
        Ok(())
    }

    fn costs(&self) -> anyhow::Result<Vec<Cost>> {
        self.processes.iter().map(|p| p.cost().with_context(|| format!("{} is not metered", p.name))).collect()
    }

    fn report(
        &self,
        title: &'static str,
        start: Instant,
        before: &[Cost],
        durations: Vec<Duration>,
    ) -> anyhow::Result<StageReport> {
        let cpu = self.costs()?.iter().zip(before).map(|(now, then)| now.cpu.saturating_sub(then.cpu)).collect();
        Ok(StageReport { title, machines: self.members.len(), wall: start.elapsed(), cpu, durations })
    }
}

/// Which machine of the region is which of ours.
fn named(known: &[v1::Machine], ours: &[Member]) -> anyhow::Result<Vec<Arc<Named>>> {
    let of = |m: &v1::Machine| {
        let interfaces = m.status.iter().flat_map(|s| s.interfaces.clone());
        interfaces.map(|i| (i.mac, (m.id.clone(), m.name.clone()))).collect::<Vec<_>>()
    };
    let by_mac: HashMap<String, (String, String)> = known.iter().flat_map(of).collect();
    let each = ours.iter().map(|member| {
        let found = by_mac.get(&member.mac.to_string()).cloned();
        let (id, name) = found.with_context(|| format!("nobody has {}", member.mac))?;
        Ok(Arc::new(Named { id, name, member: member.clone() }))
    });
    each.collect()
}

fn bar(title: &'static str, total: usize) -> ProgressBar {
    let bar = ProgressBar::new(as_u64(total)).with_message(title);
    let style = ProgressStyle::with_template("{msg:>12} [{bar:40}] {pos}/{len}  {elapsed} (left {eta})");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(LINE);
    bar
}

fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
