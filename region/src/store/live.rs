//! Tokens of the scripts that tell the hardware of live machines.

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _};
use farrier_common::{clock::Timestamp, id::MachineId};

use crate::domain::Result;

use super::{
    MachineView, NewMachine, Once, Request, Store,
    convert::{naive, parse},
    machines,
    schema::live_tokens,
};

impl Store {
    /// Adds a live machine and the token of its script: its digest, and when it ends.
    ///
    /// # Errors
    /// Its name or a MAC is taken.
    pub async fn machine_insert_live<T, M, R>(
        &self,
        request: &Request,
        new: NewMachine,
        (digest, expires_at): (String, Timestamp),
        (made, render): (M, R),
    ) -> Result<Once<T>>
    where
        T: Send + 'static,
        M: FnOnce(MachineView) -> T + Send + 'static,
        R: FnOnce(&T) -> Vec<u8> + Send + 'static,
    {
        self.once(Some(request), render, move |tx| {
            let id = new.machine.id;
            let view = machines::insert(tx, new)?;
            let row = (
                live_tokens::digest.eq(digest),
                live_tokens::machine.eq(id.to_string()),
                live_tokens::expires_at.eq(naive(expires_at)),
            );
            diesel::insert_into(live_tokens::table).values(row).execute(tx.conn)?;
            Ok(made(view))
        })
        .await
    }

    /// Forgets tokens that ended before `before`; tells how many.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn live_tokens_prune(&self, before: Timestamp) -> Result<usize> {
        self.write(move |tx| {
            let over = live_tokens::table.filter(live_tokens::expires_at.lt(naive(before)));
            Ok(diesel::delete(over).execute(tx.conn)?)
        })
        .await
    }

    /// Whose script has a token of this digest that has not ended?
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn live_token_machine(&self, digest: &str, now: Timestamp) -> Result<Option<MachineId>> {
        let digest = digest.to_owned();
        self.read(move |tx| {
            let good = live_tokens::table.find(digest).filter(live_tokens::expires_at.gt(naive(now)));
            let found: Option<String> = good.select(live_tokens::machine).first(tx.conn).optional()?;
            found.map(|id| parse("live_tokens.machine", &id)).transpose()
        })
        .await
    }
}
