//! How many machines people and projects may hold: refused beyond that, and never more, however many ask at once.

use std::time::Duration;

use farrier_proto::v1::{self, BatchMode, Role};
use farrier_region::{
    app::events::Bounds,
    domain::{lifecycle::Event, machine::Owner},
};
use prost_types::FieldMask;
use tokio::{task::JoinSet, time::timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    held::Held,
    postgres,
    site::{Machines, Site, Users, by, options, refused},
};

type Projects = v1::projects_client::ProjectsClient<tonic::transport::Channel>;

/// So many ready machines, m2 and so on.
async fn with_machines(site: Site, machines: u8) -> Site {
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    for n in 2..2 + machines {
        site.machine(&format!("m{n}"), n).await;
        site.engine(&format!("m{n}"), Some(Event::Done), |_| {}).await;
    }
    site
}

fn mask() -> Option<FieldMask> {
    Some(FieldMask { paths: vec!["max_machines".to_owned()] })
}

async fn user_may(site: &Site, user: &str, max_machines: u32) -> Result<v1::User, Status> {
    let (options, user, update_mask) = (options(), user.to_owned(), mask());
    let q = v1::UpdateUserRequest { options, user, update_mask, max_machines, ..Default::default() };
    Users::new(site.channel.clone()).update_user(by(&site.admin, q)).await.map(tonic::Response::into_inner)
}

async fn project(site: &Site, name: &str, max_machines: u32, members: &[&str]) {
    let members = members.iter().map(|m| (*m).to_owned()).collect();
    let name = name.to_owned();
    let q = v1::CreateProjectRequest { options: options(), name, max_machines, members, ..Default::default() };
    Projects::new(site.channel.clone()).create_project(by(&site.admin, q)).await.unwrap();
}

fn one(machine: &str, project: &str) -> v1::AllocateMachineRequest {
    let (machine, project) = (machine.to_owned(), project.to_owned());
    v1::AllocateMachineRequest { options: options(), machine, project, ..Default::default() }
}

fn several(mode: BatchMode, count: u32, project: &str) -> v1::AllocateMachinesRequest {
    let items = vec![v1::AllocationItem { count, ..Default::default() }];
    let project = project.to_owned();
    v1::AllocateMachinesRequest { options: options(), mode: mode.into(), items, project, ..Default::default() }
}

/// Asserts that it is the quota that is in the way.
#[track_caller]
fn over<T: std::fmt::Debug>(answer: Result<tonic::Response<T>, Status>, whose: &str, used: u32, limit: u32) {
    let status = refused(answer, Code::ResourceExhausted);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "QUOTA", "{status:?}");
    let told = ["quota", "whose", "used", "limit"].map(|key| info.metadata[key].clone());
    assert_eq!(told, ["max_machines", whose, &used.to_string(), &limit.to_string()]);
    let text = format!("{whose} holds {used} machines, and may hold {limit} (max_machines); ");
    assert!(status.message().starts_with(&text), "{status:?}");
}

/// How many machines the user or the project of that name holds, as the database has it.
async fn held(site: &Site, name: &str) -> usize {
    let store = &site.app.store;
    let owner = match store.user_find(name).await.unwrap() {
        Some(user) => Owner::User(user.id),
        None => Owner::Project(store.project_find(name).await.unwrap().unwrap().id),
    };
    site.fleet().await.iter().filter(|v| v.machine.owner == Some(owner)).count()
}

#[tokio::test]
async fn nobody_holds_more_than_he_may() {
    let site = with_machines(Site::start().await, 6).await;
    let ulf = site.user("ulf", Role::User).await;
    let mut machines = Machines::new(site.channel.clone());
    assert_eq!(user_may(&site, "ulf", 2).await.unwrap().max_machines, 2);
    machines.allocate_machine(by(&ulf, one("m2", ""))).await.unwrap();
    over(machines.allocate_machines(by(&ulf, several(BatchMode::AllOrNothing, 2, ""))).await, "user ulf", 2, 2);
    assert_eq!(held(&site, "ulf").await, 1, "all or nothing");
    machines.allocate_machine(by(&ulf, one("", ""))).await.unwrap();
    over(machines.allocate_machine(by(&ulf, one("", ""))).await, "user ulf", 2, 2);
    over(machines.allocate_machine(by(&ulf, one("m5", ""))).await, "user ulf", 2, 2);
    // What an admin gives him counts as well.
    let live = v1::AddLiveMachineRequest {
        options: options(),
        name: "old1".to_owned(),
        architecture: v1::Architecture::Amd64.into(),
        macs: vec!["52:54:00:00:01:01".to_owned()],
        owner: "ulf".to_owned(),
        ..Default::default()
    };
    over(machines.add_live_machine(by(&site.admin, live)).await, "user ulf", 2, 2);
    assert!(site.app.store.machine_find("old1").await.unwrap().is_none());

    // A machine that is given back makes room as soon as it is nobody's; a lower limit takes nothing away.
    let back = v1::ReleaseMachineRequest { options: options(), machine: "m2".to_owned(), ..Default::default() };
    machines.release_machine(by(&ulf, back)).await.unwrap();
    over(machines.allocate_machine(by(&ulf, one("m5", ""))).await, "user ulf", 2, 2);
    site.engine("m2", Some(Event::Done), |change| change.machine.owner = None).await;
    machines.allocate_machine(by(&ulf, one("m5", ""))).await.unwrap();
    user_may(&site, "ulf", 1).await.unwrap();
    over(machines.allocate_machine(by(&ulf, one("m6", ""))).await, "user ulf", 2, 1);
    user_may(&site, "ulf", 0).await.unwrap();
    machines.allocate_machine(by(&ulf, one("m6", ""))).await.unwrap();
    assert_eq!(held(&site, "ulf").await, 3);
    let much = user_may(&site, "ulf", 1_000_001).await.unwrap_err();
    assert!(much.message().starts_with("max_machines: must be 0 (no limit) to "), "{much:?}");
}

#[tokio::test]
async fn a_project_has_a_quota_of_its_own() {
    let site = with_machines(Site::start().await, 6).await;
    let (ulf, uma) = (site.user("ulf", Role::User).await, site.user("uma", Role::User).await);
    project(&site, "moon", 2, &["ulf", "uma"]).await;
    user_may(&site, "ulf", 1).await.unwrap();
    let mut machines = Machines::new(site.channel.clone());
    machines.allocate_machine(by(&ulf, one("", ""))).await.unwrap();
    // What the project holds is not counted as his, and what he holds not as the project's.
    machines.allocate_machine(by(&ulf, one("", "moon"))).await.unwrap();
    machines.allocate_machine(by(&uma, one("", "moon"))).await.unwrap();
    over(machines.allocate_machine(by(&uma, one("", "moon"))).await, "project moon", 2, 2);
    over(machines.allocate_machine(by(&site.admin, one("m6", "moon"))).await, "project moon", 2, 2);
    over(machines.allocate_machine(by(&ulf, one("", ""))).await, "user ulf", 1, 1);
    machines.allocate_machine(by(&uma, one("", ""))).await.unwrap();
    let q = v1::UpdateProjectRequest {
        options: options(),
        project: "moon".to_owned(),
        update_mask: mask(),
        max_machines: 3,
        ..Default::default()
    };
    Projects::new(site.channel.clone()).update_project(by(&site.admin, q)).await.unwrap();
    machines.allocate_machine(by(&ulf, one("", "moon"))).await.unwrap();
    assert_eq!((held(&site, "moon").await, held(&site, "ulf").await, held(&site, "uma").await), (3, 1, 1));
}

#[tokio::test]
async fn as_many_as_possible_are_as_many_as_may_be_held() {
    let site = with_machines(Site::start().await, 6).await;
    let ulf = site.user("ulf", Role::User).await;
    project(&site, "moon", 3, &["ulf"]).await;
    let mut machines = Machines::new(site.channel.clone());
    machines.allocate_machine(by(&ulf, one("m2", "moon"))).await.unwrap();
    let mut request = several(BatchMode::AsManyAsPossible, 4, "moon");
    request.items.insert(0, v1::AllocationItem { machine: "m7".to_owned(), ..Default::default() });
    let mut dry = request.clone();
    dry.options.as_mut().unwrap().validate_only = true;
    let told = machines.allocate_machines(by(&ulf, dry)).await.unwrap().into_inner();
    assert_eq!(held(&site, "moon").await, 1, "only asked");
    let made = machines.allocate_machines(by(&ulf, request)).await.unwrap().into_inner();
    for answer in [told, made] {
        let got: Vec<_> = answer.results.iter().map(|r| (r.item, r.machine.is_some())).collect();
        assert_eq!(got, [(0, true), (1, true), (1, false), (1, false), (1, false)]);
        for result in answer.results.iter().filter(|r| r.machine.is_none()) {
            assert!(result.refusal.starts_with("project moon holds 3 machines, and may hold 3"), "{result:?}");
        }
    }
    assert_eq!(held(&site, "moon").await, 3);
}

// === at once, on PostgreSQL ===

async fn on_postgres(machines: u8) -> (Site, String) {
    let url = postgres::database();
    let site = Site::with(Bounds::default(), Some(url.clone())).await;
    (with_machines(site, machines).await, url)
}

/// Who allocates until the quota is in the way: any machine, named ones, or several at once. Tells how many he got.
async fn grab(mut machines: Machines, token: String, project: &'static str, n: u8) -> usize {
    let mut got = 0;
    for round in 0..200_u8 {
        let answer = match n % 3 {
            0 => machines.allocate_machine(by(&token, one("", project))).await.map(|_| 1),
            1 => {
                let name = format!("m{}", 2 + (round.wrapping_add(n)) % 24);
                machines.allocate_machine(by(&token, one(&name, project))).await.map(|_| 1)
            }
            _ => {
                let some = several(BatchMode::AsManyAsPossible, 2, project);
                let made = machines.allocate_machines(by(&token, some)).await;
                made.map(|a| a.into_inner().results.iter().filter(|r| r.machine.is_some()).count())
            }
        };
        match answer {
            Ok(0) => return got,
            Ok(more) => got += more,
            // Of a named machine: somebody else has it. Of any: too many ask at the same time.
            Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::PermissionDenied) => {}
            Err(status) if status.code() == Code::Unavailable => {}
            Err(status) => {
                let info = status.get_details_error_info().unwrap_or_else(|| panic!("{status:?}"));
                assert_eq!((status.code(), info.reason.as_str()), (Code::ResourceExhausted, "QUOTA"), "{status:?}");
                return got;
            }
        }
    }
    panic!("client {n} was never refused by the quota");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_race_never_hold_more_than_the_quota() {
    let (site, _) = on_postgres(24).await;
    let (ulf, uma) = (site.user("ulf", Role::User).await, site.user("uma", Role::User).await);
    project(&site, "moon", 7, &["ulf", "uma"]).await;
    user_may(&site, "ulf", 5).await.unwrap();
    let mut clients = JoinSet::new();
    for n in 0..6 {
        let machines = Machines::new(site.connect(None));
        clients.spawn(grab(machines, ulf.clone(), "", n));
        let (machines, token) = (Machines::new(site.connect(None)), if n % 2 == 0 { &ulf } else { &uma });
        clients.spawn(grab(machines, token.clone(), "moon", n));
    }
    let got: usize = timeout(Duration::from_secs(60), clients.join_all()).await.unwrap().into_iter().sum();
    assert_eq!((held(&site, "ulf").await, held(&site, "moon").await, got), (5, 7, 12));
}

/// All are past the first look at the limit before one of them is counted.
#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_meet_at_the_last_machine_of_a_quota_one_gets_it() {
    let (site, url) = on_postgres(6).await;
    let ulf = site.user("ulf", Role::User).await;
    project(&site, "moon", 1, &["ulf"]).await;
    user_may(&site, "ulf", 1).await.unwrap();
    for (table, name, whose) in [("users", "ulf", "user ulf"), ("projects", "moon", "project moon")] {
        let held_back = Held::take(&url, &format!("SELECT 1 FROM {table} WHERE name = '{name}' FOR UPDATE"));
        let mut clients = JoinSet::new();
        for n in 0..3 {
            let (mut machines, token) = (Machines::new(site.connect(None)), ulf.clone());
            let project = if table == "users" { "" } else { "moon" };
            // Each another machine, so that nothing but the quota is between them.
            let machine = format!("m{}", if table == "users" { 2 + n } else { 5 + n % 3 });
            clients.spawn(async move { machines.allocate_machine(by(&token, one(&machine, project))).await });
        }
        held_back.until_wait(3).await;
        let answers = clients.join_all().await;
        assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 1, "{answers:?}");
        for answer in answers.into_iter().filter(Result::is_err) {
            over(answer, whose, 1, 1);
        }
        assert_eq!(held(&site, name).await, 1);
    }
}
