//! What racks may ask, each for its own machines alone: enrolment, heartbeats, and the calls of agents that they relay.

mod enlist;
mod enroll;
mod orders;
mod reports;
mod scripts;
mod seed;
mod session;
mod steps;

use farrier_common::{
    clock::Timestamp,
    hardware::{Architecture, Firmware},
    id::BootId,
    net::MacAddr,
};
use std::net::Ipv4Addr;

use super::App;
use crate::domain::{Error, Result, rack::Rack};

pub use enlist::Met;
pub use enroll::{Enrolled, NewRack};
pub use orders::{Order, Work, WriteImage};
pub use reports::Report;
pub use scripts::{ToRun, Told};
pub use seed::Seed;
pub use steps::Step;

/// How often racks say that they live.
pub const HEARTBEAT_SECONDS: u32 = 10;

/// Who a machine says it is. None of it is proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Boot interface first; at least one.
    pub macs: Vec<MacAddr>,
    /// Of its CPU.
    pub architecture: Architecture,
    /// How it booted, if it could tell.
    pub firmware: Option<Firmware>,
    /// Where its BMC says it is.
    pub bmc_address: Option<Ipv4Addr>,
}

/// What a rack says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// `host:port` at which the region can dial it.
    pub address: String,
    /// What it runs.
    pub software_version: String,
    /// The snapshot that it holds; empty: none.
    pub snapshot: String,
    /// How many intents it holds.
    pub intents: u64,
    /// Where it serves HTTP, if it says so.
    pub http_port: Option<u16>,
}

/// When a certificate ends, and the certificate.
pub type Certified = (String, Timestamp);

impl App {
    /// The rack whose certificate was shown.
    ///
    /// # Errors
    /// There is no such rack any more.
    pub async fn authenticate_rack(&self, certificate: &[u8]) -> Result<Rack> {
        let nobody =
            || Error::Unauthenticated("the client certificate is not that of a rack of this region".to_owned());
        let id = crate::pki::rack_of(certificate).ok_or_else(nobody)?;
        self.store.rack_get(id).await?.ok_or_else(nobody)
    }
}

fn boot_id(text: &str) -> Result<BootId> {
    text.parse().map_err(|e| Error::invalid("boot_id", e))
}
