//! `farrier machine allocate`: one machine or several, by name or by what they must have.

use std::{collections::HashMap, str::FromStr};

use farrier_common::hardware::{Architecture, BmcProtocol};
use farrier_proto::{
    convert,
    v1::{
        AllocateMachineRequest, AllocateMachinesRequest, AllocationConstraints, AllocationItem, BatchMode,
        DiskConstraint, GpuConstraint, MutationOptions, NicConstraint, machines_client::MachinesClient,
    },
};

use super::{
    App, one_of,
    verbs::{self, Label},
};
use crate::{
    client::{SHORT, options},
    error::Error,
    render::allocations as render,
    wait::{Aim, WaitArgs},
};

/// A machine to hold, or what it must have.
#[derive(Debug, clap::Args)]
pub(crate) struct AllocateArgs {
    /// Id or name [default: the cheapest ready machine that fits].
    machine: Option<String>,
    #[command(flatten)]
    constraints: ConstraintArgs,
    /// Hold it for this project (id or name) instead of for yourself.
    #[arg(long, value_name = "PROJECT", default_value = "", hide_default_value = true)]
    project: String,
    /// Give it back by itself after so long unless it is deployed by then: 30m, 8h, 7d.
    #[arg(long, value_name = "TIME")]
    lease: Option<Lease>,
    /// So many machines at once; say what is to happen when there are fewer.
    #[arg(long, value_name = "N", requires = "mode", conflicts_with_all = ["machine", "wait"],
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: Option<u32>,
    /// With --count: all of them, or none.
    #[arg(long, group = "mode", requires = "count")]
    all_or_nothing: bool,
    /// With --count: as many as there are.
    #[arg(long, group = "mode", requires = "count")]
    as_many_as_possible: bool,
    /// Tell which it would be, and change nothing.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// What a machine must have.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What the machine must have")]
struct ConstraintArgs {
    /// CPU architecture.
    #[arg(long, value_parser = one_of(Architecture::ALL.iter().map(|a| (*a, a.to_string()))))]
    arch: Option<Architecture>,
    /// So many CPU cores (logical ones) at least.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    cores: u32,
    /// So much memory at least: 64G is 64 000 000 000 bytes, 64GiB is 64 x 2^30.
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// A disk of at least this size: 500G, 500G:ssd, 4T:hdd, 1T:nvme, or ssd of any size; may be repeated.
    #[arg(long = "disk", value_name = "SIZE[:KIND]")]
    disks: Vec<DiskNeed>,
    /// A NIC of at least this speed: 25G, or 25G:link if it must have a link; may be repeated.
    #[arg(long = "nic", value_name = "SPEED[:link]")]
    nics: Vec<NicNeed>,
    /// A GPU: vendor id in hex, such as 10de, or 10de:20b0 with the device, or any; may be repeated.
    #[arg(long = "gpu", value_name = "VENDOR[:DEVICE]")]
    gpus: Vec<GpuNeed>,
    /// With this tag; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Without this tag; may be repeated.
    #[arg(long = "not-tag", value_name = "TAG")]
    not_tags: Vec<String>,
    /// In this pool.
    #[arg(long, value_name = "POOL", default_value = "", hide_default_value = true)]
    pool: String,
    /// In this zone.
    #[arg(long, value_name = "ZONE", default_value = "", hide_default_value = true)]
    zone: String,
    /// Served by this rack.
    #[arg(long, value_name = "RACK", default_value = "", hide_default_value = true)]
    rack: String,
    /// With an address in this subnet.
    #[arg(long, value_name = "SUBNET", default_value = "", hide_default_value = true)]
    subnet: String,
    /// Made by this manufacturer, letter case aside.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    vendor: String,
    /// Of this product name, letter case aside.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    product: String,
    /// With a BMC that speaks this.
    #[arg(long, value_parser = one_of(BmcProtocol::ALL.iter().map(|p| (*p, p.to_string()))))]
    bmc_protocol: Option<BmcProtocol>,
    /// With this label; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Label>,
    /// Not this machine; may be repeated.
    #[arg(long = "not-machine", value_name = "MACHINE")]
    not_machines: Vec<String>,
}

/// A number of bytes, or of bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size(u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a number with a unit, such as 500G (10^9) or 64GiB (2^30)");
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit: u64 = match unit.to_ascii_lowercase().trim_end_matches('b') {
            "" => 1,
            "m" => 1_000_000,
            "g" => 1_000_000_000,
            "t" => 1_000_000_000_000,
            "mi" => 1 << 20,
            "gi" => 1 << 30,
            "ti" => 1 << 40,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(unit).map(Self).ok_or_else(wrong)
    }
}

/// `500G:ssd`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DiskNeed(u64, String);

impl FromStr for DiskNeed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_kind = |word: &str| matches!(word, "ssd" | "hdd" | "nvme");
        if is_kind(text) {
            return Ok(Self(0, text.to_owned()));
        }
        let (size, kind) = text.split_once(':').unwrap_or((text, ""));
        if !kind.is_empty() && !is_kind(kind) {
            return Err(format!("{kind:?} is not one of: ssd, hdd, nvme"));
        }
        Ok(Self(size.parse::<Size>()?.0, kind.to_owned()))
    }
}

/// `25G:link`, in Mbit/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NicNeed(u32, bool);

impl FromStr for NicNeed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (speed, link) = text.split_once(':').map_or((text, false), |(speed, word)| (speed, word == "link"));
        let wrong = || format!("{text:?} is not a speed such as 25G, or 25G:link");
        if text.contains(':') && !link {
            return Err(wrong());
        }
        let mbps = u32::try_from(speed.parse::<Size>().map_err(|_| wrong())?.0 / 1_000_000).map_err(|_| wrong())?;
        Ok(Self(mbps, link))
    }
}

/// `10de:20b0`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct GpuNeed(String, String);

impl FromStr for GpuNeed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (vendor, device) = text.split_once(':').unwrap_or((text, ""));
        let vendor = if vendor == "any" { "" } else { vendor };
        let is_id = |id: &str| id.is_empty() || (id.len() == 4 && id.bytes().all(|b| b.is_ascii_hexdigit()));
        if text.is_empty() || !is_id(vendor) || !is_id(device) {
            return Err(format!("{text:?} is not VENDOR or VENDOR:DEVICE of four hex digits each, nor any"));
        }
        Ok(Self(vendor.to_owned(), device.to_owned()))
    }
}

/// `8h`, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lease(u64);

impl FromStr for Lease {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a time such as 90s, 30m, 8h or 7d");
        let (number, seconds) = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)]
            .into_iter()
            .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
            .ok_or_else(wrong)?;
        let lasts = number.parse::<u64>().ok().and_then(|n| n.checked_mul(seconds)).filter(|lasts| *lasts > 0);
        lasts.map(Self).ok_or_else(wrong)
    }
}

/// Holds one machine or several.
pub(crate) async fn run(app: &App, args: AllocateArgs) -> Result<(), Error> {
    let constraints = Some(constraints(args.constraints)?);
    let options = options().map(|o| MutationOptions { validate_only: args.dry_run, ..o });
    let lease_seconds = args.lease.map_or(0, |l| l.0);
    let client = app.client()?;
    let Some(count) = args.count else {
        let machine = args.machine.unwrap_or_default();
        let request = AllocateMachineRequest { options, machine, constraints, project: args.project, lease_seconds };
        let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).allocate_machine(r).await);
        if args.dry_run {
            let machine = call.await?;
            return app.out.answer(|| crate::render::machines::json(&machine), || render::dry(&machine));
        }
        return verbs::act(app, &client, &args.wait, Aim::Allocated, call).await;
    };
    let mode = if args.all_or_nothing { BatchMode::AllOrNothing } else { BatchMode::AsManyAsPossible };
    let items = vec![AllocationItem { machine: String::new(), constraints, count }];
    let request = AllocateMachinesRequest { options, items, mode: mode.into(), project: args.project, lease_seconds };
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).allocate_machines(r).await);
    let results = call.await?.results;
    app.out
        .answer(|| render::json(&results, args.dry_run), || render::table_of(&results, args.dry_run, app.out.width()))
}

fn constraints(args: ConstraintArgs) -> Result<AllocationConstraints, Error> {
    let mut labels = HashMap::new();
    for Label(key, value) in args.labels {
        if labels.insert(key.clone(), value).is_some() {
            return Err(Error::Usage(format!("--label {key} is given twice")));
        }
    }
    let disk = |DiskNeed(min_bytes, kind)| DiskConstraint { min_bytes, kind };
    let nic = |NicNeed(min_speed_mbps, carrier)| NicConstraint { min_speed_mbps, carrier };
    let gpu = |GpuNeed(vendor_id, device_id)| GpuConstraint { vendor_id, device_id };
    Ok(AllocationConstraints {
        architecture: args.arch.map_or(0, |a| convert::architecture_to_wire(a).into()),
        min_cpu_cores: args.cores,
        min_memory_bytes: args.memory.map_or(0, |s| s.0),
        disks: args.disks.into_iter().map(disk).collect(),
        nics: args.nics.into_iter().map(nic).collect(),
        gpus: args.gpus.into_iter().map(gpu).collect(),
        tags: args.tags,
        not_tags: args.not_tags,
        pool: args.pool,
        zone: args.zone,
        rack: args.rack,
        subnet: args.subnet,
        vendor: args.vendor,
        product: args.product,
        bmc_protocol: args.bmc_protocol.map(|p| p.to_string()).unwrap_or_default(),
        labels,
        not_machines: args.not_machines,
        ..AllocationConstraints::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let size = |text: &str| text.parse::<Size>().map(|s| s.0);
        assert_eq!(
            (size("500G"), size("64GiB"), size("1tb")),
            (Ok(500_000_000_000), Ok(64 << 30), Ok(1_000_000_000_000))
        );
        for bad in ["", "G", "1.5T", "-1", "5X", "99999999999T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_are_short_to_write() {
        let disk = |text: &str| text.parse::<DiskNeed>();
        assert_eq!(disk("500G:ssd"), Ok(DiskNeed(500_000_000_000, "ssd".to_owned())));
        assert_eq!(disk("nvme"), Ok(DiskNeed(0, "nvme".to_owned())));
        assert!(disk("500G:tape").is_err() && disk(":ssd").is_err());
        assert_eq!(("25G".parse(), "1G:link".parse()), (Ok(NicNeed(25_000, false)), Ok(NicNeed(1000, true))));
        assert!("25G:up".parse::<NicNeed>().is_err());
        assert_eq!("10de:20b0".parse(), Ok(GpuNeed("10de".to_owned(), "20b0".to_owned())));
        assert_eq!("any".parse(), Ok(GpuNeed(String::new(), String::new())));
        assert!("nvidia".parse::<GpuNeed>().is_err() && "".parse::<GpuNeed>().is_err());
    }

    #[test]
    fn a_lease_is_a_time() {
        let lease = |text: &str| text.parse::<Lease>().map(|l| l.0);
        assert_eq!((lease("90s"), lease("30m"), lease("8h"), lease("7d")), (Ok(90), Ok(1800), Ok(28_800), Ok(604_800)));
        for bad in ["", "8", "h", "0h", "-1h", "1w"] {
            assert!(lease(bad).is_err(), "{bad}");
        }
    }
}
