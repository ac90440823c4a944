//! Which region process this is: the only one on its `data_dir`, and after a restart the same one as before.
//!
//! The file `process` holds an id, and is locked as long as the process runs: whoever gets the lock knows that the process
//! which claimed machines under that name is dead. A copy of the folder (a backup that is restored, a second region that
//! is given the same `ca.key` and `secrets.key`) is another process: the name tells the host and the file's inode as well.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use farrier_common::id::{Id, Kind};
use thiserror::Error;

/// Longer than any id.
const MOST: u64 = 64;

/// The right to be the region of a `data_dir`; ends with the process, or when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    _locked: File,
}

/// This process cannot be the region of its `data_dir`.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// Another one is.
    #[error("another region process runs in data_dir {0}: stop it, or give this one a data_dir of its own")]
    Taken(PathBuf),
    /// The file of the lock.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

enum ProcessName {}

impl Kind for ProcessName {
    const NAME: &'static str = "process";
}

impl Process {
    /// Takes `data_dir` for this process.
    ///
    /// # Errors
    /// Another process has it, or its file cannot be read or written.
    pub fn open(data_dir: &Path) -> Result<Self, ProcessError> {
        let path = data_dir.join("process");
        let failed = |source| ProcessError::File { path: path.clone(), source };
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = opened.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ProcessError::Taken(data_dir.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let id = id(&mut file).map_err(failed)?;
        let inode = file.metadata().map_err(failed)?.ino();
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Ok(Self { name: format!("{id}/{inode}@{}", host.trim()), _locked: file })
    }

    /// Under this name it claims machines.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The id in the file. One that is not whole is made anew: then the claims of the process before wait for their leases.
fn id(file: &mut File) -> io::Result<Id<ProcessName>> {
    let mut bytes = Vec::new();
    (&*file).take(MOST).read_to_end(&mut bytes)?;
    if let Some(id) = str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok()) {
        return Ok(id);
    }
    let id = Id::generate();
    file.rewind()?;
    file.set_len(0)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_for_one_process_and_the_next_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let first = Process::open(dir.path()).unwrap();
        let refused = Process::open(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&dir.path().display().to_string()), "{refused}");
        let name = first.name().to_owned();
        drop(first);
        assert_eq!(Process::open(dir.path()).unwrap().name(), name);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Process::open(other.path()).unwrap().name(), name);
    }

    #[test]
    fn a_copy_is_another_process() {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Process::open(dir.path()).unwrap();
        fs::copy(dir.path().join("process"), copy.path().join("process")).unwrap();
        assert_ne!(Process::open(copy.path()).unwrap().name(), first.name());
    }

    #[test]
    fn a_torn_file_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        for torn in ["", "0199", "\u{0}\u{0}\u{0}\u{0}", &"x".repeat(100)] {
            fs::write(dir.path().join("process"), torn).unwrap();
            let name = Process::open(dir.path()).unwrap().name().to_owned();
            assert_eq!(Process::open(dir.path()).unwrap().name(), name, "{torn:?}");
        }
    }
}
