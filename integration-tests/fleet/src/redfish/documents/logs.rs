//! The log service that shows what IPMI calls SEL.

use chrono::DateTime;
use serde_json::{Value, json};

use super::{Redfish, link, manager_uri, members, stamp, system_uri, well};
use crate::{
    event_log::{ROOM, Record, number},
    redfish::quirks::LogOwner,
};

/// Where the log services are.
pub(super) fn services_uri(face: &Redfish) -> String {
    let owner = match face.quirks.log.owner {
        LogOwner::System => system_uri(face),
        LogOwner::Manager => manager_uri(face),
    };
    format!("{owner}/LogServices")
}

fn service_uri(face: &Redfish) -> String {
    format!("{}/{}", services_uri(face), face.quirks.log.id)
}

pub(super) fn services(face: &Redfish) -> Value {
    let uri = services_uri(face);
    members("LogServiceCollection", uri.trim_start_matches("/redfish/v1/"), &[service_uri(face)])
}

pub(super) fn service(face: &Redfish) -> Value {
    let uri = service_uri(face);
    json!({
        "@odata.id": uri,
        "@odata.type": "#LogService.v1_5_0.LogService",
        "Id": face.quirks.log.id,
        "Name": "System Event Log",
        "LogEntryType": "SEL",
        "MaxNumberOfRecords": ROOM,
        "OverWritePolicy": "NeverOverWrites",
        "ServiceEnabled": true,
        "Status": well(),
        "Entries": link(&format!("{uri}/Entries")),
    })
}

pub(super) fn entries(face: &Redfish) -> Value {
    let path = format!("{}/Entries", service_uri(face));
    let records = face.chassis.log().records().to_vec();
    let uris: Vec<_> = records.iter().map(|record| format!("{path}/{}", number(record))).collect();
    let mut document = members("LogEntryCollection", path.trim_start_matches("/redfish/v1/"), &uris);
    if !face.quirks.log.only_links {
        document["Members"] = records.iter().map(|record| shown(face, record)).collect();
    }
    document
}

pub(super) fn entry(face: &Redfish, id: &str) -> Option<Value> {
    let records = face.chassis.log().records().to_vec();
    let record = records.iter().find(|record| number(record).to_string() == id)?;
    Some(shown(face, record))
}

fn shown(face: &Redfish, record: &Record) -> Value {
    let [_, _, _, a, b, c, d, _, _, _, sensor_type, sensor, event, data @ ..] = *record;
    let created = DateTime::from_timestamp(u32::from_le_bytes([a, b, c, d]).into(), 0).unwrap_or_default();
    let gone = event & 0x80 != 0;
    let number = number(record);
    let [one, two, three] = data;
    json!({
        "@odata.id": format!("{}/Entries/{number}", service_uri(face)),
        "@odata.type": "#LogEntry.v1_16_0.LogEntry",
        "Id": number.to_string(),
        "Name": format!("Log Entry {number}"),
        "EntryType": "SEL",
        "Created": stamp(created),
        "Severity": if gone { "OK" } else { "Critical" },
        "Message": format!(
            "Sensor {sensor} of type {sensor_type} {}: {one:02x} {two:02x} {three:02x}",
            if gone { "is well again" } else { "reports" },
        ),
    })
}
