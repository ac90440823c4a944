//! The second face of a fleet's BMCs: the same power, accounts and truth, by Redfish.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Maker, Member, PopulationError, bmc_mac};
use crate::{
    fault_plan::ApplyError,
    ipmi::host::HostError,
    redfish::{
        Machine, Quirks, Redfish,
        server::{Server, SharedRedfish, Tls},
    },
};

/// Logical processors in one socket of the machines that there are.
const THREADS: u32 = 64;

impl Maker<'_> {
    /// Has the BMCs of all these serve Redfish at `port`, each with a certificate of its own.
    pub(super) async fn add_redfish(
        &self,
        members: &mut [Member],
        port: u16,
        stop: &CancellationToken,
    ) -> Result<(), PopulationError> {
        let mut known: HashMap<String, Arc<Quirks>> = HashMap::new();
        for member in members {
            let vendor = &member.vendor;
            if !known.contains_key(&vendor.name) {
                known.insert(vendor.name.clone(), Quirks::of(vendor)?);
            }
            let face = self.face(member, Arc::clone(&known[&vendor.name]))?;
            let address = SocketAddr::from((member.bmc, port));
            let listener = Server::bind(address).await.map_err(|source| HostError::Bind { address, source })?;
            let tls = Arc::new(Tls::new(vec![member.bmc.to_string()]));
            let server = Server { face: Arc::clone(&face), tls: Arc::clone(&tls), clock: self.plan.clock.clone() };
            tokio::spawn(server.run(listener, stop.clone()));
            member.redfish = Some(face);
            member.tls = Some(tls);
        }
        Ok(())
    }

    fn face(&self, member: &Member, quirks: Arc<Quirks>) -> Result<SharedRedfish, PopulationError> {
        let around = self.chassis_around(member.number);
        let hardware = self.built.get(&around).ok_or(ApplyError::NoMachine(around))?;
        let machine = Machine {
            uuid: Uuid::from_bytes(hardware.uuid),
            serial: hardware.serial.clone(),
            macs: hardware.macs.clone(),
            bmc_mac: bmc_mac(member.number),
            bmc_address: member.bmc.into(),
            processors: hardware.cpus.div_ceil(THREADS),
            memory_gib: u32::try_from(hardware.memory_bytes >> 30).unwrap_or(u32::MAX),
        };
        let seed = self.dice(member.number).fork("redfish").roll();
        let (vendor, accounts) = (Arc::clone(&member.vendor), Arc::clone(&member.accounts));
        let face = Redfish::new(vendor, quirks, machine, self.chassis_of(around)?, accounts, seed);
        Ok(Arc::new(Mutex::new(face)))
    }
}
