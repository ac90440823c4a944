//! The tasks, done to the simulated hardware.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use chrono::TimeDelta;
use farrier_common::secret::Secret;
use farrier_proto::{
    agent::{
        BmcAccountResult, BmcAccountTask, EraseResult, EraseTask, InventoryResult, OpenSshResult, OpenSshTask,
        RunScriptsResult, RunScriptsTask, ScriptOutcome, ScriptStatus, WriteImageResult, WriteImageTask,
        report_task_request::Report,
    },
    v1,
};

use super::{Agent, Session, cmdline::Options, image::Download};
use crate::{
    accounts::{Access, PasswordForm, Privilege},
    boot::{Source, lease::Lease},
    disk::{Disk, Installed},
    machine::fault::{DiskWork, Fault, Faults},
};

/// How a task ends that does not succeed.
pub(super) enum Broken {
    /// It cannot be done, and why.
    Task(String),
    /// The machine died over it.
    Machine,
}

/// How far a task is.
#[derive(Debug, Default)]
pub(super) struct Done(AtomicU64);

impl Done {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Until controllers have found their disks.
const SETTLE: Duration = Duration::from_secs(3);
/// Per disk: what a discard of everything takes, and looking at what is left.
const ERASE: Duration = Duration::from_secs(20);
/// Per script or test.
const SCRIPT: Duration = Duration::from_secs(10);
/// Both ends of a disk are read back whatever the share is.
const ENDS: u64 = 32 << 20;

impl Agent<'_> {
    pub(super) async fn inventory(&mut self, options: &Options) -> Result<Report, Broken> {
        self.work_for(SETTLE).await;
        let hardware = Some(self.hardware.inventory(self.disks));
        Ok(Report::Inventory(InventoryResult { hardware, identity: Some(self.identity(options)) }))
    }

    pub(super) async fn write_image(
        &mut self,
        options: &Options,
        session: &Session,
        lease: &Lease,
        task: WriteImageTask,
        done: &Done,
    ) -> Result<Report, Broken> {
        let failed = |why: String| Broken::Task(why);
        let blob = task.blob.ok_or_else(|| failed("blob: is missing".to_owned()))?;
        let seed = task.seed.ok_or_else(|| failed("seed: is missing".to_owned()))?;
        self.work_for(SETTLE).await;
        let n = self.disks.choose(&task.disk_serial, blob.content_size_bytes).map_err(failed)?;
        let disk = self.disks.list().swap_remove(n);
        self.disks.tear(n);
        if self.faults.disk_fails(&disk.serial, DiskWork::Write) {
            return Err(failed(format!("writing the disk {}: Input/output error (os error 5)", disk.name)));
        }
        let bearer = Secret::new(format!("{}.{}", session.boot_id, session.secret.expose()));
        let download = Download {
            from: matches!(self.network.source, Source::Leased).then_some(lease.address),
            url: format!("{}/blobs/{}", options.http, blob.sha256),
            bearer,
            blob: &blob,
            patience: self.patience.image,
            done,
            dies_at: dies_at(self.faults, blob.size_bytes),
        };
        let read_back_sha256 = download.run(&self.network.seen).await?;
        if self.faults.disk_fails(&disk.serial, DiskWork::ReadBack) {
            return Err(failed("the disk does not hold what was written".to_owned()));
        }
        let boot_id = session.boot_id;
        self.disks.install(n, Installed { content_sha256: read_back_sha256.clone(), seed, boot_id });
        Ok(Report::WriteImage(WriteImageResult {
            disk_name: disk.name,
            disk_serial: disk.serial,
            written_bytes: blob.content_size_bytes,
            read_back_sha256,
        }))
    }

    /// As people would see it: where the server listens, and by which key it is known.
    pub(super) fn open_ssh(&mut self, task: &OpenSshTask, lease: &Lease) -> Result<Report, Broken> {
        if task.keys.is_empty() {
            return Err(Broken::Task("keys: at least one is needed".to_owned()));
        }
        if self.faults.take(|fault| matches!(fault, Fault::SshFails).then_some(())).is_some() {
            return Err(Broken::Task("the SSH server does not answer: Connection refused (os error 111)".to_owned()));
        }
        let host_key = format!("SHA256:{}", hex::encode(self.dice.bytes::<16>()));
        Ok(Report::OpenSsh(OpenSshResult { address: format!("{}:22", lease.address), host_key }))
    }

    /// Makes the account through the kernel: what the BMC holds is changed without any login.
    pub(super) fn bmc_account(&self, task: &BmcAccountTask) -> Result<Report, Broken> {
        let failed = |why: String| Broken::Task(why);
        let bmc = self.bmc.ok_or_else(|| failed("the machine offers no IPMI device".to_owned()))?;
        let mut users = bmc.lock().expect("nobody panics with it");
        let there = users.named(&task.username).next().map(|user| user.slot);
        let made = match there {
            Some(_) if users.takes(&task.username, &task.password) => Ok(()),
            Some(slot) if task.take_over => users
                .set_password(slot, task.password.as_bytes(), PasswordForm::Sixteen)
                .and_then(|()| users.set_access(slot, Access::ADMINISTRATOR))
                .and_then(|()| users.enable(slot, true)),
            Some(slot) => return Err(failed(format!("user {:?} is in slot {slot} already", task.username))),
            None => users.create(&task.username, &task.password, Privilege::Administrator).map(drop),
        };
        made.map_err(|error| failed(format!("the BMC refuses the account: {error}")))?;
        Ok(Report::BmcAccount(BmcAccountResult { address: self.hardware.bmc_address.clone() }))
    }

    pub(super) async fn erase(&mut self, task: &EraseTask, done: &Done) -> Result<Report, Broken> {
        if task.sample_permille > 1000 {
            return Err(Broken::Task("sample_permille: must be at most 1000".to_owned()));
        }
        self.work_for(SETTLE).await;
        let (mut disks, mut failures) = (Vec::new(), Vec::new());
        let all = self.disks.list();
        let count = all.len();
        for (n, disk) in all.into_iter().enumerate() {
            self.work_for(ERASE).await;
            if self.faults.disk_fails(&disk.serial, DiskWork::Erase) {
                failures.push(format!("{} ({}): Input/output error (os error 5)", disk.name, disk.serial));
                continue;
            }
            self.disks.wipe(n);
            done.set(done.get() + disk.size_bytes);
            disks.push(self.erasure(&disk, task.sample_permille));
        }
        if failures.is_empty() {
            return Ok(Report::Erase(EraseResult { disks }));
        }
        Err(Broken::Task(format!("{} of {count} disks not erased: {}", failures.len(), failures.join("; "))))
    }

    /// Takes the time of scripts. Nothing is run: a simulated machine has no processor. What fails is told by its faults.
    pub(super) async fn run_scripts(&mut self, task: RunScriptsTask, done: &Done) -> Report {
        let mut outcomes = Vec::with_capacity(task.scripts.len());
        for script in task.scripts {
            let started = self.clock.now() + self.skew();
            self.work_for(SCRIPT).await;
            let fails = |fault: &Fault| {
                matches!(fault, Fault::TestFails { test } if test.is_empty() || *test == script.name).then_some(())
            };
            let fails = self.faults.take(fails).is_some();
            done.set(done.get() + 1);
            outcomes.push(ScriptOutcome {
                name: script.name,
                status: if fails { ScriptStatus::Failed } else { ScriptStatus::Passed }.into(),
                exit_code: i32::from(fails),
                output: if fails { "it fails, as it was told to\n" } else { "it is fine\n" }.to_owned(),
                started_unix_ms: started.timestamp_millis(),
                finished_unix_ms: self.clock.now().timestamp_millis(),
            });
        }
        Report::RunScripts(RunScriptsResult { outcomes })
    }

    fn erasure(&self, disk: &Disk, permille: u32) -> v1::DiskErasure {
        let share = u128::from(disk.size_bytes) * u128::from(permille) / 1000;
        let sampled = u64::try_from(share).unwrap_or(u64::MAX).saturating_add(ENDS).min(disk.size_bytes);
        let now = self.clock.now() + self.skew();
        let nanos = i32::try_from(now.timestamp_subsec_nanos()).unwrap_or(0);
        v1::DiskErasure {
            disk_serial: disk.serial.clone(),
            disk_name: disk.name.clone(),
            size_bytes: disk.size_bytes,
            method: if disk.discards() { "discard" } else { "overwrite" }.to_owned(),
            sampled_bytes: sampled,
            finished_at: Some(prost_types::Timestamp { seconds: now.timestamp(), nanos }),
        }
    }

    fn skew(&self) -> TimeDelta {
        let skew = self.faults.take(|fault| match fault {
            Fault::ClockSkew { seconds } => TimeDelta::try_seconds(*seconds),
            Fault::DropPacket { .. }
            | Fault::DuplicatePacket { .. }
            | Fault::NeverBoot
            | Fault::DieInWrite { .. }
            | Fault::DiskFails { .. }
            | Fault::LoseReport
            | Fault::TestFails { .. }
            | Fault::SshFails
            | Fault::DieInBoot
            | Fault::BootNic { .. }
            | Fault::Delay { .. } => None,
        });
        skew.unwrap_or_default()
    }

    async fn work_for(&mut self, time: Duration) {
        tokio::time::sleep(self.dice.jitter(self.network.pace.of(time))).await;
    }
}

fn dies_at(faults: &Faults, size: u64) -> Option<u64> {
    faults.take(|fault| match fault {
        Fault::DieInWrite { permille } => {
            let at = u128::from(size) * u128::from(*permille) / 1000;
            Some(u64::try_from(at).unwrap_or(u64::MAX))
        }
        Fault::DropPacket { .. }
        | Fault::DuplicatePacket { .. }
        | Fault::NeverBoot
        | Fault::DiskFails { .. }
        | Fault::LoseReport
        | Fault::TestFails { .. }
        | Fault::SshFails
        | Fault::DieInBoot
        | Fault::BootNic { .. }
        | Fault::ClockSkew { .. }
        | Fault::Delay { .. } => None,
    })
}
