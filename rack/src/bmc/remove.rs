//! Takes Farrier's own account off a BMC, and proves that nobody gets in with it any more.

use farrier_ipmi::users::{clear, unchanged, users};

use super::{
    BmcError, Login,
    account::lan_channel,
    ipmi::lanplus::{Pace, Session},
};

/// Removes the account `username`, by a session of `login`. Answers whether there was one: an account that is gone already
/// is no failure, because the proof is the same.
pub(super) async fn remove(login: &Login, pace: Pace, username: &str) -> Result<bool, BmcError> {
    let mut session = match Session::open(login, pace).await.map_err(BmcError::from) {
        Ok(session) => session,
        // The account that we would log in with is the one that is to go.
        Err(BmcError::Refused(_)) if login.username == username => return Ok(false),
        Err(other) => return Err(other),
    };
    let outcome = take(&mut session, username, login.username == username).await;
    session.close().await;
    if !outcome? {
        return Ok(false);
    }
    if login.username == username {
        refused(login, pace).await?;
    }
    Ok(true)
}

/// `own`: the session is that of the account itself, which may end with it.
async fn take(session: &mut Session, username: &str, own: bool) -> Result<bool, BmcError> {
    let channel = lan_channel(session).await?;
    let before = users(session, channel).await?;
    let Some(slot) = before.iter().find(|user| user.name == username).map(|user| user.slot) else { return Ok(false) };
    let cleared = clear(session, channel, slot).await;
    let after = match (&cleared, own) {
        // The login that is refused afterwards is the proof, not this.
        (Err(error), true) => {
            tracing::debug!(slot, %error, "a step of removing the account did not succeed");
            return Ok(true);
        }
        (Ok(()), true) => match users(session, channel).await {
            Ok(after) => after,
            Err(_) => return Ok(true),
        },
        // The password is not known: what the BMC tells of its users is all the proof there is.
        (Ok(()) | Err(_), false) => users(session, channel).await?,
    };
    unchanged(&before, &after, slot).map_err(BmcError::OthersChanged)?;
    if !own && after.iter().any(|user| user.name == username) {
        let why = cleared.err().map_or_else(String::new, |error| format!(" ({error})"));
        let text = format!("the account {username:?} is still there after it was removed from slot {slot}{why}");
        return Err(BmcError::NotConfirmed(text));
    }
    Ok(true)
}

/// Proves that the login is refused.
async fn refused(login: &Login, pace: Pace) -> Result<(), BmcError> {
    match Session::open(login, pace).await.map_err(BmcError::from) {
        Ok(session) => {
            session.close().await;
            let text = format!("the account {:?} was removed, but a login with it still works", login.username);
            Err(BmcError::NotConfirmed(text))
        }
        Err(BmcError::Refused(_)) => Ok(()),
        Err(other) => Err(other.with("this was the login that proves that the account is gone")),
    }
}
