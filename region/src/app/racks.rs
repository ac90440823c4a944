//! Racks, as operators see them, and the tokens with which they enrol.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use farrier_common::{clock::Timestamp, id::TokenId, name::Name, secret::Secret};
use serde::Serialize;

use super::{
    App,
    context::{Ask, Listed, Page, needs, noted},
};
use crate::{
    domain::{Error, Result, event::EventKind, rack::Rack, user::Role},
    store::{JoinToken, Once},
};

const MOST_SECONDS: u32 = 7 * 24 * 3600;

/// What makes up a join token, but for its secret: that follows from the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTicket {
    /// Names it.
    pub id: TokenId,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// The token as it travels.
#[derive(Serialize)]
struct JoinText<'a> {
    region: &'a str,
    ca_pem: &'a str,
    secret: &'a str,
}

impl App {
    /// A rack, by id or name.
    ///
    /// # Errors
    /// There is none.
    pub async fn rack_get(&self, which: &str) -> Result<Rack> {
        self.store.rack_find(which).await?.ok_or_else(|| Error::not_found("rack", which))
    }

    /// A page of the racks.
    ///
    /// # Errors
    /// The page token is foreign.
    pub async fn rack_list(&self, page: &Page) -> Result<Listed<Rack>> {
        let items = self.store.rack_list(page.after()?, page.size + 1).await?;
        Ok(page.cut(items, |r| r.id.to_string()))
    }

    /// Is the rack connected now?
    #[must_use]
    pub fn rack_connected(&self, rack: &Rack) -> bool {
        rack.connected(self.clock.now())
    }

    /// Makes a token with which one rack may enrol as `name`, once.
    ///
    /// # Errors
    /// Not an admin; the time is out of bounds.
    pub async fn join_token_create(
        &self,
        ask: &Ask<JoinTicket>,
        name: Name,
        valid_seconds: u32,
    ) -> Result<Once<JoinTicket>> {
        needs(&ask.user, Role::Admin, "make join tokens")?;
        if !(1..=MOST_SECONDS).contains(&valid_seconds) {
            return Err(Error::invalid("valid_seconds", format!("must be 1 to {MOST_SECONDS}, or 0 for an hour")));
        }
        let expires_at = self.clock.now() + TimeDelta::seconds(valid_seconds.into());
        let ticket = JoinTicket { id: TokenId::generate(), expires_at };
        let event = noted(EventKind::Rack, ask.actor(), format!("a join token for rack {name} was made"));
        let token = JoinToken { rack: name, expires_at };
        let digest = self.join_secret(ticket.id).digest();
        let (render, kept) = (ask.renderer(), ticket.clone());
        let made =
            self.store.join_token_insert(Some(&ask.request), token, &digest, event, move |_| render(&kept)).await?;
        Ok(made.map(|_| ticket))
    }

    /// The one line of text that is given to the rack.
    #[must_use]
    pub fn join_text(&self, id: TokenId) -> Secret<String> {
        let secret = self.join_secret(id);
        let text = JoinText { region: &self.policy.advertise, ca_pem: self.ca.ca_pem(), secret: secret.expose() };
        let json = serde_json::to_vec(&text).expect("three strings are always JSON");
        Secret::new(URL_SAFE_NO_PAD.encode(json))
    }

    fn join_secret(&self, id: TokenId) -> Secret<String> {
        self.vault.derive(&format!("join-token/{id}"))
    }
}
