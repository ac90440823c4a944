//! The API, over TLS, against SQLite where nothing else is said. No engine runs: machines are where the tests put them.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "../support/postgres.rs"]
mod postgres;

mod daemon;
mod gateway;
mod images;
mod lists;
mod machines;
mod people;
mod site;
mod storm;
mod watch;
