//! Connections to racks: mutual TLS, one channel each.

use std::{error::Error as _, sync::PoisonError, time::Duration};

use farrier_common::{id::RackId, tls};
use farrier_proto::{CERTIFICATE, REASON, rack::rack_service_client::RackServiceClient};
use tonic::{
    Code, Status,
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};
use tower::ServiceBuilder;

use super::{Client, Inner, permanent, transient};
use crate::domain::observation::{Trouble, TroubleKind};

/// A BMC may take its time, so a call may; a rack that is not there is found out sooner.
const CALL: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(5);

impl Inner {
    /// The client of a rack; connects with the first call.
    pub(super) async fn client(&self, rack: RackId) -> Result<Client, Trouble> {
        let found = self.store.rack_get(rack).await.map_err(|e| transient(format!("rack {rack}: {e}")))?;
        let row = found.ok_or_else(|| transient(format!("there is no rack {rack} any more")))?;
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((address, client)) = channels.get(&rack)
            && *address == row.address
        {
            return Ok(client.clone());
        }
        let client = self.dial(rack, &row.address)?;
        channels.insert(rack, (row.address, client.clone()));
        Ok(client)
    }

    fn dial(&self, rack: RackId, address: &str) -> Result<Client, Trouble> {
        let bad = |e: tonic::transport::Error| permanent(format!("rack address {address:?}: {e}"));
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca_pem))
            .identity(Identity::from_pem(&self.identity.cert_pem, self.identity.key_pem.expose()))
            .domain_name(tls::rack_server_name(rack));
        let endpoint = Endpoint::from_shared(format!("https://{address}"))
            .and_then(|e| e.tls_config(tls))
            .map_err(bad)?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        let channel = ServiceBuilder::new().timeout(CALL).service(endpoint.connect_lazy());
        Ok(RackServiceClient::new(channel))
    }
}

/// What a rack's refusal means for whoever asked.
pub(super) fn trouble(status: &Status) -> Trouble {
    let text = status.message();
    // A status with a cause was made on this side, and so was that of a channel that cannot be used: no answer came.
    if status.source().is_some() || text.starts_with("Service was not ready") {
        return Trouble { kind: TroubleKind::RackAway, text: "the rack does not answer".to_owned() };
    }
    if status.metadata().get(REASON).is_some_and(|reason| reason == CERTIFICATE) {
        return Trouble { kind: TroubleKind::Untrusted, text: text.to_owned() };
    }
    match status.code() {
        Code::Unauthenticated => Trouble { kind: TroubleKind::Refused, text: text.to_owned() },
        Code::PermissionDenied
        | Code::Unimplemented
        | Code::InvalidArgument
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::OutOfRange => permanent(text),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => transient(text),
    }
}
