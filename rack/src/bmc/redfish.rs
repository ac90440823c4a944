//! Redfish over HTTPS (DMTF DSP0266): a BMC is asked and told in JSON.
//!
//! The documents are read by the dozen properties that are used. `docs/decisions/0008-redfish-client.md` says why this is
//! not a generated client, `docs/bmc.md` what vendors do differently.

mod accounts;
mod boot;
mod client;
mod document;
mod events;
pub mod http;
mod power;
mod problem;
mod rules;
mod settings;
mod system;
pub mod trust;

use farrier_common::{
    hardware::{BootDevice, PowerState},
    secret::Secret,
    tls::Fingerprint,
};

use self::{
    client::Client,
    http::Limits,
    trust::{Authorities, Pin},
};
use super::{
    BmcError, Capability, Login, Probe,
    account::{Account, Ensured},
    events::EventLog,
    power::Patience,
    settings::{Settings, Wanted},
};
use crate::crash::Crash;

/// What is to be known beforehand of a BMC that speaks Redfish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Https {
    /// Its certificate.
    pub pin: Pin,
    /// `Id` of the system, for a BMC with several; empty: the only one.
    pub system: String,
}

/// What a Redfish service says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who made it; empty if it does not say.
    pub vendor: String,
    /// Its product name.
    pub product: String,
    /// Version of Redfish.
    pub version: String,
    /// Manufacturer and model of the system, and its serial number.
    pub model: String,
    /// Serial number of the system.
    pub serial: String,
    /// The certificate that it has proven to hold.
    pub certificate: Fingerprint,
    /// The rules that are applied to it.
    pub rules: Vec<&'static str>,
}

/// One BMC that speaks Redfish.
#[derive(Clone, Debug)]
pub struct Redfish {
    pub(super) login: Login,
    pub(super) https: Https,
    pub(super) limits: Limits,
    pub(super) patience: Patience,
    pub(super) authorities: Authorities,
    pub(super) crash: Crash,
}

/// Is a Redfish service there? Its root is open to everybody; nobody logs in.
pub(super) async fn greet(bmc: &Redfish) -> Result<(), BmcError> {
    Client::meet(bmc).await.map(drop)
}

/// Does what has to be done between login and farewell.
macro_rules! logged_in {
    ($bmc:expr, $client:ident => $work:expr) => {{
        let mut $client = Client::open($bmc.pinned()?).await?;
        let outcome = $work;
        $client.close().await;
        outcome
    }};
}

impl Redfish {
    /// Everything but the first look needs to know whom it speaks to.
    fn pinned(&self) -> Result<&Self, BmcError> {
        match self.https.pin {
            Pin::Known(_) | Pin::Vouched => Ok(self),
            Pin::FirstSeen => Err(BmcError::Untrusted(
                "its certificate is not known yet; probe it, and give what it shows".to_owned(),
            )),
        }
    }

    pub(super) async fn probe(&self) -> Result<Probe, BmcError> {
        let mut client = Client::open(self).await?;
        let outcome = self.told(&mut client).await;
        client.close().await;
        outcome
    }

    async fn told(&self, client: &mut Client<'_>) -> Result<Probe, BmcError> {
        let system = system::read(client, &self.https.system).await?;
        let mut capabilities = vec![Capability::Inventory];
        let manager = self.manager(client, &system).await;
        let logs = |owner: &document::Document| owner.optional_link("/LogServices").is_some();
        let offered = [
            (system.at("/Actions/#ComputerSystem.Reset/target").is_some(), Capability::Power),
            (system.at("/Boot").is_some(), Capability::BootOverride),
            (client.root.at("/AccountService").is_some(), Capability::Accounts),
            (system.at("/Bios").is_some(), Capability::BiosSettings),
            (system.at("/SecureBoot").is_some(), Capability::SecureBoot),
            (logs(&system) || manager.as_ref().is_some_and(logs), Capability::EventLog),
        ];
        capabilities.extend(offered.iter().filter(|(is, _)| *is).map(|(_, capability)| *capability));
        let firmware_version = manager.map(|m| m.shown("/FirmwareVersion")).unwrap_or_default();
        let certificate =
            client.certificate().ok_or_else(|| BmcError::Nonsense("it answers without a certificate".to_owned()))?;
        let model = format!("{} {}", system.shown("/Manufacturer"), system.shown("/Model")).trim().to_owned();
        Ok(Probe {
            firmware_version,
            power: system::power(&system),
            capabilities,
            identity: super::Identity::Redfish(Identity {
                vendor: rules::vendor(&client.root),
                product: client.root.shown("/Product"),
                version: client.root.shown("/RedfishVersion"),
                model,
                serial: system.shown("/SerialNumber"),
                certificate,
                rules: client.rules.names.clone(),
            }),
        })
    }

    /// The BMC itself; `None` if it cannot be told. That is no reason to fail.
    async fn manager(&self, client: &mut Client<'_>, system: &document::Document) -> Option<document::Document> {
        client.get(&system.optional_link("/Links/ManagedBy/0")?).await.ok()
    }

    pub(super) async fn events(&self, limit: usize) -> Result<EventLog, BmcError> {
        logged_in!(self, client => events::newest(&mut client, &self.https.system, limit).await)
    }

    pub(super) async fn settings(&self) -> Result<Settings, BmcError> {
        logged_in!(self, client => settings::read(&mut client, &self.https.system).await)
    }

    pub(super) async fn set_settings(&self, wanted: &Wanted) -> Result<(), BmcError> {
        logged_in!(self, client => settings::write(&mut client, self, wanted).await)
    }

    pub(super) async fn power(&self) -> Result<PowerState, BmcError> {
        logged_in!(self, client => power::get(&mut client, &self.https.system).await)
    }

    pub(super) async fn set_power(&self, wanted: PowerState, commanded: &(impl Fn() + Sync)) -> Result<(), BmcError> {
        power::set(self.pinned()?, wanted, commanded).await
    }

    pub(super) async fn soft_off(&self, commanded: &(impl Fn() + Sync)) -> Result<(), BmcError> {
        logged_in!(self, client => power::soft_off(&mut client, &self.https.system, commanded).await)
    }

    pub(super) async fn set_boot_device(&self, device: BootDevice, uefi: bool) -> Result<(), BmcError> {
        logged_in!(self, client => boot::set(&mut client, self, device, uefi).await)
    }

    pub(super) async fn ensure_account(&self, account: &Account) -> Result<Ensured, BmcError> {
        accounts::ensure(self.pinned()?, account).await
    }

    pub(super) async fn change_password(&self, password: &Secret<String>) -> Result<bool, BmcError> {
        accounts::rotate(self.pinned()?, password).await
    }

    pub(super) async fn reset(&self) -> Result<(), BmcError> {
        logged_in!(self, client => power::reset_manager(&mut client, &self.https.system).await)
    }

    pub(super) async fn remove_account(&self, username: &str) -> Result<bool, BmcError> {
        accounts::remove(self.pinned()?, username).await
    }
}
