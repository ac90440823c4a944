//! Declared storage and network, and what became of a copy.

use farrier_proto::v1::{CloneResult, NetworkLayout, StorageLayout};
use serde_json::{Value, json};

use super::{
    machines,
    table::{Fit, cell, table},
};

/// Declared storage in a line; JSON has all of it.
pub(crate) fn storage_line(layout: &StorageLayout) -> String {
    let disks = layout.disks.iter().map(|d| d.disk.as_str());
    let arrays = layout.raids.iter().map(|r| format!("{} (RAID {})", r.name, r.level));
    let groups = layout.volume_groups.iter().map(|g| g.name.clone());
    let root = layout.filesystems.iter().find(|f| f.mount_point == "/");
    let parts = [
        listed("disks", disks.map(str::to_owned)),
        listed("arrays", arrays),
        listed("volume groups", groups),
        root.map(|f| format!("root {} on {}", f.r#type, f.device)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Declared network in a line; JSON has all of it.
pub(crate) fn network_line(layout: &NetworkLayout) -> String {
    let parts = [
        listed("interfaces", layout.interfaces.iter().map(|i| i.name.clone())),
        listed("bonds", layout.bonds.iter().map(|b| format!("{} ({}: {})", b.name, b.mode, b.members.join(", ")))),
        listed("bridges", layout.bridges.iter().map(|b| format!("{} ({})", b.name, b.members.join(", ")))),
        listed("VLANs", layout.vlans.iter().map(|v| format!("{} ({} on {})", v.name, v.id, v.link))),
        listed("routes", layout.routes.iter().map(|r| r.to.clone())),
        listed("DNS", layout.dns_servers.iter().cloned()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn listed(title: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then(|| format!("{title} {}", names.join(", ")))
}

/// What became of each destination, for programs.
pub(crate) fn clones_json(results: &[CloneResult]) -> Value {
    let one = |r: &CloneResult| {
        json!({
            "destination": r.destination,
            "machine": r.machine.as_ref().map(machines::json),
            "refusals": r.refusals,
            "matches": r.matches.iter().map(|m| json!({
                "source": m.source,
                "destination": m.destination,
                "rule": m.rule,
            })).collect::<Vec<_>>(),
        })
    };
    json!({ "results": results.iter().map(one).collect::<Vec<_>>() })
}

/// The same for people.
pub(crate) fn clones_table(results: &[CloneResult], width: Option<u16>) -> String {
    let columns = [("DESTINATION", Fit::Whole), ("OUTCOME", Fit::Whole), ("WHAT", Fit::Wraps)];
    let row = |r: &CloneResult| {
        let (outcome, what) = if r.machine.is_some() {
            let each = r.matches.iter().map(|m| {
                let to = if m.destination.is_empty() { "nothing" } else { &m.destination };
                format!("{} -> {to} ({})", m.source, m.rule)
            });
            ("copied", each.collect::<Vec<_>>().join("; "))
        } else {
            ("refused", r.refusals.join("; "))
        };
        vec![cell(r.destination.clone()), outcome.to_owned(), cell(what)]
    };
    table(width, &columns, results.iter().map(row).collect())
}
