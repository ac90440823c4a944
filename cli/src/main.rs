//! `farrier`: the operators' command, a client of `farrier.v1` and of nothing else.
//!
//! Reads the command line, runs one command, and turns its error into a text and an exit code (see [`error`]).
//! `commands` says what is called, `render` how the answer looks, `wait` how a life-cycle verb is followed.

mod client;
mod commands;
mod completion;
mod config;
mod error;
mod fleet;
mod follow;
mod output;
mod render;
mod upload;
mod wait;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use farrier_common::{clock::Clock, secret, tls};

use crate::{
    commands::{App, Command},
    error::{EXIT_CODES, Error},
    output::{Format, Output},
};

/// Readies bare-metal servers: commission, deploy and release machines.
#[derive(Debug, Parser)]
#[command(name = "farrier", version, about, after_help = EXIT_CODES, propagate_version = true)]
struct Cli {
    /// How answers are written to standard output.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// File that `farrier login` writes [default: $XDG_CONFIG_HOME/farrier/config.toml].
    #[arg(long, global = true, env = "FARRIER_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    tls::install_provider();
    let cli = Cli::parse();
    let out = Output::new(cli.output);
    match run(cli, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Runs one command to its end.
fn run(cli: Cli, out: Output) -> Result<(), Error> {
    let lacks = |source| Error::File { what: "cannot forbid core dumps".to_owned(), source };
    secret::forbid_core_dumps().map_err(lacks)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::File { what: "cannot start the runtime".to_owned(), source })?;
    let app = App { out, config: cli.config, clock: Clock::System };
    let ended = runtime.block_on(commands::run(&app, cli.command));
    // A blocking file read must not keep a command alive that is at its end.
    runtime.shutdown_background();
    ended
}

/// The whole command line, for completion scripts.
fn command_line() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        super::command_line().debug_assert();
    }
}
