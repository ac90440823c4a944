//! The wire's numbers and times as words.

use chrono::{DateTime, SecondsFormat, Utc};
use farrier_proto::v1;
use prost_types::Timestamp;

/// `MACHINE_STATE_FAILED_TESTING` as `failed-testing`. UNSPECIFIED is `None`; a number that this version does not know
/// stays visible.
fn word(number: i32, name: Option<&str>, prefix: &str) -> Option<String> {
    if number == 0 {
        return None;
    }
    Some(name.map_or_else(|| format!("unknown-{number}"), |n| spelled(n, prefix)))
}

fn spelled(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase().replace('_', "-")
}

/// A state of the life-cycle.
pub(crate) fn state(number: i32) -> Option<String> {
    word(number, v1::MachineState::try_from(number).ok().map(|w| w.as_str_name()), STATE)
}

const STATE: &str = "MACHINE_STATE_";

/// All states with their words, in the contract's order.
pub(crate) fn states() -> impl Iterator<Item = (v1::MachineState, String)> {
    (1..).map_while(|n| v1::MachineState::try_from(n).ok()).map(|s| (s, spelled(s.as_str_name(), STATE)))
}

/// State, and phase if there is one: `deploying, booting`.
pub(crate) fn place(state_number: i32, phase: &str) -> String {
    let state = state(state_number).unwrap_or_else(|| "in no known state".to_owned());
    if phase.is_empty() { state } else { format!("{state}, {phase}") }
}

/// A chassis' power.
pub(crate) fn power(number: i32) -> Option<String> {
    word(number, v1::PowerState::try_from(number).ok().map(|w| w.as_str_name()), "POWER_STATE_")
}

/// A CPU architecture.
pub(crate) fn architecture(number: i32) -> Option<String> {
    word(number, v1::Architecture::try_from(number).ok().map(|w| w.as_str_name()), "ARCHITECTURE_")
}

/// A kind of firmware.
pub(crate) fn firmware(number: i32) -> Option<String> {
    word(number, v1::Firmware::try_from(number).ok().map(|w| w.as_str_name()), "FIRMWARE_")
}

/// A BMC's protocol.
pub(crate) fn protocol(number: i32) -> Option<String> {
    word(number, v1::BmcProtocol::try_from(number).ok().map(|w| w.as_str_name()), "BMC_PROTOCOL_")
}

/// A kind of image.
pub(crate) fn image_kind(number: i32) -> Option<String> {
    word(number, v1::ImageKind::try_from(number).ok().map(|w| w.as_str_name()), "IMAGE_KIND_")
}

/// What a blob is in its image.
pub(crate) fn blob_role(number: i32) -> Option<String> {
    word(number, v1::BlobRole::try_from(number).ok().map(|w| w.as_str_name()), "BLOB_ROLE_")
}

/// How a blob is compressed.
pub(crate) fn compression(number: i32) -> Option<String> {
    word(number, v1::Compression::try_from(number).ok().map(|w| w.as_str_name()), "COMPRESSION_")
}

/// When a script runs.
pub(crate) fn script_kind(number: i32) -> Option<String> {
    word(number, v1::ScriptKind::try_from(number).ok().map(|w| w.as_str_name()), "SCRIPT_KIND_")
}

/// A person's role.
pub(crate) fn role(number: i32) -> Option<String> {
    word(number, v1::Role::try_from(number).ok().map(|w| w.as_str_name()), "ROLE_")
}

/// A time on the wire; `None` if unset or out of range.
pub(crate) fn time(at: Option<&Timestamp>) -> Option<DateTime<Utc>> {
    at.and_then(|t| DateTime::from_timestamp(t.seconds, u32::try_from(t.nanos).ok()?))
}

/// The same in RFC 3339, with as many digits as it has.
pub(crate) fn rfc3339(at: Option<&Timestamp>) -> Option<String> {
    time(at).map(|t| t.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// The same to the second, for tables.
pub(crate) fn seconds(at: Option<&Timestamp>) -> Option<String> {
    time(at).map(|t| t.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// The same with its distance from now: `2026-01-01T00:00:00Z (5m ago)`.
pub(crate) fn with_age(at: Option<&Timestamp>, now: DateTime<Utc>) -> Option<String> {
    let at_time = time(at)?;
    let text = seconds(at)?;
    let secs = (now - at_time).num_seconds();
    Some(if secs >= 0 { format!("{text} ({} ago)", span(secs)) } else { format!("{text} (in {})", span(-secs)) })
}

/// A span of time in its two largest units.
pub(crate) fn span(secs: i64) -> String {
    match secs {
        ..60 => format!("{secs}s"),
        60..3600 => format!("{}m{:02}s", secs / 60, secs % 60),
        3600..86_400 => format!("{}h{:02}m", secs / 3600, secs % 3600 / 60),
        _ => format!("{}d{:02}h", secs / 86_400, secs % 86_400 / 3600),
    }
}

/// A number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// `None` for the wire's empty text.
pub(crate) fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_lower_case_with_hyphens() {
        assert_eq!(state(13).as_deref(), Some("failed-commissioning"));
        assert_eq!(state(0), None);
        assert_eq!(state(99).as_deref(), Some("unknown-99"));
        assert_eq!(states().count(), 18);
    }

    #[test]
    fn times_have_their_distance() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let at = |seconds| Some(Timestamp { seconds, nanos: 5_000_000 });
        assert_eq!(rfc3339(at(1_800_000_000).as_ref()).unwrap(), "2027-01-15T08:00:00.005Z");
        assert_eq!(with_age(at(1_799_999_700).as_ref(), now).unwrap(), "2027-01-15T07:55:00Z (4m59s ago)");
        assert_eq!(with_age(at(1_800_090_000).as_ref(), now).unwrap(), "2027-01-16T09:00:00Z (in 1d01h)");
        assert_eq!(time(Some(&Timestamp { seconds: i64::MAX, nanos: -1 })), None);
    }
}
