//! The event log: what happened, once each, in order of commit.

use farrier_common::{
    clock::Timestamp,
    id::{MachineId, PoolId},
    name::Name,
    words,
};

use super::{
    lifecycle::{Event, Phase, State},
    machine::Owner,
};

words! {
    /// What kind of thing happened.
    EventKind {
        /// A machine went along an edge of the life-cycle, or came to be.
        Transition = "transition",
        /// The engine began a step.
        Phase = "phase",
        /// The BMC's answer changed.
        Power = "power",
        /// An erase was proven.
        Erase = "erase",
        /// Somebody locked, unlocked or described a machine.
        Machine = "machine",
        /// Something about the BMC: probed, account made.
        Bmc = "bmc",
        /// A rack enrolled.
        Rack = "rack",
        /// An image was made.
        Image = "image",
        /// A subnet was made.
        Subnet = "subnet",
        /// A user, token, project or pool was made, changed or revoked.
        User = "user",
    }
}

/// What to write. Revision and time are given by the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// What kind.
    pub kind: EventKind,
    /// Of which machine.
    pub machine: Option<MachineId>,
    /// The edge's event, for transitions.
    pub event: Option<Event>,
    /// State before.
    pub from: Option<State>,
    /// State after.
    pub to: Option<State>,
    /// The phase begun.
    pub phase: Option<Phase>,
    /// `user:NAME`, `engine`, `rack:NAME`, `agent`.
    pub actor: String,
    /// Why, in a sentence. Never a secret.
    pub reason: String,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Place in the log.
    pub revision: i64,
    /// When.
    pub at: Timestamp,
    /// Name of the machine now, if it still exists.
    pub machine_name: Option<Name>,
    /// Pool and owner of the machine now, if it still exists: who may see it may see what happened to it.
    pub seen_by: Option<(PoolId, Option<Owner>)>,
    /// The rest.
    pub body: NewEvent,
}
