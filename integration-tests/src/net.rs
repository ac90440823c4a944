//! The network of one lab: a namespace with a bridge, on which the rack serves and the machines' taps hang.
//!
//! Every lab has the same addresses; namespaces keep them apart.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{
    error::{LabError, Result},
    process,
};

/// The address of everything that the lab runs: region, rack, report server.
pub const SERVER: &str = "10.77.0.1";
/// The subnet that the rack serves: room for a whole simulated fleet.
pub const SUBNET: &str = "10.77.0.0/16";
/// The addresses that unknown machines get.
pub const DYNAMIC: &str = "10.77.128.0-10.77.254.254";
/// The interface that the rack serves.
pub const BRIDGE: &str = "br0";

const LIMIT: Duration = Duration::from_secs(30);

/// A network namespace; removed when dropped.
#[derive(Debug, Clone)]
pub struct Net {
    name: String,
}

/// Removes the namespace of a lab at its end.
#[derive(Debug)]
pub struct NetGuard(Net);

impl Net {
    /// Makes a namespace with bridge and loopback. Namespaces of labs that were killed are removed first.
    ///
    /// # Errors
    /// This process is not root, or the kernel has no namespaces, bridges or taps.
    pub fn create() -> Result<(Self, NetGuard)> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            return Err(LabError::answer("the virtual lab", "needs root, for network namespaces, taps and DHCP"));
        }
        if !Path::new("/dev/net/tun").exists() {
            return Err(LabError::answer("the virtual lab", "needs /dev/net/tun (modprobe tun)"));
        }
        remove_stale();
        let name = format!("frr-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name])?;
        let net = Self { name };
        let guard = NetGuard(net.clone());
        net.ip(&["link", "set", "lo", "up"])?;
        net.ip(&[
            "link",
            "add",
            BRIDGE,
            "type",
            "bridge",
            "stp_state",
            "0",
            "forward_delay",
            "0",
            "mcast_snooping",
            "0",
        ])?;
        net.ip(&["addr", "add", &format!("{SERVER}/16"), "dev", BRIDGE])?;
        net.ip(&["link", "set", BRIDGE, "up"])?;
        Ok((net, guard))
    }

    /// The name, unique on this host.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a tap to the bridge.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add_tap(&self, tap: &str) -> Result<()> {
        self.ip(&["tuntap", "add", "dev", tap, "mode", "tap"])?;
        self.ip(&["link", "set", tap, "master", BRIDGE])?;
        self.ip(&["link", "set", tap, "up"])
    }

    /// Adds an address that only the namespace itself reaches, such as a BMC's.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add_address(&self, address: &str) -> Result<()> {
        self.ip(&["addr", "add", &format!("{address}/32"), "dev", "lo"])
    }

    /// A command that runs in the namespace and dies with the thread that starts it.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display()));
        command.args(["--", "setpriv", "--pdeathsig", "KILL", "--"]).arg(program.as_ref());
        command
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    fn ip(&self, arguments: &[&str]) -> Result<()> {
        ip(&[&["-n", self.name.as_str()], arguments].concat())
    }
}

impl Drop for NetGuard {
    fn drop(&mut self) {
        // It may be gone already; a namespace that stays is removed by the next lab.
        let _ = ip(&["netns", "delete", &self.0.name]);
    }
}

/// Removes namespaces of lab processes that no longer exist.
fn remove_stale() {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("frr-").and_then(|rest| rest.split('-').next()?.parse::<u32>().ok()) else {
            continue;
        };
        if !Path::new("/proc").join(pid.to_string()).exists() {
            let _ = ip(&["netns", "delete", &name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(arguments);
    process::succeed(command, LIMIT).map(drop)
}
