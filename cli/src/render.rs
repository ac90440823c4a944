//! How answers look: tables and pages for people, JSON or YAML for programs. One module per noun; nothing here calls or prints.
//!
//! **Invariant:** JSON field names are a contract with scripts. What is absent is `null`, enum words are in lower case
//! with hyphens, times are RFC 3339 in UTC.

pub(crate) mod allocations;
pub(crate) mod bmc;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod fleet;
pub(crate) mod images;
pub(crate) mod layouts;
pub(crate) mod machines;
pub(crate) mod operations;
pub(crate) mod people;
pub(crate) mod racks;
pub(crate) mod scripts;
pub(crate) mod ssh_keys;
pub(crate) mod subnets;
pub(crate) mod table;
pub(crate) mod users;
pub(crate) mod words;
pub(crate) mod yaml;
