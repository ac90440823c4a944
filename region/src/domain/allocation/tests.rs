use super::*;
use crate::domain::{
    lifecycle::State,
    machine::{Gpu, Hardware, Interface, Nic},
    testing::{machine, user},
};

const GIB: u64 = 1 << 30;

fn named(name: &str, edit: impl FnOnce(&mut Machine, &mut Hardware)) -> Candidate {
    let mut m = machine(State::Ready, None);
    m.name = name.parse().unwrap();
    let mut h = Hardware { cpu_cores: 8, memory_bytes: 32 * GIB, ..Hardware::default() };
    h.disks = vec![disk(500, false, "nvme"), disk(4000, true, "scsi")];
    h.nics =
        vec![Nic { speed_mbps: 25_000, carrier: true, ..Nic::default() }, Nic { speed_mbps: 1000, ..Nic::default() }];
    edit(&mut m, &mut h);
    m.details.hardware = Some(h);
    Candidate::from(&m)
}

fn disk(gb: u64, rotational: bool, bus: &str) -> Disk {
    Disk { size_bytes: gb * 1_000_000_000, rotational, bus: bus.to_owned(), ..Disk::default() }
}

fn gpu(vendor: &str, device: &str) -> Gpu {
    Gpu { vendor_id: vendor.to_owned(), device_id: device.to_owned(), ..Gpu::default() }
}

fn need(gb: u64, kind: Option<DiskKind>) -> DiskNeed {
    DiskNeed { min_bytes: gb * 1_000_000_000, kind }
}

/// Why the sample machine does not fit; empty if it does.
fn unmet(asked: &Constraints) -> Vec<Unmet> {
    let mut made = named("n1", |m, h| {
        m.tags = BTreeSet::from(["ssd".parse().unwrap()]);
        m.interfaces =
            vec![Interface { mac: "52:54:00:00:00:01".parse().unwrap(), address: Some([10, 1, 0, 5].into()) }];
        m.details.labels = [("row".to_owned(), "7".to_owned())].into();
        h.vendor = "Dell Inc. ".to_owned();
        h.product = "PowerEdge R650".to_owned();
        h.gpus = vec![gpu("10de", "20b0")];
    });
    made.zone = "z1".parse().unwrap();
    made.fits(asked).err().unwrap_or_default()
}

#[test]
fn each_constraint_is_met_or_named() {
    type Ask = fn(&mut Constraints);
    let name = |text: &str| text.parse::<Name>().unwrap();
    let net = |text: &str| Some(Named { name: "net".to_owned(), is: text.parse::<Ipv4Net>().unwrap() });
    let tags = |tag: &str| BTreeSet::from([tag.parse().unwrap()]);
    let check = |fits: &Constraints, not: &Constraints, why: Unmet| {
        assert_eq!(unmet(fits), [], "{fits:?}");
        assert_eq!(unmet(not), [why], "{not:?}");
    };
    let none = Constraints::default;
    let pairs: [(Ask, Ask, Unmet); 9] = [
        (
            |c| c.architecture = Some(Architecture::Amd64),
            |c| c.architecture = Some(Architecture::Arm64),
            Unmet::Architecture,
        ),
        (|c| c.min_cpu_cores = 8, |c| c.min_cpu_cores = 9, Unmet::Cores),
        (|c| c.min_memory_bytes = 32 * GIB, |c| c.min_memory_bytes = 32 * GIB + 1, Unmet::Memory),
        (|c| c.bmc_protocol = Some(BmcProtocol::Ipmi), |c| c.gpus = vec![GpuNeed::default(); 2], Unmet::Gpus),
        (|c| c.vendor = "dell inc.".into(), |c| c.vendor = "Dell".into(), Unmet::Vendor),
        (|c| c.product = "POWEREDGE R650".into(), |c| c.product = "R650".into(), Unmet::Product),
        (
            |c| c.labels = [("row".into(), "7".into())].into(),
            |c| c.labels = [("row".into(), "8".into())].into(),
            Unmet::Label("row".into()),
        ),
        (
            |c| c.machines = ["n1".to_owned(), "n2".to_owned()].into(),
            |c| c.machines = ["n2".to_owned()].into(),
            Unmet::NotNamed,
        ),
        (|c| c.not_machines = ["n2".to_owned()].into(), |c| c.not_machines = ["n1".to_owned()].into(), Unmet::Excluded),
    ];
    for (fits, not, why) in pairs {
        let (mut a, mut b) = (none(), none());
        fits(&mut a);
        not(&mut b);
        check(&a, &b, why);
    }
    let pool = |is| Some(Named { name: "p".to_owned(), is });
    check(
        &Constraints { pool: pool(crate::domain::pool::DEFAULT), ..none() },
        &Constraints { pool: pool(PoolId::generate()), ..none() },
        Unmet::Pool,
    );
    let other_rack = Some(Named { name: "r9".to_owned(), is: RackId::generate() });
    assert_eq!(unmet(&Constraints { rack: other_rack, ..none() }), [Unmet::Rack]);
    check(
        &Constraints { zone: Some(name("z1")), ..none() },
        &Constraints { zone: Some(name("z2")), ..none() },
        Unmet::Zone,
    );
    check(
        &Constraints { subnet: net("10.1.0.0/24"), ..none() },
        &Constraints { subnet: net("10.2.0.0/24"), ..none() },
        Unmet::Subnet,
    );
    let (ssd, gpu) = (tags("ssd"), tags("gpu"));
    check(
        &Constraints { tags: ssd.clone(), not_tags: gpu.clone(), ..none() },
        &Constraints { tags: gpu, ..none() },
        Unmet::LacksTag(name("gpu")),
    );
    assert_eq!(unmet(&Constraints { not_tags: ssd, ..none() }), [Unmet::HasTag(name("ssd"))]);
}

#[test]
fn each_device_that_is_asked_for_needs_one_of_its_own() {
    let disks = |disks: &[DiskNeed]| unmet(&Constraints { disks: disks.to_vec(), ..Constraints::default() });
    assert_eq!(disks(&[need(500, Some(DiskKind::Nvme)), need(4000, Some(DiskKind::Hdd))]), []);
    assert_eq!(disks(&[need(500, Some(DiskKind::Ssd))]), []);
    // Whichever is matched first, the small one must not take the only large one.
    assert_eq!(disks(&[need(0, None), need(4000, None)]), []);
    assert_eq!(disks(&[need(4000, None), need(0, None)]), []);
    for too_much in [&[need(600, None), need(600, None)][..], &[need(501, Some(DiskKind::Ssd))], &[need(0, None); 3]] {
        assert_eq!(disks(too_much), [Unmet::Disks], "{too_much:?}");
    }
    let nics = |nics: &[(u32, bool)]| {
        let nics =
            nics.iter().map(|(min_speed_mbps, carrier)| NicNeed { min_speed_mbps: *min_speed_mbps, carrier: *carrier });
        unmet(&Constraints { nics: nics.collect(), ..Constraints::default() })
    };
    assert_eq!(nics(&[(0, false), (25_000, true)]), []);
    assert_eq!(nics(&[(0, true), (0, true)]), [Unmet::Nics]);
    let gpus = |vendor: &str, device: &str| {
        let need = GpuNeed { vendor_id: vendor.to_owned(), device_id: device.to_owned() };
        unmet(&Constraints { gpus: vec![need], ..Constraints::default() })
    };
    assert_eq!((gpus("10de", ""), gpus("", "20b0")), (vec![], vec![]));
    assert_eq!(gpus("1002", ""), [Unmet::Gpus]);
}

#[test]
fn the_cheapest_is_the_one_with_the_least() {
    let mut all = [
        named("h-gpu-not-asked-for", |_, h| (h.cpu_cores, h.gpus) = (1, vec![gpu("10de", "1")])),
        named("g-more-cores", |_, h| (h.cpu_cores, h.memory_bytes) = (9, 1)),
        named("f-more-memory", |_, h| (h.memory_bytes, h.disks) = (33 * GIB, vec![])),
        named("e-more-disk", |_, h| (h.disks, h.nics) = (vec![disk(4501, false, "ata")], vec![])),
        named("d-faster", |_, h| h.nics = vec![Nic { speed_mbps: 26_001, ..Nic::default() }]),
        named("c-alike", |_, _| ()),
        named("b-alike", |_, _| ()),
    ];
    all.sort_by_key(|c| c.fits(&Constraints::default()).unwrap());
    let names: Vec<&str> = all.iter().map(|c| c.name().as_str()).collect();
    let mut expected = names.clone();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

fn ask(machine: &str, count: usize, constraints: Constraints) -> Want {
    Want { machine: machine.to_owned(), constraints, count }
}

#[test]
fn a_refusal_says_why_in_numbers() {
    let gpu: BTreeSet<Name> = BTreeSet::from(["gpu".parse().unwrap()]);
    let all: Vec<Candidate> = (0..12)
        .map(|n| {
            named(&format!("m{n}"), |m, h| {
                h.memory_bytes = if n < 7 { GIB } else { 64 * GIB };
                m.tags = if n < 7 { gpu.clone() } else { BTreeSet::new() };
            })
        })
        .collect();
    let asked = Constraints { min_memory_bytes: 64 * GIB, tags: gpu.clone(), ..Constraints::default() };
    let told = |all: &[Candidate], want: Want| plan(all, &user("ann", Role::User), &[want]).short[0].clone();
    let unfit = |text: &str| Some(Short::Unfit(text.to_owned()));
    assert_eq!(
        told(&all, ask("", 1, asked.clone())),
        unfit("12 ready: 7 have less than 64 GiB of memory, 5 lack tag gpu")
    );
    let much = Constraints { min_memory_bytes: 65 * GIB, ..asked.clone() };
    assert_eq!(
        told(&all, ask("", 1, much)),
        unfit("12 ready: 12 have less than 65 GiB of memory, 5 lack tag gpu (a machine may count twice)")
    );
    assert_eq!(
        told(&all, ask("", 9, Constraints { tags: gpu, ..Constraints::default() })),
        unfit("12 ready: 7 fit and are taken by this very call, 5 lack tag gpu")
    );
    assert_eq!(told(&all, ask("m1", 1, asked)), unfit("machine m1 does not fit: it has less than 64 GiB of memory"));
    assert_eq!(told(&all, ask("m99", 1, Constraints::default())), Some(Short::NotReady("m99".to_owned())));
    assert_eq!(
        told(&[], ask("", 1, Constraints::default())),
        unfit("no machine is ready; see which are commissioning or releasing")
    );
}

#[test]
fn devices_are_told_as_they_were_asked_for() {
    let asked = Constraints {
        disks: vec![need(500, Some(DiskKind::Ssd)), need(0, None)],
        nics: vec![NicNeed { min_speed_mbps: 25_000, carrier: true }, NicNeed { min_speed_mbps: 2500, carrier: false }],
        gpus: vec![GpuNeed { vendor_id: "10de".to_owned(), device_id: String::new() }],
        ..Constraints::default()
    };
    assert_eq!(Unmet::Disks.of(2, &asked), "have no disk of its own for each of: ssd of 500 GB, disk");
    assert_eq!(Unmet::Nics.of(1, &asked), "has no NIC of its own for each of: 25 Gbit/s with a link, 2500 Mbit/s");
    assert_eq!(Unmet::Gpus.of(1, &asked), "has no GPU of its own for each of: 10de:any");
}

#[test]
fn pools_that_are_not_granted_are_as_good_as_not_there() {
    let hidden = named("m1", |m, _| m.pool = PoolId::generate());
    let wants = [ask("", 1, Constraints::default())];
    assert!(plan(std::slice::from_ref(&hidden), &user("ann", Role::User), &wants).groups[0].candidates.is_empty());
    assert_eq!(plan(&[hidden], &user("root", Role::Admin), &wants).groups[0].count, 1);
}

#[test]
fn what_asks_for_the_same_is_one_group_and_each_item_gets_its_part() {
    let all: Vec<Candidate> = (0..5).map(|n| named(&format!("m{n}"), |_, h| h.cpu_cores = n)).collect();
    let big = Constraints { min_cpu_cores: 3, ..Constraints::default() };
    let any = Constraints::default;
    let wants = [ask("", 1, any()), ask("m0", 1, any()), ask("", 1, big), ask("", 2, any()), ask("m0", 1, any())];
    let plan = plan(&all, &user("ann", Role::User), &wants);
    assert_eq!(plan.groups.len(), 4);
    let taken = plan.groups.iter().map(|g| g.candidates[..g.count].to_vec()).collect();
    let names = |ids: Vec<MachineId>| -> Vec<String> {
        ids.iter().map(|id| all.iter().find(|c| c.id == *id).unwrap().name().to_string()).collect()
    };
    let dealt: Vec<_> = plan.deal(&wants, taken).into_iter().map(|(got, group)| (names(got), group)).collect();
    let expected: [(&[&str], usize); 5] = [(&["m1"], 0), (&["m0"], 1), (&["m4"], 2), (&["m2", "m3"], 0), (&[], 3)];
    let expected: Vec<_> =
        expected.iter().map(|(n, g)| (n.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), *g)).collect();
    assert_eq!(dealt, expected);
    assert_eq!(plan.short[3], Some(Short::Unfit("machine m0 is given to another item of this call".to_owned())));
}
