//! How a task ends when it does not succeed.

use std::io;

use thiserror::Error;

/// A task that did not succeed.
#[derive(Debug, Error)]
pub enum TaskError {
    /// The region no longer wants it.
    #[error("stopped: the task is no longer wanted")]
    Stopped,
    /// It cannot be done, and why.
    #[error("{0}")]
    Failed(String),
    /// The machine refused something.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl TaskError {
    /// For `map_err`: says what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }

    /// Something that cannot be done.
    pub fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }
}
