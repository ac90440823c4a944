//! Firmware that boots from the network: DHCP, the loader by TFTP or HTTP, iPXE, its script, and what the script leads to.
//!
//! The parts are machines without sockets ([`lease`], [`tftp`], [`script`]); this module gives them sockets and time.
//! Any loader that the firmware would start is taken to be iPXE: what it does next is iPXE's part.

pub mod client;
pub mod lease;
pub mod loaded;
pub mod packet;
pub mod script;
pub mod segment;
pub mod tftp;
mod transfer;

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use farrier_common::hardware::Architecture;

use self::{
    client::{Client, Station},
    lease::Lease,
    loaded::{HEAD, Loaded},
    script::{Answer, Ask, Ipxe, LARGEST_SCRIPT},
    segment::Segment,
    tftp::Manner,
};
use crate::{
    dice::Dice,
    http::{Asker, Seen, load_public},
    machine::fault::Faults,
};

/// How firmware boots from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Firmware {
    /// A BIOS with iPXE in the network card's ROM.
    BiosIpxe,
    /// A BIOS with a usual PXE ROM.
    BiosPxe,
    /// UEFI by PXE.
    UefiPxe(Architecture),
    /// UEFI by HTTP.
    UefiHttp(Architecture),
}

impl Firmware {
    /// Is it UEFI, and for which processors?
    #[must_use]
    pub const fn uefi(self) -> Option<Architecture> {
        match self {
            Self::BiosIpxe | Self::BiosPxe => None,
            Self::UefiPxe(architecture) | Self::UefiHttp(architecture) => Some(architecture),
        }
    }

    const fn client(self) -> Client {
        match self {
            Self::BiosIpxe => Client::IpxeRom,
            Self::BiosPxe => Client::BiosPxe,
            Self::UefiPxe(architecture) => Client::UefiPxe(architecture),
            Self::UefiHttp(architecture) => Client::UefiHttp(architecture),
        }
    }
}

/// Where a network boot led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// To the next entry of the boot order: the disk.
    LocalDisk,
    /// To a kernel from the network.
    Ephemeral {
        /// Its command line.
        cmdline: String,
    },
    /// Nowhere; the firmware tries its next entry.
    Failed(String),
    /// Nowhere; the firmware waits for a person.
    Stuck(String),
}

/// Which address machines speak from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The one that they leased: it must be local here, as in a namespace with a local route for the whole subnet.
    Leased,
    /// Any: the kernel chooses.
    Any,
}

/// How much faster than real machines the simulated ones go about what is not work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace(f64);

impl Pace {
    /// As real machines.
    pub const REAL: Self = Self(1.0);
    /// No packet is sent again sooner, however fast the machine is: servers need their time.
    const SHORTEST_RETRY: Duration = Duration::from_millis(500);

    /// So many times the time of a real machine: 0.01 is a hundred times as fast. At most 1.
    #[must_use]
    pub const fn new(factor: f64) -> Self {
        Self(factor.clamp(0.0, 1.0))
    }

    /// What takes a real machine `time`.
    #[must_use]
    pub fn of(self, time: Duration) -> Duration {
        time.mul_f64(self.0)
    }

    /// A wait for an answer.
    #[must_use]
    pub fn retry(self, time: Duration) -> Duration {
        self.of(time).max(time.min(Self::SHORTEST_RETRY))
    }
}

/// The network that machines boot from. Clones share sockets and memory of files.
#[derive(Clone, Debug)]
pub struct Network {
    /// Where addresses are asked for.
    pub segment: Segment,
    /// Which address machines speak from.
    pub source: Source,
    /// 69, but in tests.
    pub tftp_port: u16,
    /// How fast machines go about it.
    pub pace: Pace,
    /// Files that were seen to be good.
    pub seen: Seen,
}

/// One machine at its network.
#[derive(Debug)]
pub struct Booter<'a> {
    /// The network.
    pub network: &'a Network,
    /// The machine's interface and names.
    pub station: Station<'a>,
    /// What scripts may ask for: `manufacturer`, `product`, `serial` and the like.
    pub settings: HashMap<String, String>,
    /// Its randomness.
    pub dice: Dice,
    /// What goes wrong.
    pub faults: &'a Faults,
}

/// For a connection, an answer, and each part of it.
const PATIENCE: Duration = Duration::from_secs(30);
const EDK2_AGENT: &str = "UefiHttpBoot/1.0";
const IPXE_AGENT: &str = "iPXE/1.21.1+git-20220113.fbbdc3926";
const AUTOEXEC: &str = "autoexec.ipxe";

impl Booter<'_> {
    /// Boots; `disk` tells whether the disk could be started. `uri` replaces the address that DHCP tells a UEFI that boots by
    /// HTTP.
    pub async fn boot(&mut self, firmware: Firmware, uri: Option<&str>, disk: bool) -> Boot {
        self.try_boot(firmware, uri, disk).await.unwrap_or_else(Boot::Failed)
    }

    async fn try_boot(&mut self, firmware: Firmware, uri: Option<&str>, disk: bool) -> Result<Boot, String> {
        let lease = self.lease(firmware.client()).await?;
        let file = || lease.boot_file.clone().ok_or_else(|| "DHCP told no boot file".to_owned());
        let (client, by_tftp) = match firmware {
            Firmware::BiosIpxe => return self.run(Client::IpxeRom, &lease, disk).await,
            Firmware::BiosPxe => {
                self.load(&lease, &file()?, Manner::ROM_PROBE, Manner::ROM, None).await?;
                (Client::Undionly, true)
            }
            Firmware::UefiPxe(architecture) => {
                self.load(&lease, &file()?, Manner::EDK2_PROBE, Manner::EDK2, Some(architecture)).await?;
                (Client::Snponly(architecture), true)
            }
            Firmware::UefiHttp(architecture) => {
                let url = uri.map_or_else(file, |uri| Ok(uri.to_owned()))?;
                let asker = self.asker(&lease, EDK2_AGENT);
                let length = asker.length(&url).await.map_err(|e| e.to_string())?;
                let loaded = asker.load(&url, HEAD).await.map_err(|e| e.to_string())?;
                if loaded.size != length {
                    return Err(format!("{url}: HEAD told {length} bytes, GET {}", loaded.size));
                }
                loaded.starts_on(Some(architecture))?;
                (Client::Snponly(architecture), false)
            }
        };
        let lease = self.lease(client).await?;
        if by_tftp && firmware.uefi().is_some() {
            // iPXE of Debian 13 asks for a script of its own first; racks rarely have one.
            drop(self.tftp(&lease, AUTOEXEC, Manner::IPXE, 0).await);
        }
        self.run(client, &lease, disk).await
    }

    /// Loads by TFTP as firmware does: for the size, then for the file.
    async fn load(
        &mut self,
        lease: &Lease,
        file: &str,
        probe: Manner,
        manner: Manner,
        uefi: Option<Architecture>,
    ) -> Result<(), String> {
        let probed = self.tftp(lease, file, probe, 0).await?;
        let loaded = self.tftp(lease, file, manner, HEAD).await?;
        if probed.size != 0 && probed.size != loaded.size {
            return Err(format!("{file}: the TFTP server told {} bytes and sent {}", probed.size, loaded.size));
        }
        loaded.starts_on(uefi)
    }

    async fn run(&mut self, client: Client, lease: &Lease, disk: bool) -> Result<Boot, String> {
        let uefi = matches!(client, Client::Snponly(_));
        let file = lease.boot_file.as_deref().ok_or("DHCP told iPXE no script")?;
        let (mut ipxe, mut ask) = Ipxe::new(uefi, self.all_settings(client, lease), file);
        loop {
            let answer = match ask {
                Ask::Fetch { url, script } => self.fetch(lease, &url, script).await,
                Ask::Sleep(time) => {
                    tokio::time::sleep(self.network.pace.of(time)).await;
                    Answer::Done
                }
                Ask::Disk if disk => return Ok(Boot::LocalDisk),
                Ask::Disk => Answer::Failed("the disk cannot be started".to_owned()),
                Ask::Kernel { cmdline } => return Ok(Boot::Ephemeral { cmdline }),
                Ask::Exit { good: true, .. } if uefi => {
                    return Ok(Boot::Stuck("iPXE ended well, so the firmware shows its menu".to_owned()));
                }
                Ask::Exit { why, .. } if why.is_empty() => return Ok(Boot::LocalDisk),
                Ask::Exit { why, .. } => return Err(why),
            };
            ask = ipxe.on(answer);
        }
    }

    async fn fetch(&mut self, lease: &Lease, url: &str, script: bool) -> Answer {
        let asker = self.asker(lease, IPXE_AGENT);
        let keep = if script { LARGEST_SCRIPT + 1 } else { 0 };
        let loaded = if !url.starts_with("http://") {
            self.tftp(lease, url, Manner::IPXE, keep).await
        } else if script {
            asker.load(url, keep).await.map_err(|e| e.to_string())
        } else {
            load_public(&asker, &self.network.seen, url).await.map_err(|e| e.to_string())
        };
        match loaded {
            Err(why) => Answer::Failed(why),
            Ok(Loaded { head, .. }) if script => Answer::Script(String::from_utf8_lossy(&head).into_owned()),
            Ok(_) => Answer::Done,
        }
    }

    /// A file by TFTP: a name at the server that DHCP told, or `tftp://ADDRESS/NAME`.
    async fn tftp(&mut self, lease: &Lease, file: &str, manner: Manner, keep: usize) -> Result<Loaded, String> {
        let port = self.network.tftp_port;
        let (server, file) = match file.strip_prefix("tftp://") {
            Some(rest) => {
                let (host, path) = rest.split_once('/').ok_or_else(|| format!("{file} names no file"))?;
                let server = if host.contains(':') { host.parse().ok() } else { at(host.parse().ok(), port) };
                (server.ok_or_else(|| format!("{file}: {host:?} is no address"))?, path)
            }
            None if file.contains("://") => return Err(format!("{file}: neither HTTP nor TFTP")),
            None => (at(lease.next_server, port).ok_or("DHCP told no server to load from")?, file),
        };
        transfer::load(self.from(lease), server, tftp::Transfer::new(file, manner, keep), self.faults, &mut self.dice)
            .await
    }

    /// Gets an address as `client` does.
    ///
    /// # Errors
    /// Nobody gives one, or nothing can be sent.
    pub async fn lease(&mut self, client: Client) -> Result<Lease, String> {
        let xid = self.dice.roll32();
        let exchange = lease::Exchange::new(client, self.station, xid);
        transfer::lease(self.network, self.station.mac, exchange, self.faults, &mut self.dice).await
    }

    /// Asks to keep an address.
    ///
    /// # Errors
    /// Nobody gives it, or nothing can be sent.
    pub async fn renew(&mut self, client: Client, lease: &Lease) -> Result<Lease, String> {
        let xid = self.dice.roll32();
        let exchange = lease::Exchange::renew(client, self.station, xid, lease);
        transfer::lease(self.network, self.station.mac, exchange, self.faults, &mut self.dice).await
    }

    /// Gives an address back. Nobody answers that.
    pub async fn release(&mut self, client: Client, lease: &Lease) {
        let xid = self.dice.roll32();
        let bytes = lease::Exchange::release(client, &self.station, xid, lease);
        if let Err(error) = self.network.segment.open(self.station.mac, xid).send(&bytes).await {
            tracing::debug!(mac = %self.station.mac, %error, "an address was not given back");
        }
    }

    /// Who asks by HTTP with this lease.
    #[must_use]
    pub fn asker(&self, lease: &Lease, agent: &'static str) -> Asker {
        Asker { from: self.from(lease), agent, patience: PATIENCE }
    }

    /// The address to speak from.
    #[must_use]
    pub fn from(&self, lease: &Lease) -> Option<Ipv4Addr> {
        match self.network.source {
            Source::Leased => Some(lease.address),
            Source::Any => None,
        }
    }

    fn all_settings(&self, client: Client, lease: &Lease) -> HashMap<String, String> {
        let (platform, processor, chip) = match client {
            Client::Snponly(Architecture::Arm64) => ("efi", "arm64", "SNP"),
            Client::Snponly(Architecture::Amd64) => ("efi", "x86_64", "SNP"),
            Client::Undionly => ("pcbios", "i386", "undionly"),
            Client::IpxeRom
            | Client::BiosPxe
            | Client::UefiPxe(_)
            | Client::UefiHttp(_)
            | Client::Udhcpc
            | Client::Networkd => ("pcbios", "i386", "virtio-net"),
        };
        let mut settings = self.settings.clone();
        let mut set = |name: &str, value: String| settings.insert(name.to_owned(), value);
        set("platform", platform.to_owned());
        set("buildarch", processor.to_owned());
        set("version", "1.21.1+".to_owned());
        set("uuid", uuid::Uuid::from_bytes(self.station.uuid).to_string());
        for name in ["mac", "net0/mac", "netX/mac"] {
            set(name, self.station.mac.to_string());
        }
        for name in ["ip", "net0/ip", "netX/ip"] {
            set(name, lease.address.to_string());
        }
        set("net0/chip", chip.to_owned());
        if let Some(server) = lease.next_server {
            set("next-server", server.to_string());
        }
        settings
    }
}

fn at(address: Option<Ipv4Addr>, port: u16) -> Option<SocketAddrV4> {
    address.map(|address| SocketAddrV4::new(address, port))
}
