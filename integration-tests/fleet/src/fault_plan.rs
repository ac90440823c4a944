//! Fault plans: what goes wrong in a fleet, as text. One line is machines, what happens to them, and how often.
//!
//! ```text
//! # Two of ten lose a tenth of their packets; one BMC is dead from the start.
//! every=5              drop-packets share=10%
//! m3                   black-hole
//! vendor=dell&m1-m20   disk-fails on=write disk=2 x1
//! share=5%             bmc-delay by=2s on=power-reads
//! ```
//!
//! Without `xCOUNT` a fault holds until it is healed. Where chance decides, it is the seed's.

pub mod action;
pub(crate) mod apply;
pub mod selector;

use thiserror::Error;

pub use self::{
    action::Action,
    apply::ApplyError,
    selector::{Selector, Target},
};
use crate::words::Words;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Whom it meets.
    pub who: Selector,
    /// What it does.
    pub action: Action,
    /// How often; `None`: until it is healed.
    pub count: Option<u32>,
}

/// A whole plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan(pub Vec<Line>);

/// A line that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}: {why}")]
pub struct PlanError {
    /// Which, counted from 1.
    pub line: usize,
    /// What is wrong with it, and what is allowed.
    pub why: String,
}

impl FaultPlan {
    /// Reads a plan: one fault a line; `#` begins a comment.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let lines =
            text.lines().enumerate().map(|(n, line)| (n + 1, line.split('#').next().unwrap_or_default().trim()));
        let read = lines.filter(|(_, line)| !line.is_empty()).map(|(n, line)| {
            let parsed = Words::split(line).and_then(Line::parse);
            parsed.map_err(|why| PlanError { line: n, why })
        });
        read.collect::<Result<_, _>>().map(Self)
    }
}

impl Line {
    /// Reads `SELECTOR ACTION [key=value]... [xCOUNT]`.
    ///
    /// # Errors
    /// What is wrong, and what is allowed.
    pub fn parse(mut words: Words) -> Result<Self, String> {
        let who = words.read("which machines")?;
        let name = words.next("what goes wrong")?;
        let count = words.count()?;
        let action = Action::parse(&name, &mut words)?;
        if count.is_some() && action.is_made() {
            return Err(format!("{name} is how machines are made: it takes no count"));
        }
        words.end(&format!("{}xCOUNT", Action::keys(&name)))?;
        Ok(Self { who, action, count })
    }
}

#[cfg(test)]
mod tests;
