//! What the machine is made of, as the kernel tells it.

pub mod bmc;
pub mod disk;
pub mod firmware;
pub mod gpu;
pub mod interface;
pub mod inventory;
