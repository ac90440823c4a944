//! Farrier's own account on a BMC: made in a free slot, proved by a login, and never at the cost of another account.
//!
//! Invariant: the only slot that is ever written is one that was free, or one that carries our name and takes our password (an
//! earlier call of ours got that far), gives no access to anybody, or is to be taken over because an admin has said so.

use std::time::Duration;

use farrier_common::secret::Secret;
use farrier_ipmi::{
    commands::{PasswordOperation, SetUserAccess, SetUserName, SetUserPassword},
    users::{ADMINISTRATOR, Holds, User, clear, free_slot, holds, unchanged, users},
};
use ipmi_rs_core::{app::GetChannelInfo, connection::Channel};

use super::{
    BmcError, Login,
    ipmi::lanplus::{Pace, Session, SessionError},
};
use crate::crash::{Crash, Point, Work};

/// The account to have.
#[derive(Clone, Debug)]
pub struct Account {
    username: String,
    password: Secret<String>,
    take_over: bool,
}

impl Account {
    /// Checks that every IPMI 2.0 BMC can hold it; the error says what cannot be held.
    ///
    /// # Errors
    /// Name or password are empty, too long, or hold characters that BMCs disagree on.
    pub fn new(username: String, password: Secret<String>) -> Result<Self, &'static str> {
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if username.is_empty() || username.len() > 16 || !username.bytes().all(word) {
            return Err("username must be 1 to 16 of letters, digits, '-', '_' and '.'");
        }
        let length = password.expose().len();
        if !(1..=20).contains(&length) || !password.expose().bytes().all(|b| b.is_ascii_graphic()) {
            return Err("password must be 1 to 20 printable ASCII characters without blanks");
        }
        Ok(Self { username, password, take_over: false })
    }

    /// Whether an account of that name with another password is to get this one; otherwise it is left alone.
    #[must_use]
    pub fn taking_over(self, take_over: bool) -> Self {
        Self { take_over, ..self }
    }

    pub(super) const fn takes_over(&self) -> bool {
        self.take_over
    }

    pub(super) fn username(&self) -> &str {
        &self.username
    }

    pub(super) const fn password(&self) -> &Secret<String> {
        &self.password
    }

    /// The login with it on the BMC of `admin`.
    pub(super) fn login(&self, admin: &Login) -> Login {
        Login { username: self.username.clone(), password: self.password.clone(), ..admin.clone() }
    }
}

/// Where the account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ensured {
    /// User id on the BMC.
    pub slot: u8,
    /// It was made now; otherwise it was there already.
    pub created: bool,
}

/// Some BMCs take a moment until a new password works.
const PROOFS: u32 = 4;
const BETWEEN_PROOFS: Duration = Duration::from_millis(800);

/// Makes the account exist.
pub(super) async fn ensure(admin: &Login, pace: Pace, account: &Account, crash: &Crash) -> Result<Ensured, BmcError> {
    let mut session = Session::open(admin, pace).await?;
    let work = Making { admin, pace, account, crash };
    let outcome = work.ensure(&mut session).await;
    session.close().await;
    outcome
}

struct Making<'a> {
    admin: &'a Login,
    pace: Pace,
    account: &'a Account,
    crash: &'a Crash,
}

impl Making<'_> {
    async fn ensure(&self, session: &mut Session) -> Result<Ensured, BmcError> {
        let channel = lan_channel(session).await?;
        let before = users(session, channel).await?;
        let (slot, ours) = match before.iter().find(|user| user.name == self.account.username) {
            Some(user) => match self.existing(session, user).await? {
                Existing::Works => return Ok(Ensured { slot: user.slot, created: false }),
                Existing::Unfinished => (user.slot, true),
                Existing::TakenOver => (user.slot, false),
            },
            None => (free_slot(&before).map_err(BmcError::NoSlot)?, true),
        };
        match self.make(session, channel, slot).await {
            Ok(()) => {}
            Err(error) if ours => return Err(self.undo(channel, slot, error).await),
            Err(error) => {
                return Err(error.with(&format!("the account in user slot {slot} was there before and stays")));
            }
        }
        let after = users(session, channel).await?;
        unchanged(&before, &after, slot).map_err(BmcError::OthersChanged)?;
        self.told(&after, slot)?;
        Ok(Ensured { slot, created: true })
    }

    /// Whose is the account of our name?
    async fn existing(&self, session: &mut Session, user: &User) -> Result<Existing, BmcError> {
        // A name without access: an earlier call was cut off before it gave access. A login would only be a refused one.
        if !user.has_access() {
            return Ok(Existing::Unfinished);
        }
        match self.prove().await {
            Ok(()) if user.access.privilege == ADMINISTRATOR => return Ok(Existing::Works),
            // A BMC that lets the user become administrator against what it tells of the user may think better of it.
            Ok(()) => return Ok(Existing::Unfinished),
            Err(BmcError::Refused(_)) => {}
            Err(other) => return Err(other),
        }
        if holds(session, user.slot, &self.account.password).await? == Holds::This {
            return Ok(Existing::Unfinished);
        }
        if self.account.take_over {
            return Ok(Existing::TakenOver);
        }
        Err(BmcError::NameTaken(format!(
            "user {:?} in slot {} has access with another password; remove or rename it on the BMC, or say that it is to be taken over",
            user.name, user.slot
        )))
    }

    async fn make(&self, session: &mut Session, channel: u8, slot: u8) -> Result<(), BmcError> {
        let password = |operation| SetUserPassword { slot, operation };
        session.run(SetUserName { slot, name: self.account.username.clone() }).await?;
        self.crash.at(Point::AccountNamed, Work::EnsureBmcAccount);
        session.run(password(PasswordOperation::Set(self.account.password.clone()))).await?;
        self.crash.at(Point::AccountPasswordSet, Work::EnsureBmcAccount);
        session.run(SetUserAccess { channel, slot, messaging: true, privilege: ADMINISTRATOR }).await?;
        self.crash.at(Point::AccountGranted, Work::EnsureBmcAccount);
        session.run(password(PasswordOperation::Enable)).await?;
        self.crash.at(Point::AccountEnabled, Work::EnsureBmcAccount);
        let mut tried = 0;
        loop {
            tried += 1;
            match self.prove().await {
                Ok(()) => return Ok(()),
                Err(BmcError::Refused(_)) if tried < PROOFS => tokio::time::sleep(BETWEEN_PROOFS).await,
                Err(error) => return Err(error.with("this was the login that proves the new account")),
            }
        }
    }

    /// A whole login with the account, up to administrator level.
    async fn prove(&self) -> Result<(), BmcError> {
        let session = Session::open(&self.account.login(self.admin), self.pace).await?;
        session.close().await;
        Ok(())
    }

    /// Does the BMC tell of the account what was written?
    fn told(&self, after: &[User], slot: u8) -> Result<(), BmcError> {
        let ours = after.iter().find(|user| user.slot == slot);
        if ours.is_some_and(|user| user.is_administrator(&self.account.username)) {
            return Ok(());
        }
        Err(BmcError::NotConfirmed(format!("a login with the new account works, but user slot {slot} reads {ours:?}")))
    }

    /// Takes back what was written to the slot, over a session of its own as the other one may be lost; answers the error that
    /// led here with what became of the slot.
    async fn undo(&self, channel: u8, slot: u8, error: BmcError) -> BmcError {
        let undone = async {
            let mut session = Session::open(self.admin, self.pace).await?;
            let outcome = clear(&mut session, channel, slot).await;
            session.close().await;
            outcome
        }
        .await;
        match undone {
            Ok(()) => error.with(&format!("user slot {slot} was cleared again")),
            Err(why) => {
                error.with(&format!("user slot {slot} could not be cleared ({why}), look at it before trying again"))
            }
        }
    }
}

enum Existing {
    Works,
    Unfinished,
    TakenOver,
}

/// The number of the channel that we came in by.
pub(super) async fn lan_channel(session: &mut Session) -> Result<u8, BmcError> {
    match session.run(GetChannelInfo::new(Channel::Current)).await {
        Ok(info) => Ok(info.channel.value()),
        // 0x0e means "this channel" in the commands about users as well.
        Err(SessionError::Completion { .. }) => Ok(Channel::Current.value()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_that_bmcs_cannot_hold_are_refused() {
        let account = |name: &str, password: &str| Account::new(name.into(), password.to_owned().into()).is_ok();
        assert!(account("farrier", "0123456789abcdefghij"));
        assert!(!account("", "x") && !account("12345678901234567", "x") && !account("a b", "x"));
        assert!(!account("a", "") && !account("a", "0123456789abcdefghijk") && !account("a", "pass word"));
    }
}
