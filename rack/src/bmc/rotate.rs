//! Gives Farrier's own account another password, and proves that the BMC takes it.
//!
//! Invariant: a level. Whatever cut an earlier call off, the next one ends with the new password, or with the old one and an
//! error that says so. BMCs count refused logins, so that few are risked: what can be asked in an open session is asked there.

use std::time::Duration;

use farrier_common::secret::Secret;
use farrier_ipmi::{
    commands::{PasswordOperation, SetUserPassword},
    users::{unchanged, users},
};
use tokio::time::sleep;

use super::{
    BmcError, Login,
    account::lan_channel,
    ipmi::lanplus::{Pace, Session, SessionError},
};
use crate::crash::{Crash, Point, Work};

/// Some BMCs take a moment until a new password is in force.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(800);

/// Changes the password of the account that `login` is of. Answers whether it was changed now; otherwise it was already.
pub(super) async fn rotate(
    login: &Login,
    pace: Pace,
    password: &Secret<String>,
    crash: &Crash,
) -> Result<bool, BmcError> {
    let new = Login { password: password.clone(), ..login.clone() };
    let mut session = match Session::open(login, pace).await.map_err(BmcError::from) {
        Ok(session) => session,
        // An earlier call got that far, and nobody heard of it.
        Err(BmcError::Refused(why)) => return prove(&new, pace).await.map(|()| false).map_err(|e| neither(e, &why)),
        Err(other) => return Err(other),
    };
    let outcome = write(&mut session, &login.username, password, crash).await;
    session.close().await;
    outcome?;
    match prove(&new, pace).await {
        Ok(()) => Ok(true),
        Err(BmcError::Refused(why)) => Err(not_applied(prove(login, pace).await, &why)),
        Err(other) => Err(other.with("this was the login that proves the new password")),
    }
}

async fn write(
    session: &mut Session,
    username: &str,
    password: &Secret<String>,
    crash: &Crash,
) -> Result<(), BmcError> {
    let channel = lan_channel(session).await?;
    let before = users(session, channel).await?;
    let missing = || BmcError::Rejected(format!("it lists no user {username:?}, although it let him in"));
    let slot = before.iter().find(|user| user.name == username).map(|user| user.slot).ok_or_else(missing)?;
    session.run(SetUserPassword { slot, operation: PasswordOperation::Set(password.clone()) }).await?;
    crash.at(Point::PasswordChanged, Work::ChangeBmcPassword);
    if !holds(session, slot, password).await? {
        return Err(BmcError::NotConfirmed(format!(
            "it said yes to the new password of user slot {slot}, and still holds another one"
        )));
    }
    match users(session, channel).await {
        Ok(after) => unchanged(&before, &after, slot).map_err(BmcError::OthersChanged),
        // The session of an account may end with its password; the login that comes next is the proof.
        Err(SessionError::Silent { .. } | SessionError::Completion { .. }) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

/// Does the slot hold the password, as far as the BMC tells in this session? One that cannot tell is believed: a login follows.
async fn holds(session: &mut Session, slot: u8, password: &Secret<String>) -> Result<bool, BmcError> {
    for look in 1.. {
        let operation = PasswordOperation::Test(password.clone());
        match session.run(SetUserPassword { slot, operation }).await {
            // IPMI 2.0 22.30: the password is another, or of another length.
            Err(SessionError::Completion { code: 0x80 | 0x81, .. }) if look < LOOKS => sleep(BETWEEN_LOOKS).await,
            Err(SessionError::Completion { code: 0x80 | 0x81, .. }) => return Ok(false),
            Ok(()) | Err(SessionError::Silent { .. } | SessionError::Completion { .. }) => return Ok(true),
            Err(other) => return Err(other.into()),
        }
    }
    Ok(true)
}

async fn prove(login: &Login, pace: Pace) -> Result<(), BmcError> {
    Session::open(login, pace).await?.close().await;
    Ok(())
}

/// Neither password is taken, or that is not known: `old` is what the BMC said to the one that is known.
pub(super) fn neither(new: BmcError, old: &str) -> BmcError {
    if let BmcError::Refused(new) = new {
        return BmcError::Refused(format!(
            "it takes neither the known password ({old}) nor the one that was to come ({new}); somebody else has changed it"
        ));
    }
    new.with("this was a login with the new password, because the known one is refused")
}

/// The new password is refused although the BMC took it: what of the old one?
pub(super) fn not_applied(old: Result<(), BmcError>, why: &str) -> BmcError {
    let Err(error) = old else {
        let text = format!("it said yes to the new password and refuses it ({why}); the old one works");
        return BmcError::NotConfirmed(text);
    };
    if let BmcError::Refused(old) = error {
        return neither(BmcError::Refused(why.to_owned()), &old);
    }
    error.with("this was a login with the old password, because the new one is refused")
}
