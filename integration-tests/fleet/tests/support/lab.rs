//! A machine and the services that it meets: DHCP by relay, HTTP and `AgentService` on the loopback. Nobody has to be root.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use std::{
    collections::VecDeque,
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
    agent::{Patience, program::AgentKind},
    boot::{Firmware, Network, Pace, Source, segment::Segment},
    chassis::{Cause, Chassis},
    dice::Dice,
    disk::Disks,
    http::{Depth, Seen},
    machine::{
        Machine, Parts,
        brain::{BootOrder, Whereabouts},
        fault::Faults,
        hardware::{Hardware, Make, Order},
    },
    truth::Truth,
};
use farrier_proto::{
    agent::{
        EnlistRequest, EnlistResponse, HelloRequest, HelloResponse, NextTaskRequest, NextTaskResponse, NoCloudSeed,
        PowerOffTask, ReportTaskRequest, ReportTaskResponse, WriteImageTask,
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
pub struct World {
    pub script: Mutex<String>,
    pub enlisted: Mutex<Vec<EnlistRequest>>,
    pub hello: Mutex<Vec<HelloRequest>>,
    pub tasks: Mutex<VecDeque<(String, Task)>>,
    pub reports: Mutex<Vec<(String, Report)>>,
    pub phoned: Mutex<Vec<String>>,
    pub blob: Mutex<Vec<u8>>,
    pub gets: Mutex<Vec<String>>,
    /// Answers that get lost: the request is carried out, and the connection says "unavailable".
    pub lose: Mutex<u32>,
}

pub struct Fake(Arc<World>);

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

pub struct Lab {
    pub world: Arc<World>,
    pub chassis: Chassis,
    pub disks: Disks,
    pub faults: Faults,
    pub whereabouts: tokio::sync::watch::Receiver<Whereabouts>,
    pub agent: SocketAddr,
    pub http: SocketAddr,
    pub hardware: Hardware,
    pub network: Network,
}

pub const SIZES: [u64; 2] = [4 << 40, 8 << 40];
const SOON: Duration = Duration::from_secs(30);
pub const LOCAL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);

/// Machine number `index`.
pub fn build(index: u32, network: Network, firmware: Firmware) -> (Parts, Dice) {
    build_with(index, network, firmware, &SIZES)
}

fn build_with(index: u32, network: Network, firmware: Firmware, sizes: &[u64]) -> (Parts, Dice) {
    let (make, disks) = (Make::of("dell"), sizes.to_vec());
    let order = Order { make, index, firmware, nics: 2, disks, bmc_address: "127.0.0.9".to_owned() };
    let mut dice = Dice::new(index.into());
    let (hardware, disks) = Hardware::build(&order, &mut dice);
    let truth = Arc::new(Truth::default());
    let parts = Parts {
        chassis: Chassis::new(Arc::clone(&truth)),
        hardware,
        bmc: None,
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
    pub async fn new(depth: Depth, firmware: Firmware) -> Self {
        Self::with(depth, firmware, &SIZES, |_| AgentKind::Simulated).await
    }

    /// A machine with disks of these sizes and this agent.
    pub async fn with(
        depth: Depth,
        firmware: Firmware,
        sizes: &[u64],
        agent_kind: impl FnOnce(&Disks) -> AgentKind,
    ) -> Self {
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
        let (parts, dice) = build_with(7, network, firmware, sizes);
        let (chassis, disks, faults) = (parts.chassis.clone(), parts.disks.clone(), parts.faults.clone());
        let (hardware, network) = (parts.hardware.clone(), parts.network.clone());
        let machine = Machine::new(parts, dice).with_agent(agent_kind(&disks));
        let whereabouts = machine.whereabouts();
        tokio::spawn(machine.run());
        Self { world, chassis, disks, faults, whereabouts, agent, http, hardware, network }
    }

    /// The machine boots the agent with these tasks; a power-off follows them.
    pub fn serve(&self, tasks: impl IntoIterator<Item = Task>) -> BootId {
        let boot = BootId::generate();
        let words = format!(" farrier.boot={boot} farrier.token=t0ken");
        *self.world.script.lock().unwrap() = self.script(&words);
        let all = tasks.into_iter().chain([Task::PowerOff(PowerOffTask {})]);
        *self.world.tasks.lock().unwrap() = all.enumerate().map(|(n, task)| (format!("{boot}-{n}"), task)).collect();
        self.world.reports.lock().unwrap().clear();
        boot
    }

    pub fn script(&self, words: &str) -> String {
        let (http, agent) = (self.http, self.agent);
        format!(
            "#!ipxe\nkernel http://{http}/blobs/k initrd=initrd farrier.agent={agent} farrier.http=http://{http}{words} \
             BOOTIF=01-${{net0/mac:hexhyp}} || goto no\ninitrd --name initrd http://{http}/blobs/i\nboot\n:no\nexit 1\n"
        )
    }

    pub fn local_disk(&self) {
        "#!ipxe\niseq ${platform} pcbios && goto bios ||\nexit 1\n:bios\nsanboot --drive 0x80 ||\nexit 1\n"
            .clone_into(&mut self.world.script.lock().unwrap());
    }

    pub async fn reach(&mut self, at: Whereabouts) {
        self.reach_within(at, SOON).await;
    }

    pub async fn reach_within(&mut self, at: Whereabouts, limit: Duration) {
        let reached = tokio::time::timeout(limit, self.whereabouts.wait_for(|w| *w == at)).await;
        assert!(reached.is_ok(), "{at} was not reached: {:?}", self.chassis.truth().snapshot());
    }

    /// Switches on and waits until the machine has switched itself off.
    pub async fn pass(&mut self) -> Vec<Report> {
        self.pass_within(SOON).await
    }

    /// The same, of a machine that takes its time.
    pub async fn pass_within(&mut self, limit: Duration) -> Vec<Report> {
        assert!(self.chassis.power_on(Cause::Bmc));
        self.reach(Whereabouts::Agent).await;
        self.reach_within(Whereabouts::Off, limit).await;
        self.world.reports.lock().unwrap().drain(..).map(|(_, report)| report).collect()
    }

    pub fn image(&self, compression: v1::Compression) -> Task {
        let content: Vec<u8> = (0..300_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        self.image_of(&content, compression)
    }

    pub fn image_of(&self, content: &[u8], compression: v1::Compression) -> Task {
        let stored = match compression {
            v1::Compression::Zstd => zstd::encode_all(content, 1).unwrap(),
            v1::Compression::Gzip => {
                use std::io::Write as _;
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            v1::Compression::None | v1::Compression::Unspecified => content.to_vec(),
        };
        let blob = v1::Blob {
            role: v1::BlobRole::Disk.into(),
            sha256: sha256_hex(&stored),
            size_bytes: stored.len() as u64,
            compression: compression.into(),
            content_sha256: sha256_hex(content),
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

pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not happen");
}
