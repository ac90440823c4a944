//! A simulated BMC for a machine that is not simulated: both faces and the system interface, around an emulator that
//! `farrier-labctl serve` owns.

mod owner;

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use farrier_common::{clock::Clock, net::MacAddr};
use thiserror::Error;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    accounts::Accounts,
    chassis::Chassis,
    dice::Dice,
    ipmi::{
        self, Faults, Identity,
        host::{Host, HostError},
        system,
    },
    personality::{Personality, PersonalityError},
    population::{HTTPS, IPMI},
    redfish::{
        Machine, Quirks, Redfish,
        server::{Server, Tls},
    },
};

/// What the BMC is, and of which machine.
#[derive(Clone, Debug)]
pub struct Emulated {
    /// Whose BMC it is, by a personality's name.
    pub vendor: String,
    /// Where it answers: IPMI at udp 623, Redfish at tcp 443.
    pub address: Ipv4Addr,
    /// TCP port of that address at which QEMU finds its system interface.
    pub system_port: u16,
    /// Socket of the machine's owner.
    pub owner: PathBuf,
    /// SMBIOS system UUID.
    pub uuid: Uuid,
    /// SMBIOS system serial.
    pub serial: String,
    /// Of its network card.
    pub mac: MacAddr,
    /// Its memory, in MiB.
    pub memory_mib: u32,
    /// The same seed gives the same sessions.
    pub seed: u64,
}

/// A BMC that cannot be.
#[derive(Debug, Error)]
pub enum EmulatedError {
    /// Of no vendor that is known.
    #[error(transparent)]
    Personality(#[from] PersonalityError),
    /// No socket.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// One processor with all cores is what the lab's machines have.
const PROCESSORS: u32 = 1;

impl Emulated {
    /// Is this BMC until the process ends. It keeps nothing: one that is started anew is as the vendor delivers it.
    ///
    /// # Errors
    /// See [`EmulatedError`].
    pub async fn serve(self) -> Result<(), EmulatedError> {
        let personality = Personality::shipped(&self.vendor)?;
        let quirks = Quirks::of(&personality)?;
        let chassis = Chassis::new(Arc::default());
        let accounts = Accounts::shared(Arc::clone(&personality), Arc::clone(chassis.truth()));
        let dice = Dice::new(self.seed);
        let stop = CancellationToken::new();
        let bind = |address: SocketAddr| move |source| HostError::Bind { address, source };

        let bmc_mac = MacAddr([2, 0, 2, 0, 0, self.address.octets()[3]]);
        // As SMBIOS has it: the first three fields with their least byte first.
        let guid = self.uuid.to_bytes_le();
        let identity = Identity { address: self.address, mac: bmc_mac, guid, serial: self.serial.clone() };
        let (vendor, shared, faults) = (Arc::clone(&personality), Arc::clone(&accounts), Faults::shared());
        let server = ipmi::Server::new(identity, vendor, chassis.clone(), shared, faults, dice.fork("bmc"));
        let (inside, asked) = mpsc::channel(1);
        let mut host = Host::new(1);
        host.add_with(SocketAddrV4::new(self.address, IPMI).into(), server, asked).await?;

        let address = SocketAddr::from((self.address, self.system_port));
        let listener = TcpListener::bind(address).await.map_err(bind(address))?;
        tokio::spawn(system::serve(listener, inside, stop.clone()));

        tokio::spawn(owner::follow(self.owner, chassis.clone()));

        let machine = Machine {
            uuid: self.uuid,
            serial: self.serial,
            macs: vec![self.mac],
            bmc_mac,
            bmc_address: self.address.into(),
            processors: PROCESSORS,
            memory_gib: self.memory_mib.div_ceil(1024),
        };
        let seed = dice.fork("redfish").roll();
        let face = Redfish::new(personality, quirks, machine, chassis, accounts, seed);
        let address = SocketAddr::from((self.address, HTTPS));
        let listener = Server::bind(address).await.map_err(bind(address))?;
        let tls = Arc::new(Tls::new(vec![self.address.to_string()]));
        Server { face: Arc::new(Mutex::new(face)), tls, clock: Clock::System }.run(listener, stop).await;
        Ok(())
    }
}
