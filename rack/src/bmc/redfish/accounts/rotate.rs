//! Gives Farrier's own account another password; see `bmc::rotate`, whose rules hold here too.

use farrier_common::secret::Secret;
use serde_json::{Map, json};

use super::{
    super::{
        super::{
            BmcError, Login,
            rotate::{neither, not_applied},
        },
        Redfish,
        client::Client,
    },
    list, prove,
};
use crate::crash::{Point, Work};

/// Changes the password of the account that the login is of. Answers whether it was changed now.
pub(in super::super) async fn rotate(bmc: &Redfish, password: &Secret<String>) -> Result<bool, BmcError> {
    let new = Redfish { login: Login { password: password.clone(), ..bmc.login.clone() }, ..bmc.clone() };
    let mut client = match Client::open(bmc).await {
        Ok(client) => client,
        // An earlier call got that far, and nobody heard of it.
        Err(BmcError::Refused(why)) => return prove(&new).await.map(|()| false).map_err(|e| neither(e, &why)),
        Err(other) => return Err(other),
    };
    client.hide(password);
    let written = write(&mut client, &bmc.login.username, password).await;
    client.close().await;
    written?;
    bmc.crash.at(Point::PasswordChanged, Work::ChangeBmcPassword);
    match prove(&new).await {
        Ok(()) => Ok(true),
        Err(BmcError::Refused(why)) => Err(not_applied(prove(bmc).await, &why)),
        Err(other) => Err(other.with("this was the login that proves the new password")),
    }
}

async fn write(client: &mut Client<'_>, username: &str, password: &Secret<String>) -> Result<(), BmcError> {
    let list = list::read(client).await?;
    let missing = || BmcError::Rejected(format!("it lists no account {username:?}, although it let him in"));
    let user = list.users.iter().find(|u| u.name == username).ok_or_else(missing)?;
    client.patch(&user.read, &Map::from_iter([("Password".to_owned(), json!(password.expose()))])).await
}
