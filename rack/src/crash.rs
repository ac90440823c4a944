//! The points at which tests let a rack die; see [`farrier_common::crash`].
//!
//! Each lies between two steps that somebody else can see: a command, a write to a BMC or to the disk, an answer. The
//! context is the kind of what is being done ([`Work`]): a rack does not know the states of machines.

use farrier_common::{crash, words};

/// Dies at one of the [`Point`]s, or never.
pub type Crash = crash::Crash<Point>;

words! {
    /// Where a rack can be told to die.
    Point {
        /// The region's command has arrived; nothing is done.
        CommandReceived = "command-received",
        /// The region's command is carried out; not answered.
        CommandDone = "command-done",
        /// The change of intents is on the disk; memory, from which machines are answered, is as before.
        IntentStored = "intent-stored",
        /// The BMC took the command to change the power; whether it does is not seen yet.
        PowerCommanded = "power-commanded",
        /// The account's slot has its name and nothing else.
        AccountNamed = "account-named",
        /// The account has its password, and no access.
        AccountPasswordSet = "account-password-set",
        /// The account has access, and may still be disabled.
        AccountGranted = "account-granted",
        /// The account is complete; the login that proves it was not tried.
        AccountEnabled = "account-enabled",
        /// The BMC took the account's new password; nobody has tried it.
        PasswordChanged = "password-changed",
        /// A machine's call has arrived; the region does not know of it.
        RelayReceived = "relay-received",
        /// The region has done what the machine asked for; the machine does not know.
        RelayAnswered = "relay-answered",
        /// A lease is on the disk; the client has no answer.
        LeaseStored = "lease-stored",
    }
}

words! {
    /// What a rack was doing when it died.
    Work {
        /// A command of the region.
        PutIntent = "put-intent",
        /// A command of the region.
        SyncIntents = "sync-intents",
        /// A command of the region.
        RemoveIntent = "remove-intent",
        /// A command of the region.
        PrefetchBlob = "prefetch-blob",
        /// A command of the region.
        ProbeBmc = "probe-bmc",
        /// A command of the region.
        GetPower = "get-power",
        /// A command of the region.
        SetPower = "set-power",
        /// A command of the region.
        CyclePower = "cycle-power",
        /// A command of the region.
        SetBootDevice = "set-boot-device",
        /// A command of the region.
        EnsureBmcAccount = "ensure-bmc-account",
        /// A command of the region.
        RemoveBmcAccount = "remove-bmc-account",
        /// A command of the region.
        ChangeBmcPassword = "change-bmc-password",
        /// A command of the region.
        GetBmcEvents = "get-bmc-events",
        /// A command of the region.
        GetBiosSettings = "get-bios-settings",
        /// A command of the region.
        SetBiosSettings = "set-bios-settings",
        /// A command of the region.
        ResetBmc = "reset-bmc",
        /// A command of the region.
        SoftOff = "soft-off",
        /// A call of an agent without a boot.
        Enlist = "enlist",
        /// A call of an agent.
        Hello = "hello",
        /// A call of an agent.
        NextTask = "next-task",
        /// A call of an agent.
        Report = "report",
        /// A call of an installed system.
        PhoneHome = "phone-home",
        /// A client's request for an address.
        Dhcp = "dhcp",
    }
}

impl AsRef<str> for Work {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Point {
    /// The contexts that the point comes with.
    #[must_use]
    pub const fn works(self) -> &'static [Work] {
        match self {
            Self::CommandReceived | Self::CommandDone => &[
                Work::PutIntent,
                Work::SyncIntents,
                Work::RemoveIntent,
                Work::PrefetchBlob,
                Work::ProbeBmc,
                Work::GetPower,
                Work::SetPower,
                Work::CyclePower,
                Work::SetBootDevice,
                Work::EnsureBmcAccount,
                Work::RemoveBmcAccount,
                Work::ChangeBmcPassword,
                Work::GetBmcEvents,
                Work::GetBiosSettings,
                Work::SetBiosSettings,
                Work::ResetBmc,
                Work::SoftOff,
            ],
            Self::IntentStored => &[Work::PutIntent, Work::SyncIntents, Work::RemoveIntent],
            Self::PowerCommanded => &[Work::SetPower, Work::CyclePower, Work::SoftOff],
            Self::AccountNamed | Self::AccountPasswordSet | Self::AccountGranted | Self::AccountEnabled => {
                &[Work::EnsureBmcAccount]
            }
            Self::PasswordChanged => &[Work::ChangeBmcPassword],
            Self::RelayReceived | Self::RelayAnswered => {
                &[Work::Enlist, Work::Hello, Work::NextTask, Work::Report, Work::PhoneHome]
            }
            Self::LeaseStored => &[Work::Dhcp],
        }
    }
}

/// Reads `POINT[/WORK][#N]`.
///
/// # Errors
/// Which part is wrong, and what is allowed there.
pub fn parse(text: &str) -> Result<Crash, crash::BadCrash> {
    let point = text.split(['/', '#']).next().unwrap_or_default().parse::<Point>();
    let works = point.map_err(crash::BadCrash::Point)?.works();
    Crash::parse(text, &works.iter().map(|w| w.as_str()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_goes_with_its_own_works_alone() {
        let crash = parse("relay-answered/report").unwrap();
        assert!(!crash.hit(Point::RelayAnswered, Work::Hello.as_str()));
        assert!(crash.hit(Point::RelayAnswered, Work::Report.as_str()));
        let told = |text| parse(text).unwrap_err().to_string();
        assert_eq!(
            told("relay-answered/set-power"),
            "context of the crash point: \"set-power\" is not one of enlist, hello, next-task, report, phone-home"
        );
        assert!(told("relay#1").starts_with("crash point: \"relay\" is not one of command-received, "));
        assert!(Point::ALL.iter().all(|p| p.works().iter().all(|w| parse(&format!("{p}/{w}#2")).is_ok())));
    }
}
