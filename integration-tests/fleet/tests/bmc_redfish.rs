//! The rack's Redfish driver on simulated BMCs of every vendor, on an emulator that nobody here wrote, and on hostile peers.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

#[path = "support/bmc.rs"]
mod bmc;
#[path = "bmc_redfish/events.rs"]
mod events;
#[path = "bmc_redfish/settings.rs"]
mod settings;

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::{Duration, Instant},
};

use farrier_common::{
    clock::Clock,
    hardware::{BootDevice, PowerState},
    tls::Fingerprint,
};
use farrier_fleet::{
    accounts::{Access, PasswordForm, Privilege, User},
    chassis::BootTarget,
    personality::Personality,
    redfish::{
        Fault, FaultRule,
        server::{Server, Tls},
    },
    truth::Fact,
};
use farrier_rack::bmc::{
    BmcError, Bmcs, Capability, Face, Identity, Login, Probe,
    account::{Account, Ensured},
    ipmi::lanplus::{KnownSuites, Pace},
    power::Patience,
    redfish::{
        Https,
        http::Limits,
        trust::{Authorities, Pin},
    },
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::bmc::{Emulator, Made};

const NAME: &str = "farrier";
const PASSWORD: &str = "S3cr3tS3cr5t0123";
const PATIENCE: Patience =
    Patience { poll: Duration::from_millis(50), repeat: Duration::from_secs(2), deadline: Duration::from_secs(8) };
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(2),
    request: Duration::from_secs(4),
    whole: Duration::from_secs(12),
    body: 256 << 10,
};

/// One BMC behind HTTPS.
struct Bmc {
    made: Made,
    tls: Arc<Tls>,
    login: Login,
    _stop: DropGuard,
}

impl Bmc {
    async fn start(vendor: &str, number: u8) -> Self {
        let ip = Ipv4Addr::new(127, 79, 0, number);
        let made = Made::new(vendor, ip);
        let listener = Server::bind(SocketAddr::from((ip, 0))).await.unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("bound to IPv4") };
        let tls = Arc::new(Tls::new(vec![ip.to_string()]));
        let server = Server { face: Arc::clone(&made.face), tls: Arc::clone(&tls), clock: Clock::System };
        let stop = CancellationToken::new();
        tokio::spawn(server.run(listener, stop.clone()));
        let login = login(address, &made.admin.0, &made.admin.1);
        Self { made, tls, login, _stop: stop.drop_guard() }
    }

    /// One that was probed.
    async fn known(vendor: &str, number: u8) -> Self {
        let bmc = Self::start(vendor, number).await;
        let probe = bmcs().probe(&bmc.login).await.unwrap();
        Self { login: pinned(&bmc.login, certificate(&probe)), ..bmc }
    }

    fn fault(&self, rule: FaultRule) {
        self.made.face.lock().unwrap().faults.set(vec![rule]);
    }

    fn truth(&self, fact: Fact) -> u64 {
        self.made.chassis.truth().of(fact)
    }

    fn users(&self) -> Vec<User> {
        self.made.users.lock().unwrap().users().to_vec()
    }

    /// All users but those of our name, with what they may.
    fn others(&self) -> Vec<String> {
        self.users().iter().filter(|u| u.name != NAME && !u.name.is_empty()).map(|u| format!("{u:?}")).collect()
    }

    fn ours(&self) -> Option<User> {
        self.users().into_iter().find(|u| u.name == NAME)
    }
}

fn bmcs() -> Bmcs {
    Bmcs::with_times(Pace::default(), PATIENCE).with_limits(LIMITS)
}

fn login(address: SocketAddrV4, username: &str, password: &str) -> Login {
    let face = Face::Redfish(Https { pin: Pin::FirstSeen, system: String::new() });
    let (username, password) = (username.to_owned(), password.to_owned().into());
    Login { address, username, password, face, suites: KnownSuites::default() }
}

fn pinned(login: &Login, certificate: Fingerprint) -> Login {
    let face = Face::Redfish(Https { pin: Pin::Known(certificate), system: String::new() });
    Login { face, ..login.clone() }
}

fn with(login: &Login, username: &str, password: &str) -> Login {
    Login { username: username.to_owned(), password: password.to_owned().into(), ..login.clone() }
}

fn certificate(probe: &Probe) -> Fingerprint {
    match &probe.identity {
        Identity::Redfish(redfish) => redfish.certificate,
        other @ (Identity::Ipmi(_) | Identity::Webhook) => panic!("{other:?}"),
    }
}

fn account(password: &str) -> Account {
    Account::new(NAME.into(), password.to_owned().into()).unwrap()
}

fn vendors() -> impl Iterator<Item = (&'static str, u8)> {
    Personality::names().zip(1..)
}

#[tokio::test]
async fn every_vendors_bmc_tells_what_it_is() {
    for (vendor, number) in vendors() {
        let bmc = Bmc::start(vendor, number).await;
        let probe = bmcs().probe(&bmc.login).await.unwrap();
        let personality = Personality::shipped(vendor).unwrap();
        let Identity::Redfish(identity) = probe.identity else { panic!("{vendor}") };
        assert_eq!(identity.model, format!("{} {}", personality.manufacturer, personality.product));
        assert!(identity.serial.starts_with("SIM") && !identity.vendor.is_empty() && !identity.version.is_empty());
        assert_eq!(
            (probe.firmware_version, probe.power),
            (personality.firmware.clone(), Some(PowerState::Off)),
            "{vendor}"
        );
        assert_eq!(probe.capabilities.len(), Capability::ALL.len(), "{vendor}: {:?}", probe.capabilities);
        assert!(identity.rules.contains(&"first-slot"), "{:?}", identity.rules);
        assert_eq!(identity.rules.contains(&"dell-slots"), vendor == "dell", "{:?}", identity.rules);
    }
}

#[tokio::test]
async fn an_account_is_made_once_works_and_is_taken_away_and_no_other_changes() {
    for (vendor, number) in vendors() {
        let bmc = Bmc::known(vendor, 10 + number).await;
        let before = bmc.others();
        let made = bmcs().ensure_account(&bmc.login, &account(PASSWORD)).await.unwrap();
        assert!(made.created, "{vendor}");
        let ours = bmc.ours().unwrap();
        assert!(ours.enabled && ours.access.privilege == Privilege::Administrator, "{vendor}: {ours:?}");
        assert!(ours.slot != 1 || vendor == "openbmc", "{vendor}");
        let again = bmcs().ensure_account(&bmc.login, &account(PASSWORD)).await.unwrap();
        assert_eq!(again, Ensured { created: false, ..made }, "{vendor}");
        let own = with(&bmc.login, NAME, PASSWORD);
        bmcs().set_power(&own, PowerState::On).await.unwrap();
        assert_eq!((bmc.others(), bmc.truth(Fact::AccountMade), bmc.truth(Fact::LoginRefused)), (before.clone(), 1, 0));

        let error = bmcs().ensure_account(&bmc.login, &account("An0therAn0ther01")).await.unwrap_err();
        assert!(matches!(error, BmcError::NameTaken(_)), "{vendor}: {error}");
        assert!(!error.to_string().contains("An0ther"), "{error}");
        assert_eq!(bmcs().power(&own).await, Ok(PowerState::On), "{vendor}: the password is as it was");

        assert_eq!(bmcs().remove_account(&own, NAME).await, Ok(true), "{vendor}");
        assert_eq!((bmc.ours().is_none(), bmc.others()), (true, before), "{vendor}");
        assert!(matches!(bmcs().power(&own).await, Err(BmcError::Refused(_))), "{vendor}");
        assert_eq!(bmcs().remove_account(&bmc.login, NAME).await, Ok(false), "{vendor}");
    }
}

#[tokio::test]
async fn power_goes_where_it_is_sent() {
    for (vendor, number) in vendors() {
        let (bmc, bmcs) = (Bmc::known(vendor, 20 + number).await, bmcs());
        for wanted in [PowerState::On, PowerState::Off, PowerState::On] {
            bmcs.set_power(&bmc.login, wanted).await.unwrap();
            bmcs.set_power(&bmc.login, wanted).await.unwrap();
            assert_eq!(bmc.made.chassis.is_on(), wanted == PowerState::On, "{vendor}");
            assert_eq!(bmcs.power(&bmc.login).await, Ok(wanted), "{vendor}");
        }
        assert_eq!(bmc.truth(Fact::PowerOn), 2, "{vendor}: a level that is reached is not sent");
        bmcs.cycle_power(&bmc.login).await.unwrap();
        assert_eq!(bmc.truth(Fact::PowerOn), 3, "{vendor}");
        bmcs.soft_off(&bmc.login).await.unwrap();
        assert_eq!(bmc.truth(Fact::LoginRefused), 0, "{vendor}");
    }
}

#[tokio::test]
async fn the_next_boot_is_set() {
    for (vendor, number) in vendors() {
        let (bmc, bmcs) = (Bmc::known(vendor, 30 + number).await, bmcs());
        for (device, uefi, target) in [
            (BootDevice::Network, true, BootTarget::Network),
            (BootDevice::Disk, true, BootTarget::Disk),
            (BootDevice::Network, false, BootTarget::Network),
        ] {
            bmcs.set_boot_device(&bmc.login, device, uefi).await.unwrap();
            let next = bmc.made.chassis.boot().0.unwrap();
            assert_eq!((next.target, next.uefi, next.persistent), (target, uefi, false), "{vendor}");
        }
    }
}

#[tokio::test]
async fn a_certificate_that_changed_is_refused_before_anything_is_told() {
    let bmc = Bmc::known("hpe", 40).await;
    let Face::Redfish(Https { pin: Pin::Known(before), .. }) = bmc.login.face else { panic!("pinned") };
    bmcs().power(&bmc.login).await.unwrap();
    bmc.tls.renew();
    for error in [
        bmcs().power(&bmc.login).await.unwrap_err(),
        bmcs().set_power(&bmc.login, PowerState::On).await.unwrap_err(),
        bmcs().ensure_account(&bmc.login, &account(PASSWORD)).await.unwrap_err(),
        bmcs().probe(&bmc.login).await.unwrap_err(),
    ] {
        let seen =
            certificate(&bmcs().probe(&login(bmc.login.address, &bmc.login.username, "H9PKT4WX")).await.unwrap());
        assert!(matches!(error, BmcError::Untrusted(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(&before.to_string()) && text.contains(&seen.to_string()), "{text}");
    }
    assert!(!bmc.made.chassis.is_on() && bmc.ours().is_none());
    // What is not known is looked at, and nothing else.
    let unknown = login(bmc.login.address, &bmc.login.username, "H9PKT4WX");
    assert!(matches!(bmcs().set_power(&unknown, PowerState::On).await, Err(BmcError::Untrusted(_))));
    assert!(!bmc.made.chassis.is_on());
}

#[tokio::test]
async fn an_authority_does_not_vouch_for_what_it_did_not_sign() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let bmc = Bmc::known("dell", 41).await;
    bmc.tls.renew();
    let bmcs = bmcs().with_authorities(Authorities::from_pem(authority.pem().as_bytes()).unwrap());
    let error = bmcs.power(&bmc.login).await.unwrap_err();
    assert!(matches!(error, BmcError::Untrusted(_)), "another authority's: {error}");
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let bmc = Bmc::known("supermicro", 42).await;
    let wrong = with(&bmc.login, "ADMIN", "hunter2hunter2");
    let error = bmcs().power(&wrong).await.unwrap_err();
    assert!(matches!(error, BmcError::Refused(_)) && !error.to_string().contains("hunter2"), "{error}");
    assert_eq!(bmc.truth(Fact::LoginRefused), 1);
}

#[tokio::test]
async fn those_who_wait_for_the_same_log_in_once() {
    let (bmc, bmcs) = (Bmc::known("supermicro", 47).await, bmcs());
    let wrong = with(&bmc.login, "ADMIN", "hunter2hunter2");
    let ask = || bmcs.power(&wrong);
    let answers = tokio::join!(ask(), ask(), ask(), ask());
    for answer in [answers.0, answers.1, answers.2, answers.3] {
        assert!(matches!(answer, Err(BmcError::Refused(_))), "{answer:?}");
    }
    assert_eq!(bmc.truth(Fact::LoginRefused), 2, "the first, who did not wait, and the others together");
}

#[tokio::test]
async fn a_busy_bmc_is_waited_for_as_long_as_there_is_time() {
    let bmc = Bmc::known("openbmc", 43).await;
    bmc.fault(FaultRule { count: Some(3), ..FaultRule::always(Fault::Unavailable { retry_after: 1 }) });
    assert_eq!(bmcs().power(&bmc.login).await, Ok(PowerState::Off));
    bmc.fault(FaultRule::always(Fault::Unavailable { retry_after: 1 }));
    let (begun, error) = (Instant::now(), bmcs().power(&bmc.login).await.unwrap_err());
    assert!(matches!(error, BmcError::Busy(_)), "{error}");
    assert!(begun.elapsed() <= LIMITS.whole + Duration::from_secs(1));
}

#[tokio::test]
async fn without_a_free_session_name_and_password_go_with_each_request() {
    for (vendor, number) in vendors() {
        let bmc = Bmc::known(vendor, 50 + number).await;
        bmc.fault(FaultRule::always(Fault::SessionsFull));
        bmcs().set_power(&bmc.login, PowerState::On).await.unwrap();
        assert!(bmcs().ensure_account(&bmc.login, &account(PASSWORD)).await.unwrap().created, "{vendor}");
        let own = with(&bmc.login, NAME, PASSWORD);
        assert_eq!(bmcs().remove_account(&own, NAME).await, Ok(true), "{vendor}");
    }
}

#[tokio::test]
async fn sessions_are_ended() {
    let bmc = Bmc::known("supermicro", 44).await;
    for _ in 0..20 {
        bmcs().power(&bmc.login).await.unwrap();
    }
    let url = format!("https://{}/redfish/v1/SessionService/Sessions", bmc.login.address);
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sk", "--noproxy", "*", "-u", "ADMIN:ADMIN", &url]);
    let told = tokio::task::spawn_blocking(move || farrier_integration_tests::process::succeed(curl, bmc::LIMIT));
    assert!(told.await.unwrap().unwrap().contains("\"Members@odata.count\":0"));
}

#[tokio::test]
async fn nonsense_silence_and_slowness_have_their_names() {
    let bmc = Bmc::known("lenovo", 45).await;
    let system = FaultRule { path: Some("*/Systems*".into()), ..FaultRule::always(Fault::NotJson) };
    for (rule, kind) in [
        (system.clone(), "nonsense"),
        (FaultRule { fault: Fault::WrongShape, ..system.clone() }, "nonsense"),
        (FaultRule::always(Fault::NotJson), "nonsense"),
        (FaultRule::always(Fault::WrongShape), "nonsense"),
        (FaultRule { fault: Fault::Refuse { status: 500 }, ..system.clone() }, "rejects"),
        (FaultRule { fault: Fault::Refuse { status: 404 }, ..system.clone() }, "cannot do"),
        (FaultRule::always(Fault::Hangup), "does not answer"),
        (FaultRule::always(Fault::BlackHole), "does not answer"),
        (FaultRule { fault: Fault::BlackHole, ..system.clone() }, "does not answer"),
        (FaultRule { fault: Fault::Delay { ms: 60_000 }, ..system.clone() }, "does not answer"),
    ] {
        bmc.fault(rule.clone());
        let begun = Instant::now();
        let error = bmcs().power(&bmc.login).await.unwrap_err().to_string();
        assert!(error.contains(kind), "{rule:?}: {error}");
        assert!(begun.elapsed() < LIMITS.whole, "{rule:?}");
    }
    bmc.fault(FaultRule { fault: Fault::Delay { ms: 500 }, ..system });
    assert_eq!(bmcs().power(&bmc.login).await, Ok(PowerState::Off), "slow, but there");
    let nobody = Login { address: SocketAddrV4::new(*bmc.login.address.ip(), 9), ..bmc.login.clone() };
    assert!(matches!(bmcs().power(&nobody).await, Err(BmcError::Unreachable(_))));
}

#[tokio::test]
async fn what_is_only_acknowledged_is_not_taken_as_done() {
    let bmc = Bmc::known("hpe", 46).await;
    bmc.fault(FaultRule::always(Fault::AcknowledgeOnly));
    for error in [
        bmcs().set_power(&bmc.login, PowerState::On).await.unwrap_err(),
        bmcs().set_boot_device(&bmc.login, BootDevice::Network, true).await.unwrap_err(),
    ] {
        assert!(matches!(error, BmcError::NotConfirmed(_)), "{error}");
    }
    // Dell's lock-out counts by address and would hide what comes after; HPE's counts by user.
    let error = bmcs().ensure_account(&bmc.login, &account(PASSWORD)).await.unwrap_err();
    assert!(matches!(error, BmcError::Refused(_)) && error.to_string().contains("proves"), "{error}");
    assert!(bmc.ours().is_none());
}

#[tokio::test]
async fn an_account_that_gives_nobody_access_is_completed() {
    for vendor in ["dell", "supermicro"] {
        let bmc = Bmc::known(vendor, if vendor == "dell" { 47 } else { 48 }).await;
        {
            let mut users = bmc.made.users.lock().unwrap();
            users.rename(5, NAME).unwrap();
            users.set_password(5, b"S0meb0dyE1ses", PasswordForm::Twenty).unwrap();
            let access = Access { privilege: Privilege::User, messaging: true, link: true, callback_only: false };
            users.set_access(5, access).unwrap();
            users.enable(5, false).unwrap();
        }
        let before = bmc.others();
        let made = bmcs().ensure_account(&bmc.login, &account(PASSWORD)).await.unwrap();
        assert_eq!(made, Ensured { slot: 5, created: true }, "{vendor}");
        assert_eq!((bmc.others(), bmc.truth(Fact::LoginRefused)), (before, 0), "{vendor}");
    }
}

#[tokio::test]
async fn without_a_free_slot_nothing_is_written() {
    let bmc = Bmc::known("dell", 49).await;
    let mut names = Vec::new();
    for slot in 3..=16 {
        let mut users = bmc.made.users.lock().unwrap();
        users.rename(slot, &format!("user{slot}")).unwrap();
        names.push(format!("user{slot}"));
    }
    let before = bmc.others();
    let error = bmcs().ensure_account(&bmc.login, &account(PASSWORD)).await.unwrap_err();
    assert!(matches!(error, BmcError::NoSlot(_)) && names.iter().all(|n| error.to_string().contains(n)), "{error}");
    assert_eq!(bmc.others(), before);
}

#[tokio::test]
async fn the_emulator_of_openstack_is_driven() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let (cert, secret) = (folder.path().join("cert"), folder.path().join("key"));
    std::fs::write(&cert, certificate.pem()).unwrap();
    std::fs::write(&secret, key.serialize_pem()).unwrap();
    let emulator = tokio::task::spawn_blocking(move || {
        let (cert, secret) = (cert.to_str().unwrap(), secret.to_str().unwrap());
        Emulator::start(&["--ssl-certificate", cert, "--ssl-key", secret])
    });
    let emulator = emulator.await.unwrap();
    // Its power takes up to 11 s, and begins anew with each command: the times that racks use.
    let (bmcs, login) = (Bmcs::default(), login(emulator.address.parse().unwrap(), "nobody", "nothing"));
    let probe = bmcs.probe(&login).await.unwrap();
    assert_eq!(self::certificate(&probe), Fingerprint::of(certificate.der()));
    let login = pinned(&login, self::certificate(&probe));
    for wanted in [PowerState::On, PowerState::Off, PowerState::On] {
        bmcs.set_power(&login, wanted).await.unwrap();
        assert_eq!(bmcs.power(&login).await, Ok(wanted));
    }
    for device in [BootDevice::Network, BootDevice::Disk] {
        bmcs.set_boot_device(&login, device, true).await.unwrap();
    }
    bmcs.soft_off(&login).await.unwrap();
    let error = bmcs.ensure_account(&login, &account(PASSWORD)).await.unwrap_err();
    assert!(matches!(error, BmcError::Unsupported(_)), "it has no accounts: {error}");
}

/// A peer that speaks TLS and then says this to each request.
async fn hostile(says: Vec<u8>) -> (Login, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("bound to IPv4") };
    let acceptor = tokio_rustls::TlsAcceptor::from(Tls::new(vec!["bmc".into()]).config().unwrap());
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let says = says.clone();
            tokio::spawn(async move {
                let mut heard = [0; 4096];
                while stream.read(&mut heard).await.is_ok_and(|n| n > 0) {
                    if stream.write_all(&says).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (login(address, "root", "hunter2hunter2"), task)
}

#[tokio::test]
async fn a_hostile_peer_gets_an_error_and_no_password() {
    let ok = |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes();
    let away = "HTTP/1.1 308 Away\r\nlocation: https://elsewhere.example/\r\ncontent-length: 0\r\n\r\n";
    let root = |more: &str| ok(&format!(r##"{{"@odata.type": "#ServiceRoot.v1_0_0.ServiceRoot", {more}}}"##));
    let mut endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    endless.extend(b"10000\r\n".iter().copied().chain([b' '; 0x10000]).chain(*b"\r\n").collect::<Vec<_>>().repeat(8));
    for says in [
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        ok(&"[".repeat(100_000)),
        ok("null"),
        ok(&format!("{{\"x\": {}1{}}}", "[".repeat(5000), "]".repeat(5000))),
        endless,
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{".to_vec(),
        [b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(100_000)].concat(),
        away.as_bytes().to_vec(),
        b"HTTP/1.1 202 Later\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n".to_vec(),
        b"HTTP/1.1 999 \xff\xfe\r\ncontent-length: 0\r\n\r\n".to_vec(),
        b"HTTP/1.1 503 Busy\r\nretry-after: 99999999999999999999\r\ncontent-length: 0\r\n\r\n".to_vec(),
        root(r#""Systems": {"@odata.id": "https://elsewhere.example"}"#),
        root(r#""Systems": {"@odata.id": "/a\r\nhost: b"}, "Members": 7"#),
        root(r#""Systems": {"@odata.id": "/s"}, "Members": [{"@odata.id": "/s"}], "Members@odata.nextLink": "/s""#),
    ] {
        let (login, task) = hostile(says.clone()).await;
        let begun = Instant::now();
        let error = bmcs().probe(&login).await.unwrap_err().to_string();
        let shown = String::from_utf8_lossy(&says[..says.len().min(80)]).into_owned();
        assert!(begun.elapsed() <= LIMITS.whole + Duration::from_secs(2), "{shown}");
        assert!(error.len() < 1000 && !error.contains("hunter2"), "{shown}: {error}");
        task.abort();
    }
}
