//! Log services (DSP0268 `LogService`, `LogEntry`): of several the one that tells of the hardware.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use farrier_common::hardware::EventSeverity;
use serde_json::Value;

use super::{
    super::{
        BmcError,
        events::{BmcEvent, EventLog},
    },
    client::Client,
    document::{Document, last_part, path_of, shown},
    system,
};

/// Pages of a log that are read, and entries that are read one by one.
const PAGES: usize = 16;
const SINGLY: usize = 100;
/// Characters of a message.
const SHOWN: usize = 300;

/// Reads the newest `limit` entries of the log.
pub(super) async fn newest(client: &mut Client<'_>, system: &str, limit: usize) -> Result<EventLog, BmcError> {
    let system = system::read(client, system).await?;
    let service = service(client, &system).await?;
    let name = service.path.clone();
    let (mut events, mut links, more) = entries(client, &service).await?;
    // What is only linked to has no time yet: the numbers tell which is newest.
    links.sort_by_key(|path| Reverse(number(last_part(path))));
    let left_out = links.len() > limit.min(SINGLY);
    for path in links.into_iter().take(limit.min(SINGLY)) {
        events.push(event(&client.get(&path).await?));
    }
    events.sort_by_key(|event| Reverse((event.at, number(&event.id))));
    let more = more || left_out || events.len() > limit;
    events.truncate(limit);
    Ok(EventLog { events, more, name })
}

/// The log of the hardware: the system's comes before its manager's.
async fn service(client: &mut Client<'_>, system: &Document) -> Result<Document, BmcError> {
    let mut owners = vec![system.clone()];
    if let Some(manager) = system.optional_link("/Links/ManagedBy/0") {
        owners.push(client.get(&manager).await?);
    }
    let mut found = Vec::new();
    for owner in owners {
        let Some(services) = owner.optional_link("/LogServices") else { continue };
        for path in client.collection(&services).await?.1 {
            let service = client.get(&path).await?;
            if let Some(rank) = rank(&service) {
                found.push((rank, service));
            }
        }
    }
    // The first of those that are as good.
    let best = found.into_iter().min_by_key(|(rank, _)| *rank).map(|(_, service)| service);
    best.ok_or_else(|| BmcError::Unsupported("it offers no event log".to_owned()))
}

/// How likely it is the log of the hardware's events; `None`: it is another kind of log.
fn rank(service: &Document) -> Option<usize> {
    service.optional_link("/Entries")?;
    let id = service.last_part().to_ascii_lowercase();
    if ["postcodes", "dump", "audit", "crashdump", "journal"].iter().any(|other| id.contains(other)) {
        return None;
    }
    // HPE's IML is what others call SEL.
    let by_name = ["sel", "iml", "eventlog", "platformlog", "log1"].iter().position(|known| id == *known);
    let by_kind = service.text("/LogEntryType").and_then(|kind| ["SEL", "Event"].iter().position(|k| *k == kind));
    Some(by_name.or(by_kind).unwrap_or(usize::MAX))
}

/// The entries that the collection holds itself, the paths of those that it only names, and whether there are more.
async fn entries(client: &mut Client<'_>, service: &Document) -> Result<(Vec<BmcEvent>, Vec<String>, bool), BmcError> {
    let mut page = client.get(&service.link("/Entries")?).await?;
    let (mut events, mut links) = (Vec::new(), Vec::new());
    for _ in 0..PAGES {
        let nonsense = || BmcError::Nonsense(format!("{}: Members is not a list", page.path));
        for member in page.at("/Members").and_then(Value::as_array).ok_or_else(nonsense)? {
            let path = member.get("@odata.id").and_then(Value::as_str).and_then(path_of);
            match (member.get("Message").or_else(|| member.get("Created")), path) {
                (Some(_), path) => events.push(event(&Document::inside(&path.unwrap_or_default(), member))),
                (None, Some(path)) => links.push(path),
                (None, None) => return Err(nonsense()),
            }
        }
        let Some(next) = page.next() else { return Ok((events, links, false)) };
        page = client.get(&next).await?;
    }
    Ok((events, links, true))
}

fn event(entry: &Document) -> BmcEvent {
    let text = entry.text("/Message").or_else(|| entry.text("/MessageId")).or_else(|| entry.text("/Name"));
    let at = entry.text("/Created").and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    let severity = match entry.text("/Severity") {
        Some("OK") => Some(EventSeverity::Ok),
        Some("Warning") => Some(EventSeverity::Warning),
        Some("Critical") => Some(EventSeverity::Critical),
        Some(_) | None => None,
    };
    BmcEvent {
        id: entry.text("/Id").map_or_else(|| shown(entry.last_part(), SHOWN), |id| shown(id, SHOWN)),
        at: at.map(|at| at.with_timezone(&Utc)),
        severity,
        text: text.map(|text| shown(text, SHOWN)).unwrap_or_default(),
    }
}

/// The number that a name ends with.
fn number(name: &str) -> u64 {
    let digits = name.len() - name.bytes().rev().take_while(u8::is_ascii_digit).count();
    name[digits..].parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(id: &str, kind: &str) -> Document {
        let entries = json!({"@odata.id": "/redfish/v1/Entries"});
        Document::inside(&format!("/redfish/v1/LogServices/{id}"), &json!({"Entries": entries, "LogEntryType": kind}))
    }

    #[test]
    fn the_log_of_the_hardware_is_chosen() {
        let best = |all: &[(&str, &str)]| {
            let ranked = all.iter().filter_map(|(id, kind)| rank(&service(id, kind)).map(|rank| (rank, *id)));
            ranked.min_by_key(|(rank, _)| *rank).map(|(_, id)| id.to_owned())
        };
        assert_eq!(best(&[("Lclog", "Event"), ("Sel", "SEL")]).as_deref(), Some("Sel"), "Dell");
        assert_eq!(best(&[("IEL", "OEM"), ("IML", "OEM"), ("SL", "OEM")]).as_deref(), Some("IML"), "HPE");
        assert_eq!(best(&[("PostCodes", "OEM"), ("EventLog", "Event"), ("Dump", "OEM")]).as_deref(), Some("EventLog"));
        assert_eq!(best(&[("AuditLog", "Event"), ("PlatformLog", "Event")]).as_deref(), Some("PlatformLog"), "Lenovo");
        assert_eq!(best(&[("PostCodes", "OEM")]), None);
    }

    #[test]
    fn an_entry_is_read_whatever_it_lacks() {
        let whole = json!({"Id": "7", "Created": "2026-11-24T05:00:00+01:00", "Severity": "Critical", "Message": "a fan\u{7} stopped"});
        let read = event(&Document::inside("/x/7", &whole));
        assert_eq!(read.at.unwrap().to_rfc3339(), "2026-11-24T04:00:00+00:00");
        assert_eq!(
            (read.id.as_str(), read.severity, read.text.as_str()),
            ("7", Some(EventSeverity::Critical), "a fan stopped")
        );
        let bare =
            event(&Document::inside("/redfish/v1/Entries/12", &json!({"Created": "yesterday", "Severity": "Fatal"})));
        assert_eq!((bare.id.as_str(), bare.at, bare.severity, bare.text.as_str()), ("12", None, None, ""));
        assert_eq!((number("12"), number("log-7"), number("x"), number("")), (12, 7, 0, 0));
    }
}
