//! A BMC's own event log: what it has seen happen to the hardware.

use farrier_common::{clock::Timestamp, hardware::EventSeverity};

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BmcEvent {
    /// The BMC's own number or name for it.
    pub id: String,
    /// When, by the BMC's clock; `None`: it does not say.
    pub at: Option<Timestamp>,
    /// How bad.
    pub severity: Option<EventSeverity>,
    /// What, in the BMC's words or those of IPMI's tables.
    pub text: String,
}

/// The newest entries of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventLog {
    /// The newest first.
    pub events: Vec<BmcEvent>,
    /// There are older ones.
    pub more: bool,
    /// What it is called: `SEL`, or the Redfish service's path.
    pub name: String,
}
