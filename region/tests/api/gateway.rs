//! Racks, and the agents whose calls they relay.

use farrier_common::{id::BootId, secret::Secret};
use farrier_proto::{
    agent::{self, next_task_response::Task, report_task_request::Report},
    rack,
    v1::{self, MachineState, Role},
};
use farrier_region::{
    domain::{
        advance::NewBoot,
        lifecycle::{Event, Phase, State},
        observation::{TaskKind, TaskResult, TaskStatus},
    },
    racks::{boot_token, phone_home_token},
};
use tonic::Code;

use crate::{
    images::{allocated, disk_image},
    site::{Gateway, Machines, Rack, Site, Tokens, bmc, by, csr, enrollment, options, refused},
};

fn identity(last: u8) -> agent::Identity {
    agent::Identity {
        macs: vec![format!("52:54:00:00:00:{last:02x}"), format!("52:54:00:00:01:{last:02x}")],
        architecture: v1::Architecture::Amd64.into(),
        firmware: v1::Firmware::Uefi.into(),
        bmc_address: "10.1.0.9".to_owned(),
        ..Default::default()
    }
}

fn enlist(last: u8) -> rack::RelayEnlistRequest {
    let request = Some(agent::EnlistRequest { identity: Some(identity(last)) });
    rack::RelayEnlistRequest { request, source_address: "10.1.0.150".to_owned() }
}

fn beat() -> rack::HeartbeatRequest {
    rack::HeartbeatRequest {
        address: "127.0.0.1:9".to_owned(),
        software_version: "test".to_owned(),
        ..Default::default()
    }
}

/// A boot of a machine in a working state, with a task.
pub(crate) struct Boot {
    pub(crate) id: BootId,
    token: String,
    session: String,
}

impl Boot {
    pub(crate) async fn of(site: &Site, machine: &str, phase: Phase, task: TaskKind) -> Self {
        let id = BootId::generate();
        site.engine(machine, None, |change| {
            change.machine.details.boot = Some(id);
            change.machine.work.phase = Some(phase);
            change.boot = Some(NewBoot { id, purpose: change.machine.state });
            change.task = Some(task);
        })
        .await;
        let token = boot_token(&site.app.vault, id).expose().clone();
        Self { id, token, session: Secret::random_token().expose().clone() }
    }

    pub(crate) async fn next_task(site: &Site, machine: &str, phase: Phase, task: TaskKind) {
        site.engine(machine, None, |change| {
            change.machine.work.phase = Some(phase);
            change.task = Some(task);
        })
        .await;
    }

    fn hello(&self, last: u8) -> rack::RelayHelloRequest {
        let request = Some(agent::HelloRequest {
            boot_id: self.id.to_string(),
            token: self.token.clone(),
            session: self.session.clone(),
            identity: Some(identity(last)),
        });
        rack::RelayHelloRequest { request, source_address: String::new() }
    }

    fn next(&self) -> rack::RelayNextTaskRequest {
        let request = Some(agent::NextTaskRequest { boot_id: self.id.to_string(), session: self.session.clone() });
        rack::RelayNextTaskRequest { request, http_base: "http://10.1.0.1:5248".to_owned() }
    }

    pub(crate) fn report(&self, task_id: &str, report: Report) -> rack::RelayReportTaskRequest {
        let request = Some(agent::ReportTaskRequest {
            boot_id: self.id.to_string(),
            session: self.session.clone(),
            task_id: task_id.to_owned(),
            report: Some(report),
        });
        rack::RelayReportTaskRequest { request }
    }

    pub(crate) async fn open(&self, rack: &mut Rack, last: u8) -> agent::HelloResponse {
        rack.client.relay_hello(self.hello(last)).await.unwrap().into_inner()
    }

    pub(crate) async fn task(&self, rack: &mut Rack) -> (String, Task) {
        let answer = rack.client.relay_next_task(self.next()).await.unwrap().into_inner();
        (answer.task_id, answer.task.unwrap())
    }
}

pub(crate) async fn site_with_rack() -> (Site, Rack) {
    let site = Site::start().await;
    let rack = site.rack("r1").await;
    site.subnet("r1", 1).await;
    (site, rack)
}

#[tokio::test]
async fn a_join_token_lets_one_rack_in() {
    let site = Site::start().await;
    let secret = site.join_secret("r1").await;
    let mut open = Gateway::new(site.channel.clone());
    let (request, _) = csr();
    refused(open.enroll(enrollment("wrong", &request)).await, Code::Unauthenticated);
    refused(open.enroll(enrollment(&secret, "nonsense")).await, Code::InvalidArgument);
    let bad_address = rack::EnrollRequest { address: "nowhere".to_owned(), ..enrollment(&secret, &request) };
    refused(open.enroll(bad_address).await, Code::InvalidArgument);
    let first = open.enroll(enrollment(&secret, &request)).await.unwrap().into_inner();
    assert_eq!((first.rack_name.as_str(), first.region_identity.as_str()), ("r1", "spiffe://farrier/region"));
    // Its answer may be lost; the same key may ask again. Another may not.
    assert_eq!(open.enroll(enrollment(&secret, &request)).await.unwrap().into_inner().rack_id, first.rack_id);
    refused(open.enroll(enrollment(&secret, &csr().0)).await, Code::Unauthenticated);
    // A rack that is set up anew keeps its identity.
    assert_eq!(site.rack("r1").await.id, first.rack_id);
}

#[tokio::test]
async fn only_a_rack_of_this_region_is_heard() {
    let (site, mut rack) = site_with_rack().await;
    refused(Gateway::new(site.channel.clone()).heartbeat(beat()).await, Code::Unauthenticated);
    refused(Gateway::new(site.channel.clone()).heartbeat(by(&site.admin, beat())).await, Code::Unauthenticated);
    let other = Site::start().await;
    let stranger = other.rack("r1").await;
    let mut wrong = Gateway::new(stranger_channel(&site, &other, &stranger).await);
    assert!(wrong.heartbeat(beat()).await.is_err(), "a certificate of another CA ends the connection");
    assert_eq!(rack.client.heartbeat(beat()).await.unwrap().into_inner().interval_seconds, 10);
    let renewed = rack.client.renew_certificate(rack::RenewCertificateRequest { csr_pem: csr().0 }).await.unwrap();
    assert!(renewed.into_inner().certificate_pem.contains("BEGIN CERTIFICATE"));
    // A rack's certificate is no user's token.
    let mut tokens = Tokens::new(site.channel.clone());
    refused(tokens.list_tokens(v1::ListTokensRequest::default()).await, Code::Unauthenticated);
}

/// A connection to `site` with a certificate that `other` signed.
async fn stranger_channel(site: &Site, other: &Site, rack: &Rack) -> tonic::transport::Channel {
    let (request, key) = csr();
    let renewed = rack.client.clone().renew_certificate(rack::RenewCertificateRequest { csr_pem: request }).await;
    let certificate = renewed.unwrap().into_inner().certificate_pem;
    assert_ne!(site.app.ca.ca_pem(), other.app.ca.ca_pem());
    site.connect(Some(tonic::transport::Identity::from_pem(certificate, key)))
}

#[tokio::test]
async fn a_machine_that_is_met_is_noted_once() {
    let (site, mut rack) = site_with_rack().await;
    let met = rack.client.relay_enlist(enlist(7)).await.unwrap().into_inner();
    assert_eq!(met.state, "new");
    assert_eq!(rack.client.relay_enlist(enlist(7)).await.unwrap().into_inner(), met);
    // By its second interface too.
    let mut other_first = identity(7);
    other_first.macs.reverse();
    let request = Some(agent::EnlistRequest { identity: Some(other_first) });
    let again = rack::RelayEnlistRequest { request, source_address: String::new() };
    assert_eq!(rack.client.relay_enlist(again).await.unwrap().into_inner(), met);

    let mut machines = Machines::new(site.channel.clone());
    let get = || v1::GetMachineRequest { machine: met.machine_name.clone(), ..Default::default() };
    let machine = machines.get_machine(by(&site.admin, get())).await.unwrap().into_inner();
    let status = machine.status.unwrap();
    assert_eq!(
        (status.state(), status.rack.as_str(), status.firmware()),
        (MachineState::New, "r1", v1::Firmware::Uefi)
    );
    assert_eq!(status.interfaces.iter().map(|i| i.address.as_str()).collect::<Vec<_>>(), ["10.1.0.2", ""]);
    assert_eq!(status.reason, "met on the network; its BMC says it is at 10.1.0.9");

    let ulf = site.user("ulf", Role::User).await;
    refused(machines.get_machine(by(&ulf, get())).await, Code::NotFound);
    let seen = machines.list_machines(by(&ulf, v1::ListMachinesRequest::default())).await.unwrap().into_inner();
    assert!(seen.machines.is_empty(), "machines that are only met are for admins");
    let mut stranger = site.rack("r2").await;
    refused(stranger.client.relay_enlist(enlist(7)).await, Code::PermissionDenied);

    let commission =
        v1::CommissionMachineRequest { options: options(), machine: met.machine_name.clone(), ..Default::default() };
    let status = refused(machines.commission_machine(by(&site.admin, commission.clone())).await, Code::InvalidArgument);
    assert!(status.message().starts_with("bmc: required"), "{status:?}");
    let known = v1::CommissionMachineRequest { options: options(), bmc: Some(bmc(9)), ..commission };
    let machine = machines.commission_machine(by(&site.admin, known)).await.unwrap().into_inner();
    assert_eq!(machine.status.unwrap().state(), MachineState::Commissioning);
}

#[tokio::test]
async fn racing_enlistments_make_one_machine_each() {
    let (site, rack) = site_with_rack().await;
    let calls = (0..12).map(|n| {
        let mut client = rack.client.clone();
        tokio::spawn(async move { client.relay_enlist(enlist(20 + n % 4)).await.unwrap().into_inner().machine_name })
    });
    let mut names = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        names.push(call.await.unwrap());
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 4);
    let mut machines = Machines::new(site.channel.clone());
    let all = machines.list_machines(by(&site.admin, v1::ListMachinesRequest::default())).await.unwrap().into_inner();
    assert_eq!(all.machines.len(), 4);
}

#[tokio::test]
async fn a_boot_token_works_once_and_results_count_once() {
    let (site, mut rack) = site_with_rack().await;
    site.machine("m1", 2).await;
    site.machine("m2", 3).await;
    let boot = Boot::of(&site, "m1", Phase::Boot, TaskKind::Inventory).await;
    let mut wrong = boot.hello(2);
    wrong.request.as_mut().unwrap().token = "0".repeat(64);
    refused(rack.client.relay_hello(wrong).await, Code::PermissionDenied);
    refused(rack.client.relay_next_task(boot.next()).await, Code::PermissionDenied);
    let mut other = site.rack("r2").await;
    refused(other.client.relay_hello(boot.hello(2)).await, Code::NotFound);

    let hello = boot.open(&mut rack, 2).await;
    assert_eq!((hello.machine_name.as_str(), hello.purpose.as_str()), ("m1", "commissioning"));
    assert_eq!(boot.open(&mut rack, 2).await, hello, "the same session may say hello again");
    let thief = Boot { session: "f".repeat(64), token: boot.token.clone(), ..boot };
    refused(rack.client.relay_hello(thief.hello(2)).await, Code::PermissionDenied);
    refused(rack.client.relay_next_task(thief.next()).await, Code::PermissionDenied);

    let (task, what) = boot.task(&mut rack).await;
    assert_eq!(what, Task::Inventory(agent::InventoryTask {}));
    assert_eq!(boot.task(&mut rack).await.0, task, "asking again gets the same task");
    let progress = agent::Progress { done: 44 << 20, total: 104 << 20, unit: "bytes".to_owned(), text: String::new() };
    let told =
        rack.client.relay_report_task(boot.report(&task, Report::Progress(progress))).await.unwrap().into_inner();
    assert!(!told.stop);
    let row = site.app.store.task_current(boot.id).await.unwrap().unwrap();
    assert_eq!(row.status, TaskStatus::Running("42 % (44 of 104 MiB)".to_owned()));

    let wrong = Report::PowerOff(agent::PowerOffResult {});
    refused(rack.client.relay_report_task(boot.report(&task, wrong)).await, Code::InvalidArgument);
    // The second address is that of m2: an agent's word does not take it from there.
    let mut who = identity(2);
    who.macs.insert(1, "52:54:00:00:00:03".to_owned());
    let hardware = v1::Hardware { cpu_cores: 4, vendor: "QEMU\u{1b}[31m".to_owned(), ..Default::default() };
    let result = agent::InventoryResult { hardware: Some(hardware), identity: Some(who) };
    rack.client.relay_report_task(boot.report(&task, Report::Inventory(result))).await.unwrap();
    let late = Report::Failed(agent::TaskFailed { reason: "no".to_owned() });
    rack.client.relay_report_task(boot.report(&task, late)).await.unwrap();
    let row = site.app.store.task_current(boot.id).await.unwrap().unwrap();
    let TaskStatus::Done(TaskResult::Inventory { hardware, interfaces }) = row.status else { panic!("{row:?}") };
    assert_eq!((hardware.cpu_cores, hardware.vendor.as_str()), (4, "QEMU[31m"));
    let macs: Vec<_> = interfaces.iter().map(|i| i.mac.to_string()).collect();
    assert_eq!(macs, ["52:54:00:00:00:02", "52:54:00:00:01:02"]);

    site.engine("m1", Some(Event::Abort), |_| {}).await;
    let (id, what) = boot.task(&mut rack).await;
    assert_eq!((id.as_str(), what), ("", Task::PowerOff(agent::PowerOffTask {})), "the boot is over");
    let report = boot.report(&task, Report::Failed(agent::TaskFailed::default()));
    assert!(rack.client.relay_report_task(report).await.unwrap().into_inner().stop);
    refused(rack.client.relay_hello(boot.hello(2)).await, Code::PermissionDenied);
}

#[tokio::test]
async fn a_machine_in_which_the_bmc_of_another_is_found_is_not_commissioned() {
    let (site, mut rack) = site_with_rack().await;
    site.machine("m1", 2).await;
    site.machine("m9", 9).await;
    let boot = Boot::of(&site, "m1", Phase::Inventory, TaskKind::Inventory).await;
    boot.open(&mut rack, 2).await;
    let (task, _) = boot.task(&mut rack).await;
    // The BMC of m9, as its identity tells.
    let result = agent::InventoryResult { hardware: Some(v1::Hardware::default()), identity: Some(identity(2)) };
    rack.client.relay_report_task(boot.report(&task, Report::Inventory(result))).await.unwrap();
    let row = site.app.store.task_current(boot.id).await.unwrap().unwrap();
    let TaskStatus::Failed(why) = row.status else { panic!("{row:?}") };
    assert!(why.contains("10.1.0.9") && why.contains("machine m9") && why.contains("10.1.0.2"), "{why}");
}

#[tokio::test]
async fn a_task_that_comes_late_is_waited_for() {
    let (site, mut rack) = site_with_rack().await;
    site.machine("m1", 2).await;
    let boot = Boot::of(&site, "m1", Phase::Inventory, TaskKind::Inventory).await;
    boot.open(&mut rack, 2).await;
    let (task, _) = boot.task(&mut rack).await;
    let result = agent::InventoryResult { hardware: Some(v1::Hardware::default()), identity: Some(identity(2)) };
    rack.client.relay_report_task(boot.report(&task, Report::Inventory(result))).await.unwrap();
    let (mut client, next) = (rack.client.clone(), boot.next());
    let waiting = tokio::spawn(async move { client.relay_next_task(next).await.unwrap().into_inner() });
    Boot::next_task(&site, "m1", Phase::Erase, TaskKind::Erase).await;
    let answer = waiting.await.unwrap();
    assert_eq!(answer.task, Some(Task::Erase(agent::EraseTask { sample_permille: 5 })));
    let disk = v1::DiskErasure {
        disk_serial: "d".to_owned(),
        size_bytes: 10,
        finished_at: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 }),
        ..Default::default()
    };
    let unproven = Report::Erase(agent::EraseResult { disks: vec![disk] });
    rack.client.relay_report_task(boot.report(&answer.task_id, unproven)).await.unwrap();
    let row = site.app.store.task_current(boot.id).await.unwrap().unwrap();
    assert!(matches!(&row.status, TaskStatus::Failed(why) if why.contains("read back")), "{row:?}");
}

#[tokio::test]
async fn a_deployment_hands_out_image_and_seed_and_waits_for_the_system() {
    let (site, mut rack) = site_with_rack().await;
    let image = disk_image(&site, "debian").await;
    allocated(&site, "m1", 2, &site.admin).await;
    let deploy = v1::DeployMachineRequest {
        options: options(),
        machine: "m1".to_owned(),
        image: "debian".to_owned(),
        user_data: b"#!/bin/sh\ntrue\n".to_vec(),
        disk_serial: "disk-1".to_owned(),
    };
    Machines::new(site.channel.clone()).deploy_machine(by(&site.admin, deploy)).await.unwrap();
    let boot = Boot::of(&site, "m1", Phase::WriteImage, TaskKind::WriteImage).await;
    boot.open(&mut rack, 2).await;
    let blob = image.blobs[0].clone();
    let read = |session: &str, sha256: &str| rack::AuthorizeBlobRequest {
        boot_id: boot.id.to_string(),
        session: session.to_owned(),
        sha256: sha256.to_owned(),
    };
    assert_eq!(
        rack.client.authorize_blob(read(&boot.session, &blob.sha256)).await.unwrap().into_inner().blob,
        Some(blob.clone())
    );
    refused(rack.client.authorize_blob(read("no", &blob.sha256)).await, Code::PermissionDenied);
    refused(rack.client.authorize_blob(read(&boot.session, &"0".repeat(64))).await, Code::PermissionDenied);
    downloads(&mut rack, &blob).await;

    let (task, what) = boot.task(&mut rack).await;
    let Task::WriteImage(write) = what else { panic!("{what:?}") };
    assert_eq!((write.blob, write.disk_serial.as_str()), (Some(blob.clone()), "disk-1"));
    let seed = write.seed.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(text(&seed.user_data), "#!/bin/sh\ntrue\n");
    assert!(text(&seed.meta_data).contains(&boot.id.to_string()));
    assert!(text(&seed.network_config).contains("52:54:00:00:00:02"));
    let token = phone_home_token(&site.app.vault, boot.id);
    assert!(text(&seed.vendor_data).contains(&format!(
        "http://10.1.0.1:5248/phone-home/{}/{}",
        boot.id,
        token.expose()
    )));

    let home = |token: &str| rack::RelayPhoneHomeRequest {
        boot_id: boot.id.to_string(),
        token: token.to_owned(),
        source_address: String::new(),
    };
    refused(rack.client.relay_phone_home(home(&boot.token)).await, Code::PermissionDenied);
    let wrote = agent::WriteImageResult {
        disk_name: "vda".to_owned(),
        disk_serial: "disk-1".to_owned(),
        written_bytes: blob.content_size_bytes,
        read_back_sha256: blob.content_sha256.clone(),
    };
    rack.client.relay_report_task(boot.report(&task, Report::WriteImage(wrote))).await.unwrap();
    let row = site.app.store.task_current(boot.id).await.unwrap().unwrap();
    let text = "debian is on vda (disk-1), read back and verified".to_owned();
    assert_eq!(row.status, TaskStatus::Done(TaskResult::WriteImage { text }));

    rack.client.relay_phone_home(home(token.expose())).await.unwrap();
    site.engine("m1", Some(Event::Done), |_| {}).await;
    rack.client.relay_phone_home(home(token.expose())).await.unwrap();
    assert!(site.app.store.boot_get(boot.id).await.unwrap().unwrap().phoned_home_at.is_some());
    let view = site.app.store.machine_get(site.id_of("m1").await).await.unwrap().unwrap();
    assert_eq!(view.machine.state, State::Deployed);
    refused(rack.client.authorize_blob(read(&boot.session, &blob.sha256)).await, Code::PermissionDenied);
}

async fn downloads(rack: &mut Rack, blob: &v1::Blob) {
    let request = rack::DownloadBlobRequest { sha256: blob.sha256.clone(), offset: 5 };
    let mut stream = rack.client.download_blob(request).await.unwrap().into_inner();
    let mut bytes = 0;
    while let Some(message) = stream.message().await.unwrap() {
        assert_eq!(message.size_bytes, blob.size_bytes);
        bytes += message.chunk.len() as u64;
    }
    assert_eq!(bytes, blob.size_bytes - 5);
}

#[tokio::test]
async fn what_racks_saw_is_in_the_timeline_once() {
    let (site, mut rack) = site_with_rack().await;
    site.machine("m1", 2).await;
    let step = |kind: &str, mac: &str| rack::BootStep {
        id: BootId::generate().to_string(),
        at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        mac: mac.to_owned(),
        kind: kind.to_owned(),
        text: "ACK 10.1.0.3".to_owned(),
        ..Default::default()
    };
    let steps = rack::ReportBootStepsRequest { steps: vec![step("dhcp", "52:54:00:00:00:02")] };
    for _ in 0..2 {
        rack.client.report_boot_steps(steps.clone()).await.unwrap();
    }
    let ask = v1::ExplainMachineRequest { machine: "m1".to_owned(), timeline_size: 0 };
    let told = Machines::new(site.channel.clone()).explain_machine(by(&site.admin, ask)).await.unwrap().into_inner();
    assert_eq!(told.timeline.iter().filter(|e| e.kind == "dhcp" && e.text == "ACK 10.1.0.3").count(), 1);
    for bad in [step("nonsense", "52:54:00:00:00:02"), step("dhcp", "nonsense")] {
        refused(
            rack.client.report_boot_steps(rack::ReportBootStepsRequest { steps: vec![bad] }).await,
            Code::InvalidArgument,
        );
    }
    let many = (0..501).map(|_| step("dhcp", "52:54:00:00:00:02")).collect();
    refused(rack.client.report_boot_steps(rack::ReportBootStepsRequest { steps: many }).await, Code::InvalidArgument);
}
