//! Tasks: what the agent of a boot is told to do, and what it reports.

use std::net::Ipv4Addr;

use chrono::NaiveDateTime;
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SelectableHelper as _, dsl,
    prelude::{Queryable, Selectable},
};
use farrier_common::{
    clock::Timestamp,
    id::{BootId, MachineId, TaskId},
};
use serde::{Deserialize, Serialize};

use crate::domain::{
    Result,
    machine::{DiskErasure, Hardware, Interface},
    observation::{TaskKind, TaskResult, TaskStatus},
    script::{self, ScriptKind},
};

use super::{
    Store, TimelineRow, Tx,
    convert::{limit as rows, naive, parse, utc},
    error::{Outcome, StoreError, misuse},
    machines::wake,
    schema::tasks,
    scripts,
};

const PENDING: &str = "pending";
const RUNNING: &str = "running";
const DONE: &str = "done";
const FAILED: &str = "failed";

/// A task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRow {
    /// Its id.
    pub id: TaskId,
    /// Of which boot.
    pub boot: BootId,
    /// Of which machine.
    pub machine: MachineId,
    /// What to do.
    pub kind: TaskKind,
    /// How far it is.
    pub status: TaskStatus,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = tasks)]
struct Row {
    id: String,
    boot: String,
    machine: String,
    kind: String,
    status: String,
    text: String,
    result: Option<String>,
}

/// A result as it is kept.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
enum Kept {
    Inventory { hardware: Box<Hardware>, interfaces: Vec<KeptInterface> },
    WriteImage { text: String },
    Erase { disks: Vec<DiskErasure> },
    PowerOff,
    RunScripts { script_kind: String, ran: Vec<KeptRun> },
    OpenSsh { address: String, host_key: String },
    BmcAccount { username: String, address: Ipv4Addr },
}

/// The verdict alone: the output is in `script_results`.
#[derive(Deserialize, Serialize)]
struct KeptRun {
    script: String,
    status: String,
    exit_code: i32,
    started_at: Timestamp,
    finished_at: Timestamp,
}

#[derive(Deserialize, Serialize)]
struct KeptInterface {
    mac: String,
    address: Option<Ipv4Addr>,
}

impl From<TaskResult> for Kept {
    fn from(result: TaskResult) -> Self {
        match result {
            TaskResult::Inventory { hardware, interfaces } => {
                let each = interfaces.iter().map(|i| KeptInterface { mac: i.mac.to_string(), address: i.address });
                Self::Inventory { hardware, interfaces: each.collect() }
            }
            TaskResult::WriteImage { text } => Self::WriteImage { text },
            TaskResult::Erase(disks) => Self::Erase { disks },
            TaskResult::PowerOff => Self::PowerOff,
            TaskResult::RunScripts { kind, outcomes } => {
                Self::RunScripts { script_kind: kind.to_string(), ran: outcomes.into_iter().map(Into::into).collect() }
            }
            TaskResult::OpenSsh { address, host_key } => Self::OpenSsh { address, host_key },
            TaskResult::BmcAccount { username, address } => Self::BmcAccount { username, address },
        }
    }
}

impl TryFrom<Kept> for TaskResult {
    type Error = StoreError;

    fn try_from(kept: Kept) -> Outcome<Self> {
        Ok(match kept {
            Kept::Inventory { hardware, interfaces } => {
                let each = interfaces
                    .iter()
                    .map(|i| Ok(Interface { mac: parse("tasks.result", &i.mac)?, address: i.address }));
                Self::Inventory { hardware, interfaces: each.collect::<Outcome<_>>()? }
            }
            Kept::WriteImage { text } => Self::WriteImage { text },
            Kept::Erase { disks } => Self::Erase(disks),
            Kept::PowerOff => Self::PowerOff,
            Kept::OpenSsh { address, host_key } => Self::OpenSsh { address, host_key },
            Kept::BmcAccount { username, address } => Self::BmcAccount { username, address },
            Kept::RunScripts { script_kind, ran } => Self::RunScripts {
                kind: parse("tasks.result", &script_kind)?,
                outcomes: ran.into_iter().map(TryInto::try_into).collect::<Outcome<_>>()?,
            },
        })
    }
}

impl From<script::Outcome> for KeptRun {
    fn from(run: script::Outcome) -> Self {
        Self {
            script: run.script.to_string(),
            status: run.status.to_string(),
            exit_code: run.exit_code,
            started_at: run.started_at,
            finished_at: run.finished_at,
        }
    }
}

impl TryFrom<KeptRun> for script::Outcome {
    type Error = StoreError;

    fn try_from(run: KeptRun) -> Outcome<Self> {
        Ok(Self {
            script: parse("tasks.result", &run.script)?,
            status: parse("tasks.result", &run.status)?,
            exit_code: run.exit_code,
            output: String::new(),
            started_at: run.started_at,
            finished_at: run.finished_at,
        })
    }
}

impl TryFrom<Row> for TaskRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Outcome<Self> {
        let corrupt = |why: String| StoreError::Corrupt { column: "tasks.status", value: row.status.clone(), why };
        let status = match row.status.as_str() {
            PENDING => TaskStatus::Pending,
            RUNNING => TaskStatus::Running(row.text),
            FAILED => TaskStatus::Failed(row.text),
            DONE => {
                let text = row.result.as_deref().ok_or_else(|| corrupt("there is no result".to_owned()))?;
                let kept: Kept = serde_json::from_str(text).map_err(|e| corrupt(e.to_string()))?;
                TaskStatus::Done(kept.try_into()?)
            }
            _ => return Err(corrupt("is no status".to_owned())),
        };
        Ok(Self {
            id: parse("tasks.id", &row.id)?,
            boot: parse("tasks.boot", &row.boot)?,
            machine: parse("tasks.machine", &row.machine)?,
            kind: parse("tasks.kind", &row.kind)?,
            status,
        })
    }
}

impl Store {
    /// The newest task of a boot.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn task_current(&self, boot: BootId) -> Result<Option<TaskRow>> {
        self.read(move |tx| {
            let of = tasks::table.filter(tasks::boot.eq(boot.to_string())).order(tasks::number.desc());
            let row = of.select(Row::as_select()).first(tx.conn).optional()?;
            row.map(TryInto::try_into).transpose()
        })
        .await
    }

    /// The task of that id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn task_get(&self, id: TaskId) -> Result<Option<TaskRow>> {
        self.read(move |tx| get(tx, id)).await
    }

    /// The agent has fetched the task. One that runs or has ended is left alone.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn task_started(&self, id: TaskId) -> Result<()> {
        self.write(move |tx| start(tx, id)).await
    }

    /// How far the task is. One that has ended is left alone.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn task_progress(&self, id: TaskId, text: &str) -> Result<()> {
        let text = text.to_owned();
        self.write(move |tx| {
            start(tx, id)?;
            diesel::update(tasks::table.find(id.to_string()).filter(tasks::status.eq(RUNNING)))
                .set(tasks::text.eq(text))
                .execute(tx.conn)?;
            Ok(())
        })
        .await
    }

    /// The task has ended, and the machine is woken. The first end counts; tells whether it was this one.
    ///
    /// # Errors
    /// The status is no end.
    pub async fn task_finish(&self, id: TaskId, status: TaskStatus) -> Result<bool> {
        let (word, text, result, ran) = match status {
            TaskStatus::Done(result) => {
                let ran = ran(&result);
                (DONE, String::new(), Some(encode(result)?), ran)
            }
            TaskStatus::Failed(why) => (FAILED, why, None, None),
            TaskStatus::Pending | TaskStatus::Running(_) => {
                return Err(misuse(format!("task {id} cannot end by pending or running")).into());
            }
        };
        self.write(move |tx| {
            start(tx, id)?;
            let ended = diesel::update(tasks::table.find(id.to_string()).filter(tasks::status.eq(RUNNING)))
                .set((
                    tasks::status.eq(word),
                    tasks::text.eq(text),
                    tasks::result.eq(result),
                    tasks::finished_at.eq(naive(tx.now)),
                ))
                .execute(tx.conn)?;
            if ended == 1
                && let Some(task) = get(tx, id)?
            {
                if let Some((kind, outcomes)) = ran {
                    scripts::ran(tx, &task, kind, outcomes)?;
                }
                wake(tx, task.machine)?;
            }
            Ok(ended == 1)
        })
        .await
    }
}

/// What scripts did, with their output.
fn ran(result: &TaskResult) -> Option<(ScriptKind, Vec<script::Outcome>)> {
    match result {
        TaskResult::RunScripts { kind, outcomes } => Some((*kind, outcomes.clone())),
        TaskResult::Inventory { .. }
        | TaskResult::WriteImage { .. }
        | TaskResult::Erase(_)
        | TaskResult::OpenSsh { .. }
        | TaskResult::BmcAccount { .. }
        | TaskResult::PowerOff => None,
    }
}

/// A task that is reported on has been fetched, whatever became of the report of that.
fn start(tx: &mut Tx<'_>, id: TaskId) -> Outcome<()> {
    diesel::update(tasks::table.find(id.to_string()).filter(tasks::status.eq(PENDING)))
        .set((tasks::status.eq(RUNNING), tasks::started_at.eq(naive(tx.now))))
        .execute(tx.conn)?;
    Ok(())
}

fn encode(result: TaskResult) -> Outcome<String> {
    serde_json::to_string(&Kept::from(result)).map_err(|e| misuse(format!("a task's result cannot be kept: {e}")))
}

fn get(tx: &mut Tx<'_>, id: TaskId) -> Outcome<Option<TaskRow>> {
    let row = tasks::table.find(id.to_string()).select(Row::as_select()).first(tx.conn).optional()?;
    row.map(TryInto::try_into).transpose()
}

/// Makes a task, after all others of the boot. The caller holds the machine's row, so numbers cannot clash.
pub(super) fn insert(tx: &mut Tx<'_>, machine: MachineId, boot: BootId, kind: TaskKind) -> Outcome<()> {
    let last: Option<i32> =
        tasks::table.filter(tasks::boot.eq(boot.to_string())).select(dsl::max(tasks::number)).first(tx.conn)?;
    diesel::insert_into(tasks::table)
        .values((
            tasks::id.eq(TaskId::generate().to_string()),
            tasks::boot.eq(boot.to_string()),
            tasks::machine.eq(machine.to_string()),
            tasks::number.eq(last.unwrap_or(0) + 1),
            tasks::kind.eq(kind.as_str()),
            tasks::status.eq(PENDING),
            tasks::text.eq(""),
            tasks::created_at.eq(naive(tx.now)),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// What a task was, when it began and when it ended.
pub(super) type TaskTimes = (TaskKind, Option<Timestamp>, Option<Timestamp>);

/// Begin and end of the tasks of a boot, in their order.
pub(super) fn times(tx: &mut Tx<'_>, boot: BootId) -> Outcome<Vec<TaskTimes>> {
    type Times = (String, Option<NaiveDateTime>, Option<NaiveDateTime>);
    let of = tasks::table.filter(tasks::boot.eq(boot.to_string())).order(tasks::number.asc());
    let found: Vec<Times> = of.select((tasks::kind, tasks::started_at, tasks::finished_at)).load(tx.conn)?;
    let each =
        found.into_iter().map(|(kind, began, ended)| Ok((parse("tasks.kind", &kind)?, began.map(utc), ended.map(utc))));
    each.collect()
}

/// Begin and end of the machine's newest tasks, in order of time.
pub(super) fn timeline(tx: &mut Tx<'_>, machine: MachineId, limit: usize) -> Outcome<Vec<TimelineRow>> {
    type Times = (Option<NaiveDateTime>, Option<NaiveDateTime>);
    let of = tasks::table.filter(tasks::machine.eq(machine.to_string()));
    let newest = of.order((tasks::created_at.desc(), tasks::number.desc())).limit(rows(limit));
    let mut found: Vec<(Row, Times)> =
        newest.select((Row::as_select(), (tasks::started_at, tasks::finished_at))).load(tx.conn)?;
    found.reverse();
    let mut all = Vec::with_capacity(2 * found.len());
    for (row, (started, finished)) in found {
        let task = TaskRow::try_from(row)?;
        let entry =
            |at: NaiveDateTime, text| TimelineRow { at: utc(at), kind: "task".to_owned(), text, boot: Some(task.boot) };
        all.extend(started.map(|at| entry(at, format!("{} begins", task.kind))));
        all.extend(finished.map(|at| entry(at, format!("{} {}", task.kind, ended(&task.status)))));
    }
    Ok(all)
}

fn ended(status: &TaskStatus) -> String {
    match status {
        TaskStatus::Done(TaskResult::WriteImage { text }) => format!("is done: {text}"),
        TaskStatus::Done(TaskResult::Erase(disks)) => format!("is done: disks wiped: {}", disks.len()),
        TaskStatus::Done(TaskResult::RunScripts { kind, outcomes }) => {
            format!("is done: {}", script::verdict(*kind, outcomes).unwrap_or_else(|failed| failed))
        }
        TaskStatus::Done(TaskResult::BmcAccount { username, address }) => {
            format!("is done: the BMC at {address} has the account {username:?}")
        }
        TaskStatus::Done(TaskResult::OpenSsh { address, .. }) => format!("is done: people can log in at {address}"),
        TaskStatus::Done(TaskResult::Inventory { .. } | TaskResult::PowerOff) => "is done".to_owned(),
        TaskStatus::Failed(why) => format!("failed: {why}"),
        TaskStatus::Pending | TaskStatus::Running(_) => "goes on".to_owned(),
    }
}
