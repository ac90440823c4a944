//! Between the chassis that the BMC switches and the owner of the emulator, who really switches it.
//!
//! The chassis is what the BMC wants; the owner is what is so. A change of the chassis goes to the owner at once. What
//! happens on the other side (the guest switches itself off or starts anew, somebody presses the button) is seen by looking.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use farrier_integration_tests::{error::Result, machine::control};
use tokio::{task::spawn_blocking, time::timeout};

use crate::chassis::{BootOverride, BootTarget, Cause, Chassis, Power};

/// Between two looks at the owner.
const LOOK: Duration = Duration::from_millis(200);

/// What the owner tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// The emulator's process; none if the power is off.
    pid: Option<u32>,
    /// What is booted at the next start, once.
    boot: String,
}

/// What an emulator did by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happened {
    Nothing,
    /// The button was pressed.
    SwitchedOn,
    /// The guest switched itself off, or lost its power.
    SwitchedOff,
    /// The guest started anew.
    Reset,
}

/// Follows the chassis with the machine, and the machine with the chassis, for as long as the process lives.
pub(super) async fn follow(socket: PathBuf, chassis: Chassis) {
    let mut changes = chassis.watch();
    let mut owner = Owner { socket, seen: Seen::default(), told: chassis.power() };
    loop {
        // Whatever comes first; the chassis outlives this.
        let _ = timeout(LOOK, changes.changed()).await;
        let of = chassis.clone();
        let turn = spawn_blocking(move || {
            if let Err(error) = owner.obey(&of).and_then(|()| owner.look(&of)) {
                tracing::warn!(%error, "the machine's owner does not obey");
            }
            owner
        });
        let Ok(back) = turn.await else { return };
        owner = back;
    }
}

struct Owner {
    socket: PathBuf,
    seen: Seen,
    /// The power that the owner has been told of.
    told: Power,
}

impl Owner {
    /// Does with the machine what was done with the chassis.
    fn obey(&mut self, chassis: &Chassis) -> Result<()> {
        let power = chassis.power();
        for order in orders(&self.told, &power) {
            control::ask(&self.socket, &order)?;
        }
        if power.edges != self.told.edges {
            self.seen = see(&self.socket)?;
        }
        self.told = power;
        Ok(())
    }

    /// Does with the chassis what happened to the machine; the next boot is the owner's to know.
    fn look(&mut self, chassis: &Chassis) -> Result<()> {
        let seen = see(&self.socket)?;
        let changed = match happened(&self.seen, &seen) {
            Happened::Nothing => false,
            Happened::SwitchedOn => chassis.power_on(Cause::Button),
            Happened::SwitchedOff => chassis.power_off(Cause::Os),
            Happened::Reset => chassis.reset(Cause::Os),
        };
        // Only this edge is known to the owner: what the BMC did meanwhile is still to be done.
        self.told.edges += u64::from(changed);
        self.told.on = seen.pid.is_some();
        let next = word(chassis.boot().0.as_ref());
        if seen.boot != next {
            control::ask(&self.socket, &format!("set boot {next}"))?;
        }
        self.seen = Seen { boot: next.to_owned(), ..seen };
        Ok(())
    }
}

fn see(socket: &Path) -> Result<Seen> {
    let pid = control::ask(socket, "pid")?.trim().parse().ok();
    let told = control::ask(socket, "get boot")?;
    Ok(Seen { pid, boot: told.trim().trim_start_matches("boot:").to_owned() })
}

/// What the owner is told, in order. A start obeys the override that the firmware finds.
fn orders(told: &Power, power: &Power) -> Vec<String> {
    let mut orders = Vec::new();
    if power.edges != told.edges {
        if power.on {
            orders.push(format!("set boot {}", word(power.boot.as_ref())));
            orders.push(if told.on { "set reset 1" } else { "set power 1" }.to_owned());
        } else {
            orders.push("set power 0".to_owned());
        }
    }
    if power.soft_requests != told.soft_requests && power.on {
        orders.push("set shutdown 1".to_owned());
    }
    orders
}

const fn happened(before: &Seen, now: &Seen) -> Happened {
    match (before.pid, now.pid) {
        (None, Some(_)) => Happened::SwitchedOn,
        (Some(_), None) => Happened::SwitchedOff,
        (Some(old), Some(new)) if old != new => Happened::Reset,
        (None, None) | (Some(_), Some(_)) => Happened::Nothing,
    }
}

/// A boot override in the owner's words. The lab's machines have no other media than network and disk.
const fn word(next: Option<&BootOverride>) -> &'static str {
    match next {
        None => "none",
        Some(BootOverride { target, .. }) => match target {
            BootTarget::Network | BootTarget::Http => "pxe",
            BootTarget::Disk | BootTarget::SafeDisk => "default",
            BootTarget::Diagnostics | BootTarget::Cdrom | BootTarget::Setup | BootTarget::Media => "none",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_told_what_the_bmc_did() {
        let chassis = Chassis::new(std::sync::Arc::default());
        let next = BootOverride { target: BootTarget::Network, persistent: false, uefi: true, http_uri: None };
        let off = chassis.power();
        chassis.set_boot(Some(next));
        chassis.power_on(Cause::Bmc);
        let on = chassis.power();
        assert_eq!(orders(&off, &on), ["set boot pxe", "set power 1"]);
        assert!(orders(&on, &on).is_empty());
        chassis.cycle(Cause::Bmc);
        assert_eq!(orders(&on, &chassis.power()), ["set boot none", "set reset 1"], "an override is for one boot");
        let on = chassis.power();
        chassis.soft();
        assert_eq!(orders(&on, &chassis.power()), ["set shutdown 1"]);
        chassis.power_off(Cause::Bmc);
        assert_eq!(orders(&on, &chassis.power()), ["set power 0"]);
    }

    #[test]
    fn what_a_machine_did_by_itself_is_seen() {
        let pid = |pid| Seen { pid, boot: "none".to_owned() };
        for (before, now, what) in [
            (None, None, Happened::Nothing),
            (Some(1), Some(1), Happened::Nothing),
            (None, Some(1), Happened::SwitchedOn),
            (Some(1), None, Happened::SwitchedOff),
            (Some(1), Some(2), Happened::Reset),
        ] {
            assert_eq!(happened(&pid(before), &pid(now)), what);
        }
    }
}
