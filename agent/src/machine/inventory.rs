//! Identity and hardware, in the contract's words.

use std::fs;

use farrier_common::{hardware::Architecture, net::MacAddr};
use farrier_proto::{agent::Identity, convert, v1};

use crate::{
    error::TaskError,
    host::Host,
    machine::{
        bmc,
        disk::Disk,
        firmware::{self, System},
        gpu, interface,
    },
};

/// Who the machine is. Blocks for seconds if it has a BMC that is slow to answer.
///
/// # Errors
/// The kernel does not tell the network interfaces.
pub fn identity(host: &Host, boot: Option<MacAddr>) -> Result<Identity, TaskError> {
    let interfaces = interface::list(host, boot).map_err(TaskError::io("listing network interfaces"))?;
    let System { vendor, product, serial, uuid, .. } = System::read(host);
    let architecture = architecture().map_or(v1::Architecture::Unspecified, convert::architecture_to_wire);
    Ok(Identity {
        macs: interfaces.iter().map(|i| i.mac.to_string()).collect(),
        architecture: architecture.into(),
        firmware: convert::firmware_to_wire(firmware::kind(host)).into(),
        vendor,
        product,
        serial,
        uuid,
        bmc_address: bmc::address(host),
    })
}

/// What the machine is made of; `disks` as [`crate::machine::disk::settled`] found them.
///
/// # Errors
/// The kernel does not tell the processors, the network interfaces or the PCI devices.
pub fn hardware(host: &Host, disks: &[Disk]) -> Result<v1::Hardware, TaskError> {
    let cpuinfo = fs::read_to_string(host.proc("cpuinfo")).map_err(TaskError::io("reading the list of processors"))?;
    let interfaces = interface::list(host, None).map_err(TaskError::io("listing network interfaces"))?;
    let System { vendor, product, serial, uuid, firmware_version } = System::read(host);
    let (cpu_model, cpu_cores) = processors(&cpuinfo);
    Ok(v1::Hardware {
        vendor,
        product,
        serial,
        uuid,
        firmware_version,
        cpu_model,
        cpu_cores,
        memory_bytes: firmware::memory_bytes(host),
        disks: disks.iter().map(Into::into).collect(),
        nics: interfaces.iter().map(Into::into).collect(),
        gpus: gpu::list(host).map_err(TaskError::io("listing PCI devices"))?,
    })
}

fn architecture() -> Option<Architecture> {
    match std::env::consts::ARCH {
        "x86_64" => Some(Architecture::Amd64),
        "aarch64" => Some(Architecture::Arm64),
        _ => None,
    }
}

/// Model of the first and number of all logical processors.
fn processors(cpuinfo: &str) -> (String, u32) {
    let values = |key: &'static str| {
        let lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        lines.filter(move |(k, _)| k.trim() == key).map(|(_, v)| v.trim().to_owned())
    };
    let model = values("model name").next().unwrap_or_default();
    (model, u32::try_from(values("processor").count()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_and_named() {
        let text = "processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\n\nprocessor\t: 1\nmodel name\t: Fast CPU @ 3 GHz\n";
        assert_eq!(processors(text), ("Fast CPU @ 3 GHz".to_owned(), 2));
        assert_eq!(processors(""), (String::new(), 0));
    }
}
