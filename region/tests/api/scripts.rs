//! Scripts, what is chosen of them, what agents are given, and what becomes of what they tell.

use farrier_proto::{
    agent::{self, next_task_response::Task, report_task_request::Report},
    v1::{self, MachineState, Role},
};
use farrier_region::domain::{
    lifecycle::{Event, Phase},
    observation::{TaskKind, TaskResult, TaskStatus},
};
use tonic::{Code, transport::Channel};

use crate::{
    gateway::{Boot, site_with_rack},
    site::{Machines, Rack, Site, by, new_machine, options, refused},
};

type Scripts = v1::scripts_client::ScriptsClient<Channel>;

fn script(name: &str, kind: v1::ScriptKind) -> v1::CreateScriptRequest {
    v1::CreateScriptRequest {
        options: options(),
        name: name.to_owned(),
        kind: kind.into(),
        content: format!("#!/bin/sh\n# {name}\n"),
        timeout_seconds: 30,
        description: "for the tests".to_owned(),
    }
}

async fn make(site: &Site, name: &str, kind: v1::ScriptKind) -> v1::Script {
    let mut scripts = Scripts::new(site.channel.clone());
    scripts.create_script(by(&site.admin, script(name, kind))).await.unwrap().into_inner()
}

fn delete(name: &str) -> v1::DeleteScriptRequest {
    v1::DeleteScriptRequest { options: options(), script: name.to_owned() }
}

fn commission(scripts: &[&str], tests: &[&str]) -> v1::CommissionMachineRequest {
    let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    let chosen = v1::CommissionOptions { scripts: list(scripts), tests: list(tests), ..Default::default() };
    v1::CommissionMachineRequest {
        options: options(),
        machine: "m1".to_owned(),
        commission: Some(chosen),
        ..Default::default()
    }
}

fn outcome(name: &str, status: agent::ScriptStatus, output: &str) -> agent::ScriptOutcome {
    agent::ScriptOutcome {
        name: name.to_owned(),
        status: status.into(),
        exit_code: i32::from(status != agent::ScriptStatus::Passed),
        output: output.to_owned(),
        // By a clock that was never set.
        started_unix_ms: 1000,
        finished_unix_ms: 3000,
    }
}

fn ran(outcomes: Vec<agent::ScriptOutcome>) -> Report {
    Report::RunScripts(agent::RunScriptsResult { outcomes })
}

#[tokio::test]
async fn scripts_are_made_listed_and_deleted() {
    let site = Site::start().await;
    let mut scripts = Scripts::new(site.channel.clone());
    let made = make(&site, "burn-in", v1::ScriptKind::Test).await;
    assert_eq!((made.name.as_str(), made.content.as_str(), made.built_in), ("burn-in", "", false));
    for taken in ["burn-in", "cpu", "none"] {
        let again = scripts.create_script(by(&site.admin, script(taken, v1::ScriptKind::Test))).await;
        refused(again, Code::AlreadyExists);
    }
    make(&site, "raid", v1::ScriptKind::Commissioning).await;

    let (mut names, mut token) = (Vec::new(), String::new());
    for _ in 0..6 {
        let page = Some(v1::PageRequest { page_size: 1, page_token: token });
        let list = scripts.list_scripts(by(&site.admin, v1::ListScriptsRequest { page })).await.unwrap().into_inner();
        assert!(list.scripts.iter().all(|s| s.content.is_empty()));
        names.extend(list.scripts.into_iter().map(|s| (s.name, s.built_in)));
        token = list.next_page_token;
    }
    assert!(token.is_empty());
    let wanted =
        [("burn-in", false), ("cpu", true), ("disk-read", true), ("memory", true), ("network", true), ("raid", false)];
    assert_eq!(names, wanted.map(|(n, b)| (n.to_owned(), b)));

    let get = |which: &str| by(&site.admin, v1::GetScriptRequest { script: which.to_owned() });
    let whole = scripts.get_script(get(&made.id)).await.unwrap().into_inner();
    assert_eq!((whole.content.as_str(), whole.timeout_seconds), ("#!/bin/sh\n# burn-in\n", 30));
    assert!(scripts.get_script(get("memory")).await.unwrap().into_inner().built_in);
    let bad = v1::CreateScriptRequest { content: "echo".to_owned(), ..script("x", v1::ScriptKind::Test) };
    let told = refused(scripts.create_script(by(&site.admin, bad)).await, Code::InvalidArgument);
    assert!(told.message().starts_with("content: "), "{told:?}");

    let ann = site.user("ann", Role::User).await;
    refused(scripts.create_script(by(&ann, script("y", v1::ScriptKind::Test))).await, Code::PermissionDenied);
    refused(scripts.delete_script(by(&ann, delete("burn-in"))).await, Code::PermissionDenied);
    refused(scripts.delete_script(by(&site.admin, delete("cpu"))).await, Code::FailedPrecondition);
    let gone = scripts.delete_script(by(&site.admin, delete("burn-in"))).await.unwrap().into_inner();
    assert_eq!(gone.id, made.id);
    refused(scripts.delete_script(by(&site.admin, delete("burn-in"))).await, Code::NotFound);
    refused(scripts.get_script(get(&made.id)).await, Code::NotFound);
}

#[tokio::test]
async fn only_what_is_there_can_be_chosen() {
    let (site, _rack) = site_with_rack().await;
    make(&site, "raid", v1::ScriptKind::Commissioning).await;
    make(&site, "burn-in", v1::ScriptKind::Test).await;
    let mut machines = Machines::new(site.channel.clone());
    let chosen = v1::CommissionOptions { tests: vec!["gone".to_owned()], ..Default::default() };
    let bad = v1::CreateMachineRequest { commission: Some(chosen.clone()), ..new_machine("m1", 1) };
    let told = refused(machines.create_machine(by(&site.admin, bad)).await, Code::InvalidArgument);
    assert_eq!(told.message(), "commission.tests[0]: there is no script \"gone\"");
    let good = v1::CommissionOptions {
        scripts: vec!["raid".to_owned()],
        tests: vec!["burn-in".to_owned(), "cpu".to_owned()],
        keep_storage: true,
        ..Default::default()
    };
    let new = v1::CreateMachineRequest { commission: Some(good), ..new_machine("m1", 1) };
    machines.create_machine(by(&site.admin, new)).await.unwrap();
    let wishes = site.app.store.machine_find("m1").await.unwrap().unwrap().machine.details.commission;
    assert_eq!((wishes.scripts.len(), wishes.tests.len(), wishes.stay_up, wishes.keep_storage), (1, 2, false, true));

    // The state comes before what was chosen.
    let told =
        refused(machines.commission_machine(by(&site.admin, commission(&["x"], &[]))).await, Code::FailedPrecondition);
    assert!(told.message().contains("commission is not allowed"), "{told:?}");
    site.engine("m1", Some(Event::Done), |_| ()).await;
    for (ask, wanted) in [
        (commission(&["burn-in"], &[]), "commission.scripts[0]: burn-in is of kind test, not commissioning"),
        (commission(&[], &["raid"]), "commission.tests[0]: raid is of kind commissioning, not test"),
    ] {
        let told = refused(machines.commission_machine(by(&site.admin, ask)).await, Code::InvalidArgument);
        assert_eq!(told.message(), wanted);
    }
    let test = |tests: &[&str]| v1::TestMachineRequest {
        options: options(),
        machine: "m1".to_owned(),
        tests: tests.iter().map(|t| (*t).to_owned()).collect(),
        comment: "it makes a noise".to_owned(),
    };
    let told = refused(machines.test_machine(by(&site.admin, test(&["raid"]))).await, Code::InvalidArgument);
    assert_eq!(told.message(), "tests[0]: raid is of kind commissioning, not test");
    let ann = site.user("ann", Role::User).await;
    refused(machines.test_machine(by(&ann, test(&[]))).await, Code::PermissionDenied);
    let testing = machines.test_machine(by(&site.admin, test(&[]))).await.unwrap().into_inner().status.unwrap();
    assert_eq!((testing.state(), testing.reason.as_str()), (MachineState::Testing, "it makes a noise"));
    let wishes = site.app.store.machine_find("m1").await.unwrap().unwrap().machine.details.commission;
    let names: Vec<_> = wishes.tests.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["cpu", "memory", "disk-read", "network"]);
}

/// A machine that is commissioned with a script and two tests, and its agent, which is given the script.
async fn commissioned(site: &Site, rack: &mut Rack) -> (Boot, String, Task) {
    make(site, "raid", v1::ScriptKind::Commissioning).await;
    make(site, "burn-in", v1::ScriptKind::Test).await;
    site.machine("m1", 1).await;
    site.engine("m1", Some(Event::Fail), |_| ()).await;
    let mut machines = Machines::new(site.channel.clone());
    let ask = commission(&["raid"], &["burn-in", "cpu"]);
    machines.commission_machine(by(&site.admin, ask)).await.unwrap();
    let boot = Boot::of(site, "m1", Phase::Scripts, TaskKind::RunScripts).await;
    boot.open(rack, 1).await;
    let (task, work) = boot.task(rack).await;
    (boot, task, work)
}

#[tokio::test]
async fn agents_are_given_scripts_and_what_they_tell_is_kept() {
    let (site, mut rack) = site_with_rack().await;
    let (boot, task, work) = commissioned(&site, &mut rack).await;
    let Task::RunScripts(given) = work else { panic!("{work:?}") };
    let seen: Vec<_> = given.scripts.iter().map(|s| (s.name.as_str(), s.timeout_seconds)).collect();
    assert_eq!(seen, [("raid", 30)]);
    assert_eq!(given.scripts[0].content, b"#!/bin/sh\n# raid\n");
    let passed = vec![outcome("raid", agent::ScriptStatus::Passed, "made \u{1b}[1mmd0\r\n\tdone\n")];
    rack.client.relay_report_task(boot.report(&task, ran(passed))).await.unwrap();

    Boot::next_task(&site, "m1", Phase::Tests, TaskKind::RunScripts).await;
    let (task, work) = boot.task(&mut rack).await;
    let Task::RunScripts(given) = work else { panic!("{work:?}") };
    let seen: Vec<_> = given.scripts.iter().map(|s| (s.name.as_str(), s.content.is_empty())).collect();
    assert_eq!(seen, [("burn-in", false), ("cpu", true)]);
    let other = ran(vec![outcome("cpu", agent::ScriptStatus::Passed, "")]);
    let bad = ran(vec![outcome("burn-in", agent::ScriptStatus::Unspecified, "")]);
    refused(rack.client.relay_report_task(boot.report(&task, bad)).await, Code::InvalidArgument);
    let told = vec![
        outcome("burn-in", agent::ScriptStatus::Failed, "too hot\n"),
        outcome("cpu", agent::ScriptStatus::Skipped, ""),
    ];
    for report in [ran(told), other] {
        // What is told later counts for nothing.
        rack.client.relay_report_task(boot.report(&task, report)).await.unwrap();
    }
    let current = site.app.store.task_current(boot.id).await.unwrap().unwrap();
    let TaskStatus::Done(TaskResult::RunScripts { outcomes, .. }) = current.status else { panic!("{current:?}") };
    assert_eq!(
        outcomes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["burn-in (exit code 1)", "cpu (skipped)"]
    );

    let mut machines = Machines::new(site.channel.clone());
    let get = v1::GetMachineRequest { machine: "m1".to_owned(), ..Default::default() };
    let status = machines.get_machine(by(&site.admin, get)).await.unwrap().into_inner().status.unwrap();
    let latest: Vec<_> = status.script_results.iter().map(|r| (&*r.script, &*r.kind, &*r.status, &*r.output)).collect();
    let wanted =
        [("burn-in", "test", "failed", ""), ("cpu", "test", "skipped", ""), ("raid", "commissioning", "passed", "")];
    assert_eq!(latest, wanted);

    let (mut results, mut token) = (Vec::new(), String::new());
    for _ in 0..3 {
        let page = Some(v1::PageRequest { page_size: 1, page_token: token });
        let ask = v1::ListScriptResultsRequest { page, machine: "m1".to_owned() };
        let list = machines.list_script_results(by(&site.admin, ask)).await.unwrap().into_inner();
        results.extend(list.results);
        token = list.next_page_token;
    }
    assert!(token.is_empty());
    let outputs: Vec<_> = results.iter().map(|r| (&*r.script, &*r.output)).collect();
    assert_eq!(outputs, [("cpu", ""), ("burn-in", "too hot\n"), ("raid", "made [1mmd0\n\tdone\n")]);
    assert!(results.iter().all(|r| r.boot_id == boot.id.to_string()));
    // The machine's clock was never set, so it was not believed.
    assert!(results.iter().all(|r| r.finished_at.unwrap().seconds > 1_700_000_000), "{results:?}");
}

#[tokio::test]
async fn a_script_that_was_deleted_meanwhile_fails_the_task() {
    let (site, mut rack) = site_with_rack().await;
    let (boot, task, _) = commissioned(&site, &mut rack).await;
    let done = ran(vec![outcome("raid", agent::ScriptStatus::Passed, "")]);
    rack.client.relay_report_task(boot.report(&task, done)).await.unwrap();
    Scripts::new(site.channel.clone()).delete_script(by(&site.admin, delete("burn-in"))).await.unwrap();
    Boot::next_task(&site, "m1", Phase::Tests, TaskKind::RunScripts).await;
    let waiting = tokio::time::timeout(std::time::Duration::from_secs(1), boot.task(&mut rack));
    assert!(waiting.await.is_err(), "there is nothing to do for the agent");
    let current = site.app.store.task_current(boot.id).await.unwrap().unwrap();
    assert_eq!(current.status, TaskStatus::Failed("the script burn-in is no longer there".to_owned()));
}

#[tokio::test]
async fn an_account_of_other_scripts_fails_the_task() {
    let (site, mut rack) = site_with_rack().await;
    let (boot, task, _) = commissioned(&site, &mut rack).await;
    rack.client.relay_report_task(boot.report(&task, ran(vec![]))).await.unwrap();
    let current = site.app.store.task_current(boot.id).await.unwrap().unwrap();
    let why = "the agent does not tell of the scripts that it was given";
    assert_eq!(current.status, TaskStatus::Failed(why.to_owned()));
}
