//! What goes wrong, in words.

mod redfish;

use std::time::Duration;

use farrier_common::{words, words::UnknownWord};

use super::selector::number;
use crate::{
    ipmi::faults as bmc,
    machine::fault::{DiskWork, Fault, Stage},
    redfish::{Fault as RedfishFault, FaultRule},
    words::{Share, Span, Words},
};

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// With the BMC.
    Bmc {
        /// What it meets.
        on: bmc::Selector,
        /// What it does.
        does: bmc::Action,
        /// Matches that pass first.
        skip: u32,
        /// It ends by itself after this.
        lasts: Option<Duration>,
        /// What its Redfish face does in the meantime, if it has one; `None`: nothing is wrong with that.
        redfish: Option<RedfishFault>,
    },
    /// With the Redfish face of the BMC alone.
    Redfish {
        /// Which requests meet what; its count is the line's.
        rule: FaultRule,
        /// It ends by itself after this.
        lasts: Option<Duration>,
    },
    /// With the machine.
    Machine(Fault),
    /// With one of the machine's disks, counted from 1.
    Disk {
        /// Which; any if `None`.
        disk: Option<usize>,
        /// When it is asked for what.
        on: DiskWork,
    },
    /// The machine says that it has another machine's UUID, from its making.
    SameUuid {
        /// Whose, counted from 1.
        of: u32,
    },
    /// The BMC's cable and another's were mixed up when the machines were put in.
    SwapBmc {
        /// Whose, counted from 1.
        with: u32,
    },
}

words! {
    /// The names of actions.
    Name {
        /// The BMC answers nothing.
        BlackHole = "black-hole",
        /// The BMC starts anew: for a while it is silent, or unavailable by Redfish, and it forgets Redfish sessions.
        BmcReset = "bmc-reset",
        /// The BMC is silent about something.
        BmcSilent = "bmc-silent",
        /// The BMC refuses.
        BmcRefuse = "bmc-refuse",
        /// The BMC answers late.
        BmcDelay = "bmc-delay",
        /// The BMC does as it is told, but its answer is lost.
        BmcLoseAnswer = "bmc-lose-answer",
        /// The BMC answers twice.
        BmcTwice = "bmc-twice",
        /// The BMC answers nonsense.
        BmcNonsense = "bmc-nonsense",
        /// The BMC tells the opposite of the power's state.
        BmcLie = "bmc-lie",
        /// The BMC says that all its sessions are taken.
        BmcFull = "bmc-full",
        /// The BMC says yes and does nothing.
        BmcPretend = "bmc-pretend",
        /// The BMC is unavailable by Redfish, as while it updates itself.
        Redfish503 = "redfish-503",
        /// The BMC refuses by Redfish.
        RedfishRefuse = "redfish-refuse",
        /// The BMC answers late by Redfish.
        RedfishDelay = "redfish-delay",
        /// The BMC answers by Redfish what is no JSON.
        RedfishNonsense = "redfish-nonsense",
        /// Packets of the firmware are lost.
        DropPackets = "drop-packets",
        /// Packets of the firmware come twice.
        DoublePackets = "double-packets",
        /// The firmware hangs.
        NeverBoot = "never-boot",
        /// The machine resets while an image is written.
        DieInWrite = "die-in-write",
        /// A script or test fails.
        TestFails = "test-fails",
        /// A disk fails.
        DiskFails = "disk-fails",
        /// The machine's clock is wrong.
        ClockSkew = "clock-skew",
        /// Something takes longer.
        Slow = "slow",
        /// The answer to the agent's report is lost.
        LoseReport = "lose-report",
        /// The agent cannot start its SSH server.
        SshFails = "ssh-fails",
        /// The machine resets before its agent says anything.
        DieInBoot = "die-in-boot",
        /// The firmware boots from another network card first.
        BootNic = "boot-nic",
        /// Two machines have one UUID.
        SameUuid = "same-uuid",
        /// Two BMCs are mixed up.
        SwapBmc = "swap-bmc",
    }
}

impl Action {
    /// Must it be known when machines are made?
    #[must_use]
    pub const fn is_made(&self) -> bool {
        matches!(self, Self::SameUuid { .. } | Self::SwapBmc { .. })
    }

    /// The keys that an action takes, for messages.
    pub(super) fn keys(name: &str) -> &'static str {
        match name.parse() {
            Ok(Name::BlackHole) => "for= ",
            Ok(Name::BmcReset) => "for= (must be there) ",
            Ok(Name::BmcSilent | Name::BmcLoseAnswer | Name::BmcTwice | Name::BmcNonsense | Name::BmcPretend) => {
                "on= suite= skip= for= "
            }
            Ok(Name::BmcRefuse) => "code= on= suite= skip= for= ",
            Ok(Name::BmcDelay) => "by= on= suite= skip= for= ",
            Ok(Name::BmcLie | Name::BmcFull) => "skip= for= ",
            Ok(Name::Redfish503) => "retry-after= on= for= ",
            Ok(Name::RedfishRefuse) => "status= on= for= ",
            Ok(Name::RedfishDelay) => "by= on= for= ",
            Ok(Name::RedfishNonsense) => "on= for= ",
            Ok(Name::DropPackets | Name::DoublePackets) => "share= ",
            Ok(Name::DieInWrite) => "at= ",
            Ok(Name::TestFails) => "test= ",
            Ok(Name::DiskFails) => "on= disk= ",
            Ok(Name::ClockSkew) => "by= ",
            Ok(Name::Slow) => "stage= by= ",
            Ok(Name::BootNic) => "nic= ",
            Ok(Name::SameUuid) => "as= ",
            Ok(Name::SwapBmc) => "with= ",
            Ok(Name::NeverBoot | Name::LoseReport | Name::SshFails | Name::DieInBoot) | Err(_) => "",
        }
    }

    pub(super) fn parse(name: &str, words: &mut Words) -> Result<Self, String> {
        let name: Name = name.parse().map_err(|e: UnknownWord| e.to_string())?;
        Ok(match name {
            Name::BlackHole
            | Name::BmcReset
            | Name::BmcSilent
            | Name::BmcRefuse
            | Name::BmcDelay
            | Name::BmcLoseAnswer
            | Name::BmcTwice
            | Name::BmcNonsense
            | Name::BmcLie
            | Name::BmcFull
            | Name::BmcPretend => return controller(name, words),
            Name::Redfish503 => redfish::action(redfish::unavailable(words)?, words)?,
            Name::RedfishRefuse => redfish::action(redfish::refuse(words)?, words)?,
            Name::RedfishDelay => redfish::action(redfish::delay(words)?, words)?,
            Name::RedfishNonsense => redfish::action(RedfishFault::NotJson, words)?,
            Name::DropPackets => Self::Machine(Fault::DropPacket { permille: share(words)? }),
            Name::DoublePackets => Self::Machine(Fault::DuplicatePacket { permille: share(words)? }),
            Name::NeverBoot => Self::Machine(Fault::NeverBoot),
            Name::DieInWrite => Self::Machine(Fault::DieInWrite { permille: words.need::<Share>("at")?.permille }),
            Name::TestFails => Self::Machine(Fault::TestFails { test: words.pair("test")?.unwrap_or_default() }),
            Name::DiskFails => Self::Disk { disk: disk(words)?, on: words.need::<Work>("on")?.0 },
            Name::ClockSkew => {
                let by: Span = words.need("by")?;
                let seconds = i64::try_from(by.length.as_secs()).unwrap_or(i64::MAX);
                Self::Machine(Fault::ClockSkew { seconds: if by.negative { -seconds } else { seconds } })
            }
            Name::Slow => {
                let (stage, by): (StageWord, Span) = (words.need("stage")?, words.need("by")?);
                Self::Machine(Fault::Delay { stage: stage.0, by: by.length })
            }
            Name::LoseReport => Self::Machine(Fault::LoseReport),
            Name::SshFails => Self::Machine(Fault::SshFails),
            Name::DieInBoot => Self::Machine(Fault::DieInBoot),
            Name::BootNic => {
                let nic: usize = words.need("nic")?;
                let nic = nic.checked_sub(1).ok_or("nic: network cards are counted from 1")?;
                Self::Machine(Fault::BootNic { nic })
            }
            Name::SameUuid => Self::SameUuid { of: machine(words, "as")? },
            Name::SwapBmc => Self::SwapBmc { with: machine(words, "with")? },
        })
    }
}

fn share(words: &mut Words) -> Result<u32, String> {
    Ok(words.need::<Share>("share")?.permille)
}

fn disk(words: &mut Words) -> Result<Option<usize>, String> {
    match words.pair::<usize>("disk")? {
        Some(0) => Err("disk: disks are counted from 1".to_owned()),
        other => Ok(other),
    }
}

fn machine(words: &mut Words, key: &str) -> Result<u32, String> {
    let word: String = words.need(key)?;
    number(&word).ok_or_else(|| format!("{key}: {word:?} must be one machine, such as m3"))
}

/// What goes wrong with a BMC.
fn controller(name: Name, words: &mut Words) -> Result<Action, String> {
    let lasts = words.pair::<Span>("for")?.map(|span| span.length);
    if name == Name::BmcReset && lasts.is_none() {
        return Err("for= is missing: how long a BMC takes to start".to_owned());
    }
    let skip = words.pair("skip")?.unwrap_or(0);
    let (does, default) = match name {
        Name::BmcRefuse => (bmc::Action::Refuse(words.need::<Code>("code")?.0), bmc::Selector::Commands),
        Name::BmcDelay => (bmc::Action::Delay(words.need::<Span>("by")?.length), bmc::Selector::Any),
        Name::BmcLoseAnswer => (bmc::Action::DropAnswer, bmc::Selector::Any),
        Name::BmcTwice => (bmc::Action::Duplicate, bmc::Selector::Any),
        Name::BmcNonsense => (bmc::Action::Nonsense, bmc::Selector::Any),
        Name::BmcLie => (bmc::Action::LieAboutPower, bmc::Selector::PowerReads),
        Name::BmcFull => (bmc::Action::SessionTableFull, bmc::Selector::OpenSession),
        Name::BmcPretend => (bmc::Action::AckWithoutApplying, bmc::Selector::AccountWrites),
        Name::BlackHole
        | Name::BmcReset
        | Name::BmcSilent
        | Name::Redfish503
        | Name::RedfishRefuse
        | Name::RedfishDelay
        | Name::RedfishNonsense
        | Name::DropPackets
        | Name::DoublePackets
        | Name::NeverBoot
        | Name::DieInWrite
        | Name::DiskFails
        | Name::TestFails
        | Name::ClockSkew
        | Name::Slow
        | Name::LoseReport
        | Name::SshFails
        | Name::DieInBoot
        | Name::BootNic
        | Name::SameUuid
        | Name::SwapBmc => (bmc::Action::Drop, bmc::Selector::Any),
    };
    let fixed = matches!(name, Name::BlackHole | Name::BmcReset | Name::BmcLie | Name::BmcFull);
    let on = if fixed { default } else { words.pair::<On>("on")?.map_or(default, |on| on.0) };
    let on = match words.pair("suite")? {
        Some(suite) if on == bmc::Selector::OpenSession => bmc::Selector::OpenSuite(suite),
        Some(_) => return Err("suite: goes with on=open-session only".to_owned()),
        None => on,
    };
    let redfish = match lasts {
        _ if name == Name::BlackHole => Some(RedfishFault::BlackHole),
        Some(time) if name == Name::BmcReset => Some(redfish::away(time)),
        Some(_) | None => None,
    };
    Ok(Action::Bmc { on, does, skip, lasts, redfish })
}

/// Defines how one of a few values is read from its word.
struct Table<T: 'static>(&'static [(&'static str, T)]);

impl<T: Copy> Table<T> {
    fn find(&self, word: &str) -> Result<T, String> {
        let found = self.0.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
        let known = || self.0.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| format!("must be one of {}", known()))
    }
}

struct On(bmc::Selector);

impl std::str::FromStr for On {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        const WORDS: Table<bmc::Selector> = Table(&[
            ("any", bmc::Selector::Any),
            ("ping", bmc::Selector::Ping),
            ("discovery", bmc::Selector::Discovery),
            ("open-session", bmc::Selector::OpenSession),
            ("rakp1", bmc::Selector::Rakp1),
            ("rakp3", bmc::Selector::Rakp3),
            ("commands", bmc::Selector::Commands),
            ("power-reads", bmc::Selector::PowerReads),
            ("power-writes", bmc::Selector::PowerWrites),
            ("account-writes", bmc::Selector::AccountWrites),
        ]);
        let Some((netfn, command)) = word.split_once('/') else {
            return WORDS.find(word).map(Self).map_err(|e| format!("{e}, or a command such as 0x00/0x02"));
        };
        let (netfn, command) = (netfn.parse::<Code>()?.0, command.parse::<Code>()?.0);
        Ok(Self(bmc::Selector::Command { netfn, command }))
    }
}

struct Work(DiskWork);

impl std::str::FromStr for Work {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        const WORDS: Table<DiskWork> =
            Table(&[("write", DiskWork::Write), ("read-back", DiskWork::ReadBack), ("erase", DiskWork::Erase)]);
        WORDS.find(word).map(Self)
    }
}

struct StageWord(Stage);

impl std::str::FromStr for StageWord {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        const WORDS: Table<Stage> = Table(&[
            ("self-test", Stage::SelfTest),
            ("net-boot", Stage::NetBoot),
            ("kernel", Stage::Kernel),
            ("task", Stage::Task),
            ("system", Stage::System),
        ]);
        WORDS.find(word).map(Self)
    }
}

/// A byte, as BMCs' manuals write it.
struct Code(u8);

impl std::str::FromStr for Code {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let hex = word.strip_prefix("0x").and_then(|digits| u8::from_str_radix(digits, 16).ok());
        hex.map(Self).ok_or_else(|| "must be a byte such as 0xc0".to_owned())
    }
}
