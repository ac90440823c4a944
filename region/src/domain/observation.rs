//! What the engine may see and do.

use std::net::Ipv4Addr;

use farrier_common::{
    clock::Timestamp,
    hardware::{BootDevice, PowerState},
    id::TaskId,
    words,
};

use super::{
    machine::{DiskErasure, Hardware, Interface},
    script::{Outcome, ScriptKind},
};

/// What was seen just now, besides the machine's own row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// The BMC's answer, if it was asked: [`super::decide::asks_power`].
    pub power: Option<Result<PowerState, Trouble>>,
    /// The boot in progress, if there is one.
    pub boot: Option<BootSeen>,
    /// The rack is connected to the region.
    pub rack_connected: bool,
}

/// What is known of the boot in progress.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BootSeen {
    /// The agent opened its session.
    pub hello: bool,
    /// The installed system phoned home.
    pub phoned_home: bool,
    /// The machine started anew since the agent opened its session: that agent is gone, and the next one cannot get in.
    pub restarted: bool,
    /// When the agent was heard last. Never before this region began to listen.
    pub heard_at: Option<Timestamp>,
    /// The rack holds its network boot, because it led nowhere too often: what it says of that.
    pub held: Option<String>,
    /// The last task that was made for this boot.
    pub task: Option<TaskSeen>,
}

/// A task, as the agent reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSeen {
    /// Its id.
    pub id: TaskId,
    /// What it is.
    pub kind: TaskKind,
    /// How far it is.
    pub status: TaskStatus,
}

words! {
    /// What an agent may be told to do.
    TaskKind {
        /// Look at the hardware.
        Inventory = "inventory",
        /// Write an image and its seed.
        WriteImage = "write-image",
        /// Wipe all disks and prove it.
        Erase = "erase",
        /// Power off in order.
        PowerOff = "power-off",
        /// Run scripts or tests.
        RunScripts = "run-scripts",
        /// Let people in by SSH, and stay.
        OpenSsh = "open-ssh",
        /// Make the account of our own on the BMC, from inside.
        BmcAccount = "bmc-account",
    }
}

/// How far a task is.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskStatus {
    /// Made; no agent has fetched it.
    Pending,
    /// Fetched; the text says how far it is.
    Running(String),
    /// Done.
    Done(TaskResult),
    /// The agent could not do it.
    Failed(String),
}

/// What a task brought.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskResult {
    /// The hardware, and the interfaces seen (addresses unset).
    Inventory {
        /// What was found.
        hardware: Box<Hardware>,
        /// The interfaces, boot interface first.
        interfaces: Vec<Interface>,
    },
    /// The image is on the disk and was read back.
    WriteImage {
        /// Disk and digest, for people.
        text: String,
    },
    /// Every disk is blank.
    Erase(Vec<DiskErasure>),
    /// It is about to be off.
    PowerOff,
    /// All scripts were run, whatever became of each.
    RunScripts {
        /// Which ones.
        kind: ScriptKind,
        /// In their order.
        outcomes: Vec<Outcome>,
    },
    /// Our account is on the BMC.
    BmcAccount {
        /// Its name.
        username: String,
        /// Where the BMC is.
        address: Ipv4Addr,
    },
    /// People can log in.
    OpenSsh {
        /// `host:port`.
        address: String,
        /// Fingerprint of the host key.
        host_key: String,
    },
}

/// Something outside did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Does trying again help?
    pub kind: TroubleKind,
    /// What happened, for people. Never a secret.
    pub text: String,
}

words! {
    /// Does trying again help?
    TroubleKind {
        /// Not reached, or busy: later it may be.
        Transient = "transient",
        /// The rack was not reached: nothing is known of what it was to ask.
        RackAway = "rack-away",
        /// Asked and refused; trying again is useless and, with credentials, harmful.
        Permanent = "permanent",
        /// The login is refused. Trying again with the same password is useless, and BMCs lock accounts.
        Refused = "refused",
        /// Whoever answers is not proven to be the one that is known; nothing may be told to it until an admin has looked.
        Untrusted = "untrusted",
    }
}

impl TroubleKind {
    /// Is it useless to try again by oneself?
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Transient | Self::RackAway => false,
            Self::Permanent | Self::Refused | Self::Untrusted => true,
        }
    }
}

/// One thing to do outside. Every effect is a level: doing it twice is as good as once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Log in to the BMC and ask what it is.
    ProbeBmc,
    /// Make the account of our own, with the password that is in the vault as pending.
    EnsureBmcAccount,
    /// Our account has the password that is in the vault as the one to come.
    RotateBmcPassword,
    /// The chassis is off.
    PowerOff,
    /// The chassis is on, and has booted from this device.
    StartFrom(BootDevice),
    /// The rack holds the intent that the machine's row implies.
    PublishIntent,
}

impl Effect {
    /// What it is, for people: "publish the boot intent".
    #[must_use]
    pub const fn describe(&self) -> &'static str {
        match self {
            Self::ProbeBmc => "log in to the BMC",
            Self::EnsureBmcAccount => "make the BMC account",
            Self::RotateBmcPassword => "change the password of the BMC account",
            Self::PowerOff => "power off",
            Self::StartFrom(BootDevice::Network) => "power on from the network",
            Self::StartFrom(BootDevice::Disk) => "power on from the disk",
            Self::PublishIntent => "publish the boot intent",
        }
    }
}
