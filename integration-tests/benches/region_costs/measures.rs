//! What is measured, in the order in which a site grows.

mod clients;
mod grow;
mod look;

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use farrier_integration_tests::daemon::Daemon;
use farrier_proto::v1::{self, MachineState};

use self::clients::{Transitions, each};
use crate::{
    driver::Driver,
    report::{Row, Times},
    site::{Admin, Cli, Site, options},
};

/// Live machines, with BMCs that the driver answers for.
const LIVE: RangeInclusive<u32> = 1..=4000;
/// Machines that are added by hand and live.
const HANDS: RangeInclusive<u32> = 4001..=5000;
/// Live machines of the second rack.
const MORE: RangeInclusive<u32> = 5001..=10_000;
const SYSTEM: &str = "small";
const ROUNDS: u32 = 30;

/// A site that grows.
pub(crate) struct Bench {
    site: Site,
    cli: Cli,
    // Both serve for as long as there is a site.
    _driver: Driver,
    rack: Option<Daemon>,
}

fn name(n: u32) -> String {
    format!("m{n:05}")
}

fn per_second(count: usize, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64()
}

impl Bench {
    /// Every machine of [`HANDS`] is allocated, deployed and released, all at once.
    pub(crate) async fn lives(&mut self) -> anyhow::Result<Vec<Row>> {
        let count = HANDS.count();
        let (allocated, _) = each(&self.site, HANDS, async |admin, n| {
            let request = v1::AllocateMachineRequest { options: options(), machine: name(n), ..Default::default() };
            admin.machines().allocate_machine(admin.by(request)).await.map(drop)
        })
        .await?;
        let before = (self.site.cost()?.cpu, self.site.database_cpu()?);
        let deployed = self.all_reach(MachineState::Deployed, async |admin, n| {
            let image = SYSTEM.to_owned();
            let request =
                v1::DeployMachineRequest { options: options(), machine: name(n), image, ..Default::default() };
            admin.machines().deploy_machine(admin.by(request)).await.map(drop)
        });
        let deployed = deployed.await?;
        let after = (self.site.cost()?.cpu, self.site.database_cpu()?);
        let released = self.all_reach(MachineState::Ready, async |admin, n| {
            let request = v1::ReleaseMachineRequest { options: options(), machine: name(n), ..Default::default() };
            admin.machines().release_machine(admin.by(request)).await.map(drop)
        });
        let released = released.await?;
        let cpu = |spent: Duration| spent.as_secs_f64() * 1e3 / f64::from(u32::try_from(count).unwrap_or(1));
        Ok(vec![
            Row::rate("C5", "allocations by name, 16 clients", per_second(count, allocated)),
            Row::rate("C5", "deployments of 1,000 machines, all steps", per_second(count, deployed)).beside(6.1, 300.0),
            Row::rate("C5", "releases of 1,000 machines, all steps", per_second(count, released)).beside(6.9, 300.0),
            Row::cost("C5", "processor time of the region for one deployment", " ms", cpu(after.0 - before.0)),
            Row::cost("C5", "processor time of the database for one deployment", " ms", cpu(after.1 - before.1)),
        ])
    }

    /// Asks for all machines of [`HANDS`]; the time until all are where that leads.
    async fn all_reach(
        &self,
        to: MachineState,
        ask: impl AsyncFn(Admin, u32) -> Result<(), tonic::Status>,
    ) -> anyhow::Result<Duration> {
        let mut seen = Transitions::watch(&self.site, "").await?;
        let begun = Instant::now();
        let (asked, reached) = tokio::join!(each(&self.site, HANDS, ask), seen.until(to, HANDS.count()));
        asked?;
        reached?;
        Ok(begun.elapsed())
    }

    /// One machine, again and again, while the others rest: from the call to what a watcher sees.
    pub(crate) async fn one_life(&mut self) -> anyhow::Result<Vec<Row>> {
        let (admin, machine) = (self.site.admin()?, name(*HANDS.start()));
        let mut seen = Transitions::watch(&self.site, &machine).await?;
        let (mut accepted, mut active, mut ready) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let request =
                v1::AllocateMachineRequest { options: options(), machine: machine.clone(), ..Default::default() };
            admin.machines().allocate_machine(admin.by(request)).await?;
            let begun = Instant::now();
            let (machine, image) = (machine.clone(), SYSTEM.to_owned());
            let request =
                v1::DeployMachineRequest { options: options(), machine: machine.clone(), image, ..Default::default() };
            admin.machines().deploy_machine(admin.by(request)).await?;
            accepted.push(begun.elapsed());
            seen.until(MachineState::Deployed, 1).await?;
            active.push(begun.elapsed());
            let begun = Instant::now();
            let request = v1::ReleaseMachineRequest { options: options(), machine, ..Default::default() };
            admin.machines().release_machine(admin.by(request)).await?;
            seen.until(MachineState::Ready, 1).await?;
            ready.push(begun.elapsed());
        }
        let p50 = |times| Times::new(times).ms(0.5);
        Ok(vec![
            Row::cost("C6", "a deployment is accepted, p50", " ms", p50(accepted)).beside(91.0, 15.0),
            Row::cost("C6", "from the call to Deployed, p50", " ms", p50(active)).beside(299.0, 15.0),
            Row::cost("C6", "from the call to Ready again, p50", " ms", p50(ready)).beside(233.0, 15.0),
        ])
    }
}
