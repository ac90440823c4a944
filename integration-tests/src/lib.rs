//! The virtual lab: real daemons, emulated machines with real firmware, simulated BMCs, one network namespace each.
//!
//! A [`lab::Lab`] is the world of one test: a namespace ([`net`]) with machines ([`machine`]) and their BMCs ([`bmc`]).
//! A [`site::Site`] is Farrier in it: `farrier-region` and `farrier-rack` as they are shipped ([`daemons`]), driven
//! through the `farrier` command ([`cli`]). What comes from outside is built by [`assets`] and kept by [`cache`].
//! Everything waits on conditions ([`wait`]) with generous limits on
//! the host's clock, because machines are emulated and the host may be busy. What a lab started ends with it.
//!
//! Needs root (namespaces, taps, DHCP) and the packages of `deploy/debian/prerequisites.sh`.

pub mod assets;
pub mod binaries;
pub mod bmc;
pub mod cache;
pub mod cli;
pub mod daemon;
pub mod daemons;
pub mod error;
pub mod lab;
pub mod machine;
pub mod net;
pub mod postgres;
pub mod process;
pub mod reports;
pub mod site;
pub mod ssh;
pub mod wait;
