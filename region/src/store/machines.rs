//! Machines: what callers read, and the changes that people ask for. The engine's side is in `machines::engine`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, IntoSql as _, NullableExpressionMethods as _,
    OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SelectableHelper as _,
    dsl::{self, AsSelect, auto_type},
    sql_types,
};
use farrier_common::{
    clock::Timestamp,
    id::{MachineId, RackId},
    name::Name,
    net::MacAddr,
};

use crate::domain::{
    Error, Result,
    advance::Change,
    event::NewEvent,
    lifecycle::{Birth, State},
    machine::{Interface, Machine},
};

use super::{
    Once, Request, Store, Tx, Visibility,
    connection::MultiBackend,
    convert::{limit as rows, naive, parse, utc},
    dialect,
    error::Outcome,
    events,
    schema::{interfaces, machines, pools, projects, racks, users},
    visibility,
};

mod apply;
mod delete;
mod engine;
mod hold;
mod light;
mod list;
mod named;
mod power;
mod row;
mod write;

pub use apply::Planned;
pub use delete::Gone;
pub use engine::{Claim, Claimed, Committed};
pub use hold::Allocating;
pub(super) use hold::Candidates;
pub use list::{MOST_SCANNED, MachinePage, MachineQuery, Place};
pub(super) use power::bmcs;

use row::{Detail, InterfaceRow, MachineRow};

/// A machine with the names that go with it.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineView {
    /// The machine.
    pub machine: Machine,
    /// Name of the user who holds it.
    pub owner: Option<Name>,
    /// Name of the project that holds it.
    pub project: Option<Name>,
    /// Name of the pool that it is in.
    pub pool: Name,
    /// Name of the rack that serves it.
    pub rack: Option<Name>,
    /// When the agent of its boot was heard last, where somebody has looked that up.
    pub heard_at: Option<Timestamp>,
}

/// Which machines to list.
#[derive(Clone, Debug, Default)]
pub struct MachineFilter {
    /// Only these; empty: all.
    pub states: Vec<State>,
    /// Of these only those that this caller may see.
    pub visible: Visibility,
}

/// A machine that comes to be.
#[derive(Clone, Debug)]
pub struct NewMachine {
    /// How; its state is taken from here.
    pub birth: &'static Birth,
    /// The row to write. `state` and `version` are the store's.
    pub machine: Machine,
    /// For the log.
    pub event: NewEvent,
    /// What goes with it.
    pub extra: Extra,
}

/// Secrets that change in the same transaction as a machine.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// Purpose and sealed value; replaces what is there.
    pub secrets: Vec<(String, Vec<u8>)>,
    /// The same, but what is there stays.
    pub keep: Vec<(String, Vec<u8>)>,
    /// Purposes to delete.
    pub forget: Vec<String>,
}

impl From<Vec<(String, Vec<u8>)>> for Extra {
    fn from(secrets: Vec<(String, Vec<u8>)>) -> Self {
        Self { secrets, ..Self::default() }
    }
}

impl Store {
    /// The machine of that id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machine_get(&self, id: MachineId) -> Result<Option<MachineView>> {
        self.read(move |tx| view(tx, id)).await
    }

    /// The machine of that id or name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machine_find(&self, id_or_name: &str) -> Result<Option<MachineView>> {
        let text = id_or_name.to_owned();
        self.read(move |tx| {
            if let Ok(id) = text.parse()
                && let Some(found) = view(tx, id)?
            {
                return Ok(Some(found));
            }
            let found = joined().filter(machines::name.eq(text)).first(tx.conn).optional()?;
            Ok(views(tx, found.into_iter().collect())?.pop())
        })
        .await
    }

    /// The machine that has this network interface.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machine_by_mac(&self, mac: MacAddr) -> Result<Option<MachineId>> {
        self.read(move |tx| by_mac(tx, mac)).await
    }

    /// The name of another machine than `than` on this rack whose BMC is at `address`, as far as we were told.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machine_by_bmc(&self, rack: RackId, address: Ipv4Addr, than: MachineId) -> Result<Option<String>> {
        self.read(move |tx| {
            let others = machines::table.filter(machines::rack.eq(rack.to_string()));
            let others =
                others.filter(machines::bmc_address.eq(address.to_string())).filter(machines::id.ne(than.to_string()));
            Ok(others.select(machines::name).first(tx.conn).optional()?)
        })
        .await
    }

    /// A page of machines in order of id, and the revision of the log that the page contains at least.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machine_list(
        &self,
        filter: MachineFilter,
        after: Option<MachineId>,
        limit: usize,
    ) -> Result<(Vec<MachineView>, i64)> {
        self.read(move |tx| {
            let revision = events::revision(tx)?;
            let mut query = joined().into_boxed().order(machines::id.asc()).limit(rows(limit));
            for condition in list::conditions(&filter) {
                query = query.filter(condition);
            }
            if let Some(after) = after {
                query = query.filter(machines::id.gt(after.to_string()));
            }
            let query = visibility::seen!(query, filter.visible);
            let found = query.load(tx.conn)?;
            Ok((views(tx, found)?, revision))
        })
        .await
    }

    /// The machines that a rack serves, in order of id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machines_of_rack(&self, rack: RackId) -> Result<Vec<Machine>> {
        self.read(move |tx| {
            let found = joined().filter(machines::rack.eq(rack.to_string())).order(machines::id.asc()).load(tx.conn)?;
            Ok(views(tx, found)?.into_iter().map(|v| v.machine).collect())
        })
        .await
    }

    /// Those of `candidates` that are reserved for a machine or are a BMC's.
    ///
    /// # Errors
    /// The database.
    pub async fn addresses_taken(&self, candidates: &[Ipv4Addr]) -> Result<BTreeSet<Ipv4Addr>> {
        let candidates: Vec<String> = candidates.iter().map(Ipv4Addr::to_string).collect();
        self.read(move |tx| {
            let reserved: Vec<Option<String>> = interfaces::table
                .filter(interfaces::address.eq_any(&candidates))
                .select(interfaces::address)
                .load(tx.conn)?;
            let bmcs: Vec<Option<String>> = machines::table
                .filter(machines::bmc_address.eq_any(&candidates))
                .select(machines::bmc_address)
                .load(tx.conn)?;
            reserved.into_iter().chain(bmcs).flatten().map(|a| parse("address", &a)).collect()
        })
        .await
    }

    /// Adds a machine in the state that its birth gives.
    ///
    /// # Errors
    /// Its name, a MAC or an address is taken.
    pub async fn machine_insert<R>(
        &self,
        request: Option<&Request>,
        new: NewMachine,
        render: R,
    ) -> Result<Once<MachineView>>
    where
        R: FnOnce(&MachineView) -> Vec<u8> + Send + 'static,
    {
        self.once(request, render, move |tx| insert(tx, new)).await
    }

    /// Applies what a person asked for to the machine as it was at `expected_version`.
    ///
    /// # Errors
    /// [`Error::Conflict`]: it has changed since. [`Error::Exists`]: a MAC or an address is taken.
    pub async fn machine_apply<R>(
        &self,
        request: Option<&Request>,
        change: Change,
        expected_version: i64,
        extra: Extra,
        render: R,
    ) -> Result<Once<MachineView>>
    where
        R: FnOnce(&MachineView) -> Vec<u8> + Send + 'static,
    {
        self.once(request, render, move |tx| {
            let id = change.machine.id;
            let row = locked(tx, id)?.ok_or_else(|| Error::not_found("machine", id))?;
            if row.version != expected_version || row.version != change.machine.version {
                let etag = row.version.to_string();
                return Err(Error::Conflict { name: format!("machine {}", row.name), etag }.into());
            }
            // A wake that came after the caller's read counts as much as the caller's own.
            let due_at = earliest(row.due_at.map(utc), change.machine.due_at);
            write::changed(tx, &row, change, due_at)?;
            write::extra(tx, &extra)?;
            written(tx, id)
        })
        .await
    }

    /// Makes the machine due now, also if the engine is at it just now.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machine_wake(&self, id: MachineId) -> Result<()> {
        self.write(move |tx| wake(tx, id)).await
    }
}

/// Writes a machine that comes to be.
pub(super) fn insert(tx: &mut Tx<'_>, new: NewMachine) -> Outcome<MachineView> {
    let id = new.machine.id;
    write::born(tx, new)?;
    written(tx, id)
}

/// Makes a machine due now. One that is due already stays where it is in the queue.
pub(super) fn wake(tx: &mut Tx<'_>, id: MachineId) -> Outcome<()> {
    let now = naive(tx.now).into_sql::<sql_types::Nullable<sql_types::Timestamp>>();
    let later = machines::due_at.is_null().or(machines::due_at.gt(naive(tx.now)));
    // One statement: between two, a tick could put the machine off, and nobody would look at it until then.
    // The flag is for the engine that may be at it: it tells that this is a new reason, not the one it was claimed for.
    diesel::update(machines::table.find(id.to_string()))
        .set((machines::woken.eq(true), machines::due_at.eq(dsl::case_when(later, now).otherwise(machines::due_at))))
        .execute(tx.conn)?;
    tx.woke = true;
    Ok(())
}

/// Which machine has the interface?
pub(super) fn by_mac(tx: &mut Tx<'_>, mac: MacAddr) -> Outcome<Option<MachineId>> {
    let found: Option<String> =
        interfaces::table.find(mac.to_string()).select(interfaces::machine).first(tx.conn).optional()?;
    found.map(|id| parse("interfaces.machine", &id)).transpose()
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    [a, b].into_iter().flatten().min()
}

fn words(states: &[State]) -> Vec<&'static str> {
    states.iter().map(|s| s.as_str()).collect()
}

/// The row, kept from other writers until the transaction ends.
fn locked(tx: &mut Tx<'_>, id: MachineId) -> Outcome<Option<MachineRow>> {
    let id = id.to_string();
    dialect::lock_machine(tx, &id)?;
    Ok(machines::table.find(id).select(MachineRow::as_select()).first(tx.conn).optional()?)
}

/// What has just been written.
fn written(tx: &mut Tx<'_>, id: MachineId) -> Outcome<MachineView> {
    view(tx, id)?.ok_or_else(|| super::error::misuse(format!("machine {id} is gone after it was written")))
}

type Joined = (MachineRow, Option<String>, Option<String>, Option<String>, Option<String>);

#[auto_type(no_type_alias)]
fn joined() -> _ {
    let row: AsSelect<MachineRow, MultiBackend> = MachineRow::as_select();
    machines::table
        .left_join(users::table)
        .left_join(racks::table)
        .left_join(pools::table)
        .left_join(projects::table)
        .select((
            row,
            users::name.nullable(),
            racks::name.nullable(),
            pools::name.nullable(),
            projects::name.nullable(),
        ))
}

fn view(tx: &mut Tx<'_>, id: MachineId) -> Outcome<Option<MachineView>> {
    let found = joined().filter(machines::id.eq(id.to_string())).first(tx.conn).optional()?;
    Ok(views(tx, found.into_iter().collect())?.pop())
}

fn views(tx: &mut Tx<'_>, found: Vec<Joined>) -> Outcome<Vec<MachineView>> {
    views_with(tx, found, Detail::Whole)
}

fn views_with(tx: &mut Tx<'_>, found: Vec<Joined>, detail: Detail) -> Outcome<Vec<MachineView>> {
    let ids: Vec<&str> = found.iter().map(|(row, ..)| row.id.as_str()).collect();
    let nics: Vec<InterfaceRow> = interfaces::table
        .filter(interfaces::machine.eq_any(ids))
        .order((interfaces::machine.asc(), interfaces::position.asc()))
        .select(InterfaceRow::as_select())
        .load(tx.conn)?;
    let mut of: BTreeMap<String, Vec<Interface>> = BTreeMap::new();
    for nic in nics {
        let (machine, interface) = nic.try_into()?;
        of.entry(machine).or_default().push(interface);
    }
    let each = found.into_iter().map(|(row, owner, rack, pool, project)| {
        let interfaces = of.remove(&row.id).unwrap_or_default();
        Ok(MachineView {
            machine: (row, interfaces, detail).try_into()?,
            owner: owner.map(|n| parse("users.name", &n)).transpose()?,
            rack: rack.map(|n| parse("racks.name", &n)).transpose()?,
            pool: parse("pools.name", &pool.unwrap_or_default())?,
            project: project.map(|n| parse("projects.name", &n)).transpose()?,
            heard_at: None,
        })
    });
    each.collect()
}
