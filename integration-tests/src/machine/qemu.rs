//! QEMU: its command line, and its monitor's words.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use farrier_common::hardware::{BootDevice, Firmware};
use serde_json::{Value, json};

use super::{Bus, chassis::ChassisSpec, disk_file};
use crate::{
    bmc::KCS,
    error::{LabError, Result},
    wait::{self, Seen},
};

/// OVMF without Secure Boot, and its empty variables.
const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
pub(super) const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// The command line of a power-on; the firmware tries `first` first, then the rest.
///
/// `/dev/kvm` may exist and yet not run stock guests, so the emulator's own accelerator is taken unless `LAB_ACCEL` says
/// otherwise. With it, older CPU models are faster than newer ones.
pub(super) fn command_line(chassis: &ChassisSpec, first: BootDevice) -> Vec<String> {
    let ChassisSpec { machine: spec, dir, tap, bmc_address, .. } = chassis;
    let (net_index, disk_index) = match first {
        BootDevice::Network => (1, 2),
        BootDevice::Disk => (spec.disks.len() + 1, 1),
    };
    let mut args = Vec::new();
    let mut add = |option: &str, value: String| args.extend([option.to_owned(), value]);
    add("-name", spec.name.clone());
    add("-accel", env::var("LAB_ACCEL").unwrap_or_else(|_| "tcg".to_owned()));
    add("-cpu", "Nehalem".to_owned());
    add("-m", spec.memory_mib.to_string());
    add("-display", "none".to_owned());
    add("-uuid", spec.uuid.clone());
    add("-smbios", format!("type=1,manufacturer=Farrier,product=Virtual Lab,serial={}", spec.serial));
    add("-chardev", format!("file,id=serial,path={},append=on", dir.join("serial.log").display()));
    add("-serial", "chardev:serial".to_owned());
    add("-qmp", format!("unix:{},server=on,wait=off", dir.join("qmp.sock").display()));
    add("-object", "rng-random,id=rng,filename=/dev/urandom".to_owned());
    add("-device", "virtio-rng-pci,rng=rng".to_owned());
    let rom = match spec.firmware {
        // SeaBIOS with the card's own iPXE.
        Firmware::Bios => {
            add("-machine", "q35,graphics=off".to_owned());
            ""
        }
        // Without the card's ROM, OVMF's own network stack is the client, as on a real server.
        Firmware::Uefi => {
            add("-machine", "q35".to_owned());
            add("-drive", format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"));
            add("-drive", format!("if=pflash,format=raw,unit=1,file={}", dir.join("vars.fd").display()));
            add("-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n".to_owned());
            ",romfile="
        }
    };
    if spec.bmc.is_inside() {
        // The guest's way to its BMC; a BMC that starts anew is found again.
        add("-chardev", format!("socket,id=ipmi,host={bmc_address},port={KCS},reconnect-ms=1000"));
        add("-device", "ipmi-bmc-extern,id=bmc,chardev=ipmi".to_owned());
        add("-device", "isa-ipmi-kcs,bmc=bmc,irq=5".to_owned());
    }
    add("-netdev", format!("tap,id=net,ifname={tap},script=no,downscript=no"));
    add("-device", format!("virtio-net-pci,netdev=net,mac={},bootindex={net_index}{rom}", spec.mac));
    for (index, disk) in spec.disks.iter().enumerate() {
        let discard = if disk.discards { "discard=unmap,detect-zeroes=unmap" } else { "discard=ignore" };
        let file = disk_file(dir, index);
        add("-drive", format!("if=none,id=disk{index},file={},format=raw,cache=unsafe,{discard}", file.display()));
        let device = match disk.bus {
            Bus::Nvme => "nvme",
            Bus::Virtio => "virtio-blk-pci",
        };
        let boot = disk_index + index;
        add("-device", format!("{device},drive=disk{index},serial={},bootindex={boot}", disk.serial));
    }
    args.extend(["-nodefaults", "-no-reboot"].map(str::to_owned));
    args
}

/// A connection to the monitor of a QEMU that just started.
pub(super) fn connect(dir: &Path) -> Result<UnixStream> {
    let path = dir.join("qmp.sock");
    let mut stream = wait::until("QEMU's monitor", Duration::from_secs(30), || {
        Ok(UnixStream::connect(&path).map_or_else(|e| Seen::NotYet(e.to_string()), Seen::Now))
    })?;
    execute(&mut stream, "qmp_capabilities")?;
    Ok(stream)
}

/// Sends a command; its answer is one of the lines that [`last_words`] reads.
pub(super) fn execute(stream: &mut UnixStream, command: &str) -> Result<()> {
    let line = format!("{}\n", json!({ "execute": command }));
    stream.write_all(line.as_bytes()).map_err(LabError::io(format!("cannot send {command} to QEMU")))
}

/// Why the machine stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The guest asked for a reset: the machine goes on.
    Reset,
    /// The guest switched itself off.
    Off,
    /// The emulator ended without a word: killed, or crashed.
    Silent,
}

/// Reads the monitor until the emulator is gone, and tells why it went.
pub(super) fn last_words(stream: UnixStream) -> Stopped {
    let mut why = Stopped::Silent;
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { break };
        why = reason(&line).unwrap_or(why);
    }
    why
}

/// The reason in a SHUTDOWN event.
fn reason(line: &str) -> Option<Stopped> {
    let event: Value = serde_json::from_str(line).ok()?;
    if event.get("event")?.as_str()? != "SHUTDOWN" {
        return None;
    }
    match event.pointer("/data/reason").and_then(Value::as_str) {
        Some("guest-reset" | "host-qmp-system-reset" | "subsystem-reset") => Some(Stopped::Reset),
        _ => Some(Stopped::Off),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::MachineSpec, *};

    fn arguments(firmware: Firmware, first: BootDevice) -> String {
        let chassis = ChassisSpec {
            machine: MachineSpec::new(1, firmware),
            dir: "/lab/m1".into(),
            tap: "tap1".to_owned(),
            bmc: Vec::new(),
            bmc_address: "10.78.0.11".to_owned(),
        };
        command_line(&chassis, first).join(" ")
    }

    #[test]
    fn the_boot_order_is_in_the_boot_indices() {
        let net = arguments(Firmware::Bios, BootDevice::Network);
        assert!(net.contains("mac=52:54:00:77:00:01,bootindex=1 ") && net.contains("DISK0001,bootindex=2"), "{net}");
        let disk = arguments(Firmware::Uefi, BootDevice::Disk);
        assert!(
            disk.contains("bootindex=2,romfile=") && disk.contains("nvme,drive=disk0,serial=DISK0001,bootindex=1"),
            "{disk}"
        );
    }

    #[test]
    fn a_reset_is_told_from_a_shutdown() {
        let event = |r: &str| format!(r#"{{"event":"SHUTDOWN","data":{{"guest":true,"reason":"{r}"}}}}"#);
        assert_eq!(reason(&event("guest-reset")), Some(Stopped::Reset));
        assert_eq!(reason(&event("guest-shutdown")), Some(Stopped::Off));
        assert_eq!(reason(r#"{"event":"RTC_CHANGE"}"#), None);
        assert_eq!(reason("no json"), None);
    }
}
