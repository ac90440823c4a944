//! One connection to the region: TLS with the pinned CA, the bearer token on every call, a deadline, bounded retries.
//!
//! **Invariant:** a call is repeated only as it was, `request_id` included, so that the region does a mutation once
//! however often its answer is lost.

use std::{error::Error as _, io, time::Duration};

use farrier_common::{
    id::{Id, Kind},
    retry::Backoff,
    tls,
};
use farrier_proto::v1::{ListMachinesRequest, MutationOptions, PageRequest, machines_client::MachinesClient};
use tonic::{
    Code, Request, Response, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{
    config::{Profile, Server},
    error::Error,
    output::Output,
};

/// Deadline of a call that only touches the region's database.
pub(crate) const SHORT: Duration = Duration::from_secs(30);
/// Deadline of a call that asks a BMC.
pub(crate) const BMC: Duration = Duration::from_secs(120);

const CONNECT: Duration = Duration::from_secs(5);
const PING: Duration = Duration::from_secs(15);
const TRIES: u32 = 8;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
const PAGE: i32 = 1000;
const MOST_PAGES: usize = 10_000;

/// What generated clients call through.
pub(crate) type Conn = InterceptedService<Channel, Bearer>;

/// Adds the token to every call.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(AsciiMetadataValue);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A connection that opens itself when it is needed and again when it was lost.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    conn: Conn,
    server: Server,
    out: Output,
}

impl Client {
    /// Prepares a connection; nothing is sent yet.
    pub(crate) fn new(profile: &Profile, out: Output) -> Result<Self, Error> {
        let unfit = |e: tonic::transport::Error| {
            Error::NotLoggedIn(format!("the login's server or CA cannot be used: {}", causes(&e)))
        };
        let trust =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&profile.ca_pem)).domain_name(tls::SERVER_NAME);
        let endpoint = Endpoint::from_shared(format!("https://{}", profile.server))
            .and_then(|e| e.user_agent(concat!("farrier/", env!("CARGO_PKG_VERSION"))))
            .and_then(|e| e.tls_config(trust))
            .map_err(unfit)?
            .connect_timeout(CONNECT)
            .tcp_keepalive(Some(PING))
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(CONNECT)
            .keep_alive_while_idle(true);
        let mut token = AsciiMetadataValue::try_from(format!("Bearer {}", profile.token.expose()))
            .map_err(|_| Error::NotLoggedIn("the login's token has characters that no token has".to_owned()))?;
        token.set_sensitive(true);
        let conn = InterceptedService::new(endpoint.connect_lazy(), Bearer(token));
        Ok(Self { conn, server: profile.server.clone(), out })
    }

    /// For calls that are not [`Client::call`]'s one question, one answer.
    pub(crate) fn conn(&self) -> Conn {
        self.conn.clone()
    }

    /// Calls and, while the region cannot be reached, calls again with the same message.
    pub(crate) async fn call<M: Clone, R>(
        &self,
        deadline: Duration,
        message: M,
        call: impl AsyncFn(Conn, Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, Error> {
        let mut failures = 0;
        loop {
            let mut request = Request::new(message.clone());
            request.set_timeout(deadline);
            let answer = tokio::time::timeout(deadline, call(self.conn(), request)).await;
            let status = match answer {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => return Err(self.late(deadline)),
            };
            failures += 1;
            if !is_lost(&status) || failures >= TRIES {
                return Err(self.failed(status, deadline));
            }
            if failures == 2 {
                self.out.note(&format!("the region at {} does not answer; trying again", self.server));
            }
            BACKOFF.pause(failures).await;
        }
    }

    /// All items of a paged list.
    pub(crate) async fn pages<T>(
        &self,
        mut fetch: impl AsyncFnMut(PageRequest) -> Result<(Vec<T>, String), Error>,
    ) -> Result<Vec<T>, Error> {
        let (mut items, mut token) = (Vec::new(), String::new());
        for _ in 0..MOST_PAGES {
            let (more, next) = fetch(PageRequest { page_size: PAGE, page_token: token.clone() }).await?;
            items.extend(more);
            if next.is_empty() {
                return Ok(items);
            }
            if next == token {
                return Err(Error::Nonsense("a page of a list points to itself".to_owned()));
            }
            token = next;
        }
        Err(Error::Nonsense(format!("a list has more than {MOST_PAGES} pages")))
    }

    /// The event log's revision now.
    pub(crate) async fn revision(&self) -> Result<i64, Error> {
        let page = Some(PageRequest { page_size: 1, page_token: String::new() });
        let request = ListMachinesRequest { page, ..ListMachinesRequest::default() };
        let list = self.call(SHORT, request, async |c, r| MachinesClient::new(c).list_machines(r).await).await?;
        Ok(list.revision)
    }

    /// What a status means to the person who waits.
    pub(crate) fn failed(&self, status: Status, deadline: Duration) -> Error {
        if is_late(&status) {
            return self.late(deadline);
        }
        if is_lost(&status) || status.source().is_some() {
            let why = status.source().map_or_else(|| status.message().to_owned(), causes);
            return Error::Unreachable { server: self.server.to_string(), why };
        }
        Error::Answer(Box::new(status))
    }

    fn late(&self, deadline: Duration) -> Error {
        Error::Deadline { server: self.server.to_string(), secs: deadline.as_secs() }
    }
}

// === requests ===

/// Names the ids of requests.
enum Mutation {}
impl Kind for Mutation {
    const NAME: &'static str = "request";
}

/// Options of a new mutation: made once, sent with each try.
pub(crate) fn options() -> Option<MutationOptions> {
    Some(MutationOptions { request_id: Id::<Mutation>::generate().to_string(), ..MutationOptions::default() })
}

// === what a status says of the connection ===

/// Did the call or its answer get lost, so that the same call may be made again?
///
/// A status with a source was made on this side: the connection broke. A certificate that is not trusted stays so.
pub(crate) fn is_lost(status: &Status) -> bool {
    !is_late(status) && !is_distrust(status) && (status.code() == Code::Unavailable || status.source().is_some())
}

fn is_late(status: &Status) -> bool {
    let local = chain(status).any(|e| e.downcast_ref::<tonic::TimeoutExpired>().is_some());
    local || (status.code() == Code::DeadlineExceeded && status.source().is_none())
}

/// rustls reports what the peer did wrong as invalid data.
fn is_distrust(status: &Status) -> bool {
    chain(status).filter_map(|e| e.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::InvalidData)
}

fn chain(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(status.source(), |e| (*e).source())
}

/// An error and its sources, each said once.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(error), |e| (*e).source()) {
        let text = error.to_string();
        if !texts.iter().any(|t| t.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}
