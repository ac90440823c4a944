//! What an agent says of its task.

use std::net::{Ipv4Addr, SocketAddr};

use farrier_common::{id::TaskId, net::MacAddr, secret::Secret};

use super::{scripts::Told, session::Session};
use crate::{
    app::{App, context::clip},
    crash::Point,
    domain::{
        Error, Result,
        machine::{Disk, DiskErasure, Hardware, Interface},
        observation::{TaskKind, TaskResult, TaskStatus},
        rack::Rack,
    },
    store::TaskRow,
};

const MOST_TEXT: usize = 1000;

/// Progress or result of a task.
#[derive(Clone, Debug)]
pub enum Report {
    /// It goes on.
    Progress {
        /// So much is done.
        done: u64,
        /// Of so much; 0 if unknown.
        total: u64,
        /// Of what.
        unit: String,
        /// Further words.
        text: String,
    },
    /// It cannot be done.
    Failed(String),
    /// The hardware.
    Inventory {
        /// What was found.
        hardware: Box<Hardware>,
        /// Of physical interfaces, boot interface first.
        macs: Vec<MacAddr>,
        /// Where its BMC is, as seen from inside.
        bmc: Option<Ipv4Addr>,
    },
    /// The image is on a disk.
    WriteImage {
        /// Kernel name.
        disk_name: String,
        /// Which.
        disk_serial: String,
        /// So much was written.
        written: u64,
        /// Of what was read back.
        sha256: String,
    },
    /// The disks are blank.
    Erase(Vec<DiskErasure>),
    /// It is about to be off.
    PowerOff,
    /// The scripts were run.
    RunScripts(Vec<Told>),
    /// The account is on the BMC.
    BmcAccount {
        /// Where the BMC is.
        address: Ipv4Addr,
    },
    /// People can log in.
    OpenSsh {
        /// `host:port`.
        address: SocketAddr,
        /// Fingerprint of the host key.
        host_key: String,
    },
}

impl App {
    /// Notes what an agent says of its task; answers whether it is to stop.
    ///
    /// # Errors
    /// The session is unknown, or the task is not one of its boot.
    pub async fn report_task(
        &self,
        rack: &Rack,
        boot: &str,
        session: &Secret<String>,
        task: &str,
        report: Report,
    ) -> Result<bool> {
        let session = self.session(rack, boot, session).await?;
        self.store.boot_heard(session.boot.id);
        if !session.current() {
            return Ok(true);
        }
        let id: TaskId = task.parse().map_err(|e| Error::invalid("request.task_id", e))?;
        let found = self.store.task_get(id).await?.filter(|t| t.boot == session.boot.id);
        let task = found.ok_or_else(|| Error::not_found("task", id))?;
        let state = session.view.machine.state.as_str();
        match (self.outcome(&session, &task, report).await?, &task.status) {
            // A result is final.
            (_, TaskStatus::Done(_) | TaskStatus::Failed(_)) => {}
            (TaskStatus::Pending, TaskStatus::Pending | TaskStatus::Running(_)) => {}
            (TaskStatus::Running(text), TaskStatus::Pending | TaskStatus::Running(_)) => {
                self.crash.at(Point::ProgressReceived, state);
                self.store.task_progress(id, &text).await?;
                self.crash.at(Point::ProgressCommitted, state);
            }
            (done @ (TaskStatus::Done(_) | TaskStatus::Failed(_)), TaskStatus::Pending | TaskStatus::Running(_)) => {
                self.crash.at(Point::ReportReceived, state);
                self.store.task_finish(id, done).await?;
                self.crash.at(Point::ReportCommitted, state);
            }
        }
        Ok(false)
    }

    /// What the report makes of the task.
    async fn outcome(&self, session: &Session, task: &TaskRow, report: Report) -> Result<TaskStatus> {
        Ok(match (task.kind, report) {
            (_, Report::Progress { done, total, unit, text }) => {
                TaskStatus::Running(progress(done, total, &unit, &text))
            }
            (_, Report::Failed(reason)) => TaskStatus::Failed(clip(&reason, MOST_TEXT)),
            (TaskKind::Inventory, Report::Inventory { hardware, macs, bmc }) => {
                if let Some(why) = self.swapped(session, bmc).await? {
                    return Ok(TaskStatus::Failed(why));
                }
                let interfaces = self.own(session, macs).await?;
                TaskStatus::Done(TaskResult::Inventory { hardware, interfaces })
            }
            (TaskKind::WriteImage, Report::WriteImage { disk_name, disk_serial, written, sha256 }) => {
                self.written(
                    session,
                    &format!("{} ({})", clip(&disk_name, 64), clip(&disk_serial, 128)),
                    written,
                    &sha256,
                )
                .await?
            }
            (TaskKind::Erase, Report::Erase(disks)) => erased(session.view.machine.details.hardware.as_ref(), disks),
            (TaskKind::PowerOff, Report::PowerOff) => TaskStatus::Done(TaskResult::PowerOff),
            (TaskKind::RunScripts, Report::RunScripts(told)) => self.ran(&session.view.machine, told),
            (TaskKind::BmcAccount, Report::BmcAccount { address }) => self.account_made(session, address).await?,
            (TaskKind::OpenSsh, Report::OpenSsh { address, host_key }) => {
                TaskStatus::Done(TaskResult::OpenSsh { address: address.to_string(), host_key })
            }
            (
                kind,
                Report::Inventory { .. }
                | Report::WriteImage { .. }
                | Report::Erase(_)
                | Report::PowerOff
                | Report::RunScripts(_)
                | Report::BmcAccount { .. }
                | Report::OpenSsh { .. },
            ) => {
                return Err(Error::invalid("request.report", format!("is not the result of a task of kind {kind}")));
            }
        })
    }

    /// An address that is another machine's proves that one of the two is wrong: nothing is switched for the wrong one.
    async fn account_made(&self, session: &Session, address: Ipv4Addr) -> Result<TaskStatus> {
        let m = &session.view.machine;
        let other = match m.rack {
            Some(rack) => self.store.machine_by_bmc(rack, address, m.id).await?,
            None => None,
        };
        Ok(match other {
            Some(other) => TaskStatus::Failed(format!(
                "its BMC says that it is at {address}, which is where that of machine {other} is: one of them must get another \
                 address"
            )),
            None => TaskStatus::Done(TaskResult::BmcAccount { username: self.policy.bmc_account.to_string(), address }),
        })
    }

    /// Is the BMC that is in this machine the one that we were told is in another? Then power is switched for the wrong one.
    /// An address that nobody was given proves nothing: BMCs have several, and may be behind a translation.
    async fn swapped(&self, session: &Session, inside: Option<Ipv4Addr>) -> Result<Option<String>> {
        let m = &session.view.machine;
        let (Some(inside), Some(told), Some(rack)) = (inside, &m.details.bmc, m.rack) else { return Ok(None) };
        // The address of a box that switches power is no BMC's.
        if told.address == inside || told.only_power() {
            return Ok(None);
        }
        let other = self.store.machine_by_bmc(rack, inside, m.id).await?;
        Ok(other.map(|other| {
            format!(
                "its BMC says from inside that it is at {inside}, which is where that of machine {other} is to be, and not \
                 at {}: are the two swapped?",
                told.address
            )
        }))
    }

    /// The interfaces, without those whose addresses belong to other machines: an agent's word takes nothing from them.
    async fn own(&self, session: &Session, macs: Vec<MacAddr>) -> Result<Vec<Interface>> {
        let mut interfaces: Vec<Interface> = Vec::with_capacity(macs.len());
        for mac in macs {
            let holder = self.store.machine_by_mac(mac).await?;
            if holder.is_some_and(|id| id != session.view.machine.id) {
                tracing::warn!(machine.id = %session.view.machine.id, %mac, "an agent reports the MAC address of another machine");
            } else if !interfaces.iter().any(|i| i.mac == mac) {
                interfaces.push(Interface { mac, address: None });
            }
        }
        Ok(interfaces)
    }

    async fn written(&self, session: &Session, disk: &str, written: u64, sha256: &str) -> Result<TaskStatus> {
        let Some(blob) = self.disk_image(&session.view.machine).await? else {
            return Ok(TaskStatus::Failed("the image of the deployment is no longer there".to_owned()));
        };
        if written != blob.content_size || sha256 != blob.content_sha256 {
            let why = format!(
                "what was read back from {disk} is not the image: {written} bytes with digest {}, expected {} with {}",
                clip(sha256, 64),
                blob.content_size,
                blob.content_sha256
            );
            return Ok(TaskStatus::Failed(why));
        }
        let image = session.view.machine.details.deployment.as_ref().map_or("the image", |d| &d.image);
        Ok(TaskStatus::Done(TaskResult::WriteImage { text: format!("{image} is on {disk}, read back and verified") }))
    }
}

/// A wipe counts only if every disk was read back, and every disk of the last inventory is among them: a disk that has
/// dropped out may come back, with an owner's data on it.
fn erased(inventory: Option<&Hardware>, disks: Vec<DiskErasure>) -> TaskStatus {
    if let Some(disk) = disks.iter().find(|d| d.size_bytes > 0 && d.sampled_bytes == 0) {
        return TaskStatus::Failed(format!("nothing of {} ({}) was read back", disk.disk_name, disk.disk_serial));
    }
    let wiped = |known: &Disk| {
        disks.iter().any(|d| d.disk_serial == known.serial && (!known.serial.is_empty() || d.disk_name == known.name))
    };
    if let Some(disk) = inventory.into_iter().flat_map(|h| &h.disks).find(|d| !wiped(d)) {
        let why =
            format!("{} ({}) of the last inventory was not there to be wiped; put it back", disk.name, disk.serial);
        return TaskStatus::Failed(why);
    }
    TaskStatus::Done(TaskResult::Erase(disks))
}

/// `42 % (44 of 104 MiB)`, and what else is said.
fn progress(done: u64, total: u64, unit: &str, text: &str) -> String {
    const MIB: u64 = 1 << 20;
    let (done, total, unit) = match unit {
        "bytes" => (done / MIB, total.div_ceil(MIB), "MiB".to_owned()),
        other => (done, total, clip(other, 20)),
    };
    let share = (u128::from(done) * 100).checked_div(u128::from(total)).map(|p| p.min(100));
    let numbers = share.map_or_else(|| format!("{done} {unit}"), |p| format!("{p} % ({done} of {total} {unit})"));
    if text.is_empty() { numbers } else { format!("{numbers}, {}", clip(text, 200)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at;

    #[test]
    fn progress_reads_well() {
        const MIB: u64 = 1 << 20;
        assert_eq!(progress(44 * MIB, 104 * MIB, "bytes", ""), "42 % (44 of 104 MiB)");
        assert_eq!(progress(1, 2, "disks", "wiping vda"), "50 % (1 of 2 disks), wiping vda");
        assert_eq!(progress(5 * MIB, 0, "bytes", ""), "5 MiB");
        assert_eq!(progress(u64::MAX, 1, "x\n", ""), format!("100 % ({} of 1 x)", u64::MAX));
    }

    fn disk(name: &str, serial: &str) -> Disk {
        Disk { name: name.to_owned(), serial: serial.to_owned(), ..Disk::default() }
    }

    fn erasure(name: &str, serial: &str, sampled_bytes: u64) -> DiskErasure {
        DiskErasure {
            disk_serial: serial.to_owned(),
            disk_name: name.to_owned(),
            size_bytes: 1 << 30,
            method: "discard".to_owned(),
            sampled_bytes,
            finished_at: at(0),
        }
    }

    #[test]
    fn a_wipe_counts_only_for_every_disk_that_was_known() {
        let known = Hardware { disks: vec![disk("sda", "A"), disk("sdb", "")], ..Hardware::default() };
        let check = |disks| match erased(Some(&known), disks) {
            TaskStatus::Failed(why) => why,
            TaskStatus::Done(_) => "counts".to_owned(),
            TaskStatus::Pending | TaskStatus::Running(_) => "goes on".to_owned(),
        };
        assert_eq!(check(vec![erasure("sdb", "", 1), erasure("sdz", "A", 1)]), "counts");
        assert_eq!(check(vec![erasure("sda", "A", 0), erasure("sdb", "", 1)]), "nothing of sda (A) was read back");
        let missing = "sdb () of the last inventory was not there to be wiped; put it back";
        assert_eq!(check(vec![erasure("sda", "A", 1)]), missing);
        assert!(check(vec![]).starts_with("sda (A)"));
    }
}
