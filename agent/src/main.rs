//! The agent: reads the kernel's command line, enlists the machine or serves one boot of it, and ends.
//!
//! Exit status 0 asks `/init` to power the machine off, anything else to reboot it into a new network boot.

use std::process::ExitCode;

use anyhow::Context as _;
use farrier_agent::{arguments::Arguments, cmdline::Options, console::say, session};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    farrier_common::secret::forbid_core_dumps().context("cannot forbid core dumps")?;
    let Arguments { host, crash } = Arguments::parse(std::env::args_os().skip(1))?;
    let text = std::fs::read_to_string(host.proc("cmdline")).context("cannot read the kernel's command line")?;
    let options = Options::parse(&text).context("the kernel's command line does not fit")?;
    session::run(host, options, crash).await?;
    Ok(())
}
