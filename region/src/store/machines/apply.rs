//! Changes of several machines in one transaction, each with its own outcome.

use crate::{
    domain::{Error, Result, advance::Change},
    store::{Once, Request, Store, Tx, convert::utc, error::Outcome},
};

use super::{MachineView, earliest, locked, write, written};

/// So many machines at most are changed in one transaction.
const MOST: usize = 500;

/// A change of one machine, as it was when the caller read it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The caller's own, to know it again.
    pub key: usize,
    /// The change; its machine has the version that was read.
    pub change: Change,
}

impl Store {
    /// Applies what a person asked for to each machine that is still as it was read; the others are left alone, and the
    /// outcome of each says so. `made` makes the answer of all outcomes, inside the transaction.
    ///
    /// # Errors
    /// Too many at once, or the database does not answer: then nothing is changed.
    pub async fn machines_apply<T, M, R>(
        &self,
        request: Option<&Request>,
        mut planned: Vec<Planned>,
        made: M,
        render: R,
    ) -> Result<Once<T>>
    where
        T: Send + 'static,
        M: FnOnce(Vec<(usize, Result<MachineView>)>) -> T + Send + 'static,
        R: FnOnce(&T) -> Vec<u8> + Send + 'static,
    {
        if planned.len() > MOST {
            return Err(Error::Internal(format!("{} machines at once; at most {MOST}", planned.len())));
        }
        // All take rows in the same order, so that no two wait for each other.
        planned.sort_by_key(|p| p.change.machine.id);
        self.once(request, render, move |tx| {
            let mut outcomes = Vec::with_capacity(planned.len());
            for Planned { key, change } in planned {
                outcomes.push((key, one(tx, change)?));
            }
            Ok(made(outcomes))
        })
        .await
    }
}

/// The inner error is this machine's alone.
fn one(tx: &mut Tx<'_>, change: Change) -> Outcome<Result<MachineView>> {
    let id = change.machine.id;
    let Some(row) = locked(tx, id)? else { return Ok(Err(Error::not_found("machine", id))) };
    if row.version != change.machine.version {
        let etag = row.version.to_string();
        return Ok(Err(Error::Conflict { name: format!("machine {}", row.name), etag }));
    }
    let due_at = earliest(row.due_at.map(utc), change.machine.due_at);
    write::changed(tx, &row, change, due_at)?;
    written(tx, id).map(Ok)
}
