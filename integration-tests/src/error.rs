//! What can go wrong in the lab itself.

use std::{io, time::Duration};

use thiserror::Error;

/// Result of everything that the lab does.
pub type Result<T> = std::result::Result<T, LabError>;

/// A lab that does not do what it should.
#[derive(Debug, Error)]
pub enum LabError {
    /// The operating system refused.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// A command failed.
    #[error("{command} ended with {status}\n{output}")]
    Command {
        /// The command line.
        command: String,
        /// Exit status in words.
        status: String,
        /// What it wrote.
        output: String,
    },
    /// A condition did not come true.
    #[error("{what} did not come within {} s; last seen: {last}", limit.as_secs())]
    Timeout {
        /// The condition.
        what: String,
        /// How long it was waited for.
        limit: Duration,
        /// What was seen instead.
        last: String,
    },
    /// Something answered, but not what it should.
    #[error("{what}: {answer}")]
    Answer {
        /// Who or what.
        what: String,
        /// The answer, or what is wrong with it.
        answer: String,
    },
}

impl LabError {
    /// For `map_err`: an operating system's error, with what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// An unexpected answer.
    pub fn answer(what: impl Into<String>, answer: impl Into<String>) -> Self {
        Self::Answer { what: what.into(), answer: answer.into() }
    }
}
