//! Watching the event log.

use std::time::Duration;

use chrono::TimeDelta;
use farrier_proto::v1::{self, MachineState, Role, events_client::EventsClient};
use farrier_region::{app::events::Bounds, domain::lifecycle::Event};
use tokio::time::timeout;
use tonic::{Code, Streaming, transport::Channel};

use crate::site::{Site, by, options, refused};

pub(crate) type Stream = Streaming<v1::WatchEventsResponse>;
pub(crate) use v1::watch_events_response::Update as Wire;

const SOON: Duration = Duration::from_secs(20);

/// The next message of a stream that has one.
pub(crate) async fn next(stream: &mut Stream) -> Wire {
    timeout(SOON, stream.message()).await.expect("a message comes").unwrap().unwrap().update.unwrap()
}

/// Opens a stream.
pub(crate) async fn open(channel: &Channel, token: &str, request: v1::WatchEventsRequest) -> Stream {
    EventsClient::new(channel.clone()).watch_events(by(token, request)).await.unwrap().into_inner()
}

fn after(after_revision: i64) -> v1::WatchEventsRequest {
    v1::WatchEventsRequest { after_revision, ..Default::default() }
}

async fn site(bounds: Bounds) -> Site {
    let site = Site::with(bounds, None).await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    site
}

fn quick() -> Bounds {
    Bounds { bookmark: Duration::from_millis(50), ..Bounds::default() }
}

#[tokio::test]
async fn a_bookmark_tells_how_far_a_silent_watch_is() {
    let site = site(quick()).await;
    site.machine("m1", 2).await;
    site.machine("m2", 3).await;
    let request = v1::WatchEventsRequest { machine: "m1".to_owned(), kinds: vec!["transition".to_owned()], ..after(0) };
    let mut stream = open(&site.channel, &site.admin, request).await;
    let Wire::Event(first) = next(&mut stream).await else { panic!("no event") };
    assert_eq!((first.machine_name.as_str(), first.kind.as_str()), ("m1", "transition"));
    let newest = site.app.store.event_revision().await.unwrap();
    let Wire::Bookmark(mark) = next(&mut stream).await else { panic!("no bookmark after the backlog") };
    assert_eq!(mark.revision, newest);
    // What the watch does not want moves its bookmark all the same.
    site.engine("m2", Some(Event::Done), |_| {}).await;
    let moved = site.app.store.event_revision().await.unwrap();
    assert!(moved > newest);
    let seen = loop {
        let Wire::Bookmark(mark) = next(&mut stream).await else { panic!("an event of another machine") };
        if mark.revision != newest {
            break mark.revision;
        }
    };
    assert_eq!(seen, moved);
    site.engine("m1", Some(Event::Done), |_| {}).await;
    let event = loop {
        match next(&mut stream).await {
            Wire::Event(event) => break event,
            Wire::Bookmark(_) => {}
            Wire::Resync(resync) => panic!("{resync:?}"),
        }
    };
    assert_eq!((event.machine_name.as_str(), event.to()), ("m1", MachineState::Ready));
    let bad = v1::WatchEventsRequest { kinds: vec!["transition".to_owned(), "fun".to_owned()], ..after(0) };
    let status = refused(
        EventsClient::new(site.channel.clone()).watch_events(by(&site.admin, bad)).await,
        Code::InvalidArgument,
    );
    assert!(status.message().starts_with("kinds[1]: "), "{status:?}");
}

#[tokio::test]
async fn who_comes_from_a_forgotten_revision_has_to_resync() {
    let site = site(quick()).await;
    for n in 2..8 {
        site.machine(&format!("m{n}"), n).await;
    }
    let store = &site.app.store;
    let newest = store.event_revision().await.unwrap();
    assert_eq!(store.event_prune(site.app.clock.now() - TimeDelta::days(1)).await.unwrap(), 0, "nothing is old");
    let gone = store.event_prune(site.app.clock.now() + TimeDelta::days(1)).await.unwrap();
    assert!(gone > 5);
    assert_eq!(store.event_bounds().await.unwrap(), (newest, newest), "the revision of the log does not fall");

    let mut stream = open(&site.channel, &site.admin, after(1)).await;
    let Wire::Resync(resync) = next(&mut stream).await else { panic!("no resync") };
    assert_eq!(resync.oldest_revision, newest);
    assert!(resync.reason.contains("has been forgotten"), "{}", resync.reason);
    assert!(stream.message().await.unwrap().is_none(), "it is the last message");
    for (from, events) in [(0, 1), (newest - 1, 1), (newest, 0)] {
        let mut stream = open(&site.channel, &site.admin, after(from)).await;
        for _ in 0..events {
            assert!(matches!(next(&mut stream).await, Wire::Event(e) if e.revision == newest), "from {from}");
        }
        assert!(matches!(next(&mut stream).await, Wire::Bookmark(_)), "from {from}");
    }
    let mut stream = open(&site.channel, &site.admin, after(newest + 1)).await;
    let Wire::Resync(resync) = next(&mut stream).await else { panic!("no resync") };
    assert!(resync.reason.contains("not the log that was watched"), "{}", resync.reason);
}

#[tokio::test]
async fn a_watch_ends_when_its_token_is_no_longer_good() {
    let site = site(Bounds { recheck: Duration::from_millis(50), ..Bounds::default() }).await;
    let vera = site.user("vera", Role::Viewer).await;
    let mut stream = open(&site.channel, &vera, after(-1)).await;
    assert!(matches!(next(&mut stream).await, Wire::Bookmark(_)));
    let mut tokens = crate::site::Tokens::new(site.channel.clone());
    let list = v1::ListTokensRequest { user: "vera".to_owned(), ..Default::default() };
    let token = tokens.list_tokens(by(&site.admin, list)).await.unwrap().into_inner().tokens.remove(0).id;
    tokens.revoke_token(by(&site.admin, v1::RevokeTokenRequest { options: options(), token })).await.unwrap();
    let ended = loop {
        match timeout(SOON, stream.message()).await.expect("it ends") {
            Ok(Some(message)) => assert!(!matches!(message.update, Some(Wire::Event(_))), "tokens are not his to see"),
            Ok(None) => panic!("it ended without a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unauthenticated);
}

/// Machines that are only met are for admins, and so is what happens to them.
#[tokio::test]
async fn nobody_is_told_of_machines_that_he_may_not_see() {
    let site = site(quick()).await;
    let ulf = site.user("ulf", Role::User).await;
    site.machine("m1", 2).await;
    let mut stream = open(&site.channel, &ulf, after(0)).await;
    let mut kinds = Vec::new();
    loop {
        match next(&mut stream).await {
            Wire::Event(event) => kinds.push(event.kind),
            Wire::Bookmark(_) => break,
            Wire::Resync(resync) => panic!("{resync:?}"),
        }
    }
    assert!(kinds.contains(&"transition".to_owned()) && !kinds.contains(&"user".to_owned()), "{kinds:?}");
}
