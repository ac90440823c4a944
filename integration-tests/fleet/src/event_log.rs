//! The BMC's event log: records as IPMI has them (2.0 section 32), in the order in which they came.

use std::mem;

/// Bytes of a record.
pub const RECORD: usize = 16;
/// Records that there is room for.
pub const ROOM: usize = 512;

/// One record: number, kind, time, and what happened.
pub type Record = [u8; RECORD];

/// Records, oldest first.
#[derive(Debug, Default)]
pub struct EventLog {
    records: Vec<Record>,
    /// Number of the record that came last. Numbers of deleted records are not given again.
    last: u16,
}

impl EventLog {
    /// Adds a record, which gets a number, and the time if it is of a kind that has one. `None`: the log is full.
    pub fn add(&mut self, mut record: Record, now: u32) -> Option<u16> {
        if self.records.len() >= ROOM {
            return None;
        }
        self.last = self.last.checked_add(1).filter(|id| *id < u16::MAX).unwrap_or(1);
        record[..2].copy_from_slice(&self.last.to_le_bytes());
        if record[2] < 0xe0 {
            record[3..7].copy_from_slice(&now.to_le_bytes());
        }
        self.records.push(record);
        Some(self.last)
    }

    /// All records, oldest first.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The place of a record by its number.
    #[must_use]
    pub fn place(&self, id: u16) -> Option<usize> {
        self.records.iter().position(|record| number(record) == id)
    }

    /// Takes a record away; tells whether it was there.
    pub fn delete(&mut self, id: u16) -> bool {
        self.place(id).map(|place| self.records.remove(place)).is_some()
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        mem::take(&mut self.records);
    }
}

/// The number of a record.
#[must_use]
pub const fn number(record: &Record) -> u16 {
    u16::from_le_bytes([record[0], record[1]])
}
