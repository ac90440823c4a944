//! The fleet simulator: machines that are true on the wire, seen only from their sockets.
//!
//! Pure state machines inside, sockets outside; shares no code with the rack's clients, because both would share a mistake.

pub mod accounts;
pub mod agent;
pub mod boot;
pub mod cave;
pub mod chassis;
pub mod dice;
pub mod disk;
pub mod drive;
pub mod emulated;
pub mod event_log;
pub mod fault_plan;
pub mod http;
pub mod ipmi;
pub mod ledger;
pub mod machine;
pub mod meter;
pub mod os;
pub mod personality;
pub mod population;
pub mod redfish;
pub mod scenario;
pub mod sizing;
pub mod small_images;
pub mod truth;
pub mod words;
