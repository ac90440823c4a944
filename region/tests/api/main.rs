//! The API, over TLS, against SQLite. No engine runs: machines are where the tests put them.
#![expect(clippy::unwrap_used, reason = "tests")]

mod bulk;
mod daemon;
mod fleet;
mod gateway;
mod images;
mod intentions;
mod machines;
mod people;
mod site;
