//! Machines that people switch. What they told last stands for what a BMC would tell, until a sign contradicts it that only a
//! machine that is on can give; and instead of being done, what a BMC would be asked to do is waited for, with words for them.

use chrono::TimeDelta;
use farrier_common::{
    clock::Timestamp,
    hardware::{BootDevice, PowerState},
};

use super::{
    super::{
        lifecycle::Phase,
        machine::Machine,
        observation::{Effect, Observation},
        reason::{Code, Why},
    },
    Decision, LOOK, enter, look, unpublished, wait,
};

/// Times of heartbeats are written for many at once, and are late by so much at most.
const BLURRED: TimeDelta = TimeDelta::seconds(30);

/// What only a machine that is on can give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// When its agent opened a session or its installed system phoned home, whichever was last.
    pub came: Option<Timestamp>,
    /// When its agent was heard last, more or less.
    pub heard: Option<Timestamp>,
}

/// The power of a machine that people switch; `None`: nobody has told.
#[must_use]
pub fn power_by_hand(told: Option<(PowerState, Timestamp)>, signs: Signs) -> Option<PowerState> {
    let Some((told, at)) = told else { return signs.came.map(|_| PowerState::On) };
    let contradicted =
        signs.came.is_some_and(|came| came > at) || signs.heard.is_some_and(|heard| heard > at + BLURRED);
    Some(if contradicted { PowerState::On } else { told })
}

/// How long the machine has been booting: not before it was switched on.
pub(super) fn booting(m: &Machine, off: bool, now: Timestamp) -> TimeDelta {
    let on_for = m.power.map_or(TimeDelta::MAX, |(_, since)| now - since);
    if off { TimeDelta::zero() } else { m.phase_age(now).min(on_for) }
}

/// The same decision, but what would be asked of a BMC is asked of people.
pub(super) fn asked_of_people(m: &Machine, seen: &Observation, decision: Decision, now: Timestamp) -> Decision {
    let Decision::Do { effect, .. } = &decision else { return decision };
    let (code, text) = match effect {
        Effect::PowerOff if m.work.phase == Some(Phase::PowerOff) => {
            // Whoever starts it anew instead of switching it off gets the same: the boot is a fresh one either way.
            if let Some(publish) = unpublished(m, seen) {
                return publish;
            }
            if seen.boot.as_ref().is_some_and(|b| b.hello) {
                return enter(Phase::Boot, "the machine was started anew");
            }
            let text = "start the machine anew and let it boot from the network; or switch it off and tell it, then on";
            (Code::SwitchOff, text)
        }
        Effect::PowerOff => {
            (Code::SwitchOff, "the agent was told to power off: see that the machine is off, and tell it")
        }
        Effect::StartFrom(BootDevice::Network) => {
            (Code::SwitchOn, "switch the machine on and let it boot from the network: its agent is waited for")
        }
        Effect::StartFrom(BootDevice::Disk) => {
            (Code::SwitchOn, "switch the machine on, and tell it: it boots from its disk, by way of the network")
        }
        Effect::ProbeBmc | Effect::EnsureBmcAccount | Effect::RotateBmcPassword | Effect::PublishIntent => {
            return decision;
        }
    };
    wait(look(m, now, LOOK), Why::new(code, format!("{text} (farrier machine tell-power {} on|off)", m.name)))
}
