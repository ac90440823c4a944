//! Machines that people switch, and what they tell.

use farrier_proto::v1::{self, MachineState, PowerState, Role};
use farrier_region::domain::{advance::Change, lifecycle::Event, machine::Owner};
use tonic::Code;

use crate::site::{Machines, Site, bmc, by, new_machine, options, refused};

fn commission() -> v1::CommissionMachineRequest {
    v1::CommissionMachineRequest { options: options(), machine: "m1".to_owned(), manual: true, ..Default::default() }
}

/// What a person tells.
pub(crate) fn tell(machine: &str, power: PowerState) -> v1::TellPowerRequest {
    v1::TellPowerRequest {
        options: options(),
        machine: machine.to_owned(),
        power: power.into(),
        comment: "I stand before it".to_owned(),
    }
}

/// Makes a machine with a BMC one that people switch.
pub(crate) async fn switched_by_people(site: &Site, machine: &str) {
    let edit = |change: &mut Change| {
        let details = &mut change.machine.details;
        (details.bmc, details.manual) = (None, true);
    };
    site.engine(machine, None, edit).await;
}

fn power(machine: &v1::Machine) -> PowerState {
    machine.status.as_ref().unwrap().power()
}

async fn site() -> (Site, Machines) {
    let site = Site::start().await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    site.machine("m1", 2).await;
    site.engine("m1", Some(Event::Done), |_| {}).await;
    let machines = Machines::new(site.channel.clone());
    (site, machines)
}

#[tokio::test]
async fn a_machine_becomes_one_that_people_switch_and_a_bmcs_again() {
    let (site, mut machines) = site().await;
    refused(machines.tell_power(by(&site.admin, tell("m1", PowerState::Off))).await, Code::FailedPrecondition);
    for both in [
        v1::CommissionMachineRequest { bmc: Some(bmc(9)), ..commission() },
        v1::CommissionMachineRequest { in_band: Some(v1::InBandBmc::default()), ..commission() },
    ] {
        let status = refused(machines.commission_machine(by(&site.admin, both)).await, Code::InvalidArgument);
        assert!(status.message().contains("manual"), "{status:?}");
    }
    let begun = machines.commission_machine(by(&site.admin, commission())).await.unwrap().into_inner();
    let intent = begun.intent.as_ref().unwrap();
    assert!(intent.manual && intent.bmc.is_none(), "{intent:?}");
    site.engine("m1", Some(Event::Done), |_| {}).await;

    // No BMC is asked, whatever is wanted of one.
    let on =
        v1::PowerMachineRequest { options: options(), machine: "m1".to_owned(), action: v1::PowerAction::On.into() };
    let status = refused(machines.power_machine(by(&site.admin, on)).await, Code::FailedPrecondition);
    assert!(status.message().contains("tell-power m1"), "{status:?}");
    let mut bmcs = v1::bmcs_client::BmcsClient::new(site.channel.clone());
    let probe = v1::BmcVerbRequest { options: options(), machine: "m1".to_owned(), comment: String::new() };
    refused(bmcs.probe_bmc(by(&site.admin, probe)).await, Code::FailedPrecondition);

    // What was said stays for the next commissioning, until something else is.
    let again = v1::CommissionMachineRequest { manual: false, ..commission() };
    let begun = machines.commission_machine(by(&site.admin, again.clone())).await.unwrap().into_inner();
    assert!(begun.intent.unwrap().manual);
    site.engine("m1", Some(Event::Done), |_| {}).await;
    let given = v1::CommissionMachineRequest { bmc: Some(bmc(9)), options: options(), ..again };
    let begun = machines.commission_machine(by(&site.admin, given)).await.unwrap().into_inner();
    let intent = begun.intent.as_ref().unwrap();
    assert!(!intent.manual && intent.bmc.is_some(), "{intent:?}");
}

#[tokio::test]
async fn what_a_person_tells_is_kept_once_and_wakes_the_work() {
    let (site, mut machines) = site().await;
    machines.commission_machine(by(&site.admin, commission())).await.unwrap();
    let ulf = site.user("ulf", Role::User).await;
    refused(machines.tell_power(by(&ulf, tell("m1", PowerState::Off))).await, Code::PermissionDenied);
    let nothing = machines.tell_power(by(&site.admin, tell("m1", PowerState::Unspecified))).await;
    let status = refused(nothing, Code::InvalidArgument);
    assert!(status.message().contains("power: must be one of: off, on"), "{status:?}");

    let dry = v1::MutationOptions { validate_only: true, ..options().unwrap() };
    let only = v1::TellPowerRequest { options: Some(dry), ..tell("m1", PowerState::Off) };
    let would = machines.tell_power(by(&site.admin, only)).await.unwrap().into_inner();
    assert_eq!(power(&would), PowerState::Off);
    let get = || v1::GetMachineRequest { machine: "m1".to_owned(), ..Default::default() };
    let machine = machines.get_machine(by(&site.admin, get())).await.unwrap().into_inner();
    assert_eq!(power(&machine), PowerState::Unspecified, "it was only asked");

    site.engine("m1", None, |change| change.machine.due_at = None).await;
    let off = tell("m1", PowerState::Off);
    let told = machines.tell_power(by(&site.admin, off.clone())).await.unwrap().into_inner();
    assert_eq!(power(&told), PowerState::Off);
    let due = site.app.store.machine_find("m1").await.unwrap().unwrap().machine.due_at;
    assert!(due.is_some_and(|due| due <= site.app.clock.now()), "the engine looks at once: {due:?}");
    machines.tell_power(by(&site.admin, tell("m1", PowerState::On))).await.unwrap();
    // A request that comes twice does not take the word back.
    assert_eq!(machines.tell_power(by(&site.admin, off)).await.unwrap().into_inner(), told);
    let machine = machines.get_machine(by(&site.admin, get())).await.unwrap().into_inner();
    assert_eq!(power(&machine), PowerState::On);

    let ask = v1::ListEventsRequest { machine: "m1".to_owned(), ..Default::default() };
    let mut events = v1::events_client::EventsClient::new(site.channel.clone());
    let events = events.list_events(by(&site.admin, ask)).await.unwrap().into_inner().events;
    let told: Vec<&str> = events.iter().map(|e| e.reason.as_str()).filter(|r| r.starts_with("told")).collect();
    assert_eq!(told, ["told that power is off (I stand before it)", "told that power is on (I stand before it)"]);
}

#[tokio::test]
async fn its_owner_tells_and_nobody_else() {
    let (site, mut machines) = site().await;
    let (ulf, vera) = (site.user("ulf", Role::User).await, site.user("vera", Role::User).await);
    let owner = site.app.store.user_find("ulf").await.unwrap().unwrap().id;
    switched_by_people(&site, "m1").await;
    site.engine("m1", None, |change| change.machine.owner = Some(Owner::User(owner))).await;
    refused(machines.tell_power(by(&vera, tell("m1", PowerState::On))).await, Code::PermissionDenied);
    let told = machines.tell_power(by(&ulf, tell("m1", PowerState::On))).await.unwrap().into_inner();
    assert_eq!((power(&told), told.status.unwrap().state()), (PowerState::On, MachineState::Ready));
}

#[tokio::test]
async fn a_machine_without_a_bmc_is_added_by_its_rack() {
    let (site, mut machines) = site().await;
    let new = || v1::CreateMachineRequest { bmc: None, manual: true, ..new_machine("m2", 3) };
    let neither = v1::CreateMachineRequest { manual: false, ..new() };
    refused(machines.create_machine(by(&site.admin, neither)).await, Code::InvalidArgument);
    let made = machines.create_machine(by(&site.admin, new())).await.unwrap().into_inner();
    assert!(made.intent.unwrap().manual);
    assert_eq!(made.status.unwrap().rack, "r1", "the only one");
    site.rack("r2").await;
    let unclear = v1::CreateMachineRequest { bmc: None, manual: true, ..new_machine("m3", 4) };
    let status = refused(machines.create_machine(by(&site.admin, unclear.clone())).await, Code::InvalidArgument);
    assert!(status.message().starts_with("rack: "), "{status:?}");
    let named = v1::CreateMachineRequest { rack: "r2".to_owned(), options: options(), ..unclear };
    let made = machines.create_machine(by(&site.admin, named)).await.unwrap().into_inner();
    assert_eq!(made.status.unwrap().rack, "r2");
}
