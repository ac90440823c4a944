//! Accounts are made, changed and removed.

use bytes::Bytes;
use hyper::Response;
use serde_json::{Map, Value};

use super::{
    Redfish, answer, documents,
    documents::{ROLES, account_id, account_uri, find_account},
    problem::Problem,
    quirks::{Creation, Quirks},
    resource::{Kind, Target},
    write::{Change, only, redacted},
};
use crate::accounts::{Access, AccountError, Accounts, PasswordForm, Privilege, User};

/// What a request wants an account to be.
#[derive(Default)]
struct Wanted<'a> {
    name: Option<&'a str>,
    password: Option<&'a str>,
    privilege: Option<Privilege>,
    enabled: Option<bool>,
    /// `AccountTypes` with or without IPMI.
    messaging: Option<bool>,
    unlocked: bool,
}

/// `POST` to the collection.
pub(super) fn create(face: &mut Redfish, change: &Change<'_>) -> Result<Response<Bytes>, Problem> {
    let wanted = Wanted::read(&change.body, &face.quirks)?;
    let (Some(name), Some(password)) = (wanted.name, wanted.password) else {
        return Err(Problem::needed(if wanted.name.is_none() { "UserName" } else { "Password" }));
    };
    let Some(privilege) = wanted.privilege else { return Err(Problem::needed("RoleId")) };
    if privilege == Privilege::NoAccess {
        return Err(Problem::refused_value("RoleId", "an account that may do nothing is not made"));
    }
    let mut accounts = face.accounts();
    if accounts.named(name).next().is_some() {
        return Err(Problem::exists("ManagerAccount", "UserName", name));
    }
    check_name(name)?;
    let slot = if change.pretend {
        accounts.rules().password.check(password.as_bytes()).map_err(|why| refused(&AccountError::Password(why)))?;
        // What is acknowledged and does not come to be must not look like an account that is there.
        let free = accounts.users().iter().find(|u| u.name.is_empty()).map(|u| u.slot);
        free.ok_or_else(Problem::full)?
    } else {
        let slot = accounts.create(name, password, privilege).map_err(|e| refused(&e))?;
        let made = accounts.user(slot).map_err(|e| refused(&e))?.clone();
        let rest = Wanted { enabled: wanted.enabled, messaging: wanted.messaging, ..Wanted::default() };
        rest.apply(&mut accounts, &made).map_err(|e| refused(&e))?;
        slot
    };
    let user = accounts.user(slot).map_err(|e| refused(&e))?.clone();
    drop(accounts);
    let id = if change.pretend { slot.to_string() } else { account_id(&user, &face.quirks) };
    let target = Target { kind: Kind::Account, id: &id };
    let document = documents::render(face, target, change.caller.now).unwrap_or_else(|| Value::Object(Map::new()));
    Ok(answer::created(&account_uri(&user, &face.quirks), &document))
}

/// `PATCH` of an account, or of an empty slot.
pub(super) fn patch(face: &mut Redfish, change: &Change<'_>) -> Result<Response<Bytes>, Problem> {
    let id = change.target.id;
    let missing = || Problem::missing(&format!("/redfish/v1/AccountService/Accounts/{id}"));
    let slot = find_account(&face.accounts(), id, &face.quirks).ok_or_else(missing)?;
    let wanted = Wanted::read(&change.body, &face.quirks)?;
    let own_only = change
        .who
        .is_some_and(|who| who.slot == slot && !super::auth::has(who.privilege, super::auth::Right::ConfigureUsers));
    if own_only && change.body.keys().any(|k| k != "Password") {
        return Err(Problem::privilege());
    }
    let mut accounts = face.accounts();
    let user = accounts.user(slot).map_err(|e| refused(&e))?.clone();
    wanted.check(&accounts, &user, &face.quirks)?;
    if !change.pretend {
        wanted.apply(&mut accounts, &user).map_err(|e| refused(&e))?;
    }
    let after = accounts.user(slot).map_err(|e| refused(&e))?.clone();
    drop(accounts);
    if !change.pretend && (wanted.password.is_some() || !after.enabled || after.name != user.name) {
        let own = change.who.and_then(|who| who.session.as_deref());
        face.sessions.close_all_of(slot, own.filter(|_| after.enabled && after.name == user.name));
    }
    if face.quirks.accounts.creation == Creation::PatchSlot {
        return Ok(answer::message());
    }
    // By name, the URI changes with it.
    let id = account_id(&after, &face.quirks);
    face.changed(&Change { body: Map::new(), target: Target { kind: Kind::Account, id: &id }, ..*change })
}

/// `DELETE` of an account.
pub(super) fn delete(face: &mut Redfish, change: &Change<'_>) -> Result<Response<Bytes>, Problem> {
    let id = change.target.id;
    let missing = || Problem::missing(&format!("/redfish/v1/AccountService/Accounts/{id}"));
    let mut accounts = face.accounts();
    let slot = find_account(&accounts, id, &face.quirks).ok_or_else(missing)?;
    if !change.pretend {
        accounts.remove(slot).map_err(|_| Problem::cannot_delete())?;
    }
    drop(accounts);
    if !change.pretend {
        face.sessions.close_all_of(slot, None);
    }
    Ok(face.acknowledge(face.quirks.sessions.delete, "Account", change.caller.now))
}

impl<'a> Wanted<'a> {
    fn read(body: &'a Map<String, Value>, quirks: &Quirks) -> Result<Self, Problem> {
        const NAMES: [&str; 6] = ["UserName", "Password", "RoleId", "Enabled", "Locked", "AccountTypes"];
        let mut wanted = Self::default();
        let mut names = NAMES.to_vec();
        if quirks.accounts.oem_privileges {
            names.push("Oem");
        }
        only(body, &names)?;
        for (name, value) in body {
            let wrong = || Problem::wrong_type(&redacted(name, value), name);
            match name.as_str() {
                "UserName" => wanted.name = Some(value.as_str().ok_or_else(wrong)?),
                "Password" => wanted.password = Some(value.as_str().ok_or_else(wrong)?),
                "RoleId" => wanted.privilege = Some(role(value.as_str().ok_or_else(wrong)?)?),
                "Enabled" => wanted.enabled = Some(value.as_bool().ok_or_else(wrong)?),
                "Locked" if value.as_bool() == Some(false) => wanted.unlocked = true,
                "Locked" if value.as_bool() == Some(true) => return Err(Problem::not_listed("true", name)),
                "Locked" => return Err(wrong()),
                "AccountTypes" => wanted.messaging = Some(account_types(value, quirks)?),
                "Oem" => wanted.privilege = oem(value)?.or(wanted.privilege),
                _ => {}
            }
        }
        Ok(wanted)
    }

    /// Would every part of it be done?
    fn check(&self, accounts: &Accounts, user: &User, quirks: &Quirks) -> Result<(), Problem> {
        let rules = accounts.rules();
        if rules.fixed_slots.contains(&user.slot) {
            return Err(refused(&AccountError::FixedSlot(user.slot)));
        }
        let empty = user.name.is_empty();
        if let Some(name) = self.name.filter(|n| !n.is_empty()) {
            check_name(name)?;
            if accounts.named(name).any(|u| u.slot != user.slot) {
                return Err(Problem::exists("ManagerAccount", "UserName", name));
            }
        }
        if self.name == Some("") && quirks.accounts.creation == Creation::Post {
            return Err(Problem::refused_value("UserName", "it cannot be empty"));
        }
        if empty && self.name.is_none() {
            return Err(Problem::needed("UserName"));
        }
        let naming = empty && self.name != Some("");
        if naming && quirks.accounts.whole_slot && (self.password.is_none() || self.privilege.is_none()) {
            return Err(Problem::needed(if self.password.is_none() { "Password" } else { "RoleId" }));
        }
        if let Some(password) = self.password {
            rules.password.check(password.as_bytes()).map_err(|why| refused(&AccountError::Password(why)))?;
        }
        if naming && self.enabled == Some(true) && self.password.is_none() && rules.password_before_enable {
            return Err(refused(&AccountError::NotYet("password")));
        }
        Ok(())
    }

    /// Writes all parts, in the order that every vendor's rules allow.
    fn apply(&self, accounts: &mut Accounts, user: &User) -> Result<(), AccountError> {
        let slot = user.slot;
        if let Some(name) = self.name {
            accounts.rename(slot, name)?;
            if name.is_empty() {
                return Ok(());
            }
        }
        if let Some(password) = self.password {
            accounts.set_password(slot, password.as_bytes(), PasswordForm::Twenty)?;
        }
        if self.privilege.is_some() || self.messaging.is_some() {
            let privilege = self.privilege.unwrap_or(user.access.privilege);
            let messaging = self.messaging.unwrap_or(self.privilege.is_some() || user.access.messaging);
            let messaging = messaging && privilege != Privilege::NoAccess;
            accounts.set_access(slot, Access { privilege, messaging, link: true, callback_only: false })?;
        }
        if self.unlocked {
            accounts.unlock(slot);
        }
        self.enabled.map_or(Ok(()), |enabled| accounts.enable(slot, enabled))
    }
}

fn check_name(name: &str) -> Result<(), Problem> {
    let fits = (1..=16).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    if fits && !name.contains(['/', '#', '?', '%']) { Ok(()) } else { Err(refused(&AccountError::BadName)) }
}

fn role(word: &str) -> Result<Privilege, Problem> {
    let found = ROLES.into_iter().find(|(name, _)| *name == word).map(|(_, privilege)| privilege);
    found.ok_or_else(|| Problem::not_listed(word, "RoleId"))
}

/// Is IPMI among the types? Redfish must be, as the request came by it.
fn account_types(value: &Value, quirks: &Quirks) -> Result<bool, Problem> {
    if !quirks.accounts.account_types {
        return Err(Problem::unknown("AccountTypes"));
    }
    let Some(list) = value.as_array() else { return Err(Problem::wrong_type(value, "AccountTypes")) };
    for entry in list {
        let Some(word) = entry.as_str() else { return Err(Problem::wrong_type(entry, "AccountTypes")) };
        if !["Redfish", "IPMI"].contains(&word) {
            return Err(Problem::not_listed(word, "AccountTypes"));
        }
    }
    let has = |word: &str| list.iter().any(|entry| entry.as_str() == Some(word));
    if has("Redfish") {
        Ok(has("IPMI"))
    } else {
        Err(Problem::refused_value("AccountTypes", "an account without Redfish is not offered"))
    }
}

/// The privilege that HPE's own properties stand for.
fn oem(value: &Value) -> Result<Option<Privilege>, Problem> {
    let Some(hpe) = value.get("Hpe") else { return Err(Problem::unknown("Oem")) };
    let Some(privileges) = hpe.get("Privileges") else { return Ok(None) };
    let Some(map) = privileges.as_object() else {
        return Err(Problem::wrong_type(privileges, "Oem.Hpe.Privileges"));
    };
    let has = |name: &str| map.get(name).and_then(Value::as_bool) == Some(true);
    Ok(Some(if has("UserConfigPriv") && has("iLOConfigPriv") {
        Privilege::Administrator
    } else if has("VirtualPowerAndResetPriv") {
        Privilege::Operator
    } else if has("LoginPriv") {
        Privilege::User
    } else {
        Privilege::NoAccess
    }))
}

/// The words of Redfish for what the accounts say.
fn refused(error: &AccountError) -> Problem {
    match error {
        AccountError::NoSuchSlot(_) => Problem::operation_not_allowed("there is no such slot"),
        AccountError::FixedSlot(_) => Problem::operation_not_allowed("the account is reserved"),
        AccountError::BadName => Problem::refused_value("UserName", &error.to_string()),
        AccountError::NameTaken => Problem::exists("ManagerAccount", "UserName", "of another account"),
        AccountError::Full => Problem::full(),
        AccountError::NotYet(what) => Problem::refused_value("Enabled", &format!("the account needs a {what} first")),
        AccountError::Password(why) => Problem::refused_value("Password", why),
        AccountError::Wrong | AccountError::WrongForm | AccountError::LockedOut => Problem::privilege(),
    }
}
