//! What follows when something outside did not do what it should.

use chrono::TimeDelta;

use super::{
    super::{
        lifecycle::{Class, Event},
        machine::Machine,
        observation::{Effect, Observation, Trouble, TroubleKind},
        reason::{Code, Why},
    },
    Decision, Rules, SOON, leave, wait,
};

/// What follows when an effect did not succeed.
#[must_use]
pub fn on_trouble(m: &Machine, effect: &Effect, trouble: &Trouble, rules: &Rules) -> Decision {
    let what = effect.describe();
    let working = m.state.class() == Class::Working;
    let tries = failed_tries(m.work.attempts, trouble);
    // A rack that is away says nothing of the BMC.
    let out_of_tries =
        *effect == Effect::ProbeBmc && trouble.kind != TroubleKind::RackAway && tries >= rules.probe_tries;
    if working && (trouble.kind.is_final() || out_of_tries) {
        return leave(Event::Fail, Why::new(of_trouble(trouble), format!("could not {what}: {}", trouble.text)));
    }
    let why = Why::new(of_trouble(trouble), format!("could not {what}, trying again: {}", trouble.text));
    wait(patience(m.work.attempts), why)
}

/// Failed tries in a row after this one. While the rack is away no BMC fails, but it counts as one, so that the machine is
/// looked at as soon as the rack is back.
#[must_use]
pub fn failed_tries(before: u32, trouble: &Trouble) -> u32 {
    if trouble.kind == TroubleKind::RackAway { before.max(1) } else { before.saturating_add(1) }
}

pub(super) fn power_trouble(m: &Machine, seen: &Observation) -> Option<Decision> {
    match &seen.power {
        Some(Ok(_)) => None,
        Some(Err(t)) if t.kind.is_final() => {
            let text = format!("the BMC refuses to tell the power state: {}", t.text);
            Some(leave(Event::Fail, Why::new(of_trouble(t), text)))
        }
        Some(Err(t)) => {
            let text = format!("the BMC does not tell the power state: {}", t.text);
            Some(wait(patience(m.work.attempts), Why::new(of_trouble(t), text)))
        }
        // Nobody has told yet: it may be on.
        None if m.details.manual => None,
        None => Some(wait(SOON, "the power state has not been asked yet")),
    }
}

/// Everything outside that gives trouble is asked through a BMC or its rack.
const fn of_trouble(trouble: &Trouble) -> Code {
    match trouble.kind {
        TroubleKind::Transient => Code::BmcSilent,
        TroubleKind::RackAway => Code::RackAway,
        TroubleKind::Permanent | TroubleKind::Refused => Code::BmcRefused,
        TroubleKind::Untrusted => Code::BmcCertificate,
    }
}

/// 2, 4, 8 … 60 seconds.
fn patience(attempts: u32) -> TimeDelta {
    TimeDelta::seconds((2_i64 << attempts.min(5)).min(60))
}
