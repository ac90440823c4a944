//! The verbs of people.

use farrier_proto::v1::{self, MachineState, MutationOptions, Role, StateRefusal};
use farrier_region::domain::lifecycle::Event;
use prost::Message as _;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::site::{Machines, Site, by, new_machine, options, refused};

async fn ready_site() -> (Site, Machines) {
    let site = Site::start().await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    site.machine("m1", 2).await;
    site.engine("m1", Some(Event::Done), |_| {}).await;
    let machines = Machines::new(site.channel.clone());
    (site, machines)
}

fn allocate(machine: &str) -> v1::AllocateMachineRequest {
    v1::AllocateMachineRequest { options: options(), machine: machine.to_owned(), ..Default::default() }
}

fn release(machine: &str) -> v1::ReleaseMachineRequest {
    v1::ReleaseMachineRequest { options: options(), machine: machine.to_owned(), ..Default::default() }
}

fn deploy(machine: &str) -> v1::DeployMachineRequest {
    v1::DeployMachineRequest {
        options: options(),
        machine: machine.to_owned(),
        image: "debian".to_owned(),
        ..Default::default()
    }
}

fn get(machine: &str) -> v1::GetMachineRequest {
    v1::GetMachineRequest { machine: machine.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_machine_is_added_by_hand_once() {
    let site = Site::start().await;
    let mut machines = Machines::new(site.channel.clone());
    let early = refused(machines.create_machine(by(&site.admin, new_machine("m1", 2))).await, Code::FailedPrecondition);
    assert!(early.message().contains("no rack has enrolled"));
    site.rack("r1").await;
    site.subnet("r1", 1).await;

    let request = new_machine("m1", 2);
    let made = machines.create_machine(by(&site.admin, request.clone())).await.unwrap().into_inner();
    let status = made.status.clone().unwrap();
    assert_eq!((made.name.as_str(), status.state(), status.rack.as_str()), ("m1", MachineState::Commissioning, "r1"));
    // .1 is the router and .2 the BMC.
    assert_eq!(
        status.interfaces,
        [v1::NetworkInterface { mac: "52:54:00:00:00:02".into(), address: "10.1.0.3".into(), boot: true }]
    );
    assert_eq!(made.labels.len(), 8);
    let bmc = made.intent.as_ref().unwrap().bmc.clone().unwrap();
    assert_eq!(
        (bmc.address.as_str(), bmc.port, bmc.username.as_str(), bmc.managed_account),
        ("10.1.0.2", 623, "root", false)
    );
    // The labels travel in any order.
    for _ in 0..5 {
        let mut again = request.clone();
        again.labels = request.labels.clone().into_iter().collect();
        assert_eq!(machines.create_machine(by(&site.admin, again)).await.unwrap().into_inner(), made);
    }
    assert!(!site.database().windows(12).any(|w| w == b"calvin-klein"), "a password is kept sealed");

    let same_mac = refused(machines.create_machine(by(&site.admin, new_machine("m2", 2))).await, Code::AlreadyExists);
    assert!(same_mac.message().contains("52:54:00:00:00:02 (m1)"), "{same_mac:?}");
    refused(machines.create_machine(by(&site.admin, new_machine("m1", 3))).await, Code::AlreadyExists);
    let unnamed = machines.create_machine(by(&site.admin, new_machine("", 4))).await.unwrap().into_inner();
    assert!(!unnamed.name.is_empty());
    // The second machine's address is neither the first one's nor a BMC's.
    assert_eq!(unnamed.status.unwrap().interfaces[0].address, "10.1.0.5");
    let no_macs = v1::CreateMachineRequest { macs: vec![], ..new_machine("m9", 9) };
    refused(machines.create_machine(by(&site.admin, no_macs)).await, Code::InvalidArgument);
    let listed =
        machines.list_machines(by(&site.admin, v1::ListMachinesRequest::default())).await.unwrap().into_inner();
    assert_eq!(listed.machines.len(), 2);
    assert!(listed.revision > 0);
}

#[tokio::test]
async fn a_machine_is_held_by_one_user() {
    let (site, mut machines) = ready_site().await;
    let viewer = site.user("vera", Role::Viewer).await;
    let (ulf, uma) = (site.user("ulf", Role::User).await, site.user("uma", Role::User).await);

    refused(machines.allocate_machine(by(&viewer, allocate(""))).await, Code::PermissionDenied);
    refused(machines.allocate_machine(by(&viewer, allocate("m1"))).await, Code::PermissionDenied);
    let commission =
        v1::CommissionMachineRequest { options: options(), machine: "m1".to_owned(), ..Default::default() };
    refused(machines.commission_machine(by(&ulf, commission)).await, Code::PermissionDenied);

    let request = allocate("");
    let held = machines.allocate_machine(by(&ulf, request.clone())).await.unwrap().into_inner();
    assert_eq!(held.status.as_ref().unwrap().state(), MachineState::Allocated);
    assert_eq!(held.intent.as_ref().unwrap().owner, "ulf");
    assert_eq!(machines.allocate_machine(by(&ulf, request)).await.unwrap().into_inner(), held);

    refused(machines.allocate_machine(by(&uma, allocate(""))).await, Code::ResourceExhausted);
    refused(machines.deploy_machine(by(&uma, deploy("m1"))).await, Code::PermissionDenied);
    refused(machines.release_machine(by(&uma, release("m1"))).await, Code::PermissionDenied);
    let keep = v1::ReleaseMachineRequest { skip_erase: true, ..release("m1") };
    let status = refused(machines.release_machine(by(&ulf, keep)).await, Code::InvalidArgument);
    assert!(status.message().starts_with("skip_erase: "));
    let released = machines.release_machine(by(&ulf, release("m1"))).await.unwrap().into_inner();
    assert_eq!(released.status.unwrap().state(), MachineState::Releasing);
    let abort = v1::AbortMachineRequest { options: options(), machine: "m1".to_owned(), comment: "why not".to_owned() };
    refused(machines.abort_machine(by(&ulf, abort.clone())).await, Code::PermissionDenied);
    let aborted = machines.abort_machine(by(&site.admin, abort)).await.unwrap().into_inner().status.unwrap();
    assert_eq!(
        (aborted.state(), aborted.reason.as_str()),
        (MachineState::FailedReleasing, "aborted by admin: why not")
    );
}

#[tokio::test]
async fn many_who_allocate_at_once_get_different_machines() {
    let (site, _) = ready_site().await;
    for last in 3..7 {
        let name = format!("m{last}");
        site.machine(&name, last * 10).await;
        site.engine(&name, Some(Event::Done), |_| {}).await;
    }
    let ulf = site.user("ulf", Role::User).await;
    let calls = (0..5).map(|_| {
        let (mut machines, ulf) = (Machines::new(site.channel.clone()), ulf.clone());
        tokio::spawn(async move { machines.allocate_machine(by(&ulf, allocate(""))).await.unwrap().into_inner().name })
    });
    let mut names = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        names.push(call.await.unwrap());
    }
    names.sort();
    assert_eq!(names, ["m1", "m3", "m4", "m5", "m6"]);
}

#[tokio::test]
async fn a_refusal_tells_state_and_verbs() {
    let (site, mut machines) = ready_site().await;
    let ulf = site.user("ulf", Role::User).await;
    let status = refused(machines.deploy_machine(by(&ulf, deploy("m1"))).await, Code::FailedPrecondition);
    let rich = tonic_types::Status::decode(status.details()).unwrap();
    let any = rich.details.iter().find(|d| d.type_url == "type.googleapis.com/farrier.v1.StateRefusal").unwrap();
    let refusal = StateRefusal::decode(any.value.as_slice()).unwrap();
    assert_eq!(
        (refusal.machine.as_str(), refusal.state(), refusal.verb.as_str()),
        ("m1", MachineState::Ready, "deploy")
    );
    assert_eq!(refusal.allowed_verbs, ["allocate"]);
    assert_eq!(status.get_details_error_info().unwrap().reason, "STATE");
    refused(machines.get_machine(by(&ulf, get("m2"))).await, Code::NotFound);
}

#[tokio::test]
async fn an_etag_that_is_old_is_refused() {
    let (site, mut machines) = ready_site().await;
    let seen = machines.get_machine(by(&site.admin, get("m1"))).await.unwrap().into_inner();
    let with = |etag: &str| Some(MutationOptions { etag: etag.to_owned(), ..options().unwrap() });
    let good = v1::AllocateMachineRequest { options: with(&seen.etag), ..allocate("m1") };
    let held = machines.allocate_machine(by(&site.admin, good)).await.unwrap().into_inner();
    assert_ne!(held.etag, seen.etag);
    let old = v1::ReleaseMachineRequest { options: with(&seen.etag), ..release("m1") };
    let status = refused(machines.release_machine(by(&site.admin, old)).await, Code::Aborted);
    assert_eq!(status.get_details_error_info().unwrap().metadata["etag"], held.etag);
    let any = v1::AllocateMachineRequest { options: with("1"), ..allocate("") };
    refused(machines.allocate_machine(by(&site.admin, any)).await, Code::InvalidArgument);
}

#[tokio::test]
async fn power_is_the_engines_while_it_works() {
    let site = Site::start().await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    site.machine("m1", 2).await;
    let ulf = site.user("ulf", Role::User).await;
    let mut machines = Machines::new(site.channel.clone());
    let power = |action: v1::PowerAction| v1::PowerMachineRequest {
        options: options(),
        machine: "m1".to_owned(),
        action: action.into(),
    };
    refused(machines.power_machine(by(&ulf, power(v1::PowerAction::On))).await, Code::PermissionDenied);
    let status =
        refused(machines.power_machine(by(&site.admin, power(v1::PowerAction::Off))).await, Code::FailedPrecondition);
    assert!(status.message().contains("the engine drives its power"), "{status:?}");
    refused(machines.power_machine(by(&site.admin, power(v1::PowerAction::Unspecified))).await, Code::InvalidArgument);
    // Asking is allowed always, needs no request id, and here finds that the rack is not there.
    let query = v1::PowerMachineRequest { options: None, ..power(v1::PowerAction::Query) };
    let status = refused(machines.power_machine(by(&site.admin, query)).await, Code::Unavailable);
    assert!(status.get_details_retry_info().is_some());
    site.engine("m1", Some(Event::Done), |_| {}).await;
    refused(machines.power_machine(by(&site.admin, power(v1::PowerAction::Cycle))).await, Code::Unavailable);
}

#[tokio::test]
async fn what_is_not_built_says_so() {
    let (site, mut machines) = ready_site().await;
    let ask = || v1::DeleteMachineRequest { options: options(), machine: "m1".to_owned(), ..Default::default() };
    refused(machines.delete_machine(ask()).await, Code::Unauthenticated);
    let status = refused(machines.delete_machine(by(&site.admin, ask())).await, Code::Unimplemented);
    assert_eq!(status.message(), "DeleteMachine is not available in this release");
}

#[tokio::test]
async fn a_machine_is_explained() {
    let (site, mut machines) = ready_site().await;
    let ask = |timeline_size| v1::ExplainMachineRequest { machine: "m1".to_owned(), timeline_size };
    let told = machines.explain_machine(by(&site.admin, ask(0))).await.unwrap().into_inner();
    assert_eq!(told.machine.unwrap().status.unwrap().state(), MachineState::Ready);
    assert!(told.allowed_verbs.contains(&"allocate".to_owned()));
    assert!(told.next_step.contains("until it is allocated"), "{}", told.next_step);
    assert!(told.next_attempt.is_none());
    assert!(told.timeline.iter().any(|e| e.kind == "transition" && e.text.contains("ready")), "{:?}", told.timeline);
    refused(machines.explain_machine(by(&site.admin, ask(1001))).await, Code::InvalidArgument);
    site.machine("m2", 9).await;
    let ask = v1::ExplainMachineRequest { machine: "m2".to_owned(), timeline_size: 1 };
    let told = machines.explain_machine(by(&site.admin, ask)).await.unwrap().into_inner();
    assert!(told.next_attempt.is_some());
    assert_eq!(told.timeline.len(), 1);
}

#[tokio::test]
async fn events_are_watched_from_a_revision_on() {
    let (site, mut machines) = ready_site().await;
    let ulf = site.user("ulf", Role::User).await;
    let mut events = v1::events_client::EventsClient::new(site.channel.clone());
    let all = events.list_events(by(&site.admin, v1::ListEventsRequest::default())).await.unwrap().into_inner().events;
    let watch = |after_revision, machine: &str| v1::WatchEventsRequest { after_revision, machine: machine.to_owned() };
    let mut from_start = events.watch_events(by(&site.admin, watch(0, ""))).await.unwrap().into_inner();
    for want in &all {
        assert_eq!(from_start.message().await.unwrap().unwrap(), *want);
    }
    let mut new_only = events.watch_events(by(&site.admin, watch(-1, "m1"))).await.unwrap().into_inner();
    machines.allocate_machine(by(&site.admin, allocate("m1"))).await.unwrap();
    for stream in [&mut from_start, &mut new_only] {
        let event = stream.message().await.unwrap().unwrap();
        assert_eq!(
            (event.event.as_str(), event.to(), event.actor.as_str()),
            ("allocate", MachineState::Allocated, "user:admin")
        );
        assert!(event.revision > all.last().unwrap().revision);
    }
    refused(events.watch_events(by(&site.admin, watch(-2, ""))).await, Code::InvalidArgument);
    refused(events.watch_events(by(&site.admin, watch(0, "m7"))).await, Code::NotFound);
    refused(events.watch_events(watch(0, "")).await, Code::Unauthenticated);
    let users = v1::ListEventsRequest { kind: "user".to_owned(), ..Default::default() };
    let users = events.list_events(by(&site.admin, users)).await.unwrap().into_inner().events;
    assert!(!users.is_empty() && users.iter().all(|e| e.kind == "user"));
    let seen = events.list_events(by(&ulf, v1::ListEventsRequest::default())).await.unwrap().into_inner().events;
    assert!(!seen.is_empty() && seen.iter().all(|e| e.kind != "user"), "who was given tokens is for admins");
    let none = v1::ListEventsRequest { kind: "nonsense".to_owned(), ..Default::default() };
    refused(events.list_events(by(&site.admin, none)).await, Code::InvalidArgument);
    site.app.stop.cancel();
    let ended = from_start.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable, "a watch ends when the region stops: {ended:?}");
}
