//! Renders the fields as the page `docs/filter.md`.

use std::fmt::Write as _;

use super::{Field, Kind};
use crate::domain::order::Key;

const HEAD: &str = include_str!("head.txt");

const fn meaning(field: Field) -> &'static str {
    match field {
        Field::Id => "id of the machine",
        Field::Name => "name of the machine",
        Field::State => "state, as in [the life-cycle](lifecycle.md)",
        Field::Phase => "what the engine is at; absent at rest",
        Field::Owner => "user who holds it; absent if nobody does",
        Field::Project => "project that holds it; absent if none does",
        Field::Pool => "pool",
        Field::Zone => "zone",
        Field::Rack => "rack that serves it; absent before one has met it",
        Field::Architecture => "architecture of the CPU",
        Field::Firmware => "how it boots; absent before that is known",
        Field::Power => "what the BMC said last; absent before",
        Field::Locked => "somebody keeps everybody from it: it refuses every verb but unlock",
        Field::Tags => "tags: `tags:gpu`",
        Field::Labels => {
            "`labels.KEY=VALUE`; `labels:KEY`, the key is there. A key with other characters than letters, digits and `_-./` is quoted: `labels.\"a b\"`"
        }
        Field::Vendor => "manufacturer (SMBIOS); absent before the inventory, as are the next four",
        Field::Product => "product (SMBIOS)",
        Field::Serial => "serial number (SMBIOS)",
        Field::CpuCores => "logical CPUs",
        Field::MemoryBytes => "RAM",
        Field::Image => "image of the current or last deployment",
        Field::BmcAddress => "address of the BMC",
        Field::Mac => "MAC addresses of the interfaces, however spelled",
        Field::CreatedAt => "when it came to be",
        Field::UpdatedAt => "when it changed last",
        Field::Since => "since when it is in its state",
    }
}

fn kind(field: Field) -> String {
    match field.kind() {
        Kind::Text => "text".to_owned(),
        Kind::Word(words) if field == Field::State || field == Field::Phase => {
            format!("one of {} words", words().len())
        }
        Kind::Word(words) => words().join(", "),
        Kind::Flag => "true, false".to_owned(),
        Kind::Number => "number".to_owned(),
        Kind::Time => "time".to_owned(),
        Kind::Set => "set of texts".to_owned(),
        Kind::Map => "texts by key".to_owned(),
    }
}

/// The whole page.
#[must_use]
pub fn page() -> String {
    let (before, after) = HEAD.split_once("FIELDS\n").unwrap_or((HEAD, ""));
    let mut out = before.to_owned();
    out.push_str("| field | is | operators | meaning |\n|---|---|---|---|\n");
    for field in Field::ALL {
        let ops: Vec<_> = field.kind().ops().iter().map(|o| format!("`{o}`")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| `{field}` | {} | {} | {} |", kind(*field), ops.join(" "), meaning(*field));
    }
    let keys: Vec<_> = Key::ALL.iter().map(|k| format!("`{k}`")).collect();
    out + &after.replace("KEYS", &keys.join(", "))
}
