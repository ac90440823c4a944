//! Reading a machine and explaining it.

mod addresses;
mod allocate;
mod bmc;
mod create;
mod delete;
mod deploy;
mod layouts;
mod list;
mod live;
mod marks;
mod naming;
mod power;
mod rescue;
mod update;
mod user_data;
mod verbs;

use farrier_common::clock::Timestamp;

use super::App;
use crate::{
    domain::{
        Error, Result,
        boot_stages::{self, Stage},
        lifecycle::{Class, State},
        machine::Machine,
        reason::Code,
        user::User,
        verbs as rules,
    },
    store::{MachineView, TimelineRow},
};

pub(super) use addresses::Promise;
pub use addresses::Promises;
pub use allocate::{Allocated, Given, Item, Terms};
pub use create::NewMachine;
pub(super) use create::{birth, born, interfaces};
pub use delete::Deleted;
pub use deploy::Wanted;
pub use layouts::{Cloned, Copying};
pub use list::Wish;
pub use live::{Live, NewLive};
pub use power::PowerAction;
pub use update::Wishes;
pub use user_data::MOST_USER_DATA;
pub(super) use user_data::purpose as user_data_purpose;
pub use verbs::{GivenBmc, Way};

/// Why a machine is where it is.
#[derive(Debug)]
pub struct Explanation {
    /// The machine.
    pub view: MachineView,
    /// What the caller may do with it now.
    pub allowed: Vec<&'static str>,
    /// What comes next, or what would unblock it.
    pub next_step: String,
    /// When the engine tries next; `None` at rest.
    pub next_attempt: Option<Timestamp>,
    /// What happened to it, newest last.
    pub timeline: Vec<TimelineRow>,
    /// The last exchange with each of bmc, dhcp, tftp, http and agent.
    pub exchanges: Vec<(&'static str, Timestamp, String)>,
    /// The stages of the boot in progress, or of the last one.
    pub stages: Vec<Stage>,
}

impl App {
    /// A machine, by id or name.
    ///
    /// # Errors
    /// There is none that the caller may know of.
    pub async fn machine_get(&self, user: &User, which: &str) -> Result<MachineView> {
        let found = self.store.machine_find(which).await?;
        let found = found.filter(|v| rules::sees(user, &v.machine));
        self.heard(found.ok_or_else(|| Error::not_found("machine", which))?).await
    }

    /// Why a machine is where it is, with the `size` newest entries of its timeline.
    ///
    /// # Errors
    /// There is none that the caller may know of.
    pub async fn explain(&self, user: &User, which: &str, size: usize) -> Result<Explanation> {
        let view = self.machine_get(user, which).await?;
        let timeline = self.store.machine_timeline(view.machine.id, size).await?;
        let allowed = rules::allowed(user, &view.machine);
        let next_step = next_step(&view.machine, &allowed);
        let next_attempt = view.machine.due_at.filter(|_| view.machine.state.class() == Class::Working);
        let stages = match view.machine.details.boot {
            Some(boot) => boot_stages::stages(self.store.boot_marks(boot).await?),
            None => Vec::new(),
        };
        let exchanges = self.exchanges(&view.machine).await?;
        Ok(Explanation { view, allowed, next_step, next_attempt, timeline, exchanges, stages })
    }

    /// The last exchange with each party, as far as it is known.
    async fn exchanges(&self, m: &Machine) -> Result<Vec<(&'static str, Timestamp, String)>> {
        let bmc = self.racks.last_exchange(m.id).map(|e| ("bmc", e.at, e.text));
        let bmc = bmc.or_else(|| m.power.map(|(power, at)| ("bmc", at, format!("power is {power}"))));
        let steps = self.store.steps_of(m.id, NEWEST_STEPS).await?;
        let last = |with: &'static str, kinds: &'static [&'static str]| {
            let step = steps.iter().rev().find(|s| kinds.contains(&s.kind.as_str()));
            step.map(|s| (with, s.at, s.text.clone()))
        };
        let wire = [
            last("dhcp", &["dhcp"]),
            last("tftp", &["tftp"]),
            last("http", &["http", "kernel"]),
            last("agent", &["agent", "os"]),
        ];
        Ok(bmc.into_iter().chain(wire.into_iter().flatten()).collect())
    }
}

/// Among so many of the newest steps the last exchanges are looked for.
const NEWEST_STEPS: usize = 200;

fn next_step(m: &Machine, allowed: &[&str]) -> String {
    let step = work_or_rest(m, allowed);
    m.details.lock.as_ref().map_or_else(|| step.clone(), |lock| format!("{step}; locked {lock}"))
}

fn work_or_rest(m: &Machine, allowed: &[&str]) -> String {
    if m.state.class() == Class::Working {
        let phase = m.work.phase.map_or("about to begin", |p| p.as_str());
        let by = m.deadline.map_or_else(String::new, |d| format!("; the state fails at {}", d.format("%F %T UTC")));
        let since = m
            .details
            .trouble_since
            .map_or_else(String::new, |since| format!("; it has not got on since {}", since.format("%F %T UTC")));
        if matches!(m.code, Code::SwitchOn | Code::SwitchOff) {
            return format!("somebody is waited for: {}{by}", m.reason);
        }
        return format!("the engine goes on with {phase} by itself{since}{by}");
    }
    let may = if allowed.is_empty() {
        "nothing that you may do".to_owned()
    } else {
        format!("you may: {}", allowed.join(", "))
    };
    match m.state {
        State::New => {
            format!("nothing happens by itself until it is commissioned, which needs the account of its BMC; {may}")
        }
        State::Ready => format!("nothing happens by itself until it is allocated; {may}"),
        State::Allocated => match m.details.lease_expires {
            Some(end) => {
                let end = end.format("%F %T UTC");
                format!("it is released by itself at {end} unless its owner deploys it before; {may}")
            }
            None => format!("nothing happens by itself until its owner deploys or releases it; {may}"),
        },
        State::Deployed => format!("nothing happens by itself until it is released; {may}"),
        State::Broken => format!("nothing happens by itself until it is marked fixed; {may}"),
        State::Rescue => format!(
            "nothing happens by itself until rescue is left, which is the way on also if its environment is lost; {may}"
        ),
        State::FailedCommissioning
        | State::FailedTesting
        | State::FailedDeployment
        | State::FailedReleasing
        | State::FailedEnteringRescue
        | State::FailedExitingRescue
        | State::Commissioning
        | State::Testing
        | State::Deploying
        | State::Releasing
        | State::EnteringRescue
        | State::ExitingRescue => format!("nothing happens by itself; {may}"),
    }
}
