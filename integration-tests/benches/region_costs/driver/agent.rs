//! What a machine without delay does from its start in the ephemeral environment until it is off or its system is up.

use anyhow::{Context as _, bail};
use farrier_common::{clock::Clock, secret::random_bytes};
use farrier_proto::{
    agent::{
        EraseResult, HelloRequest, Identity, InventoryResult, NextTaskRequest, PowerOffResult, ReportTaskRequest,
        WriteImageResult, next_task_response::Task, report_task_request::Report,
    },
    rack::{Ephemeral, RelayHelloRequest, RelayNextTaskRequest, RelayPhoneHomeRequest, RelayReportTaskRequest},
    v1,
};
use serde_json::Value;

use super::{Driver, mac};

const DISK_BYTES: u64 = 1 << 37;
const SOURCE: &str = "127.0.0.1";
/// Where installed systems are told to phone home; nobody serves there.
const HTTP: &str = "http://127.0.0.1:5248";
/// More than any boot has.
const MOST_TASKS: usize = 100;

/// Where an installed system phones home: boot and token.
pub(super) type Home = (String, String);

/// A failure is told: the machine then stays where it is, and the benchmark waits in vain for it and fails.
#[expect(clippy::print_stderr, reason = "the only way to tell")]
pub(super) async fn run(driver: Driver, n: u32, boot: Ephemeral) {
    if let Err(error) = live(&driver, n, &boot).await {
        eprintln!("machine {n}: {error:#}");
    }
}

async fn live(driver: &Driver, n: u32, boot: &Ephemeral) -> anyhow::Result<()> {
    let mut gateway = driver.gateway.clone();
    let session = hex::encode(random_bytes::<32>());
    let hello = HelloRequest {
        boot_id: boot.boot_id.clone(),
        token: boot.token.clone(),
        session: session.clone(),
        identity: Some(identity(n)),
    };
    let hello = RelayHelloRequest { request: Some(hello), source_address: SOURCE.to_owned() };
    gateway.relay_hello(hello).await.context("hello")?;
    let mut home = None;
    for _ in 0..MOST_TASKS {
        let request = NextTaskRequest { boot_id: boot.boot_id.clone(), session: session.clone() };
        let request = RelayNextTaskRequest { request: Some(request), http_base: HTTP.to_owned() };
        let next = gateway.relay_next_task(request).await.context("the next task")?.into_inner();
        let Some(task) = next.task else { continue };
        let Some(report) = perform(n, task, &mut home)? else { continue };
        let ends = matches!(report, Report::PowerOff(_));
        if ends {
            // Before it is told, as whoever hears of it looks at once.
            driver.with(|held| {
                held.on.remove(&n);
                held.installed.extend(home.take().map(|home| (n, home)));
            });
        }
        let request = ReportTaskRequest {
            boot_id: boot.boot_id.clone(),
            session: session.clone(),
            task_id: next.task_id,
            report: Some(report),
        };
        gateway.relay_report_task(RelayReportTaskRequest { request: Some(request) }).await.context("a report")?;
        if ends {
            return Ok(());
        }
    }
    bail!("more than {MOST_TASKS} tasks in one boot")
}

/// The installed system is up.
#[expect(clippy::print_stderr, reason = "the only way to tell")]
pub(super) async fn phone_home(driver: Driver, n: u32, (boot_id, token): Home) {
    let request = RelayPhoneHomeRequest { boot_id, token, source_address: SOURCE.to_owned() };
    if let Err(status) = driver.gateway.clone().relay_phone_home(request).await {
        eprintln!("machine {n} phones home: {status}");
    }
}

/// What comes of a task; `None` if there is nothing to do.
fn perform(n: u32, task: Task, home: &mut Option<Home>) -> anyhow::Result<Option<Report>> {
    Ok(Some(match task {
        Task::Idle(_) => return Ok(None),
        Task::Inventory(_) => {
            Report::Inventory(InventoryResult { hardware: Some(inventory(n)), identity: Some(identity(n)) })
        }
        Task::WriteImage(task) => {
            let blob = task.blob.context("blob: is missing")?;
            *home = Some(home_of(&task.seed.context("seed: is missing")?.vendor_data)?);
            Report::WriteImage(WriteImageResult {
                disk_name: "nvme0n1".to_owned(),
                disk_serial: serial(n),
                written_bytes: blob.content_size_bytes,
                read_back_sha256: blob.content_sha256,
            })
        }
        Task::Erase(_) => Report::Erase(EraseResult { disks: vec![erased(n)] }),
        Task::PowerOff(_) => Report::PowerOff(PowerOffResult {}),
        Task::RunScripts(_) | Task::OpenSsh(_) | Task::BmcAccount(_) => bail!("the benchmark asks for no such task"),
    }))
}

/// Boot and token are the last parts of the address that cloud-init is told.
fn home_of(vendor_data: &[u8]) -> anyhow::Result<Home> {
    let json = vendor_data.strip_prefix(b"#cloud-config\n").context("the vendor data are no cloud-config")?;
    let config: Value = serde_json::from_slice(json)?;
    let url = config["phone_home"]["url"].as_str().context("the vendor data tell no address")?;
    let mut parts = url.rsplit('/').map(str::to_owned);
    let (token, boot) = (parts.next(), parts.next());
    boot.zip(token).context("the address has no boot and token")
}

fn serial(n: u32) -> String {
    format!("DISK{n}")
}

fn identity(n: u32) -> Identity {
    Identity {
        macs: vec![mac(n).to_string()],
        architecture: v1::Architecture::Amd64.into(),
        firmware: v1::Firmware::Uefi.into(),
        vendor: "Farrier".to_owned(),
        product: "No Delay".to_owned(),
        serial: format!("ND{n}"),
        uuid: format!("00000000-0000-4000-8000-{n:012}"),
        bmc_address: String::new(),
    }
}

fn inventory(n: u32) -> v1::Hardware {
    v1::Hardware {
        vendor: "Farrier".to_owned(),
        product: "No Delay".to_owned(),
        serial: format!("ND{n}"),
        uuid: identity(n).uuid,
        firmware_version: "1.0".to_owned(),
        cpu_model: "AMD EPYC 9354P 32-Core Processor".to_owned(),
        cpu_cores: 64,
        memory_bytes: 1 << 38,
        disks: vec![v1::Disk {
            name: "nvme0n1".to_owned(),
            serial: serial(n),
            model: "NVMe".to_owned(),
            size_bytes: DISK_BYTES,
            rotational: false,
            bus: "nvme".to_owned(),
            ..Default::default()
        }],
        nics: vec![v1::Nic { name: "eth0".to_owned(), mac: mac(n).to_string(), ..Default::default() }],
        gpus: Vec::new(),
    }
}

fn erased(n: u32) -> v1::DiskErasure {
    let now = Clock::System.now();
    v1::DiskErasure {
        disk_serial: serial(n),
        disk_name: "nvme0n1".to_owned(),
        size_bytes: DISK_BYTES,
        method: "discard".to_owned(),
        sampled_bytes: DISK_BYTES,
        finished_at: Some(prost_types::Timestamp { seconds: now.timestamp(), nanos: 0 }),
    }
}
