//! The composition: a running region from its configuration.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use chrono::TimeDelta;
use farrier_common::{
    clock::{Clock, Timestamp},
    secret::Secret,
    task::TaskGroup,
    telemetry::Chain,
};
use thiserror::Error as ThisError;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    api,
    app::{App, Blobs, Policy, Promises, Tail, events::Bounds, setup::SetupError},
    config::Config,
    crash::Crash,
    domain::Error,
    engine::{self, Engine},
    pki::{Ca, Identity, PkiError},
    process::{Process, ProcessError},
    racks::Racks,
    store::Store,
    vault::{Vault, VaultError},
};

/// How long calls and ticks under way may take when the region stops.
const GRACE: Duration = Duration::from_secs(20);
/// How often old requests, boot steps and the like are forgotten, and when they are old.
const PRUNE: Duration = Duration::from_secs(3600);
/// Between two times that it is written which agents were heard.
const HEARD: Duration = Duration::from_secs(10);
const REQUESTS_KEPT: TimeDelta = TimeDelta::hours(24);
const STEPS_KEPT: TimeDelta = TimeDelta::days(30);

/// The region cannot start.
#[derive(Debug, ThisError)]
pub enum StartError {
    /// A file or folder.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder is another process's.
    #[error("data_dir cannot be used")]
    Process(#[from] ProcessError),
    /// The database.
    #[error("the database cannot be used")]
    Store(#[from] Error),
    /// The key of the vault.
    #[error("the vault cannot be used")]
    Vault(#[from] VaultError),
    /// The certificate authority.
    #[error("the certificate authority cannot be used")]
    Pki(#[from] PkiError),
    /// The first admin.
    #[error("the region cannot be set up")]
    Setup(#[from] SetupError),
    /// The port of the API.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A region that runs.
pub struct Region {
    tasks: TaskGroup,
    address: SocketAddr,
    admin_token: Option<Secret<String>>,
    app: App,
    /// Held to the end, so that nobody else works in the folder before.
    process: Process,
}

impl Region {
    /// Opens everything and begins to serve. `admin_token_file`: where the first admin's token goes. `crash`: where tests
    /// let it die.
    ///
    /// # Errors
    /// Something that is needed cannot be opened.
    pub async fn start(
        config: Config,
        admin_token_file: Option<&Path>,
        clock: Clock,
        crash: Crash,
    ) -> Result<Self, StartError> {
        fs::create_dir_all(&config.data_dir).map_err(file(&config.data_dir))?;
        let process = Process::open(&config.data_dir)?;
        let vault = Vault::open(&config.data_dir)?;
        let ca = Ca::open(&config.data_dir)?;
        let store = Store::open(&config.database, clock.clone()).await?;
        let ended = store.machine_end_claims(process.name()).await?;
        tracing::info!(process = process.name(), ended, "claims that died with the process before are over");
        let blobs = Blobs::open(&config.data_dir).map_err(file(&config.data_dir.join("blobs")))?;
        let identity = ca.server_identity(&[config.advertised_host()], clock.now())?;
        let image = config.ephemeral_image.clone();
        let racks =
            Racks::new(store.clone(), vault.clone(), identity.clone(), ca.ca_pem().to_owned(), image, clock.clone());
        let tasks = TaskGroup::new();
        let policy = Arc::new(Policy {
            deadlines: config.deadlines.clone(),
            require_erase: config.require_erase,
            rate: config.rate,
            advertise: config.advertise.clone(),
            ephemeral_image: config.ephemeral_image.clone(),
            bmc_account: config.bmc_account.clone(),
            default_tests: config.default_tests.clone(),
        });
        let (ca, stop, promises) = (Arc::new(ca), tasks.stop_signal(), Promises::default());
        let tail = Tail::new(store.clone(), Bounds::default());
        let app = App { store, vault, ca, racks, blobs, tail, policy, clock, stop, promises, crash };
        let admin_token = app.first_admin(admin_token_file).await?;
        let bound = TcpListener::bind(config.listen).await.and_then(|l| Ok((l.local_addr()?, l)));
        let (address, listener) = bound.map_err(|source| StartError::Listen { address: config.listen, source })?;
        let mut region = Self { tasks, address, admin_token, app, process };
        region.work(&config);
        region.serve(listener, identity);
        Ok(region)
    }

    /// Where the API is served.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first admin's token, if he was made just now and it was not written to a file.
    #[must_use]
    pub const fn admin_token(&self) -> Option<&Secret<String>> {
        self.admin_token.as_ref()
    }

    /// The use cases, for tests.
    #[must_use]
    pub const fn app(&self) -> &App {
        &self.app
    }

    /// Cancel it to stop the region.
    #[must_use]
    pub fn stop_signal(&self) -> CancellationToken {
        self.tasks.stop_signal()
    }

    /// Runs until stopped; then lets what is under way end.
    ///
    /// # Errors
    /// Which part failed, and why.
    pub async fn run(self) -> Result<(), String> {
        self.tasks.run(GRACE).await
    }

    fn work(&mut self, config: &Config) {
        let App { store, vault, racks, clock, stop, crash, .. } = &self.app;
        let engine = Engine {
            store: store.clone(),
            racks: racks.clone(),
            vault: vault.clone(),
            rules: config.rules,
            deadlines: config.deadlines.clone(),
            bmc_account: config.bmc_account.clone(),
            clock: clock.clone(),
            owner: self.process.name().to_owned(),
            crash: crash.clone(),
        };
        self.tasks.spawn("engine", engine.run(stop.clone()));
        let operations = self.app.clone().drive_operations(self.process.name().to_owned(), stop.clone());
        self.tasks.spawn("operations", operations);
        if let Some(age) = config.bmc_password_age {
            self.tasks.spawn("BMC passwords", self.app.clone().change_old_passwords(age, stop.clone()));
        }
        self.tasks.spawn("secrets", self.app.clone().reseal_once(stop.clone()));
        self.tasks.spawn("racks", racks.clone().run_syncs(stop.clone()));
        let poll = engine::poll::run(store.clone(), racks.clone(), config.power_poll, clock.clone(), stop.clone());
        self.tasks.spawn("power poll", poll);
        self.tasks.spawn("heartbeats", heartbeats(store.clone(), stop.clone()));
        self.tasks.spawn("events", self.app.tail.clone().run(stop.clone()));
        self.tasks.spawn("prune", prune(store.clone(), config.events_kept, clock.clone(), stop.clone()));
    }

    fn serve(&mut self, listener: TcpListener, identity: Identity) {
        let app = self.app.clone();
        self.tasks.spawn("api", async move {
            let stop = app.stop.clone();
            api::serve(app, listener, &identity, stop).await.map_err(|e| Chain(&e).to_string())
        });
    }
}

/// Writes which agents were heard; with nobody to hear, it does nothing.
async fn heartbeats(store: Store, stop: CancellationToken) -> Result<(), std::convert::Infallible> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = store.heard_news() => {}
        }
        // What is heard meanwhile goes with it; the last of it is not worth holding up a stop.
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(HEARD) => {}
        }
        if let Err(e) = store.heard_write().await {
            tracing::warn!(error = %e, "which agents were heard could not be written");
            store.heard_again();
        }
    }
}

/// Forgets what nobody asks for any more.
async fn prune(
    store: Store,
    events_kept: Option<TimeDelta>,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    loop {
        let now = clock.now();
        if let Some(kept) = events_kept
            && let Err(e) = prune_log(&store, now - kept, &stop).await
        {
            tracing::warn!(error = %e, "old events and operations could not be forgotten");
        }
        if let Err(e) = store.requests_prune(now - REQUESTS_KEPT).await {
            tracing::warn!(error = %e, "old requests could not be forgotten");
        }
        if let Err(e) = store.live_tokens_prune(now).await {
            tracing::warn!(error = %e, "old tokens of live machines could not be forgotten");
        }
        if let Err(e) = store.steps_prune(now - STEPS_KEPT).await {
            tracing::warn!(error = %e, "old boot steps could not be forgotten");
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PRUNE) => {}
        }
    }
}

/// Events, and the operations that ended as long ago. In parts, so that nobody who writes waits long.
async fn prune_log(store: &Store, before: Timestamp, stop: &CancellationToken) -> Result<(), Error> {
    while !stop.is_cancelled() && store.event_prune(before).await? > 0 {}
    while !stop.is_cancelled() && store.operations_prune(before).await? > 0 {}
    Ok(())
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::File { path, source }
}
