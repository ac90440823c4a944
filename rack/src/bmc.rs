//! Baseboard management controllers: power, boot device, accounts.
//!
//! [`Bmcs`] is what the rack's service calls. One operation at a time runs against one BMC; every operation is bounded in
//! time by the deadlines of its exchanges. Knows nothing of boot intents, of the region or of tonic.

pub mod account;
pub mod gate;
pub mod ipmi;
pub mod power;
mod remove;

use std::net::SocketAddrV4;

use farrier_common::{
    hardware::{BootDevice, PowerState},
    secret::Secret,
};
use thiserror::Error;

use crate::crash::{Crash, Point, Work};

use self::{
    account::{Account, Ensured},
    gate::Gate,
    ipmi::lanplus::{KnownSuites, Pace},
    power::Patience,
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
        }
    }
}

/// A BMC that speaks IPMI 2.0 over LAN, and the account to use on it.
#[derive(Clone, Debug)]
pub struct Login {
    /// Where its RMCP port is.
    pub address: SocketAddrV4,
    /// User name, at most 16 bytes.
    pub username: String,
    /// Password, at most 20 bytes.
    pub password: Secret<String>,
    /// What is known of BMCs' cipher suites; [`Bmcs`] puts its own here.
    pub suites: KnownSuites,
}

/// What a BMC says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// IANA enterprise number of its maker.
    pub manufacturer_id: u32,
    /// The maker's number for the product.
    pub product_id: u32,
    /// Firmware version, such as `9.08`.
    pub firmware_version: String,
    /// IPMI version, such as `2.0`.
    pub ipmi_version: String,
    /// Number of the cipher suite that the session used.
    pub cipher_suite: u8,
    /// Chassis power.
    pub power: PowerState,
}

/// All BMCs that this rack reaches.
#[derive(Clone, Debug, Default)]
pub struct Bmcs {
    gate: Gate,
    pace: Pace,
    patience: Patience,
    crash: Crash,
    suites: KnownSuites,
}

impl Bmcs {
    /// With other times than the default ones.
    #[must_use]
    pub fn with_times(pace: Pace, patience: Patience) -> Self {
        Self { pace, patience, ..Self::default() }
    }

    /// With a place at which tests let the rack die.
    #[must_use]
    pub fn with_crash(self, crash: Crash) -> Self {
        Self { crash, ..self }
    }

    fn informed(&self, login: &Login) -> Login {
        Login { suites: self.suites.clone(), ..login.clone() }
    }

    /// Logs in and asks what it is.
    ///
    /// # Errors
    /// See [`BmcError`].
    pub async fn probe(&self, login: &Login) -> Result<Probe, BmcError> {
        let (_turn, login) = (self.gate.enter(login.address).await?, &self.informed(login));
        ipmi::probe(login, self.pace).await
    }

    /// Asks for the chassis power.
    ///
    /// # Errors
    /// See [`BmcError`].
    pub async fn power(&self, login: &Login) -> Result<PowerState, BmcError> {
        let (_turn, login) = (self.gate.enter(login.address).await?, &self.informed(login));
        power::get(login, self.pace).await
    }

    /// Brings the chassis power to `wanted` and waits until the BMC confirms it.
    ///
    /// # Errors
    /// See [`BmcError`]; `NotConfirmed` if the chassis does not get there in time.
    pub async fn set_power(&self, login: &Login, wanted: PowerState) -> Result<(), BmcError> {
        let (_turn, login) = (self.gate.enter(login.address).await?, &self.informed(login));
        power::set(login, self.pace, self.patience, wanted, &self.commanded(Work::SetPower)).await
    }

    /// Switches off, waits for the confirmation, switches on, waits for the confirmation.
    ///
    /// # Errors
    /// As for [`Bmcs::set_power`].
    pub async fn cycle_power(&self, login: &Login) -> Result<(), BmcError> {
        let (_turn, login) = (self.gate.enter(login.address).await?, &self.informed(login));
        let commanded = self.commanded(Work::CyclePower);
        power::set(login, self.pace, self.patience, PowerState::Off, &commanded).await?;
        power::set(login, self.pace, self.patience, PowerState::On, &commanded).await
    }

    /// Asks the system to shut down in order; answers when the BMC has taken the command.
    ///
    /// # Errors
    /// See [`BmcError`].
    pub async fn soft_off(&self, login: &Login) -> Result<(), BmcError> {
        let (_turn, login) = (self.gate.enter(login.address).await?, &self.informed(login));
        power::soft_off(login, self.pace, &self.commanded(Work::SoftOff)).await
    }

    /// Takes the account `username` away and proves that `login`, which is that account's, is refused from then on. Answers
    /// whether there was one.
    ///
    /// # Errors
    /// See [`BmcError`]; `NotConfirmed` if the account still works.
    pub async fn remove_account(&self, login: &Login, username: &str) -> Result<bool, BmcError> {
        let (_turn, login) = (self.gate.enter(login.address).await?, &self.informed(login));
        remove::remove(login, self.pace, username).await
    }

    /// Sets what the firmware boots the next time, once.
    ///
    /// # Errors
    /// See [`BmcError`].
    pub async fn set_boot_device(&self, login: &Login, device: BootDevice, uefi: bool) -> Result<(), BmcError> {
        let (_turn, login) = (self.gate.enter(login.address).await?, &self.informed(login));
        power::set_boot_device(login, self.pace, device, uefi).await
    }

    /// Makes `account` exist and proves it by a login. `login` is an administrator that exists already.
    ///
    /// # Errors
    /// See [`BmcError`]; what was written to the account's slot has been undone unless the text says otherwise.
    pub async fn ensure_account(&self, login: &Login, account: &Account) -> Result<Ensured, BmcError> {
        let (_turn, login) = (self.gate.enter(login.address).await?, &self.informed(login));
        account::ensure(login, self.pace, account, &self.crash).await
    }

    fn commanded(&self, work: Work) -> impl Fn() + Send + Sync {
        let crash = self.crash.clone();
        move || crash.at(Point::PowerCommanded, work)
    }
}
