//! Logs: one subscriber, set up once, in `main`.

use std::{
    error::Error,
    fmt,
    io::{IsTerminal as _, stderr},
};

use tracing_subscriber::EnvFilter;

/// Sends logs to standard error, at `info` unless `RUST_LOG` says otherwise; coloured on a terminal only.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = stderr().is_terminal();
    let set = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(ansi).try_init();
    if set.is_err() {
        tracing::debug!("a subscriber is set already");
    }
}

/// Displays an error and all its sources on one line; the only way in which chains are printed.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}
