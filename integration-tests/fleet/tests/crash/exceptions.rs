//! The cells that cannot happen, each with the reason. The test fails when one of them happens all the same.

use crate::cells::{Cell, Who};

/// Cells that cannot happen: all with one of these points, one of these contexts and one of these states.
#[derive(Debug)]
pub(crate) struct Exception {
    /// Who would die.
    pub(crate) who: Who,
    /// Where.
    pub(crate) points: &'static [&'static str],
    /// Doing what. Empty for a region, whose context is the state.
    pub(crate) contexts: &'static [&'static str],
    /// In which states.
    pub(crate) states: &'static [&'static str],
    /// Why not.
    pub(crate) reason: &'static str,
}

impl Exception {
    /// Is it about this cell?
    pub(crate) fn covers(&self, cell: &Cell) -> bool {
        self.who == cell.who
            && self.points.contains(&cell.point)
            && (cell.who == Who::Region || self.contexts.contains(&cell.context))
            && self.states.contains(&cell.state.as_str())
    }
}

const ALL: &[&str] = &["commissioning", "testing", "deploying", "releasing", "entering-rescue", "exiting-rescue"];
const COMMISSIONED: &[&str] = &["testing", "deploying", "releasing", "entering-rescue", "exiting-rescue"];
const NO_INSTALLATION: &[&str] = &["commissioning", "testing", "releasing", "entering-rescue", "exiting-rescue"];
const NO_WIPE: &[&str] = &["testing", "deploying", "entering-rescue", "exiting-rescue"];
const NO_TESTS: &[&str] = &["deploying", "releasing", "entering-rescue", "exiting-rescue"];
const NO_LOGIN: &[&str] = &["testing", "deploying", "releasing", "exiting-rescue"];

const fn region(points: &'static [&'static str], states: &'static [&'static str], reason: &'static str) -> Exception {
    Exception { who: Who::Region, points, contexts: &[], states, reason }
}

const fn rack(
    points: &'static [&'static str],
    contexts: &'static [&'static str],
    states: &'static [&'static str],
    reason: &'static str,
) -> Exception {
    Exception { who: Who::Rack, points, contexts, states, reason }
}

const fn agent(
    points: &'static [&'static str],
    contexts: &'static [&'static str],
    states: &'static [&'static str],
    reason: &'static str,
) -> Exception {
    Exception { who: Who::Agent, points, contexts, states, reason }
}

const COMMANDS: &[&str] = &["command-received", "command-done"];
const RELAYS: &[&str] = &["relay-received", "relay-answered"];
const TASKS: &[&str] = &["task-received", "work-done", "reported"];

/// All of them.
pub(crate) const EXCEPTIONS: &[Exception] = &[
    region(
        &["acted-probe-bmc", "acted-ensure-bmc-account"],
        COMMISSIONED,
        "the BMC is probed and the account is made in commissioning alone",
    ),
    region(
        &["acted-rotate-bmc-password"],
        ALL,
        "asked for by nobody here; `tests/rotation.rs` has region and rack die while passwords are changed",
    ),
    region(
        &["phone-home-received", "phone-home-committed"],
        NO_INSTALLATION,
        "a system phones home while its deployment waits for it, else it is refused before the point",
    ),
    region(
        &["hello-committed"],
        &["exiting-rescue"],
        "only if rescue was aborted while the machine booted, by the same code as in entering-rescue: else its agent said \
         hello on the way in, and one of a machine that started anew is refused before the point",
    ),
    rack(COMMANDS, &["probe-bmc", "ensure-bmc-account"], COMMISSIONED, "commands of commissioning alone"),
    rack(
        &["account-named", "account-password-set", "account-granted", "account-enabled"],
        &["ensure-bmc-account"],
        COMMISSIONED,
        "the account is made in commissioning alone",
    ),
    rack(COMMANDS, &["prefetch-blob"], ALL, "the region does not give this command: a rack fetches what is asked for"),
    rack(
        &["command-received", "command-done", "intent-stored"],
        &["remove-intent"],
        ALL,
        "given for a machine that is deleted, which is refused in working states",
    ),
    rack(
        &["command-received", "command-done", "power-commanded"],
        &["cycle-power", "soft-off"],
        ALL,
        "a person's verb, which is refused in working states",
    ),
    rack(
        COMMANDS,
        &["remove-bmc-account"],
        ALL,
        "given for a machine that is deleted, which is refused in working states",
    ),
    rack(COMMANDS, &["get-bmc-events", "get-bios-settings"], ALL, "a person's question, which changes nothing"),
    rack(COMMANDS, &["reset-bmc", "set-bios-settings"], ALL, "a person's verb, which is refused in working states"),
    rack(
        &["command-received", "command-done", "password-changed"],
        &["change-bmc-password"],
        ALL,
        "asked for by nobody here; `tests/rotation.rs` has region and rack die while passwords are changed",
    ),
    rack(RELAYS, &["enlist"], ALL, "an agent enlists a machine that nobody boots for work"),
    rack(RELAYS, &["phone-home"], NO_INSTALLATION, "only a system that was just installed phones home"),
    rack(
        &["relay-answered"],
        &["hello"],
        &["exiting-rescue"],
        "an agent that says hello so late is refused, but for one whose way in was aborted: the same code as in entering-rescue",
    ),
    agent(TASKS, &["inventory"], COMMISSIONED, "a task of commissioning"),
    agent(TASKS, &["write-image"], NO_INSTALLATION, "a task of deploying"),
    agent(&["image-writing", "image-written", "seed-laid"], &["write-image"], NO_INSTALLATION, "a task of deploying"),
    agent(
        &["task-received", "work-done", "reported", "erase-begun", "erasing"],
        &["erase"],
        NO_WIPE,
        "disks are erased when a machine is given back",
    ),
    agent(
        TASKS,
        &["run-scripts"],
        &["commissioning"],
        "only if scripts are chosen for it, which are run by the same code as the tests of testing",
    ),
    agent(TASKS, &["run-scripts"], NO_TESTS, "a task of testing"),
    agent(
        TASKS,
        &["open-ssh"],
        &["commissioning"],
        "only if the machine is to stay up for people, who are let in by the same code as in entering-rescue",
    ),
    agent(TASKS, &["open-ssh"], NO_LOGIN, "a task of entering rescue"),
    agent(TASKS, &["bmc-account"], COMMISSIONED, "a task of commissioning"),
    agent(
        TASKS,
        &["bmc-account"],
        &["commissioning"],
        "only where nobody knows an account on the BMC; it is made by way of a device that these machines lack",
    ),
    agent(TASKS, &["power-off"], &["entering-rescue"], "the machine stays on"),
    agent(
        &["task-received", "work-done", "reported", "erase-begun", "erasing"],
        &["erase"],
        &["commissioning"],
        "only a machine whose disks may hold an owner's data is erased in commissioning, by the same code as in releasing",
    ),
];

#[test]
fn exceptions_name_what_exists() {
    let all = Cell::all();
    for exception in EXCEPTIONS {
        assert!(!exception.reason.is_empty());
        let contexts: &[&str] = if exception.who == Who::Region { &[""] } else { exception.contexts };
        for point in exception.points {
            for context in contexts {
                for state in exception.states {
                    let named = all.iter().filter(|cell| {
                        cell.who == exception.who
                            && cell.point == *point
                            && (context.is_empty() || cell.context == *context)
                            && cell.state.as_str() == *state
                    });
                    assert_eq!(named.count(), 1, "{point}/{context} in {state} is no cell");
                }
            }
        }
    }
    for cell in &all {
        assert!(EXCEPTIONS.iter().filter(|e| e.covers(cell)).count() <= 1, "{cell} is excepted twice");
    }
}
