//! `farrier operation`: bulk work as it goes on.

use std::time::Duration;

use farrier_proto::v1::{
    CancelOperationRequest, GetOperationRequest, ListOperationsRequest, Operation, operations_client::OperationsClient,
};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::App;
use crate::{
    client::{Client, SHORT, options},
    error::Error,
    render::{operations as render, table::clean},
};

/// How often the operation is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Bulk work.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List your operations, the newest first; an admin sees everybody's.
    List,
    /// Show an operation and each of its machines.
    #[command(visible_alias = "show")]
    Get {
        /// Its id.
        id: String,
    },
    /// Begin no further machine; those at work go on.
    Cancel {
        /// Its id.
        id: String,
    },
    /// Follow an operation until it is over.
    Watch {
        /// Its id.
        id: String,
    },
}

/// Runs one of them.
pub(crate) async fn run(app: &App, command: Command) -> Result<(), Error> {
    match command {
        Command::List => list(app).await,
        Command::Get { id } => {
            let operation = get(&app.client()?, &id).await?;
            app.out.answer(|| render::json(&operation), || render::page(&operation, app.out.width()))
        }
        Command::Cancel { id } => cancel(app, id).await,
        Command::Watch { id } => {
            let client = app.client()?;
            let operation = get(&client, &id).await?;
            follow(app, &client, operation).await
        }
    }
}

async fn list(app: &App) -> Result<(), Error> {
    let client = app.client()?;
    let operations = client
        .pages(async |page| {
            let request = ListOperationsRequest { page: Some(page) };
            let list = client.call(SHORT, request, async |c, r| OperationsClient::new(c).list_operations(r).await);
            let list = list.await?;
            Ok((list.operations, list.next_page_token))
        })
        .await?;
    app.out.answer(|| render::list_json(&operations), || render::list_table(&operations, app.out.width()))
}

async fn get(client: &Client, id: &str) -> Result<Operation, Error> {
    let request = GetOperationRequest { operation: id.to_owned() };
    client.call(SHORT, request, async |c, r| OperationsClient::new(c).get_operation(r).await).await
}

async fn cancel(app: &App, id: String) -> Result<(), Error> {
    let request = CancelOperationRequest { options: options(), operation: id };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| OperationsClient::new(c).cancel_operation(r).await);
    let operation = call.await?;
    app.out.answer(|| render::json(&operation), || render::summary(&operation))
}

/// Follows an operation to its end, shows it, and judges it. Interrupting this stops nothing.
pub(crate) async fn follow(app: &App, client: &Client, begun: Operation) -> Result<(), Error> {
    let bar = app.out.is_live().then(|| bar(&begun));
    let (started, mut shown) = (Instant::now(), String::new());
    let mut operation = begun;
    loop {
        let line = clean(&render::progress(&operation));
        match &bar {
            Some(bar) => {
                bar.set_position(render::ended(&operation));
                bar.set_message(line);
            }
            None if line != shown => {
                app.out.note(&format!("[{:>4} s] {line}", started.elapsed().as_secs()));
                shown = line;
            }
            None => {}
        }
        if operation.finished_at.is_some() {
            break;
        }
        tokio::time::sleep(LOOK).await;
        match get(client, &operation.id).await {
            Ok(now) => operation = now,
            // It goes on without us; it is looked for until it is there again.
            Err(error) if error.is_outage() => app.out.note(&format!("waiting for the region: {error}")),
            Err(error) => return Err(error),
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    // The answer to a verb has no machines.
    let operation = get(client, &operation.id).await?;
    app.out.answer(|| render::json(&operation), || render::page(&operation, app.out.width()))?;
    if operation.status == "done" && operation.failed == 0 {
        return Ok(());
    }
    Err(Error::Operation(render::summary(&operation)))
}

fn bar(operation: &Operation) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg} {elapsed}");
    let bar = ProgressBar::new(operation.total.into());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
