//! The machine life-cycle: THE table.
//!
//! **Invariant:** nothing else in the workspace names a legal move. `docs/lifecycle.md`, the SQL check constraint, the
//! proto enum, refusals and the permission table derive from it or are tested against it.

use std::time::Duration;

use farrier_common::words;

pub mod render;

words! {
    /// Where a machine is in its life.
    State {
        /// Met on the network; visible to admins, not trusted.
        New = "new",
        /// Being learnt: BMC, inventory.
        Commissioning = "commissioning",
        /// Hardware tests run.
        Testing = "testing",
        /// Idle, known, clean: may be allocated.
        Ready = "ready",
        /// Held by one owner; nothing has changed on the wire.
        Allocated = "allocated",
        /// An operating system is being installed.
        Deploying = "deploying",
        /// The installed system has booted and phoned home.
        Deployed = "deployed",
        /// Being wiped and given back.
        Releasing = "releasing",
        /// On the way into the rescue environment.
        EnteringRescue = "entering-rescue",
        /// In the ephemeral environment with SSH; disks untouched.
        Rescue = "rescue",
        /// On the way back from the rescue environment.
        ExitingRescue = "exiting-rescue",
        /// Marked by a person as defective.
        Broken = "broken",
        /// Commissioning did not succeed.
        FailedCommissioning = "failed-commissioning",
        /// A hardware test failed.
        FailedTesting = "failed-testing",
        /// The installation did not succeed.
        FailedDeployment = "failed-deployment",
        /// The wipe was not proven.
        FailedReleasing = "failed-releasing",
        /// The rescue environment did not come up.
        FailedEnteringRescue = "failed-entering-rescue",
        /// The machine did not come back from rescue.
        FailedExitingRescue = "failed-exiting-rescue",
    }
}

words! {
    /// What can move a machine. The first group are the verbs of people, the second is said by the engine alone.
    Event {
        /// A machine network-booted for the first time.
        Enlist = "enlist",
        /// An admin adds a machine by hand.
        Add = "add",
        /// An admin adds a machine that already runs a workload.
        AddLive = "add-live",
        /// Learn the machine (again).
        Commission = "commission",
        /// Run hardware tests.
        Test = "test",
        /// Stop the work in progress.
        Abort = "abort",
        /// Hold it for one owner.
        Allocate = "allocate",
        /// Install an operating system.
        Deploy = "deploy",
        /// Give it back.
        Release = "release",
        /// Boot the rescue environment.
        Rescue = "rescue",
        /// Leave the rescue environment.
        ExitRescue = "exit-rescue",
        /// It has a hardware problem.
        MarkBroken = "mark-broken",
        /// The hardware problem is gone.
        MarkFixed = "mark-fixed",
        /// Use it although a hardware test failed; audited.
        OverrideFailedTest = "override-failed-test",

        /// The work of the state is done.
        Done = "done",
        /// Probes passed; the chosen tests come next.
        BeginTests = "begin-tests",
        /// Wiped after a failure: learn it again before use.
        Recommission = "recommission",
        /// The work cannot succeed.
        Fail = "fail",
        /// The deadline of the state passed.
        Timeout = "timeout",
        /// The lease of the allocation ended before the machine was deployed.
        Expire = "expire",
        /// Back from rescue to ready.
        ReturnReady = "return-ready",
        /// Back from rescue to allocated.
        ReturnAllocated = "return-allocated",
        /// Back from rescue to deployed.
        ReturnDeployed = "return-deployed",
        /// Back from rescue to broken.
        ReturnBroken = "return-broken",
        /// Back from rescue to failed deployment.
        ReturnFailedDeployment = "return-failed-deployment",
        /// Back from rescue to failed releasing.
        ReturnFailedReleasing = "return-failed-releasing",
    }
}

/// Who may cause an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Admins only.
    Admin,
    /// The owner of the machine, and admins. Allocate: any user, who then owns it.
    Owner,
    /// The engine, from what it observed.
    Engine,
    /// A rack that met the machine.
    Rack,
}

use By::{Admin, Engine, Owner, Rack};
use Event as E;
use State as S;

/// One allowed move.
#[derive(Debug, PartialEq, Eq)]
pub struct Edge {
    /// Where the machine is.
    pub from: State,
    /// What happens.
    pub on: Event,
    /// Where it goes.
    pub to: State,
    /// Who may cause it.
    pub by: By,
}

/// One way in which a machine comes to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Birth {
    /// What happens.
    pub on: Event,
    /// The first state.
    pub to: State,
    /// Who may cause it.
    pub by: By,
}

const fn edge(from: State, on: Event, to: State, by: By) -> Edge {
    Edge { from, on, to, by }
}

/// How machines come to be.
pub const BIRTHS: &[Birth] = &[
    Birth { on: E::Enlist, to: S::New, by: Rack },
    Birth { on: E::Add, to: S::Commissioning, by: Admin },
    Birth { on: E::AddLive, to: S::Deployed, by: Admin },
];

/// THE table.
#[rustfmt::skip]
pub const EDGES: &[Edge] = &[
    edge(S::New,                  E::Commission,             S::Commissioning,        Admin),
    edge(S::New,                  E::MarkBroken,             S::Broken,               Admin),

    edge(S::Commissioning,        E::Done,                   S::Ready,                Engine),
    edge(S::Commissioning,        E::BeginTests,             S::Testing,              Engine),
    edge(S::Commissioning,        E::Fail,                   S::FailedCommissioning,  Engine),
    edge(S::Commissioning,        E::Timeout,                S::FailedCommissioning,  Engine),
    edge(S::Commissioning,        E::Abort,                  S::FailedCommissioning,  Admin),
    edge(S::FailedCommissioning,  E::Commission,             S::Commissioning,        Admin),
    edge(S::FailedCommissioning,  E::MarkBroken,             S::Broken,               Admin),

    edge(S::Testing,              E::Done,                   S::Ready,                Engine),
    edge(S::Testing,              E::Fail,                   S::FailedTesting,        Engine),
    edge(S::Testing,              E::Timeout,                S::FailedTesting,        Engine),
    edge(S::Testing,              E::Abort,                  S::FailedTesting,        Admin),
    edge(S::FailedTesting,        E::Commission,             S::Commissioning,        Admin),
    edge(S::FailedTesting,        E::OverrideFailedTest,     S::Ready,                Admin),
    edge(S::FailedTesting,        E::MarkBroken,             S::Broken,               Admin),

    edge(S::Ready,                E::Allocate,               S::Allocated,            Owner),
    edge(S::Ready,                E::Commission,             S::Commissioning,        Admin),
    edge(S::Ready,                E::Test,                   S::Testing,              Admin),
    edge(S::Ready,                E::Rescue,                 S::EnteringRescue,       Admin),
    edge(S::Ready,                E::MarkBroken,             S::Broken,               Admin),

    edge(S::Allocated,            E::Deploy,                 S::Deploying,            Owner),
    edge(S::Allocated,            E::Release,                S::Releasing,            Owner),
    edge(S::Allocated,            E::Expire,                 S::Releasing,            Engine),
    edge(S::Allocated,            E::Rescue,                 S::EnteringRescue,       Owner),
    edge(S::Allocated,            E::MarkBroken,             S::Broken,               Admin),

    edge(S::Deploying,            E::Done,                   S::Deployed,             Engine),
    edge(S::Deploying,            E::Fail,                   S::FailedDeployment,     Engine),
    edge(S::Deploying,            E::Timeout,                S::FailedDeployment,     Engine),
    edge(S::Deploying,            E::Abort,                  S::FailedDeployment,     Owner),
    edge(S::FailedDeployment,     E::Release,                S::Releasing,            Owner),
    edge(S::FailedDeployment,     E::Rescue,                 S::EnteringRescue,       Owner),
    edge(S::FailedDeployment,     E::MarkBroken,             S::Broken,               Admin),

    edge(S::Deployed,             E::Release,                S::Releasing,            Owner),
    edge(S::Deployed,             E::Rescue,                 S::EnteringRescue,       Owner),
    edge(S::Deployed,             E::MarkBroken,             S::Broken,               Admin),

    edge(S::Releasing,            E::Done,                   S::Ready,                Engine),
    edge(S::Releasing,            E::Recommission,           S::Commissioning,        Engine),
    edge(S::Releasing,            E::Fail,                   S::FailedReleasing,      Engine),
    edge(S::Releasing,            E::Timeout,                S::FailedReleasing,      Engine),
    edge(S::Releasing,            E::Abort,                  S::FailedReleasing,      Admin),
    edge(S::FailedReleasing,      E::Release,                S::Releasing,            Owner),
    edge(S::FailedReleasing,      E::Rescue,                 S::EnteringRescue,       Admin),
    edge(S::FailedReleasing,      E::MarkBroken,             S::Broken,               Admin),

    edge(S::EnteringRescue,       E::Done,                   S::Rescue,               Engine),
    edge(S::EnteringRescue,       E::Fail,                   S::FailedEnteringRescue, Engine),
    edge(S::EnteringRescue,       E::Timeout,                S::FailedEnteringRescue, Engine),
    edge(S::EnteringRescue,       E::Abort,                  S::FailedEnteringRescue, Owner),
    edge(S::FailedEnteringRescue, E::Rescue,                 S::EnteringRescue,       Owner),
    edge(S::FailedEnteringRescue, E::ExitRescue,             S::ExitingRescue,        Owner),
    edge(S::FailedEnteringRescue, E::MarkBroken,             S::Broken,               Admin),
    edge(S::Rescue,               E::ExitRescue,             S::ExitingRescue,        Owner),
    edge(S::Rescue,               E::MarkBroken,             S::Broken,               Admin),
    edge(S::ExitingRescue,        E::ReturnReady,            S::Ready,                Engine),
    edge(S::ExitingRescue,        E::ReturnAllocated,        S::Allocated,            Engine),
    edge(S::ExitingRescue,        E::ReturnDeployed,         S::Deployed,             Engine),
    edge(S::ExitingRescue,        E::ReturnBroken,           S::Broken,               Engine),
    edge(S::ExitingRescue,        E::ReturnFailedDeployment, S::FailedDeployment,     Engine),
    edge(S::ExitingRescue,        E::ReturnFailedReleasing,  S::FailedReleasing,      Engine),
    edge(S::ExitingRescue,        E::Fail,                   S::FailedExitingRescue,  Engine),
    edge(S::ExitingRescue,        E::Timeout,                S::FailedExitingRescue,  Engine),
    edge(S::ExitingRescue,        E::Abort,                  S::FailedExitingRescue,  Owner),
    edge(S::FailedExitingRescue,  E::ExitRescue,             S::ExitingRescue,        Owner),
    edge(S::FailedExitingRescue,  E::Rescue,                 S::EnteringRescue,       Owner),
    edge(S::FailedExitingRescue,  E::MarkBroken,             S::Broken,               Admin),

    edge(S::Broken,               E::MarkFixed,              S::Commissioning,        Admin),
    edge(S::Broken,               E::Rescue,                 S::EnteringRescue,       Admin),
];

/// What kind of place a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing happens until somebody acts.
    Rest,
    /// The engine works; the state has phases and a deadline.
    Working,
    /// Work ended badly; shown as *Failed*.
    Failed,
}

impl State {
    /// What kind of place it is.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            S::New | S::Ready | S::Allocated | S::Deployed | S::Rescue | S::Broken => Class::Rest,
            S::Commissioning | S::Testing | S::Deploying | S::Releasing | S::EnteringRescue | S::ExitingRescue => {
                Class::Working
            }
            S::FailedCommissioning
            | S::FailedTesting
            | S::FailedDeployment
            | S::FailedReleasing
            | S::FailedEnteringRescue
            | S::FailedExitingRescue => Class::Failed,
        }
    }

    /// How long the engine may work here before [`Event::Timeout`], unless configured otherwise; `None` at rest.
    #[must_use]
    pub const fn deadline(self) -> Option<Duration> {
        const MINUTE: u64 = 60;
        match self {
            S::Commissioning | S::EnteringRescue | S::ExitingRescue => Some(Duration::from_secs(30 * MINUTE)),
            S::Deploying => Some(Duration::from_secs(60 * MINUTE)),
            S::Releasing | S::Testing => Some(Duration::from_secs(24 * 60 * MINUTE)),
            S::New
            | S::Ready
            | S::Allocated
            | S::Deployed
            | S::Rescue
            | S::Broken
            | S::FailedCommissioning
            | S::FailedTesting
            | S::FailedDeployment
            | S::FailedReleasing
            | S::FailedEnteringRescue
            | S::FailedExitingRescue => None,
        }
    }

    /// One sentence for people.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            S::New => "met on the network; visible to admins, not yet trusted",
            S::Commissioning => "its BMC is taken in charge and its hardware is learnt",
            S::Testing => "hardware tests run",
            S::Ready => "idle, known and clean; may be allocated",
            S::Allocated => "held by one owner; nothing has changed on the wire",
            S::Deploying => "an operating system is being installed",
            S::Deployed => "the installed system has booted and phoned home",
            S::Releasing => "its disks are wiped and it is given back",
            S::EnteringRescue => "it is booting the rescue environment",
            S::Rescue => "it runs the rescue environment; its disks are untouched",
            S::ExitingRescue => "it is on its way back from rescue",
            S::Broken => "marked as defective; repair it, then mark it fixed",
            S::FailedCommissioning => "commissioning did not succeed",
            S::FailedTesting => "a hardware test failed",
            S::FailedDeployment => "the installation did not succeed",
            S::FailedReleasing => "the wipe was not proven",
            S::FailedEnteringRescue => "the rescue environment did not come up",
            S::FailedExitingRescue => "it did not come back from rescue",
        }
    }

    /// The edges that leave it.
    pub fn edges(self) -> impl Iterator<Item = &'static Edge> {
        EDGES.iter().filter(move |e| e.from == self)
    }

    /// The verbs that people may use now, in the table's order.
    pub fn verbs(self) -> impl Iterator<Item = Event> {
        self.edges().filter(|e| matches!(e.by, Admin | Owner)).map(|e| e.on)
    }
}

/// The event does not apply in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Where the machine is.
    pub state: State,
    /// What was wanted.
    pub event: Event,
}

/// The only way to obtain a next state.
///
/// # Errors
/// The pair is not in [`EDGES`].
pub fn next(state: State, event: Event) -> Result<&'static Edge, Refused> {
    EDGES.iter().find(|e| e.from == state && e.on == event).ok_or(Refused { state, event })
}

/// The only way to obtain a first state.
#[must_use]
pub fn birth(event: Event) -> Option<&'static Birth> {
    BIRTHS.iter().find(|b| b.on == event)
}

words! {
    /// A step of the work in a working state. Each ends in an observation, so that it may be taken again after a crash.
    Phase {
        /// The agent makes the account of our own from inside the machine, because nobody knows one.
        BmcInBand = "bmc-in-band",
        /// Is the BMC there, and does the account work?
        ProbeBmc = "probe-bmc",
        /// Make the account of our own.
        BmcAccount = "bmc-account",
        /// Power off, so that the next boot is a fresh one.
        PowerOff = "power-off",
        /// Boot the ephemeral image and wait for its agent.
        Boot = "boot",
        /// The agent takes inventory.
        Inventory = "inventory",
        /// The agent writes the image and the cloud-init seed.
        WriteImage = "write-image",
        /// The agent wipes the disks and proves it.
        Erase = "erase",
        /// The agent runs the commissioning scripts that were chosen.
        Scripts = "scripts",
        /// The agent runs the tests that were chosen.
        Tests = "tests",
        /// The agent lets people in by SSH.
        OpenSsh = "open-ssh",
        /// The ephemeral environment ends: boot intent to local disk, power off.
        Finish = "finish",
        /// Power on, from the disk.
        StartOs = "start-os",
        /// Wait until the installed system phones home.
        AwaitOs = "await-os",
    }
}

impl State {
    /// The phases of a working state whose work is built, in order; empty for others.
    #[must_use]
    pub const fn phases(self) -> &'static [Phase] {
        use Phase as P;
        match self {
            S::Commissioning => &[
                P::BmcInBand,
                P::ProbeBmc,
                P::BmcAccount,
                P::PowerOff,
                P::Boot,
                P::Inventory,
                P::Erase,
                P::Scripts,
                P::OpenSsh,
                P::Finish,
            ],
            S::Testing => &[P::PowerOff, P::Boot, P::Tests, P::Finish],
            S::Deploying => &[P::PowerOff, P::Boot, P::WriteImage, P::Finish, P::StartOs, P::AwaitOs],
            S::Releasing => &[P::PowerOff, P::Boot, P::Erase, P::Finish],
            S::EnteringRescue => &[P::PowerOff, P::Boot, P::OpenSsh],
            S::ExitingRescue => &[P::Finish, P::StartOs],
            S::New
            | S::Ready
            | S::Allocated
            | S::Deployed
            | S::Rescue
            | S::Broken
            | S::FailedCommissioning
            | S::FailedTesting
            | S::FailedDeployment
            | S::FailedReleasing
            | S::FailedEnteringRescue
            | S::FailedExitingRescue => &[],
        }
    }
}

#[cfg(test)]
mod tests;
