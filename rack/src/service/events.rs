//! Event logs of BMCs on the wire.

use farrier_proto::{convert::severity_to_wire, rack as proto, v1};

use super::convert::Invalid;
use crate::bmc::events::{BmcEvent, EventLog};

const MOST: u32 = 500;

/// How many are asked for.
pub(super) fn limit(given: u32) -> Result<usize, Invalid> {
    let fits = Some(given).filter(|n| (1..=MOST).contains(n)).and_then(|n| usize::try_from(n).ok());
    fits.ok_or_else(|| Invalid::new("limit", format!("must be 1 to {MOST}")))
}

pub(super) fn response(log: EventLog) -> proto::GetBmcEventsResponse {
    let EventLog { events, more, name } = log;
    proto::GetBmcEventsResponse { events: events.into_iter().map(event).collect(), more, log: name }
}

fn event(event: BmcEvent) -> v1::BmcEvent {
    let BmcEvent { id, at, severity, text } = event;
    v1::BmcEvent {
        id,
        at: at.map(|at| prost_types::Timestamp { seconds: at.timestamp(), nanos: 0 }),
        severity: severity.map_or(0, |s| severity_to_wire(s).into()),
        text,
    }
}
