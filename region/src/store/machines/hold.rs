//! Allocation: which machines there are to choose from, and taking them.
//!
//! Choosing reads a snapshot and takes no lock. Taking is one transaction: of the machines that were chosen it takes the
//! first that are still ready and that nobody else is at, and it looks at each again before it writes. So clients that
//! choose the same machine at the same time go on to their next best instead of waiting or starting over.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use diesel::{ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _};
use farrier_common::id::MachineId;

use crate::{
    domain::{
        Error, Result,
        advance::Change,
        allocation::{Candidate, Group},
        lifecycle::State,
        machine::Machine,
    },
    store::{
        Once, Request, Store, Tx,
        convert::{parse, utc},
        dialect,
        error::Outcome,
        schema::machines,
    },
};

use super::{MachineView, earliest, joined, locked, view, views, write, written};

/// SQLite takes 32,766 parameters in one statement; this many are quick.
const AT_ONCE: usize = 500;
/// More than so many candidates are not kept: they are parsed anew.
const MOST_KEPT: usize = 50_000;
/// How many machines more than are wanted a transaction may turn to when others were quicker.
const SPARE: usize = 256;

/// What was parsed of ready machines before, with the version that it was parsed of.
#[derive(Debug, Default)]
pub(in crate::store) struct Candidates(Mutex<HashMap<MachineId, (i64, Arc<Candidate>)>>);

impl Candidates {
    /// Those that are still as they were, and the ids of the others.
    fn known(&self, ready: &[(MachineId, i64)]) -> (Vec<Arc<Candidate>>, Vec<MachineId>) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut known, mut others) = (Vec::with_capacity(ready.len()), Vec::new());
        for (id, version) in ready {
            match kept.get(id) {
                Some((of, candidate)) if of == version => known.push(Arc::clone(candidate)),
                Some(_) | None => others.push(*id),
            }
        }
        (known, others)
    }

    fn keep(&self, parsed: &[(i64, Arc<Candidate>)]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() + parsed.len() > MOST_KEPT {
            kept.clear();
        }
        kept.extend(parsed.iter().map(|(version, c)| (c.id, (*version, Arc::clone(c)))));
    }
}

impl Store {
    /// Shows all ready machines to `choose`, in no order, and answers what it makes of them. Machines that have not changed
    /// since another call are not read again.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machines_choose<T, C>(&self, choose: C) -> Result<T>
    where
        T: Send + 'static,
        C: FnOnce(&[Arc<Candidate>]) -> T + Send + 'static,
    {
        let cache = Arc::clone(&self.inner.candidates);
        self.read(move |tx| {
            let there = machines::table.filter(machines::state.eq(State::Ready.as_str()));
            let rows: Vec<(String, i64)> = there.select((machines::id, machines::version)).load(tx.conn)?;
            let ready = rows.iter().map(|(id, version)| Ok((parse("machines.id", id)?, *version)));
            let (mut all, missing) = cache.known(&ready.collect::<Outcome<Vec<_>>>()?);
            for some in missing.chunks(AT_ONCE) {
                let ids = some.iter().map(ToString::to_string);
                let found = joined().filter(machines::id.eq_any(ids.collect::<Vec<_>>())).load(tx.conn)?;
                let each = views(tx, found)?.into_iter();
                let parsed: Vec<_> = each.map(|v| (v.machine.version, Arc::new(Candidate::from(&v.machine)))).collect();
                cache.keep(&parsed);
                all.extend(parsed.into_iter().map(|(_, candidate)| candidate));
            }
            Ok(choose(&all))
        })
        .await
    }

    /// Takes as many machines for each group as it wants, all in one transaction, and makes an answer of them. `hold` looks at
    /// each machine as it is now, under its lock, and says what it becomes; `None`: it is not to be taken after all.
    ///
    /// # Errors
    /// [`Error::Conflict`]: some are gone, or somebody else is at them; nothing is taken. Choose again. With `patient` those
    /// who are at them are waited for.
    pub async fn machines_hold<T, H, A, R>(
        &self,
        request: Option<&Request>,
        groups: Vec<Group>,
        patient: bool,
        hold: H,
        answer: A,
        render: R,
    ) -> Result<Once<T>>
    where
        T: Send + 'static,
        H: Fn(usize, &Machine) -> Option<Change> + Send + 'static,
        A: FnOnce(Vec<Vec<MachineView>>) -> Result<T> + Send + 'static,
        R: FnOnce(&T) -> Vec<u8> + Send + 'static,
    {
        self.once(request, render, move |tx| {
            let texts = |g: &Group| -> Vec<String> {
                g.candidates.iter().take(g.count + SPARE).map(ToString::to_string).collect()
            };
            let wanted: Vec<Vec<String>> = groups.iter().map(texts).collect();
            if patient {
                dialect::lock_machines(tx, &wanted.concat())?;
            }
            let mut held = Vec::with_capacity(groups.len());
            for (number, (group, candidates)) in groups.iter().zip(&wanted).enumerate() {
                held.push(take(tx, candidates, group.count, |m| hold(number, m))?);
            }
            Ok(answer(held)?)
        })
        .await
    }
}

/// The first `count` of `candidates` that can be had.
fn take(
    tx: &mut Tx<'_>,
    mut candidates: &[String],
    count: usize,
    hold: impl Fn(&Machine) -> Option<Change>,
) -> Outcome<Vec<MachineView>> {
    let mut held = Vec::with_capacity(count);
    while held.len() < count {
        let found = dialect::first_in_state(tx, candidates, State::Ready.as_str(), count - held.len())?;
        // Those before the last that was found are found too, or others are at them.
        let last = found.last().and_then(|last| candidates.iter().position(|id| id == last));
        let Some(last) = last else { return Err(gone()) };
        candidates = candidates.get(last + 1..).unwrap_or_default();
        for id in found {
            let id: MachineId = parse("machines.id", &id)?;
            let Some((row, seen)) = locked(tx, id)?.zip(view(tx, id)?) else { continue };
            let Some(change) = hold(&seen.machine) else { continue };
            let due_at = earliest(row.due_at.map(utc), change.machine.due_at);
            write::changed(tx, &row, change, due_at)?;
            held.push(written(tx, id)?);
        }
    }
    Ok(held)
}

fn gone() -> crate::store::error::StoreError {
    Error::Conflict { name: "which machines are ready".to_owned(), etag: "another".to_owned() }.into()
}
