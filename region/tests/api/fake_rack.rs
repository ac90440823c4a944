//! A rack that takes every call of the region, says yes, and remembers what it was asked.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::http,
    server::{Grpc, NamedService, UnaryService},
    transport::{Server, ServerTlsConfig},
};

use crate::{
    bytes::Raw,
    site::{Rack, Site},
};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// What is to happen before a call is answered.
type Before = Arc<dyn Fn() -> Boxed<()> + Send + Sync>;

/// What the rack was asked, and what it does about it.
#[derive(Clone, Default)]
pub(crate) struct Orders {
    calls: Arc<Mutex<Vec<String>>>,
    /// Answers to calls by name; without one the answer is empty.
    answers: Arc<Mutex<BTreeMap<&'static str, Vec<u8>>>>,
    before: Arc<Mutex<BTreeMap<&'static str, Before>>>,
    refusals: Arc<Mutex<BTreeMap<&'static str, Status>>>,
}

impl Orders {
    /// How often the region made this call.
    pub(crate) fn count(&self, call: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|made| *made == call).count()
    }

    /// From now on this call is answered so.
    pub(crate) fn answer(&self, call: &'static str, answer: &impl Message) {
        self.answers.lock().unwrap().insert(call, answer.encode_to_vec());
    }

    /// From now on this call is refused so; without a status, it is answered again.
    pub(crate) fn refuse(&self, call: &'static str, status: Option<Status>) {
        let mut refusals = self.refusals.lock().unwrap();
        match status {
            Some(status) => refusals.insert(call, status),
            None => refusals.remove(call),
        };
    }

    /// From now on this is done before that call is answered.
    pub(crate) fn before<F: Future<Output = ()> + Send + 'static>(
        &self,
        call: &'static str,
        work: impl Fn() -> F + Send + Sync + 'static,
    ) {
        self.before.lock().unwrap().insert(call, Arc::new(move || Box::pin(work())));
    }
}

impl NamedService for Orders {
    const NAME: &'static str = "farrier.rack.v1.RackService";
}

impl tower::Service<http::Request<Body>> for Orders {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let call = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let before = self.before.lock().unwrap().get(call.as_str()).cloned();
        let (answers, refusals) = (Arc::clone(&self.answers), Arc::clone(&self.refusals));
        self.calls.lock().unwrap().push(call.clone());
        Box::pin(async move {
            if let Some(before) = before {
                before().await;
            }
            let answer = answers.lock().unwrap().get(call.as_str()).cloned().unwrap_or_default();
            let refusal = refusals.lock().unwrap().get(call.as_str()).cloned();
            Ok(Grpc::new(Raw).unary(Says(refusal.map_or(Ok(answer), Err)), request).await)
        })
    }
}

struct Says(Result<Vec<u8>, Status>);

impl UnaryService<()> for Says {
    type Response = Vec<u8>;
    type Future = Ready<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(std::mem::replace(&mut self.0, Ok(Vec::new())).map(Response::new))
    }
}

/// A rack of that name that serves the region, and its orders.
pub(crate) async fn serving(site: &Site, name: &str) -> (Rack, Orders) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (rack, identity) = site.rack_at(name, &listener.local_addr().unwrap().to_string()).await;
    let orders = Orders::default();
    let mut server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
    tokio::spawn(server.add_service(orders.clone()).serve_with_incoming(TcpListenerStream::new(listener)));
    (rack, orders)
}
