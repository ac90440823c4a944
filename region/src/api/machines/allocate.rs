//! Requests for allocations, made into the types of the use cases, and what they are answered.

use std::collections::BTreeSet;

use farrier_common::name::Name;
use farrier_proto::v1;

use crate::{
    api::{parse, words::unknown},
    app::machines::{Allocated, Given, Item, Terms},
    domain::{
        Error, Result,
        allocation::{Constraints, DiskKind, DiskNeed, GpuNeed, NicNeed},
    },
};

const MOST_DEVICES: usize = 64;
const MOST_WORDS: usize = 64;
const MOST_NAMES: usize = 1000;
const MOST_TEXT: usize = 256;
const MOST_MACHINES: usize = 1000;

pub(super) fn terms(project: &str, lease_seconds: u64) -> Terms {
    Terms { project: project.to_owned(), lease_seconds }
}

/// The items of a batch, and whether all of them are wanted or none.
pub(super) fn batch(q: v1::AllocateMachinesRequest) -> Result<(Vec<Item>, bool)> {
    let all = match v1::BatchMode::try_from(q.mode) {
        Ok(v1::BatchMode::AllOrNothing) => true,
        Ok(v1::BatchMode::AsManyAsPossible) => false,
        Ok(v1::BatchMode::Unspecified) | Err(_) => {
            return Err(unknown("mode", ["all-or-nothing", "as-many-as-possible"].into_iter()));
        }
    };
    let items = q.items.into_iter().enumerate().map(item).collect::<Result<Vec<Item>>>()?;
    let total = items.iter().fold(0_usize, |sum, i| sum.saturating_add(i.count));
    if !(1..=MOST_MACHINES).contains(&total) {
        return Err(Error::invalid("items", format!("must come to 1 to {MOST_MACHINES} machines, not {total}")));
    }
    Ok((items, all))
}

fn item((place, q): (usize, v1::AllocationItem)) -> Result<Item> {
    let count = usize::try_from(q.count.max(1)).unwrap_or(usize::MAX);
    if count > 1 && !q.machine.is_empty() {
        return Err(Error::invalid(format!("items[{place}].count"), "is at most 1 for a machine that is named"));
    }
    let given = constraints(&format!("items[{place}].constraints"), q.constraints)?;
    Ok(Item { machine: q.machine, given, count })
}

/// What a machine must have. Errors name the field under `field`.
pub(super) fn constraints(field: &str, q: Option<v1::AllocationConstraints>) -> Result<Given> {
    let q = q.unwrap_or_default();
    let at = |part: &str| format!("{field}.{part}");
    let architecture = match q.architecture {
        0 => None,
        number => Some(parse::architecture(&at("architecture"), number)?),
    };
    let tags = tags(&at("tags"), &q.tags)?;
    let not_tags = self::tags(&at("not_tags"), &q.not_tags)?;
    if let Some(both) = tags.intersection(&not_tags).next() {
        return Err(Error::invalid(at("not_tags"), format!("{both} is also among tags")));
    }
    for (part, given) in [("vendor", &q.vendor), ("product", &q.product)] {
        text(&at(part), given)?;
    }
    let constraints = Constraints {
        architecture,
        min_cpu_cores: q.min_cpu_cores,
        min_memory_bytes: q.min_memory_bytes,
        disks: each(&at("disks"), q.disks, disk)?,
        nics: each(&at("nics"), q.nics, |_, n| Ok(NicNeed { min_speed_mbps: n.min_speed_mbps, carrier: n.carrier }))?,
        gpus: each(&at("gpus"), q.gpus, gpu)?,
        tags,
        not_tags,
        zone: parse::optional(&at("zone"), &q.zone)?,
        bmc_protocol: parse::optional(&at("bmc_protocol"), &q.bmc_protocol)?,
        vendor: q.vendor.trim().to_owned(),
        product: q.product.trim().to_owned(),
        labels: super::parse::labels(&at("labels"), q.labels)?,
        machines: names(&at("machines"), q.machines)?,
        not_machines: names(&at("not_machines"), q.not_machines)?,
        ..Constraints::default()
    };
    Ok(Given { constraints, pool: q.pool, rack: q.rack, subnet: q.subnet, field: field.to_owned() })
}

fn each<W, D>(field: &str, given: Vec<W>, make: impl Fn(&str, W) -> Result<D>) -> Result<Vec<D>> {
    if given.len() > MOST_DEVICES {
        return Err(Error::invalid(field, format!("at most {MOST_DEVICES} can be asked for")));
    }
    given.into_iter().enumerate().map(|(place, one)| make(&format!("{field}[{place}]"), one)).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "as `each` hands it over")]
fn disk(field: &str, q: v1::DiskConstraint) -> Result<DiskNeed> {
    let kind: Option<DiskKind> = parse::optional(&format!("{field}.kind"), &q.kind)?;
    Ok(DiskNeed { min_bytes: q.min_bytes, kind })
}

#[expect(clippy::needless_pass_by_value, reason = "as `each` hands it over")]
fn gpu(field: &str, q: v1::GpuConstraint) -> Result<GpuNeed> {
    for (part, id) in [("vendor_id", &q.vendor_id), ("device_id", &q.device_id)] {
        if !id.is_empty() && (id.len() != 4 || !id.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err(Error::invalid(format!("{field}.{part}"), "must be four hex digits, such as 10de"));
        }
    }
    Ok(GpuNeed { vendor_id: q.vendor_id.to_lowercase(), device_id: q.device_id.to_lowercase() })
}

fn tags(field: &str, given: &[String]) -> Result<BTreeSet<Name>> {
    if given.len() > MOST_WORDS {
        return Err(Error::invalid(field, format!("at most {MOST_WORDS} can be asked for")));
    }
    given.iter().enumerate().map(|(place, tag)| parse::name(&format!("{field}[{place}]"), tag)).collect()
}

fn names(field: &str, given: Vec<String>) -> Result<BTreeSet<String>> {
    if given.len() > MOST_NAMES {
        return Err(Error::invalid(field, format!("at most {MOST_NAMES} can be named")));
    }
    if let Some(place) = given.iter().position(String::is_empty) {
        return Err(Error::invalid(format!("{field}[{place}]"), "must be the id or name of a machine"));
    }
    Ok(given.into_iter().collect())
}

fn text(field: &str, given: &str) -> Result<()> {
    if given.chars().count() > MOST_TEXT || given.chars().any(char::is_control) {
        let why = format!("has at most {MOST_TEXT} characters, none of them control characters");
        return Err(Error::invalid(field, why));
    }
    Ok(())
}

/// The answer to a batch.
#[expect(clippy::ptr_arg, reason = "as `Api::mutate` calls it")]
pub(super) fn results(made: &Vec<Allocated>) -> v1::AllocateMachinesResponse {
    let result = |one: &Allocated| v1::AllocationResult {
        item: u32::try_from(one.item).unwrap_or(u32::MAX),
        machine: one.outcome.as_ref().ok().map(super::render::machine),
        refusal: one.outcome.as_ref().err().cloned().unwrap_or_default(),
    };
    v1::AllocateMachinesResponse { results: made.iter().map(result).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(spoil: impl FnOnce(&mut v1::AllocationConstraints)) -> String {
        let mut asked = v1::AllocationConstraints::default();
        spoil(&mut asked);
        constraints("constraints", Some(asked)).unwrap_err().to_string()
    }

    #[test]
    fn wrong_constraints_name_their_field() {
        let kind = |kind: &str| v1::DiskConstraint { min_bytes: 1, kind: kind.to_owned() };
        assert_eq!(
            told(|c| c.disks = vec![kind("ssd"), kind("tape")]).split(": ").next(),
            Some("constraints.disks[1].kind")
        );
        type Spoil = fn(&mut v1::AllocationConstraints);
        let spoiled: [(&str, Spoil); 12] = [
            ("architecture", |c| c.architecture = 99),
            ("disks", |c| c.disks = vec![v1::DiskConstraint::default(); 65]),
            ("gpus[0].vendor_id", |c| {
                c.gpus = vec![v1::GpuConstraint { vendor_id: "nv".into(), ..Default::default() }]
            }),
            ("tags[1]", |c| c.tags = vec!["a".into(), "B!".into()]),
            ("not_tags", |c| (c.tags, c.not_tags) = (vec!["a".into()], vec!["a".into()])),
            ("zone", |c| c.zone = "Zone 1".into()),
            ("bmc_protocol", |c| c.bmc_protocol = "telnet".into()),
            ("vendor", |c| c.vendor = "a\n".into()),
            ("product", |c| c.product = "x".repeat(257)),
            ("labels", |c| c.labels = [("a b".to_owned(), String::new())].into()),
            ("machines[0]", |c| c.machines = vec![String::new()]),
            ("not_machines", |c| c.not_machines = vec!["m".to_owned(); 1001]),
        ];
        for (part, spoil) in spoiled {
            let told = told(spoil);
            assert!(told.starts_with(&format!("constraints.{part}: ")), "{part}: {told}");
        }
        assert_eq!(constraints("constraints", None).unwrap().constraints, Constraints::default());
    }

    #[test]
    fn a_batch_has_a_mode_and_bounds() {
        let item = |machine: &str, count| v1::AllocationItem { machine: machine.to_owned(), count, constraints: None };
        let ask = |mode: v1::BatchMode, items| {
            batch(v1::AllocateMachinesRequest { mode: mode.into(), items, ..Default::default() })
        };
        let text = |mode, items| ask(mode, items).unwrap_err().to_string();
        let all = v1::BatchMode::AllOrNothing;
        assert_eq!(
            text(v1::BatchMode::Unspecified, vec![item("", 1)]),
            "mode: must be one of: all-or-nothing, as-many-as-possible"
        );
        assert_eq!(text(all, vec![]), "items: must come to 1 to 1000 machines, not 0");
        assert_eq!(
            text(all, vec![item("", u32::MAX); 2]).split(',').next(),
            Some("items: must come to 1 to 1000 machines")
        );
        assert_eq!(text(all, vec![item("m", 2)]), "items[0].count: is at most 1 for a machine that is named");
        let (items, all) = ask(v1::BatchMode::AsManyAsPossible, vec![item("", 0), item("", 999)]).unwrap();
        assert_eq!((items[0].count, items[1].count, all), (1, 999, false));
    }
}
