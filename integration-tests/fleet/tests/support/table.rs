//! The table of what each vendor's BMC demands and what it took to live with it.

use std::fmt::Write as _;

use farrier_fleet::personality::Personality;
use farrier_rack::bmc::Identity;

/// What one life took.
pub(crate) struct Row {
    pub(crate) identity: Identity,
    pub(crate) slot: u8,
    pub(crate) logins: u64,
    pub(crate) refused: u64,
    pub(crate) passwords: u64,
}

const HEAD: &str = "\
# What each vendor's BMC needs

This page is written by `integration-tests/fleet/tests/bmc_vendors.rs`, which takes one simulated BMC of each vendor through what a rack does in a machine's life: probe, account, next boot (three times), power on, off and cycle, shutting down in order, another password, removal of the account, restart of the BMC.
All other accounts and their passwords were the same before and after. The same is done by IPMI through a network that loses, doubles and delays a tenth of the packets.

`demands` is what the BMC refuses without (`integration-tests/fleet/personalities`); the next columns are what Farrier did. A refused login is the proof that a removed account is gone.

| vendor | by | demands | rules | account in slot | logins | refused | passwords set |
|---|---|---|---|---|---|---|---|
";

/// Compares the page with what is in `docs`.
pub(crate) fn page(rows: &[(&str, Row)]) {
    let mut page = HEAD.to_owned();
    for (vendor, row) in rows {
        let personality = Personality::shipped(vendor).unwrap();
        let (by, demands, rules) = match &row.identity {
            Identity::Ipmi(ipmi) => {
                (format!("IPMI, suite {}", ipmi.cipher_suite), ipmi_demands(&personality), String::new())
            }
            Identity::Redfish(redfish) => ("Redfish".into(), redfish_demands(&personality), redfish.rules.join(", ")),
            Identity::Webhook => unreachable!("no vendor's BMC is driven by webhook"),
        };
        let Row { slot, logins, refused, passwords, .. } = row;
        let demands = demands.join("; ");
        writeln!(page, "| {vendor} | {by} | {demands} | {rules} | {slot} | {logins} | {refused} | {passwords} |")
            .unwrap();
    }
    expect_test::expect_file!["../../../../docs/bmc-vendors.md"].assert_eq(&page);
}

fn common(personality: &Personality) -> Vec<String> {
    let rules = &personality.accounts;
    let (password, mut demands) = (&rules.password, Vec::new());
    demands.push(format!("password of {} to {}", password.min, password.max.min(20)));
    let kinds = [("capitals", password.upper), ("small letters", password.lower), ("digits", password.digits)];
    demands.extend(kinds.iter().filter(|(_, least)| *least > 0).map(|(kind, least)| format!("{least} {kind}")));
    demands.extend(password.max_run.map(|most| format!("no character {} times in a row", most + 1)));
    demands
}

fn ipmi_demands(personality: &Personality) -> Vec<String> {
    let (rules, mut demands) = (&personality.accounts, common(personality));
    let flags = [
        (rules.name_before_password, "name before password"),
        (rules.password_before_enable, "password before enabling"),
        (rules.privilege_before_messaging, "privilege before messaging"),
        (!rules.tells_enabled, "does not tell who is enabled"),
        (!rules.empty_name.is_empty(), "a free slot has a name"),
    ];
    demands.extend(flags.iter().filter(|(set, _)| *set).map(|(_, what)| (*what).to_owned()));
    let channel = personality.ipmi.lan_channel;
    demands.extend((channel != 1).then(|| format!("LAN is channel {channel}")));
    demands
}

fn redfish_demands(personality: &Personality) -> Vec<String> {
    let (table, mut demands) = (&personality.redfish, common(personality));
    demands.push(format!("accounts by {}", table["accounts"]["creation"].as_str().unwrap()));
    let etags = &table["etags"];
    let needed = etags.get("needed_on").and_then(toml::Value::as_array).filter(|kinds| !kinds.is_empty());
    demands.extend(needed.map(|kinds| {
        let kinds: Vec<_> = kinds.iter().filter_map(toml::Value::as_str).collect();
        format!("If-Match on {}", kinds.join(", "))
    }));
    demands.extend(etags.get("rejects_any").map(|_| "If-Match: * is refused".to_owned()));
    demands
}
