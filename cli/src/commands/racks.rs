//! `farrier rack`.

use farrier_proto::v1::{CreateJoinTokenRequest, GetRackRequest, ListRacksRequest, racks_client::RacksClient};

use super::App;
use crate::{
    client::{SHORT, options},
    error::Error,
    render::{racks as render, words},
};

/// Racks.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List racks.
    List,
    /// Show a rack.
    Show {
        /// Id or name.
        rack: String,
    },
    /// Make a one-time token with which a rack of this name may enrol; it is the only line on standard output.
    JoinToken {
        /// Name that the rack will have, an RFC 1123 label.
        name: String,
        /// How long the token is good [default: the region's, 3600].
        #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..))]
        valid_seconds: Option<u32>,
    },
}

/// Runs one of them.
pub(crate) async fn run(app: &App, command: Command) -> Result<(), Error> {
    match command {
        Command::List => list(app).await,
        Command::Show { rack } => show(app, rack).await,
        Command::JoinToken { name, valid_seconds } => join_token(app, name, valid_seconds.unwrap_or_default()).await,
    }
}

async fn list(app: &App) -> Result<(), Error> {
    let client = app.client()?;
    let racks = client
        .pages(async |page| {
            let request = ListRacksRequest { page: Some(page) };
            let list = client.call(SHORT, request, async |c, r| RacksClient::new(c).list_racks(r).await).await?;
            Ok((list.racks, list.next_page_token))
        })
        .await?;
    app.out.answer(|| render::list_json(&racks), || render::list_table(&racks, app.clock.now(), app.out.width()))
}

async fn show(app: &App, rack: String) -> Result<(), Error> {
    let request = GetRackRequest { rack };
    let rack = app.client()?.call(SHORT, request, async |c, r| RacksClient::new(c).get_rack(r).await).await?;
    app.out.answer(|| render::json(&rack), || render::page(&rack, app.clock.now()))
}

async fn join_token(app: &App, rack: String, valid_seconds: u32) -> Result<(), Error> {
    let note = format!("for rack {rack}, once");
    let request = CreateJoinTokenRequest { options: options(), rack, valid_seconds };
    let client = app.client()?;
    let answer = client.call(SHORT, request, async |c, r| RacksClient::new(c).create_join_token(r).await).await?;
    let until = words::seconds(answer.expires_at.as_ref()).map_or_else(String::new, |t| format!(", until {t}"));
    app.out.note(&format!("{note}{until}"));
    app.out.answer(|| render::join_token_json(&answer), || answer.join_token.clone())
}
