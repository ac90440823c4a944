//! The fleet in as many lines as a terminal has.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};

use super::{
    table::{cell, clean},
    words,
};
use crate::{
    fleet::{Entry, Fleet},
    wait::Motion,
};

/// One picture: no line longer than `width`, no more than `height` lines.
pub(crate) fn frame(fleet: &Fleet, now: DateTime<Utc>, width: u16, height: u16) -> String {
    let (width, height) = (usize::from(width), usize::from(height));
    let mut lines = vec![head(fleet, now)];
    lines.extend(counts(fleet, width));
    // What went wrong is shown where there is room for it.
    for (title, motion) in [("AT WORK", Motion::Working), ("FAILED", Motion::Failed)] {
        let rows = fleet.in_motion(motion);
        let room = height.saturating_sub(lines.len());
        // A blank line, a title, and a row at least.
        if rows.is_empty() || room < 3 {
            continue;
        }
        lines.push(String::new());
        lines.extend(table(title, &rows, now, room - 1));
    }
    lines.truncate(height.max(1));
    lines.iter().map(|l| cut(l, width)).collect::<Vec<_>>().join("\n")
}

fn head(fleet: &Fleet, now: DateTime<Utc>) -> String {
    let at = now.to_rfc3339_opts(SecondsFormat::Secs, true);
    let trouble =
        fleet.trouble.as_ref().map_or_else(String::new, |why| format!("  waiting for the region: {}", clean(why)));
    format!("{at}  revision {}{trouble}", fleet.revision)
}

/// `120 machines: 100 ready, 20 deployed`, in the order of the life-cycle, over as many lines as it needs.
fn counts(fleet: &Fleet, width: usize) -> Vec<String> {
    let mut by_state: BTreeMap<i32, usize> = BTreeMap::new();
    for entry in fleet.all() {
        *by_state.entry(entry.state).or_default() += 1;
    }
    let total: usize = by_state.values().sum();
    let mut lines = vec![format!("{total} machine{}", if total == 1 { "" } else { "s" })];
    for (place, (state, count)) in by_state.into_iter().enumerate() {
        let text = format!("{count} {}", words::state(state).unwrap_or_else(|| "in no known state".to_owned()));
        let last = lines.last_mut().expect("it has one from the start");
        if last.len() + text.len() + 2 > width {
            lines.push(format!("  {text}"));
        } else {
            last.push_str(if place == 0 { ": " } else { ", " });
            last.push_str(&text);
        }
    }
    lines
}

fn table(title: &str, rows: &[&Entry], now: DateTime<Utc>, room: usize) -> Vec<String> {
    let all = rows.len();
    let shown = if all < room { all } else { room.saturating_sub(2) };
    let cells: Vec<[String; 4]> = rows.iter().take(shown).map(|e| row(e, now)).collect();
    let titles = [title, "STATE", "SINCE", "WHAT"].map(str::to_owned);
    let widths: Vec<usize> =
        (0..3).map(|c| cells.iter().chain([&titles]).map(|r| r[c].chars().count()).max().unwrap_or_default()).collect();
    let line = |[a, b, c, d]: &[String; 4]| format!("{a:<0$}  {b:<1$}  {c:<2$}  {d}", widths[0], widths[1], widths[2]);
    let mut lines: Vec<String> = [&titles].into_iter().chain(&cells).map(line).collect();
    if shown < all {
        lines.push(format!("… and {} more", all - shown));
    }
    lines
}

fn row(entry: &Entry, now: DateTime<Utc>) -> [String; 4] {
    let since = words::time(entry.since.as_ref()).map(|at| words::span((now - at).num_seconds().max(0)));
    [cell(entry.name.clone()), words::place(entry.state, &clean(&entry.phase)), cell(since), cell(entry.reason.clone())]
}

fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use farrier_proto::v1::{Machine, MachineState, MachineStatus};
    use prost_types::Timestamp;

    use super::*;

    fn fleet() -> Fleet {
        let machine = |n: i64, state: MachineState, phase: &str, reason: &str| {
            let since = Some(Timestamp { seconds: 1_800_000_000 - 100 * n, nanos: 0 });
            let status = MachineStatus {
                state: state.into(),
                phase: phase.to_owned(),
                reason: reason.to_owned(),
                since,
                ..MachineStatus::default()
            };
            Machine { id: n.to_string(), name: format!("node-{n}"), status: Some(status), ..Machine::default() }
        };
        let mut all: Vec<_> =
            (1..=4).map(|n| machine(n, MachineState::Deploying, "write-image", "writes the image: 40 %")).collect();
        all.extend((5..=7).map(|n| machine(n, MachineState::Ready, "", "")));
        all.push(machine(8, MachineState::FailedTesting, "", "memory is \u{1b}[31mbad\nvery"));
        let mut fleet = Fleet::new(all, 4711);
        fleet.trouble = Some("connection refused".to_owned());
        fleet
    }

    fn shown(width: u16, height: u16) -> String {
        let text = frame(&fleet(), DateTime::from_timestamp(1_800_000_000, 0).unwrap(), width, height);
        assert!(text.lines().count() <= usize::from(height), "{text}");
        assert!(text.lines().all(|l| l.chars().count() <= usize::from(width)), "{text}");
        text
    }

    #[test]
    fn a_wide_terminal_shows_all() {
        expect![[r#"
            2027-01-15T08:00:00Z  revision 4711  waiting for the region: connection refused
            8 machines: 3 ready, 4 deploying, 1 failed-testing

            AT WORK  STATE                   SINCE  WHAT
            node-4   deploying, write-image  6m40s  writes the image: 40 %
            node-3   deploying, write-image  5m00s  writes the image: 40 %
            node-2   deploying, write-image  3m20s  writes the image: 40 %
            node-1   deploying, write-image  1m40s  writes the image: 40 %

            FAILED  STATE           SINCE   WHAT
            node-8  failed-testing  13m20s  memory is [31mbad very"#]]
        .assert_eq(&shown(100, 40));
    }

    #[test]
    fn a_small_one_shows_what_is_at_work() {
        expect![[r#"
            2027-01-15T08:00:00Z  revision 4711  waitin…
            8 machines: 3 ready, 4 deploying
              1 failed-testing

            AT WORK  STATE                   SINCE  WHAT
            node-4   deploying, write-image  6m40s  wri…
            node-3   deploying, write-image  5m00s  wri…
            … and 2 more"#]]
        .assert_eq(&shown(44, 8));
        for (width, height) in [(1, 1), (10, 2), (200, 5), (30, 11)] {
            shown(width, height);
        }
    }
}
