//! The words that a machine's owner understands: one line a connection, in the protocol of `ipmi_sim`'s chassis control.
//!
//! `get power boot` answers `power:0` or `power:1` and `boot:none|pxe|default`; `set power 0|1`, `set boot WORD`,
//! `set reset 1`, `set shutdown 1` and `check` answer nothing. `pid` answers the emulator's process id, empty when off.
//! An answer that starts with `error:` is a refusal.

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use farrier_common::hardware::BootDevice;

use crate::error::{LabError, Result};

/// Everything that is asked is answered at once.
const LIMIT: Duration = Duration::from_secs(30);

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// Tell these properties.
    Get(Vec<String>),
    /// Power on or off.
    Power(bool),
    /// Boot this, once; or as ever.
    Boot(Option<BootDevice>),
    /// Hard reset.
    Reset,
    /// Press the power button.
    Shutdown,
    /// The emulator's process id.
    Pid,
    /// Nothing: is somebody there?
    Check,
}

/// Where a machine's owner listens.
#[must_use]
pub fn socket(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

/// Asks a machine's owner.
///
/// # Errors
/// It is not there, does not answer in time, or refuses.
pub fn ask(socket: &Path, line: &str) -> Result<String> {
    let what = || LabError::io(format!("cannot ask {} to {line:?}", socket.display()));
    let mut stream = UnixStream::connect(socket).map_err(what())?;
    stream.set_read_timeout(Some(LIMIT)).map_err(what())?;
    stream.write_all(line.as_bytes()).map_err(what())?;
    stream.shutdown(Shutdown::Write).map_err(what())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(what())?;
    match answer.strip_prefix("error:") {
        Some(refusal) => Err(LabError::answer(line, refusal.trim())),
        None => Ok(answer),
    }
}

/// Reads one request line; the error says what is allowed.
pub(super) fn parse(line: &str) -> std::result::Result<Vec<Request>, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["check"] => Ok(vec![Request::Check]),
        ["pid"] => Ok(vec![Request::Pid]),
        ["get", properties @ ..] => Ok(vec![Request::Get(properties.iter().map(|p| (*p).to_owned()).collect())]),
        ["set", settings @ ..] if !settings.is_empty() && settings.len() % 2 == 0 => {
            settings.chunks_exact(2).map(setting).collect()
        }
        _ => Err(format!("{line:?} is not one of: get NAME..., set NAME VALUE..., pid, check")),
    }
}

fn setting(pair: &[&str]) -> std::result::Result<Request, String> {
    match pair {
        ["power", "0"] => Ok(Request::Power(false)),
        ["power", "1"] => Ok(Request::Power(true)),
        ["boot", "pxe"] => Ok(Request::Boot(Some(BootDevice::Network))),
        ["boot", "default"] => Ok(Request::Boot(Some(BootDevice::Disk))),
        ["boot", "none"] => Ok(Request::Boot(None)),
        ["reset", _] => Ok(Request::Reset),
        ["shutdown", _] => Ok(Request::Shutdown),
        ["identify", _] => Ok(Request::Check),
        other => Err(format!(
            "{other:?} is not one of: power 0|1, boot pxe|default|none, reset 1, shutdown 1, identify SECONDS"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ipmi_sim_says_is_understood() {
        let get = Request::Get(vec!["power".to_owned(), "boot".to_owned()]);
        for (line, request) in [
            ("get power boot", get),
            ("set power 1", Request::Power(true)),
            ("set boot default\n", Request::Boot(Some(BootDevice::Disk))),
            ("set reset 1", Request::Reset),
        ] {
            assert_eq!(parse(line).unwrap(), [request], "{line}");
        }
        for line in ["", "set", "set power", "set power 2", "set boot floppy", "fly"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
