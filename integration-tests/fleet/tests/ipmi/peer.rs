//! Debian's ipmi_sim as another BMC: where both can do it, ipmitool sees no difference.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::rig::{Rig, ipmitool};

/// Its cipher suites end at the SHA-1 ones.
const SUITE: u8 = 3;

/// What is asked of both. Only what ipmi_sim can do: it forgets the flags of the boot device, has no suite 17, says yes to every
/// password of `user test`, and takes chassis controls that there are not.
const SCRIPT: &[&str] = &[
    "chassis power status",
    "chassis power on",
    "chassis power status",
    "chassis bootdev pxe",
    "chassis power off",
    "chassis power status",
    "user set name 3 maas",
    "user set password 3 S3cr3tMaas0123 16",
    "channel setaccess 1 3 link=on ipmi=on callin=on privilege=4",
    "user enable 3",
    "user test 3 16 S3cr3tMaas0123",
    "raw 6 0x46 3",
    "raw 6 0x3b 0",
    "raw 6 0x3b 3",
    "raw 6 0x99",
    "raw 6 0x44 1",
    "raw 6 0x3c 9 9 9 9",
    "raw 6 0x42 0x0e",
    "sel list",
];

struct IpmiSim {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl IpmiSim {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        // A port that was free a moment ago: ipmi_sim cannot tell which it got.
        let address = UdpSocket::bind("127.93.0.1:0").unwrap().local_addr().unwrap();
        fs::create_dir(path.join("state")).unwrap();
        fs::write(path.join("lan.conf"), lan_conf(path, address)).unwrap();
        fs::write(path.join("sim.emu"), SIM_EMU).unwrap();
        let control = path.join("control");
        fs::write(&control, CONTROL).unwrap();
        fs::set_permissions(&control, fs::Permissions::from_mode(0o755)).unwrap();
        let child = Command::new("ipmi_sim")
            .args(["-c", "lan.conf", "-f", "sim.emu", "-s", "state", "-n"])
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openipmi is installed: deploy/debian/prerequisites.sh");
        Self { child, address, _folder: folder }
    }

    fn is_up(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ipmitool(self.address, "root", "calvin", SUITE, "mc info").success {
            assert!(Instant::now() < deadline, "ipmi_sim does not answer");
        }
    }
}

impl Drop for IpmiSim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SIM_EMU: &str = "mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
";

const CONTROL: &str = r#"#!/bin/sh
# chassis_control of ipmi_sim: FOLDER get|set power|boot|... [VALUE]
case "$2 $3" in
"get power") echo "power:$(cat "$1/power" 2>/dev/null || echo 0)" ;;
"set power") echo "$4" >"$1/power" ;;
"get boot") echo "boot:$(cat "$1/boot" 2>/dev/null || echo none)" ;;
"set boot") echo "$4" >"$1/boot" ;;
esac
"#;

fn lan_conf(folder: &Path, address: SocketAddr) -> String {
    let (host, port, folder) = (address.ip(), address.port(), folder.display());
    let auth = "none md2 md5 straight";
    format!(
        "name \"peer\"\nset_working_mc 0x20\n  startlan 1\n    addr {host} {port}\n    priv_limit admin\n    \
         allowed_auths_callback {auth}\n    allowed_auths_user {auth}\n    allowed_auths_operator {auth}\n    \
         allowed_auths_admin {auth}\n    guid 0102030405060708090a0b0c0d0e0f10\n  endlan\n  \
         chassis_control \"{folder}/control {folder}\"\n  startnow false\n  \
         user 1 true \"\" \"test\" user 10 {auth}\n  user 2 true \"root\" \"calvin\" admin 10 {auth}\n"
    )
}

#[test]
fn ipmitool_sees_the_same_as_with_ipmi_sim() {
    let peer = IpmiSim::start();
    let (_rig, ours) = Rig::one("dell");
    peer.is_up();
    let mut differences = Vec::new();
    for arguments in SCRIPT {
        let theirs = ipmitool(peer.address, "root", "calvin", SUITE, arguments);
        let ours = ours.ipmitool(SUITE, arguments);
        if (theirs.success, &theirs.text) != (ours.success, &ours.text) {
            differences.push(format!("{arguments}\n  theirs: {theirs:?}\n  ours: {ours:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    for address in [peer.address, ours.address] {
        let said = ipmitool(address, "maas", "S3cr3tMaas0123", SUITE, "chassis power status");
        assert_eq!((said.success, said.text.as_str()), (true, "Chassis Power is off\n"), "{address}");
        let said = ipmitool(address, "maas", "wrong", SUITE, "chassis power status");
        assert!(!said.success && said.text.contains("Unable to establish"), "{address}: {}", said.text);
    }
}
