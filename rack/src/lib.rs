//! Everything that Farrier does on the machines' wire: DHCP, TFTP and HTTP boot, BMCs, and the relay between the agents and
//! the region.
//!
//! Directions: `net → {boot, blobs, gateway}`; `service → {boot, bmc, blobs, gateway}`; `link` and `relay → {boot, gateway}`;
//! `blobs → {boot, gateway}`; `bmc` and `boot` know nothing of the others. Tonic appears only in `service`, `gateway` and `relay`.
//! Knows neither the database nor the life-cycle.

pub mod blobs;
pub mod bmc;
pub mod boot;
pub mod config;
pub mod crash;
pub mod gateway;
pub mod join;
pub mod link;
pub mod net;
pub mod relay;
pub mod service;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use farrier_common::{clock::Clock, task::TaskGroup};
use thiserror::Error;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use self::{
    blobs::Blobs,
    bmc::{
        Bmcs,
        redfish::trust::{Authorities, AuthoritiesError},
    },
    boot::breaker::Breaker,
    boot::{state::BootState, steps::Steps},
    config::Config,
    crash::Crash,
    gateway::{Gateway, GatewayError},
    link::{
        enrol::{self, EnrolError},
        heartbeat::Heart,
        identity::{Folder, IdentityError},
        reporter,
    },
    net::{
        dhcp::{self, Leases},
        http, tftp,
    },
    relay::Relay,
    service::Service,
};

/// Told to the region.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why a rack does not run.
#[derive(Debug, Error)]
pub enum RackError {
    /// Its identity cannot be kept.
    #[error("identity")]
    Identity(#[from] IdentityError),
    /// It has none.
    #[error("cannot enrol")]
    Enrol(#[source] EnrolError),
    /// The region's address or the credentials are malformed.
    #[error("cannot make connections to the region")]
    Gateway(#[from] GatewayError),
    /// Something under `data_dir`.
    #[error("cannot open {path}")]
    Data {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A port.
    #[error("cannot listen on {address} for {what}")]
    Listen {
        /// Whom it would serve.
        what: &'static str,
        /// The port.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Nobody can vouch for BMCs as configured.
    #[error("bmc_ca_file {path}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        source: AuthoritiesError,
    },
    /// A part of it ended.
    #[error("{0}")]
    Part(String),
}

/// Boot steps that may wait for the region: some hundred boots.
const STEPS: usize = 8192;
/// For calls under way when the rack is told to stop: as long as a slow power-off.
const GRACE: Duration = Duration::from_secs(50);

/// Runs a rack until `stop`, or until a part of it fails. Enrols first if it must. `crash`: where tests let it die.
///
/// # Errors
/// See [`RackError`].
pub async fn run(config: Config, clock: Clock, crash: Crash, stop: CancellationToken) -> Result<(), RackError> {
    let data = |name: &str| config.data_dir.join(name);
    let folder = Folder::open(data("identity"))?;
    let authorities = authorities(config.bmc_ca_file.as_deref())?;
    let bmcs = Bmcs::default().with_authorities(authorities).with_polls(config.bmc_polls);
    let identity = match enrol::identity(&config, &folder, &clock, &stop).await {
        Ok(identity) => identity,
        Err(EnrolError::Stopped) => return Ok(()),
        Err(error) => return Err(RackError::Enrol(error)),
    };
    let opened = |path: PathBuf| move |source| RackError::Data { path, source };
    let boot = BootState::open(&data("intents")).map_err(opened(data("intents")))?.with_crash(crash.clone());
    let boot = boot.with_breaker(Breaker::new(config.boot_loop_limit));
    let leases = Leases::open(&data("leases.json")).map_err(opened(data("leases.json")))?;
    let gateway = Gateway::new(&identity.region, &identity.credentials)?;
    let blobs = Blobs::open(data("blobs"), gateway.clone()).map_err(opened(data("blobs")))?;
    let (steps, reported) = Steps::channel(STEPS);
    let service_listener = listen("the region", SocketAddr::from(([0, 0, 0, 0], config.ports.service))).await?;
    let agent_listener = listen("agents", SocketAddr::from((config.address, config.ports.agent))).await?;

    let mut group = TaskGroup::new();
    let stopped = group.stop_signal();
    let service = Service::new(identity.rack_id, boot.clone(), blobs.clone(), bmcs).with_crash(crash.clone());
    tracing::info!(rack = %identity.rack_id, region = identity.region, advertise = config.advertise, "rack runs");
    let (renewed, credentials) = watch::channel(identity.credentials.clone());
    let std_listener = service_listener.into_std().map_err(|e| RackError::Part(format!("service listener: {e}")))?;
    group.spawn("service", service::serve(service, std_listener, credentials, stopped.clone()));
    let relay = Relay::new(gateway.clone(), boot.clone(), steps.clone(), clock.clone(), config.ports.http)
        .with_crash(crash.clone());
    group.spawn("relay", relay.serve(agent_listener, stopped.clone()));
    group.spawn("reporter", reporter::run(gateway.clone(), reported, stopped.clone()));
    spawn_net(
        &mut group,
        &config,
        &http::Parts {
            boot: boot.clone(),
            leases,
            blobs,
            gateway: gateway.clone(),
            steps,
            clock: clock.clone(),
            crash,
        },
    );
    let heart = Heart {
        gateway,
        boot,
        advertise: config.advertise,
        http_port: config.ports.http,
        folder,
        identity,
        renewed,
        clock,
    };
    group.spawn("heartbeat", heart.run(stopped.clone()));
    group.spawn::<std::convert::Infallible>("stop", async move {
        tokio::select! {
            () = stop.cancelled() => stopped.cancel(),
            () = stopped.cancelled() => {}
        }
        Ok(())
    });
    group.run(GRACE).await.map_err(RackError::Part)
}

/// Those who may vouch for BMCs.
fn authorities(file: Option<&Path>) -> Result<Authorities, RackError> {
    let Some(path) = file else { return Ok(Authorities::default()) };
    let pem = fs::read(path).map_err(|source| RackError::Data { path: path.to_owned(), source })?;
    Authorities::from_pem(&pem).map_err(|source| RackError::Authorities { path: path.to_owned(), source })
}

/// What firmware speaks.
fn spawn_net(group: &mut TaskGroup, config: &Config, parts: &http::Parts) {
    let stop = group.stop_signal();
    let http::Parts { boot, leases, steps, clock, crash, .. } = parts.clone();
    let dhcp_config = dhcp::Config {
        interfaces: config
            .interfaces
            .iter()
            .map(|name| dhcp::Interface { name: name.clone(), address: config.address })
            .collect(),
        server_port: config.ports.dhcp,
        // Clients listen on the port above the server's: 68.
        client_port: config.ports.dhcp.saturating_add(1),
        http_port: config.ports.http,
    };
    let tftp_config = tftp::Config {
        addresses: vec![config.address],
        port: config.ports.tftp,
        loaders_dir: config.loaders_dir.clone(),
    };
    let http_config = http::Config {
        listen: SocketAddr::from((config.address, config.ports.http)),
        agent_port: config.ports.agent,
        loaders_dir: config.loaders_dir.clone(),
    };
    let (tftp_boot, tftp_leases, tftp_steps, tftp_clock) = (boot.clone(), leases.clone(), steps.clone(), clock.clone());
    group.spawn("dhcp", chained(dhcp::serve(dhcp_config, boot, leases, steps, clock, crash, stop.clone())));
    group
        .spawn("tftp", chained(tftp::serve(tftp_config, tftp_boot, tftp_leases, tftp_steps, tftp_clock, stop.clone())));
    group.spawn("http", chained(http::serve(http_config, parts.clone(), stop)));
}

/// A task group tells an error's own text only; this adds its causes.
async fn chained<E: std::error::Error + 'static>(task: impl Future<Output = Result<(), E>>) -> Result<(), String> {
    task.await.map_err(|error| farrier_common::telemetry::Chain(&error).to_string())
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, RackError> {
    TcpListener::bind(address).await.map_err(|source| RackError::Listen { what, address, source })
}
