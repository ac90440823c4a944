//! Work that is answered with 202 and followed as a task.

use std::collections::VecDeque;

use chrono::TimeDelta;
use farrier_common::clock::Timestamp;

/// Tasks that are remembered; the oldest is forgotten first.
const KEPT: usize = 8;

/// How long a task runs.
const RUNS: TimeDelta = TimeDelta::seconds(2);

/// One task.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) name: &'static str,
    pub(super) started: Timestamp,
    pub(super) ends: Timestamp,
}

/// The tasks of a BMC.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    list: VecDeque<Task>,
    made: u32,
}

// === impl Tasks ===

impl Tasks {
    /// Begins a task and gives its id.
    pub(super) fn begin(&mut self, name: &'static str, now: Timestamp) -> String {
        self.made += 1;
        let id = self.made.to_string();
        if self.list.len() >= KEPT {
            self.list.pop_front();
        }
        self.list.push_back(Task { id: id.clone(), name, started: now, ends: now + RUNS });
        id
    }

    pub(super) fn get(&self, id: &str) -> Option<&Task> {
        self.list.iter().find(|t| t.id == id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Task> {
        self.list.iter()
    }
}

impl Task {
    pub(super) fn is_done(&self, now: Timestamp) -> bool {
        now >= self.ends
    }
}
