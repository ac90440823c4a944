//! The API, over TLS, against SQLite. No engine runs: machines are where the tests put them.
#![expect(clippy::unwrap_used, reason = "tests")]

mod daemon;
mod gateway;
mod images;
mod layouts;
mod machines;
mod people;
mod site;
