//! A simulated BMC without a socket, and the programs of others that are tried on BMCs.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Arc, Mutex},
    time::Duration,
};

use farrier_fleet::{
    accounts::{Accounts, SharedAccounts},
    chassis::Chassis,
    personality::Personality,
    redfish::{Machine, Quirks, Redfish, server::SharedRedfish},
    truth::Truth,
};
use farrier_integration_tests::{
    assets::{self, Python},
    wait,
};
use tempfile::TempDir;
use uuid::Uuid;

/// For any one of the programs.
pub const LIMIT: Duration = Duration::from_secs(300);

/// A BMC without a socket.
pub struct Made {
    pub face: SharedRedfish,
    pub chassis: Chassis,
    pub users: SharedAccounts,
    pub admin: (String, String),
}

impl Made {
    pub fn new(vendor: &str, ip: Ipv4Addr) -> Self {
        let personality = Personality::shipped(vendor).unwrap();
        Self::of(&personality, &Quirks::of(&personality).unwrap(), ip)
    }

    pub fn of(personality: &Arc<Personality>, quirks: &Arc<Quirks>, ip: Ipv4Addr) -> Self {
        let truth = Arc::new(Truth::default());
        let number = u128::from(u32::from(ip));
        let machine = Machine {
            uuid: Uuid::from_u128(0x4c4c_4544_0000_0000_0000_0000_0000_0000 + number),
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
        let users = Accounts::shared(Arc::clone(personality), truth);
        let (personality, quirks) = (Arc::clone(personality), Arc::clone(quirks));
        let face = Redfish::new(personality, quirks, machine, chassis.clone(), Arc::clone(&users), 1);
        Self { face: Arc::new(Mutex::new(face)), chassis, users, admin }
    }
}

pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The folder of a Python with everybody else's clients, built once.
fn venv() -> PathBuf {
    assets::python(Python::Bmc).unwrap()
}

fn python() -> PathBuf {
    venv().join("bin/python")
}

/// The interpreter. What it is told about certificates from outside would overrule what its programs are told.
pub fn interpreter() -> Command {
    let mut command = Command::new(python());
    command.env_remove("REQUESTS_CA_BUNDLE").env_remove("CURL_CA_BUNDLE");
    command
}

/// A program of the environment; it is started by the interpreter, because its first line names where it was built.
pub fn script(name: &str) -> Command {
    let mut command = interpreter();
    command.arg(venv().join("bin").join(name));
    command
}

/// OpenStack's emulator of a Redfish service, which ends with the test.
pub struct Emulator {
    /// `host:port`.
    pub address: String,
    process: Child,
    _folder: TempDir,
}

impl Emulator {
    pub fn start(args: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let mut command = script("sushy-emulator");
        command.args(["--fake", "-i", "127.0.0.1", "-p", &port.to_string()]).args(args).current_dir(folder.path());
        let log = fs::File::create(folder.path().join("log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let emulator =
            Self { address: format!("127.0.0.1:{port}"), process: command.spawn().unwrap(), _folder: folder };
        wait::until_true("sushy-emulator", LIMIT, || TcpStream::connect(&emulator.address).is_ok()).unwrap();
        emulator
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
