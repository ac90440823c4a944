//! The cells of the matrix: every point of every program, with every context that it comes with, in every working state.
//!
//! Computed from the programs' own lists, so a new point, kind of work or state is a new cell.

use std::fmt;

use farrier_agent::crash as agent;
use farrier_rack::crash as rack;
use farrier_region::{
    crash as region,
    domain::lifecycle::{Class, State},
};

use crate::exceptions::{EXCEPTIONS, Exception};

/// Who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Who {
    /// `farrier-region`.
    Region,
    /// `farrier-rack`.
    Rack,
    /// `farrier-agent`.
    Agent,
}

/// One thing that may happen: somebody dies at a point while machines are in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Cell {
    /// Who.
    pub(crate) who: Who,
    /// Where.
    pub(crate) point: &'static str,
    /// Doing what; of a region it is the state.
    pub(crate) context: &'static str,
    /// In which state of the machine.
    pub(crate) state: State,
}

impl Who {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Region, Self::Rack, Self::Agent];

    /// In a word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::Rack => "rack",
            Self::Agent => "agent",
        }
    }

    /// Its points, in the order of its list.
    pub(crate) fn points(self) -> Vec<&'static str> {
        match self {
            Self::Region => region::Point::ALL.iter().map(|p| p.as_str()).collect(),
            Self::Rack => rack::Point::ALL.iter().map(|p| p.as_str()).collect(),
            Self::Agent => agent::Point::ALL.iter().map(|p| p.as_str()).collect(),
        }
    }

    /// What it may be doing at its points.
    pub(crate) fn contexts(self, point: &str, state: State) -> Vec<&'static str> {
        match self {
            Self::Region => vec![state.as_str()],
            Self::Rack => {
                let point = point.parse::<rack::Point>().expect("it is of the list");
                point.works().iter().map(|work| work.as_str()).collect()
            }
            Self::Agent => agent_contexts(point.parse().expect("it is of the list"), state),
        }
    }
}

/// The tasks that agents do.
const TASKS: &[&str] = &["inventory", "write-image", "erase", "power-off", "run-scripts", "open-ssh", "bmc-account"];

fn agent_contexts(point: agent::Point, state: State) -> Vec<&'static str> {
    match point {
        // Nothing is booted in order to leave rescue.
        agent::Point::HelloAnswered if state == State::ExitingRescue => Vec::new(),
        agent::Point::HelloAnswered => vec![state.as_str()],
        agent::Point::TaskReceived | agent::Point::WorkDone | agent::Point::Reported => TASKS.to_vec(),
        agent::Point::ImageWriting | agent::Point::ImageWritten | agent::Point::SeedLaid => vec!["write-image"],
        agent::Point::EraseBegun | agent::Point::Erasing => vec!["erase"],
    }
}

impl Cell {
    /// All there are.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for state in working_states() {
            for who in Who::ALL {
                for point in who.points() {
                    all.extend(who.contexts(point, state).into_iter().map(|context| Self {
                        who,
                        point,
                        context,
                        state,
                    }));
                }
            }
        }
        all
    }

    /// Why it need not happen, if so.
    pub(crate) fn exception(&self) -> Option<&'static Exception> {
        EXCEPTIONS.iter().find(|e| e.covers(self))
    }

    /// Does it happen while the BMC's account is made?
    pub(crate) fn is_about_accounts(&self) -> bool {
        self.exception().is_none() && (self.context == "ensure-bmc-account" || self.point == "acted-ensure-bmc-account")
    }

    /// As `--crash-at` takes it.
    pub(crate) fn argument(&self) -> String {
        format!("{}/{}", self.point, self.context)
    }

    /// In which order cells are tried: about that in which their points are passed. What is not in the list comes last.
    pub(crate) fn turn(&self) -> usize {
        let order: &[&str] = match self.who {
            Who::Region => REGION_ORDER,
            Who::Rack => RACK_ORDER,
            Who::Agent => &[],
        };
        let word = if self.who == Who::Rack { self.context } else { self.point };
        order.iter().position(|w| *w == word).unwrap_or(order.len())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.who.as_str(), self.point, self.context)?;
        if self.who == Who::Region { Ok(()) } else { write!(f, " in {}", self.state) }
    }
}

/// The states in which the engine works.
pub(crate) fn working_states() -> Vec<State> {
    State::ALL.iter().filter(|s| s.class() == Class::Working).copied().collect()
}

const REGION_ORDER: &[&str] = &[
    "verb-received",
    "verb-before-commit",
    "verb-committed",
    "claimed",
    "acted-probe-bmc",
    "acted-ensure-bmc-account",
    "acted-power-off",
    "acted-publish-intent",
    "boot-device-set",
    "acted-start-from",
    "observed",
    "before-commit",
    "committed",
    "hello-received",
    "hello-committed",
    "task-received",
    "task-handed-out",
    "progress-received",
    "progress-committed",
    "report-received",
    "report-committed",
    "phone-home-received",
    "phone-home-committed",
    "left",
];

const RACK_ORDER: &[&str] = &[
    // Each machine comes to these but once.
    "ensure-bmc-account",
    "probe-bmc",
    "put-intent",
    "get-power",
    "set-power",
    "set-boot-device",
    "dhcp",
    "sync-intents",
    "hello",
    "next-task",
    "report",
    "phone-home",
];
