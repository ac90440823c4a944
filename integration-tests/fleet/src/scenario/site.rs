//! What a scenario plays in: a lab with a region, a rack and small images, and the processes that it ends and starts.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use farrier_common::secret::Secret;
use farrier_integration_tests::{
    daemon::Daemon,
    daemons::{self, RegionOptions},
    lab::Lab,
    net::DYNAMIC,
    postgres::Postgres,
    site::Site,
};
use sha2::{Digest as _, Sha256};

use super::command::{Damage, Database, Process, SiteOptions};
use crate::{drive::Access, small_images::SmallImages};

/// Region, rack and database.
pub(super) struct Works {
    site: Site,
    postgres: Option<Postgres>,
    timers: Vec<Timer>,
    /// Of the image, as the rack keeps it.
    image_sha256: String,
}

struct Timer {
    at: Instant,
    process: Process,
    deed: Deed,
}

#[derive(Clone, Copy)]
enum Deed {
    Kill,
    Stop,
    Start,
}

impl Works {
    pub(super) fn start(lab: &Lab, options: &SiteOptions) -> anyhow::Result<Self> {
        let postgres = match options.database {
            Database::Postgres => Some(lab.start_postgres()?),
            Database::Sqlite => None,
        };
        let database = postgres.as_ref().map(Postgres::url);
        let deadlines = options.deadlines.clone();
        let region = RegionOptions { database, power_poll_seconds: options.poll, deadlines };
        let dynamic = options.dynamic.as_deref().unwrap_or(DYNAMIC);
        let images = SmallImages::write(lab)?;
        let site = Site::start_with(lab, &region, dynamic, |admin| images.upload(admin))?;
        Ok(Self { site, postgres, timers: Vec::new(), image_sha256: images.disk_sha256 })
    }

    pub(super) fn access(&self) -> anyhow::Result<Access> {
        Ok(Access {
            address: daemons::Region::address(),
            ca_pem: fs::read_to_string(self.site.region.ca()).context("cannot read the region's CA")?,
            token: Secret::new(fs::read_to_string(self.site.region.admin_token())?.trim().to_owned()),
        })
    }

    /// Ends a process now or in a while, for good or until it is started again.
    pub(super) fn end(
        &mut self,
        process: Process,
        kill: bool,
        after: Option<Duration>,
        lasts: Option<Duration>,
    ) -> anyhow::Result<()> {
        let deed = if kill { Deed::Kill } else { Deed::Stop };
        let now = Instant::now();
        let ends = now + after.unwrap_or_default();
        if after.is_some() {
            self.timers.push(Timer { at: ends, process, deed });
        } else {
            self.act(process, deed)?;
        }
        if let Some(lasts) = lasts {
            self.timers.push(Timer { at: ends + lasts, process, deed: Deed::Start });
        }
        Ok(())
    }

    pub(super) fn start_again(&mut self, process: Process) -> anyhow::Result<()> {
        self.act(process, Deed::Start)
    }

    /// What was to happen by now, happens now. Processes end with the thread that starts them, so it is always this one.
    pub(super) fn attend(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        while let Some(at) = self.timers.iter().position(|timer| timer.at <= now) {
            let timer = self.timers.remove(at);
            self.act(timer.process, timer.deed)?;
        }
        Ok(())
    }

    /// Is something still to happen to `process` by itself?
    pub(super) fn awaits(&self, process: Process) -> bool {
        self.timers.iter().any(|timer| timer.process == process)
    }

    /// How long until something is to happen by itself.
    pub(super) fn next(&self) -> Option<Duration> {
        self.timers.iter().map(|timer| timer.at.saturating_duration_since(Instant::now())).min()
    }

    fn act(&mut self, process: Process, deed: Deed) -> anyhow::Result<()> {
        match deed {
            Deed::Kill => self.daemon(process)?.kill()?,
            Deed::Stop => drop(self.daemon(process)?.stop()?),
            Deed::Start => match process {
                Process::Region => self.site.region.restart()?,
                Process::Rack => self.site.rack.restart()?,
                Process::Database => self.postgres.as_mut().context(NO_SERVER)?.restart()?,
            },
        }
        Ok(())
    }

    fn daemon(&mut self, process: Process) -> anyhow::Result<&mut Daemon> {
        match process {
            Process::Region => Ok(&mut self.site.region.daemon),
            Process::Rack => Ok(&mut self.site.rack.daemon),
            Process::Database => Ok(&mut self.postgres.as_mut().context(NO_SERVER)?.server),
        }
    }

    /// All that a process ever logged.
    pub(super) fn log(&mut self, process: Process) -> anyhow::Result<String> {
        let path = self.daemon(process)?.log();
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Does something to the rack's copy of the image.
    pub(super) fn damage(&self, lab: &Path, damage: Damage) -> anyhow::Result<()> {
        let path = self.cached(lab);
        let opened = fs::OpenOptions::new().read(true).write(true).open(&path);
        let mut file = opened.with_context(|| format!("the rack has no copy of the image at {}", path.display()))?;
        let half = file.metadata()?.len() / 2;
        match damage {
            Damage::Whole => return Ok(()),
            Damage::Cut => file.set_len(half)?,
            Damage::Damage => {
                let mut byte = [0];
                file.seek(SeekFrom::Start(half))?;
                file.read_exact(&mut byte)?;
                file.seek(SeekFrom::Start(half))?;
                file.write_all(&[!byte[0]])?;
            }
        }
        ensure!(!self.is_cached(lab)?, "the rack's copy of the image is as it was");
        Ok(())
    }

    /// Has the rack a true copy of the image?
    pub(super) fn is_cached(&self, lab: &Path) -> anyhow::Result<bool> {
        let path = self.cached(lab);
        match fs::read(&path) {
            Ok(bytes) => Ok(hex::encode(Sha256::digest(&bytes)) == self.image_sha256),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => bail!("cannot read {}: {error}", path.display()),
        }
    }

    fn cached(&self, lab: &Path) -> PathBuf {
        lab.join("rack/data/blobs").join(&self.image_sha256)
    }
}

const NO_SERVER: &str = "this site has no database server; begin with: site database=postgres";
