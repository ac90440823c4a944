//! Requests about machines, made into the types of the use cases.

use std::collections::{BTreeMap, HashMap};

use farrier_common::{hardware::PowerState, secret::Secret};
use farrier_proto::{convert, v1};

use crate::{
    api::{parse, words::unknown},
    app::{
        context::Ask,
        machines::{NewLive, NewMachine, PowerAction, Wanted, Way},
    },
    domain::{Error, Result, machine::InBand, script::Chosen},
};

mod bmc;
mod update;

use bmc::bmc;
pub(in crate::api) use bmc::bmc_update;
pub(super) use update::wishes;

const MOST_LABELS: usize = 64;
const MOST_KEY: usize = 63;
const MOST_VALUE: usize = 256;
const MOST_SERIAL: usize = 128;
const EVENTS: u32 = 50;
const MOST_EVENTS: u32 = 500;
const TIMELINE: usize = 100;
const MOST_TIMELINE: usize = 1000;

pub(super) fn new_machine(q: v1::CreateMachineRequest) -> Result<NewMachine> {
    Ok(NewMachine {
        name: parse::optional("name", &q.name)?,
        architecture: parse::architecture("architecture", q.architecture)?,
        macs: parse::macs("macs", &q.macs)?,
        bmc: match way(q.bmc, None, q.manual)? {
            Some(Way::Given(given)) => Some(*given),
            Some(Way::Manual) => None,
            Some(Way::InBand(_)) | None => return Err(Error::invalid("bmc", "is required, unless manual is set")),
        },
        rack: parse::optional("rack", &q.rack)?,
        labels: labels("labels", q.labels)?,
        pool: q.pool,
        zone: parse::optional("zone", &q.zone)?,
        tags: update::tags(&q.tags)?,
        notes: update::notes(q.notes)?,
        commission: chosen(q.commission),
    })
}

pub(super) fn new_live(q: v1::AddLiveMachineRequest) -> Result<NewLive> {
    if !q.project.is_empty() && !q.owner.is_empty() {
        return Err(Error::invalid("project", "is given instead of owner, not with it"));
    }
    let (bmc, manual) = match way(q.bmc, None, q.manual)? {
        Some(Way::Given(given)) => (Some(*given), false),
        Some(Way::Manual) => (None, true),
        Some(Way::InBand(_)) | None => (None, false),
    };
    Ok(NewLive {
        name: parse::optional("name", &q.name)?,
        architecture: parse::architecture("architecture", q.architecture)?,
        macs: parse::macs("macs", &q.macs)?,
        bmc,
        manual,
        labels: labels("labels", q.labels)?,
        pool: q.pool,
        zone: parse::optional("zone", &q.zone)?,
        tags: update::tags(&q.tags)?,
        notes: update::notes(q.notes)?,
        owner: parse::optional("owner", &q.owner)?,
        project: q.project,
        rack: parse::optional("rack", &q.rack)?,
        token_seconds: q.token_seconds,
    })
}

/// How a machine is to be switched, if that is said.
pub(super) fn way(
    given: Option<v1::BmcCredentials>,
    in_band: Option<v1::InBandBmc>,
    manual: bool,
) -> Result<Option<Way>> {
    match (given, in_band, manual) {
        (None, None, false) => Ok(None),
        (Some(given), None, false) => Ok(Some(Way::Given(Box::new(bmc(given)?)))),
        (None, Some(q), false) => Ok(Some(Way::InBand(InBand { take_over: q.take_over_account }))),
        (None, None, true) => Ok(Some(Way::Manual)),
        (Some(_), Some(_), false) => Err(Error::invalid("in_band", "is instead of bmc: give one of them")),
        (Some(_), _, true) | (_, Some(_), true) => {
            Err(Error::invalid("manual", "is instead of bmc and in_band: give one of them"))
        }
    }
}

/// What a person tells of the power.
pub(super) fn told_power(number: i32) -> Result<PowerState> {
    convert::power_from_wire(number).ok_or_else(|| unknown("power", PowerState::ALL.iter().map(|p| p.as_str())))
}

/// What a commissioning is to do besides; the names are looked up later.
pub(super) fn chosen(given: Option<v1::CommissionOptions>) -> Chosen {
    let q = given.unwrap_or_default();
    Chosen {
        scripts: q.scripts,
        tests: q.tests,
        keep_storage: q.keep_storage,
        keep_network: q.keep_network,
        stay_up: q.stay_up,
    }
}

/// Is the full view asked for?
pub(super) fn whole(view: i32, default: bool) -> Result<bool> {
    match v1::MachineView::try_from(view) {
        Ok(v1::MachineView::Unspecified) => Ok(default),
        Ok(v1::MachineView::Basic) => Ok(false),
        Ok(v1::MachineView::Full) => Ok(true),
        Err(_) => Err(Error::invalid("view", "must be one of: basic, full")),
    }
}

/// Free-form labels, in the field of that name.
pub(super) fn labels(field: &str, given: HashMap<String, String>) -> Result<BTreeMap<String, String>> {
    if given.len() > MOST_LABELS {
        return Err(Error::invalid(field, format!("at most {MOST_LABELS} are kept")));
    }
    for (key, value) in &given {
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
        if !(1..=MOST_KEY).contains(&key.len()) || !key.bytes().all(word) {
            let why = format!("a key has 1 to {MOST_KEY} of a-z, A-Z, 0-9, '.', '_', '-' and '/'");
            return Err(Error::invalid(field, why));
        }
        if value.chars().count() > MOST_VALUE || value.chars().any(char::is_control) {
            let why = format!("has at most {MOST_VALUE} characters, none of them control characters");
            return Err(Error::invalid(format!("{field}[{key}]"), why));
        }
    }
    Ok(given.into_iter().collect())
}

pub(super) fn wanted(q: v1::DeployMachineRequest) -> Result<Wanted> {
    if q.image.is_empty() {
        return Err(Error::invalid("image", "is required"));
    }
    if q.disk_serial.len() > MOST_SERIAL {
        return Err(Error::invalid("disk_serial", format!("has at most {MOST_SERIAL} characters")));
    }
    Ok(Wanted {
        image: q.image,
        user_data: Secret::new(q.user_data),
        disk_serial: Some(q.disk_serial).filter(|s| !s.is_empty()),
    })
}

pub(super) fn comment(text: &str) -> Result<String> {
    parse::comment("comment", text)
}

/// The comment of a verb, or else that of its options, which was read already.
pub(in super::super) fn why<T>(ask: &Ask<T>, text: &str) -> Result<String> {
    if text.is_empty() { Ok(ask.request.comment.clone()) } else { comment(text) }
}

/// What is asked of the chassis power.
pub(super) enum Power {
    Query,
    Change(PowerAction),
}

pub(super) fn power(number: i32) -> Result<Power> {
    match v1::PowerAction::try_from(number) {
        Ok(v1::PowerAction::Query) => Ok(Power::Query),
        Ok(v1::PowerAction::On) => Ok(Power::Change(PowerAction::On)),
        Ok(v1::PowerAction::Off) => Ok(Power::Change(PowerAction::Off)),
        Ok(v1::PowerAction::Cycle) => Ok(Power::Change(PowerAction::Cycle)),
        Ok(v1::PowerAction::SoftOff) => Ok(Power::Change(PowerAction::SoftOff)),
        Ok(v1::PowerAction::Unspecified) | Err(_) => {
            Err(unknown("action", PowerAction::ALL.iter().map(|a| a.as_str()).chain(["query"])))
        }
    }
}

/// So many entries of a BMC's event log.
pub(in crate::api) fn events_limit(number: i32) -> Result<u32> {
    match u32::try_from(number) {
        Ok(0) => Ok(EVENTS),
        Ok(limit) if limit <= MOST_EVENTS => Ok(limit),
        Ok(_) | Err(_) => Err(Error::invalid("limit", format!("must be 0 to {MOST_EVENTS}"))),
    }
}

pub(super) fn timeline_size(number: i32) -> Result<usize> {
    match usize::try_from(number) {
        Ok(0) => Ok(TIMELINE),
        Ok(size) if size <= MOST_TIMELINE => Ok(size),
        Ok(_) | Err(_) => Err(Error::invalid("timeline_size", format!("must be 0 to {MOST_TIMELINE}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded() {
        let one = |k: &str, v: &str| labels("labels", HashMap::from([(k.to_owned(), v.to_owned())]));
        assert!(one("site/row", "a 7").is_ok());
        assert!(one("", "x").is_err());
        assert!(one("a b", "x").is_err());
        assert!(one("a", "x\n").is_err());
        assert!(one("a", &"x".repeat(257)).is_err());
        assert!(labels("labels", (0..65).map(|n| (format!("k{n}"), String::new())).collect()).is_err());
    }
}
