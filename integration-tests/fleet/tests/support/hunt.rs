//! Looks for secrets where none may be.

use std::{collections::HashSet, fs, path::Path};

use anyhow::Context as _;
use farrier_common::secret::sha256_hex;

/// Secrets that are known, and where they were found.
#[derive(Default)]
pub(crate) struct Hunt {
    /// What each is, and the texts that give it away.
    wanted: Vec<(String, String)>,
    found: Vec<String>,
}

impl Hunt {
    /// One more secret.
    pub(crate) fn wants(&mut self, what: &str, secret: &str) {
        assert!(secret.len() >= 6, "{what} is too short to be told from a word");
        self.wanted.push((what.to_owned(), secret.to_owned()));
    }

    /// The keys in the files of a folder: PEM by its lines, raw ones in hex.
    pub(crate) fn wants_keys_in(&mut self, folder: &Path) -> anyhow::Result<()> {
        let keys = files(folder, |name| name.ends_with(".key"))?;
        anyhow::ensure!(!keys.is_empty(), "no key in {}", folder.display());
        for (name, bytes) in keys {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<_> = text.lines().filter(|line| line.len() >= 32 && !line.starts_with("---")).collect();
            if lines.is_empty() {
                self.wants(&name, &hex::encode(&bytes));
            }
            // The first line of a PEM key holds the algorithm, and the same for everybody.
            lines.iter().skip(usize::from(lines.len() > 1)).for_each(|line| self.wants(&name, line.trim()));
        }
        Ok(())
    }

    /// How many there are.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted.len()
    }

    /// Is there one of them in it?
    pub(crate) fn would_find(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        self.wanted.iter().any(|(_, secret)| text.contains(secret))
    }

    /// Notes which of them are in it.
    pub(crate) fn look(&mut self, place: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let there = self.wanted.iter().filter(|(_, secret)| text.contains(secret));
        self.found.extend(there.map(|(what, secret)| format!("{place}: {what}, {}", around(&text, secret))));
    }

    /// Tokens that nobody told us, such as those of agents: whatever looks like one and has a digest that is in the database.
    pub(crate) fn look_for_tokens(&mut self, database: &[(String, Vec<u8>)], texts: &[&str]) {
        let digests: HashSet<String> =
            database.iter().flat_map(|(_, bytes)| hexes(&String::from_utf8_lossy(bytes))).collect();
        assert!(!digests.is_empty(), "no digest of a token in the database");
        let shown: HashSet<String> = texts.iter().flat_map(|text| hexes(text)).collect();
        assert!(!shown.is_empty(), "not even a fingerprint was shown");
        let leaked = shown.iter().filter(|token| digests.contains(&sha256_hex(token.as_bytes())));
        self.found.extend(leaked.map(|token| format!("a token that is good, {token}")));
    }

    /// What was found, and where.
    pub(crate) fn found(&self) -> &[String] {
        &self.found
    }
}

/// The files of a folder whose name does.
pub(crate) fn files(folder: &Path, does: impl Fn(&str) -> bool) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))?;
        if does(&name) {
            files.push((name, fs::read(path)?));
        }
    }
    Ok(files)
}

/// All runs of 64 hexadecimal digits. They may follow each other without a gap.
fn hexes(text: &str) -> Vec<String> {
    let runs = text.split(|c: char| !matches!(c, '0'..='9' | 'a'..='f')).filter(|run| run.len() >= 64);
    runs.flat_map(|run| run.as_bytes().windows(64).map(|w| String::from_utf8_lossy(w).into_owned())).collect()
}

fn around<'a>(text: &'a str, secret: &str) -> &'a str {
    let at = text.find(secret).unwrap_or_default();
    let start = text.floor_char_boundary(at.saturating_sub(80));
    text.get(start..at).unwrap_or_default()
}
