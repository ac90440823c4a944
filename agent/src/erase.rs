//! Erases every disk of the machine, and proves it by reading back.

pub mod plan;
pub mod wipe;

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    sync::Arc,
};

use farrier_proto::{agent, v1};
use nix::libc;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    console::say,
    crash::Point,
    erase::plan::Plan,
    error::TaskError,
    host::Host,
    image::write::capacity,
    job::Job,
    machine::disk::{self, Disk},
};
use farrier_common::{secret::random_bytes, telemetry::Chain};

/// Disks at a time: enough to keep a shelf busy, few enough for a small machine's memory.
const AT_A_TIME: usize = 8;
const MOST_PERMILLE: u32 = 1000;

/// Does the whole task.
///
/// # Errors
/// Any disk that could not be erased, or not be proven to be; all of them are named. The others are erased all the same.
pub async fn run(job: &Job, task: agent::EraseTask) -> Result<agent::EraseResult, TaskError> {
    let permille = task.sample_permille;
    if permille > MOST_PERMILLE {
        return Err(TaskError::failed(format!("sample_permille: must be at most {MOST_PERMILLE}, not {permille}")));
    }
    job.progress.begin("looking for disks", "disks", 0);
    let disks = disk::settled(&job.host).await.map_err(TaskError::io("listing disks"))?;
    if disks.is_empty() {
        return nothing_to_erase(job);
    }
    let total = disks.iter().map(|d| d.size_bytes).sum();
    job.progress.begin(format!("erasing {}", names(&disks)), "bytes", total);
    say(format_args!("erasing {}", names(&disks)));
    job.progress.passes(Point::EraseBegun);
    let (count, slots) = (disks.len(), Arc::new(Semaphore::new(AT_A_TIME)));
    let mut running = JoinSet::new();
    for (order, disk) in disks.into_iter().enumerate() {
        let (job, slots) = (job.clone(), Arc::clone(&slots));
        running.spawn(async move {
            let _slot = slots.acquire_owned().await;
            // The serial is what the person goes by who pulls it out.
            let name = format!("{} ({})", disk.name, disk.serial);
            let outcome = crate::job::blocking(move || one(&job, &disk, permille)).await;
            (order, name, outcome)
        });
    }
    let (mut erased, mut failures, mut stopped) = (Vec::new(), Vec::new(), false);
    while let Some(ended) = running.join_next().await {
        let (order, name, outcome) = ended.map_err(|e| TaskError::failed(format!("the agent crashed: {e}")))?;
        match outcome {
            Ok(erasure) => erased.push((order, erasure)),
            Err(TaskError::Stopped) => stopped = true,
            Err(error) => failures.push(format!("{name}: {}", Chain(&error))),
        }
        job.progress.say(format!("{} of {count} disks erased, {} failed", erased.len(), failures.len()));
    }
    if stopped {
        return Err(TaskError::Stopped);
    }
    if !failures.is_empty() {
        failures.sort();
        return Err(TaskError::failed(format!(
            "{} of {count} disks not erased: {}",
            failures.len(),
            failures.join("; ")
        )));
    }
    erased.sort_by_key(|(order, _)| *order);
    Ok(agent::EraseResult { disks: erased.into_iter().map(|(_, erasure)| erasure).collect() })
}

fn one(job: &Job, disk: &Disk, permille: u32) -> Result<v1::DiskErasure, TaskError> {
    let path = job.host.dev(&disk.name);
    // Exclusive: the kernel refuses if any part of the disk is mounted or held.
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_EXCL).open(&path);
    let file = file.map_err(TaskError::io(format!("opening {} for exclusive use", path.display())))?;
    let size = capacity(&file)?;
    let plan = Plan::new(size, permille, u64::from_le_bytes(random_bytes()));
    let done = wipe::erase(&disk.name, &file, &plan, wipe::means(disk.discard), &job.progress)?;
    say(format_args!(
        "erased {} (serial {:?}) by {}, {} bytes read back blank",
        disk.name, disk.serial, done.method, done.sampled_bytes
    ));
    let now = job.clock.now();
    let nanos = i32::try_from(now.timestamp_subsec_nanos()).unwrap_or(0);
    Ok(v1::DiskErasure {
        disk_serial: disk.serial.clone(),
        disk_name: disk.name.clone(),
        size_bytes: size,
        method: done.method.to_string(),
        sampled_bytes: done.sampled_bytes,
        finished_at: Some(prost_types::Timestamp { seconds: now.timestamp(), nanos }),
    })
}

/// A machine without disks is erased already; one whose storage controller has no driver only seems to have none.
fn nothing_to_erase(job: &Job) -> Result<agent::EraseResult, TaskError> {
    let idle = idle_controllers(&job.host).map_err(TaskError::io("listing storage controllers"))?;
    if !idle.is_empty() {
        let which = idle.join(", ");
        return Err(TaskError::failed(format!(
            "no disk is to be seen, but these storage controllers have no driver: {which}"
        )));
    }
    job.progress.begin("the machine has no disk", "disks", 0);
    say("the machine has no disk: there is nothing to erase");
    Ok(agent::EraseResult::default())
}

/// PCI devices of class "mass storage" that no driver took, with vendor and device id.
fn idle_controllers(host: &Host) -> std::io::Result<Vec<String>> {
    let storage = |slot: &String| host.attribute(format!("bus/pci/devices/{slot}/class")).starts_with("0x01");
    let idle = |slot: &String| fs::symlink_metadata(host.sys(format!("bus/pci/devices/{slot}/driver"))).is_err();
    let id = |slot: &String, what| host.attribute(format!("bus/pci/devices/{slot}/{what}"));
    let slots = host.names("bus/pci/devices")?;
    let found = slots.iter().filter(|s| storage(s) && idle(s));
    Ok(found.map(|s| format!("{s} ({} {})", id(s, "vendor"), id(s, "device"))).collect())
}

fn names(disks: &[Disk]) -> String {
    disks.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
