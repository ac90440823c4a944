//! The fleet simulator: machines that are true on the wire, seen only from their sockets.
//!
//! Pure state machines inside, sockets outside; shares no code with the rack's clients, because both would share a mistake.

pub mod accounts;
pub mod chassis;
pub mod dice;
pub mod ipmi;
pub mod personality;
pub mod redfish;
pub mod truth;
