//! Bulk work: one verb for many machines, at a bounded pace. Pure.

use farrier_common::{
    clock::Timestamp,
    id::{MachineId, OperationId, UserId},
    name::Name,
    words,
};
use serde::{Deserialize, Serialize};

use super::lifecycle::{Class, Event, State};

/// Machines at work at once, unless the caller says otherwise.
pub const PARALLEL: u32 = 10;
/// Machines in one operation.
pub const MOST_MACHINES: usize = 5000;

words! {
    /// What may be done with many machines.
    Verb {
        /// Learn them (again).
        Commission = "commission",
        /// Run hardware tests.
        Test = "test",
        /// Stop the work in progress.
        Abort = "abort",
        /// Give them back.
        Release = "release",
        /// They have a hardware problem.
        MarkBroken = "mark-broken",
        /// The hardware problem is gone.
        MarkFixed = "mark-fixed",
        /// Keep everybody from them.
        Lock = "lock",
        /// Let people work with them again.
        Unlock = "unlock",
        /// Change the passwords of our accounts on their BMCs.
        RotateBmcPassword = "rotate-bmc-password",
        /// Take them out of the database.
        Delete = "delete",
    }
}

words! {
    /// How far an operation is.
    Status {
        /// It begins machines, or waits for them.
        Running = "running",
        /// Every machine had its turn.
        Done = "done",
        /// Too many machines failed; no further one is begun.
        Stopped = "stopped",
        /// A person stopped it; no further machine is begun.
        Cancelled = "cancelled",
    }
}

words! {
    /// How far an operation is with one machine.
    ItemStatus {
        /// Its turn has not come.
        Waiting = "waiting",
        /// Its verb is given, and the machine is at work.
        Running = "running",
        /// It came to where the verb leads.
        Succeeded = "succeeded",
        /// The verb was refused, or the work failed.
        Failed = "failed",
        /// Its turn never came.
        Skipped = "skipped",
    }
}

/// What is to be heeded besides pace and failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Release: keep the disks' content.
    pub skip_erase: bool,
    /// So many machines go first; the others are begun only if each of these came to where the verb leads.
    pub canary: u32,
}

/// Bulk work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Never changes.
    pub id: OperationId,
    /// What is done with each machine.
    pub verb: Verb,
    /// How far it is.
    pub status: Status,
    /// Who asked; each machine's turn has his rights of then.
    pub user: UserId,
    /// What the verb needs besides the machine.
    pub options: Options,
    /// Why.
    pub comment: String,
    /// Machines at work at once.
    pub max_parallel: u32,
    /// Failures after which no further machine is begun; 0: any number.
    pub stop_after_failures: u32,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its last machine came to rest.
    pub finished_at: Option<Timestamp>,
}

/// One machine of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Place in the operation, from 0.
    pub position: u32,
    /// Which machine.
    pub machine: MachineId,
    /// Its name when it was asked for.
    pub name: Name,
    /// The verb may be used only in this state.
    pub expected: Option<State>,
    /// How far it is.
    pub status: ItemStatus,
    /// Why it failed or was skipped.
    pub text: String,
    /// Of the log, before the verb.
    pub revision: i64,
    /// The verb is known to be carried out.
    pub asked: bool,
}

/// How many machines are how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not begun.
    pub waiting: u32,
    /// At work.
    pub running: u32,
    /// Where the verb leads.
    pub succeeded: u32,
    /// Elsewhere.
    pub failed: u32,
    /// Never begun.
    pub skipped: u32,
}

impl Verb {
    /// Does it take something away that cannot be had back by another verb?
    #[must_use]
    pub const fn is_destructive(self) -> bool {
        match self {
            Self::Commission | Self::Abort | Self::Release | Self::Delete => true,
            Self::Test | Self::MarkBroken | Self::MarkFixed | Self::Lock | Self::Unlock | Self::RotateBmcPassword => {
                false
            }
        }
    }

    /// The event of the life-cycle's table; `None`: it moves no machine along an edge.
    #[must_use]
    pub const fn event(self) -> Option<Event> {
        match self {
            Self::Commission => Some(Event::Commission),
            Self::Test => Some(Event::Test),
            Self::Abort => Some(Event::Abort),
            Self::Release => Some(Event::Release),
            Self::MarkBroken => Some(Event::MarkBroken),
            Self::MarkFixed => Some(Event::MarkFixed),
            Self::Lock | Self::Unlock | Self::RotateBmcPassword | Self::Delete => None,
        }
    }
}

/// What came of a machine's work that ended in `to`. Every verb that sets a machine to work leads to Ready.
#[must_use]
pub fn verdict(to: State, reason: &str) -> (ItemStatus, String) {
    match to.class() {
        Class::Rest => (ItemStatus::Succeeded, String::new()),
        Class::Failed | Class::Working => (ItemStatus::Failed, format!("{to}: {reason}")),
    }
}

/// What came of a change of a BMC's password that was asked for at `since`: `rotated_at` is when it was changed last, `reason` what
/// was said of it last.
#[must_use]
pub fn rotated(since: Timestamp, rotated_at: Option<Timestamp>, reason: &str) -> (ItemStatus, String) {
    if rotated_at.is_some_and(|at| at >= since) {
        (ItemStatus::Succeeded, String::new())
    } else {
        (ItemStatus::Failed, reason.to_owned())
    }
}

/// What an operation does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Begin so many more machines.
    Begin(u32),
    /// Begin no more: too many have failed.
    Stop,
    /// Wait for those at work.
    Wait,
    /// It is over.
    Finish,
}

/// Decides what an operation does next.
#[must_use]
pub fn next(operation: &Operation, counts: Counts) -> Next {
    let (limit, canary) = (operation.stop_after_failures, operation.options.canary);
    let ended = counts.succeeded + counts.failed;
    let begun = ended + counts.running;
    if counts.waiting > 0 {
        let canary_failed = counts.failed > 0 && begun <= canary;
        if operation.status != Status::Running || canary_failed || (limit > 0 && counts.failed >= limit) {
            return Next::Stop;
        }
        let first = if ended < canary { canary - begun } else { u32::MAX };
        return match operation.max_parallel.saturating_sub(counts.running).min(counts.waiting).min(first) {
            0 => Next::Wait,
            more => Next::Begin(more),
        };
    }
    if counts.running > 0 { Next::Wait } else { Next::Finish }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at;

    fn operation(max_parallel: u32, stop_after_failures: u32) -> Operation {
        Operation {
            id: OperationId::generate(),
            verb: Verb::Release,
            status: Status::Running,
            user: UserId::generate(),
            options: Options::default(),
            comment: String::new(),
            max_parallel,
            stop_after_failures,
            created_at: at(0),
            finished_at: None,
        }
    }

    #[test]
    fn no_more_are_begun_than_may_be_at_work() {
        let counts = |waiting, running, failed| Counts { waiting, running, failed, ..Counts::default() };
        let op = operation(3, 2);
        assert_eq!(next(&op, counts(9, 0, 0)), Next::Begin(3));
        assert_eq!(next(&op, counts(9, 2, 1)), Next::Begin(1));
        assert_eq!(next(&op, counts(9, 3, 0)), Next::Wait);
        assert_eq!(next(&op, counts(1, 0, 0)), Next::Begin(1));
        assert_eq!(next(&op, counts(9, 1, 2)), Next::Stop);
        assert_eq!(next(&op, counts(0, 1, 2)), Next::Wait);
        assert_eq!(next(&op, counts(0, 0, 2)), Next::Finish);
        assert_eq!(next(&operation(3, 0), counts(9, 0, 99)), Next::Begin(3));
        let cancelled = Operation { status: Status::Cancelled, ..op };
        assert_eq!(next(&cancelled, counts(1, 0, 0)), Next::Stop);
        assert_eq!(next(&cancelled, counts(0, 0, 0)), Next::Finish);
    }

    #[test]
    fn the_others_wait_until_the_canary_is_well() {
        let counts =
            |running, succeeded, failed| Counts { waiting: 9, running, succeeded, failed, ..Counts::default() };
        let op = Operation { options: Options { canary: 3, ..Options::default() }, ..operation(2, 0) };
        assert_eq!(next(&op, counts(0, 0, 0)), Next::Begin(2));
        assert_eq!(next(&op, counts(1, 1, 0)), Next::Begin(1));
        assert_eq!(next(&op, counts(1, 2, 0)), Next::Wait);
        assert_eq!(next(&op, counts(0, 3, 0)), Next::Begin(2));
        assert_eq!(next(&op, counts(2, 0, 1)), Next::Stop);
        assert_eq!(next(&op, counts(0, 2, 1)), Next::Stop);
        assert_eq!(next(&op, counts(1, 3, 1)), Next::Begin(1), "one of the others failed");
    }

    #[test]
    fn a_password_that_was_changed_since_is_what_was_asked_for() {
        let failed = (ItemStatus::Failed, "gave up".to_owned());
        assert_eq!(rotated(at(5), Some(at(5)), "changed"), (ItemStatus::Succeeded, String::new()));
        assert_eq!(rotated(at(5), Some(at(4)), "gave up"), failed);
        assert_eq!(rotated(at(5), None, "gave up"), failed);
    }

    #[test]
    fn where_a_machine_comes_to_rest_says_what_came_of_it() {
        assert_eq!(verdict(State::Ready, "done"), (ItemStatus::Succeeded, String::new()));
        let failed = (ItemStatus::Failed, "failed-releasing: the agent is silent".to_owned());
        assert_eq!(verdict(State::FailedReleasing, "the agent is silent"), failed);
    }

    #[test]
    fn verbs_are_called_as_in_the_table() {
        for verb in Verb::ALL {
            assert!(verb.event().is_none_or(|event| event.as_str() == verb.as_str()), "{verb}");
        }
    }
}
