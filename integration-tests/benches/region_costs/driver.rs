//! A rack whose machines take no time: BMCs answer at once, boots last nothing, agents and installed systems do at once what
//! they are told. What is left is what the region costs. Speaks `farrier.rack.v1` in both directions, over mutual TLS.

mod agent;

use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use farrier_common::{net::MacAddr, secret::Secret, tls};
use farrier_proto::{
    rack::{
        self,
        boot_intent::Target,
        rack_gateway_client::RackGatewayClient,
        rack_service_server::{RackService, RackServiceServer},
        sync_intents_request::Part,
    },
    v1::PowerState,
};
use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig},
};

type Gateway = RackGatewayClient<Channel>;

/// More than the region keeps open at a time.
const CALLS: usize = 4096;

/// The rack.
#[derive(Clone)]
pub(crate) struct Driver {
    gateway: Gateway,
    address: String,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    snapshot: String,
    /// By machine id.
    intents: HashMap<String, rack::BootIntent>,
    /// Machine ids, by number.
    ids: HashMap<u32, String>,
    /// Numbers of the machines that are on.
    on: HashSet<u32>,
    /// Where the systems that were installed phone home.
    installed: HashMap<u32, agent::Home>,
}

/// The hardware address of machine `n`.
pub(crate) const fn mac(n: u32) -> MacAddr {
    let [_, a, b, c] = n.to_be_bytes();
    MacAddr([0x52, 0x54, 0, a, b, c])
}

/// The address of its BMC, which nobody serves: the driver answers for it.
pub(crate) const fn bmc(n: u32) -> Ipv4Addr {
    let [_, a, b, c] = n.to_be_bytes();
    Ipv4Addr::new(10, 128 | a, b, c)
}

fn number(bmc: Option<&rack::Bmc>) -> Result<u32, Status> {
    let address = bmc.and_then(|b| b.address.parse::<Ipv4Addr>().ok()).map(|a| a.octets());
    let [_, a, b, c] = address.ok_or_else(|| Status::invalid_argument("bmc.address: is missing"))?;
    Ok(u32::from_be_bytes([0, a & 0x7f, b, c]))
}

impl Driver {
    /// Enrols with what `farrier rack join-token` gave, serves, and tells the region that it lives.
    pub(crate) async fn start(join_token: &str) -> anyhow::Result<Self> {
        let token: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(join_token.trim())?)?;
        let text = |name: &str| token[name].as_str().map(str::to_owned).context("the join token lacks a field");
        let (region, ca_pem, secret) = (text("region")?, text("ca_pem")?, Secret::new(text("secret")?));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let key = KeyPair::generate()?;
        let request = rack::EnrollRequest {
            secret: secret.expose().clone(),
            csr_pem: CertificateParams::default().serialize_request(&key)?.pem()?,
            address: address.clone(),
            software_version: "no-delay driver".to_owned(),
        };
        let enrolled = Gateway::new(channel(&region, &ca_pem, None)?).enroll(request).await?.into_inner();
        let identity = Identity::from_pem(&enrolled.certificate_pem, key.serialize_pem());
        let gateway = Gateway::new(channel(&region, &ca_pem, Some(identity.clone()))?);
        let driver = Self { gateway, address, held: Arc::default() };
        let tls = ServerTlsConfig::new().identity(identity).client_ca_root(Certificate::from_pem(&ca_pem));
        let server = Server::builder()
            .tls_config(tls)?
            .concurrency_limit_per_connection(CALLS)
            .tcp_nodelay(true)
            .add_service(RackServiceServer::new(driver.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let interval = driver.beat().await?;
        tokio::spawn(driver.clone().live(interval));
        Ok(driver)
    }

    async fn beat(&self) -> anyhow::Result<Duration> {
        let (snapshot_id, intents) = self.with(|held| (held.snapshot.clone(), held.intents.len() as u64));
        let request = rack::HeartbeatRequest {
            address: self.address.clone(),
            software_version: "no-delay driver".to_owned(),
            snapshot_id,
            intents,
            http_port: 5248,
        };
        let answer = self.gateway.clone().heartbeat(request).await?.into_inner();
        Ok(Duration::from_secs(answer.interval_seconds.max(1).into()))
    }

    /// A region that is being started anew is waited for.
    async fn live(self, mut interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            interval = self.beat().await.unwrap_or(Duration::from_secs(1));
        }
    }

    fn with<T>(&self, with: impl FnOnce(&mut Held) -> T) -> T {
        with(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn power(&self, n: u32) -> PowerState {
        if self.with(|held| held.on.contains(&n)) { PowerState::On } else { PowerState::Off }
    }

    /// The machine starts, without delay.
    fn switch_on(&self, n: u32) {
        if !self.with(|held| held.on.insert(n)) {
            return;
        }
        let target = self.with(|held| held.intents.get(held.ids.get(&n)?)?.target.clone());
        match target {
            Some(Target::Ephemeral(boot)) => drop(tokio::spawn(agent::run(self.clone(), n, boot))),
            Some(Target::LocalDisk(_)) => {
                if let Some(home) = self.with(|held| held.installed.remove(&n)) {
                    tokio::spawn(agent::phone_home(self.clone(), n, home));
                }
            }
            None => {}
        }
    }
}

fn channel(region: &str, ca_pem: &str, identity: Option<Identity>) -> anyhow::Result<Channel> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca_pem)).domain_name(tls::SERVER_NAME);
    if let Some(identity) = identity {
        tls = tls.identity(identity);
    }
    let _: SocketAddr = region.parse().context("the region's address")?;
    Ok(Endpoint::from_shared(format!("https://{region}"))?.tls_config(tls)?.tcp_nodelay(true).connect_lazy())
}

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(message: T) -> Answer<T> {
    Ok(Response::new(message))
}

#[tonic::async_trait]
impl RackService for Driver {
    async fn get_status(&self, _: Request<rack::GetStatusRequest>) -> Answer<rack::GetStatusResponse> {
        answer(rack::GetStatusResponse::default())
    }

    async fn sync_intents(
        &self,
        request: Request<Streaming<rack::SyncIntentsRequest>>,
    ) -> Answer<rack::SyncIntentsResponse> {
        let mut parts = request.into_inner();
        let mut fresh = Held::default();
        while let Some(message) = parts.message().await? {
            match message.part {
                Some(Part::Header(header)) => fresh.snapshot = header.snapshot_id,
                Some(Part::Intent(intent)) => fresh.put(intent)?,
                None => return Err(Status::invalid_argument("part: is missing")),
            }
        }
        let intents = fresh.intents.len() as u64;
        self.with(|held| {
            (held.snapshot, held.intents, held.ids) = (fresh.snapshot, fresh.intents, fresh.ids);
        });
        answer(rack::SyncIntentsResponse { intents })
    }

    async fn put_intent(&self, request: Request<rack::PutIntentRequest>) -> Answer<rack::PutIntentResponse> {
        let intent = request.into_inner().intent.ok_or_else(|| Status::invalid_argument("intent: is missing"))?;
        let version = intent.version;
        self.with(|held| held.put(intent))?;
        answer(rack::PutIntentResponse { version })
    }

    async fn remove_intent(&self, request: Request<rack::RemoveIntentRequest>) -> Answer<rack::RemoveIntentResponse> {
        self.with(|held| held.intents.remove(&request.get_ref().machine_id));
        answer(rack::RemoveIntentResponse {})
    }

    async fn prefetch_blob(&self, _: Request<rack::PrefetchBlobRequest>) -> Answer<rack::PrefetchBlobResponse> {
        answer(rack::PrefetchBlobResponse {})
    }

    async fn probe_bmc(&self, request: Request<rack::ProbeBmcRequest>) -> Answer<rack::ProbeBmcResponse> {
        let power = self.power(number(request.get_ref().bmc.as_ref())?).into();
        let protocol = farrier_proto::v1::BmcProtocol::Ipmi.into();
        let ipmi_version = "2.0".to_owned();
        answer(rack::ProbeBmcResponse { protocol, ipmi_version, cipher_suite: 17, power, ..Default::default() })
    }

    async fn get_power(&self, request: Request<rack::GetPowerRequest>) -> Answer<rack::GetPowerResponse> {
        answer(rack::GetPowerResponse { power: self.power(number(request.get_ref().bmc.as_ref())?).into() })
    }

    async fn set_power(&self, request: Request<rack::SetPowerRequest>) -> Answer<rack::SetPowerResponse> {
        let n = number(request.get_ref().bmc.as_ref())?;
        match request.get_ref().power() {
            PowerState::On => self.switch_on(n),
            PowerState::Off => drop(self.with(|held| held.on.remove(&n))),
            PowerState::Unspecified => return Err(Status::invalid_argument("power: must be ON or OFF")),
        }
        answer(rack::SetPowerResponse { power: self.power(n).into() })
    }

    async fn cycle_power(&self, request: Request<rack::CyclePowerRequest>) -> Answer<rack::CyclePowerResponse> {
        let n = number(request.get_ref().bmc.as_ref())?;
        self.with(|held| held.on.remove(&n));
        self.switch_on(n);
        answer(rack::CyclePowerResponse {})
    }

    async fn set_boot_device(&self, _: Request<rack::SetBootDeviceRequest>) -> Answer<rack::SetBootDeviceResponse> {
        answer(rack::SetBootDeviceResponse {})
    }

    async fn ensure_bmc_account(
        &self,
        _: Request<rack::EnsureBmcAccountRequest>,
    ) -> Answer<rack::EnsureBmcAccountResponse> {
        answer(rack::EnsureBmcAccountResponse { slot: 3, created: true })
    }

    async fn remove_bmc_account(
        &self,
        _: Request<rack::RemoveBmcAccountRequest>,
    ) -> Answer<rack::RemoveBmcAccountResponse> {
        answer(rack::RemoveBmcAccountResponse { removed: true })
    }

    async fn change_bmc_password(
        &self,
        _: Request<rack::ChangeBmcPasswordRequest>,
    ) -> Answer<rack::ChangeBmcPasswordResponse> {
        answer(rack::ChangeBmcPasswordResponse { changed: true })
    }

    async fn get_bmc_events(&self, _: Request<rack::GetBmcEventsRequest>) -> Answer<rack::GetBmcEventsResponse> {
        answer(rack::GetBmcEventsResponse::default())
    }

    async fn get_bios_settings(
        &self,
        _: Request<rack::GetBiosSettingsRequest>,
    ) -> Answer<rack::GetBiosSettingsResponse> {
        answer(rack::GetBiosSettingsResponse::default())
    }

    async fn set_bios_settings(
        &self,
        _: Request<rack::SetBiosSettingsRequest>,
    ) -> Answer<rack::SetBiosSettingsResponse> {
        answer(rack::SetBiosSettingsResponse {})
    }

    async fn reset_bmc(&self, _: Request<rack::ResetBmcRequest>) -> Answer<rack::ResetBmcResponse> {
        answer(rack::ResetBmcResponse {})
    }

    async fn soft_off(&self, request: Request<rack::SoftOffRequest>) -> Answer<rack::SoftOffResponse> {
        let n = number(request.get_ref().bmc.as_ref())?;
        self.with(|held| held.on.remove(&n));
        answer(rack::SoftOffResponse {})
    }
}

impl Held {
    fn put(&mut self, intent: rack::BootIntent) -> Result<(), Status> {
        let mac = intent.interfaces.first().and_then(|i| i.mac.parse::<MacAddr>().ok());
        let MacAddr([_, _, _, a, b, c]) =
            mac.ok_or_else(|| Status::invalid_argument("intent.interfaces: are missing"))?;
        self.ids.insert(u32::from_be_bytes([0, a, b, c]), intent.machine_id.clone());
        self.intents.insert(intent.machine_id.clone(), intent);
        Ok(())
    }
}
