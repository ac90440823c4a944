//! The points at which tests let a region die; see [`farrier_common::crash`].
//!
//! Each lies between two steps that somebody else can see: a commit, an effect, an answer. The context is the state of the
//! machine concerned: for a tick the one that it was claimed in, for a verb the one that it leads to, else the present one.

use farrier_common::{crash, words};

use crate::domain::{lifecycle::State, observation::Effect};

/// Dies at one of the [`Point`]s, or never.
pub type Crash = crash::Crash<Point>;

words! {
    /// Where a region can be told to die.
    Point {
        /// The engine holds the claim of a machine, and has done nothing yet.
        Claimed = "claimed",
        /// The world was looked at; nothing is decided.
        Observed = "observed",
        /// The BMC answered the probe; not committed.
        ActedProbeBmc = "acted-probe-bmc",
        /// The BMC holds our account; not committed.
        ActedEnsureBmcAccount = "acted-ensure-bmc-account",
        /// The BMC takes the new password; not committed.
        ActedRotateBmcPassword = "acted-rotate-bmc-password",
        /// The machine is off; not committed.
        ActedPowerOff = "acted-power-off",
        /// The boot device is set; the machine is still off.
        BootDeviceSet = "boot-device-set",
        /// The machine was switched on; not committed.
        ActedStartFrom = "acted-start-from",
        /// The rack holds the intent; not committed.
        ActedPublishIntent = "acted-publish-intent",
        /// A tick has written all its rows; its transaction is open.
        BeforeCommit = "before-commit",
        /// A tick is committed; nothing else knows of it.
        Committed = "committed",
        /// A tick is committed by which the machine has left the state.
        Left = "left",
        /// A person's verb is allowed; nothing is written.
        VerbReceived = "verb-received",
        /// A person's verb has written the machine; its transaction is open.
        VerbBeforeCommit = "verb-before-commit",
        /// A person's verb is committed, with its answer, and not answered.
        VerbCommitted = "verb-committed",
        /// An agent said hello with the right token; nothing is written.
        HelloReceived = "hello-received",
        /// The session of the agent is open; the agent does not know.
        HelloCommitted = "hello-committed",
        /// A proven agent asks for its task, and there is one; nothing is written.
        TaskReceived = "task-received",
        /// The task is noted as begun; the agent does not have it.
        TaskHandedOut = "task-handed-out",
        /// An agent tells how far it is; not written.
        ProgressReceived = "progress-received",
        /// How far the agent is, is written; not answered.
        ProgressCommitted = "progress-committed",
        /// An agent tells the result of its task; not written.
        ReportReceived = "report-received",
        /// The result is written; the agent does not know.
        ReportCommitted = "report-committed",
        /// The installed system phoned home with the right token; not written.
        PhoneHomeReceived = "phone-home-received",
        /// That the system phoned home is written; not answered.
        PhoneHomeCommitted = "phone-home-committed",
    }
}

impl From<&Effect> for Point {
    /// The point after the effect.
    fn from(effect: &Effect) -> Self {
        match effect {
            Effect::ProbeBmc => Self::ActedProbeBmc,
            Effect::EnsureBmcAccount => Self::ActedEnsureBmcAccount,
            Effect::RotateBmcPassword => Self::ActedRotateBmcPassword,
            Effect::PowerOff => Self::ActedPowerOff,
            Effect::StartFrom(_) => Self::ActedStartFrom,
            Effect::PublishIntent => Self::ActedPublishIntent,
        }
    }
}

/// Reads `POINT[/STATE][#N]`.
///
/// # Errors
/// Which part is wrong, and what is allowed there.
pub fn parse(text: &str) -> Result<Crash, crash::BadCrash> {
    let states: Vec<&str> = State::ALL.iter().map(|s| s.as_str()).collect();
    Crash::parse(text, &states)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_goes_with_a_state() {
        let crash = parse("acted-power-off/deploying#2").unwrap();
        let passes = ["deploying", "releasing", "deploying"].map(|state| crash.hit(Point::ActedPowerOff, state));
        assert_eq!(passes, [false, false, true]);
        let told = parse("claimed/probe-bmc").unwrap_err().to_string();
        assert!(told.contains("\"probe-bmc\" is not one of") && told.contains("commissioning"), "{told}");
    }
}
