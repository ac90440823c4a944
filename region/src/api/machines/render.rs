//! Machines on the wire.

use farrier_common::{
    clock::Timestamp,
    hardware::{Architecture, Firmware},
};
use farrier_proto::{convert, v1};

use super::layouts;
use crate::{
    api::words::{state_to_wire, time_to_wire},
    app::machines::{Deleted, Explanation, Live},
    domain::{
        bmc::{Bmc, BmcFacts},
        boot_stages::Stage,
        machine::{Disk, DiskErasure, Gpu, Hardware, Interface, Lock, Machine, Nic},
        script::Run,
    },
    store::{MachineView, TimelineRow},
};

/// A machine.
pub(super) fn machine(view: &MachineView) -> v1::Machine {
    let m = &view.machine;
    v1::Machine {
        id: m.id.to_string(),
        name: m.name.to_string(),
        intent: Some(intent(view)),
        status: Some(status(view)),
        etag: m.etag(),
        labels: m.details.labels.clone().into_iter().collect(),
    }
}

/// A machine with what its scripts did last.
pub(super) fn with_runs(view: &MachineView, runs: &[Run]) -> v1::Machine {
    let mut machine = machine(view);
    if let Some(status) = &mut machine.status {
        status.script_results = runs.iter().map(crate::api::scripts::run).collect();
    }
    machine
}

/// The basic view of a machine: without what is long.
pub(super) fn brief(view: &MachineView) -> v1::Machine {
    let mut machine = machine(view);
    if let Some(status) = &mut machine.status {
        status.hardware = None;
        status.last_erase.clear();
        status.script_results.clear();
    }
    if let Some(intent) = &mut machine.intent {
        intent.storage = None;
        intent.network = None;
        intent.notes.clear();
    }
    machine
}

pub(super) fn explanation(told: Explanation) -> v1::Explanation {
    let m = &told.view.machine;
    v1::Explanation {
        allowed_verbs: told.allowed.iter().map(ToString::to_string).collect(),
        next_step: told.next_step,
        next_attempt: told.next_attempt.map(time_to_wire),
        attempts: m.work.attempts,
        last_error: m.work.last_error.clone().unwrap_or_default(),
        machine: Some(machine(&told.view)),
        timeline: told.timeline.into_iter().map(entry).collect(),
        trouble_since: m.details.trouble_since.map(time_to_wire),
        reason_code: m.code.to_string(),
        meaning: m.code.meaning().to_owned(),
        remedy: m.code.remedy().to_owned(),
        exchanges: told.exchanges.into_iter().map(exchange).collect(),
        boot_stages: told.stages.into_iter().map(stage).collect(),
    }
}

fn intent(view: &MachineView) -> v1::MachineIntent {
    let details = &view.machine.details;
    v1::MachineIntent {
        owner: view.owner.as_ref().map(ToString::to_string).unwrap_or_default(),
        image: details.deployment.as_ref().map(|d| d.image.clone()).unwrap_or_default(),
        bmc: details.bmc.as_ref().map(endpoint),
        manual: details.manual,
        project: view.project.as_ref().map(ToString::to_string).unwrap_or_default(),
        pool: view.pool.to_string(),
        zone: view.machine.zone.to_string(),
        tags: view.machine.tags.iter().map(ToString::to_string).collect(),
        notes: details.notes.clone(),
        lock: details.lock.as_ref().map(lock),
        storage: details.storage.as_ref().map(layouts::storage),
        network: details.network.as_ref().map(layouts::network),
        lease_expires_at: details.lease_expires.map(time_to_wire),
    }
}

fn lock(lock: &Lock) -> v1::Lock {
    v1::Lock { by: lock.by.clone(), since: Some(time_to_wire(lock.since)), comment: lock.comment.clone() }
}

pub(in super::super) fn endpoint(bmc: &Bmc) -> v1::BmcEndpoint {
    v1::BmcEndpoint {
        protocol: bmc.protocol.map_or(0, |p| convert::protocol_to_wire(p).into()),
        address: bmc.address.to_string(),
        port: bmc.port.into(),
        username: bmc.username.clone(),
        managed_account: bmc.managed,
        certificate_sha256: bmc.certificate.map(|c| c.to_string()).unwrap_or_default(),
        system: bmc.system.clone(),
        webhook: bmc.webhook.clone().map(convert::webhook_to_wire),
        facts: bmc.facts.as_ref().map(bmc_facts),
    }
}

fn bmc_facts(facts: &BmcFacts) -> v1::BmcFacts {
    v1::BmcFacts {
        observed_at: Some(time_to_wire(facts.observed_at)),
        vendor: facts.vendor.clone(),
        product: facts.product.clone(),
        firmware_version: facts.firmware_version.clone(),
        capabilities: facts.capabilities.clone(),
        speaks: facts.speaks.iter().map(|p| convert::protocol_to_wire(*p).into()).collect(),
        because: facts.because.clone(),
        cipher_suite: facts.cipher_suite.into(),
        rules: facts.rules.clone(),
    }
}

fn status(view: &MachineView) -> v1::MachineStatus {
    let m = &view.machine;
    let (power, observed) = power(m);
    v1::MachineStatus {
        state: state_to_wire(m.state),
        phase: m.work.phase.map(|p| p.to_string()).unwrap_or_default(),
        reason: m.reason.clone(),
        reason_code: m.code.to_string(),
        since: Some(time_to_wire(m.since)),
        deadline: m.deadline.map(time_to_wire),
        power: power.into(),
        power_observed_at: observed,
        architecture: architecture(m.architecture).into(),
        firmware: m.firmware.map_or(v1::Firmware::Unspecified, firmware).into(),
        rack: view.rack.as_ref().map(ToString::to_string).unwrap_or_default(),
        interfaces: m.interfaces.iter().enumerate().map(interface).collect(),
        hardware: m.details.hardware.as_ref().map(hardware),
        created_at: Some(time_to_wire(m.created_at)),
        updated_at: Some(time_to_wire(m.updated_at)),
        last_erase: m.details.last_erase.iter().map(erasure).collect(),
        rescue_from: m.details.rescue_from.map(|from| from.to_string()).unwrap_or_default(),
        rescue_address: m.details.ssh.address.clone(),
        rescue_host_key: m.details.ssh.host_key.clone(),
        agent_heard_at: view.heard_at.map(time_to_wire),
        ..v1::MachineStatus::default()
    }
}

fn power(m: &Machine) -> (v1::PowerState, Option<prost_types::Timestamp>) {
    match m.power {
        Some((power, at)) => (convert::power_to_wire(power), Some(time_to_wire(at))),
        None => (v1::PowerState::Unspecified, None),
    }
}

const fn architecture(word: Architecture) -> v1::Architecture {
    convert::architecture_to_wire(word)
}

const fn firmware(word: Firmware) -> v1::Firmware {
    convert::firmware_to_wire(word)
}

fn interface((place, i): (usize, &Interface)) -> v1::NetworkInterface {
    v1::NetworkInterface {
        mac: i.mac.to_string(),
        address: i.address.map(|a| a.to_string()).unwrap_or_default(),
        boot: place == 0,
    }
}

fn hardware(h: &Hardware) -> v1::Hardware {
    v1::Hardware {
        vendor: h.vendor.clone(),
        product: h.product.clone(),
        serial: h.serial.clone(),
        uuid: h.uuid.clone(),
        firmware_version: h.firmware_version.clone(),
        cpu_model: h.cpu_model.clone(),
        cpu_cores: h.cpu_cores,
        memory_bytes: h.memory_bytes,
        disks: h.disks.iter().map(disk).collect(),
        nics: h.nics.iter().map(nic).collect(),
        gpus: h.gpus.iter().map(gpu).collect(),
    }
}

fn gpu(g: &Gpu) -> v1::Gpu {
    v1::Gpu { pci_address: g.pci_address.clone(), vendor_id: g.vendor_id.clone(), device_id: g.device_id.clone() }
}

fn disk(d: &Disk) -> v1::Disk {
    v1::Disk {
        name: d.name.clone(),
        serial: d.serial.clone(),
        model: d.model.clone(),
        size_bytes: d.size_bytes,
        rotational: d.rotational,
        bus: d.bus.clone(),
        discard: d.discard,
    }
}

fn nic(n: &Nic) -> v1::Nic {
    v1::Nic {
        name: n.name.clone(),
        mac: n.mac.clone(),
        driver: n.driver.clone(),
        carrier: n.carrier,
        speed_mbps: n.speed_mbps,
    }
}

fn erasure(e: &DiskErasure) -> v1::DiskErasure {
    v1::DiskErasure {
        disk_serial: e.disk_serial.clone(),
        disk_name: e.disk_name.clone(),
        size_bytes: e.size_bytes,
        method: e.method.clone(),
        sampled_bytes: e.sampled_bytes,
        finished_at: Some(time_to_wire(e.finished_at)),
    }
}

/// A live machine that was added; without its script.
pub(super) fn live(live: &Live) -> v1::AddLiveMachineResponse {
    v1::AddLiveMachineResponse {
        machine: Some(machine(&live.view)),
        script: String::new(),
        expires_at: Some(time_to_wire(live.expires_at)),
    }
}

/// What was given back with a machine.
pub(super) fn deleted(d: &Deleted) -> v1::DeleteMachineResponse {
    v1::DeleteMachineResponse {
        machine_id: d.id.clone(),
        machine_name: d.name.clone(),
        bmc_account: d.account.word().to_owned(),
        detail: d.account.detail().to_owned(),
        released_addresses: d.gone.addresses.iter().map(ToString::to_string).collect(),
        deleted_credentials: u32::try_from(d.gone.secrets).unwrap_or(u32::MAX),
    }
}

fn exchange((with, at, text): (&'static str, Timestamp, String)) -> v1::Exchange {
    v1::Exchange { with: with.to_owned(), at: Some(time_to_wire(at)), text }
}

fn stage(stage: Stage) -> v1::BootStage {
    let lasted = stage.lasted.map_or(0, |l| u64::try_from(l.num_milliseconds()).unwrap_or(0).max(1));
    v1::BootStage { stage: stage.name, began_at: Some(time_to_wire(stage.began)), lasted_ms: lasted }
}

fn entry(row: TimelineRow) -> v1::TimelineEntry {
    v1::TimelineEntry {
        at: Some(time_to_wire(row.at)),
        kind: row.kind,
        text: row.text,
        boot_id: row.boot.map(|b| b.to_string()).unwrap_or_default(),
    }
}
