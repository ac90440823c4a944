//! Declaring storage and network, and copying them from one machine to others.

use std::collections::BTreeMap;

use super::super::{
    App,
    context::{Ask, needs},
};
use crate::{
    domain::{
        Error, Result,
        layout::clone::Match,
        user::Role,
        verbs::{self as rules, Asked, Declared},
    },
    store::{Extra, MachineView, Once, Planned},
};

/// How many machines are copied to in one call.
const MOST_DESTINATIONS: usize = 500;

/// What to copy from where to where.
#[derive(Clone, Debug)]
pub struct Copying {
    /// Id or name.
    pub source: String,
    /// Ids or names.
    pub destinations: Vec<String>,
    /// Copy declared storage.
    pub storage: bool,
    /// Copy declared network.
    pub network: bool,
}

/// What became of one destination.
#[derive(Clone, Debug)]
pub struct Cloned {
    /// As it was asked for.
    pub destination: String,
    /// After the copy; `None` if it was refused.
    pub machine: Option<MachineView>,
    /// Every reason why not.
    pub refusals: Vec<String>,
    /// What of the source became what.
    pub matches: Vec<Match>,
}

impl App {
    /// Declares storage and network of a machine.
    ///
    /// # Errors
    /// Denied, refused now, or a layout has faults.
    pub async fn configure(
        &self,
        ask: &Ask<MachineView>,
        which: &str,
        declared: &Declared,
    ) -> Result<Once<MachineView>> {
        self.change(ask, which, |asked, m| Ok((rules::configure(asked, m, declared)?, Extra::default()))).await
    }

    /// Copies declared storage and network of one machine to others. Each has its own outcome; all that are written are
    /// written in one transaction.
    ///
    /// # Errors
    /// Denied; the source has nothing to copy; or the list of destinations is not one.
    pub async fn clone_layouts(&self, ask: &Ask<Vec<Cloned>>, copying: &Copying) -> Result<Once<Vec<Cloned>>> {
        needs(&ask.user, Role::Admin, "copy layouts")?;
        let count = copying.destinations.len();
        if !(1..=MOST_DESTINATIONS).contains(&count) {
            return Err(Error::invalid("destinations", format!("must be 1 to {MOST_DESTINATIONS}; there are {count}")));
        }
        let source = self.machine_get(&ask.user, &copying.source).await?;
        ask.still(source.machine.name.as_str(), source.machine.etag())?;
        ask.still_in(&source.machine)?;
        let original = rules::original(&source.machine, copying.storage, copying.network)?;
        let found = self.destinations(ask, &source, &copying.destinations).await?;
        let asked = Asked { user: &ask.user, deadlines: &self.policy.deadlines, now: self.clock.now() };
        let (mut planned, mut results) = (Vec::new(), Vec::new());
        for (place, (destination, view)) in copying.destinations.iter().zip(found).enumerate() {
            let mut cloned =
                Cloned { destination: destination.clone(), machine: None, refusals: vec![], matches: vec![] };
            match view {
                None => cloned.refusals.push(format!("there is no machine {destination:?}")),
                Some(view) => {
                    let (copied, change) = rules::clone_to(&asked, &source.machine, &original, &view.machine);
                    cloned.refusals = copied.refusals;
                    cloned.matches = copied.matches;
                    planned.extend(change.map(|change| Planned { key: place, change }));
                }
            }
            results.push(cloned);
        }
        let made = move |written: Vec<(usize, Result<MachineView>)>| outcomes(results, written);
        self.store.machines_apply(Some(&ask.request), planned, made, ask.renderer()).await
    }

    /// The machines that are meant; each is there once, and the source is not among them. `None`: there is none.
    async fn destinations(
        &self,
        ask: &Ask<Vec<Cloned>>,
        source: &MachineView,
        names: &[String],
    ) -> Result<Vec<Option<MachineView>>> {
        let mut seen = BTreeMap::new();
        let mut found = Vec::with_capacity(names.len());
        for (place, name) in names.iter().enumerate() {
            let view = match self.machine_get(&ask.user, name).await {
                Ok(view) => Some(view),
                Err(Error::NotFound { .. }) => None,
                Err(other) => return Err(other),
            };
            let field = format!("destinations[{place}]");
            let key = view.as_ref().map_or_else(|| name.clone(), |v| v.machine.id.to_string());
            if key == source.machine.id.to_string() {
                return Err(Error::invalid(field, format!("{} is the source", source.machine.name)));
            }
            if let Some(first) = seen.insert(key, place) {
                return Err(Error::invalid(field, format!("is the same machine as destinations[{first}]")));
            }
            found.push(view);
        }
        Ok(found)
    }
}

/// Puts what was written beside what was refused before.
fn outcomes(mut results: Vec<Cloned>, written: Vec<(usize, Result<MachineView>)>) -> Vec<Cloned> {
    for (place, outcome) in written {
        let Some(result) = results.get_mut(place) else { continue };
        match outcome {
            Ok(view) => result.machine = Some(view),
            Err(why) => result.refusals.push(format!("{why}; ask again")),
        }
    }
    results
}
