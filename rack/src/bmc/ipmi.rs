//! IPMI 2.0 over LAN.

mod events;
pub mod lanplus;

use farrier_common::{
    hardware::{BootDevice, PowerState},
    secret::Secret,
};
use farrier_ipmi::commands::{ColdReset, GetChassisStatus};
use ipmi_rs_core::app::GetDeviceId;

use self::lanplus::{Pace, Session, SessionError};
use super::{
    BmcError, Capability, Login, Probe,
    account::{self, Account, Ensured},
    events::EventLog,
    power::{self, Patience},
    remove, rotate,
};
use crate::crash::Crash;

/// What a BMC says of itself over IPMI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// IANA enterprise number of its maker.
    pub manufacturer_id: u32,
    /// The maker's number for the product.
    pub product_id: u32,
    /// IPMI version, such as `2.0`.
    pub version: String,
    /// Number of the cipher suite that the session used.
    pub cipher_suite: u8,
}

/// One BMC that speaks IPMI.
#[derive(Clone, Debug)]
pub struct Ipmi {
    pub(super) login: Login,
    pub(super) pace: Pace,
    pub(super) patience: Patience,
    pub(super) crash: Crash,
}

impl Ipmi {
    pub(super) async fn probe(&self) -> Result<Probe, BmcError> {
        probe(&self.login, self.pace).await
    }

    pub(super) async fn power(&self) -> Result<PowerState, BmcError> {
        power::get(&self.login, self.pace).await
    }

    pub(super) async fn set_power(&self, wanted: PowerState, commanded: &(impl Fn() + Sync)) -> Result<(), BmcError> {
        power::set(&self.login, self.pace, self.patience, wanted, commanded).await
    }

    pub(super) async fn soft_off(&self, commanded: &(impl Fn() + Sync)) -> Result<(), BmcError> {
        power::soft_off(&self.login, self.pace, commanded).await
    }

    pub(super) async fn set_boot_device(&self, device: BootDevice, uefi: bool) -> Result<(), BmcError> {
        power::set_boot_device(&self.login, self.pace, device, uefi).await
    }

    pub(super) async fn ensure_account(&self, account: &Account) -> Result<Ensured, BmcError> {
        account::ensure(&self.login, self.pace, account, &self.crash).await
    }

    pub(super) async fn change_password(&self, password: &Secret<String>) -> Result<bool, BmcError> {
        rotate::rotate(&self.login, self.pace, password, &self.crash).await
    }

    pub(super) async fn reset(&self) -> Result<(), BmcError> {
        let mut session = Session::open(&self.login, self.pace).await?;
        match session.run(ColdReset).await {
            // Sessions end with it, and some BMCs are gone before they have answered.
            Ok(()) | Err(SessionError::Silent { .. }) => Ok(()),
            Err(error) => {
                session.close().await;
                Err(error.into())
            }
        }
    }

    pub(super) async fn events(&self, limit: usize) -> Result<EventLog, BmcError> {
        events::newest(&self.login, self.pace, limit).await
    }

    pub(super) async fn remove_account(&self, username: &str) -> Result<bool, BmcError> {
        remove::remove(&self.login, self.pace, username).await
    }
}

/// Logs in at administrator level and asks for identity and power.
///
/// # Errors
/// See [`BmcError`].
pub async fn probe(login: &Login, pace: Pace) -> Result<Probe, BmcError> {
    let mut session = Session::open(login, pace).await?;
    let asked = async {
        let id = session.run(GetDeviceId).await?;
        let power = session.run(GetChassisStatus).await?;
        Ok::<_, SessionError>((id, power))
    }
    .await;
    let cipher_suite = session.suite().number();
    session.close().await;
    let (id, power) = asked?;
    let mut capabilities = vec![Capability::Power, Capability::BootOverride, Capability::Accounts];
    capabilities.extend(id.sel_device_support.then_some(Capability::EventLog));
    Ok(Probe {
        firmware_version: format!("{}.{:02}", id.major_fw_revision, id.minor_fw_revision),
        power: Some(power),
        capabilities,
        identity: super::Identity::Ipmi(Identity {
            manufacturer_id: id.manufacturer_id & 0x000f_ffff,
            product_id: id.product_id.into(),
            version: format!("{}.{}", id.major_version, id.minor_version),
            cipher_suite,
        }),
    })
}

/// What no command of IPMI is for.
pub(super) fn cannot<T>(what: &str) -> Result<T, BmcError> {
    Err(BmcError::Unsupported(format!("{what} cannot be reached by IPMI; a BMC that speaks Redfish may offer them")))
}

impl From<SessionError> for BmcError {
    fn from(error: SessionError) -> Self {
        let text = error.to_string();
        match error {
            SessionError::Socket(_) | SessionError::Silent { .. } => Self::Unreachable(text),
            SessionError::BadLogin(_) => Self::Refused(text),
            SessionError::NoSuite(_) => Self::Unsupported(text),
            SessionError::Malformed { .. } => Self::Nonsense(text),
            // IPMI 2.0 table 13-15: what is not about algorithms or credentials.
            SessionError::Status { code: 0x01, .. } => Self::Busy(text),
            SessionError::Status { code: 0x09 | 0x0a | 0x0c | 0x0d | 0x0e | 0x0f, .. } => Self::Refused(text),
            SessionError::Status { .. } => Self::Nonsense(text),
            // IPMI 2.0 table 5-2.
            SessionError::Completion { code: 0xc0 | 0xc3 | 0xce | 0xd0..=0xd2, .. } => Self::Busy(text),
            SessionError::Completion { code: 0xc1 | 0xc2 | 0xd6, .. } => Self::Unsupported(text),
            SessionError::Completion { code: 0xd4, .. } => Self::Refused(text),
            SessionError::Completion { .. } => Self::Rejected(text),
        }
    }
}
