//! Farrier's own account on a Redfish service: made, proved by a login, taken away again; never at the cost of another.
//!
//! Invariant: the only account that is ever written is one that we made, an empty slot, or one that carries our name and takes
//! our password, is disabled, so that it gives nobody access, or is to be taken over because an admin has said so.

mod list;
mod rotate;

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::sleep;

use self::list::{ADMINISTRATOR, List, User};
use super::{
    super::{
        BmcError, Login,
        account::{Account, Ensured},
    },
    Redfish,
    client::Client,
    document::Document,
    rules::Create,
};
use crate::crash::{Point, Work};

pub(super) use self::rotate::rotate;

/// Some BMCs take a moment until a new password works.
const PROOFS: u32 = 4;
const BETWEEN_PROOFS: Duration = Duration::from_millis(800);

/// Makes the account exist.
pub(super) async fn ensure(bmc: &Redfish, account: &Account) -> Result<Ensured, BmcError> {
    let mut client = Client::open(bmc).await?;
    client.hide(account.password());
    let work = Making { bmc, account };
    let outcome = work.ensure(&mut client).await;
    client.close().await;
    outcome
}

struct Making<'a> {
    bmc: &'a Redfish,
    account: &'a Account,
}

/// What was done to make the account, so that it can be undone.
enum Made {
    /// A resource that was not there before; where it is, if the BMC told.
    New(Option<String>),
    /// A slot that was empty, or an account of our name that gave nobody access.
    Written(String),
}

impl Making<'_> {
    async fn ensure(&self, client: &mut Client<'_>) -> Result<Ensured, BmcError> {
        let before = list::read(client).await?;
        let name = self.account.username();
        let found = before.users.iter().find(|u| u.name == name);
        if let Some(user) = found
            && self.works(user).await?
        {
            return Ok(Ensured { slot: user.slot(), created: false });
        }
        let written = match (found, before.create) {
            (Some(user), _) => self.write(client, user).await,
            (None, Create::Post) => self.post(client, &before).await,
            (None, Create::PatchSlot) => {
                let slot = before.free()?;
                self.write(client, slot).await
            }
        };
        // A refusal, or an answer that was lost: what it left behind is what a second look shows.
        let outcome = match written {
            Ok(made) => {
                self.bmc.crash.at(Point::AccountEnabled, Work::EnsureBmcAccount);
                self.proven().await.map_err(|e| (e, Some(made)))
            }
            Err(error) => Err((error, None)),
        };
        if let Err((error, made)) = outcome {
            return Err(self.undo(client, &before, made, error).await);
        }
        let after = list::read(client).await?;
        let ours = after.users.iter().find(|u| u.name == name);
        list::unchanged(&before, &after, name)?;
        match ours {
            Some(user) if user.enabled && user.role == ADMINISTRATOR => {
                Ok(Ensured { slot: user.slot(), created: true })
            }
            other => Err(BmcError::NotConfirmed(format!(
                "a login with the new account works, but the BMC tells of it {other:?}"
            ))),
        }
    }

    /// Is the account of our name ours, and complete?
    async fn works(&self, user: &User) -> Result<bool, BmcError> {
        // Disabled: an earlier call was cut off before it gave access. A login would only be a refused one.
        if !user.enabled {
            return Ok(false);
        }
        match self.prove().await {
            Ok(()) => Ok(user.role == ADMINISTRATOR),
            Err(BmcError::Refused(_)) if self.account.takes_over() => Ok(false),
            Err(BmcError::Refused(_)) => Err(BmcError::NameTaken(format!(
                "user {:?} at {} has access with another password; remove or rename it on the BMC, or say that it is to be \
                 taken over",
                user.name, user.read.path
            ))),
            Err(other) => Err(other),
        }
    }

    async fn post(&self, client: &mut Client<'_>, list: &List) -> Result<Made, BmcError> {
        let body = self.body(client);
        client.post(&list.path, &body).await.map(Made::New)
    }

    async fn write(&self, client: &mut Client<'_>, slot: &User) -> Result<Made, BmcError> {
        let body = self.body(client);
        client.patch(&slot.read, &body).await?;
        Ok(Made::Written(slot.read.path.clone()))
    }

    fn body(&self, client: &Client<'_>) -> Map<String, Value> {
        let account = self.account;
        let mut body = Map::from_iter([
            ("UserName".to_owned(), json!(account.username())),
            ("Password".to_owned(), json!(account.password().expose())),
            ("RoleId".to_owned(), json!(ADMINISTRATOR)),
            ("Enabled".to_owned(), json!(true)),
        ]);
        body.retain(|property, _| !client.rules.account_omits(property));
        body.extend(client.rules.account_extra(account.username()));
        body
    }

    /// The login that proves the account; a new password may take a moment.
    async fn proven(&self) -> Result<(), BmcError> {
        let mut tried = 0;
        loop {
            tried += 1;
            match self.prove().await {
                Ok(()) => return Ok(()),
                Err(BmcError::Refused(_)) if tried < PROOFS => sleep(BETWEEN_PROOFS).await,
                Err(error) => return Err(error.with("this was the login that proves the new account")),
            }
        }
    }

    /// A whole login with the account, up to what only an administrator may read.
    async fn prove(&self) -> Result<(), BmcError> {
        let bmc = Redfish { login: self.account.login(&self.bmc.login), ..self.bmc.clone() };
        prove(&bmc).await
    }

    /// Takes back what was written, if anything was; answers the error that led here with what became of it.
    async fn undo(&self, client: &mut Client<'_>, before: &List, made: Option<Made>, error: BmcError) -> BmcError {
        let undone = async {
            let after = list::read(client).await?;
            let place = match &made {
                Some(Made::New(Some(path)) | Made::Written(path)) => after.users.iter().find(|u| u.read.path == *path),
                Some(Made::New(None)) | None => None,
            };
            let name = self.account.username();
            let ours = place.or_else(|| after.users.iter().find(|u| u.name == name));
            // What was there before we came is not ours to take away; what we wrote to it gives access to us alone.
            let Some(user) =
                ours.filter(|u| !before.users.iter().any(|b| b.name == name && b.read.path == u.read.path))
            else {
                return Ok(false);
            };
            clear(client, &after, user).await.map(|()| true)
        }
        .await;
        match undone {
            Ok(true) => error.with("the account was taken away again"),
            Ok(false) => error,
            Err(why) => {
                let why: BmcError = why;
                error
                    .with(&format!("whether an account was left behind is not known ({why}), look before trying again"))
            }
        }
    }
}

/// Removes the account `username`. Answers whether there was one: an account that is gone already is no failure, because
/// the proof is the same.
pub(super) async fn remove(bmc: &Redfish, username: &str) -> Result<bool, BmcError> {
    let mut client = match Client::open(bmc).await {
        Ok(client) => client,
        // The account that we would log in with is the one that is to go.
        Err(BmcError::Refused(_)) if bmc.login.username == username => return Ok(false),
        Err(other) => return Err(other),
    };
    let outcome = take(&mut client, username, bmc.login.username == username).await;
    client.close().await;
    if !outcome? {
        return Ok(false);
    }
    if bmc.login.username == username {
        refused(bmc).await?;
    }
    Ok(true)
}

async fn take(client: &mut Client<'_>, username: &str, own: bool) -> Result<bool, BmcError> {
    let before = list::read(client).await?;
    let Some(user) = before.users.iter().find(|u| u.name == username) else { return Ok(false) };
    clear(client, &before, user).await?;
    // Our session went with our account. To ask on would be one more refused login; the one that proves it comes next.
    if own {
        return Ok(true);
    }
    let after = list::read(client).await?;
    list::unchanged(&before, &after, username)?;
    if after.users.iter().any(|u| u.name == username) {
        return Err(BmcError::NotConfirmed(format!("the account {username:?} was removed, but is still told of")));
    }
    Ok(true)
}

/// Deletes an account, or empties its slot.
async fn clear(client: &mut Client<'_>, list: &List, user: &User) -> Result<(), BmcError> {
    match list.create {
        Create::Post => client.delete(&user.read).await,
        Create::PatchSlot => empty(client, &user.read).await,
    }
}

/// Takes the name off a slot, and with it all that the slot holds.
async fn empty(client: &mut Client<'_>, slot: &Document) -> Result<(), BmcError> {
    let patch = |value: Value| value.as_object().cloned().unwrap_or_default();
    let nameless = patch(json!({"UserName": ""}));
    match client.patch(slot, &nameless).await {
        Err(BmcError::Rejected(_)) => {}
        other => return other,
    }
    // Some want it disabled and without a role first.
    let without_role = client.patch(slot, &patch(json!({"Enabled": false, "RoleId": "None"}))).await;
    if let Err(BmcError::Rejected(_)) = without_role {
        client.patch(slot, &patch(json!({"Enabled": false}))).await?;
    } else {
        without_role?;
    }
    let again = client.get(&slot.path).await?;
    client.patch(&again, &nameless).await
}

async fn prove(bmc: &Redfish) -> Result<(), BmcError> {
    let mut client = Client::open(bmc).await?;
    let read = match client.root.optional_link("/AccountService") {
        Some(service) => client.get(&service).await.map(drop),
        None => Ok(()),
    };
    client.close().await;
    read
}

/// Proves that the login is refused.
async fn refused(bmc: &Redfish) -> Result<(), BmcError> {
    let Login { username, .. } = &bmc.login;
    match prove(bmc).await {
        Ok(()) => {
            let text = format!("the account {username:?} was removed, but a login with it still works");
            Err(BmcError::NotConfirmed(text))
        }
        Err(BmcError::Refused(_)) => Ok(()),
        Err(other) => Err(other.with("this was the login that proves that the account is gone")),
    }
}
