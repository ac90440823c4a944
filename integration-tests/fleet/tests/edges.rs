//! The edges of the life-cycle that scenarios take are all there are, but for those that `edges-not-taken.txt` lists; and
//! that list only holds edges that nobody can take yet.
//!
//! What scenarios record is true, because `tests/scenarios.rs` plays them.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeSet, fs, path::Path};

use farrier_fleet::scenario::{Script, command::Command};
use farrier_region::domain::lifecycle::{BIRTHS, EDGES, Event, State};

/// From (none where machines come to be), event, to.
type Edge = (Option<State>, Event, State);

fn all() -> BTreeSet<String> {
    table().into_iter().map(line).collect()
}

fn table() -> Vec<Edge> {
    let births = BIRTHS.iter().map(|birth| (None, birth.on, birth.to));
    births.chain(EDGES.iter().map(|edge| (Some(edge.from), edge.on, edge.to))).collect()
}

fn line((from, on, to): Edge) -> String {
    format!("{} {on} {to}", from.map_or("-", State::as_str))
}

/// Edges whose event is built and whose beginning can be reached by such edges.
fn reachable() -> BTreeSet<String> {
    let (mut states, mut edges) = (BTreeSet::new(), BTreeSet::new());
    for _ in State::ALL {
        for edge @ (from, _, to) in table() {
            if from.is_none_or(|from| states.contains(from.as_str())) {
                states.insert(to.as_str());
                edges.insert(line(edge));
            }
        }
    }
    edges
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn taken() -> BTreeSet<String> {
    let mut taken = BTreeSet::new();
    for entry in fs::read_dir(folder().join("scenarios")).unwrap() {
        let script = Script::parse(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        let recorded = script.steps().filter(|step| step.command == Command::Edges);
        taken.extend(recorded.flat_map(|step| step.outcome.clone()));
    }
    taken
}

fn listed() -> BTreeSet<String> {
    let text = fs::read_to_string(folder().join("edges-not-taken.txt")).unwrap();
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn every_edge_is_taken_or_listed() {
    let (all, taken, listed) = (all(), taken(), listed());
    assert_eq!(taken.difference(&all).collect::<Vec<_>>(), Vec::<&String>::new(), "scenarios take what is no edge");
    assert_eq!(listed.difference(&all).collect::<Vec<_>>(), Vec::<&String>::new(), "what is listed is no edge");
    assert_eq!(taken.intersection(&listed).collect::<Vec<_>>(), Vec::<&String>::new(), "what is listed is taken");
    let missing: Vec<_> = all.iter().filter(|edge| !taken.contains(*edge) && !listed.contains(*edge)).collect();
    assert_eq!(missing, Vec::<&String>::new(), "neither taken by a scenario nor listed");
}

#[test]
fn only_what_nobody_can_take_is_listed() {
    let (reachable, listed) = (reachable(), listed());
    let built: Vec<_> = listed.intersection(&reachable).collect();
    assert_eq!(built, Vec::<&String>::new(), "these are built: a scenario must take them");
}
