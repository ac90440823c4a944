//! The account service, accounts and roles.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use super::{Redfish, link, members, well};
use crate::{
    accounts::{Accounts, Privilege, User},
    redfish::{
        Now,
        auth::{Right, has},
        quirks::{AccountId, Creation, Quirks},
    },
};

/// The roles and what they stand for.
pub(in crate::redfish) const ROLES: [(&str, Privilege); 4] = [
    ("Administrator", Privilege::Administrator),
    ("Operator", Privilege::Operator),
    ("ReadOnly", Privilege::User),
    ("NoAccess", Privilege::NoAccess),
];

/// What names the account in its URI.
pub(in crate::redfish) fn account_id(user: &User, quirks: &Quirks) -> String {
    match quirks.accounts.id {
        AccountId::Slot => user.slot.to_string(),
        AccountId::Name => user.name.clone(),
    }
}

/// Its URI.
pub(in crate::redfish) fn account_uri(user: &User, quirks: &Quirks) -> String {
    format!("/redfish/v1/AccountService/Accounts/{}", account_id(user, quirks))
}

pub(super) fn service(face: &Redfish) -> Value {
    let rules = &face.personality.accounts;
    let mut document = json!({
        "@odata.id": "/redfish/v1/AccountService",
        "@odata.type": "#AccountService.v1_15_0.AccountService",
        "Id": "AccountService",
        "Name": "Account Service",
        "Status": well(),
        "ServiceEnabled": true,
        "MinPasswordLength": rules.password.min,
        "MaxPasswordLength": rules.password.max,
        "Accounts": link("/redfish/v1/AccountService/Accounts"),
        "Roles": link("/redfish/v1/AccountService/Roles"),
    });
    if let Some(lockout) = &rules.lockout {
        document["AccountLockoutThreshold"] = json!(lockout.attempts);
        document["AccountLockoutDuration"] = json!(lockout.penalty_secs);
        document["AccountLockoutCounterResetAfter"] = json!(lockout.window_secs.min(lockout.penalty_secs));
    }
    document
}

pub(super) fn collection(face: &Redfish) -> Value {
    let accounts = face.accounts();
    let shown = accounts.users().iter().filter(|u| is_member(u, &face.quirks));
    let uris: Vec<_> = shown.map(|u| account_uri(u, &face.quirks)).collect();
    members("ManagerAccountCollection", "AccountService/Accounts", &uris)
}

/// Is the slot a member of the collection?
fn is_member(user: &User, quirks: &Quirks) -> bool {
    quirks.accounts.creation == Creation::PatchSlot || !user.name.is_empty()
}

/// The slot that an account's id names.
pub(in crate::redfish) fn find_account(accounts: &Accounts, id: &str, quirks: &Quirks) -> Option<u8> {
    accounts.users().iter().find(|u| is_member(u, quirks) && account_id(u, quirks) == id).map(|u| u.slot)
}

pub(super) fn account(face: &Redfish, id: &str, now: Now) -> Option<Value> {
    let accounts = face.accounts();
    let slot = find_account(&accounts, id, &face.quirks)?;
    let user = accounts.user(slot).ok()?;
    let rules = &face.quirks.accounts;
    let empty = user.name.is_empty();
    let role = if empty { "None" } else { role_of(user.access.privilege) };
    // Only locks of a user are seen here; an address that is locked out is no property of an account.
    let locked = !empty && accounts.is_locked(Some(slot), IpAddr::V4(Ipv4Addr::UNSPECIFIED), now.steady);
    let mut document = json!({
        "@odata.id": account_uri(user, &face.quirks),
        "@odata.type": "#ManagerAccount.v1_12_0.ManagerAccount",
        "Id": account_id(user, &face.quirks),
        "Name": "User Account",
        "UserName": user.name,
        "Password": null,
        "RoleId": role,
        "Enabled": user.enabled,
        "Locked": locked,
    });
    if !empty {
        document["Links"] = json!({"Role": link(&format!("/redfish/v1/AccountService/Roles/{role}"))});
    }
    if rules.account_types {
        let both: &[&str] = if user.access.messaging { &["Redfish", "IPMI"] } else { &["Redfish"] };
        document["AccountTypes"] = json!(both);
    }
    if rules.oem_privileges {
        document["Oem"] = json!({"Hpe": {"LoginName": user.name, "Privileges": oem_privileges(user.access.privilege)}});
    }
    Some(document)
}

fn oem_privileges(privilege: Privilege) -> Value {
    json!({
        "LoginPriv": has(privilege, Right::Login),
        "RemoteConsolePriv": has(privilege, Right::ConfigureComponents),
        "VirtualMediaPriv": has(privilege, Right::ConfigureComponents),
        "VirtualPowerAndResetPriv": has(privilege, Right::ConfigureComponents),
        "iLOConfigPriv": has(privilege, Right::ConfigureManager),
        "UserConfigPriv": has(privilege, Right::ConfigureUsers),
    })
}

fn role_of(privilege: Privilege) -> &'static str {
    match privilege {
        Privilege::Administrator | Privilege::Oem => "Administrator",
        Privilege::Operator => "Operator",
        Privilege::User => "ReadOnly",
        Privilege::Callback | Privilege::NoAccess => "NoAccess",
    }
}

pub(super) fn roles() -> Value {
    let uris = ROLES.map(|(name, _)| format!("/redfish/v1/AccountService/Roles/{name}"));
    members("RoleCollection", "AccountService/Roles", &uris)
}

pub(super) fn role(id: &str) -> Option<Value> {
    let (name, privilege) = ROLES.into_iter().find(|(name, _)| *name == id)?;
    let rights: Vec<_> = Right::ALL.iter().filter(|r| has(privilege, **r)).map(|r| r.as_str()).collect();
    Some(json!({
        "@odata.id": format!("/redfish/v1/AccountService/Roles/{name}"),
        "@odata.type": "#Role.v1_3_1.Role",
        "Id": name,
        "Name": "User Role",
        "RoleId": name,
        "IsPredefined": true,
        "AssignedPrivileges": rights,
        "OemPrivileges": [],
    }))
}
