//! The folder that holds the intents.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use farrier_common::{id::MachineId, telemetry::Chain};
use serde::{Serialize, de::DeserializeOwned};

use super::record::{BadRecord, HeaderRecord, IntentRecord};
use crate::boot::{
    files,
    intent::{EphemeralImage, Intent, Snapshot, Subnet},
};

const POINTER: &str = "current";
const HEADER: &str = "header.json";
const GENERATION: &str = "generation-";
const MACHINE: &str = "machine-";

/// Where intents are written.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    /// Number of the generation folder in use; 0: none yet.
    generation: u64,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) snapshot_id: Option<String>,
    pub(super) subnets: Vec<Subnet>,
    pub(super) enlist_image: Option<EphemeralImage>,
    pub(super) intents: Vec<Intent>,
}

impl From<Snapshot> for Loaded {
    fn from(s: Snapshot) -> Self {
        Self {
            snapshot_id: Some(s.id),
            subnets: s.subnets,
            enlist_image: s.enlist_image,
            // As `put` does it, the last of several intents for one machine counts.
            intents: s.intents,
        }
    }
}

// === impl Disk ===

impl Disk {
    pub(super) fn open(dir: &Path) -> io::Result<(Self, Loaded)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let generation = read_pointer(&dir.join(POINTER))?;
        let disk = Self { dir: dir.to_owned(), generation };
        disk.sweep();
        let loaded = if generation == 0 { Loaded::default() } else { load(&disk.folder(generation))? };
        Ok((disk, loaded))
    }

    pub(super) fn replace(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let generation = self.generation + 1;
        let folder = self.folder(generation);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let header = HeaderRecord::new(&snapshot.id, &snapshot.subnets, snapshot.enlist_image.as_ref());
        files::write_new(&folder.join(HEADER), &encode(&header)?)?;
        for intent in &snapshot.intents {
            files::write_new(&folder.join(file_name(intent.machine_id)), &encode(&IntentRecord::from(intent))?)?;
        }
        // One flush of the file system instead of one for each of up to 10,000 files.
        nix::unistd::syncfs(fs::File::open(&folder)?)?;
        files::sync_folder(&self.dir)?;
        files::replace(&self.dir.join(POINTER), format!("{generation}\n").as_bytes())?;
        self.generation = generation;
        self.sweep();
        Ok(())
    }

    pub(super) fn put(&self, intent: &Intent) -> io::Result<()> {
        let path = self.folder(self.generation).join(file_name(intent.machine_id));
        files::replace(&path, &encode(&IntentRecord::from(intent))?)
    }

    pub(super) fn remove(&self, machine: MachineId) -> io::Result<()> {
        if self.generation == 0 {
            return Ok(());
        }
        files::remove(&self.folder(self.generation).join(file_name(machine)))
    }

    fn folder(&self, generation: u64) -> PathBuf {
        self.dir.join(format!("{GENERATION}{generation}"))
    }

    /// Removes what earlier snapshots and crashes left. A folder that stays costs space and nothing else.
    fn sweep(&self) {
        let current = self.folder(self.generation);
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for path in entries.flatten().map(|e| e.path()) {
            let old = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(GENERATION)) && path != current;
            if old && let Err(e) = fs::remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), error = %e, "cannot remove an old generation of intents");
            }
        }
    }
}

fn file_name(machine: MachineId) -> String {
    format!("{MACHINE}{machine}.json")
}

fn encode(record: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec(record).map_err(io::Error::from)
}

fn decode<T: DeserializeOwned>(path: &Path) -> io::Result<Result<T, BadRecord>> {
    Ok(serde_json::from_slice(&fs::read(path)?).map_err(BadRecord::from))
}

fn read_pointer(path: &Path) -> io::Result<u64> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{} holds no generation number", path.display()))
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e),
    }
}

fn load(folder: &Path) -> io::Result<Loaded> {
    let mut loaded = match load_header(&folder.join(HEADER))? {
        Ok(loaded) => loaded,
        Err(e) => {
            tracing::error!(error = %Chain(&e), "the stored snapshot header is unusable; waiting for the region's");
            return Ok(Loaded::default());
        }
    };
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(MACHINE) {
            continue;
        }
        match decode::<IntentRecord>(&path)?.and_then(Intent::try_from) {
            Ok(intent) => loaded.intents.push(intent),
            Err(e) => {
                tracing::error!(path = %path.display(), error = %Chain(&e), "a stored intent is unusable; asking for all");
                (loaded.snapshot_id, loaded.enlist_image) = (None, None);
            }
        }
    }
    Ok(loaded)
}

fn load_header(path: &Path) -> io::Result<Result<Loaded, BadRecord>> {
    Ok(decode::<HeaderRecord>(path)?.and_then(|header| {
        Ok(Loaded {
            subnets: header.subnets()?,
            snapshot_id: Some(header.snapshot_id.clone()),
            enlist_image: header.into_enlist_image(),
            intents: Vec::new(),
        })
    }))
}
