//! IPMI 2.0: the transport, and the commands that `ipmi-rs-core` lacks.

pub mod commands;
pub mod lanplus;

use ipmi_rs_core::app::GetDeviceId;

use self::{
    commands::GetChassisStatus,
    lanplus::{Pace, Session, SessionError},
};
use super::{BmcError, Login, Probe};

/// Privilege level of an administrator (IPMI 2.0 table 6-1).
pub const ADMINISTRATOR: u8 = 4;

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
    Ok(Probe {
        manufacturer_id: id.manufacturer_id & 0x000f_ffff,
        product_id: id.product_id.into(),
        firmware_version: format!("{}.{:02}", id.major_fw_revision, id.minor_fw_revision),
        ipmi_version: format!("{}.{}", id.major_version, id.minor_version),
        cipher_suite,
        power,
    })
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
