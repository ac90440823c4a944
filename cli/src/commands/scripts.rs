//! `farrier script`, what a commissioning is to do besides, and what scripts did on a machine.

use std::{fs, path::PathBuf};

use farrier_proto::v1::{
    CommissionOptions, CreateScriptRequest, DeleteScriptRequest, GetScriptRequest, ListScriptResultsRequest,
    ListScriptsRequest, ScriptKind, machines_client::MachinesClient, scripts_client::ScriptsClient,
};

use super::App;
use crate::{
    client::{SHORT, options},
    error::Error,
    render::scripts as render,
};

/// The contract's limit.
const MOST_CONTENT: usize = 256 << 10;

/// Scripts that the agent runs on machines: for commissioning, and tests.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List scripts; built-in tests are among them.
    List,
    /// Show a script, with its content.
    Show {
        /// Id or name.
        script: String,
    },
    /// Make a script from a file; docs/scripts.md tells how one is written.
    Create(CreateArgs),
    /// Delete a script.
    Delete {
        /// Id or name.
        script: String,
    },
}

/// A script to make.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Name, an RFC 1123 label.
    name: String,
    /// When it runs.
    #[arg(long)]
    kind: KindWord,
    /// File that holds it; it begins with #! and has at most 256 KiB.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// How long it may take [default: 600].
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: Option<u32>,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

/// When a script runs.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum KindWord {
    /// In commissioning, after the inventory.
    Commissioning,
    /// In testing.
    Test,
}

/// What a commissioning is to do besides learning the machine.
#[derive(Debug, clap::Args)]
pub(crate) struct ChosenArgs {
    /// Commissioning script to run after the inventory; may be repeated.
    #[arg(long = "script", value_name = "NAME")]
    scripts: Vec<String>,
    /// Test to run afterwards; may be repeated; `none` for none [default: the region's default_tests].
    #[arg(long = "test", value_name = "NAME")]
    tests: Vec<String>,
    /// Keep the declared storage layout.
    #[arg(long)]
    keep_storage: bool,
    /// Keep the declared network layout.
    #[arg(long)]
    keep_network: bool,
    /// Leave the machine on with SSH for your keys when commissioning has ended.
    #[arg(long)]
    stay_up: bool,
}

impl From<ChosenArgs> for CommissionOptions {
    fn from(args: ChosenArgs) -> Self {
        Self {
            scripts: args.scripts,
            tests: args.tests,
            keep_storage: args.keep_storage,
            keep_network: args.keep_network,
            stay_up: args.stay_up,
        }
    }
}

/// Runs one of them.
pub(crate) async fn run(app: &App, command: Command) -> Result<(), Error> {
    match command {
        Command::List => list(app).await,
        Command::Show { script } => show(app, script).await,
        Command::Create(args) => create(app, args).await,
        Command::Delete { script } => delete(app, script).await,
    }
}

async fn list(app: &App) -> Result<(), Error> {
    let client = app.client()?;
    let scripts = client
        .pages(async |page| {
            let request = ListScriptsRequest { page: Some(page) };
            let list = client.call(SHORT, request, async |c, r| ScriptsClient::new(c).list_scripts(r).await).await?;
            Ok((list.scripts, list.next_page_token))
        })
        .await?;
    app.out.answer(|| render::list_json(&scripts), || render::list_table(&scripts, app.out.width()))
}

async fn show(app: &App, script: String) -> Result<(), Error> {
    let request = GetScriptRequest { script };
    let script = app.client()?.call(SHORT, request, async |c, r| ScriptsClient::new(c).get_script(r).await).await?;
    app.out.answer(|| render::json(&script), || render::page(&script))
}

async fn create(app: &App, args: CreateArgs) -> Result<(), Error> {
    let path = args.file.display();
    let content = fs::read(&args.file).map_err(Error::file(format!("cannot read --file {path}")))?;
    if content.len() > MOST_CONTENT {
        return Err(Error::Usage(format!("--file {path} has {} bytes; at most {MOST_CONTENT} fit", content.len())));
    }
    let content = String::from_utf8(content).map_err(|_| Error::Usage(format!("--file {path} is not UTF-8 text")))?;
    let kind = match args.kind {
        KindWord::Commissioning => ScriptKind::Commissioning,
        KindWord::Test => ScriptKind::Test,
    };
    let request = CreateScriptRequest {
        options: options(),
        name: args.name,
        kind: kind.into(),
        content,
        timeout_seconds: args.timeout.unwrap_or_default(),
        description: args.description,
    };
    let made = app.client()?.call(SHORT, request, async |c, r| ScriptsClient::new(c).create_script(r).await).await?;
    app.out.answer(|| render::json(&made), || format!("created {}", render::summary(&made)))
}

async fn delete(app: &App, script: String) -> Result<(), Error> {
    let request = DeleteScriptRequest { options: options(), script };
    let gone = app.client()?.call(SHORT, request, async |c, r| ScriptsClient::new(c).delete_script(r).await).await?;
    app.out.answer(|| render::json(&gone), || format!("deleted {}", render::summary(&gone)))
}

/// What scripts did on a machine; `of`: only this one, with what it wrote the last time.
pub(crate) async fn results(app: &App, machine: String, of: Option<String>) -> Result<(), Error> {
    let client = app.client()?;
    let mut results = client
        .pages(async |page| {
            let request = ListScriptResultsRequest { page: Some(page), machine: machine.clone() };
            let list =
                client.call(SHORT, request, async |c, r| MachinesClient::new(c).list_script_results(r).await).await?;
            Ok((list.results, list.next_page_token))
        })
        .await?;
    if let Some(name) = &of {
        results.retain(|r| r.script == *name);
    }
    app.out.answer(
        || render::results_json(&results),
        || {
            let table = render::results_table(&results, app.out.width());
            let newest = results.first().filter(|_| of.is_some());
            newest.map_or_else(|| table.clone(), |newest| render::with_output(&table, newest))
        },
    )
}
