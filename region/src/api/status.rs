//! Errors on the wire: the one place that makes a [`Status`], and the one that logs what is our fault.

use std::{collections::HashMap, time::Duration};

use farrier_common::id::{Id, Kind};
use farrier_proto::v1::StateRefusal;
use prost::Message as _;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::words;
use crate::domain::Error;

const DOMAIN: &str = "farrier";
const REFUSAL: &str = "type.googleapis.com/farrier.v1.StateRefusal";
/// Headers have their limits: details travel in one.
const MOST_TEXT: usize = 1500;
/// When a caller may try again what was unavailable.
const RETRY: Duration = Duration::from_secs(1);

enum IncidentName {}

impl Kind for IncidentName {
    const NAME: &'static str = "incident";
}

impl From<Error> for Status {
    #[expect(clippy::too_many_lines, reason = "one arm for each kind of error")]
    fn from(error: Error) -> Self {
        let mut details = ErrorDetails::new();
        let mut text: String = error.to_string().chars().take(MOST_TEXT).collect();
        let mut refusal = None;
        let (code, reason, facts) = match error {
            Error::Invalid { field, reason } => {
                details.add_bad_request_violation(&field, reason);
                (Code::InvalidArgument, "INVALID_FIELD", vec![("field", field)])
            }
            Error::NotFound { kind, name } => {
                (Code::NotFound, "NOT_FOUND", vec![("kind", kind.to_owned()), ("name", name)])
            }
            Error::Exists { kind, name } => {
                (Code::AlreadyExists, "EXISTS", vec![("kind", kind.to_owned()), ("name", name)])
            }
            Error::Conflict { name, etag } => (Code::Aborted, "CHANGED", vec![("name", name), ("etag", etag)]),
            Error::Elsewhere { machine, state, expected } => {
                let facts =
                    vec![("machine", machine), ("state", state.to_string()), ("expected", expected.to_string())];
                (Code::Aborted, "OTHER_STATE", facts)
            }
            Error::Refused { machine, state, event, allowed } => {
                refusal = Some(StateRefusal {
                    machine: machine.clone(),
                    state: words::state_to_wire(state),
                    verb: event.to_string(),
                    allowed_verbs: allowed.iter().map(ToString::to_string).collect(),
                });
                let facts = vec![("machine", machine), ("state", state.to_string()), ("verb", event.to_string())];
                (Code::FailedPrecondition, "STATE", facts)
            }
            Error::Locked { machine, state, verb, lock } => {
                refusal = Some(StateRefusal {
                    machine: machine.clone(),
                    state: words::state_to_wire(state),
                    verb,
                    allowed_verbs: vec!["unlock".to_owned()],
                });
                (Code::FailedPrecondition, "LOCKED", vec![("machine", machine), ("by", lock.by)])
            }
            Error::Precondition(_) => (Code::FailedPrecondition, "PRECONDITION", vec![]),
            Error::Exhausted(_) => (Code::ResourceExhausted, "EXHAUSTED", vec![]),
            Error::Quota { whose, used, limit } => {
                let facts = vec![
                    ("quota", "max_machines".to_owned()),
                    ("whose", whose),
                    ("used", used.to_string()),
                    ("limit", limit.to_string()),
                ];
                (Code::ResourceExhausted, "QUOTA", facts)
            }
            Error::TooOften { user, per_second, wait } => {
                details.set_retry_info(Some(wait));
                let facts = vec![("user", user), ("per_second", per_second.to_string())];
                (Code::ResourceExhausted, "TOO_OFTEN", facts)
            }
            Error::Unauthenticated(_) => (Code::Unauthenticated, "UNAUTHENTICATED", vec![]),
            Error::Denied(_) => (Code::PermissionDenied, "DENIED", vec![]),
            Error::Unimplemented(verb) => (Code::Unimplemented, "UNIMPLEMENTED", vec![("verb", verb.to_owned())]),
            Error::Unavailable(_) => {
                details.set_retry_info(Some(RETRY));
                (Code::Unavailable, "UNAVAILABLE", vec![])
            }
            Error::Internal(what) => {
                let incident = Id::<IncidentName>::generate().to_string();
                tracing::error!(incident, what, "a call failed by our fault");
                text = format!("internal error; the region's log tells more under incident {incident}");
                (Code::Internal, "INTERNAL", vec![("incident", incident)])
            }
        };
        let facts: HashMap<String, String> = facts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        details.set_error_info(reason, DOMAIN, facts);
        with(code, text, details, refusal)
    }
}

fn with(code: Code, text: String, details: ErrorDetails, refusal: Option<StateRefusal>) -> Status {
    let status = Status::with_error_details(code, text.clone(), details);
    let Some(refusal) = refusal else { return status };
    let mut rich = tonic_types::Status::decode(status.details()).expect("it was encoded a moment ago");
    rich.details.push(Any { type_url: REFUSAL.to_owned(), value: refusal.encode_to_vec() });
    Status::with_details(code, text, rich.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use farrier_proto::v1::MachineState;

    use super::*;
    use crate::domain::lifecycle::{Event, State};

    #[test]
    fn a_refusal_tells_state_and_verbs_in_its_details() {
        let status = Status::from(Error::Refused {
            machine: "m1".to_owned(),
            state: State::Deployed,
            event: Event::Deploy,
            allowed: vec![Event::Release],
        });
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.message(), "machine m1 is deployed; deploy is not allowed; allowed now: release");
        let rich = tonic_types::Status::decode(status.details()).unwrap();
        assert_eq!((rich.code, rich.message.as_str()), (Code::FailedPrecondition as i32, status.message()));
        let refusal = rich.details.iter().find(|d| d.type_url == REFUSAL).unwrap();
        let refusal = StateRefusal::decode(refusal.value.as_slice()).unwrap();
        assert_eq!((refusal.state(), refusal.verb.as_str()), (MachineState::Deployed, "deploy"));
        assert_eq!(refusal.allowed_verbs, ["release"]);
        assert_eq!(status.get_details_error_info().unwrap().reason, "STATE");
    }

    #[test]
    fn what_is_our_fault_is_not_told() {
        let status = Status::from(Error::Internal("password hunter2 of postgres".to_owned()));
        assert_eq!(status.code(), Code::Internal);
        assert!(!format!("{status:?}").contains("hunter2"));
        assert!(status.get_details_error_info().unwrap().metadata.contains_key("incident"));
    }

    #[test]
    fn details_say_which_field_and_when_to_try_again() {
        let status = Status::from(Error::invalid("spec.cidr", "has host bits"));
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!((violations[0].field.as_str(), violations[0].description.as_str()), ("spec.cidr", "has host bits"));
        let status = Status::from(Error::Unavailable("no".to_owned()));
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(RETRY));
    }
}
