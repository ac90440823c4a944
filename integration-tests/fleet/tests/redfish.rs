//! Simulated Redfish BMCs seen by programs that nobody here wrote: sushy, the DMTF's tools and validators.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use farrier_common::clock::Clock;
use farrier_fleet::{
    accounts::{Accounts, SharedAccounts},
    chassis::{BootTarget, Chassis},
    personality::Personality,
    redfish::{
        Fault, FaultRule, Machine, Quirks, Redfish,
        server::{Server, SharedRedfish, Tls},
    },
    truth::{Fact, Truth},
};
use farrier_integration_tests::{
    cache::Cache,
    process::{self, Ended},
    wait::{self, Seen},
};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// For any one of the programs.
const LIMIT: Duration = Duration::from_secs(300);

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
        let personality = Personality::shipped(vendor).unwrap();
        let quirks = Quirks::of(&personality).unwrap();
        let truth = Arc::new(Truth::default());
        let ip = Ipv4Addr::new(127, 77, 0, number);
        let machine = Machine {
            uuid: Uuid::from_u128(0x4c4c_4544_0000_0000_0000_0000_0000_0000 + u128::from(number)),
            serial: format!("SIM{number}"),
            macs: vec!["52:54:00:77:00:01".parse().unwrap(), "52:54:00:77:00:02".parse().unwrap()],
            bmc_mac: "52:54:00:77:00:03".parse().unwrap(),
            bmc_address: ip.into(),
            processors: 2,
            memory_gib: 64,
        };
        let factory = &personality.accounts.factory;
        let admin = (factory.name.clone(), factory.password.clone());
        let chassis = Chassis::new(Arc::clone(&truth));
        let users = Accounts::shared(Arc::clone(&personality), truth);
        let face = Redfish::new(personality, quirks, machine, chassis.clone(), Arc::clone(&users), number.into());
        let face = Arc::new(Mutex::new(face));
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(Server::bind(SocketAddr::from((ip, 0)))).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let tls = Arc::new(Tls::new(vec![ip.to_string()]));
        let server = Server { face: Arc::clone(&face), tls, clock: Clock::System };
        runtime.spawn(server.run(listener, CancellationToken::new()));
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
        let mut command = Command::new(python());
        command.arg(here("tests/python/sushy_drive.py")).args([&self.url, &user.0, &user.1, kind]);
        serde_json::from_str(&process::succeed(command, LIMIT).unwrap()).unwrap()
    }

    fn truth(&self, fact: Fact) -> u64 {
        self.chassis.truth().of(fact)
    }
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The folder of a Python with everybody else's clients, built once.
fn venv() -> PathBuf {
    let requirements = here("tests/python/requirements.txt");
    let folder = Cache::open().unwrap().artefact("fleet-python", std::slice::from_ref(&requirements), |out| {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(out.join("venv"));
        process::succeed(venv, LIMIT)?;
        let mut pip = Command::new(out.join("venv/bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--require-virtualenv", "-r"]).arg(&requirements);
        process::succeed(pip, LIMIT).map(drop)
    });
    folder.unwrap().join("venv")
}

fn python() -> PathBuf {
    venv().join("bin/python")
}

/// A program of the environment; it is started by the interpreter, because its first line names where it was built.
fn script(name: &str) -> Command {
    let mut command = Command::new(python());
    command.arg(venv().join("bin").join(name));
    command
}

fn for_each_vendor(first: u8, check: impl Fn(&str, &Bmc)) {
    for (vendor, number) in Personality::names().zip(first..) {
        check(vendor, &Bmc::start(vendor, number));
    }
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
        bmc.tool_succeeds("rf_boot_override.py", &bmc.admin, &["--target", "Pxe", "--mode", "UEFI"]);
        assert_eq!(bmc.chassis.boot().0.unwrap().target, BootTarget::Network, "{vendor}");
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
        println!("{vendor}: {}{}", ended.stdout, ended.stderr);
        for entry in fs::read_dir(reports.path()).unwrap() {
            for line in fs::read_to_string(entry.unwrap().path()).unwrap().lines().filter(|l| l.contains("FAIL")) {
                println!("  {line}");
            }
        }
    });
}

#[test]
fn the_service_validator_finds_nothing() {
    let schemas = schemas();
    for_each_vendor(50, |vendor, bmc| {
        let logs = tempfile::tempdir().unwrap();
        let mut command = script("rf_service_validator");
        command.args(["-u", &bmc.admin.0, "-p", &bmc.admin.1, "-r", &bmc.url, "--skipschema", "--schema_directory"]);
        command.arg(&schemas).arg("--logdir").arg(logs.path());
        let ended = process::run(command, LIMIT).unwrap();
        println!("{vendor}: {}{}", ended.stdout, ended.stderr);
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
fn a_fault_is_what_a_client_meets() {
    let bmc = Bmc::start("openbmc", 60);
    bmc.fault(FaultRule { count: Some(1), ..FaultRule::always(Fault::SessionsFull) });
    assert!(!bmc.tool("rf_power_reset.py", &bmc.admin, &["--info"]).status.success());
    bmc.tool_succeeds("rf_power_reset.py", &bmc.admin, &["--info"]);
    bmc.fault(FaultRule::always(Fault::AcknowledgeOnly));
    bmc.tool_succeeds("rf_power_reset.py", &bmc.admin, &["--type", "On"]);
    assert!(!bmc.chassis.is_on());
}
