//! The power of machines is asked for now and then, and a BMC that refuses the login is left alone.

use std::time::Duration;

use chrono::TimeDelta;
use farrier_common::clock::Clock;
use farrier_proto::{rack, v1};
use farrier_region::{domain::lifecycle::Event, engine::poll};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    fake_rack::{self, Orders},
    site::{Rack, Site},
};

/// How old the power of a machine may be.
const INTERVAL: TimeDelta = TimeDelta::milliseconds(1);
const FIVE_MINUTES: TimeDelta = TimeDelta::minutes(5);
const LIMIT: Duration = Duration::from_secs(30);

/// A machine at rest behind a rack of its own.
async fn machine(site: &Site, number: u8) -> (Rack, Orders) {
    let (name, rack) = (format!("m{number}"), format!("r{number}"));
    let (link, orders) = fake_rack::serving(site, &rack).await;
    site.subnet(&rack, number).await;
    site.machine(&name, number).await;
    let id = link.id.parse().unwrap();
    site.engine(&name, Some(Event::Done), |change| change.machine.rack = Some(id)).await;
    site.own_account(&name, "our own password").await;
    orders.answer("GetPower", &rack::GetPowerResponse { power: v1::PowerState::On.into() });
    (link, orders)
}

/// Waits until a rack was asked so often. Time goes on meanwhile, if only a little.
async fn asked(clock: &Clock, orders: &Orders, times: usize) {
    let enough = async {
        while orders.count("GetPower") < times {
            clock.advance(INTERVAL * 2);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, enough).await.expect("the BMC is asked");
}

#[tokio::test]
async fn a_bmc_that_refuses_us_is_left_alone_until_something_changes() {
    let clock = Clock::manual(Clock::System.now());
    let site = Site::at(clock.clone()).await;
    let (_refusing, refused) = machine(&site, 1).await;
    let (_serving, served) = machine(&site, 2).await;
    refused.refuse("GetPower", Some(Status::unauthenticated("wrong password")));
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let app = &site.app;
    tokio::spawn(poll::run(app.store.clone(), app.racks.clone(), INTERVAL.to_std().unwrap(), clock.clone(), stop));
    asked(&clock, &refused, 1).await;
    asked(&clock, &served, 1).await;
    // The other machine tells that a round is over: it is asked in the next one.
    let pass = async |times: usize| {
        for _ in 0..times {
            clock.advance(FIVE_MINUTES);
            let before = served.count("GetPower");
            asked(&clock, &served, before + 2).await;
        }
    };
    pass(2).await;
    assert_eq!(refused.count("GetPower"), 1, "left alone");
    let events = app.store.event_list(0, None, None, 100).await.unwrap();
    let told: Vec<_> = events.iter().map(|e| e.body.reason.as_str()).filter(|r| r.starts_with("bmc-refused")).collect();
    let text = "bmc-refused: wrong password; its power is not asked for 15 minutes, so that the account is not locked";
    assert_eq!(told, [text]);
    pass(2).await;
    assert_eq!(refused.count("GetPower"), 2, "once more");
    pass(4).await;
    assert_eq!(refused.count("GetPower"), 2, "for longer this time");

    refused.refuse("GetPower", None);
    site.engine("m1", None, |change| change.machine.details.bmc.as_mut().unwrap().username = "other".to_owned()).await;
    pass(4).await;
    assert!(refused.count("GetPower") > 4, "and from then on as often as others");
}
