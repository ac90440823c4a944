//! What the region costs: C1-C9 of `reference/perf.md`, with fsync, on SQLite and on a PostgreSQL of its own, beside the
//! figures of Ironic 39 that were measured on the same kind of machine. Machines and BMCs take no time (see `driver`), so
//! that what is left is what Farrier itself takes. Region, rack and command are the programs as they are shipped; they, the
//! driver and the clients share the processors.
//!
//! `cargo bench -p farrier-fleet --bench region_costs`, on a machine that does nothing else; with `sqlite` or `postgres` after
//! `--` only there.

#![expect(clippy::print_stdout, reason = "what a benchmark is for")]

mod driver;
mod measures;
mod report;
mod site;

use std::{env, path::Path};

use farrier_common::tls;
use farrier_integration_tests::postgres::{Fsync, Postgres};
use measures::Bench;
use report::Row;

/// Machines at rest are not asked for their power while something else is measured.
const NEVER: u32 = 86_400;
/// As a region asks unless told otherwise.
const USUAL: u32 = 30;

fn main() -> anyhow::Result<()> {
    tls::install_provider();
    let chosen: Vec<String> = env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|c| c == name);
    let dir = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if wanted("sqlite") {
        let rows = runtime.block_on(all(&dir.path().join("sqlite"), None))?;
        report::print("SQLite", &rows);
    }
    if wanted("postgres") {
        // Beside the folder that belongs to root: the server has a user of its own.
        let postgres =
            Postgres::start(&env::temp_dir().join(format!("farrier-bench-{}", std::process::id())), Fsync::On)?;
        let rows = runtime.block_on(all(&dir.path().join("postgres"), Some(postgres)))?;
        report::print("PostgreSQL", &rows);
    }
    Ok(())
}

async fn all(dir: &Path, postgres: Option<Postgres>) -> anyhow::Result<Vec<Row>> {
    let mut bench = Bench::start(dir, postgres, NEVER).await?;
    let mut rows = bench.fill().await?;
    println!("5,000 machines are there");
    rows.extend(bench.lives().await?);
    rows.extend(bench.one_life().await?);
    rows.push(bench.idle("idle, 5,000 machines").await?);
    rows.push(bench.memory()?);
    bench.again(USUAL).await?;
    rows.push(bench.idle("idle but for the power of 5,000 BMCs every 30 s").await?);
    bench.again(NEVER).await?;
    rows.push(bench.second_rack().await?);
    println!("10,000 machines are there");
    rows.extend(bench.gets().await?);
    rows.extend(bench.lists().await?);
    rows.push(bench.command()?);
    rows.sort_by_key(|row| row.id);
    Ok(rows)
}
