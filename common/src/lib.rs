//! Words that region and rack share.
//!
//! Admission rule: used by more than one crate, and knows neither a wire, nor a database, nor a socket.

pub mod clock;
pub mod config;
pub mod crash;
pub mod hardware;
pub mod id;
pub mod name;
pub mod net;
pub mod retry;
pub mod secret;
pub mod task;
pub mod telemetry;
pub mod tls;
pub mod webhook;
pub mod words;
