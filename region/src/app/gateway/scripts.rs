//! Scripts for agents: what is handed out, and what is made of what they tell.

use chrono::TimeDelta;
use farrier_common::{clock::Timestamp, name::Name};

use crate::{
    app::App,
    domain::{
        Result,
        lifecycle::Phase,
        machine::Machine,
        observation::{TaskResult, TaskStatus},
        script::{MOST_OUTPUT, MOST_TOGETHER, Outcome, RunStatus, Script, ScriptKind, built_in},
    },
};

/// A machine's clock that is further off is not believed.
const MOST_SKEW: TimeDelta = TimeDelta::seconds(60);

/// A script for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToRun {
    /// Its name.
    pub name: Name,
    /// Empty: the agent's own.
    pub content: String,
    /// How long it may take.
    pub timeout_seconds: u32,
}

/// What an agent tells of one script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which.
    pub name: String,
    /// How it ended.
    pub status: RunStatus,
    /// 128 + N when ended by signal N.
    pub exit_code: i32,
    /// Both streams.
    pub output: String,
    /// When it began, by the machine's clock.
    pub started_at: Timestamp,
    /// When it ended, by the machine's clock.
    pub finished_at: Timestamp,
}

/// What the machine is to run now, and what for.
fn chosen(m: &Machine) -> (ScriptKind, &[Name]) {
    if m.work.phase == Some(Phase::Scripts) {
        (ScriptKind::Commissioning, &m.details.commission.scripts)
    } else {
        (ScriptKind::Test, &m.details.commission.tests)
    }
}

impl App {
    /// The scripts that a machine is to run, as they are now; or why they cannot be run.
    pub(super) async fn scripts_to_run(&self, m: &Machine) -> Result<std::result::Result<Vec<ToRun>, String>> {
        let (kind, names) = chosen(m);
        let made = self.store.scripts_named(names.iter().map(ToString::to_string).collect()).await?;
        Ok(to_run(kind, names, &made))
    }

    /// What the agent's account of the scripts makes of its task.
    pub(super) fn ran(&self, m: &Machine, told: Vec<Told>) -> TaskStatus {
        let (kind, names) = chosen(m);
        if told.iter().map(|t| t.name.as_str()).ne(names.iter().map(Name::as_str)) {
            return TaskStatus::Failed("the agent does not tell of the scripts that it was given".to_owned());
        }
        let by = skew(&told, self.clock.now());
        let outcomes = told.into_iter().zip(names).map(|(told, name)| Outcome {
            script: name.clone(),
            status: told.status,
            exit_code: told.exit_code,
            output: cleaned(&told.output),
            started_at: told.started_at.checked_add_signed(by).unwrap_or(told.started_at),
            finished_at: told.finished_at.checked_add_signed(by).unwrap_or(told.finished_at),
        });
        TaskStatus::Done(TaskResult::RunScripts { kind, outcomes: outcomes.collect() })
    }
}

fn to_run(kind: ScriptKind, names: &[Name], made: &[Script]) -> std::result::Result<Vec<ToRun>, String> {
    let one = |name: &Name| match (built_in(name.as_str()), made.iter().find(|s| s.name == *name)) {
        (Some(b), _) => Ok(ToRun { name: name.clone(), content: String::new(), timeout_seconds: b.timeout_seconds }),
        (None, Some(s)) if s.kind == kind => {
            Ok(ToRun { name: name.clone(), content: s.content.clone(), timeout_seconds: s.timeout_seconds })
        }
        (None, Some(s)) => Err(format!("the script {name} is of kind {} now, not {kind}", s.kind)),
        (None, None) => Err(format!("the script {name} is no longer there")),
    };
    let all = names.iter().map(one).collect::<std::result::Result<Vec<_>, _>>()?;
    match all.iter().map(|s| s.content.len()).sum::<usize>() {
        size if size > MOST_TOGETHER => {
            Err(format!("the scripts have {size} bytes together now; at most {MOST_TOGETHER} fit"))
        }
        _ => Ok(all),
    }
}

/// By how much the machine's clock is behind: the last script has just ended.
fn skew(told: &[Told], now: Timestamp) -> TimeDelta {
    let last = told.iter().map(|t| t.finished_at).max().unwrap_or(now);
    let by = now - last;
    if by.abs() > MOST_SKEW { by } else { TimeDelta::zero() }
}

/// The end of what a script wrote, without control characters but for line ends and tabs.
fn cleaned(output: &str) -> String {
    let kept: String = output.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    let mut from = kept.len().saturating_sub(MOST_OUTPUT);
    while !kept.is_char_boundary(from) {
        from += 1;
    }
    kept.get(from..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at;

    fn script(name: &str, kind: ScriptKind, size: usize) -> Script {
        Script {
            id: farrier_common::id::ScriptId::generate(),
            name: name.parse().unwrap(),
            kind,
            content: "x".repeat(size),
            timeout_seconds: 7,
            description: String::new(),
            created_at: at(0),
        }
    }

    #[test]
    fn what_is_handed_out_is_what_is_there_now() {
        let names: Vec<Name> = vec!["cpu".parse().unwrap(), "burn-in".parse().unwrap()];
        let with = |made: &[Script]| to_run(ScriptKind::Test, &names, made);
        let both = with(&[script("burn-in", ScriptKind::Test, 3)]).unwrap();
        let seen: Vec<_> = both.iter().map(|s| (s.name.as_str(), s.content.as_str(), s.timeout_seconds)).collect();
        assert_eq!(seen, [("cpu", "", 120), ("burn-in", "xxx", 7)]);
        assert_eq!(with(&[]).unwrap_err(), "the script burn-in is no longer there");
        let other = with(&[script("burn-in", ScriptKind::Commissioning, 3)]).unwrap_err();
        assert_eq!(other, "the script burn-in is of kind commissioning now, not test");
        assert!(with(&[script("burn-in", ScriptKind::Test, MOST_TOGETHER + 1)]).is_err());
    }

    #[test]
    fn output_is_cut_and_cleaned() {
        assert_eq!(cleaned("a\u{1b}[31mb\r\n\tc\0"), "a[31mb\n\tc");
        let long = format!("{}ä{}", "x".repeat(10), "y".repeat(MOST_OUTPUT - 1));
        assert_eq!(cleaned(&long).len(), MOST_OUTPUT - 1, "no half a letter");
    }

    #[test]
    fn a_clock_that_is_far_off_is_not_believed() {
        let told = |finished| Told {
            name: "cpu".to_owned(),
            status: RunStatus::Passed,
            exit_code: 0,
            output: String::new(),
            started_at: at(finished - 5),
            finished_at: at(finished),
        };
        assert_eq!(skew(&[told(100)], at(130)), TimeDelta::zero());
        assert_eq!(skew(&[told(-9000), told(-8990)], at(10)), TimeDelta::seconds(9000));
        assert_eq!(skew(&[told(9000)], at(0)), TimeDelta::seconds(-9000));
    }
}
