//! The users of one BMC, the same for its IPMI and its Redfish face, under the rules of its vendor.

mod lockout;
mod rules;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

use farrier_common::secret::Secret;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use self::lockout::Tallies;
pub use self::rules::{AccountRules, Factory, Lockout, LockoutScope, PasswordRules};
use crate::{
    personality::Personality,
    truth::{Fact, Truth},
};

/// The accounts of a BMC as its faces share them.
pub type SharedAccounts = Arc<Mutex<Accounts>>;

/// What a user may do, by IPMI's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// May ask for a call back.
    Callback = 1,
    /// May look.
    User = 2,
    /// May switch.
    Operator = 3,
    /// May do all.
    Administrator = 4,
    /// The maker's own.
    Oem = 5,
    /// Nothing.
    NoAccess = 15,
}

impl Privilege {
    /// From IPMI's number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Callback),
            2 => Some(Self::User),
            3 => Some(Self::Operator),
            4 => Some(Self::Administrator),
            5 => Some(Self::Oem),
            15 => Some(Self::NoAccess),
            _ => None,
        }
    }

    /// May a user with this limit act at `level`?
    #[must_use]
    pub fn reaches(self, level: Self) -> bool {
        self != Self::NoAccess && self >= level
    }
}

/// How a password was given: IPMI has a form of 16 bytes and one of 20, and a test must use the form of the setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordForm {
    /// IPMI 1.5.
    Sixteen,
    /// IPMI 2.0, and everything else.
    Twenty,
}

impl PasswordForm {
    /// Bytes that it has room for.
    #[must_use]
    pub const fn room(self) -> usize {
        match self {
            Self::Sixteen => 16,
            Self::Twenty => 20,
        }
    }
}

/// What a user may do over the LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The privilege limit.
    pub privilege: Privilege,
    /// May use IPMI messages.
    pub messaging: bool,
    /// May use link authentication.
    pub link: bool,
    /// Only by call back.
    pub callback_only: bool,
}

impl Access {
    /// Everything, by a login of one's own.
    pub const ADMINISTRATOR: Self =
        Self { privilege: Privilege::Administrator, messaging: true, link: true, callback_only: false };
}

/// One slot.
#[derive(Clone, Debug)]
pub struct User {
    /// Its number, from 1.
    pub slot: u8,
    /// Empty if the slot is free.
    pub name: String,
    /// Can it log in at all?
    pub enabled: bool,
    /// What for.
    pub access: Access,
    password: Option<(Secret<Vec<u8>>, PasswordForm)>,
}

/// A write or a login that the BMC refuses.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AccountError {
    /// No such slot.
    #[error("there is no slot {0}")]
    NoSuchSlot(u8),
    /// The slot cannot be written.
    #[error("slot {0} is fixed")]
    FixedSlot(u8),
    /// Not a name that this BMC holds.
    #[error("a name must be 1 to 16 printable ASCII characters without blanks")]
    BadName,
    /// Another user has this name.
    #[error("another user has this name")]
    NameTaken,
    /// No slot is free.
    #[error("no slot is free")]
    Full,
    /// Something else must be written first.
    #[error("this user needs a {0} first")]
    NotYet(&'static str),
    /// The password does not do.
    #[error("the password {0}")]
    Password(&'static str),
    /// Wrong password.
    #[error("wrong name or password")]
    Wrong,
    /// The password was set in the other form.
    #[error("the password was set in the other form")]
    WrongForm,
    /// Too many wrong passwords.
    #[error("locked out after wrong passwords")]
    LockedOut,
}

/// All users of one BMC.
#[derive(Debug)]
pub struct Accounts {
    personality: Arc<Personality>,
    truth: Arc<Truth>,
    users: Vec<User>,
    tallies: Tallies,
}

impl User {
    fn free(slot: u8) -> Self {
        let access = Access { privilege: Privilege::NoAccess, messaging: false, link: false, callback_only: false };
        Self { slot, name: String::new(), enabled: false, access, password: None }
    }

    /// May it log in over the LAN by IPMI?
    #[must_use]
    pub fn may_log_in(&self) -> bool {
        self.enabled && self.access.messaging && self.access.privilege != Privilege::NoAccess && !self.name.is_empty()
    }

    /// The key that it shares with its console: its password, if IPMI can carry it.
    #[must_use]
    pub fn key(&self) -> Option<&Secret<Vec<u8>>> {
        self.password.as_ref().map(|(password, _)| password).filter(|p| p.expose().len() <= 20)
    }

    fn has_password(&self, given: &[u8]) -> bool {
        self.password.as_ref().is_some_and(|(stored, _)| bool::from(stored.expose().as_slice().ct_eq(given)))
    }
}

impl Accounts {
    /// The accounts as the vendor delivers them.
    #[must_use]
    pub fn new(personality: Arc<Personality>, truth: Arc<Truth>) -> Self {
        let rules = &personality.accounts;
        let mut users: Vec<_> = (1..=rules.slots).map(User::free).collect();
        if let Some(user) = users.get_mut(usize::from(rules.factory.slot).wrapping_sub(1)) {
            user.name.clone_from(&rules.factory.name);
            user.enabled = true;
            user.access =
                Access { privilege: Privilege::Administrator, messaging: true, link: true, callback_only: false };
            let password = Secret::new(rules.factory.password.clone().into_bytes());
            user.password = Some((password, PasswordForm::Twenty));
        }
        Self { personality, truth, users, tallies: Tallies::default() }
    }

    /// The same, to be shared by the faces of a BMC.
    #[must_use]
    pub fn shared(personality: Arc<Personality>, truth: Arc<Truth>) -> SharedAccounts {
        Arc::new(Mutex::new(Self::new(personality, truth)))
    }

    /// The vendor's rules.
    #[must_use]
    pub fn rules(&self) -> &AccountRules {
        &self.personality.accounts
    }

    /// Every slot, free ones included.
    #[must_use]
    pub fn users(&self) -> &[User] {
        &self.users
    }

    /// One slot.
    ///
    /// # Errors
    /// There is no such slot.
    pub fn user(&self, slot: u8) -> Result<&User, AccountError> {
        self.users.get(usize::from(slot).wrapping_sub(1)).ok_or(AccountError::NoSuchSlot(slot))
    }

    /// Users with this name, in order of slots.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &User> {
        self.users.iter().filter(move |user| !name.is_empty() && user.name == name)
    }

    /// Would somebody get in with this name and password, if nothing else kept him out? Counts as no login.
    #[must_use]
    pub fn takes(&self, name: &str, password: &str) -> bool {
        self.named(name).any(|user| user.may_log_in() && user.has_password(password.as_bytes()))
    }

    /// Names a user; an empty name frees the slot with all that it holds.
    ///
    /// # Errors
    /// The slot cannot be written, or not with this name.
    pub fn rename(&mut self, slot: u8, name: &str) -> Result<(), AccountError> {
        let unique = self.rules().unique_names;
        let taken = self.named(name).any(|other| other.slot != slot);
        let user = self.writable(slot)?;
        let was = std::mem::take(&mut user.name);
        if name.is_empty() {
            *user = User::free(slot);
        } else if name.len() > 16 || !name.bytes().all(|b| b.is_ascii_graphic()) {
            user.name = was;
            return Err(AccountError::BadName);
        } else if unique && taken {
            user.name = was;
            return Err(AccountError::NameTaken);
        } else {
            name.clone_into(&mut user.name);
        }
        if was != name && !was.is_empty() {
            self.truth.count(Fact::AccountRemoved);
        }
        if was != name && !name.is_empty() {
            self.truth.count(Fact::AccountMade);
        }
        Ok(())
    }

    /// Sets a password; `bytes` without padding.
    ///
    /// # Errors
    /// The slot cannot be written, or not yet, or not with this password.
    pub fn set_password(&mut self, slot: u8, bytes: &[u8], form: PasswordForm) -> Result<(), AccountError> {
        self.rules().password.check(bytes).map_err(AccountError::Password)?;
        let name_first = self.rules().name_before_password;
        let user = self.writable(slot)?;
        if name_first && user.name.is_empty() {
            return Err(AccountError::NotYet("name"));
        }
        user.password = Some((Secret::new(bytes.to_vec()), form));
        self.truth.count(Fact::PasswordSet);
        Ok(())
    }

    /// Is this the user's password?
    ///
    /// # Errors
    /// It is not, or it was set in the other form, or there is no such slot.
    pub fn test_password(&self, slot: u8, bytes: &[u8], form: PasswordForm) -> Result<(), AccountError> {
        let user = self.user(slot)?;
        match &user.password {
            Some((_, stored)) if *stored != form => Err(AccountError::WrongForm),
            Some(_) if user.has_password(bytes) => Ok(()),
            Some(_) | None => Err(AccountError::Wrong),
        }
    }

    /// Lets a user log in, or not.
    ///
    /// # Errors
    /// The slot cannot be written, or not yet.
    pub fn enable(&mut self, slot: u8, enabled: bool) -> Result<(), AccountError> {
        let password_first = self.rules().password_before_enable;
        let user = self.writable(slot)?;
        if enabled && password_first && (user.name.is_empty() || user.password.is_none()) {
            return Err(AccountError::NotYet("name and password"));
        }
        user.enabled = enabled;
        Ok(())
    }

    /// Sets what a user may do.
    ///
    /// # Errors
    /// The slot cannot be written, or not yet.
    pub fn set_access(&mut self, slot: u8, access: Access) -> Result<(), AccountError> {
        let privilege_first = self.rules().privilege_before_messaging;
        let user = self.writable(slot)?;
        if privilege_first && access.messaging && access.privilege == Privilege::NoAccess {
            return Err(AccountError::NotYet("privilege limit"));
        }
        user.access = access;
        Ok(())
    }

    /// Makes a user in the first free slot that can be written; all of it or nothing.
    ///
    /// # Errors
    /// No slot is free, or the name or the password does not do.
    pub fn create(&mut self, name: &str, password: &str, privilege: Privilege) -> Result<u8, AccountError> {
        if name.is_empty() {
            return Err(AccountError::BadName);
        }
        self.rules().password.check(password.as_bytes()).map_err(AccountError::Password)?;
        let fixed = &self.rules().fixed_slots;
        let free = self.users.iter().find(|user| user.name.is_empty() && !fixed.contains(&user.slot));
        let slot = free.ok_or(AccountError::Full)?.slot;
        self.rename(slot, name)?;
        self.set_password(slot, password.as_bytes(), PasswordForm::Twenty)?;
        self.set_access(slot, Access { privilege, messaging: true, link: true, callback_only: false })?;
        self.enable(slot, true)?;
        Ok(slot)
    }

    /// Frees a slot.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn remove(&mut self, slot: u8) -> Result<(), AccountError> {
        self.rename(slot, "")
    }

    /// Logs in with name and password in clear, as over HTTPS; the slot of the user.
    ///
    /// # Errors
    /// Wrong, not enabled, or locked out.
    pub fn login(&mut self, name: &str, password: &str, from: IpAddr, now: Instant) -> Result<u8, AccountError> {
        let slot = self.named(name).next().map(|user| user.slot);
        if self.is_locked(slot, from, now) {
            self.truth.count(Fact::LoginRefused);
            return Err(AccountError::LockedOut);
        }
        let found = self.named(name).find(|user| user.enabled && user.has_password(password.as_bytes()));
        let Some(right) = found.map(|user| user.slot) else {
            self.login_refused(slot, from, now);
            return Err(AccountError::Wrong);
        };
        self.login_done(right, from);
        Ok(right)
    }

    /// Is this user locked out, or this address?
    #[must_use]
    pub fn is_locked(&self, slot: Option<u8>, from: IpAddr, now: Instant) -> bool {
        self.rules().lockout.as_ref().is_some_and(|rules| self.tallies.locked(rules, slot, from, now))
    }

    /// A wrong password was given for this user, or a name that there is not.
    pub fn login_refused(&mut self, slot: Option<u8>, from: IpAddr, now: Instant) {
        self.truth.count(Fact::LoginRefused);
        let Some(rules) = &self.personality.accounts.lockout else { return };
        if self.tallies.wrong(rules, slot, from, now) {
            self.truth.count(Fact::Lockout);
        }
    }

    /// This user has logged in.
    pub fn login_done(&mut self, slot: u8, from: IpAddr) {
        self.truth.count(Fact::Login);
        self.tallies.right(slot, from);
    }

    /// Forgives this user's wrong passwords.
    pub fn unlock(&mut self, slot: u8) {
        self.tallies.forgive(slot);
    }

    fn writable(&mut self, slot: u8) -> Result<&mut User, AccountError> {
        if self.rules().fixed_slots.contains(&slot) {
            return Err(AccountError::FixedSlot(slot));
        }
        self.users.get_mut(usize::from(slot).wrapping_sub(1)).ok_or(AccountError::NoSuchSlot(slot))
    }
}

#[cfg(test)]
mod tests;
