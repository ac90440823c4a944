//! `RackService` as the region sees it, and as others do not.

use std::net::SocketAddr;

use farrier_common::{id::MachineId, tls};
use farrier_proto::rack::{self as proto, rack_service_client::RackServiceClient, sync_intents_request::Part};
use farrier_rack::{
    blobs::Blobs,
    bmc::Bmcs,
    boot::state::BootState,
    gateway::{Credentials, Gateway},
    link::identity::Identity,
    service::{self, Service},
};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::fake::Fake;

type Client = RackServiceClient<Channel>;

struct Rack {
    fake: Fake,
    address: SocketAddr,
    boot: BootState,
    renewed: watch::Sender<Credentials>,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), service::ServeError>>,
    _dir: TempDir,
}

impl Rack {
    async fn start() -> Self {
        let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
        let identity = Identity::new(fake.address.to_string(), fake.ca.rack()).unwrap();
        let gateway = Gateway::new(&identity.region, &identity.credentials).unwrap();
        let boot = BootState::open(&dir.path().join("intents")).unwrap();
        let blobs = Blobs::open(dir.path().join("blobs"), gateway).unwrap();
        let service = Service::new(identity.rack_id, boot.clone(), blobs, Bmcs::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (renewed, seen) = watch::channel(identity.credentials);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(service::serve(service, listener, seen, stop.clone()));
        Self { fake, address, boot, renewed, stop, serving, _dir: dir }
    }

    fn client(&self, credentials: Option<&Credentials>) -> Client {
        let mut config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.fake.ca.pem))
            .domain_name(tls::rack_server_name(self.fake.ca.rack_id));
        if let Some(own) = credentials {
            config = config.identity(tonic::transport::Identity::from_pem(&own.certificate_pem, own.key_pem.expose()));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).unwrap();
        Client::new(endpoint.tls_config(config).unwrap().connect_lazy())
    }

    fn region(&self) -> Client {
        self.client(Some(&self.fake.ca.region()))
    }
}

fn intent(machine: MachineId, version: i64) -> proto::BootIntent {
    proto::BootIntent {
        machine_id: machine.to_string(),
        machine_name: "node-1".into(),
        version,
        interfaces: vec![proto::IntentInterface { mac: "52:54:00:00:00:01".into(), address: String::new() }],
        target: Some(proto::boot_intent::Target::LocalDisk(proto::LocalDisk::default())),
    }
}

fn snapshot(
    id: &str,
    intents: Vec<proto::BootIntent>,
) -> impl tonic::IntoStreamingRequest<Message = proto::SyncIntentsRequest> {
    let header = proto::SnapshotHeader { snapshot_id: id.into(), ..Default::default() };
    let parts = std::iter::once(Part::Header(header)).chain(intents.into_iter().map(Part::Intent));
    let messages: Vec<_> = parts.map(|part| proto::SyncIntentsRequest { part: Some(part) }).collect();
    tokio_stream::iter(messages)
}

#[tokio::test]
async fn only_the_region_gets_in() {
    let rack = Rack::start().await;
    let ask = proto::GetStatusRequest {};
    let status = rack.region().get_status(ask).await.unwrap().into_inner();
    assert_eq!((status.rack_id, status.snapshot_id.as_str()), (rack.fake.ca.rack_id.to_string(), ""));
    let other_rack = rack.client(Some(&rack.fake.ca.rack())).get_status(ask).await.unwrap_err();
    assert_eq!(other_rack.code(), Code::PermissionDenied);
    assert!(rack.client(None).get_status(ask).await.is_err(), "nobody without a certificate");
    let stranger = super::fake::Ca::new().region();
    assert!(rack.client(Some(&stranger)).get_status(ask).await.is_err(), "nobody of another CA");
}

#[tokio::test]
async fn intents_are_synchronised_put_and_removed() {
    let rack = Rack::start().await;
    let (mut client, machine) = (rack.region(), MachineId::generate());
    let put = |version, snapshot_id: &str| proto::PutIntentRequest {
        intent: Some(intent(machine, version)),
        snapshot_id: snapshot_id.into(),
    };
    assert_eq!(client.put_intent(put(1, "s1")).await.unwrap_err().code(), Code::FailedPrecondition);
    let synced = client.sync_intents(snapshot("s1", vec![intent(machine, 4)])).await.unwrap().into_inner();
    assert_eq!((synced.intents, rack.boot.snapshot_id().as_deref()), (1, Some("s1")));
    assert_eq!(client.put_intent(put(5, "s1")).await.unwrap().into_inner().version, 5);
    assert_eq!(client.put_intent(put(3, "s1")).await.unwrap().into_inner().version, 5, "the newer one is kept");
    assert_eq!(client.put_intent(put(6, "s0")).await.unwrap_err().code(), Code::FailedPrecondition);

    let twice = vec![intent(machine, 7), intent(MachineId::generate(), 7)];
    let refused = client.sync_intents(snapshot("s2", twice)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("intents[1].interfaces[0].mac:"), "{}", refused.message());
    let headless = tokio_stream::iter([proto::SyncIntentsRequest { part: Some(Part::Intent(intent(machine, 9))) }]);
    assert!(client.sync_intents(headless).await.unwrap_err().message().starts_with("header:"));
    assert_eq!(rack.boot.snapshot_id().as_deref(), Some("s1"), "what is refused changes nothing");

    for _ in 0..2 {
        client.remove_intent(proto::RemoveIntentRequest { machine_id: machine.to_string() }).await.unwrap();
    }
    assert!(rack.boot.is_empty());
}

#[tokio::test]
async fn blobs_are_prefetched_and_errors_have_codes() {
    let rack = Rack::start().await;
    let mut client = rack.region();
    let prefetch =
        |sha256: String, size_bytes| proto::PrefetchBlobRequest { blob: Some(proto::BlobRef { sha256, size_bytes }) };
    let held = rack.fake.hold(b"kernel");
    client.prefetch_blob(prefetch(held.clone(), 6)).await.unwrap();
    assert_eq!(rack.fake.state().downloads, [0]);
    for (request, code) in [
        (prefetch("a".repeat(64), 6), Code::NotFound),
        (prefetch("A".repeat(64), 6), Code::InvalidArgument),
        (prefetch(held, 7), Code::DataLoss),
        (proto::PrefetchBlobRequest { blob: None }, Code::InvalidArgument),
    ] {
        assert_eq!(client.prefetch_blob(request.clone()).await.unwrap_err().code(), code, "{request:?}");
    }
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bmc = proto::Bmc {
        protocol: 1,
        address: "127.0.0.1".into(),
        port: closed.into(),
        username: "root".into(),
        password: "calvin".into(),
        ..proto::Bmc::default()
    };
    let away = client.get_power(proto::GetPowerRequest { bmc: Some(bmc.clone()), urgency: 0 }).await.unwrap_err();
    assert_eq!(away.code(), Code::Unavailable);
    assert!(!away.message().contains("calvin"), "{}", away.message());
    let request = proto::SetPowerRequest { bmc: Some(bmc), power: 0 };
    assert!(client.set_power(request).await.unwrap_err().message().starts_with("power:"));
}

#[tokio::test]
async fn polls_leave_a_silent_bmc_alone_and_whoever_waits_does_not() {
    let rack = Rack::start().await;
    let mut client = rack.region();
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bmc = proto::Bmc {
        protocol: 1,
        address: "127.0.0.1".into(),
        port: closed.into(),
        username: "root".into(),
        password: "calvin".into(),
        ..proto::Bmc::default()
    };
    let (poll, person) = (proto::Urgency::Poll, proto::Urgency::Person);
    for (urgency, asked) in [(poll, true), (poll, true), (person, true), (poll, false), (person, true), (poll, false)] {
        let request = proto::GetPowerRequest { bmc: Some(bmc.clone()), urgency: urgency.into() };
        let away = client.get_power(request).await.unwrap_err();
        assert_eq!(away.code(), Code::Unavailable, "the same to the region, asked or not");
        assert_eq!(!away.message().contains("was not asked"), asked, "{urgency:?}: {}", away.message());
    }
}

#[tokio::test]
async fn a_renewed_identity_is_served_without_a_gap() {
    let rack = Rack::start().await;
    let mut client = rack.region();
    let ask = proto::GetStatusRequest {};
    client.get_status(ask).await.unwrap();
    for _ in 0..3 {
        rack.renewed.send_replace(rack.fake.ca.rack());
        for _ in 0..5 {
            // The old connection may be told to go in the middle of a call; the next call is on a new one.
            if let Err(status) = client.get_status(ask).await {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            }
        }
        client.get_status(ask).await.unwrap();
        rack.region().get_status(ask).await.unwrap();
    }
    drop(client);
    rack.stop.cancel();
    rack.serving.await.unwrap().unwrap();
}
