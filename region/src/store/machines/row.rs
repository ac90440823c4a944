//! Rows of machines and their interfaces.

use std::collections::BTreeSet;

use chrono::NaiveDateTime;
use diesel::prelude::{AsChangeset, Insertable, Queryable, Selectable};
use farrier_common::{hardware::PowerState, name::Name};

use crate::{
    domain::machine::{Details, Interface, Machine, Owner, Work},
    store::{
        convert::{naive, parse, parse_option, unsigned, utc},
        error::{Outcome, StoreError, misuse},
        schema::{interfaces, machines},
    },
};

use super::light;

#[derive(Queryable, Selectable)]
#[diesel(table_name = machines)]
pub(super) struct MachineRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) state: String,
    phase: Option<String>,
    pub(super) version: i64,
    pub(super) epoch: i64,
    pub(super) due_at: Option<NaiveDateTime>,
    pub(super) woken: bool,
    reason: String,
    since: NaiveDateTime,
    deadline: Option<NaiveDateTime>,
    phase_since: Option<NaiveDateTime>,
    attempts: i32,
    last_error: Option<String>,
    owner: Option<String>,
    rack: Option<String>,
    architecture: String,
    firmware: Option<String>,
    pub(super) power: Option<String>,
    pub(super) power_at: Option<NaiveDateTime>,
    details: String,
    created_at: NaiveDateTime,
    updated_at: NaiveDateTime,
    pub(super) pool: String,
    zone: String,
    tags: String,
    owner_project: Option<String>,
    reason_code: String,
}

/// How much of a machine's details is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// All.
    Whole,
    /// Without what is long: to be shown, never to be written.
    Short,
}

impl MachineRow {
    /// Who holds it.
    pub(super) fn owner(&self) -> Outcome<Option<Owner>> {
        owner(self.owner.as_deref(), self.owner_project.as_deref())
    }
}

impl TryFrom<(MachineRow, Vec<Interface>, Detail)> for Machine {
    type Error = StoreError;

    fn try_from((row, interfaces, detail): (MachineRow, Vec<Interface>, Detail)) -> Outcome<Self> {
        let read = match detail {
            Detail::Whole => |json: &str| serde_json::from_str(json),
            Detail::Short => light::details,
        };
        let power: Option<PowerState> = parse_option("machines.power", row.power.as_deref())?;
        let corrupt = |e: serde_json::Error| StoreError::Corrupt {
            column: "machines.details",
            value: row.id.clone(),
            why: e.to_string(),
        };
        Ok(Self {
            id: parse("machines.id", &row.id)?,
            name: parse("machines.name", &row.name)?,
            state: parse("machines.state", &row.state)?,
            since: utc(row.since),
            deadline: row.deadline.map(utc),
            version: row.version,
            due_at: row.due_at.map(utc),
            work: Work {
                phase: parse_option("machines.phase", row.phase.as_deref())?,
                phase_since: row.phase_since.map(utc),
                attempts: unsigned("machines.attempts", row.attempts.into())?,
                last_error: row.last_error,
            },
            reason: row.reason,
            code: parse("machines.reason_code", &row.reason_code)?,
            owner: owner(row.owner.as_deref(), row.owner_project.as_deref())?,
            pool: parse("machines.pool", &row.pool)?,
            zone: parse("machines.zone", &row.zone)?,
            tags: tags(&row.tags)?,
            rack: parse_option("machines.rack", row.rack.as_deref())?,
            architecture: parse("machines.architecture", &row.architecture)?,
            firmware: parse_option("machines.firmware", row.firmware.as_deref())?,
            power: power.zip(row.power_at.map(utc)),
            interfaces,
            details: read(&row.details).map_err(corrupt)?,
            created_at: utc(row.created_at),
            updated_at: utc(row.updated_at),
        })
    }
}

/// What a change of a machine writes: everything but its state, its power, and whose turn it is.
#[derive(AsChangeset, Insertable)]
#[diesel(table_name = machines, treat_none_as_null = true)]
pub(super) struct Columns {
    pub(super) id: String,
    name: String,
    phase: Option<String>,
    pub(super) version: i64,
    pub(super) due_at: Option<NaiveDateTime>,
    reason: String,
    since: NaiveDateTime,
    deadline: Option<NaiveDateTime>,
    phase_since: Option<NaiveDateTime>,
    attempts: i32,
    last_error: Option<String>,
    owner: Option<String>,
    rack: Option<String>,
    architecture: &'static str,
    firmware: Option<&'static str>,
    bmc_address: Option<String>,
    details: String,
    created_at: NaiveDateTime,
    pub(super) updated_at: NaiveDateTime,
    pub(super) pool: String,
    zone: String,
    tags: String,
    owner_project: Option<String>,
    reason_code: &'static str,
}

impl TryFrom<&Machine> for Columns {
    type Error = StoreError;

    fn try_from(m: &Machine) -> Outcome<Self> {
        let (owner, owner_project) = match m.owner {
            Some(Owner::User(user)) => (Some(user.to_string()), None),
            Some(Owner::Project(project)) => (None, Some(project.to_string())),
            None => (None, None),
        };
        Ok(Self {
            id: m.id.to_string(),
            name: m.name.to_string(),
            phase: m.work.phase.map(|p| p.to_string()),
            version: m.version,
            due_at: m.due_at.map(naive),
            reason: m.reason.clone(),
            since: naive(m.since),
            deadline: m.deadline.map(naive),
            phase_since: m.work.phase_since.map(naive),
            attempts: attempts(m),
            last_error: m.work.last_error.clone(),
            owner,
            rack: m.rack.map(|r| r.to_string()),
            architecture: m.architecture.as_str(),
            firmware: m.firmware.map(|f| f.as_str()),
            bmc_address: m.details.bmc.as_ref().map(|b| b.address.to_string()),
            details: details(&m.details)?,
            created_at: naive(m.created_at),
            updated_at: naive(m.updated_at),
            pool: m.pool.to_string(),
            zone: m.zone.to_string(),
            tags: m.tags.iter().fold(String::new(), |all, tag| {
                if all.is_empty() { format!(",{tag},") } else { all + tag.as_str() + "," }
            }),
            owner_project,
            reason_code: m.code.as_str(),
        })
    }
}

fn owner(user: Option<&str>, project: Option<&str>) -> Outcome<Option<Owner>> {
    let user = parse_option("machines.owner", user)?.map(Owner::User);
    let project = parse_option("machines.owner_project", project)?.map(Owner::Project);
    Ok(user.or(project))
}

fn tags(text: &str) -> Outcome<BTreeSet<Name>> {
    text.split(',').filter(|tag| !tag.is_empty()).map(|tag| parse("machines.tags", tag)).collect()
}

pub(super) fn attempts(m: &Machine) -> i32 {
    i32::try_from(m.work.attempts).unwrap_or(i32::MAX)
}

fn details(details: &Details) -> Outcome<String> {
    serde_json::to_string(details).map_err(|e| misuse(format!("details of a machine cannot be written: {e}")))
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = interfaces)]
pub(super) struct InterfaceRow {
    mac: String,
    machine: String,
    position: i32,
    address: Option<String>,
}

impl InterfaceRow {
    pub(super) fn new(machine: &Machine, position: usize, interface: &Interface) -> Self {
        Self {
            mac: interface.mac.to_string(),
            machine: machine.id.to_string(),
            position: i32::try_from(position).unwrap_or(i32::MAX),
            address: interface.address.map(|a| a.to_string()),
        }
    }
}

/// Whose it is, and the interface.
impl TryFrom<InterfaceRow> for (String, Interface) {
    type Error = StoreError;

    fn try_from(row: InterfaceRow) -> Outcome<Self> {
        let interface = Interface {
            mac: parse("interfaces.mac", &row.mac)?,
            address: parse_option("interfaces.address", row.address.as_deref())?,
        };
        Ok((row.machine, interface))
    }
}
