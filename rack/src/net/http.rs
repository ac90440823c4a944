//! HTTP for firmware, iPXE, the agent and installed systems.
//!
//! | path | who | what |
//! |---|---|---|
//! | `/boot/MAC.ipxe` | iPXE | the script that its intent leads to |
//! | `/loaders/NAME` | UEFI HTTP boot | a boot loader |
//! | `/blobs/SHA256` | iPXE | kernels and initrds, open; anything else with `Authorization: Bearer BOOT_ID.SESSION` |
//! | `POST /phone-home/BOOT_ID/TOKEN` | cloud-init | the installed system runs |
//!
//! `connection` bounds what a client can cost, `blob` sends files, `range` reads the Range header.

mod blob;
mod connection;
mod live;
mod range;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use farrier_common::{clock::Clock, net::MacAddr, secret::Secret, telemetry::Chain};
use thiserror::Error;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{dhcp::Leases, loaders::Loaders};
use crate::{
    blobs::Blobs,
    boot::{
        answer::{Answer, answer},
        breaker::Verdict,
        intent::Intent,
        script::{self, script},
        state::BootState,
        steps::{Step, StepKind, Steps},
    },
    crash::{Crash, Point, Work},
    gateway::{Gateway, GatewayError},
};

/// cloud-init posts host keys and the like; nobody reads them.
const PHONE_HOME_BYTES: usize = 64 << 10;

/// For a body that is posted.
const BODY_DEADLINE: Duration = Duration::from_secs(20);

/// What to serve.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where agents speak to the rack; told to them by the kernel's command line.
    pub agent_port: u16,
    /// Where the loaders are; Debian's package `ipxe` puts them in `/usr/lib/ipxe`.
    pub loaders_dir: PathBuf,
}

/// What answers are made from.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The intents.
    pub boot: BootState,
    /// Tells who has which address.
    pub leases: Leases,
    /// The images.
    pub blobs: Blobs,
    /// Asked for permissions and told of phone-homes.
    pub gateway: Gateway,
    /// Told what machines do.
    pub steps: Steps,
    /// The time.
    pub clock: Clock,
    /// Where tests let the rack die.
    pub crash: Crash,
}

/// Why HTTP cannot be served.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The address cannot be listened on.
    #[error("cannot listen for HTTP on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There is nothing to serve.
    #[error("cannot load boot loaders")]
    Loaders(#[source] io::Error),
}

/// A server that listens already.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    loaders: Loaders,
    agent_port: u16,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
struct Ends {
    /// Our address as the client sees it.
    rack: SocketAddr,
    client: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    parts: Parts,
    loaders: Loaders,
    agent_port: u16,
}

/// An answer that says why there is no other.
type Refusal = (StatusCode, String);

/// Serves HTTP until `stop`.
///
/// # Errors
/// The address cannot be listened on, or there are no loaders.
pub async fn serve(config: Config, parts: Parts, stop: CancellationToken) -> Result<(), HttpError> {
    Server::bind(&config).await?.run(parts, stop).await
}

// === impl Server ===

impl Server {
    /// Loads the loaders and listens.
    ///
    /// # Errors
    /// The address cannot be listened on, or there are no loaders.
    pub async fn bind(config: &Config) -> Result<Self, HttpError> {
        let loaders = Loaders::load(&config.loaders_dir).map_err(HttpError::Loaders)?;
        let failed = |source| HttpError::Bind { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, "HTTP is served");
        Ok(Self { listener, address, loaders, agent_port: config.agent_port })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// None; the type is what task groups take.
    pub async fn run(self, parts: Parts, stop: CancellationToken) -> Result<(), HttpError> {
        let shared = Shared { parts, loaders: self.loaders, agent_port: self.agent_port };
        connection::run(self.listener, router(shared), stop).await;
        Ok(())
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/boot/{file}", get(boot_script))
        .route("/loaders/{name}", get(loader))
        .route("/blobs/{sha256}", get(blob::get))
        .route("/phone-home/{boot_id}/{token}", post(phone_home))
        .layer(DefaultBodyLimit::max(PHONE_HOME_BYTES))
        .route("/live-inventory", post(live::post))
        .with_state(Arc::new(shared))
}

async fn boot_script(
    State(shared): State<Arc<Shared>>,
    Extension(ends): Extension<Ends>,
    method: Method,
    Path(file): Path<String>,
) -> Result<Response, Refusal> {
    let mac: MacAddr = file
        .strip_suffix(".ipxe")
        .and_then(|mac| mac.parse().ok())
        .ok_or_else(|| (StatusCode::NOT_FOUND, "scripts are /boot/MAC.ipxe\n".to_owned()))?;
    let Shared { parts, agent_port, .. } = &*shared;
    let (intent, enlist, now) = (parts.boot.by_mac(mac), parts.boot.enlist_image(), parts.clock.now());
    let mut answer = answer(intent.as_deref(), enlist.as_deref(), now);
    if method == Method::GET && is_held(parts, &answer, mac, intent.as_deref()) {
        answer = Answer::LocalDisk;
    }
    let name = intent.as_deref().map(|i| i.machine_name.as_str());
    let text = script(&answer, name, mac, ends.seen_from_machine(*agent_port)).map_err(|error| {
        tracing::error!(%mac, error = %Chain(&error), "an intent cannot be made a boot script");
        (StatusCode::INTERNAL_SERVER_ERROR, "the intent cannot be made a boot script\n".to_owned())
    })?;
    if method == Method::GET {
        let what = format!("script: {}", answer.describe());
        parts.steps.record(Step::new(now, mac, intent.as_deref(), StepKind::Http, &what));
    }
    Ok(([(header::CONTENT_TYPE, "text/plain")], text).into_response())
}

/// Does this network boot lead nowhere, so that the machine is sent to its disk? Tells of it when that begins.
fn is_held(parts: &Parts, answer: &Answer<'_>, mac: MacAddr, intent: Option<&Intent>) -> bool {
    let Answer::Ephemeral { boot, .. } = answer else { return false };
    let now = parts.clock.now();
    match parts.boot.breaker().asks(mac, boot.map(|(id, _)| id), now) {
        Verdict::Serve => false,
        Verdict::Hold { passes, news } => {
            if news {
                let instead = if intent.is_some() { "it is sent to its local disk" } else { "it gets nothing to boot" };
                let text = format!("the network boot led nowhere {passes} times (no agent said hello): {instead}");
                tracing::warn!(%mac, text, "a network boot is held");
                parts.steps.record(Step::new(now, mac, intent, StepKind::Loop, &text));
            }
            true
        }
    }
}

async fn loader(
    State(shared): State<Arc<Shared>>,
    Extension(ends): Extension<Ends>,
    method: Method,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let found = shared.loaders.get(&name);
    let (name, bytes) = found.ok_or_else(|| (StatusCode::NOT_FOUND, "no such loader\n".to_owned()))?;
    if method == Method::GET {
        let text = format!("{name}, {} KiB by HTTP", bytes.len().div_ceil(1024));
        shared.record(ends.client.ip(), StepKind::Http, &text);
    }
    // UEFI tells by this whether it may start what it loads.
    let kind = if name.ends_with(".efi") { "application/efi" } else { "application/octet-stream" };
    Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response())
}

async fn phone_home(
    State(shared): State<Arc<Shared>>,
    Extension(ends): Extension<Ends>,
    Path((boot_id, token)): Path<(String, String)>,
    body: Body,
) -> Result<&'static str, Refusal> {
    let boot_id = boot_id.parse().map_err(|e| (StatusCode::BAD_REQUEST, format!("boot_id: {e}\n")))?;
    let token = Secret::new(token);
    read_and_forget(body).await?;
    let Parts { boot, gateway, steps, clock, crash, .. } = &shared.parts;
    crash.at(Point::RelayReceived, Work::PhoneHome);
    gateway.phone_home(boot_id, &token, ends.client.ip()).await.map_err(|error| {
        tracing::warn!(%boot_id, client = %ends.client, error = %Chain(&error), "phone-home was not accepted");
        match error {
            GatewayError::Denied(_) | GatewayError::NotFound(_) | GatewayError::Invalid(_) => {
                (StatusCode::FORBIDDEN, "this boot does not wait for a phone-home with this token\n".to_owned())
            }
            GatewayError::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "the region cannot be reached, try again\n".to_owned())
            }
        }
    })?;
    crash.at(Point::RelayAnswered, Work::PhoneHome);
    if let Some(intent) = boot.by_boot(boot_id)
        && let Some(mac) = shared.mac_of(ends.client.ip()).or(intent.interfaces.first().map(|i| i.mac))
    {
        steps.record(Step::new(clock.now(), mac, Some(&intent), StepKind::Os, "the installed system phoned home"));
    }
    Ok("thank you\n")
}

/// What is posted is taken off the connection, since some clients do not read the answer before they have sent all.
async fn read_and_forget(body: Body) -> Result<(), Refusal> {
    let read = timeout(BODY_DEADLINE, axum::body::to_bytes(body, PHONE_HOME_BYTES)).await;
    let read: Bytes = read
        .map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n".to_owned()))?
        .map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, format!("at most {PHONE_HOME_BYTES} bytes are taken\n")))?;
    tracing::debug!(bytes = read.len(), "phone-home");
    Ok(())
}

// === impl Ends ===

impl Ends {
    fn seen_from_machine(&self, agent_port: u16) -> script::Rack {
        let address = match self.rack.ip() {
            IpAddr::V4(address) => address,
            // A socket for both families shows IPv4 so.
            IpAddr::V6(address) => address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED),
        };
        script::Rack { address, http_port: self.rack.port(), agent_port }
    }
}

// === impl Shared ===

impl Shared {
    fn mac_of(&self, client: IpAddr) -> Option<MacAddr> {
        match client {
            IpAddr::V4(address) => self.parts.leases.mac_of(address),
            IpAddr::V6(address) => self.parts.leases.mac_of(address.to_ipv4_mapped()?),
        }
    }

    /// Records a step of the machine that has an address from us; others leave no trace but a log line.
    fn record(&self, client: IpAddr, kind: StepKind, text: &str) {
        let Some(mac) = self.mac_of(client) else {
            tracing::info!(%client, text, "request of a client without a lease");
            return;
        };
        let intent = self.parts.boot.by_mac(mac);
        self.parts.steps.record(Step::new(self.parts.clock.now(), mac, intent.as_deref(), kind, text));
    }
}

#[cfg(test)]
mod tests;
