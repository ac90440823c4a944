//! Debian's `ipmi_sim` on a loopback port, with a chassis that is a folder.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use farrier_common::hardware::PowerState;
use farrier_rack::bmc::{
    Bmcs, Face, Login,
    ipmi::lanplus::{KnownSuites, Pace},
    power::Patience,
};
use tempfile::TempDir;

pub(crate) const ADMIN: (&str, &str) = ("root", "calvin");

/// Three users: the anonymous one, an administrator and an operator.
const LAN: &str = r#"name "sim"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 PORT
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "DIR/chassis.sh DIR"
  user 1 true "" "test" user 10 none md2 md5 straight
  user 2 true "root" "calvin" admin 10 none md2 md5 straight
  user 5 true "oper" "sesame" operator 10 none md2 md5 straight
"#;

const MC: &str = "mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
";

/// Notes each change in `log`. A file `stuck` keeps the power as it is.
const CHASSIS: &str = r#"#!/bin/sh
cd "$1" || exit 1
shift; op=$1; shift
case $op in
get) for key; do case $key in
  power) echo "power:$(cat power 2>/dev/null || echo 0)" ;;
  boot) echo "boot:$(cat boot 2>/dev/null || echo default)" ;;
  *) exit 1 ;;
  esac; done ;;
set) while [ -n "$1" ]; do
  echo "$1 $2" >>log
  { [ "$1" = power ] && [ -e stuck ]; } || echo "$2" >"$1"
  shift 2
  done ;;
esac
"#;

/// A running simulator; ends when dropped.
pub(crate) struct Sim {
    pub(crate) dir: TempDir,
    pub(crate) address: SocketAddrV4,
    child: Child,
}

impl Sim {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = |name: &str| dir.path().join(name);
        let lan = LAN.replace("PORT", &port.to_string()).replace("DIR", dir.path().to_str().unwrap());
        fs::write(path("lan.conf"), lan).unwrap();
        fs::write(path("sim.emu"), MC).unwrap();
        fs::write(path("chassis.sh"), CHASSIS).unwrap();
        fs::set_permissions(path("chassis.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(path("state")).unwrap();
        let child = Command::new("ipmi_sim")
            .arg("-c")
            .arg(path("lan.conf"))
            .arg("-f")
            .arg(path("sim.emu"))
            .arg("-s")
            .arg(path("state"))
            .arg("-n")
            .stdin(Stdio::null())
            .stdout(fs::File::create(path("sim.log")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .expect("ipmi_sim is in Debian's package openipmi");
        let sim = Self { address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), dir, child };
        let patient = Pace {
            first: Duration::from_millis(100),
            most: Duration::from_millis(200),
            deadline: Duration::from_secs(3),
        };
        let started = std::time::Instant::now();
        while let Err(error) = Bmcs::with_times(patient, Patience::default()).power(&sim.admin()).await {
            assert!(started.elapsed() < Duration::from_secs(20), "ipmi_sim does not serve: {error}");
        }
        sim
    }

    pub(crate) fn admin(&self) -> Login {
        self.login(ADMIN.0, ADMIN.1)
    }

    pub(crate) fn login(&self, username: &str, password: &str) -> Login {
        Login {
            address: self.address,
            username: username.into(),
            password: password.to_owned().into(),
            face: Face::Ipmi,
            suites: KnownSuites::default(),
        }
    }

    /// Content of one of the chassis' files.
    pub(crate) fn chassis(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default().trim().to_owned()
    }

    pub(crate) fn power(&self) -> PowerState {
        if self.chassis("power") == "1" { PowerState::On } else { PowerState::Off }
    }

    /// What a program that is not ours says.
    pub(crate) fn ipmitool(&self, username: &str, password: &str, arguments: &[&str]) -> Output {
        let port = self.address.port().to_string();
        Command::new("ipmitool")
            .args(["-I", "lanplus", "-C", "3", "-N", "2", "-R", "2", "-H", "127.0.0.1", "-p", &port])
            .args(["-U", username, "-P", password])
            .args(arguments)
            .output()
            .expect("ipmitool is in Debian's package ipmitool")
    }

    /// The administrator's view.
    pub(crate) fn as_admin(&self, arguments: &[&str]) -> String {
        let output = self.ipmitool(ADMIN.0, ADMIN.1, arguments);
        assert!(output.status.success(), "ipmitool {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
