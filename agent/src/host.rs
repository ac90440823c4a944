//! Where the machine is: the kernel's `/sys`, `/proc` and `/dev` and the environment's own files, or a test's copies of them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The top of all that.
#[derive(Clone, Debug)]
pub struct Host(PathBuf);

impl Host {
    /// The machine that this runs on.
    #[must_use]
    pub fn real() -> Self {
        Self("/".into())
    }

    /// A made-up machine, all of it below `root`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// Is it the machine that this runs on?
    #[must_use]
    pub fn is_real(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// A file of the ephemeral environment, named from its top.
    #[must_use]
    pub fn file(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    /// A path in `/sys`.
    #[must_use]
    pub fn sys(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join("sys").join(path)
    }

    /// A path in `/proc`.
    #[must_use]
    pub fn proc(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join("proc").join(path)
    }

    /// A path in `/dev`.
    #[must_use]
    pub fn dev(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join("dev").join(path)
    }

    /// An attribute in `/sys` as clean text; empty if there is none. What firmware wrote there may be anything.
    #[must_use]
    pub fn attribute(&self, path: impl AsRef<Path>) -> String {
        fs::read(self.sys(path)).map(|bytes| printable(&bytes)).unwrap_or_default()
    }

    /// An attribute in `/sys` that is a number.
    #[must_use]
    pub fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.attribute(path).parse().ok()
    }

    /// Names in a folder of `/sys`, in order.
    ///
    /// # Errors
    /// The folder cannot be read; a folder that does not exist has no names.
    pub fn names(&self, path: impl AsRef<Path>) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.sys(path)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut names = entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    /// The last part of what a link in `/sys` points to, such as the name of a driver.
    #[must_use]
    pub fn link_name(&self, path: impl AsRef<Path>) -> String {
        let target = fs::read_link(self.sys(path)).unwrap_or_default();
        target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// The printable ASCII of `bytes`, without blanks around it.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    let text: String = bytes.iter().filter(|b| (0x20..0x7f).contains(*b)).map(|b| char::from(*b)).collect();
    text.trim().to_owned()
}
