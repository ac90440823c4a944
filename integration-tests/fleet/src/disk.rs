//! What a machine's disks remember. Content is known by its digest, so a disk of terabytes costs a few hundred bytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farrier_common::id::BootId;
use farrier_proto::{agent::NoCloudSeed, v1};

use crate::truth::{Fact, Truth};

/// One disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Disk {
    /// The kernel's name.
    pub name: String,
    /// Its own.
    pub serial: String,
    /// Its maker's.
    pub model: &'static str,
    /// How it is attached.
    pub bus: &'static str,
    /// Bytes.
    pub size_bytes: u64,
    /// What is on it.
    pub content: Content,
}

/// What is on a disk.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Nothing.
    Blank,
    /// An operating system, with its seed.
    Image(Arc<Installed>),
    /// A part of an image: what is left when a machine dies while one is written.
    Torn,
    /// Something that somebody left, known by a number.
    Marked(u64),
}

/// An installed operating system.
#[derive(Clone, Debug, PartialEq)]
pub struct Installed {
    /// Digest of the image's content.
    pub content_sha256: String,
    /// What cloud-init finds.
    pub seed: NoCloudSeed,
    /// The boot that installed it.
    pub boot_id: BootId,
}

impl Disk {
    /// A new one. It spins if it is not NVMe.
    #[must_use]
    pub const fn blank(name: String, serial: String, model: &'static str, bus: &'static str, size_bytes: u64) -> Self {
        Self { name, serial, model, bus, size_bytes, content: Content::Blank }
    }

    /// Can it discard? Only the fast ones can.
    #[must_use]
    pub fn discards(&self) -> bool {
        self.bus == "nvme"
    }
}

/// The disks of one machine. Clones are the same disks.
#[derive(Clone, Debug)]
pub struct Disks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    disks: Mutex<Vec<State>>,
    truth: Arc<Truth>,
}

#[derive(Debug)]
struct State {
    disk: Disk,
    /// cloud-init has told of this installation, which it does once.
    told: bool,
    /// It is pulled out: nobody sees it, and it keeps what is on it.
    out: bool,
}

impl Disks {
    /// The disks of a machine, whose installations and wipes are counted in `truth`.
    #[must_use]
    pub fn new(disks: Vec<Disk>, truth: Arc<Truth>) -> Self {
        let disks = disks.into_iter().map(|disk| State { disk, told: false, out: false }).collect();
        Self(Arc::new(Inner { disks: Mutex::new(disks), truth }))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<State>> {
        self.0.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pulls a disk out, or puts it back; `false` if there is no such disk. `place` counts all slots, from 0. To be done while
    /// the machine is off: places in [`Disks::list`] change.
    #[must_use]
    pub fn pull(&self, place: usize, out: bool) -> bool {
        self.lock().get_mut(place).map(|state| state.out = out).is_some()
    }

    /// All of them that are in, as they are now. What is done to a disk names it by its place in this list.
    #[must_use]
    pub fn list(&self) -> Vec<Disk> {
        inside(&self.lock()).map(|state| state.disk.clone()).collect()
    }

    /// As an inventory tells them.
    #[must_use]
    pub fn inventory(&self) -> Vec<v1::Disk> {
        let describe = |state: &State| v1::Disk {
            name: state.disk.name.clone(),
            serial: state.disk.serial.clone(),
            model: state.disk.model.to_owned(),
            size_bytes: state.disk.size_bytes,
            rotational: !state.disk.discards(),
            bus: state.disk.bus.to_owned(),
            discard: state.disk.discards(),
        };
        inside(&self.lock()).map(describe).collect()
    }

    /// The number of the disk that takes an image of `size` bytes: that with the serial, or the smallest that holds it.
    ///
    /// # Errors
    /// There is none.
    pub fn choose(&self, serial: &str, size: u64) -> Result<usize, String> {
        let disks = self.lock();
        let fits = |(_, state): &(usize, &State)| state.disk.size_bytes >= size;
        if serial.is_empty() {
            let smallest = inside(&disks).enumerate().filter(fits).min_by_key(|(_, state)| state.disk.size_bytes);
            return smallest.map(|(n, _)| n).ok_or_else(|| format!("no disk holds {size} bytes"));
        }
        let named = inside(&disks).enumerate().find(|(_, state)| state.disk.serial == serial);
        let named = named.ok_or_else(|| format!("no disk has serial {serial:?}"))?;
        Some(named).filter(fits).map(|(n, _)| n).ok_or_else(|| format!("disk {serial:?} is smaller than {size} bytes"))
    }

    /// A write begins: what was there is gone.
    pub fn tear(&self, n: usize) {
        self.set(n, Content::Torn);
    }

    /// An image is written to its end, and its seed is laid. Counts an installation.
    pub fn install(&self, n: usize, installed: Installed) {
        self.set(n, Content::Image(Arc::new(installed)));
        self.0.truth.count(Fact::Install);
    }

    /// A disk is erased to its end. Counts a wipe.
    pub fn wipe(&self, n: usize) {
        self.set(n, Content::Blank);
        self.0.truth.count(Fact::Wipe);
    }

    /// The system on a disk is started. Counts it.
    pub fn start(&self) {
        self.0.truth.count(Fact::SystemStart);
    }

    /// Leaves something on a disk.
    pub fn mark(&self, n: usize, mark: u64) {
        self.set(n, Content::Marked(mark));
    }

    fn set(&self, n: usize, content: Content) {
        if let Some(state) = inside_mut(&mut self.lock()).nth(n) {
            (state.disk.content, state.told) = (content, false);
        }
    }

    /// The system that firmware finds on the first disk that has one.
    #[must_use]
    pub fn bootable(&self) -> Option<(usize, Arc<Installed>)> {
        inside(&self.lock()).enumerate().find_map(|(n, state)| match &state.disk.content {
            Content::Image(installed) => Some((n, Arc::clone(installed))),
            Content::Blank | Content::Torn | Content::Marked(_) => None,
        })
    }

    /// Has cloud-init told of the installation on this disk?
    #[must_use]
    pub fn has_told(&self, n: usize) -> bool {
        inside(&self.lock()).nth(n).is_some_and(|state| state.told)
    }

    /// cloud-init has told of the installation on this disk, or has given up.
    pub fn told(&self, n: usize) {
        if let Some(state) = inside_mut(&mut self.lock()).nth(n) {
            state.told = true;
        }
    }
}

fn inside(disks: &[State]) -> impl Iterator<Item = &State> {
    disks.iter().filter(|state| !state.out)
}

fn inside_mut(disks: &mut [State]) -> impl Iterator<Item = &mut State> {
    disks.iter_mut().filter(|state| !state.out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disks() -> (Disks, Arc<Truth>) {
        let truth = Arc::new(Truth::default());
        let disk = |serial: &str, size| Disk::blank("nvme0n1".to_owned(), serial.to_owned(), "model", "nvme", size);
        (Disks::new(vec![disk("big", 100), disk("small", 50)], Arc::clone(&truth)), truth)
    }

    #[test]
    fn the_right_disk_is_chosen() {
        let (disks, _) = disks();
        assert_eq!((disks.choose("", 40), disks.choose("", 60), disks.choose("big", 1)), (Ok(1), Ok(0), Ok(0)));
        assert!(disks.choose("", 101).is_err() && disks.choose("small", 51).is_err() && disks.choose("x", 1).is_err());
    }

    #[test]
    fn a_disk_that_is_out_is_not_seen_and_keeps_what_is_on_it() {
        let (disks, _) = disks();
        disks.mark(0, 7);
        assert!(disks.pull(0, true) && !disks.pull(2, true));
        disks.wipe(0);
        assert_eq!((disks.list().len(), disks.inventory().len(), disks.choose("", 60).is_err()), (1, 1, true));
        assert!(disks.pull(0, false));
        let contents: Vec<_> = disks.list().into_iter().map(|d| d.content).collect();
        assert_eq!(contents, [Content::Marked(7), Content::Blank]);
    }

    #[test]
    fn only_whole_installations_boot_and_everything_is_counted() {
        let (disks, truth) = disks();
        let boot_id = BootId::generate();
        disks.tear(0);
        disks.mark(1, 7);
        assert!(disks.bootable().is_none());
        disks.install(1, Installed { content_sha256: "a".to_owned(), seed: NoCloudSeed::default(), boot_id });
        disks.told(1);
        let (n, installed) = disks.bootable().unwrap();
        assert_eq!((n, installed.boot_id, disks.has_told(1)), (1, boot_id, true));
        disks.wipe(1);
        assert!(disks.bootable().is_none() && !disks.has_told(1));
        assert_eq!((truth.of(Fact::Install), truth.of(Fact::Wipe)), (1, 1));
    }
}
