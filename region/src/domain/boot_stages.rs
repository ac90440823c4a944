//! How long each stage of a boot took, from what its rack and its agent told. Pure.

use chrono::TimeDelta;
use farrier_common::clock::Timestamp;

/// More are not shown: a machine that boots in circles makes thousands.
const MOST: usize = 64;

/// Something that was seen of a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at: Timestamp,
    /// The stage that it belongs to.
    pub stage: String,
    /// The stage ends here, whatever comes next.
    pub ends: bool,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// power, dhcp, loader, script, kernel, agent, the word of a task, or os.
    pub name: String,
    /// When it began.
    pub began: Timestamp,
    /// How long it lasted; `None` while it lasts.
    pub lasted: Option<TimeDelta>,
}

/// The stage that a step of the rack belongs to, by the step's kind and text.
#[must_use]
pub fn of_step<'a>(kind: &'a str, text: &str) -> &'a str {
    match kind {
        "tftp" => "loader",
        "http" if text.starts_with("script") => "script",
        "http" => "loader",
        other => other,
    }
}

/// The stages, in order of time: each begins with its first mark, and ends where the next one begins or where it says so.
#[must_use]
pub fn stages(mut marks: Vec<Mark>) -> Vec<Stage> {
    marks.sort_by_key(|mark| mark.at);
    let mut stages: Vec<Stage> = Vec::new();
    for mark in marks {
        let current =
            stages.last_mut().filter(|stage| stage.name == mark.stage && (stage.lasted.is_none() || mark.ends));
        if let Some(stage) = current {
            if mark.ends {
                stage.lasted = Some(mark.at - stage.began);
            }
            continue;
        }
        // The end of a stage that others have interrupted is known: it ended where they began.
        if mark.ends {
            continue;
        }
        if let Some(before) = stages.last_mut() {
            before.lasted.get_or_insert(mark.at - before.began);
        }
        stages.push(Stage { name: mark.stage, began: mark.at, lasted: None });
    }
    stages.drain(..stages.len().saturating_sub(MOST));
    stages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at;

    fn show(marks: &[(i64, &str, bool)]) -> Vec<(String, Option<i64>)> {
        let marks = marks.iter().map(|(s, stage, ends)| Mark { at: at(*s), stage: (*stage).to_owned(), ends: *ends });
        stages(marks.collect()).into_iter().map(|s| (s.name, s.lasted.map(|l| l.num_seconds()))).collect()
    }

    #[test]
    fn a_stage_lasts_until_the_next_begins() {
        let told = show(&[
            (9, "dhcp", false),
            (0, "power", false),
            (10, "dhcp", false),
            (12, "loader", false),
            (20, "kernel", false),
            (50, "inventory", false),
            (55, "inventory", true),
            (60, "power-off", false),
        ]);
        let want = [
            ("power", Some(9)),
            ("dhcp", Some(3)),
            ("loader", Some(8)),
            ("kernel", Some(30)),
            ("inventory", Some(5)),
            ("power-off", None),
        ];
        assert_eq!(told, want.map(|(name, lasted)| (name.to_owned(), lasted)));
    }

    #[test]
    fn machines_that_boot_in_circles_are_cut() {
        let marks: Vec<_> = (0..1000).map(|n| (n, if n % 2 == 0 { "dhcp" } else { "loader" }, false)).collect();
        assert_eq!(show(&marks).len(), MOST);
    }

    #[test]
    fn steps_are_of_stages() {
        assert_eq!(of_step("http", "script: commissioning"), "script");
        assert_eq!(of_step("http", "ipxe.efi 1 MiB"), "loader");
        assert_eq!(of_step("os", "the installed system phoned home"), "os");
    }
}
