//! Reads the details of a machine without what is long: a list of thousands does not show it.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, IntoDeserializer as _, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::domain::machine::Details;

/// Members of [`Details`] that the basic view of a machine leaves out. They are passed over, not parsed.
const LONG: &[&str] = &["hardware", "last_erase", "storage", "network", "notes", "script_results"];

/// The details, with the long members at their defaults.
pub(super) fn details(json: &str) -> serde_json::Result<Details> {
    struct Whole;
    impl<'de> Visitor<'de> for Whole {
        type Value = Details;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the details of a machine")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Details, A::Error> {
            Details::deserialize(MapAccessDeserializer::new(Short(map)))
        }
    }
    let mut read = serde_json::Deserializer::from_str(json);
    let details = read.deserialize_map(Whole)?;
    read.end()?;
    Ok(details)
}

/// A map without its long members.
struct Short<A>(A);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Short<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        // Our own keys have no escapes, so each is borrowed from the text.
        while let Some(key) = self.0.next_key::<&'de str>()? {
            if LONG.contains(&key) {
                self.0.next_value::<IgnoredAny>()?;
            } else {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::machine::{Deployment, Hardware};

    #[test]
    fn what_is_long_is_left_out_and_nothing_else() {
        let deployment = Deployment { image: "debian".to_owned(), image_id: "x".to_owned(), disk_serial: None };
        let short = Details {
            labels: [("a".to_owned(), "\"}\\".to_owned())].into(),
            deployment: Some(deployment),
            boot_tries: 3,
            ..Details::default()
        };
        let hardware = Hardware { vendor: "Dell".to_owned(), cpu_cores: 4, ..Hardware::default() };
        let long = Details { hardware: Some(hardware), ..short.clone() };
        let json = serde_json::to_string(&long).unwrap();
        assert_eq!(serde_json::from_str::<Details>(&json).unwrap(), long);
        assert_eq!(details(&json).unwrap(), short);
        assert_eq!(details("{}").unwrap(), Details::default());
        for bad in ["", "[]", "{", "{} x", "{\"labels\": 3}"] {
            assert!(details(bad).is_err(), "{bad}");
        }
    }
}
