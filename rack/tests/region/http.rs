//! What the HTTP server asks the region, and tells it.

use std::{fs, net::SocketAddr, sync::Arc};

use farrier_common::{clock::Clock, id::BootId};
use farrier_rack::{
    blobs::Blobs,
    boot::{state::BootState, steps::Steps},
    crash::Crash,
    gateway::Gateway,
    net::{dhcp::Leases, http},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

use super::fake::Fake;

struct Rack {
    region: Fake,
    address: SocketAddr,
    _dir: TempDir,
    _stop: DropGuard,
}

impl Rack {
    async fn start() -> Self {
        let (region, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
        let gateway = Gateway::new(&region.address.to_string(), &region.ca.rack()).unwrap();
        let blobs = Blobs::open(dir.path().join("blobs"), gateway.clone()).unwrap();
        let boot = BootState::open(&dir.path().join("intents")).unwrap();
        let leases = Leases::open(&dir.path().join("leases.json")).unwrap();
        fs::write(dir.path().join("snponly.efi"), "loader").unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = http::Config { listen, agent_port: 5250, loaders_dir: dir.path().to_owned() };
        let server = http::Server::bind(&config).await.unwrap();
        let (address, stop) = (server.address(), CancellationToken::new());
        let (steps, _) = Steps::channel(10);
        let parts = http::Parts { boot, leases, blobs, gateway, steps, clock: Clock::System, crash: Crash::default() };
        let stopped = stop.clone();
        tokio::spawn(async move { server.run(parts, stopped).await.unwrap() });
        Self { region, address, _dir: dir, _stop: stop.drop_guard() }
    }

    /// Status and body.
    async fn ask(&self, line: &str, headers: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: rack\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let head = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
        (status, answer.split_off(head + 4))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_a_session_gets_an_image_and_others_do_not() {
    let rack = Arc::new(Rack::start().await);
    let content: Vec<u8> = (0..2_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let line = format!("GET /blobs/{}", rack.region.hold(&content));
    let bearer = |session: &str| format!("Authorization: Bearer {}.{session}\r\n", BootId::generate());
    assert_eq!(rack.ask(&line, "").await.0, 401);
    assert_eq!(rack.ask(&line, &bearer("stolen")).await.0, 403);
    assert!(rack.region.state().downloads.is_empty(), "nothing is fetched for those who may not have it");
    let agents = (0..5).map(|_| {
        let (rack, line, session) = (rack.clone(), line.clone(), bearer("session"));
        tokio::spawn(async move { rack.ask(&line, &session).await })
    });
    for agent in agents.collect::<Vec<_>>() {
        let (status, body) = agent.await.unwrap();
        assert_eq!(status, 200);
        assert!(body == content);
    }
    assert_eq!(rack.region.state().downloads, [0], "once for all");
    let (status, body) = rack.ask(&line, &format!("{}Range: bytes=1999990-\r\n", bearer("session"))).await;
    assert_eq!((status, body.as_slice()), (206, &content[1_999_990..]));
    let unknown = format!("GET /blobs/{}", "ab".repeat(32));
    assert_eq!(rack.ask(&unknown, &bearer("session")).await.0, 404);
    let (status, body) = rack.ask(&line.replace("GET", "HEAD"), &bearer("session")).await;
    assert_eq!((status, body.len()), (200, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_home_reaches_the_region() {
    let rack = Rack::start().await;
    let line = format!("POST /phone-home/{}/token", BootId::generate());
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n";
    assert_eq!(rack.ask(&line, form).await.0, 200);
    assert_eq!(rack.region.state().relayed, ["phone home from 127.0.0.1"]);
    rack.region.state().failures.push(Status::permission_denied("another token"));
    assert_eq!(rack.ask(&line, form).await.0, 403);
}
