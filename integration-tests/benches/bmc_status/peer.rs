//! 200 `ipmi_sim` and the two who ask them.

use std::{
    fs,
    net::Ipv4Addr,
    num::NonZero,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use farrier_integration_tests::wait;
use farrier_rack::bmc::{Bmcs, Login};
use nix::sys::resource::UsageWho;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{PORT, ask, login, median, processor};

const MANY: u8 = 200;
const ROUNDS: usize = 20;
const NAME: &str = "root";
const PASSWORD: &str = "calvin";

/// A BMC with one user, whose chassis nobody has made.
const LAN: &str = r#"name "sim"
set_working_mc 0x20
  startlan 1
    addr ADDRESS PORT
    priv_limit admin
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "CHASSIS"
  user 1 true "" "test" user 10 none md2 md5 straight
  user 2 true "root" "calvin" admin 10 none md2 md5 straight
"#;
const MC: &str =
    "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n";

/// Processes that end with this.
struct Processes(Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 66, 0, n)
}

fn simulators(dir: &TempDir) -> anyhow::Result<Processes> {
    let mut all = Processes(Vec::new());
    for n in 1..=MANY {
        let path = dir.path().join(n.to_string());
        fs::create_dir_all(path.join("state"))?;
        let lan = LAN.replace("ADDRESS", &address(n).to_string()).replace("PORT", &PORT.to_string());
        fs::write(path.join("lan.conf"), lan.replace("CHASSIS", "/bin/echo power:0 #"))?;
        fs::write(path.join("sim.emu"), MC)?;
        let mut command = Command::new("ipmi_sim");
        command.arg("-c").arg(path.join("lan.conf")).arg("-f").arg(path.join("sim.emu"));
        command.arg("-s").arg(path.join("state")).arg("-n");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        all.0.push(command.spawn().context("ipmi_sim is in Debian's package openipmi")?);
    }
    Ok(all)
}

/// What one way of asking came to in all rounds.
#[derive(Default)]
struct Tally {
    walls: Vec<Duration>,
    processor: Duration,
    lost: usize,
}

impl Tally {
    fn add(&mut self, wall: Duration, processor: Duration, lost: usize) {
        self.walls.push(wall);
        self.processor += processor;
        self.lost += lost;
    }

    fn line(&mut self, who: &str) -> (Duration, Duration) {
        let wall = median(&mut self.walls);
        let rounds = u32::try_from(self.walls.len()).unwrap_or(u32::MAX);
        let each = self.processor / rounds / u32::from(MANY);
        println!("| {who} | {:.0} | {:.0} | {} |", wall.as_secs_f64() * 1e3, each.as_secs_f64() * 1e6, self.lost);
        (wall, each)
    }
}

fn by_ipmipower(tally: &mut Tally) -> anyhow::Result<()> {
    let hosts = format!("127.66.0.[1-{MANY}]");
    let mut command = Command::new("ipmipower");
    command.args(["-h", &hosts, "-u", NAME, "-p", PASSWORD, "-D", "LAN_2_0", "-I", "3", "-l", "ADMIN"]);
    // What ipmi_sim needs, and time enough on a busy machine.
    command.args(["-W", "opensesspriv", "--session-timeout=20000", "--stat"]);
    let (before, start) = (processor(UsageWho::RUSAGE_CHILDREN)?, Instant::now());
    let output = command.stderr(Stdio::null()).output().context("ipmipower is in Debian's package freeipmi-tools")?;
    let wall = start.elapsed();
    let text = String::from_utf8_lossy(&output.stdout);
    let served = text.lines().filter(|line| line.ends_with(": off") || line.ends_with(": on")).count();
    tally.add(wall, processor(UsageWho::RUSAGE_CHILDREN)? - before, usize::from(MANY) - served);
    Ok(())
}

fn by_us(runtime: &Runtime, bmcs: &Bmcs, logins: &[Login], tally: &mut Tally) -> anyhow::Result<()> {
    let before = processor(UsageWho::RUSAGE_SELF)?;
    let (wall, lost) = runtime.block_on(ask(bmcs, logins));
    tally.add(wall, processor(UsageWho::RUSAGE_SELF)? - before, lost);
    Ok(())
}

/// Prints the table.
pub(crate) fn measure(runtime: &Runtime) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let _simulators = simulators(&dir)?;
    let logins: Vec<Login> = (1..=MANY).map(|n| login(address(n), NAME, PASSWORD)).collect();
    let bmcs = Bmcs::default();
    // Until all are up; what is learnt on the way, such as their cipher suite, a rack knows as well.
    let limit = Duration::from_secs(120);
    wait::until_true("200 ipmi_sim", limit, || runtime.block_on(ask(&bmcs, &logins)).1 == 0)?;
    println!("| {MANY} ipmi_sim asked by | ms, median of {ROUNDS} | processor µs a BMC | lost in all |");
    println!("|---|---:|---:|---:|");
    for load in [0, 2] {
        let busy = load * thread::available_parallelism().map_or(1, NonZero::get);
        let shells = (0..busy).map(|_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn());
        let _load = Processes(shells.collect::<Result<_, _>>()?);
        let (mut us, mut peer) = (Tally::default(), Tally::default());
        for _ in 0..ROUNDS {
            by_us(runtime, &bmcs, &logins, &mut us)?;
            by_ipmipower(&mut peer)?;
        }
        let (wall, each) = us.line(&format!("farrier-rack, beside {busy} busy processes"));
        let (peer_wall, peer_each) = peer.line(&format!("ipmipower, beside {busy} busy processes"));
        ensure!(!peer_wall.is_zero() && !peer_each.is_zero(), "ipmipower did nothing");
        let ratio = |ours: Duration, theirs: Duration| ours.as_secs_f64() / theirs.as_secs_f64();
        println!("| ratio | {:.2} | {:.2} | |", ratio(wall, peer_wall), ratio(each, peer_each));
    }
    Ok(())
}
