//! What people say about a machine: name, pool, zone, tags, labels, notes. It moves nothing.

use std::collections::{BTreeMap, BTreeSet};

use farrier_common::{id::PoolId, name::Name, words};

use super::{
    Asked,
    lock::{is_his, noted},
};
use crate::domain::{Error, Result, advance::Change, machine::Machine, user::Role};

words! {
    /// What can be set.
    Field {
        /// Its name.
        Name = "name",
        /// Who may see and hold it follows from it.
        Pool = "pool",
        /// What fails together.
        Zone = "zone",
        /// Free words.
        Tags = "tags",
        /// Free words with values.
        Labels = "labels",
        /// Free text.
        Notes = "notes",
    }
}

/// What is to be set; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Its name.
    pub name: Option<Name>,
    /// Id and name of its pool.
    pub pool: Option<(PoolId, Name)>,
    /// Its zone.
    pub zone: Option<Name>,
    /// All its tags.
    pub tags: Option<BTreeSet<Name>>,
    /// All its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Its notes.
    pub notes: Option<String>,
}

impl Update {
    fn fields(&self) -> Vec<Field> {
        let given = |field: &Field| match field {
            Field::Name => self.name.is_some(),
            Field::Pool => self.pool.is_some(),
            Field::Zone => self.zone.is_some(),
            Field::Tags => self.tags.is_some(),
            Field::Labels => self.labels.is_some(),
            Field::Notes => self.notes.is_some(),
        };
        Field::ALL.iter().copied().filter(given).collect()
    }
}

/// Says something else about the machine. Labels and notes are its owner's too, the rest is for admins.
///
/// # Errors
/// Denied, or it is locked.
pub fn update(asked: &Asked<'_>, m: &Machine, to: &Update) -> Result<Change> {
    super::unlocked(m, "update")?;
    may(asked, m, to)?;
    let mut after = m.clone();
    let mut told = Vec::new();
    if let Some(name) = to.name.as_ref().filter(|name| **name != m.name) {
        told.push(format!("name set to {name}, it was {}", m.name));
        after.name = name.clone();
    }
    if let Some((pool, name)) = to.pool.as_ref().filter(|(pool, _)| *pool != m.pool) {
        told.push(format!("pool set to {name}"));
        after.pool = *pool;
    }
    if let Some(zone) = to.zone.as_ref().filter(|zone| **zone != m.zone) {
        told.push(format!("zone set to {zone}"));
        after.zone = zone.clone();
    }
    if let Some(tags) = to.tags.as_ref().filter(|tags| **tags != m.tags) {
        told.push(format!("tags set to {}", list(tags.iter().map(ToString::to_string))));
        after.tags.clone_from(tags);
    }
    if let Some(labels) = to.labels.as_ref().filter(|labels| **labels != m.details.labels) {
        told.push(format!("labels set to {}", list(labels.iter().map(|(key, value)| format!("{key}={value}")))));
        after.details.labels.clone_from(labels);
    }
    if let Some(notes) = to.notes.as_ref().filter(|notes| **notes != m.details.notes) {
        told.push(if notes.is_empty() { "notes removed" } else { "notes changed" }.to_owned());
        after.details.notes.clone_from(notes);
    }
    let mut change = Change::of(after);
    if !told.is_empty() {
        change.events.push(noted(asked, m, clipped(&told.join("; "))));
    }
    Ok(change)
}

fn may(asked: &Asked<'_>, m: &Machine, to: &Update) -> Result<()> {
    if asked.user.role == Role::Admin {
        return Ok(());
    }
    let his = is_his(asked.user, m);
    let denied = to.fields().into_iter().find(|field| match field {
        Field::Labels | Field::Notes => !his,
        Field::Name | Field::Pool | Field::Zone | Field::Tags => true,
    });
    match denied {
        None => Ok(()),
        Some(field @ (Field::Labels | Field::Notes)) => {
            Err(Error::Denied(format!("to set {field} of machine {} is for its owner and for admins", m.name)))
        }
        Some(field @ (Field::Name | Field::Pool | Field::Zone | Field::Tags)) => {
            Err(Error::Denied(format!("to set {field} of machine {} is for admins", m.name)))
        }
    }
}

fn list(words: impl Iterator<Item = String>) -> String {
    let words: Vec<_> = words.collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// Many labels are long; the log says that they changed, and the machine which they are.
fn clipped(text: &str) -> String {
    const MOST: usize = 1000;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain(" …".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        advance::Deadlines,
        lifecycle::State,
        machine::Owner,
        testing::{at, machine, user},
        user::User,
    };

    fn ask(user: &User, m: &Machine, to: &Update) -> Result<Change> {
        update(&Asked { user, deadlines: &Deadlines::default(), now: at(10) }, m, to)
    }

    fn labels() -> Update {
        let labels = BTreeMap::from([("row".to_owned(), "7".to_owned())]);
        Update { labels: Some(labels), notes: Some("loud".to_owned()), ..Update::default() }
    }

    #[test]
    fn what_changes_is_logged_and_what_does_not_is_not() {
        let root = user("root", Role::Admin);
        let mut m = machine(State::Deployed, None);
        let all = Update {
            name: Some("m2".parse().unwrap()),
            pool: Some((PoolId::generate(), "gpu".parse().unwrap())),
            zone: Some("z1".parse().unwrap()),
            tags: Some(["b", "a"].into_iter().map(|t| t.parse().unwrap()).collect()),
            ..labels()
        };
        let change = ask(&root, &m, &all).unwrap();
        assert!(change.edge.is_none());
        assert_eq!(
            change.events[0].reason,
            "name set to m2, it was m1; pool set to gpu; zone set to z1; tags set to a, b; labels set to row=7; notes changed"
        );
        m = change.machine;
        assert!(ask(&root, &m, &all).unwrap().events.is_empty());
        let none = Update { tags: Some(BTreeSet::new()), notes: Some(String::new()), ..Update::default() };
        assert_eq!(ask(&root, &m, &none).unwrap().events[0].reason, "tags set to none; notes removed");
    }

    #[test]
    fn labels_and_notes_are_the_owners_too() {
        let (ann, bob, eve) = (user("ann", Role::User), user("bob", Role::User), user("eve", Role::Viewer));
        let mut m = machine(State::Deployed, None);
        assert!(ask(&ann, &m, &labels()).is_err(), "what nobody holds is for admins");
        m.owner = Some(Owner::User(ann.id));
        assert!(ask(&ann, &m, &labels()).is_ok());
        assert_eq!(
            ask(&bob, &m, &labels()).unwrap_err().to_string(),
            "to set labels of machine m1 is for its owner and for admins"
        );
        let zone = Update { zone: Some("z1".parse().unwrap()), ..labels() };
        assert_eq!(ask(&ann, &m, &zone).unwrap_err().to_string(), "to set zone of machine m1 is for admins");
        m.owner = Some(Owner::User(eve.id));
        assert!(ask(&eve, &m, &labels()).is_err(), "viewers change nothing");
    }

    #[test]
    fn the_log_is_not_flooded_with_labels() {
        let root = user("root", Role::Admin);
        let many = (0..64).map(|n| (format!("key-{n}"), "x".repeat(256))).collect();
        let to = Update { labels: Some(many), ..Update::default() };
        let told = &ask(&root, &machine(State::Ready, None), &to).unwrap().events[0].reason;
        assert_eq!((told.chars().count(), told.ends_with(" …")), (1002, true));
    }
}
