//! In which order machines are listed.

use farrier_common::words;

use super::{Error, Result};

words! {
    /// What machines are ordered by.
    Key {
        /// In order of their making.
        Id = "id",
        /// By name.
        Name = "name",
        /// By the word of their state.
        State = "state",
        /// By the time since when they are in their state.
        Since = "since",
        /// By the time of their making.
        CreatedAt = "created_at",
        /// By the time of their last change.
        UpdatedAt = "updated_at",
        /// By the name of their pool.
        Pool = "pool",
        /// By zone.
        Zone = "zone",
    }
}

/// One key, and whether the greatest comes first.
pub type Part = (Key, bool);

/// An order: by the first key, equals by the second and so on, and by id in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order(Vec<Part>);

impl Order {
    /// Parses `key [desc], key [desc] …`.
    ///
    /// # Errors
    /// A key that does not exist or comes twice, or another word than `asc` and `desc`.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: String| Error::invalid("order_by", why);
        let mut parts: Vec<Part> = Vec::new();
        if text.trim().is_empty() {
            return Ok(Self(parts));
        }
        for part in text.split(',') {
            let mut words = part.split_whitespace();
            let key: Key = words.next().unwrap_or_default().parse().map_err(|e| invalid(format!("{e}")))?;
            let desc = match words.next() {
                None | Some("asc") => false,
                Some("desc") => true,
                Some(other) => return Err(invalid(format!("{other:?} after {key}: only desc and asc may be there"))),
            };
            if let Some(more) = words.next() {
                return Err(invalid(format!("{more:?} after {key}: keys are separated by commas")));
            }
            if parts.iter().any(|(known, _)| *known == key) {
                return Err(invalid(format!("{key} comes twice")));
            }
            parts.push((key, desc));
        }
        // Nobody has the same id: what would come after it decides nothing.
        let decided = parts.iter().position(|(key, _)| *key == Key::Id);
        parts.truncate(decided.map_or(parts.len(), |at| at + 1));
        Ok(Self(parts))
    }

    /// The keys, without the last one that is always there.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_once_and_in_either_direction() {
        let told = |text| Order::parse(text).map(|o| o.0).map_err(|e| e.to_string());
        assert_eq!(told("  "), Ok(vec![]));
        assert_eq!(
            told("state, since desc,name asc"),
            Ok(vec![(Key::State, false), (Key::Since, true), (Key::Name, false)])
        );
        assert_eq!(told("id desc, name"), Ok(vec![(Key::Id, true)]));
        for (bad, why) in [
            ("stat", "order_by: \"stat\" is not one of id, name, state, "),
            ("name,", "order_by: \"\" is not one of "),
            ("name down", "order_by: \"down\" after name: "),
            ("name desc since", "order_by: \"since\" after name: "),
            ("name, name desc", "order_by: name comes twice"),
        ] {
            let told = told(bad).unwrap_err();
            assert!(told.starts_with(why), "{told}");
        }
    }
}
