//! Farrier's own account on a BMC: made in a free slot, proved by a login, and never at the cost of another account.
//!
//! Invariant: the only slot that is ever written is one that was free, or one that carries our name and takes our password (an
//! earlier call of ours got that far), gives no access to anybody, or is to be taken over because an admin has said so.

use std::time::Duration;

use farrier_common::secret::{Secret, bmc_password};
use ipmi_rs_core::{app::GetChannelInfo, connection::Channel};

use super::{
    BmcError, Login,
    ipmi::{
        ADMINISTRATOR,
        commands::{
            GetUserAccess, GetUserName, PasswordOperation, SetUserAccess, SetUserName, SetUserPassword, UserAccess,
        },
        lanplus::{Pace, Session, SessionError},
    },
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

/// No access to the channel (IPMI 2.0 table 22-32).
const NO_ACCESS: u8 = 0x0f;
/// Some BMCs take a moment until a new password works.
const PROOFS: u32 = 4;
const BETWEEN_PROOFS: Duration = Duration::from_millis(800);

/// What HPE's iLO calls a slot without a user.
const VACANT: &str = "(Empty User)";

/// One user slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) slot: u8,
    /// As the BMC tells it; empty also if it says that there is no such user.
    pub(super) name: String,
    access: UserAccess,
}

impl User {
    /// Is there nobody's name on the slot?
    fn is_vacant(&self) -> bool {
        self.name.is_empty() || self.name == VACANT
    }

    /// Could anybody log in as this user?
    fn has_access(&self) -> bool {
        let privileged = (1..=5).contains(&self.access.privilege);
        self.access.enabled != Some(false) && self.access.messaging && privileged
    }

    /// What must not change by what we do to another slot. The BMC's count of enabled users, told with each slot, does.
    fn kept(&self) -> (&str, Option<bool>, u8) {
        (&self.name, self.access.enabled, self.access.raw)
    }
}

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
            None => (free_slot(&before)?, true),
        };
        match self.make(session, channel, slot).await {
            Ok(()) => {}
            Err(error) if ours => return Err(self.undo(channel, slot, error).await),
            Err(error) => {
                return Err(error.with(&format!("the account in user slot {slot} was there before and stays")));
            }
        }
        let after = users(session, channel).await?;
        unchanged(&before, &after, slot)?;
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
        if self.holds_our_password(session, user.slot).await? {
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

    /// Does the slot hold our password, which nobody else knows? Some BMCs do not tell whether a user is enabled, so that this
    /// alone tells a call that was cut off just before the end. Some say yes to every password, so one that is certainly wrong
    /// is tried as well.
    async fn holds_our_password(&self, session: &mut Session, slot: u8) -> Result<bool, SessionError> {
        for (password, right) in [(&bmc_password(16), false), (&self.account.password, true)] {
            let operation = PasswordOperation::Test(password.clone());
            match session.run(SetUserPassword { slot, operation }).await {
                Ok(()) if right => {}
                Err(SessionError::Completion { .. }) if !right => {}
                Ok(()) | Err(SessionError::Completion { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
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
        if ours
            .is_some_and(|u| u.name == self.account.username && u.access.privilege == ADMINISTRATOR && u.has_access())
        {
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

pub(super) async fn users(session: &mut Session, channel: u8) -> Result<Vec<User>, SessionError> {
    let slots = session.run(GetUserAccess { channel, slot: 1 }).await?.slots;
    let mut users = Vec::with_capacity(usize::from(slots));
    for slot in 1..=slots {
        let name = match session.run(GetUserName(slot)).await {
            Ok(name) => name,
            // Some BMCs (HPE's) refuse to tell the name of a slot that is free.
            Err(SessionError::Completion { code: 0xc9 | 0xcb | 0xcc, .. }) => String::new(),
            Err(error) => return Err(error),
        };
        let access = session.run(GetUserAccess { channel, slot }).await?;
        users.push(User { slot, name, access });
    }
    Ok(users)
}

/// The first slot without a name that gives nobody access. Never slot 1, which is the anonymous user's; slot 2, which many
/// BMCs keep for their own administrator, only if there is no other.
fn free_slot(users: &[User]) -> Result<u8, BmcError> {
    let free =
        |user: &&User| user.slot >= 2 && user.is_vacant() && !(user.access.enabled == Some(true) && user.has_access());
    let mut found: Vec<u8> = users.iter().filter(free).map(|user| user.slot).collect();
    found.sort_by_key(|slot| (*slot == 2, *slot));
    found.first().copied().ok_or_else(|| {
        let named = users.iter().filter(|user| !user.is_vacant()).count();
        BmcError::NoSlot(format!("{} slots, {named} with names, and those without give access", users.len()))
    })
}

pub(super) fn unchanged(before: &[User], after: &[User], ours: u8) -> Result<(), BmcError> {
    let others = |users: &[User]| -> Vec<User> { users.iter().filter(|user| user.slot != ours).cloned().collect() };
    let (before, after) = (others(before), others(after));
    let mut changed: Vec<String> = before
        .iter()
        .zip(&after)
        .filter(|(old, new)| old.kept() != new.kept())
        .map(|(old, new)| format!("slot {} from {:?} to {:?}", old.slot, old.kept(), new.kept()))
        .collect();
    if before.len() != after.len() {
        changed.push(format!("{} slots became {}", before.len() + 1, after.len() + 1));
    }
    if changed.is_empty() { Ok(()) } else { Err(BmcError::OthersChanged(changed.join(", "))) }
}

pub(super) async fn clear(session: &mut Session, channel: u8, slot: u8) -> Result<(), SessionError> {
    // Each step even if an earlier one is refused: whichever works takes the access away.
    let outcomes = [
        session.run(SetUserPassword { slot, operation: PasswordOperation::Disable }).await,
        session.run(SetUserAccess { channel, slot, messaging: false, privilege: NO_ACCESS }).await,
        session.run(SetUserName { slot, name: String::new() }).await,
    ];
    outcomes.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(slot: u8, name: &str, enabled: Option<bool>, privilege: u8) -> User {
        let messaging = (1..=5).contains(&privilege);
        let raw = privilege | if messaging { 0x10 } else { 0 };
        User { slot, name: name.into(), access: UserAccess { slots: 5, enabled, messaging, privilege, raw } }
    }

    #[test]
    fn a_free_slot_has_no_name_and_gives_no_access() {
        let on = Some(true);
        let cases = [
            (vec![user(1, "", on, 2), user(2, "", None, 15), user(3, "a", on, 4), user(4, "", None, 15)], Some(4)),
            (vec![user(1, "", None, 15), user(2, "", None, 15), user(3, "a", on, 4)], Some(2)),
            (vec![user(1, "", None, 15), user(2, "root", on, 4), user(3, "", on, 4)], None),
            (vec![user(1, "", None, 15), user(2, "root", on, 4), user(3, "", Some(false), 4)], Some(3)),
            (vec![user(1, "Administrator", on, 4), user(2, VACANT, None, 15), user(3, VACANT, None, 15)], Some(3)),
        ];
        for (users, wanted) in cases {
            assert_eq!(free_slot(&users).ok(), wanted, "{users:?}");
        }
    }

    #[test]
    fn a_change_elsewhere_is_found() {
        let before = [user(2, "root", Some(true), 4), user(3, "", None, 15)];
        let ours = [user(2, "root", Some(true), 4), user(3, "farrier", Some(true), 4)];
        assert!(unchanged(&before, &ours, 3).is_ok());
        let other = [user(2, "root", Some(true), 3), user(3, "farrier", Some(true), 4)];
        assert!(unchanged(&before, &other, 3).is_err());
        assert!(unchanged(&before, &ours[1..], 3).is_err());
    }

    #[test]
    fn accounts_that_bmcs_cannot_hold_are_refused() {
        let account = |name: &str, password: &str| Account::new(name.into(), password.to_owned().into()).is_ok();
        assert!(account("farrier", "0123456789abcdefghij"));
        assert!(!account("", "x") && !account("12345678901234567", "x") && !account("a b", "x"));
        assert!(!account("a", "") && !account("a", "0123456789abcdefghijk") && !account("a", "pass word"));
    }
}
