//! Why a machine is where it is, as a word that programs can act on and a page can explain.
//!
//! `docs/reasons.md` is generated from here. The text beside a code says what happened to this machine; the code says
//! what kind of thing that is, what it means and what to do about it.

use farrier_common::words;

use super::lifecycle::Event;

mod page;

pub use page::page;

words! {
    /// What kind of reason it is.
    Code {
        /// Written by an earlier release, or not yet decided.
        Unknown = "unknown",
        /// A person asked for what happens now.
        Asked = "asked",
        /// Met on the network.
        Met = "met",
        /// The engine is at it, and it gets on.
        Progress = "progress",
        /// The work of the state ended well.
        Done = "done",
        /// It boots; the agent or the installed system is not there yet.
        Booting = "booting",
        /// Powered on, but the agent did not come in time.
        NoAgent = "no-agent",
        /// It started anew or went off in the middle of its work.
        Restarted = "restarted",
        /// The agent was not heard for too long.
        AgentSilent = "agent-silent",
        /// The agent could not do its task.
        TaskFailed = "task-failed",
        /// A hardware test or a script did not pass.
        TestFailed = "test-failed",
        /// The BMC does not answer, or not sensibly.
        BmcSilent = "bmc-silent",
        /// The BMC refuses account or command.
        BmcRefused = "bmc-refused",
        /// Nobody has said how its BMC is reached.
        BmcUnknown = "bmc-unknown",
        /// A person must switch it on.
        SwitchOn = "switch-on",
        /// A person must switch it off.
        SwitchOff = "switch-off",
        /// The BMC shows another certificate than the one it is known by.
        BmcCertificate = "bmc-certificate",
        /// Its rack is not connected.
        RackAway = "rack-away",
        /// What was found contradicts what is known of another machine.
        Conflict = "conflict",
        /// The same network boot again and again, without progress.
        BootLoop = "boot-loop",
        /// The state took longer than it may.
        Deadline = "deadline",
        /// Somebody stopped the work.
        Aborted = "aborted",
        /// Marked as defective.
        Broken = "broken",
        /// Its disks may hold an owner's data and are wiped first.
        WipeOwed = "wipe-owed",
        /// The allocation ended by itself.
        LeaseEnded = "lease-ended",
        /// Nothing of the kind above.
        Failed = "failed",
    }
}

impl Code {
    /// What it means, in a sentence or two.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Unknown => "An earlier release wrote this reason, without a code.",
            Self::Asked => "A person or a program asked for it; the text says what.",
            Self::Met => {
                "The machine network-booted on a served subnet. Nothing is done with it and it is not trusted."
            }
            Self::Progress => "The engine is at work, and the work gets on. The text is the current step.",
            Self::Done => "The work of the last state ended well.",
            Self::Booting => {
                "The machine is powered on; its agent, or the system that was installed, has not come yet."
            }
            Self::NoAgent => {
                "The machine was powered on from the network, but no agent opened its session in time: firmware, DHCP, loader, \
                 kernel or the ephemeral environment did not get through."
            }
            Self::Restarted => "The machine started anew or went off while the agent was at work.",
            Self::AgentSilent => {
                "The agent opened its session, was then not heard for longer than configured, and is taken as lost."
            }
            Self::TaskFailed => "The agent was told to do something on the machine and could not; the text is its own.",
            Self::TestFailed => "A hardware test or a script ran and did not pass.",
            Self::BmcSilent => "The BMC did not answer in time, or not sensibly. The engine tries again by itself.",
            Self::BmcRefused => {
                "The BMC answered and refused: the account, its password or its privilege, or the command. Trying again \
                 would not help and could lock the account."
            }
            Self::BmcUnknown => "The machine cannot be powered, because nobody has said how its BMC is reached.",
            Self::BmcCertificate => {
                "Whoever answers at the BMC's address shows another certificate than the one that was remembered when the BMC was \
                 seen first; the text names both by their SHA-256. It was told nothing: somebody may be in between, the address \
                 may belong to another machine now, or the BMC was reset or updated."
            }
            Self::SwitchOn => {
                "It must be started by hand: no account on its BMC is known yet, or it was said that people switch it."
            }
            Self::SwitchOff => "It must be switched off by hand, because it was said that people switch it.",
            Self::RackAway => "The rack that serves the machine has no connection to the region.",
            Self::Conflict => {
                "What the machine told of itself belongs to another machine already: a MAC address, or its BMC."
            }
            Self::BootLoop => {
                "The rack served the same network boot to the machine again and again and its agent never came; it holds the \
                 boot back and sends the machine to its disk."
            }
            Self::Deadline => {
                "The state lasted longer than its deadline; the text says in which step and what was waited for."
            }
            Self::Aborted => "A person stopped the work.",
            Self::Broken => "A person marked the machine as defective.",
            Self::WipeOwed => {
                "Something was deployed since the last proven wipe, so the disks are wiped before anything else."
            }
            Self::LeaseEnded => "The machine was allocated for a limited time, and nothing was deployed by then.",
            Self::Failed => "The work cannot succeed; the text says why.",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Unknown => "Read the text and the timeline.",
            Self::Asked | Self::Progress | Self::Done | Self::Booting => {
                "Nothing: wait, or use one of the allowed verbs."
            }
            Self::Met => "Commission it with the address and account of its BMC, or mark it broken.",
            Self::NoAgent => {
                "Look at the boot stages for the last thing the machine did. Nothing at all: cabling, VLAN, boot order, another \
                 DHCP server. Only DHCP: option 67, TFTP or a firewall. A kernel but no agent: look at the console."
            }
            Self::Restarted => {
                "Look for the cause on the machine: power, watchdog, kernel panic, somebody with the power button. A fresh boot \
                 is tried by itself a few times."
            }
            Self::AgentSilent => {
                "Look at the console and at the network between machine and rack. A fresh boot is tried by itself."
            }
            Self::TaskFailed => {
                "Do what the text says (a disk that is gone, an image that does not fit); then ask again."
            }
            Self::TestFailed => {
                "Read the output with `farrier results`. Repair and recommission, mark it broken, or override with a reason."
            }
            Self::BmcSilent => {
                "Check that the rack reaches the BMC's address and port (`farrier explain` shows the last exchange); a hung BMC \
                 often needs its cold reset or the machine's power cord."
            }
            Self::BmcRefused => {
                "Commission again with an account that may: administrator privilege over LAN, right password."
            }
            Self::BmcCertificate => {
                "Find out why it changed. If the certificate is right, set the BMC again: commission the machine with the BMC's address \
                 and an account; what it shows then is remembered. If not, look for who answers there."
            }
            Self::BmcUnknown => "Commission it with the address and account of its BMC.",
            Self::SwitchOn => {
                "Do what the text says. As soon as its agent or its installed system is there, Farrier goes on by itself; until then \
                 `farrier machine tell-power NAME on` says that it was switched on."
            }
            Self::SwitchOff => {
                "Do what the text says, and when the machine is off, say so: `farrier machine tell-power NAME off`."
            }
            Self::RackAway => {
                "See that the rack runs and reaches the region; everything waits and goes on by itself then."
            }
            Self::Conflict => "Find the other machine that the text names; delete the one that is not there any more.",
            Self::BootLoop => {
                "Look at the console for what the firmware or kernel says; repair, then use a verb: each new boot is tried anew."
            }
            Self::Deadline => {
                "Look at what was waited for, and see to that; if the machine is only slow, raise the state's deadline in \
                 region.toml."
            }
            Self::Aborted => "Use one of the allowed verbs when it suits.",
            Self::Broken => "Repair it, then mark it fixed: it is commissioned anew.",
            Self::WipeOwed => "Nothing: it goes on by itself when the wipe is proven.",
            Self::LeaseEnded => "Allocate again, for longer or without a lease.",
            Self::Failed => "Do what the text says.",
        }
    }
}

/// A reason: its kind, and what happened in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// What kind.
    pub code: Code,
    /// For people. Never a secret.
    pub text: String,
}

impl Why {
    /// A reason of that kind.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// Plain text says how the work gets on.
impl From<String> for Why {
    fn from(text: String) -> Self {
        Self { code: Code::Progress, text }
    }
}

impl From<&str> for Why {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a move says when it says nothing more exact.
impl From<Event> for Code {
    fn from(event: Event) -> Self {
        match event {
            Event::Enlist => Self::Met,
            Event::Add
            | Event::AddLive
            | Event::Commission
            | Event::Test
            | Event::Allocate
            | Event::Deploy
            | Event::Release
            | Event::Rescue
            | Event::ExitRescue
            | Event::MarkFixed
            | Event::OverrideFailedTest => Self::Asked,
            Event::Abort => Self::Aborted,
            Event::MarkBroken => Self::Broken,
            Event::Done
            | Event::ReturnReady
            | Event::ReturnAllocated
            | Event::ReturnDeployed
            | Event::ReturnBroken
            | Event::ReturnFailedDeployment
            | Event::ReturnFailedReleasing => Self::Done,
            Event::BeginTests | Event::Recommission => Self::Progress,
            Event::Fail => Self::Failed,
            Event::Timeout => Self::Deadline,
            Event::Expire => Self::LeaseEnded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_the_codes() {
        expect_test::expect_file!["../../../docs/reasons.md"].assert_eq(&page());
    }

    #[test]
    fn every_code_says_what_it_means_and_what_to_do() {
        for &code in Code::ALL {
            assert!(code.meaning().ends_with('.') && code.remedy().ends_with('.'), "{code}");
        }
    }
}
