//! 64 clients race to allocate and release 100 machines, 10,000 times in all, through gRPC on loopback, with the real engine, on
//! SQLite (with fsync) and on a PostgreSQL of its own (without). Panics if a machine is held twice or lost; prints the 99th
//! percentile of an allocation.
//!
//! `cargo bench -p farrier-region --bench allocate_race`. `tests/api` runs a smaller race with each build.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "what a benchmark is for")]

#[path = "../../region/tests/support/postgres.rs"]
mod postgres;
#[path = "../../region/tests/support/race.rs"]
mod race;

use farrier_region::store::Database;
use race::Race;

const RACE: Race = Race { clients: 64, machines: 100, allocations: 10_000 };

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let outcome = race::race(|dir| Database::Sqlite(dir.join("farrier.db")), RACE).await;
        println!("{}", outcome.line("SQLite"));
        let url = postgres::database();
        let outcome = race::race(|_| Database::Postgres(url.clone()), RACE).await;
        println!("{}", outcome.line("PostgreSQL"));
    });
}
