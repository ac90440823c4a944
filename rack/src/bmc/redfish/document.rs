//! One resource as the BMC told it: JSON that is read property by property, with errors that name the property.
//!
//! Invariant: nothing in a document leads anywhere but to a path on the BMC that told it.

use serde_json::Value;

use super::{super::BmcError, rules::Rules};

/// Longest path that is followed.
const PATH_MAX: usize = 512;
/// Characters of a BMC's text that are shown.
const SHOWN: usize = 120;

/// A resource.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// Where it was read.
    pub(super) path: String,
    /// Its version, if the BMC tells one.
    pub(super) etag: Option<String>,
    value: Value,
}

impl Document {
    /// Reads a body.
    pub(super) fn parse(path: &str, etag: Option<&str>, body: &[u8], rules: &Rules) -> Result<Self, BmcError> {
        let nonsense = |why: &str| BmcError::Nonsense(format!("{path}: {why}"));
        let mut value: Value = serde_json::from_slice(body).map_err(|_| nonsense("the answer is not JSON"))?;
        if !value.is_object() {
            return Err(nonsense("the answer is not a JSON object"));
        }
        rules.repair(&mut value);
        let told = value.get("@odata.etag").and_then(Value::as_str);
        let etag = etag.or(told).map(str::to_owned);
        Ok(Self { path: path.to_owned(), etag, value })
    }

    /// A resource that came inside another.
    pub(super) fn inside(path: &str, value: &Value) -> Self {
        Self { path: path.to_owned(), etag: None, value: value.clone() }
    }

    /// The value at a JSON pointer; `None` also if it is null.
    pub(super) fn at(&self, pointer: &str) -> Option<&Value> {
        self.value.pointer(pointer).filter(|v| !v.is_null())
    }

    /// The text at a JSON pointer; `None` if there is none.
    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.at(pointer).and_then(Value::as_str)
    }

    /// The text at a JSON pointer, for people: without control characters and not too long; empty if there is none.
    pub(super) fn shown(&self, pointer: &str) -> String {
        self.text(pointer).map(|t| shown(t, SHOWN)).unwrap_or_default()
    }

    /// The texts of the list at a JSON pointer; `None` if there is no list.
    pub(super) fn words(&self, pointer: &str) -> Option<Vec<&str>> {
        Some(self.at(pointer)?.as_array()?.iter().filter_map(Value::as_str).collect())
    }

    /// The path that the link at `pointer` names; `None` if there is no link.
    pub(super) fn optional_link(&self, pointer: &str) -> Option<String> {
        path_of(self.at(pointer)?.get("@odata.id")?.as_str()?)
    }

    /// The same, where there must be one.
    pub(super) fn link(&self, pointer: &str) -> Result<String, BmcError> {
        self.optional_link(pointer).ok_or_else(|| {
            BmcError::Nonsense(format!("{}: {} is not a link", self.path, pointer.trim_start_matches('/')))
        })
    }

    /// The paths of a collection's members.
    pub(super) fn members(&self) -> Result<Vec<String>, BmcError> {
        let nonsense = || BmcError::Nonsense(format!("{}: Members is not a list of links", self.path));
        let members = self.at("/Members").and_then(Value::as_array).ok_or_else(nonsense)?;
        members
            .iter()
            .map(|m| m.get("@odata.id")?.as_str().and_then(path_of))
            .collect::<Option<_>>()
            .ok_or_else(nonsense)
    }

    /// Where a long collection goes on.
    pub(super) fn next(&self) -> Option<String> {
        self.text("/Members@odata.nextLink").and_then(path_of)
    }

    /// The last part of its path.
    pub(super) fn last_part(&self) -> &str {
        last_part(&self.path)
    }
}

/// The last part of a path.
pub(super) fn last_part(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// The path of a URI that a BMC told. Of an absolute URI the rest is left out: we stay with the BMC that we speak to.
pub(super) fn path_of(uri: &str) -> Option<String> {
    let path = match uri.split_once("://") {
        Some((_, rest)) => rest.find('/').map(|at| &rest[at..])?,
        None => uri,
    };
    let path = path.split('#').next().unwrap_or_default();
    let good = path.starts_with('/') && path.len() <= PATH_MAX && path.bytes().all(|b| b.is_ascii_graphic());
    good.then(|| path.to_owned())
}

/// A text of a peer, for people.
pub(super) fn shown(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(text: &str) -> Result<Document, BmcError> {
        Document::parse("/redfish/v1/x", Some("W/\"1\""), text.as_bytes(), &Rules::default())
    }

    #[test]
    fn links_stay_on_the_bmc() {
        let check = |uri: &str, path: Option<&str>| assert_eq!(path_of(uri).as_deref(), path, "{uri}");
        check("/redfish/v1/Systems/1", Some("/redfish/v1/Systems/1"));
        check("/redfish/v1/Systems/1#/Boot", Some("/redfish/v1/Systems/1"));
        check("https://elsewhere.example/redfish/v1/Tasks/1", Some("/redfish/v1/Tasks/1"));
        for wrong in ["", "redfish", "https://elsewhere.example", "/a b", "/a\r\nHost: b", &"/x".repeat(300)] {
            check(wrong, None);
        }
    }

    #[test]
    fn members_are_links() {
        let members = |text: &str| document(text).unwrap().members().ok();
        let good = r#"{"Members": [{"@odata.id": "/redfish/v1/Systems/1"}, {"@odata.id": "/redfish/v1/Systems/2"}]}"#;
        assert_eq!(members(good).unwrap().len(), 2);
        for wrong in [r#"{"Members": {}}"#, "{}", r#"{"Members": [{}]}"#, r#"{"Members": [{"@odata.id": 7}]}"#] {
            assert_eq!(members(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200), pointer in "(/[a-zA-Z@.~0-9]*)*") {
            if let Ok(document) = Document::parse("/x", None, &body, &Rules::default()) {
                let _ = (document.at(&pointer), document.members(), document.link(&pointer), document.next());
            }
        }
    }
}
