//! Leases on disk: one JSON object a line, the last one for an address counts.
//!
//! Appending keeps the cost of a renewal independent of the number of leases; the file is rewritten at start, when it has
//! grown well beyond what it says, and after a failed append (whose torn line would spoil the next).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use chrono::DateTime;
use serde::{Deserialize, Serialize};

use super::table::{Lease, Table};
use crate::boot::files;

/// Appended lines for each lease, and in any case, after which the file is rewritten.
const GROWTH: usize = 4;
const SLACK: usize = 4096;

/// The file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// `None`: rewrite the file before the next append.
    file: Option<File>,
    /// Appended since the file was rewritten.
    lines: usize,
    /// Leases when it was.
    leases: usize,
}

#[derive(Serialize, Deserialize)]
struct Line {
    address: Ipv4Addr,
    mac: String,
    hold: String,
    until_micros: i64,
}

impl Line {
    fn new(address: Ipv4Addr, lease: &Lease) -> Self {
        Self {
            address,
            mac: lease.mac.to_string(),
            hold: lease.hold.to_string(),
            until_micros: lease.until.timestamp_micros(),
        }
    }

    fn lease(&self) -> Option<Lease> {
        Some(Lease {
            mac: self.mac.parse().ok()?,
            hold: self.hold.parse().ok()?,
            until: DateTime::from_timestamp_micros(self.until_micros)?,
        })
    }
}

impl Journal {
    pub(super) fn open(path: &Path) -> io::Result<(Self, Table)> {
        let bytes = match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let mut table = Table::default();
        let mut bad = 0_usize;
        for text in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let line: Option<Line> = serde_json::from_slice(text).ok();
            match line.and_then(|l| l.lease().map(|lease| (l.address, lease))) {
                Some((address, lease)) => table.load(address, lease),
                None => bad += 1,
            }
        }
        if bad > 0 {
            tracing::warn!(path = %path.display(), lines = bad, "lines of the lease file are unusable and were left out");
        }
        let mut journal = Self { path: path.to_owned(), file: None, lines: 0, leases: 0 };
        if !bytes.is_empty() {
            journal.rewrite(&table.all())?;
        }
        Ok((journal, table))
    }

    /// Stores changes; `all` tells every lease, for the case that the file is due to be rewritten.
    pub(super) fn append(
        &mut self,
        changes: &[(Ipv4Addr, Lease)],
        all: impl FnOnce() -> Vec<(Ipv4Addr, Lease)>,
    ) -> io::Result<()> {
        if let Some(file) = &mut self.file
            && self.lines < SLACK + GROWTH * self.leases
        {
            let written = file.write_all(&encode(changes)?).and_then(|()| file.sync_data());
            self.lines += changes.len();
            if written.is_err() {
                self.file = None;
            }
            return written;
        }
        self.rewrite(&all())
    }

    fn rewrite(&mut self, all: &[(Ipv4Addr, Lease)]) -> io::Result<()> {
        self.file = None;
        files::replace(&self.path, &encode(all)?)?;
        self.file = Some(OpenOptions::new().append(true).mode(files::PRIVATE).open(&self.path)?);
        (self.lines, self.leases) = (0, all.len());
        Ok(())
    }
}

fn encode(leases: &[(Ipv4Addr, Lease)]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(leases.len() * 96);
    for (address, lease) in leases {
        serde_json::to_writer(&mut bytes, &Line::new(*address, lease))?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}
