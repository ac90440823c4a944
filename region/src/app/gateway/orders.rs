//! What an agent is told to do.

use std::time::Duration;

use farrier_common::{id::TaskId, secret::Secret};
use tokio::time::{Instant, timeout};

use super::{
    scripts::ToRun,
    seed::{Parts, Seed, http_base},
    session::Session,
};
use crate::{
    app::{App, machines::user_data_purpose},
    crash::Point,
    domain::{
        Error, Result,
        image::Blob,
        machine::Machine,
        observation::{TaskKind, TaskStatus},
        rack::Rack,
    },
    racks::phone_home_token,
    store::TaskRow,
};

/// How long a call is held when there is nothing to do.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon a task that another process made is seen, where there may be one.
const LOOK: Duration = Duration::from_secs(1);
/// Share of each disk that is read back after a wipe.
const SAMPLE_PERMILLE: u32 = 5;

/// What to do now.
#[derive(Debug)]
pub struct Order {
    /// Names the task; `None` if there is none.
    pub task: Option<TaskId>,
    /// What it is.
    pub work: Work,
}

/// A piece of an agent's work.
#[derive(Debug)]
pub enum Work {
    /// Nothing yet; ask again.
    Idle,
    /// Look at the hardware.
    Inventory,
    /// Write an image and its seed.
    WriteImage(Box<WriteImage>),
    /// Wipe all disks and read back that share of each.
    Erase {
        /// Parts in a thousand.
        sample_permille: u32,
    },
    /// Power off in order.
    PowerOff,
    /// Run scripts, in this order.
    RunScripts(Vec<ToRun>),
    /// Make an account on the machine's own BMC.
    BmcAccount {
        /// Its name.
        username: String,
        /// Its password.
        password: Secret<String>,
        /// Take an account of that name over.
        take_over: bool,
    },
    /// Let the holders of these keys in by SSH, and stay.
    OpenSsh {
        /// Lines of `authorized_keys`.
        keys: Vec<String>,
    },
}

/// An image to write.
#[derive(Debug)]
pub struct WriteImage {
    /// What to write.
    pub blob: Blob,
    /// Where to; `None`: the smallest disk that holds it.
    pub disk_serial: Option<String>,
    /// What to lay beside it.
    pub seed: Seed,
}

impl Order {
    const IDLE: Self = Self { task: None, work: Work::Idle };
    const OFF: Self = Self { task: None, work: Work::PowerOff };
}

impl App {
    /// What the agent of a session does now. Waits a while for something to do; an agent whose boot is over powers off.
    /// `http`: the rack's HTTP as the machine reaches it.
    ///
    /// # Errors
    /// The session is unknown.
    pub async fn next_task(&self, rack: &Rack, boot: &str, session: &Secret<String>, http: &str) -> Result<Order> {
        let until = Instant::now() + PATIENCE;
        let look = if self.store.is_shared() { LOOK } else { PATIENCE };
        let opened = self.session(rack, boot, session).await?;
        self.store.boot_heard(opened.boot.id);
        let mut changes = self.store.machine_changes(opened.view.machine.id);
        loop {
            let session = self.session(rack, boot, session).await?;
            if let Some(order) = self.order(&session, http).await? {
                return Ok(order);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stop.is_cancelled() {
                return Ok(Order::IDLE);
            }
            // Each way to end the wait leads to the next look; which one it was does not matter.
            tokio::select! {
                () = self.stop.cancelled() => {}
                _ = timeout(look.min(left), changes.changed()) => {}
            }
        }
    }

    async fn order(&self, session: &Session, http: &str) -> Result<Option<Order>> {
        if !session.current() {
            return Ok(Some(Order::OFF));
        }
        let Some(task) = self.store.task_current(session.boot.id).await? else { return Ok(None) };
        match &task.status {
            TaskStatus::Done(_) | TaskStatus::Failed(_) => return Ok(None),
            TaskStatus::Pending | TaskStatus::Running(_) => {}
        }
        let state = session.view.machine.state.as_str();
        self.crash.at(Point::TaskReceived, state);
        let work = match task.kind {
            TaskKind::Inventory => Work::Inventory,
            TaskKind::Erase => Work::Erase { sample_permille: SAMPLE_PERMILLE },
            TaskKind::PowerOff => Work::PowerOff,
            TaskKind::BmcAccount => self.bmc_account(&session.view.machine).await?,
            TaskKind::OpenSsh => Work::OpenSsh { keys: session.view.machine.details.ssh.keys.clone() },
            TaskKind::WriteImage => match self.write_image(session, http).await? {
                Some(write) => Work::WriteImage(Box::new(write)),
                None => return self.impossible(&task, "the image of the deployment is no longer there").await,
            },
            TaskKind::RunScripts => match self.scripts_to_run(&session.view.machine).await? {
                Ok(scripts) => Work::RunScripts(scripts),
                Err(why) => return self.impossible(&task, &why).await,
            },
        };
        self.store.task_started(task.id).await?;
        self.crash.at(Point::TaskHandedOut, state);
        Ok(Some(Order { task: Some(task.id), work }))
    }

    /// `None`: the image was removed since the deployment began.
    async fn write_image(&self, session: &Session, http: &str) -> Result<Option<WriteImage>> {
        let m = &session.view.machine;
        let Some(blob) = self.disk_image(m).await? else { return Ok(None) };
        let boot = session.boot.id;
        let interface =
            m.interfaces.first().ok_or_else(|| Error::Internal(format!("machine {} has no interface", m.name)))?;
        let seed = Seed::new(Parts {
            boot,
            name: m.name.as_str(),
            mac: interface.mac,
            http: http_base(http)?,
            token: &phone_home_token(&self.vault, boot),
            user_data: self.user_data(session).await?,
        });
        let disk_serial = m.details.deployment.as_ref().and_then(|d| d.disk_serial.clone());
        Ok(Some(WriteImage { blob, disk_serial, seed }))
    }

    /// The password is in the vault since the phase began.
    async fn bmc_account(&self, m: &Machine) -> Result<Work> {
        let password = self.racks.own_password(m).await.map_err(|trouble| Error::Internal(trouble.text))?;
        let take_over = m.details.in_band.is_some_and(|in_band| in_band.take_over);
        Ok(Work::BmcAccount { username: self.policy.bmc_account.to_string(), password, take_over })
    }

    async fn user_data(&self, session: &Session) -> Result<Secret<Vec<u8>>> {
        let purpose = user_data_purpose(session.view.machine.id);
        match self.store.secret_get(&purpose).await? {
            Some(sealed) => {
                self.vault.open_sealed(&purpose, &sealed).map_err(|e| Error::Internal(format!("{purpose}: {e}")))
            }
            None => Ok(Secret::default()),
        }
    }

    async fn impossible(&self, task: &TaskRow, why: &str) -> Result<Option<Order>> {
        self.store.task_finish(task.id, TaskStatus::Failed(why.to_owned())).await?;
        Ok(None)
    }
}
