//! Files that are either old or new, never half.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Readable by the daemon alone: most of what a rack stores holds tokens.
pub const PRIVATE: u32 = 0o600;

/// Writes `bytes` to a new file (mode 0600), which a crash may still lose.
///
/// # Errors
/// The file cannot be written.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Replaces `path` by `bytes` (mode 0600): write beside it, flush, rename, flush the folder.
///
/// # Errors
/// The file cannot be replaced; it holds what it held before.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("a path without a file name"))?;
    let beside = path.with_file_name(format!(".{}.new", name.to_string_lossy()));
    write_new(&beside, bytes)?.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(path.parent().unwrap_or_else(|| Path::new(".")))
}

/// Removes `path` for good; it is no error if it is not there.
///
/// # Errors
/// The file is still there.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    sync_folder(path.parent().unwrap_or_else(|| Path::new(".")))
}

/// Makes the names in a folder durable.
///
/// # Errors
/// The folder cannot be flushed.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, PRIVATE);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }
}
