//! `AgentService` for the agents on the served subnets: each call goes on to the region, with the address that it came from.
//!
//! Plain gRPC, and nobody is trusted: the region checks token and session of every call. Here, only the load is bounded.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use farrier_common::{clock::Clock, id::BootId, net::MacAddr};
use farrier_proto::agent::{
    self as proto, Identity,
    agent_service_server::{AgentService, AgentServiceServer},
};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, transport::Server};

use crate::{
    boot::{
        state::BootState,
        steps::{Step, StepKind, Steps},
    },
    crash::{Crash, Point, Work},
    gateway::{Gateway, GatewayError},
};

/// Calls under way from all agents; each waits for a task most of the time.
const CALLS: usize = 32_768;
/// Calls under way over one connection: an agent makes one at a time, and a report beside it.
const CALLS_PER_CONNECTION: usize = 4;
/// A report may carry a large inventory.
const MESSAGE_BYTES: usize = 4 << 20;

/// The service.
#[derive(Clone, Debug)]
pub struct Relay {
    gateway: Gateway,
    boot: BootState,
    steps: Steps,
    clock: Clock,
    http_port: u16,
    calls: Arc<Semaphore>,
    crash: Crash,
}

impl Relay {
    /// A relay to the region that `gateway` reaches. `http_port` is where this rack serves images.
    #[must_use]
    pub fn new(gateway: Gateway, boot: BootState, steps: Steps, clock: Clock, http_port: u16) -> Self {
        Self { gateway, boot, steps, clock, http_port, calls: Arc::new(Semaphore::new(CALLS)), crash: Crash::default() }
    }

    /// With a place at which tests let the rack die.
    #[must_use]
    pub fn with_crash(self, crash: Crash) -> Self {
        Self { crash, ..self }
    }

    /// Serves until stopped, and then the calls under way to their end.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> Result<(), tonic::transport::Error> {
        let service = AgentServiceServer::new(self).max_decoding_message_size(MESSAGE_BYTES);
        Server::builder()
            .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)))
            .tcp_nodelay(true)
            .add_service(service)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned())
            .await
    }

    fn admit<T>(&self, request: &Request<T>) -> Result<(IpAddr, OwnedSemaphorePermit), Status> {
        let source = request.remote_addr().ok_or_else(|| Status::internal("the caller has no address"))?;
        let call = Arc::clone(&self.calls).try_acquire_owned();
        let call = call.map_err(|_| Status::resource_exhausted("too many agents call at once; try again"))?;
        Ok((source.ip().to_canonical(), call))
    }

    /// Passes a call on to the region.
    async fn pass<T>(
        &self,
        work: Work,
        call: impl Future<Output = Result<T, GatewayError>>,
    ) -> Result<T, GatewayError> {
        self.crash.at(Point::RelayReceived, work);
        let answer = call.await?;
        self.crash.at(Point::RelayAnswered, work);
        Ok(answer)
    }

    /// The region let an agent in: the machine's network boot leads somewhere.
    fn leads_on(&self, identity: Option<&Identity>, boot_id: &str) {
        let told = identity.into_iter().flat_map(|i| i.macs.iter().filter_map(|mac| mac.parse::<MacAddr>().ok()));
        let of_boot = boot_id.parse::<BootId>().ok().and_then(|boot| self.boot.by_boot(boot));
        let known = of_boot.iter().flat_map(|intent| intent.interfaces.iter().map(|i| i.mac));
        self.boot.breaker().leads_on(told.chain(known));
    }

    /// Notes what an agent did, under the interface it booted by.
    fn note(&self, identity: Option<&Identity>, boot_id: &str, text: &str) {
        let of_boot = boot_id.parse::<BootId>().ok().and_then(|boot| self.boot.by_boot(boot));
        let told = identity.and_then(|i| i.macs.iter().find_map(|mac| mac.parse::<MacAddr>().ok()));
        let mac = of_boot.as_ref().and_then(|intent| intent.interfaces.first()).map(|i| i.mac);
        let Some(mac) = told.or(mac) else { return };
        let intent = of_boot.or_else(|| self.boot.by_mac(mac));
        self.steps.record(Step::new(self.clock.now(), mac, intent.as_deref(), StepKind::Agent, text));
    }
}

#[tonic::async_trait]
impl AgentService for Relay {
    async fn enlist(&self, request: Request<proto::EnlistRequest>) -> Result<Response<proto::EnlistResponse>, Status> {
        let (source, _call) = self.admit(&request)?;
        let request = request.into_inner();
        let identity = request.identity.clone();
        let outcome = self.pass(Work::Enlist, self.gateway.enlist(request, source)).await;
        if outcome.is_ok() {
            self.leads_on(identity.as_ref(), "");
        }
        let text = match &outcome {
            Ok(answer) => format!("enlisted from {source} as {}", answer.machine_name),
            Err(error) => format!("enlisting from {source} failed: {error}"),
        };
        self.note(identity.as_ref(), "", &text);
        answer(outcome)
    }

    async fn hello(&self, request: Request<proto::HelloRequest>) -> Result<Response<proto::HelloResponse>, Status> {
        let (source, _call) = self.admit(&request)?;
        let request = request.into_inner();
        let (identity, boot_id) = (request.identity.clone(), request.boot_id.clone());
        let outcome = self.pass(Work::Hello, self.gateway.hello(request, source)).await;
        if outcome.is_ok() {
            self.leads_on(identity.as_ref(), &boot_id);
        }
        let text = match &outcome {
            Ok(answer) => format!("hello from {source}, for {}", answer.purpose),
            Err(error) => format!("hello from {source} failed: {error}"),
        };
        self.note(identity.as_ref(), &boot_id, &text);
        answer(outcome)
    }

    async fn next_task(
        &self,
        request: Request<proto::NextTaskRequest>,
    ) -> Result<Response<proto::NextTaskResponse>, Status> {
        let (_, _call) = self.admit(&request)?;
        // The address that the agent reached us at is one that it can fetch images from as well.
        let own = request.local_addr().ok_or_else(|| Status::internal("the connection has no address"))?;
        let http_base = format!("http://{}", SocketAddr::new(own.ip().to_canonical(), self.http_port));
        answer(self.pass(Work::NextTask, self.gateway.next_task(request.into_inner(), http_base)).await)
    }

    async fn report_task(
        &self,
        request: Request<proto::ReportTaskRequest>,
    ) -> Result<Response<proto::ReportTaskResponse>, Status> {
        let (_, _call) = self.admit(&request)?;
        answer(self.pass(Work::Report, self.gateway.report_task(request.into_inner())).await)
    }
}

fn answer<T>(outcome: Result<T, GatewayError>) -> Result<Response<T>, Status> {
    outcome.map(Response::new).map_err(|error| status(&error))
}

fn status(error: &GatewayError) -> Status {
    match error {
        GatewayError::Denied(text) => Status::permission_denied(text),
        GatewayError::NotFound(text) => Status::not_found(text),
        GatewayError::Invalid(text) => Status::invalid_argument(text),
        GatewayError::Unavailable(text) => Status::unavailable(text),
    }
}
