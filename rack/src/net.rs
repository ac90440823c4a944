//! What machines speak before an operating system runs: DHCP, TFTP and HTTP.
//!
//! All three answer from [`crate::boot`] and nothing else decides what a machine boots.

pub mod dhcp;
pub mod http;
pub mod loaders;
pub mod tftp;
