//! Clients that share work, and one that watches.

use std::{
    collections::HashSet,
    ops::RangeInclusive,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use farrier_proto::v1::{self, MachineState, watch_events_response::Update};
use futures_util::future::try_join_all;
use tonic::{Status, Streaming};

use crate::{
    report::Times,
    site::{Admin, Site},
};

pub(super) const CLIENTS: usize = 16;
/// No stage takes longer.
const LIMIT: Duration = Duration::from_mins(20);

/// Clients with connections of their own share the machines; how long all took, and each call.
pub(super) async fn each(
    site: &Site,
    machines: RangeInclusive<u32>,
    ask: impl AsyncFn(Admin, u32) -> Result<(), Status>,
) -> anyhow::Result<(Duration, Times)> {
    let admins = (0..CLIENTS).map(|_| site.admin()).collect::<anyhow::Result<Vec<_>>>()?;
    let (next, begun) = (AtomicU32::new(*machines.start()), Instant::now());
    let work = admins.into_iter().map(async |admin| {
        let mut times = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if !machines.contains(&n) {
                return Ok::<_, anyhow::Error>(times);
            }
            let begun = Instant::now();
            ask(admin.clone(), n).await.with_context(|| format!("machine {n}"))?;
            times.push(begun.elapsed());
        }
    });
    let times = try_join_all(work).await?.concat();
    Ok((begun.elapsed(), Times::new(times)))
}

/// The transitions of machines, as they come.
pub(super) struct Transitions(Streaming<v1::WatchEventsResponse>);

impl Transitions {
    /// Of one machine, or of all if `machine` is empty; from now on.
    pub(super) async fn watch(site: &Site, machine: &str) -> anyhow::Result<Self> {
        let admin = site.admin()?;
        let (machine, kinds) = (machine.to_owned(), vec!["transition".to_owned()]);
        let request = admin.by(v1::WatchEventsRequest { after_revision: -1, machine, kinds });
        let mut stream = admin.events().watch_events(request).await?.into_inner();
        // Comes when what follows is new.
        match stream.message().await?.and_then(|m| m.update) {
            Some(Update::Bookmark(_)) => Ok(Self(stream)),
            other => bail!("a bookmark should come first: {other:?}"),
        }
    }

    /// Until so many machines came to a state.
    pub(super) async fn until(&mut self, to: MachineState, count: usize) -> anyhow::Result<()> {
        let mut reached = HashSet::new();
        let all = async {
            while reached.len() < count {
                match self.0.message().await?.and_then(|m| m.update).context("the watch ended")? {
                    Update::Event(event) if event.to() == to => drop(reached.insert(event.machine_id)),
                    Update::Event(event) if event.to().as_str_name().contains("FAILED") => {
                        bail!("{} failed: {}", event.machine_name, event.reason)
                    }
                    Update::Event(_) | Update::Bookmark(_) => {}
                    Update::Resync(resync) => bail!("the watch was too slow: {}", resync.reason),
                }
            }
            Ok(())
        };
        tokio::time::timeout(LIMIT, all).await.with_context(|| format!("not all came to {}", to.as_str_name()))?
    }
}
