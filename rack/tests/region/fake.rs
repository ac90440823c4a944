//! A region that speaks `RackGateway` over TLS, remembers what it is told and fails on demand.

use std::{
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use farrier_common::{
    clock::Timestamp,
    id::RackId,
    secret::{Secret, sha256_hex},
    tls,
};
use farrier_proto::{
    agent,
    rack::{
        self as proto,
        rack_gateway_server::{RackGateway, RackGatewayServer},
    },
    v1,
};
use farrier_rack::{gateway::Credentials, join::JoinToken};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair, PublicKeyData,
    SanType, date_time_ymd,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status,
    transport::{Certificate, Identity, Server, ServerTlsConfig},
};

pub(crate) const SECRET: &str = "join-secret";

/// What the region knows, is told, and is to do wrong.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) enrolled: Vec<proto::EnrollRequest>,
    pub(crate) heartbeats: Vec<proto::HeartbeatRequest>,
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) renewals: usize,
    pub(crate) reports: Vec<Vec<proto::BootStep>>,
    pub(crate) blobs: HashMap<String, Vec<u8>>,
    /// Offsets of the downloads that were asked for.
    pub(crate) downloads: Vec<u64>,
    /// Each download breaks off after so many bytes, until the list is empty.
    pub(crate) breaks: Vec<usize>,
    pub(crate) relayed: Vec<String>,
    /// The next calls fail with these.
    pub(crate) failures: Vec<Status>,
    pub(crate) slow: Duration,
}

/// The certificate authority.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    pub(crate) rack_id: RackId,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem, rack_id: RackId::generate() }
    }

    fn sign(&self, key: &impl PublicKeyData, names: &[String], uri: &str) -> String {
        let mut params = CertificateParams::new(names).unwrap();
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2050, 1, 1));
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    fn sign_rack(&self, key: &impl PublicKeyData) -> String {
        let uri = format!("{}{}", tls::RACK_IDENTITY_PREFIX, self.rack_id);
        self.sign(key, &[tls::rack_server_name(self.rack_id)], &uri)
    }

    pub(crate) fn region(&self) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let certificate_pem = self.sign(&key, &[tls::SERVER_NAME.to_owned()], tls::REGION_IDENTITY);
        Credentials { certificate_pem, key_pem: key.serialize_pem().into(), ca_pem: self.pem.clone() }
    }

    pub(crate) fn rack(&self) -> Credentials {
        let key = KeyPair::generate().unwrap();
        Credentials {
            certificate_pem: self.sign_rack(&key),
            key_pem: key.serialize_pem().into(),
            ca_pem: self.pem.clone(),
        }
    }
}

/// A running region; ends when dropped.
pub(crate) struct Fake {
    pub(crate) ca: Arc<Ca>,
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::new(Ca::new()))
    }

    pub(crate) fn start_on(listener: TcpListener, ca: Arc<Ca>) -> Self {
        tls::install_provider();
        let (state, address) = (Arc::<Mutex<State>>::default(), listener.local_addr().unwrap());
        let own = ca.region();
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(&own.certificate_pem, own.key_pem.expose()))
            .client_ca_root(Certificate::from_pem(&ca.pem))
            .client_auth_optional(true);
        let service = RackGatewayServer::new(Service { ca: Arc::clone(&ca), state: Arc::clone(&state) });
        let router = Server::builder().tls_config(tls).unwrap().add_service(service);
        let task = tokio::spawn(async move {
            router.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { ca, state, address, task }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn token(&self) -> JoinToken {
        token(self.address, &self.ca)
    }

    pub(crate) fn hold(&self, content: &[u8]) -> String {
        let digest = sha256_hex(content);
        self.state().blobs.insert(digest.clone(), content.to_vec());
        digest
    }
}

pub(crate) fn token(address: SocketAddr, ca: &Ca) -> JoinToken {
    JoinToken { region: address.to_string(), ca_pem: ca.pem.clone(), secret: Secret::new(SECRET.to_owned()) }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Now, for steps.
pub(crate) fn now() -> Timestamp {
    farrier_common::clock::Clock::System.now()
}

struct Service {
    ca: Arc<Ca>,
    state: Arc<Mutex<State>>,
}

impl Service {
    /// The state, if the caller showed a certificate and no failure is due.
    fn admit<T>(&self, request: &Request<T>) -> Result<MutexGuard<'_, State>, Status> {
        let certificates = request.peer_certs().ok_or_else(|| Status::unauthenticated("no client certificate"))?;
        let mut state = self.state.lock().unwrap();
        state.certificates.push(certificates[0].to_vec());
        match state.failures.pop() {
            Some(failure) => Err(failure),
            None => Ok(state),
        }
    }
}

type Chunks = Pin<Box<dyn Stream<Item = Result<proto::DownloadBlobResponse, Status>> + Send>>;

#[tonic::async_trait]
impl RackGateway for Service {
    async fn enroll(&self, request: Request<proto::EnrollRequest>) -> Result<Response<proto::EnrollResponse>, Status> {
        let request = request.into_inner();
        if request.secret != SECRET {
            return Err(Status::permission_denied("the token was used, has expired or never was"));
        }
        let csr = CertificateSigningRequestParams::from_pem(&request.csr_pem).unwrap();
        self.state.lock().unwrap().enrolled.push(request);
        Ok(Response::new(proto::EnrollResponse {
            rack_id: self.ca.rack_id.to_string(),
            rack_name: "r1".into(),
            certificate_pem: self.ca.sign_rack(&csr.public_key),
            ca_pem: self.ca.pem.clone(),
            region_identity: tls::REGION_IDENTITY.into(),
        }))
    }

    async fn renew_certificate(
        &self,
        request: Request<proto::RenewCertificateRequest>,
    ) -> Result<Response<proto::RenewCertificateResponse>, Status> {
        self.admit(&request)?.renewals += 1;
        let csr = CertificateSigningRequestParams::from_pem(&request.into_inner().csr_pem).unwrap();
        let certificate_pem = self.ca.sign_rack(&csr.public_key);
        Ok(Response::new(proto::RenewCertificateResponse { certificate_pem, ca_pem: self.ca.pem.clone() }))
    }

    async fn heartbeat(
        &self,
        request: Request<proto::HeartbeatRequest>,
    ) -> Result<Response<proto::HeartbeatResponse>, Status> {
        self.admit(&request)?.heartbeats.push(request.into_inner());
        Ok(Response::new(proto::HeartbeatResponse { interval_seconds: 1 }))
    }

    async fn report_boot_steps(
        &self,
        request: Request<proto::ReportBootStepsRequest>,
    ) -> Result<Response<proto::ReportBootStepsResponse>, Status> {
        self.admit(&request)?.reports.push(request.into_inner().steps);
        Ok(Response::new(proto::ReportBootStepsResponse {}))
    }

    type DownloadBlobStream = Chunks;

    async fn download_blob(
        &self,
        request: Request<proto::DownloadBlobRequest>,
    ) -> Result<Response<Self::DownloadBlobStream>, Status> {
        let mut state = self.admit(&request)?;
        let request = request.into_inner();
        state.downloads.push(request.offset);
        let content = state.blobs.get(&request.sha256).cloned().ok_or_else(|| Status::not_found("no such blob"))?;
        let size_bytes = content.len() as u64;
        let rest = content[usize::try_from(request.offset).unwrap()..].to_vec();
        let broken = state.breaks.pop();
        let sent = broken.map_or(rest.len(), |after| after.min(rest.len()));
        let mut messages: Vec<_> = rest[..sent]
            .chunks(1000)
            .map(|chunk| Ok(proto::DownloadBlobResponse { size_bytes, chunk: chunk.to_vec() }))
            .collect();
        if broken.is_some() {
            messages.push(Err(Status::unavailable("the region stops")));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }

    async fn relay_enlist(
        &self,
        request: Request<proto::RelayEnlistRequest>,
    ) -> Result<Response<agent::EnlistResponse>, Status> {
        self.admit(&request)?.relayed.push(format!("enlist from {}", request.get_ref().source_address));
        Ok(Response::new(agent::EnlistResponse { machine_name: "node-1".into(), state: "new".into() }))
    }

    async fn relay_hello(
        &self,
        request: Request<proto::RelayHelloRequest>,
    ) -> Result<Response<agent::HelloResponse>, Status> {
        self.admit(&request)?.relayed.push(format!("hello from {}", request.get_ref().source_address));
        Ok(Response::new(agent::HelloResponse { machine_name: "node-1".into(), purpose: "commissioning".into() }))
    }

    async fn relay_next_task(
        &self,
        request: Request<proto::RelayNextTaskRequest>,
    ) -> Result<Response<agent::NextTaskResponse>, Status> {
        let slow = {
            let mut state = self.admit(&request)?;
            state.relayed.push(format!("next task by {}", request.get_ref().http_base));
            state.slow
        };
        tokio::time::sleep(slow).await;
        let task = Some(agent::next_task_response::Task::Idle(agent::Idle {}));
        Ok(Response::new(agent::NextTaskResponse { task_id: String::new(), task }))
    }

    async fn relay_report_task(
        &self,
        request: Request<proto::RelayReportTaskRequest>,
    ) -> Result<Response<agent::ReportTaskResponse>, Status> {
        self.admit(&request)?.relayed.push("report".into());
        Ok(Response::new(agent::ReportTaskResponse { stop: true }))
    }

    async fn authorize_blob(
        &self,
        request: Request<proto::AuthorizeBlobRequest>,
    ) -> Result<Response<proto::AuthorizeBlobResponse>, Status> {
        let state = self.admit(&request)?;
        let request = request.get_ref();
        if request.session != "session" {
            return Err(Status::permission_denied("not the session of this boot"));
        }
        let content = state.blobs.get(&request.sha256).ok_or_else(|| Status::not_found("no such blob"))?;
        let blob = v1::Blob { sha256: request.sha256.clone(), size_bytes: content.len() as u64, ..Default::default() };
        Ok(Response::new(proto::AuthorizeBlobResponse { blob: Some(blob) }))
    }

    async fn relay_live_inventory(
        &self,
        request: Request<proto::RelayLiveInventoryRequest>,
    ) -> Result<Response<proto::RelayLiveInventoryResponse>, Status> {
        drop(self.admit(&request)?);
        Err(Status::unimplemented("no test asks for this"))
    }

    async fn relay_phone_home(
        &self,
        request: Request<proto::RelayPhoneHomeRequest>,
    ) -> Result<Response<proto::RelayPhoneHomeResponse>, Status> {
        self.admit(&request)?.relayed.push(format!("phone home from {}", request.get_ref().source_address));
        Ok(Response::new(proto::RelayPhoneHomeResponse {}))
    }
}
