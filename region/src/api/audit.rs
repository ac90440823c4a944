//! `farrier.v1.Audit`.

use farrier_proto::v1::{self, audit_server::Audit};
use tonic::Request;

use super::{Api, calls::Answer, parse, words::time_to_wire};
use crate::store::{AuditFilter, AuditRow};

#[tonic::async_trait]
impl Audit for Api {
    async fn list_audit_entries(
        &self,
        request: Request<v1::ListAuditEntriesRequest>,
    ) -> Answer<v1::ListAuditEntriesResponse> {
        self.read(request, |app, user, q| async move {
            let filter = AuditFilter { user: q.user, method: q.method, target: q.target };
            let (listed, revision) = app.audit_list(&user, filter, &parse::page(q.page)?).await?;
            let next_page_token = parse::next_token(&listed);
            Ok(v1::ListAuditEntriesResponse {
                entries: listed.items.into_iter().map(render).collect(),
                next_page_token,
                revision,
            })
        })
        .await
    }
}

fn render(row: AuditRow) -> v1::AuditEntry {
    v1::AuditEntry {
        number: row.number,
        at: Some(time_to_wire(row.at)),
        user: row.user,
        method: row.method,
        target: row.target,
        comment: row.comment,
        peer: row.peer,
        request_id: row.request_id,
    }
}
