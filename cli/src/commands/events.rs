//! `farrier watch` and `farrier event`.

use farrier_proto::v1::{ListEventsRequest, events_client::EventsClient};

use super::App;
use crate::{
    client::SHORT,
    error::Error,
    fleet,
    follow::{Follow, Update},
    render::events as render,
};

/// What to watch.
#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    /// Only events of this machine (id or name).
    #[arg(long, default_value = "", hide_default_value = true)]
    machine: String,
    /// Start after this revision of the event log; 0 is its beginning [default: now].
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(i64).range(0..))]
    after: Option<i64>,
    /// Print one line an event, on a terminal too. So it is with --machine and --after.
    #[arg(long)]
    lines: bool,
}

/// The event log.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List events, oldest first.
    List {
        /// Only events of this machine (id or name).
        #[arg(long, default_value = "", hide_default_value = true)]
        machine: String,
        /// Only events of this kind: transition, phase, power, enlist, rack, image, user.
        #[arg(long, default_value = "", hide_default_value = true)]
        kind: String,
    },
}

/// Runs one of them.
pub(crate) async fn run(app: &App, command: Command) -> Result<(), Error> {
    let Command::List { machine, kind } = command;
    let client = app.client()?;
    let events = client
        .pages(async |page| {
            let request = ListEventsRequest { page: Some(page), machine: machine.clone(), kind: kind.clone() };
            let list = client.call(SHORT, request, async |c, r| EventsClient::new(c).list_events(r).await).await?;
            Ok((list.events, list.next_page_token))
        })
        .await?;
    app.out.answer(|| render::list_json(&events), || render::list_table(&events, app.out.width()))
}

/// Shows the fleet, or prints events one a line, until interrupted.
pub(crate) async fn watch(app: &App, args: WatchArgs) -> Result<(), Error> {
    let client = app.client()?;
    let whole = args.machine.is_empty() && args.after.is_none() && !args.lines;
    if let Some(screen) = app.out.screen().filter(|_| whole) {
        return fleet::watch(app, &client, screen).await;
    }
    // "Only new ones" as a revision, so that a break right at the start loses nothing.
    let after = match args.after {
        Some(revision) => revision,
        None => client.revision().await?,
    };
    let mut follow = Follow::start(&client, &args.machine, after);
    while let Some(update) = follow.next().await {
        match update {
            Update::Event(event) => app.out.item(|| render::json(&event), || render::line(&event))?,
            Update::Resumed => {}
            Update::Resync(why) => app.out.note(&format!("some events are left out: {why}; going on from now")),
            Update::Lost(why) => app.out.note(&format!("waiting for the region: {why}")),
            Update::Failed(error) => return Err(error),
        }
    }
    Ok(())
}
