//! `validate_only`, `etag` and `expected_state`, for each verb on one machine.

use farrier_proto::v1::{self, MachineState, MutationOptions, Role};
use farrier_region::domain::lifecycle::Event;
use tonic::{Code, Response, Status};

use crate::{
    images::{allocated, disk_image},
    site::{Machines, Site, by, new_machine, options, refused},
};

fn only_tell() -> Option<MutationOptions> {
    Some(MutationOptions { validate_only: true, ..options().unwrap() })
}

async fn get(site: &Site, machine: &str) -> v1::Machine {
    let q = v1::GetMachineRequest { machine: machine.to_owned(), ..Default::default() };
    Machines::new(site.channel.clone()).get_machine(by(&site.admin, q)).await.unwrap().into_inner()
}

/// Asks for a verb with these options.
async fn ask(
    site: &Site,
    verb: &str,
    machine: &str,
    options: Option<MutationOptions>,
) -> Result<Response<v1::Machine>, Status> {
    let (mut machines, machine, admin) = (Machines::new(site.channel.clone()), machine.to_owned(), &site.admin);
    match verb {
        "commission" => {
            let q = v1::CommissionMachineRequest { options, machine, ..Default::default() };
            machines.commission_machine(by(admin, q)).await
        }
        "abort" => {
            machines.abort_machine(by(admin, v1::AbortMachineRequest { options, machine, ..Default::default() })).await
        }
        "allocate" => {
            let q = v1::AllocateMachineRequest { options, machine, ..Default::default() };
            machines.allocate_machine(by(admin, q)).await
        }
        "deploy" => {
            let image = "debian".to_owned();
            let q =
                v1::DeployMachineRequest { options, machine, image, user_data: b"#x".to_vec(), ..Default::default() };
            machines.deploy_machine(by(admin, q)).await
        }
        "release" => {
            let q = v1::ReleaseMachineRequest { options, machine, ..Default::default() };
            machines.release_machine(by(admin, q)).await
        }
        "power" => {
            let q = v1::PowerMachineRequest { options, machine, action: v1::PowerAction::Off.into() };
            machines.power_machine(by(admin, q)).await
        }
        other => panic!("{other}"),
    }
}

/// A machine for each verb, in a state that allows it, and where the verb leads.
async fn fleet(site: &Site) -> Vec<(&'static str, &'static str, MachineState, MachineState)> {
    use MachineState as S;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    disk_image(site, "debian").await;
    for (name, last) in [("idle", 10), ("busy", 20)] {
        site.machine(name, last).await;
    }
    site.engine("idle", Some(Event::Done), |_| {}).await;
    for (name, last) in [("held", 30), ("used", 40)] {
        allocated(site, name, last, &site.admin).await;
    }
    vec![
        ("commission", "idle", S::Ready, S::Commissioning),
        ("abort", "busy", S::Commissioning, S::FailedCommissioning),
        ("allocate", "idle", S::Ready, S::Allocated),
        ("deploy", "held", S::Allocated, S::Deploying),
        ("release", "used", S::Allocated, S::Releasing),
        // The rack of these machines listens nowhere: whoever asked it would be told so.
        ("power", "idle", S::Ready, S::Ready),
    ]
}

#[tokio::test]
async fn who_only_wants_to_know_is_told_what_would_be_and_nothing_changes() {
    let site = Site::start().await;
    for (verb, machine, from, to) in fleet(&site).await {
        let (before, trace) = (get(&site, machine).await, site.trace().await);
        let told = ask(&site, verb, machine, only_tell()).await.unwrap_or_else(|s| panic!("{verb}: {s:?}"));
        let told = told.into_inner();
        assert_eq!((told.id.as_str(), told.status.as_ref().unwrap().state()), (before.id.as_str(), to), "{verb}");
        assert_ne!(told.etag, before.etag, "{verb}");
        assert_eq!(before.status.as_ref().unwrap().state(), from, "{verb}");
        assert_eq!((get(&site, machine).await, site.trace().await), (before, trace), "{verb} changed something");
    }
    // What is refused is refused.
    refused(ask(&site, "deploy", "idle", only_tell()).await, Code::FailedPrecondition);
    refused(ask(&site, "power", "busy", only_tell()).await, Code::FailedPrecondition);
    refused(ask(&site, "release", "nobody", only_tell()).await, Code::NotFound);
}

#[tokio::test]
async fn machines_and_people_that_only_would_be_are_not() {
    let site = Site::start().await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    let trace = site.trace().await;
    let mut machines = Machines::new(site.channel.clone());
    let q = v1::CreateMachineRequest { options: only_tell(), ..new_machine("m1", 2) };
    let told = machines.create_machine(by(&site.admin, q.clone())).await.unwrap().into_inner();
    assert_eq!((told.name.as_str(), told.status.unwrap().state()), ("m1", MachineState::Commissioning));
    let get = v1::GetMachineRequest { machine: "m1".to_owned(), ..Default::default() };
    refused(machines.get_machine(by(&site.admin, get)).await, Code::NotFound);
    let mut users = crate::site::Users::new(site.channel.clone());
    let user = v1::CreateUserRequest { options: only_tell(), name: "ulf".to_owned(), role: Role::User.into() };
    assert_eq!(users.create_user(by(&site.admin, user)).await.unwrap().into_inner().name, "ulf");
    let listed = users.list_users(by(&site.admin, v1::ListUsersRequest::default())).await.unwrap().into_inner();
    assert_eq!(listed.users.len(), 1, "the admin");
    // The token that only would be lets nobody in.
    let mut tokens = crate::site::Tokens::new(site.channel.clone());
    let token = v1::CreateTokenRequest { options: only_tell(), ..Default::default() };
    let token = tokens.create_token(by(&site.admin, token)).await.unwrap().into_inner();
    refused(users.who_am_i(by(&token.secret, v1::WhoAmIRequest {})).await, Code::Unauthenticated);
    assert_eq!(site.trace().await, trace);
    // Then it is done, under the same id, with another body.
    let q = v1::CreateMachineRequest {
        options: Some(MutationOptions { validate_only: false, ..q.options.clone().unwrap() }),
        ..q
    };
    assert_eq!(machines.create_machine(by(&site.admin, q)).await.unwrap().into_inner().name, "m1");
}

#[tokio::test]
async fn a_verb_happens_only_where_the_caller_thinks_that_the_machine_is() {
    let site = Site::start().await;
    for (verb, machine, _, to) in fleet(&site).await {
        if verb == "allocate" || verb == "power" {
            continue; // of the same machine as another verb
        }
        let (before, trace) = (get(&site, machine).await, site.trace().await);
        let with = |expected: &str, etag: &str| {
            let (expected_state, etag) = (expected.to_owned(), etag.to_owned());
            Some(MutationOptions { expected_state, etag, ..options().unwrap() })
        };
        let elsewhere = refused(ask(&site, verb, machine, with("broken", "")).await, Code::Aborted);
        assert!(elsewhere.message().contains("not broken as expected"), "{verb}: {elsewhere:?}");
        let odd = refused(ask(&site, verb, machine, with("asleep", "")).await, Code::InvalidArgument);
        assert!(odd.message().starts_with("options.expected_state: "), "{verb}: {odd:?}");
        refused(ask(&site, verb, machine, with("", "0")).await, Code::Aborted);
        assert_eq!(site.trace().await, trace, "{verb}");
        let here = site.state_of(machine).await.to_string();
        let done = ask(&site, verb, machine, with(&here, &before.etag)).await.unwrap().into_inner();
        assert_eq!(done.status.unwrap().state(), to, "{verb}");
    }
    site.engine("idle", Some(Event::Done), |_| {}).await;
    let away = Some(MutationOptions { expected_state: "deployed".into(), ..options().unwrap() });
    refused(ask(&site, "power", "idle", away).await, Code::Aborted);
    let here = Some(MutationOptions { expected_state: "ready".into(), ..options().unwrap() });
    refused(ask(&site, "power", "idle", here).await, Code::Unavailable);
}
