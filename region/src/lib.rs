//! The region service: owns the machine database and the life-cycle, and drives the racks.
//!
//! Layers, one way: `api → app → {domain, store}`, `engine → {domain, store, racks}`. See `docs/architecture.md`.

pub mod api;
pub mod app;
pub mod config;
pub mod crash;
pub mod domain;
pub mod engine;
pub mod files;
pub mod pki;
pub mod process;
pub mod racks;
pub mod region;
pub mod store;
pub mod vault;
