use std::fs;

use axum::http::{HeaderMap, Request};
use chrono::TimeDelta;
use farrier_common::id::BootId;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use super::*;
use crate::{
    boot::{
        intent::{BlobRef, EphemeralImage, Intent, Snapshot, Target},
        state::samples,
    },
    gateway::Credentials,
    net::loaders::UEFI,
};

const KERNEL: &[u8] = b"a kernel of 26 bytes or so";

struct World {
    router: Router,
    boot: BootState,
    clock: Clock,
    steps: mpsc::Receiver<Step>,
    kernel: String,
    _dir: tempfile::TempDir,
}

struct Answered {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl World {
    /// Machine 1 is to boot a kernel that the rack holds; the region is away.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let gateway = Gateway::new("127.0.0.1:1", &credentials()).unwrap();
        let blobs = Blobs::open(dir.path().join("blobs"), gateway.clone()).unwrap();
        let kernel = hex::encode(Sha256::digest(KERNEL));
        fs::write(dir.path().join("blobs").join(&kernel), KERNEL).unwrap();
        fs::write(dir.path().join(UEFI), "loader").unwrap();
        let loaders = Loaders::load(dir.path()).unwrap();
        let boot = BootState::open(&dir.path().join("intents")).unwrap();
        boot.replace(samples::snapshot(vec![booting(&kernel)])).unwrap();
        let leases = Leases::open(&dir.path().join("leases.json")).unwrap();
        let (steps, receiver) = Steps::channel(100);
        let clock = Clock::manual(samples::now());
        let parts =
            Parts { boot: boot.clone(), leases, blobs, gateway, steps, clock: clock.clone(), crash: Crash::default() };
        let router = router(Shared { parts, loaders, agent_port: 5250 });
        Self { router, boot, clock, steps: receiver, kernel, _dir: dir }
    }

    async fn ask(&self, method: Method, uri: &str, headers: &[(header::HeaderName, &str)]) -> Answered {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        let ends = Ends { rack: "10.77.0.1:5248".parse().unwrap(), client: "10.77.0.20:40000".parse().unwrap() };
        request.extensions_mut().insert(ends);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec();
        Answered { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn get(&self, uri: &str) -> Answered {
        self.ask(Method::GET, uri, &[]).await
    }

    fn blob(&self) -> String {
        format!("/blobs/{}", self.kernel)
    }
}

impl Answered {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

fn booting(kernel: &str) -> Intent {
    let mut intent = samples::ephemeral(1, "10.77.0.20");
    if let Target::Ephemeral(e) = &mut intent.target {
        e.image.kernel = BlobRef { sha256: kernel.to_owned(), size: KERNEL.len() as u64 };
    }
    intent
}

/// Of no use to anybody, but well-formed.
fn credentials() -> Credentials {
    farrier_common::tls::install_provider();
    let made = rcgen::generate_simple_self_signed(vec!["rack.test".to_owned()]).unwrap();
    let pem = made.cert.pem();
    Credentials { key_pem: Secret::new(made.signing_key.serialize_pem()), certificate_pem: pem.clone(), ca_pem: pem }
}

#[tokio::test]
async fn scripts_follow_the_intent() {
    let mut world = World::new();
    let script = world.get("/boot/52:54:00:77:00:01.ipxe").await;
    assert_eq!(script.status, 200);
    let text = script.text();
    assert!(text.starts_with("#!ipxe\n"), "{text}");
    assert!(text.contains("farrier.agent=10.77.0.1:5250 farrier.http=http://10.77.0.1:5248 farrier.boot="), "{text}");
    assert!(text.contains(&format!("kernel http://10.77.0.1:5248/blobs/{} ", world.kernel)), "{text}");
    let step = world.steps.try_recv().unwrap();
    assert_eq!((step.kind, step.mac, step.text.as_str()), (StepKind::Http, samples::mac(1), "script: commissioning"));
    assert!(step.boot_id.is_some() && step.machine_id.is_some());
    // Hyphens are good as well, and somebody unknown enlists.
    let unknown = world.get("/boot/52-54-00-77-00-09.ipxe").await.text();
    assert!(unknown.contains("enlisting") && !unknown.contains("farrier.token"), "{unknown}");
    world.clock.advance(TimeDelta::hours(1));
    assert!(world.get("/boot/52:54:00:77:00:01.ipxe").await.text().contains("sanboot"), "expired");
    for bad in ["/boot/52:54:00:77:00:01", "/boot/x.ipxe", "/boot/"] {
        assert_eq!(world.get(bad).await.status, 404, "{bad}");
    }
}

#[tokio::test]
async fn an_intent_that_cannot_be_a_script_is_an_error() {
    let world = World::new();
    let image = EphemeralImage { extra_cmdline: "a || shell".to_owned(), ..samples::image() };
    world.boot.replace(Snapshot { enlist_image: Some(image), ..samples::snapshot(vec![]) }).unwrap();
    assert_eq!(world.get("/boot/52:54:00:77:00:01.ipxe").await.status, 500);
}

#[tokio::test]
async fn loaders_are_served_by_name() {
    let world = World::new();
    let loader = world.get("/loaders/snponly.efi").await;
    assert_eq!((loader.status, loader.body.as_slice()), (200, &b"loader"[..]));
    assert_eq!(loader.header(header::CONTENT_TYPE), "application/efi");
    let head = world.ask(Method::HEAD, "/loaders/snponly.efi", &[]).await;
    assert_eq!((head.status, head.header(header::CONTENT_LENGTH), head.body.len()), (200, "6", 0));
    assert_eq!(world.get("/loaders/autoexec.ipxe").await.status, 404);
    assert_eq!(world.get("/loaders/..%2fintents").await.status, 404);
    assert_eq!(world.ask(Method::PUT, "/loaders/snponly.efi", &[]).await.status, 405);
}

#[tokio::test]
async fn kernels_are_open_whole_and_in_parts() {
    let world = World::new();
    let size = KERNEL.len();
    let whole = world.get(&world.blob()).await;
    assert_eq!((whole.status, whole.body.as_slice()), (200, KERNEL));
    assert_eq!(whole.header(header::ACCEPT_RANGES), "bytes");
    let etag = whole.header(header::ETAG).to_owned();
    let head = world.ask(Method::HEAD, &world.blob(), &[(header::RANGE, "bytes=0-1")]).await;
    assert_eq!((head.status, head.header(header::CONTENT_LENGTH), head.body.len()), (200, "26", 0));
    for (range, status, content_range, body) in [
        ("bytes=2-7", 206, format!("bytes 2-7/{size}"), &KERNEL[2..8]),
        ("bytes=20-", 206, format!("bytes 20-25/{size}"), &KERNEL[20..]),
        ("bytes=-3", 206, format!("bytes 23-25/{size}"), &KERNEL[23..]),
        ("bytes=26-", 416, format!("bytes */{size}"), &[]),
        ("bytes=0-0,2-2", 200, String::new(), KERNEL),
    ] {
        let part = world.ask(Method::GET, &world.blob(), &[(header::RANGE, range)]).await;
        assert_eq!((part.status, part.header(header::CONTENT_RANGE)), (status, content_range.as_str()), "{range}");
        assert_eq!(part.body, body, "{range}");
    }
    for (tag, status) in [(etag.as_str(), 206), ("\"another\"", 200)] {
        let headers = [(header::RANGE, "bytes=2-7"), (header::IF_RANGE, tag)];
        assert_eq!(world.ask(Method::GET, &world.blob(), &headers).await.status, status, "{tag}");
    }
}

#[tokio::test]
async fn other_blobs_need_a_session_and_the_region() {
    let world = World::new();
    let other = format!("/blobs/{}", "cd".repeat(32));
    for bad in [None, Some("Basic eDp5"), Some("Bearer x.y"), Some("Bearer 018f")] {
        let headers: Vec<_> = bad.iter().map(|value| (header::AUTHORIZATION, *value)).collect();
        let refused = world.ask(Method::GET, &other, &headers).await;
        assert_eq!((refused.status, refused.header(header::WWW_AUTHENTICATE)), (401, "Bearer"), "{bad:?}");
    }
    let token = format!("Bearer {}.session", BootId::generate());
    assert_eq!(world.ask(Method::GET, &other, &[(header::AUTHORIZATION, &token)]).await.status, 503);
    let traversal = world.ask(Method::GET, "/blobs/..%2fleases.json", &[]).await;
    assert_eq!(traversal.status, 401);
}

#[tokio::test]
async fn a_phone_home_is_not_lost_when_the_region_is_away() {
    let world = World::new();
    let uri = format!("/phone-home/{}/token", BootId::generate());
    assert_eq!(world.ask(Method::POST, &uri, &[]).await.status, 503, "cloud-init tries again");
    assert_eq!(world.ask(Method::POST, "/phone-home/x/token", &[]).await.status, 400);
    assert_eq!(world.ask(Method::GET, &uri, &[]).await.status, 405);
}
