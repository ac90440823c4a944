//! Takes Farrier's own account off a BMC, and proves that nobody gets in with it any more.

use super::{
    BmcError, Login,
    account::{clear, lan_channel, unchanged, users},
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
    let outcome = take(&mut session, username).await;
    session.close().await;
    if !outcome? {
        return Ok(false);
    }
    if login.username == username {
        refused(login, pace).await?;
    }
    Ok(true)
}

async fn take(session: &mut Session, username: &str) -> Result<bool, BmcError> {
    let channel = lan_channel(session).await?;
    let before = users(session, channel).await?;
    let Some(slot) = before.iter().find(|user| user.name == username).map(|user| user.slot) else { return Ok(false) };
    // A BMC may end the session of a user that goes; the login that is refused afterwards is the proof, not this.
    if let Err(error) = clear(session, channel, slot).await {
        tracing::debug!(slot, %error, "a step of removing the account did not succeed");
        return Ok(true);
    }
    if let Ok(after) = users(session, channel).await {
        unchanged(&before, &after, slot)?;
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
