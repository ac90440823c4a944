//! `farrier ssh-key`.

use std::{fs, path::PathBuf};

use farrier_proto::v1::{AddSshKeyRequest, DeleteSshKeyRequest, ListSshKeysRequest, users_client::UsersClient};

use super::App;
use crate::{
    client::{SHORT, options},
    error::Error,
    render::ssh_keys as render,
};

/// Public keys for SSH.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List keys.
    List {
        /// Whose keys; others' are for admins [default: your own].
        #[arg(long, default_value = "", hide_default_value = true)]
        user: String,
    },
    /// Add a key.
    Add {
        /// File with one public key, such as ~/.ssh/id_ed25519.pub.
        file: PathBuf,
        /// For whom; others are for admins [default: yourself].
        #[arg(long, default_value = "", hide_default_value = true)]
        user: String,
    },
    /// Delete a key. Environments that run already still know it.
    Delete {
        /// Its id, as `farrier ssh-key list` shows it.
        id: String,
    },
}

/// Runs one of them.
pub(crate) async fn run(app: &App, command: Command) -> Result<(), Error> {
    match command {
        Command::List { user } => list(app, user).await,
        Command::Add { file, user } => add(app, file, user).await,
        Command::Delete { id } => delete(app, id).await,
    }
}

async fn list(app: &App, user: String) -> Result<(), Error> {
    let client = app.client()?;
    let keys = client
        .pages(async |page| {
            let request = ListSshKeysRequest { page: Some(page), user: user.clone() };
            let list = client.call(SHORT, request, async |c, r| UsersClient::new(c).list_ssh_keys(r).await).await?;
            Ok((list.ssh_keys, list.next_page_token))
        })
        .await?;
    app.out.answer(|| render::list_json(&keys), || render::list_table(&keys, app.out.width()))
}

async fn add(app: &App, file: PathBuf, user: String) -> Result<(), Error> {
    let text = fs::read_to_string(&file).map_err(Error::file(format!("cannot read {}", file.display())))?;
    let request = AddSshKeyRequest { options: options(), user, public_key: text.trim().to_owned() };
    let key = app.client()?.call(SHORT, request, async |c, r| UsersClient::new(c).add_ssh_key(r).await).await?;
    app.out.answer(|| render::json(&key), || format!("added {}", render::summary(&key)))
}

async fn delete(app: &App, ssh_key: String) -> Result<(), Error> {
    let request = DeleteSshKeyRequest { options: options(), ssh_key };
    let key = app.client()?.call(SHORT, request, async |c, r| UsersClient::new(c).delete_ssh_key(r).await).await?;
    app.out.answer(|| render::json(&key), || format!("deleted {}", render::summary(&key)))
}
