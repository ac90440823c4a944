//! The files that hold the vault's keys: `secrets.key`, the first, and `secrets-2.key`, `secrets-3.key` … after it.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use farrier_common::secret::{Secret, random_bytes};

use super::{KEY, KeyId, VaultError};

/// The first key: it derives tokens, too.
pub(super) const FIRST: KeyId = 1;

/// Reads a key.
///
/// # Errors
/// It is not there, holds no key, or may be read by others.
pub(super) fn get(data_dir: &Path, id: KeyId) -> Result<Secret<[u8; KEY]>, VaultError> {
    let path = path(data_dir, id);
    read(&path)?.ok_or_else(|| VaultError::File { path, source: io::ErrorKind::NotFound.into() })
}

/// The newest key that is there; the first one is made if there is none.
///
/// # Errors
/// The folder cannot be read, the first key cannot be made, or is gone while later ones are there.
pub(super) fn newest(data_dir: &Path) -> Result<KeyId, VaultError> {
    let first = path(data_dir, FIRST);
    let failed = |source| VaultError::File { path: first.clone(), source };
    let mut newest = FIRST;
    for entry in fs::read_dir(data_dir).map_err(failed)? {
        newest = newest.max(entry.map_err(failed)?.file_name().to_str().and_then(id).unwrap_or(FIRST));
    }
    if newest == FIRST && read(&first)?.is_none() {
        make(data_dir, &first).map_err(failed)?;
    }
    get(data_dir, FIRST).map(|_| newest)
}

/// Makes a key after the newest one.
///
/// # Errors
/// As [`newest`]; there are as many keys as there can be.
pub(super) fn add(data_dir: &Path) -> Result<PathBuf, VaultError> {
    let next = newest(data_dir)?.checked_add(1).ok_or(VaultError::Full)?;
    let path = path(data_dir, next);
    make(data_dir, &path).map_err(|source| VaultError::File { path: path.clone(), source })?;
    // Read back: somebody else may have been faster.
    get(data_dir, next).map(|_| path)
}

pub(super) fn path(data_dir: &Path, id: KeyId) -> PathBuf {
    data_dir.join(if id == FIRST { "secrets.key".to_owned() } else { format!("secrets-{id}.key") })
}

/// The key that a file is named after, the first one excepted.
fn id(file: &str) -> Option<KeyId> {
    let id = file.strip_prefix("secrets-")?.strip_suffix(".key")?;
    id.parse().ok().filter(|id| *id > FIRST)
}

/// The key, if the file is there.
fn read(path: &Path) -> Result<Option<Secret<[u8; KEY]>>, VaultError> {
    let failed = |source| VaultError::File { path: path.to_owned(), source };
    let file = match fs::File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(VaultError::Open { path: path.to_owned(), mode });
    }
    // One byte more than a key, so that a longer file is seen to be one.
    let limit = u64::try_from(KEY + 1).expect("a small constant");
    let mut read = Vec::with_capacity(KEY + 1);
    file.take(limit).read_to_end(&mut read).map_err(failed)?;
    let bytes = Secret::new(read);
    let length = |_| VaultError::Length { path: path.to_owned(), bytes: bytes.expose().len() };
    bytes.expose().as_slice().try_into().map(|key| Some(Secret::new(key))).map_err(length)
}

/// Makes a key file: whole and on the disk, or not there. One that has come into being meanwhile stays.
fn make(data_dir: &Path, path: &Path) -> io::Result<()> {
    let key = Secret::new(random_bytes::<KEY>());
    let draft = data_dir.join(format!("draft.key.{}", hex::encode(random_bytes::<8>())));
    let written = write(&draft, key.expose()).and_then(|()| match fs::hard_link(&draft, path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    fs::remove_file(&draft)?;
    written?;
    fs::File::open(data_dir)?.sync_all()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
