//! A machine's whole life against services that only this test knows: DHCP by relay, HTTP and `AgentService` on the loopback.
//! Nobody has to be root.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/lab.rs"]
mod lab;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use farrier_fleet::{
    boot::Firmware,
    chassis::{BootOverride, BootTarget, Cause},
    disk::Content,
    http::Depth,
    machine::{
        Machine,
        brain::Whereabouts,
        fault::{DiskWork, Fault},
    },
    truth::Fact,
};
use farrier_proto::{
    agent::{EraseTask, InventoryTask, next_task_response::Task, report_task_request::Report},
    v1,
};

use self::lab::{Lab, build, until};

#[tokio::test]
async fn a_machine_lives_its_whole_life() {
    let mut lab = Lab::new(Depth::Full, Firmware::BiosIpxe).await;
    let truth = Arc::clone(lab.chassis.truth());
    *lab.world.script.lock().unwrap() = lab.script("");
    lab.pass().await;
    let enlisted = lab.world.enlisted.lock().unwrap()[0].identity.clone().unwrap();
    assert_eq!((enlisted.vendor.as_str(), enlisted.macs.len()), ("Dell Inc.", 2));

    // Inventory, whose report gets lost twice, and an image.
    *lab.world.lose.lock().unwrap() = 2;
    lab.serve([Task::Inventory(InventoryTask {}), lab.image(v1::Compression::Zstd)]);
    let reports = lab.pass().await;
    let [Report::Inventory(found), Report::WriteImage(written), Report::PowerOff(_)] = reports.as_slice() else {
        panic!("{reports:?}")
    };
    let hardware = found.hardware.clone().unwrap();
    assert_eq!((hardware.serial.as_str(), hardware.disks.len()), (lab.hardware.serial.as_str(), 2));
    assert_eq!(written.disk_serial, hardware.disks[0].serial, "the smaller disk");
    assert_eq!(truth.of(Fact::Install), 1);

    // The installed system, and its shutdown.
    lab.local_disk();
    lab.chassis.power_on(Cause::Bmc);
    lab.reach(Whereabouts::System).await;
    until("phoning home", || !lab.world.phoned.lock().unwrap().is_empty()).await;
    assert_eq!(lab.world.phoned.lock().unwrap().as_slice(), ["hostname=calm-otter"]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(lab.chassis.reset(Cause::Bmc));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(lab.world.phoned.lock().unwrap().len(), 1, "cloud-init phones home once for each installation");
    lab.reach(Whereabouts::System).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(lab.chassis.soft());
    lab.reach(Whereabouts::Off).await;

    lab.serve([Task::Erase(EraseTask { sample_permille: 10 })]);
    let reports = lab.pass().await;
    let [Report::Erase(erased), Report::PowerOff(_)] = reports.as_slice() else { panic!("{reports:?}") };
    let methods: Vec<_> = erased.disks.iter().map(|d| d.method.as_str()).collect();
    assert_eq!(methods, ["discard", "overwrite"]);
    assert!(erased.disks.iter().all(|d| d.sampled_bytes > 32 << 20 && d.sampled_bytes < d.size_bytes));
    assert_eq!((truth.of(Fact::Wipe), lab.disks.bootable().is_none()), (2, true));
    lab.local_disk();
    lab.chassis.power_on(Cause::Bmc);
    lab.reach(Whereabouts::NothingToBoot).await;
}

#[tokio::test]
async fn images_are_really_decoded_and_what_is_wrong_is_reported() {
    let mut lab = Lab::new(Depth::Full, Firmware::BiosIpxe).await;
    for (compression, change, good) in [
        (v1::Compression::Gzip, false, true),
        (v1::Compression::None, false, true),
        (v1::Compression::Zstd, true, false),
        (v1::Compression::Gzip, true, false),
    ] {
        let Task::WriteImage(mut task) = lab.image(compression) else { panic!() };
        let blob = task.blob.as_mut().unwrap();
        if change {
            blob.content_sha256 = "0".repeat(64);
        }
        lab.serve([Task::WriteImage(task)]);
        let reports = lab.pass().await;
        assert_eq!(matches!(reports[0], Report::WriteImage(_)), good, "{compression:?} {:?}", reports[0]);
    }
    assert_eq!(lab.disks.list()[0].content, Content::Torn);
    assert_eq!(lab.chassis.truth().of(Fact::Install), 2);
}

#[tokio::test]
async fn the_cheap_mode_loads_an_image_once_and_asks_each_time() {
    let mut lab = Lab::new(Depth::Shared, Firmware::BiosIpxe).await;
    for n in 1..=3 {
        lab.serve([lab.image(v1::Compression::Zstd)]);
        lab.world.gets.lock().unwrap().clear();
        let reports = lab.pass().await;
        assert!(matches!(reports[0], Report::WriteImage(_)));
        let ranges = lab.world.gets.lock().unwrap().clone();
        assert_eq!(ranges, ["", "", if n == 1 { "" } else { "bytes=0-0" }]);
    }
    assert_eq!(lab.chassis.truth().of(Fact::Install), 3);
}

#[tokio::test]
async fn faults_strike_where_they_are_armed() {
    let mut lab = Lab::new(Depth::Full, Firmware::BiosIpxe).await;
    let truth = Arc::clone(lab.chassis.truth());
    lab.faults.arm(Fault::DiskFails { serial: String::new(), on: DiskWork::Erase }, 1);
    lab.faults.arm(Fault::DropPacket { permille: 1000 }, 2);
    lab.faults.arm(Fault::DuplicatePacket { permille: 1000 }, 2);
    lab.serve([Task::Erase(EraseTask { sample_permille: 0 }), lab.image(v1::Compression::Zstd)]);
    let reports = lab.pass().await;
    assert!(matches!(&reports[0], Report::Failed(f) if f.reason.starts_with("1 of 2 disks not erased")), "{reports:?}");
    assert_eq!((truth.of(Fact::Wipe), truth.of(Fact::Install), lab.faults.left().len()), (1, 1, 0));

    // It dies in mid-write, starts anew by itself, and does the same again.
    lab.faults.arm(Fault::DieInWrite { permille: 500 }, 1);
    lab.serve([lab.image(v1::Compression::Zstd)]);
    lab.chassis.power_on(Cause::Bmc);
    until("the reset", || truth.of(Fact::Reset) == 1).await;
    lab.reach(Whereabouts::Off).await;
    assert_eq!((truth.of(Fact::Install), truth.of(Fact::Reset)), (2, 1));

    lab.faults.arm(Fault::NeverBoot, 1);
    lab.chassis.power_on(Cause::Bmc);
    lab.reach(Whereabouts::Hung).await;
    lab.chassis.cycle(Cause::Bmc);
    lab.reach(Whereabouts::Agent).await;
}

#[tokio::test]
async fn a_power_cut_ends_what_goes_on() {
    let mut lab = Lab::new(Depth::Full, Firmware::BiosIpxe).await;
    let boot = lab.serve([]);
    // Nothing to do: the agent asks and asks.
    lab.world.tasks.lock().unwrap().clear();
    let target = BootTarget::Network;
    lab.chassis.set_boot(Some(BootOverride { target, persistent: false, uefi: false, http_uri: None }));
    lab.chassis.power_on(Cause::Bmc);
    lab.reach(Whereabouts::Agent).await;
    until("hello", || !lab.world.hello.lock().unwrap().is_empty()).await;
    assert_eq!(lab.world.hello.lock().unwrap()[0].boot_id, boot.to_string());
    lab.chassis.power_off(Cause::Bmc);
    lab.reach(Whereabouts::Off).await;
    lab.world.tasks.lock().unwrap().push_back(("t".to_owned(), Task::Erase(EraseTask::default())));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(lab.world.reports.lock().unwrap().is_empty());
    assert_eq!(lab.chassis.truth().of(Fact::Wipe), 0);
}

#[tokio::test]
async fn hundreds_enlist_at_once() {
    const MACHINES: u32 = 300;
    let lab = Lab::new(Depth::Shared, Firmware::BiosIpxe).await;
    *lab.world.script.lock().unwrap() = lab.script("");
    let mut all = Vec::new();
    for index in 100..100 + MACHINES {
        let (parts, dice) = build(index, lab.network.clone(), Firmware::BiosIpxe);
        let chassis = parts.chassis.clone();
        tokio::spawn(Machine::new(parts, dice).run());
        assert!(chassis.power_on(Cause::Bmc));
        all.push(chassis);
    }
    until("everybody's power-off", || all.iter().all(|chassis| !chassis.is_on())).await;
    let enlisted = lab.world.enlisted.lock().unwrap().clone();
    let macs: BTreeSet<_> = enlisted.iter().flat_map(|e| e.identity.clone().unwrap().macs).collect();
    assert_eq!(macs.len(), 2 * MACHINES as usize, "each is another machine");
    assert!(all.iter().all(|chassis| chassis.truth().of(Fact::PowerOff) == 1 && chassis.truth().of(Fact::Reset) == 0));
}
