//! The commands of scenarios.

use std::{str::FromStr, time::Duration};

use farrier_common::{hardware::PowerState, words, words::UnknownWord};
use farrier_proto::v1::MachineState;

pub use super::vocabulary::{Name, Verb};
use crate::{
    fault_plan::{Line, Selector, selector},
    population::FirmwareWord,
    truth::Fact,
    words::{Span, Words},
};

words! {
    /// A process that scenarios end and start.
    Process {
        /// `farrier-region`.
        Region = "region",
        /// `farrier-rack`.
        Rack = "rack",
        /// PostgreSQL.
        Database = "database",
    }
}

words! {
    /// What keeps the region's state.
    Database {
        /// A file of its own.
        Sqlite = "sqlite",
        /// A server.
        Postgres = "postgres",
    }
}

words! {
    /// What is done to a disk.
    DiskDeed {
        /// It is pulled out.
        Hide = "hide",
        /// It is put back.
        Show = "show",
        /// Somebody's data come onto it.
        Mark = "mark",
        /// What is on it is destroyed in part.
        Tear = "tear",
    }
}

words! {
    /// What a hand at the machine does.
    PowerDeed {
        /// Presses its button.
        On = "on",
        /// Pulls its plug.
        Off = "off",
        /// Presses reset.
        Reset = "reset",
    }
}

words! {
    /// What happens to a file in the rack's cache.
    Damage {
        /// Some of its bytes change.
        Damage = "damage",
        /// Its end is lost.
        Cut = "cut",
        /// Nothing: it must be whole, or become so.
        Whole = "whole",
    }
}

words! {
    /// Whether somebody insists.
    Force {
        /// He does.
        Yes = "yes",
    }
}

words! {
    /// How a count is judged.
    Operator {
        /// Equal.
        Is = "==",
        /// At most.
        Most = "<=",
        /// At least.
        Least = ">=",
    }
}

/// A count that must be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// How.
    pub operator: Operator,
    /// To what.
    pub number: u64,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes machines.
    Fleet(FleetOptions),
    /// Starts region and rack.
    Site(SiteOptions),
    /// Presses power buttons.
    Power(Selector, PowerDeed),
    /// Asks the region.
    Say(Verb, Selector),
    /// Asks the region, which must refuse.
    Refused(Verb, Selector),
    /// Waits for a state.
    Until(Selector, MachineState, Duration),
    /// Sees that a state stays.
    Stays(Selector, MachineState, Duration),
    /// Waits for a reason.
    Reason(Selector, String, Duration),
    /// Has something go wrong.
    Fault(Line),
    /// Takes all faults back.
    Heal(Selector),
    /// Shows what is still to go wrong.
    Faults(Selector),
    /// Ends a process.
    End {
        /// Which.
        process: Process,
        /// As a crash does.
        kill: bool,
        /// In a while, while the script goes on.
        after: Option<Duration>,
        /// It is started again after this, while the script goes on.
        lasts: Option<Duration>,
    },
    /// Starts a process.
    Start(Process),
    /// Shows which edges of the life-cycle were taken.
    Edges,
    /// Shows what the region explains.
    Explain(u32),
    /// Counts entries of a timeline.
    Timeline(u32, String, Bound),
    /// Shows what really happened.
    Truth(Selector),
    /// Judges what really happened.
    Judge(Selector, Fact, Bound),
    /// Does something to a disk, counted from 1.
    Disk(u32, usize, DiskDeed),
    /// Shows what is on disks.
    Disks(Selector),
    /// Has machines taken out of the database; `true`: also if their BMCs do not play along.
    Delete(Selector, bool),
    /// Shows the users of BMCs.
    Accounts(Selector),
    /// Has systems asked to shut down.
    SoftOff(Selector),
    /// Waits until the region tells this power.
    Tells(Selector, PowerState, Duration),
    /// Damages the rack's copy of the image.
    Cache(Damage),
    /// Waits for a line of a log.
    Log(Process, String, Duration),
    /// Lets time pass.
    Wait(Duration),
}

/// Of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetOptions {
    /// How many.
    pub machines: u32,
    /// The same seed gives the same fleet.
    pub seed: u64,
    /// Personalities, which take turns.
    pub vendors: Vec<String>,
    /// How they boot, in turns.
    pub firmwares: Vec<FirmwareWord>,
    /// How many disks each has.
    pub disks: usize,
}

/// Of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteOptions {
    /// What keeps the state.
    pub database: Database,
    /// Addresses for machines that are not known; the lab's own range if `None`.
    pub dynamic: Option<String>,
    /// Deadlines that are not the region's own, in minutes.
    pub deadlines: Vec<(&'static str, u32)>,
    /// Seconds between two looks at the power of machines at rest.
    pub poll: u32,
}

/// No wait is longer.
const MOST: Duration = Duration::from_mins(10);
const WITHIN: Duration = Duration::from_mins(2);
/// Keys of the region's deadlines.
const DEADLINES: [&str; 7] = [
    "commissioning_minutes",
    "testing_minutes",
    "deploying_minutes",
    "releasing_minutes",
    "boot_minutes",
    "entering_rescue_minutes",
    "exiting_rescue_minutes",
];
const SITE_KEYS: &str = "database= dynamic= poll= commissioning_minutes= testing_minutes= deploying_minutes= releasing_minutes= \
                         boot_minutes= entering_rescue_minutes= exiting_rescue_minutes=";

impl Command {
    /// Reads one line.
    ///
    /// # Errors
    /// What is wrong, and what is allowed.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut words = Words::split(line)?;
        let begin = words.next("a command")?;
        if let Ok(verb) = begin.parse() {
            let command = Self::Say(verb, who(&mut words)?);
            return words.end("").map(|()| command);
        }
        let name = begin.parse().map_err(|e: UnknownWord| format!("{e}, nor a verb: {}", verbs()))?;
        if name == Name::Fault {
            return Line::parse(words).map(Self::Fault);
        }
        let (command, keys) = read(name, &mut words)?;
        words.end(keys)?;
        Ok(command)
    }
}

/// The command, and the keys that it takes.
fn read(name: Name, words: &mut Words) -> Result<(Command, &'static str), String> {
    let command = match name {
        Name::Fleet => return Ok((fleet(words)?, "seed= vendors= firmware= disks=")),
        Name::Site => return Ok((site(words)?, SITE_KEYS)),
        Name::On => Command::Power(who(words)?, PowerDeed::On),
        Name::Refused => Command::Refused(words.read("which verb")?, who(words)?),
        Name::Until => {
            let (who, state) = (who(words)?, state(words)?);
            return Ok((Command::Until(who, state, within(words)?), "within="));
        }
        Name::Stays => {
            let (who, state, time) = (who(words)?, state(words)?, bounded(words.need("for")?)?);
            return Ok((Command::Stays(who, state, time), "for="));
        }
        Name::Reason => {
            let (who, text) = (who(words)?, words.next("which text")?);
            return Ok((Command::Reason(who, text, within(words)?), "within="));
        }
        Name::Fault => Command::Fault(Line::parse(words.clone())?),
        Name::Heal => Command::Heal(who(words)?),
        Name::Faults => Command::Faults(who(words)?),
        Name::Kill | Name::Stop => {
            let process = words.read("which process")?;
            let time = |span: Option<Span>| span.map(bounded).transpose();
            let (after, lasts) = (time(words.pair("after")?)?, time(words.pair("for")?)?);
            return Ok((Command::End { process, kill: name == Name::Kill, after, lasts }, "after= for="));
        }
        Name::Start => Command::Start(words.read("which process")?),
        Name::Edges => Command::Edges,
        Name::Explain => Command::Explain(one(words)?),
        Name::Timeline => Command::Timeline(one(words)?, words.next("which text")?, bound(words)?),
        Name::Truth => truth(words)?,
        Name::Disk => {
            let (machine, disk) = (one(words)?, words.read("which disk")?);
            Command::Disk(machine, disk, words.read("what is done to it")?)
        }
        Name::Disks => Command::Disks(who(words)?),
        Name::Delete => {
            let (who, force) = (who(words)?, words.pair::<Force>("force")?);
            return Ok((Command::Delete(who, force.is_some()), "force="));
        }
        Name::Accounts => Command::Accounts(who(words)?),
        Name::SoftOff => Command::SoftOff(who(words)?),
        Name::Tells => {
            let (who, power) = (who(words)?, words.read("which power")?);
            return Ok((Command::Tells(who, power, within(words)?), "within="));
        }
        Name::Power => Command::Power(who(words)?, words.read("what is done")?),
        Name::Cache => Command::Cache(words.read("what happens to it")?),
        Name::Log => {
            let (process, text) = (words.read("whose log")?, words.next("which text")?);
            return Ok((Command::Log(process, text, within(words)?), "within="));
        }
        Name::Wait => Command::Wait(bounded(words.read("how long")?)?),
    };
    Ok((command, ""))
}

fn verbs() -> String {
    Verb::ALL.iter().map(|verb| verb.as_str()).collect::<Vec<_>>().join(", ")
}

fn who(words: &mut Words) -> Result<Selector, String> {
    words.read("which machines")
}

fn one(words: &mut Words) -> Result<u32, String> {
    let word = words.next("which machine")?;
    selector::number(&word).ok_or_else(|| format!("which machine: {word:?} must be one, such as m3"))
}

fn bounded(span: Span) -> Result<Duration, String> {
    let fits = !span.negative && span.length <= MOST;
    if fits { Ok(span.length) } else { Err(format!("a wait must be from 0s to {}m", MOST.as_secs() / 60)) }
}

fn within(words: &mut Words) -> Result<Duration, String> {
    words.pair("within")?.map_or(Ok(WITHIN), bounded)
}

fn bound(words: &mut Words) -> Result<Bound, String> {
    Ok(Bound { operator: words.read("how it is judged")?, number: words.read("by which number")? })
}

fn truth(words: &mut Words) -> Result<Command, String> {
    let who = who(words)?;
    if words.is_empty() {
        return Ok(Command::Truth(who));
    }
    Ok(Command::Judge(who, words.read("which fact")?, bound(words)?))
}

fn state(words: &mut Words) -> Result<MachineState, String> {
    let word = words.next("which state")?;
    let all = || (1..).map_while(|n| MachineState::try_from(n).ok());
    let found = all().find(|state| state_word(*state) == word);
    let known = || all().map(state_word).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| format!("which state: {word:?} must be one of {}", known()))
}

/// As operators write it: `failed-releasing`.
#[must_use]
pub fn state_word(state: MachineState) -> String {
    let name = state.as_str_name();
    name.strip_prefix("MACHINE_STATE_").unwrap_or(name).to_ascii_lowercase().replace('_', "-")
}

fn list<T: FromStr<Err: ToString>>(words: &mut Words, key: &str, default: &str) -> Result<Vec<T>, String> {
    let text = words.pair::<String>(key)?.unwrap_or_else(|| default.to_owned());
    text.split(',').map(|word| word.parse().map_err(|e: T::Err| format!("{key}: {}", e.to_string()))).collect()
}

fn fleet(words: &mut Words) -> Result<Command, String> {
    let machines: u32 = words.read("how many machines")?;
    let disks: usize = words.pair("disks")?.unwrap_or(2);
    let (fits, few) = ((1..=1000).contains(&machines), (1..=8).contains(&disks));
    if !(fits && few) {
        return Err("a scenario has 1 to 1000 machines with 1 to 8 disks each".to_owned());
    }
    Ok(Command::Fleet(FleetOptions {
        machines,
        seed: words.pair("seed")?.unwrap_or(1),
        vendors: list(words, "vendors", "dell,hpe,supermicro,lenovo,openbmc")?,
        firmwares: list(words, "firmware", "bios-ipxe,uefi")?,
        disks,
    }))
}

fn site(words: &mut Words) -> Result<Command, String> {
    Ok(Command::Site(SiteOptions {
        database: words.pair("database")?.unwrap_or(Database::Sqlite),
        dynamic: words.pair("dynamic")?,
        deadlines: deadlines(words)?,
        poll: words.pair("poll")?.unwrap_or(3),
    }))
}

fn deadlines(words: &mut Words) -> Result<Vec<(&'static str, u32)>, String> {
    let given = DEADLINES.map(|key| Ok(words.pair(key)?.map(|minutes| (key, minutes))));
    given.into_iter().filter_map(Result::transpose).collect()
}

impl Bound {
    /// Is it so?
    #[must_use]
    pub const fn holds(self, number: u64) -> bool {
        match self.operator {
            Operator::Is => number == self.number,
            Operator::Most => number <= self.number,
            Operator::Least => number >= self.number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Command {
        Command::parse(line).unwrap()
    }

    fn wrong(line: &str) -> String {
        Command::parse(line).unwrap_err()
    }

    #[test]
    fn commands_are_read() {
        let all: Selector = "all".parse().unwrap();
        assert_eq!(read("on all"), Command::Power(all.clone(), PowerDeed::On));
        assert_eq!(
            read("until all failed-releasing within=5s"),
            Command::Until(all.clone(), MachineState::FailedReleasing, Duration::from_secs(5))
        );
        assert_eq!(read("truth all"), Command::Truth(all.clone()));
        let bound = Bound { operator: Operator::Most, number: 4 };
        assert_eq!(read("truth all lockout <= 4"), Command::Judge(all, Fact::Lockout, bound));
        assert!(bound.holds(4) && !bound.holds(5));
        assert_eq!(
            read("kill database for=3s"),
            Command::End { process: Process::Database, kill: true, after: None, lasts: Some(Duration::from_secs(3)) }
        );
        assert!(matches!(read("delete m1"), Command::Delete(_, false)));
        assert!(matches!(read("delete m1 force=yes"), Command::Delete(_, true)));
        assert!(matches!(read("fault m1 black-hole"), Command::Fault(_)));
        assert!(matches!(read("fleet 3 vendors=dell firmware=uefi-http"), Command::Fleet(f) if f.vendors == ["dell"]));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        assert!(wrong("until all asleep").starts_with("which state: \"asleep\" must be one of new, commissioning, "));
        assert_eq!(wrong("on all now"), "\"now\" is not known here; allowed is nothing");
        assert_eq!(wrong("until all new in=5s"), "\"in=5s\" is not known here; allowed is within=");
        assert_eq!(wrong("stays all new for=1h"), "for: \"1h\" must be a time such as 500ms, 5s or 2m, at most a day");
        assert_eq!(wrong("wait 11m"), "a wait must be from 0s to 10m");
        assert_eq!(wrong("explain all"), "which machine: \"all\" must be one, such as m3");
        assert_eq!(wrong("kill server"), "which process: \"server\" is not one of region, rack, database");
        assert_eq!(wrong("fleet 0"), "a scenario has 1 to 1000 machines with 1 to 8 disks each");
        assert_eq!(wrong("fleet 2 firmware=efi"), "firmware: \"efi\" must be bios, bios-ipxe, uefi or uefi-http");
    }
}
