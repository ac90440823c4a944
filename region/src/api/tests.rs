//! The contract against the life-cycle.

use std::collections::BTreeSet;

use farrier_proto::DESCRIPTORS;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::domain::lifecycle::{BIRTHS, By, EDGES, Event};

fn methods(service: &str) -> BTreeSet<String> {
    let all = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let files = all.file.iter().filter(|f| f.package() == "farrier.v1");
    let found = files.flat_map(|f| &f.service).find(|s| s.name() == service).unwrap();
    found.method.iter().map(|m| m.name().to_owned()).collect()
}

fn method(event: Event) -> String {
    if event == Event::Add {
        return "CreateMachine".to_owned();
    }
    let words = event.as_str().split('-').map(|w| w[..1].to_uppercase() + &w[1..]);
    words.collect::<String>() + "Machine"
}

#[test]
fn the_service_has_the_verbs_of_the_table_and_no_other_moves() {
    let people = |by: By| matches!(by, By::Admin | By::Owner);
    let edges = EDGES.iter().filter(|e| people(e.by)).map(|e| e.on);
    let births = BIRTHS.iter().filter(|b| people(b.by)).map(|b| b.on);
    let mut want: BTreeSet<String> = edges.chain(births).map(method).collect();
    // What moves no machine along an edge: reading, power, and the rest of create, read, update, delete.
    let others = ["Get", "Update", "Power", "Explain", "Lock", "Unlock", "Configure", "Clone", "Delete"];
    want.extend(others.map(|o| format!("{o}Machine")));
    // The same verbs for several machines at once.
    want.insert("TellPower".to_owned());
    want.extend(["ListMachines", "AllocateMachines", "BulkMachines", "ListScriptResults"].map(str::to_owned));
    assert_eq!(methods("Machines"), want);
}
