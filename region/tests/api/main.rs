//! The API, over TLS, against SQLite where nothing else is said. No engine runs: machines are where the tests put them.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests: panic and print are their language")]

#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/race.rs"]
mod race;
#[path = "../support/requests.rs"]
mod requests;

mod admins;
mod allocation;
mod audit;
mod bmcs;
mod bulk;
mod bytes;
mod daemon;
mod fake_rack;
mod fleet;
mod gateway;
mod heartbeats;
mod held;
mod images;
mod intentions;
mod layouts;
mod leave;
mod lists;
mod machines;
mod manual;
mod marks;
mod people;
mod permissions;
mod polls;
mod quotas;
mod reseal;
mod scripts;
mod site;
mod ssh_keys;
mod storm;
mod wakes;
mod watch;
