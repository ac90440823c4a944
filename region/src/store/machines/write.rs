//! The writes that make up a change of a machine, inside a transaction that holds the machine's row.

use std::fmt::Display;

use diesel::{ExpressionMethods as _, JoinOnDsl as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _};
use farrier_common::{clock::Timestamp, id::MachineId};

use crate::{
    domain::{
        Error,
        advance::Change,
        lifecycle::Edge,
        machine::{Interface, Machine},
    },
    store::{
        Tx, boots,
        convert::naive,
        error::{Outcome, StoreError, misuse, unique},
        quota,
        schema::{interfaces, machines},
        secrets, tasks,
    },
};

use super::{
    Extra, NewMachine,
    row::{Columns, InterfaceRow, MachineRow},
};

/// Inserts a machine. Of the two functions that write `state` this is the one for first states.
pub(super) fn born(tx: &mut Tx<'_>, new: NewMachine) -> Outcome<()> {
    let machine = Machine { version: 1, ..new.machine };
    quota::check(tx, None, machine.owner)?;
    quota::pool_there(tx, None, machine.pool)?;
    let columns = Columns::try_from(&machine)?;
    let power = machines::power.eq(machine.power.map(|(power, _)| power.as_str()));
    let power_at = machines::power_at.eq(machine.power.map(|(_, at)| naive(at)));
    let row = (columns, machines::state.eq(new.birth.to.as_str()), power, power_at);
    unique(diesel::insert_into(machines::table).values(row).execute(tx.conn), "machine", &machine.name)?;
    set_interfaces(tx, &machine)?;
    extra(tx, &new.extra)?;
    tx.woke |= machine.due_at.is_some();
    tx.log(new.event);
    Ok(())
}

/// Writes the state that an edge leads to.
fn moved(tx: &mut Tx<'_>, id: MachineId, edge: &'static Edge) -> Outcome<()> {
    let there = machines::table.find(id.to_string()).filter(machines::state.eq(edge.from.as_str()));
    match diesel::update(there).set(machines::state.eq(edge.to.as_str())).execute(tx.conn)? {
        1 => Ok(()),
        _ => Err(misuse(format!("machine {id} is not {}, where the edge {} begins", edge.from, edge.on))),
    }
}

/// Writes a change: the row with a new version, the state, interfaces, boot, task and events.
pub(super) fn changed(tx: &mut Tx<'_>, row: &MachineRow, change: Change, due_at: Option<Timestamp>) -> Outcome<()> {
    let Change { machine, edge, events, boot, task, told_power } = change;
    quota::check(tx, row.owner()?, machine.owner)?;
    quota::pool_there(tx, Some(&row.pool), machine.pool)?;
    let mut columns = Columns::try_from(&machine)?;
    columns.version = row.version + 1;
    columns.due_at = due_at.map(naive);
    columns.updated_at = naive(tx.now);
    // The row is locked; the version is asked for all the same, so that no mistake above can lose an update.
    let same = machines::table.find(&row.id).filter(machines::version.eq(row.version));
    let updated = diesel::update(same).set(columns).execute(tx.conn);
    if unique(updated, "machine", &machine.name)? != 1 {
        return Err(misuse(format!("machine {} changed under a lock", machine.id)));
    }
    if let Some(edge) = edge {
        moved(tx, machine.id, edge)?;
    }
    if let Some(power) = told_power {
        let told = (machines::power.eq(power.as_str()), machines::power_at.eq(naive(tx.now)));
        diesel::update(machines::table.find(&row.id)).set(told).execute(tx.conn)?;
    }
    set_interfaces(tx, &machine)?;
    if let Some(boot) = boot {
        boots::insert(tx, machine.id, boot)?;
    }
    if let Some(kind) = task {
        let boot = boot.map(|b| b.id).or(machine.details.boot);
        let boot = boot.ok_or_else(|| misuse(format!("task {kind} of machine {} has no boot", machine.id)))?;
        tasks::insert(tx, machine.id, boot, kind)?;
    }
    for event in events {
        tx.log(event);
    }
    tx.changed.push(machine.id);
    tx.woke |= due_at.is_some();
    Ok(())
}

/// Writes and deletes secrets.
pub(super) fn extra(tx: &mut Tx<'_>, extra: &Extra) -> Outcome<()> {
    for (purpose, sealed) in &extra.secrets {
        secrets::put(tx, purpose, sealed)?;
    }
    for (purpose, sealed) in &extra.keep {
        secrets::keep(tx, purpose, sealed)?;
    }
    for purpose in &extra.forget {
        secrets::delete(tx, purpose)?;
    }
    Ok(())
}

/// Makes the machine's interfaces those that it has in memory, if they differ.
fn set_interfaces(tx: &mut Tx<'_>, machine: &Machine) -> Outcome<()> {
    use diesel::SelectableHelper as _;
    let of = interfaces::table.filter(interfaces::machine.eq(machine.id.to_string()));
    let rows: Vec<InterfaceRow> =
        of.clone().order(interfaces::position.asc()).select(InterfaceRow::as_select()).load(tx.conn)?;
    let known: Vec<Interface> =
        rows.into_iter().map(|r| r.try_into().map(|(_, i): (String, Interface)| i)).collect::<Outcome<_>>()?;
    if known == machine.interfaces {
        return Ok(());
    }
    diesel::delete(of).execute(tx.conn)?;
    for (position, interface) in machine.interfaces.iter().enumerate() {
        free(tx, machine, interface)?;
        let row = InterfaceRow::new(machine, position, interface);
        // Taken after all: by somebody who committed since, which only PostgreSQL allows.
        let what = format!("{}{}", interface.mac, interface.address.map_or(String::new(), |a| format!(" or {a}")));
        unique(diesel::insert_into(interfaces::table).values(row).execute(tx.conn), "network interface", &what)?;
    }
    Ok(())
}

/// Is the interface's MAC, and its address, nobody's?
fn free(tx: &mut Tx<'_>, machine: &Machine, interface: &Interface) -> Outcome<()> {
    let named = interfaces::table
        .inner_join(machines::table.on(machines::id.eq(interfaces::machine)))
        .select((machines::id, machines::name));
    let by_mac = named.filter(interfaces::mac.eq(interface.mac.to_string())).first(tx.conn).optional()?;
    if let Some(holder) = by_mac {
        return Err(taken(machine, "MAC address", interface.mac, holder));
    }
    let Some(address) = interface.address else { return Ok(()) };
    let by_address = named.filter(interfaces::address.eq(address.to_string())).first(tx.conn).optional()?;
    by_address.map_or(Ok(()), |holder| Err(taken(machine, "address", address, holder)))
}

fn taken(machine: &Machine, kind: &'static str, what: impl Display, (id, name): (String, String)) -> StoreError {
    let whose = if id == machine.id.to_string() { "given twice".to_owned() } else { format!("of machine {name}") };
    Error::Exists { kind, name: format!("{what} ({whose})") }.into()
}
