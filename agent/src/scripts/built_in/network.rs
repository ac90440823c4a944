//! The interface that the machine booted from has a link, and the rack answers.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::{Check, Verdict};
use crate::{
    cmdline::Options,
    machine::interface::{self, Interface},
};

/// For a connection.
const ANSWER: Duration = Duration::from_secs(5);

pub(super) fn test(check: &Check) -> Verdict {
    match look(check) {
        Ok(told) => Verdict::Passed(told),
        Err(why) => Verdict::Failed(why),
    }
}

fn look(check: &Check) -> Result<String, String> {
    let text = fs::read_to_string(check.host.proc("cmdline")).map_err(|e| format!("the command line: {e}"))?;
    let options = Options::parse(&text).map_err(|e| format!("the command line: {e}"))?;
    let all = interface::list(&check.host, check.boot_mac).map_err(|e| format!("the interfaces: {e}"))?;
    let mut lines = vec![linked(check, &all)?];
    lines.push(answers("agent port", options.agent)?);
    let http = options.http.socket_addrs(|| None).map_err(|e| format!("{}: {e}", options.http))?;
    let http = http.first().ok_or_else(|| format!("{} has no address", options.http))?;
    lines.push(answers("HTTP port", *http)?);
    Ok(lines.join("\n"))
}

/// The interface that the machine booted from; where nobody told which it is, any will do.
fn linked(check: &Check, all: &[Interface]) -> Result<String, String> {
    let wanted = |i: &&Interface| check.boot_mac.is_none_or(|mac| i.mac == mac);
    let mut candidates = all.iter().filter(wanted).peekable();
    let first = candidates.peek().map(|i| format!("{} ({})", i.name, i.mac));
    match (candidates.find(|i| i.carrier), first) {
        (Some(i), _) if i.speed_mbps > 0 => Ok(format!("{} ({}) has a link of {} Mbit/s", i.name, i.mac, i.speed_mbps)),
        (Some(i), _) => Ok(format!("{} ({}) has a link", i.name, i.mac)),
        (None, Some(name)) => Err(format!("{name} has no link")),
        (None, None) => Err("the interface that the machine booted from is not there".to_owned()),
    }
}

fn answers(what: &str, address: SocketAddr) -> Result<String, String> {
    let since = Instant::now();
    let what = format!("the rack's {what} {address}");
    TcpStream::connect_timeout(&address, ANSWER).map_err(|e| format!("{what} does not answer: {e}"))?;
    Ok(format!("{what} answers within {} ms", since.elapsed().as_millis().max(1)))
}
