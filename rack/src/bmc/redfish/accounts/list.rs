//! All accounts of a service, read one by one.

use serde_json::Value;

use super::super::{super::BmcError, client::Client, document::Document, rules::Create};

/// The role of an administrator (DSP0266, 13.2.10).
pub(super) const ADMINISTRATOR: &str = "Administrator";

/// The accounts.
#[derive(Debug)]
pub(super) struct List {
    /// Path of the collection.
    pub(super) path: String,
    pub(super) create: Create,
    /// In the order of the collection; those of nobody have no name.
    pub(super) users: Vec<User>,
    reserved: Vec<String>,
}

/// An account, or an empty slot.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) read: Document,
    pub(super) name: String,
    pub(super) role: String,
    pub(super) enabled: bool,
    types: String,
}

impl User {
    fn of(read: Document, vacant: bool) -> Self {
        let name = if vacant { String::new() } else { read.text("/UserName").unwrap_or_default().to_owned() };
        // HPE's and others' accounts cannot be disabled and do not tell.
        let enabled = read.at("/Enabled").and_then(Value::as_bool).unwrap_or(!name.is_empty());
        let role = read.text("/RoleId").unwrap_or_default().to_owned();
        let types = read.words("/AccountTypes").map(|w| w.join(",")).unwrap_or_default();
        Self { read, name, role, enabled, types }
    }

    /// The number of its slot; 0 if the BMC does not number them.
    pub(super) fn slot(&self) -> u8 {
        self.read.last_part().parse().unwrap_or_default()
    }

    /// What must not change by what we do to another account.
    fn kept(&self) -> (&str, &str, &str, bool, &str) {
        (&self.read.path, &self.name, &self.role, self.enabled, &self.types)
    }
}

impl List {
    /// The first slot that is nobody's.
    pub(super) fn free(&self) -> Result<&User, BmcError> {
        let free = |u: &&User| u.name.is_empty() && !u.enabled && !self.reserved.contains(&u.read.path);
        self.users.iter().find(free).ok_or_else(|| {
            let names: Vec<_> = self.users.iter().map(|u| u.name.as_str()).filter(|n| !n.is_empty()).collect();
            BmcError::NoSlot(format!("{} slots, used by {}", self.users.len(), names.join(", ")))
        })
    }
}

/// Reads all accounts.
pub(super) async fn read(client: &mut Client<'_>) -> Result<List, BmcError> {
    let service = client
        .root
        .optional_link("/AccountService")
        .ok_or_else(|| BmcError::Unsupported("it has no account service".to_owned()))?;
    let path = client.get(&service).await?.link("/Accounts")?;
    let (allow, members) = client.collection(&path).await?;
    let posts = allow.as_deref().map(|a| a.split(',').any(|m| m.trim().eq_ignore_ascii_case("POST")));
    let told = posts.map(|posts| if posts { Create::Post } else { Create::PatchSlot });
    let create = client.rules.create().or(told).unwrap_or(Create::Post);
    let mut users = Vec::with_capacity(members.len());
    let mut reserved = Vec::new();
    for member in members {
        let read = match client.get(&member).await {
            Ok(read) => read,
            // Somebody else took it away since the collection was read.
            Err(BmcError::Unsupported(_)) if create == Create::Post => continue,
            Err(error) => return Err(error),
        };
        if client.rules.reserved(read.last_part()) {
            reserved.push(member);
        }
        let vacant = client.rules.vacant(read.text("/UserName").unwrap_or_default());
        users.push(User::of(read, vacant));
    }
    Ok(List { path, create, users, reserved })
}

/// Is everybody but `name` as before? Slots that are nobody's before and after do not count.
pub(super) fn unchanged(before: &List, after: &List, name: &str) -> Result<(), BmcError> {
    let others = |list: &'_ List| -> Vec<_> {
        list.users.iter().filter(|u| u.name != name && !u.name.is_empty()).map(|u| format!("{:?}", u.kept())).collect()
    };
    let (before, after) = (others(before), others(after));
    if before == after {
        return Ok(());
    }
    let gone = before.iter().filter(|u| !after.contains(u));
    let come = after.iter().filter(|u| !before.contains(u));
    let told: Vec<_> = gone.map(|u| format!("was {u}")).chain(come.map(|u| format!("is {u}"))).collect();
    Err(BmcError::OthersChanged(told.join("; ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::super::rules::Rules, *};

    fn list(users: &[(&str, &str, bool)]) -> List {
        let user = |(n, (name, role, enabled)): (usize, &(&str, &str, bool))| {
            let body = json!({"UserName": name, "RoleId": role, "Enabled": enabled}).to_string();
            let read = Document::parse(&format!("/a/{}", n + 1), None, body.as_bytes(), &Rules::common()).unwrap();
            let vacant = Rules::common().vacant(name);
            User::of(read, vacant)
        };
        let users = users.iter().enumerate().map(user).collect();
        List { path: "/a".into(), create: Create::PatchSlot, users, reserved: vec!["/a/1".into()] }
    }

    #[test]
    fn a_free_slot_is_nobodys_and_not_reserved() {
        let free = |users: &[_]| list(users).free().map(User::slot).map_err(|e| e.to_string());
        assert_eq!(free(&[("", "None", false), ("root", ADMINISTRATOR, true), ("", "None", false)]), Ok(3));
        assert_eq!(free(&[("", "None", false), ("(Empty User)", "None", false)]), Ok(2));
        let full = free(&[("", "None", false), ("root", ADMINISTRATOR, true), ("", "None", true)]);
        assert_eq!(full, Err("the BMC has no free user slot: 3 slots, used by root".to_owned()));
    }

    #[test]
    fn a_change_of_another_account_is_seen() {
        let before = list(&[("", "None", false), ("root", ADMINISTRATOR, true), ("", "None", false)]);
        let ours = list(&[("", "None", false), ("root", ADMINISTRATOR, true), ("maas", ADMINISTRATOR, true)]);
        assert_eq!(unchanged(&before, &ours, "maas"), Ok(()));
        for other in [("root", "Operator", true), ("root", ADMINISTRATOR, false), ("toor", ADMINISTRATOR, true)] {
            let after = list(&[("", "None", false), other, ("maas", ADMINISTRATOR, true)]);
            let error = unchanged(&before, &after, "maas").unwrap_err().to_string();
            assert!(error.contains("was (\"/a/2\", \"root\"") && error.contains("is (\"/a/2\""), "{error}");
        }
    }
}
