//! OpenStack's `sushy-emulator`, told to be the BMC of one machine. It knows no sessions and no accounts but those that it is
//! configured with.

use std::{fs, path::Path, process::Command, time::Duration};

use farrier_common::hardware::Firmware;
use serde_json::json;

use super::{ADMIN, ADMIN_PASSWORD};
use crate::{
    assets::{self, Python},
    binaries::repository,
    error::{LabError, Result},
    machine::MachineSpec,
    process,
};

const OPENSSL_LIMIT: Duration = Duration::from_secs(60);

/// Writes its configuration and a certificate into `dir`; `control` is the socket of the machine's owner. Gives its command
/// line, to be run there.
///
/// # Errors
/// It cannot be installed, or a file cannot be written.
pub(super) fn prepare(dir: &Path, machine: &MachineSpec, address: &str, control: &Path) -> Result<Vec<String>> {
    let python = assets::python(Python::Bmc)?.join("bin/python");
    let (config, key, certificate) = (dir.join("sushy.conf"), dir.join("key.pem"), dir.join("certificate.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "30"]);
    openssl.args(["-subj", &format!("/CN={}", machine.name), "-addext", &format!("subjectAltName=IP:{address}")]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    process::succeed(openssl, OPENSSL_LIMIT)?;
    let users = json!({ ADMIN: ADMIN_PASSWORD });
    let uefi = u8::from(machine.firmware == Firmware::Uefi);
    let system = json!({
        "name": machine.name, "uuid": machine.uuid, "mac": machine.mac, "uefi": uefi, "memory_mib": machine.memory_mib,
        "control": control,
    });
    // Without booleans, JSON is Python.
    let text = format!(
        "SUSHY_EMULATOR_LISTEN_IP = {address:?}\nSUSHY_EMULATOR_LISTEN_PORT = 443\nSUSHY_EMULATOR_SSL_CERT = \
         {certificate:?}\nSUSHY_EMULATOR_SSL_KEY = {key:?}\nSUSHY_EMULATOR_AUTH_FILE = {:?}\nLAB_USERS = \
         {users}\nLAB_MACHINE = {system}\n",
        dir.join("htpasswd"),
    );
    fs::write(&config, text).map_err(LabError::io(format!("cannot write {}", config.display())))?;
    let script = repository().join("integration-tests/python/sushy_qemu.py");
    Ok([&python, &script, &config].map(|path| path.display().to_string()).to_vec())
}
