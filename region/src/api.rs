//! gRPC: `farrier.v1` for people and programs, `RackGateway` for racks, health and reflection, all on one TLS port.
//!
//! Handlers parse, call a use case and render its result; they decide nothing. Whoever calls without the right shows it by
//! a bearer token (people, programs) or a client certificate (racks); only health, reflection and `Enroll` need neither.
//! `status` alone makes statuses.

mod audit;
mod bmcs;
mod calls;
mod events;
mod gateway;
mod images;
mod limits;
mod machines;
mod named;
mod operations;
mod parse;
mod pools;
mod projects;
mod racks;
mod scripts;
mod status;
mod subnets;
mod users;
mod words;

use std::{sync::Arc, time::Duration};

use farrier_proto::{
    DESCRIPTORS,
    rack::rack_gateway_server::RackGatewayServer,
    v1::{
        audit_server::AuditServer, bmcs_server::BmcsServer, events_server::EventsServer, images_server::ImagesServer,
        machines_server::MachinesServer, operations_server::OperationsServer, pools_server::PoolsServer,
        projects_server::ProjectsServer, racks_server::RacksServer, scripts_server::ScriptsServer,
        subnets_server::SubnetsServer, tokens_server::TokensServer, users_server::UsersServer,
    },
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    server::NamedService as _,
    transport::{
        Certificate, Identity, Server, ServerTlsConfig,
        server::{Router, TcpIncoming},
    },
};

use crate::{app::App, pki};
use limits::Limits;

/// The longest message that is taken: a deployment with 1 MiB of user data, a chunk of 1 MiB, 500 boot steps.
const MOST_MESSAGE: usize = 2 << 20;
const HANDSHAKE: Duration = Duration::from_secs(10);
const PING: Duration = Duration::from_secs(15);
const PONG: Duration = Duration::from_secs(10);
/// Calls in flight on one connection: a rack relays for all its machines on one, and each of their agents waits in one.
const MOST_CALLS: u32 = 32_768;

/// All services.
#[derive(Clone)]
struct Api {
    app: App,
    limits: Arc<Limits>,
}

/// The API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// TLS, or the listener.
    #[error("cannot serve the API")]
    Transport(#[from] tonic::transport::Error),
    /// The embedded descriptors.
    #[error("cannot serve reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves the API on `listener` until `stop`; calls under way may then finish.
///
/// # Errors
/// TLS cannot be set up, or the listener broke.
pub async fn serve(
    app: App,
    listener: TcpListener,
    identity: &pki::Identity,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(&identity.cert_pem, identity.key_pem.expose()))
        .client_ca_root(Certificate::from_pem(app.ca.ca_pem()))
        .client_auth_optional(true)
        .timeout(HANDSHAKE);
    let mut server = Server::builder()
        .tls_config(tls)?
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PONG))
        .max_concurrent_streams(MOST_CALLS);
    let router = services(&mut server, &Api { limits: Arc::new(Limits::new(app.policy.rate)), app }).await?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(PING));
    Ok(router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await?)
}

async fn services(server: &mut Server, api: &Api) -> Result<Router, ServeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<MachinesServer<Api>>().await;
    health.set_serving::<BmcsServer<Api>>().await;
    health.set_serving::<OperationsServer<Api>>().await;
    health.set_serving::<SubnetsServer<Api>>().await;
    health.set_serving::<RacksServer<Api>>().await;
    health.set_serving::<ImagesServer<Api>>().await;
    health.set_serving::<UsersServer<Api>>().await;
    health.set_serving::<TokensServer<Api>>().await;
    health.set_serving::<ScriptsServer<Api>>().await;
    health.set_serving::<ProjectsServer<Api>>().await;
    health.set_serving::<PoolsServer<Api>>().await;
    health.set_serving::<AuditServer<Api>>().await;
    health.set_serving::<EventsServer<Api>>().await;
    health.set_serving::<RackGatewayServer<Api>>().await;
    // Python's grpcio-reflection and older grpcurl speak only v1alpha.
    let (now, before) = (reflection().build_v1()?, reflection().build_v1alpha()?);
    Ok(server
        .add_service(health_service)
        .add_service(now)
        .add_service(before)
        .add_service(MachinesServer::new(api.clone()).max_decoding_message_size(MOST_MESSAGE))
        .add_service(BmcsServer::new(api.clone()).max_decoding_message_size(MOST_MESSAGE))
        .add_service(OperationsServer::new(api.clone()).max_decoding_message_size(MOST_MESSAGE))
        .add_service(SubnetsServer::new(api.clone()).max_decoding_message_size(MOST_MESSAGE))
        .add_service(RacksServer::new(api.clone()).max_decoding_message_size(MOST_MESSAGE))
        .add_service(ImagesServer::new(api.clone()).max_decoding_message_size(MOST_MESSAGE))
        .add_service(UsersServer::new(api.clone()).max_decoding_message_size(MOST_MESSAGE))
        .add_service(TokensServer::new(api.clone()).max_decoding_message_size(MOST_MESSAGE))
        .add_service(ScriptsServer::new(api.clone()).max_decoding_message_size(MOST_MESSAGE))
        .add_service(ProjectsServer::new(api.clone()).max_decoding_message_size(MOST_MESSAGE))
        .add_service(PoolsServer::new(api.clone()).max_decoding_message_size(MOST_MESSAGE))
        .add_service(AuditServer::new(api.clone()).max_decoding_message_size(MOST_MESSAGE))
        .add_service(EventsServer::new(api.clone()).max_decoding_message_size(MOST_MESSAGE))
        .add_service(RackGatewayServer::new(api.clone()).max_decoding_message_size(MOST_MESSAGE)))
}

/// Tells of what is served here, not of all that the contract holds.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    let served = [
        MachinesServer::<Api>::NAME,
        BmcsServer::<Api>::NAME,
        OperationsServer::<Api>::NAME,
        SubnetsServer::<Api>::NAME,
        RacksServer::<Api>::NAME,
        ImagesServer::<Api>::NAME,
        UsersServer::<Api>::NAME,
        TokensServer::<Api>::NAME,
        ScriptsServer::<Api>::NAME,
        ProjectsServer::<Api>::NAME,
        PoolsServer::<Api>::NAME,
        AuditServer::<Api>::NAME,
        EventsServer::<Api>::NAME,
        RackGatewayServer::<Api>::NAME,
    ];
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health");
    served.into_iter().fold(builder, tonic_reflection::server::Builder::with_service_name)
}

#[cfg(test)]
mod tests;
