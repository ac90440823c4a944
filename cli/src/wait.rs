//! `--wait`: follows one machine until it is at rest, and judges where that is.
//!
//! An event only says that something changed and is shown; where the machine is, the region is asked. So neither an
//! event of somebody else's verb nor a lost stream can lead to a wrong verdict.

use std::time::Duration;

use farrier_proto::v1::{Event, GetMachineRequest, Machine, MachineState, machines_client::MachinesClient};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, timeout_at};

use crate::{
    client::{Client, SHORT},
    error::Error,
    follow::{Follow, Update},
    output::Output,
    render::{table::clean, words},
};

/// How often the machine is read though no event came.
const FALLBACK: Duration = Duration::from_secs(5);

/// Whether and how long to wait.
#[derive(Debug, clap::Args)]
pub(crate) struct WaitArgs {
    /// Wait until the machine is at rest; exit code 5 if that is not the state that the verb aims at.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Give up waiting after so many seconds, with exit code 6; the work goes on.
    #[arg(long, value_name = "SECS", default_value_t = 3600, requires = "wait", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: u64,
}

/// What a verb wants to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// The machine is in the pool.
    Ready,
    /// The machine is held.
    Allocated,
    /// The system on its disk runs.
    Deployed,
    /// The work is stopped.
    Failed,
    /// The rescue environment runs.
    Rescue,
    /// Where it was before rescue.
    Back,
}

impl Aim {
    /// Its name in messages.
    const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Allocated => "allocated",
            Self::Deployed => "deployed",
            Self::Failed => "in a failed state",
            Self::Rescue => "in rescue",
            Self::Back => "back from rescue",
        }
    }

    fn is_met(self, state: MachineState) -> bool {
        match self {
            Self::Ready => state == MachineState::Ready,
            Self::Allocated => state == MachineState::Allocated,
            Self::Deployed => state == MachineState::Deployed,
            Self::Failed => motion(state) == Motion::Failed,
            Self::Rescue => state == MachineState::Rescue,
            Self::Back => motion(state) != Motion::Working && state != MachineState::FailedExitingRescue,
        }
    }
}

/// Follows `machine`, as the verb's answer showed it, until it is at rest, and returns it as it is then.
pub(crate) async fn until_rest(
    client: &Client,
    out: Output,
    mut machine: Machine,
    after: i64,
    limit: Duration,
) -> Result<Machine, Error> {
    let deadline = Instant::now() + limit;
    let mut view = View::new(out, &machine.name);
    let mut follow = Follow::start(client, &machine.id, after);
    view.machine(&machine);
    while motion(state_of(&machine)) == Motion::Working {
        if Instant::now() >= deadline {
            return Err(still_working(&machine, limit));
        }
        let mut silent = false;
        match timeout_at(deadline.min(Instant::now() + FALLBACK), follow.next()).await {
            Ok(Some(Update::Event(event))) => {
                view.event(&event);
                if event_state(&event).is_none_or(|s| motion(s) == Motion::Working) {
                    continue;
                }
            }
            Ok(Some(Update::Lost(why))) => {
                view.lost(&why);
                continue;
            }
            Ok(Some(Update::Resumed)) => continue,
            // Where the machine is, is read below.
            Ok(Some(Update::Resync(_))) => {}
            Ok(Some(Update::Failed(error))) => return Err(error),
            Ok(None) => return Err(Error::Nonsense("the event stream ended without a reason".to_owned())),
            Err(_) => silent = true,
        }
        match timeout_at(deadline, get(client, &machine.id)).await {
            Ok(Ok(read)) => machine = read,
            Ok(Err(error)) if error.is_outage() => view.lost(&error.to_string()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
        if silent {
            view.machine(&machine);
        }
    }
    view.machine(&machine);
    Ok(machine)
}

/// Is the machine where the verb wanted it?
pub(crate) fn judge(machine: &Machine, aim: Aim) -> Result<(), Error> {
    if aim.is_met(state_of(machine)) {
        return Ok(());
    }
    let status = machine.status.as_ref();
    Err(Error::Ended {
        machine: machine.name.clone(),
        state: words::state(status.map_or(0, |s| s.state)).unwrap_or_else(|| "nowhere".to_owned()),
        aim: aim.name(),
        reason: status.map_or_else(String::new, |s| s.reason.clone()),
    })
}

async fn get(client: &Client, machine: &str) -> Result<Machine, Error> {
    let request = GetMachineRequest { machine: machine.to_owned(), ..GetMachineRequest::default() };
    client.call(SHORT, request, async |c, r| MachinesClient::new(c).get_machine(r).await).await
}

fn still_working(machine: &Machine, limit: Duration) -> Error {
    let status = machine.status.clone().unwrap_or_default();
    Error::StillWorking {
        machine: machine.name.clone(),
        state: words::place(status.state, &status.phase),
        secs: limit.as_secs(),
        reason: status.reason,
    }
}

// === where a machine is ===

/// Does a state go on by itself?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Motion {
    /// The engine works; it will end.
    Working,
    /// It stays until somebody acts.
    Rest,
    /// The same, and something went wrong.
    Failed,
}

pub(crate) const fn motion(state: MachineState) -> Motion {
    match state {
        MachineState::Unspecified
        | MachineState::Commissioning
        | MachineState::Testing
        | MachineState::Deploying
        | MachineState::Releasing
        | MachineState::EnteringRescue
        | MachineState::ExitingRescue => Motion::Working,
        MachineState::New
        | MachineState::Ready
        | MachineState::Allocated
        | MachineState::Deployed
        | MachineState::Rescue
        | MachineState::Broken => Motion::Rest,
        MachineState::FailedCommissioning
        | MachineState::FailedTesting
        | MachineState::FailedDeployment
        | MachineState::FailedReleasing
        | MachineState::FailedEnteringRescue
        | MachineState::FailedExitingRescue => Motion::Failed,
    }
}

/// A state that this version does not know is taken for a working one: it is then waited for until the time is up.
fn state_of(machine: &Machine) -> MachineState {
    let number = machine.status.as_ref().map_or(0, |s| s.state);
    MachineState::try_from(number).unwrap_or(MachineState::Unspecified)
}

/// The state that an event leads to; `None` if it is of another kind.
fn event_state(event: &Event) -> Option<MachineState> {
    MachineState::try_from(event.to).ok().filter(|s| *s != MachineState::Unspecified)
}

// === what is seen of it ===

/// One line that is redrawn on a terminal, or one line per change elsewhere.
struct View {
    out: Output,
    name: String,
    bar: Option<ProgressBar>,
    started: Instant,
    shown: Option<String>,
}

impl View {
    fn new(out: Output, name: &str) -> Self {
        let bar = out.is_live().then(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}");
            let bar = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { out, name: name.to_owned(), bar, started: Instant::now(), shown: None }
    }

    fn machine(&mut self, machine: &Machine) {
        let status = machine.status.clone().unwrap_or_default();
        self.show(&words::place(status.state, &status.phase), &status.reason);
    }

    fn event(&mut self, event: &Event) {
        if event_state(event).is_some() {
            self.show(&words::place(event.to, &event.phase), &event.reason);
        }
    }

    fn lost(&mut self, why: &str) {
        self.line(format!("{}: waiting for the region: {}", self.name, clean(why)));
    }

    fn show(&mut self, place: &str, reason: &str) {
        let reason = if reason.is_empty() { String::new() } else { format!(": {}", clean(reason)) };
        self.line(format!("{} {place}{reason}", self.name));
    }

    fn line(&mut self, line: String) {
        if self.shown.as_ref() == Some(&line) {
            return;
        }
        match &self.bar {
            Some(bar) => bar.set_message(line.clone()),
            None => self.out.note(&format!("[{:>4} s] {line}", self.started.elapsed().as_secs())),
        }
        self.shown = Some(line);
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_aim_is_at_rest() {
        let states = (0..=18).map(|n| MachineState::try_from(n).unwrap());
        for aim in [Aim::Ready, Aim::Allocated, Aim::Deployed, Aim::Failed] {
            let met: Vec<_> = states.clone().filter(|s| aim.is_met(*s)).collect();
            assert!(!met.is_empty() && met.iter().all(|s| motion(*s) != Motion::Working), "{aim:?}: {met:?}");
        }
    }
}
