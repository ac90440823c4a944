//! `farrier.v1.Events`.

use std::pin::Pin;

use farrier_proto::v1::{self, events_server::Events};
use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::{
    Api,
    calls::{Answer, bearer},
    parse,
    words::{state_to_wire, time_to_wire},
};
use crate::{
    app::events::{Update, Watched},
    domain::event::LoggedEvent,
};

#[tonic::async_trait]
impl Events for Api {
    async fn list_events(&self, request: Request<v1::ListEventsRequest>) -> Answer<v1::ListEventsResponse> {
        self.read(request, |app, user, q| async move {
            let kind = parse::optional("kind", &q.kind)?;
            let listed = app.event_list(&user, &q.machine, kind, &parse::page(q.page)?).await?;
            let next_page_token = parse::next_token(&listed);
            Ok(v1::ListEventsResponse { events: listed.items.iter().map(render).collect(), next_page_token })
        })
        .await
    }

    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

    async fn watch_events(&self, request: Request<v1::WatchEventsRequest>) -> Answer<Self::WatchEventsStream> {
        let (meta, _, q) = request.into_parts();
        let user = self.user(&meta).await?;
        let kinds = q.kinds.iter().enumerate().map(|(i, kind)| parse::text(&format!("kinds[{i}]"), kind));
        let kinds = kinds.collect::<Result<_, _>>()?;
        let watched = Watched { user, token: bearer(&meta)?, after: q.after_revision, machine: q.machine, kinds };
        let updates = self.app.event_watch(watched).await?;
        Ok(Response::new(Box::pin(updates.map(|update| Ok(v1::WatchEventsResponse { update: Some(told(update?)) })))))
    }
}

fn told(update: Update) -> v1::watch_events_response::Update {
    use v1::watch_events_response::Update as Wire;
    match update {
        Update::Event(event) => Wire::Event(render(&event)),
        Update::Bookmark { revision, at } => Wire::Bookmark(v1::Bookmark { revision, at: Some(time_to_wire(at)) }),
        Update::Resync { reason, oldest } => Wire::Resync(v1::Resync { reason, oldest_revision: oldest }),
    }
}

fn render(event: &LoggedEvent) -> v1::Event {
    let body = &event.body;
    v1::Event {
        revision: event.revision,
        at: Some(time_to_wire(event.at)),
        machine_id: body.machine.map(|id| id.to_string()).unwrap_or_default(),
        machine_name: event.machine_name.as_ref().map(ToString::to_string).unwrap_or_default(),
        kind: body.kind.to_string(),
        event: body.event.map(|e| e.to_string()).unwrap_or_default(),
        from: body.from.map(state_to_wire).unwrap_or_default(),
        to: body.to.map(state_to_wire).unwrap_or_default(),
        phase: body.phase.map(|p| p.to_string()).unwrap_or_default(),
        actor: body.actor.clone(),
        reason: body.reason.clone(),
    }
}
