//! The login: which region, by which CA, with which token. One TOML file that only its owner may read.

use std::{
    env, fmt, fs, io,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use farrier_common::{id, secret::Secret};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Where a region listens: `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server(String);

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not HOST:PORT, such as region.example:5240");
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let word = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c) || (bracketed && "[]:%".contains(c));
        let good = !host.is_empty() && host.chars().all(word) && port.parse::<u16>().is_ok_and(|p| p != 0);
        if good { Ok(Self(text.to_owned())) } else { Err(bad()) }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A login.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// The region.
    pub(crate) server: Server,
    /// The CA whose certificate the region must show, in PEM.
    pub(crate) ca_pem: String,
    /// The bearer token.
    pub(crate) token: Secret<String>,
}

/// The file's own shape.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: String,
    ca_pem: String,
    token: String,
}

impl Profile {
    /// From what a person gave to `farrier login`.
    pub(crate) fn new(server: Server, ca_file: &Path, token_file: &Path) -> Result<Self, Error> {
        let ca_pem =
            fs::read_to_string(ca_file).map_err(Error::file(format!("cannot read --ca-file {}", ca_file.display())))?;
        if !ca_pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(Error::Usage(format!("--ca-file {} holds no PEM certificate", ca_file.display())));
        }
        let token = Secret::from_file(token_file)
            .map_err(Error::file(format!("cannot read --token-file {}", token_file.display())))?;
        if token.expose().is_empty() || !token.expose().bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::Usage(format!(
                "--token-file {} must hold the token alone: one line of printable characters",
                token_file.display()
            )));
        }
        Ok(Self { server, ca_pem, token })
    }

    /// Reads the login. Refuses a file that others may read.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NotLoggedIn(format!(
                    "there is no login in {}: run `farrier login --server HOST:PORT --ca-file FILE --token-file FILE`",
                    path.display()
                )));
            }
            Err(source) => return Err(Error::File { what: format!("cannot read {}", path.display()), source }),
        };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Error::NotLoggedIn(format!(
                "{path} holds a token and has mode {mode:04o}: others must not be able to read it (chmod 600 {path})",
                path = path.display()
            )));
        }
        let text =
            Secret::new(fs::read_to_string(path).map_err(Error::file(format!("cannot read {}", path.display())))?);
        // Only the parser's message: its Display quotes the line, which may be the token's.
        let unfit = |why: &dyn fmt::Display| {
            Error::NotLoggedIn(format!("{} is not a login ({why}): run `farrier login` again", path.display()))
        };
        let file: File = toml::from_str(text.expose()).map_err(|e| unfit(&e.message()))?;
        let server = file.server.parse().map_err(|e: String| unfit(&e))?;
        Ok(Self { server, ca_pem: file.ca_pem, token: Secret::new(file.token) })
    }

    /// Replaces the file as a whole: write, fsync, rename, fsync of the folder.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Error> {
        let failed = |source| Error::File { what: format!("cannot write {}", path.display()), source };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(folder).map_err(failed)?;
        let file =
            File { server: self.server.to_string(), ca_pem: self.ca_pem.clone(), token: self.token.expose().clone() };
        let text = Secret::new(
            toml::to_string(&file).map_err(|e| Error::Usage(format!("the login cannot be stored as TOML: {e}")))?,
        );
        let scratch = folder.join(format!(".config.toml.{}", id::Id::<Scratch>::generate()));
        let written = write_private(&scratch, text.expose().as_bytes())
            .and_then(|()| fs::rename(&scratch, path))
            .and_then(|()| fs::File::open(folder)?.sync_all());
        written.map_err(|e| {
            // Best effort: what is left of the scratch file is private and the first error is the one to tell.
            let _ = fs::remove_file(&scratch);
            failed(e)
        })
    }
}

/// Names scratch files.
enum Scratch {}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// `$XDG_CONFIG_HOME/farrier/config.toml`, or the same under `~/.config`.
pub(crate) fn default_path() -> Result<PathBuf, Error> {
    let xdg = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let base = xdg.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
    base.map(|b| b.join("farrier/config.toml"))
        .ok_or_else(|| Error::Usage("neither XDG_CONFIG_HOME nor HOME is set: give --config PATH".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            server: "region.example:5240".parse().unwrap(),
            ca_pem: "-----BEGIN CERTIFICATE-----\n".to_owned(),
            token: Secret::new("t0ken".to_owned()),
        }
    }

    #[test]
    fn a_login_survives_its_file_which_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/config.toml");
        for _ in 0..2 {
            profile().save(&path).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let loaded = Profile::load(&path).unwrap();
        assert_eq!((loaded.server, loaded.token.expose().as_str()), (profile().server, "t0ken"));
        assert_eq!(fs::read_dir(folder.path().join("deep")).unwrap().count(), 1, "no scratch file is left");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        profile().save(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Profile::load(&path).unwrap_err();
        assert!(error.to_string().contains("mode 0640"), "{error}");
    }

    #[test]
    fn a_broken_file_does_not_show_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        write_private(&path, b"server = \"a:1\"\ntoken = \"t0ken\nca_pem = 1\n").unwrap();
        let error = Profile::load(&path).unwrap_err();
        assert!(!error.to_string().contains("t0ken"), "{error}");
        assert_eq!(error.exit_code(), 4);
    }

    #[test]
    fn a_server_is_host_and_port() {
        for good in ["a:1", "10.0.0.1:5240", "[::1]:5240", "region.example:65535"] {
            assert!(good.parse::<Server>().is_ok(), "{good}");
        }
        for bad in ["", "a", ":1", "a:0", "a:65536", "https://a:1", "a/b:1", "u@a:1", "::1:5240"] {
            assert!(bad.parse::<Server>().is_err(), "{bad}");
        }
    }
}
