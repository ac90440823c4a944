//! What `farrier-agent` does inside the ephemeral environment: tells who the machine is, then does the tasks that its
//! rack hands out (inventory, write an image, erase, run scripts) until it is told to power off.
//!
//! Knows one rack and one boot; nothing of regions, owners or life-cycles. Decisions (which disk, which partition, what to
//! sample, what a table must look like) are pure functions; the rest moves bytes and can be stopped between two chunks.

pub mod arguments;
pub mod bmc_account;
pub mod cmdline;
pub mod console;
pub mod crash;
pub mod erase;
pub mod error;
pub mod host;
pub mod image;
pub mod job;
pub mod machine;
pub mod progress;
pub mod rack;
pub mod scripts;
pub mod session;
pub mod ssh;
pub mod sys;
