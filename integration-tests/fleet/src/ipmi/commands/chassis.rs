//! The chassis (IPMI 2.0 section 28).

use std::time::{Duration, Instant};

use super::{Answer, Call, code};
use crate::{chassis::Cause, ipmi::server::Server, personality::WhenOff};

/// What the front panel shows and the BMC keeps of the chassis.
#[derive(Debug, Default)]
pub(in crate::ipmi) struct Panel {
    identify: Identify,
    restore_policy: u8,
    /// BMC global enables.
    pub(super) enables: u8,
}

#[derive(Debug, Default)]
enum Identify {
    #[default]
    Off,
    Until(Instant),
    On,
}

/// Get Chassis Capabilities.
pub(super) fn capabilities(_: &mut Server, _: &Call<'_>) -> Answer {
    Ok(vec![0x00, 0x20, 0x20, 0x20, 0x20, 0x20])
}

/// Get Chassis Status.
pub(super) fn status(server: &mut Server, call: &Call<'_>) -> Answer {
    let power = server.chassis.power();
    let told = power.on != call.effects.lie;
    let last_event = if power.on && power.cause == Cause::Bmc { 0x10 } else { 0x00 };
    let identify = match server.panel.identify {
        Identify::On => 2,
        Identify::Until(end) if call.now < end => 1,
        Identify::Off | Identify::Until(_) => 0,
    };
    Ok(vec![u8::from(told) | server.panel.restore_policy << 5, last_event, 0x40 | identify << 4, 0x00])
}

/// Chassis Control.
pub(super) fn control(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[control, ..] = call.data else { return Err(code::LENGTH) };
    server.boot.controlled();
    let chassis = &server.chassis;
    let done = match control & 0x0f {
        0 => {
            chassis.power_off(Cause::Bmc);
            true
        }
        1 => {
            chassis.power_on(Cause::Bmc);
            true
        }
        2 => chassis.cycle(Cause::Bmc) || wakes(server),
        3 => chassis.reset(Cause::Bmc) || wakes(server),
        // A diagnostic interrupt is taken note of by the operating system only.
        4 => chassis.is_on(),
        5 => chassis.soft(),
        _ => return Err(code::INVALID_FIELD),
    };
    if done { Ok(Vec::new()) } else { Err(code::NOT_NOW) }
}

fn wakes(server: &Server) -> bool {
    match server.personality.ipmi.cycle_when_off {
        WhenOff::Refuse => false,
        WhenOff::PowerOn => server.chassis.power_on(Cause::Bmc),
    }
}

/// Chassis Identify.
pub(super) fn identify(server: &mut Server, call: &Call<'_>) -> Answer {
    server.panel.identify = match call.data {
        [] => Identify::Until(call.now + Duration::from_secs(15)),
        [_, force, ..] if force & 1 == 1 => Identify::On,
        [0, ..] => Identify::Off,
        [seconds, ..] => Identify::Until(call.now + Duration::from_secs(u64::from(*seconds))),
    };
    Ok(Vec::new())
}

/// Set Power Restore Policy; all are supported.
pub(super) fn set_restore_policy(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[policy, ..] = call.data else { return Err(code::LENGTH) };
    match policy & 0x07 {
        policy @ 0..=2 => server.panel.restore_policy = policy,
        3 => {}
        _ => return Err(code::INVALID_FIELD),
    }
    Ok(vec![0x07])
}

/// Get System Restart Cause.
pub(super) fn restart_cause(server: &mut Server, _: &Call<'_>) -> Answer {
    let cause = match server.chassis.power().cause {
        Cause::Birth => 0x0,
        Cause::Bmc => 0x1,
        Cause::Button => 0x3,
        Cause::Os => 0xb,
    };
    Ok(vec![cause, server.personality.ipmi.lan_channel])
}

/// Set System Boot Options.
pub(super) fn set_boot_options(server: &mut Server, call: &Call<'_>) -> Answer {
    let session = call.session.unwrap_or_default();
    server.boot.set(call.data, session, &server.chassis, &server.personality.ipmi, call.now)
}

/// Get System Boot Options.
pub(super) fn get_boot_options(server: &mut Server, call: &Call<'_>) -> Answer {
    server.boot.get(call.data, &server.chassis)
}

/// Get POH Counter: a machine that was made today.
pub(super) fn power_on_hours(_: &mut Server, _: &Call<'_>) -> Answer {
    Ok(vec![60, 0, 0, 0, 0])
}
