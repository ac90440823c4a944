//! The event log.

use chrono::NaiveDateTime;
use diesel::{
    ExpressionMethods as _, JoinOnDsl as _, NullableExpressionMethods as _, QueryDsl as _, RunQueryDsl as _,
    SelectableHelper as _, dsl,
    prelude::{Insertable, Queryable, Selectable},
};
use farrier_common::{
    clock::{Clock, Timestamp},
    id::{MachineId, PoolId},
};

use crate::domain::{
    Result,
    event::{EventKind, LoggedEvent, NewEvent},
    lifecycle::State,
    machine::Owner,
};

use super::{
    Store, Tx,
    convert::{limit as rows, naive, parse, parse_option, utc},
    dialect,
    error::{Outcome, StoreError},
    schema::{events, machines},
};

#[derive(Queryable, Selectable)]
#[diesel(table_name = events)]
struct Row {
    revision: i64,
    at: NaiveDateTime,
    kind: String,
    machine: Option<String>,
    event: Option<String>,
    from_state: Option<String>,
    to_state: Option<String>,
    phase: Option<String>,
    actor: String,
    reason: String,
}

#[derive(Insertable)]
#[diesel(table_name = events)]
struct NewRow {
    at: NaiveDateTime,
    kind: &'static str,
    machine: Option<String>,
    event: Option<&'static str>,
    from_state: Option<&'static str>,
    to_state: Option<&'static str>,
    phase: Option<&'static str>,
    actor: String,
    reason: String,
}

/// Name, state, pool, owner and owning project of the machine, as they are now.
type Now = (Option<String>, Option<String>, Option<String>, Option<String>, Option<String>);

impl TryFrom<(Row, Now)> for LoggedEvent {
    type Error = StoreError;

    fn try_from((row, (machine_name, state, pool, owner, project)): (Row, Now)) -> Outcome<Self> {
        let owner = parse_option("machines.owner", owner.as_deref())?.map(Owner::User);
        let project = parse_option("machines.owner_project", project.as_deref())?.map(Owner::Project);
        let pool: Option<PoolId> = parse_option("machines.pool", pool.as_deref())?;
        Ok(Self {
            // Machines that are only met are nobody's to see.
            seen_by: pool
                .filter(|_| state.as_deref() != Some(State::New.as_str()))
                .map(|pool| (pool, owner.or(project))),
            revision: row.revision,
            at: utc(row.at),
            machine_name: parse_option("machines.name", machine_name.as_deref())?,
            body: NewEvent {
                kind: parse("events.kind", &row.kind)?,
                machine: parse_option("events.machine", row.machine.as_deref())?,
                event: parse_option("events.event", row.event.as_deref())?,
                from: parse_option("events.from_state", row.from_state.as_deref())?,
                to: parse_option("events.to_state", row.to_state.as_deref())?,
                phase: parse_option("events.phase", row.phase.as_deref())?,
                actor: row.actor,
                reason: row.reason,
            },
        })
    }
}

/// Which events a reader of the log wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventScope {
    /// Only of this machine.
    pub machine: Option<MachineId>,
    /// Only of these kinds; empty: of all.
    pub kinds: Vec<EventKind>,
}

impl EventScope {
    /// Is the event one of those?
    #[must_use]
    pub fn holds(&self, event: &NewEvent) -> bool {
        (self.machine.is_none() || self.machine == event.machine)
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
    }
}

/// A stretch of the log.
#[derive(Clone, Debug)]
pub struct EventBatch {
    /// The wanted events, the oldest first.
    pub events: Vec<LoggedEvent>,
    /// No other wanted event has a revision up to this one, nor ever will.
    pub upto: i64,
    /// The first and the last revision that the log has now; 0 and 0 if it is empty.
    pub bounds: (i64, i64),
}

/// Rows that one transaction of [`Store::event_prune`] deletes at most: it is the log's writers that wait for it on SQLite.
pub const PRUNED_AT_ONCE: usize = 5000;

impl Store {
    /// Events after a revision, the oldest first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn event_list(
        &self,
        after_revision: i64,
        machine: Option<MachineId>,
        kind: Option<EventKind>,
        limit: usize,
    ) -> Result<Vec<LoggedEvent>> {
        let scope = EventScope { machine, kinds: kind.into_iter().collect() };
        self.read(move |tx| after(tx, after_revision, &scope, limit)).await
    }

    /// At most `limit` events after a revision, and how far the log is read with them. One snapshot.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn event_batch(&self, after_revision: i64, scope: EventScope, limit: usize) -> Result<EventBatch> {
        self.read(move |tx| {
            let bounds = bounds(tx)?;
            let events = after(tx, after_revision, &scope, limit)?;
            // What is not on a page that is not full is not there. Nobody can commit an older revision later: see `append`.
            let full = events.len() >= limit;
            let upto = if full { events.last().map(|e| e.revision) } else { Some(bounds.1) };
            Ok(EventBatch { upto: upto.unwrap_or(0).max(after_revision), events, bounds })
        })
        .await
    }

    /// The first and the last revision that the log has; 0 and 0 if it is empty.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn event_bounds(&self) -> Result<(i64, i64)> {
        self.read(bounds).await
    }

    /// Forgets events that are older than `before`, at most [`PRUNED_AT_ONCE`]; tells how many. The newest event of all
    /// stays, so that the revision of the log never falls.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn event_prune(&self, before: Timestamp) -> Result<usize> {
        self.write(move |tx| {
            let newest = revision(tx)?;
            // Times grow with revisions: the old ones are the first.
            let first: Vec<(i64, NaiveDateTime)> = events::table
                .filter(events::revision.lt(newest))
                .order(events::revision.asc())
                .limit(rows(PRUNED_AT_ONCE))
                .select((events::revision, events::at))
                .load(tx.conn)?;
            let old = first.into_iter().take_while(|(_, at)| *at < naive(before)).last();
            let Some((upto, _)) = old else { return Ok(0) };
            Ok(diesel::delete(events::table.filter(events::revision.le(upto))).execute(tx.conn)?)
        })
        .await
    }

    /// The revision of the newest event; 0 before the first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn event_revision(&self) -> Result<i64> {
        self.read(revision).await
    }
}

pub(super) fn revision(tx: &mut Tx<'_>) -> Outcome<i64> {
    let newest: Option<i64> = events::table.select(dsl::max(events::revision)).first(tx.conn)?;
    Ok(newest.unwrap_or(0))
}

fn bounds(tx: &mut Tx<'_>) -> Outcome<(i64, i64)> {
    // Two questions, because only one aggregate at a time is answered from the index alone.
    let oldest: Option<i64> = events::table.select(dsl::min(events::revision)).first(tx.conn)?;
    Ok((oldest.unwrap_or(0), revision(tx)?))
}

fn after(tx: &mut Tx<'_>, revision: i64, scope: &EventScope, limit: usize) -> Outcome<Vec<LoggedEvent>> {
    let mut query = events::table
        .left_join(machines::table.on(events::machine.eq(machines::id.nullable())))
        .select((
            Row::as_select(),
            (
                machines::name.nullable(),
                machines::state.nullable(),
                machines::pool.nullable(),
                machines::owner.nullable(),
                machines::owner_project.nullable(),
            ),
        ))
        .filter(events::revision.gt(revision))
        .order(events::revision.asc())
        .limit(rows(limit))
        .into_boxed();
    if let Some(machine) = scope.machine {
        query = query.filter(events::machine.eq(machine.to_string()));
    }
    if !scope.kinds.is_empty() {
        query = query.filter(events::kind.eq_any(scope.kinds.iter().map(|k| k.as_str()).collect::<Vec<_>>()));
    }
    query.load::<(Row, Now)>(tx.conn)?.into_iter().map(TryInto::try_into).collect()
}

/// The newest events of a machine, the newest first.
pub(super) fn newest(tx: &mut Tx<'_>, machine: MachineId, limit: usize) -> Outcome<Vec<LoggedEvent>> {
    let of = events::table.filter(events::machine.eq(machine.to_string())).order(events::revision.desc());
    let found: Vec<Row> = of.limit(rows(limit)).select(Row::as_select()).load(tx.conn)?;
    found.into_iter().map(|row| (row, (None, None, None, None, None)).try_into()).collect()
}

/// Writes what the transaction has logged; tells whether there was anything. The last thing before the commit, because
/// from here on all other writers of events wait.
pub(super) fn append(tx: &mut Tx<'_>, clock: &Clock) -> Outcome<bool> {
    let logged = std::mem::take(&mut tx.events);
    if logged.is_empty() {
        return Ok(false);
    }
    dialect::lock_event_log(tx)?;
    // Read under the lock, so that times grow with revisions.
    let at = naive(clock.now());
    for event in logged {
        let row = NewRow {
            at,
            kind: event.kind.as_str(),
            machine: event.machine.map(|m| m.to_string()),
            event: event.event.map(|e| e.as_str()),
            from_state: event.from.map(|s| s.as_str()),
            to_state: event.to.map(|s| s.as_str()),
            phase: event.phase.map(|p| p.as_str()),
            actor: event.actor,
            reason: event.reason,
        };
        diesel::insert_into(events::table).values(row).execute(tx.conn)?;
    }
    Ok(true)
}
