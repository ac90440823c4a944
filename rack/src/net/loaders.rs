//! The boot loaders: the only files that anybody may have by TFTP.

use std::{collections::HashMap, fs, io, path::Path, sync::Arc};

use bytes::Bytes;

/// Of BIOS firmware.
pub const BIOS: &str = "undionly.kpxe";
/// Of UEFI firmware on x86-64.
pub const UEFI: &str = "snponly.efi";
/// With drivers of its own, for UEFI whose own are broken.
const UEFI_DRIVERS: &str = "ipxe.efi";

const NAMES: [&str; 3] = [BIOS, UEFI, UEFI_DRIVERS];

/// Larger files are no loaders.
const SIZE_LIMIT: u64 = 16 << 20;

/// Loaders by name, in memory. Clones share them.
#[derive(Clone, Debug)]
pub struct Loaders(Arc<HashMap<&'static str, Bytes>>);

impl Loaders {
    /// Reads the loaders that the folder holds; later changes of the files count after a restart.
    ///
    /// # Errors
    /// A file cannot be read, or there is none at all.
    pub fn load(dir: &Path) -> io::Result<Self> {
        let mut files = HashMap::new();
        for name in NAMES {
            let path = dir.join(name);
            match fs::metadata(&path) {
                Ok(found) if found.is_file() && found.len() <= SIZE_LIMIT => {
                    files.insert(name, Bytes::from(fs::read(&path)?));
                }
                Ok(_) => tracing::warn!(path = %path.display(), "not a loader: no file, or larger than 16 MiB"),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), "loader missing: machines that need it cannot boot");
                }
                Err(e) => return Err(e),
            }
        }
        if files.is_empty() {
            let text = format!("loaders_dir: {} holds none of {}", dir.display(), NAMES.join(", "));
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Ok(Self(Arc::new(files)))
    }

    /// The loader that a client names. Slashes before the name do not count: firmware adds them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<(&'static str, Bytes)> {
        let (name, bytes) = self.0.get_key_value(name.trim_start_matches('/'))?;
        Some((name, bytes.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loaders_are_served() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Loaders::load(dir.path()).unwrap_err().to_string().contains("snponly.efi"));
        for name in [UEFI, "other"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let loaders = Loaders::load(dir.path()).unwrap();
        for (name, there) in [("snponly.efi", true), ("//snponly.efi", true), ("SNPONLY.EFI", false), ("other", false)]
        {
            assert_eq!(loaders.get(name).is_some(), there, "{name}");
        }
        assert!(loaders.get("../snponly.efi").is_none() && loaders.get("").is_none());
    }
}
