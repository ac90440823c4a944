//! Takes a machine out of Farrier: its BMC account, its place at the rack and its secrets are given back first.

use super::{
    super::{App, context::Ask},
    user_data_purpose,
};
use crate::{
    crash::Point,
    domain::{
        Error, Result,
        event::{EventKind, NewEvent},
        lifecycle::{Class, State},
        machine::Machine,
        observation::{Trouble, TroubleKind},
        user::Role,
        verbs as rules,
    },
    racks::{given_purpose, own_purpose, pending_purpose, previous_purpose},
    store::{Gone, Once},
};

/// A machine that changes meanwhile is looked at again.
const TRIES: usize = 8;

/// What was given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What became of our account on its BMC.
    pub account: Account,
    /// What went with the row.
    pub gone: Gone,
}

/// What became of our account on a BMC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// We never made one.
    None,
    /// It is gone, and the text says how that was proven.
    Removed(String),
    /// It was left behind because the caller insisted; the text says why it could not be removed.
    Left(String),
    /// Only asked what would be.
    WouldBeRemoved,
}

impl App {
    /// Deletes a machine. `force`: also if its BMC cannot be reached, or its disks may hold an owner's data.
    ///
    /// The BMC first, then the row: if the region dies between them, deleting again finds the account gone already.
    ///
    /// # Errors
    /// Not an admin; the machine is locked, at work or held; its BMC cannot be reached.
    pub async fn machine_delete(
        &self,
        ask: &Ask<Deleted>,
        which: &str,
        force: bool,
        comment: &str,
    ) -> Result<Once<Deleted>> {
        let mut account = None;
        for _ in 0..TRIES {
            let view = self.machine_get(&ask.user, which).await?;
            let m = &view.machine;
            ask.still(m.name.as_str(), m.etag())?;
            ask.still_in(m)?;
            super::super::context::needs(&ask.user, Role::Admin, "delete machines")?;
            rules::unlocked(m, "delete")?;
            deletable(m, force)?;
            self.crash.at(Point::VerbReceived, m.state.as_str());
            // What was found out about the account holds for all tries: the next one would only find it gone.
            let given_back = match account.take() {
                Some(known) => known,
                None => self.take_account(ask, m, force).await?,
            };
            account = Some(given_back.clone());
            match self.delete_row(ask, m, given_back, comment).await {
                Err(Error::Conflict { .. }) if ask.etag.is_none() => {}
                other => return other,
            }
        }
        Err(Error::Unavailable(format!("machine {which} changes all the time; try again")))
    }

    async fn delete_row(
        &self,
        ask: &Ask<Deleted>,
        m: &Machine,
        account: Account,
        comment: &str,
    ) -> Result<Once<Deleted>> {
        let why = if comment.is_empty() { String::new() } else { format!(": {comment}") };
        let event = NewEvent {
            // The way of a machine ends here: whoever follows transitions learns that it is gone.
            kind: EventKind::Transition,
            machine: Some(m.id),
            event: None,
            from: Some(m.state),
            to: None,
            phase: None,
            actor: ask.actor(),
            reason: format!("machine {} was deleted; its BMC account {}{why}", m.name, account.told()),
        };
        let purposes =
            vec![own_purpose(m), given_purpose(m), pending_purpose(m), previous_purpose(m), user_data_purpose(m.id)];
        let (id, name) = (m.id.to_string(), m.name.to_string());
        let made = move |gone| Deleted { id, name, account, gone };
        let done =
            self.store.machine_delete(&ask.request, (m.id, m.version), purposes, event, (made, ask.renderer())).await?;
        if !ask.request.validate_only
            && let Once::Fresh(_) = &done
        {
            // A rack that cannot be told now forgets the machine with its next snapshot.
            if let Err(trouble) = self.racks.forget(m).await {
                tracing::info!(machine.id = %m.id, why = trouble.text, "the rack was not told that a machine is gone");
            }
        }
        Ok(done)
    }

    async fn take_account(&self, ask: &Ask<Deleted>, m: &Machine, force: bool) -> Result<Account> {
        if ask.request.validate_only {
            return Ok(if manages(m) { Account::WouldBeRemoved } else { Account::None });
        }
        let Some(bmc) = m.details.bmc.as_ref().filter(|bmc| bmc.managed) else { return Ok(Account::None) };
        match self.racks.remove_bmc_account(m, &bmc.username).await {
            Ok(true) => Ok(Account::Removed("it was there, and a login with it is refused now".to_owned())),
            Ok(false) => Ok(Account::Removed("it was gone already: a login with it is refused".to_owned())),
            Err(trouble) if force => Ok(Account::Left(trouble.text)),
            Err(trouble) => Err(unreachable(m, &trouble)),
        }
    }
}

impl Account {
    /// One word for the wire.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Removed(_) | Self::WouldBeRemoved => "removed",
            Self::Left(_) => "left",
        }
    }

    /// What more there is to say.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::None => "no account was made by Farrier",
            Self::WouldBeRemoved => "nothing was done",
            Self::Removed(text) | Self::Left(text) => text,
        }
    }

    fn told(&self) -> String {
        match self {
            Self::None | Self::WouldBeRemoved => "was never made by Farrier".to_owned(),
            Self::Removed(_) => "was removed".to_owned(),
            Self::Left(why) => format!("was left behind ({why})"),
        }
    }
}

fn manages(m: &Machine) -> bool {
    m.details.bmc.as_ref().is_some_and(|bmc| bmc.managed)
}

/// May it go, as far as its state says?
fn deletable(m: &Machine, force: bool) -> Result<()> {
    if m.state.class() == Class::Working {
        let why = format!("machine {} is {}: wait for the work to end, or abort it, then delete", m.name, m.state);
        return Err(Error::Precondition(why));
    }
    let live = m.details.live && m.state == State::Deployed;
    if m.owner.is_some() && !live {
        let why = format!("machine {} is {} and held by somebody: release it first", m.name, m.state);
        return Err(Error::Precondition(why));
    }
    if m.details.dirty && !live && !force {
        let why = format!(
            "the disks of machine {} may hold an owner's data: commission or release it so that they are wiped, or \
             delete with force",
            m.name
        );
        return Err(Error::Precondition(why));
    }
    Ok(())
}

fn unreachable(m: &Machine, trouble: &Trouble) -> Error {
    let text = format!(
        "the account on the BMC of machine {} could not be removed, and nothing was deleted: {}; with force the machine is \
         deleted all the same, and the account stays there",
        m.name, trouble.text
    );
    match trouble.kind {
        TroubleKind::Transient | TroubleKind::RackAway => Error::Unavailable(text),
        TroubleKind::Permanent | TroubleKind::Refused | TroubleKind::Untrusted => Error::Precondition(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{machine::Owner, testing::machine};
    use farrier_common::id::UserId;

    #[test]
    fn only_what_nobody_needs_may_go() {
        let ready = machine(State::Ready, None);
        assert!(deletable(&ready, false).is_ok());
        assert!(deletable(&machine(State::Commissioning, None), true).is_err());
        let mut held = machine(State::Deployed, None);
        held.owner = Some(Owner::User(UserId::generate()));
        assert!(deletable(&held, true).is_err());
        held.details.live = true;
        assert!(deletable(&held, false).is_ok());
        let mut dirty = machine(State::Broken, None);
        dirty.details.dirty = true;
        assert!(deletable(&dirty, false).is_err());
        assert!(deletable(&dirty, true).is_ok());
    }
}
