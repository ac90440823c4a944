//! `farrier token`.

use farrier_proto::v1::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, tokens_client::TokensClient};

use super::App;
use crate::{
    client::{SHORT, options},
    error::Error,
    render::users as render,
};

/// Bearer tokens.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List tokens.
    List {
        /// Whose tokens; others' are for admins [default: your own].
        #[arg(long, default_value = "", hide_default_value = true)]
        user: String,
    },
    /// Make a token; it is the only line on standard output and is never shown again.
    Create {
        /// For whom; others are for admins [default: yourself].
        #[arg(long, default_value = "", hide_default_value = true)]
        user: String,
        /// What it is for.
        #[arg(long, default_value = "", hide_default_value = true)]
        comment: String,
        /// How long it is good [default: for ever].
        #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..))]
        valid_seconds: Option<u64>,
    },
    /// Make a token useless.
    Revoke {
        /// Its id, as `farrier token list` shows it.
        id: String,
    },
}

/// Runs one of them.
pub(crate) async fn run(app: &App, command: Command) -> Result<(), Error> {
    match command {
        Command::List { user } => list(app, user).await,
        Command::Create { user, comment, valid_seconds } => {
            create(app, user, comment, valid_seconds.unwrap_or_default()).await
        }
        Command::Revoke { id } => revoke(app, id).await,
    }
}

async fn list(app: &App, user: String) -> Result<(), Error> {
    let client = app.client()?;
    let tokens = client
        .pages(async |page| {
            let request = ListTokensRequest { page: Some(page), user: user.clone() };
            let list = client.call(SHORT, request, async |c, r| TokensClient::new(c).list_tokens(r).await).await?;
            Ok((list.tokens, list.next_page_token))
        })
        .await?;
    app.out.answer(|| render::tokens_json(&tokens), || render::tokens_table(&tokens, app.out.width()))
}

async fn create(app: &App, user: String, comment: String, valid_seconds: u64) -> Result<(), Error> {
    let request = CreateTokenRequest { options: options(), user, comment, valid_seconds };
    let client = app.client()?;
    let answer = client.call(SHORT, request, async |c, r| TokensClient::new(c).create_token(r).await).await?;
    if let Some(token) = &answer.token {
        app.out.note(&render::token_summary(token));
    }
    app.out.answer(|| render::new_token_json(&answer), || answer.secret.clone())
}

async fn revoke(app: &App, token: String) -> Result<(), Error> {
    let request = RevokeTokenRequest { options: options(), token };
    let token = app.client()?.call(SHORT, request, async |c, r| TokensClient::new(c).revoke_token(r).await).await?;
    app.out.answer(|| render::token_json(&token), || render::token_summary(&token))
}
