//! What the agent does in the ephemeral environment: enlists the machine, or opens the boot's session and does task after
//! task until one says to power off.

mod call;
mod cmdline;
mod image;
pub mod program;
mod task;

use std::{collections::HashMap, time::Duration};

use farrier_common::{clock::Clock, id::BootId, secret::Secret};
use farrier_proto::agent::{
    EnlistRequest, HelloRequest, Identity, NextTaskRequest, PowerOffResult, Progress, ReportTaskRequest, TaskFailed,
    next_task_response::Task, report_task_request::Report,
};
use thiserror::Error;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::{
    call::{CallError, Rack},
    cmdline::Options,
    task::Broken,
};
use crate::{
    accounts::SharedAccounts,
    boot::{Booter, Network, client::Client, client::Station, lease::Lease},
    dice::Dice,
    disk::Disks,
    machine::{
        fault::{Fault, Faults, Stage},
        hardware::Hardware,
    },
};

/// One machine in the ephemeral environment.
#[derive(Debug)]
pub struct Agent<'a> {
    /// The machine.
    pub hardware: &'a Hardware,
    /// Its BMC's users, if the kernel offers them.
    pub bmc: Option<&'a SharedAccounts>,
    /// Its disks.
    pub disks: &'a Disks,
    /// Its network.
    pub network: &'a Network,
    /// Its clock, but for what its faults do to it.
    pub clock: &'a Clock,
    /// What goes wrong.
    pub faults: &'a Faults,
    /// Its randomness.
    pub dice: Dice,
    /// How long it bears trouble.
    pub patience: Patience,
}

/// How long an agent bears trouble.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A rack that does not answer.
    pub rack: Duration,
    /// No task.
    pub idle: Duration,
    /// An image of which not a byte arrives.
    pub image: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { rack: Duration::from_mins(30), idle: Duration::from_mins(60), image: Duration::from_mins(10) }
    }
}

/// Why the machine is to start anew instead of powering off.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The command line does not fit.
    #[error("{0}")]
    Cmdline(String),
    /// No address.
    #[error("{0}")]
    Network(String),
    /// The rack does not help.
    #[error(transparent)]
    Rack(#[from] CallError),
    /// There was nothing to do.
    #[error("there was no task for {} minutes", .0.as_secs() / 60)]
    Idle(Duration),
    /// More tasks than any boot has.
    #[error("more than {MOST_TASKS} tasks in one boot")]
    Endless,
    /// The machine died.
    #[error("the machine died {0}")]
    Died(&'static str),
}

const MOST_TASKS: usize = 1000;
/// Progress is told at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// Between two questions to a rack that has nothing to do.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
/// Kernel, drivers and `/init`.
pub(crate) const START: Duration = Duration::from_secs(15);

/// One boot's session.
#[derive(Debug)]
struct Session {
    boot_id: BootId,
    secret: Secret<String>,
}

impl Session {
    fn report(&self, task_id: &str, report: Report) -> ReportTaskRequest {
        ReportTaskRequest {
            boot_id: self.boot_id.to_string(),
            session: self.secret.expose().clone(),
            task_id: task_id.to_owned(),
            report: Some(report),
        }
    }
}

/// An address, as `/init` gets one with busybox, and the one to speak from.
async fn lease(
    hardware: &Hardware,
    network: &Network,
    faults: &Faults,
    dice: Dice,
) -> Result<(Lease, Option<std::net::Ipv4Addr>), String> {
    let mac = *hardware.macs.first().ok_or("the machine has no interface")?;
    let station = Station { mac, uuid: hardware.uuid, host_name: None };
    let mut booter = Booter { network, station, settings: HashMap::new(), dice, faults };
    let lease = booter.lease(Client::Udhcpc).await?;
    let from = booter.from(&lease);
    Ok((lease, from))
}

impl Agent<'_> {
    /// Does all that this boot is for. When it returns without an error, the machine is to be powered off.
    ///
    /// # Errors
    /// The machine is to start anew.
    pub async fn run(&mut self, cmdline: &str) -> Result<(), AgentError> {
        let options = Options::parse(cmdline).map_err(AgentError::Cmdline)?;
        tokio::time::sleep(self.dice.jitter(self.network.pace.of(START)) + self.faults.delay(Stage::Kernel)).await;
        if self.faults.take(|fault| matches!(fault, Fault::DieInBoot).then_some(())).is_some() {
            return Err(AgentError::Died("before it said anything"));
        }
        let (lease, from) = self.address().await.map_err(AgentError::Network)?;
        let mut rack = Rack::new(options.agent, from, self.patience.rack, self.dice.fork("rack"))?;
        let identity = self.identity(&options);
        let Some((boot_id, token)) = &options.pass else {
            let request = EnlistRequest { identity: Some(identity) };
            rack.insist("to enlist", request, async |mut c, r| c.enlist(r).await).await?;
            return Ok(());
        };
        let session = Session { boot_id: *boot_id, secret: Secret::new(hex::encode(self.dice.bytes::<32>())) };
        let hello = HelloRequest {
            boot_id: boot_id.to_string(),
            token: token.expose().clone(),
            session: session.secret.expose().clone(),
            identity: Some(identity),
        };
        rack.insist("this boot", hello, async |mut c, r| c.hello(r).await).await?;
        self.serve(&mut rack, &options, &session, &lease).await
    }

    async fn address(&mut self) -> Result<(Lease, Option<std::net::Ipv4Addr>), String> {
        lease(self.hardware, self.network, self.faults, self.dice.fork("udhcpc")).await
    }

    fn identity(&self, options: &Options) -> Identity {
        let mut identity = self.hardware.identity();
        if let Some(boot) = options.boot_mac.map(|mac| mac.to_string()) {
            identity.macs.sort_by_key(|mac| *mac != boot);
        }
        identity
    }

    async fn serve(
        &mut self,
        rack: &mut Rack,
        options: &Options,
        session: &Session,
        lease: &Lease,
    ) -> Result<(), AgentError> {
        let mut last: Option<(String, Report)> = None;
        // People are logged in: it stays until it is told that the boot is over.
        let mut stays = false;
        for _ in 0..MOST_TASKS {
            let Some((task_id, task)) = self.next(rack, session, stays).await? else { return Ok(()) };
            // The rack hands a task out again when its report was lost on the way: only the report is to be repeated.
            let report = match last.take().filter(|(done, _)| *done == task_id) {
                Some((_, report)) => report,
                None => self.perform(rack, options, session, lease, &task_id, task).await?,
            };
            let request = session.report(&task_id, report.clone());
            rack.insist("the report", request.clone(), async |mut c, r| c.report_task(r).await).await?;
            if self.faults.take(|fault| matches!(fault, Fault::LoseReport).then_some(())).is_some() {
                rack.insist("the report again", request.clone(), async |mut c, r| c.report_task(r).await).await?;
            }
            if matches!(report, Report::PowerOff(_)) {
                return Ok(());
            }
            stays |= matches!(report, Report::OpenSsh(_));
            last = Some((task_id, report));
        }
        Err(AgentError::Endless)
    }

    /// Waits for something to do; `None`: the boot is over, which only an agent that stays is interested in.
    async fn next(
        &mut self,
        rack: &mut Rack,
        session: &Session,
        stays: bool,
    ) -> Result<Option<(String, Option<Task>)>, AgentError> {
        let since = Instant::now();
        loop {
            let (boot_id, secret) = (session.boot_id.to_string(), session.secret.expose().clone());
            let request = NextTaskRequest { boot_id, session: secret };
            let next = rack.insist("the next task", request, async |mut c, r| c.next_task(r).await).await?;
            let idle = matches!(next.task, Some(Task::Idle(_))) || next.task_id.is_empty();
            if !idle {
                return Ok(Some((next.task_id, next.task)));
            }
            if stays && matches!(next.task, Some(Task::PowerOff(_))) {
                return Ok(None);
            }
            if !stays && since.elapsed() >= self.patience.idle {
                return Err(AgentError::Idle(self.patience.idle));
            }
            tokio::time::sleep(self.dice.jitter(self.network.pace.retry(IDLE_PAUSE))).await;
        }
    }

    /// Does one task beside telling its progress; what came of it.
    async fn perform(
        &mut self,
        rack: &Rack,
        options: &Options,
        session: &Session,
        lease: &Lease,
        task_id: &str,
        task: Option<Task>,
    ) -> Result<Report, AgentError> {
        let mut ticks = interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let done = task::Done::default();
        let work = self.act(options, session, lease, task, &done);
        tokio::pin!(work);
        let ended = loop {
            tokio::select! {
                ended = &mut work => break ended,
                _ = ticks.tick() => {
                    let progress = Progress { done: done.get(), total: 0, unit: "bytes".to_owned(), text: "working".to_owned() };
                    if !rack.wanted(session.report(task_id, Report::Progress(progress))).await {
                        break Err(Broken::Task("stopped: the task is no longer wanted".to_owned()));
                    }
                }
            }
        };
        match ended {
            Ok(report) => Ok(report),
            Err(Broken::Task(reason)) => Ok(Report::Failed(TaskFailed { reason })),
            Err(Broken::Machine) => Err(AgentError::Died("while it wrote an image")),
        }
    }

    async fn act(
        &mut self,
        options: &Options,
        session: &Session,
        lease: &Lease,
        task: Option<Task>,
        done: &task::Done,
    ) -> Result<Report, Broken> {
        tokio::time::sleep(self.faults.delay(Stage::Task)).await;
        match task {
            Some(Task::Inventory(_)) => self.inventory(options).await,
            Some(Task::WriteImage(task)) => self.write_image(options, session, lease, task, done).await,
            Some(Task::Erase(task)) => self.erase(&task, done).await,
            Some(Task::PowerOff(_)) => Ok(Report::PowerOff(PowerOffResult {})),
            Some(Task::RunScripts(task)) => Ok(self.run_scripts(task, done).await),
            Some(Task::OpenSsh(task)) => self.open_ssh(&task, lease),
            Some(Task::BmcAccount(task)) => self.bmc_account(&task),
            Some(Task::Idle(_)) | None => Err(Broken::Task("this agent does not know that task".to_owned())),
        }
    }
}
