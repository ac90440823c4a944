//! How one vendor's Redfish differs from another's: the `[redfish]` table of a personality.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use serde_json::Value;

use super::{boot, resource::Kind};
use crate::personality::{Personality, PersonalityError};

/// The `[redfish]` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quirks {
    /// `ServiceRoot.Vendor`.
    pub vendor: String,
    /// `ServiceRoot.Product`.
    pub product: String,
    /// `ServiceRoot.RedfishVersion`.
    pub redfish_version: String,
    /// `Model` of the manager.
    pub manager_model: String,
    /// `BiosVersion` of the system.
    pub bios_version: String,
    /// Last part of the system's URI.
    pub system_id: String,
    /// Last part of the manager's URI.
    pub manager_id: String,
    /// Last part of the chassis' URI.
    pub chassis_id: String,
    /// How accounts are made.
    pub accounts: AccountRules,
    /// Which changes need an ETag.
    pub etags: EtagRules,
    /// How boot override works.
    pub boot: BootRules,
    /// What can be reset, and how that is answered.
    pub reset: ResetRules,
    /// Sessions.
    pub sessions: SessionRules,
    /// Where the event log is.
    pub log: LogRules,
    /// Default attributes of the BIOS.
    pub bios: BTreeMap<String, Value>,
    /// How a change of BIOS attributes is answered.
    pub bios_answer: Acknowledge,
    /// Paths without a slash at the end are redirected to those with one.
    #[serde(default)]
    pub redirects: bool,
}

/// Where the event log is, and how it is shown.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRules {
    /// Whose log service it is.
    pub owner: LogOwner,
    /// Last part of the log service's URI.
    pub id: String,
    /// The collection names its entries, and does not hold them.
    #[serde(default)]
    pub only_links: bool,
}

/// Whose log service it is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum LogOwner {
    /// The system's.
    System,
    /// The manager's.
    Manager,
}

/// How accounts are made and changed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountRules {
    /// By which request an account comes to be.
    pub creation: Creation,
    /// What the last part of an account's URI is.
    pub id: AccountId,
    /// `AccountTypes` are shown and taken.
    pub account_types: bool,
    /// Privileges come in `Oem.Hpe.Privileges`, and the role follows from them.
    #[serde(default)]
    pub oem_privileges: bool,
    /// The first change of a slot must carry name, password and role together.
    #[serde(default)]
    pub whole_slot: bool,
}

/// By which request an account comes to be.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Creation {
    /// `POST` to the collection.
    Post,
    /// `PATCH` of an empty slot; all slots are members.
    PatchSlot,
}

/// What names an account in its URI.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum AccountId {
    /// The number of its slot.
    Slot,
    /// The name of the user.
    Name,
}

/// Which changes need an ETag.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtagRules {
    /// Resources whose change without `If-Match` is answered with 428.
    #[serde(default)]
    pub needed_on: Vec<Kind>,
    /// `If-Match: *` is answered with 412.
    #[serde(default)]
    pub rejects_any: bool,
    /// ETags are weak ones.
    #[serde(default)]
    pub weak: bool,
}

/// How boot override works.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootRules {
    /// Allowable values of `BootSourceOverrideTarget`.
    pub targets: Vec<String>,
    /// `BootSourceOverrideEnabled` can be `Continuous`.
    pub continuous: bool,
    /// `HttpBootUri` is offered.
    #[serde(default)]
    pub http_uri: bool,
    /// Changes go to a settings object; the system itself refuses them.
    #[serde(default)]
    pub via_settings: bool,
    /// `BootSourceOverrideTarget` is refused without `BootSourceOverrideEnabled` beside it.
    #[serde(default)]
    pub enabled_beside_target: bool,
    /// For so long after a change of power, boot and power changes are answered with 409.
    #[serde(default)]
    pub busy_ms: u32,
}

/// What can be reset, and how that is answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetRules {
    /// Allowable values of `ResetType` of the system.
    pub system: Vec<String>,
    /// Allowable values of `ResetType` of the manager.
    pub manager: Vec<String>,
    /// Allowable values are in an ActionInfo resource.
    #[serde(default)]
    pub action_info: bool,
    /// Allowable values are beside the action.
    #[serde(default)]
    pub beside_action: bool,
    /// How a reset is answered.
    pub answer: Acknowledge,
    /// How long the manager is away after its own reset.
    pub manager_away_ms: u32,
    /// A reset into the state that is there already (On while on) is an error.
    #[serde(default)]
    pub refuses_no_change: bool,
}

/// How a change is answered.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Acknowledge {
    /// 204.
    NoContent,
    /// 200 with a message.
    Message,
    /// 202 with `Location` of a task.
    Task,
    /// 202 without anything to follow.
    Bare,
}

/// Sessions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRules {
    /// How many at once.
    pub limit: usize,
    /// Seconds without a request after which one ends.
    pub timeout_s: u32,
    /// How a session that is deleted is answered; 200 with a message, or 204.
    pub delete: Acknowledge,
}

/// Resets of a system that are known here; a manager knows two of them.
const RESETS: [&str; 9] = [
    "On",
    "ForceOn",
    "ForceOff",
    "GracefulShutdown",
    "GracefulRestart",
    "ForceRestart",
    "PowerCycle",
    "PushPowerButton",
    "Nmi",
];

// === impl Quirks ===

impl Quirks {
    /// The `[redfish]` table of a personality. Machines of one personality share it.
    ///
    /// # Errors
    /// The table is absent, or a field of it is missing, unknown, or holds what no BMC has.
    pub fn of(personality: &Personality) -> Result<Arc<Self>, PersonalityError> {
        let read: Self = toml::Value::Table(personality.redfish.clone()).try_into()?;
        let known = |words: &[String]| words.iter().all(|w| RESETS.contains(&w.as_str()));
        let id = |id: &str| !id.is_empty() && !id.contains(['/', '?', '#', '%']);
        let bios = |v: &Value| v.is_string() || v.is_u64() || v.is_boolean();
        let faults = [
            (read.boot.targets.iter().all(|t| boot::is_known(t)), "redfish.boot.targets", "targets that a chassis has"),
            (known(&read.reset.system), "redfish.reset.system", "of the resets that a chassis has"),
            (known(&read.reset.manager), "redfish.reset.manager", "of the resets that a chassis has"),
            ((1..=1000).contains(&read.sessions.limit), "redfish.sessions.limit", "1 to 1000"),
            ((1..=86_400).contains(&read.sessions.timeout_s), "redfish.sessions.timeout_s", "1 to 86400"),
            (id(&read.system_id), "redfish.system_id", "one part of a path"),
            (id(&read.manager_id), "redfish.manager_id", "one part of a path"),
            (id(&read.chassis_id), "redfish.chassis_id", "one part of a path"),
            (read.bios.values().all(bios), "redfish.bios", "texts, numbers and booleans"),
        ];
        let fault = faults.into_iter().find(|(right, ..)| !right);
        fault.map_or(Ok(Arc::new(read)), |(_, field, allowed)| {
            Err(PersonalityError::Value { name: personality.name.clone(), field, allowed })
        })
    }
}
