//! Lays the cloud-init seed (NoCloud) into the root file-system of an image.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use farrier_proto::agent::NoCloudSeed;
use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat},
    mount::{MsFlags, mount, umount},
    sys::stat::{Mode, mkdirat},
    unistd::{UnlinkatFlags, unlinkat},
};

use crate::error::TaskError;

/// Where cloud-init looks for a seed, below the root.
const FOLDER: [&str; 5] = ["var", "lib", "cloud", "seed", "nocloud"];

/// Mounts `device` as `driver`, writes the seed durably, unmounts.
///
/// # Errors
/// The file-system cannot be mounted or written.
pub fn lay(device: &Path, driver: &str, seed: &NoCloudSeed) -> Result<(), TaskError> {
    let at = PathBuf::from("/run/farrier-root");
    fs::create_dir_all(&at).map_err(TaskError::io("making a place to mount the root file-system"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
    mount(Some(device), &at, Some(driver), flags, None::<&str>)
        .map_err(|e| TaskError::io(format!("mounting {} as {driver}", device.display()))(e.into()))?;
    let laid = write(&at, seed).map_err(TaskError::io("writing the seed"));
    let unmounted = umount(&at).map_err(|e| TaskError::io("unmounting the root file-system")(e.into()));
    laid.and(unmounted)?;
    // The driver has written everything; the disk may still hold it in its cache.
    let disk = File::open(device).and_then(|f| f.sync_all());
    disk.map_err(TaskError::io(format!("writing out {}", device.display())))
}

/// Writes the seed's files below `root`.
///
/// # Errors
/// A folder or file cannot be made. Links on the way are refused: they would be followed outside the image.
pub fn write(root: &Path, seed: &NoCloudSeed) -> io::Result<()> {
    let folder_flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let mut folder = open(root, folder_flags, Mode::empty())?;
    for name in FOLDER {
        match mkdirat(&folder, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let next = openat(&folder, name, folder_flags, Mode::empty())?;
        sync(folder)?;
        folder = next;
    }
    put(&folder, "meta-data", &seed.meta_data)?;
    put(&folder, "user-data", &seed.user_data)?;
    // cloud-init takes a file that is there but empty for a mistake; user-data may be empty.
    for (name, content) in [("network-config", &seed.network_config), ("vendor-data", &seed.vendor_data)] {
        if content.is_empty() {
            remove(&folder, name)?;
        } else {
            put(&folder, name, content)?;
        }
    }
    sync(folder)
}

/// A new file that only root can read: user data may hold secrets.
fn put(folder: impl AsFd, name: &str, content: &[u8]) -> io::Result<()> {
    remove(&folder, name)?;
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(&folder, name, flags, Mode::from_bits_truncate(0o600))?);
    file.write_all(content)?;
    file.sync_all()
}

fn remove(folder: impl AsFd, name: &str) -> io::Result<()> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn sync(folder: OwnedFd) -> io::Result<()> {
    File::from(folder).sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn seed(network: &str) -> NoCloudSeed {
        let bytes = |text: &str| text.as_bytes().to_vec();
        NoCloudSeed {
            user_data: bytes("#cloud-config\n"),
            meta_data: bytes("instance-id: i-1\n"),
            network_config: bytes(network),
            vendor_data: bytes("#cloud-config\nphone_home: {}\n"),
        }
    }

    #[test]
    fn the_seed_replaces_an_older_one_and_only_root_reads_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("var/lib/cloud/seed/nocloud");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("user-data"), "old and longer than the new one").unwrap();
        write(root.path(), &seed("version: 2\n")).unwrap();
        assert_eq!(fs::read_to_string(folder.join("user-data")).unwrap(), "#cloud-config\n");
        assert_eq!(fs::read_to_string(folder.join("network-config")).unwrap(), "version: 2\n");
        for name in ["user-data", "meta-data", "network-config", "vendor-data"] {
            assert_eq!(fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
        write(root.path(), &seed("")).unwrap();
        assert!(!folder.join("network-config").exists());
    }

    #[test]
    fn a_link_that_leads_out_of_the_image_is_not_followed() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), root.path().join("var")).unwrap();
        assert!(write(root.path(), &seed("")).is_err());
        fs::remove_file(root.path().join("var")).unwrap();
        let folder = root.path().join("var/lib/cloud/seed/nocloud");
        fs::create_dir_all(&folder).unwrap();
        symlink(outside.path().join("stolen"), folder.join("user-data")).unwrap();
        write(root.path(), &seed("")).unwrap();
        assert!(fs::symlink_metadata(folder.join("user-data")).unwrap().is_file());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
