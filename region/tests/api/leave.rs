//! Machines that come with their workload, and machines that go.

use std::sync::Arc;

use chrono::TimeDelta;
use farrier_common::clock::Clock;
use farrier_proto::{
    rack,
    v1::{self, MachineState, machines_client::MachinesClient as Machines},
};
use farrier_region::{
    domain::{advance::Change, lifecycle::Event},
    racks::own_purpose,
    store::Extra,
};
use tonic::Code;

use crate::{
    fake_rack,
    site::{Site, by, new_machine, options, refused},
};

fn live(name: &str) -> v1::AddLiveMachineRequest {
    v1::AddLiveMachineRequest {
        options: options(),
        name: name.to_owned(),
        architecture: v1::Architecture::Amd64.into(),
        macs: vec!["52:54:00:00:01:01".to_owned()],
        ..Default::default()
    }
}

fn delete(machine: &str) -> v1::DeleteMachineRequest {
    v1::DeleteMachineRequest { options: options(), machine: machine.to_owned(), ..Default::default() }
}

/// The token in a script.
fn token(script: &str) -> String {
    let (_, rest) = script.split_once(r#"{"token":""#).unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

#[tokio::test]
async fn a_live_machine_is_deployed_at_once_and_tells_its_hardware() {
    let site = Site::start().await;
    let mut rack = site.rack("r1").await;
    let mut machines = Machines::new(site.channel.clone());
    let ulf = site.user("ulf", v1::Role::User).await;
    refused(machines.add_live_machine(by(&ulf, live("old1"))).await, Code::PermissionDenied);

    let request = v1::AddLiveMachineRequest { owner: "ulf".to_owned(), ..live("old1") };
    let added = machines.add_live_machine(by(&site.admin, request.clone())).await.unwrap().into_inner();
    let machine = added.machine.clone().unwrap();
    assert_eq!(machine.status.as_ref().unwrap().state(), MachineState::Deployed);
    assert_eq!(machine.intent.as_ref().unwrap().owner, "ulf");
    let again = machines.add_live_machine(by(&site.admin, request)).await.unwrap().into_inner();
    assert_eq!(again, added, "the same request has the same answer, token included");

    let told = |token: &str| rack::RelayLiveInventoryRequest {
        token: token.to_owned(),
        source_address: "10.1.0.9".to_owned(),
        hardware: Some(v1::Hardware { vendor: "ACME".to_owned(), cpu_cores: 4, ..Default::default() }),
    };
    refused(rack.client.relay_live_inventory(told("guess")).await, Code::PermissionDenied);
    let mut stranger = site.rack("r2").await;
    let token = token(&added.script);
    refused(stranger.client.relay_live_inventory(told(&token)).await, Code::PermissionDenied);
    let named = rack.client.relay_live_inventory(told(&token)).await.unwrap().into_inner();
    assert_eq!(named.machine_name, "old1");
    let get = v1::GetMachineRequest { machine: "old1".to_owned(), ..Default::default() };
    let seen = machines.get_machine(by(&site.admin, get)).await.unwrap().into_inner();
    assert_eq!(seen.status.unwrap().hardware.unwrap().vendor, "ACME");
}

#[tokio::test]
async fn the_token_of_a_script_is_good_for_its_time() {
    let clock = Clock::manual(Clock::System.now());
    let site = Site::at(clock.clone()).await;
    let rack = site.rack("r1").await;
    let mut machines = Machines::new(site.channel.clone());
    let told = |token: String| {
        let (mut client, hardware) = (rack.client.clone(), Some(v1::Hardware::default()));
        async move {
            let request = rack::RelayLiveInventoryRequest { token, source_address: String::new(), hardware };
            client.relay_live_inventory(request).await
        }
    };
    let wrong = v1::AddLiveMachineRequest { token_seconds: 7 * 24 * 3600 + 1, ..live("old1") };
    refused(machines.add_live_machine(by(&site.admin, wrong)).await, Code::InvalidArgument);
    let short = v1::AddLiveMachineRequest { token_seconds: 60, ..live("old1") };
    let added = machines.add_live_machine(by(&site.admin, short)).await.unwrap().into_inner();
    assert_eq!(added.expires_at.unwrap().seconds - clock.now().timestamp(), 60);
    clock.advance(TimeDelta::seconds(59));
    told(token(&added.script)).await.unwrap();
    assert_eq!(site.app.store.live_tokens_prune(clock.now()).await.unwrap(), 0, "still good");
    clock.advance(TimeDelta::seconds(1));
    refused(told(token(&added.script)).await, Code::PermissionDenied);
    assert_eq!(site.app.store.live_tokens_prune(clock.now() + TimeDelta::seconds(1)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_live_machine_goes_without_a_wipe_and_leaves_nothing() {
    let site = Site::start().await;
    site.rack("r1").await;
    let mut machines = Machines::new(site.channel.clone());
    machines.add_live_machine(by(&site.admin, live("old1"))).await.unwrap();
    let would = v1::DeleteMachineRequest {
        options: Some(v1::MutationOptions { validate_only: true, ..options().unwrap() }),
        ..delete("old1")
    };
    machines.delete_machine(by(&site.admin, would)).await.unwrap();
    let ulf = site.user("ulf", v1::Role::User).await;
    refused(machines.delete_machine(by(&ulf, delete("old1"))).await, Code::PermissionDenied);
    let request = delete("old1");
    let gone = machines.delete_machine(by(&site.admin, request.clone())).await.unwrap().into_inner();
    assert_eq!((gone.machine_name.as_str(), gone.bmc_account.as_str()), ("old1", "none"));
    assert_eq!(machines.delete_machine(by(&site.admin, request)).await.unwrap().into_inner(), gone);
    refused(machines.delete_machine(by(&site.admin, delete("old1"))).await, Code::NotFound);
    // Its name and its MAC are free.
    machines.add_live_machine(by(&site.admin, live("old1"))).await.unwrap();
}

#[tokio::test]
async fn what_is_at_work_or_held_stays() {
    let site = Site::start().await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    let mut machines = Machines::new(site.channel.clone());
    machines.create_machine(by(&site.admin, new_machine("m1", 9))).await.unwrap();
    let status = refused(machines.delete_machine(by(&site.admin, delete("m1"))).await, Code::FailedPrecondition);
    assert!(status.message().contains("abort it, then delete"), "{status:?}");
}

/// As if Farrier had made an account on the machine's BMC.
async fn managed(site: &Site, machine: &str) {
    let m = site.app.store.machine_find(machine).await.unwrap().unwrap().machine;
    let (version, purpose) = (m.version, own_purpose(&m));
    let sealed = site.app.vault.seal(&purpose, b"0ur-0wn-passw0rd");
    let mut change = Change::of(m);
    change.machine.details.bmc.as_mut().unwrap().managed = true;
    let extra = Extra::from(vec![(purpose, sealed)]);
    site.app.store.machine_apply(None, change, version, extra, |_| Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_machine_goes_although_it_changes_while_its_bmc_is_asked() {
    let site = Arc::new(Site::start().await);
    let (_rack, orders) = fake_rack::serving(&site, "r1").await;
    site.subnet("r1", 1).await;
    let mut machines = Machines::new(site.channel.clone());
    for (name, last) in [("m1", 9), ("m2", 10)] {
        machines.create_machine(by(&site.admin, new_machine(name, last))).await.unwrap();
        site.engine(name, Some(Event::Done), |_| {}).await;
        managed(&site, name).await;
    }
    orders.answer("RemoveBmcAccount", &rack::RemoveBmcAccountResponse { removed: true });
    let changing = Arc::clone(&site);
    orders.before("RemoveBmcAccount", move || {
        let site = Arc::clone(&changing);
        async move {
            for view in site.fleet().await {
                site.engine(view.machine.name.as_str(), None, |_| {}).await;
            }
        }
    });
    let gone = machines.delete_machine(by(&site.admin, delete("m1"))).await.unwrap().into_inner();
    assert_eq!((gone.bmc_account.as_str(), orders.count("RemoveBmcAccount")), ("removed", 1), "{gone:?}");
    assert_eq!(gone.detail, "it was there, and a login with it is refused now");
    // Who named the machine as he saw it is told that it is another now.
    let get = v1::GetMachineRequest { machine: "m2".to_owned(), ..Default::default() };
    let etag = machines.get_machine(by(&site.admin, get)).await.unwrap().into_inner().etag;
    let as_seen =
        v1::DeleteMachineRequest { options: Some(v1::MutationOptions { etag, ..options().unwrap() }), ..delete("m2") };
    refused(machines.delete_machine(by(&site.admin, as_seen)).await, Code::Aborted);
}
