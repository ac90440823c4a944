//! What a rack does to a BMC in a machine's life, on the BMCs of every vendor: by IPMI with each cipher suite, by Redfish, and by
//! IPMI through a network that loses, doubles and delays. Other people's accounts stay as they are. What each vendor needed is the
//! table in `docs/bmc-vendors.md`.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

#[path = "support/bmc.rs"]
mod bmc;
#[path = "../../../rack/tests/bmc_ipmi/proxy.rs"]
mod proxy;
#[path = "ipmi/rig.rs"]
#[expect(dead_code, reason = "the consoles are for the tests of the simulator")]
mod rig;
#[path = "support/table.rs"]
mod table;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use farrier_common::{
    clock::Clock,
    hardware::{BootDevice, PowerState},
};
use farrier_fleet::{
    accounts::{Access, PasswordForm, Privilege, SharedAccounts},
    chassis::{BootTarget, Chassis},
    personality::Personality,
    redfish::server::{Server, Tls},
    truth::Fact,
};
use farrier_rack::bmc::{
    Bmcs, Face, Identity, Login,
    account::Account,
    ipmi::lanplus::{KnownSuites, Pace},
    power::Patience,
    redfish::{Https, trust::Pin},
};
use tokio_util::sync::CancellationToken;

use self::{
    bmc::Made,
    proxy::{Proxy, Weather},
    rig::Rig,
    table::Row,
};

const NAME: &str = "maas";
const FIRST: &str = "S3cr3tS3cr5t0123";
const SECOND: &str = "An0therAn0ther01";
/// Somebody else's account, which no call may touch.
const OTHER: (&str, &str) = ("monitor", "W4tchingW4tching");
const PATIENCE: Patience =
    Patience { poll: Duration::from_millis(50), repeat: Duration::from_secs(2), deadline: Duration::from_secs(20) };

/// One BMC as the tests see it from both sides.
struct Subject {
    login: Login,
    users: SharedAccounts,
    chassis: Chassis,
}

impl Subject {
    fn new(login: Login, users: &SharedAccounts, chassis: &Chassis) -> Self {
        let mut held = users.lock().unwrap();
        let free: Vec<u8> = held.users().iter().filter(|user| user.name.is_empty()).map(|user| user.slot).collect();
        // The last slot: the account of ours is to find its own way to a free one before it.
        let slot = *free.last().unwrap();
        held.rename(slot, OTHER.0).unwrap();
        held.set_password(slot, OTHER.1.as_bytes(), PasswordForm::Sixteen).unwrap();
        let access = Access { privilege: Privilege::Operator, messaging: true, ..held.user(slot).unwrap().access };
        held.set_access(slot, access).unwrap();
        held.enable(slot, true).unwrap();
        drop(held);
        Self { login, users: Arc::clone(users), chassis: chassis.clone() }
    }

    /// The users but ours, and whether their passwords are what they were.
    fn others(&self) -> (Vec<String>, bool) {
        let users = self.users.lock().unwrap();
        let factory = &users.rules().factory;
        let same = users.takes(&factory.name, &factory.password) && users.takes(OTHER.0, OTHER.1);
        let others = users.users().iter().filter(|user| user.name != NAME && !user.name.is_empty());
        (others.map(|user| format!("{user:?}")).collect(), same)
    }

    fn takes(&self, password: &str) -> bool {
        self.users.lock().unwrap().takes(NAME, password)
    }

    fn own(&self, password: &str) -> Login {
        Login { username: NAME.into(), password: password.to_owned().into(), ..self.login.clone() }
    }

    /// A whole life; answers how the BMC is spoken to and where our account was.
    async fn live(mut self, bmcs: &Bmcs, whose: &str) -> Row {
        let probe = bmcs.probe(&self.login).await.unwrap();
        if let Identity::Redfish(identity) = &probe.identity {
            let pin = Pin::Known(identity.certificate);
            self.login.face = Face::Redfish(Https { pin, system: String::new() });
        }
        let before = self.others();
        assert!(before.1, "{whose}");
        let account = |password: &str| Account::new(NAME.into(), password.to_owned().into()).unwrap();
        let made = bmcs.ensure_account(&self.login, &account(FIRST)).await.unwrap();
        assert!(made.created && self.takes(FIRST), "{whose}");
        let own = self.own(FIRST);
        for (device, uefi, target) in [
            (BootDevice::Network, true, BootTarget::Network),
            (BootDevice::Disk, true, BootTarget::Disk),
            (BootDevice::Network, false, BootTarget::Network),
        ] {
            bmcs.set_boot_device(&own, device, uefi).await.unwrap();
            let next = self.chassis.boot().0.unwrap();
            assert_eq!((next.target, next.uefi, next.persistent), (target, uefi, false), "{whose}");
        }
        for wanted in [PowerState::On, PowerState::Off] {
            bmcs.set_power(&own, wanted).await.unwrap();
            assert_eq!(
                (self.chassis.is_on(), bmcs.power(&own).await),
                (wanted == PowerState::On, Ok(wanted)),
                "{whose}"
            );
        }
        bmcs.cycle_power(&own).await.unwrap();
        assert!(self.chassis.is_on(), "{whose}");
        bmcs.soft_off(&own).await.unwrap();
        assert_eq!(self.chassis.truth().of(Fact::SoftOff).min(1), 1, "{whose}");

        bmcs.change_password(&own, &SECOND.to_owned().into()).await.unwrap();
        assert_eq!((self.takes(FIRST), self.takes(SECOND)), (false, true), "{whose}");
        assert_eq!(self.others(), before, "{whose}");
        assert_eq!(bmcs.remove_account(&self.own(SECOND), NAME).await, Ok(true), "{whose}");
        assert!(!self.takes(FIRST) && !self.takes(SECOND), "{whose}");
        let (refused, logins) = (self.count(Fact::LoginRefused), self.count(Fact::Login));
        assert_eq!(self.others(), before, "{whose}");
        bmcs.reset(&self.login).await.unwrap();
        let (identity, slot) = (probe.identity, made.slot);
        Row { identity, slot, logins, refused, passwords: self.count(Fact::PasswordSet) }
    }

    fn count(&self, fact: Fact) -> u64 {
        self.chassis.truth().of(fact)
    }
}

fn login(address: SocketAddr, admin: &(String, String), face: Face) -> Login {
    let SocketAddr::V4(address) = address else { panic!("bound to IPv4") };
    let (username, password) = (admin.0.clone(), admin.1.clone().into());
    Login { address, username, password, face, suites: KnownSuites::default() }
}

/// A BMC of a vendor that offers one suite only.
fn by_ipmi(rig: &mut Rig, vendor: &str, suite: u8) -> Subject {
    let shipped = Personality::shipped(vendor).unwrap();
    let mut personality = Personality::clone(&shipped);
    personality.ipmi.cipher_suites = vec![suite];
    // Sessions whose end got lost are to be gone before the test is.
    personality.ipmi.session_idle_secs = 2;
    let made = rig.add_of(Arc::new(personality), SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let factory = &shipped.accounts.factory;
    let admin = (factory.name.clone(), factory.password.clone());
    Subject::new(login(made.address, &admin, Face::Ipmi), &made.accounts, &made.chassis)
}

async fn by_redfish(vendor: &str, number: u8, stop: &CancellationToken) -> Subject {
    let ip = Ipv4Addr::new(127, 78, 0, number);
    let made = Made::new(vendor, ip);
    let listener = Server::bind(SocketAddr::from((ip, 0))).await.unwrap();
    let face = Face::Redfish(Https { pin: Pin::FirstSeen, system: String::new() });
    let login = login(listener.local_addr().unwrap(), &made.admin, face);
    let server = Server { face: made.face, tls: Arc::new(Tls::new(vec![ip.to_string()])), clock: Clock::System };
    tokio::spawn(server.run(listener, stop.clone()));
    Subject::new(login, &made.users, &made.chassis)
}

/// The vendors, and the suites that each offers.
fn vendors() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    Personality::names().map(|name| (name, Personality::shipped(name).unwrap().ipmi.cipher_suites.clone()))
}

#[test]
fn every_vendor_is_lived_with_by_ipmi_and_by_redfish() {
    let (mut rig, runtime) = (Rig::new(), tokio::runtime::Runtime::new().unwrap());
    let bmcs = Bmcs::with_times(Pace::default(), PATIENCE);
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let mut rows = Vec::new();
    for ((vendor, suites), number) in vendors().zip(1..) {
        for suite in suites {
            let subject = by_ipmi(&mut rig, vendor, suite);
            rows.push((vendor, runtime.block_on(subject.live(&bmcs, vendor))));
        }
        rows.push((
            vendor,
            runtime.block_on(async { by_redfish(vendor, number, &stop).await.live(&bmcs, vendor).await }),
        ));
    }
    table::page(&rows);
}

/// A tenth of all datagrams is lost each way; as many come twice, and as many late enough for a retransmission to overtake them.
#[test]
fn a_bad_network_does_no_harm_to_any_command() {
    let (mut rig, runtime) = (Rig::new(), tokio::runtime::Runtime::new().unwrap());
    let weather = Weather { lost: 10, doubled: 10, late: 10, delay: Duration::from_millis(90) };
    let pace =
        Pace { first: Duration::from_millis(40), most: Duration::from_millis(400), deadline: Duration::from_secs(8) };
    let subjects: Vec<_> = vendors()
        .flat_map(|(vendor, suites)| suites.into_iter().map(move |suite| (vendor, suite)))
        .map(|(vendor, suite)| (format!("{vendor}, suite {suite}"), by_ipmi(&mut rig, vendor, suite)))
        .collect();
    runtime.block_on(futures_util::future::join_all(subjects.into_iter().map(async |(whose, mut subject)| {
        let proxy = Proxy::start(subject.login.address, weather).await;
        subject.login.address = proxy.address;
        subject.live(&Bmcs::with_times(pace, PATIENCE), &whose).await;
    })));
}
