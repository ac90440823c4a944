//! The region daemon.

use std::{io::Write as _, path::PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Parser;
use farrier_common::{clock::Clock, secret, telemetry, tls};
use farrier_region::{
    config::Config,
    crash::{self, Crash},
    region::Region,
    vault::Vault,
};
use tokio::signal::unix::{SignalKind, signal};

/// Owns the machine database and the life-cycle of a site's machines, and drives its racks.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file (see deploy/config/region.toml).
    #[arg(long)]
    config: PathBuf,
    /// At the first start, write the token of the user admin to this file (mode 0600) instead of standard output.
    #[arg(long)]
    admin_token_file: Option<PathBuf>,
    /// Make another key for the secrets in the database, and end. The region seals with it from its next start on.
    #[arg(long)]
    new_secrets_key: bool,
    /// For tests: die at POINT[/STATE][#N] (see crash.rs).
    #[arg(long, hide = true, value_parser = crash::parse)]
    crash_at: Option<Crash>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    secret::forbid_core_dumps().context("cannot forbid core dumps")?;
    tls::install_provider();
    telemetry::init();
    let config = Config::load(&arguments.config)?;
    if arguments.new_secrets_key {
        let file = Vault::add_key(&config.data_dir).context("no key was made")?;
        let told = format!("made {}: back it up, then start the region anew\n", file.display());
        return std::io::stdout().write_all(told.as_bytes()).context("cannot write to standard output");
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let crash = arguments.crash_at.unwrap_or_default();
    let region = Region::start(config, arguments.admin_token_file.as_deref(), Clock::System, crash).await?;
    if let Some(token) = region.admin_token() {
        let mut out = std::io::stdout();
        writeln!(out, "admin token: {}", token.expose()).context("cannot write the admin token to standard output")?;
        out.flush().context("cannot write the admin token to standard output")?;
    }
    tracing::info!(address = %region.address(), version = env!("CARGO_PKG_VERSION"), "the region serves");
    let stop = region.stop_signal();
    let running = region.run();
    tokio::pin!(running);
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = async { tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} } } => {
            tracing::info!("stopping: calls under way may finish");
            stop.cancel();
            running.await
        }
    };
    ended.map_err(|e| anyhow!(e))
}
