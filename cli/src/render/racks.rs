//! Racks and their join tokens.

use chrono::{DateTime, Utc};
use farrier_proto::v1::{CreateJoinTokenResponse, Rack};
use serde_json::{Value, json};

use super::{
    table::{Fit, Page, cell, table},
    words::{self, filled, rfc3339},
};

/// One rack for programs.
pub(crate) fn json(rack: &Rack) -> Value {
    let status = rack.status.clone().unwrap_or_default();
    json!({
        "id": rack.id,
        "name": rack.name,
        "connected": status.connected,
        "last_seen": rfc3339(status.last_seen.as_ref()),
        "address": filled(&status.address),
        "software_version": filled(&status.software_version),
        "certificate_expires_at": rfc3339(status.certificate_expires_at.as_ref()),
        "intents": status.intents,
        "etag": rack.etag,
    })
}

/// A list for programs.
pub(crate) fn list_json(racks: &[Rack]) -> Value {
    json!({ "racks": racks.iter().map(json).collect::<Vec<_>>() })
}

/// A join token for programs.
pub(crate) fn join_token_json(answer: &CreateJoinTokenResponse) -> Value {
    json!({ "join_token": answer.join_token, "expires_at": rfc3339(answer.expires_at.as_ref()) })
}

/// A list for people.
pub(crate) fn list_table(racks: &[Rack], now: DateTime<Utc>, width: Option<u16>) -> String {
    let columns = [
        ("NAME", Fit::Whole),
        ("CONNECTED", Fit::Whole),
        ("ADDRESS", Fit::Whole),
        ("INTENTS", Fit::Whole),
        ("VERSION", Fit::Whole),
        ("LAST SEEN", Fit::Wraps),
    ];
    let rows = racks.iter().map(|rack| {
        let status = rack.status.clone().unwrap_or_default();
        vec![
            cell(rack.name.clone()),
            connected(status.connected).to_owned(),
            cell(status.address),
            status.intents.to_string(),
            cell(status.software_version),
            cell(words::with_age(status.last_seen.as_ref(), now)),
        ]
    });
    table(width, &columns, rows.collect())
}

/// Everything about a rack, for people.
pub(crate) fn page(rack: &Rack, now: DateTime<Utc>) -> String {
    let status = rack.status.clone().unwrap_or_default();
    Page::default()
        .pair("Name", rack.name.clone())
        .pair("Id", rack.id.clone())
        .pair("Connected", connected(status.connected).to_owned())
        .pair("Last seen", words::with_age(status.last_seen.as_ref(), now))
        .pair("Address", status.address)
        .pair("Version", status.software_version)
        .pair("Certificate", words::with_age(status.certificate_expires_at.as_ref(), now).map(|t| format!("until {t}")))
        .pair("Boot intents", status.intents.to_string())
        .text()
}

const fn connected(connected: bool) -> &'static str {
    if connected { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use farrier_proto::v1::RackStatus;
    use prost_types::Timestamp;

    use super::*;

    fn sample() -> Rack {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let status = RackStatus {
            connected: true,
            last_seen: at(1_800_000_000),
            address: "10.0.0.2:5251".to_owned(),
            software_version: "0.1.0".to_owned(),
            certificate_expires_at: at(1_807_776_000),
            intents: 12,
        };
        Rack { id: "0199".to_owned(), name: "r1".to_owned(), status: Some(status), etag: "3".to_owned() }
    }

    #[test]
    fn for_people() {
        let now = DateTime::from_timestamp(1_800_000_004, 0).unwrap();
        expect![[r#"
            NAME  CONNECTED  ADDRESS        INTENTS  VERSION  LAST SEEN
            r1    yes        10.0.0.2:5251  12       0.1.0    2027-01-15T08:00:00Z (4s ago)
            -     no         -              0        -        -"#]]
        .assert_eq(&list_table(&[sample(), Rack::default()], now, None));
        expect![[r#"
            Name:          r1
            Id:            0199
            Connected:     yes
            Last seen:     2027-01-15T08:00:00Z (4s ago)
            Address:       10.0.0.2:5251
            Version:       0.1.0
            Certificate:   until 2027-04-15T08:00:00Z (in 89d23h)
            Boot intents:  12"#]]
        .assert_eq(&page(&sample(), now));
    }

    #[test]
    fn for_programs() {
        expect![[r#"
            {
              "racks": [
                {
                  "address": "10.0.0.2:5251",
                  "certificate_expires_at": "2027-04-15T08:00:00Z",
                  "connected": true,
                  "etag": "3",
                  "id": "0199",
                  "intents": 12,
                  "last_seen": "2027-01-15T08:00:00Z",
                  "name": "r1",
                  "software_version": "0.1.0"
                }
              ]
            }"#]]
        .assert_eq(&format!("{:#}", list_json(&[sample()])));
    }
}
