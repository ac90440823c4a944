//! `farrier user`.

use farrier_proto::v1::{CreateUserRequest, ListUsersRequest, Role, users_client::UsersClient};

use super::App;
use crate::{
    client::{SHORT, options},
    error::Error,
    render::users as render,
};

/// People and programs.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List users.
    List,
    /// Add a user; make a token for it with `farrier token create --user NAME`.
    Create {
        /// Name, an RFC 1123 label.
        name: String,
        /// What the user may do.
        #[arg(long)]
        role: RoleWord,
    },
}

/// What a user may do.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum RoleWord {
    /// Read.
    Viewer,
    /// Allocate, deploy and release machines of their own.
    User,
    /// Everything.
    Admin,
}

/// Runs one of them.
pub(crate) async fn run(app: &App, command: Command) -> Result<(), Error> {
    match command {
        Command::List => list(app).await,
        Command::Create { name, role } => create(app, name, role).await,
    }
}

async fn list(app: &App) -> Result<(), Error> {
    let client = app.client()?;
    let users = client
        .pages(async |page| {
            let request = ListUsersRequest { page: Some(page) };
            let list = client.call(SHORT, request, async |c, r| UsersClient::new(c).list_users(r).await).await?;
            Ok((list.users, list.next_page_token))
        })
        .await?;
    app.out.answer(|| render::list_json(&users), || render::list_table(&users, app.out.width()))
}

async fn create(app: &App, name: String, role: RoleWord) -> Result<(), Error> {
    let role = match role {
        RoleWord::Viewer => Role::Viewer,
        RoleWord::User => Role::User,
        RoleWord::Admin => Role::Admin,
    };
    let request = CreateUserRequest { options: options(), name, role: role.into() };
    let user = app.client()?.call(SHORT, request, async |c, r| UsersClient::new(c).create_user(r).await).await?;
    app.out.answer(|| render::json(&user), || format!("created {}", render::summary(&user)))
}
