//! BMCs by the API, with a rack that says what it is told to say.

use std::time::Duration;

use chrono::TimeDelta;
use farrier_common::clock::Clock;
use farrier_proto::{
    rack,
    v1::{self, bmcs_client::BmcsClient as Bmcs},
};
use farrier_region::domain::{bmc::Bmc, lifecycle::Event};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::{
    fake_rack::{self, Orders},
    site::{Rack, Site, by, options, refused},
};

const OWN: &str = "our own password";

/// A machine that is ready, with an account of our own on its BMC.
async fn ready() -> (Site, Rack, Orders) {
    let site = Site::start().await;
    let (rack, orders) = fake_rack::serving(&site, "r1").await;
    site.subnet("r1", 1).await;
    site.machine("m1", 2).await;
    site.engine("m1", Some(Event::Done), |_| {}).await;
    site.own_account("m1", OWN).await;
    (site, rack, orders)
}

async fn known(site: &Site) -> Option<Bmc> {
    site.app.store.machine_find("m1").await.unwrap().unwrap().machine.details.bmc
}

fn verb(comment: &str) -> v1::BmcVerbRequest {
    v1::BmcVerbRequest { options: options(), machine: "m1".to_owned(), comment: comment.to_owned() }
}

#[tokio::test]
async fn a_password_is_told_to_who_says_why_and_kept_nowhere() {
    let (site, _rack, _orders) = ready().await;
    let mut bmcs = Bmcs::new(site.channel.clone());
    let silent = refused(bmcs.reveal_bmc_password(by(&site.admin, verb(""))).await, Code::InvalidArgument);
    assert!(silent.message().starts_with("comment: is required"), "{silent:?}");
    let ulf = site.user("ulf", v1::Role::User).await;
    refused(bmcs.reveal_bmc_password(by(&ulf, verb("let me"))).await, Code::PermissionDenied);

    let asked = verb("the console hangs");
    let told = bmcs.reveal_bmc_password(by(&site.admin, asked.clone())).await.unwrap().into_inner();
    assert_eq!(told.password, OWN);
    let again = bmcs.reveal_bmc_password(by(&site.admin, asked)).await.unwrap().into_inner();
    assert_eq!(again, told);
    let events = site.app.store.event_list(0, None, None, 100).await.unwrap();
    let noted: Vec<_> = events.iter().filter(|e| e.body.reason.contains("the console hangs")).collect();
    assert_eq!((noted.len(), noted[0].body.actor.as_str()), (1, "user:admin"));
    let database = site.database();
    assert!(!database.windows(OWN.len()).any(|w| w == OWN.as_bytes()), "the stored answer holds it");
}

#[tokio::test]
async fn a_rotation_is_refused_where_it_cannot_be() {
    let (site, _rack, orders) = ready().await;
    let mut bmcs = Bmcs::new(site.channel.clone());
    let begun = bmcs.rotate_bmc_password(by(&site.admin, verb("it is time"))).await.unwrap().into_inner();
    assert_eq!(begun.rotation.unwrap().by, "user:admin");
    let twice = refused(bmcs.rotate_bmc_password(by(&site.admin, verb(""))).await, Code::FailedPrecondition);
    assert!(twice.message().contains("is being changed since"), "{twice:?}");
    assert_eq!(orders.count("ChangeBmcPassword"), 0, "the engine does it");

    site.engine("m1", None, |change| {
        let bmc = change.machine.details.bmc.as_mut().unwrap();
        (bmc.managed, bmc.rotation) = (false, None);
    })
    .await;
    let given = refused(bmcs.rotate_bmc_password(by(&site.admin, verb(""))).await, Code::FailedPrecondition);
    assert!(given.message().contains("was given and not made by Farrier"), "{given:?}");
}

#[tokio::test]
async fn passwords_that_are_old_are_changed_and_no_others() {
    let clock = Clock::manual(Clock::System.now());
    let site = Site::at(clock.clone()).await;
    let (_rack, _orders) = fake_rack::serving(&site, "r1").await;
    site.subnet("r1", 1).await;
    for (name, last) in ["m1", "m2", "m3"].into_iter().zip(2..) {
        site.machine(name, last).await;
        site.engine(name, Some(Event::Done), |_| {}).await;
    }
    site.own_account("m1", OWN).await;
    site.own_account("m2", OWN).await;
    clock.advance(TimeDelta::days(31));
    site.engine("m2", None, |change| change.machine.details.bmc.as_mut().unwrap().rotated(clock.now())).await;
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(site.app.clone().change_old_passwords(TimeDelta::days(30), stop));
    let rotation = async |name: &str| {
        let machine = site.app.store.machine_find(name).await.unwrap().unwrap().machine;
        machine.details.bmc.unwrap().rotation
    };
    let begun = async {
        while rotation("m1").await.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), begun).await.expect("its turn comes");
    assert_eq!(rotation("m1").await.unwrap().by, "schedule");
    assert_eq!((rotation("m2").await, rotation("m3").await), (None, None), "changed yesterday; not ours");
    let events = site.app.store.event_list(0, None, None, 100).await.unwrap();
    let noted: Vec<_> = events.iter().filter(|e| e.body.actor == "schedule").map(|e| e.body.reason.as_str()).collect();
    assert_eq!(noted, ["asked for a new password of the BMC account (it is old)"]);
}

#[tokio::test]
async fn a_bmc_is_set_when_it_takes_the_login_and_not_otherwise() {
    let (site, _rack, orders) = ready().await;
    let mut bmcs = Bmcs::new(site.channel.clone());
    let set = |q: v1::SetBmcRequest| v1::SetBmcRequest { options: options(), machine: "m1".to_owned(), ..q };
    let moved = || set(v1::SetBmcRequest { address: Some("10.99.0.5".to_owned()), ..Default::default() });
    let before = known(&site).await;
    let wrong = tonic::Status::permission_denied("the BMC refuses the login: wrong password");
    orders.refuse("ProbeBmc", Some(wrong));
    let refused_login = refused(bmcs.set_bmc(by(&site.admin, moved())).await, Code::FailedPrecondition);
    assert!(refused_login.message().contains("wrong password"), "{refused_login:?}");
    assert_eq!(known(&site).await, before);

    let told =
        rack::ProbeBmcResponse { protocol: v1::BmcProtocol::Ipmi.into(), cipher_suite: 17, ..Default::default() };
    orders.refuse("ProbeBmc", None);
    orders.answer("ProbeBmc", &told);
    let dry = v1::MutationOptions { validate_only: true, ..options().unwrap() };
    bmcs.set_bmc(by(&site.admin, v1::SetBmcRequest { options: Some(dry), ..moved() })).await.unwrap();
    assert_eq!(known(&site).await, before);
    let seen = bmcs.set_bmc(by(&site.admin, moved())).await.unwrap().into_inner().endpoint.unwrap();
    assert_eq!((seen.address.as_str(), seen.managed_account), ("10.99.0.5", true));

    let (username, password) = (Some("root".to_owned()), Some("theirs".to_owned()));
    let half = set(v1::SetBmcRequest { username: username.clone(), ..Default::default() });
    let half = refused(bmcs.set_bmc(by(&site.admin, half)).await, Code::InvalidArgument);
    assert_eq!(half.message(), "password: is required with username");
    let given = set(v1::SetBmcRequest { username, password, ..Default::default() });
    let seen = bmcs.set_bmc(by(&site.admin, given)).await.unwrap().into_inner().endpoint.unwrap();
    assert_eq!((seen.username.as_str(), seen.managed_account), ("root", false));
    let revealed = bmcs.reveal_bmc_password(by(&site.admin, verb("a look"))).await.unwrap().into_inner();
    assert_eq!(revealed.password, "theirs");
    let nothing = set(v1::SetBmcRequest::default());
    let nothing = refused(bmcs.set_bmc(by(&site.admin, nothing)).await, Code::InvalidArgument);
    assert!(nothing.message().contains("nothing is to be changed"), "{nothing:?}");
    let ulf = site.user("ulf", v1::Role::User).await;
    refused(bmcs.set_bmc(by(&ulf, moved())).await, Code::PermissionDenied);
}

#[tokio::test]
async fn a_probe_is_remembered_with_its_age() {
    let (site, _rack, orders) = ready().await;
    let told = rack::ProbeBmcResponse {
        protocol: v1::BmcProtocol::Redfish.into(),
        firmware_version: "7.10".to_owned(),
        capabilities: vec!["power".to_owned()],
        redfish: Some(rack::RedfishIdentity {
            vendor: "Dell".to_owned(),
            certificate_sha256: "ab".repeat(32),
            ..Default::default()
        }),
        speaks: vec![v1::BmcProtocol::Redfish.into(), v1::BmcProtocol::Ipmi.into()],
        because: "it answers".to_owned(),
        ..Default::default()
    };
    orders.answer("ProbeBmc", &told);
    let mut bmcs = Bmcs::new(site.channel.clone());
    bmcs.probe_bmc(by(&site.admin, verb(""))).await.unwrap();
    let ask = v1::GetBmcRequest { machine: "m1".to_owned() };
    let seen = bmcs.get_bmc(by(&site.admin, ask)).await.unwrap().into_inner();
    let endpoint = seen.endpoint.unwrap();
    let facts = endpoint.facts.unwrap();
    assert_eq!((facts.vendor.as_str(), facts.because.as_str(), facts.speaks.len()), ("Dell", "it answers", 2));
    assert_eq!(facts.observed_at.unwrap().seconds, site.app.clock.now().timestamp());
    assert_eq!(endpoint.certificate_sha256, "ab".repeat(32));
    assert_eq!((seen.exchanges.len(), seen.exchanges[0].text.as_str()), (1, "log in: answered"));
}

#[tokio::test]
async fn an_admin_reads_what_a_bmc_has_seen() {
    let (site, _rack, orders) = ready().await;
    let mut bmcs = Bmcs::new(site.channel.clone());
    let ask = |limit| v1::ListBmcEventsRequest { machine: "m1".to_owned(), limit };
    let ulf = site.user("ulf", v1::Role::User).await;
    refused(bmcs.list_bmc_events(by(&ulf, ask(0))).await, Code::PermissionDenied);
    for wrong in [-1, 501] {
        let status = refused(bmcs.list_bmc_events(by(&site.admin, ask(wrong))).await, Code::InvalidArgument);
        assert!(status.message().starts_with("limit: must be 0 to 500"), "{status:?}");
    }
    let event = v1::BmcEvent {
        id: "7".to_owned(),
        at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        severity: v1::EventSeverity::Critical.into(),
        text: "a fan stopped".to_owned(),
    };
    let told = rack::GetBmcEventsResponse { events: vec![event.clone()], more: true, log: "SEL".to_owned() };
    orders.answer("GetBmcEvents", &told);
    let log = bmcs.list_bmc_events(by(&site.admin, ask(0))).await.unwrap().into_inner();
    assert_eq!(log, v1::ListBmcEventsResponse { events: vec![event], more: true, log: "SEL".to_owned() });
    assert_eq!(orders.count("GetBmcEvents"), 1);
}

#[tokio::test]
async fn the_firmware_is_set_by_its_bmc_and_the_log_names_no_value() {
    let (site, _rack, orders) = ready().await;
    let mut bmcs = Bmcs::new(site.channel.clone());
    let attribute = v1::BiosAttribute { name: "BootMode".into(), value: "Bios".into(), pending: Some("Uefi".into()) };
    let secure_boot = Some(v1::SecureBoot { enable: true, enforced: None, mode: "UserMode".into() });
    let settings = v1::BiosSettings { attributes: vec![attribute], secure_boot };
    orders.answer("GetBiosSettings", &rack::GetBiosSettingsResponse { settings: Some(settings.clone()) });
    let get = || v1::GetBiosSettingsRequest { machine: "m1".to_owned() };
    assert_eq!(bmcs.get_bios_settings(by(&site.admin, get())).await.unwrap().into_inner(), settings);
    let ulf = site.user("ulf", v1::Role::User).await;
    refused(bmcs.get_bios_settings(by(&ulf, get())).await, Code::PermissionDenied);

    let set = |attributes: &[(&str, &str)]| v1::SetBiosSettingsRequest {
        options: options(),
        machine: "m1".to_owned(),
        comment: "hardening".to_owned(),
        attributes: attributes.iter().map(|(n, v)| v1::BiosSetting { name: (*n).into(), value: (*v).into() }).collect(),
        secure_boot: None,
    };
    refused(bmcs.set_bios_settings(by(&site.admin, set(&[]))).await, Code::InvalidArgument);
    assert_eq!(orders.count("SetBiosSettings"), 0);
    orders.answer("SetBiosSettings", &rack::SetBiosSettingsResponse {});
    let password = refused(
        bmcs.set_bios_settings(by(&site.admin, set(&[("SetupPassword", "hunter2")]))).await,
        Code::InvalidArgument,
    );
    assert!(password.message().contains("SetupPassword: passwords"), "{password:?}");
    let request = set(&[("AssetTag", "rack-7-unit-12")]);
    bmcs.set_bios_settings(by(&site.admin, request.clone())).await.unwrap();
    bmcs.set_bios_settings(by(&site.admin, request)).await.unwrap();
    let events = site.app.store.event_list(0, None, None, 100).await.unwrap();
    let noted: Vec<_> = events.iter().map(|e| e.body.reason.as_str()).filter(|r| r.contains("AssetTag")).collect();
    assert_eq!(noted, ["set, from the next start on: BIOS attributes AssetTag (hardening)"]);
    let database = site.database();
    assert!(!database.windows(7).any(|w| w == b"hunter2"), "what is refused is kept nowhere");
}
