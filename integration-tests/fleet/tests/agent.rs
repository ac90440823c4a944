//! A machine's whole life against services that only this test knows: DHCP by relay, HTTP and `AgentService` on the loopback.
//! Nobody has to be root.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::{BTreeSet, VecDeque},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use farrier_common::{clock::Clock, id::BootId, secret::sha256_hex};
use farrier_fleet::{
    agent::Patience,
    boot::{Firmware, Network, Pace, Source, segment::Segment},
    chassis::{BootOverride, BootTarget, Cause, Chassis},
    dice::Dice,
    disk::{Content, Disks},
    http::{Depth, Seen},
    machine::{
        Machine, Parts,
        brain::{BootOrder, Whereabouts},
        fault::{DiskWork, Fault, Faults},
        hardware::{Hardware, Make, Order},
    },
    truth::{Fact, Truth},
};
use farrier_proto::{
    agent::{
        EnlistRequest, EnlistResponse, EraseTask, HelloRequest, HelloResponse, InventoryTask, NextTaskRequest,
        NextTaskResponse, NoCloudSeed, PowerOffTask, ReportTaskRequest, ReportTaskResponse, WriteImageTask,
        agent_service_server::{AgentService, AgentServiceServer},
        next_task_response::Task,
        report_task_request::Report,
    },
    v1,
};
use tokio::net::{TcpListener, UdpSocket};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Status};

type Answer<T> = Result<tonic::Response<T>, Status>;

/// Everything that the machine meets.
#[derive(Default)]
struct World {
    script: Mutex<String>,
    enlisted: Mutex<Vec<EnlistRequest>>,
    hello: Mutex<Vec<HelloRequest>>,
    tasks: Mutex<VecDeque<(String, Task)>>,
    reports: Mutex<Vec<(String, Report)>>,
    phoned: Mutex<Vec<String>>,
    blob: Mutex<Vec<u8>>,
    gets: Mutex<Vec<String>>,
    /// Answers that get lost: the request is carried out, and the connection says "unavailable".
    lose: Mutex<u32>,
}

struct Fake(Arc<World>);

#[tonic::async_trait]
impl AgentService for Fake {
    async fn enlist(&self, request: Request<EnlistRequest>) -> Answer<EnlistResponse> {
        self.0.enlisted.lock().unwrap().push(request.into_inner());
        Ok(tonic::Response::new(EnlistResponse { machine_name: "calm-otter".to_owned(), state: "new".to_owned() }))
    }

    async fn hello(&self, request: Request<HelloRequest>) -> Answer<HelloResponse> {
        let request = request.into_inner();
        if request.token != "t0ken" || request.session.len() != 64 {
            return Err(Status::permission_denied("the token is wrong"));
        }
        self.0.hello.lock().unwrap().push(request);
        Ok(tonic::Response::new(HelloResponse::default()))
    }

    async fn next_task(&self, _: Request<NextTaskRequest>) -> Answer<NextTaskResponse> {
        let next = self.0.tasks.lock().unwrap().front().cloned();
        let (task_id, task) = next.map_or((String::new(), None), |(id, task)| (id, Some(task)));
        Ok(tonic::Response::new(NextTaskResponse { task_id, task }))
    }

    async fn report_task(&self, request: Request<ReportTaskRequest>) -> Answer<ReportTaskResponse> {
        let request = request.into_inner();
        if let Some(Report::Progress(_)) = request.report {
            return Ok(tonic::Response::new(ReportTaskResponse::default()));
        }
        let mut tasks = self.0.tasks.lock().unwrap();
        if *self.0.lose.lock().unwrap() > 0 {
            *self.0.lose.lock().unwrap() -= 1;
            return Err(Status::unavailable("lost"));
        }
        assert_eq!(tasks.pop_front().unwrap().0, request.task_id);
        self.0.reports.lock().unwrap().push((request.task_id, request.report.unwrap()));
        Ok(tonic::Response::new(ReportTaskResponse::default()))
    }
}

async fn blob(State(world): State<Arc<World>>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let text = |name| headers.get(name).map_or("", |v: &axum::http::HeaderValue| v.to_str().unwrap()).to_owned();
    let (range, bearer) = (text("range"), text("authorization"));
    world.gets.lock().unwrap().push(range.clone());
    let hello = world.hello.lock().unwrap().last().map(|h| format!("Bearer {}.{}", h.boot_id, h.session));
    let image = world.blob.lock().unwrap().clone();
    let bytes = if name == sha256_hex(&image) { image } else { b"a kernel or an initrd".to_vec() };
    if bytes.len() > 100 && Some(bearer) != hello {
        return StatusCode::FORBIDDEN.into_response();
    }
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return bytes.into_response();
    };
    let (first, end) = (first.parse::<usize>().unwrap(), last.parse().map_or(bytes.len(), |n: usize| n + 1));
    let field = [("content-range", format!("bytes {first}-{}/{}", end - 1, bytes.len()))];
    (StatusCode::PARTIAL_CONTENT, field, bytes[first..end].to_vec()).into_response()
}

/// Gives everybody 127.0.0.1 and the script.
async fn dhcp(socket: UdpSocket, script: String) {
    let mut query = [0; 1500];
    loop {
        let (length, relay) = socket.recv_from(&mut query).await.unwrap();
        assert_eq!(&query[24..28], &[127, 0, 0, 1], "the relay's address");
        let kind = query[240..length].windows(3).find(|w| w[..2] == [53, 1]).unwrap()[2];
        let answer = match kind {
            1 => 2,
            3 => 5,
            _ => continue,
        };
        let mut reply = query[..240].to_vec();
        (reply[0], reply[10]) = (2, 0);
        reply[16..20].copy_from_slice(&[127, 0, 0, 1]);
        reply.extend([
            53,
            1,
            answer,
            54,
            4,
            127,
            0,
            0,
            1,
            51,
            4,
            0,
            0,
            14,
            16,
            67,
            u8::try_from(script.len()).unwrap(),
        ]);
        reply.extend(script.bytes());
        reply.push(255);
        socket.send_to(&reply, relay).await.unwrap();
    }
}

struct Lab {
    world: Arc<World>,
    chassis: Chassis,
    disks: Disks,
    faults: Faults,
    whereabouts: tokio::sync::watch::Receiver<Whereabouts>,
    agent: SocketAddr,
    http: SocketAddr,
    hardware: Hardware,
    network: Network,
}

const SIZES: [u64; 2] = [4 << 40, 8 << 40];
const LOCAL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);

/// Machine number `index`.
fn build(index: u32, network: Network, firmware: Firmware) -> (Parts, Dice) {
    let (make, disks) = (Make::of("dell"), SIZES.to_vec());
    let order = Order { make, index, firmware, nics: 2, disks, bmc_address: "127.0.0.9".to_owned() };
    let mut dice = Dice::new(index.into());
    let (hardware, disks) = Hardware::build(&order, &mut dice);
    let truth = Arc::new(Truth::default());
    let parts = Parts {
        chassis: Chassis::new(Arc::clone(&truth)),
        hardware,
        disks: Disks::new(disks, truth),
        network,
        order: BootOrder::NetworkFirst,
        faults: Faults::default(),
        clock: Clock::System,
        patience: Patience::default(),
    };
    (parts, dice)
}

impl Lab {
    async fn new(depth: Depth, firmware: Firmware) -> Self {
        let world = Arc::new(World::default());
        let listener = TcpListener::bind(LOCAL).await.unwrap();
        let agent = listener.local_addr().unwrap();
        let service =
            tonic::transport::Server::builder().add_service(AgentServiceServer::new(Fake(Arc::clone(&world))));
        tokio::spawn(service.serve_with_incoming(TcpListenerStream::new(listener)));
        let script = |State(world): State<Arc<World>>| async move { world.script.lock().unwrap().clone() };
        let phoned =
            |State(world): State<Arc<World>>, body: String| async move { world.phoned.lock().unwrap().push(body) };
        let router = Router::new()
            .route("/boot.ipxe", get(script))
            .route("/blobs/{name}", get(blob))
            .route("/phone-home/{boot}/{token}", post(phoned))
            .with_state(Arc::clone(&world));
        let listener = TcpListener::bind(LOCAL).await.unwrap();
        let http = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let socket = UdpSocket::bind(LOCAL).await.unwrap();
        let SocketAddr::V4(server) = socket.local_addr().unwrap() else { panic!() };
        tokio::spawn(dhcp(socket, format!("http://{http}/boot.ipxe")));
        let network = Network {
            segment: Segment::relay(LOCAL, server).unwrap(),
            source: Source::Leased,
            tftp_port: 69,
            pace: Pace::new(0.0),
            seen: Seen::new(depth, 0),
        };
        let (parts, dice) = build(7, network, firmware);
        let (chassis, disks, faults) = (parts.chassis.clone(), parts.disks.clone(), parts.faults.clone());
        let (hardware, network) = (parts.hardware.clone(), parts.network.clone());
        let machine = Machine::new(parts, dice);
        let whereabouts = machine.whereabouts();
        tokio::spawn(machine.run());
        Self { world, chassis, disks, faults, whereabouts, agent, http, hardware, network }
    }

    /// The machine boots the agent with these tasks; a power-off follows them.
    fn serve(&self, tasks: impl IntoIterator<Item = Task>) -> BootId {
        let boot = BootId::generate();
        let words = format!(" farrier.boot={boot} farrier.token=t0ken");
        *self.world.script.lock().unwrap() = self.script(&words);
        let all = tasks.into_iter().chain([Task::PowerOff(PowerOffTask {})]);
        *self.world.tasks.lock().unwrap() = all.enumerate().map(|(n, task)| (format!("{boot}-{n}"), task)).collect();
        self.world.reports.lock().unwrap().clear();
        boot
    }

    fn script(&self, words: &str) -> String {
        let (http, agent) = (self.http, self.agent);
        format!(
            "#!ipxe\nkernel http://{http}/blobs/k initrd=initrd farrier.agent={agent} farrier.http=http://{http}{words} \
             BOOTIF=01-${{net0/mac:hexhyp}} || goto no\ninitrd --name initrd http://{http}/blobs/i\nboot\n:no\nexit 1\n"
        )
    }

    fn local_disk(&self) {
        "#!ipxe\niseq ${platform} pcbios && goto bios ||\nexit 1\n:bios\nsanboot --drive 0x80 ||\nexit 1\n"
            .clone_into(&mut self.world.script.lock().unwrap());
    }

    async fn reach(&mut self, at: Whereabouts) {
        let reached = tokio::time::timeout(Duration::from_secs(30), self.whereabouts.wait_for(|w| *w == at)).await;
        assert!(reached.is_ok(), "{at} was not reached: {:?}", self.chassis.truth().snapshot());
    }

    /// Switches on and waits until the machine has switched itself off.
    async fn pass(&mut self) -> Vec<Report> {
        assert!(self.chassis.power_on(Cause::Bmc));
        self.reach(Whereabouts::Agent).await;
        self.reach(Whereabouts::Off).await;
        self.world.reports.lock().unwrap().drain(..).map(|(_, report)| report).collect()
    }

    fn image(&self, compression: v1::Compression) -> Task {
        let content: Vec<u8> = (0..300_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let stored = match compression {
            v1::Compression::Zstd => zstd::encode_all(content.as_slice(), 1).unwrap(),
            v1::Compression::Gzip => {
                use std::io::Write as _;
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&content).unwrap();
                encoder.finish().unwrap()
            }
            v1::Compression::None | v1::Compression::Unspecified => content.clone(),
        };
        let blob = v1::Blob {
            role: v1::BlobRole::Disk.into(),
            sha256: sha256_hex(&stored),
            size_bytes: stored.len() as u64,
            compression: compression.into(),
            content_sha256: sha256_hex(&content),
            content_size_bytes: content.len() as u64,
        };
        *self.world.blob.lock().unwrap() = stored;
        let http = self.http;
        let vendor = format!(
            "#cloud-config\n{{\"phone_home\":{{\"url\":\"http://{http}/phone-home/7/t\",\"post\":[\"hostname\"],\"tries\":3}}}}\n"
        );
        let seed = NoCloudSeed {
            user_data: b"#!/bin/sh\n".to_vec(),
            meta_data: br#"{"instance-id":"7","local-hostname":"calm-otter"}"#.to_vec(),
            network_config: Vec::new(),
            vendor_data: vendor.into_bytes(),
        };
        Task::WriteImage(WriteImageTask { blob: Some(blob), disk_serial: String::new(), seed: Some(seed) })
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not happen");
}

#[tokio::test]
async fn a_machine_lives_its_whole_life() {
    let mut lab = Lab::new(Depth::Full, Firmware::BiosIpxe).await;
    let truth = Arc::clone(lab.chassis.truth());
    *lab.world.script.lock().unwrap() = lab.script("");
    lab.pass().await;
    let enlisted = lab.world.enlisted.lock().unwrap()[0].identity.clone().unwrap();
    assert_eq!((enlisted.vendor.as_str(), enlisted.macs.len()), ("Dell Inc.", 2));

    // Inventory, whose report gets lost twice, and an image.
    *lab.world.lose.lock().unwrap() = 2;
    lab.serve([Task::Inventory(InventoryTask {}), lab.image(v1::Compression::Zstd)]);
    let reports = lab.pass().await;
    let [Report::Inventory(found), Report::WriteImage(written), Report::PowerOff(_)] = reports.as_slice() else {
        panic!("{reports:?}")
    };
    let hardware = found.hardware.clone().unwrap();
    assert_eq!((hardware.serial.as_str(), hardware.disks.len()), (lab.hardware.serial.as_str(), 2));
    assert_eq!(written.disk_serial, hardware.disks[0].serial, "the smaller disk");
    assert_eq!(truth.of(Fact::Install), 1);

    // The installed system, and its shutdown.
    lab.local_disk();
    lab.chassis.power_on(Cause::Bmc);
    lab.reach(Whereabouts::System).await;
    until("phoning home", || !lab.world.phoned.lock().unwrap().is_empty()).await;
    assert_eq!(lab.world.phoned.lock().unwrap().as_slice(), ["hostname=calm-otter"]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(lab.chassis.reset(Cause::Bmc));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(lab.world.phoned.lock().unwrap().len(), 1, "cloud-init phones home once for each installation");
    lab.reach(Whereabouts::System).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(lab.chassis.soft());
    lab.reach(Whereabouts::Off).await;

    lab.serve([Task::Erase(EraseTask { sample_permille: 10 })]);
    let reports = lab.pass().await;
    let [Report::Erase(erased), Report::PowerOff(_)] = reports.as_slice() else { panic!("{reports:?}") };
    let methods: Vec<_> = erased.disks.iter().map(|d| d.method.as_str()).collect();
    assert_eq!(methods, ["discard", "overwrite"]);
    assert!(erased.disks.iter().all(|d| d.sampled_bytes > 32 << 20 && d.sampled_bytes < d.size_bytes));
    assert_eq!((truth.of(Fact::Wipe), lab.disks.bootable().is_none()), (2, true));
    lab.local_disk();
    lab.chassis.power_on(Cause::Bmc);
    lab.reach(Whereabouts::NothingToBoot).await;
}

#[tokio::test]
async fn images_are_really_decoded_and_what_is_wrong_is_reported() {
    let mut lab = Lab::new(Depth::Full, Firmware::BiosIpxe).await;
    for (compression, change, good) in [
        (v1::Compression::Gzip, false, true),
        (v1::Compression::None, false, true),
        (v1::Compression::Zstd, true, false),
        (v1::Compression::Gzip, true, false),
    ] {
        let Task::WriteImage(mut task) = lab.image(compression) else { panic!() };
        let blob = task.blob.as_mut().unwrap();
        if change {
            blob.content_sha256 = "0".repeat(64);
        }
        lab.serve([Task::WriteImage(task)]);
        let reports = lab.pass().await;
        assert_eq!(matches!(reports[0], Report::WriteImage(_)), good, "{compression:?} {:?}", reports[0]);
    }
    assert_eq!(lab.disks.list()[0].content, Content::Torn);
    assert_eq!(lab.chassis.truth().of(Fact::Install), 2);
}

#[tokio::test]
async fn the_cheap_mode_loads_an_image_once_and_asks_each_time() {
    let mut lab = Lab::new(Depth::Shared, Firmware::BiosIpxe).await;
    for n in 1..=3 {
        lab.serve([lab.image(v1::Compression::Zstd)]);
        lab.world.gets.lock().unwrap().clear();
        let reports = lab.pass().await;
        assert!(matches!(reports[0], Report::WriteImage(_)));
        let ranges = lab.world.gets.lock().unwrap().clone();
        assert_eq!(ranges, ["", "", if n == 1 { "" } else { "bytes=0-0" }]);
    }
    assert_eq!(lab.chassis.truth().of(Fact::Install), 3);
}

#[tokio::test]
async fn faults_strike_where_they_are_armed() {
    let mut lab = Lab::new(Depth::Full, Firmware::BiosIpxe).await;
    let truth = Arc::clone(lab.chassis.truth());
    lab.faults.arm(Fault::DiskFails { serial: String::new(), on: DiskWork::Erase }, 1);
    lab.faults.arm(Fault::DropPacket { permille: 1000 }, 2);
    lab.faults.arm(Fault::DuplicatePacket { permille: 1000 }, 2);
    lab.serve([Task::Erase(EraseTask { sample_permille: 0 }), lab.image(v1::Compression::Zstd)]);
    let reports = lab.pass().await;
    assert!(matches!(&reports[0], Report::Failed(f) if f.reason.starts_with("1 of 2 disks not erased")), "{reports:?}");
    assert_eq!((truth.of(Fact::Wipe), truth.of(Fact::Install), lab.faults.left().len()), (1, 1, 0));

    // It dies in mid-write, starts anew by itself, and does the same again.
    lab.faults.arm(Fault::DieInWrite { permille: 500 }, 1);
    lab.serve([lab.image(v1::Compression::Zstd)]);
    lab.chassis.power_on(Cause::Bmc);
    until("the reset", || truth.of(Fact::Reset) == 1).await;
    lab.reach(Whereabouts::Off).await;
    assert_eq!((truth.of(Fact::Install), truth.of(Fact::Reset)), (2, 1));

    lab.faults.arm(Fault::NeverBoot, 1);
    lab.chassis.power_on(Cause::Bmc);
    lab.reach(Whereabouts::Hung).await;
    lab.chassis.cycle(Cause::Bmc);
    lab.reach(Whereabouts::Agent).await;
}

#[tokio::test]
async fn a_power_cut_ends_what_goes_on() {
    let mut lab = Lab::new(Depth::Full, Firmware::BiosIpxe).await;
    let boot = lab.serve([]);
    // Nothing to do: the agent asks and asks.
    lab.world.tasks.lock().unwrap().clear();
    let target = BootTarget::Network;
    lab.chassis.set_boot(Some(BootOverride { target, persistent: false, uefi: false, http_uri: None }));
    lab.chassis.power_on(Cause::Bmc);
    lab.reach(Whereabouts::Agent).await;
    until("hello", || !lab.world.hello.lock().unwrap().is_empty()).await;
    assert_eq!(lab.world.hello.lock().unwrap()[0].boot_id, boot.to_string());
    lab.chassis.power_off(Cause::Bmc);
    lab.reach(Whereabouts::Off).await;
    lab.world.tasks.lock().unwrap().push_back(("t".to_owned(), Task::Erase(EraseTask::default())));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(lab.world.reports.lock().unwrap().is_empty());
    assert_eq!(lab.chassis.truth().of(Fact::Wipe), 0);
}

#[tokio::test]
async fn hundreds_enlist_at_once() {
    const MACHINES: u32 = 300;
    let lab = Lab::new(Depth::Shared, Firmware::BiosIpxe).await;
    *lab.world.script.lock().unwrap() = lab.script("");
    let mut all = Vec::new();
    for index in 100..100 + MACHINES {
        let (parts, dice) = build(index, lab.network.clone(), Firmware::BiosIpxe);
        let chassis = parts.chassis.clone();
        tokio::spawn(Machine::new(parts, dice).run());
        assert!(chassis.power_on(Cause::Bmc));
        all.push(chassis);
    }
    until("everybody's power-off", || all.iter().all(|chassis| !chassis.is_on())).await;
    let enlisted = lab.world.enlisted.lock().unwrap().clone();
    let macs: BTreeSet<_> = enlisted.iter().flat_map(|e| e.identity.clone().unwrap().macs).collect();
    assert_eq!(macs.len(), 2 * MACHINES as usize, "each is another machine");
    assert!(all.iter().all(|chassis| chassis.truth().of(Fact::PowerOff) == 1 && chassis.truth().of(Fact::Reset) == 0));
}
