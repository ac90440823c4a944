//! What processes cost: processor time and memory, as the kernel counts them.

use std::{fs, io, time::Duration};

use nix::unistd::{SysconfVar, sysconf};

/// A process that is metered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// What it is called in reports.
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

/// What a process has cost until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Processor time, its own and the kernel's for it.
    pub cpu: Duration,
    /// Memory that it holds, in bytes.
    pub resident: u64,
    /// The most memory that it ever held, in bytes.
    pub peak: u64,
}

impl Process {
    /// Reads its counters.
    ///
    /// # Errors
    /// It is gone.
    pub fn cost(&self) -> io::Result<Cost> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|n| u32::try_from(n).ok()).unwrap_or(100);
        read(&stat, &status, per_second).ok_or_else(|| io::Error::other("the kernel's counters are not understood"))
    }
}

fn read(stat: &str, status: &str, per_second: u32) -> Option<Cost> {
    // The name, in parentheses, may hold anything; after it come numbers.
    let (_, numbers) = stat.rsplit_once(')')?;
    let number = |n: usize| numbers.split_whitespace().nth(n).and_then(|text| text.parse::<u64>().ok());
    // Fields 14 and 15 of proc(5), where the first after the name is the third.
    let ticks = number(11)? + number(12)?;
    let kib = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let cpu = Duration::from_millis(ticks * 1000 / u64::from(per_second.max(1)));
    Some(Cost { cpu, resident: kib("VmRSS:")? << 10, peak: kib("VmHWM:")? << 10 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_whatever_a_process_calls_itself() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 5 1 2";
        let status = "Name:\ta\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        let cost = read(stat, status, 100).unwrap();
        assert_eq!(cost, Cost { cpu: Duration::from_secs(2), resident: 1 << 20, peak: 2 << 20 });
        assert!(read("7 (a", status, 100).is_none());
    }

    #[test]
    fn this_process_costs_something() {
        let cost = Process { name: "test".to_owned(), pid: std::process::id() }.cost().unwrap();
        assert!(cost.resident > 0 && cost.peak >= cost.resident);
    }
}
