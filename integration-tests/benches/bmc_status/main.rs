//! What asking BMCs for their power costs a rack.
//!
//! `cargo bench -p farrier-fleet --bench bmc_status -- peer|holes|poll` (one of them), as root: it needs port 623 of 127.0.0.0/8.
//!
//! - `peer`: 200 `ipmi_sim`, asked all at once by the rack's client and by freeipmi's `ipmipower`, in turns, 20 times each; then the
//!   same beside twice as many busy processes as there are processors. Goals: at most 1.2 times the time, at most 1.5 times the
//!   processor time, nobody lost.
//! - `holes`: 1,000 simulated BMCs, asked all at once, with ten more that never answer and without. Goal: at most 1.05 times the time.
//! - `poll`: 5,000 simulated BMCs, each asked every 60 seconds. Goal: at most 0.15 of a processor.

#![expect(clippy::print_stdout, reason = "what a benchmark is for")]

mod peer;
mod simulated;

use std::{
    env,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use farrier_rack::bmc::{Bmcs, Face, Login, ipmi::lanplus::KnownSuites};
use futures_util::future::join_all;
use nix::{
    sys::resource::{UsageWho, getrusage},
    sys::time::TimeValLike as _,
};

/// RMCP+.
const PORT: u16 = 623;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match words[..] {
        ["peer"] => peer::measure(&runtime),
        ["holes"] => simulated::holes(&runtime),
        ["poll"] => simulated::poll(&runtime),
        [simulated::SERVE, healthy, holes] => simulated::serve(healthy.parse()?, holes.parse()?),
        _ => anyhow::bail!("say what to measure: peer, holes or poll"),
    }
}

fn login(address: Ipv4Addr, username: &str, password: &str) -> Login {
    Login {
        address: SocketAddrV4::new(address, PORT),
        username: username.to_owned(),
        password: password.to_owned().into(),
        face: Face::Ipmi,
        suites: KnownSuites::default(),
    }
}

/// Asks all at once; how long it took until the last had answered, and how many did not.
async fn ask(bmcs: &Bmcs, logins: &[Login]) -> (Duration, usize) {
    let start = Instant::now();
    let answers = join_all(logins.iter().cloned().map(|login| {
        let bmcs = bmcs.clone();
        tokio::spawn(async move { bmcs.power(&login).await.is_ok() })
    }))
    .await;
    let lost = answers.iter().filter(|answer| !matches!(answer, Ok(true))).count();
    (start.elapsed(), lost)
}

/// Processor time of this process, or of its children that have ended.
fn processor(who: UsageWho) -> anyhow::Result<Duration> {
    let usage = getrusage(who)?;
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
