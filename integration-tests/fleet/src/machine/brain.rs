//! What a machine does, as a state machine without sockets and time: power comes, the firmware walks through its boot order,
//! and what was booted ends in one way or another.

use farrier_common::words;

use crate::{
    boot::Boot,
    chassis::{BootOverride, BootTarget},
};

words! {
    /// Where a machine is.
    Whereabouts {
        /// Without power.
        Off = "off",
        /// In its power-on self-test.
        SelfTest = "self-test",
        /// Booting from the network.
        NetBoot = "net-boot",
        /// In the ephemeral environment.
        Agent = "agent",
        /// In its installed system.
        System = "system",
        /// Found nothing to boot; it begins anew after a while.
        NothingToBoot = "nothing-to-boot",
        /// Waits for a person.
        Hung = "hung",
    }
}

words! {
    /// What the firmware tries first when nobody overrides it.
    BootOrder {
        /// The network, then the disk.
        NetworkFirst = "network-first",
        /// The disk, then the network.
        DiskFirst = "disk-first",
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Power came, or came anew.
    PowerOn {
        /// What the firmware is to boot instead of its first entry.
        boot: Option<BootOverride>,
    },
    /// The power is gone.
    PowerOff,
    /// The last [`Action::Start`] ended.
    Ended(Ended),
}

/// How a piece of work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The self-test passed.
    Tested,
    /// It did not come to an end.
    Hung(String),
    /// The network boot led there.
    Booted(Boot),
    /// The agent or the system wants the machine off.
    PowerOff,
    /// The machine is to start anew.
    Restart(String),
    /// A while is over.
    Waited,
}

/// Something that takes its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// The power-on self-test.
    SelfTest,
    /// A network boot.
    NetBoot {
        /// UEFI HTTP boot from this address.
        uri: Option<String>,
        /// By HTTP, whatever the machine does otherwise.
        http: bool,
    },
    /// The ephemeral environment.
    Agent {
        /// The kernel's command line.
        cmdline: String,
    },
    /// The installed system.
    System,
    /// Wait before the boot order is tried anew.
    Wait,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Whatever goes on ends here.
    Stop,
    /// Begin this.
    Start(Work),
    /// Switch the machine off.
    PowerOff,
    /// Reset the machine.
    Reset,
    /// For whoever watches.
    Note(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Network { uri: Option<String>, http: bool },
    Disk,
    Menu,
}

/// The brain of one machine.
#[derive(Debug)]
pub struct Brain {
    order: BootOrder,
    whereabouts: Whereabouts,
    /// What is still to be tried, the next one last.
    entries: Vec<Entry>,
}

impl Brain {
    /// Of a machine without power.
    #[must_use]
    pub const fn new(order: BootOrder) -> Self {
        Self { order, whereabouts: Whereabouts::Off, entries: Vec::new() }
    }

    /// Where the machine is.
    #[must_use]
    pub const fn whereabouts(&self) -> Whereabouts {
        self.whereabouts
    }

    /// Takes in what happened; `disk` tells whether a disk could be started now.
    pub fn on(&mut self, event: Event, disk: bool) -> Vec<Action> {
        match event {
            Event::PowerOff => {
                self.whereabouts = Whereabouts::Off;
                vec![Action::Stop]
            }
            Event::PowerOn { boot } => {
                self.plan(boot);
                vec![Action::Stop, self.start(Whereabouts::SelfTest, Work::SelfTest)]
            }
            Event::Ended(_) if matches!(self.whereabouts, Whereabouts::Off | Whereabouts::Hung) => Vec::new(),
            Event::Ended(ended) => self.ended(ended, disk),
        }
    }

    fn ended(&mut self, ended: Ended, disk: bool) -> Vec<Action> {
        match ended {
            Ended::Tested => self.next(disk),
            Ended::Waited => {
                self.plan(None);
                self.next(disk)
            }
            Ended::Hung(why) | Ended::Booted(Boot::Stuck(why)) => self.hang(why),
            Ended::Booted(Boot::LocalDisk) => self.next(disk),
            Ended::Booted(Boot::Failed(why)) => {
                let mut actions = vec![Action::Note(format!("network boot: {why}"))];
                actions.extend(self.next(disk));
                actions
            }
            Ended::Booted(Boot::Ephemeral { cmdline }) => {
                vec![self.start(Whereabouts::Agent, Work::Agent { cmdline })]
            }
            Ended::PowerOff => vec![Action::PowerOff],
            Ended::Restart(why) => vec![Action::Note(why), Action::Reset],
        }
    }

    fn plan(&mut self, boot: Option<BootOverride>) {
        let network = || Entry::Network { uri: None, http: false };
        self.entries = match self.order {
            BootOrder::NetworkFirst => vec![Entry::Disk, network()],
            BootOrder::DiskFirst => vec![network(), Entry::Disk],
        };
        let Some(boot) = boot else { return };
        self.entries.extend(match boot.target {
            BootTarget::Network => Some(network()),
            BootTarget::Http => Some(Entry::Network { uri: boot.http_uri, http: true }),
            BootTarget::Disk | BootTarget::SafeDisk => Some(Entry::Disk),
            BootTarget::Diagnostics | BootTarget::Setup => Some(Entry::Menu),
            // Nobody put anything in: the firmware goes on to its order.
            BootTarget::Cdrom | BootTarget::Media => None,
        });
    }

    fn next(&mut self, disk: bool) -> Vec<Action> {
        while let Some(entry) = self.entries.pop() {
            match entry {
                Entry::Network { uri, http } => {
                    return vec![self.start(Whereabouts::NetBoot, Work::NetBoot { uri, http })];
                }
                Entry::Disk if disk => return vec![self.start(Whereabouts::System, Work::System)],
                Entry::Disk => {}
                Entry::Menu => return self.hang("the firmware shows its menu".to_owned()),
            }
        }
        let note = Action::Note("there is nothing to boot".to_owned());
        vec![note, self.start(Whereabouts::NothingToBoot, Work::Wait)]
    }

    fn hang(&mut self, why: String) -> Vec<Action> {
        self.whereabouts = Whereabouts::Hung;
        vec![Action::Note(why)]
    }

    const fn start(&mut self, whereabouts: Whereabouts, work: Work) -> Action {
        self.whereabouts = whereabouts;
        Action::Start(work)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on(target: BootTarget) -> Event {
        let http_uri = (target == BootTarget::Http).then(|| "http://x/".to_owned());
        Event::PowerOn { boot: Some(BootOverride { target, persistent: false, uefi: true, http_uri }) }
    }

    fn started(actions: &[Action]) -> Option<&Work> {
        actions.iter().find_map(|a| if let Action::Start(work) = a { Some(work) } else { None })
    }

    fn network() -> Work {
        Work::NetBoot { uri: None, http: false }
    }

    fn failed() -> Event {
        Event::Ended(Ended::Booted(Boot::Failed("no offer".to_owned())))
    }

    #[test]
    fn the_boot_order_is_walked_through_again_and_again() {
        let mut brain = Brain::new(BootOrder::NetworkFirst);
        brain.on(Event::PowerOn { boot: None }, false);
        assert_eq!(started(&brain.on(Event::Ended(Ended::Tested), false)), Some(&network()));
        assert_eq!(started(&brain.on(failed(), false)), Some(&Work::Wait));
        assert_eq!(started(&brain.on(Event::Ended(Ended::Waited), false)), Some(&network()));
        assert_eq!(started(&brain.on(failed(), true)), Some(&Work::System));
    }

    #[test]
    fn an_override_comes_first_and_the_order_after_it() {
        let mut brain = Brain::new(BootOrder::DiskFirst);
        brain.on(on(BootTarget::Network), true);
        assert_eq!(started(&brain.on(Event::Ended(Ended::Tested), true)), Some(&network()));
        let local = Event::Ended(Ended::Booted(Boot::LocalDisk));
        assert_eq!(started(&brain.on(local, true)), Some(&Work::System));
        brain.on(on(BootTarget::Http), false);
        let work = Work::NetBoot { uri: Some("http://x/".to_owned()), http: true };
        assert_eq!(started(&brain.on(Event::Ended(Ended::Tested), false)), Some(&work));
        brain.on(on(BootTarget::Setup), true);
        brain.on(Event::Ended(Ended::Tested), true);
        assert_eq!(brain.whereabouts(), Whereabouts::Hung);
    }

    #[test]
    fn a_cut_ends_everything_and_what_ends_late_means_nothing() {
        let mut brain = Brain::new(BootOrder::NetworkFirst);
        brain.on(Event::PowerOn { boot: None }, false);
        brain.on(Event::Ended(Ended::Tested), false);
        let cmdline = "x".to_owned();
        brain.on(Event::Ended(Ended::Booted(Boot::Ephemeral { cmdline })), false);
        assert_eq!(brain.whereabouts(), Whereabouts::Agent);
        assert_eq!(brain.on(Event::PowerOff, false), [Action::Stop]);
        assert_eq!((brain.on(Event::Ended(Ended::PowerOff), false), brain.whereabouts()), (vec![], Whereabouts::Off));
    }

    proptest! {
        #[test]
        fn work_is_only_begun_with_power_and_one_at_a_time(steps: Vec<(u8, bool)>) {
            let mut brain = Brain::new(BootOrder::NetworkFirst);
            let (mut power, mut busy) = (false, false);
            for (step, disk) in steps {
                let event = match step % 8 {
                    0 => Event::PowerOff,
                    1 => Event::PowerOn { boot: None },
                    _ if !busy => continue,
                    2 => Event::Ended(Ended::Tested),
                    3 => Event::Ended(Ended::Booted(Boot::LocalDisk)),
                    4 => Event::Ended(Ended::Booted(Boot::Ephemeral { cmdline: String::new() })),
                    5 => Event::Ended(Ended::Waited),
                    6 => Event::Ended(Ended::Hung(String::new())),
                    _ => failed(),
                };
                match event {
                    Event::PowerOff => power = false,
                    Event::PowerOn { .. } => power = true,
                    Event::Ended(_) => busy = false,
                }
                for action in brain.on(event, disk) {
                    match action {
                        Action::Stop => busy = false,
                        Action::Start(_) => {
                            prop_assert!(power && !busy);
                            busy = true;
                        }
                        Action::PowerOff | Action::Reset | Action::Note(_) => {}
                    }
                }
                prop_assert_eq!(brain.whereabouts() == Whereabouts::Off, !power);
            }
        }
    }
}
