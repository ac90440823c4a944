//! Enrolling, living, reporting, relaying.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use farrier_common::{clock::Clock, id::Id, net::MacAddr};
use farrier_proto::agent::{self, agent_service_client::AgentServiceClient};
use farrier_rack::{
    boot::{
        state::BootState,
        steps::{Step, StepKind, Steps},
    },
    config::{Config, Ports},
    gateway::{Gateway, GatewayError},
    join::JoinToken,
    link::{
        enrol::{self, EnrolError},
        heartbeat::Heart,
        identity::{Folder, Identity},
        reporter,
    },
    relay::Relay,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::fake::{Ca, Fake, now, token};

fn config(dir: &Path, token: &JoinToken) -> Config {
    let file = dir.join("join-token");
    fs::write(&file, token.encode().expose()).unwrap();
    Config {
        data_dir: dir.join("data"),
        join_token_file: Some(file),
        region: None,
        address: [127, 0, 0, 1].into(),
        advertise: "127.0.0.1:5251".into(),
        interfaces: vec!["lo".into()],
        loaders_dir: "/usr/lib/ipxe".into(),
        boot_loop_limit: 5,
        bmc_polls: 256,
        bmc_ca_file: None,
        ports: Ports::default(),
    }
}

async fn enrolled(config: &Config) -> Result<(Folder, Identity), EnrolError> {
    let folder = Folder::open(config.data_dir.join("identity")).unwrap();
    let identity = enrol::identity(config, &folder, &Clock::System, &CancellationToken::new()).await?;
    Ok((folder, identity))
}

/// Waits until it is true; says what was waited for if it never is.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_rack_enrols_once_and_keeps_its_identity() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    let mut config = config(dir.path(), &fake.token());
    let (folder, identity) = enrolled(&config).await.unwrap();
    assert_eq!((identity.rack_id, &identity.region), (fake.ca.rack_id, &fake.address.to_string()));
    let request = fake.state().enrolled.pop().unwrap();
    assert_eq!(
        (request.address.as_str(), request.software_version.as_str()),
        ("127.0.0.1:5251", farrier_rack::VERSION)
    );
    for entry in fs::read_dir(config.data_dir.join("identity")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }

    config.join_token_file = None;
    assert_eq!(enrolled(&config).await.unwrap().1.rack_id, identity.rack_id, "no token is needed any more");
    assert_eq!(fake.state().enrolled.len(), 0);
    assert!(folder.load().unwrap().is_some());

    let key = config.data_dir.join("identity/rack.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(Folder::open(config.data_dir.join("identity")).is_err(), "a key that others may read is refused");
}

#[tokio::test]
async fn enrolling_fails_for_good_or_waits() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    let wrong = JoinToken { secret: "used".to_owned().into(), ..fake.token() };
    let error = enrolled(&config(dir.path(), &wrong)).await.unwrap_err();
    assert!(matches!(error, EnrolError::Refused(GatewayError::Denied(_))), "{error}");
    let stranger = JoinToken { ca_pem: Ca::new().pem, ..fake.token() };
    let config_of_stranger = config(dir.path(), &stranger);
    let folder = Folder::open(config_of_stranger.data_dir.join("identity")).unwrap();
    let stop = CancellationToken::new();
    let waiting = enrol::identity(&config_of_stranger, &folder, &Clock::System, &stop);
    assert!(
        tokio::time::timeout(Duration::from_secs(2), waiting).await.is_err(),
        "a region of another CA gets nothing"
    );
    assert_eq!(fake.state().enrolled.len(), 0);

    // A region that comes later is waited for.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let ca = Arc::new(Ca::new());
    let config = config(dir.path(), &token(address, &ca));
    let waiting = tokio::spawn(async move { enrolled(&config).await.map(|(_, identity)| identity.rack_id) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let late = Fake::start_on(TcpListener::bind(address).await.unwrap(), ca);
    assert_eq!(waiting.await.unwrap().unwrap(), late.ca.rack_id);
}

#[tokio::test]
async fn the_heart_beats_lives_through_failures_and_renews() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    let (folder, identity) = enrolled(&config(dir.path(), &fake.token())).await.unwrap();
    let gateway = Gateway::new(&identity.region, &identity.credentials).unwrap();
    // The certificate is from 2020 to 2050: it is old in 2041.
    let clock = Clock::manual("2039-01-01T00:00:00Z".parse().unwrap());
    let (renewed, mut seen) = watch::channel(identity.credentials.clone());
    let boot = BootState::open(&dir.path().join("intents")).unwrap();
    let heart = Heart {
        gateway,
        boot,
        advertise: "127.0.0.1:5251".into(),
        http_port: 5248,
        folder: folder.clone(),
        identity: identity.clone(),
        renewed,
        clock: clock.clone(),
    };
    fake.state().failures = vec![Status::unavailable("busy")];
    let stop = CancellationToken::new();
    let beating = tokio::spawn(heart.run(stop.clone()));
    until("two heartbeats", || fake.state().heartbeats.len() >= 2).await;
    assert_eq!(fake.state().renewals, 0);
    assert_eq!(fake.state().heartbeats[0].snapshot_id, "", "nothing is held yet");
    clock.advance(chrono::TimeDelta::days(800));
    tokio::time::timeout(Duration::from_secs(20), seen.changed()).await.unwrap().unwrap();
    assert_ne!(seen.borrow().certificate_pem, identity.credentials.certificate_pem);
    let kept = folder.load().unwrap().unwrap();
    assert_eq!(kept.credentials.certificate_pem, seen.borrow().certificate_pem);
    let before = fake.state().heartbeats.len();
    until("a heartbeat after the renewal", || fake.state().heartbeats.len() > before).await;
    let (first, last) = {
        let state = fake.state();
        (state.certificates.first().cloned(), state.certificates.last().cloned())
    };
    assert_ne!(first, last, "the new certificate is shown");
    stop.cancel();
    beating.await.unwrap().unwrap();
}

fn step(number: u8) -> Step {
    Step::new(now(), MacAddr([2, 0, 0, 0, 0, number]), None, StepKind::Dhcp, &format!("step {number}"))
}

#[tokio::test]
async fn boot_steps_reach_the_region_in_order_whatever_happens() {
    let fake = Fake::start().await;
    let gateway = Gateway::new(&fake.address.to_string(), &fake.ca.rack()).unwrap();
    fake.state().failures = vec![Status::unavailable("a"), Status::internal("b")];
    let (steps, reported) = Steps::channel(2000);
    let stop = CancellationToken::new();
    let reporting = tokio::spawn(reporter::run(gateway, reported, stop.clone()));
    let sent: Vec<Step> = (0..200).map(step).collect();
    for one in &sent[..150] {
        steps.record(one.clone());
    }
    until("a report", || !fake.state().reports.is_empty()).await;
    // A batch that is refused for good does not stand in the way of those behind it.
    fake.state().failures = vec![Status::invalid_argument("mac: bad")];
    steps.record(step(255));
    until("the refusal", || fake.state().failures.is_empty()).await;
    for one in &sent[150..] {
        steps.record(one.clone());
    }
    stop.cancel();
    reporting.await.unwrap().unwrap();
    let state = fake.state();
    let arrived: Vec<&str> = state.reports.iter().flatten().map(|s| s.id.as_str()).collect();
    let wanted: Vec<String> = sent.iter().map(|s| s.id.to_string()).collect();
    assert_eq!(arrived, wanted);
    assert_eq!((state.reports[0][7].mac.as_str(), state.reports[0][7].text.as_str()), ("02:00:00:00:00:07", "step 7"));
}

#[tokio::test]
async fn agents_are_relayed_with_their_address() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::new(&fake.address.to_string(), &fake.ca.rack()).unwrap();
    let boot = BootState::open(&dir.path().join("intents")).unwrap();
    let (steps, mut seen) = Steps::channel(100);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(Relay::new(gateway, boot, steps, Clock::System, 5248).serve(listener, stop.clone()));
    let mut client = AgentServiceClient::connect(format!("http://{address}")).await.unwrap();

    let identity = Some(agent::Identity { macs: vec!["02:00:00:00:00:01".into()], ..Default::default() });
    let answer = client.enlist(agent::EnlistRequest { identity: identity.clone() }).await.unwrap().into_inner();
    assert_eq!(answer.machine_name, "node-1");
    assert_eq!(seen.recv().await.unwrap().text, "enlisted from 127.0.0.1 as node-1");
    let boot_id = Id::<farrier_common::id::Boot>::generate().to_string();
    let hello = agent::HelloRequest { boot_id, token: "t".into(), session: "s".into(), identity };
    client.hello(hello.clone()).await.unwrap();
    fake.state().failures = vec![Status::permission_denied("the token was spent")];
    let refused = client.hello(hello).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, "the token was spent"));
    assert_eq!(seen.recv().await.unwrap().kind, StepKind::Agent);
    assert!(seen.recv().await.unwrap().text.contains("failed"));

    // The region holds NextTask longer than other calls may take.
    fake.state().slow = Duration::from_secs(7);
    let task = client.next_task(agent::NextTaskRequest::default()).await.unwrap().into_inner();
    assert!(matches!(task.task, Some(agent::next_task_response::Task::Idle(_))));
    assert!(client.report_task(agent::ReportTaskRequest::default()).await.unwrap().into_inner().stop);
    let wanted = ["enlist from 127.0.0.1", "hello from 127.0.0.1", "next task by http://127.0.0.1:5248", "report"];
    assert_eq!(fake.state().relayed, wanted);

    fake.state().failures = (0..9).map(|_| Status::unavailable("restarting")).collect();
    let away = client.report_task(agent::ReportTaskRequest::default()).await.unwrap_err();
    assert_eq!(away.code(), Code::Unavailable);
    drop(client);
    stop.cancel();
    serving.await.unwrap().unwrap();
}
