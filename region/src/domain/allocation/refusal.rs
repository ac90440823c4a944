//! Why machines do not fit, in words and in numbers.

use std::collections::BTreeMap;

use farrier_common::name::Name;

use super::{Constraints, DiskNeed, GpuNeed, NicNeed};

/// A constraint that a machine does not meet. What was asked for is in the [`Constraints`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unmet {
    /// Other machines were named.
    NotNamed,
    /// This machine was excluded.
    Excluded,
    /// Another pool.
    Pool,
    /// Another zone.
    Zone,
    /// Another rack, or none.
    Rack,
    /// No address in the subnet.
    Subnet,
    /// Without this tag.
    LacksTag(Name),
    /// With this tag.
    HasTag(Name),
    /// Without this label, or with another value.
    Label(String),
    /// Another architecture.
    Architecture,
    /// Too few.
    Cores,
    /// Too little.
    Memory,
    /// Not a disk for each.
    Disks,
    /// Not a NIC for each.
    Nics,
    /// Not a GPU for each.
    Gpus,
    /// Another protocol, or no BMC.
    BmcProtocol,
    /// Another manufacturer.
    Vendor,
    /// Another product.
    Product,
}

impl Unmet {
    /// What is so of `count` machines, such as "have less than 64 GiB of memory".
    #[must_use]
    pub fn of(&self, count: usize, asked: &Constraints) -> String {
        let (have, lack, are) = if count == 1 { ("has", "lacks", "is") } else { ("have", "lack", "are") };
        let name = |named: Option<&String>| named.cloned().unwrap_or_default();
        match self {
            Self::NotNamed => format!("{are} not among the named ones"),
            Self::Excluded => format!("{are} excluded by name"),
            Self::Pool => format!("{are} not in pool {}", name(asked.pool.as_ref().map(|p| &p.name))),
            Self::Zone => {
                format!("{are} not in zone {}", asked.zone.as_ref().map(ToString::to_string).unwrap_or_default())
            }
            Self::Rack => format!("{are} not of rack {}", name(asked.rack.as_ref().map(|r| &r.name))),
            Self::Subnet => format!("{have} no address in subnet {}", name(asked.subnet.as_ref().map(|s| &s.name))),
            Self::LacksTag(tag) => format!("{lack} tag {tag}"),
            Self::HasTag(tag) => format!("{have} tag {tag}"),
            Self::Label(key) => format!("{lack} label {key}={}", name(asked.labels.get(key))),
            Self::Architecture => {
                format!("{are} not {}", asked.architecture.map(|a| a.to_string()).unwrap_or_default())
            }
            Self::Cores => format!("{have} fewer than {} CPU cores", asked.min_cpu_cores),
            Self::Memory => format!("{have} less than {} of memory", size(asked.min_memory_bytes)),
            Self::Disks => format!("{have} no disk of its own for each of: {}", list(&asked.disks, disk)),
            Self::Nics => format!("{have} no NIC of its own for each of: {}", list(&asked.nics, nic)),
            Self::Gpus => format!("{have} no GPU of its own for each of: {}", list(&asked.gpus, gpu)),
            Self::BmcProtocol => {
                let protocol = asked.bmc_protocol.map(|p| p.to_string()).unwrap_or_default();
                format!("{have} no BMC that speaks {protocol}")
            }
            Self::Vendor => format!("{are} not made by {}", asked.vendor),
            Self::Product => format!("{are} no {}", asked.product),
        }
    }
}

/// How many machines were looked at, and why they do not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    looked_at: usize,
    fitting: usize,
    unmet: BTreeMap<Unmet, usize>,
}

impl Census {
    /// Counts a machine, with all the reasons why it does not fit; none: it fits.
    pub fn count(&mut self, unmet: Vec<Unmet>) {
        self.looked_at += 1;
        self.fitting += usize::from(unmet.is_empty());
        for one in unmet {
            *self.unmet.entry(one).or_default() += 1;
        }
    }

    /// "12 ready: 7 have less than 64 GiB of memory, 5 lack tag gpu". The most frequent reason comes first.
    #[must_use]
    pub fn tell(&self, asked: &Constraints) -> String {
        if self.looked_at == 0 {
            return "no machine is ready; see which are commissioning or releasing".to_owned();
        }
        let mut unmet: Vec<_> = self.unmet.iter().collect();
        unmet.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let fitting = match self.fitting {
            0 => None,
            1 => Some("1 fits and is taken by this very call".to_owned()),
            n => Some(format!("{n} fit and are taken by this very call")),
        };
        let unfit = unmet.into_iter().map(|(why, count)| format!("{count} {}", why.of(*count, asked)));
        let each: Vec<String> = fitting.into_iter().chain(unfit).collect();
        let twice = if self.unmet.values().sum::<usize>() + self.fitting > self.looked_at {
            " (a machine may count twice)"
        } else {
            ""
        };
        format!("{} ready: {}{twice}", self.looked_at, each.join(", "))
    }
}

fn list<T>(needs: &[T], tell: impl Fn(&T) -> String) -> String {
    needs.iter().map(tell).collect::<Vec<_>>().join(", ")
}

fn disk(need: &DiskNeed) -> String {
    let kind = need.kind.map_or("disk", |k| k.as_str());
    if need.min_bytes == 0 { kind.to_owned() } else { format!("{kind} of {}", size(need.min_bytes)) }
}

fn nic(need: &NicNeed) -> String {
    let link = if need.carrier { " with a link" } else { "" };
    match need.min_speed_mbps {
        0 => format!("any{link}"),
        mbps if mbps % 1000 == 0 => format!("{} Gbit/s{link}", mbps / 1000),
        mbps => format!("{mbps} Mbit/s{link}"),
    }
}

fn gpu(need: &GpuNeed) -> String {
    let any = |id: &str| if id.is_empty() { "any".to_owned() } else { id.to_owned() };
    format!("{}:{}", any(&need.vendor_id), any(&need.device_id))
}

/// In the unit in which it is a whole number, as it was most likely given.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 8] = [
        (1 << 40, "TiB"),
        (1_000_000_000_000, "TB"),
        (1 << 30, "GiB"),
        (1_000_000_000, "GB"),
        (1 << 20, "MiB"),
        (1_000_000, "MB"),
        (1 << 10, "KiB"),
        (1_000, "kB"),
    ];
    let whole = UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{bytes} bytes"), |(unit, word)| format!("{} {word}", bytes / unit))
}
