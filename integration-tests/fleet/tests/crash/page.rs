//! The matrix as a page: `docs/crash-matrix.md`.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use farrier_integration_tests::binaries::repository;

use crate::{
    cells::{Cell, Who, working_states},
    exceptions::EXCEPTIONS,
};

const HEAD: &str = "# The crash matrix\n\n\
    Generated from the crash points of region, rack and agent and from `integration-tests/fleet/tests/crash/exceptions.rs`; do \
    not edit (`make bless` writes it anew).\n\n\
    `cargo test -p farrier-fleet --test crash` lets each program die (`--crash-at POINT/CONTEXT`, by SIGABRT) at each of its \
    points, in each working state of machines, beside a whole fleet, on SQLite and on PostgreSQL. It is started again, the \
    machines must come to where they were told to go, and what really happened to them is the judge. A cell that is neither \
    hit nor excepted below fails the test, and so does an excepted one that is hit.\n\n";

/// The page.
pub(crate) fn page() -> String {
    let mut page = HEAD.to_owned();
    let all = Cell::all();
    let excepted = all.iter().filter(|c| c.exception().is_some()).count();
    let states = working_states().iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ");
    // Writing to a string cannot fail.
    let _ = writeln!(
        page,
        "Working states: {states}. Cells: {}, of which {excepted} cannot happen and {} are hit on each database.",
        all.len(),
        all.len() - excepted
    );
    for who in Who::ALL {
        let meanings = meanings(who);
        let _ = writeln!(
            page,
            "\n## {}\n\n| point | then | contexts | cells | excepted |\n|---|---|---|---|---|",
            who.as_str()
        );
        for point in who.points() {
            let cells: Vec<_> = all.iter().filter(|c| c.who == who && c.point == point).collect();
            let mut contexts: Vec<_> = cells.iter().map(|c| c.context).collect();
            contexts.dedup();
            let mut seen = Vec::new();
            contexts.retain(|c| {
                !seen.contains(c) && {
                    seen.push(*c);
                    true
                }
            });
            let excepted = cells.iter().filter(|c| c.exception().is_some()).count();
            let meaning = meanings.get(point).map_or("", String::as_str);
            let _ = writeln!(page, "| {point} | {meaning} | {} | {} | {excepted} |", contexts.join(", "), cells.len());
        }
    }
    page.push_str("\n## What cannot happen\n\n| who | points | contexts | states | why |\n|---|---|---|---|---|\n");
    for e in EXCEPTIONS {
        let [points, contexts, states] = [e.points, e.contexts, e.states].map(|words| words.join(", "));
        let _ = writeln!(page, "| {} | {points} | {contexts} | {states} | {} |", e.who.as_str(), e.reason);
    }
    page
}

/// What the points mean, by the comments of their list.
fn meanings(who: Who) -> BTreeMap<String, String> {
    let file = repository().join(who.as_str()).join("src/crash.rs");
    let source = fs::read_to_string(file).expect("it is compiled too");
    let mut meanings = BTreeMap::new();
    let mut comment = Vec::new();
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            comment.push(text.to_owned());
            continue;
        }
        if let Some(word) = line.strip_suffix("\",").and_then(|line| line.split_once(" = \"")) {
            meanings.entry(word.1.to_owned()).or_insert_with(|| comment.join(" "));
        }
        comment.clear();
    }
    meanings
}

#[test]
fn the_page_is_current_and_tells_what_each_point_means() {
    for who in Who::ALL {
        let meanings = meanings(who);
        assert!(who.points().iter().all(|point| meanings.get(*point).is_some_and(|text| !text.is_empty())));
    }
    expect_test::expect_file!["../../../../docs/crash-matrix.md"].assert_eq(&page());
}
