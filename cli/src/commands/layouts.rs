//! `farrier machine configure` and `clone`: declared storage and network.

use std::{fs, path::Path, path::PathBuf};

use farrier_proto::v1::{
    CloneMachineRequest, ConfigureMachineRequest, MutationOptions, machines_client::MachinesClient,
};
use serde::de::DeserializeOwned;
use tonic::Status;

use super::App;
use crate::{
    client::{SHORT, options},
    error::Error,
    render::{layouts as render, machines},
};

/// More than any layout within the limits takes.
const MOST_FILE: usize = 1 << 20;

/// What to declare for a machine.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct ConfigureArgs {
    /// Id or name.
    machine: String,
    /// JSON or TOML file with a storage layout; see docs/layouts.md.
    #[arg(long, value_name = "FILE", group = "what")]
    storage: Option<PathBuf>,
    /// JSON or TOML file with a network layout.
    #[arg(long, value_name = "FILE", group = "what")]
    network: Option<PathBuf>,
    /// Remove the declared storage.
    #[arg(long, group = "what", conflicts_with = "storage")]
    remove_storage: bool,
    /// Remove the declared network.
    #[arg(long, group = "what", conflicts_with = "network")]
    remove_network: bool,
    /// Check it and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What to copy from where to where.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("parts").required(true).multiple(true))]
pub(crate) struct CloneArgs {
    /// Id or name of the machine to copy from.
    source: String,
    /// Ids or names of the machines to copy to; at most 500.
    #[arg(required = true, value_name = "DESTINATION")]
    destinations: Vec<String>,
    /// Copy the declared storage.
    #[arg(long, group = "parts")]
    storage: bool,
    /// Copy the declared network; static addresses become DHCP.
    #[arg(long, group = "parts")]
    network: bool,
    /// Tell what each destination would get and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Declares storage and network.
pub(crate) async fn configure(app: &App, args: ConfigureArgs) -> Result<(), Error> {
    let storage = args.storage.as_deref().map(|path| layout("--storage", path)).transpose()?;
    let network = args.network.as_deref().map(|path| layout("--network", path)).transpose()?;
    let mut paths = Vec::new();
    if storage.is_some() || args.remove_storage {
        paths.push("storage".to_owned());
    }
    if network.is_some() || args.remove_network {
        paths.push("network".to_owned());
    }
    let request = ConfigureMachineRequest {
        options: perhaps(args.dry_run),
        machine: args.machine,
        update_mask: Some(prost_types::FieldMask { paths }),
        storage,
        network,
    };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).configure_machine(r).await);
    let machine = call.await?;
    app.out.answer(|| machines::json(&machine), || machines::page(&machine, app.clock.now(), app.out.width()))
}

/// Copies storage and network; fails if a destination was refused.
pub(crate) async fn clone(app: &App, args: CloneArgs) -> Result<(), Error> {
    let request = CloneMachineRequest {
        options: perhaps(args.dry_run),
        source: args.source,
        destinations: args.destinations,
        storage: args.storage,
        network: args.network,
    };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).clone_machine(r).await);
    let results = call.await?.results;
    app.out.answer(|| render::clones_json(&results), || render::clones_table(&results, app.out.width()))?;
    let refused = results.iter().filter(|r| r.machine.is_none()).count();
    if refused == 0 {
        return Ok(());
    }
    let why = format!("{refused} of {} destinations were refused", results.len());
    Err(Error::Answer(Box::new(Status::failed_precondition(why))))
}

fn perhaps(dry_run: bool) -> Option<MutationOptions> {
    options().map(|options| MutationOptions { validate_only: dry_run, ..options })
}

/// Reads a layout; the name of the file says how.
fn layout<T: DeserializeOwned>(flag: &str, path: &Path) -> Result<T, Error> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(Error::file(format!("cannot read {flag} {shown}")))?;
    if text.len() > MOST_FILE {
        return Err(Error::Usage(format!("{flag} {shown} has {} bytes; at most {MOST_FILE} are read", text.len())));
    }
    let wrong = |why: String| Error::Usage(format!("{flag} {shown} is no layout: {why}"));
    match path.extension().and_then(|e| e.to_str()) {
        Some("json") => serde_json::from_str(&text).map_err(|e| wrong(e.to_string())),
        Some("toml") => toml::from_str(&text).map_err(|e| wrong(e.to_string())),
        Some(_) | None => Err(Error::Usage(format!("{flag} {shown}: the name must end in .json or .toml"))),
    }
}
