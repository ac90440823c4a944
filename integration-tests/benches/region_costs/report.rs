//! What was measured, beside the peer's figures and the goals of `reference/perf.md` (C1-C9).

use std::time::Duration;

/// One figure.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Such as C2.
    pub(crate) id: &'static str,
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    /// What Ironic 39 (with MariaDB) takes for it on the same kind of machine, and the goal marked M, if there are any.
    pub(crate) peer: Option<f64>,
    pub(crate) goal: Option<f64>,
    /// Is more better?
    pub(crate) more: bool,
}

impl Row {
    /// So many a second; more is better.
    pub(crate) fn rate(id: &'static str, what: impl Into<String>, value: f64) -> Self {
        Self { id, what: what.into(), unit: "/s", value, peer: None, goal: None, more: true }
    }

    /// Less is better.
    pub(crate) fn cost(id: &'static str, what: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self { id, what: what.into(), unit, value, peer: None, goal: None, more: false }
    }

    pub(crate) fn beside(self, peer: f64, goal: f64) -> Self {
        Self { peer: Some(peer), goal: Some(goal), ..self }
    }

    fn ratio(&self) -> String {
        let Some(peer) = self.peer else { return "-".to_owned() };
        let (ours, theirs) = if self.more { (self.value, peer) } else { (peer, self.value) };
        format!("{:.0}x", ours / theirs.max(f64::MIN_POSITIVE))
    }

    fn judged(&self) -> &'static str {
        match self.goal {
            Some(goal) if (self.value >= goal) == self.more || (self.value - goal).abs() < f64::EPSILON => "met",
            Some(_) => "missed",
            None => "-",
        }
    }
}

/// Prints one database's table.
#[expect(clippy::print_stdout, reason = "what a benchmark is for")]
pub(crate) fn print(database: &str, rows: &[Row]) {
    println!("\n{database}, with fsync\n");
    println!("| | what | measured | Ironic 39 | ratio | goal | |\n|---|---|---:|---:|---:|---:|---|");
    let told = |value: Option<f64>, unit: &str| value.map_or_else(|| "-".to_owned(), |v| format!("{}{unit}", short(v)));
    for row in rows {
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.id,
            row.what,
            told(Some(row.value), row.unit),
            told(row.peer, row.unit),
            row.ratio(),
            told(row.goal, row.unit),
            row.judged()
        );
    }
}

/// Three digits that matter.
fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.4}"),
    }
}

/// How long calls took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }

    /// In milliseconds, not longer than which `part` of them took.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rank")]
    pub(crate) fn ms(&self, part: f64) -> f64 {
        let place = (self.0.len() as f64 * part) as usize;
        self.0.get(place.min(self.0.len().saturating_sub(1))).map_or(0.0, |t| t.as_secs_f64() * 1e3)
    }
}
