//! Keeps what is costly to build outside the clone, under a key made of everything that it is built from.
//!
//! **Invariant:** a folder under its key is complete: it is built beside and renamed. Two processes never build the
//! same kind at once.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use farrier_common::secret::sha256_hex;

use crate::error::{LabError, Result};

/// How many keys of one kind are kept.
const KEPT: usize = 3;

/// The folder of artefacts: `$XDG_CACHE_HOME/farrier-lab`, by default `~/.cache/farrier-lab`.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache of this user.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open() -> Result<Self> {
        let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
        let home = || env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from).join(".cache");
        Self::at(base.unwrap_or_else(home).join("farrier-lab"))
    }

    /// Opens the cache in a folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn at(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root).map_err(LabError::io(format!("cannot make {}", root.display())))?;
        Ok(Self { root })
    }

    /// A folder that builders share, such as for downloads.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn shared(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).map_err(LabError::io(format!("cannot make {}", path.display())))?;
        Ok(path)
    }

    /// The folder of artefact `kind` made from `inputs` (files and folders); `build` fills an empty folder if there is none.
    ///
    /// # Errors
    /// An input cannot be read, or the build fails.
    pub fn artefact(&self, kind: &str, inputs: &[PathBuf], build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let key = key(inputs)?;
        let family = self.shared(kind)?;
        let done = family.join(&key[..16]);
        if done.is_dir() {
            return Ok(done);
        }
        let failed = |what: &str| LabError::io(format!("cannot {what} {}", done.display()));
        let lock = File::create(self.root.join(format!("{kind}.lock"))).map_err(failed("lock"))?;
        lock.lock().map_err(failed("lock"))?;
        if done.is_dir() {
            return Ok(done);
        }
        let part = family.join("part");
        let _ = fs::remove_dir_all(&part);
        fs::create_dir_all(&part).map_err(failed("prepare"))?;
        build(&part)?;
        fs::rename(&part, &done).map_err(failed("rename to"))?;
        forget_old(&family);
        Ok(done)
    }
}

/// SHA-256 over names and contents of all inputs.
fn key(inputs: &[PathBuf]) -> Result<String> {
    let mut digests = String::new();
    for input in inputs {
        let mut files = Vec::new();
        list(input, &mut files).map_err(LabError::io(format!("cannot list {}", input.display())))?;
        files.sort();
        for file in files {
            let content = fs::read(&file).map_err(LabError::io(format!("cannot read {}", file.display())))?;
            let name = file.strip_prefix(input).unwrap_or(&file);
            digests.push_str(&format!("{} {}\n", name.display(), sha256_hex(&content)));
        }
        digests.push('\n');
    }
    Ok(sha256_hex(digests.as_bytes()))
}

/// All files at or under `path`.
fn list(path: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            list(&entry?.path(), into)?;
        }
    } else {
        into.push(path.to_owned());
    }
    Ok(())
}

/// Removes all but the newest folders of one kind. Failing to is harmless: it only costs space.
fn forget_old(family: &Path) {
    let Ok(entries) = fs::read_dir(family) else { return };
    let mut folders: Vec<_> =
        entries.flatten().filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path()))).collect();
    folders.sort();
    folders.reverse();
    for (_, old) in folders.into_iter().skip(KEPT) {
        let _ = fs::remove_dir_all(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artefact_is_built_once_for_its_inputs() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("input");
        let cache = Cache::at(dir.path().join("cache")).unwrap();
        let build = |text: &str| {
            fs::write(&input, text).unwrap();
            let mut built = false;
            let path = cache
                .artefact("thing", std::slice::from_ref(&input), |out| {
                    built = true;
                    fs::write(out.join("file"), text).map_err(LabError::io("write"))
                })
                .unwrap();
            (fs::read_to_string(path.join("file")).unwrap(), built)
        };
        assert_eq!(build("one"), ("one".to_owned(), true));
        assert_eq!(build("one"), ("one".to_owned(), false));
        assert_eq!(build("two"), ("two".to_owned(), true));
    }

    #[test]
    fn a_failed_build_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().to_owned()).unwrap();
        assert!(cache.artefact("thing", &[], |_| Err(LabError::answer("build", "no"))).is_err());
        let path = cache.artefact("thing", &[], |out| fs::write(out.join("x"), "").map_err(LabError::io("write")));
        assert!(path.unwrap().join("x").exists());
    }
}
