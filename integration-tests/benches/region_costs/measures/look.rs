//! What looking costs, and what resting costs.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use anyhow::ensure;
use farrier_fleet::meter::{Cost, Process};
use farrier_proto::v1::{self, MachineView};
use futures_util::future::try_join_all;
use nix::sys::resource::{UsageWho, getrusage};

use super::{Bench, LIVE, MORE, clients::CLIENTS, name, per_second};
use crate::{
    report::{Row, Times},
    site::Admin,
};

const ALL: RangeInclusive<u32> = *LIVE.start()..=*MORE.end();
const IDLE: Duration = Duration::from_mins(1);
const GETS: Duration = Duration::from_secs(10);
const LISTS: usize = 20;
const COMMANDS: u32 = 20;
const PAGE: i32 = 1000;

/// What a process costs.
pub(super) fn process(name: &str, pid: u32) -> anyhow::Result<Cost> {
    Ok(Process { name: name.to_owned(), pid }.cost()?)
}

pub(super) fn mib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}

impl Bench {
    /// The share of a processor that region and database take while nobody asks anything.
    pub(crate) async fn idle(&mut self, what: &str) -> anyhow::Result<Row> {
        // What is still to be done after the last stage shall not count.
        tokio::time::sleep(IDLE / 4).await;
        let before = self.site.cost()?.cpu + self.site.database_cpu()?;
        tokio::time::sleep(IDLE).await;
        let spent = self.site.cost()?.cpu + self.site.database_cpu()? - before;
        Ok(Row::cost("C7", what, " cores", spent.as_secs_f64() / IDLE.as_secs_f64()).beside(0.36, 0.02))
    }

    /// What the region holds.
    pub(crate) fn memory(&mut self) -> anyhow::Result<Row> {
        let resident = mib(self.site.cost()?.resident);
        Ok(Row::cost("C8", "memory of the region, 5,000 machines", " MiB", resident).beside(662.0, 60.0))
    }

    /// Clients that get one machine after the other.
    pub(crate) async fn gets(&mut self) -> anyhow::Result<Vec<Row>> {
        let admins = (0..CLIENTS).map(|_| self.site.admin()).collect::<anyhow::Result<Vec<_>>>()?;
        let begun = Instant::now();
        let work = admins.into_iter().enumerate().map(async |(client, admin)| {
            let mut times = Vec::new();
            // Each goes its own way through all machines.
            let mut n = LIVE.start() + u32::try_from(client).unwrap_or(0) * 617;
            while begun.elapsed() < GETS {
                n = ALL.start() + (n + 7919) % MORE.end();
                let asked = Instant::now();
                let request = v1::GetMachineRequest { machine: name(n), ..Default::default() };
                admin.machines().get_machine(admin.by(request)).await?;
                times.push(asked.elapsed());
            }
            Ok::<_, anyhow::Error>(times)
        });
        let times = try_join_all(work).await?.concat();
        let (count, lasted) = (times.len(), begun.elapsed());
        let times = Times::new(times);
        Ok(vec![
            Row::rate("C2", "machines got, 16 clients", per_second(count, lasted)).beside(51.0, 51.0 * 60.0),
            Row::cost("C2", "one of them, p50", " ms", times.ms(0.5)).beside(288.0, 288.0 / 60.0),
            Row::cost("C2", "one of them, p99", " ms", times.ms(0.99)).beside(585.0, 20.0),
        ])
    }

    /// Pages of 1,000 machines, and all 10,000.
    pub(crate) async fn lists(&mut self) -> anyhow::Result<Vec<Row>> {
        let admin = self.site.admin()?;
        let (mut basic, mut full, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..LISTS {
            basic.push(page(&admin, MachineView::Basic, String::new()).await?.1);
            full.push(page(&admin, MachineView::Full, String::new()).await?.1);
            let (mut token, mut count, mut lasted) = (String::new(), 0, Duration::ZERO);
            for _ in 0..=ALL.count() / 1000 {
                let (answer, took) = page(&admin, MachineView::Basic, token).await?;
                (token, count, lasted) = (answer.next_page_token, count + answer.machines.len(), lasted + took);
                if token.is_empty() {
                    break;
                }
            }
            ensure!(count == ALL.count(), "the list holds {count} machines");
            all.push(lasted);
        }
        let p50 = |times| Times::new(times).ms(0.5);
        Ok(vec![
            Row::cost("C3", "first page of 1,000 machines, basic, p50", " ms", p50(basic)).beside(800.0, 15.0),
            Row::cost("C3", "first page of 1,000 machines, full, p50", " ms", p50(full)).beside(1630.0, 30.0),
            // Measured with 5,000 machines, in 8.3 s: it reads all at once.
            Row::cost("C4", "all 10,000 machines, basic, p50", " ms", p50(all)).beside(16_600.0, 332.0),
        ])
    }

    /// One call of the command: processor time of the whole process.
    pub(crate) fn command(&mut self) -> anyhow::Result<Row> {
        let spent = || -> anyhow::Result<f64> {
            let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
            let (user, system) = (usage.user_time(), usage.system_time());
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            Ok((user.tv_sec() + system.tv_sec()) as f64 * 1e3 + (user.tv_usec() + system.tv_usec()) as f64 / 1e3)
        };
        let before = spent()?;
        for _ in 0..COMMANDS {
            self.cli.run(&["machine", "list", "--limit", "10"])?;
        }
        let each = (spent()? - before) / f64::from(COMMANDS);
        Ok(Row::cost("C9", "farrier machine list --limit 10, processor time", " ms", each).beside(1920.0, 40.0))
    }
}

async fn page(
    admin: &Admin,
    view: MachineView,
    page_token: String,
) -> anyhow::Result<(v1::ListMachinesResponse, Duration)> {
    let page = Some(v1::PageRequest { page_size: PAGE, page_token });
    let request = v1::ListMachinesRequest { page, view: view.into(), ..Default::default() };
    let begun = Instant::now();
    let answer = admin.machines().list_machines(admin.by(request)).await?.into_inner();
    Ok((answer, begun.elapsed()))
}
