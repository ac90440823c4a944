//! Lets people in by SSH: keys, a host key and a server, all of it in memory and gone with this boot.
//!
//! The server is the one that was put into the ephemeral image. It takes keys alone; there is no password to be guessed.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    process::{Output, Stdio},
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use farrier_common::retry::Backoff;
use farrier_proto::agent::{OpenSshResult, OpenSshTask};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    process::Command,
    time::{Instant, timeout},
};

use crate::{cmdline::Options, console::say, error::TaskError, host::Host, job::Job};

/// As `deploy/ephemeral/build.sh` puts them.
const SERVER: &str = "bin/dropbear";
const KEY_MAKER: &str = "bin/dropbearkey";
/// Of root, as the image's `/etc/passwd` says.
const HOME: &str = "root";
const FOLDER: &str = "run/ssh";
const HOST_KEY: &str = "run/ssh/host_key";
const PID: &str = "run/ssh/pid";
const PORT: u16 = 22;
/// Ports that are tried in a made-up machine.
const PORTS: u32 = 8;
/// For each of the two programs, and until the server answers.
const PATIENCE: Duration = Duration::from_secs(20);
const BETWEEN: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
/// What a server says first.
const BANNER: &[u8] = b"SSH-2.0-";

/// Lets the holders of the task's keys in as root; tells where, once the server answers.
///
/// # Errors
/// There is no key, or no server in this image, or it does not answer.
pub async fn open(job: &Job, task: &OpenSshTask) -> Result<OpenSshResult, TaskError> {
    if task.keys.is_empty() {
        return Err(TaskError::failed("keys: at least one is needed"));
    }
    let host = &*job.host;
    if !host.file(SERVER).exists() {
        return Err(TaskError::failed("there is no SSH server in this ephemeral image; build it anew"));
    }
    job.progress.begin("opening SSH", "steps", 0);
    let cmdline = fs::read_to_string(host.proc("cmdline")).map_err(TaskError::io("reading the command line"))?;
    let address = own_address(&cmdline)?;
    put_keys(host, &task.keys).map_err(TaskError::io("writing the keys"))?;
    let host_key = fingerprint(&host_key(host).await?)?;
    let port = if runs(host) { PORT } else { start(host).await? };
    answers(port).await?;
    say(format_args!("SSH: root at {address}, port {port}, host key {host_key}"));
    Ok(OpenSshResult { address: SocketAddr::new(address, port).to_string(), host_key })
}

/// Starts the server; tells on which port.
async fn start(host: &Host) -> Result<u16, TaskError> {
    if host.is_real() {
        return serve(host, &PORT.to_string()).await.map(|()| PORT);
    }
    // Made-up machines share one kernel, and so its ports: a free one may be somebody else's a moment later.
    let mut tries = 0;
    loop {
        let port = free_port().map_err(TaskError::io("looking for a port"))?;
        tries += 1;
        // With an address, so that a port that is taken there is an error; without one IPv6 alone would do.
        match serve(host, &format!("{}:{port}", Ipv4Addr::UNSPECIFIED)).await {
            Err(_) if tries < PORTS => {}
            served => return served.map(|()| port),
        }
    }
}

async fn serve(host: &Host, place: &str) -> Result<(), TaskError> {
    let mut server = Command::new(host.file(SERVER));
    server.args(["-s", "-g", "-E", "-K", "30", "-p", place]);
    server.arg("-r").arg(host.file(HOST_KEY)).arg("-P").arg(host.file(PID));
    // It goes into the background once it listens; what it says goes to the console.
    let status = timeout(PATIENCE, server.stdin(Stdio::null()).status()).await;
    let status = status.map_err(|_| TaskError::failed("the SSH server does not start"))?;
    let status = status.map_err(TaskError::io("starting the SSH server"))?;
    if status.success() { Ok(()) } else { Err(TaskError::failed(format!("the SSH server ended with {status}"))) }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?.local_addr()?.port())
}

/// The address from which this machine speaks to its rack: where it can be reached.
fn own_address(cmdline: &str) -> Result<IpAddr, TaskError> {
    let rack = Options::parse(cmdline).map_err(|e| TaskError::failed(e.to_string()))?.agent;
    // Connecting a datagram socket sends nothing.
    let socket =
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|s| s.connect(rack).and_then(|()| s.local_addr()));
    socket.map(|own| own.ip()).map_err(TaskError::io("looking for the address of this machine"))
}

fn put_keys(host: &Host, keys: &[String]) -> io::Result<()> {
    let folder = host.file(HOME).join(".ssh");
    for path in [&folder, &host.file(FOLDER)] {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    let mut text = keys.join("\n");
    text.push('\n');
    let (new, path) = (folder.join("new"), folder.join("authorized_keys"));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    fs::rename(new, path)
}

/// The line of the public key; the key is made if there is none yet.
async fn host_key(host: &Host) -> Result<String, TaskError> {
    if !host.file(HOST_KEY).exists() {
        said(host, &["-t", "ed25519"]).await?;
    }
    let said = said(host, &["-y"]).await?;
    let text = String::from_utf8_lossy(&said.stdout);
    let line = text.lines().find(|line| line.starts_with("ssh-ed25519 "));
    line.map(str::to_owned).ok_or_else(|| TaskError::failed("the host key cannot be read back"))
}

async fn said(host: &Host, arguments: &[&str]) -> Result<Output, TaskError> {
    let mut maker = Command::new(host.file(KEY_MAKER));
    maker.args(arguments).arg("-f").arg(host.file(HOST_KEY)).stdin(Stdio::null()).kill_on_drop(true);
    let output =
        timeout(PATIENCE, maker.output()).await.map_err(|_| TaskError::failed("the host key takes too long"))?;
    let output = output.map_err(TaskError::io("making the host key"))?;
    if output.status.success() {
        return Ok(output);
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().chars().take(200).collect::<String>();
    Err(TaskError::failed(format!("making the host key: {}: {why}", output.status)))
}

/// Does the server run already? A task that is handed out again only brings new keys.
fn runs(host: &Host) -> bool {
    let pid = fs::read_to_string(host.file(PID)).unwrap_or_default();
    let comm = |pid: u32| fs::read_to_string(host.proc(format!("{pid}/comm"))).ok();
    let name = pid.trim().parse().ok().and_then(comm);
    name.is_some_and(|name| name.trim() == "dropbear")
}

/// Waits until the server says what it is.
async fn answers(port: u16) -> Result<(), TaskError> {
    let start = Instant::now();
    let mut failures = 0;
    loop {
        let why = match timeout(PATIENCE, banner(port)).await {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => "what answers is no SSH server".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if start.elapsed() >= PATIENCE {
            return Err(TaskError::failed(format!("the SSH server does not answer: {why}")));
        }
        failures += 1;
        BETWEEN.pause(failures).await;
    }
}

async fn banner(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let mut said = [0; BANNER.len()];
    stream.read_exact(&mut said).await?;
    Ok(said == BANNER)
}

/// As `ssh-keygen -l` shows it.
fn fingerprint(line: &str) -> Result<String, TaskError> {
    let bytes = line.split_whitespace().nth(1).and_then(|blob| STANDARD.decode(blob).ok());
    let bytes = bytes.ok_or_else(|| TaskError::failed("the host key is not one"))?;
    Ok(format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_as_ssh_keygen_shows_it() {
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl root@x";
        assert_eq!(fingerprint(line).unwrap(), "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU");
        assert!(fingerprint("ssh-ed25519").is_err() && fingerprint("ssh-ed25519 *").is_err());
    }

    #[test]
    fn the_own_address_is_the_one_that_reaches_the_rack() {
        let own = own_address("farrier.agent=127.0.0.1:5250 farrier.http=http://127.0.0.1:5248").unwrap();
        assert_eq!(own, IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
}
