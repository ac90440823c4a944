//! From an order to a fleet that lives: with daemons that are there, or with daemons of its own.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, anyhow};
use farrier_common::secret::Secret;
use farrier_integration_tests::{
    daemons::{self, RegionOptions},
    lab::Lab,
    net::DYNAMIC,
    site::Site,
};

use super::{Report, Sizing};
use crate::{
    cave::Cave,
    drive::{Access, Region},
    ledger::Ledger,
    meter::Process,
    population::{Plan, Population, Wiring},
    small_images::{SYSTEM, SmallImages},
};

/// As a region asks unless told otherwise.
const POWER_POLL_SECONDS: u32 = 30;

/// What is to be sized.
#[derive(Clone, Debug)]
pub struct Order {
    /// The fleet.
    pub plan: Plan,
    /// So many machines more, whose BMCs never answer.
    pub dead: u32,
    /// So many machines are worked on at a time.
    pub at_once: usize,
    /// A stage that takes longer has failed.
    pub limit: Duration,
}

/// Beside a region and a rack of its own, in network namespaces, plugged in as `wiring` says; needs root.
///
/// # Errors
/// Something does not start, or a machine does not come through its life.
pub fn in_a_lab(order: &Order, wiring: &Wiring, postgres: bool) -> anyhow::Result<Report> {
    let lab = Lab::new()?;
    let postgres = postgres.then(|| lab.start_postgres()).transpose()?;
    let database = postgres.as_ref().map(|p| p.url());
    let options = RegionOptions { database, power_poll_seconds: POWER_POLL_SECONDS, ..RegionOptions::default() };
    let images = SmallImages::write(&lab)?;
    let mut site = Site::start_with(&lab, &options, DYNAMIC, |admin| images.upload(admin))?;
    let cave = Cave::beside(&lab)?;
    let access = Access {
        address: daemons::Region::address(),
        ca_pem: fs::read_to_string(site.region.ca()).context("cannot read the region's CA")?,
        token: Secret::new(fs::read_to_string(site.region.admin_token())?.trim().to_owned()),
    };
    let processes = [("region", site.region.daemon.pid()?), ("rack", site.rack.daemon.pid()?)];
    let processes = processes.map(|(name, pid)| Process { name: name.to_owned(), pid }).to_vec();
    let sized = beside(order, &access, wiring, Some(&cave), SYSTEM.to_owned(), processes);
    if sized.is_err() {
        lab.show_logs();
    }
    sized
}

/// Beside daemons that are there; this process is metered with those of `processes`.
///
/// # Errors
/// A machine cannot be made, or does not come through its life.
pub fn beside(
    order: &Order,
    access: &Access,
    wiring: &Wiring,
    cave: Option<&Cave>,
    image: String,
    mut processes: Vec<Process>,
) -> anyhow::Result<Report> {
    processes.push(Process { name: "simulator".to_owned(), pid: std::process::id() });
    let (machines, at_once, limit) = (order.plan.machines, order.at_once, order.limit);
    let plan = Plan { machines: machines + order.dead, ..order.plan.clone() };
    let population = Population::raise(&plan, wiring, cave)?;
    let (members, dead): (Vec<_>, Vec<_>) = population.members().iter().cloned().partition(|m| m.number <= machines);
    for member in &dead {
        member.black_hole();
    }
    let inside = || {
        // The region is reached from where the machines are.
        cave.map_or(Ok(()), Cave::enter)?;
        population.runtime().block_on(async {
            let region = Region::new(access)?;
            let ledger = Ledger::follow(region.clone());
            Sizing { region, ledger, members, dead, image, at_once, limit, processes }.run().await
        })
    };
    thread::scope(|scope| scope.spawn(inside).join().map_err(|_| anyhow!("the driver's thread died"))?)
}
