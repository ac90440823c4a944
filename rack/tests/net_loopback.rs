//! Real clients against the TFTP and HTTP servers, on loopback: atftp, tftp-hpa and curl.
//!
//! The clients must be installed (Debian packages atftp, tftp-hpa, curl; `deploy/debian/prerequisites.sh`).

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Output,
    time::Duration,
};

use farrier_common::{clock::Clock, secret::Secret};
use farrier_rack::{
    blobs::Blobs,
    boot::{
        intent::{BlobRef, EphemeralImage, Snapshot},
        state::BootState,
        steps::Steps,
    },
    crash::Crash,
    gateway::{Credentials, Gateway},
    net::{dhcp::Leases, http, tftp},
};
use sha2::{Digest as _, Sha256};
use tokio::{process::Command, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

/// Not a multiple of any block size.
const LOADER_BYTES: usize = 300_001;
const KERNEL_BYTES: usize = 5_000_003;

struct Rack {
    dir: tempfile::TempDir,
    tftp: SocketAddr,
    http: SocketAddr,
    kernel: String,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Rack {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (loaders_dir, path) = (dir.path().join("loaders"), dir.path().to_owned());
        fs::create_dir(&loaders_dir).unwrap();
        fs::write(loaders_dir.join("undionly.kpxe"), bytes(LOADER_BYTES)).unwrap();
        fs::write(loaders_dir.join("snponly.efi"), bytes(512 * 4)).unwrap();
        fs::write(loaders_dir.join("secret"), "nobody may have this").unwrap();
        let gateway = Gateway::new("127.0.0.1:1", &credentials()).unwrap();
        let blobs = Blobs::open(path.join("blobs"), gateway.clone()).unwrap();
        let kernel = hex::encode(Sha256::digest(bytes(KERNEL_BYTES)));
        fs::write(path.join("blobs").join(&kernel), bytes(KERNEL_BYTES)).unwrap();
        let boot = BootState::open(&path.join("intents")).unwrap();
        boot.replace(snapshot(&kernel)).unwrap();
        let leases = Leases::open(&path.join("leases.json")).unwrap();
        let (steps, _) = Steps::channel(1);
        let stop = CancellationToken::new();
        let config = tftp::Config { addresses: vec![Ipv4Addr::LOCALHOST], port: 0, loaders_dir: loaders_dir.clone() };
        let tftp = tftp::Server::bind(&config).await.unwrap();
        let config = http::Config { listen: "127.0.0.1:0".parse().unwrap(), agent_port: 5250, loaders_dir };
        let http = http::Server::bind(&config).await.unwrap();
        let (tftp_address, http_address) = (tftp.addresses()[0], http.address());
        let clock = Clock::System;
        let mut tasks = JoinSet::new();
        let run = tftp.run(boot.clone(), leases.clone(), steps.clone(), clock.clone(), stop.clone());
        tasks.spawn(async move { run.await.unwrap() });
        let run =
            http.run(http::Parts { boot, leases, blobs, gateway, steps, clock, crash: Crash::default() }, stop.clone());
        tasks.spawn(async move { run.await.unwrap() });
        Self { dir, tftp: tftp_address, http: http_address, kernel, stop, tasks }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    fn tftp_url(&self, name: &str) -> String {
        format!("tftp://{}/{name}", self.tftp)
    }

    /// Everything ends when told to.
    async fn stop(mut self) {
        self.stop.cancel();
        timeout(PATIENCE, async { while self.tasks.join_next().await.is_some() {} }).await.unwrap();
    }
}

fn snapshot(kernel: &str) -> Snapshot {
    let kernel = BlobRef { sha256: kernel.to_owned(), size: KERNEL_BYTES as u64 };
    let image = EphemeralImage { initrd: kernel.clone(), kernel, extra_cmdline: String::new() };
    Snapshot { id: "s1".to_owned(), subnets: vec![], enlist_image: Some(image), intents: vec![] }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((i * i) % 251).unwrap()).collect()
}

/// Well-formed and of no use: no test here reaches a region.
fn credentials() -> Credentials {
    farrier_common::tls::install_provider();
    let made = rcgen::generate_simple_self_signed(vec!["rack.test".to_owned()]).unwrap();
    let pem = made.cert.pem();
    Credentials { key_pem: Secret::new(made.signing_key.serialize_pem()), certificate_pem: pem.clone(), ca_pem: pem }
}

/// Runs a client to its end.
async fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.expect("in time");
    output.unwrap_or_else(|e| panic!("{program} (see deploy/debian/prerequisites.sh): {e}"))
}

async fn curl(arguments: &[&str]) -> String {
    let all = [&["-sS", "--max-time", "50"], arguments].concat();
    let output = run("curl", &all).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn atftp_fetches_with_every_option() {
    let rack = Rack::start().await;
    let (host, port) = (rack.tftp.ip().to_string(), rack.tftp.port().to_string());
    for options in [&[][..], &["blksize 1468"], &["blksize 65000"], &["blksize 1024", "windowsize 16", "tsize 0"]] {
        let target = rack.file("fetched");
        let mut arguments = vec!["--get", "-r", "undionly.kpxe", "-l", target.to_str().unwrap()];
        options.iter().for_each(|option| arguments.extend(["--option", option]));
        arguments.extend([host.as_str(), port.as_str()]);
        let output = run("atftp", &arguments).await;
        assert!(output.status.success(), "{options:?}: {output:?}");
        assert!(fs::read(&target).unwrap() == bytes(LOADER_BYTES), "{options:?}");
    }
    rack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tftp_hpa_fetches_and_is_refused() {
    let rack = Rack::start().await;
    let (host, port) = (rack.tftp.ip().to_string(), rack.tftp.port().to_string());
    let fetch = async |mode: &str, name: &str| {
        let target = rack.file("fetched");
        let _ = fs::remove_file(&target);
        let arguments = ["-m", mode, &host, &port, "-c", "get", name, target.to_str().unwrap()];
        let output = run("tftp", &arguments).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (fs::read(&target).unwrap_or_default(), said)
    };
    // The second is a multiple of the block size: the end is an empty block.
    for (name, length) in [("undionly.kpxe", LOADER_BYTES), ("/snponly.efi", 512 * 4)] {
        let (fetched, said) = fetch("binary", name).await;
        assert!(fetched == bytes(length), "{name}: {said}");
    }
    for (mode, name) in [("binary", "secret"), ("binary", "../loaders/undionly.kpxe"), ("ascii", "undionly.kpxe")] {
        let (fetched, said) = fetch(mode, name).await;
        assert!(fetched.is_empty() && said.contains("Error code"), "{name}: {said}");
    }
    rack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_fetches_by_tftp_many_at_a_time() {
    let rack = Rack::start().await;
    let mut clients = JoinSet::new();
    for n in 0..24 {
        let (url, target) = (rack.tftp_url("undionly.kpxe"), rack.file(&format!("fetched-{n}")));
        clients.spawn(async move {
            // Only so many are served to one address at one time; the others ask again.
            let said = curl(&["-o", target.to_str().unwrap(), &url]).await;
            (fs::read(&target).unwrap_or_default(), said)
        });
    }
    while let Some(fetched) = clients.join_next().await {
        let (fetched, said) = fetched.unwrap();
        assert!(fetched == bytes(LOADER_BYTES), "{said}");
    }
    let missing = curl(&[&rack.tftp_url("autoexec.ipxe")]).await;
    assert!(missing.contains("(68)"), "file not found, at once: {missing}");
    rack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_fetches_blobs_whole_resumed_and_in_parts() {
    let rack = Rack::start().await;
    let (url, target) = (rack.url(&format!("//blobs//{}", rack.kernel)), rack.file("fetched"));
    let to = target.to_str().unwrap();
    let status = ["-w", "%{http_code} %{size_download}"];
    let said = curl(&[&status[..], &["-o", to, &url]].concat()).await;
    assert_eq!(said, format!("200 {KERNEL_BYTES}"));
    assert!(fs::read(&target).unwrap() == bytes(KERNEL_BYTES));
    // Cut it and go on where it ends.
    fs::write(&target, &bytes(KERNEL_BYTES)[..1_234_567]).unwrap();
    let said = curl(&[&status[..], &["-C", "-", "-o", to, &url]].concat()).await;
    assert_eq!(said, format!("206 {}", KERNEL_BYTES - 1_234_567));
    assert!(fs::read(&target).unwrap() == bytes(KERNEL_BYTES));
    for (range, expected) in [("0-0", "206 1"), ("-100", "206 100"), ("9000000-", "416 0")] {
        let said = curl(&[&status[..], &["-r", range, "-o", "/dev/null", &url]].concat()).await;
        assert_eq!(said, expected, "{range}");
    }
    let head = curl(&["-I", &url]).await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains(&format!("content-length: {KERNEL_BYTES}")), "{head}");
    rack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_sees_scripts_loaders_and_limits() {
    let rack = Rack::start().await;
    let script = curl(&[&rack.url("/boot/52:54:00:12:34:56.ipxe")]).await;
    let base = format!("farrier.http=http://{} BOOTIF=01-52-54-00-12-34-56 ", rack.http);
    assert!(script.contains(&base), "{script}");
    let head = curl(&["-I", &rack.url("/loaders/snponly.efi")]).await;
    assert!(head.contains("content-length: 2048"), "{head}");
    let code = ["-o", "/dev/null", "-w", "%{http_code}"];
    let phone_home = rack.url("/phone-home/0190a000-0000-7000-8000-000000000000/token");
    let large = rack.file("large");
    fs::write(&large, bytes(100_000)).unwrap();
    let (large, long) = (format!("@{}", large.display()), format!("X-Long: {}", "x".repeat(20_000)));
    for (arguments, expected) in [
        (vec!["-d", "hostname=x", &phone_home], "503"),
        (vec!["-H", "Expect:", "--data-binary", &large, &phone_home], "413"),
        (vec!["-H", &long, &phone_home], "431"),
    ] {
        let said = curl(&[&code[..], &arguments].concat()).await;
        assert!(said.starts_with(expected), "{expected}: {said}");
    }
    rack.stop().await;
}
