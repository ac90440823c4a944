//! What machines are and what may happen to them. Pure: no runtime, no database, no wire, no clock.

pub mod lifecycle;
pub mod machine;
pub mod observation;
pub mod advance;
pub mod decide;
pub mod event;
pub mod image;
pub mod network;
pub mod rack;
pub mod user;
pub mod verbs;
pub mod error;
#[cfg(test)]
pub(crate) mod testing;

pub use error::{Error, Result};
