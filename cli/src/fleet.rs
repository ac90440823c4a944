//! `farrier watch` on a terminal: the whole fleet, redrawn in place.
//!
//! Read once, then kept by the event log from the revision of that reading; read anew when the log cannot go on.
//! **Invariant:** an event is applied once, in order; what is read besides (how far the work is) never changes a state.

use std::{collections::HashMap, time::Duration};

use farrier_proto::v1::{Event, ListMachinesRequest, Machine, MachineState, machines_client::MachinesClient};
use prost_types::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    client::{Client, SHORT},
    commands::App,
    error::Error,
    follow::{Follow, Update},
    output::Screen,
    render::fleet as render,
    wait::{Motion, motion},
};

const TICK: Duration = Duration::from_millis(500);
/// How many ticks pass between two looks at how far the work is.
const LOOK: u32 = 4;
/// Machines at work that are looked at; no terminal shows more.
const MOST_SHOWN: i32 = 100;

/// A machine as it is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) state: i32,
    pub(crate) phase: String,
    pub(crate) reason: String,
    pub(crate) since: Option<Timestamp>,
}

/// What is known of all machines.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    machines: HashMap<String, Entry>,
    /// Up to where the log is taken in.
    pub(crate) revision: i64,
    /// Why nothing new comes, if so.
    pub(crate) trouble: Option<String>,
}

impl Fleet {
    /// All machines as they were read.
    pub(crate) fn new(machines: Vec<Machine>, revision: i64) -> Self {
        let machines = machines.into_iter().map(|m| (m.id.clone(), entry(m))).collect();
        Self { machines, revision, trouble: None }
    }

    /// Takes in an event.
    pub(crate) fn event(&mut self, event: &Event) {
        self.trouble = None;
        if event.revision <= self.revision {
            return;
        }
        self.revision = event.revision;
        if event.machine_id.is_empty() {
            return;
        }
        if event.to == 0 {
            // It leads nowhere: the machine is gone, or this is not about where it is.
            if event.kind == "transition" {
                self.machines.remove(&event.machine_id);
            }
            return;
        }
        let known = self.machines.entry(event.machine_id.clone()).or_default();
        if !event.machine_name.is_empty() {
            known.name.clone_from(&event.machine_name);
        }
        let moved = known.state != event.to;
        if moved {
            known.since = event.at;
        }
        known.state = event.to;
        if moved || matches!(event.kind.as_str(), "transition" | "phase") {
            known.phase.clone_from(&event.phase);
            known.reason.clone_from(&event.reason);
        }
    }

    /// Takes in how far machines are that were read besides.
    pub(crate) fn look(&mut self, machines: Vec<Machine>) {
        for machine in machines {
            let id = machine.id.clone();
            let read = entry(machine);
            if let Some(known) = self.machines.get_mut(&id).filter(|known| known.state == read.state) {
                *known = read;
            }
        }
    }

    /// The machines in a motion, those that have been so longest first.
    pub(crate) fn in_motion(&self, wanted: Motion) -> Vec<&Entry> {
        let is = |entry: &&Entry| MachineState::try_from(entry.state).is_ok_and(|s| motion(s) == wanted);
        let mut found: Vec<_> = self.machines.values().filter(is).collect();
        found.sort_by_key(|e| (e.since.as_ref().map(|t| (t.seconds, t.nanos)), e.name.clone()));
        found
    }

    /// Every machine.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.machines.values()
    }
}

fn entry(machine: Machine) -> Entry {
    let status = machine.status.unwrap_or_default();
    Entry { name: machine.name, state: status.state, phase: status.phase, reason: status.reason, since: status.since }
}

/// Shows the fleet until interrupted.
pub(crate) async fn watch(app: &App, client: &Client, mut screen: Screen) -> Result<(), Error> {
    let mut fleet = read(client).await?;
    let mut follow = Follow::start(client, "", fleet.revision);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut ticks = 0;
    loop {
        tokio::select! {
            update = follow.next() => match update {
                Some(Update::Event(event)) => fleet.event(&event),
                Some(Update::Resumed) => fleet.trouble = None,
                Some(Update::Resync(_)) => fleet = read(client).await?,
                Some(Update::Lost(why)) => fleet.trouble = Some(why),
                Some(Update::Failed(error)) => return Err(error),
                None => return Err(Error::Nonsense("the event stream ended without a reason".to_owned())),
            },
            _ = tick.tick() => {
                ticks += 1;
                if ticks % LOOK == 0 && fleet.trouble.is_none() && !fleet.in_motion(Motion::Working).is_empty() {
                    // Only how far the work is: if it cannot be read, the next look will tell.
                    if let Ok(machines) = at_work(client).await {
                        fleet.look(machines);
                    }
                }
                let (width, height) = screen.size();
                screen.draw(&render::frame(&fleet, app.clock.now(), width, height))?;
            }
        }
    }
}

async fn read(client: &Client) -> Result<Fleet, Error> {
    let mut revision = None;
    let machines = client
        .pages(async |page| {
            let request = ListMachinesRequest { page: Some(page), ..ListMachinesRequest::default() };
            let list = client.call(SHORT, request, async |c, r| MachinesClient::new(c).list_machines(r).await).await?;
            revision.get_or_insert(list.revision);
            Ok((list.machines, list.next_page_token))
        })
        .await?;
    Ok(Fleet::new(machines, revision.unwrap_or_default()))
}

async fn at_work(client: &Client) -> Result<Vec<Machine>, Error> {
    let working = (1..).map_while(|n| MachineState::try_from(n).ok()).filter(|s| motion(*s) == Motion::Working);
    let page = farrier_proto::v1::PageRequest { page_size: MOST_SHOWN, page_token: String::new() };
    let request = ListMachinesRequest {
        page: Some(page),
        states: working.map(i32::from).collect(),
        order_by: "since".to_owned(),
        ..ListMachinesRequest::default()
    };
    Ok(client.call(SHORT, request, async |c, r| MachinesClient::new(c).list_machines(r).await).await?.machines)
}

#[cfg(test)]
mod tests {
    use farrier_proto::v1::MachineStatus;

    use super::*;

    fn machine(id: &str, state: MachineState, reason: &str) -> Machine {
        let status = MachineStatus { state: state.into(), reason: reason.to_owned(), ..MachineStatus::default() };
        Machine { id: id.to_owned(), name: format!("n{id}"), status: Some(status), ..Machine::default() }
    }

    fn event(revision: i64, id: &str, kind: &str, to: MachineState) -> Event {
        Event {
            revision,
            machine_id: id.to_owned(),
            machine_name: format!("n{id}"),
            kind: kind.to_owned(),
            to: to.into(),
            reason: format!("as of {revision}"),
            ..Event::default()
        }
    }

    #[test]
    fn events_are_taken_in_once_and_reading_moves_nothing() {
        let mut fleet = Fleet::new(vec![machine("1", MachineState::Ready, "idle")], 10);
        let states = |fleet: &Fleet| {
            let mut all: Vec<_> = fleet.all().map(|e| (e.name.clone(), e.state, e.reason.clone())).collect();
            all.sort();
            all
        };
        let shown =
            |id: &str, state: MachineState, reason: &str| (format!("n{id}"), i32::from(state), reason.to_owned());
        fleet.event(&event(9, "1", "transition", MachineState::Broken));
        fleet.event(&event(11, "1", "transition", MachineState::Deploying));
        fleet.event(&event(12, "2", "transition", MachineState::New));
        fleet.event(&event(13, "1", "power", MachineState::Deploying));
        assert_eq!(
            states(&fleet),
            [shown("1", MachineState::Deploying, "as of 11"), shown("2", MachineState::New, "as of 12")]
        );
        fleet.look(vec![machine("1", MachineState::Deploying, "40 %"), machine("2", MachineState::Ready, "too new")]);
        assert_eq!(
            states(&fleet),
            [shown("1", MachineState::Deploying, "40 %"), shown("2", MachineState::New, "as of 12")]
        );
        assert_eq!(fleet.in_motion(Motion::Working).len(), 1);
        fleet.event(&event(14, "2", "transition", MachineState::Unspecified));
        assert_eq!(states(&fleet).len(), 1, "a machine that is gone is not shown");
        assert_eq!(fleet.revision, 14);
    }
}
