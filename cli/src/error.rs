//! What can go wrong, in whose words, and with which exit code the command then ends.

use std::io;

use farrier_proto::v1::StateRefusal;
use prost::Message as _;
use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::render::words;

/// The exit codes, as `--help` shows them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed in a way that none of the following names
  2  usage: the command line or a file that it names is wrong, here or in the region's eyes
  3  refused: the machine's state or another precondition does not allow it
  4  not found, not permitted, or not logged in
  5  the work that was waited for ended in another state than the one aimed at, or on some machines it failed
  6  the region cannot be reached, or a deadline passed";

/// Why a command did not do what was asked.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The command line, or a file that it names, cannot be used.
    #[error("{0}")]
    Usage(String),
    /// A local file or stream failed.
    #[error("{what}")]
    File {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no usable login.
    #[error("{0}")]
    NotLoggedIn(String),
    /// The region answered with an error.
    #[error("{} ({})", .0.message(), code_name(.0.code()))]
    Answer(Box<Status>),
    /// No answer came from the region.
    #[error("cannot reach the region at {server}: {why}")]
    Unreachable {
        /// HOST:PORT.
        server: String,
        /// What was seen on the way.
        why: String,
    },
    /// The region took too long.
    #[error("the region at {server} did not answer within {secs} s")]
    Deadline {
        /// HOST:PORT.
        server: String,
        /// How long it was given.
        secs: u64,
    },
    /// The region broke the contract.
    #[error("the region's answer makes no sense: {0}")]
    Nonsense(String),
    /// Work that was waited for came to rest elsewhere.
    #[error("{machine} is {state}, not {aim}{}", sentence(.reason))]
    Ended {
        /// Name of the machine.
        machine: String,
        /// The state it rests in.
        state: String,
        /// The state that the verb aims at.
        aim: &'static str,
        /// Why it is there.
        reason: String,
    },
    /// Work that was waited for still goes on.
    #[error("{machine} is still {state} after {secs} s{}", sentence(.reason))]
    StillWorking {
        /// Name of the machine.
        machine: String,
        /// The state, and the phase if there is one.
        state: String,
        /// How long it was waited for.
        secs: u64,
        /// What it waits for.
        reason: String,
    },
    /// Bulk work is over, and not all of it succeeded.
    #[error("{0}")]
    Operation(String),
    /// The reader of standard output went away.
    #[error("standard output is closed")]
    OutputClosed,
}

impl Error {
    /// A file that cannot be read or written.
    pub(crate) fn file(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::File { what: what.into(), source }
    }

    /// See [`EXIT_CODES`].
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::File { .. } | Self::Nonsense(_) => 1,
            Self::Usage(_) => 2,
            Self::NotLoggedIn(_) => 4,
            Self::Answer(status) => code_exit(status.code()),
            Self::Ended { .. } | Self::Operation(_) => 5,
            Self::Unreachable { .. } | Self::Deadline { .. } | Self::StillWorking { .. } => 6,
        }
    }

    /// Might the same call succeed when the region is back?
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Deadline { .. } => true,
            Self::Usage(_)
            | Self::File { .. }
            | Self::NotLoggedIn(_)
            | Self::Answer(_)
            | Self::Nonsense(_)
            | Self::Ended { .. }
            | Self::Operation(_)
            | Self::StillWorking { .. }
            | Self::OutputClosed => false,
        }
    }

    /// Further lines for the reader.
    pub(crate) fn details(&self) -> Vec<String> {
        match self {
            Self::Answer(status) => status_details(status),
            Self::Ended { machine, .. } => vec![format!("`farrier machine explain {machine}` tells more")],
            Self::StillWorking { machine, .. } => {
                vec![format!("the work goes on; `farrier machine explain {machine}` tells more")]
            }
            Self::Usage(_)
            | Self::File { .. }
            | Self::NotLoggedIn(_)
            | Self::Unreachable { .. }
            | Self::Deadline { .. }
            | Self::Nonsense(_)
            | Self::Operation(_)
            | Self::OutputClosed => Vec::new(),
        }
    }
}

// === texts ===

fn sentence(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

/// The lines that the details of a status are worth.
fn status_details(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(state_refusal(status).map(|r| refusal_line(&r)));
    for violation in status.get_details_bad_request().into_iter().flat_map(|b| b.field_violations) {
        lines.push(format!("{}: {}", violation.field, violation.description));
    }
    if let Some(info) = status.get_details_error_info() {
        let mut facts: Vec<_> = info.metadata.iter().map(|(k, v)| format!("{k}={v}")).collect();
        facts.sort();
        let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
        lines.push(format!("reason: {}{facts}", info.reason));
    }
    if let Some(delay) = status.get_details_retry_info().and_then(|r| r.retry_delay) {
        lines.push(format!("try again in {} s", delay.as_secs_f64().ceil()));
    }
    lines
}

/// The life-cycle's refusal among the details, if it is there and can be read.
fn state_refusal(status: &Status) -> Option<StateRefusal> {
    let rich = tonic_types::Status::decode(status.details()).ok()?;
    let detail = rich.details.iter().find(|any| any.type_url.ends_with("/farrier.v1.StateRefusal"))?;
    StateRefusal::decode(detail.value.as_slice()).ok()
}

fn refusal_line(refusal: &StateRefusal) -> String {
    let state = words::state(refusal.state).unwrap_or_else(|| "unknown".to_owned());
    let allowed =
        if refusal.allowed_verbs.is_empty() { "nothing".to_owned() } else { refusal.allowed_verbs.join(", ") };
    format!("machine {} is in state {state}; {} is not allowed; allowed now: {allowed}", refusal.machine, refusal.verb)
}

/// The name of a code as the contract spells it.
const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

const fn code_exit(code: Code) -> u8 {
    match code {
        Code::InvalidArgument | Code::OutOfRange => 2,
        Code::FailedPrecondition => 3,
        Code::NotFound | Code::PermissionDenied | Code::Unauthenticated => 4,
        Code::Unavailable | Code::DeadlineExceeded => 6,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => 1,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use farrier_proto::v1::MachineState;
    use tonic_types::ErrorDetails;

    use super::*;

    fn check(error: &Error, exit_code: u8, text: &Expect) {
        let lines: Vec<_> = std::iter::once(error.to_string()).chain(error.details()).collect();
        text.assert_eq(&lines.join("\n"));
        assert_eq!(error.exit_code(), exit_code);
    }

    #[test]
    fn a_refusal_of_the_life_cycle_names_what_is_allowed() {
        let refusal = StateRefusal {
            machine: "n1".to_owned(),
            state: MachineState::Ready.into(),
            verb: "deploy".to_owned(),
            allowed_verbs: vec!["allocate".to_owned(), "commission".to_owned()],
        };
        let detail = prost_types::Any {
            type_url: "type.googleapis.com/farrier.v1.StateRefusal".to_owned(),
            value: refusal.encode_to_vec(),
        };
        let rich = tonic_types::Status { code: 9, message: String::new(), details: vec![detail] };
        let status = Status::with_details(Code::FailedPrecondition, "not now", rich.encode_to_vec().into());
        check(
            &Error::Answer(Box::new(status)),
            3,
            &expect![[r"
                not now (FAILED_PRECONDITION)
                machine n1 is in state ready; deploy is not allowed; allowed now: allocate, commission"]],
        );
    }

    #[test]
    fn each_field_violation_has_its_line() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("name", "must be an RFC 1123 label");
        details.add_bad_request_violation("macs", "at least one is needed");
        let status = Status::with_error_details(Code::InvalidArgument, "the request is not valid", details);
        check(
            &Error::Answer(Box::new(status)),
            2,
            &expect![[r"
                the request is not valid (INVALID_ARGUMENT)
                name: must be an RFC 1123 label
                macs: at least one is needed"]],
        );
    }

    #[test]
    fn a_reason_and_a_delay_are_shown() {
        let mut details = ErrorDetails::new();
        details.set_error_info("LEASED", "farrier", [("rack".to_owned(), "r1".to_owned())]);
        details.set_retry_info(Some(std::time::Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::Aborted, "try later", details);
        check(
            &Error::Answer(Box::new(status)),
            1,
            &expect![[r"
                try later (ABORTED)
                reason: LEASED (rack=r1)
                try again in 2 s"]],
        );
    }

    #[test]
    fn details_that_cannot_be_read_are_left_out() {
        let status = Status::with_details(Code::NotFound, "no machine n9", vec![0xff; 9].into());
        check(&Error::Answer(Box::new(status)), 4, &expect!["no machine n9 (NOT_FOUND)"]);
    }
}
