//! What scenarios wait for, judge and show.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use farrier_proto::v1::MachineState;

use super::{
    command::{Bound, Operator, Process, state_word},
    normal,
    play::{ANSWER, Stage},
};
use crate::{disk::Content, fault_plan::Selector, population::Member, truth::Fact};

/// What racks saw reaches the region's timeline within this.
const REPORTED: Duration = Duration::from_secs(15);
/// What hurts when it happens too often; the rest depends on how long things took.
const TOLD: [Fact; 6] =
    [Fact::Install, Fact::Wipe, Fact::AccountMade, Fact::AccountRemoved, Fact::LoginRefused, Fact::Lockout];

impl Stage {
    /// Waits until all are in `state`, and tells by which states they came there since they were last asked for.
    pub(super) fn until(
        &mut self,
        who: &Selector,
        state: MachineState,
        within: Duration,
    ) -> anyhow::Result<Vec<String>> {
        let members = self.chosen(who)?;
        let end = Instant::now() + within;
        while let Some(why) = self.missing(&members, state)? {
            if Instant::now() >= end {
                let seen = self.places(&members).unwrap_or_else(|error| format!("{why}; {error:#}"));
                bail!("not all were {} within {within:?}; last seen: {seen}", state_word(state));
            }
            self.wait(Duration::from_millis(100))?;
        }
        let mut ways = Vec::new();
        for member in &members {
            let known = self.named(member)?;
            let stays = self.link()?.ledger.stays(&known.id);
            let way: Vec<_> = stays.iter().skip(known.told).map(|stay| state_word(stay.state)).collect();
            ways.push((
                member.number,
                if way.is_empty() { format!("still {}", state_word(state)) } else { way.join(", ") },
            ));
            if let Some(known) = self.known.get_mut(&member.number) {
                known.told = stays.len();
            }
        }
        Ok(normal::merged(&ways))
    }

    /// Who is not there yet, if anybody; an error if somebody will never be.
    fn missing(&mut self, members: &[Member], state: MachineState) -> anyhow::Result<Option<String>> {
        for member in members {
            let Some(known) = self.seek(member)? else { return Ok(Some(format!("m{} is not met", member.number))) };
            let stays = self.link()?.ledger.stays(&known.id);
            let Some(last) = stays.last() else { return Ok(Some(format!("m{} is in no state", member.number))) };
            if last.state == state {
                continue;
            }
            if last.state.as_str_name().contains("FAILED") && stays.len() > known.told {
                bail!("instead: {}", self.places(std::slice::from_ref(member))?);
            }
            return Ok(Some(format!("m{} is {}", member.number, state_word(last.state))));
        }
        Ok(None)
    }

    pub(super) fn stays(&mut self, who: &Selector, state: MachineState, time: Duration) -> anyhow::Result<()> {
        let members = self.chosen(who)?;
        let end = Instant::now() + time;
        loop {
            if let Some(why) = self.missing(&members, state)? {
                bail!("{why}, but all had to stay {}: {}", state_word(state), self.places(&members)?);
            }
            if Instant::now() >= end {
                return Ok(());
            }
            self.wait(Duration::from_millis(100))?;
        }
    }

    pub(super) fn reason(&mut self, who: &Selector, text: &str, within: Duration) -> anyhow::Result<()> {
        let members = self.chosen(who)?;
        self.look(within, |stage| {
            for member in &members {
                let Some(known) = stage.seek(member)? else { return Ok(Err(format!("m{} is not met", member.number))) };
                let region = stage.link()?.region.clone();
                let machine = stage.drive(ANSWER, async move { region.machine(&known.name).await })??;
                let reason = machine.status.unwrap_or_default().reason;
                if !stage.normal(&reason).contains(text) && !reason.contains(text) {
                    return Ok(Err(format!("m{}: {reason}", member.number)));
                }
            }
            Ok(Ok(()))
        })
    }

    /// Every edge that some machine has gone along: from, event, to; `-` where machines come to be.
    pub(super) fn edges(&self) -> anyhow::Result<Vec<String>> {
        let word = |state| if state == MachineState::Unspecified { "-".to_owned() } else { state_word(state) };
        let edges = self.link()?.ledger.edges();
        Ok(edges.keys().map(|(from, event, to)| format!("{} {event} {}", word(*from), word(*to))).collect())
    }

    pub(super) fn explain(&mut self, number: u32) -> anyhow::Result<Vec<String>> {
        let known = self.named(&self.one(number)?.clone())?;
        let region = self.link()?.region.clone();
        let told = self.drive(ANSWER, async move { region.explain(&known.name).await })??;
        let status = told.machine.and_then(|machine| machine.status).unwrap_or_default();
        let mut lines = vec![("state", state_word(status.state()))];
        lines.push(("phase", status.phase));
        lines.push(("reason", status.reason));
        lines.push(("error", told.last_error));
        lines.push(("next", told.next_step));
        lines.push(("may", told.allowed_verbs.join(", ")));
        let filled = lines.into_iter().filter(|(_, text)| !text.is_empty());
        Ok(filled.map(|(what, text)| format!("{what}: {}", self.normal(&text))).collect())
    }

    pub(super) fn timeline(&mut self, number: u32, text: &str, bound: Bound) -> anyhow::Result<()> {
        let known = self.named(&self.one(number)?.clone())?;
        // What is to be there may still be on its way; what is not to be there is not waited for.
        let within = if bound.operator == Operator::Least { REPORTED } else { Duration::ZERO };
        self.look(within, |stage| {
            let (region, name) = (stage.link()?.region.clone(), known.name.clone());
            let told = stage.drive(ANSWER, async move { region.explain(&name).await })??;
            let found = told.timeline.iter().filter(|entry| entry.text.contains(text)).count();
            if bound.holds(u64::try_from(found).unwrap_or(u64::MAX)) {
                return Ok(Ok(()));
            }
            let last: Vec<_> = told.timeline.iter().rev().take(12).map(|e| format!("{} {}", e.kind, e.text)).collect();
            Ok(Err(format!("{found} entries hold it; the last are:\n  {}", last.join("\n  "))))
        })
    }

    pub(super) fn truth(&self, who: &Selector) -> anyhow::Result<Vec<String>> {
        let of = |member: &Member| {
            let counts = TOLD.iter().map(|fact| (fact, member.truth.of(*fact))).filter(|(_, count)| *count > 0);
            let counts: Vec<_> = counts.map(|(fact, count)| format!("{fact} {count}")).collect();
            (member.number, if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") })
        };
        Ok(normal::merged(&self.chosen(who)?.iter().map(of).collect::<Vec<_>>()))
    }

    pub(super) fn judge(&self, who: &Selector, fact: Fact, bound: Bound) -> anyhow::Result<()> {
        for member in self.chosen(who)? {
            let count = member.truth.of(fact);
            ensure!(
                bound.holds(count),
                "m{}: {fact} is {count}, must be {} {}; all that happened: {:?}",
                member.number,
                bound.operator,
                bound.number,
                member.truth.snapshot()
            );
        }
        Ok(())
    }

    pub(super) fn disks(&self, who: &Selector) -> anyhow::Result<Vec<String>> {
        let content = |content: &Content| match content {
            Content::Blank => "blank",
            Content::Image(_) => "the image",
            Content::Torn => "torn",
            Content::Marked(_) => "marked",
        };
        let of = |member: &Member| {
            let disks = member.disks.list();
            let each: Vec<_> = disks.iter().map(|disk| format!("{} {}", disk.name, content(&disk.content))).collect();
            (member.number, each.join(", "))
        };
        Ok(normal::merged(&self.chosen(who)?.iter().map(of).collect::<Vec<_>>()))
    }

    pub(super) fn faults(&self, who: &Selector) -> anyhow::Result<Vec<String>> {
        let of = |member: &Member| {
            let machine = member.faults.left().into_iter().map(|(fault, count)| match count {
                u32::MAX => format!("{fault:?}"),
                count => format!("{fault:?} x{count}"),
            });
            let bmc = member.bmc_faults.lock().unwrap_or_else(PoisonError::into_inner).left();
            let face = member.redfish.as_ref().map(|face| face.lock().unwrap_or_else(PoisonError::into_inner));
            let redfish = face.map_or_else(Vec::new, |face| face.faults.left());
            let bmc = bmc.into_iter().map(|fault| format!("{:?}", fault.action));
            let redfish = redfish.into_iter().map(|rule| format!("Redfish {:?}", rule.fault));
            let all: Vec<_> = machine.chain(bmc).chain(redfish).collect();
            (member.number, if all.is_empty() { "none".to_owned() } else { all.join(", ") })
        };
        Ok(normal::merged(&self.chosen(who)?.iter().map(of).collect::<Vec<_>>()))
    }

    pub(super) fn log(&mut self, process: Process, text: &str, within: Duration) -> anyhow::Result<()> {
        self.look(within, |stage| {
            let log = stage.works()?.log(process).context("its log")?;
            let last = || log.lines().next_back().unwrap_or_default().to_owned();
            Ok(if log.contains(text) { Ok(()) } else { Err(last()) })
        })
    }
}
