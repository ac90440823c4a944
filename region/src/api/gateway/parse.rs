//! What racks and agents send, made into the types of the use cases. An agent's texts are cut, not refused: a machine
//! with an odd BIOS is still a machine.

use std::{net::Ipv4Addr, str::FromStr};

use farrier_common::{clock::Timestamp, net::MacAddr, secret::Secret, words};
use farrier_proto::{
    agent::{self, report_task_request},
    convert, rack, v1,
};

use crate::{
    api::{
        parse,
        words::{time_from_wire, unknown},
    },
    app::gateway::{Beat, Identity, NewRack, Report, Step, Told},
    domain::{
        Error, Result,
        machine::{Disk, DiskErasure, Gpu, Hardware, Nic},
        script::{MOST_CHOSEN, RunStatus},
    },
};

const MOST_STEPS: usize = 500;
const MOST_DISKS: usize = 256;
const MOST_NICS: usize = 64;
const MOST_GPUS: usize = 64;
const MOST_TEXT: usize = 256;

words! {
    /// Which part of a boot a rack's step belongs to.
    StepKind {
        /// An address.
        Dhcp = "dhcp",
        /// A loader by TFTP.
        Tftp = "tftp",
        /// A script, loader or image by HTTP.
        Http = "http",
        /// The kernel or initrd of the ephemeral environment.
        Kernel = "kernel",
        /// The agent.
        Agent = "agent",
        /// The installed system.
        Os = "os",
        /// The rack holds a network boot that led nowhere too often.
        Loop = "loop",
    }
}

pub(super) fn required<T>(field: &str, given: Option<T>) -> Result<T> {
    given.ok_or_else(|| Error::invalid(field, "is required"))
}

pub(super) fn new_rack(q: rack::EnrollRequest) -> NewRack {
    NewRack {
        secret: Secret::new(q.secret),
        csr_pem: q.csr_pem,
        address: q.address,
        software_version: q.software_version,
    }
}

pub(super) fn beat(q: rack::HeartbeatRequest) -> Beat {
    Beat {
        address: q.address,
        software_version: q.software_version,
        snapshot: q.snapshot_id,
        intents: q.intents,
        http_port: u16::try_from(q.http_port).ok().filter(|port| *port != 0),
    }
}

pub(super) fn steps(given: Vec<rack::BootStep>) -> Result<Vec<Step>> {
    if given.len() > MOST_STEPS {
        return Err(Error::invalid("steps", format!("at most {MOST_STEPS} at once")));
    }
    given.into_iter().enumerate().map(|(place, step)| one_step(&format!("steps[{place}]"), step)).collect()
}

fn one_step(field: &str, q: rack::BootStep) -> Result<Step> {
    Ok(Step {
        id: parse::text(&format!("{field}.id"), &q.id)?,
        at: time_from_wire(&format!("{field}.at"), q.at)?,
        mac: parse::text(&format!("{field}.mac"), &q.mac)?,
        boot: parse::optional(&format!("{field}.boot_id"), &q.boot_id)?,
        kind: parse::text::<StepKind>(&format!("{field}.kind"), &q.kind)?.to_string(),
        text: q.text,
    })
}

pub(super) fn identity(given: Option<agent::Identity>) -> Result<Identity> {
    let q = required("request.identity", given)?;
    Ok(Identity {
        macs: parse::macs("request.identity.macs", &q.macs)?,
        architecture: parse::architecture("request.identity.architecture", q.architecture)?,
        firmware: convert::firmware_from_wire(q.firmware),
        bmc_address: bmc_address(&q.bmc_address),
    })
}

/// A BMC that was never set up says 0.0.0.0.
fn bmc_address(text: &str) -> Option<Ipv4Addr> {
    text.parse().ok().filter(|a: &Ipv4Addr| !a.is_unspecified())
}

pub(super) fn report(given: Option<report_task_request::Report>) -> Result<Report> {
    use report_task_request::Report as Wire;
    Ok(match required("request.report", given)? {
        Wire::Progress(p) => Report::Progress { done: p.done, total: p.total, unit: p.unit, text: p.text },
        Wire::Failed(f) => Report::Failed(f.reason),
        Wire::Inventory(i) => {
            let identity = i.identity.unwrap_or_default();
            let hardware = hardware(&required("request.report.inventory.hardware", i.hardware)?)?;
            Report::Inventory {
                hardware: Box::new(hardware),
                macs: valid(&identity.macs),
                bmc: bmc_address(&identity.bmc_address),
            }
        }
        Wire::WriteImage(w) => Report::WriteImage {
            disk_name: w.disk_name,
            disk_serial: w.disk_serial,
            written: w.written_bytes,
            sha256: w.read_back_sha256,
        },
        Wire::Erase(e) => Report::Erase(erasures(e.disks)?),
        Wire::PowerOff(_) => Report::PowerOff,
        Wire::RunScripts(r) => Report::RunScripts(told(r.outcomes)?),
        Wire::BmcAccount(b) => {
            Report::BmcAccount { address: parse::ipv4("request.report.bmc_account.address", &b.address)? }
        }
        Wire::OpenSsh(s) => Report::OpenSsh {
            address: parse::text("request.report.open_ssh.address", &s.address)?,
            host_key: cut(&s.host_key),
        },
    })
}

/// The addresses that are some, at most as many as a machine may have.
fn valid(macs: &[String]) -> Vec<MacAddr> {
    macs.iter().take(MOST_NICS).filter_map(|m| MacAddr::from_str(m).ok()).collect()
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MOST_TEXT).collect::<String>().trim().to_owned()
}

/// What the host of a live machine tells: no rest of it is trusted more than an agent's.
pub(super) fn live(hardware_told: Option<v1::Hardware>) -> Result<Hardware> {
    hardware(&required("hardware", hardware_told)?)
}

fn hardware(h: &v1::Hardware) -> Result<Hardware> {
    if h.disks.len() > MOST_DISKS || h.nics.len() > MOST_NICS || h.gpus.len() > MOST_GPUS {
        let why =
            format!("a machine has at most {MOST_DISKS} disks, {MOST_NICS} network interfaces and {MOST_GPUS} GPUs");
        return Err(Error::invalid("request.report.inventory.hardware", why));
    }
    Ok(Hardware {
        vendor: cut(&h.vendor),
        product: cut(&h.product),
        serial: cut(&h.serial),
        uuid: cut(&h.uuid),
        firmware_version: cut(&h.firmware_version),
        cpu_model: cut(&h.cpu_model),
        cpu_cores: h.cpu_cores,
        memory_bytes: h.memory_bytes,
        disks: h.disks.iter().map(disk).collect(),
        nics: h.nics.iter().map(nic).collect(),
        gpus: h.gpus.iter().take(MOST_NICS).map(gpu).collect(),
    })
}

fn gpu(g: &v1::Gpu) -> Gpu {
    Gpu { pci_address: cut(&g.pci_address), vendor_id: cut(&g.vendor_id), device_id: cut(&g.device_id) }
}

fn disk(d: &v1::Disk) -> Disk {
    Disk {
        name: cut(&d.name),
        serial: cut(&d.serial),
        model: cut(&d.model),
        size_bytes: d.size_bytes,
        rotational: d.rotational,
        bus: cut(&d.bus),
        discard: d.discard,
    }
}

fn nic(n: &v1::Nic) -> Nic {
    Nic { name: cut(&n.name), mac: cut(&n.mac), driver: cut(&n.driver), carrier: n.carrier, speed_mbps: n.speed_mbps }
}

fn told(outcomes: Vec<agent::ScriptOutcome>) -> Result<Vec<Told>> {
    let field = "request.report.run_scripts.outcomes";
    if outcomes.len() > MOST_CHOSEN {
        return Err(Error::invalid(field, format!("a task has at most {MOST_CHOSEN} scripts")));
    }
    let one = |(place, o): (usize, agent::ScriptOutcome)| {
        let of = |part: &str| format!("{field}[{place}].{part}");
        let status = match o.status() {
            agent::ScriptStatus::Passed => RunStatus::Passed,
            agent::ScriptStatus::Failed => RunStatus::Failed,
            agent::ScriptStatus::TimedOut => RunStatus::TimedOut,
            agent::ScriptStatus::Skipped => RunStatus::Skipped,
            agent::ScriptStatus::Unspecified => {
                return Err(unknown(&of("status"), RunStatus::ALL.iter().map(|s| s.as_str())));
            }
        };
        let time =
            |part: &str, ms| Timestamp::from_timestamp_millis(ms).ok_or_else(|| Error::invalid(of(part), "is no time"));
        Ok(Told {
            name: o.name,
            status,
            exit_code: o.exit_code,
            output: o.output,
            started_at: time("started_unix_ms", o.started_unix_ms)?,
            finished_at: time("finished_unix_ms", o.finished_unix_ms)?,
        })
    };
    outcomes.into_iter().enumerate().map(one).collect()
}

fn erasures(disks: Vec<v1::DiskErasure>) -> Result<Vec<DiskErasure>> {
    if disks.len() > MOST_DISKS {
        return Err(Error::invalid("request.report.erase.disks", format!("a machine has at most {MOST_DISKS} disks")));
    }
    let one = |(place, d): (usize, v1::DiskErasure)| {
        Ok(DiskErasure {
            disk_serial: cut(&d.disk_serial),
            disk_name: cut(&d.disk_name),
            size_bytes: d.size_bytes,
            method: cut(&d.method),
            sampled_bytes: d.sampled_bytes,
            finished_at: time_from_wire(&format!("request.report.erase.disks[{place}].finished_at"), d.finished_at)?,
        })
    };
    disks.into_iter().enumerate().map(one).collect()
}
