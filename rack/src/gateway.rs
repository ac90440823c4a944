//! The client of the region's `RackGateway`: mutual TLS, a deadline on every call, bounded retries.
//!
//! Every call may be repeated (the contract says so), hence every call is retried when the region or the way to it fails.
//! The channel connects when first used and again after each loss, so a rack starts and serves without its region.

mod live;

use std::{
    future::Future,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use farrier_common::{id::BootId, retry::Backoff, secret::Secret, telemetry::Chain, tls};
use farrier_proto::{
    agent,
    rack::{self as proto, rack_gateway_client::RackGatewayClient},
};
use thiserror::Error;
use tokio::time::timeout;
use tonic::{
    Code, Request, Response, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::boot::intent::BlobRef;

pub use live::{LiveHardware, LiveReport};

/// Why the region did not do what it was asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GatewayError {
    /// It knows what was asked and refuses it to this caller.
    #[error("the region refuses: {0}")]
    Denied(String),
    /// It knows no such thing.
    #[error("the region does not know it: {0}")]
    NotFound(String),
    /// The request cannot be, now or ever.
    #[error("the region cannot accept it: {0}")]
    Invalid(String),
    /// The region is away or in trouble; later may help.
    #[error("the region is not available: {0}")]
    Unavailable(String),
}

/// What this rack shows the region: key and certificates, PEM.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The rack's private key.
    pub key_pem: Secret<String>,
    /// The rack's certificate.
    pub certificate_pem: String,
    /// The region's CA: the only one that is trusted.
    pub ca_pem: String,
}

/// How long one kind of call may take, and how often it is tried.
#[derive(Clone, Copy, Debug)]
struct Plan {
    each: Duration,
    tries: u32,
}

const QUICK: Plan = Plan { each: Duration::from_secs(5), tries: 3 };
/// The region holds NextTask for up to 10 s.
const LONG_POLL: Plan = Plan { each: Duration::from_secs(20), tries: 2 };
/// A step report is a large transaction; the reporter itself retries for ever.
const BULK: Plan = Plan { each: Duration::from_secs(15), tries: 1 };
const BETWEEN: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// Silence after which a download is broken off (and resumed by its caller).
const CHUNK_SILENCE: Duration = Duration::from_secs(30);
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Room for a task that carries 1 MiB of user data and a report that carries a large inventory.
const MESSAGE_BYTES: usize = 8 << 20;

type Client = RackGatewayClient<Channel>;

/// The region, as this rack sees it. Clones share one connection.
#[derive(Clone, Debug)]
pub struct Gateway {
    region: Arc<str>,
    client: Arc<RwLock<Client>>,
}

impl Gateway {
    /// A client of the region at `region` (`host:port`). Connects when first used; must be made inside a tokio runtime.
    ///
    /// # Errors
    /// The address or the credentials are malformed.
    pub fn new(region: &str, credentials: &Credentials) -> Result<Self, GatewayError> {
        let client = client_of(region, &credentials.ca_pem, Some(credentials))?;
        Ok(Self { region: region.into(), client: Arc::new(RwLock::new(client)) })
    }

    /// Goes on with renewed credentials, for all clones; calls in flight end on the old connection.
    ///
    /// # Errors
    /// The credentials are malformed; the old ones stay in use.
    pub fn rekey(&self, credentials: &Credentials) -> Result<(), GatewayError> {
        let client = client_of(&self.region, &credentials.ca_pem, Some(credentials))?;
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
        Ok(())
    }

    /// Asks whether the agent session of boot `boot_id` may read blob `sha256`.
    ///
    /// # Errors
    /// It may not, or the region is away.
    pub async fn authorize_blob(
        &self,
        boot_id: BootId,
        session: &Secret<String>,
        sha256: &str,
    ) -> Result<BlobRef, GatewayError> {
        let request = proto::AuthorizeBlobRequest {
            boot_id: boot_id.to_string(),
            session: session.expose().clone(),
            sha256: sha256.to_owned(),
        };
        let answer = self.call(QUICK, request, |mut client, r| async move { client.authorize_blob(r).await }).await?;
        let blob =
            answer.blob.ok_or_else(|| GatewayError::Unavailable("AuthorizeBlob was answered without a blob".into()))?;
        Ok(BlobRef { sha256: blob.sha256, size: blob.size_bytes })
    }

    /// Tells that the installed system of boot `boot_id` phoned home from `source`.
    ///
    /// # Errors
    /// Boot or token are not the ones awaited, or the region is away.
    pub async fn phone_home(
        &self,
        boot_id: BootId,
        token: &Secret<String>,
        source: IpAddr,
    ) -> Result<(), GatewayError> {
        let request = proto::RelayPhoneHomeRequest {
            boot_id: boot_id.to_string(),
            token: token.expose().clone(),
            source_address: source.to_string(),
        };
        self.call(QUICK, request, |mut client, r| async move { client.relay_phone_home(r).await }).await.map(|_| ())
    }

    /// Starts reading blob `sha256` from byte `offset`.
    ///
    /// # Errors
    /// The region has no such blob, refuses it or is away.
    pub async fn download(&self, sha256: &str, offset: u64) -> Result<Download, GatewayError> {
        let request = Request::new(proto::DownloadBlobRequest { sha256: sha256.to_owned(), offset });
        let mut client = self.client();
        let stream = timeout(QUICK.each, client.download_blob(request))
            .await
            .map_err(|_| GatewayError::Unavailable(format!("no answer to DownloadBlob within {:?}", QUICK.each)))?
            .map_err(|status| error_of(&status))?
            .into_inner();
        Ok(Download { stream, size: None })
    }

    /// Relays an agent's Enlist.
    ///
    /// # Errors
    /// As the region answers.
    pub async fn enlist(
        &self,
        request: agent::EnlistRequest,
        source: IpAddr,
    ) -> Result<agent::EnlistResponse, GatewayError> {
        let request = proto::RelayEnlistRequest { request: Some(request), source_address: source.to_string() };
        self.call(QUICK, request, |mut client, r| async move { client.relay_enlist(r).await }).await
    }

    /// Relays an agent's Hello.
    ///
    /// # Errors
    /// As the region answers.
    pub async fn hello(
        &self,
        request: agent::HelloRequest,
        source: IpAddr,
    ) -> Result<agent::HelloResponse, GatewayError> {
        let request = proto::RelayHelloRequest { request: Some(request), source_address: source.to_string() };
        self.call(QUICK, request, |mut client, r| async move { client.relay_hello(r).await }).await
    }

    /// Relays an agent's NextTask; takes up to 10 s when there is none. `http_base`: this rack's HTTP as the machine
    /// reaches it, such as `http://10.77.0.1:5248`.
    ///
    /// # Errors
    /// As the region answers.
    pub async fn next_task(
        &self,
        request: agent::NextTaskRequest,
        http_base: String,
    ) -> Result<agent::NextTaskResponse, GatewayError> {
        let request = proto::RelayNextTaskRequest { request: Some(request), http_base };
        self.call(LONG_POLL, request, |mut client, r| async move { client.relay_next_task(r).await }).await
    }

    /// Relays an agent's ReportTask.
    ///
    /// # Errors
    /// As the region answers.
    pub async fn report_task(
        &self,
        request: agent::ReportTaskRequest,
    ) -> Result<agent::ReportTaskResponse, GatewayError> {
        let request = proto::RelayReportTaskRequest { request: Some(request) };
        self.call(QUICK, request, |mut client, r| async move { client.relay_report_task(r).await }).await
    }

    /// Says that this rack lives; answers how long to wait until the next time.
    ///
    /// # Errors
    /// As the region answers.
    pub async fn heartbeat(&self, request: proto::HeartbeatRequest) -> Result<Duration, GatewayError> {
        let plan = Plan { tries: 1, ..QUICK };
        let answer = self.call(plan, request, |mut client, r| async move { client.heartbeat(r).await }).await?;
        Ok(Duration::from_secs(answer.interval_seconds.into()))
    }

    /// Hands over what machines did on the wire; answers when the region has stored it.
    ///
    /// # Errors
    /// As the region answers.
    pub async fn report_boot_steps(&self, steps: Vec<proto::BootStep>) -> Result<(), GatewayError> {
        let request = proto::ReportBootStepsRequest { steps };
        self.call(BULK, request, |mut client, r| async move { client.report_boot_steps(r).await }).await.map(|_| ())
    }

    /// Exchanges the certificate for a fresh one for the key in `csr_pem`: certificate and CA, PEM.
    ///
    /// # Errors
    /// As the region answers.
    pub async fn renew(&self, csr_pem: String) -> Result<(String, String), GatewayError> {
        let request = proto::RenewCertificateRequest { csr_pem };
        let answer =
            self.call(QUICK, request, |mut client, r| async move { client.renew_certificate(r).await }).await?;
        Ok((answer.certificate_pem, answer.ca_pem))
    }

    fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn call<Q, A, F, Fut>(&self, plan: Plan, request: Q, send: F) -> Result<A, GatewayError>
    where
        Q: Clone,
        F: Fn(Client, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        repeat(plan, || send(self.client(), timed(request.clone(), plan.each))).await
    }
}

/// Enrols with the secret of a join token: the one call that is made without a certificate.
///
/// # Errors
/// The token is refused, its address or CA is malformed, or the region is away.
pub async fn enroll(
    region: &str,
    ca_pem: &str,
    request: proto::EnrollRequest,
) -> Result<proto::EnrollResponse, GatewayError> {
    let client = client_of(region, ca_pem, None)?;
    let plan = Plan { tries: 1, ..QUICK };
    repeat(plan, || {
        let mut client = client.clone();
        let request = timed(request.clone(), plan.each);
        async move { client.enroll(request).await }
    })
    .await
}

/// A blob on its way.
#[derive(Debug)]
pub struct Download {
    stream: tonic::Streaming<proto::DownloadBlobResponse>,
    size: Option<u64>,
}

impl Download {
    /// The next piece; `None` after the last. Silence of 30 s is an error.
    ///
    /// # Errors
    /// The stream broke.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, GatewayError> {
        let message = timeout(CHUNK_SILENCE, self.stream.message())
            .await
            .map_err(|_| GatewayError::Unavailable(format!("a download was silent for {CHUNK_SILENCE:?}")))?
            .map_err(|status| error_of(&status))?;
        Ok(message.map(|m| {
            self.size.get_or_insert(m.size_bytes);
            m.chunk
        }))
    }

    /// Size of the whole blob, as the first piece told it.
    #[must_use]
    pub const fn size(&self) -> Option<u64> {
        self.size
    }
}

fn client_of(region: &str, ca_pem: &str, credentials: Option<&Credentials>) -> Result<Client, GatewayError> {
    let bad = |e: tonic::transport::Error| GatewayError::Invalid(format!("connection to {region}: {}", Chain(&e)));
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca_pem)).domain_name(tls::SERVER_NAME);
    if let Some(own) = credentials {
        tls = tls.identity(Identity::from_pem(&own.certificate_pem, own.key_pem.expose()));
    }
    let channel = Endpoint::from_shared(format!("https://{region}"))
        .map_err(bad)?
        .tls_config(tls)
        .map_err(bad)?
        .connect_timeout(CONNECT_DEADLINE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .connect_lazy();
    Ok(Client::new(channel).max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(MESSAGE_BYTES))
}

fn timed<Q>(message: Q, deadline: Duration) -> Request<Q> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

async fn repeat<A, Fut>(plan: Plan, send: impl Fn() -> Fut) -> Result<A, GatewayError>
where
    Fut: Future<Output = Result<Response<A>, Status>>,
{
    let mut tried = 0;
    loop {
        // The margin lets the region's own "deadline exceeded" arrive, which says more.
        let outcome = timeout(plan.each + Duration::from_millis(500), send()).await;
        tried += 1;
        let error = match outcome {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => error_of(&status),
            Err(_) => GatewayError::Unavailable(format!("no answer within {:?}", plan.each)),
        };
        if tried >= plan.tries || !matches!(error, GatewayError::Unavailable(_)) {
            return Err(error);
        }
        BETWEEN.pause(tried).await;
    }
}

fn error_of(status: &Status) -> GatewayError {
    // The transport's own errors say nothing in `message`: what went wrong (refused, bad certificate) is in the chain.
    let text = std::error::Error::source(status)
        .map_or_else(|| status.message().to_owned(), |source| format!("{}: {}", status.message(), Chain(source)));
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => GatewayError::Denied(text),
        Code::NotFound => GatewayError::NotFound(text),
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::AlreadyExists
        | Code::Unimplemented => GatewayError::Invalid(text),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => GatewayError::Unavailable(format!("{:?}: {text}", status.code())),
    }
}
