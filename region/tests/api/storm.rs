//! A hundred watchers, many writers of two processes on PostgreSQL, breaks and resumes, and one who stops reading.
//!
//! `FARRIER_WATCH_CHANGES=50000` runs the full size.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use farrier_common::{clock::Clock, hardware::PowerState, id::MachineId};
use farrier_proto::v1::{self, events_client::EventsClient};
use farrier_region::{
    app::events::Bounds,
    domain::Error,
    store::{Database, Store},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tonic::{Code, Response, Status, transport::Channel};

use crate::{
    postgres,
    site::{Site, by},
    watch::{Stream, Wire, open},
};

const WATCHERS: usize = 100;
const CONNECTIONS: usize = 10;
const WRITERS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(600);

/// How far every watcher is; writers do not run away from the slowest of those that read.
struct Race {
    machines: Vec<MachineId>,
    changes: i64,
    first: i64,
    lead: i64,
    written: AtomicI64,
    breaks: AtomicUsize,
    places: Vec<watch::Sender<i64>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_watcher_sees_every_change_once_and_in_order() {
    let changes = std::env::var("FARRIER_WATCH_CHANGES").map_or(1500, |n| n.parse().unwrap());
    let ring = if changes > 20_000 { 16_384 } else { 512 };
    let url = postgres::database();
    let bounds = Bounds { ring, bookmark: Duration::from_millis(500), ..Bounds::default() };
    let site = Site::with(bounds, Some(url.clone())).await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    for n in 0..WRITERS {
        site.machine(&format!("m{n}"), u8::try_from(n + 2).unwrap()).await;
    }
    let mut machines = Vec::new();
    for n in 0..WRITERS {
        machines.push(site.id_of(&format!("m{n}")).await);
    }
    let first = site.app.store.event_revision().await.unwrap();
    let race = Arc::new(Race {
        machines,
        changes,
        first,
        lead: i64::try_from(ring / 2).unwrap(),
        written: AtomicI64::new(0),
        breaks: AtomicUsize::new(0),
        places: (0..WATCHERS).map(|_| watch::Sender::new(0)).collect(),
    });
    // One who takes one message and no more, on a connection of his own with a small window.
    let request = v1::WatchEventsRequest { after_revision: first, ..Default::default() };
    let mut stalled = open(&site.narrow(), &site.admin, request).await;
    stalled.message().await.unwrap();

    let begun = Instant::now();
    let channels: Vec<_> = (0..CONNECTIONS).map(|_| site.connect(None)).collect();
    let mut watchers = JoinSet::new();
    for n in 0..WATCHERS {
        watchers.spawn(follow(race.clone(), channels[n % CONNECTIONS].clone(), site.admin.clone(), n));
    }
    let other = Store::open(&Database::Postgres(url), Clock::System).await.unwrap();
    let mut writers = JoinSet::new();
    for n in 0..WRITERS {
        let store = if n % 2 == 0 { site.app.store.clone() } else { other.clone() };
        writers.spawn(write(race.clone(), store, n));
    }
    while let Some(ended) = timeout(PATIENCE, writers.join_next()).await.expect("writers end") {
        ended.unwrap();
    }
    let written = begun.elapsed();
    let mut seen = Vec::new();
    while let Some(ended) = timeout(PATIENCE, watchers.join_next()).await.expect("watchers end") {
        seen.push(ended.unwrap());
    }
    let breaks = race.breaks.load(Ordering::Relaxed);
    println!(
        "{changes} changes in {written:.1?}, seen by {WATCHERS} watchers after {:.1?}, {breaks} breaks",
        begun.elapsed()
    );

    let log = revisions(&site.app.store, first).await;
    assert_eq!(log.len(), usize::try_from(changes).unwrap());
    for (n, one) in seen.iter().enumerate() {
        assert!(*one == log, "watcher {n} saw {} of {} or in another order", one.len(), log.len());
    }
    assert!(breaks > WATCHERS, "{breaks} breaks are too few to tell anything");
    let last = drain(&mut stalled).await;
    assert!(matches!(&last, Some(Wire::Resync(r)) if r.reason.contains("not read fast enough")), "{last:?}");
}

/// What the log has after a revision.
async fn revisions(store: &Store, mut after: i64) -> Vec<i64> {
    let mut all = Vec::new();
    loop {
        let page = store.event_list(after, None, None, 1000).await.unwrap();
        let Some(last) = page.last() else { return all };
        after = last.revision;
        all.extend(page.iter().map(|e| e.revision));
    }
}

/// Reads what is left of a stream; its last message.
async fn drain(stream: &mut Stream) -> Option<Wire> {
    let mut last = None;
    while let Some(message) = timeout(PATIENCE, stream.message()).await.expect("it ends").unwrap() {
        last = message.update;
    }
    last
}

async fn write(race: Arc<Race>, store: Store, n: usize) {
    let mut power = PowerState::On;
    loop {
        let number = race.written.fetch_add(1, Ordering::Relaxed);
        if number >= race.changes {
            return;
        }
        for place in &race.places {
            place.subscribe().wait_for(|seen| number - seen < race.lead).await.unwrap();
        }
        // A machine that is short of time may answer that it is busy; then nothing was written.
        while let Err(e) = store.machine_set_power(race.machines[n], power, Clock::System.now()).await {
            assert!(matches!(e, Error::Unavailable(_)), "{e}");
        }
        power = if power == PowerState::On { PowerState::Off } else { PowerState::On };
    }
}

/// Watches until it has seen all changes; breaks off now and then, and goes on from what it saw last.
async fn follow(race: Arc<Race>, channel: Channel, token: String, n: usize) -> Vec<i64> {
    let all = usize::try_from(race.changes).unwrap();
    let (mut seen, mut last) = (Vec::with_capacity(all), race.first);
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(n as u64 + 1);
    while seen.len() < all {
        let request = v1::WatchEventsRequest { after_revision: last, ..Default::default() };
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let patience = usize::try_from((dice >> 33) % (race.changes.unsigned_abs() / 4)).unwrap();
        let opened = EventsClient::new(channel.clone()).watch_events(by(&token, request)).await;
        // Breaks that were not asked for are taken as they come.
        let Ok(mut stream) = opened.map(Response::into_inner).inspect_err(passing) else { continue };
        for _ in 0..=patience {
            let message = timeout(PATIENCE, stream.message()).await.expect("a message comes");
            let Ok(message) = message.inspect_err(passing) else { break };
            match message.unwrap().update.unwrap() {
                Wire::Event(event) => {
                    assert!(event.revision > last, "{} after {last}", event.revision);
                    last = event.revision;
                    seen.push(last);
                }
                Wire::Bookmark(mark) => last = mark.revision.max(last),
                Wire::Resync(resync) => panic!("watcher {n} reads all the time: {resync:?}"),
            }
            race.places[n].send_replace(i64::try_from(seen.len()).unwrap());
            if seen.len() == all {
                break;
            }
        }
        race.breaks.fetch_add(1, Ordering::Relaxed);
    }
    seen
}

/// A connection may die where time is short; a refusal may not come.
fn passing(status: &Status) {
    let passing = std::error::Error::source(status).is_some() || status.code() == Code::Unavailable;
    assert!(passing, "{status:?}");
    println!("a break that nobody asked for: {status}");
}
