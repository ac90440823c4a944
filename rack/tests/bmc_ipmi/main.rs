//! Our IPMI against peers that are not ours: `ipmi_sim` as BMC, `ipmitool` as second opinion, a bad network, a hostile peer.

#![expect(clippy::unwrap_used, reason = "a test")]

mod events;
mod leave;
mod proxy;
mod sim;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::{Duration, Instant},
};

use farrier_common::hardware::{BootDevice, PowerState};
use farrier_ipmi::commands::GetChassisStatus;
use farrier_rack::bmc::{
    BmcError, Bmcs, Face, Identity, Login,
    account::{Account, Ensured},
    ipmi::{
        self,
        lanplus::{KnownSuites, Pace, Session},
    },
    power::Patience,
};
use ipmi_rs_core::app::GetDeviceId;
use tokio::net::UdpSocket;

use self::{
    proxy::{Proxy, Weather},
    sim::Sim,
};

pub(crate) const QUICK: Pace =
    Pace { first: Duration::from_millis(150), most: Duration::from_millis(600), deadline: Duration::from_secs(4) };
pub(crate) const PATIENCE: Patience =
    Patience { poll: Duration::from_millis(50), repeat: Duration::from_secs(1), deadline: Duration::from_secs(3) };
pub(crate) const NAME: &str = "farrier";
pub(crate) const PASSWORD: &str = "S3cr3tS3cr3t0123";

pub(crate) fn bmcs() -> Bmcs {
    Bmcs::with_times(QUICK, PATIENCE)
}

pub(crate) fn account(password: &str) -> Account {
    Account::new(NAME.into(), password.to_owned().into()).unwrap()
}

#[tokio::test]
async fn power_goes_where_it_is_sent() {
    let (sim, bmcs) = (Sim::start().await, bmcs());
    assert_eq!(bmcs.power(&sim.admin()).await, Ok(PowerState::Off));
    for wanted in [PowerState::On, PowerState::Off, PowerState::On] {
        bmcs.set_power(&sim.admin(), wanted).await.unwrap();
        assert_eq!((sim.power(), bmcs.power(&sim.admin()).await), (wanted, Ok(wanted)));
    }
    let before = sim.chassis("log");
    bmcs.set_power(&sim.admin(), PowerState::On).await.unwrap();
    assert_eq!(sim.chassis("log"), before, "a level that is reached is not sent");
    bmcs.cycle_power(&sim.admin()).await.unwrap();
    assert_eq!(sim.chassis("log"), format!("{before}\npower 0\npower 1"));
    assert!(sim.as_admin(&["chassis", "power", "status"]).contains("is on"));

    fs::write(sim.dir.path().join("stuck"), "").unwrap();
    let error = bmcs.set_power(&sim.admin(), PowerState::Off).await.unwrap_err();
    assert!(matches!(error, BmcError::NotConfirmed(_)), "{error}");
}

#[tokio::test]
async fn the_next_boot_is_set() {
    let (sim, bmcs) = (Sim::start().await, bmcs());
    for (device, uefi, kept, told) in [
        (BootDevice::Network, true, "pxe", "Force PXE"),
        (BootDevice::Disk, true, "default", "Force Boot from default Hard-Drive"),
        (BootDevice::Network, false, "pxe", "Force PXE"),
    ] {
        bmcs.set_boot_device(&sim.admin(), device, uefi).await.unwrap();
        assert_eq!(sim.chassis("boot"), kept);
        let text = sim.as_admin(&["chassis", "bootparam", "get", "5"]);
        assert!(text.contains(told), "{text}");
    }
}

#[tokio::test]
async fn a_bmc_tells_what_it_is() {
    let sim = Sim::start().await;
    let probe = bmcs().probe(&sim.admin()).await.unwrap();
    let identity =
        ipmi::Identity { manufacturer_id: 0x1291, product_id: 0xf02, version: "2.0".into(), cipher_suite: 3 };
    assert_eq!((probe.firmware_version.as_str(), probe.identity), ("9.08", Identity::Ipmi(identity)));
}

#[tokio::test]
async fn an_account_is_made_once_and_works_and_no_other_changes() {
    let (sim, bmcs) = (Sim::start().await, bmcs());
    let before = users(&sim);
    let made = bmcs.ensure_account(&sim.admin(), &account(PASSWORD)).await.unwrap();
    assert_eq!(made, Ensured { slot: 3, created: true });
    let again = bmcs.ensure_account(&sim.admin(), &account(PASSWORD)).await.unwrap();
    assert_eq!(again, Ensured { slot: 3, created: false });

    let status = |password: &str| sim.ipmitool(NAME, password, &["chassis", "power", "on"]).status.success();
    assert!(status(PASSWORD), "ipmitool logs in as the new administrator");
    assert!(!status("wrong"), "and not with another password");
    for (name, password) in [("root", "calvin"), ("oper", "sesame")] {
        let output = sim.ipmitool(name, password, &["-L", "OPERATOR", "chassis", "power", "status"]);
        assert!(output.status.success(), "{name} still logs in: {output:?}");
    }
    let after = users(&sim);
    assert_eq!(without_slot_3(&before), without_slot_3(&after));
    assert!(after[2].contains(NAME) && after[2].contains("ADMINISTRATOR"), "{}", after[2]);

    let error = bmcs.ensure_account(&sim.admin(), &account("another")).await.unwrap_err();
    assert!(matches!(error, BmcError::NameTaken(_)), "{error}");
    assert_eq!(users(&sim), after, "an account of our name with another password is left alone");
}

#[tokio::test]
async fn an_account_that_does_not_work_is_taken_back() {
    // ipmi_sim keeps 16 bytes of the password only, so a login with 20 fails.
    let (sim, bmcs) = (Sim::start().await, bmcs());
    let before = users(&sim);
    let error = bmcs.ensure_account(&sim.admin(), &account("01234567890123456789")).await.unwrap_err();
    assert!(matches!(&error, BmcError::Refused(text) if text.contains("slot 3 was cleared again")), "{error}");
    let names = |users: &[String]| users.iter().filter(|line| line.contains(NAME)).count();
    assert_eq!((names(&before), names(&users(&sim))), (0, 0));
    assert_eq!(without_slot_3(&before), without_slot_3(&users(&sim)));
    let made = bmcs.ensure_account(&sim.admin(), &account(PASSWORD)).await.unwrap();
    assert_eq!(made, Ensured { slot: 3, created: true }, "the slot is free for the next try");
}

#[tokio::test]
async fn an_account_half_made_is_finished() {
    let (sim, bmcs) = (Sim::start().await, bmcs());
    sim.as_admin(&["user", "set", "name", "4", NAME]);
    let made = bmcs.ensure_account(&sim.admin(), &account(PASSWORD)).await.unwrap();
    assert_eq!(made, Ensured { slot: 4, created: true }, "only the name had been written");

    let sim = Sim::start().await;
    sim.as_admin(&["user", "set", "name", "6", NAME]);
    sim.as_admin(&["user", "set", "password", "6", PASSWORD, "16"]);
    sim.as_admin(&["channel", "setaccess", "1", "6", "ipmi=on", "privilege=2"]);
    let made = bmcs.ensure_account(&sim.admin(), &account(PASSWORD)).await.unwrap();
    assert_eq!(made, Ensured { slot: 6, created: true }, "it had less access than it needs");
}

#[tokio::test]
async fn wrong_credentials_and_privileges_are_told_from_silence() {
    let (sim, bmcs) = (Sim::start().await, bmcs());
    for (name, password) in [("root", "letmein"), ("nobody", "calvin")] {
        let error = bmcs.power(&sim.login(name, password)).await.unwrap_err();
        assert!(matches!(error, BmcError::Refused(_)), "{name}: {error}");
        assert!(!error.to_string().contains(password), "{error}");
    }
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let nobody = Login { address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, closed), ..sim.admin() };
    let started = Instant::now();
    assert!(matches!(bmcs.power(&nobody).await, Err(BmcError::Unreachable(_))));
    assert!(started.elapsed() < QUICK.deadline + Duration::from_secs(1));
}

#[tokio::test]
async fn loss_repetition_and_delay_do_no_harm() {
    let sim = Sim::start().await;
    let weather = Weather { lost: 12, doubled: 15, late: 15, delay: Duration::from_millis(90) };
    let proxy = Proxy::start(sim.address, weather).await;
    let login = Login { address: proxy.address, ..sim.admin() };
    let pace =
        Pace { first: Duration::from_millis(40), most: Duration::from_millis(400), deadline: Duration::from_secs(8) };
    let bmcs = Bmcs::with_times(pace, PATIENCE);
    for round in 0..6 {
        let wanted = if round % 2 == 0 { PowerState::On } else { PowerState::Off };
        bmcs.set_power(&login, wanted).await.unwrap();
        assert_eq!(sim.power(), wanted, "round {round}");
    }
    let made = bmcs.ensure_account(&login, &account(PASSWORD)).await.unwrap();
    assert_eq!(made.slot, 3);
    assert!(sim.ipmitool(NAME, PASSWORD, &["chassis", "status"]).status.success());
}

#[tokio::test]
async fn late_answers_are_not_taken_for_others() {
    let sim = Sim::start().await;
    let weather = Weather { late: 40, delay: Duration::from_millis(180), ..Weather::default() };
    let proxy = Proxy::start(sim.address, weather).await;
    let login = Login { address: proxy.address, ..sim.admin() };
    let pace =
        Pace { first: Duration::from_millis(60), most: Duration::from_millis(120), deadline: Duration::from_secs(8) };
    let mut session = Session::open(&login, pace).await.unwrap();
    for round in 0..40 {
        // The power is changed behind our back: an answer to the round before would show.
        fs::write(sim.dir.path().join("power"), if round % 2 == 0 { "1" } else { "0" }).unwrap();
        let wanted = if round % 2 == 0 { PowerState::On } else { PowerState::Off };
        assert_eq!(session.run(GetChassisStatus).await.unwrap(), wanted, "round {round}");
        assert_eq!(session.run(GetDeviceId).await.unwrap().manufacturer_id, 0x1291);
    }
    session.close().await;
}

#[tokio::test]
async fn a_hostile_peer_costs_the_deadline_and_no_more() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!("an IPv4 socket") };
    let peer = tokio::spawn(async move {
        let mut buffer = [0; 2048];
        let mut round = 0_usize;
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            // Its own words back, cut, grown and twisted, thirty for one.
            for change in 0..30 {
                round += 1;
                let mut answer = buffer[..length].to_vec();
                answer.truncate(length.saturating_sub(change % 7 * round % 5));
                answer.extend(vec![0x5a; change * 9]);
                let at = round % answer.len().max(1);
                if let Some(byte) = answer.get_mut(at) {
                    *byte = byte.wrapping_add(1);
                }
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    let login = Login {
        address,
        username: "root".into(),
        password: "calvin".to_owned().into(),
        face: Face::Ipmi,
        suites: KnownSuites::default(),
    };
    let started = Instant::now();
    let error = bmcs().power(&login).await.unwrap_err();
    assert!(matches!(error, BmcError::Unreachable(_) | BmcError::Nonsense(_)), "{error}");
    assert!(started.elapsed() < QUICK.deadline + Duration::from_secs(1));
    peer.abort();
}

/// Lines of `ipmitool user list`, one a slot.
pub(crate) fn users(sim: &Sim) -> Vec<String> {
    sim.as_admin(&["user", "list", "1"]).lines().skip(1).map(str::to_owned).collect()
}

pub(crate) fn without_slot_3(users: &[String]) -> Vec<&String> {
    users.iter().filter(|line| !line.starts_with("3 ")).collect()
}
