//! Declaring storage and network, and copying them.

use farrier_proto::v1::{self, MutationOptions, Role};
use farrier_region::domain::{
    lifecycle::Event,
    machine::{Disk, Hardware, Nic},
};
use tonic::Code;

use crate::site::{Machines, Site, by, options, refused};

pub(crate) async fn site_of(count: u8) -> (Site, Machines) {
    let site = Site::start().await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    for n in 1..=count {
        let name = format!("m{n}");
        site.machine(&name, 1 + n).await;
        site.engine(&name, Some(Event::Done), |change| {
            let disk = |name: &str| Disk {
                name: name.into(),
                serial: name.to_uppercase(),
                size_bytes: 64 << 30,
                ..Disk::default()
            };
            let nic = |name: &str| Nic { name: name.into(), speed_mbps: 1000, ..Nic::default() };
            // Each machine names its parts in its own way.
            let (disks, nics) = (vec![disk(&format!("d{n}"))], vec![nic(&format!("e{n}")), nic("eth9")]);
            change.machine.details.hardware = Some(Hardware { disks, nics, ..Hardware::default() });
        })
        .await;
    }
    let machines = Machines::new(site.channel.clone());
    (site, machines)
}

pub(crate) fn storage(disk: &str) -> v1::StorageLayout {
    let partitions = vec![v1::Partition { name: "root".into(), size_bytes: 0, kind: "linux".into() }];
    v1::StorageLayout {
        disks: vec![v1::DiskLayout { disk: disk.into(), table: "gpt".into(), boot: true, partitions }],
        filesystems: vec![v1::FilesystemMount {
            device: "root".into(),
            r#type: "ext4".into(),
            mount_point: "/".into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn network(nic: &str) -> v1::NetworkLayout {
    let addresses = v1::InterfaceAddresses { r#static: vec!["10.5.0.5/24".into()], ..Default::default() };
    let interfaces = vec![v1::PhysicalInterface { name: nic.into(), addresses: Some(addresses), mtu: 0 }];
    v1::NetworkLayout { interfaces, ..Default::default() }
}

pub(crate) fn configure(
    machine: &str,
    paths: &[&str],
    storage: Option<v1::StorageLayout>,
    network: Option<v1::NetworkLayout>,
) -> v1::ConfigureMachineRequest {
    let paths = paths.iter().map(|p| (*p).to_owned()).collect();
    let update_mask = Some(prost_types::FieldMask { paths });
    v1::ConfigureMachineRequest { options: options(), machine: machine.into(), update_mask, storage, network }
}

pub(crate) fn copy(to: &[&str], validate_only: bool) -> v1::CloneMachineRequest {
    v1::CloneMachineRequest {
        options: options().map(|o| MutationOptions { validate_only, ..o }),
        source: "m1".into(),
        destinations: to.iter().map(|d| (*d).to_owned()).collect(),
        storage: true,
        network: true,
    }
}

async fn intent(site: &Site, machine: &str) -> v1::MachineIntent {
    let ask = v1::GetMachineRequest { machine: machine.into(), ..Default::default() };
    let got = Machines::new(site.channel.clone()).get_machine(by(&site.admin, ask)).await;
    got.unwrap().into_inner().intent.unwrap()
}

#[tokio::test]
async fn layouts_are_declared_shown_and_removed() {
    let (site, mut machines) = site_of(1).await;
    let ulf = site.user("ulf", Role::User).await;
    let both = configure("m1", &["storage", "network"], Some(storage("d1")), Some(network("e1")));
    refused(machines.configure_machine(by(&ulf, both.clone())).await, Code::PermissionDenied);
    let made = machines.configure_machine(by(&site.admin, both.clone())).await.unwrap().into_inner();
    let got = made.intent.clone().unwrap();
    assert_eq!((got.storage.clone(), got.network.clone()), (Some(storage("d1")), Some(network("e1"))));
    assert_eq!(
        machines.configure_machine(by(&site.admin, both)).await.unwrap().into_inner(),
        made,
        "a repeated request"
    );
    assert_eq!(intent(&site, "m1").await.storage, Some(storage("d1")));

    let wrong = configure("m1", &["storage", "network"], Some(storage("d7")), Some(network("e7")));
    let told = refused(machines.configure_machine(by(&site.admin, wrong)).await, Code::InvalidArgument);
    assert!(told.message().starts_with("storage.disks[0].disk: the machine has no disk \"d7\""), "{told:?}");
    assert!(told.message().contains("network.interfaces[0].name: the machine has no interface \"e7\""), "{told:?}");
    let star = configure("m1", &["*"], None, None);
    refused(machines.configure_machine(by(&site.admin, star)).await, Code::InvalidArgument);
    assert_eq!(intent(&site, "m1").await.storage, Some(storage("d1")), "nothing has changed");

    let allocate = v1::AllocateMachineRequest { options: options(), machine: "m1".into(), ..Default::default() };
    machines.allocate_machine(by(&ulf, allocate)).await.unwrap();
    for (part, clear) in [("storage", "--remove-storage"), ("network", "--remove-network")] {
        let deploy = v1::DeployMachineRequest {
            options: options(),
            machine: "m1".into(),
            image: "debian".into(),
            ..Default::default()
        };
        let told = refused(machines.deploy_machine(by(&ulf, deploy)).await, Code::FailedPrecondition);
        assert!(told.message().contains(&format!("has declared {part}")) && told.message().contains(clear), "{told:?}");
        machines.configure_machine(by(&ulf, configure("m1", &[part], None, None))).await.unwrap();
    }
    let got = intent(&site, "m1").await;
    assert_eq!((got.storage, got.network), (None, None));
}

#[tokio::test]
async fn commissioning_drops_what_it_is_not_told_to_keep() {
    let (site, mut machines) = site_of(1).await;
    let both = configure("m1", &["storage", "network"], Some(storage("d1")), Some(network("e1")));
    machines.configure_machine(by(&site.admin, both)).await.unwrap();
    let commission = Some(v1::CommissionOptions { keep_network: true, ..Default::default() });
    let ask =
        v1::CommissionMachineRequest { options: options(), machine: "m1".into(), commission, ..Default::default() };
    machines.commission_machine(by(&site.admin, ask)).await.unwrap();
    let got = intent(&site, "m1").await;
    assert_eq!((got.storage, got.network), (None, Some(network("e1"))));
    let busy = configure("m1", &["network"], None, None);
    let told = refused(machines.configure_machine(by(&site.admin, busy)).await, Code::FailedPrecondition);
    assert!(told.message().contains("while the engine works on it"), "{told:?}");
}

#[tokio::test]
async fn each_destination_of_a_copy_has_its_own_answer() {
    let (site, mut machines) = site_of(3).await;
    let ulf = site.user("ulf", Role::User).await;
    let nothing =
        refused(machines.clone_machine(by(&site.admin, copy(&["m2"], false))).await, Code::FailedPrecondition);
    assert!(nothing.message().contains("has no declared storage"), "{nothing:?}");
    let both = configure("m1", &["storage", "network"], Some(storage("d1")), Some(network("e1")));
    machines.configure_machine(by(&site.admin, both)).await.unwrap();
    site.engine("m3", None, |change| {
        let hardware = change.machine.details.hardware.as_mut().unwrap();
        hardware.disks[0].rotational = true;
        hardware.nics.clear();
    })
    .await;

    refused(machines.clone_machine(by(&ulf, copy(&["m2"], false))).await, Code::PermissionDenied);
    for (bad, field) in
        [(&["m2", "m1"][..], "destinations[1]"), (&["m2", "m3", "m2"], "destinations[2]"), (&[], "destinations")]
    {
        let told = refused(machines.clone_machine(by(&site.admin, copy(bad, false))).await, Code::InvalidArgument);
        assert!(told.message().starts_with(&format!("{field}: ")), "{told:?}");
    }

    let dry = machines.clone_machine(by(&site.admin, copy(&["m2"], true))).await.unwrap().into_inner();
    assert!(dry.results[0].machine.is_some());
    assert_eq!(intent(&site, "m2").await.storage, None, "a dry run writes nothing");

    let ask = copy(&["m3", "m2", "m9"], false);
    let made = machines.clone_machine(by(&site.admin, ask.clone())).await.unwrap().into_inner();
    let [m3, m2, m9] = made.results.as_slice() else { panic!("{made:?}") };
    assert!(m3.machine.is_none() && m3.refusals.len() == 2, "{m3:?}");
    assert_eq!(m9.refusals, ["there is no machine \"m9\""]);
    let rules: Vec<_> = m2.matches.iter().map(|m| (m.destination.as_str(), m.rule.as_str())).collect();
    assert_eq!(rules, [("d2", "size-and-type"), ("e2", "position-and-speed"), ("e2 dhcp4", "static-to-dhcp")]);
    let got = intent(&site, "m2").await;
    assert_eq!(got.storage, Some(storage("d2")));
    let interface = &got.network.unwrap().interfaces[0];
    let addresses = v1::InterfaceAddresses { dhcp4: true, ..Default::default() };
    assert_eq!((interface.name.as_str(), interface.addresses.clone()), ("e2", Some(addresses)));
    assert_eq!(intent(&site, "m3").await.storage, None);
    assert_eq!(machines.clone_machine(by(&site.admin, ask)).await.unwrap().into_inner(), made, "a repeated request");
}
