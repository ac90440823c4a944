//! Thousands of simulated BMCs in a process of their own, so that only who asks is measured.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Read as _},
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use farrier_common::net::MacAddr;
use farrier_fleet::{
    accounts::Accounts,
    chassis::Chassis,
    dice::Dice,
    ipmi::{Fault, Faults, Identity, Server, host::Host},
    personality::Personality,
};
use farrier_rack::bmc::{Bmcs, Login, gate::Class};
use futures_util::future::join_all;
use nix::sys::resource::UsageWho;
use tokio::{runtime::Runtime, time::sleep_until};

use super::{PORT, ask, login, median, processor};

/// The word with which this program starts itself as the BMCs.
pub(crate) const SERVE: &str = "serve";
const READY: &str = "ready";

const HEALTHY: u32 = 1_000;
const HOLES: u32 = 10;
const ROUNDS: usize = 10;

const POLLED: u32 = 5_000;
const EVERY: Duration = Duration::from_secs(60);

/// Address and vendor of the `n`th BMC.
fn place(n: u32) -> anyhow::Result<(Ipv4Addr, Arc<Personality>)> {
    let names: Vec<_> = Personality::names().collect();
    let name = names.get(usize::try_from(n)? % names.len()).context("a vendor")?;
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 64, 1, 0).to_bits() + n);
    Ok((address, Personality::shipped(name)?))
}

fn logins(from: u32, to: u32) -> anyhow::Result<Vec<Login>> {
    let one =
        |n| place(n).map(|(at, vendor)| login(at, &vendor.accounts.factory.name, &vendor.accounts.factory.password));
    (from..to).map(one).collect()
}

/// Is the BMCs, until nobody holds the other end of standard input. The last `holes` never answer.
pub(crate) fn serve(healthy: u32, holes: u32) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut servers = Vec::new();
    for n in 0..healthy + holes {
        let (address, personality) = place(n)?;
        let chassis = Chassis::new(Arc::default());
        let accounts = Accounts::shared(Arc::clone(&personality), Arc::clone(chassis.truth()));
        let faults = Faults::shared();
        if n >= healthy {
            faults.lock().ok().and_then(|mut faults| faults.add(Fault::black_hole())).context("a fault")?;
        }
        let [_, b, c, d] = n.to_be_bytes();
        let identity =
            Identity { address, mac: MacAddr([2, 0, 0, b, c, d]), guid: [d; 16], serial: format!("SN{n:05}") };
        servers.push((address, Server::new(identity, personality, chassis, accounts, faults, Dice::new(u64::from(n)))));
    }
    runtime.block_on(async {
        let mut host = Host::new(servers.len());
        host.add_crowd(PORT, servers)?;
        println!("{READY}");
        let until_closed = tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new()));
        until_closed.await??;
        host.stop(Duration::from_secs(5)).await;
        Ok(())
    })
}

/// The process with the BMCs.
struct Simulators(Child);

impl Simulators {
    fn start(healthy: u32, holes: u32) -> anyhow::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args([SERVE, &healthy.to_string(), &holes.to_string()]);
        let mut this = Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        let mut line = String::new();
        BufReader::new(this.0.stdout.take().context("its output")?).read_line(&mut line)?;
        ensure!(line.trim() == READY, "the simulated BMCs do not start");
        Ok(this)
    }
}

impl Drop for Simulators {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Healthy BMCs beside black holes, and without.
pub(crate) fn holes(runtime: &Runtime) -> anyhow::Result<()> {
    let _simulators = Simulators::start(HEALTHY, HOLES)?;
    let (healthy, holes) = (logins(0, HEALTHY)?, logins(HEALTHY, HEALTHY + HOLES)?);
    let bmcs = Bmcs::default();
    runtime.block_on(async {
        ask(&bmcs, &healthy).await;
        let (mut alone, mut beside, mut lost) = (Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            let (wall, missing) = ask(&bmcs, &healthy).await;
            alone.push(wall);
            let dead = tokio::spawn({
                let (bmcs, holes) = (bmcs.clone(), holes.clone());
                async move { ask(&bmcs, &holes).await }
            });
            let (wall, more) = ask(&bmcs, &healthy).await;
            beside.push(wall);
            lost += missing + more;
            let (_, dead) = dead.await?;
            ensure!(dead == holes.len(), "a black hole answered");
        }
        let (alone, beside) = (median(&mut alone).as_secs_f64(), median(&mut beside).as_secs_f64());
        println!(
            "{HEALTHY} BMCs, median of {ROUNDS}: {:.0} ms; beside {HOLES} black holes {:.0} ms",
            alone * 1e3,
            beside * 1e3
        );
        println!("ratio {:.3} (goal: at most 1.05); {lost} lost", beside / alone);
        Ok(())
    })
}

/// All BMCs, each once in [`EVERY`].
pub(crate) fn poll(runtime: &Runtime) -> anyhow::Result<()> {
    let _simulators = Simulators::start(POLLED, 0)?;
    let logins = logins(0, POLLED)?;
    let bmcs = Bmcs::default();
    runtime.block_on(async {
        // The first round learns who speaks which cipher suite.
        for round in 1..=2 {
            let (before, start) = (processor(UsageWho::RUSAGE_SELF)?, Instant::now());
            let answers = join_all(logins.iter().cloned().zip(0..).map(|(login, n)| {
                let bmcs = bmcs.clone();
                let due = tokio::time::Instant::from_std(start + EVERY * n / POLLED);
                tokio::spawn(async move {
                    sleep_until(due).await;
                    bmcs.power_for(&login, Class::Polling).await.is_ok()
                })
            }))
            .await;
            let lost = answers.iter().filter(|answer| !matches!(answer, Ok(true))).count();
            let used = (processor(UsageWho::RUSAGE_SELF)? - before).as_secs_f64();
            let cores = used / start.elapsed().max(EVERY).as_secs_f64();
            println!(
                "round {round}: {POLLED} BMCs in {EVERY:?}: {cores:.3} of a processor (goal: at most 0.15); {lost} lost"
            );
        }
        Ok(())
    })
}
