//! The passwords of 500 BMCs are changed while region and rack are killed; see `fleet/tests/support/rotation.rs`.
//!
//! `cargo bench -p farrier-fleet --bench bmc_rotation`, as root.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "what a benchmark is for")]
#![allow(unreachable_pub, reason = "shared with a test")]

use farrier_common::tls;

#[path = "../fleet/tests/support/rotation.rs"]
mod rotation;

fn main() -> anyhow::Result<()> {
    tls::install_provider();
    let outcome = rotation::play(500, 40)?;
    let a_second = outcome.changed as f64 / outcome.took.as_secs_f64();
    let (changed, [region, rack], refused) = (outcome.changed, outcome.kills, outcome.refused);
    println!("{changed} passwords in {:.1} s: {a_second:.1} a second", outcome.took.as_secs_f64());
    println!("the region died {region} times, the rack {rack}; BMCs refused {refused} logins and locked nobody out");
    Ok(())
}
