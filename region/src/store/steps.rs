//! Boot steps, as racks see them on the wire, and the timeline of a machine.

use chrono::NaiveDateTime;
use diesel::{
    ExpressionMethods as _, OptionalExtension, QueryDsl as _, RunQueryDsl as _, SelectableHelper as _,
    prelude::{Queryable, Selectable},
    sql_types,
};
use farrier_common::{
    clock::Timestamp,
    id::{BootId, MachineId},
    net::MacAddr,
};
use uuid::Uuid;

use crate::domain::{
    Result,
    boot_stages::{Mark, of_step},
    event::{EventKind, LoggedEvent},
};

use super::{
    Store, Tx, boots,
    convert::{limit as rows, naive, parse, parse_option, utc},
    error::{Outcome, StoreError},
    events, machines,
    schema::{boot_steps, machines as machine_rows},
    tasks,
};

/// Of one boot; a machine that boots in circles makes more than anybody wants to see.
const MOST_STEPS: i64 = 1000;

/// One thing that a machine did with its rack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRow {
    /// Made by the rack; a repeated step is kept once.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Of which interface.
    pub mac: MacAddr,
    /// Of which machine; found by the MAC if the rack does not know it.
    pub machine: Option<MachineId>,
    /// Of which boot.
    pub boot: Option<BootId>,
    /// dhcp, tftp, http, kernel, agent, os.
    pub kind: String,
    /// For people.
    pub text: String,
}

/// One thing that happened to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineRow {
    /// When.
    pub at: Timestamp,
    /// Kind of the boot step or event, or `task`.
    pub kind: String,
    /// For people.
    pub text: String,
    /// The boot that it belongs to.
    pub boot: Option<BootId>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = boot_steps)]
struct Row {
    id: String,
    at: NaiveDateTime,
    mac: String,
    machine: Option<String>,
    boot: Option<String>,
    kind: String,
    text: String,
}

impl TryFrom<Row> for StepRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Outcome<Self> {
        Ok(Self {
            id: parse("boot_steps.id", &row.id)?,
            at: utc(row.at),
            mac: parse("boot_steps.mac", &row.mac)?,
            machine: parse_option("boot_steps.machine", row.machine.as_deref())?,
            boot: parse_option("boot_steps.boot", row.boot.as_deref())?,
            kind: row.kind,
            text: row.text,
        })
    }
}

impl Store {
    /// Keeps steps; those that are known already are left as they are.
    ///
    /// # Errors
    /// The database does not answer; nothing is kept.
    pub async fn steps_put(&self, steps: Vec<StepRow>) -> Result<()> {
        self.write(move |tx| steps.into_iter().try_for_each(|step| put(tx, &step))).await
    }

    /// The newest steps of a machine, in order of time.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn steps_of(&self, machine: MachineId, limit: usize) -> Result<Vec<StepRow>> {
        self.read(move |tx| {
            let mut found = newest(tx, machine, limit)?;
            found.reverse();
            Ok(found)
        })
        .await
    }

    /// Forgets the steps from before; tells how many.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn steps_prune(&self, before: Timestamp) -> Result<usize> {
        self.write(move |tx| {
            let old = boot_steps::table.filter(boot_steps::at.lt(naive(before)));
            Ok(diesel::delete(old).execute(tx.conn)?)
        })
        .await
    }

    /// What is known of one boot: when it was made, its steps, its tasks and when its system phoned home.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn boot_marks(&self, boot: BootId) -> Result<Vec<Mark>> {
        self.read(move |tx| {
            let Some(row) = boots::get(tx, boot)? else { return Ok(Vec::new()) };
            let mark = |at, stage: &str, ends| Mark { at, stage: stage.to_owned(), ends };
            let mut marks = vec![mark(row.created_at, "power", false)];
            marks.extend(row.hello_at.map(|at| mark(at, "agent", false)));
            marks.extend(row.phoned_home_at.map(|at| mark(at, "os", true)));
            let of = boot_steps::table.filter(boot_steps::boot.eq(boot.to_string()));
            let steps: Vec<Row> =
                of.order(boot_steps::at.desc()).limit(MOST_STEPS).select(Row::as_select()).load(tx.conn)?;
            marks.extend(steps.iter().map(|s| mark(utc(s.at), of_step(&s.kind, &s.text), false)));
            for (kind, began, ended) in tasks::times(tx, boot)? {
                marks.extend(began.map(|at| mark(at, kind.as_str(), false)));
                marks.extend(ended.map(|at| mark(at, kind.as_str(), true)));
            }
            Ok(marks)
        })
        .await
    }

    /// The newest of what happened to a machine (events, boot steps, tasks), in order of time.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn machine_timeline(&self, machine: MachineId, limit: usize) -> Result<Vec<TimelineRow>> {
        self.read(move |tx| {
            // Each source is turned to oldest first, so that the stable sort keeps its order within equal times.
            let mut all: Vec<TimelineRow> = events::newest(tx, machine, limit)?.into_iter().rev().map(told).collect();
            all.extend(newest(tx, machine, limit)?.into_iter().rev().map(seen));
            all.extend(tasks::timeline(tx, machine, limit)?);
            all.sort_by_key(|entry| entry.at);
            all.drain(..all.len().saturating_sub(limit));
            Ok(all)
        })
        .await
    }
}

fn newest(tx: &mut Tx<'_>, machine: MachineId, limit: usize) -> Outcome<Vec<StepRow>> {
    let of = boot_steps::table.filter(boot_steps::machine.eq(machine.to_string()));
    let newest = of.order((boot_steps::at.desc(), boot_steps::id.desc())).limit(rows(limit));
    newest.select(Row::as_select()).load(tx.conn)?.into_iter().map(TryInto::try_into).collect()
}

fn put(tx: &mut Tx<'_>, step: &StepRow) -> Outcome<()> {
    let known = step.machine.map(|m| machine_rows::table.find(m.to_string()).select(machine_rows::id).first(tx.conn));
    let known: Option<String> = known.map(OptionalExtension::optional).transpose()?.flatten();
    let machine = match known {
        Some(id) => Some(id),
        None => machines::by_mac(tx, step.mac)?.map(|id| id.to_string()),
    };
    diesel::sql_query(
        "INSERT INTO boot_steps (id, at, mac, machine, boot, kind, text) VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT DO NOTHING",
    )
    .bind::<sql_types::Text, _>(step.id.to_string())
    .bind::<sql_types::Timestamp, _>(naive(step.at))
    .bind::<sql_types::Text, _>(step.mac.to_string())
    .bind::<sql_types::Nullable<sql_types::Text>, _>(machine)
    .bind::<sql_types::Nullable<sql_types::Text>, _>(step.boot.map(|b| b.to_string()))
    .bind::<sql_types::Text, _>(&step.kind)
    .bind::<sql_types::Text, _>(&step.text)
    .execute(tx.conn)?;
    Ok(())
}

fn seen(step: StepRow) -> TimelineRow {
    TimelineRow { at: step.at, kind: step.kind, text: step.text, boot: step.boot }
}

fn told(event: LoggedEvent) -> TimelineRow {
    let body = event.body;
    let what = match body.kind {
        EventKind::Transition => match (body.from, body.to) {
            (Some(from), Some(to)) => format!("{from} → {to}"),
            (None, Some(to)) => to.to_string(),
            (_, None) => String::new(),
        },
        EventKind::Phase => body.phase.map(|p| p.to_string()).unwrap_or_default(),
        EventKind::Power
        | EventKind::Erase
        | EventKind::Bmc
        | EventKind::Rack
        | EventKind::Image
        | EventKind::Subnet
        | EventKind::User => String::new(),
    };
    let parts = [what, body.reason];
    let text = parts.iter().filter(|p| !p.is_empty()).map(String::as_str).collect::<Vec<_>>().join(": ");
    TimelineRow { at: event.at, kind: body.kind.to_string(), text, boot: None }
}
