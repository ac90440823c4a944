//! Helper processes of the virtual lab, which must live inside its network namespace or outlive a call of a BMC.

use std::{net::Ipv4Addr, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use farrier_common::telemetry::Chain;
use farrier_integration_tests::{
    bmc,
    error::LabError,
    machine::{chassis, control},
    reports,
};

/// Helper processes of the virtual lab.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Own one machine: its power, its resets, its BMC.
    Serve {
        /// The machine's spec.json.
        spec: PathBuf,
    },
    /// Ask a machine's owner, in the words of ipmi_sim's chassis control.
    Chassis {
        /// The owner's control socket.
        socket: PathBuf,
        /// Such as `get power boot` or `set power 1`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Tell a BMC its LAN configuration, in the words of ipmi_sim's LAN configuration program.
    Lan {
        /// The BMC's address.
        address: Ipv4Addr,
        /// Such as `get ip_addr mac_addr`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Take HTTP posts and write their bodies to a file, one a line.
    ReportServer {
        /// ADDRESS:PORT.
        #[arg(long)]
        listen: String,
        /// The file.
        #[arg(long)]
        out: PathBuf,
    },
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command's answer")]
fn main() -> ExitCode {
    let outcome: Result<String, LabError> = match Arguments::parse().command {
        Command::Serve { spec } => chassis::serve(&spec).map(|()| String::new()),
        Command::Chassis { socket, words } => control::ask(&socket, &words.join(" ")),
        Command::Lan { address, words } => bmc::lan(address, &words),
        Command::ReportServer { listen, out } => reports::serve(&listen, &out).map(|()| String::new()),
    };
    match outcome {
        Ok(answer) => {
            print!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("farrier-labctl: {}", Chain(&error));
            ExitCode::FAILURE
        }
    }
}
