//! One boot from the agent's side: who am I, then task after task, then off.

use std::{sync::Arc, time::Duration};

use farrier_common::{clock::Clock, crash::Crash, net::MacAddr, retry::Backoff, secret::Secret, telemetry::Chain};
use farrier_proto::agent::{
    BmcAccountResult, BmcAccountTask, EraseTask, Identity, InventoryResult, PowerOffResult, TaskFailed, WriteImageTask,
    next_task_response::Task, report_task_request::Report,
};
use thiserror::Error;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    bmc_account::{self, Wanted},
    cmdline::{Options, Pass},
    console::say,
    crash::Point,
    erase,
    error::TaskError,
    host::Host,
    image::{
        self,
        fetch::{Patience, Store},
    },
    job::{Job, blocking},
    machine::{disk, inventory},
    progress::Progress,
    rack::{Rack, RackError, Session},
    scripts, ssh,
};

/// A boot that did not end as it should; the machine is to boot anew.
#[derive(Debug, Error)]
pub enum BootError {
    /// The rack cannot help.
    #[error(transparent)]
    Rack(#[from] RackError),
    /// The machine cannot be looked at, or the agent not be set up.
    #[error("cannot start")]
    Start(#[source] TaskError),
    /// Nobody had anything to do for this machine.
    #[error("there was no task for {} minutes", .0.as_secs() / 60)]
    Forgotten(Duration),
    /// More tasks than any boot has.
    #[error("more than {0} tasks in one boot")]
    Endless(usize),
}

/// How long the rack may be away.
const RACK_PATIENCE: Duration = Duration::from_mins(30);
const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// Without any task; longer than a region that works on something else takes.
const IDLE_PATIENCE: Duration = Duration::from_mins(60);
/// Between two questions to a rack that answers "idle" without waiting.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
const MOST_TASKS: usize = 1000;
/// Progress is told at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Does all that this boot is for. When it returns without an error, the machine is to be powered off.
///
/// # Errors
/// The boot did not end as it should.
pub async fn run(host: Host, options: Options, crash: Crash<Point>) -> Result<(), BootError> {
    let rack = Rack::new(options.agent, RACK_PATIENCE, PAUSES)?;
    let host = Arc::new(host);
    let identity = look(&host, options.boot_mac).await.map_err(BootError::Start)?;
    match options.pass {
        None => enlist(&rack, &identity).await,
        Some(Pass { boot_id, token }) => {
            let session = Session { boot_id, secret: Secret::random_token() };
            let store =
                Store::new(&options.http, boot_id, &session.secret, Patience::default()).map_err(BootError::Start)?;
            let hello = rack.hello(&session, &token, &identity).await?;
            say(format_args!("this is {}, booted for {}", hello.machine_name, hello.purpose));
            crash.at(Point::HelloAnswered, &hello.purpose);
            let job = Job {
                host,
                store: Arc::new(store),
                clock: Clock::System,
                boot_mac: options.boot_mac,
                progress: Progress::default(),
                crash,
            };
            serve(&rack, &session, &job).await
        }
    }
}

async fn look(host: &Arc<Host>, boot_mac: Option<MacAddr>) -> Result<Identity, TaskError> {
    let host = Arc::clone(host);
    blocking(move || inventory::identity(&host, boot_mac)).await
}

async fn enlist(rack: &Rack, identity: &Identity) -> Result<(), BootError> {
    let answer = rack.enlist(identity).await?;
    say(format_args!("enlisted as {} ({})", answer.machine_name, answer.state));
    Ok(())
}

/// Does task after task until one says to power off.
///
/// # Errors
/// The rack refuses this boot or stays silent, or has nothing to do for too long.
pub async fn serve(rack: &Rack, session: &Session, job: &Job) -> Result<(), BootError> {
    let mut idle_since = Instant::now();
    let mut last: Option<(String, Report)> = None;
    // People are logged in: a rack that is away, or has nothing to do, is no reason to throw them out.
    let mut stays = false;
    for _ in 0..MOST_TASKS {
        let (task_id, task) = loop {
            let next = match rack.next_task(session).await {
                Err(RackError::Silent { .. }) if stays => continue,
                next => next?,
            };
            match next.task {
                Some(Task::Idle(_)) => {}
                // The boot is over.
                Some(Task::PowerOff(_)) if stays && next.task_id.is_empty() => return Ok(()),
                task if !next.task_id.is_empty() => break (next.task_id, task),
                _ => {}
            }
            if !stays && idle_since.elapsed() >= IDLE_PATIENCE {
                return Err(BootError::Forgotten(IDLE_PATIENCE));
            }
            tokio::time::sleep(IDLE_PAUSE).await;
        };
        let kind = kind(task.as_ref());
        job.crash.at(Point::TaskReceived, kind);
        // The rack hands a task out again when its report was lost on the way: the work is done, only the report is not.
        let report = match last.take().filter(|(done, _)| *done == task_id) {
            Some((_, report)) => report,
            None => perform(rack, session, job, &task_id, task).await,
        };
        job.crash.at(Point::WorkDone, kind);
        rack.report(session, &task_id, &report).await?;
        job.crash.at(Point::Reported, kind);
        if matches!(report, Report::PowerOff(_)) {
            return Ok(());
        }
        stays |= matches!(report, Report::OpenSsh(_));
        last = Some((task_id, report));
        idle_since = Instant::now();
    }
    Err(BootError::Endless(MOST_TASKS))
}

/// Does one task beside telling its progress; what came of it.
async fn perform(rack: &Rack, session: &Session, job: &Job, task_id: &str, task: Option<Task>) -> Report {
    let progress = Progress::of(kind(task.as_ref()), job.crash.clone());
    progress.begin("starting", "steps", 0);
    let job = Job { progress: progress.clone(), ..job.clone() };
    let mut work = tokio::spawn(async move { act(&job, task).await });
    let mut ticks = interval(PROGRESS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        tokio::select! {
            ended = &mut work => break ended,
            _ = ticks.tick() => {
                if !rack.progress(session, task_id, Report::Progress(progress.report())).await {
                    progress.stop();
                }
            }
        }
    };
    let outcome = ended.unwrap_or_else(|e| Err(TaskError::failed(format!("the agent crashed: {e}"))));
    outcome.unwrap_or_else(|error| {
        let reason = Chain(&error).to_string();
        say(format_args!("the task failed: {reason}"));
        Report::Failed(TaskFailed { reason })
    })
}

/// What is to be done, in a word.
const fn kind(task: Option<&Task>) -> &'static str {
    match task {
        Some(Task::Inventory(_)) => "inventory",
        Some(Task::WriteImage(_)) => "write-image",
        Some(Task::Erase(_)) => "erase",
        Some(Task::PowerOff(_)) => "power-off",
        Some(Task::RunScripts(_)) => "run-scripts",
        Some(Task::OpenSsh(_)) => "open-ssh",
        Some(Task::BmcAccount(_)) => "bmc-account",
        Some(Task::Idle(_)) | None => "unknown",
    }
}

async fn act(job: &Job, task: Option<Task>) -> Result<Report, TaskError> {
    match task {
        Some(Task::Inventory(_)) => {
            say("taking inventory");
            take_inventory(job).await.map(Report::Inventory)
        }
        Some(Task::WriteImage(task)) => write_image(job, task).await,
        Some(Task::Erase(task)) => erase_disks(job, task).await,
        Some(Task::PowerOff(_)) => {
            nix::unistd::sync();
            Ok(Report::PowerOff(PowerOffResult {}))
        }
        Some(Task::RunScripts(task)) => scripts::run(job, task).await.map(Report::RunScripts),
        Some(Task::OpenSsh(task)) => ssh::open(job, &task).await.map(Report::OpenSsh),
        Some(Task::BmcAccount(task)) => make_bmc_account(job, task).await,
        Some(Task::Idle(_)) | None => {
            Err(TaskError::failed("this agent does not know that task; the ephemeral image is older than the region"))
        }
    }
}

async fn take_inventory(job: &Job) -> Result<InventoryResult, TaskError> {
    job.progress.begin("taking inventory", "steps", 0);
    let disks = disk::settled(&job.host).await.map_err(TaskError::io("listing disks"))?;
    let job = job.clone();
    blocking(move || {
        let hardware = Some(inventory::hardware(&job.host, &disks)?);
        Ok(InventoryResult { hardware, identity: Some(inventory::identity(&job.host, job.boot_mac)?) })
    })
    .await
}

async fn write_image(job: &Job, task: WriteImageTask) -> Result<Report, TaskError> {
    let written = image::run(job, task).await?;
    say(format_args!("wrote and read back {} bytes on {}", written.written_bytes, written.disk_name));
    Ok(Report::WriteImage(written))
}

async fn make_bmc_account(job: &Job, task: BmcAccountTask) -> Result<Report, TaskError> {
    say("making an account on the BMC");
    job.progress.begin("making an account on the BMC", "steps", 0);
    let wanted = Wanted { username: task.username, password: Secret::new(task.password), take_over: task.take_over };
    let host = Arc::clone(&job.host);
    let address = blocking(move || bmc_account::ensure(&host, &wanted)).await?;
    Ok(Report::BmcAccount(BmcAccountResult { address: address.to_string() }))
}

async fn erase_disks(job: &Job, task: EraseTask) -> Result<Report, TaskError> {
    erase::run(job, task).await.map(Report::Erase)
}

#[cfg(test)]
mod tests;
