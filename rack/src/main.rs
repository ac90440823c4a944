//! The rack daemon.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use farrier_common::{
    clock::Clock,
    secret,
    telemetry::{self, Chain},
    tls,
};
use farrier_rack::{
    config::Config,
    crash::{self, Crash},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Serves DHCP, TFTP, HTTP, BMCs and agents for a Farrier region.
#[derive(Debug, Parser)]
#[command(name = "farrier-rack", version)]
struct Arguments {
    /// The configuration file; deploy/config/rack.toml documents it.
    #[arg(long, value_name = "FILE", default_value = "/etc/farrier/rack.toml")]
    config: PathBuf,
    /// For tests: die at POINT[/WORK][#N] (see crash.rs).
    #[arg(long, hide = true, value_parser = crash::parse)]
    crash_at: Option<Crash>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::init();
    tls::install_provider();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", Chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    secret::forbid_core_dumps()?;
    let config = Config::load(&arguments.config)?;
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let signalled = stop.clone();
    let work = farrier_rack::run(config, Clock::System, arguments.crash_at.unwrap_or_default(), stop);
    tokio::pin!(work);
    tokio::select! {
        ended = &mut work => return Ok(ended?),
        _ = terminate.recv() => tracing::info!("told to stop"),
        _ = interrupt.recv() => tracing::info!("interrupted"),
    }
    signalled.cancel();
    Ok(work.await?)
}
