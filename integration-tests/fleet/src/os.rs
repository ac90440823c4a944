//! The system that was installed: starts, gets an address as systemd-networkd does, phones home as cloud-init does, keeps its
//! address, and shuts down when it is asked to.

mod seed;

use std::{collections::HashMap, sync::Arc, time::Duration};

use hyper::Method;
use tokio::sync::watch;

use self::seed::{PhoneHome, Seed};
use crate::{
    boot::{Booter, Network, client::Client, client::Station, lease::Lease},
    chassis::Power,
    dice::Dice,
    disk::{Disks, Installed},
    machine::{
        fault::{Faults, Stage},
        hardware::Hardware,
    },
};

/// One running system.
#[derive(Debug)]
pub struct System<'a> {
    /// The machine.
    pub hardware: &'a Hardware,
    /// Its disks.
    pub disks: &'a Disks,
    /// Its network.
    pub network: &'a Network,
    /// What goes wrong.
    pub faults: &'a Faults,
    /// Its randomness.
    pub dice: Dice,
    /// Tells when it is asked to shut down.
    pub power: watch::Receiver<Power>,
}

/// Boot loader, kernel and services up to the network.
const START: Duration = Duration::from_secs(30);
/// Between two calls home.
const BETWEEN: Duration = Duration::from_secs(3);
/// Services, and unmounting.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// When nobody gave an address: systemd-networkd goes on asking.
const NO_ADDRESS: Duration = Duration::from_secs(60);
const SHORTEST_RENEWAL: Duration = Duration::from_secs(10);
const AGENT: &str = "Cloud-Init/22.4.2-1+deb12u3";

impl System<'_> {
    /// Runs the system on disk `n` until it has shut down.
    pub async fn run(&mut self, n: usize, installed: &Arc<Installed>) {
        self.disks.start();
        let asked = self.power.borrow().soft_requests;
        let mut power = self.power.clone();
        // An ACPI request is heard from the start; what is under way then is dropped.
        let lease = {
            let mut lease = None;
            tokio::select! {
                () = self.live(n, installed, &mut lease) => {}
                _ = power.wait_for(|power| power.soft_requests != asked) => {}
            }
            lease
        };
        tokio::time::sleep(self.dice.jitter(self.network.pace.of(SHUTDOWN))).await;
        if let Some(lease) = lease {
            let (mut booter, _) = self.booter(None);
            booter.release(Client::Networkd, &lease).await;
        }
    }

    async fn live(&mut self, n: usize, installed: &Arc<Installed>, held: &mut Option<Lease>) {
        tokio::time::sleep(self.dice.jitter(self.network.pace.of(START)) + self.faults.delay(Stage::System)).await;
        let seed = match Seed::read(&installed.seed, &self.hardware.macs) {
            Ok(seed) => seed,
            Err(why) => {
                tracing::warn!(boot_id = %installed.boot_id, why, "the seed of an installed system is of no use");
                std::future::pending().await
            }
        };
        let lease = held.insert(self.address(&seed).await);
        if let Some(home) = seed.phone_home.as_ref().filter(|_| !self.disks.has_told(n)) {
            self.phone(home, &seed, lease).await;
            self.disks.told(n);
        }
        loop {
            tokio::time::sleep(lease.renew.max(SHORTEST_RENEWAL)).await;
            let (mut booter, client) = self.booter(Some(&seed.hostname));
            match booter.renew(client, lease).await {
                Ok(renewed) => *lease = renewed,
                Err(why) => tracing::debug!(address = %lease.address, why, "an address was not renewed"),
            }
        }
    }

    async fn address(&mut self, seed: &Seed) -> Lease {
        loop {
            let (mut booter, client) = self.booter(Some(&seed.hostname));
            match booter.lease(client).await {
                Ok(lease) => return lease,
                Err(why) => tracing::debug!(why, "an installed system has no address"),
            }
            tokio::time::sleep(self.dice.jitter(self.network.pace.retry(NO_ADDRESS))).await;
        }
    }

    async fn phone(&mut self, home: &PhoneHome, seed: &Seed, lease: &Lease) {
        let asker = self.booter(None).0.asker(lease, AGENT);
        let kind = [("content-type", "application/x-www-form-urlencoded".to_owned())];
        for _ in 0..home.tries {
            let called = asker.ask(Method::POST, &home.url, &kind, seed.form(&home.post)).await;
            match called.map(|reply| reply.status()) {
                Ok(200..300) => return,
                Ok(status) => tracing::debug!(status, "phoning home was refused"),
                Err(error) => tracing::debug!(%error, "phoning home failed"),
            }
            tokio::time::sleep(self.dice.jitter(self.network.pace.retry(BETWEEN))).await;
        }
        tracing::warn!(address = %lease.address, tries = home.tries, "an installed system gave up phoning home");
    }

    fn booter<'s>(&'s mut self, host_name: Option<&'s str>) -> (Booter<'s>, Client) {
        let mac = self.hardware.macs.first().copied().unwrap_or(farrier_common::net::MacAddr([0; 6]));
        let station = Station { mac, uuid: self.hardware.uuid, host_name };
        let dice = Dice::new(self.dice.roll());
        let booter = Booter { network: self.network, station, settings: HashMap::new(), dice, faults: self.faults };
        (booter, Client::Networkd)
    }
}
