//! Simulated Redfish BMCs seen by programs that nobody here wrote: sushy, the DMTF's tools and validators.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

#[path = "support/bmc.rs"]
mod bmc;

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use farrier_common::clock::Clock;
use farrier_fleet::{
    accounts::SharedAccounts,
    chassis::{BootTarget, Chassis},
    personality::Personality,
    redfish::{
        Fault, FaultRule, Quirks,
        server::{Server, SharedRedfish, Tls},
    },
    truth::Fact,
};
use farrier_integration_tests::{
    cache::Cache,
    process::{self, Ended},
    wait::{self, Seen},
};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use self::bmc::{Emulator, LIMIT, Made, here, interpreter, script};

const PASSWORD: &str = "Zk7bQm4tXw9p";

/// One BMC on an address of its own.
struct Bmc {
    url: String,
    chassis: Chassis,
    face: SharedRedfish,
    users: SharedAccounts,
    admin: (String, String),
    _runtime: Runtime,
}

impl Bmc {
    fn start(vendor: &str, number: u8) -> Self {
        let ip = Ipv4Addr::new(127, 77, 0, number);
        let made = Made::new(vendor, ip);
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(Server::bind(SocketAddr::from((ip, 0)))).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let tls = Arc::new(Tls::new(vec![ip.to_string()]));
        let server = Server { face: Arc::clone(&made.face), tls, clock: Clock::System };
        runtime.spawn(server.run(listener, CancellationToken::new()));
        let Made { face, chassis, users, admin } = made;
        Self { url, chassis, face, users, admin, _runtime: runtime }
    }

    fn fault(&self, rule: FaultRule) {
        self.face.lock().unwrap().faults.set(vec![rule]);
    }

    /// Runs one of the DMTF's tools as this user.
    fn tool(&self, name: &str, user: &(String, String), args: &[&str]) -> Ended {
        let mut command = script(name);
        command.args(["-u", &user.0, "-p", &user.1, "-r", &self.url]).args(args);
        process::run(command, LIMIT).unwrap()
    }

    fn tool_succeeds(&self, name: &str, user: &(String, String), args: &[&str]) -> String {
        let ended = self.tool(name, user, args);
        assert!(ended.status.success(), "{name} {args:?} at {}: {}{}", self.url, ended.stdout, ended.stderr);
        ended.stdout
    }

    fn sushy(&self, user: &(String, String), kind: &str) -> Value {
        let mut command = interpreter();
        command.arg(here("tests/python/sushy_drive.py")).args([&self.url, &user.0, &user.1, kind]);
        serde_json::from_str(&process::succeed(command, LIMIT).unwrap()).unwrap()
    }

    fn truth(&self, fact: Fact) -> u64 {
        self.chassis.truth().of(fact)
    }
}

/// All at once: the programs spend much of their time waiting.
fn for_each_vendor(first: u8, check: impl Fn(&str, &Bmc) + Sync) {
    thread::scope(|scope| {
        for (vendor, number) in Personality::names().zip(first..) {
            let check = &check;
            scope.spawn(move || check(vendor, &Bmc::start(vendor, number)));
        }
    });
}

#[test]
fn sushy_drives_every_personality() {
    for_each_vendor(10, |vendor, bmc| {
        for (kind, boots) in [("session", 1), ("basic", 2)] {
            let seen = bmc.sushy(&bmc.admin, kind);
            assert_eq!(seen["before"], "PowerState.OFF", "{vendor}: {seen}");
            assert_eq!(seen["target"], "BootSource.PXE", "{vendor}: {seen}");
            assert_eq!(seen["after"], "PowerState.ON", "{vendor}: {seen}");
            assert_eq!(bmc.truth(Fact::PowerOn), boots, "{vendor}");
            assert_eq!(bmc.truth(Fact::BootOverride), boots, "{vendor}");
        }
        assert_eq!(bmc.chassis.power().boot.unwrap().target, BootTarget::Network, "{vendor}");
    });
}

#[test]
fn an_account_made_by_the_dmtfs_tool_logs_in() {
    for_each_vendor(20, |vendor, bmc| {
        let maas = ("maas".to_owned(), PASSWORD.to_owned());
        bmc.tool_succeeds("rf_accounts.py", &bmc.admin, &["--add", "maas", PASSWORD, "Administrator"]);
        // A slot that is made by PATCH is as disabled as it was.
        bmc.tool_succeeds("rf_accounts.py", &bmc.admin, &["--enable", "maas"]);
        let slots = bmc.users.lock().unwrap().users().to_vec();
        assert_eq!(slots.iter().filter(|u| u.name == "maas" && u.enabled).count(), 1, "{vendor}");
        assert_eq!(bmc.truth(Fact::AccountMade), 1, "{vendor}");
        let listed = bmc.tool_succeeds("rf_accounts.py", &maas, &[]);
        assert!(listed.contains("maas"), "{vendor}: {listed}");
        assert_eq!(bmc.sushy(&maas, "session")["after"], "PowerState.ON", "{vendor}");
        let next = ("maas".to_owned(), "Pw8mXt4qBz7k".to_owned());
        bmc.tool_succeeds("rf_accounts.py", &maas, &["--setpassword", "maas", &next.1]);
        assert!(!bmc.tool("rf_accounts.py", &maas, &[]).status.success(), "{vendor}: the old password is taken");
        bmc.tool_succeeds("rf_accounts.py", &next, &[]);
        bmc.tool_succeeds("rf_accounts.py", &bmc.admin, &["--delete", "maas"]);
        assert_eq!(bmc.truth(Fact::AccountRemoved), 1, "{vendor}");
        assert!(bmc.users.lock().unwrap().named("maas").next().is_none(), "{vendor}");
    });
}

#[test]
fn the_dmtfs_tools_switch_and_override() {
    for_each_vendor(30, |vendor, bmc| {
        let args = ["--target", "Pxe", "--mode", "UEFI"];
        if vendor == "dell" {
            // This tool does not follow settings objects; sushy does.
            let refused = bmc.tool("rf_boot_override.py", &bmc.admin, &args);
            assert!(refused.stdout.contains("PropertyNotWritable"), "{}", refused.stdout);
        } else {
            bmc.tool_succeeds("rf_boot_override.py", &bmc.admin, &args);
            assert_eq!(bmc.chassis.boot().0.unwrap().target, BootTarget::Network, "{vendor}");
        }
        bmc.tool_succeeds("rf_power_reset.py", &bmc.admin, &["--type", "On"]);
        assert!(bmc.chassis.is_on(), "{vendor}");
        // Some want a rest after a change of power, and this tool does not wait.
        wait::until("the reset", LIMIT, || {
            let ended = bmc.tool("rf_power_reset.py", &bmc.admin, &["--type", "ForceOff"]);
            Ok(if ended.status.success() { Seen::Now(()) } else { Seen::NotYet(ended.stdout) })
        })
        .unwrap();
        assert!(!bmc.chassis.is_on(), "{vendor}");
    });
}

#[test]
fn the_protocol_validator_finds_nothing() {
    for_each_vendor(40, |vendor, bmc| {
        let reports = tempfile::tempdir().unwrap();
        let mut command = script("rf_protocol_validator");
        command.args(["-u", &bmc.admin.0, "-p", &bmc.admin.1, "-r", &bmc.url, "--no-cert-check"]);
        command.args(["--avoid-http-redirect", "--report-type", "tsv", "--report-dir"]).arg(reports.path());
        let ended = process::run(command, LIMIT).unwrap();
        let failed: Vec<_> = fs::read_dir(reports.path())
            .unwrap()
            .flat_map(|entry| {
                fs::read_to_string(entry.unwrap().path()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .filter(|line| line.contains("FAIL"))
            .collect();
        assert!(ended.stdout.contains("WARN: 0, FAIL: 0,"), "{vendor}: {}{}{failed:#?}", ended.stdout, ended.stderr);
    });
}

#[test]
fn the_service_validator_finds_nothing() {
    let schemas = schemas();
    for_each_vendor(50, |vendor, bmc| {
        let logs = tempfile::tempdir().unwrap();
        bmc.chassis
            .log()
            .add([0, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 0x0c, 0x12, 0x6f, 1, 0xff, 0xff], 1_700_000_000)
            .unwrap();
        let mut command = script("rf_service_validator");
        command.args(["-u", &bmc.admin.0, "-p", &bmc.admin.1, "-r", &bmc.url, "--skipschema", "--schema_directory"]);
        command.arg(&schemas).arg("--logdir").arg(logs.path());
        let ended = process::run(command, LIMIT).unwrap();
        let lines: Vec<_> = ended.stdout.lines().filter(|l| l.contains("Fail: ")).collect();
        let failed = lines.iter().filter(|l| !l.contains("Fail: 0,")).count();
        // HPE's one account has no AccountTypes and its log lists entries as links, both against the schema; so it is with
        // theirs.
        let known = if vendor == "hpe" { 2 } else { 0 };
        assert!(lines.len() > 30 && failed == known, "{vendor}: {}", ended.stdout);
    });
}

/// The DMTF's schemas, from a crate that carries them: this works without the DMTF's own site.
fn schemas() -> PathBuf {
    let wanted = here("tests/schemas.toml");
    let folder = Cache::open().unwrap().artefact("redfish-schemas", std::slice::from_ref(&wanted), |out| {
        let project = out.join("project");
        fs::create_dir_all(project.join("src")).expect("a folder can be made in a new one");
        fs::write(project.join("src/lib.rs"), "").expect("a file can be written in a new folder");
        fs::copy(&wanted, project.join("Cargo.toml")).expect("the same");
        let mut vendor = Command::new("cargo");
        vendor.arg("vendor").arg("--manifest-path").arg(project.join("Cargo.toml")).arg(out.join("vendor"));
        process::succeed(vendor, LIMIT).map(drop)
    });
    folder.unwrap().join("vendor/nv-redfish-schema/redfish-csdl/csdl")
}

#[test]
fn sushy_sees_in_the_emulator_what_it_sees_here() {
    let emulator = Emulator::start(&[]);
    let mut command = interpreter();
    command.arg(here("tests/python/sushy_drive.py"));
    command.args([&format!("http://{}", emulator.address), "nobody", "nothing", "basic", "emulator"]);
    let theirs: Value = serde_json::from_str(&process::succeed(command, LIMIT).unwrap()).unwrap();
    drop(emulator);
    let bmc = Bmc::start("openbmc", 61);
    let ours = bmc.sushy(&bmc.admin, "basic");
    for seen in ["target", "mode", "after"] {
        assert_eq!(ours[seen], theirs[seen], "{seen}: {ours} {theirs}");
    }
}

/// What the service of one BMC takes while nobody speaks to it.
const IDLE_KIB: usize = 24;

#[test]
fn a_thousand_bmcs_are_small() {
    const COUNT: usize = 1000;
    let runtime = Runtime::new().unwrap();
    let tls = Arc::new(Tls::new(vec!["localhost".into()]));
    let personality = Personality::shipped("dell").unwrap();
    let quirks = Quirks::of(&personality).unwrap();
    // One port for all, so that one pattern names them; it was free a moment ago.
    let port = TcpListener::bind("127.78.0.0:0").unwrap().local_addr().unwrap().port();
    let before = resident_kib();
    for number in 0..COUNT {
        let (high, low) = (number / 250, number % 250);
        let ip = Ipv4Addr::new(127, 78, u8::try_from(high).unwrap(), u8::try_from(low).unwrap());
        let made = Made::of(&personality, &quirks, ip);
        let listener = runtime.block_on(Server::bind(SocketAddr::from((ip, port)))).unwrap();
        let server = Server { face: made.face, tls: Arc::clone(&tls), clock: Clock::System };
        runtime.spawn(server.run(listener, CancellationToken::new()));
    }
    let each = (resident_kib() - before) / COUNT;
    assert!(each <= IDLE_KIB, "{each} KiB each");
    let mut curl = Command::new("curl");
    curl.args(["-sk", "--parallel", "--parallel-max", "100", "-o", "/dev/null", "-w", "%{http_code}\n"]);
    curl.arg(format!("https://127.78.[0-{}].[0-249]:{port}/redfish/v1/", COUNT / 250 - 1));
    let start = Instant::now();
    let codes = process::succeed(curl, LIMIT).unwrap();
    println!("{COUNT} idle BMCs take {each} KiB each; all answered once in {:?}", start.elapsed());
    assert_eq!(codes.lines().filter(|code| *code == "200").count(), COUNT);
}

fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[test]
fn a_fault_is_what_a_client_meets() {
    let bmc = Bmc::start("openbmc", 60);
    bmc.fault(FaultRule { count: Some(1), ..FaultRule::always(Fault::SessionsFull) });
    assert!(!bmc.tool("rf_power_reset.py", &bmc.admin, &["--info"]).status.success());
    bmc.tool_succeeds("rf_power_reset.py", &bmc.admin, &["--info"]);
    bmc.fault(FaultRule::always(Fault::AcknowledgeOnly));
    bmc.tool_succeeds("rf_power_reset.py", &bmc.admin, &["--type", "On"]);
    assert!(!bmc.chassis.is_on());
    // A black hole takes the connection and says nothing, not even in TLS.
    bmc.fault(FaultRule::always(Fault::BlackHole));
    let mut stream = TcpStream::connect(bmc.url.trim_start_matches("https://")).unwrap();
    stream.write_all(b"\x16\x03\x01 hello").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    // What is no TLS is sent away.
    bmc.fault(FaultRule::always(Fault::Hangup));
    let mut stream = TcpStream::connect(bmc.url.trim_start_matches("https://")).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    assert!(!bmc.tool("rf_power_reset.py", &bmc.admin, &["--info"]).status.success());
}
