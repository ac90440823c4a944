//! `farrier user`.

use farrier_proto::v1::{CreateUserRequest, ListUsersRequest, Role, UpdateUserRequest, users_client::UsersClient};
use prost_types::FieldMask;

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
    /// Set role, quota, or whether the user may call at all; what is not given stays.
    Update(UpdateArgs),
}

/// What is to be set.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["role", "max_machines", "disabled"]))]
pub(crate) struct UpdateArgs {
    /// Id or name.
    user: String,
    /// What the user may do.
    #[arg(long)]
    role: Option<RoleWord>,
    /// How many machines the user may hold; 0: no limit.
    #[arg(long)]
    max_machines: Option<u32>,
    /// Refuse all tokens of the user.
    #[arg(long)]
    disabled: Option<bool>,
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
        Command::Update(args) => update(app, args).await,
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
    let request = CreateUserRequest { options: options(), name, role: Role::from(role).into() };
    let user = app.client()?.call(SHORT, request, async |c, r| UsersClient::new(c).create_user(r).await).await?;
    app.out.answer(|| render::json(&user), || format!("created {}", render::summary(&user)))
}

async fn update(app: &App, args: UpdateArgs) -> Result<(), Error> {
    let given = [
        ("role", args.role.is_some()),
        ("max_machines", args.max_machines.is_some()),
        ("disabled", args.disabled.is_some()),
    ];
    let paths = given.into_iter().filter(|(_, given)| *given).map(|(path, _)| path.to_owned()).collect();
    let request = UpdateUserRequest {
        options: options(),
        user: args.user,
        update_mask: Some(FieldMask { paths }),
        role: args.role.map_or(Role::Unspecified, Role::from).into(),
        max_machines: args.max_machines.unwrap_or_default(),
        disabled: args.disabled.unwrap_or_default(),
    };
    let user = app.client()?.call(SHORT, request, async |c, r| UsersClient::new(c).update_user(r).await).await?;
    app.out.answer(|| render::json(&user), || format!("changed {}", render::summary(&user)))
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Viewer => Self::Viewer,
            RoleWord::User => Self::User,
            RoleWord::Admin => Self::Admin,
        }
    }
}
