//! The real OpenSSH client, as a person would use it: keys of one's own, the server's host key, commands over there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    error::{LabError, Result},
    lab::Lab,
    net::Net,
    process::{self, Ended},
};

/// For the client itself; an emulated machine computes slowly.
const CONNECT_SECONDS: u32 = 60;
/// For everything that is done with one call.
const LIMIT: Duration = Duration::from_secs(300);
/// What the client's status is if it did not come to run the command.
const NOT_LET_IN: i32 = 255;

/// The key pair of a person.
#[derive(Debug)]
pub struct SshKey {
    private: PathBuf,
}

/// A server whose host key is known.
#[derive(Debug)]
pub struct SshServer {
    net: Net,
    host: String,
    port: String,
    known_hosts: PathBuf,
}

impl SshKey {
    /// Makes one with `ssh-keygen`, without a passphrase.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(lab: &Lab, name: &str) -> Result<Self> {
        let private = lab.dir().join(name);
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&private);
        process::succeed(make, LIMIT)?;
        Ok(Self { private })
    }

    /// The file with the public half.
    #[must_use]
    pub fn public(&self) -> PathBuf {
        self.private.with_extension("pub")
    }
}

impl SshServer {
    /// Asks the server at `host:port` for its host key with `ssh-keyscan`, and from then on believes no other.
    ///
    /// # Errors
    /// It does not answer.
    pub fn scan(lab: &Lab, address: &str) -> Result<Self> {
        let (host, port) =
            address.rsplit_once(':').ok_or_else(|| LabError::answer("an address is host:port, not", address))?;
        let mut scan = lab.net().command("ssh-keyscan");
        scan.args(["-t", "ed25519", "-T", &CONNECT_SECONDS.to_string(), "-p", port, host]);
        let known_hosts = lab.dir().join("known_hosts");
        let keys = process::succeed(scan, LIMIT)?;
        fs::write(&known_hosts, keys).map_err(LabError::io("cannot write known_hosts"))?;
        Ok(Self { net: lab.net().clone(), host: host.to_owned(), port: port.to_owned(), known_hosts })
    }

    /// The host key's fingerprint, as `ssh-keygen -l` tells it.
    ///
    /// # Errors
    /// There is not exactly one key.
    pub fn fingerprint(&self) -> Result<String> {
        let mut list = Command::new("ssh-keygen");
        list.arg("-l").arg("-f").arg(&self.known_hosts);
        let told = process::succeed(list, LIMIT)?;
        match told.lines().collect::<Vec<_>>().as_slice() {
            [line] => Ok(line.split_whitespace().nth(1).unwrap_or_default().to_owned()),
            _ => Err(LabError::answer("one host key was expected, not", told)),
        }
    }

    /// Logs in as root and runs a command; gives its standard output.
    ///
    /// # Errors
    /// The key does not let in, or the command fails.
    pub fn run(&self, key: &SshKey, command: &str) -> Result<String> {
        process::succeed(self.client(key, command), LIMIT)
    }

    /// Tries to log in, and expects to be refused.
    ///
    /// # Errors
    /// It is let in, or turned away for something else than its key.
    pub fn refuses(&self, key: &SshKey) -> Result<()> {
        let Ended { status, stdout, stderr } = process::run(self.client(key, "true"), LIMIT)?;
        if status.code() == Some(NOT_LET_IN) && stderr.contains("Permission denied") {
            return Ok(());
        }
        Err(LabError::answer("a login that should be refused", format!("{status}: {stdout}{stderr}")))
    }

    /// The client, with nothing of this host's own configuration.
    fn client(&self, key: &SshKey, command: &str) -> Command {
        let mut client = self.net.command("ssh");
        client.args(["-F", "none", "-p", &self.port, "-i"]).arg(&key.private);
        let known = |path: &Path| format!("UserKnownHostsFile={}", path.display());
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            &format!("ConnectTimeout={CONNECT_SECONDS}"),
            &known(&self.known_hosts),
        ] {
            client.args(["-o", option]);
        }
        client.arg(format!("root@{}", self.host)).arg(command);
        client
    }
}
