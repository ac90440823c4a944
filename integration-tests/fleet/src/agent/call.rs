//! Calls to the rack's `AgentService`, repeated until they are answered: a rack that restarts costs time, never a result.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use farrier_common::retry::Backoff;
use farrier_proto::agent::{ReportTaskRequest, agent_service_client::AgentServiceClient};
use thiserror::Error;
use tokio::time::Instant;
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};

use crate::{dice::Dice, http::bound};

/// A rack that does not help.
#[derive(Debug, Error)]
pub enum CallError {
    /// It refuses; asking again would change nothing.
    #[error("the rack refuses {what}: {reason}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// How it refused.
        reason: String,
    },
    /// It did not answer for as long as the agent waits.
    #[error("the rack did not answer {what}: {reason}")]
    Silent {
        /// What was asked.
        what: &'static str,
        /// The last trouble.
        reason: String,
    },
    /// Its address cannot be used.
    #[error("cannot set up the connection to the rack: {0}")]
    Setup(String),
}

/// A connection to the rack that heals itself.
#[derive(Debug)]
pub(super) struct Rack {
    client: AgentServiceClient<Channel>,
    patience: Duration,
    dice: Dice,
}

/// The rack may hold `NextTask` for 10 s; the rest is for a slow relay.
const ANSWER: Duration = Duration::from_secs(40);
const CONNECT: Duration = Duration::from_secs(10);
const PROGRESS_ANSWER: Duration = Duration::from_secs(5);
const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// Requests that wait for the connection: an agent has one at a time, and one of progress.
const WAITING: usize = 4;

impl Rack {
    pub(super) fn new(
        address: SocketAddrV4,
        from: Option<Ipv4Addr>,
        patience: Duration,
        dice: Dice,
    ) -> Result<Self, CallError> {
        let endpoint =
            Endpoint::from_shared(format!("http://{address}")).map_err(|e| CallError::Setup(e.to_string()))?;
        let channel = endpoint
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .tcp_nodelay(true)
            .local_address(bound(from))
            .buffer_size(WAITING)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .connect_lazy();
        Ok(Self { client: AgentServiceClient::new(channel), patience, dice })
    }

    /// Calls until it is answered.
    pub(super) async fn insist<Q: Clone, T>(
        &mut self,
        what: &'static str,
        request: Q,
        call: impl AsyncFn(AgentServiceClient<Channel>, Q) -> Result<Response<T>, Status>,
    ) -> Result<T, CallError> {
        let start = Instant::now();
        let mut failures = 0;
        loop {
            let status = match call(self.client.clone(), request.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            let reason = status.message().to_owned();
            if is_refusal(status.code()) {
                return Err(CallError::Refused { what, reason });
            }
            if start.elapsed() >= self.patience {
                return Err(CallError::Silent { what, reason });
            }
            failures += 1;
            // Between half of the pause and all of it, from our own dice.
            let pause = PAUSES.base(failures) / 2;
            tokio::time::sleep(pause + pause.mul_f64(f64::from(self.dice.roll32()) / f64::from(u32::MAX))).await;
        }
    }

    /// Tells progress once; whether the task is still wanted. A rack that is away wants it.
    pub(super) async fn wanted(&self, report: ReportTaskRequest) -> bool {
        let mut request = Request::new(report);
        request.set_timeout(PROGRESS_ANSWER);
        match self.client.clone().report_task(request).await {
            Ok(answer) => !answer.into_inner().stop,
            Err(status) => !is_refusal(status.code()),
        }
    }
}

const fn is_refusal(code: Code) -> bool {
    match code {
        Code::PermissionDenied
        | Code::Unauthenticated
        | Code::NotFound
        | Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::AlreadyExists
        | Code::OutOfRange
        | Code::Unimplemented => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => false,
    }
}
