//! Baseboard management controllers: power, boot device, accounts.
//!
//! [`Bmcs`] is what the rack's service calls; behind it, `driver` holds one interface to what BMCs speak. One operation at a
//! time runs against one BMC; every operation is bounded in time by the deadlines of its exchanges. Knows nothing of boot
//! intents, of the region or of tonic.

pub mod account;
pub mod discover;
mod driver;
pub mod events;
pub mod gate;
pub mod ipmi;
pub mod power;
pub mod redfish;
mod remove;
mod rotate;
pub mod settings;
pub mod webhook;

use std::net::SocketAddrV4;

use farrier_common::{
    hardware::{BootDevice, PowerState},
    secret::Secret,
    words,
};
use thiserror::Error;

use crate::crash::{Crash, Point, Work};

use self::{
    account::{Account, Ensured},
    driver::Driver,
    events::EventLog,
    gate::{Class, Gate, Reading, Turn},
    ipmi::{
        Ipmi,
        lanplus::{KnownSuites, Pace},
    },
    power::Patience,
    redfish::{Https, Redfish, http::Limits, trust::Authorities},
    settings::{Settings, Wanted},
    webhook::Hook,
};

/// Why a BMC did not do what it was asked. Each kind is one that callers treat differently.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BmcError {
    /// It does not answer.
    #[error("the BMC does not answer: {0}")]
    Unreachable(String),
    /// User name, password or privilege are not good enough.
    #[error("the BMC refuses the login: {0}")]
    Refused(String),
    /// It does not know the command.
    #[error("the BMC cannot do that: {0}")]
    Unsupported(String),
    /// It, or our queue in front of it, is full; later may help.
    #[error("the BMC is busy: {0}")]
    Busy(String),
    /// It answers what makes no sense.
    #[error("the BMC answers nonsense: {0}")]
    Nonsense(String),
    /// It understood and said no.
    #[error("the BMC rejects it: {0}")]
    Rejected(String),
    /// It said yes, but the effect was not seen in time.
    #[error("the BMC did not confirm in time: {0}")]
    NotConfirmed(String),
    /// All its user slots are taken.
    #[error("the BMC has no free user slot: {0}")]
    NoSlot(String),
    /// A user of the wanted name is there and is not ours.
    #[error("the account exists already and is not Farrier's: {0}")]
    NameTaken(String),
    /// Another account changed while ours was made.
    #[error("other accounts of the BMC changed meanwhile: {0}")]
    OthersChanged(String),
    /// Whoever answers is not proven to be the BMC that is known.
    #[error("the BMC is not the one that is known: {0}")]
    Untrusted(String),
}

impl BmcError {
    /// The same kind of error with more text.
    #[must_use]
    pub fn with(self, more: &str) -> Self {
        let add = |text: String| format!("{text}; {more}");
        match self {
            Self::Unreachable(t) => Self::Unreachable(add(t)),
            Self::Refused(t) => Self::Refused(add(t)),
            Self::Unsupported(t) => Self::Unsupported(add(t)),
            Self::Busy(t) => Self::Busy(add(t)),
            Self::Nonsense(t) => Self::Nonsense(add(t)),
            Self::Rejected(t) => Self::Rejected(add(t)),
            Self::NotConfirmed(t) => Self::NotConfirmed(add(t)),
            Self::NoSlot(t) => Self::NoSlot(add(t)),
            Self::NameTaken(t) => Self::NameTaken(add(t)),
            Self::OthersChanged(t) => Self::OthersChanged(add(t)),
            Self::Untrusted(t) => Self::Untrusted(add(t)),
        }
    }
}

/// A BMC, and the account to use on it.
#[derive(Clone, Debug)]
pub struct Login {
    /// Where it listens.
    pub address: SocketAddrV4,
    /// User name; at most 16 bytes for IPMI.
    pub username: String,
    /// Password; at most 20 bytes for IPMI.
    pub password: Secret<String>,
    /// How it is spoken to.
    pub face: Face,
    /// What is known of BMCs' cipher suites; [`Bmcs`] puts its own here.
    pub suites: KnownSuites,
}

impl Login {
    /// Is it the same account, on the same BMC, by the same way?
    fn is_same(&self, other: &Self) -> bool {
        self.address == other.address
            && self.username == other.username
            && self.password.expose() == other.password.expose()
            && self.face == other.face
    }
}

/// How a BMC is spoken to, with what has to be known for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Face {
    /// IPMI 2.0 over LAN.
    Ipmi,
    /// Redfish over HTTPS.
    Redfish(Https),
    /// HTTP requests that the admin gave.
    Webhook(Box<webhook::Face>),
}

words! {
    /// What can be done with a BMC.
    Capability {
        /// Power on, off, cycle, and asking for it.
        Power = "power",
        /// Choosing what is booted next.
        BootOverride = "boot-override",
        /// Making and removing accounts.
        Accounts = "accounts",
        /// Telling what machine it is in.
        Inventory = "inventory",
        /// Settings of the BIOS.
        BiosSettings = "bios-settings",
        /// Switching UEFI Secure Boot on and off.
        SecureBoot = "secure-boot",
        /// Telling what it has seen happen to the hardware.
        EventLog = "event-log",
    }
}

/// What a BMC says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Version of its firmware, such as `9.08`.
    pub firmware_version: String,
    /// Chassis power; `None` while it is on its way.
    pub power: Option<PowerState>,
    /// What can be done with it.
    pub capabilities: Vec<Capability>,
    /// Who it is, in the words of its protocol.
    pub identity: Identity,
}

/// Who a BMC is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It speaks IPMI.
    Ipmi(ipmi::Identity),
    /// It speaks Redfish.
    Redfish(redfish::Identity),
    /// It is driven by webhook; a webhook tells nobody who it is.
    Webhook,
}

/// All BMCs that this rack reaches.
#[derive(Clone, Debug, Default)]
pub struct Bmcs {
    gate: Gate,
    pace: Pace,
    patience: Patience,
    limits: Limits,
    authorities: Authorities,
    crash: Crash,
    suites: KnownSuites,
}

impl Bmcs {
    /// With other times than the default ones.
    #[must_use]
    pub fn with_times(pace: Pace, patience: Patience) -> Self {
        Self { pace, patience, ..Self::default() }
    }

    /// With other bounds for HTTP than the default ones.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// With so many BMCs polled at a time.
    #[must_use]
    pub fn with_polls(self, polls: usize) -> Self {
        Self { gate: Gate::new(polls), ..self }
    }

    /// With authorities that may vouch for BMCs' certificates.
    #[must_use]
    pub fn with_authorities(self, authorities: Authorities) -> Self {
        Self { authorities, ..self }
    }

    /// With a place at which tests let the rack die.
    #[must_use]
    pub fn with_crash(self, crash: Crash) -> Self {
        Self { crash, ..self }
    }

    /// Waits for the turn at a BMC, and takes the driver for it.
    async fn enter(&self, login: &Login, class: Class) -> Result<(Turn, Driver), BmcError> {
        let turn = self.gate.enter(login.address, class).await?;
        Ok((turn, self.driver(login)))
    }

    fn driver(&self, login: &Login) -> Driver {
        let (patience, crash) = (self.patience, self.crash.clone());
        match &login.face {
            Face::Ipmi => {
                let login = Login { suites: self.suites.clone(), ..login.clone() };
                Driver::Ipmi(Ipmi { login, pace: self.pace, patience, crash })
            }
            Face::Redfish(https) => Driver::Redfish(self.redfish(login, https, self.limits)),
            Face::Webhook(face) => Driver::Webhook(Hook {
                login: login.clone(),
                face: face.clone(),
                limits: self.limits,
                patience,
                authorities: self.authorities.clone(),
            }),
        }
    }

    fn redfish(&self, login: &Login, https: &Https, limits: Limits) -> Redfish {
        Redfish {
            login: login.clone(),
            https: https.clone(),
            limits,
            patience: self.patience,
            authorities: self.authorities.clone(),
            crash: self.crash.clone(),
        }
    }

    /// Logs in and asks what it is.
    ///
    /// # Errors
    /// See [`BmcError`].
    pub async fn probe(&self, login: &Login) -> Result<Probe, BmcError> {
        let (turn, bmc) = self.enter(login, Class::Inventory).await?;
        turn.end(bmc.probe().await)
    }

    /// Asks for the chassis power, for somebody who waits for it.
    ///
    /// # Errors
    /// See [`BmcError`].
    pub async fn power(&self, login: &Login) -> Result<PowerState, BmcError> {
        self.power_for(login, Class::Inventory).await
    }

    /// Asks for the chassis power.
    ///
    /// # Errors
    /// See [`BmcError`].
    pub async fn power_for(&self, login: &Login, class: Class) -> Result<PowerState, BmcError> {
        match self.gate.read(login, class).await? {
            Reading::Own(turn, others) => {
                let told = turn.end(self.driver(login).power().await);
                others.tell(&told);
                told
            }
            Reading::Shared(told) => told,
        }
    }

    /// Brings the chassis power to `wanted` and waits until the BMC confirms it.
    ///
    /// # Errors
    /// See [`BmcError`]; `NotConfirmed` if the chassis does not get there in time.
    pub async fn set_power(&self, login: &Login, wanted: PowerState) -> Result<(), BmcError> {
        let (turn, bmc) = self.enter(login, Class::Power).await?;
        turn.end(bmc.set_power(wanted, &self.commanded(Work::SetPower)).await)
    }

    /// Switches off, waits for the confirmation, switches on, waits for the confirmation.
    ///
    /// # Errors
    /// As for [`Bmcs::set_power`].
    pub async fn cycle_power(&self, login: &Login) -> Result<(), BmcError> {
        let (turn, bmc) = self.enter(login, Class::Power).await?;
        let commanded = self.commanded(Work::CyclePower);
        let off = bmc.set_power(PowerState::Off, &commanded).await;
        turn.end(match off {
            Ok(()) => bmc.set_power(PowerState::On, &commanded).await,
            Err(error) => Err(error),
        })
    }

    /// Asks the system to shut down in order; answers when the BMC has taken the command.
    ///
    /// # Errors
    /// See [`BmcError`].
    pub async fn soft_off(&self, login: &Login) -> Result<(), BmcError> {
        let (turn, bmc) = self.enter(login, Class::Power).await?;
        turn.end(bmc.soft_off(&self.commanded(Work::SoftOff)).await)
    }

    /// Takes the account `username` away and proves that `login`, which is that account's, is refused from then on. Answers
    /// whether there was one.
    ///
    /// # Errors
    /// See [`BmcError`]; `NotConfirmed` if the account still works.
    pub async fn remove_account(&self, login: &Login, username: &str) -> Result<bool, BmcError> {
        let (turn, bmc) = self.enter(login, Class::Lifecycle).await?;
        turn.end(bmc.remove_account(username).await)
    }

    /// Gives the account of `login` another password, and proves it by a login. Answers whether it was changed now; otherwise an
    /// earlier call had got that far.
    ///
    /// # Errors
    /// See [`BmcError`]; `NotConfirmed` if the BMC goes on with the old password, `Refused` if it takes neither.
    pub async fn change_password(&self, login: &Login, password: &Secret<String>) -> Result<bool, BmcError> {
        let (turn, bmc) = self.enter(login, Class::Lifecycle).await?;
        turn.end(bmc.change_password(password).await)
    }

    /// Reads the newest `limit` entries of the BMC's own event log.
    ///
    /// # Errors
    /// See [`BmcError`]; `Unsupported` if it has none, or one that cannot be read in a few seconds.
    pub async fn events(&self, login: &Login, limit: usize) -> Result<EventLog, BmcError> {
        let (turn, bmc) = self.enter(login, Class::Inventory).await?;
        turn.end(bmc.events(limit).await)
    }

    /// Reads the settings of the machine's firmware.
    ///
    /// # Errors
    /// See [`BmcError`]; `Unsupported` if the BMC offers none.
    pub async fn settings(&self, login: &Login) -> Result<Settings, BmcError> {
        let (turn, bmc) = self.enter(login, Class::Inventory).await?;
        turn.end(bmc.settings().await)
    }

    /// Sets them, from the machine's next start on; answers when the BMC tells them back.
    ///
    /// # Errors
    /// See [`BmcError`]; `Rejected` if there is no such setting or it cannot be so, and then nothing is written; `NotConfirmed` if
    /// the BMC accepts and does not tell it back.
    pub async fn set_settings(&self, login: &Login, wanted: &Wanted) -> Result<(), BmcError> {
        let (turn, bmc) = self.enter(login, Class::Lifecycle).await?;
        turn.end(bmc.set_settings(wanted).await)
    }

    /// Starts the BMC itself anew; answers when it has taken the command.
    ///
    /// # Errors
    /// See [`BmcError`].
    pub async fn reset(&self, login: &Login) -> Result<(), BmcError> {
        let (turn, bmc) = self.enter(login, Class::Lifecycle).await?;
        turn.end(bmc.reset().await)
    }

    /// Sets what the firmware boots the next time, once.
    ///
    /// # Errors
    /// See [`BmcError`].
    pub async fn set_boot_device(&self, login: &Login, device: BootDevice, uefi: bool) -> Result<(), BmcError> {
        let (turn, bmc) = self.enter(login, Class::Power).await?;
        turn.end(bmc.set_boot_device(device, uefi).await)
    }

    /// Makes `account` exist and proves it by a login. `login` is an administrator that exists already.
    ///
    /// # Errors
    /// See [`BmcError`]; what was written to the account's slot has been undone unless the text says otherwise.
    pub async fn ensure_account(&self, login: &Login, account: &Account) -> Result<Ensured, BmcError> {
        let (turn, bmc) = self.enter(login, Class::Lifecycle).await?;
        turn.end(bmc.ensure_account(account).await)
    }

    fn commanded(&self, work: Work) -> impl Fn() + Send + Sync + use<> {
        let crash = self.crash.clone();
        move || crash.at(Point::PowerCommanded, work)
    }
}
