//! The real agent in a simulated machine, against services that only this test knows. Needs root, and no virtual machine.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/lab.rs"]
mod lab;

use std::{fs, path::Path, process::Command, sync::Arc};

use farrier_fleet::{
    agent::program::{AgentKind, CrashPlan, Layout, Program, ProgramSpec},
    boot::Firmware,
    chassis::Cause,
    disk::{Content, Disks},
    http::Depth,
    machine::brain::Whereabouts,
    truth::Fact,
};
use farrier_integration_tests::binaries::binary;
use farrier_proto::{
    agent::{EraseTask, InventoryTask, next_task_response::Task, report_task_request::Report},
    v1,
};

use self::lab::{Lab, until};

const SIZES: [u64; 2] = [256 << 20, 512 << 20];

/// A disk image that others made: a GPT with a boot partition and a root of ext4.
fn image(dir: &Path) -> Vec<u8> {
    let path = dir.join("image.raw");
    fs::File::create(&path).unwrap().set_len(48 << 20).unwrap();
    let table = "label: gpt\nstart=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, name=bios\n\
                 start=4096, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root\n";
    fs::write(dir.join("table"), table).unwrap();
    let table = fs::File::open(dir.join("table")).unwrap();
    let done = Command::new("sfdisk").arg("-q").arg(&path).stdin(table).status().unwrap();
    assert!(done.success());
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-L", "rootfs", "-E", "offset=2097152"]).arg(&path).arg("40m");
    assert!(make.status().unwrap().success());
    fs::read(&path).unwrap()
}

struct Real {
    dir: tempfile::TempDir,
    content: Vec<u8>,
    plan: CrashPlan,
    program: Program,
    lab: Lab,
}

impl Real {
    /// A machine whose disks hold something that somebody left.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (content, plan) = (image(dir.path()), CrashPlan::default());
        let layout = Layout::of_image(&dir.path().join("image.raw"), dir.path()).await.unwrap();
        assert_eq!(layout.partitions().len(), 2);
        let binary = binary("farrier-agent").unwrap();
        let program = Program::new(ProgramSpec { binary, dir: dir.path().join("m1"), layout, plan: plan.clone() });
        let agent = program.clone();
        let lab = Lab::with(Depth::Full, Firmware::BiosIpxe, &SIZES, |disks: &Disks| {
            disks.mark(0, 70);
            disks.mark(1, 71);
            AgentKind::Program(agent)
        });
        Self { lab: lab.await, dir, content, plan, program }
    }

    fn write(&self) -> Task {
        self.lab.image_of(&self.content, v1::Compression::Zstd)
    }

    fn count(&self, fact: Fact) -> u64 {
        self.lab.chassis.truth().of(fact)
    }

    fn said(&self) -> String {
        self.program.said().unwrap_or_default()
    }
}

fn seed_is_read_by(real: &Real) -> String {
    let disks = real.lab.disks.list();
    let Content::Image(installed) = &disks[0].content else { panic!("{:?}\n{}", disks[0].content, real.said()) };
    String::from_utf8(installed.seed.meta_data.clone()).unwrap()
}

#[tokio::test]
async fn the_real_agent_takes_a_machine_through_its_life() {
    let mut real = Real::new().await;
    *real.lab.world.script.lock().unwrap() = real.lab.script("");
    real.lab.pass().await;
    let enlisted = real.lab.world.enlisted.lock().unwrap()[0].identity.clone().unwrap();
    let mut identity = real.lab.hardware.identity();
    identity.bmc_address.clear();
    assert_eq!(enlisted, identity, "{}", real.said());

    real.lab.serve([Task::Inventory(InventoryTask {}), real.write()]);
    let reports = real.lab.pass().await;
    let [Report::Inventory(found), Report::WriteImage(written), Report::PowerOff(_)] = reports.as_slice() else {
        panic!("{reports:?}\n{}", real.said())
    };
    assert_eq!(found.hardware, Some(real.lab.hardware.inventory(&real.lab.disks)));
    assert_eq!(written.disk_serial, real.lab.disks.list()[0].serial, "the smaller disk");
    assert_eq!(seed_is_read_by(&real), r#"{"instance-id":"7","local-hostname":"calm-otter"}"#);
    assert_eq!((real.count(Fact::Install), real.count(Fact::Wipe)), (1, 0));
    assert_eq!(real.lab.disks.list()[1].content, Content::Marked(71));

    real.lab.local_disk();
    real.lab.chassis.power_on(Cause::Bmc);
    real.lab.reach(Whereabouts::System).await;
    until("phoning home", || !real.lab.world.phoned.lock().unwrap().is_empty()).await;
    assert_eq!(real.lab.world.phoned.lock().unwrap().as_slice(), ["hostname=calm-otter"]);
    assert!(real.lab.chassis.soft());
    real.lab.reach(Whereabouts::Off).await;

    real.lab.serve([Task::Erase(EraseTask { sample_permille: 10 })]);
    let reports = real.lab.pass().await;
    let [Report::Erase(erased), Report::PowerOff(_)] = reports.as_slice() else { panic!("{reports:?}") };
    let methods: Vec<_> = erased.disks.iter().map(|d| d.method.as_str()).collect();
    assert_eq!(methods, ["discard", "write-zeroes"]);
    assert_eq!((real.count(Fact::Install), real.count(Fact::Wipe)), (1, 2));
    assert!(real.lab.disks.list().iter().all(|disk| disk.content == Content::Blank));
    assert_eq!(fs::read(real.dir.path().join("m1/dev/sda")).unwrap(), vec![0; 512 << 20]);
    let left = Command::new("losetup").arg("-a").output().unwrap();
    let left = String::from_utf8(left.stdout).unwrap();
    assert!(!left.contains(real.dir.path().to_str().unwrap()), "{left}");
}

#[tokio::test]
async fn a_machine_that_dies_at_any_point_starts_anew_and_gets_through() {
    let mut real = Real::new().await;
    let truth = Arc::clone(real.lab.chassis.truth());
    let write = ["image-writing", "image-written", "seed-laid", "work-done", "reported"];
    let erase = ["erase-begun", "erasing", "work-done", "reported"];
    let first = ["hello-answered".to_owned(), "task-received/inventory".to_owned()];
    let cells =
        first.into_iter().chain(write.map(|p| format!("{p}/write-image"))).chain(["task-received/erase".to_owned()]);
    let cells: Vec<_> =
        cells.chain(erase.map(|p| format!("{p}/erase"))).chain(["work-done/power-off".to_owned()]).collect();
    cells.iter().for_each(|cell| real.plan.push(cell));
    let write = real.write();
    real.lab.serve([Task::Inventory(InventoryTask {}), write, Task::Erase(EraseTask { sample_permille: 0 })]);
    let reports = real.lab.pass_within(std::time::Duration::from_secs(240)).await;
    assert!(
        matches!(reports[..], [Report::Inventory(_), Report::WriteImage(_), Report::Erase(_), Report::PowerOff(_)]),
        "{reports:?}\n{}",
        real.said()
    );
    let hits = real.plan.hits();
    let told = |cell: &String| if cell == "hello-answered" { "hello-answered/".to_owned() } else { cell.clone() };
    assert_eq!(hits, cells.iter().map(told).collect::<Vec<_>>(), "{}", real.said());
    assert!(real.plan.left().is_empty());
    let resets = u64::try_from(cells.len()).unwrap();
    // Three writings came to their end: those that died after the seed was laid, after the work, and after the report.
    assert_eq!((truth.of(Fact::Reset), truth.of(Fact::Install)), (resets, 3), "{}", real.said());
    assert!(real.lab.disks.list().iter().all(|disk| disk.content == Content::Blank));
}

#[tokio::test]
async fn a_power_cut_takes_the_agent_along_and_leaves_a_torn_disk() {
    let mut real = Real::new().await;
    let boot = real.lab.serve([]);
    real.lab.world.tasks.lock().unwrap().clear();
    real.lab.chassis.power_on(Cause::Bmc);
    real.lab.reach(Whereabouts::Agent).await;
    until("hello", || !real.lab.world.hello.lock().unwrap().is_empty()).await;
    assert_eq!(real.lab.world.hello.lock().unwrap()[0].boot_id, boot.to_string());
    real.lab.chassis.power_off(Cause::Bmc);
    real.lab.reach(Whereabouts::Off).await;
    real.lab.world.tasks.lock().unwrap().push_back(("t".to_owned(), Task::Erase(EraseTask::default())));
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert!(real.lab.world.reports.lock().unwrap().is_empty(), "nobody is there to do it");
    real.program.look(&real.lab.disks).await.unwrap();
    assert_eq!(real.lab.disks.list()[0].content, Content::Marked(70));

    // Died in the middle: a part of an image, over what was there.
    real.plan.push("image-writing");
    let write = real.write();
    real.lab.serve([write]);
    real.lab.chassis.power_on(Cause::Bmc);
    until("the crash", || real.lab.chassis.truth().of(Fact::Reset) == 1).await;
    assert_eq!(real.lab.disks.list()[0].content, Content::Torn, "{}", real.said());
    real.lab.reach(Whereabouts::Off).await;
    assert_eq!(real.count(Fact::Install), 1);
}
