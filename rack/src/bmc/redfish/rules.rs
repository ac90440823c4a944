//! Where vendors differ from the standard and what is done about it, as data: `rules.toml`, which `docs/bmc.md` explains.
//!
//! What a BMC tells of itself (allowed methods, allowable values, settings objects) comes first; a rule is for what it does
//! not tell, or tells wrongly.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::document::Document;

/// The rules that fit one BMC, laid over one another.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// Names of the rules that fit, for people.
    pub(super) names: Vec<&'static str>,
    set: Set,
}

/// One rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    name: String,
    /// Why there is this rule.
    why: String,
    /// How the vendor begins; every vendor if empty.
    #[serde(default)]
    vendor: String,
    /// How the product begins; every product if empty.
    #[serde(default)]
    product: String,
    set: Set,
}

/// What rules can say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Set {
    create: Option<Create>,
    reserved_slots: Option<Vec<String>>,
    vacant_names: Option<Vec<String>>,
    account_extra: Option<Map<String, Value>>,
    account_omit: Option<Vec<String>>,
    if_match: Option<IfMatch>,
    sessions: Option<bool>,
    settings_object: Option<bool>,
    boot_omit: Option<Vec<String>>,
    repairs: Vec<Repair>,
}

/// How an account comes to be.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Create {
    /// `POST` to the collection.
    Post,
    /// `PATCH` of an empty slot.
    PatchSlot,
}

/// Which version a change names.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum IfMatch {
    /// The one that was read, if the BMC tells it.
    Own,
    /// None: the BMC refuses its own.
    Never,
}

/// A property that some firmware leaves out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Repair {
    /// How `@odata.type` of the document begins, without `#`.
    document: String,
    /// The property.
    missing: String,
    /// What is put there.
    put: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Vec<Rule>,
}

static ALL: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let file: File = toml::from_str(include_str!("rules.toml")).expect("a test reads it");
    file.rule
});

// === impl Rules ===

impl Rules {
    /// The rules that need no vendor: for the document that tells the vendor.
    pub(super) fn common() -> Self {
        Self::fitting("", "")
    }

    /// The rules for the BMC whose root this is.
    pub(super) fn of(root: &Document) -> Self {
        Self::fitting(&vendor(root), &root.shown("/Product"))
    }

    fn fitting(vendor: &str, product: &str) -> Self {
        let mut all = Self::default();
        let begins =
            |text: &str, with: &str| text.get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with));
        for rule in ALL.iter().filter(|r| begins(vendor, &r.vendor) && begins(product, &r.product)) {
            tracing::trace!(vendor, product, rule = rule.name, why = rule.why, "a vendor rule is applied");
            all.names.push(&rule.name);
            all.set.lay(&rule.set);
        }
        all
    }

    pub(super) const fn create(&self) -> Option<Create> {
        self.set.create
    }

    /// Is the slot one that is never written?
    pub(super) fn reserved(&self, slot: &str) -> bool {
        self.set.reserved_slots.as_ref().is_some_and(|all| all.iter().any(|s| s == slot))
    }

    /// Does a slot of this name belong to nobody?
    pub(super) fn vacant(&self, name: &str) -> bool {
        name.is_empty() || self.set.vacant_names.as_ref().is_some_and(|all| all.iter().any(|n| n == name))
    }

    /// What goes with a new account besides the standard's properties.
    pub(super) fn account_extra(&self, username: &str) -> Map<String, Value> {
        let mut extra = Value::Object(self.set.account_extra.clone().unwrap_or_default());
        fill(&mut extra, username);
        extra.as_object().cloned().unwrap_or_default()
    }

    /// Is the property of an account one that this BMC does not take?
    pub(super) fn account_omits(&self, property: &str) -> bool {
        self.set.account_omit.as_ref().is_some_and(|all| all.iter().any(|p| p == property))
    }

    pub(super) fn if_match(&self) -> IfMatch {
        self.set.if_match.unwrap_or(IfMatch::Own)
    }

    /// Are sessions worth a try?
    pub(super) fn sessions(&self) -> bool {
        self.set.sessions.unwrap_or(true)
    }

    /// Is a boot override written to the settings object if there is one?
    pub(super) fn settings_object(&self) -> bool {
        self.set.settings_object.unwrap_or(true)
    }

    /// Is the property of `Boot` one that this BMC does not take?
    pub(super) fn boot_omits(&self, property: &str) -> bool {
        self.set.boot_omit.as_ref().is_some_and(|all| all.iter().any(|p| p == property))
    }

    /// Puts what this firmware leaves out.
    pub(super) fn repair(&self, document: &mut Value) {
        let kind = document.get("@odata.type").and_then(Value::as_str).unwrap_or_default();
        let kind = kind.trim_start_matches('#').to_owned();
        for repair in self.set.repairs.iter().filter(|r| kind.starts_with(&r.document)) {
            if let Some(map) = document.as_object_mut().filter(|m| m.get(&repair.missing).is_none_or(Value::is_null)) {
                map.insert(repair.missing.clone(), repair.put.clone());
            }
        }
    }
}

impl Set {
    fn lay(&mut self, over: &Self) {
        fn take<T: Clone>(mine: &mut Option<T>, over: Option<&T>) {
            if let Some(value) = over {
                *mine = Some(value.clone());
            }
        }
        take(&mut self.create, over.create.as_ref());
        take(&mut self.reserved_slots, over.reserved_slots.as_ref());
        take(&mut self.vacant_names, over.vacant_names.as_ref());
        take(&mut self.account_extra, over.account_extra.as_ref());
        take(&mut self.account_omit, over.account_omit.as_ref());
        take(&mut self.if_match, over.if_match.as_ref());
        take(&mut self.sessions, over.sessions.as_ref());
        take(&mut self.settings_object, over.settings_object.as_ref());
        take(&mut self.boot_omit, over.boot_omit.as_ref());
        self.repairs.extend(over.repairs.iter().cloned());
    }
}

/// Who made it: as it says, or else whose extensions it has.
pub(super) fn vendor(root: &Document) -> String {
    let told = root.shown("/Vendor");
    if !told.is_empty() {
        return told;
    }
    let oem = root.at("/Oem").and_then(Value::as_object).and_then(|all| all.keys().next());
    oem.map(|name| super::document::shown(name, 40)).unwrap_or_default()
}

/// Puts the name of the user where the rule says `{username}`.
fn fill(value: &mut Value, username: &str) {
    match value {
        Value::String(text) if text == "{username}" => username.clone_into(text),
        Value::Object(map) => map.values_mut().for_each(|v| fill(v, username)),
        Value::Array(list) => list.iter_mut().for_each(|v| fill(v, username)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn root(value: &Value) -> Document {
        Document::parse("/redfish/v1/", None, value.to_string().as_bytes(), &Rules::common()).unwrap()
    }

    #[test]
    fn every_rule_has_a_name_of_its_own_and_a_reason() {
        let mut names: Vec<_> = ALL.iter().map(|r| &r.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.iter().all(|r| r.why.len() > 20));
        let page = include_str!("../../../../docs/bmc.md");
        for rule in ALL.iter() {
            assert!(page.contains(&format!("`{}`", rule.name)), "docs/bmc.md does not tell of {}", rule.name);
        }
    }

    #[test]
    fn a_vendor_has_its_own_rules_and_the_common_ones() {
        let dell = Rules::of(&root(&json!({"Vendor": "Dell", "Product": "Integrated Dell Remote Access Controller"})));
        assert_eq!(dell.create(), Some(Create::PatchSlot));
        assert!(dell.reserved("1") && !dell.reserved("3"));
        let ami = Rules::of(&root(&json!({"Oem": {"Ami": {}}})));
        assert_eq!(ami.if_match(), IfMatch::Never, "the vendor is known by its extensions");
        let other = Rules::of(&root(&json!({"Vendor": "Nobody"})));
        assert_eq!((other.create(), other.if_match(), other.sessions()), (None, IfMatch::Own, true));
    }

    #[test]
    fn a_name_is_put_where_the_rule_says() {
        let hpe = Rules::of(&root(&json!({"Vendor": "HPE"})));
        assert_eq!(Value::Object(hpe.account_extra("maas")), json!({"Oem": {"Hpe": {"LoginName": "maas"}}}));
        assert!(Rules::default().account_extra("maas").is_empty());
    }

    #[test]
    fn what_is_left_out_is_put_and_what_is_there_stays() {
        let repaired = root(&json!({"@odata.type": "#ServiceRoot.v1_0_0.ServiceRoot"}));
        assert_eq!(repaired.link("/Systems").unwrap(), "/redfish/v1/Systems");
        let own =
            json!({"@odata.type": "#ServiceRoot.v1_0_0.ServiceRoot", "Systems": {"@odata.id": "/redfish/v1/Own"}});
        assert_eq!(root(&own).link("/Systems").unwrap(), "/redfish/v1/Own");
    }
}
