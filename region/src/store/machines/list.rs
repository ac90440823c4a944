//! Pages of machines: filtered, ordered, and continued by key.
//!
//! **Invariant:** what the database is asked for may let more machines through than the filter, never fewer: the whole
//! filter is applied to what comes back.

use diesel::{
    BoolExpressionMethods as _, BoxableExpression, ExpressionMethods as _, NullableExpressionMethods as _,
    QueryDsl as _, RunQueryDsl as _, TextExpressionMethods as _, dsl::LeftJoinQuerySource, sql_types::Bool,
};
use farrier_common::{clock::Timestamp, name::Name};

use crate::{
    domain::{
        Result,
        filter::{Field, Filter, Op, Seen, Test, Value},
        order::{Key, Order, Part},
    },
    store::{
        Store, Tx,
        connection::MultiBackend,
        convert::{limit as rows, naive},
        error::Outcome,
        events,
        schema::{machines, pools, projects, racks, users},
        visibility,
    },
};

use super::{MachineFilter, MachineView, joined, row::Detail, views_with, words};

/// Rows that one call looks at, at most.
pub const MOST_SCANNED: usize = 10_000;
/// Rows that are read at once where the database cannot apply the whole filter.
const BATCH: usize = 500;

type Source = LeftJoinQuerySource<
    LeftJoinQuerySource<
        LeftJoinQuerySource<LeftJoinQuerySource<machines::table, users::table>, racks::table>,
        pools::table,
    >,
    projects::table,
>;

/// Something that a row has to fulfil.
pub(super) type Condition = Box<dyn BoxableExpression<Source, MultiBackend, SqlType = Bool>>;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct MachineQuery {
    /// What the caller may see, and which states.
    pub filter: MachineFilter,
    /// What he wants of it.
    pub wanted: Filter,
    /// In which order.
    pub order: Order,
    /// With what only the inventory knows, with layouts and the like; without, they are left out and not even read.
    pub whole: bool,
}

/// A place in a list: just behind a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What the list is ordered by, one value for each key.
    pub values: Vec<String>,
    /// Id of the machine.
    pub id: String,
}

/// A page of machines.
#[derive(Clone, Debug)]
pub struct MachinePage {
    /// The machines.
    pub items: Vec<MachineView>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Place>,
    /// Of the log, which the page contains at least.
    pub revision: i64,
}

impl Store {
    /// At most `limit` machines behind a place. Fewer, with a next place, if many had to be looked at.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machine_page(&self, query: MachineQuery, behind: Option<Place>, limit: usize) -> Result<MachinePage> {
        let conjuncts = query.wanted.conjuncts();
        let exact = query.wanted.is_conjunction() && conjuncts.iter().all(|t| pushed(t).is_some());
        // One more than asked for shows whether there is more.
        let batch = if exact { limit + 1 } else { BATCH.max(limit + 1) };
        let (mut items, mut revision, mut behind, mut scanned) = (Vec::new(), None, behind, 0);
        loop {
            let (asked, from) = (query.clone(), behind.clone());
            let (found, at) = self.read(move |tx| stretch(tx, &asked, from.as_ref(), batch)).await?;
            let revision = *revision.get_or_insert(at);
            scanned += found.len();
            let last = found.last().map(|view| place(&query.order, view));
            let ended = found.len() < batch;
            items.extend(found.into_iter().filter(|view| query.wanted.matches(&view.seen())));
            if items.len() > limit {
                items.truncate(limit);
                let next = items.last().map(|view| place(&query.order, view));
                return Ok(MachinePage { items, next, revision });
            }
            behind = last;
            if ended || scanned >= MOST_SCANNED {
                return Ok(MachinePage { items, next: behind.filter(|_| !ended), revision });
            }
        }
    }
}

fn stretch(
    tx: &mut Tx<'_>,
    query: &MachineQuery,
    behind: Option<&Place>,
    limit: usize,
) -> Outcome<(Vec<MachineView>, i64)> {
    let revision = events::revision(tx)?;
    let mut select = joined().into_boxed().limit(rows(limit));
    for condition in conditions(&query.filter) {
        select = select.filter(condition);
    }
    for condition in query.wanted.conjuncts().into_iter().filter_map(pushed) {
        select = select.filter(condition);
    }
    select = visibility::seen!(select, query.filter.visible.clone());
    if let Some(place) = behind {
        select = select.filter(beyond(query.order.parts(), place));
    }
    for (key, desc) in query.order.parts() {
        // Each column has its own type.
        macro_rules! by {
            ($column:expr) => {
                if *desc { select.then_order_by($column.desc()) } else { select.then_order_by($column.asc()) }
            };
        }
        select = match key {
            Key::Id => by!(machines::id),
            Key::Name => by!(machines::name),
            Key::State => by!(machines::state),
            Key::Since => by!(machines::since),
            Key::CreatedAt => by!(machines::created_at),
            Key::UpdatedAt => by!(machines::updated_at),
            Key::Pool => by!(pools::name.nullable()),
            Key::Zone => by!(machines::zone),
        };
    }
    let found = select.then_order_by(machines::id.asc()).load(tx.conn)?;
    let detail = if query.whole || query.wanted.asks_hardware() { Detail::Whole } else { Detail::Short };
    Ok((views_with(tx, found, detail)?, revision))
}

/// What a caller's filter comes to: here alone.
pub(super) fn conditions(filter: &MachineFilter) -> Vec<Condition> {
    let mut all: Vec<Condition> = Vec::new();
    if !filter.states.is_empty() {
        all.push(Box::new(machines::state.eq_any(words(&filter.states))));
    }
    all
}

/// The test as the database can make it; `None` if it cannot.
fn pushed(test: &Test) -> Option<Condition> {
    if let Value::Time(than) = &test.value {
        return timed(test.field, test.op, *than);
    }
    let given = match (&test.value, test.op) {
        // Words and elements of sets are texts of one piece.
        (Value::Text(pieces), Op::Eq | Op::Has) => match pieces.as_slice() {
            [one] if !one.is_empty() => one.clone(),
            _ => return None,
        },
        _ => return None,
    };
    let exact = test.op == Op::Eq;
    Some(match test.field {
        Field::State => Box::new(machines::state.eq(given)),
        Field::Architecture => Box::new(machines::architecture.eq(given)),
        Field::Power => Box::new(machines::power.assume_not_null().eq(given)),
        // A tag is a name, so nothing in it means anything to LIKE.
        Field::Tags if given.parse::<Name>().is_ok() => Box::new(machines::tags.like(format!("%,{given},%"))),
        Field::Id if exact => Box::new(machines::id.eq(given)),
        Field::Name if exact => Box::new(machines::name.eq(given)),
        Field::Zone if exact => Box::new(machines::zone.eq(given)),
        Field::Pool if exact => Box::new(pools::name.nullable().assume_not_null().eq(given)),
        Field::Rack if exact => Box::new(racks::name.nullable().assume_not_null().eq(given)),
        Field::Owner if exact => Box::new(users::name.nullable().assume_not_null().eq(given)),
        Field::Project if exact => Box::new(projects::name.nullable().assume_not_null().eq(given)),
        Field::Id
        | Field::Name
        | Field::Zone
        | Field::Pool
        | Field::Rack
        | Field::Owner
        | Field::Project
        | Field::Tags
        | Field::Phase
        | Field::Firmware
        | Field::Locked
        | Field::Labels
        | Field::Vendor
        | Field::Product
        | Field::Serial
        | Field::CpuCores
        | Field::MemoryBytes
        | Field::Image
        | Field::BmcAddress
        | Field::Mac
        | Field::CreatedAt
        | Field::UpdatedAt
        | Field::Since => return None,
    })
}

fn timed(field: Field, op: Op, than: Timestamp) -> Option<Condition> {
    // What is finer than a microsecond is compared afterwards.
    if naive(than) != than.naive_utc() {
        return None;
    }
    let than = naive(than);
    macro_rules! compared {
        ($column:expr) => {
            match op {
                Op::Eq | Op::Has => Box::new($column.eq(than)),
                Op::Ne => Box::new($column.ne(than)),
                Op::Lt => Box::new($column.lt(than)),
                Op::Le => Box::new($column.le(than)),
                Op::Gt => Box::new($column.gt(than)),
                Op::Ge => Box::new($column.ge(than)),
            }
        };
    }
    Some(if field == Field::Since {
        compared!(machines::since)
    } else if field == Field::CreatedAt {
        compared!(machines::created_at)
    } else {
        compared!(machines::updated_at)
    })
}

/// What lies behind a place: greater by the first key, or equal by it and greater by the next, and so on.
fn beyond(parts: &[Part], place: &Place) -> Condition {
    let mut condition: Condition = Box::new(machines::id.gt(place.id.clone()));
    for ((key, desc), value) in parts.iter().zip(&place.values).rev() {
        let (past, same) = around(*key, *desc, value.clone());
        condition = Box::new(past.or(same.and(condition)));
    }
    condition
}

/// Behind a value of a key, and at it.
fn around(key: Key, desc: bool, value: String) -> (Condition, Condition) {
    macro_rules! sides {
        ($column:expr, $value:expr) => {{
            let past: Condition =
                if desc { Box::new($column.lt($value.clone())) } else { Box::new($column.gt($value.clone())) };
            (past, Box::new($column.eq($value)))
        }};
    }
    let time = || value.parse::<Timestamp>().map(naive).unwrap_or_default();
    match key {
        Key::Id => sides!(machines::id, value),
        Key::Name => sides!(machines::name, value),
        Key::State => sides!(machines::state, value),
        Key::Zone => sides!(machines::zone, value),
        Key::Pool => sides!(pools::name.nullable().assume_not_null(), value),
        Key::Since => sides!(machines::since, time()),
        Key::CreatedAt => sides!(machines::created_at, time()),
        Key::UpdatedAt => sides!(machines::updated_at, time()),
    }
}

fn place(order: &Order, view: &MachineView) -> Place {
    let m = &view.machine;
    let value = |(key, _): &Part| match key {
        Key::Id => m.id.to_string(),
        Key::Name => m.name.to_string(),
        Key::State => m.state.to_string(),
        Key::Since => m.since.to_rfc3339(),
        Key::CreatedAt => m.created_at.to_rfc3339(),
        Key::UpdatedAt => m.updated_at.to_rfc3339(),
        Key::Pool => view.pool.to_string(),
        Key::Zone => m.zone.to_string(),
    };
    Place { values: order.parts().iter().map(value).collect(), id: m.id.to_string() }
}

impl MachineView {
    /// The machine as filters see it.
    #[must_use]
    pub fn seen(&self) -> Seen<'_> {
        Seen {
            machine: &self.machine,
            owner: self.owner.as_ref(),
            project: self.project.as_ref(),
            pool: &self.pool,
            rack: self.rack.as_ref(),
        }
    }
}
