//! What scripts did on machines. Written in the transaction that ends the task, so that a run is told of once.

use std::{fmt, str::FromStr};

use chrono::NaiveDateTime;
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _, SelectableHelper as _, dsl,
    prelude::{Insertable, Queryable, Selectable},
};
use farrier_common::id::{MachineId, TaskId};

use crate::{
    domain::{
        Result,
        script::{self, Run, RunStatus, ScriptKind},
    },
    store::{
        Store, TaskRow, Tx,
        convert::{limit as rows, naive, parse, utc},
        error::{Outcome, StoreError},
        schema::script_results,
    },
};

/// So many runs of each script are kept of each machine.
const KEPT: i64 = 20;

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = script_results)]
struct Row {
    task: String,
    position: i32,
    machine: String,
    boot: String,
    script: String,
    kind: String,
    status: String,
    exit_code: i32,
    output: String,
    started_at: NaiveDateTime,
    finished_at: NaiveDateTime,
}

/// All but the output.
type Brief = (String, String, String, String, i32, NaiveDateTime, NaiveDateTime);

/// Place of a run in the list of a machine's runs, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunKey {
    /// When it ended, in microseconds since 1970.
    pub finished: i64,
    /// By which task.
    pub task: TaskId,
    /// Place in the task.
    pub position: i32,
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.finished, self.task, self.position)
    }
}

impl FromStr for RunKey {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let [finished, task, position] = parts[..] else { return Err("is no place in a list of runs") };
        let bad = "is no place in a list of runs";
        Ok(Self {
            finished: finished.parse().map_err(|_| bad)?,
            task: task.parse().map_err(|_| bad)?,
            position: position.parse().map_err(|_| bad)?,
        })
    }
}

impl TryFrom<Row> for (RunKey, Run) {
    type Error = StoreError;

    fn try_from(row: Row) -> Outcome<Self> {
        let key = RunKey {
            finished: row.finished_at.and_utc().timestamp_micros(),
            task: parse("script_results.task", &row.task)?,
            position: row.position,
        };
        let brief = (row.boot, row.script, row.kind, row.status, row.exit_code, row.started_at, row.finished_at);
        let mut run = brief_run(brief)?;
        run.outcome.output = row.output;
        Ok((key, run))
    }
}

fn brief_run((boot, script, kind, status, exit_code, started_at, finished_at): Brief) -> Outcome<Run> {
    Ok(Run {
        kind: parse::<ScriptKind>("script_results.kind", &kind)?,
        boot: parse("script_results.boot", &boot)?,
        outcome: script::Outcome {
            script: parse("script_results.script", &script)?,
            status: parse::<RunStatus>("script_results.status", &status)?,
            exit_code,
            output: String::new(),
            started_at: utc(started_at),
            finished_at: utc(finished_at),
        },
    })
}

impl Store {
    /// A page of the runs on a machine, newest first, each with its place.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn script_runs(
        &self,
        machine: MachineId,
        after: Option<RunKey>,
        limit: usize,
    ) -> Result<Vec<(RunKey, Run)>> {
        self.read(move |tx| {
            let of = script_results::table.filter(script_results::machine.eq(machine.to_string()));
            let mut page = of
                .order((
                    script_results::finished_at.desc(),
                    script_results::task.desc(),
                    script_results::position.desc(),
                ))
                .limit(rows(limit))
                .into_boxed();
            if let Some(RunKey { finished, task, position }) = after {
                let Some(at) = chrono::DateTime::from_timestamp_micros(finished) else { return Ok(Vec::new()) };
                let (at, task) = (at.naive_utc(), task.to_string());
                page = page.filter(
                    script_results::finished_at.lt(at).or(script_results::finished_at.eq(at).and(
                        script_results::task
                            .lt(task.clone())
                            .or(script_results::task.eq(task).and(script_results::position.lt(position))),
                    )),
                );
            }
            let found: Vec<Row> = page.select(Row::as_select()).load(tx.conn)?;
            found.into_iter().map(TryInto::try_into).collect()
        })
        .await
    }

    /// The newest run of each script on a machine, in order of name, without output.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn script_latest(&self, machine: MachineId) -> Result<Vec<Run>> {
        self.read(move |tx| {
            let found: Vec<Brief> = script_results::table
                .filter(script_results::machine.eq(machine.to_string()))
                .order((
                    script_results::script.asc(),
                    script_results::finished_at.desc(),
                    script_results::task.desc(),
                    script_results::position.desc(),
                ))
                .select((
                    script_results::boot,
                    script_results::script,
                    script_results::kind,
                    script_results::status,
                    script_results::exit_code,
                    script_results::started_at,
                    script_results::finished_at,
                ))
                .load(tx.conn)?;
            let mut latest: Vec<Run> = found.into_iter().map(brief_run).collect::<Outcome<_>>()?;
            latest.dedup_by(|next, kept| next.outcome.script == kept.outcome.script);
            Ok(latest)
        })
        .await
    }
}

/// Keeps what scripts did; forgets the oldest runs of the same scripts on the machine.
pub(in crate::store) fn ran(
    tx: &mut Tx<'_>,
    task: &TaskRow,
    kind: ScriptKind,
    outcomes: Vec<script::Outcome>,
) -> Outcome<()> {
    for (position, outcome) in outcomes.into_iter().enumerate() {
        let row = Row {
            task: task.id.to_string(),
            position: i32::try_from(position).unwrap_or(i32::MAX),
            machine: task.machine.to_string(),
            boot: task.boot.to_string(),
            script: outcome.script.to_string(),
            kind: kind.to_string(),
            status: outcome.status.to_string(),
            exit_code: outcome.exit_code,
            output: outcome.output,
            started_at: naive(outcome.started_at),
            finished_at: naive(outcome.finished_at),
        };
        let (machine, script) = (row.machine.clone(), row.script.clone());
        diesel::insert_into(script_results::table).values(row).execute(tx.conn)?;
        forget(tx, &machine, &script)?;
    }
    Ok(())
}

fn forget(tx: &mut Tx<'_>, machine: &str, script: &str) -> Outcome<()> {
    let of =
        || script_results::table.filter(script_results::machine.eq(machine)).filter(script_results::script.eq(script));
    let count: i64 = of().select(dsl::count_star()).first(tx.conn)?;
    if count <= KEPT {
        return Ok(());
    }
    let old: Vec<(String, i32)> = of()
        .order((script_results::finished_at.asc(), script_results::task.asc(), script_results::position.asc()))
        .limit(count - KEPT)
        .select((script_results::task, script_results::position))
        .load(tx.conn)?;
    for key in old {
        diesel::delete(script_results::table.find(key)).execute(tx.conn)?;
    }
    Ok(())
}
