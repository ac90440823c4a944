//! What a run took, as tables for people: Markdown, so that a document can hold them.

use std::{fmt, time::Duration};

use crate::meter::Cost;

/// What one stage took.
#[derive(Clone, Debug)]
pub struct StageReport {
    /// What happened to the machines in it.
    pub title: &'static str,
    /// How many there are.
    pub machines: usize,
    /// By the clock, first to last.
    pub wall: Duration,
    /// Processor time of each metered process.
    pub cpu: Vec<Duration>,
    /// What each machine's work took, shortest first; empty where nothing is worked on.
    pub durations: Vec<Duration>,
}

/// What a whole run took.
#[derive(Clone, Debug)]
pub struct Report {
    /// How many machines there were.
    pub machines: usize,
    /// Each metered process: its name, what it cost in this run and holds at the end, and what it had before.
    pub costs: Vec<(String, Cost, Cost)>,
    /// In order.
    pub stages: Vec<StageReport>,
}

impl StageReport {
    /// Machines per minute.
    #[must_use]
    pub fn per_minute(&self) -> f64 {
        count(self.machines) * 60.0 / self.wall.as_secs_f64().max(0.001)
    }

    /// The duration that `percent` of the machines did not exceed.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let last = self.durations.len().checked_sub(1)?;
        self.durations.get((self.durations.len() * percent).div_ceil(100).saturating_sub(1).min(last)).copied()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wall: Duration = self.stages.iter().map(|s| s.wall).sum();
        let lives = count(self.machines);
        let cpu: f64 = self.costs.iter().map(|(_, cost, _)| cost.cpu.as_secs_f64()).sum();
        writeln!(
            f,
            "{} life-cycles in {:.0} s: {:.0} machines/min, {:.3} CPU-seconds each\n",
            self.machines,
            wall.as_secs_f64(),
            lives * 60.0 / wall.as_secs_f64().max(0.001),
            cpu / lives.max(1.0)
        )?;
        let names = self.costs.iter().map(|(name, ..)| format!(" {name} CPU s |")).collect::<String>();
        writeln!(f, "| stage | wall s | machines/min | p50 s | p99 s |{names}")?;
        writeln!(f, "|---|---:|---:|---:|---:|{}", "---:|".repeat(self.costs.len()))?;
        for stage in &self.stages {
            let percentile =
                |p| stage.percentile(p).map_or_else(|| "-".to_owned(), |d| format!("{:.1}", d.as_secs_f64()));
            let cpu = stage.cpu.iter().map(|c| format!(" {:.1} |", c.as_secs_f64())).collect::<String>();
            let (wall, rate) = (stage.wall.as_secs_f64(), stage.per_minute());
            let (p50, p99) = (percentile(50), percentile(99));
            writeln!(f, "| {} | {wall:.1} | {rate:.0} | {p50} | {p99} |{cpu}", stage.title)?;
        }
        writeln!(f, "\n| process | CPU s a life-cycle | memory at the end, MiB | at most, MiB | KiB a machine |")?;
        writeln!(f, "|---|---:|---:|---:|---:|")?;
        for (name, cost, before) in &self.costs {
            let per = cost.cpu.as_secs_f64() / lives.max(1.0);
            let (now, most) = (mebibytes(cost.resident), mebibytes(cost.peak));
            let each = mebibytes(cost.peak.saturating_sub(before.resident)) * 1024.0 / lives.max(1.0);
            writeln!(f, "| {name} | {per:.3} | {now:.0} | {most:.0} | {each:.0} |")?;
        }
        let most: u64 = self.costs.iter().map(|(_, cost, _)| cost.peak).sum();
        writeln!(f, "| all | {:.3} | | {:.0} | |", cpu / lives.max(1.0), mebibytes(most))
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people's eyes")]
const fn count(n: usize) -> f64 {
    n as f64
}

#[expect(clippy::cast_precision_loss, reason = "for people's eyes")]
const fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_happened() {
        let durations = (1..=200).map(Duration::from_secs).collect();
        let stage = StageReport { title: "x", machines: 200, wall: Duration::from_mins(2), cpu: vec![], durations };
        let seconds = |p| stage.percentile(p).map(|d| d.as_secs());
        assert_eq!((seconds(50), seconds(99), seconds(100)), (Some(100), Some(198), Some(200)));
        assert!((stage.per_minute() - 100.0).abs() < 1e-9);
        assert_eq!(StageReport { durations: vec![], ..stage }.percentile(99), None);
    }
}
