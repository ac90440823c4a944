//! Subnets.

use farrier_proto::v1::Subnet;
use serde_json::{Value, json};

use super::{
    table::{Fit, Page, cell, table},
    words::filled,
};

/// One subnet for programs.
pub(crate) fn json(subnet: &Subnet) -> Value {
    let spec = subnet.spec.clone().unwrap_or_default();
    json!({
        "id": subnet.id,
        "name": subnet.name,
        "cidr": spec.cidr,
        "rack": spec.rack,
        "gateway": filled(&spec.gateway),
        "dns_servers": spec.dns_servers,
        "dynamic_start": filled(&spec.dynamic_start),
        "dynamic_end": filled(&spec.dynamic_end),
        "lease_seconds": spec.lease_seconds,
        "etag": subnet.etag,
    })
}

/// A list for programs.
pub(crate) fn list_json(subnets: &[Subnet]) -> Value {
    json!({ "subnets": subnets.iter().map(json).collect::<Vec<_>>() })
}

/// A list for people.
pub(crate) fn list_table(subnets: &[Subnet], width: Option<u16>) -> String {
    let columns = [
        ("NAME", Fit::Whole),
        ("CIDR", Fit::Whole),
        ("RACK", Fit::Whole),
        ("DYNAMIC", Fit::Whole),
        ("GATEWAY", Fit::Whole),
        ("DNS", Fit::Wraps),
    ];
    let rows = subnets.iter().map(|subnet| {
        let spec = subnet.spec.clone().unwrap_or_default();
        vec![
            cell(subnet.name.clone()),
            cell(spec.cidr),
            cell(spec.rack),
            dynamic(&spec.dynamic_start, &spec.dynamic_end),
            cell(spec.gateway),
            cell(spec.dns_servers.join(", ")),
        ]
    });
    table(width, &columns, rows.collect())
}

/// Everything about a subnet, for people.
pub(crate) fn page(subnet: &Subnet) -> String {
    let spec = subnet.spec.clone().unwrap_or_default();
    Page::default()
        .pair("Name", subnet.name.clone())
        .pair("Id", subnet.id.clone())
        .pair("CIDR", spec.cidr)
        .pair("Rack", spec.rack)
        .pair("Gateway", spec.gateway)
        .pair("DNS", spec.dns_servers.join(", "))
        .pair("Dynamic", dynamic(&spec.dynamic_start, &spec.dynamic_end))
        .pair("Lease", format!("{} s", spec.lease_seconds))
        .text()
}

fn dynamic(start: &str, end: &str) -> String {
    if start.is_empty() && end.is_empty() { cell(None) } else { cell(format!("{start}-{end}")) }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use farrier_proto::v1::SubnetSpec;

    use super::*;

    fn sample() -> Subnet {
        let spec = SubnetSpec {
            cidr: "10.77.0.0/24".to_owned(),
            rack: "r1".to_owned(),
            gateway: "10.77.0.1".to_owned(),
            dns_servers: vec!["10.77.0.1".to_owned(), "9.9.9.9".to_owned()],
            dynamic_start: "10.77.0.200".to_owned(),
            dynamic_end: "10.77.0.250".to_owned(),
            lease_seconds: 600,
        };
        Subnet { id: "0199".to_owned(), name: "metal".to_owned(), spec: Some(spec), etag: "1".to_owned() }
    }

    #[test]
    fn for_people() {
        expect![[r#"
            NAME   CIDR          RACK  DYNAMIC                  GATEWAY    DNS
            metal  10.77.0.0/24  r1    10.77.0.200-10.77.0.250  10.77.0.1  10.77.0.1, 9.9.9.9"#]]
        .assert_eq(&list_table(&[sample()], None));
        expect![[r#"
            Name:     metal
            Id:       0199
            CIDR:     10.77.0.0/24
            Rack:     r1
            Gateway:  10.77.0.1
            DNS:      10.77.0.1, 9.9.9.9
            Dynamic:  10.77.0.200-10.77.0.250
            Lease:    600 s"#]]
        .assert_eq(&page(&sample()));
    }

    #[test]
    fn for_programs() {
        expect![[r#"
            {
              "subnets": [
                {
                  "cidr": "10.77.0.0/24",
                  "dns_servers": [
                    "10.77.0.1",
                    "9.9.9.9"
                  ],
                  "dynamic_end": "10.77.0.250",
                  "dynamic_start": "10.77.0.200",
                  "etag": "1",
                  "gateway": "10.77.0.1",
                  "id": "0199",
                  "lease_seconds": 600,
                  "name": "metal",
                  "rack": "r1"
                }
              ]
            }"#]]
        .assert_eq(&format!("{:#}", list_json(&[sample()])));
    }
}
