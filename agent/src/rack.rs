//! The rack's `AgentService`, called until it answers: a rack or region that restarts costs time, never a result.

use std::{net::SocketAddr, time::Duration};

use farrier_common::{id::BootId, retry::Backoff, secret::Secret};
use farrier_proto::agent::{
    EnlistRequest, EnlistResponse, HelloRequest, HelloResponse, Identity, NextTaskRequest, NextTaskResponse,
    ReportTaskRequest, ReportTaskResponse, agent_service_client::AgentServiceClient, report_task_request::Report,
};
use thiserror::Error;
use tokio::time::Instant;
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint},
};

use crate::console::say;

/// A rack that cannot help.
#[derive(Debug, Error)]
pub enum RackError {
    /// It refuses; asking again would change nothing.
    #[error("the rack refuses {what}: {}", .status.message())]
    Refused {
        /// What was asked.
        what: &'static str,
        /// How it refused.
        status: Box<Status>,
    },
    /// It did not answer for as long as this agent waits.
    #[error("the rack did not answer {what} for {} minutes: {}", .waited.as_secs() / 60, .last.message())]
    Silent {
        /// What was asked.
        what: &'static str,
        /// For how long.
        waited: Duration,
        /// The last trouble.
        last: Box<Status>,
    },
    /// Its address cannot be used.
    #[error("cannot set up the connection to the rack")]
    Setup(#[source] tonic::transport::Error),
}

/// A connection to the rack that heals itself.
#[derive(Clone, Debug)]
pub struct Rack {
    client: AgentServiceClient<Channel>,
    patience: Duration,
    pauses: Backoff,
}

/// Speaks for one boot.
#[derive(Clone, Debug)]
pub struct Session {
    /// The boot.
    pub boot_id: BootId,
    /// Made by this agent, known to it and the region.
    pub secret: Secret<String>,
}

/// The rack may hold `NextTask` for 10 s; the rest is for a slow relay.
const ANSWER: Duration = Duration::from_secs(40);
const CONNECT: Duration = Duration::from_secs(10);
/// Progress is not worth waiting for.
const PROGRESS_ANSWER: Duration = Duration::from_secs(5);

impl Rack {
    /// The rack at `address`, called for as long as `patience` before giving up. Connects when first used.
    ///
    /// # Errors
    /// The address cannot be used.
    pub fn new(address: SocketAddr, patience: Duration, pauses: Backoff) -> Result<Self, RackError> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(RackError::Setup)?;
        let channel = endpoint
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .connect_lazy();
        Ok(Self { client: AgentServiceClient::new(channel), patience, pauses })
    }

    /// Tells who the machine is.
    ///
    /// # Errors
    /// The rack refuses or stays silent.
    pub async fn enlist(&self, identity: &Identity) -> Result<EnlistResponse, RackError> {
        let request = EnlistRequest { identity: Some(identity.clone()) };
        self.insist("to enlist", async |mut client| client.enlist(request.clone()).await).await
    }

    /// Opens the session of a boot.
    ///
    /// # Errors
    /// The rack refuses (the token is spent or foreign) or stays silent.
    pub async fn hello(
        &self,
        session: &Session,
        token: &Secret<String>,
        identity: &Identity,
    ) -> Result<HelloResponse, RackError> {
        let request = || HelloRequest {
            boot_id: session.boot_id.to_string(),
            token: token.expose().clone(),
            session: session.secret.expose().clone(),
            identity: Some(identity.clone()),
        };
        self.insist("this boot", async |mut client| client.hello(request()).await).await
    }

    /// What to do next.
    ///
    /// # Errors
    /// The rack refuses or stays silent.
    pub async fn next_task(&self, session: &Session) -> Result<NextTaskResponse, RackError> {
        let request =
            || NextTaskRequest { boot_id: session.boot_id.to_string(), session: session.secret.expose().clone() };
        self.insist("the next task", async |mut client| client.next_task(request()).await).await
    }

    /// Delivers a result.
    ///
    /// # Errors
    /// The rack refuses or stays silent.
    pub async fn report(&self, session: &Session, task_id: &str, report: &Report) -> Result<(), RackError> {
        let request = || report_request(session, task_id, report.clone());
        self.insist("the report", async |mut client| client.report_task(request()).await).await?;
        Ok(())
    }

    /// Tells progress, once; whether the task is still wanted. A rack that is away wants it: it will say when it is back.
    pub async fn progress(&self, session: &Session, task_id: &str, report: Report) -> bool {
        let mut request = tonic::Request::new(report_request(session, task_id, report));
        request.set_timeout(PROGRESS_ANSWER);
        match self.client.clone().report_task(request).await.map(Response::into_inner) {
            Ok(ReportTaskResponse { stop }) => !stop,
            Err(status) => !is_refusal(status.code()),
        }
    }

    async fn insist<T>(
        &self,
        what: &'static str,
        call: impl AsyncFn(AgentServiceClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, RackError> {
        let start = Instant::now();
        let mut failures = 0;
        loop {
            let status = match call(self.client.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => Box::new(status),
            };
            if is_refusal(status.code()) {
                return Err(RackError::Refused { what, status });
            }
            let waited = start.elapsed();
            if waited >= self.patience {
                return Err(RackError::Silent { what, waited, last: status });
            }
            failures += 1;
            say(format_args!("asking the rack for {what}: {}; trying again ({failures})", status.message()));
            self.pauses.pause(failures).await;
        }
    }
}

fn report_request(session: &Session, task_id: &str, report: Report) -> ReportTaskRequest {
    ReportTaskRequest {
        boot_id: session.boot_id.to_string(),
        session: session.secret.expose().clone(),
        task_id: task_id.to_owned(),
        report: Some(report),
    }
}

/// Asking again would change nothing; everything else may pass.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::PermissionDenied
            | Code::Unauthenticated
            | Code::NotFound
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::AlreadyExists
            | Code::OutOfRange
            | Code::Unimplemented
    )
}
