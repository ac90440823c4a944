//! Who has which address.
//!
//! Leases are keyed by hardware address, not by client id: firmware, iPXE and the installed system name themselves
//! differently and are to get the same address.
//! **Invariant:** an address is acknowledged to a client only after its lease is on the disk ([`Leases::flush`]).

mod journal;
pub(super) mod table;

use std::{
    io,
    net::Ipv4Addr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use farrier_common::net::MacAddr;

use self::{journal::Journal, table::Table};

/// The leases. Clones share them.
#[derive(Clone, Debug)]
pub struct Leases {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    journal: Mutex<Journal>,
}

impl Leases {
    /// Loads the leases from a file, which is made when the first lease is stored.
    ///
    /// # Errors
    /// The file cannot be read or rewritten.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (journal, table) = Journal::open(path)?;
        Ok(Self { shared: Arc::new(Shared { table: Mutex::new(table), journal: Mutex::new(journal) }) })
    }

    /// The interface that an address was last offered or leased to.
    #[must_use]
    pub fn mac_of(&self, address: Ipv4Addr) -> Option<MacAddr> {
        self.table().holder(address)
    }

    /// The table, for one decision.
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.shared.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes all changes up to now durable; waits for the disk.
    pub(super) fn flush(&self) -> io::Result<()> {
        // Whoever comes second waits here, and finds its changes stored by the first or still to be stored.
        let mut journal = self.shared.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = self.table().take_changes();
        if changes.is_empty() {
            return Ok(());
        }
        let stored = journal.append(&changes, || self.table().all());
        if stored.is_err() {
            self.table().restore_changes(&changes);
        }
        stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::state::samples;
    use chrono::TimeDelta;

    #[test]
    fn bound_leases_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leases.json");
        let (one, two) = (Ipv4Addr::new(10, 77, 0, 100), Ipv4Addr::new(10, 77, 0, 101));
        let until = samples::now() + TimeDelta::hours(1);
        let leases = Leases::open(&path).unwrap();
        leases.table().bind(samples::mac(1), one, samples::now(), until);
        leases.flush().unwrap();
        leases.table().bind(samples::mac(2), two, samples::now(), until);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&one.to_string()) && !text.contains(&two.to_string()), "flushed, not flushed");
        leases.flush().unwrap();
        leases.table().bind(samples::mac(1), two, samples::now(), until);
        leases.flush().unwrap();
        for _ in 0..2 {
            let leases = Leases::open(&path).unwrap();
            assert_eq!((leases.mac_of(one), leases.mac_of(two)), (None, Some(samples::mac(1))));
        }
    }

    #[test]
    fn what_cannot_be_stored_is_stored_later() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("gone");
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("leases.json");
        let address = Ipv4Addr::new(10, 77, 0, 100);
        let leases = Leases::open(&path).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        leases.table().bind(samples::mac(1), address, samples::now(), samples::now());
        assert!(leases.flush().is_err());
        std::fs::create_dir(&folder).unwrap();
        leases.flush().unwrap();
        assert_eq!(Leases::open(&path).unwrap().mac_of(address), Some(samples::mac(1)));
    }

    #[test]
    fn a_torn_line_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leases.json");
        let line = |n: u8| {
            format!(
                "{{\"address\":\"10.77.0.{n}\",\"mac\":\"52:54:00:77:00:0{n}\",\"hold\":\"bound\",\"until_micros\":{n}}}\n"
            )
        };
        std::fs::write(&path, format!("{}{{\"addr\n{}{}", line(1), line(2), &line(3)[..20])).unwrap();
        let leases = Leases::open(&path).unwrap();
        let held: Vec<_> = [1, 2, 3].map(|n| leases.mac_of([10, 77, 0, n].into()).is_some()).into();
        assert_eq!(held, [true, true, false]);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2, "rewritten");
    }
}
