//! The store, on both databases.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests: panic and print are their language")]

#[path = "../support/postgres.rs"]
mod postgres;

mod world;

mod catalogue;
mod claims;
mod failures;
mod machines;
mod migrations;
mod reports;
mod requests;
mod revisions;
mod scripts;
