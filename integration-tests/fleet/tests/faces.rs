//! One BMC, two faces: what is done by Redfish is seen by IPMI, and a fault plan meets the face that it names, or both.
//!
//! Needs root, for the port of IPMI.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::{
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    process::Command,
    time::Duration,
};

use farrier_common::{clock::Clock, hardware::Architecture};
use farrier_fleet::{
    boot::{Firmware, Pace, Source},
    fault_plan::{FaultPlan, Line},
    http::Depth,
    personality::Personality,
    population::{self, Bmcs, FirmwareWord, Member, Plan, Population, PopulationError, Wiring},
    redfish::Quirks,
    truth::Fact,
};
use farrier_integration_tests::{process, wait};

const LIMIT: Duration = Duration::from_secs(60);

/// One machine of every vendor, at loopback addresses of their own; nobody answers them when they boot.
fn raise(net: u8, redfish: Option<u16>, faults: &str) -> Result<Population, PopulationError> {
    let vendors: Vec<_> = Personality::names().map(str::to_owned).collect();
    let plan = Plan {
        machines: u32::try_from(vendors.len()).unwrap(),
        seed: 1,
        vendors,
        firmwares: vec![FirmwareWord(Firmware::UefiPxe(Architecture::Amd64))],
        disks: population::DISKS.to_vec(),
        faults: FaultPlan::parse(faults).unwrap(),
        pace: Pace::new(0.01),
        depth: Depth::Shared,
        clock: Clock::System,
    };
    let at = |host, port| SocketAddrV4::new(Ipv4Addr::new(127, 83, net, host), port);
    let wiring = Wiring {
        relay: at(250, 0),
        dhcp_server: at(251, 67),
        tftp_port: 69,
        first_bmc: *at(1, 0).ip(),
        source: Source::Any,
        bmcs: Bmcs::Apart,
        redfish,
    };
    Population::raise(&plan, &wiring, None)
}

/// A port that was free a moment ago.
fn port() -> u16 {
    TcpListener::bind("127.83.0.0:0").unwrap().local_addr().unwrap().port()
}

/// The status, the `Retry-After` and the body; status 0 if nothing comes.
fn curl(member: &Member, port: u16, path: &str, arguments: &[&str]) -> (u16, String, String) {
    let factory = &member.vendor.accounts.factory;
    let mut curl = Command::new("curl");
    curl.args(["-sk", "--noproxy", "*", "-m", "2", "-w", "\n%{http_code} %header{retry-after}"]).args(arguments);
    curl.arg("-u").arg(format!("{}:{}", factory.name, factory.password));
    curl.arg(format!("https://{}:{port}/redfish/v1/{path}", member.bmc));
    let said = process::run(curl, LIMIT).unwrap().stdout;
    let (body, rest) = said.rsplit_once('\n').unwrap();
    let (status, retry) = rest.split_once(' ').unwrap();
    (status.parse().unwrap(), retry.to_owned(), body.to_owned())
}

fn ipmitool(member: &Member, arguments: &[&str]) -> process::Ended {
    let factory = &member.vendor.accounts.factory;
    let mut ipmitool = Command::new("ipmitool");
    ipmitool.args(["-I", "lanplus", "-C", "17", "-N", "1", "-R", "2", "-H", &member.bmc.to_string()]);
    ipmitool.args(["-U", &factory.name, "-P", &factory.password]).args(arguments);
    process::run(ipmitool, LIMIT).unwrap()
}

fn status(member: &Member, port: u16) -> u16 {
    curl(member, port, "Systems", &["-L"]).0
}

#[test]
fn what_redfish_switches_on_is_on_by_ipmi() {
    let port = port();
    let fleet = raise(1, Some(port), "").unwrap();
    for member in fleet.members() {
        let vendor = &member.vendor.name;
        assert!(ipmitool(member, &["chassis", "power", "status"]).stdout.contains("is off"), "{vendor}");
        let system = format!("Systems/{}", Quirks::of(&member.vendor).unwrap().system_id);
        let json = ["-H", "Content-Type: application/json", "-d", r#"{"ResetType": "On"}"#];
        let reset = curl(member, port, &format!("{system}/Actions/ComputerSystem.Reset"), &json);
        assert!((200..300).contains(&reset.0), "{vendor}: {reset:?}");
        assert!(ipmitool(member, &["chassis", "power", "status"]).stdout.contains("is on"), "{vendor}");
        assert_eq!(member.truth.of(Fact::PowerOn), 1, "{vendor}");
        // And the other way round.
        assert!(ipmitool(member, &["chassis", "power", "off"]).status.success(), "{vendor}");
        let seen = curl(member, port, &format!("{system}/"), &[]).2;
        assert!(seen.contains(r#""PowerState":"Off""#), "{vendor}: {seen}");
    }
}

#[test]
fn a_plan_meets_the_face_that_it_names() {
    let port = port();
    let faults =
        "m1 redfish-503 retry-after=7s on=systems x3\nm2 redfish-refuse status=500 x1\nm2 redfish-nonsense x1\n";
    let fleet = raise(2, Some(port), faults).unwrap();
    let [busy, odd, ..] = fleet.members() else { panic!("a fleet of five") };
    assert_eq!(curl(busy, port, "Chassis/", &[]).0, 200);
    for _ in 0..3 {
        let (status, retry, _) = curl(busy, port, "Systems", &["-L"]);
        assert_eq!((status, retry.as_str()), (503, "7"));
        assert!(ipmitool(busy, &["chassis", "power", "status"]).status.success());
    }
    assert_eq!(status(busy, port), 200);
    assert_eq!(status(odd, port), 500);
    let (status, _, body) = curl(odd, port, "Systems", &["-L"]);
    assert!(status == 200 && body.contains("<html>"), "{status} {body}");
    assert_eq!(curl(odd, port, "Systems", &["-L"]).0, 200);
}

#[test]
fn a_bmc_that_is_gone_is_gone_by_both_faces() {
    let port = port();
    let fleet = raise(3, Some(port), "m1 black-hole\nm2 bmc-reset for=20s\n").unwrap();
    let [dead, starting, well, ..] = fleet.members() else { panic!("a fleet of five") };
    assert_eq!(status(starting, port), 503);
    assert!(!ipmitool(starting, &["chassis", "power", "status"]).status.success());
    assert_eq!(status(dead, port), 0);
    assert!(!ipmitool(dead, &["chassis", "power", "status"]).status.success());
    wait::until_true("the BMC has started", LIMIT, || status(starting, port) == 200).unwrap();
    assert!(ipmitool(starting, &["chassis", "power", "status"]).status.success());
    dead.heal();
    assert_eq!(status(dead, port), 200);
    assert!(ipmitool(dead, &["chassis", "power", "status"]).status.success());
    well.black_hole();
    assert_eq!(status(well, port), 0);
}

#[test]
fn a_fleet_without_redfish_has_no_faults_of_it() {
    let refused = raise(4, None, "m2 redfish-503 x1").unwrap_err().to_string();
    assert!(refused.contains("m2's BMC speaks IPMI only"), "{refused}");
    let fleet = raise(4, None, "m2 black-hole").unwrap();
    let line = Line::parse(farrier_fleet::words::Words::split("all redfish-nonsense").unwrap()).unwrap();
    assert!(line.apply(&fleet).unwrap_err().to_string().contains("--redfish"));
}
