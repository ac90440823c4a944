//! Takes a machine out of the database, with everything that is kept for it but the log.

use std::net::Ipv4Addr;

use diesel::{ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _};
use farrier_common::id::MachineId;

use crate::{
    domain::{Error, Result, event::NewEvent},
    store::{
        Once, Request, Store, Tx,
        convert::parse,
        error::Outcome,
        schema::{boots, interfaces, live_tokens, machines, script_results, secrets, tasks},
    },
};

use super::locked;

/// What went with a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Addresses that were reserved for it.
    pub addresses: Vec<Ipv4Addr>,
    /// Sealed secrets that were destroyed.
    pub secrets: usize,
}

impl Store {
    /// Deletes the machine as it was at `version`, and the secrets kept under `purposes`.
    ///
    /// # Errors
    /// There is none; [`Error::Conflict`]: it has changed since.
    pub async fn machine_delete<T, M, R>(
        &self,
        request: &Request,
        (id, version): (MachineId, i64),
        purposes: Vec<String>,
        event: NewEvent,
        (made, render): (M, R),
    ) -> Result<Once<T>>
    where
        T: Send + 'static,
        M: FnOnce(Gone) -> T + Send + 'static,
        R: FnOnce(&T) -> Vec<u8> + Send + 'static,
    {
        self.once(Some(request), render, move |tx| {
            let row = locked(tx, id)?.ok_or_else(|| Error::not_found("machine", id))?;
            if row.version != version {
                let etag = row.version.to_string();
                return Err(Error::Conflict { name: format!("machine {}", row.name), etag }.into());
            }
            let gone = delete(tx, id, &purposes)?;
            tx.log(event);
            tx.changed.push(id);
            Ok(made(gone))
        })
        .await
    }
}

fn delete(tx: &mut Tx<'_>, machine: MachineId, purposes: &[String]) -> Outcome<Gone> {
    let id = machine.to_string();
    let found: Vec<Option<String>> =
        interfaces::table.filter(interfaces::machine.eq(&id)).select(interfaces::address).load(tx.conn)?;
    let addresses = found.iter().flatten().map(|a| parse("interfaces.address", a)).collect::<Outcome<_>>()?;
    diesel::delete(interfaces::table.filter(interfaces::machine.eq(&id))).execute(tx.conn)?;
    diesel::delete(script_results::table.filter(script_results::machine.eq(&id))).execute(tx.conn)?;
    diesel::delete(tasks::table.filter(tasks::machine.eq(&id))).execute(tx.conn)?;
    diesel::delete(boots::table.filter(boots::machine.eq(&id))).execute(tx.conn)?;
    diesel::delete(live_tokens::table.filter(live_tokens::machine.eq(&id))).execute(tx.conn)?;
    let secrets = diesel::delete(secrets::table.filter(secrets::purpose.eq_any(purposes))).execute(tx.conn)?;
    diesel::delete(machines::table.find(&id)).execute(tx.conn)?;
    Ok(Gone { addresses, secrets })
}
