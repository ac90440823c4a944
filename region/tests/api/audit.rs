//! The audit: what leaves a row and what does not, and how it is read. That every mutation leaves just one is also proven by
//! the run in `tests/replay`.

use std::collections::BTreeSet;

use farrier_common::id::MachineId;
use farrier_proto::v1::{self, MutationOptions, Role, audit_client::AuditClient};
use farrier_region::{
    app::events::Bounds,
    domain::{
        lifecycle::{Event, State},
        permissions,
    },
};
use prost::Message;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::{
    fake_rack, layouts, manual,
    permissions::{contract, raw},
    postgres,
    requests::{Head, LEFT_OUT, with},
    site::{Machines, Site, Users, by, new_machine, options, refused},
};

/// A page; `size` 0: as many as there are by default.
fn page(size: i32, token: &str) -> v1::ListAuditEntriesRequest {
    let page = Some(v1::PageRequest { page_size: size, page_token: token.to_owned() });
    v1::ListAuditEntriesRequest { page, ..Default::default() }
}

async fn list(site: &Site, ask: v1::ListAuditEntriesRequest) -> v1::ListAuditEntriesResponse {
    AuditClient::new(site.channel.clone()).list_audit_entries(by(&site.admin, ask)).await.unwrap().into_inner()
}

/// All entries, the newest first, and the number of the newest of all.
async fn whole(site: &Site) -> (Vec<v1::AuditEntry>, i64) {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let got = list(site, page(100, &token)).await;
        all.extend(got.entries);
        token = got.next_page_token;
        if token.is_empty() {
            return (all, got.revision);
        }
    }
}

async fn rows(site: &Site) -> usize {
    whole(site).await.0.len()
}

/// Makes a mutation in every way that there is: only one of them leaves a row.
async fn every_way(site: &Site, stranger: &str, name: &str, request: &[u8]) {
    let call = permissions::call(name).unwrap();
    let (comment, peer) = (format!("why {name}"), "127.0.0.1:");
    let given = MutationOptions { comment: comment.clone(), ..options().unwrap() };
    let asked = with(request, given.clone());
    let with = |more| with(&asked, more);
    let mut left = rows(site).await;
    let mut leaves = async |token: Option<&str>, body: &[u8], code: Code, more: usize, how: &str| {
        let answer = raw(site, token, call, body.to_vec()).await.map_or_else(|s| s.code(), |()| Code::Ok);
        left += more;
        assert_eq!((answer, rows(site).await), (code, left), "{name}, {how}");
    };
    let admin = Some(site.admin.as_str());
    let only_tell = MutationOptions { validate_only: true, ..Default::default() };
    leaves(admin, &with(only_tell), Code::Ok, 0, "only to tell").await;
    leaves(None, &asked, Code::Unauthenticated, 0, "by nobody").await;
    leaves(Some(stranger), &asked, Code::PermissionDenied, 0, "by somebody who may not").await;
    let odd = MutationOptions { expected_state: "asleep".to_owned(), ..Default::default() };
    leaves(admin, &with(odd), Code::InvalidArgument, 0, "badly").await;
    leaves(admin, &asked, Code::Ok, 1, "well").await;
    leaves(admin, &asked, Code::Ok, 0, "once more").await;
    let other = MutationOptions { comment: "another".to_owned(), ..Default::default() };
    leaves(admin, &with(other), Code::InvalidArgument, 0, "with another body").await;

    let row = list(site, page(1, "")).await.entries.remove(0);
    let target = Head::decode(request).unwrap().target;
    let told = (row.user.as_str(), row.method.as_str(), row.target.as_str(), row.comment.as_str());
    assert_eq!(told, ("admin", name, target.as_str(), comment.as_str()));
    assert_eq!(row.request_id, given.request_id);
    let at = row.at.unwrap().seconds;
    assert!(row.peer.starts_with(peer) && (site.app.clock.now().timestamp() - at) < 60, "{row:?}");
}

/// A request about a machine's BMC.
fn about_bmc(name: &str, machine: &str) -> Vec<u8> {
    let machine = machine.to_owned();
    match name {
        "SetBmc" => v1::SetBmcRequest { machine, port: Some(6230), ..Default::default() }.encode_to_vec(),
        "SetBiosSettings" => {
            v1::SetBiosSettingsRequest { machine, secure_boot: Some(true), ..Default::default() }.encode_to_vec()
        }
        _ => v1::BmcVerbRequest { options: None, machine, comment: String::new() }.encode_to_vec(),
    }
}

#[tokio::test]
async fn what_the_run_of_all_mutations_leaves_out_is_audited_too() {
    let site = Site::start().await;
    let vera = site.user("vera", Role::Viewer).await;
    let (_rack, orders) = fake_rack::serving(&site, "r1").await;
    site.subnet("r1", 1).await;
    site.machine("m1", 2).await;
    site.engine("m1", Some(Event::Done), |_| {}).await;
    site.own_account("m1", "our own password").await;
    let probed = farrier_proto::rack::ProbeBmcResponse {
        protocol: v1::BmcProtocol::Ipmi.into(),
        cipher_suite: 17,
        ..Default::default()
    };
    orders.answer("ProbeBmc", &probed);
    let (copies, _) = layouts::site_of(2).await;
    let mira = copies.user("mira", Role::Viewer).await;
    let source = layouts::configure("m1", &["storage"], Some(layouts::storage("d1")), None);
    Machines::new(copies.channel.clone()).configure_machine(by(&copies.admin, source)).await.unwrap();

    let machine = "m1".to_owned();
    for (method, _) in LEFT_OUT {
        let name = method.rsplit('/').next().unwrap();
        match name {
            _ if method.starts_with("farrier.v1.Bmcs/") => every_way(&site, &vera, name, &about_bmc(name, "m1")).await,
            "PowerMachine" => {
                let action = v1::PowerAction::Cycle.into();
                let q = v1::PowerMachineRequest { options: None, machine: machine.clone(), action };
                every_way(&site, &vera, name, &q.encode_to_vec()).await;
                assert_eq!(orders.count("CyclePower"), 1, "the BMC is asked as often as it is written down");
            }
            "TellPower" => {
                manual::switched_by_people(&copies, "m2").await;
                every_way(&copies, &mira, name, &manual::tell("m2", v1::PowerState::Off).encode_to_vec()).await;
            }
            "CloneMachine" => {
                let q = v1::CloneMachineRequest { options: None, network: false, ..layouts::copy(&["m2"], false) };
                every_way(&copies, &mira, name, &q.encode_to_vec()).await;
            }
            "RescueMachine" => {
                let allocate =
                    v1::AllocateMachineRequest { options: options(), machine: machine.clone(), ..Default::default() };
                Machines::new(site.channel.clone()).allocate_machine(by(&site.admin, allocate)).await.unwrap();
                let q = v1::RescueMachineRequest {
                    machine: machine.clone(),
                    ssh_keys: vec![crate::permissions::KEY.to_owned()],
                    ..Default::default()
                };
                every_way(&site, &vera, name, &q.encode_to_vec()).await;
                site.engine("m1", Some(Event::Done), |_| {}).await;
                assert_eq!(site.state_of("m1").await, State::Rescue);
            }
            "ExitRescueMachine" => {
                let q = v1::MachineVerbRequest { options: None, machine: machine.clone(), comment: String::new() };
                every_way(&site, &vera, name, &q.encode_to_vec()).await;
            }
            other => panic!("{other} is left out of the run in tests/replay: make it here"),
        }
    }
    // Asking a BMC for its power changes nothing.
    let before = rows(&site).await;
    orders.answer("GetPower", &farrier_proto::rack::GetPowerResponse { power: v1::PowerState::On.into() });
    let query = v1::PowerMachineRequest { options: options(), machine, action: v1::PowerAction::Query.into() };
    Machines::new(site.channel.clone()).power_machine(by(&site.admin, query)).await.unwrap();
    assert_eq!((orders.count("GetPower"), rows(&site).await), (1, before));
}

/// Calls that change something and have no options, each with the reason.
const WITHOUT_OPTIONS: &[(&str, &str)] = &[(
    "UploadBlob",
    "a stream; what it brings is named by its content and used by no one before CreateImage, which is audited",
)];

#[test]
fn a_call_has_options_or_only_reads() {
    let reads = ["Get", "List", "Watch", "Explain", "WhoAmI"];
    for (service, name, changes) in contract() {
        let excepted = WITHOUT_OPTIONS.iter().any(|(except, _)| *except == name);
        let only_reads = reads.iter().any(|begin| name.starts_with(begin));
        assert!(
            changes != (only_reads || excepted),
            "{service}.{name} either begins with one of {reads:?}, or its first field is of MutationOptions"
        );
    }
}

#[tokio::test]
async fn what_is_refused_in_its_transaction_leaves_no_row() {
    for postgres in [None, Some(postgres::database())] {
        let site = Site::with(Bounds::default(), postgres).await;
        let ulf = site.user("ulf", Role::User).await;
        site.rack("r1").await;
        site.subnet("r1", 1).await;
        site.machine("m1", 2).await;
        site.machine("m2", 3).await;
        site.engine("m1", Some(Event::Done), |_| {}).await;
        let update = |user: &str, etag: &str, path: &str| v1::UpdateUserRequest {
            options: Some(MutationOptions { etag: etag.to_owned(), ..options().unwrap() }),
            user: user.to_owned(),
            update_mask: Some(prost_types::FieldMask { paths: vec![path.to_owned()] }),
            max_machines: 1,
            disabled: true,
            ..Default::default()
        };
        let allocate = |machine: &str| {
            let machine = machine.to_owned();
            v1::AllocateMachineRequest { options: options(), machine, ..Default::default() }
        };
        let (mut users, mut machines) = (Users::new(site.channel.clone()), Machines::new(site.channel.clone()));
        users.update_user(by(&site.admin, update("ulf", "", "max_machines"))).await.unwrap();
        machines.allocate_machine(by(&ulf, allocate("m1"))).await.unwrap();
        let before = rows(&site).await;

        let again = v1::CreateUserRequest { options: options(), name: "ulf".to_owned(), role: Role::User.into() };
        refused(users.create_user(by(&site.admin, again)).await, Code::AlreadyExists);
        refused(users.update_user(by(&site.admin, update("ulf", "99", "disabled"))).await, Code::Aborted);
        refused(users.update_user(by(&site.admin, update("admin", "", "disabled"))).await, Code::FailedPrecondition);
        refused(machines.create_machine(by(&site.admin, new_machine("m1", 9))).await, Code::AlreadyExists);
        refused(machines.allocate_machine(by(&ulf, allocate("m2"))).await, Code::FailedPrecondition);
        site.engine("m2", Some(Event::Done), |_| {}).await;
        let over = refused(machines.allocate_machine(by(&ulf, allocate("m2"))).await, Code::ResourceExhausted);
        assert!(over.message().starts_with("user ulf holds 1 machines"), "{over:?}");
        let project = v1::DeleteProjectRequest { options: options(), project: "moon".to_owned() };
        let mut projects = v1::projects_client::ProjectsClient::new(site.channel.clone());
        refused(projects.delete_project(by(&site.admin, project)).await, Code::NotFound);
        assert_eq!(rows(&site).await, before);
    }
}

/// Makes a user whom nobody needs.
async fn anybody(site: &Site, name: String) -> Result<v1::User, Status> {
    let new = v1::CreateUserRequest { options: options(), name, role: Role::Viewer.into() };
    Users::new(site.channel.clone()).create_user(by(&site.admin, new)).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn pages_have_each_row_once_although_rows_are_written_meanwhile() {
    let site = Site::start().await;
    for n in 0..11 {
        anybody(&site, format!("u{n}")).await.unwrap();
    }
    let first = list(&site, page(4, "")).await;
    let begun = first.revision;
    let (mut told, mut token) = (first.entries, first.next_page_token);
    assert_eq!(told[0].number, begun);
    while !token.is_empty() {
        // Two more for each four that are read.
        for _ in 0..2 {
            anybody(&site, format!("late-{}", MachineId::generate())).await.unwrap();
        }
        let next = list(&site, page(4, &token)).await;
        assert_eq!(next.revision, begun, "of the first page");
        told.extend(next.entries);
        token = next.next_page_token;
    }
    let names: Vec<_> = told.iter().map(|e| e.target.as_str()).collect();
    assert_eq!(names, (0..11).rev().map(|n| format!("u{n}")).collect::<Vec<_>>());
    let (all, newest) = whole(&site).await;
    assert!(newest > begun && all.len() > 11);
    // Who reads on from there until he meets what he knows has everything.
    let since: Vec<_> = all.iter().filter(|e| e.number > begun).collect();
    assert_eq!(since.len() + told.len(), all.len());

    let ulf = anybody(&site, "vera".to_owned()).await.unwrap();
    for (filter, count) in [
        (v1::ListAuditEntriesRequest { target: ulf.name.clone(), ..Default::default() }, 1),
        (v1::ListAuditEntriesRequest { target: "u".to_owned(), ..Default::default() }, 0),
        (
            v1::ListAuditEntriesRequest {
                method: "CreateUser".to_owned(),
                target: "u3".to_owned(),
                ..Default::default()
            },
            1,
        ),
        (v1::ListAuditEntriesRequest { method: "CreateUsers".to_owned(), ..Default::default() }, 0),
        (v1::ListAuditEntriesRequest { user: "vera".to_owned(), ..Default::default() }, 0),
    ] {
        let got = list(&site, filter.clone()).await;
        assert_eq!((got.entries.len(), got.revision), (count, newest + 1), "{filter:?}");
    }
    for bad in ["eA", "MQ", "MSAyIDM"] {
        let ask = AuditClient::new(site.channel.clone()).list_audit_entries(by(&site.admin, page(4, bad))).await;
        assert!(refused(ask, Code::InvalidArgument).message().starts_with("page.page_token: is of another list"));
    }
    let vera = site.user("viv", Role::User).await;
    let ask = AuditClient::new(site.channel.clone()).list_audit_entries(by(&vera, page(0, ""))).await;
    refused(ask, Code::PermissionDenied);
}

/// PostgreSQL gives out numbers before it commits: nobody may see a number while a smaller one is still to come.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_behind_what_was_read() {
    let site = std::sync::Arc::new(Site::with(Bounds::default(), Some(postgres::database())).await);
    let mut writers = JoinSet::new();
    for client in 0..6 {
        let site = std::sync::Arc::clone(&site);
        writers.spawn(async move {
            for n in 0..12 {
                anybody(&site, format!("c{client}-{n}")).await.unwrap();
            }
        });
    }
    let mut read: Vec<(i64, BTreeSet<i64>)> = Vec::new();
    while !writers.is_empty() {
        let (all, newest) = whole(&site).await;
        read.push((newest, all.iter().map(|e| e.number).collect()));
        while let Some(ended) = writers.try_join_next() {
            ended.unwrap();
        }
    }
    let (all, _) = whole(&site).await;
    assert_eq!(all.len(), 72);
    let numbers: BTreeSet<i64> = all.iter().map(|e| e.number).collect();
    assert!(read.len() > 3, "{}", read.len());
    for (newest, seen) in read {
        let there: BTreeSet<i64> = numbers.range(..=newest).copied().collect();
        // What came after the first page is on none.
        assert_eq!(seen, there, "as it was at {newest}");
    }
}
