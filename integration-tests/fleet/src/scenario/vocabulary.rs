//! The words of scenarios: what lines begin with, and what the region is asked for.

use farrier_common::words;

words! {
    /// What a line begins with that does not begin with a [`Verb`].
    Name {
        /// `fleet N [seed=] [vendors=] [firmware=] [disks=]`: so many machines, switched off.
        Fleet = "fleet",
        /// `site [database=sqlite|postgres] [dynamic=RANGE] [poll=] [commissioning_minutes=] ...`: a region and a rack.
        Site = "site",
        /// `on SELECTOR`: somebody presses power buttons.
        On = "on",
        /// `refused VERB SELECTOR`: the region must refuse; records how.
        Refused = "refused",
        /// `until SELECTOR STATE [within=]`: records the states on the way.
        Until = "until",
        /// `stays SELECTOR STATE for=`: must not change.
        Stays = "stays",
        /// `reason SELECTOR "TEXT" [within=]`: until what is told of each holds this text.
        Reason = "reason",
        /// `fault SELECTOR ACTION ...`, as in fault plans.
        Fault = "fault",
        /// `heal SELECTOR`: takes all faults back.
        Heal = "heal",
        /// `faults SELECTOR`: records what is still to go wrong.
        Faults = "faults",
        /// `kill region|rack|database [after=] [for=]`: as a crash; with `for=` it comes back.
        Kill = "kill",
        /// `stop region|rack|database`: in order.
        Stop = "stop",
        /// `start region|rack|database`.
        Start = "start",
        /// `explain mN`: records what the region explains.
        Explain = "explain",
        /// `edges`: records every edge of the life-cycle that some machine went along.
        Edges = "edges",
        /// `timeline mN "TEXT" OP N`: so many entries hold the text.
        Timeline = "timeline",
        /// `truth SELECTOR [FACT OP N]`: what really happened; without a fact, records what is worth it.
        Truth = "truth",
        /// `disk mN N hide|show|mark|tear`.
        Disk = "disk",
        /// `disks SELECTOR`: records what is on them.
        Disks = "disks",
        /// `delete SELECTOR [force=yes]`: records what was given back, or how it was refused.
        Delete = "delete",
        /// `accounts SELECTOR`: records the users of BMCs, and whether their passwords are those that they came with.
        Accounts = "accounts",
        /// `soft-off SELECTOR`: the region has the systems asked to shut down.
        SoftOff = "soft-off",
        /// `tells SELECTOR on|off [within=]`: until the region tells this power of each.
        Tells = "tells",
        /// `power SELECTOR on|off|reset`: by hand, at the machine.
        Power = "power",
        /// `cache damage|cut|whole`: happens to the rack's copy of the image; `whole` waits until it is.
        Cache = "cache",
        /// `log region|rack "TEXT" [within=]`: until the log holds it.
        Log = "log",
        /// `wait TIME`: for what cannot be seen.
        Wait = "wait",
    }
}

words! {
    /// What the region is asked for: `VERB SELECTOR`. Each leads along an edge of the life-cycle.
    Verb {
        /// A machine that it does not know, with the account that the BMC came with.
        Add = "add",
        /// A machine that it does not know, with the workload that it runs.
        AddLive = "add-live",
        /// With the account that the BMC came with.
        Commission = "commission",
        /// With an account that the machine's own agent makes.
        CommissionInBand = "commission-in-band",
        /// With the account that the BMC came with, and all built-in tests.
        CommissionAndTest = "commission-and-test",
        /// All built-in tests.
        Test = "test",
        /// For the administrator.
        Allocate = "allocate",
        /// The same, for [`crate::drive::LEASE`].
        Lend = "lend",
        /// The small system.
        Deploy = "deploy",
        /// With a wipe.
        Release = "release",
        /// The work in progress.
        Abort = "abort",
        /// It has a hardware problem.
        MarkBroken = "mark-broken",
        /// Its repair is done.
        MarkFixed = "mark-fixed",
        /// It may be used although a test failed.
        OverrideFailedTest = "override-failed-test",
        /// With an SSH key.
        Rescue = "rescue",
        /// To where it came from.
        ExitRescue = "exit-rescue",
    }
}

impl Verb {
    /// Is it about machines that the region need not know?
    #[must_use]
    pub const fn is_birth(self) -> bool {
        matches!(self, Self::Add | Self::AddLive)
    }
}
