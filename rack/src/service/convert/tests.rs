use super::*;

const ID: &str = "0192e4a0-0000-7000-8000-000000000001";

fn digest() -> String {
    "ab".repeat(32)
}

fn image() -> proto::EphemeralImage {
    let blob = || Some(proto::BlobRef { sha256: digest(), size_bytes: 5 });
    proto::EphemeralImage { kernel: blob(), initrd: blob(), extra_cmdline: "quiet".into() }
}

fn intent() -> proto::BootIntent {
    proto::BootIntent {
        machine_id: ID.into(),
        machine_name: "node-1".into(),
        version: 3,
        interfaces: vec![proto::IntentInterface { mac: "52:54:00:00:00:01".into(), address: "10.77.0.20".into() }],
        target: Some(proto::boot_intent::Target::Ephemeral(proto::Ephemeral {
            boot_id: ID.into(),
            token: "t0k3n".into(),
            purpose: "commissioning".into(),
            image: Some(image()),
            expires_unix: 2_000_000_000,
        })),
    }
}

fn header() -> proto::SnapshotHeader {
    proto::SnapshotHeader {
        snapshot_id: "s1".into(),
        subnets: vec![proto::Subnet {
            cidr: "10.77.0.0/24".into(),
            gateway: "10.77.0.1".into(),
            dns_servers: vec!["10.0.0.53".into()],
            dynamic_start: "10.77.0.100".into(),
            dynamic_end: "10.77.0.200".into(),
            lease_seconds: 600,
        }],
        enlist_image: Some(image()),
    }
}

fn bmc() -> proto::Bmc {
    proto::Bmc {
        protocol: 1,
        address: "10.0.0.9".into(),
        username: "root".into(),
        password: "calvin".into(),
        ..proto::Bmc::default()
    }
}

fn ephemeral(intent: &mut proto::BootIntent) -> &mut proto::Ephemeral {
    match &mut intent.target {
        Some(proto::boot_intent::Target::Ephemeral(ephemeral)) => ephemeral,
        other => panic!("{other:?}"),
    }
}

#[test]
fn good_messages_become_words() {
    let checked = intent().checked("intent").unwrap();
    assert_eq!((checked.version, checked.interfaces[0].address), (3, Some([10, 77, 0, 20].into())));
    let login = bmc().checked("bmc").unwrap();
    assert_eq!(login.address.port(), 623);
    let mut parts = SnapshotParts::new(header()).unwrap();
    parts.add(intent()).unwrap();
    let snapshot = parts.finish().unwrap();
    assert_eq!((snapshot.subnets.len(), snapshot.intents.len()), (1, 1));
}

/// Breaks one field of a good intent; the error must name it.
#[track_caller]
fn intent_breaks(field: &str, change: impl FnOnce(&mut proto::BootIntent)) {
    let mut broken = intent();
    change(&mut broken);
    let error = broken.checked("intent").unwrap_err().to_string();
    assert!(error.starts_with(&format!("intent.{field}:")), "{error}");
}

#[test]
fn each_wrong_field_of_an_intent_is_named() {
    intent_breaks("machine_id", |i| i.machine_id = "x".into());
    intent_breaks("machine_name", |i| i.machine_name = "A b".into());
    intent_breaks("version", |i| i.version = 0);
    intent_breaks("interfaces", |i| i.interfaces.clear());
    intent_breaks("interfaces[0].mac", |i| i.interfaces[0].mac = "01:00:5e:00:00:01".into());
    intent_breaks("interfaces[0].address", |i| i.interfaces[0].address = "10.77.0".into());
    intent_breaks("target", |i| i.target = None);
    intent_breaks("ephemeral.boot_id", |i| ephemeral(i).boot_id.clear());
    intent_breaks("ephemeral.token", |i| ephemeral(i).token = "a b".into());
    intent_breaks("ephemeral.purpose", |i| ephemeral(i).purpose.clear());
    intent_breaks("ephemeral.expires_unix", |i| ephemeral(i).expires_unix = 0);
    intent_breaks("ephemeral.image", |i| ephemeral(i).image = None);
    intent_breaks("ephemeral.image.kernel", |i| ephemeral(i).image.as_mut().unwrap().kernel = None);
    intent_breaks("ephemeral.image.extra_cmdline", |i| {
        ephemeral(i).image.as_mut().unwrap().extra_cmdline = "a\nb".into();
    });
    intent_breaks("ephemeral.image.initrd.sha256", |i| {
        let image = ephemeral(i).image.as_mut().unwrap();
        image.initrd.as_mut().unwrap().sha256 = "../../etc/passwd".into();
    });
    intent_breaks("local_disk.boot_id", |i| {
        let disk = proto::LocalDisk { boot_id: String::new(), phone_home_sha256: digest() };
        i.target = Some(proto::boot_intent::Target::LocalDisk(disk));
    });
}

#[track_caller]
fn header_breaks(field: &str, change: impl FnOnce(&mut proto::SnapshotHeader)) {
    let mut broken = header();
    change(&mut broken);
    let error = SnapshotParts::new(broken).unwrap_err().to_string();
    assert!(error.starts_with(&format!("header.{field}:")), "{error}");
}

#[test]
fn each_wrong_field_of_a_snapshot_is_named() {
    header_breaks("snapshot_id", |h| h.snapshot_id.clear());
    header_breaks("subnets[0].cidr", |h| h.subnets[0].cidr = "10.77.0.1/24".into());
    header_breaks("subnets[0].gateway", |h| h.subnets[0].gateway = "10.78.0.1".into());
    header_breaks("subnets[0].dns_servers[0]", |h| h.subnets[0].dns_servers[0] = "dns".into());
    header_breaks("subnets[0].dynamic_start", |h| h.subnets[0].dynamic_start = "10.77.0.0".into());
    header_breaks("subnets[0].dynamic_end", |h| h.subnets[0].dynamic_end = "10.77.0.99".into());
    header_breaks("subnets[0].lease_seconds", |h| h.subnets[0].lease_seconds = 0);
    header_breaks("subnets[1].cidr", |h| h.subnets.push(h.subnets[0].clone()));
}

#[test]
fn a_machine_an_interface_or_an_address_comes_once() {
    for (field, change) in [
        ("machine_id", (|_| {}) as fn(&mut proto::BootIntent)),
        ("interfaces[0].mac", |i| i.machine_id = ID.replace("01", "02")),
        ("interfaces[0].address", |i| {
            i.machine_id = ID.replace("01", "02");
            i.interfaces[0].mac = "52:54:00:00:00:02".into();
        }),
    ] {
        let mut parts = SnapshotParts::new(header()).unwrap();
        parts.add(intent()).unwrap();
        let mut second = intent();
        change(&mut second);
        let error = parts.add(second).unwrap_err().to_string();
        assert!(error.starts_with(&format!("intents[1].{field}:")) && error.ends_with("comes twice"), "{error}");
    }
}

#[test]
fn bmcs_are_checked_and_their_secrets_not_shown() {
    for (field, change) in [
        ("protocol", (|b| b.protocol = 9) as fn(&mut proto::Bmc)),
        ("address", |b| b.address = "bmc.example".into()),
        ("port", |b| b.port = 70_000),
        ("username", |b| b.username = "x".repeat(17)),
        ("password", |b| b.password = "hunter2hunter2hunter2".into()),
        ("certificate_sha256", |b| b.certificate_sha256 = "A0".into()),
    ] {
        let mut broken = bmc();
        change(&mut broken);
        let error = broken.checked("bmc").unwrap_err().to_string();
        assert!(error.starts_with(&format!("bmc.{field}:")) && !error.contains("hunter2"), "{error}");
    }
    assert!(None::<proto::Bmc>.checked("bmc").is_err());
    assert_eq!(account("a b".into(), "x".into()).unwrap_err().to_string().split(':').next(), Some("username"));
    assert_eq!(account("ab".into(), String::new()).unwrap_err().to_string().split(':').next(), Some("password"));
}

#[test]
fn only_who_says_that_somebody_waits_goes_before_polls() {
    let class = |number| urgency(proto::GetPowerRequest { bmc: None, urgency: number }.urgency());
    assert_eq!([0, 1, 99].map(class), [Class::Polling; 3]);
    assert_eq!([2, 3].map(class), [Class::Inventory, Class::Lifecycle]);
}
