//! Allocation: constraints, batches, projects, leases, and who is quicker.

use farrier_proto::v1::{self, AllocationConstraints as Constraints, BatchMode, MachineState, Role};
use farrier_region::{
    domain::{
        lifecycle::Event,
        machine::{Disk, Gpu, Hardware},
    },
    store::Database,
};
use tonic::Code;

use crate::{
    postgres,
    race::{Race, race},
    site::{Machines, Site, by, options, refused},
};

const GIB: u64 = 1 << 30;

/// Machines m2 … that are ready; the higher its number, the more has a machine.
async fn site(machines: u8) -> (Site, Machines) {
    let site = Site::start().await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    for n in 2..2 + machines {
        let name = format!("m{n}");
        site.machine(&name, n).await;
        site.engine(&name, Some(Event::Done), |change| {
            let disks = vec![
                Disk { size_bytes: 500_000_000_000, bus: "nvme".to_owned(), ..Disk::default() },
                Disk { size_bytes: u64::from(n) * 1_000_000_000_000, rotational: true, ..Disk::default() },
            ];
            let gpus = vec![Gpu { vendor_id: "10de".to_owned(), ..Gpu::default() }; usize::from(n == 4)];
            let cpu_cores = u32::from(n) * 8;
            let memory_bytes = u64::from(n) * 32 * GIB;
            let hardware = Hardware { cpu_cores, memory_bytes, disks, gpus, ..Hardware::default() };
            change.machine.details.hardware = Some(hardware);
            change.machine.tags = [format!("t{}", n % 2).parse().unwrap()].into();
        })
        .await;
    }
    let machines = Machines::new(site.channel.clone());
    (site, machines)
}

fn wants(constraints: Constraints) -> v1::AllocateMachineRequest {
    v1::AllocateMachineRequest { options: options(), constraints: Some(constraints), ..Default::default() }
}

fn item(machine: &str, count: u32, constraints: Constraints) -> v1::AllocationItem {
    v1::AllocationItem { machine: machine.to_owned(), count, constraints: Some(constraints) }
}

fn batch(mode: BatchMode, items: Vec<v1::AllocationItem>) -> v1::AllocateMachinesRequest {
    v1::AllocateMachinesRequest { options: options(), mode: mode.into(), items, ..Default::default() }
}

fn dry(options: &mut Option<v1::MutationOptions>) {
    options.as_mut().unwrap().validate_only = true;
}

fn with_gpu() -> Constraints {
    Constraints {
        gpus: vec![v1::GpuConstraint { vendor_id: "10DE".to_owned(), ..Default::default() }],
        ..Default::default()
    }
}

async fn count(machines: &mut Machines, token: &str, state: MachineState) -> usize {
    let request = v1::ListMachinesRequest { states: vec![state.into()], ..Default::default() };
    machines.list_machines(by(token, request)).await.unwrap().into_inner().machines.len()
}

#[tokio::test]
async fn the_cheapest_that_fits_is_taken_and_refusals_count() {
    let (site, mut machines) = site(4).await;
    let ulf = site.user("ulf", Role::User).await;
    // A dry run tells which it would be, and changes nothing.
    let mut request = wants(Constraints::default());
    dry(&mut request.options);
    for _ in 0..2 {
        let told = machines.allocate_machine(by(&ulf, request.clone())).await.unwrap().into_inner();
        assert_eq!((told.name.as_str(), told.status.unwrap().state()), ("m2", MachineState::Allocated));
    }
    assert_eq!(count(&mut machines, &ulf, MachineState::Ready).await, 4);

    let hdd = |bytes| v1::DiskConstraint { min_bytes: bytes, kind: "hdd".to_owned() };
    let ask = Constraints {
        min_cpu_cores: 17,
        disks: vec![hdd(0), v1::DiskConstraint { min_bytes: 1, kind: "nvme".to_owned() }],
        not_tags: vec!["t0".to_owned()],
        subnet: "net-10-1-0-0-24".to_owned(),
        rack: "r1".to_owned(),
        pool: "default".to_owned(),
        labels: [("label-1".to_owned(), "1".to_owned()), ("label-2".to_owned(), "2".to_owned())].into(),
        ..Default::default()
    };
    let request = wants(ask);
    let made = machines.allocate_machine(by(&ulf, request.clone())).await.unwrap().into_inner();
    assert_eq!((made.name.as_str(), made.intent.as_ref().unwrap().owner.as_str()), ("m3", "ulf"));
    // The labels travel in any order.
    assert_eq!(machines.allocate_machine(by(&ulf, request)).await.unwrap().into_inner(), made);
    let gpu = machines.allocate_machine(by(&ulf, wants(with_gpu()))).await.unwrap().into_inner();
    assert_eq!(gpu.name, "m4");

    let much = Constraints { min_memory_bytes: 1 << 40, tags: vec!["t1".to_owned()], ..Default::default() };
    let status = refused(machines.allocate_machine(by(&ulf, wants(much))).await, Code::ResourceExhausted);
    assert_eq!(
        status.message(),
        "2 ready: 2 have less than 1 TiB of memory, 1 lacks tag t1 (a machine may count twice)"
    );
    let named = v1::AllocateMachineRequest { machine: "m5".to_owned(), ..wants(with_gpu()) };
    let status = refused(machines.allocate_machine(by(&ulf, named)).await, Code::FailedPrecondition);
    assert_eq!(status.message(), "machine m5 does not fit: it has no GPU of its own for each of: 10de:any");
    for (field, bad) in [
        (
            "constraints.disks[0].kind: ",
            Constraints {
                disks: vec![v1::DiskConstraint { kind: "x".into(), ..Default::default() }],
                ..Default::default()
            },
        ),
        ("constraints.rack: ", Constraints { rack: "r9".into(), ..Default::default() }),
        ("constraints.pool: ", Constraints { pool: "p9".into(), ..Default::default() }),
        ("constraints.subnet: ", Constraints { subnet: "s9".into(), ..Default::default() }),
    ] {
        let status = refused(machines.allocate_machine(by(&ulf, wants(bad))).await, Code::InvalidArgument);
        assert!(status.message().starts_with(field), "{status:?}");
    }
    assert_eq!(count(&mut machines, &ulf, MachineState::Ready).await, 2);
}

#[tokio::test]
async fn a_batch_is_all_or_nothing_or_as_many_as_possible() {
    let (site, mut machines) = site(4).await;
    let ulf = site.user("ulf", Role::User).await;
    let any = Constraints::default;
    // m4 is the only one with a GPU: who does not need it gets others, whatever the order.
    let mut request =
        batch(BatchMode::AllOrNothing, vec![item("", 2, any()), item("m2", 1, any()), item("", 1, with_gpu())]);
    dry(&mut request.options);
    let names = |answer: v1::AllocateMachinesResponse| -> Vec<(u32, String)> {
        answer.results.into_iter().map(|r| (r.item, r.machine.map_or(r.refusal, |m| m.name))).collect()
    };
    let told = names(machines.allocate_machines(by(&ulf, request.clone())).await.unwrap().into_inner());
    let expected = [(0, "m3"), (0, "m5"), (1, "m2"), (2, "m4")].map(|(n, name)| (n, name.to_owned()));
    assert_eq!(told, expected);
    assert_eq!(count(&mut machines, &ulf, MachineState::Ready).await, 4);

    let too_many =
        batch(BatchMode::AllOrNothing, vec![item("", 3, any()), item("", 2, with_gpu()), item("m9", 1, any())]);
    let status = refused(machines.allocate_machines(by(&ulf, too_many)).await, Code::ResourceExhausted);
    assert_eq!(
        status.message(),
        "nothing is allocated, because not all can be: 4 ready: 1 fits and is taken by this very call, \
         3 have no GPU of its own for each of: 10de:any; there is no machine \"m9\""
    );
    assert_eq!(count(&mut machines, &ulf, MachineState::Ready).await, 4);
    let unsaid = batch(BatchMode::Unspecified, vec![item("", 1, any())]);
    let status = refused(machines.allocate_machines(by(&ulf, unsaid)).await, Code::InvalidArgument);
    assert!(status.message().starts_with("mode: "));

    let some =
        batch(BatchMode::AsManyAsPossible, vec![item("", 2, with_gpu()), item("m2", 1, any()), item("m9", 1, any())]);
    let made = machines.allocate_machines(by(&ulf, some.clone())).await.unwrap().into_inner();
    assert_eq!(machines.allocate_machines(by(&ulf, some)).await.unwrap().into_inner(), made, "once");
    let told = names(made);
    assert_eq!((told[0].clone(), told[2].clone()), ((0, "m4".to_owned()), (1, "m2".to_owned())));
    assert!(
        told[1].1.starts_with("4 ready: 1 fits and is taken") && told[3].1 == "there is no machine \"m9\"",
        "{told:?}"
    );
    assert_eq!(count(&mut machines, &ulf, MachineState::Ready).await, 2);
    let gone = batch(BatchMode::AsManyAsPossible, vec![item("m2", 1, any())]);
    let told = names(machines.allocate_machines(by(&site.admin, gone)).await.unwrap().into_inner());
    assert_eq!(told, [(0, "machine m2 is allocated, not ready".to_owned())]);
    let viewer = site.user("vera", Role::Viewer).await;
    let any = batch(BatchMode::AsManyAsPossible, vec![item("", 1, any())]);
    refused(machines.allocate_machines(by(&viewer, any)).await, Code::PermissionDenied);
}

#[tokio::test]
async fn a_lease_is_told_and_ends_with_the_release() {
    let (site, mut machines) = site(1).await;
    let ulf = site.user("ulf", Role::User).await;
    let lend = |lease_seconds| v1::AllocateMachineRequest { lease_seconds, ..wants(Constraints::default()) };
    let status = refused(machines.allocate_machine(by(&ulf, lend(366 * 86_400 + 1))).await, Code::InvalidArgument);
    assert!(status.message().starts_with("lease_seconds: "));
    let made = machines.allocate_machine(by(&ulf, lend(3600))).await.unwrap().into_inner();
    let (since, end) = (made.status.unwrap().since.unwrap(), made.intent.unwrap().lease_expires_at.unwrap());
    assert_eq!(end.seconds - since.seconds, 3600);
    let request = v1::ExplainMachineRequest { machine: "m2".to_owned(), ..Default::default() };
    let told = machines.explain_machine(by(&ulf, request)).await.unwrap().into_inner();
    assert!(told.next_step.starts_with("it is released by itself at "), "{}", told.next_step);
    let release = v1::ReleaseMachineRequest { options: options(), machine: "m2".to_owned(), ..Default::default() };
    let back = machines.release_machine(by(&ulf, release)).await.unwrap().into_inner();
    assert_eq!(back.intent.unwrap().lease_expires_at, None);
}

#[tokio::test]
async fn who_is_in_no_project_holds_for_none() {
    let (site, mut machines) = site(1).await;
    let ulf = site.user("ulf", Role::User).await;
    let request = v1::AllocateMachineRequest { project: "moon".to_owned(), ..wants(Constraints::default()) };
    let status = refused(machines.allocate_machine(by(&ulf, request)).await, Code::InvalidArgument);
    assert_eq!(status.message(), "project: you are in no project \"moon\"");
}

#[tokio::test]
async fn what_a_project_holds_is_for_all_its_members_and_for_nobody_else() {
    let (site, mut machines) = site(1).await;
    let (ulf, uma, una) =
        (site.user("ulf", Role::User).await, site.user("uma", Role::User).await, site.user("una", Role::User).await);
    let project = v1::CreateProjectRequest {
        options: options(),
        name: "moon".to_owned(),
        members: vec!["ulf".to_owned(), "uma".to_owned()],
        ..Default::default()
    };
    let mut projects = v1::projects_client::ProjectsClient::new(site.channel.clone());
    projects.create_project(by(&site.admin, project)).await.unwrap();
    let request = v1::AllocateMachineRequest { project: "moon".to_owned(), ..wants(Constraints::default()) };
    let held = machines.allocate_machine(by(&ulf, request)).await.unwrap().into_inner();
    let intent = held.intent.unwrap();
    assert_eq!((intent.project.as_str(), intent.owner.as_str()), ("moon", ""));
    let release = || v1::ReleaseMachineRequest { options: options(), machine: held.name.clone(), ..Default::default() };
    refused(machines.release_machine(by(&una, release())).await, Code::PermissionDenied);
    machines.release_machine(by(&uma, release())).await.unwrap();
}

const RACE: Race = Race { clients: 64, machines: 100, allocations: 1000 };

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_race_on_sqlite() {
    let outcome = race(|dir| Database::Sqlite(dir.join("farrier.db")), RACE).await;
    println!("{}", outcome.line("SQLite"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_race_on_postgres() {
    let url = postgres::database();
    let outcome = race(|_| Database::Postgres(url.clone()), RACE).await;
    println!("{}", outcome.line("PostgreSQL"));
}
