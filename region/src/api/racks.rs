//! `farrier.v1.Racks`.

use farrier_proto::v1::{self, racks_server::Racks};
use tonic::Request;

use super::{
    Api,
    calls::{Answer, SHORT},
    parse,
    words::time_to_wire,
};
use crate::{
    app::{App, racks::JoinTicket},
    domain::{Error, rack::Rack},
};

const JOIN_SECONDS: u32 = 3600;

#[tonic::async_trait]
impl Racks for Api {
    async fn get_rack(&self, request: Request<v1::GetRackRequest>) -> Answer<v1::Rack> {
        self.read(request, |app, _, q| async move { Ok(render(&app, &app.rack_get(&q.rack).await?)) }).await
    }

    async fn list_racks(&self, request: Request<v1::ListRacksRequest>) -> Answer<v1::ListRacksResponse> {
        self.read(request, |app, _, q| async move {
            let listed = app.rack_list(&parse::page(q.page)?).await?;
            let next_page_token = parse::next_token(&listed);
            Ok(v1::ListRacksResponse { racks: listed.items.iter().map(|r| render(&app, r)).collect(), next_page_token })
        })
        .await
    }

    async fn create_join_token(
        &self,
        request: Request<v1::CreateJoinTokenRequest>,
    ) -> Answer<v1::CreateJoinTokenResponse> {
        let ticket = self
            .mutate(("CreateJoinToken", SHORT), request, ticket, |app, ask, q| async move {
                let seconds = if q.valid_seconds == 0 { JOIN_SECONDS } else { q.valid_seconds };
                app.join_token_create(&ask, parse::name("rack", &q.rack)?, seconds).await
            })
            .await?
            .into_inner();
        // What is kept for a repetition is the id alone; the token follows from it.
        let id = ticket.join_token.parse().map_err(|e| Error::Internal(format!("a join token's id: {e}")))?;
        let join_token = self.app.join_text(id).expose().clone();
        Ok(v1::CreateJoinTokenResponse { join_token, ..ticket }.into())
    }
}

fn ticket(ticket: &JoinTicket) -> v1::CreateJoinTokenResponse {
    v1::CreateJoinTokenResponse { join_token: ticket.id.to_string(), expires_at: Some(time_to_wire(ticket.expires_at)) }
}

fn render(app: &App, rack: &Rack) -> v1::Rack {
    v1::Rack {
        id: rack.id.to_string(),
        name: rack.name.to_string(),
        status: Some(v1::RackStatus {
            connected: app.rack_connected(rack),
            last_seen: rack.last_seen.map(time_to_wire),
            address: rack.address.clone(),
            software_version: rack.software_version.clone(),
            certificate_expires_at: Some(time_to_wire(rack.certificate_expires_at)),
            intents: rack.intents,
        }),
        // Nothing of a rack is for callers to change.
        etag: "1".to_owned(),
    }
}
