//! One interface to BMCs, whatever they speak. A protocol is one more variant, and has to know an answer to each operation.

use farrier_common::{
    hardware::{BootDevice, PowerState},
    secret::Secret,
};

use super::{
    BmcError, Probe,
    account::{Account, Ensured},
    events::EventLog,
    ipmi::{self, Ipmi},
    redfish::Redfish,
    settings::{Settings, Wanted},
    webhook::{self, Hook},
};

/// One BMC by the protocol that it is spoken to.
#[derive(Clone, Debug)]
pub(super) enum Driver {
    Ipmi(Ipmi),
    Redfish(Redfish),
    Webhook(Hook),
}

impl Driver {
    pub(super) async fn probe(&self) -> Result<Probe, BmcError> {
        match self {
            Self::Ipmi(bmc) => bmc.probe().await,
            Self::Redfish(bmc) => bmc.probe().await,
            Self::Webhook(bmc) => bmc.probe().await,
        }
    }

    pub(super) async fn power(&self) -> Result<PowerState, BmcError> {
        match self {
            Self::Ipmi(bmc) => bmc.power().await,
            Self::Redfish(bmc) => bmc.power().await,
            Self::Webhook(bmc) => bmc.power().await,
        }
    }

    pub(super) async fn set_power(&self, wanted: PowerState, commanded: &(impl Fn() + Sync)) -> Result<(), BmcError> {
        match self {
            Self::Ipmi(bmc) => bmc.set_power(wanted, commanded).await,
            Self::Redfish(bmc) => bmc.set_power(wanted, commanded).await,
            Self::Webhook(bmc) => bmc.set_power(wanted, commanded).await,
        }
    }

    pub(super) async fn soft_off(&self, commanded: &(impl Fn() + Sync)) -> Result<(), BmcError> {
        match self {
            Self::Ipmi(bmc) => bmc.soft_off(commanded).await,
            Self::Redfish(bmc) => bmc.soft_off(commanded).await,
            Self::Webhook(_) => webhook::cannot("a shutdown in order"),
        }
    }

    pub(super) async fn set_boot_device(&self, device: BootDevice, uefi: bool) -> Result<(), BmcError> {
        match self {
            Self::Ipmi(bmc) => bmc.set_boot_device(device, uefi).await,
            Self::Redfish(bmc) => bmc.set_boot_device(device, uefi).await,
            Self::Webhook(_) => webhook::cannot("the choice of what is booted"),
        }
    }

    pub(super) async fn ensure_account(&self, account: &Account) -> Result<Ensured, BmcError> {
        match self {
            Self::Ipmi(bmc) => bmc.ensure_account(account).await,
            Self::Redfish(bmc) => bmc.ensure_account(account).await,
            Self::Webhook(_) => webhook::cannot("accounts"),
        }
    }

    pub(super) async fn change_password(&self, password: &Secret<String>) -> Result<bool, BmcError> {
        match self {
            Self::Ipmi(bmc) => bmc.change_password(password).await,
            Self::Redfish(bmc) => bmc.change_password(password).await,
            Self::Webhook(_) => webhook::cannot("a change of the password"),
        }
    }

    pub(super) async fn reset(&self) -> Result<(), BmcError> {
        match self {
            Self::Ipmi(bmc) => bmc.reset().await,
            Self::Redfish(bmc) => bmc.reset().await,
            Self::Webhook(_) => webhook::cannot("a restart of a BMC"),
        }
    }

    pub(super) async fn events(&self, limit: usize) -> Result<EventLog, BmcError> {
        match self {
            Self::Ipmi(bmc) => bmc.events(limit).await,
            Self::Redfish(bmc) => bmc.events(limit).await,
            Self::Webhook(_) => webhook::cannot("an event log"),
        }
    }

    pub(super) async fn settings(&self) -> Result<Settings, BmcError> {
        match self {
            Self::Ipmi(_) => ipmi::cannot("settings of the firmware"),
            Self::Redfish(bmc) => bmc.settings().await,
            Self::Webhook(_) => webhook::cannot("settings of the firmware"),
        }
    }

    pub(super) async fn set_settings(&self, wanted: &Wanted) -> Result<(), BmcError> {
        match self {
            Self::Ipmi(_) => ipmi::cannot("settings of the firmware"),
            Self::Redfish(bmc) => bmc.set_settings(wanted).await,
            Self::Webhook(_) => webhook::cannot("settings of the firmware"),
        }
    }

    pub(super) async fn remove_account(&self, username: &str) -> Result<bool, BmcError> {
        match self {
            Self::Ipmi(bmc) => bmc.remove_account(username).await,
            Self::Redfish(bmc) => bmc.remove_account(username).await,
            Self::Webhook(_) => webhook::cannot("accounts"),
        }
    }
}
