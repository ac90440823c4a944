//! Which machines: by name, or by a filter.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    app::App,
    domain::{
        Error, Result,
        filter::Filter,
        operation::{MOST_MACHINES, Verb},
        user::User,
        verbs as rules,
    },
    store::{MachineFilter, MachineView, Visibility},
};

const PAGE: usize = 1000;
const MOST_PAGES: usize = 1000;

/// Which machines, as the caller says it. One of the two is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Words that a machine must fit.
    pub filter: String,
    /// Ids or names.
    pub machines: Vec<String>,
}

impl App {
    /// The machines that are meant, in the order of their names.
    pub(super) async fn select(&self, user: &User, verb: Verb, wanted: &Selection) -> Result<Vec<MachineView>> {
        let mut chosen = match (wanted.filter.trim().is_empty(), wanted.machines.is_empty()) {
            (true, true) => {
                let why = format!("name 1 to {MOST_MACHINES} machines, or give a filter; empty does not mean all");
                return Err(Error::invalid("machines", why));
            }
            (false, false) => return Err(Error::invalid("filter", "give either a filter or machines, not both")),
            (true, false) => self.named(user, &wanted.machines).await?,
            (false, true) => self.filtered(user, verb, wanted.filter.trim()).await?,
        };
        chosen.sort_by(|a, b| a.machine.name.cmp(&b.machine.name));
        Ok(chosen)
    }

    async fn named(&self, user: &User, names: &[String]) -> Result<Vec<MachineView>> {
        if names.len() > MOST_MACHINES {
            return Err(Error::invalid("machines", format!("at most {MOST_MACHINES}; these are {}", names.len())));
        }
        let found = self.store.machines_named(names.to_vec()).await?;
        let mut known = BTreeMap::new();
        for (place, view) in found.iter().enumerate().filter(|(_, v)| rules::sees(user, &v.machine)) {
            known.insert(view.machine.name.to_string(), place);
        }
        // An id is never a name's rival: whoever gives one means the machine that has it.
        for (place, view) in found.iter().enumerate().filter(|(_, v)| rules::sees(user, &v.machine)) {
            known.insert(view.machine.id.to_string(), place);
        }
        let mut seen = BTreeSet::new();
        let mut chosen = Vec::with_capacity(names.len());
        for (number, name) in names.iter().enumerate() {
            let place = *known.get(name).ok_or_else(|| Error::not_found("machine", name))?;
            let view = found.get(place).ok_or_else(|| Error::not_found("machine", name))?;
            if !seen.insert(view.machine.id) {
                return Err(Error::invalid(format!("machines[{number}]"), format!("{name} is named twice")));
            }
            chosen.push(view.clone());
        }
        Ok(chosen)
    }

    async fn filtered(&self, user: &User, verb: Verb, filter: &str) -> Result<Vec<MachineView>> {
        let wanted = Filter::parse(filter)?;
        let visible = Visibility::of(user);
        let (mut chosen, mut seen, mut after) = (Vec::new(), 0, None);
        for _ in 0..MOST_PAGES {
            let (page, _) = self
                .store
                .machine_list(MachineFilter { visible: visible.clone(), ..MachineFilter::default() }, after, PAGE)
                .await?;
            let full = page.len() == PAGE;
            after = page.last().map(|v| v.machine.id);
            seen += page.len();
            chosen.extend(page.into_iter().filter(|view| wanted.matches(&view.seen())));
            if !full {
                break;
            }
        }
        fits_in_one(verb, filter, chosen.len(), seen)?;
        Ok(chosen)
    }
}

/// Refuses a filter that matches nothing, everything or too much.
fn fits_in_one(verb: Verb, filter: &str, matched: usize, seen: usize) -> Result<()> {
    if matched == 0 {
        return Err(Error::invalid("filter", format!("{filter:?} matches no machine; nothing was done")));
    }
    if matched == seen && verb.is_destructive() {
        let why = format!(
            "{filter:?} matches every machine that you see ({seen}), and {verb} is destructive; \
             name the machines if all of them are meant"
        );
        return Err(Error::invalid("filter", why));
    }
    if matched > MOST_MACHINES {
        let why = format!("{filter:?} matches {matched} machines; at most {MOST_MACHINES} go into one operation");
        return Err(Error::invalid("filter", why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_everything_are_refused() {
        let told = |verb, matched, seen| fits_in_one(verb, "f", matched, seen).err().map(|e| e.to_string());
        assert_eq!(told(Verb::Release, 1, 2), None);
        assert!(told(Verb::Lock, 0, 2).unwrap().contains("matches no machine"));
        assert!(told(Verb::Release, 2, 2).unwrap().contains("matches every machine that you see (2)"));
        assert_eq!(told(Verb::Lock, 2, 2), None);
        assert!(told(Verb::Lock, 5001, 9999).unwrap().contains("at most 5000"));
    }
}
