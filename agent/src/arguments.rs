//! The agent's arguments. `/init` gives none; they are for tests, which run the agent in a made-up machine.

use std::{ffi::OsString, path::PathBuf};

use farrier_common::crash::{BadCrash, Crash};
use thiserror::Error;

use crate::{
    crash::{CONTEXTS, Point},
    host::Host,
};

/// What the agent is told by its arguments.
#[derive(Debug)]
pub struct Arguments {
    /// The machine: this one, or a folder's.
    pub host: Host,
    /// Where to die.
    pub crash: Crash<Point>,
}

/// Arguments that cannot be understood.
#[derive(Debug, Error)]
pub enum BadArguments {
    /// There is no such argument.
    #[error("{0:?} is not one of --root DIR, --crash-at POINT[/CONTEXT][#N]")]
    Unknown(OsString),
    /// Nothing follows.
    #[error("{0}: its value is missing")]
    Missing(&'static str),
    /// It is no text.
    #[error("--crash-at: {0:?} is not text")]
    NoText(OsString),
    /// There is no such point.
    #[error("--crash-at: {0}")]
    Crash(#[from] BadCrash),
}

impl Arguments {
    /// Reads what follows the program's name. Of an argument given twice the last one counts.
    ///
    /// # Errors
    /// Names what cannot be understood.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, BadArguments> {
        let mut words = words.into_iter();
        let mut all = Self { host: Host::real(), crash: Crash::default() };
        while let Some(word) = words.next() {
            if word == "--root" {
                let root = words.next().ok_or(BadArguments::Missing("--root"))?;
                all.host = Host::below(&PathBuf::from(root));
            } else if word == "--crash-at" {
                let place = words.next().ok_or(BadArguments::Missing("--crash-at"))?;
                let place = place.into_string().map_err(BadArguments::NoText)?;
                all.crash = Crash::parse(&place, CONTEXTS)?;
            } else {
                return Err(BadArguments::Unknown(word));
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, String> {
        Arguments::parse(words.iter().map(OsString::from)).map_err(|e| e.to_string())
    }

    #[test]
    fn without_arguments_it_is_this_machine_and_nobody_dies() {
        let all = parse(&[]).unwrap();
        assert_eq!(all.host.proc("cmdline"), PathBuf::from("/proc/cmdline"));
        assert!(Point::ALL.iter().all(|point| !all.crash.hit(*point, "erase")));
    }

    #[test]
    fn a_folder_and_a_place_to_die_are_taken() {
        let all = parse(&["--crash-at", "seed-laid/write-image", "--root", "/tmp/m"]).unwrap();
        assert_eq!(all.host.dev("sda"), PathBuf::from("/tmp/m/dev/sda"));
        assert!(all.crash.hit(Point::SeedLaid, "write-image"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let bad = |words: &[&str]| parse(words).unwrap_err();
        assert_eq!(bad(&["-v"]), r#""-v" is not one of --root DIR, --crash-at POINT[/CONTEXT][#N]"#);
        assert_eq!(bad(&["--root"]), "--root: its value is missing");
        assert!(bad(&["--crash-at", "lunch"]).starts_with(r#"--crash-at: crash point: "lunch" is not one of"#));
        assert!(bad(&["--crash-at", "erasing/x"]).starts_with("--crash-at: context of the crash point"));
    }
}
