//! A BMC: OpenIPMI's `ipmi_sim`, and `ipmitool` as a client that is not ours.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    error::{LabError, Result},
    net::Net,
    process,
    wait::{self, Seen},
};

/// The administrator's account that the BMC is delivered with.
pub const ADMIN: &str = "root";
/// Its password.
pub const ADMIN_PASSWORD: &str = "calvin";

/// Accounts that a BMC has before we come: slot, name, password, enabled, privilege.
const FACTORY_ACCOUNTS: [(u32, &str, &str, bool, &str); 5] = [
    (1, "", "anonymous", true, "user"),
    (2, ADMIN, ADMIN_PASSWORD, true, "admin"),
    (3, "auditor", "read0nly", true, "user"),
    (4, "vendor", "s3rvice", false, "operator"),
    (5, "backup", "b4ckup-adm1n", true, "admin"),
];

const IPMITOOL_LIMIT: Duration = Duration::from_secs(60);

/// A machine's BMC.
#[derive(Debug)]
pub struct Bmc {
    net: Net,
    address: String,
    dir: PathBuf,
}

/// One account as the BMC stores it: each field with its value, password included.
pub type Account = BTreeMap<String, String>;

impl Bmc {
    /// Writes the configuration of a BMC into `dir` (made here); `control` is the command that obeys it.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn prepare(net: &Net, dir: &Path, name: &str, address: &str, control: &str) -> Result<Self> {
        let write = |file: &str, content: &str| {
            let path = dir.join(file);
            fs::write(&path, content).map_err(LabError::io(format!("cannot write {}", path.display())))
        };
        fs::create_dir_all(dir.join("state")).map_err(LabError::io(format!("cannot make {}", dir.display())))?;
        write("lan.conf", &lan_conf(name, address, control))?;
        write("sim.emu", SIM_EMU)?;
        Ok(Self { net: net.clone(), address: address.to_owned(), dir: dir.to_owned() })
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
        process::succeed(command, IPMITOOL_LIMIT)
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
            Ok(self.as_admin(&["mc", "info"]).map_or_else(|e| Seen::NotYet(e.to_string()), |_| Seen::Now(())))
        })
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

fn lan_conf(name: &str, address: &str, control: &str) -> String {
    let mut users = String::new();
    for (slot, user, password, enabled, privilege) in FACTORY_ACCOUNTS {
        users.push_str(&format!(
            "  user {slot} {enabled} \"{user}\" \"{password}\" {privilege} 10 none md2 md5 straight\n"
        ));
    }
    format!(
        r#"name "{name}"
set_working_mc 0x20
  startlan 1
    addr {address} 623
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid 0102030405060708090a0b0c0d0e0f10
  endlan
  chassis_control "{control}"
  startnow false
{users}"#
    )
}

const SIM_EMU: &str = "mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
";

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
