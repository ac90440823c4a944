//! What machines are and what may happen to them. Pure: no runtime, no database, no wire, no clock.

pub mod advance;
pub mod decide;
pub mod error;
pub mod event;
pub mod image;
pub mod lifecycle;
pub mod machine;
pub mod network;
pub mod observation;
pub mod pool;
pub mod rack;
pub mod rescue;
pub mod ssh_key;
#[cfg(test)]
pub(crate) mod testing;
pub mod user;
pub mod verbs;

pub use error::{Error, Result};
