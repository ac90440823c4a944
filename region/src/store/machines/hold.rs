//! Allocation: which machines there are to choose from, and taking them.
//!
//! Choosing reads a snapshot and takes no lock. Taking is one transaction: of the machines that were chosen it takes the
//! first that are still ready and that nobody else is at, and it looks at each again before it writes. So clients that
//! choose the same machine at the same time go on to their next best instead of waiting or starting over; and if all that
//! were chosen are gone, it chooses anew before it gives its turn away.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SelectableHelper as _};
use farrier_common::id::MachineId;

use crate::{
    domain::{
        Error, Result,
        advance::Change,
        allocation::{Candidate, Plan},
        lifecycle::State,
        machine::Machine,
    },
    store::{
        Once, Request, Store, Tx,
        convert::{parse, utc},
        dialect,
        error::{Outcome, StoreError},
        schema::machines,
    },
};

use super::{MachineView, earliest, joined, row::MachineRow, view, views, write, written};

/// SQLite takes 32,766 parameters in one statement; this many are quick.
const AT_ONCE: usize = 500;
/// More than so many candidates are not kept: they are parsed anew.
const MOST_KEPT: usize = 50_000;
/// How often a transaction chooses.
const ROUNDS: usize = 3;

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

/// Machines that somebody wants, as the store asks about them. It may be asked several times, inside a transaction.
pub trait Allocating: Send + Sync + 'static {
    /// What comes of it.
    type Answer: Send + 'static;

    /// Who gets what of the machines that are ready.
    fn choose(&self, ready: &[Arc<Candidate>]) -> Plan;

    /// Why each group of the plan has too little; empty where it has enough. `named` are the machines that were named and are
    /// not ready, as far as they exist.
    ///
    /// # Errors
    /// It is too little for anything to be done.
    fn judge(&self, plan: &Plan, named: &[MachineView]) -> Result<Vec<String>>;

    /// Is less than was chosen worth taking, if whoever is to hold it may hold no more?
    fn takes_fewer(&self) -> bool;

    /// What a machine becomes that is to be taken for a group, as it is now; `None`: it is not to be taken after all.
    fn hold(&self, plan: &Plan, group: usize, machine: &Machine) -> Option<Change>;

    /// The answer, from what each group got and what was judged.
    ///
    /// # Errors
    /// That cannot be.
    fn answer(&self, plan: &Plan, told: &[String], taken: Vec<Vec<MachineView>>) -> Result<Self::Answer>;

    /// How the answer is kept.
    fn render(&self, answer: &Self::Answer) -> Vec<u8>;
}

impl Store {
    /// Chooses, and takes what was chosen in one transaction. With `patient` those who are at a machine are waited for.
    ///
    /// # Errors
    /// It is too little. [`Error::Conflict`]: others are at what was chosen; nothing is taken, try again.
    pub async fn machines_hold<A: Allocating>(
        &self,
        request: Option<&Request>,
        allocating: Arc<A>,
        patient: bool,
    ) -> Result<Once<A::Answer>> {
        let (asked, cache) = (Arc::clone(&allocating), Arc::clone(&self.inner.candidates));
        let mut plan = self
            .read(move |tx| {
                let plan = asked.choose(&ready(tx, &cache)?);
                let named = named(tx, &plan)?;
                Ok(asked.judge(&plan, &named).map(|told| (plan, told))?)
            })
            .await?;
        let (rendering, cache) = (Arc::clone(&allocating), Arc::clone(&self.inner.candidates));
        self.once(
            request,
            move |made| rendering.render(made),
            move |tx| {
                for round in 0..ROUNDS {
                    if round > 0 {
                        let again = allocating.choose(&ready(tx, &cache)?);
                        let told = allocating.judge(&again, &named(tx, &again)?)?;
                        plan = (again, told);
                    }
                    let (chosen, told) = &plan;
                    if let Some(found) = find(tx, chosen, &*allocating, patient)? {
                        let (mut told, mut taken) = (told.clone(), Vec::with_capacity(found.len()));
                        for (number, group) in found.into_iter().enumerate() {
                            let short = told.get_mut(number).filter(|_| allocating.takes_fewer());
                            taken.push(take(tx, group, short)?);
                        }
                        return Ok(allocating.answer(chosen, &told, taken)?);
                    }
                }
                let etag = "another".to_owned();
                Err(Error::Conflict { name: "the set of ready machines".to_owned(), etag }.into())
            },
        )
        .await
    }
}

/// All ready machines, in no order. Those that have not changed since they were read before are not read again.
fn ready(tx: &mut Tx<'_>, cache: &Candidates) -> Outcome<Vec<Arc<Candidate>>> {
    let there = machines::table.filter(machines::state.eq(State::Ready.as_str()));
    let rows: Vec<(String, i64)> = there.select((machines::id, machines::version)).load(tx.conn)?;
    let versions = rows.iter().map(|(id, version)| Ok((parse("machines.id", id)?, *version)));
    let (mut all, missing) = cache.known(&versions.collect::<Outcome<Vec<_>>>()?);
    for some in missing.chunks(AT_ONCE) {
        let ids = some.iter().map(ToString::to_string);
        let found = joined().filter(machines::id.eq_any(ids.collect::<Vec<_>>())).load(tx.conn)?;
        // One that has left the state since the first query, which PostgreSQL lets happen in a write, is none.
        let each = views(tx, found)?.into_iter().filter(|v| v.machine.state == State::Ready);
        let parsed: Vec<_> = each.map(|v| (v.machine.version, Arc::new(Candidate::from(&v.machine)))).collect();
        cache.keep(&parsed);
        all.extend(parsed.into_iter().map(|(_, candidate)| candidate));
    }
    Ok(all)
}

/// The machines that were named and are not ready, as far as they exist.
fn named(tx: &mut Tx<'_>, plan: &Plan) -> Outcome<Vec<MachineView>> {
    let mut all = Vec::new();
    for name in plan.not_ready() {
        let found = match name.parse::<MachineId>() {
            Ok(id) => view(tx, id)?,
            Err(_) => {
                let found = joined().filter(machines::name.eq(name)).first(tx.conn).optional()?;
                views(tx, found.into_iter().collect())?.pop()
            }
        };
        all.extend(found);
    }
    Ok(all)
}

/// A machine that is locked, and what it becomes.
type Found = (MachineRow, Change);

/// Locks what each group is to get; `None`: there is too little of it that nobody else is at.
fn find(tx: &mut Tx<'_>, plan: &Plan, of: &impl Allocating, patient: bool) -> Outcome<Option<Vec<Vec<Found>>>> {
    if patient {
        let all = plan.groups.iter().flat_map(|g| &g.candidates).map(ToString::to_string);
        dialect::lock_machines(tx, &all.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>())?;
    }
    let mut used = BTreeSet::new();
    let mut all = Vec::with_capacity(plan.groups.len());
    for (number, group) in plan.groups.iter().enumerate() {
        let texts: Vec<String> = group.candidates.iter().map(ToString::to_string).collect();
        let mut left: Vec<String> = texts.into_iter().filter(|id| !used.contains(id)).collect();
        let mut found = Vec::with_capacity(group.count);
        while found.len() < group.count {
            let ids = dialect::first_in_state(tx, &left, State::Ready.as_str(), group.count - found.len())?;
            // Those before the last that was found are found too, or others are at them.
            let Some(last) = ids.last().and_then(|last| left.iter().position(|id| id == last)) else { return Ok(None) };
            left.drain(..=last);
            for text in ids {
                let id: MachineId = parse("machines.id", &text)?;
                // Locked already.
                let row = machines::table.find(&text).select(MachineRow::as_select()).first(tx.conn)?;
                let Some(seen) = view(tx, id)? else { continue };
                if let Some(change) = of.hold(plan, number, &seen.machine) {
                    used.insert(text);
                    found.push((row, change));
                }
            }
        }
        all.push(found);
    }
    Ok(Some(all))
}

/// Takes all, or with `short` as many as may be held, and says there why not more.
fn take(tx: &mut Tx<'_>, found: Vec<Found>, mut short: Option<&mut String>) -> Outcome<Vec<MachineView>> {
    let mut held = Vec::with_capacity(found.len());
    for (row, change) in found {
        let id = change.machine.id;
        let due_at = earliest(row.due_at.map(utc), change.machine.due_at);
        match (write::changed(tx, &row, change, due_at), &mut short) {
            // A quota is asked for before anything is written.
            (Err(StoreError::Refused(why @ Error::Quota { .. })), Some(short)) => {
                **short = why.to_string();
                break;
            }
            (done, _) => done?,
        }
        held.push(written(tx, id)?);
    }
    Ok(held)
}
