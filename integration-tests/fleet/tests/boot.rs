//! The firmware against servers that nobody here wrote: dnsmasq for DHCP and TFTP, Python's for HTTP, in network namespaces.
//!
//! The test starts itself anew within the machines' namespace, since sockets belong to the namespace of whoever opens them.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::HashMap,
    env, fs,
    net::SocketAddrV4,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use farrier_common::{hardware::Architecture, net::MacAddr, secret::sha256_hex};
use farrier_fleet::{
    boot::{
        Boot, Booter, Firmware, Network, Pace, Source,
        client::{Client, Station},
        segment::Segment,
    },
    dice::Dice,
    http::{Depth, Seen},
    machine::fault::{Fault, Faults},
};
use tokio::task::JoinSet;

const INSIDE: &str = "FLEET_BOOT_TEST_INSIDE";
const SERVER: &str = "10.77.0.1";
/// Of the machines' end of the wire: dnsmasq tells its kernel that a machine's address is there, so it has to be.
const MAC: MacAddr = MacAddr([0x52, 0x54, 0x00, 0x77, 0x00, 0x01]);
const UUID: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
const AMD64: Architecture = Architecture::Amd64;
const ARM64: Architecture = Architecture::Arm64;

fn run(command: &str) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{command}");
}

/// Two namespaces with a wire between them, and the servers in one; all is gone when this is dropped.
struct Lab {
    spaces: [String; 2],
    children: Vec<Child>,
    folder: tempfile::TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
        for space in &self.spaces {
            drop(Command::new("ip").args(["netns", "del", space]).status());
        }
    }
}

impl Lab {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let spaces = [format!("fleet-s-{id}"), format!("fleet-c-{id}")];
        let mut lab = Self { spaces, children: Vec::new(), folder: tempfile::tempdir().unwrap() };
        let [s, c] = &lab.spaces;
        for command in [
            format!("ip netns add {s}"),
            format!("ip netns add {c}"),
            format!("ip link add veth-s netns {s} type veth peer name veth-c netns {c}"),
            format!("ip -n {s} link set lo up"),
            format!("ip -n {c} link set lo up"),
            format!("ip -n {c} link set veth-c address {MAC}"),
            format!("ip -n {s} link set veth-s up"),
            format!("ip -n {c} link set veth-c up"),
            format!("ip -n {s} addr add {SERVER}/24 dev veth-s"),
            format!("ip -n {c} addr add 10.77.0.2/24 dev veth-c"),
            // Every address that a machine may lease is ours.
            format!("ip -n {c} route add local 10.77.0.128/26 dev lo"),
        ] {
            run(&command);
        }
        lab.fill();
        lab.serve();
        lab
    }

    fn fill(&self) {
        let (tftp, www) = (self.folder.path().join("tftp"), self.folder.path().join("www"));
        fs::create_dir_all(&tftp).unwrap();
        fs::create_dir_all(www.join("blobs")).unwrap();
        for loader in ["undionly.kpxe", "snponly.efi"] {
            for folder in [&tftp, &www] {
                fs::copy(Path::new("/usr/lib/ipxe").join(loader), folder.join(loader)).unwrap();
            }
        }
        // Nobody packages one for Debian 12: the header is all that firmware looks at.
        let mut arm = vec![0; 3000];
        arm[..2].copy_from_slice(b"MZ");
        arm[0x3c] = 0x80;
        arm[0x80..0x86].copy_from_slice(b"PE\0\0\x64\xaa");
        fs::write(tftp.join("arm64.efi"), &arm).unwrap();
        fs::write(www.join("arm64.efi"), &arm).unwrap();
        let (kernel, initrd) = (vec![7; 3 << 20], vec![8; 1 << 20]);
        for blob in [&kernel, &initrd] {
            fs::write(www.join("blobs").join(sha256_hex(blob)), blob).unwrap();
        }
        let (kernel, initrd) = (sha256_hex(&kernel), sha256_hex(&initrd));
        let lab = "#!ipxe\necho ${platform} ${buildarch} uuid=${uuid} chip=${net0/chip}\n\
                   chain http://10.77.0.1/mac-${net0/mac:hexhyp}.ipxe || chain http://10.77.0.1/default.ipxe\n";
        fs::write(www.join("boot.ipxe"), lab).unwrap();
        let default = format!(
            "#!ipxe\nimgfree\nkernel http://{SERVER}/blobs/{kernel} initrd=initrd uuid=${{uuid}} \
             BOOTIF=01-${{net0/mac:hexhyp}} || goto no\ninitrd --name initrd http://{SERVER}/blobs/{initrd} || goto no\n\
             boot || goto no\n:no\nsleep 1\nexit 1\n"
        );
        fs::write(www.join("default.ipxe"), default).unwrap();
    }

    fn serve(&mut self) {
        let folder = self.folder.path().display().to_string();
        let config = format!(
            "port=0\ninterface=veth-s\nbind-interfaces\ndhcp-range=10.77.0.128,10.77.0.190,255.255.255.0,1h\n\
             dhcp-option=3,{SERVER}\nlog-dhcp\nlog-facility={folder}/log\ndhcp-leasefile={folder}/leases\n\
             pid-file={folder}/pid\nuser=root\nenable-tftp\ntftp-root={folder}/tftp\nno-ping\ndhcp-authoritative\n\
             dhcp-match=set:ipxe,175\ndhcp-userclass=set:ipxeuc,iPXE\ndhcp-match=set:bios,option:client-arch,0\n\
             dhcp-match=set:efi64,option:client-arch,7\ndhcp-match=set:efihttp,option:client-arch,16\n\
             dhcp-match=set:arm64,option:client-arch,11\ndhcp-match=set:arm64http,option:client-arch,19\n\
             dhcp-boot=tag:ipxe,http://{SERVER}/boot.ipxe,,{SERVER}\n\
             dhcp-boot=tag:bios,tag:!ipxe,undionly.kpxe,,{SERVER}\n\
             dhcp-boot=tag:efi64,tag:!ipxe,snponly.efi,,{SERVER}\n\
             dhcp-boot=tag:arm64,tag:!ipxe,arm64.efi,,{SERVER}\n\
             dhcp-option-force=tag:efihttp,60,HTTPClient\ndhcp-boot=tag:efihttp,tag:!ipxe,http://{SERVER}/snponly.efi\n\
             dhcp-option-force=tag:arm64http,60,HTTPClient\ndhcp-boot=tag:arm64http,tag:!ipxe,http://{SERVER}/arm64.efi\n"
        );
        fs::write(self.folder.path().join("dnsmasq.conf"), config).unwrap();
        self.start(&format!("dnsmasq --keep-in-foreground --conf-file={folder}/dnsmasq.conf"));
        self.start(&format!("python3 -m http.server --bind {SERVER} --directory {folder}/www 80"));
        let until = Instant::now() + Duration::from_secs(20);
        let ready = || {
            let probe = format!("exec 3<>/dev/tcp/{SERVER}/80");
            let args = ["netns", "exec", &self.spaces[1], "bash", "-c", &probe];
            let http = Command::new("ip").args(args).stderr(Stdio::null()).status().unwrap().success();
            http && self.log().contains("TFTP root")
        };
        while !ready() {
            assert!(Instant::now() < until, "the servers did not start: {}", self.log());
        }
    }

    fn start(&mut self, command: &str) {
        let mut all = Command::new("ip");
        all.args(["netns", "exec", &self.spaces[0]]).args(command.split(' '));
        self.children.push(all.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs this test's other half in the machines' namespace.
    fn inside(&self, test: &str) {
        let this = env::current_exe().unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.spaces[1]]).arg(this).args(["--exact", test, "--nocapture"]);
        let status = command.env(INSIDE, "1").status().unwrap();
        assert!(status.success(), "{test} failed in its namespace; dnsmasq said:\n{}", self.log());
    }
}

/// Runs the other half of a test; what dnsmasq said meanwhile.
fn outside(test: &str) -> String {
    assert!(nix::unistd::geteuid().is_root(), "needs root, for network namespaces and raw sockets");
    let lab = Lab::new();
    lab.inside(test);
    lab.log()
}

fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

fn network(segment: Segment) -> Network {
    let (source, seen) = (Source::Leased, Seen::new(Depth::Full, 0));
    Network { segment, source, tftp_port: 69, pace: Pace::new(0.02), seen }
}

fn booter<'a>(network: &'a Network, faults: &'a Faults, mac: MacAddr) -> Booter<'a> {
    let station = Station { mac, uuid: UUID, host_name: Some("calm-otter") };
    let seed = u64::from(mac.0[5]);
    Booter { network, station, settings: HashMap::new(), dice: Dice::new(seed), faults }
}

fn expected(mac: MacAddr) -> Boot {
    let mac = mac.to_string().replace(':', "-");
    let uuid = "uuid=01020304-0506-0708-090a-0b0c0d0e0f10";
    Boot::Ephemeral { cmdline: format!("initrd=initrd {uuid} BOOTIF=01-{mac}") }
}

#[test]
fn every_firmware_boots_from_dnsmasq_on_an_ethernet() {
    if is_inside() {
        return tokio::runtime::Runtime::new().unwrap().block_on(each_firmware());
    }
    let log = outside("every_firmware_boots_from_dnsmasq_on_an_ethernet");
    for heard in [
        "vendor class: PXEClient:Arch:00000:UNDI:002001",
        "vendor class: PXEClient:Arch:00007:UNDI:003000",
        "vendor class: PXEClient:Arch:00007:UNDI:003010",
        "vendor class: HTTPClient:Arch:00016:UNDI:003000",
        "vendor class: PXEClient:Arch:00011:UNDI:003010",
        "vendor class: HTTPClient:Arch:00019:UNDI:003000",
        "user class: iPXE",
        "tags: ipxeuc, ipxe, bios, veth-s",
        "client provides name: calm-otter",
        "User aborted the transfer",
        "/tftp/undionly.kpxe to 10.77.0.",
        "/tftp/snponly.efi to 10.77.0.",
        "/tftp/autoexec.ipxe not found",
        "DHCPRELEASE(veth-s)",
    ] {
        assert!(log.contains(heard), "dnsmasq did not say {heard:?}:\n{log}");
    }
}

async fn each_firmware() {
    let network = network(Segment::ethernet("veth-c").unwrap());
    let faults = Faults::default();
    for firmware in [
        Firmware::BiosIpxe,
        Firmware::BiosPxe,
        Firmware::UefiPxe(AMD64),
        Firmware::UefiHttp(AMD64),
        Firmware::UefiPxe(ARM64),
        Firmware::UefiHttp(ARM64),
    ] {
        let booted = booter(&network, &faults, MAC).boot(firmware, None, false).await;
        assert_eq!(booted, expected(MAC), "{firmware:?}");
    }
    // Lost and doubled packets cost time, nothing else.
    faults.arm(Fault::DropPacket { permille: 300 }, 4);
    faults.arm(Fault::DuplicatePacket { permille: 300 }, 20);
    let booted = booter(&network, &faults, MAC).boot(Firmware::UefiPxe(AMD64), None, false).await;
    assert_eq!(booted, expected(MAC));
    faults.clear();
    // A file that is not there, and a loader for other processors.
    let url = "http://10.77.0.1/arm64.efi";
    let mut stubborn = booter(&network, &faults, MAC);
    let booted = stubborn.boot(Firmware::UefiHttp(AMD64), Some(url), false).await;
    assert!(matches!(&booted, Boot::Failed(why) if why.contains("machine type 0xaa64")), "{booted:?}");
    let booted = stubborn.boot(Firmware::UefiHttp(AMD64), Some("http://10.77.0.1/none.efi"), false).await;
    assert!(matches!(&booted, Boot::Failed(why) if why.contains("404")), "{booted:?}");
    // The agent's busybox and the installed system's networkd: the latter is another client to dnsmasq.
    let mut system = booter(&network, &faults, MAC);
    let early = system.lease(Client::Udhcpc).await.unwrap();
    let lease = system.lease(Client::Networkd).await.unwrap();
    assert_ne!(early.address, lease.address);
    let renewed = system.renew(Client::Networkd, &lease).await.unwrap();
    assert_eq!(renewed.address, lease.address);
    assert_eq!((lease.lasts.as_secs(), lease.renew.as_secs()), (3600, 1800));
    system.release(Client::Networkd, &lease).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
}

#[test]
fn a_fleet_boots_through_a_relay() {
    if is_inside() {
        return tokio::runtime::Runtime::new().unwrap().block_on(fleet());
    }
    let log = outside("a_fleet_boots_through_a_relay");
    assert!(log.contains("DHCPACK(veth-s)"), "{log}");
}

async fn fleet() {
    let ports = ["10.77.0.2:67", "10.77.0.1:67"].map(|text| text.parse::<SocketAddrV4>().unwrap());
    let segment = Segment::relay(ports[0], ports[1]).unwrap();
    let all = [Firmware::BiosIpxe, Firmware::BiosPxe, Firmware::UefiPxe(AMD64), Firmware::UefiHttp(AMD64)];
    let mut machines = JoinSet::new();
    for n in 1..=20 {
        let (mut network, faults) = (network(segment.clone()), Faults::default());
        network.seen = Seen::new(if n % 2 == 0 { Depth::Full } else { Depth::Shared }, 0);
        let (mac, firmware) = (MacAddr([0x52, 0x54, 0, 0x77, 1, n]), all[usize::from(n) % all.len()]);
        machines.spawn(async move {
            let booted = booter(&network, &faults, mac).boot(firmware, None, false).await;
            assert_eq!(booted, expected(mac), "{firmware:?}");
        });
    }
    while let Some(ended) = machines.join_next().await {
        ended.unwrap();
    }
}
