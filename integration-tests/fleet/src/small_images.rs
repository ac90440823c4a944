//! Images for machines that do not look into them: simulated ones check digests, whatever the bytes are. Nothing has to be
//! built for these.

use std::{fs, path::PathBuf};

use farrier_integration_tests::{
    cli::Cli,
    error::{LabError, Result},
    lab::{Lab, text},
};
use sha2::{Digest as _, Sha256};

use crate::dice::Dice;

/// The name of the system that is deployed.
pub const SYSTEM: &str = "small";
/// Before compression, of which there is none to speak of.
const DISK_BYTES: usize = 8 << 20;
const BOOT_BYTES: usize = 256 << 10;

/// An ephemeral image and a system, as files of a lab.
#[derive(Debug)]
pub struct SmallImages {
    kernel: PathBuf,
    initrd: PathBuf,
    disk: PathBuf,
    /// Of the system as it is stored.
    pub disk_sha256: String,
}

impl SmallImages {
    /// Writes them.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(lab: &Lab) -> Result<Self> {
        let io = LabError::io("cannot compress an image");
        let disk = zstd::encode_all(&noise("disk", DISK_BYTES)[..], 1).map_err(io)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = lab.dir().join(name);
            fs::write(&path, bytes).map_err(LabError::io(format!("cannot write {}", text(&path))))?;
            Ok::<_, LabError>(path)
        };
        let kernel = write("kernel", &noise("kernel", BOOT_BYTES))?;
        let initrd = write("initrd", &noise("initrd", BOOT_BYTES))?;
        Ok(Self {
            kernel,
            initrd,
            disk_sha256: hex::encode(Sha256::digest(&disk)),
            disk: write("disk.raw.zst", &disk)?,
        })
    }

    /// Gives them to a region.
    ///
    /// # Errors
    /// The region refuses.
    pub fn upload(&self, admin: &Cli) -> Result<()> {
        let [kernel, initrd, disk] = [&self.kernel, &self.initrd, &self.disk].map(|path| text(path));
        let create = ["image", "create", "ephemeral", "--kind", "ephemeral", "--arch", "amd64"];
        admin.run(&[&create[..], &["--kernel", &kernel, "--initrd", &initrd]].concat())?;
        admin.run(&["image", "create", SYSTEM, "--kind", "disk", "--arch", "amd64", "--disk", &disk]).map(drop)
    }
}

/// Bytes that are the same in every run.
fn noise(label: &str, length: usize) -> Vec<u8> {
    let mut dice = Dice::new(0).fork(label);
    let mut bytes = vec![0; length];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&dice.bytes::<8>()[..chunk.len()]);
    }
    bytes
}
