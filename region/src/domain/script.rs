//! Scripts that the agent runs in the ephemeral environment: what may be chosen, and what came of a run.

use std::fmt;

use farrier_common::{clock::Timestamp, id::ScriptId, name::Name, words};

use super::{Error, Result, machine::CommissionWishes};

words! {
    /// When a script runs.
    ScriptKind {
        /// After the inventory.
        Commissioning = "commissioning",
        /// In testing.
        Test = "test",
    }
}

words! {
    /// How a run ended.
    RunStatus {
        /// Exit code 0.
        Passed = "passed",
        /// Another exit code.
        Failed = "failed",
        /// It was ended because its time was over.
        TimedOut = "timed-out",
        /// The machine lacks what it is for.
        Skipped = "skipped",
    }
}

/// The largest script.
pub const MOST_CONTENT: usize = 256 << 10;
/// The longest time that a script may take, in seconds.
pub const MOST_SECONDS: u32 = 86_400;
/// How long a script may take unless told otherwise, in seconds.
pub const DEFAULT_SECONDS: u32 = 600;
/// So many scripts, and so many tests, may be chosen at once.
pub const MOST_CHOSEN: usize = 16;
/// What is chosen at once has at most so much content: it goes to the agent in one message.
pub const MOST_TOGETHER: usize = 2 << 20;
/// So much of a script's output is kept: its end.
pub const MOST_OUTPUT: usize = 64 << 10;
/// Chosen alone, it means no tests, also where the configuration has some.
pub const NO_TESTS: &str = "none";

/// A script that somebody made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Never changes.
    pub id: ScriptId,
    /// Unique.
    pub name: Name,
    /// When it runs.
    pub kind: ScriptKind,
    /// With a #! line.
    pub content: String,
    /// How long it may take.
    pub timeout_seconds: u32,
    /// Free text.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A test that the agent brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// As it is chosen.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// How long it may take; the agent's own bounds are narrower.
    pub timeout_seconds: u32,
}

/// The tests that the agent brings along, in the order in which they run if none are named.
pub const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: "cpu",
        description: "all processors compute something whose result is known, for some seconds",
        timeout_seconds: 120,
    },
    BuiltIn {
        name: "memory",
        description: "half of the free memory is written with patterns and read back, within half a minute",
        timeout_seconds: 180,
    },
    BuiltIn {
        name: "disk-read",
        description: "samples of each disk are read, and the kernel's error state is looked at; nothing is written",
        timeout_seconds: 300,
    },
    BuiltIn {
        name: "network",
        description: "the interface that the machine booted from has a link, and the rack answers",
        timeout_seconds: 60,
    },
];

/// The built-in test of that name.
#[must_use]
pub fn built_in(name: &str) -> Option<&'static BuiltIn> {
    BUILT_IN.iter().find(|b| b.name == name)
}

/// What is known of a script that somebody named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: Name,
    /// When it runs.
    pub kind: ScriptKind,
    /// Bytes.
    pub size: usize,
}

/// What somebody chose for a commissioning, by names that are not looked up yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Commissioning scripts, in this order.
    pub scripts: Vec<String>,
    /// Tests; empty: those of the configuration; [`NO_TESTS`] alone: none.
    pub tests: Vec<String>,
    /// Keep the declared storage layout.
    pub keep_storage: bool,
    /// Keep the declared network layout.
    pub keep_network: bool,
    /// Leave the machine on with SSH.
    pub stay_up: bool,
}

impl Chosen {
    /// The wishes, once every name is that of a script of the right kind. `known`: what is there of those names.
    ///
    /// # Errors
    /// Names the first one that cannot be chosen.
    pub fn resolve(&self, known: &[Known], default_tests: &[Name]) -> Result<CommissionWishes> {
        let tests = match self.tests.as_slice() {
            [one] if one == NO_TESTS => Vec::new(),
            [] => defaults(known, default_tests)?,
            given => names("commission.tests", ScriptKind::Test, given, known)?,
        };
        if self.stay_up && !tests.is_empty() {
            let why = "a machine stays up after commissioning without tests: choose no tests (`none`), or leave it out";
            return Err(Error::invalid("commission.stay_up", why));
        }
        Ok(CommissionWishes {
            scripts: names("commission.scripts", ScriptKind::Commissioning, &self.scripts, known)?,
            tests,
            keep_storage: self.keep_storage,
            keep_network: self.keep_network,
            stay_up: self.stay_up,
        })
    }
}

/// The tests that are to be run: the named ones, or with no names all built-in ones.
///
/// # Errors
/// Names the first one that is no test.
pub fn tests(given: &[String], known: &[Known]) -> Result<Vec<Name>> {
    if given.is_empty() {
        return BUILT_IN
            .iter()
            .map(|b| b.name.parse().map_err(|e| Error::Internal(format!("{}: {e}", b.name))))
            .collect();
    }
    names("tests", ScriptKind::Test, given, known)
}

fn defaults(known: &[Known], names: &[Name]) -> Result<Vec<Name>> {
    let is_test =
        |n: &Name| built_in(n.as_str()).is_some() || known.iter().any(|k| k.name == *n && k.kind == ScriptKind::Test);
    match names.iter().find(|n| !is_test(n)) {
        None => Ok(names.to_vec()),
        Some(missing) => Err(Error::Precondition(format!(
            "default_tests of the region's configuration names \"{missing}\", and there is no such test; make it, or say which \
             tests to run"
        ))),
    }
}

fn names(field: &str, kind: ScriptKind, given: &[String], known: &[Known]) -> Result<Vec<Name>> {
    if given.len() > MOST_CHOSEN {
        return Err(Error::invalid(field, format!("at most {MOST_CHOSEN} at once")));
    }
    let mut all: Vec<Name> = Vec::with_capacity(given.len());
    let mut size = 0;
    for (place, text) in given.iter().enumerate() {
        let field = format!("{field}[{place}]");
        let name: Name = text.parse().map_err(|e| Error::invalid(&field, e))?;
        if all.contains(&name) {
            return Err(Error::invalid(field, format!("{name} is given twice")));
        }
        size += match (built_in(name.as_str()), known.iter().find(|k| k.name == name)) {
            (Some(_), _) if kind == ScriptKind::Test => 0,
            (Some(_), _) => return Err(Error::invalid(field, format!("{name} is a test, not a commissioning script"))),
            (None, Some(script)) if script.kind == kind => script.size,
            (None, Some(script)) => {
                return Err(Error::invalid(field, format!("{name} is of kind {}, not {kind}", script.kind)));
            }
            (None, None) => return Err(Error::invalid(field, format!("there is no script \"{name}\""))),
        };
        all.push(name);
    }
    if size > MOST_TOGETHER {
        let why = format!("the scripts have {size} bytes together; at most {MOST_TOGETHER} go to a machine at once");
        return Err(Error::invalid(field, why));
    }
    Ok(all)
}

/// What came of one run of one script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which.
    pub script: Name,
    /// How it ended.
    pub status: RunStatus,
    /// 128 + N when ended by signal N.
    pub exit_code: i32,
    /// Both streams. Empty where only the verdict matters.
    pub output: String,
    /// When it began, by the machine's clock.
    pub started_at: Timestamp,
    /// When it ended, by the machine's clock.
    pub finished_at: Timestamp,
}

impl Outcome {
    /// May the machine go on after it?
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self.status, RunStatus::Passed | RunStatus::Skipped)
    }
}

/// As a reason tells of it: `memory (exit code 1)`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { script, exit_code, .. } = self;
        match self.status {
            RunStatus::Failed => write!(f, "{script} (exit code {exit_code})"),
            status @ (RunStatus::Passed | RunStatus::TimedOut | RunStatus::Skipped) => write!(f, "{script} ({status})"),
        }
    }
}

/// One run of one script on a machine, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// When the script runs.
    pub kind: ScriptKind,
    /// In which boot of the machine.
    pub boot: farrier_common::id::BootId,
    /// What came of it.
    pub outcome: Outcome,
}

/// May the machine go on, and what is told of it.
///
/// # Errors
/// It must not, and which failed.
pub fn verdict(kind: ScriptKind, outcomes: &[Outcome]) -> std::result::Result<String, String> {
    let failed: Vec<String> = outcomes.iter().filter(|o| !o.is_good()).map(ToString::to_string).collect();
    let what = match kind {
        ScriptKind::Commissioning => "commissioning scripts",
        ScriptKind::Test => "tests",
    };
    if !failed.is_empty() {
        return Err(format!("{} of {} {what} failed: {}", failed.len(), outcomes.len(), failed.join(", ")));
    }
    let passed = outcomes.iter().filter(|o| o.status == RunStatus::Passed).count();
    let skipped = outcomes.len() - passed;
    let rest = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    Ok(format!("{passed} of {} {what} passed{rest}", outcomes.len()))
}

#[cfg(test)]
mod tests;
