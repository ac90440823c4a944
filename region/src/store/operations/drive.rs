//! How an operation is driven: under a lease, one step a transaction.

use chrono::NaiveDateTime;
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _,
    SelectableHelper as _,
};
use farrier_common::{clock::Timestamp, id::OperationId};

use crate::{
    domain::{
        Result,
        event::EventKind,
        lifecycle::{Class, State},
        operation::{Counts, Item, ItemStatus, Operation, Status},
    },
    store::{
        Store, Tx,
        convert::{limit as rows, naive, parse, parse_option},
        error::Outcome,
        events as log,
        schema::{events, machines, operation_items, operations},
    },
};

use super::{super::machines::bmcs, ItemRow, RUNNING, Row, counts, skip_waiting, small};

/// The right to drive an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Which.
    pub operation: OperationId,
    /// Whose right.
    pub owner: String,
    /// How long the step makes it last.
    pub until: Timestamp,
}

impl Store {
    /// The operations that are not over and that nobody else drives, the oldest first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn operations_to_drive(&self, owner: &str, now: Timestamp, limit: usize) -> Result<Vec<OperationId>> {
        let owner = owner.to_owned();
        self.read(move |tx| {
            let free = operations::lease_until.is_null().or(operations::lease_until.le(naive(now)));
            let found: Vec<String> = operations::table
                .filter(operations::finished_at.is_null())
                .filter(free.or(operations::lease_owner.eq(owner)))
                .order(operations::id.asc())
                .limit(rows(limit))
                .select(operations::id)
                .load(tx.conn)?;
            found.iter().map(|id| parse("operations.id", id)).collect()
        })
        .await
    }

    /// Takes or renews the right to drive an operation and tells how far it is; `None`: somebody else drives it, or it is over.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn operation_hold(&self, hold: &Hold) -> Result<Option<(Operation, Counts, Vec<Item>)>> {
        let hold = hold.clone();
        self.write(move |tx| {
            if !held(tx, &hold)? {
                return Ok(None);
            }
            let id = hold.operation.to_string();
            let row: Row = operations::table.find(&id).select(Row::as_select()).first(tx.conn)?;
            let counts = counts(tx, &[&id])?.remove(&id).unwrap_or_default();
            let running = operation_items::table
                .filter(operation_items::operation.eq(&id))
                .filter(operation_items::status.eq(ItemStatus::Running.as_str()));
            let items: Vec<ItemRow> =
                running.order(operation_items::position.asc()).select(ItemRow::as_select()).load(tx.conn)?;
            let items = items.into_iter().map(TryInto::try_into).collect::<Outcome<_>>()?;
            Ok(Some((row.try_into()?, counts, items)))
        })
        .await
    }

    /// Marks the next waiting machines as begun, and answers them. Their verbs are to be given next.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn operation_begin(&self, hold: &Hold, count: u32) -> Result<Vec<Item>> {
        let hold = hold.clone();
        self.write(move |tx| {
            if !held(tx, &hold)? {
                return Ok(Vec::new());
            }
            let id = hold.operation.to_string();
            let status: String = operations::table.find(&id).select(operations::status).first(tx.conn)?;
            if status != RUNNING {
                return Ok(Vec::new());
            }
            let waiting = operation_items::table
                .filter(operation_items::operation.eq(&id))
                .filter(operation_items::status.eq(ItemStatus::Waiting.as_str()));
            let next: Vec<ItemRow> = waiting
                .order(operation_items::position.asc())
                .limit(i64::from(count))
                .select(ItemRow::as_select())
                .load(tx.conn)?;
            let positions: Vec<i32> = next.iter().map(|row| row.position).collect();
            let revision = log::revision(tx)?;
            let mine = operation_items::table
                .filter(operation_items::operation.eq(&id))
                .filter(operation_items::position.eq_any(positions));
            diesel::update(mine)
                .set((operation_items::status.eq(ItemStatus::Running.as_str()), operation_items::revision.eq(revision)))
                .execute(tx.conn)?;
            let begun = next.into_iter().map(|row| {
                let item: Item = row.try_into()?;
                Ok(Item { status: ItemStatus::Running, revision, ..item })
            });
            begun.collect()
        })
        .await
    }

    /// Notes that the verb of a begun machine is carried out.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn operation_asked(&self, id: OperationId, position: u32) -> Result<()> {
        self.write(move |tx| {
            let mine = operation_items::table.find((id.to_string(), small(position)));
            diesel::update(mine).set(operation_items::asked.eq(true)).execute(tx.conn)?;
            Ok(())
        })
        .await
    }

    /// Notes what came of machines that were at work.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn operation_ended(&self, id: OperationId, ended: Vec<(u32, ItemStatus, String)>) -> Result<()> {
        self.write(move |tx| {
            for (position, status, text) in ended {
                let mine = operation_items::table
                    .find((id.to_string(), small(position)))
                    .filter(operation_items::status.eq(ItemStatus::Running.as_str()));
                diesel::update(mine)
                    .set((operation_items::status.eq(status.as_str()), operation_items::text.eq(text)))
                    .execute(tx.conn)?;
            }
            Ok(())
        })
        .await
    }

    /// Skips what waits, and says that too many have failed unless a person was first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn operation_stop(&self, hold: &Hold, why: &str) -> Result<()> {
        let (hold, why) = (hold.clone(), why.to_owned());
        self.write(move |tx| {
            if held(tx, &hold)? {
                let running = operations::table.find(hold.operation.to_string()).filter(operations::status.eq(RUNNING));
                diesel::update(running).set(operations::status.eq(Status::Stopped.as_str())).execute(tx.conn)?;
                skip_waiting(tx, hold.operation, &why)?;
            }
            Ok(())
        })
        .await
    }

    /// Ends an operation none of whose machines waits or is at work.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn operation_finish(&self, hold: &Hold) -> Result<()> {
        let hold = hold.clone();
        self.write(move |tx| {
            if !held(tx, &hold)? {
                return Ok(());
            }
            let id = hold.operation.to_string();
            diesel::update(operations::table.find(&id).filter(operations::status.eq(RUNNING)))
                .set(operations::status.eq(Status::Done.as_str()))
                .execute(tx.conn)?;
            diesel::update(operations::table.find(&id))
                .set((
                    operations::finished_at.eq(naive(tx.now)),
                    operations::lease_owner.eq(None::<String>),
                    operations::lease_until.eq(None::<NaiveDateTime>),
                ))
                .execute(tx.conn)?;
            Ok(())
        })
        .await
    }

    /// Where machines at work came to rest since their verbs, and why. Who is still at work is not in the answer; a machine
    /// that is gone from the database has no state.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn operation_outcomes(&self, items: Vec<Item>) -> Result<Vec<(u32, Option<State>, String)>> {
        self.read(move |tx| {
            let working: Vec<&str> =
                State::ALL.iter().filter(|s| s.class() == Class::Working).map(|s| s.as_str()).collect();
            let mut ended = Vec::new();
            for item in items {
                let id = item.machine.to_string();
                let first: Option<(Option<String>, String)> = events::table
                    .filter(events::machine.eq(&id))
                    .filter(events::revision.gt(item.revision))
                    .filter(events::kind.eq("transition"))
                    .filter(events::from_state.eq_any(&working))
                    .filter(events::to_state.ne_all(&working))
                    .order(events::revision.asc())
                    .select((events::to_state, events::reason))
                    .first(tx.conn)
                    .optional()?;
                if let Some((to, reason)) = first {
                    ended.push((item.position, parse_option("events.to_state", to.as_deref())?, reason));
                    continue;
                }
                let there: i64 = machines::table.filter(machines::id.eq(&id)).count().get_result(tx.conn)?;
                if there == 0 {
                    ended.push((item.position, None, GONE.to_owned()));
                }
            }
            Ok(ended)
        })
        .await
    }

    /// Of machines whose BMC gets a new password: those where nobody works on it any more, each with its place, when it was
    /// changed last, and what was said of it last.
    ///
    /// # Errors
    /// The database does not answer, or holds what it cannot hold.
    pub async fn operation_rotations(&self, items: Vec<Item>) -> Result<Vec<(u32, Option<Timestamp>, String)>> {
        self.read(move |tx| {
            let there = bmcs(tx, items.iter().map(|item| item.machine))?;
            let mut ended = Vec::new();
            for item in items {
                let Some(bmc) = there.get(&item.machine) else {
                    ended.push((item.position, None, GONE.to_owned()));
                    continue;
                };
                if bmc.as_ref().is_some_and(|bmc| bmc.rotation.is_some()) {
                    continue;
                }
                let said: Option<String> = events::table
                    .filter(events::machine.eq(item.machine.to_string()))
                    .filter(events::revision.gt(item.revision))
                    .filter(events::kind.eq(EventKind::Bmc.as_str()))
                    .order(events::revision.desc())
                    .select(events::reason)
                    .first(tx.conn)
                    .optional()?;
                let at = bmc.as_ref().and_then(|bmc| bmc.rotated_at);
                ended.push((item.position, at, said.unwrap_or_default()));
            }
            Ok(ended)
        })
        .await
    }
}

/// Why an item failed whose machine nobody has.
const GONE: &str = "the machine was deleted meanwhile";

/// Takes or renews the lease; from here on nobody else changes the operation in this transaction.
fn held(tx: &mut Tx<'_>, hold: &Hold) -> Outcome<bool> {
    let free = operations::lease_until.is_null().or(operations::lease_until.le(naive(tx.now)));
    let mine = operations::table
        .filter(operations::id.eq(hold.operation.to_string()))
        .filter(operations::finished_at.is_null())
        .filter(free.or(operations::lease_owner.eq(&hold.owner)));
    let taken = diesel::update(mine)
        .set((operations::lease_owner.eq(Some(&hold.owner)), operations::lease_until.eq(Some(naive(hold.until)))))
        .execute(tx.conn)?;
    Ok(taken == 1)
}
