//! `farrier login` and `farrier whoami`.

use std::path::PathBuf;

use farrier_proto::v1::{User, WhoAmIRequest, users_client::UsersClient};

use super::App;
use crate::{
    client::{Client, SHORT},
    config::{Profile, Server},
    error::Error,
    render::users as render,
};

/// Where to log in, and with what. The token comes from a file: a command line can be seen by others.
#[derive(Debug, clap::Args)]
pub(crate) struct LoginArgs {
    /// Address of the region.
    #[arg(long, value_name = "HOST:PORT")]
    server: Server,
    /// PEM file of the region's CA; the region must prove itself with it.
    #[arg(long, value_name = "FILE")]
    ca_file: PathBuf,
    /// File that holds the bearer token, such as /dev/stdin.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
}

/// Keeps a login that the region accepts.
pub(crate) async fn login(app: &App, args: LoginArgs) -> Result<(), Error> {
    let path = app.config_path()?;
    let server = args.server.to_string();
    let profile = Profile::new(args.server, &args.ca_file, &args.token_file)?;
    let user = who_am_i(&Client::new(&profile, app.out)?).await?;
    profile.save(&path)?;
    app.out.note(&format!("the login is kept in {}", path.display()));
    app.out.answer(|| render::json(&user), || format!("logged in to {server} as {}", render::summary(&user)))
}

/// Shows who the region takes the caller for.
pub(crate) async fn whoami(app: &App) -> Result<(), Error> {
    let user = who_am_i(&app.client()?).await?;
    app.out.answer(|| render::json(&user), || render::summary(&user))
}

async fn who_am_i(client: &Client) -> Result<User, Error> {
    client.call(SHORT, WhoAmIRequest {}, async |c, r| UsersClient::new(c).who_am_i(r).await).await
}
