//! `farrier pool`.

use farrier_proto::v1::{
    CreatePoolRequest, DeletePoolRequest, ListPoolsRequest, Pool, PoolGrantRequest, pools_client::PoolsClient,
};

use super::App;
use crate::{
    client::{SHORT, options},
    error::Error,
    render::people as render,
};

/// Where machines belong, and who may see and hold them.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List pools: all for admins, others' those granted to them.
    List,
    /// Make a pool.
    Create {
        /// Name, an RFC 1123 label.
        name: String,
        /// What it is for.
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        /// Grant it to all users.
        #[arg(long)]
        everyone: bool,
    },
    /// Delete a pool that has no machines.
    Delete {
        /// Id or name.
        pool: String,
    },
    /// Grant a pool to a user or a project.
    Grant(GrantArgs),
    /// Take a grant back.
    Revoke(GrantArgs),
}

/// A pool, and for whom.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).args(["user", "project"]))]
pub(crate) struct GrantArgs {
    /// Id or name.
    pool: String,
    /// Name of a user.
    #[arg(long, default_value = "", hide_default_value = true)]
    user: String,
    /// Name of a project.
    #[arg(long, default_value = "", hide_default_value = true)]
    project: String,
}

/// Runs one of them.
pub(crate) async fn run(app: &App, command: Command) -> Result<(), Error> {
    let client = app.client()?;
    let grant = |g: GrantArgs| PoolGrantRequest { options: options(), pool: g.pool, user: g.user, project: g.project };
    let (did, pool) = match command {
        Command::List => return list(app).await,
        Command::Create { name, description, everyone } => {
            let request = CreatePoolRequest { options: options(), name, description, everyone };
            ("created", client.call(SHORT, request, async |c, r| PoolsClient::new(c).create_pool(r).await).await?)
        }
        Command::Delete { pool } => {
            let request = DeletePoolRequest { options: options(), pool };
            ("deleted", client.call(SHORT, request, async |c, r| PoolsClient::new(c).delete_pool(r).await).await?)
        }
        Command::Grant(args) => {
            let call = client.call(SHORT, grant(args), async |c, r| PoolsClient::new(c).grant_pool(r).await);
            ("granted", call.await?)
        }
        Command::Revoke(args) => {
            let call = client.call(SHORT, grant(args), async |c, r| PoolsClient::new(c).revoke_pool(r).await);
            ("revoked a grant of", call.await?)
        }
    };
    app.out.answer(|| render::pool_json(&pool), || format!("{did} pool {}", pool.name))
}

async fn list(app: &App) -> Result<(), Error> {
    let client = app.client()?;
    let pools: Vec<Pool> = client
        .pages(async |page| {
            let request = ListPoolsRequest { page: Some(page) };
            let list = client.call(SHORT, request, async |c, r| PoolsClient::new(c).list_pools(r).await).await?;
            Ok((list.pools, list.next_page_token))
        })
        .await?;
    app.out.answer(|| render::pools_json(&pools), || render::pools_table(&pools, app.out.width()))
}
