//! One simulated machine with the real agent lives beside the real region and rack, and its agent dies in each state: the
//! region gives it a fresh boot by itself, and soon. Needs root, and no virtual machine.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::{
    net::SocketAddrV4,
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use farrier_common::{clock::Clock, net::MacAddr};
use farrier_fleet::{
    accounts::Accounts,
    agent::{
        Patience,
        program::{AgentKind, CrashPlan, Layout, Program, ProgramSpec},
    },
    boot::{Firmware, Network, Pace, Source, segment::Segment},
    cave::{self, Cave},
    chassis::{Cause, Chassis},
    dice::Dice,
    disk::{Content, Disks},
    http::{Depth, Seen},
    ipmi::{Faults as BmcFaults, Identity, Server, host::Host},
    machine::{
        Machine, Parts,
        brain::BootOrder,
        fault::Faults,
        hardware::{Hardware, Make, Order},
    },
    personality::Personality,
    truth::{Fact, Truth},
};
use farrier_integration_tests::{
    assets::{System, disk_image},
    binaries::binary,
    daemons::RegionOptions,
    lab::{Lab, text},
    site::Site,
};
use tokio_util::sync::CancellationToken;

const VENDOR: &str = "dell";
const DISKS: [u64; 2] = [512 << 20, 1 << 30];
/// For each state; real waits of the agent and the engine are in it.
const LIMIT: Duration = Duration::from_secs(180);

struct Member {
    mac: String,
    chassis: Chassis,
    disks: Disks,
    truth: Arc<Truth>,
}

/// A machine that is off; its disks hold something that somebody left.
async fn machine(host: &mut Host, program: Program) -> anyhow::Result<Member> {
    let (mut dice, vendor) = (Dice::new(3), Personality::shipped(VENDOR)?);
    let truth = Arc::new(Truth::default());
    let chassis = Chassis::new(Arc::clone(&truth));
    let accounts = Accounts::shared(Arc::clone(&vendor), Arc::clone(&truth));
    let order = Order {
        make: Make::of(VENDOR),
        index: 1,
        firmware: Firmware::BiosPxe,
        nics: 2,
        disks: DISKS.to_vec(),
        bmc_address: String::new(),
    };
    let (hardware, disks) = Hardware::build(&order, &mut dice);
    let identity = Identity {
        address: cave::FIRST_BMC,
        mac: MacAddr([2, 0, 1, 0, 0, 1]),
        guid: dice.bytes(),
        serial: hardware.serial.clone(),
    };
    let server = Server::new(identity, vendor, chassis.clone(), accounts, BmcFaults::shared(), dice.fork("bmc"));
    host.add(SocketAddrV4::new(cave::FIRST_BMC, 623).into(), server).await?;
    let (disks, mac) = (Disks::new(disks, Arc::clone(&truth)), hardware.macs[0].to_string());
    (0..DISKS.len()).for_each(|n| disks.mark(n, 77));
    let parts = Parts {
        chassis: chassis.clone(),
        hardware,
        bmc: None,
        disks: disks.clone(),
        network: Network {
            segment: Segment::relay(cave::RELAY, cave::RACK)?,
            source: Source::Leased,
            tftp_port: 69,
            pace: Pace::new(0.01),
            seen: Seen::new(Depth::Full, 0),
        },
        order: BootOrder::NetworkFirst,
        faults: Faults::default(),
        clock: Clock::System,
        patience: Patience::default(),
    };
    tokio::spawn(Machine::new(parts, dice).with_agent(AgentKind::Program(program)).run());
    Ok(Member { mac, chassis, disks, truth })
}

/// Lets the machine live in the cave until told to stop.
fn inhabit(cave: Cave, program: Program, stop: CancellationToken) -> anyhow::Result<(Member, thread::JoinHandle<()>)> {
    let (give, take) = mpsc::channel();
    let inside = thread::spawn(move || {
        cave.enter().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut host = Host::new(1);
            give.send(machine(&mut host, program).await).unwrap();
            stop.cancelled().await;
        });
    });
    Ok((take.recv().context("the machine's thread died")??, inside))
}

/// Waits for a state; tells how long it took.
fn reach(site: &Site, name: &str, state: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    site.reaches(name, state, LIMIT)?;
    println!("{state} after {:.1} s", start.elapsed().as_secs_f32());
    Ok(())
}

fn live(lab: &Lab, site: &Site, member: &Member, plan: &CrashPlan) -> anyhow::Result<()> {
    assert!(member.chassis.power_on(Cause::Button));
    let name = site.enlisted(&member.mac)?;
    let factory = &Personality::shipped(VENDOR)?.accounts.factory;
    let password = text(&lab.write("bmc", &factory.password)?);
    let bmc = cave::FIRST_BMC.to_string();
    let given = ["--bmc-address", &bmc, "--bmc-user", &factory.name, "--bmc-password-file", &password];

    plan.push("hello-answered");
    plan.push("work-done/inventory");
    site.admin.run(&[&["machine", "commission", &name][..], &given].concat())?;
    reach(site, &name, "ready")?;
    site.admin.run(&["machine", "allocate", &name])?;
    plan.push("image-writing");
    plan.push("work-done/write-image");
    site.admin.run(&["machine", "deploy", &name, "--image", System::Mini.name()])?;
    reach(site, &name, "deployed")?;
    ensure!(matches!(member.disks.list()[0].content, Content::Image(_)), "{:?}", member.disks.list());
    plan.push("erasing");
    plan.push("reported/power-off");
    site.admin.run(&["machine", "release", &name])?;
    reach(site, &name, "ready")?;

    let expected = [
        "hello-answered/commissioning",
        "work-done/inventory",
        "image-writing/write-image",
        "work-done/write-image",
        "erasing/erase",
        "reported/power-off",
    ];
    ensure!(plan.hits() == expected && plan.left().is_empty(), "{:?} {:?}", plan.hits(), plan.left());
    let happened = member.truth.snapshot();
    // The one whose report was never heard was whole as well: it is written again.
    ensure!(member.truth.of(Fact::Install) == 2, "{happened:?}");
    ensure!(member.disks.list().iter().all(|disk| disk.content == Content::Blank), "{:?}", member.disks.list());
    ensure!(member.truth.of(Fact::AccountMade) == 1, "{happened:?}");
    let failures = site.transitions(&name)?.into_iter().filter(|to| to.contains("fail"));
    ensure!(failures.count() == 0, "{:?}", site.transitions(&name)?);
    println!("{happened:?}");
    Ok(())
}

#[test]
fn a_machine_whose_agent_dies_is_booted_again_by_itself() {
    let lab = Lab::new().expect("this host can hold a virtual lab");
    let image = disk_image(System::Mini).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let layout = runtime.block_on(Layout::of_image(&image, lab.dir())).unwrap();
    let (dir, plan) = (lab.dir().join("machine"), CrashPlan::default());
    let binary = binary("farrier-agent").unwrap();
    let program = Program::new(ProgramSpec { binary, dir, layout, plan: plan.clone() });
    let stop = CancellationToken::new();
    let (member, inside) = inhabit(Cave::beside(&lab).unwrap(), program.clone(), stop.clone()).unwrap();
    let site = Site::start(&lab, &RegionOptions::default(), System::Mini).unwrap();
    let lived = live(&lab, &site, &member, &plan);
    stop.cancel();
    inside.join().unwrap();
    if let Err(error) = lived {
        println!("{:?} {:?}\n{}", member.truth.snapshot(), plan, program.said().unwrap_or_default());
        panic!("{error:#}");
    }
    assert!(!Path::new("/run/farrier-root/var").exists(), "what an agent mounts is its own");
}
