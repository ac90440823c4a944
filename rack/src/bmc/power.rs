//! Chassis power and boot device as levels: bring it there, and see that it is there.

use std::time::Duration;

use farrier_common::hardware::{BootDevice, PowerState};
use farrier_ipmi::commands::{
    ChassisControl, GetBootSelector, GetChassisStatus, SetBootFlags, SetBootParameter, SoftShutdown, selector,
};
use tokio::time::{Instant, sleep};

use super::{
    BmcError, Login,
    ipmi::lanplus::{Pace, Session, SessionError},
};

/// How long to wait for the chassis to get where it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two looks.
    pub poll: Duration,
    /// After this the command is sent again: some BMCs drop one that comes right after another.
    pub repeat: Duration,
    /// After this it is given up.
    pub deadline: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { poll: Duration::from_millis(500), repeat: Duration::from_secs(12), deadline: Duration::from_secs(45) }
    }
}

/// Asks for the chassis power.
///
/// # Errors
/// See [`BmcError`].
pub async fn get(login: &Login, pace: Pace) -> Result<PowerState, BmcError> {
    let mut session = Session::open(login, pace).await?;
    let power = session.run(GetChassisStatus).await;
    session.close().await;
    Ok(power?)
}

/// Brings the chassis to `wanted`. Sends nothing if it is there already. `commanded` is called when the BMC has taken a
/// command.
///
/// # Errors
/// See [`BmcError`]; `NotConfirmed` if it does not get there in time.
pub async fn set(
    login: &Login,
    pace: Pace,
    patience: Patience,
    wanted: PowerState,
    commanded: &(impl Fn() + Sync),
) -> Result<(), BmcError> {
    let deadline = Instant::now() + patience.deadline;
    let mut said = String::from("the BMC accepted the command");
    loop {
        let mut session = Session::open(login, pace).await?;
        let outcome = drive(&mut session, patience, wanted, (deadline, commanded), &mut said).await;
        session.close().await;
        match outcome {
            Ok(true) => return Ok(()),
            Ok(false) => {
                let text = format!("power is not {wanted} after {:?}; {said}", patience.deadline);
                return Err(BmcError::NotConfirmed(text));
            }
            // A BMC that is busy with the power may lose its sessions; a new one tells how far it got.
            Err(error @ SessionError::Silent { .. }) if Instant::now() < deadline => said = error.to_string(),
            Err(error) => return Err(error.into()),
        }
    }
}

async fn drive(
    session: &mut Session,
    patience: Patience,
    wanted: PowerState,
    (deadline, commanded): (Instant, &(impl Fn() + Sync)),
    said: &mut String,
) -> Result<bool, SessionError> {
    let mut sent: Option<Instant> = None;
    loop {
        if session.run(GetChassisStatus).await? == wanted {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        if sent.is_none_or(|at| at.elapsed() >= patience.repeat) {
            match session.run(ChassisControl(wanted)).await {
                Ok(()) => commanded(),
                // Busy, or not possible in the present state: it may be on its way already, or come round.
                Err(error @ SessionError::Completion { code: 0xc0 | 0xc3 | 0xd5, .. }) => *said = error.to_string(),
                Err(error) => return Err(error),
            }
            sent = Some(Instant::now());
        }
        sleep(patience.poll).await;
    }
}

/// Asks the system to shut down in order, and answers when the BMC has taken the command. What is off already stays so.
///
/// # Errors
/// See [`BmcError`].
pub async fn soft_off(login: &Login, pace: Pace, commanded: &(impl Fn() + Sync)) -> Result<(), BmcError> {
    let mut session = Session::open(login, pace).await?;
    let outcome = shut_down(&mut session, commanded).await;
    session.close().await;
    Ok(outcome?)
}

async fn shut_down(session: &mut Session, commanded: &(impl Fn() + Sync)) -> Result<(), SessionError> {
    if session.run(GetChassisStatus).await? == PowerState::Off {
        return Ok(());
    }
    session.run(SoftShutdown).await?;
    commanded();
    Ok(())
}

/// Sets what the firmware boots the next time, once.
///
/// # Errors
/// See [`BmcError`]; `NotConfirmed` if the BMC accepts the device but tells another when asked.
pub async fn set_boot_device(login: &Login, pace: Pace, device: BootDevice, uefi: bool) -> Result<(), BmcError> {
    let mut session = Session::open(login, pace).await?;
    let outcome = write_boot_device(&mut session, device, uefi).await;
    session.close().await;
    let read_back = outcome?;
    if read_back.is_some_and(|found| found != selector(device)) {
        let text =
            format!("boot device {device} was accepted, but the BMC tells selector {}", read_back.unwrap_or_default());
        return Err(BmcError::NotConfirmed(text));
    }
    Ok(())
}

/// Answers the selector that the BMC tells afterwards, if it tells one. The valid, once and UEFI bits are not compared: many
/// BMCs answer without them although they act on them.
async fn write_boot_device(session: &mut Session, device: BootDevice, uefi: bool) -> Result<Option<u8>, SessionError> {
    // Parameter 4, "boot info acknowledge": marks all parties' as pending, so that the BIOS looks at the flags. Optional.
    optional(session.run(SetBootParameter(4, vec![1, 1])).await)?;
    session.run(SetBootFlags { device, uefi }).await?;
    optional(session.run(GetBootSelector).await)
}

/// A refusal of something optional is no failure.
fn optional<T>(outcome: Result<T, SessionError>) -> Result<Option<T>, SessionError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(SessionError::Completion { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
