//! What BMCs say of the power, and whom to ask next.

use std::collections::{BTreeMap, BTreeSet};

use diesel::{BoolExpressionMethods as _, ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _};
use farrier_common::{clock::Timestamp, hardware::PowerState, id::MachineId};

use crate::{
    domain::{
        Error, Result,
        bmc::Bmc,
        event::{EventKind, NewEvent},
        lifecycle::{Class, State},
        machine::Machine,
    },
    store::{
        Store, Tx,
        convert::{limit as rows, naive, parse},
        dialect,
        error::Outcome,
        schema::machines,
    },
};

use super::{joined, locked, views, wake};

impl Store {
    /// Takes down what the BMC said; tells whether that is news. Logs news, and wakes the machine if it is being worked on.
    ///
    /// # Errors
    /// There is no such machine.
    pub async fn machine_set_power(&self, id: MachineId, power: PowerState, at: Timestamp) -> Result<bool> {
        self.write(move |tx| set(tx, id, power, at)?.ok_or_else(|| Error::not_found("machine", id).into())).await
    }

    /// Takes down what many BMCs said at about the same time, mostly in one transaction: most say what is known. A machine
    /// that is gone meanwhile is left out.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machines_set_power(&self, seen: BTreeMap<MachineId, PowerState>, at: Timestamp) -> Result<()> {
        let all = seen.clone();
        let noted = self.write(move |tx| note(tx, &all, at)).await?;
        for (id, power) in seen.into_iter().filter(|(id, _)| !noted.contains(id)) {
            self.write(move |tx| set(tx, id, power, at)).await?;
        }
        Ok(())
    }

    /// Hands out machines with a BMC and a rack whose power was not asked for since `observed_before`, the longest unasked
    /// first. Each is handed out once per period, so that BMCs which do not answer keep nobody from the others.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machines_to_poll(&self, observed_before: Timestamp, limit: usize) -> Result<Vec<Machine>> {
        let before = naive(observed_before);
        let unasked = machines::table
            .filter(machines::bmc_address.is_not_null())
            .filter(machines::rack.is_not_null())
            .filter(machines::power_at.is_null().or(machines::power_at.lt(before)))
            .filter(machines::polled_at.is_null().or(machines::polled_at.lt(before)))
            // SQLite puts NULL first, PostgreSQL last: order by having a time, then by it.
            .order((machines::polled_at.is_not_null().asc(), machines::polled_at.asc(), machines::id.asc()))
            .limit(rows(limit))
            .select(machines::id);
        let ids: Vec<String> = self.read(move |tx| Ok(unasked.load(tx.conn)?)).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.write(move |tx| {
            let free = machines::polled_at.is_null().or(machines::polled_at.lt(before));
            let mine: Vec<String> = diesel::update(machines::table.filter(machines::id.eq_any(&ids)).filter(free))
                .set(machines::polled_at.eq(naive(tx.now)))
                .returning(machines::id)
                .get_results(tx.conn)?;
            let found = joined().filter(machines::id.eq_any(mine)).load(tx.conn)?;
            Ok(views(tx, found)?.into_iter().map(|view| view.machine).collect())
        })
        .await
    }
}

/// What is known of the BMCs of these machines, of those that are there.
pub(in crate::store) fn bmcs(
    tx: &mut Tx<'_>,
    ids: impl Iterator<Item = MachineId>,
) -> Outcome<BTreeMap<MachineId, Option<Bmc>>> {
    let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
    let found = joined().filter(machines::id.eq_any(ids)).load(tx.conn)?;
    Ok(views(tx, found)?.into_iter().map(|view| (view.machine.id, view.machine.details.bmc)).collect())
}

/// Takes down what is said of the machines that nobody else is writing; tells which these are.
fn note(tx: &mut Tx<'_>, seen: &BTreeMap<MachineId, PowerState>, at: Timestamp) -> Outcome<BTreeSet<MachineId>> {
    let ids = dialect::lock_idle_machines(tx, seen.keys().map(ToString::to_string).collect())?;
    let mine: BTreeSet<MachineId> = ids.iter().map(|id| parse("machines.id", id)).collect::<Outcome<_>>()?;
    for power in [PowerState::Off, PowerState::On] {
        let told: Vec<MachineId> = mine.iter().filter(|id| seen.get(id) == Some(&power)).copied().collect();
        let same = machines::table
            .filter(machines::id.eq_any(told.iter().map(ToString::to_string)))
            .filter(machines::power.eq(power.as_str()))
            .filter(machines::power_at.le(naive(at)));
        let still = diesel::update(same).set(machines::power_at.eq(naive(at))).returning(machines::id);
        let still: BTreeSet<String> = still.get_results(tx.conn)?.into_iter().collect();
        for id in told.into_iter().filter(|id| !still.contains(&id.to_string())) {
            set(tx, id, power, at)?;
        }
    }
    Ok(mine)
}

/// `None`: there is no such machine.
fn set(tx: &mut Tx<'_>, id: MachineId, power: PowerState, at: Timestamp) -> Outcome<Option<bool>> {
    let Some(row) = locked(tx, id)? else { return Ok(None) };
    if row.power_at.is_some_and(|seen| seen > naive(at)) {
        return Ok(Some(false));
    }
    diesel::update(machines::table.find(id.to_string()))
        .set((machines::power.eq(power.as_str()), machines::power_at.eq(naive(at))))
        .execute(tx.conn)?;
    if row.power.as_deref() == Some(power.as_str()) {
        return Ok(Some(false));
    }
    let state: State = parse("machines.state", &row.state)?;
    tx.log(NewEvent {
        kind: EventKind::Power,
        machine: Some(id),
        event: None,
        from: Some(state),
        to: Some(state),
        phase: None,
        actor: "engine".to_owned(),
        reason: format!("power is {power}"),
    });
    if state.class() == Class::Working {
        wake(tx, id)?;
    }
    Ok(Some(true))
}
