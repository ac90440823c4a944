//! Lists of machines.

use farrier_common::secret::sha256_hex;
use serde::{Deserialize, Serialize};

use crate::{
    app::{
        App,
        context::{Listed, Page},
    },
    domain::{Error, Result, filter::Filter, lifecycle::State, order::Order, user::User},
    store::{MachineFilter, MachineQuery, MachineView, Place, Visibility},
};

/// Which machines are to be listed, and how.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Only those in one of these states; empty: in any.
    pub states: Vec<State>,
    /// As `docs/filter.md` tells.
    pub filter: String,
    /// As `docs/filter.md` tells.
    pub order_by: String,
    /// With what is long.
    pub whole: bool,
}

/// What a page token says.
#[derive(Deserialize, Serialize)]
struct Token {
    /// Of filter, order and states.
    of: String,
    revision: i64,
    values: Vec<String>,
    id: String,
}

impl App {
    /// A page of the machines that somebody wants, and the event log's revision when the first page was read.
    ///
    /// # Errors
    /// Filter or order cannot be; the page token is of another list.
    pub async fn machine_list(&self, user: &User, wish: &Wish, page: &Page) -> Result<(Listed<MachineView>, i64)> {
        let query = MachineQuery {
            filter: seen_by(user, wish.states.clone()),
            wanted: Filter::parse(&wish.filter)?,
            order: Order::parse(&wish.order_by)?,
            whole: wish.whole,
        };
        let keys = query.order.parts().len();
        let digest = digest(wish);
        let token = page.after.as_deref().map(|text| parse(text, &digest, keys)).transpose()?;
        let (behind, first) = token.map(|t| (Place { values: t.values, id: t.id }, t.revision)).unzip();
        let found = self.store.machine_page(query, behind, page.size).await?;
        let revision = first.unwrap_or(found.revision);
        let token = |Place { values, id }| Token { of: digest.clone(), revision, values, id };
        let next = found.next.map(|place| serde_json::to_string(&token(place)));
        let next = next.transpose().map_err(|e| Error::Internal(format!("a page token cannot be written: {e}")))?;
        Ok((Listed { items: found.items, next }, revision))
    }
}

/// What of the machines in `states` somebody may see.
fn seen_by(user: &User, states: Vec<State>) -> MachineFilter {
    MachineFilter { states, visible: Visibility::of(user) }
}

fn digest(wish: &Wish) -> String {
    let text = format!("{:?} {:?} {:?}", wish.states, wish.filter, wish.order_by);
    sha256_hex(text.as_bytes()).chars().take(16).collect()
}

fn parse(text: &str, digest: &str, keys: usize) -> Result<Token> {
    let foreign = |why| Error::invalid("page.page_token", why);
    let token: Token = serde_json::from_str(text)
        .map_err(|_| foreign("is of another list; take it from the previous answer of this one"))?;
    if token.of != digest || token.values.len() != keys {
        return Err(foreign("was given for another filter, order_by or states; begin again without it"));
    }
    Ok(token)
}
