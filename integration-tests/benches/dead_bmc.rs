//! What one dead BMC costs the other machines of a site: the same fleet lives with and without it, in turns, and each stage's
//! 99th percentile is compared. The goal is less than 5 % more (`reference/peers.md`, appendix C 1).
//!
//! `cargo bench -p farrier-fleet --bench dead_bmc`, as root, on a machine that does nothing else.

#![expect(clippy::print_stdout, reason = "what a benchmark is for")]

use std::time::Duration;

use farrier_common::{clock::Clock, hardware::Architecture, tls};
use farrier_fleet::{
    boot::{Firmware, Pace},
    cave::Cave,
    fault_plan::FaultPlan,
    http::Depth,
    personality::Personality,
    population::{DISKS, FirmwareWord, Plan},
    sizing::{self, Order, Report},
};

const MACHINES: u32 = 500;
/// Fewer than saturate the processors: what is measured is what machines wait for each other, not how fast this host is.
const AT_ONCE: usize = 40;
const ROUNDS: usize = 3;

fn order(dead: u32) -> Order {
    let plan = Plan {
        machines: MACHINES,
        seed: 1,
        vendors: Personality::names().map(str::to_owned).collect(),
        firmwares: [Firmware::BiosIpxe, Firmware::UefiPxe(Architecture::Amd64)].map(FirmwareWord).to_vec(),
        disks: DISKS.to_vec(),
        faults: FaultPlan::default(),
        pace: Pace::new(0.01),
        depth: Depth::Shared,
        clock: Clock::System,
    };
    Order { plan, dead, at_once: AT_ONCE, limit: Duration::from_hours(1) }
}

/// The middle one of each stage's 99th percentiles.
fn p99(reports: &[Report], stage: usize) -> Option<Duration> {
    let mut all: Vec<_> = reports.iter().filter_map(|report| report.stages.get(stage)?.percentile(99)).collect();
    all.sort();
    all.get(all.len() / 2).copied()
}

fn main() -> anyhow::Result<()> {
    tls::install_provider();
    let (mut healthy, mut beside) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        healthy.push(sizing::in_a_lab(&order(0), &Cave::wiring(), false)?);
        beside.push(sizing::in_a_lab(&order(1), &Cave::wiring(), false)?);
        println!("round {round} of {ROUNDS} is done");
    }
    println!("\n{MACHINES} machines, {AT_ONCE} at once, median of {ROUNDS} rounds\n");
    println!("| stage | p99 s | p99 s beside a dead BMC | ratio |\n|---|---:|---:|---:|");
    let stages = healthy.first().map(|report| report.stages.clone()).unwrap_or_default();
    for (n, stage) in stages.iter().enumerate() {
        let (Some(without), Some(with)) = (p99(&healthy, n), p99(&beside, n)) else { continue };
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        println!("| {} | {:.3} | {:.3} | {ratio:.3} |", stage.title, without.as_secs_f64(), with.as_secs_f64());
    }
    Ok(())
}
