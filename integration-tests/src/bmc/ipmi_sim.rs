//! OpenIPMI's `ipmi_sim`, told to be the BMC of one machine.

use std::{fs, net::Ipv4Addr, path::Path};

use super::{ADMIN, ADMIN_PASSWORD};
use crate::error::{LabError, Result};

/// Accounts that a BMC has before we come: slot, name, password, enabled, privilege.
const FACTORY_ACCOUNTS: [(u32, &str, &str, bool, &str); 5] = [
    (1, "", "anonymous", true, "user"),
    (2, ADMIN, ADMIN_PASSWORD, true, "admin"),
    (3, "auditor", "read0nly", true, "user"),
    (4, "vendor", "s3rvice", false, "operator"),
    (5, "backup", "b4ckup-adm1n", true, "admin"),
];

/// TCP port at which QEMU finds the BMC, to offer it to the guest as a KCS interface (IPMI 2.0 chapter 9).
pub const KCS: u16 = 9101;

/// Answers a question for the BMC's LAN configuration (IPMI 2.0 table 23-4), which is fixed.
///
/// # Errors
/// It is to be changed.
pub fn lan(address: Ipv4Addr, words: &[String]) -> Result<String> {
    let told = |name: &String| match name.as_str() {
        "ip_addr" => format!("ip_addr:{address}\n"),
        "ip_addr_src" => "ip_addr_src:static\n".to_owned(),
        "mac_addr" => {
            let [.., third, last] = address.octets();
            format!("mac_addr:52:54:00:78:{third:02x}:{last:02x}\n")
        }
        "subnet_mask" => "subnet_mask:255.255.255.0\n".to_owned(),
        "default_gw_mac_addr" | "backup_gw_mac_addr" => format!("{name}:00:00:00:00:00:00\n"),
        other => format!("{other}:0.0.0.0\n"),
    };
    match words.split_first() {
        Some((get, names)) if get == "get" => Ok(names.iter().map(told).collect()),
        Some((check, _)) if check == "check" => Ok(String::new()),
        _ => Err(LabError::answer("the LAN configuration", format!("{words:?} is not one of: get NAME..., check"))),
    }
}

/// Writes its configuration into `dir`; the programs obey it and tell its LAN configuration. Gives its command line, to be
/// run there.
///
/// # Errors
/// A file cannot be written.
pub(super) fn prepare(dir: &Path, name: &str, address: &str, programs: (&str, &str)) -> Result<Vec<String>> {
    fs::create_dir_all(dir.join("state")).map_err(LabError::io(format!("cannot make {}", dir.display())))?;
    for (file, content) in [("lan.conf", lan_conf(name, address, programs)), ("sim.emu", SIM_EMU.to_owned())] {
        let path = dir.join(file);
        fs::write(&path, content).map_err(LabError::io(format!("cannot write {}", path.display())))?;
    }
    Ok(["ipmi_sim", "-n", "-c", "lan.conf", "-f", "sim.emu", "-s", "state"].map(str::to_owned).to_vec())
}

fn lan_conf(name: &str, address: &str, (control, lan): (&str, &str)) -> String {
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
    lan_config_program "{lan}"
  endlan
  serial 15 {address} {KCS} codec VM
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
