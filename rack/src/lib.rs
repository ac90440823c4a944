//! Everything that Farrier does on the machines' wire: DHCP, TFTP and HTTP boot, BMCs, and the relay between the agents and
//! the region.
//!
//! Directions: `net → {boot, blobs, gateway}`; `service → {boot, bmc, blobs}`; `link` and `relay → {boot, gateway}`;
//! `blobs → gateway`; `bmc` and `boot` know nothing of the others. Tonic appears only in `service`, `gateway` and `relay`.
//! Knows neither the database nor the life-cycle.

pub mod blobs;
pub mod bmc;
pub mod boot;
pub mod config;
pub mod gateway;
pub mod join;
pub mod link;
pub mod net;
pub mod relay;
mod run;
pub mod service;

pub use run::{RackError, run};

/// Told to the region.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
