//! BIOS attributes and secure boot: what is, and what will be after the next start.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{documents::merged, problem::Problem};

/// What `SecureBoot.ResetKeys` can do.
pub(super) const KEY_RESETS: [&str; 3] = ["ResetAllKeysToDefault", "DeleteAllKeys", "DeletePK"];

/// Longest text of an attribute.
const TEXT_MAX: usize = 256;

/// The BIOS of one machine. Only what differs from the personality's defaults takes memory.
#[derive(Debug)]
pub(super) struct Bios {
    changed: BTreeMap<String, Value>,
    pending: BTreeMap<String, Value>,
    secure: SecureBoot,
    /// The power's edges when pending changes were last applied.
    edges: u64,
}

/// State of secure boot.
#[derive(Clone, Copy, Debug)]
pub(super) struct SecureBoot {
    /// For the next start.
    pub(super) wanted: bool,
    /// In the start that runs.
    pub(super) enforced: bool,
    /// A platform key is there.
    pub(super) keys: bool,
}

// === impl Bios ===

impl Bios {
    pub(super) fn new(edges: u64) -> Self {
        let secure = SecureBoot { wanted: false, enforced: false, keys: true };
        Self { changed: BTreeMap::new(), pending: BTreeMap::new(), secure, edges }
    }

    /// Takes notice of the power: a start since the last look makes pending changes current.
    pub(super) fn follow(&mut self, edges: u64, on: bool) {
        if edges == self.edges || !on {
            return;
        }
        self.edges = edges;
        self.changed.append(&mut self.pending);
        self.secure.enforced = self.secure.wanted && self.secure.keys;
    }

    pub(super) fn current(&self, defaults: &BTreeMap<String, Value>) -> Value {
        merged(defaults.iter(), self.changed.iter())
    }

    pub(super) fn pending(&self) -> Value {
        merged(self.pending.iter(), [].into_iter())
    }

    pub(super) fn secure_boot(&self) -> SecureBoot {
        self.secure
    }

    /// Checks a request's `Attributes`, to be given to [`Bios::change`].
    pub(super) fn check(attributes: &Map<String, Value>, defaults: &BTreeMap<String, Value>) -> Result<(), Problem> {
        for (name, value) in attributes {
            let property = format!("Attributes.{name}");
            let Some(default) = defaults.get(name) else { return Err(Problem::unknown(&property)) };
            let fits = match (default, value) {
                (Value::String(_), Value::String(text)) => text.len() <= TEXT_MAX,
                (Value::Number(_), Value::Number(number)) => number.is_u64(),
                (Value::Bool(_), Value::Bool(_)) => true,
                _ => false,
            };
            if !fits {
                return Err(Problem::wrong_type(value, &property));
            }
        }
        Ok(())
    }

    pub(super) fn change(&mut self, attributes: &Map<String, Value>) {
        self.pending.extend(attributes.iter().map(|(k, v)| (k.clone(), v.clone())));
    }

    /// All attributes will be the defaults.
    pub(super) fn reset(&mut self, defaults: &BTreeMap<String, Value>) {
        self.pending = self.changed.keys().filter_map(|k| Some((k.clone(), defaults.get(k)?.clone()))).collect();
    }

    pub(super) fn want_secure_boot(&mut self, wanted: bool) {
        self.secure.wanted = wanted;
    }

    /// One of [`KEY_RESETS`].
    pub(super) fn reset_keys(&mut self, how: &str) {
        self.secure.keys = how == "ResetAllKeysToDefault";
    }
}
