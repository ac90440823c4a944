//! The users of a BMC (IPMI 2.0 chapter 22.26 and after): who is there, which slot is free, and that no other was touched.

use farrier_common::secret::{Secret, bmc_password};

use crate::{
    Carrier,
    commands::{
        GetUserAccess, GetUserName, PasswordOperation, SetUserAccess, SetUserName, SetUserPassword, UserAccess,
    },
};

/// Privilege level of an administrator (IPMI 2.0 table 6-1).
pub const ADMINISTRATOR: u8 = 4;
/// No access to the channel (IPMI 2.0 table 22-32).
const NO_ACCESS: u8 = 0x0f;

/// What HPE's iLO calls a slot without a user.
const VACANT: &str = "(Empty User)";

/// One user slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub slot: u8,
    /// As the BMC tells it; empty also if it says that there is no such user.
    pub name: String,
    /// What it may do on the LAN channel.
    pub access: UserAccess,
}

impl User {
    /// Is there nobody's name on the slot?
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.name.is_empty() || self.name == VACANT
    }

    /// Could anybody log in as this user?
    #[must_use]
    pub const fn has_access(&self) -> bool {
        let privileged = matches!(self.access.privilege, 1..=5);
        !matches!(self.access.enabled, Some(false)) && self.access.messaging && privileged
    }

    /// What must not change by what we do to another slot. The BMC's count of enabled users, told with each slot, does.
    fn kept(&self) -> (&str, Option<bool>, u8) {
        (&self.name, self.access.enabled, self.access.raw)
    }

    /// Does the BMC tell that it is an administrator of this name who can log in?
    #[must_use]
    pub fn is_administrator(&self, name: &str) -> bool {
        self.name == name && self.access.privilege == ADMINISTRATOR && self.has_access()
    }
}

/// All users, by slot.
///
/// # Errors
/// The BMC does not tell them.
pub async fn users<C: Carrier>(bmc: &mut C, channel: u8) -> Result<Vec<User>, C::Error> {
    let slots = bmc.run(GetUserAccess { channel, slot: 1 }).await?.slots;
    let mut users = Vec::with_capacity(usize::from(slots));
    for slot in 1..=slots {
        let name = match bmc.run(GetUserName(slot)).await {
            Ok(name) => name,
            // Some BMCs (HPE's) refuse to tell the name of a slot that is free.
            Err(error) if matches!(C::completion(&error), Some(0xc9 | 0xcb | 0xcc)) => String::new(),
            Err(error) => return Err(error),
        };
        let access = bmc.run(GetUserAccess { channel, slot }).await?;
        users.push(User { slot, name, access });
    }
    Ok(users)
}

/// The first slot without a name that gives nobody access. Never slot 1, which is the anonymous user's; slot 2, which many
/// BMCs keep for their own administrator, only if there is no other.
///
/// # Errors
/// There is none; the text tells what there is.
pub fn free_slot(users: &[User]) -> Result<u8, String> {
    let free =
        |user: &&User| user.slot >= 2 && user.is_vacant() && !(user.access.enabled == Some(true) && user.has_access());
    let mut found: Vec<u8> = users.iter().filter(free).map(|user| user.slot).collect();
    found.sort_by_key(|slot| (*slot == 2, *slot));
    found.first().copied().ok_or_else(|| {
        let named = users.iter().filter(|user| !user.is_vacant()).count();
        format!("{} slots, {named} with names, and those without give access", users.len())
    })
}

/// Proves that no slot but `ours` changed.
///
/// # Errors
/// Some did; the text tells which.
pub fn unchanged(before: &[User], after: &[User], ours: u8) -> Result<(), String> {
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
    if changed.is_empty() { Ok(()) } else { Err(changed.join(", ")) }
}

/// What a BMC tells of the password of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// This one.
    This,
    /// Another one.
    Another,
    /// It cannot tell: it does not know how to compare, or says yes to every password.
    Untold,
}

/// Does the slot hold this password? Some BMCs do not tell whether a user is enabled, so that a password that nobody else
/// knows is all that tells whose the slot is. Some say yes to every password, so one that is certainly wrong is tried as well.
///
/// # Errors
/// The BMC does not answer.
pub async fn holds<C: Carrier>(bmc: &mut C, slot: u8, password: &Secret<String>) -> Result<Holds, C::Error> {
    let test =
        |password: &Secret<String>| SetUserPassword { slot, operation: PasswordOperation::Test(password.clone()) };
    match bmc.run(test(&bmc_password(16))).await {
        Ok(()) => return Ok(Holds::Untold),
        Err(error) if C::completion(&error).is_some() => {}
        Err(error) => return Err(error),
    }
    match bmc.run(test(password)).await {
        Ok(()) => Ok(Holds::This),
        Err(error) => match C::completion(&error) {
            // IPMI 2.0 22.30: the password is another, or of another length.
            Some(0x80 | 0x81) => Ok(Holds::Another),
            Some(_) => Ok(Holds::Untold),
            None => Err(error),
        },
    }
}

/// Takes name and access from a slot.
///
/// # Errors
/// A step was refused; the others were tried all the same.
pub async fn clear<C: Carrier>(bmc: &mut C, channel: u8, slot: u8) -> Result<(), C::Error> {
    // Each step even if an earlier one is refused: whichever works takes the access away.
    let outcomes = [
        bmc.run(SetUserPassword { slot, operation: PasswordOperation::Disable }).await,
        bmc.run(SetUserAccess { channel, slot, messaging: false, privilege: NO_ACCESS }).await,
        bmc.run(SetUserName { slot, name: String::new() }).await,
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
}
