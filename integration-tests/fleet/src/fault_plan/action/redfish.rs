//! What goes wrong with the Redfish face of a BMC, in words.

use std::{str::FromStr, time::Duration};

use super::{Action, Table};
use crate::{
    redfish::{Fault, FaultRule},
    words::{Span, Words},
};

/// When a client shall come again, unless a plan says otherwise.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// 503 for now, and when to come again.
pub(super) fn unavailable(words: &mut Words) -> Result<Fault, String> {
    let after = words.pair::<Span>("retry-after")?.map_or(RETRY_AFTER, |span| span.length);
    Ok(away(after))
}

/// What a BMC that is back after `time` says until then.
pub(super) const fn away(time: Duration) -> Fault {
    Fault::Unavailable { retry_after: if time.subsec_nanos() > 0 { time.as_secs() + 1 } else { time.as_secs() } }
}

/// An error.
pub(super) fn refuse(words: &mut Words) -> Result<Fault, String> {
    Ok(Fault::Refuse { status: words.need::<Status>("status")?.0 })
}

/// The answer comes late.
pub(super) fn delay(words: &mut Words) -> Result<Fault, String> {
    let by = words.need::<Span>("by")?.length;
    Ok(Fault::Delay { ms: u32::try_from(by.as_millis()).unwrap_or(u32::MAX) })
}

/// This fault, for the requests and the time that the line names.
pub(super) fn action(fault: Fault, words: &mut Words) -> Result<Action, String> {
    let On { method, path } = words.pair("on")?.unwrap_or_default();
    let lasts = words.pair::<Span>("for")?.map(|span| span.length);
    Ok(Action::Redfish { rule: FaultRule { method, path, fault, count: None }, lasts })
}

/// Which requests.
#[derive(Debug, Default)]
struct On {
    method: Option<String>,
    path: Option<String>,
}

impl FromStr for On {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        type Known = (Option<&'static str>, Option<&'static str>);
        const WORDS: Table<Known> = Table(&[
            ("any", (None, None)),
            ("reads", (Some("GET"), None)),
            ("logins", (Some("POST"), Some("*/SessionService/Sessions*"))),
            ("systems", (None, Some("/redfish/v1/Systems*"))),
            ("power-writes", (Some("POST"), Some("*/Actions/ComputerSystem.Reset"))),
            ("accounts", (None, Some("/redfish/v1/AccountService*"))),
        ]);
        if word.starts_with('/') {
            // Requests are looked at without the slash at their end.
            return Ok(Self { method: None, path: Some(word.trim_end_matches('/').to_owned()) });
        }
        let found = WORDS.find(word).map_err(|e| format!("{e}, or a path such as /redfish/v1/Chassis/*"))?;
        let (method, path) = (found.0.map(str::to_owned), found.1.map(str::to_owned));
        Ok(Self { method, path })
    }
}

/// The status of a refusal.
struct Status(u16);

impl FromStr for Status {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let status = word.parse().ok().filter(|status| (400..=599).contains(status));
        status.map(Self).ok_or_else(|| "must be an HTTP status from 400 to 599".to_owned())
    }
}
