//! The store, on both databases.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests: panic and print are their language")]

#[path = "../support/postgres.rs"]
mod postgres;

mod world;

mod allocation;
mod catalogue;
mod claims;
mod failures;
mod lists;
mod machines;
mod migrations;
mod operations;
mod reports;
mod requests;
mod revisions;
mod scripts;
mod secrets;
