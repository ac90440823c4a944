//! A real client, busybox's udhcpc, against the DHCP server in network namespaces.
//!
//! Needs root, iproute2, util-linux and udhcpc; without them the tests fail and say so. Each test has
//! namespaces of its own, without names: the thread's for the rack, a child process's for the machine.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

use std::{
    fs,
    io::Read as _,
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV6},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use chrono::TimeDelta;
use farrier_common::{
    clock::Clock,
    id::{BootId, MachineId},
    net::{Ipv4Range, MacAddr},
    secret::Secret,
};
use farrier_rack::{
    boot::{
        intent::{BlobRef, Ephemeral, EphemeralImage, Intent, Interface, Snapshot, Subnet, Target},
        state::BootState,
        steps::{Step, StepKind, Steps},
    },
    crash::Crash,
    net::dhcp::{self, Leases},
};
use nix::sched::{CloneFlags, setns, unshare};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const KNOWN: &str = "52:54:00:77:00:01";
const UNKNOWN: &str = "52:54:00:77:00:02";
const PATIENCE: Duration = Duration::from_secs(60);

/// The machine's side: a namespace that lives as long as the process in it, with interface `cli0`.
struct Machine {
    holder: Child,
    dir: PathBuf,
}

struct World {
    machine: Machine,
    leases: Leases,
    steps: mpsc::Receiver<Step>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl Machine {
    fn new(mac: &str, dir: &Path) -> Self {
        let holder = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
        let machine = Self { holder, dir: dir.to_owned() };
        let pid = machine.holder.id().to_string();
        // The child enters its namespace some time after it starts.
        let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let theirs = || fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
        while theirs() == own {
            std::thread::yield_now();
        }
        for arguments in [
            "link set lo up".to_owned(),
            format!("link add srv0 type veth peer name cli0 address {mac} netns {pid}"),
            format!("address add {SERVER}/24 dev srv0"),
            "link set srv0 up".to_owned(),
        ] {
            shell("ip", &arguments);
        }
        shell("nsenter", &format!("--net=/proc/{pid}/ns/net ip link set cli0 up"));
        let script = dir.join("script");
        // Not renamed into place, the file could be read half written.
        let text = "#!/bin/sh\nenv | sort > \"$OUT/new\" && mv \"$OUT/new\" \"$OUT/event-$1\"\n\
                    case $1 in bound) ip address replace $ip/$mask dev $interface;; esac\n";
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        machine
    }

    fn udhcpc(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.holder.id()))
            .args(["udhcpc", "-f", "-i", "cli0", "-t", "10", "-T", "1", "-s"])
            .arg(self.dir.join("script"))
            .args(arguments)
            .env("OUT", &self.dir)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// One lease; what the script was told.
    async fn boot(&self, arguments: &[&str]) -> String {
        let _ = fs::remove_file(self.event("bound"));
        let mut command = self.udhcpc(&[&["-q", "-n"], arguments].concat());
        let output = timeout(PATIENCE, command.output()).await.expect("in time").unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::read_to_string(self.event("bound")).unwrap()
    }

    fn event(&self, name: &str) -> PathBuf {
        self.dir.join(format!("event-{name}"))
    }
}

fn shell(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
}

fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    let there =
        |name: &&str| ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|d| Path::new(d).join(name).exists());
    let lacking: Vec<_> = ["ip", "nsenter", "unshare", "udhcpc"].into_iter().filter(|name| !there(name)).collect();
    (!lacking.is_empty()).then(|| format!("not installed: {}", lacking.join(", ")))
}

/// Runs `test` against a rack in a namespace of its own.
fn in_namespace(mac: &str, test: impl AsyncFnOnce(World) + Send) {
    if let Some(reason) = missing() {
        panic!("{reason} (see deploy/debian/prerequisites.sh)");
    }
    let body = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::new(mac, dir.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serve_while(dir.path(), machine, test));
    };
    std::thread::scope(|scope| scope.spawn(body).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

async fn serve_while(dir: &Path, machine: Machine, test: impl AsyncFnOnce(World)) {
    let boot = BootState::open(&dir.join("intents")).unwrap();
    boot.replace(snapshot()).unwrap();
    let leases = Leases::open(&dir.join("leases.json")).unwrap();
    let (steps, receiver) = Steps::channel(100);
    let interfaces = vec![dhcp::Interface { name: "srv0".to_owned(), address: SERVER }];
    let config = dhcp::Config { interfaces, server_port: 67, client_port: 68, http_port: 5248 };
    let stop = CancellationToken::new();
    let serving = dhcp::serve(config, boot, leases.clone(), steps, Clock::System, Crash::default(), stop.clone());
    let testing = async {
        test(World { machine, leases, steps: receiver }).await;
        stop.cancel();
    };
    let (served, ()) = tokio::join!(serving, testing);
    served.unwrap();
}

fn snapshot() -> Snapshot {
    let blob = |c: &str| BlobRef { sha256: c.repeat(64), size: 1 };
    let image = EphemeralImage { kernel: blob("a"), initrd: blob("b"), extra_cmdline: String::new() };
    let ephemeral = Ephemeral {
        boot_id: BootId::generate(),
        token: Secret::random_token(),
        purpose: "commissioning".to_owned(),
        image,
        expires: Clock::System.now() + TimeDelta::hours(1),
    };
    let address = Some([10, 77, 0, 20].into());
    let known = Intent {
        machine_id: MachineId::generate(),
        machine_name: "node-1".to_owned(),
        version: 1,
        interfaces: vec![Interface { mac: KNOWN.parse().unwrap(), address }],
        target: Target::Ephemeral(ephemeral),
    };
    let subnet = Subnet {
        cidr: "10.77.0.0/24".parse().unwrap(),
        gateway: Some(SERVER),
        dns: vec![[10, 77, 0, 2].into()],
        dynamic: Ipv4Range::new([10, 77, 0, 100].into(), [10, 77, 0, 199].into()).unwrap(),
        lease: Duration::from_secs(600),
    };
    Snapshot { id: "s1".to_owned(), subnets: vec![subnet], enlist_image: None, intents: vec![known] }
}

fn value<'a>(environment: &'a str, name: &str) -> &'a str {
    environment.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or("")
}

/// Waits until a file is there, as a client's event script makes it.
async fn appears(path: &Path) {
    let there = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, there).await.unwrap_or_else(|_| panic!("{} never came", path.display()));
}

#[test]
fn a_known_machine_gets_its_address_by_unicast_and_by_broadcast() {
    in_namespace(KNOWN, async |mut world| {
        for arguments in [&[][..], &["-B"], &["-C"]] {
            let told = world.machine.boot(arguments).await;
            assert_eq!((value(&told, "ip"), value(&told, "mask")), ("10.77.0.20", "24"), "{told}");
            assert_eq!((value(&told, "router"), value(&told, "dns")), ("10.77.0.1", "10.77.0.2"), "{told}");
            assert_eq!((value(&told, "lease"), value(&told, "serverid")), ("600", "10.77.0.1"), "{told}");
            assert_eq!(value(&told, "boot_file"), "", "an operating system does not boot from us");
        }
        assert_eq!(world.leases.mac_of([10, 77, 0, 20].into()), KNOWN.parse().ok());
        let stored = fs::read_to_string(world.machine.dir.join("leases.json")).unwrap();
        assert!(stored.contains("\"10.77.0.20\"") && stored.contains("\"bound\""), "{stored}");
        let steps: Vec<Step> = std::iter::from_fn(|| world.steps.try_recv().ok()).collect();
        assert!(steps.iter().all(|s| s.kind == StepKind::Dhcp && s.boot_id.is_some() && s.machine_id.is_some()));
        assert!(steps.iter().any(|s| s.text == "ACK 10.77.0.20 (operating system)"), "{steps:?}");
    });
}

#[test]
fn firmware_is_told_its_loader() {
    in_namespace(UNKNOWN, async |world| {
        for (class, arch, file) in [
            ("PXEClient:Arch:00000:UNDI:002001", "0000", "undionly.kpxe"),
            ("PXEClient:Arch:00007:UNDI:003000", "0007", "snponly.efi"),
            ("HTTPClient:Arch:00016:UNDI:003000", "0010", "http://10.77.0.1:5248/loaders/snponly.efi"),
        ] {
            let arch = format!("0x5d:{arch}");
            let told = world.machine.boot(&["-V", class, "-x", &arch, "-O", "bootfile", "-O", "tftp"]).await;
            assert_eq!((value(&told, "boot_file"), value(&told, "siaddr")), (file, "10.77.0.1"), "{told}");
            let given: Ipv4Addr = value(&told, "ip").parse().unwrap();
            assert!(Ipv4Range::new([10, 77, 0, 100].into(), [10, 77, 0, 199].into()).unwrap().contains(given));
        }
        let told = world.machine.boot(&["-V", "PXEClient:Arch:00000", "-x", "0x4d:69505845"]).await;
        assert_eq!(value(&told, "boot_file"), format!("http://10.77.0.1:5248/boot/{UNKNOWN}.ipxe"));
    });
}

#[test]
fn a_lease_is_renewed_and_released() {
    in_namespace(UNKNOWN, async |world| {
        let mac: MacAddr = UNKNOWN.parse().unwrap();
        let mut client = world.machine.udhcpc(&[]).spawn().unwrap();
        appears(&world.machine.event("bound")).await;
        let told = fs::read_to_string(world.machine.event("bound")).unwrap();
        let address: Ipv4Addr = value(&told, "ip").parse().unwrap();
        assert_eq!(world.leases.mac_of(address), Some(mac));
        let pid = nix::unistd::Pid::from_raw(i32::try_from(client.id().unwrap()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR1).unwrap();
        appears(&world.machine.event("renew")).await;
        let told = fs::read_to_string(world.machine.event("renew")).unwrap();
        assert_eq!(value(&told, "ip"), address.to_string());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR2).unwrap();
        appears(&world.machine.event("deconfig")).await;
        let released = async {
            while world.leases.mac_of(address).is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, released).await.unwrap();
        client.kill().await.unwrap();
    });
}

#[test]
fn a_wish_for_another_network_is_refused_and_a_good_one_granted() {
    in_namespace(UNKNOWN, async |world| {
        let told = world.machine.boot(&["-r", "10.77.0.150"]).await;
        assert_eq!(value(&told, "ip"), "10.77.0.150", "{told}");
        let told = world.machine.boot(&["-r", "10.77.0.20"]).await;
        assert_eq!(value(&told, "ip"), "10.77.0.150", "reserved for another: {told}");
    });
}

/// Sends router solicitations for a while, from the machine's namespace; was one answered?
fn solicit(holder: u32, mac: MacAddr) -> bool {
    let namespace = fs::File::open(format!("/proc/{holder}/ns/net")).unwrap();
    let body = || {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        let mut socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
        socket.set_multicast_hops_v6(255).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let index = nix::net::if_::if_nametoindex("cli0").unwrap();
        let routers: SockAddr = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2), 0, 0, index).into();
        let packet = [&[133, 0, 0, 0, 0, 0, 0, 0, 1, 1], &mac.0[..]].concat();
        for _ in 0..40 {
            // Fails as long as the interface's address is tentative.
            let _ = socket.send_to(&packet, &routers);
            let mut answer = [0; 1500];
            while let Ok(length) = socket.read(&mut answer) {
                if answer[0] == 134 {
                    assert_eq!((length, &answer[4..16]), (16, &[0; 12][..]), "it says nothing");
                    return true;
                }
            }
        }
        false
    };
    std::thread::scope(|scope| scope.spawn(body).join()).unwrap()
}

#[test]
fn ipxe_is_told_that_there_is_no_ipv6_router() {
    in_namespace(UNKNOWN, async |world| {
        let (holder, mac) = (world.machine.holder.id(), UNKNOWN.parse().unwrap());
        let answered = async || tokio::task::spawn_blocking(move || solicit(holder, mac)).await.unwrap();
        assert!(!answered().await, "others are not");
        world.machine.boot(&["-V", "PXEClient:Arch:00000", "-x", "0x4d:69505845"]).await;
        assert!(answered().await);
    });
}
