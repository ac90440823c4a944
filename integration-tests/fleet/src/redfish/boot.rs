//! Boot override: from the words of Redfish to those of the chassis and back.

use serde_json::{Map, Value};

use super::{problem::Problem, quirks::BootRules};
use crate::chassis::{BootOverride, BootTarget};

/// Longest URI that is kept.
const URI_MAX: usize = 512;

/// The word of Redfish for a target.
pub(super) fn name(target: BootTarget) -> &'static str {
    match target {
        BootTarget::Network => "Pxe",
        BootTarget::Http => "UefiHttp",
        BootTarget::Disk => "Hdd",
        // Redfish has no safe mode; the disk is what it boots from.
        BootTarget::SafeDisk => "Hdd",
        BootTarget::Diagnostics => "Diags",
        BootTarget::Cdrom => "Cd",
        BootTarget::Setup => "BiosSetup",
        BootTarget::Media => "Usb",
    }
}

/// Is it a word for a target, or for none?
pub(super) fn is_known(word: &str) -> bool {
    word == "None" || target(word).is_some()
}

fn target(word: &str) -> Option<BootTarget> {
    BootTarget::ALL.iter().copied().find(|t| name(*t) == word)
}

/// What `patch`, the `Boot` object of a request, makes of `now`.
pub(super) fn apply(
    patch: &Map<String, Value>,
    now: Option<BootOverride>,
    rules: &BootRules,
) -> Result<Option<BootOverride>, Problem> {
    let mut wanted = Wanted::of(now);
    for (key, value) in patch {
        let property = format!("Boot.{key}");
        if key == "HttpBootUri" && rules.http_uri {
            wanted.uri = uri(value, &property)?;
            continue;
        }
        let known =
            matches!(key.as_str(), "BootSourceOverrideTarget" | "BootSourceOverrideEnabled" | "BootSourceOverrideMode");
        if !known {
            return Err(Problem::unknown(&property));
        }
        let Some(word) = value.as_str() else { return Err(Problem::wrong_type(value, &property)) };
        match key.as_str() {
            "BootSourceOverrideTarget" if rules.targets.iter().any(|t| t == word) => wanted.target = target(word),
            "BootSourceOverrideEnabled" => wanted.enable(word, rules)?,
            "BootSourceOverrideMode" if word == "UEFI" => wanted.uefi = true,
            "BootSourceOverrideMode" if word == "Legacy" => wanted.uefi = false,
            _ => return Err(Problem::not_listed(word, &property)),
        }
    }
    if rules.enabled_beside_target
        && patch.contains_key("BootSourceOverrideTarget")
        && !patch.contains_key("BootSourceOverrideEnabled")
    {
        return Err(Problem::needed("Boot.BootSourceOverrideEnabled"));
    }
    wanted.settle(patch)
}

/// The three properties, which may contradict each other until all are read.
struct Wanted {
    target: Option<BootTarget>,
    /// `None`: disabled.
    persistent: Option<bool>,
    uefi: bool,
    uri: Option<String>,
}

impl Wanted {
    fn of(now: Option<BootOverride>) -> Self {
        now.map_or(Self { target: None, persistent: None, uefi: true, uri: None }, |o| Self {
            target: Some(o.target),
            persistent: Some(o.persistent),
            uefi: o.uefi,
            uri: o.http_uri,
        })
    }

    fn enable(&mut self, word: &str, rules: &BootRules) -> Result<(), Problem> {
        self.persistent = match word {
            "Disabled" => None,
            "Once" => Some(false),
            "Continuous" if rules.continuous => Some(true),
            _ => return Err(Problem::not_listed(word, "Boot.BootSourceOverrideEnabled")),
        };
        Ok(())
    }

    fn settle(self, patch: &Map<String, Value>) -> Result<Option<BootOverride>, Problem> {
        // A target alone is for the next boot.
        let target_named = patch.contains_key("BootSourceOverrideTarget");
        let alone = target_named && !patch.contains_key("BootSourceOverrideEnabled");
        let persistent = if alone && self.target.is_some() { self.persistent.or(Some(false)) } else { self.persistent };
        let (Some(target), Some(persistent)) = (self.target, persistent) else {
            return Ok(None);
        };
        if target == BootTarget::Http && !self.uefi {
            return Err(Problem::refused_value("Boot.BootSourceOverrideMode", "UefiHttp needs the mode UEFI"));
        }
        Ok(Some(BootOverride { target, persistent, uefi: self.uefi, http_uri: self.uri }))
    }
}

fn uri(value: &Value, property: &str) -> Result<Option<String>, Problem> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text)
            if text.len() <= URI_MAX && (text.starts_with("http://") || text.starts_with("https://")) =>
        {
            Ok(Some(text.clone()))
        }
        Value::String(_) => {
            Err(Problem::refused_value(property, "an http or https URI of at most 512 bytes is wanted"))
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(Problem::wrong_type(value, property))
        }
    }
}
