//! The TLS server in front of the service: only the region gets in.

use std::{io, net::TcpListener, time::Duration};

use farrier_common::tls;
use farrier_proto::rack::rack_service_server::RackServiceServer;
use thiserror::Error;
use tokio::{sync::watch, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    transport::{Certificate, Server, ServerTlsConfig},
};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use super::Service;
use crate::gateway::Credentials;

/// The server failed.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The listener.
    #[error("listener")]
    Listener(#[from] io::Error),
    /// TLS or HTTP/2.
    #[error("gRPC server")]
    Transport(#[from] tonic::transport::Error),
    /// A server task died.
    #[error("a server task died")]
    Died(#[from] tokio::task::JoinError),
}

const HANDSHAKE: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(15);
const CALLS_PER_CONNECTION: usize = 1024;

/// Serves until stopped, then waits for the calls under way. When the credentials change, new connections are served with
/// the new ones, and the old ones are asked to come again and served to their end.
///
/// # Errors
/// The listener or TLS failed.
pub async fn serve(
    service: Service,
    listener: TcpListener,
    mut credentials: watch::Receiver<Credentials>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    listener.set_nonblocking(true)?;
    let mut servers = JoinSet::new();
    loop {
        let retire = stop.child_token();
        let current = credentials.borrow_and_update().clone();
        servers.spawn(serve_with(service.clone(), listener.try_clone()?, current, retire.clone()));
        tokio::select! {
            () = stop.cancelled() => break,
            changed = credentials.changed() => {
                if changed.is_err() {
                    break; // Who renews them is gone, so these are the last ones.
                }
                retire.cancel();
            }
            Some(ended) = servers.join_next() => ended??,
        }
        while let Some(ended) = servers.try_join_next() {
            ended??;
        }
    }
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    service.finish().await;
    Ok(())
}

async fn serve_with(
    service: Service,
    listener: TcpListener,
    own: Credentials,
    retire: CancellationToken,
) -> Result<(), ServeError> {
    let tls = ServerTlsConfig::new()
        .identity(tonic::transport::Identity::from_pem(&own.certificate_pem, own.key_pem.expose()))
        .client_ca_root(Certificate::from_pem(&own.ca_pem))
        .timeout(HANDSHAKE);
    let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
    Server::builder()
        .tls_config(tls)?
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .tcp_nodelay(true)
        .add_service(RackServiceServer::with_interceptor(service, only_the_region))
        .serve_with_incoming_shutdown(incoming, retire.cancelled_owned())
        .await?;
    Ok(())
}

/// TLS has verified that the certificate is of our CA; racks have such certificates too.
fn only_the_region(request: Request<()>) -> Result<Request<()>, Status> {
    let certificates = request.peer_certs();
    let own = certificates.as_ref().and_then(|chain| chain.first());
    if own.is_some_and(|certificate| is_region(certificate)) {
        Ok(request)
    } else {
        Err(Status::permission_denied(format!("only the region ({}) may call a rack", tls::REGION_IDENTITY)))
    }
}

fn is_region(der: &[u8]) -> bool {
    let Ok((_, certificate)) = parse_x509_certificate(der) else { return false };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|name| matches!(name, GeneralName::URI(uri) if *uri == tls::REGION_IDENTITY))
}
