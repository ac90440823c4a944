//! Bulk work and its machines. Whoever drives an operation holds its lease, and shows it with each step.

use std::collections::BTreeMap;

use chrono::NaiveDateTime;
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SelectableHelper as _, dsl,
    prelude::{Insertable, Queryable, Selectable},
};
use farrier_common::{
    clock::Timestamp,
    id::{OperationId, UserId},
    name::Name,
};

use crate::domain::{
    Error, Result,
    operation::{Counts, Item, ItemStatus, Operation, Status},
};

use super::{
    Once, Request, Store, Tx,
    convert::{limit as rows, naive, parse, parse_option, unsigned, utc},
    error::{Outcome, StoreError, misuse},
    schema::{operation_items, operations, users},
};

mod drive;

pub use drive::Hold;

/// An operation with what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationView {
    /// The operation.
    pub operation: Operation,
    /// Name of who asked.
    pub user: Name,
    /// How many machines are how far.
    pub counts: Counts,
    /// Its machines; empty in lists.
    pub items: Vec<Item>,
}

impl OperationView {
    /// The etag.
    #[must_use]
    pub fn etag(&self) -> String {
        let Counts { waiting, running, succeeded, failed, skipped } = self.counts;
        format!("{}-{waiting}-{running}-{succeeded}-{failed}-{skipped}", self.operation.status)
    }
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = operations)]
struct Row {
    id: String,
    verb: String,
    status: String,
    user_id: String,
    options: String,
    comment: String,
    max_parallel: i32,
    stop_after_failures: i32,
    created_at: NaiveDateTime,
    finished_at: Option<NaiveDateTime>,
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = operation_items)]
struct ItemRow {
    operation: String,
    position: i32,
    machine: String,
    machine_name: String,
    expected: Option<String>,
    status: String,
    text: String,
    revision: i64,
    asked: bool,
}

impl TryFrom<Row> for Operation {
    type Error = StoreError;

    fn try_from(row: Row) -> Outcome<Self> {
        Ok(Self {
            id: parse("operations.id", &row.id)?,
            verb: parse("operations.verb", &row.verb)?,
            status: parse("operations.status", &row.status)?,
            user: parse("operations.user_id", &row.user_id)?,
            options: serde_json::from_str(&row.options).map_err(|e| StoreError::Corrupt {
                column: "operations.options",
                value: row.options.clone(),
                why: e.to_string(),
            })?,
            comment: row.comment,
            max_parallel: unsigned("operations.max_parallel", row.max_parallel.into())?,
            stop_after_failures: unsigned("operations.stop_after_failures", row.stop_after_failures.into())?,
            created_at: utc(row.created_at),
            finished_at: row.finished_at.map(utc),
        })
    }
}

impl TryFrom<ItemRow> for Item {
    type Error = StoreError;

    fn try_from(row: ItemRow) -> Outcome<Self> {
        Ok(Self {
            position: unsigned("operation_items.position", row.position.into())?,
            machine: parse("operation_items.machine", &row.machine)?,
            name: parse("operation_items.machine_name", &row.machine_name)?,
            expected: parse_option("operation_items.expected", row.expected.as_deref())?,
            status: parse("operation_items.status", &row.status)?,
            text: row.text,
            revision: row.revision,
            asked: row.asked,
        })
    }
}

fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl Store {
    /// Is notified when this process was asked for an operation, or to cancel one. For one waiter.
    #[must_use]
    pub fn operations_asked(&self) -> &tokio::sync::Notify {
        &self.inner.operations
    }

    /// Adds an operation with its machines.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn operation_insert<R>(
        &self,
        request: Option<&Request>,
        operation: Operation,
        items: Vec<Item>,
        render: R,
    ) -> Result<Once<OperationView>>
    where
        R: FnOnce(&OperationView) -> Vec<u8> + Send + 'static,
    {
        let inserted = self
            .once(request, render, move |tx| {
                insert(tx, &operation, items)?;
                written(tx, operation.id)
            })
            .await?;
        self.inner.operations.notify_one();
        Ok(inserted)
    }

    /// The operation of that id, with its machines.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn operation_get(&self, id: OperationId) -> Result<Option<OperationView>> {
        self.read(move |tx| view(tx, id)).await
    }

    /// A page of operations, the newest first, without their machines; of one user or of all.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn operation_list(
        &self,
        user: Option<UserId>,
        before: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<OperationView>> {
        self.read(move |tx| {
            let mut query = operations::table
                .inner_join(users::table)
                .select((Row::as_select(), users::name))
                .order(operations::id.desc())
                .limit(rows(limit))
                .into_boxed();
            if let Some(user) = user {
                query = query.filter(operations::user_id.eq(user.to_string()));
            }
            if let Some(before) = before {
                query = query.filter(operations::id.lt(before.to_string()));
            }
            let found: Vec<(Row, String)> = query.load(tx.conn)?;
            let ids: Vec<&str> = found.iter().map(|(row, _)| row.id.as_str()).collect();
            let mut all = counts(tx, &ids)?;
            let each = found.into_iter().map(|(row, user)| {
                let counts = all.remove(&row.id).unwrap_or_default();
                let user = parse("users.name", &user)?;
                Ok(OperationView { operation: row.try_into()?, user, counts, items: Vec::new() })
            });
            each.collect()
        })
        .await
    }

    /// Begins no further machine of an operation. One that is cancelled already stays so.
    ///
    /// # Errors
    /// It is over, or there is none.
    pub async fn operation_cancel<R>(
        &self,
        request: Option<&Request>,
        id: OperationId,
        etag: Option<String>,
        render: R,
    ) -> Result<Once<OperationView>>
    where
        R: FnOnce(&OperationView) -> Vec<u8> + Send + 'static,
    {
        let cancelled = self
            .once(request, render, move |tx| {
                // Written first: from here on whoever drives it waits.
                let running = operations::table.find(id.to_string()).filter(operations::status.eq(RUNNING));
                let turned =
                    diesel::update(running).set(operations::status.eq(Status::Cancelled.as_str())).execute(tx.conn)?;
                let before = written(tx, id)?;
                let was = if turned == 1 { Status::Running } else { before.operation.status };
                if let Some(seen) = etag {
                    let mut as_it_was = before.clone();
                    as_it_was.operation.status = was;
                    let now = as_it_was.etag();
                    if seen != now {
                        return Err(Error::Conflict { name: format!("operation {id}"), etag: now }.into());
                    }
                }
                match was {
                    Status::Running => skip_waiting(tx, id, "the operation was cancelled")?,
                    Status::Cancelled => {}
                    Status::Done | Status::Stopped => {
                        return Err(Error::Precondition(format!("operation {id} is {was} already")).into());
                    }
                }
                written(tx, id)
            })
            .await?;
        self.inner.operations.notify_one();
        Ok(cancelled)
    }

    /// Forgets operations that ended before `before`, with their machines, at most ten; tells how many. Those
    /// that are not over stay, however old they are.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn operations_prune(&self, before: Timestamp) -> Result<usize> {
        self.write(move |tx| {
            let old: Vec<String> = operations::table
                .filter(operations::finished_at.lt(naive(before)))
                .order(operations::id.asc())
                .limit(rows(PRUNED_AT_ONCE))
                .select(operations::id)
                .load(tx.conn)?;
            diesel::delete(operation_items::table.filter(operation_items::operation.eq_any(&old))).execute(tx.conn)?;
            Ok(diesel::delete(operations::table.filter(operations::id.eq_any(&old))).execute(tx.conn)?)
        })
        .await
    }
}

/// Operations that one transaction of [`Store::operations_prune`] deletes at most: each may have thousands of machines.
const PRUNED_AT_ONCE: usize = 10;
const RUNNING: &str = Status::Running.as_str();

fn insert(tx: &mut Tx<'_>, operation: &Operation, items: Vec<Item>) -> Outcome<()> {
    let options = serde_json::to_string(&operation.options).map_err(|e| misuse(format!("options: {e}")))?;
    let row = Row {
        id: operation.id.to_string(),
        verb: operation.verb.to_string(),
        status: operation.status.to_string(),
        user_id: operation.user.to_string(),
        options,
        comment: operation.comment.clone(),
        max_parallel: small(operation.max_parallel),
        stop_after_failures: small(operation.stop_after_failures),
        created_at: naive(operation.created_at),
        finished_at: operation.finished_at.map(naive),
    };
    diesel::insert_into(operations::table).values(row).execute(tx.conn)?;
    let each = items.into_iter().map(|item| ItemRow {
        operation: operation.id.to_string(),
        position: small(item.position),
        machine: item.machine.to_string(),
        machine_name: item.name.to_string(),
        expected: item.expected.map(|state| state.to_string()),
        status: item.status.to_string(),
        text: item.text,
        revision: item.revision,
        asked: item.asked,
    });
    // One by one: a connection to either database takes no batches. The statement is prepared once.
    for row in each {
        diesel::insert_into(operation_items::table).values(row).execute(tx.conn)?;
    }
    Ok(())
}

fn skip_waiting(tx: &mut Tx<'_>, id: OperationId, why: &str) -> Outcome<()> {
    let waiting = operation_items::table
        .filter(operation_items::operation.eq(id.to_string()))
        .filter(operation_items::status.eq(ItemStatus::Waiting.as_str()));
    diesel::update(waiting)
        .set((operation_items::status.eq(ItemStatus::Skipped.as_str()), operation_items::text.eq(why)))
        .execute(tx.conn)?;
    Ok(())
}

fn counts(tx: &mut Tx<'_>, ids: &[&str]) -> Outcome<BTreeMap<String, Counts>> {
    let grouped: Vec<(String, String, i64)> = operation_items::table
        .filter(operation_items::operation.eq_any(ids.iter().copied()))
        .group_by((operation_items::operation, operation_items::status))
        .select((operation_items::operation, operation_items::status, dsl::count_star()))
        .load(tx.conn)?;
    let mut all: BTreeMap<String, Counts> = BTreeMap::new();
    for (operation, status, count) in grouped {
        let counts = all.entry(operation).or_default();
        let status: ItemStatus = parse("operation_items.status", &status)?;
        *match status {
            ItemStatus::Waiting => &mut counts.waiting,
            ItemStatus::Running => &mut counts.running,
            ItemStatus::Succeeded => &mut counts.succeeded,
            ItemStatus::Failed => &mut counts.failed,
            ItemStatus::Skipped => &mut counts.skipped,
        } = unsigned("count(*)", count)?;
    }
    Ok(all)
}

fn view(tx: &mut Tx<'_>, id: OperationId) -> Outcome<Option<OperationView>> {
    let text = id.to_string();
    let joined = operations::table.inner_join(users::table).select((Row::as_select(), users::name));
    let found: Option<(Row, String)> = joined.filter(operations::id.eq(&text)).first(tx.conn).optional()?;
    let Some((row, user)) = found else { return Ok(None) };
    let of = operation_items::table.filter(operation_items::operation.eq(&text));
    let items: Vec<ItemRow> = of.order(operation_items::position.asc()).select(ItemRow::as_select()).load(tx.conn)?;
    Ok(Some(OperationView {
        operation: row.try_into()?,
        user: parse("users.name", &user)?,
        counts: counts(tx, &[&text])?.remove(&text).unwrap_or_default(),
        items: items.into_iter().map(TryInto::try_into).collect::<Outcome<_>>()?,
    }))
}

fn written(tx: &mut Tx<'_>, id: OperationId) -> Outcome<OperationView> {
    view(tx, id)?.ok_or_else(|| Error::not_found("operation", id).into())
}
