//! The engine's side of machines: claims, commits under a claim, and what is due.

use chrono::TimeDelta;
use diesel::{ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _, dsl};
use farrier_common::{
    clock::Timestamp,
    id::{MachineId, RackId},
};

use crate::{
    domain::{Error, Result, advance::Change, machine::Machine},
    store::{
        Store, Tx,
        convert::{limit as rows, naive, utc},
        dialect,
        error::Outcome,
        schema::machines,
    },
};

use super::{Extra, MachineView, earliest, joined, locked, row, row::MachineRow, view, views, wake, write};

/// The right to commit one tick of a machine. It ends with a commit, a release, or when the lease runs out and somebody
/// else claims the machine; whatever changes the machine meanwhile makes it worthless too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which machine.
    pub machine: MachineId,
    /// Counts the claims of the machine.
    pub epoch: i64,
    /// Of the machine when it was claimed.
    pub version: i64,
}

/// A machine to work on.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The machine as it was claimed.
    pub view: MachineView,
    /// Counts the claims of the machine.
    pub epoch: i64,
}

impl Claimed {
    /// What a commit has to show.
    #[must_use]
    pub const fn claim(&self) -> Claim {
        Claim { machine: self.view.machine.id, epoch: self.epoch, version: self.view.machine.version }
    }
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is written.
    Done,
    /// The machine has changed or been claimed since; nothing is written. Claim it again.
    Lost,
}

impl Store {
    /// Claims machines that are due and that nobody works on, the longest due first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machine_claim_due(
        &self,
        owner: &str,
        now: Timestamp,
        lease: TimeDelta,
        limit: usize,
    ) -> Result<Vec<Claimed>> {
        let owner = owner.to_owned();
        // Most of the time nothing is due; asking that needs no write lock.
        if self.due_oldest_free(now).await?.is_none() {
            return Ok(Vec::new());
        }
        self.write(move |tx| {
            let ids = dialect::claimable(tx, naive(now), rows(limit))?;
            diesel::update(machines::table.filter(machines::id.eq_any(&ids)))
                .set((
                    machines::epoch.eq(machines::epoch + 1),
                    machines::lease_owner.eq(Some(owner)),
                    machines::lease_until.eq(Some(naive(now + lease))),
                    machines::woken.eq(false),
                ))
                .execute(tx.conn)?;
            let mine = machines::table.filter(machines::id.eq_any(&ids));
            let epochs: Vec<i64> = mine.select(machines::epoch).order(machines::id.asc()).load(tx.conn)?;
            let found = joined().filter(machines::id.eq_any(&ids)).order(machines::id.asc()).load(tx.conn)?;
            let each = views(tx, found)?.into_iter().zip(epochs);
            let mut claimed: Vec<Claimed> = each.map(|(view, epoch)| Claimed { view, epoch }).collect();
            claimed.sort_by_key(|c| (c.view.machine.due_at, c.view.machine.id));
            Ok(claimed)
        })
        .await
    }

    /// Makes a claim last longer, while its tick is under way. Does nothing to one that somebody else has taken over.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machine_renew_claim(&self, claim: Claim, until: Timestamp) -> Result<()> {
        self.write(move |tx| {
            let mine = machines::table.find(claim.machine.to_string()).filter(machines::epoch.eq(claim.epoch));
            diesel::update(mine.filter(machines::lease_owner.is_not_null()))
                .set(machines::lease_until.eq(Some(naive(until))))
                .execute(tx.conn)?;
            Ok(())
        })
        .await
    }

    /// Commits a tick and ends the claim. The version grows, except for a mere wait: then only `due_at`, `reason`,
    /// `attempts` and `last_error` differ, and who has read the machine may still act on it.
    ///
    /// # Errors
    /// [`Error::Exists`]: an interface that was found belongs to another machine. Nothing is written and the claim goes on.
    pub async fn machine_commit(
        &self,
        claim: Claim,
        change: Change,
        extra: impl Into<Extra> + Send,
    ) -> Result<Committed> {
        self.machine_commit_after(claim, change, extra, || ()).await
    }

    /// [`Store::machine_commit`], which calls `written` when the machine is written and the transaction is still open.
    ///
    /// # Errors
    /// As there.
    pub async fn machine_commit_after(
        &self,
        claim: Claim,
        change: Change,
        extra: impl Into<Extra> + Send,
        written: impl FnOnce() + Send + 'static,
    ) -> Result<Committed> {
        let extra = extra.into();
        self.write(move |tx| {
            let Some(row) = locked(tx, claim.machine)? else { return Ok(Committed::Lost) };
            if row.epoch != claim.epoch {
                return Ok(Committed::Lost);
            }
            if row.version != claim.version {
                release(tx, claim)?;
                // It is as due as it was, and free now.
                tx.woke |= row.due_at.is_some();
                return Ok(Committed::Lost);
            }
            // Woken during the tick: the tick may not have seen why, so its own idea of when to look again is too late.
            let woken = row.due_at.map(utc).filter(|_| row.woken);
            let due_at = if woken.is_some() { earliest(woken, change.machine.due_at) } else { change.machine.due_at };
            commit(tx, &row, change, due_at)?;
            write::extra(tx, &extra)?;
            release(tx, claim)?;
            written();
            Ok(Committed::Done)
        })
        .await
    }

    /// Ends a claim without a commit: the machine is as due as it was. One that has ended already is left alone.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machine_release_claim(&self, claim: Claim) -> Result<()> {
        self.write(move |tx| release(tx, claim)).await
    }

    /// Ends the claims of a process that is known to be dead and makes its machines due now; tells how many. Should it live
    /// all the same, it commits nothing more under them.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machine_end_claims(&self, owner: &str) -> Result<usize> {
        let owner = owner.to_owned();
        self.write(move |tx| {
            let theirs = machines::table.filter(machines::lease_owner.eq(&owner)).order(machines::id.asc());
            let ids: Vec<String> = theirs.select(machines::id).load(tx.conn)?;
            let mut ended = 0;
            for id in ids {
                dialect::lock_machine(tx, &id)?;
                let still = machines::table.find(&id).filter(machines::lease_owner.eq(&owner));
                let over = (
                    machines::epoch.eq(machines::epoch + 1),
                    machines::lease_owner.eq(None::<String>),
                    machines::lease_until.eq(None::<chrono::NaiveDateTime>),
                );
                if diesel::update(still).set(over).execute(tx.conn)? == 1 {
                    wake(tx, crate::store::convert::parse("machines.id", &id)?)?;
                    ended += 1;
                }
            }
            Ok(ended)
        })
        .await
    }

    /// Makes the machines of a rack that wait for another try due now: what they waited for may have been the rack. Tells how
    /// many there were.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machines_wake_retrying(&self, rack: RackId) -> Result<usize> {
        self.write(move |tx| {
            let theirs = machines::table.filter(machines::rack.eq(rack.to_string())).filter(machines::attempts.gt(0));
            let waiting = theirs.filter(machines::due_at.gt(naive(tx.now))).order(machines::id.asc());
            let ids: Vec<String> = waiting.select(machines::id).load(tx.conn)?;
            for id in &ids {
                wake(tx, crate::store::convert::parse("machines.id", id)?)?;
            }
            Ok(ids.len())
        })
        .await
    }

    /// Since when the longest due machine is due, claimed or not.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn due_oldest(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.read(move |tx| {
            let due = machines::table.filter(machines::due_at.le(naive(now)));
            let oldest: Option<chrono::NaiveDateTime> = due.select(dsl::min(machines::due_at)).first(tx.conn)?;
            Ok(oldest.map(utc))
        })
        .await
    }

    async fn due_oldest_free(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.read(move |tx| {
            let due = dialect::due(naive(now));
            let oldest: Option<chrono::NaiveDateTime> = due.select(dsl::min(machines::due_at)).first(tx.conn)?;
            Ok(oldest.map(utc))
        })
        .await
    }
}

fn release(tx: &mut Tx<'_>, claim: Claim) -> Outcome<()> {
    let mine = machines::table.find(claim.machine.to_string()).filter(machines::epoch.eq(claim.epoch));
    diesel::update(mine)
        .set((machines::lease_owner.eq(None::<String>), machines::lease_until.eq(None::<chrono::NaiveDateTime>)))
        .execute(tx.conn)?;
    Ok(())
}

fn commit(tx: &mut Tx<'_>, row: &MachineRow, change: Change, due_at: Option<Timestamp>) -> Outcome<()> {
    let before = written(tx, change.machine.id)?;
    if !waits(&before, &change) {
        return write::changed(tx, row, change, due_at);
    }
    let m = &change.machine;
    diesel::update(machines::table.find(&row.id).filter(machines::version.eq(row.version)))
        .set((
            machines::due_at.eq(due_at.map(naive)),
            machines::reason.eq(&m.reason),
            machines::reason_code.eq(m.code.as_str()),
            machines::attempts.eq(row::attempts(m)),
            machines::last_error.eq(&m.work.last_error),
        ))
        .execute(tx.conn)?;
    tx.woke |= due_at.is_some();
    Ok(())
}

fn written(tx: &mut Tx<'_>, id: MachineId) -> Outcome<Machine> {
    Ok(view(tx, id)?.ok_or_else(|| Error::not_found("machine", id))?.machine)
}

/// Does the change leave the machine where it is, only to look again?
fn waits(before: &Machine, change: &Change) -> bool {
    let mut after = change.machine.clone();
    after.due_at = before.due_at;
    after.reason.clone_from(&before.reason);
    after.code = before.code;
    after.work.attempts = before.work.attempts;
    after.work.last_error.clone_from(&before.work.last_error);
    after.power = before.power;
    after == *before
        && change.edge.is_none()
        && change.events.is_empty()
        && change.boot.is_none()
        && change.task.is_none()
}
