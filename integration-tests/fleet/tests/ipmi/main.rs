//! The simulated IPMI BMC before programs that nobody here wrote: ipmitool and freeipmi as consoles, ipmi_sim as another BMC.

#![expect(clippy::unwrap_used, reason = "what a test cannot go on without ends it")]

mod events;
mod freeipmi;
mod ipmitool;
mod many;
mod peer;
mod rig;
mod vendors;
