//! The IPMI face of a BMC: IPMI 2.0 over RMCP+ (sections 13, 20, 22, 23 and 28), as its consoles see it.
//!
//! [`Server`] is pure: datagrams and the time go in, datagrams come out. [`host`] gives each server its socket, and [`system`]
//! the machine's own way to it.
//!
//! The specification leaves much open, and BMCs differ where it does not; what differs is in the
//! [`Personality`](crate::personality::Personality). No K_g key is ever set; IPMI 1.5 sessions are not offered.

mod boot_options;
mod commands;
mod crypto;
pub mod faults;
mod handshake;
pub mod host;
mod lan;
mod server;
mod session;
pub mod system;
mod wire;

pub use self::{
    faults::{Action, Fault, Faults, Selector, SharedFaults},
    server::{Datagram, Identity, Server},
};
