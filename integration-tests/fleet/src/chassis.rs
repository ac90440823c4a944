//! A machine's chassis: what its BMC and its firmware have in common.
//!
//! The BMC switches it, the machine's brain watches it and may switch it too, as an operating system does that shuts down.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farrier_common::words;
use tokio::sync::watch;

use crate::{
    event_log::EventLog,
    truth::{Fact, Truth},
};

words! {
    /// Where a boot override sends the firmware.
    BootTarget {
        /// PXE.
        Network = "network",
        /// UEFI HTTP boot.
        Http = "http",
        /// The first disk.
        Disk = "disk",
        /// The first disk, in safe mode.
        SafeDisk = "safe-disk",
        /// The diagnostic partition.
        Diagnostics = "diagnostics",
        /// An optical drive.
        Cdrom = "cdrom",
        /// The firmware's own menus.
        Setup = "setup",
        /// A removable or remote medium.
        Media = "media",
    }
}

words! {
    /// Who caused a change of the power.
    Cause {
        /// The machine came to be like this.
        Birth = "birth",
        /// A command to the BMC.
        Bmc = "bmc",
        /// Somebody at the machine.
        Button = "button",
        /// The operating system.
        Os = "os",
    }
}

/// What the firmware is to boot instead of its first entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootOverride {
    /// From where.
    pub target: BootTarget,
    /// Holds until it is taken back; otherwise for one boot.
    pub persistent: bool,
    /// The mode asked for: UEFI, or PC-compatible.
    pub uefi: bool,
    /// For HTTP boot: from this address instead of the one that DHCP tells.
    pub http_uri: Option<String>,
}

/// The power as others see it. `edges` tells a reader that was late that something happened in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Power {
    /// Is it on?
    pub on: bool,
    /// How often the machine lost power, got power, or was reset.
    pub edges: u64,
    /// Who caused the last edge.
    pub cause: Cause,
    /// The override that the firmware found when it last started.
    pub boot: Option<BootOverride>,
    /// How often the operating system was asked to shut down.
    pub soft_requests: u64,
}

/// Handle on one chassis; clones are the same chassis.
#[derive(Clone, Debug)]
pub struct Chassis(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    boot: Mutex<Boot>,
    power: watch::Sender<Power>,
    truth: Arc<Truth>,
    log: Mutex<EventLog>,
}

#[derive(Debug, Default)]
struct Boot {
    next: Option<BootOverride>,
    generation: u64,
}

impl Chassis {
    /// A chassis without power.
    #[must_use]
    pub fn new(truth: Arc<Truth>) -> Self {
        let power = Power { on: false, edges: 0, cause: Cause::Birth, boot: None, soft_requests: 0 };
        Self(Arc::new(Inner { boot: Mutex::default(), power: watch::Sender::new(power), truth, log: Mutex::default() }))
    }

    /// The machine's counters.
    #[must_use]
    pub fn truth(&self) -> &Arc<Truth> {
        &self.0.truth
    }

    /// What the BMC has logged, whichever face shows it.
    pub fn log(&self) -> MutexGuard<'_, EventLog> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is it on?
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.power.borrow().on
    }

    /// The power now.
    #[must_use]
    pub fn power(&self) -> Power {
        self.0.power.borrow().clone()
    }

    /// Tells every change of the power.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Power> {
        self.0.power.subscribe()
    }

    /// Switches on; `false` if it was on.
    pub fn power_on(&self, cause: Cause) -> bool {
        self.change(cause, |on| (!on).then_some((1, true, Fact::PowerOn)))
    }

    /// Cuts the power; `false` if it was off.
    pub fn power_off(&self, cause: Cause) -> bool {
        self.change(cause, |on| on.then_some((1, false, Fact::PowerOff)))
    }

    /// Off and on again; `false`, and nothing happens, if it was off.
    pub fn cycle(&self, cause: Cause) -> bool {
        self.change(cause, |on| on.then_some((2, true, Fact::PowerCycle)))
    }

    /// Resets; `false`, and nothing happens, if it was off.
    pub fn reset(&self, cause: Cause) -> bool {
        self.change(cause, |on| on.then_some((1, true, Fact::Reset)))
    }

    /// Asks the operating system to shut down, which it does by [`Chassis::power_off`]; `false` if the power is off.
    pub fn soft(&self) -> bool {
        let asked = self.0.power.send_if_modified(|power| {
            power.soft_requests += u64::from(power.on);
            power.on
        });
        if asked {
            self.0.truth.count(Fact::SoftOff);
        }
        asked
    }

    /// Sets or takes back what the firmware is to boot; the number changes with every change of the override.
    pub fn set_boot(&self, next: Option<BootOverride>) -> u64 {
        let mut boot = self.boot_lock();
        boot.next = next;
        boot.generation += 1;
        boot.generation
    }

    /// What the firmware is to boot at its next start, and the number of this override.
    #[must_use]
    pub fn boot(&self) -> (Option<BootOverride>, u64) {
        let boot = self.boot_lock();
        (boot.next.clone(), boot.generation)
    }

    fn boot_lock(&self) -> MutexGuard<'_, Boot> {
        self.0.boot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step of the power: `plan` gets the power and tells the number of edges, the power after, and what it counts as.
    fn change(&self, cause: Cause, plan: impl FnOnce(bool) -> Option<(u64, bool, Fact)>) -> bool {
        let mut counted = None;
        self.0.power.send_if_modified(|power| {
            let Some((edges, on, fact)) = plan(power.on) else { return false };
            power.edges += edges;
            power.on = on;
            power.cause = cause;
            if on {
                power.boot = self.take_boot();
            }
            counted = Some((fact, on && power.boot.is_some()));
            true
        });
        let Some((fact, overridden)) = counted else { return false };
        self.0.truth.count(fact);
        if overridden {
            self.0.truth.count(Fact::BootOverride);
        }
        true
    }

    /// What the firmware finds when it starts: a one-shot override is gone after this.
    fn take_boot(&self) -> Option<BootOverride> {
        let mut boot = self.boot_lock();
        let found = boot.next.clone();
        if found.as_ref().is_some_and(|o| !o.persistent) {
            boot.next = None;
            boot.generation += 1;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(persistent: bool) -> Option<BootOverride> {
        Some(BootOverride { target: BootTarget::Network, persistent, uefi: true, http_uri: None })
    }

    #[test]
    fn a_one_shot_override_is_for_one_boot_and_a_persistent_one_stays() {
        let chassis = Chassis::new(Arc::default());
        chassis.set_boot(network(false));
        assert!(chassis.power_on(Cause::Bmc));
        assert_eq!(chassis.power().boot, network(false));
        assert_eq!(chassis.boot().0, None);
        assert!(chassis.reset(Cause::Os));
        assert_eq!(chassis.power().boot, None);
        chassis.set_boot(network(true));
        assert!(chassis.cycle(Cause::Bmc) && chassis.reset(Cause::Bmc));
        assert_eq!(chassis.boot().0, network(true));
        assert_eq!(chassis.truth().of(Fact::BootOverride), 3);
    }

    #[test]
    fn only_what_happens_is_counted_and_told() {
        let chassis = Chassis::new(Arc::default());
        let mut watch = chassis.watch();
        assert!(!chassis.power_off(Cause::Bmc) && !chassis.cycle(Cause::Bmc) && !chassis.soft());
        assert!(!watch.has_changed().unwrap());
        assert!(chassis.power_on(Cause::Button) && !chassis.power_on(Cause::Button) && chassis.soft());
        assert!(watch.has_changed().unwrap());
        assert_eq!((watch.borrow_and_update().edges, chassis.power().soft_requests), (1, 1));
        assert!(chassis.cycle(Cause::Bmc));
        assert_eq!(watch.borrow_and_update().edges, 3);
        let counted: Vec<_> = chassis.truth().snapshot().into_iter().collect();
        assert_eq!(counted, [(Fact::PowerOn, 1), (Fact::PowerCycle, 1), (Fact::SoftOff, 1)]);
    }
}
