//! Where the agent is to die, and where it did.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Values for `--crash-at`, each to be hit in turn. Clones are the same plan, so machines may share one.
#[derive(Clone, Debug, Default)]
pub struct CrashPlan(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    queue: VecDeque<String>,
    hits: Vec<String>,
}

impl CrashPlan {
    /// Puts a value behind the others. Every agent that starts is given the first one until one was hit.
    pub fn push(&self, cell: impl Into<String>) {
        self.lock().queue.push_back(cell.into());
    }

    /// What is still to be hit; the first one is what the next agent is given.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        self.lock().queue.iter().cloned().collect()
    }

    /// Takes back what was not hit yet. An agent that runs keeps what it was given.
    pub fn clear(&self) -> Vec<String> {
        self.lock().queue.drain(..).collect()
    }

    /// What was hit, in order: `POINT/CONTEXT`, as the agents said it.
    #[must_use]
    pub fn hits(&self) -> Vec<String> {
        self.lock().hits.clone()
    }

    pub(super) fn next(&self) -> Option<String> {
        self.lock().queue.front().cloned()
    }

    fn hit(&self, place: &str) {
        let mut plan = self.lock();
        plan.hits.push(place.to_owned());
        let point = |cell: &str| {
            let cell = cell.split_once('#').map_or(cell, |(cell, _)| cell);
            cell == place || place.split_once('/').is_some_and(|(point, _)| point == cell)
        };
        if plan.queue.front().is_some_and(|cell| point(cell)) {
            plan.queue.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a machine's agents say.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    plan: CrashPlan,
    /// So much of it was read.
    at: Mutex<u64>,
}

impl Log {
    pub(super) const fn new(path: PathBuf, plan: CrashPlan) -> Self {
        Self { path, plan, at: Mutex::new(0) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn text(&self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.path)?).into_owned())
    }

    /// Notes which points were reached since the last time. No log: nobody said anything yet.
    pub(super) fn read(&self) {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(*at))?;
            file.read_to_end(&mut bytes)
        });
        if read.is_err() {
            return;
        }
        // Half a line is read again when it is whole.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        *at += whole as u64;
        for line in String::from_utf8_lossy(&bytes[..whole]).lines() {
            let place = line.strip_prefix("crash point ").and_then(|rest| rest.strip_suffix(" reached"));
            if let Some(place) = place {
                self.plan.hit(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_cell_is_given_until_it_was_hit() {
        let dir = tempfile::tempdir().unwrap();
        let plan = CrashPlan::default();
        let log = Log::new(dir.path().join("log"), plan.clone());
        for cell in ["erasing", "work-done/erase#2", "reported/erase"] {
            plan.push(cell);
        }
        log.read();
        assert_eq!((plan.next().as_deref(), plan.hits().len()), (Some("erasing"), 0));
        let mut file = File::create(log.path()).unwrap();
        file.write_all(b"farrier-agent: hello\ncrash point erasing/erase reached\ncrash point work-").unwrap();
        log.read();
        log.read();
        assert_eq!(
            (plan.next().as_deref(), plan.hits()),
            (Some("work-done/erase#2"), vec!["erasing/erase".to_owned()])
        );
        file.write_all(b"done/erase reached\n").unwrap();
        log.read();
        assert_eq!((plan.clear(), plan.hits().len(), plan.left().len()), (vec!["reported/erase".to_owned()], 2, 0));
    }
}
