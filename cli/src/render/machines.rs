//! Machines.

use chrono::{DateTime, Utc};
use farrier_proto::v1::{
    DiskErasure, Explanation, Hardware, Lock, Machine, MachineIntent, MachineStatus, TimelineEntry,
};
use serde_json::{Value, json};

use super::{
    bmc, explain, layouts,
    table::{Fit, Page, cell, table},
    words::{self, filled, rfc3339},
};

/// One machine for programs.
pub(crate) fn json(machine: &Machine) -> Value {
    let intent = machine.intent.clone().unwrap_or_default();
    let status = machine.status.clone().unwrap_or_default();
    json!({
        "id": machine.id,
        "name": machine.name,
        "state": words::state(status.state),
        "phase": filled(&status.phase),
        "reason": filled(&status.reason),
        "since": rfc3339(status.since.as_ref()),
        "deadline": rfc3339(status.deadline.as_ref()),
        "power": words::power(status.power),
        "power_observed_at": rfc3339(status.power_observed_at.as_ref()),
        "owner": filled(&intent.owner),
        "lease_expires_at": rfc3339(intent.lease_expires_at.as_ref()),
        "image": filled(&intent.image),
        "pool": filled(&intent.pool),
        "zone": filled(&intent.zone),
        "tags": intent.tags,
        "notes": filled(&intent.notes),
        "lock": intent.lock.as_ref().map(lock_json),
        "architecture": words::architecture(status.architecture),
        "firmware": words::firmware(status.firmware),
        "rack": filled(&status.rack),
        "interfaces": status.interfaces.iter().map(|i| json!({
            "mac": i.mac,
            "address": filled(&i.address),
            "boot": i.boot,
        })).collect::<Vec<_>>(),
        "bmc": intent.bmc.as_ref().map(bmc::json),
        "manual": intent.manual,
        "hardware": status.hardware.as_ref().map(hardware_json),
        "script_results": status.script_results.iter().map(super::scripts::brief_json).collect::<Vec<_>>(),
        "last_erase": status.last_erase.iter().map(erasure_json).collect::<Vec<_>>(),
        "rescue_from": filled(&status.rescue_from),
        "rescue_address": filled(&status.rescue_address),
        "rescue_host_key": filled(&status.rescue_host_key),
        "agent_heard_at": rfc3339(status.agent_heard_at.as_ref()),
        "storage": intent.storage,
        "network": intent.network,
        "labels": machine.labels,
        "etag": machine.etag,
        "created_at": rfc3339(status.created_at.as_ref()),
        "updated_at": rfc3339(status.updated_at.as_ref()),
    })
}

/// A list for programs. The revision is that of the first page: watching from there misses nothing.
pub(crate) fn list_json(machines: &[Machine], revision: i64) -> Value {
    json!({ "machines": machines.iter().map(json).collect::<Vec<_>>(), "revision": revision })
}

/// An explanation for programs.
pub(crate) fn explanation_json(explanation: &Explanation) -> Value {
    json!({
        "machine": explanation.machine.as_ref().map(json),
        "allowed_verbs": explanation.allowed_verbs,
        "next_step": filled(&explanation.next_step),
        "next_attempt": rfc3339(explanation.next_attempt.as_ref()),
        "attempts": explanation.attempts,
        "last_error": filled(&explanation.last_error),
        "timeline": explanation.timeline.iter().map(|e| json!({
            "at": rfc3339(e.at.as_ref()),
            "kind": e.kind,
            "text": e.text,
            "boot_id": filled(&e.boot_id),
        })).collect::<Vec<_>>(),
        "why": explain::json(explanation),
    })
}

/// One line about a machine, for the answer to a verb.
pub(crate) fn summary(machine: &Machine) -> String {
    let status = machine.status.clone().unwrap_or_default();
    let reason = filled(&status.reason).map_or_else(String::new, |r| format!(": {}", cell(r.to_owned())));
    format!("{} is {}{reason}", machine.name, words::place(status.state, &status.phase))
}

/// One line about a machine's lock.
pub(crate) fn lock_summary(machine: &Machine, now: DateTime<Utc>) -> String {
    let lock = machine.intent.as_ref().and_then(|i| i.lock.as_ref());
    let told = lock.map_or_else(|| "not locked".to_owned(), |lock| format!("locked {}", lock_text(lock, now)));
    format!("{} is {}", machine.name, cell(told))
}

/// One line about a machine's power.
pub(crate) fn power_summary(machine: &Machine, now: DateTime<Utc>) -> String {
    let status = machine.status.clone().unwrap_or_default();
    let power = words::power(status.power).unwrap_or_else(|| "unknown".to_owned());
    let seen = words::with_age(status.power_observed_at.as_ref(), now);
    format!("{}: power is {power}{}", machine.name, seen.map_or_else(String::new, |s| format!(", seen {s}")))
}

/// A list for people.
pub(crate) fn list_table(machines: &[Machine], width: Option<u16>) -> String {
    let columns = [
        ("NAME", Fit::Whole),
        ("STATE", Fit::Whole),
        ("PHASE", Fit::Wraps),
        ("POWER", Fit::Whole),
        ("OWNER", Fit::Whole),
        ("ARCH", Fit::Spare),
        ("MAC", Fit::Spare),
        ("RACK", Fit::Spare),
        ("POOL", Fit::Spare),
        ("ZONE", Fit::Spare),
        ("TAGS", Fit::Spare),
        ("REASON", Fit::Wraps),
    ];
    table(width, &columns, machines.iter().map(list_row).collect())
}

fn list_row(machine: &Machine) -> Vec<String> {
    let status = machine.status.clone().unwrap_or_default();
    let intent = machine.intent.clone().unwrap_or_default();
    let state = words::state(status.state);
    let state = if intent.lock.is_some() { state.map(|s| s + " (locked)") } else { state };
    let mac = status.interfaces.iter().find(|i| i.boot).or(status.interfaces.first()).map(|i| i.mac.clone());
    vec![
        cell(machine.name.clone()),
        cell(state),
        cell(status.phase),
        cell(words::power(status.power).unwrap_or_else(|| "unknown".to_owned())),
        cell(intent.owner),
        cell(words::architecture(status.architecture)),
        cell(mac),
        cell(status.rack),
        cell(intent.pool),
        cell(intent.zone),
        cell(intent.tags.join(",")),
        cell(status.reason),
    ]
}

/// Everything about a machine, for people.
pub(crate) fn page(machine: &Machine, now: DateTime<Utc>, width: Option<u16>) -> String {
    let intent = machine.intent.clone().unwrap_or_default();
    let status = machine.status.clone().unwrap_or_default();
    let mut page = head(machine, &intent, &status, now);
    if let Some(hardware) = &status.hardware {
        page = hardware_pairs(page, hardware);
    }
    let inner = width.map(|w| w.saturating_sub(2));
    page = page.section("Interfaces", &interfaces_table(&status, inner));
    if let Some(hardware) = status.hardware.as_ref().filter(|h| !h.disks.is_empty()) {
        page = page.section("Disks", &disks_table(hardware, inner));
    }
    if !status.script_results.is_empty() {
        page = page.section("Scripts", &super::scripts::results_table(&status.script_results, inner));
    }
    if !status.last_erase.is_empty() {
        page = page.section("Last erase", &erasures_table(&status.last_erase, inner));
    }
    page.text()
}

fn head(machine: &Machine, intent: &MachineIntent, status: &MachineStatus, now: DateTime<Utc>) -> Page {
    let mut labels: Vec<_> = machine.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    labels.sort();
    let age = |at| words::with_age(at, now);
    let power = words::power(status.power).unwrap_or_else(|| "unknown".to_owned());
    let seen = age(status.power_observed_at.as_ref()).map_or_else(String::new, |s| format!(", seen {s}"));
    Page::default()
        .pair("Name", machine.name.clone())
        .pair("Id", machine.id.clone())
        .pair("State", words::state(status.state))
        .pair_if("Phase", Some(status.phase.clone()))
        .pair_if("Locked", intent.lock.as_ref().map(|lock| lock_text(lock, now)))
        .pair("Reason", status.reason.clone())
        .pair("Since", age(status.since.as_ref()))
        .pair_if("Deadline", age(status.deadline.as_ref()))
        .pair_if("Rescued from", Some(status.rescue_from.clone()))
        .pair_if("SSH", Some(ssh(status)))
        .pair_if("Host key", Some(status.rescue_host_key.clone()))
        .pair_if("Agent heard", age(status.agent_heard_at.as_ref()))
        .pair("Power", format!("{power}{seen}"))
        .pair("Owner", intent.owner.clone())
        .pair_if("Lease ends", rfc3339(intent.lease_expires_at.as_ref()))
        .pair("Image", intent.image.clone())
        .pair_if("Pool", Some(intent.pool.clone()))
        .pair_if("Zone", Some(intent.zone.clone()))
        .pair_if("Tags", Some(intent.tags.join(", ")))
        .pair("Architecture", words::architecture(status.architecture))
        .pair("Firmware", words::firmware(status.firmware))
        .pair("Rack", status.rack.clone())
        .pair("BMC", intent.bmc.as_ref().map(bmc::line).or_else(|| intent.manual.then(bmc::by_hand)))
        .pair_if("Declared storage", intent.storage.as_ref().map(layouts::storage_line))
        .pair_if("Declared network", intent.network.as_ref().map(layouts::network_line))
        .pair_if("Labels", Some(labels.join(", ")))
        .pair_if("Notes", Some(intent.notes.clone()))
        .pair("Created", age(status.created_at.as_ref()))
        .pair("Updated", age(status.updated_at.as_ref()))
}

/// How to log in to the ephemeral environment; empty if nobody can.
fn ssh(status: &MachineStatus) -> String {
    match status.rescue_address.rsplit_once(':') {
        None => String::new(),
        Some((host, "22")) => format!("ssh root@{host}"),
        Some((host, port)) => format!("ssh -p {port} root@{host}"),
    }
}

/// Why a machine is where it is, for people.
pub(crate) fn explanation_page(explanation: &Explanation, now: DateTime<Utc>, width: Option<u16>) -> String {
    let machine = explanation.machine.clone().unwrap_or_default();
    let status = machine.status.clone().unwrap_or_default();
    let attempts = (explanation.attempts > 0).then(|| explanation.attempts.to_string());
    let allowed = explanation.allowed_verbs.join(", ");
    let page = Page::default()
        .pair("Machine", machine.name.clone())
        .pair("State", words::place(status.state, &status.phase))
        .pair("Why", status.reason.clone())
        .pair_if("Reason", filled(&explanation.reason_code).map(|c| format!("{c}: {}", explanation.meaning)))
        .pair_if("What to do", filled(&explanation.remedy).map(str::to_owned))
        .pair("Since", words::with_age(status.since.as_ref(), now))
        .pair_if("Trouble since", words::with_age(explanation.trouble_since.as_ref(), now))
        .pair("Deadline", words::with_age(status.deadline.as_ref(), now))
        .pair_if("Rescued from", Some(status.rescue_from.clone()))
        .pair_if("SSH", Some(ssh(&status)))
        .pair_if("Host key", Some(status.rescue_host_key.clone()))
        .pair_if("Agent heard", words::with_age(status.agent_heard_at.as_ref(), now))
        .pair("Allowed now", allowed)
        .pair("Next step", explanation.next_step.clone())
        .pair_if("Next attempt", words::with_age(explanation.next_attempt.as_ref(), now))
        .pair_if("Failed tries", attempts)
        .pair("Last error", explanation.last_error.clone());
    let inner = width.map(|w| w.saturating_sub(2));
    let page = if explanation.exchanges.is_empty() {
        page
    } else {
        page.section("Last exchanges", &explain::exchanges(&explanation.exchanges, inner))
    };
    let page = if explanation.boot_stages.is_empty() {
        page
    } else {
        page.section("Boot", &explain::stages(&explanation.boot_stages, inner))
    };
    page.section("Timeline", &timeline_table(&explanation.timeline, inner)).text()
}

fn timeline_table(timeline: &[TimelineEntry], width: Option<u16>) -> String {
    let columns = [("TIME", Fit::Whole), ("+SECONDS", Fit::Whole), ("KIND", Fit::Whole), ("TEXT", Fit::Wraps)];
    let mut before: Option<DateTime<Utc>> = None;
    let rows = timeline.iter().map(|entry| {
        let at = words::time(entry.at.as_ref());
        // Seconds after the entry above: a wait stands out.
        let step = before.zip(at).map(|(b, a)| format!("+{}.{}", (a - b).num_seconds(), tenths(a - b)));
        before = at.or(before);
        vec![cell(words::seconds(entry.at.as_ref())), cell(step), cell(entry.kind.clone()), cell(entry.text.clone())]
    });
    table(width, &columns, rows.collect())
}

fn tenths(span: chrono::TimeDelta) -> i64 {
    span.num_milliseconds().unsigned_abs().cast_signed() % 1000 / 100
}

// === lock, BMC, hardware, interfaces, disks ===

fn lock_json(lock: &Lock) -> Value {
    json!({ "by": lock.by, "since": rfc3339(lock.since.as_ref()), "comment": filled(&lock.comment) })
}

fn lock_text(lock: &Lock, now: DateTime<Utc>) -> String {
    let since = words::with_age(lock.since.as_ref(), now).map_or_else(String::new, |s| format!(" since {s}"));
    let why = filled(&lock.comment).map_or_else(String::new, |why| format!(": {why}"));
    format!("by {}{since}{why}", lock.by)
}

fn hardware_json(hardware: &Hardware) -> Value {
    json!({
        "vendor": hardware.vendor,
        "product": hardware.product,
        "serial": hardware.serial,
        "uuid": hardware.uuid,
        "firmware_version": hardware.firmware_version,
        "cpu_model": hardware.cpu_model,
        "cpu_cores": hardware.cpu_cores,
        "memory_bytes": hardware.memory_bytes,
        "disks": hardware.disks.iter().map(|d| json!({
            "name": d.name,
            "serial": d.serial,
            "model": d.model,
            "size_bytes": d.size_bytes,
            "rotational": d.rotational,
            "bus": d.bus,
            "discard": d.discard,
        })).collect::<Vec<_>>(),
        "nics": hardware.nics.iter().map(|n| json!({
            "name": n.name,
            "mac": n.mac,
            "driver": n.driver,
            "carrier": n.carrier,
            "speed_mbps": n.speed_mbps,
        })).collect::<Vec<_>>(),
        "gpus": hardware.gpus.iter().map(|g| json!({
            "pci_address": g.pci_address,
            "vendor_id": g.vendor_id,
            "device_id": g.device_id,
        })).collect::<Vec<_>>(),
    })
}

fn hardware_pairs(page: Page, hardware: &Hardware) -> Page {
    let joined = |parts: &[&str]| parts.iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join(" ");
    page.pair("System", joined(&[&hardware.vendor, &hardware.product]))
        .pair("Serial", hardware.serial.clone())
        .pair("System UUID", hardware.uuid.clone())
        .pair("Firmware version", hardware.firmware_version.clone())
        .pair("CPU", format!("{} x {}", hardware.cpu_cores, joined(&[&hardware.cpu_model])))
        .pair("Memory", words::size(hardware.memory_bytes))
        .pair_if("GPUs", gpus(hardware))
}

fn gpus(hardware: &Hardware) -> Option<String> {
    let each = hardware.gpus.iter().map(|g| format!("{} ({}:{})", g.pci_address, g.vendor_id, g.device_id));
    Some(each.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
}

/// The interfaces that Farrier knows, with what the inventory says of them, then those that only the inventory knows.
fn interfaces_table(status: &MachineStatus, width: Option<u16>) -> String {
    let columns = [
        ("MAC", Fit::Whole),
        ("ADDRESS", Fit::Whole),
        ("BOOT", Fit::Whole),
        ("NAME", Fit::Whole),
        ("DRIVER", Fit::Whole),
        ("LINK", Fit::Whole),
    ];
    let nics = status.hardware.as_ref().map_or(&[][..], |h| &h.nics);
    let found = |mac: &str| {
        let nic = nics.iter().find(|n| n.mac == mac);
        let link = nic.map(|n| match (n.carrier, n.speed_mbps) {
            (false, _) => "down".to_owned(),
            (true, 0) => "up".to_owned(),
            (true, mbps) => format!("{mbps} Mb/s"),
        });
        [cell(nic.map(|n| n.name.clone())), cell(nic.map(|n| n.driver.clone())), cell(link)]
    };
    let known = status.interfaces.iter().map(|i| {
        let boot = if i.boot { "yes" } else { "no" };
        let address = filled(&i.address).unwrap_or("dynamic").to_owned();
        [vec![cell(i.mac.clone()), cell(address), boot.to_owned()], found(&i.mac).to_vec()].concat()
    });
    let others = nics.iter().filter(|n| !status.interfaces.iter().any(|i| i.mac == n.mac));
    let others = others.map(|n| [vec![cell(n.mac.clone()), cell(None), cell(None)], found(&n.mac).to_vec()].concat());
    table(width, &columns, known.chain(others).collect())
}

fn disks_table(hardware: &Hardware, width: Option<u16>) -> String {
    let columns = [
        ("NAME", Fit::Whole),
        ("SIZE", Fit::Whole),
        ("BUS", Fit::Whole),
        ("KIND", Fit::Whole),
        ("SERIAL", Fit::Whole),
        ("MODEL", Fit::Wraps),
    ];
    let rows = hardware.disks.iter().map(|d| {
        let kind = if d.rotational { "rotating" } else { "solid" };
        let size = words::size(d.size_bytes);
        vec![
            cell(d.name.clone()),
            size,
            cell(d.bus.clone()),
            kind.to_owned(),
            cell(d.serial.clone()),
            cell(d.model.clone()),
        ]
    });
    table(width, &columns, rows.collect())
}

fn erasure_json(erasure: &DiskErasure) -> Value {
    json!({
        "disk_serial": erasure.disk_serial,
        "disk_name": erasure.disk_name,
        "size_bytes": erasure.size_bytes,
        "method": erasure.method,
        "sampled_bytes": erasure.sampled_bytes,
        "finished_at": rfc3339(erasure.finished_at.as_ref()),
    })
}

fn erasures_table(erasures: &[DiskErasure], width: Option<u16>) -> String {
    let columns = [
        ("DISK", Fit::Whole),
        ("SERIAL", Fit::Whole),
        ("SIZE", Fit::Whole),
        ("METHOD", Fit::Whole),
        ("READ BACK", Fit::Whole),
        ("FINISHED", Fit::Whole),
    ];
    let rows = erasures.iter().map(|e| {
        vec![
            cell(e.disk_name.clone()),
            cell(e.disk_serial.clone()),
            words::size(e.size_bytes),
            cell(e.method.clone()),
            words::size(e.sampled_bytes),
            cell(words::seconds(e.finished_at.as_ref())),
        ]
    });
    table(width, &columns, rows.collect())
}

#[cfg(test)]
mod tests;
