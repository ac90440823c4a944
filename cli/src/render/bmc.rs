//! BMCs: how they are reached, and what they tell of themselves.

use chrono::{DateTime, Utc};
use farrier_proto::{
    convert,
    v1::{
        BiosAttribute, BiosSettings, Bmc, BmcEndpoint, BmcEvent, BmcExchange, BmcFacts, BmcRotation,
        ListBmcEventsResponse,
    },
};
use serde_json::{Value, json};

use super::{
    table::{Fit, Page, cell, table},
    words::{self, filled, rfc3339},
};

/// For programs.
pub(crate) fn json(bmc: &BmcEndpoint) -> Value {
    json!({
        "protocol": words::protocol(bmc.protocol),
        "address": bmc.address,
        "port": bmc.port,
        "username": bmc.username,
        "managed_account": bmc.managed_account,
        "certificate_sha256": filled(&bmc.certificate_sha256),
        "system": filled(&bmc.system),
        "webhook": bmc.webhook.as_ref().map(|hook| json!({
            "on_url": hook.on_url,
            "off_url": hook.off_url,
            "query_url": hook.query_url,
            "on_regex": hook.on_regex,
            "off_regex": hook.off_regex,
            "insecure": hook.insecure,
        })),
        "facts": bmc.facts.as_ref().map(facts_json),
    })
}

fn facts_json(facts: &BmcFacts) -> Value {
    json!({
        "observed_at": rfc3339(facts.observed_at.as_ref()),
        "vendor": filled(&facts.vendor),
        "product": filled(&facts.product),
        "firmware_version": filled(&facts.firmware_version),
        "capabilities": facts.capabilities,
        "speaks": speaks(facts),
        "because": filled(&facts.because),
        "cipher_suite": (facts.cipher_suite != 0).then_some(facts.cipher_suite),
        "rules": facts.rules,
    })
}

fn speaks(facts: &BmcFacts) -> Vec<String> {
    facts.speaks.iter().filter_map(|p| words::protocol(*p)).collect()
}

/// How it is reached, in one line.
pub(crate) fn line(bmc: &BmcEndpoint) -> String {
    let managed = if bmc.managed_account { " (made by Farrier)" } else { "" };
    let system = if bmc.system.is_empty() { String::new() } else { format!(", system {}", bmc.system) };
    let shows = filled(&bmc.certificate_sha256).map_or_else(String::new, |sha256| format!(", certificate {sha256}"));
    format!("{}, account {}{managed}{system}{shows}", url(bmc), bmc.username)
}

/// What stands there for a machine that people switch.
pub(crate) fn by_hand() -> String {
    "none: people switch the machine, and tell (farrier machine tell-power)".to_owned()
}

fn url(bmc: &BmcEndpoint) -> String {
    let port = if bmc.port == 0 { String::new() } else { format!(":{}", bmc.port) };
    match words::protocol(bmc.protocol) {
        Some(protocol) => format!("{protocol}://{}{port}", bmc.address),
        None => format!("{} (protocol to be found out)", bmc.address),
    }
}

/// A machine's BMC for programs.
pub(crate) fn whole_json(bmc: &Bmc) -> Value {
    json!({
        "machine": bmc.machine,
        "endpoint": bmc.endpoint.as_ref().map(json),
        "rotated_at": rfc3339(bmc.rotated_at.as_ref()),
        "rotation": bmc.rotation.as_ref().map(|r| json!({
            "wanted_since": rfc3339(r.wanted_since.as_ref()),
            "by": r.by,
            "tries": r.tries,
            "trouble": filled(&r.trouble),
            "next_try_at": rfc3339(r.next_try_at.as_ref()),
        })),
    })
}

/// Everything that is known of a machine's BMC.
pub(crate) fn page(bmc: &Bmc, now: DateTime<Utc>) -> String {
    let Some(endpoint) = &bmc.endpoint else {
        return Page::default().pair("Machine", bmc.machine.clone()).pair("Address", None).text();
    };
    let facts = endpoint.facts.clone().unwrap_or_default();
    let hook = endpoint.webhook.as_ref();
    let account = if endpoint.managed_account { " (made by Farrier)" } else { " (given)" };
    let suite = (facts.cipher_suite != 0).then(|| facts.cipher_suite.to_string());
    Page::default()
        .pair("Machine", bmc.machine.clone())
        .pair("Address", url(endpoint))
        .pair("Account", format!("{}{account}", endpoint.username))
        .pair_if("Password changed", words::with_age(bmc.rotated_at.as_ref(), now))
        .pair_if("Being changed", bmc.rotation.as_ref().map(|r| rotation(r, now)))
        .pair_if("System", Some(endpoint.system.clone()))
        .pair_if("Certificate", Some(endpoint.certificate_sha256.clone()))
        .pair_if("Switches on", hook.map(|h| format!("POST {}", h.on_url)))
        .pair_if("Switches off", hook.map(|h| format!("POST {}", h.off_url)))
        .pair_if("Power asked at", hook.map(|h| format!("GET {}", h.query_url)))
        .pair_if("On if it finds", hook.map(|h| h.on_regex.clone()))
        .pair_if("Off if it finds", hook.map(|h| h.off_regex.clone()))
        .pair_if("TLS", hook.filter(|h| h.insecure).map(|_| "not verified, as asked".to_owned()))
        .pair("Probed", words::with_age(facts.observed_at.as_ref(), now))
        .pair_if("Vendor", Some(facts.vendor.clone()))
        .pair_if("Product", Some(facts.product.clone()))
        .pair_if("Firmware", Some(facts.firmware_version.clone()))
        .pair_if("Can", Some(facts.capabilities.join(", ")))
        .pair_if("Speaks", Some(speaks(&facts).join(", ")))
        .pair_if("Cipher suite", suite)
        .pair_if("Vendor rules", Some(facts.rules.join(", ")))
        .pair_if("Chosen because", Some(facts.because))
        .text()
}

fn rotation(rotation: &BmcRotation, now: DateTime<Utc>) -> String {
    let since = words::with_age(rotation.wanted_since.as_ref(), now).unwrap_or_default();
    let next = words::with_age(rotation.next_try_at.as_ref(), now).unwrap_or_default();
    let trouble = filled(&rotation.trouble)
        .map_or_else(String::new, |t| format!("; try {} failed: {t}; next try {next}", rotation.tries));
    format!("since {since} for {}{trouble}", rotation.by)
}

/// A password for programs.
pub(crate) fn password_json(username: &str, password: &str) -> Value {
    json!({ "username": username, "password": password })
}

/// A BMC's own event log, for programs.
pub(crate) fn events_json(log: &ListBmcEventsResponse) -> Value {
    json!({
        "log": log.log,
        "more": log.more,
        "events": log.events.iter().map(|e| json!({
            "id": e.id,
            "at": rfc3339(e.at.as_ref()),
            "severity": severity(e),
            "text": e.text,
        })).collect::<Vec<_>>(),
    })
}

/// A BMC's own event log, the newest first.
pub(crate) fn events(log: &ListBmcEventsResponse, width: Option<u16>) -> String {
    let columns = [("AT (BMC)", Fit::Whole), ("ID", Fit::Whole), ("SEVERITY", Fit::Whole), ("WHAT", Fit::Wraps)];
    let row = |e: &BmcEvent| {
        let at = words::seconds(e.at.as_ref());
        vec![cell(at), cell(e.id.clone()), cell(severity(e)), cell(e.text.clone())]
    };
    table(width, &columns, log.events.iter().map(row).collect())
}

fn severity(event: &BmcEvent) -> Option<String> {
    convert::severity_from_wire(event.severity).map(|s| s.to_string())
}

/// Settings of the firmware, for programs.
pub(crate) fn bios_json(settings: &BiosSettings) -> Value {
    json!({
        "attributes": settings.attributes.iter().map(|a| json!({
            "name": a.name,
            "value": a.value,
            "pending": a.pending,
        })).collect::<Vec<_>>(),
        "secure_boot": settings.secure_boot.as_ref().map(|s| json!({
            "enable": s.enable,
            "enforced": s.enforced,
            "mode": filled(&s.mode),
        })),
    })
}

/// Settings of the firmware: secure boot, then the attributes.
pub(crate) fn bios(settings: &BiosSettings, width: Option<u16>) -> String {
    let on = |on: bool| if on { "on" } else { "off" };
    let secure_boot = settings.secure_boot.as_ref().map(|s| {
        let enforced = s.enforced.map_or_else(String::new, |now| format!(" (at the last start: {})", on(now)));
        let mode = filled(&s.mode).map_or_else(String::new, |mode| format!(", {mode}"));
        format!("{}{enforced}{mode}", on(s.enable))
    });
    let head = Page::default().pair("Secure boot", secure_boot).text();
    let columns = [("ATTRIBUTE", Fit::Whole), ("VALUE", Fit::Wraps), ("AFTER NEXT START", Fit::Wraps)];
    let row = |a: &BiosAttribute| vec![cell(a.name.clone()), cell(a.value.clone()), cell(a.pending.clone())];
    format!("{head}\n{}", table(width, &columns, settings.attributes.iter().map(row).collect()))
}

/// What was asked of a BMC lately, for programs.
pub(crate) fn log_json(bmc: &Bmc) -> Value {
    json!({
        "machine": bmc.machine,
        "exchanges": bmc.exchanges.iter().map(|e| json!({
            "at": rfc3339(e.at.as_ref()),
            "text": e.text,
            "times": e.times,
        })).collect::<Vec<_>>(),
    })
}

/// What was asked of a BMC lately, the newest first.
pub(crate) fn log(bmc: &Bmc, width: Option<u16>) -> String {
    let columns = [("LAST", Fit::Whole), ("TIMES", Fit::Whole), ("WHAT", Fit::Wraps)];
    let row =
        |e: &BmcExchange| vec![cell(words::seconds(e.at.as_ref())), cell(e.times.to_string()), cell(e.text.clone())];
    table(width, &columns, bmc.exchanges.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use farrier_proto::v1::{EventSeverity, SecureBoot};

    use super::*;

    #[test]
    fn what_a_bmc_has_seen_is_a_table_with_the_newest_first() {
        let event = |id: &str, seconds: Option<i64>, severity: EventSeverity, text: &str| BmcEvent {
            id: id.to_owned(),
            at: seconds.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
            severity: severity.into(),
            text: text.to_owned(),
        };
        let log = ListBmcEventsResponse {
            events: vec![
                event("12", Some(1_700_000_000), EventSeverity::Critical, "a fan stopped"),
                event("11", None, EventSeverity::Unspecified, "Memory, sensor 0x12: Parity"),
            ],
            more: true,
            log: "SEL".to_owned(),
        };
        expect![[r#"
            AT (BMC)              ID  SEVERITY  WHAT
            2023-11-14T22:13:20Z  12  critical  a fan stopped
            -                     11  -         Memory, sensor 0x12: Parity"#]]
        .assert_eq(&events(&log, Some(80)));
        expect![[r#"
            {
              "events": [
                {
                  "at": "2023-11-14T22:13:20Z",
                  "id": "12",
                  "severity": "critical",
                  "text": "a fan stopped"
                },
                {
                  "at": null,
                  "id": "11",
                  "severity": null,
                  "text": "Memory, sensor 0x12: Parity"
                }
              ],
              "log": "SEL",
              "more": true
            }
        "#]]
        .assert_eq(&format!("{:#}\n", events_json(&log)));
    }

    #[test]
    fn settings_of_the_firmware_tell_what_will_be() {
        let attribute = |name: &str, value: &str, pending: Option<&str>| BiosAttribute {
            name: name.to_owned(),
            value: value.to_owned(),
            pending: pending.map(str::to_owned),
        };
        let settings = BiosSettings {
            attributes: vec![attribute("BootMode", "Bios", Some("Uefi")), attribute("QuietBoot", "true", None)],
            secure_boot: Some(SecureBoot { enable: true, enforced: Some(false), mode: "UserMode".to_owned() }),
        };
        expect![[r#"
            Secure boot:  on (at the last start: off), UserMode
            ATTRIBUTE  VALUE  AFTER NEXT START
            BootMode   Bios   Uefi
            QuietBoot  true   -"#]]
        .assert_eq(&bios(&settings, Some(80)));
        expect![[r#"
            {
              "attributes": [
                {
                  "name": "BootMode",
                  "pending": "Uefi",
                  "value": "Bios"
                },
                {
                  "name": "QuietBoot",
                  "pending": null,
                  "value": "true"
                }
              ],
              "secure_boot": {
                "enable": true,
                "enforced": false,
                "mode": "UserMode"
              }
            }
        "#]]
        .assert_eq(&format!("{:#}\n", bios_json(&settings)));
    }
}
