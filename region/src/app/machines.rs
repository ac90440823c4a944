//! Reading machines and explaining them.

mod create;
mod deploy;
mod naming;
mod power;
mod rescue;
mod user_data;
mod verbs;

use farrier_common::clock::Timestamp;

use super::{
    App,
    context::{Listed, Page},
};
use crate::{
    domain::{
        Error, Result,
        lifecycle::{Class, Event, State},
        machine::Machine,
        user::{Role, User},
        verbs as rules,
    },
    store::{MachineFilter, MachineView, TimelineRow},
};

pub use create::NewMachine;
pub(super) use create::{birth, born, interfaces};
pub use deploy::Wanted;
pub use power::PowerAction;
pub use user_data::MOST_USER_DATA;
pub(super) use user_data::purpose as user_data_purpose;
pub use verbs::GivenBmc;

/// Why a machine is where it is.
#[derive(Debug)]
pub struct Explanation {
    /// The machine.
    pub view: MachineView,
    /// What the caller may do with it now.
    pub allowed: Vec<Event>,
    /// What comes next, or what would unblock it.
    pub next_step: String,
    /// When the engine tries next; `None` at rest.
    pub next_attempt: Option<Timestamp>,
    /// What happened to it, newest last.
    pub timeline: Vec<TimelineRow>,
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

    /// A page of the machines in one of `states` (empty: any), and the event log's revision when it was read.
    ///
    /// # Errors
    /// The page token is foreign.
    pub async fn machine_list(
        &self,
        user: &User,
        states: Vec<State>,
        page: &Page,
    ) -> Result<(Listed<MachineView>, i64)> {
        let hide = if user.role == Role::Admin { Vec::new() } else { vec![State::New] };
        let filter = MachineFilter { states, hide };
        let (items, revision) = self.store.machine_list(filter, page.after()?, page.size + 1).await?;
        Ok((page.cut(items, |v| v.machine.id.to_string()), revision))
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
        Ok(Explanation { view, allowed, next_step, next_attempt, timeline })
    }
}

fn next_step(m: &Machine, allowed: &[Event]) -> String {
    if m.state.class() == Class::Working {
        let phase = m.work.phase.map_or("about to begin", |p| p.as_str());
        let by = m.deadline.map_or_else(String::new, |d| format!("; the state fails at {}", d.format("%F %T UTC")));
        let since = m
            .details
            .trouble_since
            .map_or_else(String::new, |since| format!("; it has not got on since {}", since.format("%F %T UTC")));
        return format!("the engine goes on with {phase} by itself{since}{by}");
    }
    let verbs = allowed.iter().map(|e| e.as_str()).collect::<Vec<_>>().join(", ");
    let may = if verbs.is_empty() { "nothing that you may do".to_owned() } else { format!("you may: {verbs}") };
    match m.state {
        State::New => {
            format!("nothing happens by itself until it is commissioned, which needs the account of its BMC; {may}")
        }
        State::Ready => format!("nothing happens by itself until it is allocated; {may}"),
        State::Allocated => format!("nothing happens by itself until its owner deploys or releases it; {may}"),
        State::Deployed => format!("nothing happens by itself until it is released; {may}"),
        State::Rescue => format!(
            "nothing happens by itself until rescue is left, which is the way on also if its environment is lost; {may}"
        ),
        State::Broken
        | State::FailedCommissioning
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
