//! `farrier.rack.v1.RackGateway`: what racks call, with their certificates.

mod parse;
mod render;

use std::pin::Pin;

use farrier_proto::{
    agent,
    rack::{self, rack_gateway_server::RackGateway},
};
use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::{
    Api,
    calls::{Answer, SHORT, within},
    images::blob,
};
use crate::app::gateway::HEARTBEAT_SECONDS;
use farrier_common::{secret::Secret, tls};

#[tonic::async_trait]
impl RackGateway for Api {
    async fn enroll(&self, request: Request<rack::EnrollRequest>) -> Answer<rack::EnrollResponse> {
        let enrolled = within(SHORT, self.app.enroll(&parse::new_rack(request.into_inner()))).await?;
        Ok(Response::new(rack::EnrollResponse {
            rack_id: enrolled.rack.id.to_string(),
            rack_name: enrolled.rack.name.to_string(),
            certificate_pem: enrolled.certificate_pem,
            ca_pem: self.app.ca.ca_pem().to_owned(),
            region_identity: tls::REGION_IDENTITY.to_owned(),
        }))
    }

    async fn renew_certificate(
        &self,
        request: Request<rack::RenewCertificateRequest>,
    ) -> Answer<rack::RenewCertificateResponse> {
        self.of_rack(request, |app, rack, q| async move {
            let certificate_pem = app.renew(&rack, &q.csr_pem).await?;
            Ok(rack::RenewCertificateResponse { certificate_pem, ca_pem: app.ca.ca_pem().to_owned() })
        })
        .await
    }

    async fn heartbeat(&self, request: Request<rack::HeartbeatRequest>) -> Answer<rack::HeartbeatResponse> {
        self.of_rack(request, |app, rack, q| async move {
            app.heartbeat(&rack, &parse::beat(q)).await?;
            Ok(rack::HeartbeatResponse { interval_seconds: HEARTBEAT_SECONDS })
        })
        .await
    }

    async fn report_boot_steps(
        &self,
        request: Request<rack::ReportBootStepsRequest>,
    ) -> Answer<rack::ReportBootStepsResponse> {
        self.of_rack(request, |app, _, q| async move {
            app.report_steps(parse::steps(q.steps)?).await?;
            Ok(rack::ReportBootStepsResponse {})
        })
        .await
    }

    type DownloadBlobStream = Pin<Box<dyn Stream<Item = Result<rack::DownloadBlobResponse, Status>> + Send>>;

    async fn download_blob(&self, request: Request<rack::DownloadBlobRequest>) -> Answer<Self::DownloadBlobStream> {
        let opened = self.of_rack(request, |app, _, q| async move { app.blobs.read(&q.sha256, q.offset).await });
        let (size_bytes, chunks) = opened.await?.into_inner();
        let messages = chunks.map(move |chunk| Ok(rack::DownloadBlobResponse { size_bytes, chunk: chunk? }));
        Ok(Response::new(Box::pin(messages)))
    }

    async fn relay_enlist(&self, request: Request<rack::RelayEnlistRequest>) -> Answer<agent::EnlistResponse> {
        self.of_rack(request, |app, rack, q| async move {
            let identity = parse::identity(q.request.and_then(|r| r.identity))?;
            let met = app.enlist(&rack, &identity, q.source_address.parse().ok()).await?;
            Ok(agent::EnlistResponse { machine_name: met.name.to_string(), state: met.state.to_string() })
        })
        .await
    }

    async fn relay_hello(&self, request: Request<rack::RelayHelloRequest>) -> Answer<agent::HelloResponse> {
        self.of_rack(request, |app, rack, q| async move {
            let hello = parse::required("request", q.request)?;
            let identity = parse::identity(hello.identity)?;
            let (token, session) = (Secret::new(hello.token), Secret::new(hello.session));
            let (view, purpose) = app.hello(&rack, &hello.boot_id, &token, &session, &identity).await?;
            Ok(agent::HelloResponse { machine_name: view.machine.name.to_string(), purpose: purpose.to_string() })
        })
        .await
    }

    async fn relay_next_task(&self, request: Request<rack::RelayNextTaskRequest>) -> Answer<agent::NextTaskResponse> {
        self.of_rack(request, |app, rack, q| async move {
            let next = parse::required("request", q.request)?;
            let order = app.next_task(&rack, &next.boot_id, &Secret::new(next.session), &q.http_base).await?;
            Ok(render::order(order))
        })
        .await
    }

    async fn relay_report_task(
        &self,
        request: Request<rack::RelayReportTaskRequest>,
    ) -> Answer<agent::ReportTaskResponse> {
        self.of_rack(request, |app, rack, q| async move {
            let told = parse::required("request", q.request)?;
            let report = parse::report(told.report)?;
            let session = Secret::new(told.session);
            let stop = app.report_task(&rack, &told.boot_id, &session, &told.task_id, report).await?;
            Ok(agent::ReportTaskResponse { stop })
        })
        .await
    }

    async fn authorize_blob(
        &self,
        request: Request<rack::AuthorizeBlobRequest>,
    ) -> Answer<rack::AuthorizeBlobResponse> {
        self.of_rack(request, |app, rack, q| async move {
            let found = app.authorize_blob(&rack, &q.boot_id, &Secret::new(q.session), &q.sha256).await?;
            Ok(rack::AuthorizeBlobResponse { blob: Some(blob(&found)) })
        })
        .await
    }

    async fn relay_phone_home(
        &self,
        request: Request<rack::RelayPhoneHomeRequest>,
    ) -> Answer<rack::RelayPhoneHomeResponse> {
        self.of_rack(request, |app, rack, q| async move {
            app.phone_home(&rack, &q.boot_id, &Secret::new(q.token)).await?;
            Ok(rack::RelayPhoneHomeResponse {})
        })
        .await
    }

    async fn relay_live_inventory(
        &self,
        request: Request<rack::RelayLiveInventoryRequest>,
    ) -> Answer<rack::RelayLiveInventoryResponse> {
        self.of_rack(request, |app, rack, q| async move {
            let hardware = parse::live(q.hardware)?;
            let name = app.live_inventory(&rack, &Secret::new(q.token), &hardware).await?;
            Ok(rack::RelayLiveInventoryResponse { machine_name: name.to_string() })
        })
        .await
    }
}
