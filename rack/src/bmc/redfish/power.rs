//! Power as a level: bring it there, and see that it is there.

use farrier_common::hardware::PowerState;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use super::{
    super::BmcError,
    Redfish,
    client::Client,
    document::{Document, path_of},
    system,
};

/// Resets that bring it there, the best first.
const ON: [&str; 3] = ["On", "ForceOn", "PushPowerButton"];
const OFF: [&str; 1] = ["ForceOff"];
/// Resets of the BMC itself.
const RESTART: [&str; 2] = ["GracefulRestart", "ForceRestart"];
/// Resets that ask the system to shut down. The button does so with a system that is on.
const SOFT_OFF: [&str; 2] = ["GracefulShutdown", "PushPowerButton"];

pub(super) async fn get(client: &mut Client<'_>, id: &str) -> Result<PowerState, BmcError> {
    let read = system::read(client, id).await?;
    system::power(&read).ok_or_else(|| {
        BmcError::NotConfirmed(format!("{} tells its power as {:?}", read.path, read.shown("/PowerState")))
    })
}

/// Brings the system to `wanted`. Sends nothing if it is there already.
pub(super) async fn set(bmc: &Redfish, wanted: PowerState, commanded: &(impl Fn() + Sync)) -> Result<(), BmcError> {
    let deadline = Instant::now() + bmc.patience.deadline;
    let mut said = String::from("the BMC accepted the command");
    loop {
        let outcome = async {
            // The last look may begin just before the deadline.
            let mut client = Client::open_until(bmc, deadline + bmc.limits.connect).await?;
            let outcome = drive(&mut client, bmc, wanted, (deadline, commanded), &mut said).await;
            client.close().await;
            outcome
        }
        .await;
        match outcome {
            Ok(true) => return Ok(()),
            Ok(false) => {
                let text = format!("power is not {wanted} after {:?}; {said}", bmc.patience.deadline);
                return Err(BmcError::NotConfirmed(text));
            }
            // A BMC that is busy with the power may lose connections; a new one tells how far it got. One that was never
            // reached is not waited for.
            Err(BmcError::Unreachable(text)) if said != text && Instant::now() < deadline => said = text,
            Err(error) => return Err(error),
        }
    }
}

async fn drive(
    client: &mut Client<'_>,
    bmc: &Redfish,
    wanted: PowerState,
    (deadline, commanded): (Instant, &(impl Fn() + Sync)),
    said: &mut String,
) -> Result<bool, BmcError> {
    let mut sent: Option<Instant> = None;
    let mut read = system::read(client, &bmc.https.system).await?;
    loop {
        if system::power(&read) == Some(wanted) {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        if sent.is_none_or(|at| at.elapsed() >= bmc.patience.repeat) {
            let kinds: &[&str] = match wanted {
                PowerState::On => &ON,
                PowerState::Off => &OFF,
            };
            match reset(client, &read, kinds).await {
                Ok(()) => commanded(),
                // Not possible in the present state: it may be on its way already, or come round.
                Err(error @ (BmcError::Rejected(_) | BmcError::NotConfirmed(_))) => *said = error.to_string(),
                Err(error) => return Err(error),
            }
            sent = Some(Instant::now());
        }
        sleep(bmc.patience.poll).await;
        let path = read.path;
        read = client.get(&path).await?;
    }
}

/// Asks the system to shut down in order; answers when the BMC has taken the command. What is off already stays so.
pub(super) async fn soft_off(
    client: &mut Client<'_>,
    id: &str,
    commanded: &(impl Fn() + Sync),
) -> Result<(), BmcError> {
    let read = system::read(client, id).await?;
    if system::power(&read) == Some(PowerState::Off) {
        return Ok(());
    }
    reset(client, &read, &SOFT_OFF).await?;
    commanded();
    Ok(())
}

/// Starts the system's manager, which is the BMC, anew.
pub(super) async fn reset_manager(client: &mut Client<'_>, id: &str) -> Result<(), BmcError> {
    let system = system::read(client, id).await?;
    let unmanaged = || BmcError::Unsupported(format!("{} does not tell by whom it is managed", system.path));
    let manager = system.optional_link("/Links/ManagedBy/0").ok_or_else(unmanaged)?;
    let manager = client.get(&manager).await?;
    act(client, &manager, "Manager.Reset", &RESTART).await
}

async fn reset(client: &mut Client<'_>, system: &Document, kinds: &[&str]) -> Result<(), BmcError> {
    act(client, system, "ComputerSystem.Reset", kinds).await
}

/// Does the best of `kinds` that the action allows.
async fn act(client: &mut Client<'_>, on: &Document, action: &str, kinds: &[&str]) -> Result<(), BmcError> {
    let action = format!("/Actions/#{action}");
    let target = on.text(&format!("{action}/target")).and_then(path_of);
    let target = target.ok_or_else(|| BmcError::Unsupported(format!("{} has no reset action", on.path)))?;
    let allowed = allowed(client, on, &action).await?;
    let kind = choose(allowed.as_deref(), kinds)?;
    let body = Map::from_iter([("ResetType".to_owned(), Value::from(kind))]);
    client.post(&target, &body).await.map(drop)
}

/// The kinds of reset that the BMC takes, if it tells.
async fn allowed(client: &mut Client<'_>, on: &Document, action: &str) -> Result<Option<Vec<String>>, BmcError> {
    let owned = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect();
    if let Some(words) = on.words(&format!("{action}/ResetType@Redfish.AllowableValues")) {
        return Ok(Some(owned(words)));
    }
    let Some(info) = on.text(&format!("{action}/@Redfish.ActionInfo")).and_then(path_of) else {
        return Ok(None);
    };
    let info = client.get(&info).await?;
    let parameters = info.at("/Parameters").and_then(Value::as_array).map(Vec::len).unwrap_or_default();
    let at = (0..parameters.min(16)).find(|n| info.text(&format!("/Parameters/{n}/Name")) == Some("ResetType"));
    Ok(at.and_then(|n| info.words(&format!("/Parameters/{n}/AllowableValues"))).map(owned))
}

/// The best kind that is allowed; the best one of all if the BMC does not tell.
fn choose<'a>(allowed: Option<&[String]>, kinds: &[&'a str]) -> Result<&'a str, BmcError> {
    let Some(allowed) = allowed.filter(|a| !a.is_empty()) else { return Ok(kinds.first().copied().unwrap_or("On")) };
    kinds.iter().find(|kind| allowed.iter().any(|a| a == *kind)).copied().ok_or_else(|| {
        let there: Vec<_> = allowed.iter().take(12).map(|a| super::document::shown(a, 24)).collect();
        BmcError::Unsupported(format!("it takes none of {}, but {}", kinds.join(", "), there.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_reset_that_is_allowed_is_chosen() {
        let allowed = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(choose(None, &ON), Ok("On"));
        assert_eq!(choose(Some(&[]), &OFF), Ok("ForceOff"), "an empty list tells nothing");
        assert_eq!(choose(Some(&allowed(&["ForceOff", "ForceOn"])), &ON), Ok("ForceOn"));
        assert_eq!(choose(Some(&allowed(&["On", "PushPowerButton"])), &SOFT_OFF), Ok("PushPowerButton"));
        let error = choose(Some(&allowed(&["On"])), &OFF).unwrap_err().to_string();
        assert_eq!(error, "the BMC cannot do that: it takes none of ForceOff, but On");
    }
}
