//! Simulated machines of every vendor live their whole life beside the real region and rack. What really happened to them
//! is the judge.
//!
//! Needs root. The machines are in a network namespace of their own, on the lab's bridge, and ask for addresses through a relay.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddrV4},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use farrier_common::{clock::Clock, hardware::Architecture, net::MacAddr};
use farrier_fleet::{
    accounts::{Accounts, SharedAccounts, User},
    agent::Patience,
    boot::{Firmware, Network, Pace, Source, segment::Segment},
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
    assets::System,
    daemons::RegionOptions,
    lab::{Lab, text},
    process,
    site::Site,
};
use nix::sched::{CloneFlags, setns};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(600);
const VENDORS: [&str; 5] = ["dell", "hpe", "supermicro", "lenovo", "openbmc"];
const FIRMWARES: [Firmware; 2] = [Firmware::BiosIpxe, Firmware::UefiPxe(Architecture::Amd64)];
const RACK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 67);
const RELAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 250), 67);

/// One simulated machine, as the test sees it.
struct Member {
    vendor: &'static str,
    mac: String,
    bmc: Ipv4Addr,
    chassis: Chassis,
    accounts: SharedAccounts,
    disks: Disks,
    truth: Arc<Truth>,
}

/// The machines' network namespace; gone with this.
struct Cave(String);

impl Cave {
    /// On the lab's bridge, with every address that a machine or its BMC may have.
    fn beside(lab: &Lab) -> anyhow::Result<Self> {
        let cave = Self(format!("{}-fleet", lab.net().name()));
        let name = cave.0.clone();
        let outside = |arguments: &str| {
            let mut command = lab.net().command("ip");
            command.args(arguments.split_whitespace());
            process::succeed(command, SOON)
        };
        outside(&format!("netns add {name}"))?;
        outside(&format!("link add fleet0 type veth peer name eth0 netns {name}"))?;
        outside("link set fleet0 master br0")?;
        outside("link set fleet0 up")?;
        outside("route add 10.78.1.0/24 dev br0")?;
        for arguments in [
            "link set lo up",
            "link set eth0 up",
            "addr add 10.77.0.250/24 dev eth0",
            "route add local 10.77.0.0/24 dev lo",
            "route add table local 10.77.0.1/32 dev eth0 scope link src 10.77.0.250",
            "route add local 10.78.1.0/24 dev lo",
        ] {
            outside(&format!("-n {name} {arguments}"))?;
        }
        Ok(cave)
    }

    /// Runs the machines on a thread inside, until told to stop.
    fn populate(&self, stop: CancellationToken) -> anyhow::Result<(Vec<Member>, thread::JoinHandle<()>)> {
        let namespace = File::open(format!("/run/netns/{}", self.0))?;
        let (give, take) = mpsc::channel();
        let inside = thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut host = Host::new(VENDORS.len() * FIRMWARES.len());
                give.send(machines(&mut host).await).unwrap();
                stop.cancelled().await;
            });
        });
        let members = take.recv().context("the machines' thread died")?;
        Ok((members, inside))
    }
}

impl Drop for Cave {
    fn drop(&mut self) {
        let mut command = std::process::Command::new("ip");
        command.args(["netns", "del", &self.0]);
        if let Err(error) = process::succeed(command, SOON) {
            println!("namespace {} is left: {error}", self.0);
        }
    }
}

/// One machine of each vendor and firmware, switched off.
async fn machines(host: &mut Host) -> Vec<Member> {
    let network = Network {
        segment: Segment::relay(RELAY, RACK).unwrap(),
        source: Source::Leased,
        tftp_port: 69,
        pace: Pace::new(0.01),
        seen: Seen::new(Depth::Full, 0),
    };
    let mut members = Vec::new();
    for (n, (vendor, firmware)) in VENDORS.iter().flat_map(|v| FIRMWARES.map(|f| (*v, f))).enumerate() {
        let index = u8::try_from(n + 1).unwrap();
        members.push(member(host, &network, index, vendor, firmware).await);
    }
    members
}

async fn member(host: &mut Host, network: &Network, index: u8, vendor: &'static str, firmware: Firmware) -> Member {
    let bmc = Ipv4Addr::new(10, 78, 1, index);
    let truth = Arc::new(Truth::default());
    let chassis = Chassis::new(Arc::clone(&truth));
    let personality = Personality::shipped(vendor).unwrap();
    let accounts = Accounts::shared(Arc::clone(&personality), Arc::clone(&truth));
    let mut dice = Dice::new(index.into());
    let make = Make::of(vendor);
    let disks = vec![4 << 30, 8 << 30];
    let order = Order { make, index: index.into(), firmware, nics: 2, disks, bmc_address: bmc.to_string() };
    let (hardware, disks) = Hardware::build(&order, &mut dice);
    let mac = hardware.identity().macs.first().unwrap().clone();
    let identity = Identity {
        address: bmc,
        mac: MacAddr([2, 0, 0, 0, 1, index]),
        guid: [index; 16],
        serial: hardware.identity().serial.clone(),
    };
    let server = Server::new(
        identity,
        personality,
        chassis.clone(),
        Arc::clone(&accounts),
        BmcFaults::shared(),
        dice.fork("bmc"),
    );
    host.add((bmc, 623).into(), server).await.unwrap();
    let disks = Disks::new(disks, Arc::clone(&truth));
    let parts = Parts {
        chassis: chassis.clone(),
        hardware,
        disks: disks.clone(),
        network: network.clone(),
        order: BootOrder::NetworkFirst,
        faults: Faults::default(),
        clock: Clock::System,
        patience: Patience::default(),
    };
    tokio::spawn(Machine::new(parts, dice.fork("machine")).run());
    Member { vendor, mac, bmc, chassis, accounts, disks, truth }
}

impl Member {
    fn holds_image(&self) -> bool {
        self.disks.list().iter().any(|d| matches!(d.content, Content::Image(_)))
    }

    /// Everybody on its BMC by slot: name, access and password.
    fn users(&self) -> Vec<(String, String)> {
        let accounts = self.accounts.lock().unwrap();
        let key = |user: &User| user.key().map(|key| key.expose().clone());
        accounts.users().iter().map(|user| (user.name.clone(), format!("{user:?} {:?}", key(user)))).collect()
    }

    /// Is exactly one slot another than before, and is it ours?
    fn only_ours_is_new(&self, before: &[(String, String)]) -> bool {
        let after = self.users();
        let changed: Vec<_> = after.iter().zip(before).filter(|(now, then)| now != then).collect();
        after.len() == before.len() && matches!(changed[..], [((name, _), _)] if name == "maas")
    }
}

fn commission(lab: &Lab, site: &Site, member: &Member, name: &str) -> anyhow::Result<()> {
    let personality = Personality::shipped(member.vendor)?;
    let factory = &personality.accounts.factory;
    let password = text(&lab.write(&format!("{name}.bmc"), &factory.password)?);
    let bmc = member.bmc.to_string();
    let given = ["--bmc-address", &bmc, "--bmc-user", &factory.name, "--bmc-password-file", &password];
    site.admin.run(&[&["machine", "commission", name][..], &given].concat())?;
    Ok(())
}

fn live(lab: &Lab, members: &[Member]) -> anyhow::Result<()> {
    let site = Site::start(lab, &RegionOptions::default(), System::Mini)?;
    members.iter().for_each(|m| assert!(m.chassis.power_on(Cause::Button)));
    let names: Vec<String> = members.iter().map(|m| Ok(site.enlisted(&m.mac)?)).collect::<anyhow::Result<_>>()?;
    let before: Vec<_> = members.iter().map(Member::users).collect();
    let all_reach = |state: &str| names.iter().try_for_each(|n| site.reaches(n, state, LIMIT).map(|_| ()));
    let each = |verb: &[&str]| {
        names.iter().try_for_each(|n| site.admin.run(&[&["machine", verb[0], n], &verb[1..]].concat()).map(|_| ()))
    };

    members.iter().zip(&names).try_for_each(|(m, n)| commission(lab, &site, m, n))?;
    all_reach("ready")?;
    each(&["allocate"])?;
    each(&["deploy", "--image", System::Mini.name()])?;
    all_reach("deployed")?;
    for member in members {
        ensure!(member.holds_image(), "{}: deployed, but no disk holds the image", member.vendor);
    }
    each(&["release"])?;
    all_reach("ready")?;

    for (member, before) in members.iter().zip(&before) {
        let happened = member.truth.snapshot();
        let of = |fact| member.truth.of(fact);
        ensure!(of(Fact::Install) == 1, "{}: {happened:?}", member.vendor);
        ensure!(of(Fact::Wipe) == 2, "{}: both disks are wiped once: {happened:?}", member.vendor);
        ensure!(of(Fact::AccountMade) == 1, "{}: {happened:?}", member.vendor);
        ensure!(of(Fact::LoginRefused) == 0 && of(Fact::Lockout) == 0, "{}: {happened:?}", member.vendor);
        ensure!(of(Fact::PowerOn) <= 5, "{}: {happened:?}", member.vendor);
        ensure!(!member.holds_image(), "{}: a disk still holds the image", member.vendor);
        ensure!(member.only_ours_is_new(before), "{}: other accounts changed", member.vendor);
    }
    Ok(())
}

#[test]
fn machines_of_every_vendor_live_beside_the_real_daemons() {
    let lab = Lab::new().expect("this host can hold a virtual lab");
    let cave = Cave::beside(&lab).unwrap();
    let stop = CancellationToken::new();
    let (members, inside) = cave.populate(stop.clone()).unwrap();
    let lived = live(&lab, &members);
    stop.cancel();
    inside.join().unwrap();
    if let Err(error) = lived {
        for member in &members {
            println!("{} {}: {:?}", member.vendor, member.mac, member.truth.snapshot());
        }
        panic!("{error:#}");
    }
}
