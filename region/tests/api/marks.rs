//! What people say about machines: broken, fixed, locked; name, pool, zone, tags, labels, notes.

use std::collections::HashMap;

use farrier_proto::v1::{self, MachineState, Role, StateRefusal};
use farrier_region::domain::{lifecycle::Event, machine::Owner, pool};
use prost::Message as _;
use prost_types::FieldMask;
use tonic::{Code, Status};
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

fn say(comment: &str) -> v1::MachineVerbRequest {
    v1::MachineVerbRequest { options: options(), machine: "m1".to_owned(), comment: comment.to_owned() }
}

fn allocate() -> v1::AllocateMachineRequest {
    v1::AllocateMachineRequest { options: options(), machine: "m1".to_owned(), ..Default::default() }
}

fn update(paths: &[&str]) -> v1::UpdateMachineRequest {
    let paths = paths.iter().map(|p| (*p).to_owned()).collect();
    v1::UpdateMachineRequest {
        options: options(),
        machine: "m1".to_owned(),
        update_mask: Some(FieldMask { paths }),
        ..Default::default()
    }
}

fn state(machine: &v1::Machine) -> MachineState {
    machine.status.as_ref().unwrap().state()
}

fn refusal(status: &Status) -> StateRefusal {
    let rich = tonic_types::Status::decode(status.details()).unwrap();
    let any = rich.details.iter().find(|d| d.type_url == "type.googleapis.com/farrier.v1.StateRefusal").unwrap();
    StateRefusal::decode(any.value.as_slice()).unwrap()
}

/// What the log says of m1 last.
async fn last_event(site: &Site) -> v1::Event {
    let ask = v1::ListEventsRequest { machine: "m1".to_owned(), ..Default::default() };
    let mut events = v1::events_client::EventsClient::new(site.channel.clone());
    events.list_events(by(&site.admin, ask)).await.unwrap().into_inner().events.pop().unwrap()
}

#[tokio::test]
async fn a_broken_machine_is_lost_to_its_owner_and_comes_back_by_commissioning() {
    let (site, mut machines) = ready_site().await;
    let ulf = site.user("ulf", Role::User).await;
    machines.allocate_machine(by(&ulf, allocate())).await.unwrap();
    refused(machines.mark_broken_machine(by(&ulf, say(""))).await, Code::PermissionDenied);
    let request = say("the fan is dead");
    let broken = machines.mark_broken_machine(by(&site.admin, request.clone())).await.unwrap().into_inner();
    assert_eq!((state(&broken), broken.intent.as_ref().unwrap().owner.as_str()), (MachineState::Broken, ""));
    assert_eq!(machines.mark_broken_machine(by(&site.admin, request)).await.unwrap().into_inner(), broken);
    let event = last_event(&site).await;
    assert_eq!(
        (event.event.as_str(), event.actor.as_str(), event.reason.as_str()),
        ("mark-broken", "user:admin", "marked as broken by admin: the fan is dead")
    );
    let status = refused(machines.allocate_machine(by(&site.admin, allocate())).await, Code::FailedPrecondition);
    assert_eq!(refusal(&status).allowed_verbs, ["mark-fixed", "rescue"]);
    let fixed = machines.mark_fixed_machine(by(&site.admin, say(""))).await.unwrap().into_inner();
    assert_eq!(state(&fixed), MachineState::Commissioning);
    refused(machines.mark_fixed_machine(by(&site.admin, say(""))).await, Code::FailedPrecondition);
}

#[tokio::test]
async fn an_override_says_why_and_by_whom() {
    let (site, mut machines) = ready_site().await;
    refused(machines.override_failed_test_machine(by(&site.admin, say("x"))).await, Code::FailedPrecondition);
    site.engine("m1", Some(Event::Test), |_| {}).await;
    site.engine("m1", Some(Event::Fail), |_| {}).await;
    let ulf = site.user("ulf", Role::User).await;
    refused(machines.override_failed_test_machine(by(&ulf, say("x"))).await, Code::PermissionDenied);
    let silent = refused(machines.override_failed_test_machine(by(&site.admin, say(" "))).await, Code::InvalidArgument);
    assert_eq!(silent.get_details_bad_request().unwrap().field_violations[0].field, "comment");
    let ready =
        machines.override_failed_test_machine(by(&site.admin, say("the sensor lies"))).await.unwrap().into_inner();
    assert_eq!(state(&ready), MachineState::Ready);
    let event = last_event(&site).await;
    assert_eq!(
        (event.event.as_str(), event.actor.as_str(), event.reason.as_str()),
        ("override-failed-test", "user:admin", "admin overrode the failed test: the sensor lies")
    );
}

#[tokio::test]
async fn a_locked_machine_refuses_every_verb_but_unlock() {
    let (site, mut machines) = ready_site().await;
    let ulf = site.user("ulf", Role::User).await;
    refused(machines.lock_machine(by(&ulf, say(""))).await, Code::PermissionDenied);
    let dry = v1::MutationOptions { validate_only: true, ..options().unwrap() };
    let told = v1::MachineVerbRequest { options: Some(dry), ..say("") };
    assert!(machines.lock_machine(by(&site.admin, told)).await.unwrap().into_inner().intent.unwrap().lock.is_some());
    let locked = machines.lock_machine(by(&site.admin, say("the auditors"))).await.unwrap().into_inner();
    let lock = locked.intent.as_ref().unwrap().lock.clone().unwrap();
    assert_eq!(
        (lock.by.as_str(), lock.comment.as_str(), state(&locked)),
        ("admin", "the auditors", MachineState::Ready)
    );
    assert!(lock.since.is_some());

    let root = &site.admin;
    let m1 = || "m1".to_owned();
    let commission = v1::CommissionMachineRequest { options: options(), machine: m1(), ..Default::default() };
    let deploy = v1::DeployMachineRequest {
        options: options(),
        machine: m1(),
        image: "debian".to_owned(),
        ..Default::default()
    };
    let release = v1::ReleaseMachineRequest { options: options(), machine: m1(), ..Default::default() };
    let abort = v1::AbortMachineRequest { options: options(), machine: m1(), ..Default::default() };
    let on = v1::PowerMachineRequest { options: options(), machine: m1(), action: v1::PowerAction::On.into() };
    for (verb, status) in [
        ("allocate", machines.allocate_machine(by(root, allocate())).await),
        ("commission", machines.commission_machine(by(root, commission)).await),
        ("deploy", machines.deploy_machine(by(root, deploy)).await),
        ("release", machines.release_machine(by(root, release)).await),
        ("abort", machines.abort_machine(by(root, abort)).await),
        ("power", machines.power_machine(by(root, on)).await),
        ("mark-broken", machines.mark_broken_machine(by(root, say(""))).await),
        ("mark-fixed", machines.mark_fixed_machine(by(root, say(""))).await),
        ("override-failed-test", machines.override_failed_test_machine(by(root, say("x"))).await),
        ("lock", machines.lock_machine(by(root, say(""))).await),
        ("update", machines.update_machine(by(root, update(&["notes"]))).await),
    ] {
        let status = refused(status, Code::FailedPrecondition);
        let refusal = refusal(&status);
        assert_eq!((refusal.verb.as_str(), &refusal.allowed_verbs[..]), (verb, &["unlock".to_owned()][..]));
        assert!(status.message().contains("locked by admin since 20"), "{status:?}");
        assert!(status.message().contains(&format!(": the auditors; {verb} is not allowed")), "{status:?}");
        assert_eq!(status.get_details_error_info().unwrap().reason, "LOCKED");
    }
    let any = v1::AllocateMachineRequest { machine: String::new(), ..allocate() };
    refused(machines.allocate_machine(by(root, any)).await, Code::ResourceExhausted);

    let explain = || v1::ExplainMachineRequest { machine: m1(), timeline_size: 1 };
    let told = machines.explain_machine(by(root, explain())).await.unwrap().into_inner();
    assert_eq!(told.allowed_verbs, ["unlock"]);
    assert!(told.next_step.contains("you may: unlock; locked by admin since"), "{}", told.next_step);
    assert!(told.timeline[0].text.contains("locked: the auditors"), "{:?}", told.timeline);
    let told = machines.explain_machine(by(&ulf, explain())).await.unwrap().into_inner();
    assert!(told.allowed_verbs.is_empty(), "{:?}", told.allowed_verbs);

    refused(machines.unlock_machine(by(&ulf, say(""))).await, Code::PermissionDenied);
    let free = machines.unlock_machine(by(root, say(""))).await.unwrap().into_inner();
    assert!(free.intent.unwrap().lock.is_none());
    let status = refused(machines.unlock_machine(by(root, say(""))).await, Code::FailedPrecondition);
    assert_eq!(status.message(), "machine m1 is not locked");
    machines.allocate_machine(by(&ulf, allocate())).await.unwrap();
}

#[tokio::test]
async fn a_lock_stops_nobodys_work_and_an_owner_has_locks_of_his_own() {
    let (site, mut machines) = ready_site().await;
    let (ulf, uma) = (site.user("ulf", Role::User).await, site.user("uma", Role::User).await);
    machines.allocate_machine(by(&ulf, allocate())).await.unwrap();
    machines.lock_machine(by(&ulf, say("mine"))).await.unwrap();
    refused(machines.unlock_machine(by(&uma, say(""))).await, Code::PermissionDenied);
    machines.unlock_machine(by(&ulf, say(""))).await.unwrap();
    let release = v1::ReleaseMachineRequest { options: options(), machine: "m1".to_owned(), ..Default::default() };
    machines.release_machine(by(&ulf, release)).await.unwrap();
    machines.lock_machine(by(&site.admin, say(""))).await.unwrap();
    let status = refused(machines.unlock_machine(by(&ulf, say(""))).await, Code::PermissionDenied);
    assert_eq!(status.message(), "machine m1 is locked by admin; an admin locked it: unlocking it is for admins");
    site.engine("m1", Some(Event::Done), |_| {}).await;
    let get = v1::GetMachineRequest { machine: "m1".to_owned(), ..Default::default() };
    let done = machines.get_machine(by(&site.admin, get)).await.unwrap().into_inner();
    assert_eq!((state(&done), done.intent.unwrap().lock.is_some()), (MachineState::Ready, true));
}

#[tokio::test]
async fn a_machine_is_described() {
    let (site, mut machines) = ready_site().await;
    site.machine("m2", 3).await;
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let all = v1::UpdateMachineRequest {
        name: "db1".to_owned(),
        zone: "row-7".to_owned(),
        tags: words(&["ssd", "fast", "ssd"]),
        labels: HashMap::from([("team".to_owned(), "db".to_owned()), ("rack".to_owned(), "9".to_owned())]),
        notes: "loud\nand old".to_owned(),
        pool: pool::DEFAULT.to_string(),
        ..update(&["name", "pool", "zone", "tags", "labels", "notes"])
    };
    let told = machines.update_machine(by(&site.admin, all.clone())).await.unwrap().into_inner();
    let intent = told.intent.clone().unwrap();
    assert_eq!((told.name.as_str(), intent.zone.as_str(), intent.pool.as_str()), ("db1", "row-7", "default"));
    assert_eq!((intent.tags, intent.notes.as_str(), told.labels.len()), (words(&["fast", "ssd"]), "loud\nand old", 2));
    // Labels travel in any order; the same request is answered the same.
    for _ in 0..5 {
        let mut again = all.clone();
        again.labels = all.labels.clone().into_iter().collect();
        assert_eq!(machines.update_machine(by(&site.admin, again)).await.unwrap().into_inner(), told);
    }
    let listed =
        machines.list_machines(by(&site.admin, v1::ListMachinesRequest::default())).await.unwrap().into_inner();
    let brief = listed.machines.iter().find(|m| m.name == "db1").unwrap().intent.clone().unwrap();
    assert_eq!((brief.notes.as_str(), brief.tags.len()), ("", 2), "lists are without notes");

    let events = v1::ListEventsRequest { kind: "machine".to_owned(), ..Default::default() };
    let mut client = v1::events_client::EventsClient::new(site.channel.clone());
    let events = client.list_events(by(&site.admin, events)).await.unwrap().into_inner().events;
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0].reason,
        "name set to db1, it was m1; zone set to row-7; tags set to fast, ssd; labels set to rack=9, team=db; notes changed"
    );
    let taken = v1::UpdateMachineRequest { machine: "db1".to_owned(), name: "m2".to_owned(), ..update(&["name"]) };
    refused(machines.update_machine(by(&site.admin, taken)).await, Code::AlreadyExists);
}

#[tokio::test]
async fn only_what_the_mask_names_is_set_and_only_by_whom_it_is_for() {
    let (site, mut machines) = ready_site().await;
    for (paths, said) in [(&[][..], "required"), (&["*"], "\"*\" cannot be set"), (&["notes", "state"], "\"state\"")] {
        let status = refused(machines.update_machine(by(&site.admin, update(paths))).await, Code::InvalidArgument);
        assert!(status.message().starts_with("update_mask: "), "{status:?}");
        assert!(status.message().contains(said), "{status:?}");
        assert!(status.message().contains("name, pool, zone, tags, labels, notes"), "{status:?}");
    }
    let elsewhere = v1::UpdateMachineRequest { pool: "gpu".to_owned(), ..update(&["pool"]) };
    let status = refused(machines.update_machine(by(&site.admin, elsewhere)).await, Code::NotFound);
    assert_eq!(status.message(), "there is no pool \"gpu\"");
    let long = v1::UpdateMachineRequest { notes: "x".repeat(4097), ..update(&["notes"]) };
    refused(machines.update_machine(by(&site.admin, long)).await, Code::InvalidArgument);

    let (ulf, uma) = (site.user("ulf", Role::User).await, site.user("uma", Role::User).await);
    let noted = || v1::UpdateMachineRequest { notes: "mine".to_owned(), ..update(&["notes"]) };
    refused(machines.update_machine(by(&ulf, noted())).await, Code::PermissionDenied);
    machines.allocate_machine(by(&ulf, allocate())).await.unwrap();
    machines.update_machine(by(&ulf, noted())).await.unwrap();
    refused(machines.update_machine(by(&uma, noted())).await, Code::PermissionDenied);
    let moved =
        v1::UpdateMachineRequest { zone: "z".to_owned(), notes: "lost".to_owned(), ..update(&["notes", "zone"]) };
    refused(machines.update_machine(by(&ulf, moved)).await, Code::PermissionDenied);
    let view = site.app.store.machine_find("m1").await.unwrap().unwrap();
    assert_eq!((view.machine.details.notes.as_str(), view.machine.zone), ("mine", pool::default_zone()));
    assert!(matches!(view.machine.owner, Some(Owner::User(_))));
}

#[tokio::test]
async fn a_machine_is_added_with_its_description() {
    let (site, mut machines) = ready_site().await;
    let new = v1::CreateMachineRequest {
        pool: "default".to_owned(),
        zone: "row-7".to_owned(),
        tags: vec!["ssd".to_owned()],
        notes: "loud".to_owned(),
        ..new_machine("m7", 7)
    };
    let intent = machines.create_machine(by(&site.admin, new)).await.unwrap().into_inner().intent.unwrap();
    assert_eq!((intent.pool.as_str(), intent.zone.as_str(), intent.notes.as_str()), ("default", "row-7", "loud"));
    assert_eq!(intent.tags, ["ssd"]);
    for bad in [
        v1::CreateMachineRequest { zone: "Row 7".to_owned(), ..new_machine("m8", 8) },
        v1::CreateMachineRequest { tags: vec!["a,b".to_owned()], ..new_machine("m8", 8) },
        v1::CreateMachineRequest { notes: "\u{7}".to_owned(), ..new_machine("m8", 8) },
    ] {
        refused(machines.create_machine(by(&site.admin, bad)).await, Code::InvalidArgument);
    }
    let bad = v1::CreateMachineRequest { pool: "gpu".to_owned(), ..new_machine("m8", 8) };
    refused(machines.create_machine(by(&site.admin, bad)).await, Code::NotFound);
}
