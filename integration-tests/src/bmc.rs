//! A BMC: OpenIPMI's `ipmi_sim` or OpenStack's `sushy-emulator`, and clients that are not ours either.

mod ipmi_sim;
mod sushy;

pub use ipmi_sim::{KCS, lan};

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use farrier_common::hardware::BmcProtocol;

use crate::{
    error::{LabError, Result},
    machine::MachineSpec,
    net::Net,
    process,
    wait::{self, Seen},
};

/// The administrator's account that the BMC is delivered with.
pub const ADMIN: &str = "root";
/// Its password.
pub const ADMIN_PASSWORD: &str = "calvin";

const CLIENT_LIMIT: Duration = Duration::from_secs(60);

/// A machine's BMC.
#[derive(Debug)]
pub struct Bmc {
    net: Net,
    protocol: BmcProtocol,
    address: String,
    dir: PathBuf,
}

/// One account as the BMC stores it: each field with its value, password included.
pub type Account = BTreeMap<String, String>;

impl Bmc {
    /// Prepares the BMC of a machine in `dir` (made here). Gives the command line of its program too, to be run in `dir`.
    ///
    /// # Errors
    /// A file cannot be written, or the program cannot be installed.
    pub(crate) fn prepare(
        net: &Net,
        dir: &Path,
        machine: &MachineSpec,
        address: &str,
        owner: (&Path, &Path),
    ) -> Result<(Self, Vec<String>)> {
        fs::create_dir_all(dir).map_err(LabError::io(format!("cannot make {}", dir.display())))?;
        let (labctl, socket) = owner;
        let program = match machine.bmc {
            BmcProtocol::Ipmi => {
                let control = format!("{} chassis {}", labctl.display(), socket.display());
                let lan = format!("{} lan {address}", labctl.display());
                ipmi_sim::prepare(dir, &machine.name, address, (&control, &lan))?
            }
            BmcProtocol::Redfish => sushy::prepare(dir, machine, address, socket)?,
            BmcProtocol::Webhook => return Err(LabError::answer("the lab", "has no box that is driven by webhook")),
        };
        Ok((
            Self { net: net.clone(), protocol: machine.bmc, address: address.to_owned(), dir: dir.to_owned() },
            program,
        ))
    }

    /// Its address, in the lab's namespace.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Runs `ipmitool` over LAN with an account.
    ///
    /// # Errors
    /// It fails: the BMC is not there, or refuses the account or the command.
    pub fn ipmitool(&self, user: &str, password: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.net.command("ipmitool");
        command.args([
            "-I",
            "lanplus",
            "-C",
            "3",
            "-H",
            &self.address,
            "-U",
            user,
            "-P",
            password,
            "-N",
            "5",
            "-R",
            "3",
        ]);
        command.args(arguments);
        process::succeed(command, CLIENT_LIMIT)
    }

    /// Runs `ipmitool` as the administrator.
    ///
    /// # Errors
    /// As [`Bmc::ipmitool`].
    pub fn as_admin(&self, arguments: &[&str]) -> Result<String> {
        self.ipmitool(ADMIN, ADMIN_PASSWORD, arguments)
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// It does not.
    pub fn is_up(&self) -> Result<()> {
        wait::until("an answer of the BMC", Duration::from_secs(60), || {
            let answered = match self.protocol {
                BmcProtocol::Ipmi => self.as_admin(&["mc", "info"]),
                BmcProtocol::Redfish | BmcProtocol::Webhook => self.get("/redfish/v1/Systems"),
            };
            Ok(answered.map_or_else(|e| Seen::NotYet(e.to_string()), |_| Seen::Now(())))
        })
    }

    /// Reads a Redfish resource as the administrator, with `curl`.
    ///
    /// # Errors
    /// There is no such resource, or the BMC does not speak Redfish.
    pub fn get(&self, path: &str) -> Result<String> {
        let mut curl = self.net.command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", "*"]);
        curl.arg("--cacert").arg(self.dir.join("certificate.pem"));
        curl.args(["--user", &format!("{ADMIN}:{ADMIN_PASSWORD}"), &format!("https://{}{path}", self.address)]);
        process::succeed(curl, CLIENT_LIMIT)
    }

    /// Makes the BMC store its accounts, so that [`Bmc::accounts`] can read them. It only does so after a change: this one
    /// enables an account that is enabled.
    ///
    /// # Errors
    /// The BMC does not obey.
    pub fn store_accounts(&self) -> Result<()> {
        self.as_admin(&["user", "enable", "2"])?;
        wait::until_true("the BMC's file of accounts", Duration::from_secs(60), || self.accounts().is_ok())
    }

    /// All accounts with a name or a password, by slot, as the BMC itself stores them: the truth, not what it tells.
    ///
    /// # Errors
    /// They are not stored yet.
    pub fn accounts(&self) -> Result<BTreeMap<u32, Account>> {
        let mut files = Vec::new();
        find(&self.dir.join("state"), "users.mc20", &mut files);
        let path = files.first().ok_or_else(|| LabError::answer("the BMC", "has stored no accounts yet"))?;
        let text = fs::read_to_string(path).map_err(LabError::io(format!("cannot read {}", path.display())))?;
        let mut accounts = parse_accounts(&text);
        accounts.retain(|_, account| {
            !account_text(account, "username").is_empty() || !account_text(account, "passwd").is_empty()
        });
        Ok(accounts)
    }

    /// Slot and password of the account with this name, as stored.
    ///
    /// # Errors
    /// There is none.
    pub fn account(&self, name: &str) -> Result<(u32, String)> {
        let accounts = self.accounts()?;
        let found = accounts.iter().find(|(_, account)| account_text(account, "username") == name);
        let (slot, account) = found.ok_or_else(|| LabError::answer("the BMC", format!("has no account {name:?}")))?;
        Ok((*slot, account_text(account, "passwd")))
    }
}

/// A field of an account as text, without the zeros at its end. Bytes are stored as text, or as `\hh` if not printable.
fn account_text(account: &Account, field: &str) -> String {
    let stored = account.get(field).map(String::as_str).unwrap_or_default();
    stored.replace("\\00", "")
}

/// Lines `SLOT.FIELD:TYPE:VALUE`.
fn parse_accounts(text: &str) -> BTreeMap<u32, Account> {
    let mut accounts: BTreeMap<u32, Account> = BTreeMap::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(key), Some(_), Some(value)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let Some((slot, field)) = key.split_once('.') else { continue };
        let Ok(slot) = slot.parse() else { continue };
        accounts.entry(slot).or_default().insert(field.to_owned(), value.to_owned());
    }
    accounts
}

fn find(dir: &Path, name: &str, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, name, into);
        } else if path.file_name().is_some_and(|f| f == name) {
            into.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_accounts_are_read() {
        let text =
            "2.privilege:i:4\n2.passwd:d:calvin\\00\\00\n2.username:d:root\\00\n2.valid:i:1\n1.username:d:\\00\\00\n";
        let accounts = parse_accounts(text);
        assert_eq!(account_text(&accounts[&2], "username"), "root");
        assert_eq!(account_text(&accounts[&2], "passwd"), "calvin");
        assert_eq!(account_text(&accounts[&1], "username"), "");
    }
}
