//! The rack's side of its bond with the region: who it is, that it lives, and what machines did.

pub mod enrol;
pub mod heartbeat;
pub mod identity;
pub mod reporter;
