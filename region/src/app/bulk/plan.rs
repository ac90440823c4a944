//! What a caller was told that a bulk call would do, so that it does that and nothing else.
//!
//! The token holds all of it, sealed by the vault: nobody but the region can make or change one, and nothing is stored.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use farrier_common::{clock::Timestamp, id::UserId, secret::sha256_hex};
use serde::{Deserialize, Serialize};

use super::Wanted;
use crate::{
    domain::{Error, Result, operation::Options},
    store::MachineView,
    vault::Vault,
};

/// How long a plan may be followed.
const LASTS: TimeDelta = TimeDelta::minutes(10);
const PURPOSE: &str = "bulk-plan";

/// Everything that a plan is about.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Terms {
    user: UserId,
    verb: String,
    options: Options,
    max_parallel: u32,
    stop_after_failures: u32,
    /// Digest of filter or names.
    selection: String,
    /// How many machines that is.
    count: usize,
    /// Digest of their ids.
    machines: String,
    /// How many are in each state.
    states: BTreeMap<String, usize>,
    /// Digest of their ids and states.
    places: String,
    /// When the plan is over.
    pub(super) expires_at: Timestamp,
}

impl Terms {
    /// What the call would be about now.
    pub(super) fn new(user: UserId, wanted: &Wanted, chosen: &[MachineView], now: Timestamp) -> Self {
        let mut named = wanted.selection.machines.clone();
        named.sort();
        let mut machines: Vec<_> = chosen.iter().map(|v| (v.machine.id.to_string(), v.machine.state)).collect();
        machines.sort();
        let mut states: BTreeMap<String, usize> = BTreeMap::new();
        for (_, state) in &machines {
            *states.entry(state.to_string()).or_default() += 1;
        }
        let ids: String = machines.iter().map(|(id, _)| format!("{id}\n")).collect();
        let places: String = machines.iter().map(|(id, state)| format!("{id} {state}\n")).collect();
        Self {
            user,
            verb: wanted.verb.to_string(),
            options: wanted.options,
            max_parallel: wanted.max_parallel,
            stop_after_failures: wanted.stop_after_failures,
            selection: sha256_hex(format!("{}\n{}", wanted.selection.filter.trim(), named.join("\n")).as_bytes()),
            count: machines.len(),
            machines: sha256_hex(ids.as_bytes()),
            states,
            places: sha256_hex(places.as_bytes()),
            expires_at: now + LASTS,
        }
    }

    /// The token.
    pub(super) fn seal(&self, vault: &Vault) -> Result<String> {
        let plain = serde_json::to_vec(self).map_err(|e| Error::Internal(format!("a plan: {e}")))?;
        Ok(URL_SAFE_NO_PAD.encode(vault.seal(PURPOSE, &plain)))
    }

    /// Refuses unless the caller knows what the call is about now.
    pub(super) fn agree(&self, vault: &Vault, wanted: &Wanted, now: Timestamp) -> Result<()> {
        let (verb, expected) = (&self.verb, usize::try_from(wanted.expected_count).unwrap_or(usize::MAX));
        if wanted.verb.is_destructive() {
            if wanted.plan_token.is_empty() {
                let why = format!(
                    "{verb} is destructive: ask for a plan first (options.validate_only), then repeat the call with \
                     the plan's token and count"
                );
                return Err(Error::invalid("plan_token", why));
            }
            if expected == 0 {
                return Err(Error::invalid("expected_count", format!("required: {verb} is destructive")));
            }
            self.same(&opened(vault, &wanted.plan_token)?, now)?;
        }
        if expected != 0 && expected != self.count {
            let why = format!("{expected} machines are expected, but it is about {}; nothing was done", self.count);
            return Err(Error::Precondition(why));
        }
        Ok(())
    }

    fn same(&self, planned: &Self, now: Timestamp) -> Result<()> {
        let invalid = |why: &str| Err(Error::invalid("plan_token", format!("{why}; ask for a new plan")));
        if planned.user != self.user {
            return invalid("the plan was made for somebody else");
        }
        if planned.verb != self.verb {
            return invalid(&format!("the plan is for {}, not for {}", planned.verb, self.verb));
        }
        if now >= planned.expires_at {
            return invalid(&format!("the plan expired at {}", planned.expires_at.format("%F %T UTC")));
        }
        if planned.options != self.options {
            return invalid("the plan was made with another skip_erase or canary");
        }
        if planned.max_parallel != self.max_parallel {
            return invalid(&format!("the plan was made with max_parallel {}", planned.max_parallel));
        }
        if planned.stop_after_failures != self.stop_after_failures {
            return invalid(&format!("the plan was made with stop_after_failures {}", planned.stop_after_failures));
        }
        if planned.selection != self.selection {
            return invalid("the plan was made for another filter or other names");
        }
        let changed = |why: &str| {
            let why = format!(
                "{why} since the plan: then {} machines ({}), now {} ({}); nothing was done, ask for a new plan",
                planned.count,
                listed(&planned.states),
                self.count,
                listed(&self.states)
            );
            Err(Error::Precondition(why))
        };
        if planned.machines != self.machines {
            return changed("the selection has changed");
        }
        if planned.places != self.places {
            return changed("machines have changed their states");
        }
        Ok(())
    }
}

fn listed(states: &BTreeMap<String, usize>) -> String {
    states.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ")
}

fn opened(vault: &Vault, token: &str) -> Result<Terms> {
    let foreign = || Error::invalid("plan_token", "is not the token of a plan of this region; ask for a new plan");
    let sealed = URL_SAFE_NO_PAD.decode(token).map_err(|_| foreign())?;
    let plain = vault.open_sealed(PURPOSE, &sealed).map_err(|_| foreign())?;
    serde_json::from_slice(plain.expose()).map_err(|_| foreign())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::bulk::Selection,
        domain::{
            lifecycle::State,
            operation::Verb,
            testing::{at, machine},
        },
    };

    fn wanted(verb: Verb) -> Wanted {
        Wanted {
            verb,
            selection: Selection { filter: "state=deployed".to_owned(), machines: Vec::new() },
            plan_token: String::new(),
            expected_count: 0,
            max_parallel: 10,
            stop_after_failures: 0,
            options: Options::default(),
        }
    }

    fn view() -> MachineView {
        let name = || "lab".parse().unwrap();
        MachineView {
            machine: machine(State::Deployed, None),
            owner: None,
            project: None,
            pool: name(),
            rack: None,
            heard_at: None,
        }
    }

    #[test]
    fn a_plan_lasts_ten_minutes_and_its_token_cannot_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        let (user, chosen, wanted) = (UserId::generate(), [view()], wanted(Verb::Release));
        let token = Terms::new(user, &wanted, &chosen, at(0)).seal(&vault).unwrap();
        let told = |secs, plan_token: &str| {
            let wanted = Wanted { plan_token: plan_token.to_owned(), expected_count: 1, ..wanted.clone() };
            let now = Terms::new(user, &wanted, &chosen, at(secs));
            now.agree(&vault, &wanted, at(secs)).err().map(|e| e.to_string())
        };
        assert_eq!(told(599, &token), None);
        assert!(told(600, &token).unwrap().starts_with("plan_token: the plan expired at 2027-01-15 08:10:00 UTC"));
        let mut spoiled = token.clone().into_bytes();
        spoiled[9] = if spoiled[9] == b'A' { b'B' } else { b'A' };
        assert!(told(0, std::str::from_utf8(&spoiled).unwrap()).unwrap().contains("is not the token of a plan"));
        // Sealed for another purpose.
        let other = URL_SAFE_NO_PAD.encode(vault.seal("token", b"{}"));
        assert!(told(0, &other).unwrap().contains("is not the token of a plan"));
    }

    #[test]
    fn a_harmless_verb_needs_no_plan_but_the_count_must_be_right_if_it_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        let agree = |expected_count| {
            let wanted = Wanted { expected_count, ..wanted(Verb::Lock) };
            Terms::new(UserId::generate(), &wanted, &[view()], at(0)).agree(&vault, &wanted, at(0))
        };
        assert!(agree(0).is_ok() && agree(1).is_ok());
        assert!(agree(2).unwrap_err().to_string().starts_with("2 machines are expected, but it is about 1"));
    }
}
