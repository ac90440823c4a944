//! The API, over TLS, against SQLite. No engine runs: machines are where the tests put them.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/race.rs"]
mod race;

mod allocation;
mod daemon;
mod gateway;
mod images;
mod machines;
mod people;
mod site;
