//! What machines are and what may happen to them. Pure: no runtime, no database, no wire, no clock.

pub mod advance;
pub mod ageing;
pub mod allocation;
pub mod bios;
pub mod bmc;
pub mod boot_stages;
pub mod decide;
pub mod error;
pub mod event;
pub mod filter;
pub mod image;
pub mod layout;
pub mod lifecycle;
pub mod machine;
pub mod network;
pub mod observation;
pub mod operation;
pub mod order;
pub mod permissions;
pub mod pool;
pub mod project;
pub mod rack;
pub mod reason;
pub mod rescue;
pub mod script;
mod spelled;
pub mod ssh_key;
#[cfg(test)]
pub(crate) mod testing;
pub mod user;
pub mod verbs;

pub use error::{Error, Result};
