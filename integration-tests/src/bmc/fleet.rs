//! Our own simulator, told to be the BMC of one machine.

use std::path::Path;

use super::KCS;
use crate::{binaries::binary, error::Result, machine::MachineSpec};

/// Delivers the account that the lab's other BMCs have, too.
const VENDOR: &str = "dell";

/// Its command line; `owner` is the socket of the machine's owner.
///
/// # Errors
/// There is no such program.
pub(super) fn command_line(machine: &MachineSpec, address: &str, owner: &Path) -> Result<Vec<String>> {
    let (program, owner) = (binary("farrier-fleet")?.display().to_string(), owner.display().to_string());
    let (port, memory) = (KCS.to_string(), machine.memory_mib.to_string());
    let options = [
        ("--vendor", VENDOR),
        ("--address", address),
        ("--system-port", &port),
        ("--owner", &owner),
        ("--uuid", &machine.uuid),
        ("--serial", &machine.serial),
        ("--mac", &machine.mac),
        ("--memory-mib", &memory),
    ];
    let options = options.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]);
    Ok([program, "bmc".to_owned()].into_iter().chain(options).collect())
}
