//! Scenarios: text that tells what is done to a fleet, and records what came of it.
//!
//! One command a line, its outcome after `->` or, if it is long, on indented lines below. `#` begins a comment.
//! Playing a scenario does what it says and compares; `UPDATE_EXPECT=1` writes down what came instead.
//!
//! ```text
//! site
//! fleet 2 vendors=dell
//! on all
//! until all new                            -> new
//! fault m2 black-hole
//! commission all
//! until m1 ready                           -> commissioning, ready
//! ```
//!
//! The parser and the comparison are pure; [`play`] does things.

pub mod command;
mod leave;
pub mod normal;
mod observe;
pub mod play;
mod site;
pub mod vocabulary;

use std::fmt::Write as _;

use thiserror::Error;

use self::command::Command;

/// A command, as it stands in a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Counted from 1.
    pub line: usize,
    /// As it was written.
    pub text: String,
    /// What it means.
    pub command: Command,
    /// What is recorded to come of it; no line if nothing.
    pub outcome: Vec<String>,
}

/// A scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// A comment or an empty line.
    Note(String),
    Step(Step),
}

/// A line that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}: {why}")]
pub struct ScriptError {
    /// Which, counted from 1.
    pub line: usize,
    /// What is wrong with it, and what is allowed.
    pub why: String,
}

const ARROW: &str = " -> ";
/// Outcomes begin in this column, where the command leaves room.
const COLUMN: usize = 40;
const WIDTH: usize = 120;
const INDENT: &str = "    ";

impl Script {
    /// Reads a scenario.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let mut parts = Vec::new();
        for (n, raw) in text.lines().enumerate() {
            let (line, trimmed) = (n + 1, raw.trim_end());
            let error = |why| ScriptError { line, why };
            if trimmed.is_empty() || trimmed.starts_with('#') {
                parts.push(Part::Note(trimmed.to_owned()));
            } else if trimmed.starts_with(char::is_whitespace) {
                let Some(Part::Step(step)) = parts.last_mut() else {
                    return Err(error(
                        "an indented line is the outcome of the command above it; there is none".to_owned(),
                    ));
                };
                step.outcome.push(trimmed.trim_start().to_owned());
            } else {
                parts.push(Part::Step(step(line, trimmed).map_err(error)?));
            }
        }
        Ok(Self { parts })
    }

    /// Its commands, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.parts.iter().filter_map(|part| match part {
            Part::Step(step) => Some(step),
            Part::Note(_) => None,
        })
    }

    /// The comment that it begins with.
    #[must_use]
    pub fn header(&self) -> String {
        let notes = self.parts.iter().map_while(|part| match part {
            Part::Note(text) => text.strip_prefix('#'),
            Part::Step(_) => None,
        });
        notes.map(str::trim).collect::<Vec<_>>().join("\n")
    }

    /// The text with `outcomes` in the place of those recorded, one for each step.
    #[must_use]
    pub fn with(&self, outcomes: &[Vec<String>]) -> String {
        let (mut text, mut outcomes) = (String::new(), outcomes.iter());
        for part in &self.parts {
            match part {
                Part::Note(note) => writeln!(text, "{note}"),
                Part::Step(step) => {
                    let outcome = outcomes.next().unwrap_or(&step.outcome);
                    write!(text, "{}", render(&step.text, outcome))
                }
            }
            .expect("a String takes everything");
        }
        text
    }
}

impl Step {
    /// Is `outcome` what is recorded? Tells the difference.
    ///
    /// # Errors
    /// It is not.
    pub fn compare(&self, outcome: &[String]) -> Result<(), String> {
        if self.outcome == outcome {
            return Ok(());
        }
        let show = |lines: &[String]| match lines {
            [] => "    (nothing)".to_owned(),
            lines => lines.iter().map(|l| format!("    {l}")).collect::<Vec<_>>().join("\n"),
        };
        Err(format!(
            "line {}: {}\n  recorded:\n{}\n  came:\n{}",
            self.line,
            self.text,
            show(&self.outcome),
            show(outcome)
        ))
    }
}

fn step(line: usize, text: &str) -> Result<Step, String> {
    let (text, outcome) = match text.split_once(ARROW) {
        Some((text, outcome)) => (text.trim_end(), vec![outcome.trim().to_owned()]),
        None => (text, Vec::new()),
    };
    Ok(Step { line, text: text.to_owned(), command: Command::parse(text)?, outcome })
}

/// A command with its outcome, as it is written.
#[must_use]
pub fn render(text: &str, outcome: &[String]) -> String {
    match outcome {
        [] => format!("{text}\n"),
        [one] if text.len().max(COLUMN) + ARROW.len() + one.len() <= WIDTH => {
            format!("{text:<width$}{ARROW}{one}\n", width = COLUMN)
        }
        lines => lines.iter().fold(format!("{text}\n"), |all, line| format!("{all}{INDENT}{line}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# A title
# and more.

fleet 2 seed=3
on all
until all new within=5s                  -> new
explain m1
    state: new
    may: commission
";

    #[test]
    fn a_script_is_written_as_it_was_read() {
        let script = Script::parse(TEXT).unwrap();
        assert_eq!(script.header(), "A title\nand more.");
        let outcomes: Vec<_> = script.steps().map(|s| s.outcome.clone()).collect();
        assert_eq!(script.with(&outcomes), TEXT);
        assert_eq!(outcomes[3], ["state: new", "may: commission"]);
        let other = script.with(&[vec![], vec!["x".to_owned()]]);
        assert!(other.contains("\non all                                   -> x\n"), "{other}");
    }

    #[test]
    fn a_long_outcome_goes_below() {
        let long = "x".repeat(90);
        assert_eq!(render("on all", std::slice::from_ref(&long)), format!("on all\n    {long}\n"));
    }

    #[test]
    fn a_difference_is_told() {
        let script = Script::parse(TEXT).unwrap();
        let step = script.steps().nth(2).unwrap();
        assert_eq!(step.compare(&["new".to_owned()]), Ok(()));
        let told = step.compare(&[]).unwrap_err();
        assert_eq!(told, "line 6: until all new within=5s\n  recorded:\n    new\n  came:\n    (nothing)");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        let error = |text: &str| Script::parse(text).unwrap_err().to_string();
        assert_eq!(error("  x"), "line 1: an indented line is the outcome of the command above it; there is none");
        assert!(error("# a\nfly m1").starts_with("line 2: \"fly\" is not one of fleet, site, on, "));
    }
}
