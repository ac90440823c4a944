//! One verb for many machines: what is refused, and how it goes on.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use farrier_proto::v1::{self, MutationOptions, Role};
use farrier_region::domain::{
    lifecycle::{Event, State},
    verbs::bmc::noted,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::{
    fleet::Engine,
    site::{Machines, Site, by, options, refused},
};

type Operations = v1::operations_client::OperationsClient<tonic::transport::Channel>;

fn release() -> v1::BulkMachinesRequest {
    v1::BulkMachinesRequest { options: options(), verb: "release".to_owned(), ..Default::default() }
}

fn of(filter: &str) -> v1::BulkMachinesRequest {
    v1::BulkMachinesRequest { filter: filter.to_owned(), ..release() }
}

fn named(names: &[&str]) -> v1::BulkMachinesRequest {
    v1::BulkMachinesRequest { machines: names.iter().map(|n| (*n).to_owned()).collect(), ..release() }
}

async fn ask(site: &Site, token: &str, q: v1::BulkMachinesRequest) -> Result<v1::BulkMachinesResponse, Status> {
    Machines::new(site.channel.clone()).bulk_machines(by(token, q)).await.map(tonic::Response::into_inner)
}

/// The plan of a call.
async fn plan(site: &Site, token: &str, q: &v1::BulkMachinesRequest) -> v1::BulkPlan {
    let options = Some(MutationOptions { validate_only: true, ..options().unwrap() });
    ask(site, token, v1::BulkMachinesRequest { options, ..q.clone() }).await.unwrap().plan.unwrap()
}

/// The call as its plan allows it.
async fn planned(site: &Site, token: &str, q: v1::BulkMachinesRequest) -> v1::BulkMachinesRequest {
    let plan = plan(site, token, &q).await;
    v1::BulkMachinesRequest { plan_token: plan.token, expected_count: plan.count, ..q }
}

async fn start(site: &Site, token: &str, q: v1::BulkMachinesRequest) -> v1::Operation {
    let q = planned(site, token, q).await;
    ask(site, token, q).await.unwrap().operation.unwrap()
}

async fn get(site: &Site, token: &str, id: &str) -> v1::Operation {
    let q = v1::GetOperationRequest { operation: id.to_owned() };
    Operations::new(site.channel.clone()).get_operation(by(token, q)).await.unwrap().into_inner()
}

async fn until(site: &Site, id: &str, fits: impl Fn(&v1::Operation) -> bool) -> v1::Operation {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let now = get(site, &site.admin, id).await;
        if fits(&now) {
            return now;
        }
        assert!(tokio::time::Instant::now() < end, "it does not come to that in time: {now:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A process that drives operations.
fn driver(site: &Site, owner: &str) -> (JoinHandle<Result<(), String>>, CancellationToken) {
    let stop = CancellationToken::new();
    (tokio::spawn(site.app.clone().drive_operations(owner.to_owned(), stop.clone())), stop)
}

fn statuses(operation: &v1::Operation) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for item in &operation.items {
        *all.entry(item.status.clone()).or_default() += 1;
    }
    all
}

/// "Must show" 6.
#[tokio::test]
async fn two_thousand_machines_are_not_released_by_mistake() {
    let site = Site::start().await;
    site.deployed(2000).await;
    let (before, mark) = (site.trace().await, site.mark().await);
    let told = async |q: v1::BulkMachinesRequest, code: Code| {
        let status = refused(ask(&site, &site.admin, q).await.map(tonic::Response::new), code);
        assert_eq!(site.mark().await, mark, "{}", status.message());
        status.message().to_owned()
    };
    let invalid = Code::InvalidArgument;
    let names: Vec<String> = before.0.keys().cloned().collect();
    let all = v1::BulkMachinesRequest { machines: names.clone(), ..release() };
    assert!(told(all.clone(), invalid).await.starts_with("plan_token: release is destructive: ask for a plan first"));
    for everything in ["state=deployed", "pool=default", "pool=default AND state=deployed"] {
        let why = told(of(everything), invalid).await;
        assert!(why.contains("matches every machine that you see (2000), and release is destructive"), "{why}");
    }
    assert!(told(of("state=broken"), invalid).await.contains("\"state=broken\" matches no machine"));
    for empty in ["", "  "] {
        let why = told(of(empty), invalid).await;
        assert!(why.contains("empty does not mean all"), "{why}");
    }
    let both = v1::BulkMachinesRequest { machines: names[..1].to_vec(), ..of("state=broken") };
    assert!(told(both, invalid).await.contains("not both"));

    let plan = plan(&site, &site.admin, &all).await;
    assert_eq!((plan.count, plan.items.len()), (2000, 2000));
    assert!(plan.items.iter().all(|item| item.refusal.is_empty()), "{:?}", plan.items[0]);
    assert_eq!(site.mark().await, mark, "a plan changes nothing");
    let with = |plan_token: &str, expected_count| v1::BulkMachinesRequest {
        options: options(),
        plan_token: plan_token.to_owned(),
        expected_count,
        ..all.clone()
    };
    for wrong in [1, 1999, 2001] {
        let why = told(with(&plan.token, wrong), Code::FailedPrecondition).await;
        assert_eq!(why, format!("{wrong} machines are expected, but it is about 2000; nothing was done"));
    }
    assert!(told(with(&plan.token, 0), invalid).await.starts_with("expected_count: required"));
    assert!(told(with("bm9uc2Vuc2U", 2000), invalid).await.starts_with("plan_token: is not the token of a plan"));
    let fewer = v1::BulkMachinesRequest { machines: names[1..].to_vec(), ..with(&plan.token, 1999) };
    assert!(told(fewer, invalid).await.contains("for another filter or other names"));
    let faster = v1::BulkMachinesRequest { max_parallel: 500, ..with(&plan.token, 2000) };
    assert!(told(faster, invalid).await.contains("made with max_parallel 10"));
    let other = v1::BulkMachinesRequest { verb: "abort".to_owned(), ..with(&plan.token, 2000) };
    assert!(told(other, invalid).await.contains("the plan is for release, not for abort"));
    assert_eq!(site.trace().await, before, "no machine has another version");
}

#[tokio::test]
async fn a_plan_is_for_what_it_was_made_for() {
    let site = Site::start().await;
    site.deployed(6).await;
    let ulf = site.user("ulf", Role::User).await;
    site.user("alf", Role::Admin).await;
    site.engine("n0005", Some(Event::MarkBroken), |_| {}).await;
    let q = planned(&site, &site.admin, of("state=deployed")).await;
    assert_eq!(q.expected_count, 5);
    let foreign = refused(ask(&site, &ulf, q.clone()).await.map(tonic::Response::new), Code::InvalidArgument);
    assert!(foreign.message().contains("the plan was made for somebody else"), "{foreign:?}");

    // A machine that comes to fit, or changes its state, since the plan.
    site.engine("n0004", Some(Event::MarkBroken), |_| {}).await;
    let before = site.trace().await;
    let fresh = |q: &v1::BulkMachinesRequest| v1::BulkMachinesRequest { options: options(), ..q.clone() };
    let changed = refused(ask(&site, &site.admin, fresh(&q)).await.map(tonic::Response::new), Code::FailedPrecondition);
    let why = "the selection has changed since the plan: then 5 machines (5 deployed), now 4 (4 deployed); nothing was \
               done, ask for a new plan";
    assert_eq!(changed.message(), why);
    let q = planned(&site, &site.admin, named(&["n0000", "n0001"])).await;
    site.engine("n0001", Some(Event::MarkBroken), |_| {}).await;
    let changed = refused(ask(&site, &site.admin, fresh(&q)).await.map(tonic::Response::new), Code::FailedPrecondition);
    assert!(changed.message().contains("(2 deployed), now 2 (1 broken, 1 deployed)"), "{changed:?}");
    assert_eq!(site.trace().await.2, before.2);

    let id = site.id_of("n0000").await.to_string();
    for (twice, field) in [(["n0000", "n0000"], "machines[1]"), (["n0000", id.as_str()], "machines[1]")] {
        let status =
            refused(ask(&site, &site.admin, named(&twice)).await.map(tonic::Response::new), Code::InvalidArgument);
        assert!(status.message().starts_with(field), "{status:?}");
    }
    refused(ask(&site, &site.admin, named(&["n0000", "n9999"])).await.map(tonic::Response::new), Code::NotFound);
    let vera = site.user("vera", Role::Viewer).await;
    refused(ask(&site, &vera, named(&["n0000"])).await.map(tonic::Response::new), Code::PermissionDenied);
    let odd = v1::BulkMachinesRequest { verb: "explode".to_owned(), ..named(&["n0000"]) };
    let odd = refused(ask(&site, &site.admin, odd).await.map(tonic::Response::new), Code::InvalidArgument);
    assert!(odd.message().starts_with("verb: "), "{odd:?}");
}

#[tokio::test]
async fn machines_are_released_at_their_pace_and_each_says_what_came_of_it() {
    let site = Site::start().await;
    site.deployed(13).await;
    let engine = Engine::start(&site);
    engine.failing.lock().unwrap().insert("n0003".to_owned());
    let (running, stop) = driver(&site, "region-a");
    // Refused at its turn: it is at work already, as the plan tells.
    site.engine("n0012", Some(Event::Release), |_| {}).await;
    let names: Vec<String> = (0..13).map(|n| format!("n{n:04}")).collect();
    let q = v1::BulkMachinesRequest { machines: names, max_parallel: 3, comment: "moving out".to_owned(), ..release() };
    let foreseen = plan(&site, &site.admin, &q).await;
    let refusals: Vec<_> =
        foreseen.items.iter().filter(|i| !i.refusal.is_empty()).map(|i| i.machine.as_str()).collect();
    let done = loop {
        // Machine n0012 may leave its state between plan and call: then the call is refused, as it should be.
        let q = v1::BulkMachinesRequest { options: options(), ..q.clone() };
        let q = planned(&site, &site.admin, q).await;
        match ask(&site, &site.admin, q).await {
            Ok(answer) => break answer.operation.unwrap(),
            Err(status) => assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}"),
        }
    };
    assert!(refusals.is_empty() || refusals == ["n0012"], "{refusals:?}");
    assert_eq!((done.total, done.max_parallel, done.user.as_str()), (13, 3, "admin"));
    let over = until(&site, &done.id, |o| o.finished_at.is_some()).await;
    assert_eq!((over.status.as_str(), over.succeeded, over.failed), ("done", 11, 2), "{over:?}");
    let text = |name: &str| over.items.iter().find(|i| i.machine == name).unwrap().text.clone();
    assert_eq!(text("n0003"), "failed-releasing: a test says so");
    assert!(text("n0012").contains("release is not allowed") || text("n0012").contains("not"), "{}", text("n0012"));
    // One more than three was at work at the beginning, by a verb of its own.
    assert!((2..=4).contains(&engine.most.load(Ordering::Relaxed)), "{:?}", engine.most);
    assert_eq!(site.state_of("n0000").await, State::Ready);
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn too_many_failures_stop_it_and_a_person_cancels_it() {
    let site = Site::start().await;
    site.deployed(10).await;
    let (running, stop) = driver(&site, "region-a");
    let engine = Engine::start(&site);
    for n in 0..5 {
        engine.failing.lock().unwrap().insert(format!("n{n:04}"));
    }
    let names: Vec<String> = (0..8).map(|n| format!("n{n:04}")).collect();
    let q = v1::BulkMachinesRequest { machines: names, max_parallel: 1, stop_after_failures: 2, ..release() };
    let begun = start(&site, &site.admin, q).await;
    let over = until(&site, &begun.id, |o| o.finished_at.is_some()).await;
    let want = [("failed".to_owned(), 2), ("skipped".to_owned(), 6)];
    assert_eq!((over.status.as_str(), statuses(&over)), ("stopped", BTreeMap::from(want)));
    assert_eq!(over.items[7].text, "2 machines failed before its turn");
    assert_eq!(site.state_of("n0007").await, State::Deployed);

    // Without an engine the first two stay at work.
    drop(engine);
    let q = named(&["n0005", "n0006", "n0007", "n0008", "n0009"]);
    let begun = start(&site, &site.admin, v1::BulkMachinesRequest { max_parallel: 2, ..q }).await;
    let at_work = until(&site, &begun.id, |o| o.running == 2).await;
    let mut operations = Operations::new(site.channel.clone());
    let cancel = |etag: &str| v1::CancelOperationRequest {
        options: Some(MutationOptions { etag: etag.to_owned(), ..options().unwrap() }),
        operation: begun.id.clone(),
    };
    refused(operations.cancel_operation(by(&site.admin, cancel("done-0"))).await, Code::Aborted);
    let q = cancel(&at_work.etag);
    let cancelled = operations.cancel_operation(by(&site.admin, q.clone())).await.unwrap().into_inner();
    assert_eq!((cancelled.status.as_str(), cancelled.waiting, cancelled.running), ("cancelled", 0, 2));
    assert!(cancelled.finished_at.is_none(), "two are at work");
    assert_eq!(operations.cancel_operation(by(&site.admin, q)).await.unwrap().into_inner(), cancelled);
    let _engine = Engine::start(&site);
    let over = until(&site, &begun.id, |o| o.finished_at.is_some()).await;
    let want = [("succeeded".to_owned(), 2), ("skipped".to_owned(), 3)];
    assert_eq!((over.status.as_str(), statuses(&over)), ("cancelled", BTreeMap::from(want)));
    refused(
        operations
            .cancel_operation(by(&site.admin, v1::CancelOperationRequest { operation: "x".into(), ..cancel("") }))
            .await,
        Code::NotFound,
    );
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_passwords_of_many_bmcs_are_changed_once_the_canary_has_its_own() {
    let site = Site::start().await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    let names = ["m1", "m2", "m3", "m4"];
    for (name, last) in names.iter().zip(1..) {
        site.machine(name, last).await;
        site.engine(name, Some(Event::Done), |_| {}).await;
        site.own_account(name, "our own password").await;
    }
    let rotating = async |name: &str| {
        let machine = site.app.store.machine_find(name).await.unwrap().unwrap().machine;
        machine.details.bmc.unwrap().rotation.is_some()
    };
    // What the engine does, one way or the other, once it is asked to.
    let ends = async |name: &str, well: bool| {
        let asked = async {
            while !rotating(name).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("it is asked to");
        site.engine(name, None, |change| {
            let text = if well { "changed" } else { "not changed: the BMC is silent; gave up after 20 tries" };
            change.events.push(noted(&change.machine, "engine".to_owned(), text, ""));
            let bmc = change.machine.details.bmc.as_mut().unwrap();
            if well { bmc.rotated(site.app.clock.now()) } else { bmc.rotation = None }
        })
        .await;
    };
    let (running, stop) = driver(&site, "region-a");
    let q = |canary| v1::BulkMachinesRequest { verb: "rotate-bmc-password".to_owned(), canary, ..named(&names) };
    let begun = ask(&site, &site.admin, q(1)).await.unwrap().operation.unwrap();
    let only = until(&site, &begun.id, |o| o.running == 1).await;
    assert_eq!((only.waiting, rotating("m2").await), (3, false));
    ends("m1", true).await;
    until(&site, &begun.id, |o| o.running == 3 && o.succeeded == 1).await;
    for (name, well) in [("m2", true), ("m3", false), ("m4", true)] {
        ends(name, well).await;
    }
    let over = until(&site, &begun.id, |o| o.finished_at.is_some()).await;
    assert_eq!((over.status.as_str(), over.succeeded, over.failed), ("done", 3, 1), "{over:?}");
    assert_eq!(over.items[2].text, "not changed: the BMC is silent; gave up after 20 tries");

    let begun = ask(&site, &site.admin, q(2)).await.unwrap().operation.unwrap();
    until(&site, &begun.id, |o| o.running == 2).await;
    ends("m1", true).await;
    ends("m2", false).await;
    let over = until(&site, &begun.id, |o| o.finished_at.is_some()).await;
    let want = [("succeeded".to_owned(), 1), ("failed".to_owned(), 1), ("skipped".to_owned(), 2)];
    assert_eq!((over.status.as_str(), statuses(&over)), ("stopped", BTreeMap::from(want)));
    assert!(!rotating("m3").await && !rotating("m4").await);
    let ulf = site.user("ulf", Role::User).await;
    let foreseen = plan(&site, &ulf, &v1::BulkMachinesRequest { machines: vec!["m1".to_owned()], ..q(0) }).await;
    assert!(foreseen.items[0].refusal.contains("is for admins"), "{foreseen:?}");
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_driver_that_dies_leaves_nothing_undone_or_done_twice() {
    let site = Site::start().await;
    site.deployed(24).await;
    let engine = Engine::start(&site);
    let names: Vec<String> = (0..24).map(|n| format!("n{n:04}")).collect();
    let q = v1::BulkMachinesRequest { machines: names, max_parallel: 4, ..release() };
    let begun = start(&site, &site.admin, q).await;
    // Each is ended wherever it is, and the next one has the same name, as a process after its restart.
    for done in [2, 6, 11, 17] {
        let (running, _stop) = driver(&site, "region-a");
        until(&site, &begun.id, |o| o.succeeded >= done).await;
        running.abort();
        assert!(running.await.is_err());
    }
    let (running, stop) = driver(&site, "region-a");
    let over = until(&site, &begun.id, |o| o.finished_at.is_some()).await;
    assert_eq!((over.status.as_str(), over.succeeded), ("done", 24), "{over:?}");
    assert!(engine.most.load(Ordering::Relaxed) <= 4, "{:?}", engine.most);
    for n in 0..24 {
        let id = site.id_of(&format!("n{n:04}")).await;
        let log = site.app.store.event_list(0, Some(id), None, 100).await.unwrap();
        let released = log.iter().filter(|e| e.body.event == Some(Event::Release)).count();
        assert_eq!(released, 1, "n{n:04}");
    }
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn each_turn_has_the_rights_of_who_asked_and_others_do_not_see_it() {
    let site = Site::start().await;
    let (ulf, uma) = (site.user("ulf", Role::User).await, site.user("uma", Role::User).await);
    site.deployed_of("u", 2, "ulf").await;
    site.deployed_of("v", 1, "uma").await;
    let foreseen = plan(&site, &ulf, &named(&["u0000", "v0000"])).await;
    assert_eq!(foreseen.items[0].refusal, "");
    assert!(foreseen.items[1].refusal.contains("held by somebody else"), "{:?}", foreseen.items);
    let _engine = Engine::start(&site);
    let begun = start(&site, &ulf, named(&["u0000", "v0000"])).await;
    let (running, stop) = driver(&site, "region-a");
    let over = until(&site, &begun.id, |o| o.finished_at.is_some()).await;
    assert_eq!((over.succeeded, over.failed), (1, 1), "{over:?}");
    assert!(over.items[1].text.contains("held by somebody else"), "{over:?}");
    assert_eq!(site.state_of("v0000").await, State::Deployed);

    let mut operations = Operations::new(site.channel.clone());
    let q = || v1::GetOperationRequest { operation: begun.id.clone() };
    assert_eq!(operations.get_operation(by(&ulf, q())).await.unwrap().into_inner(), over);
    refused(operations.get_operation(by(&uma, q())).await, Code::NotFound);
    let cancel = v1::CancelOperationRequest { options: options(), operation: begun.id.clone() };
    refused(operations.cancel_operation(by(&uma, cancel.clone())).await, Code::NotFound);
    let late = refused(operations.cancel_operation(by(&ulf, cancel)).await, Code::FailedPrecondition);
    assert!(late.message().contains("is done already"), "{late:?}");
    let list = |token: &str| by(token, v1::ListOperationsRequest::default());
    assert!(operations.list_operations(list(&uma)).await.unwrap().into_inner().operations.is_empty());
    let of_ulf = operations.list_operations(list(&ulf)).await.unwrap().into_inner().operations;
    let of_all = operations.list_operations(list(&site.admin)).await.unwrap().into_inner().operations;
    assert_eq!((of_ulf.len(), &of_ulf), (1, &of_all));
    assert_eq!((of_ulf[0].succeeded, of_ulf[0].items.len()), (1, 0));
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_repeated_call_has_the_first_answer_and_makes_nothing_new() {
    let site = Site::start().await;
    site.deployed(3).await;
    let q = planned(&site, &site.admin, named(&["n0000", "n0001"])).await;
    let first = ask(&site, &site.admin, q.clone()).await.unwrap();
    let _engine = Engine::start(&site);
    let (running, stop) = driver(&site, "region-a");
    until(&site, &first.operation.as_ref().unwrap().id, |o| o.finished_at.is_some()).await;
    let before = site.trace().await;
    assert_eq!(ask(&site, &site.admin, q.clone()).await.unwrap(), first);
    assert_eq!(site.trace().await, before);
    // Under a new id it is a new call, and the plan is not of this any more.
    let again = v1::BulkMachinesRequest { options: options(), ..q };
    refused(ask(&site, &site.admin, again).await.map(tonic::Response::new), Code::FailedPrecondition);
    stop.cancel();
    running.await.unwrap().unwrap();
}
