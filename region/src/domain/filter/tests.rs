use proptest::prelude::*;

use super::*;
use crate::domain::{
    machine::{Deployment, Hardware},
    testing,
};

fn machine() -> Machine {
    let mut m = testing::machine(State::Ready, None);
    m.interfaces = vec![crate::domain::machine::Interface { mac: "52:54:00:00:00:01".parse().unwrap(), address: None }];
    m.tags = ["gpu", "big"].iter().map(|t| t.parse().unwrap()).collect();
    m.details.labels =
        [("site", "Berlin"), ("empty", ""), ("a b", "c")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    m.details.hardware = Some(Hardware {
        vendor: "Dell Inc.".to_owned(),
        product: "PowerEdge *R740".to_owned(),
        cpu_cores: 64,
        memory_bytes: 1 << 38,
        ..Hardware::default()
    });
    m.details.deployment = Some(Deployment { image: "debian".to_owned(), image_id: String::new(), disk_serial: None });
    m
}

fn passes(filter: &str) -> bool {
    let (machine, pool) = (machine(), "web".parse().unwrap());
    let rack = "r1".parse().unwrap();
    let seen = Seen { machine: &machine, owner: None, project: None, pool: &pool, rack: Some(&rack) };
    Filter::parse(filter).unwrap_or_else(|e| panic!("{filter}: {e}")).matches(&seen)
}

#[test]
fn a_machine_passes_or_does_not() {
    let name = machine().name;
    for yes in [
        "",
        " ",
        "state=ready",
        "state:ready AND architecture=amd64",
        "state!=new",
        &format!("name={name}"),
        &format!("name = \"{name}\""),
        "name=*",
        "tags:gpu AND tags:big AND -tags:old",
        "tags:*",
        "tags:g*",
        "labels.site=Berlin",
        "labels.site:berl AND labels:site",
        "labels.\"a b\"=c",
        "labels.empty:* AND labels.empty=\"\"",
        "labels.none=\"\" AND NOT labels.none:*",
        "vendor:dell",
        "vendor=\"Dell Inc.\"",
        "product:\"edge *r\"",
        "product=\"PowerEdge \\*R740\"",
        "cpu_cores>=64 AND cpu_cores<65 AND memory_bytes=274877906944",
        "owner=\"\" AND -owner:* AND owner!=ann",
        "pool=web AND rack=r*",
        "NOT (state=new OR state=broken)",
        "NOT NOT state=ready",
        "since<2100-01-01T00:00:00Z AND created_at:*",
        "mac:52-54-00-00-00-01 OR image=debian",
        "(((state=ready)))",
        "locked=false AND locked!=true AND NOT locked=true AND locked=\"false\"",
    ] {
        assert!(passes(yes), "{yes}");
    }
    for no in [
        "state=new",
        "-state=ready",
        "name=x*",
        "tags:g",
        "labels.site=berlin",
        "labels:nowhere",
        "labels.none:*",
        "vendor=Dell",
        "cpu_cores>64",
        "cpu_cores!=64",
        "owner:*",
        "serial:*",
        "phase:*",
        "mac:*:ff:ff",
        "state=ready AND (state=new OR pool=other)",
        "product=\"PowerEdge \\*\"",
        "locked=true",
        "locked!=false",
    ] {
        assert!(!passes(no), "{no}");
    }
}

#[test]
fn what_is_not_known_is_neither_more_nor_less() {
    let mut machine = machine();
    machine.details.hardware = None;
    let pool = "web".parse().unwrap();
    let seen = Seen { machine: &machine, owner: None, project: None, pool: &pool, rack: None };
    for (filter, passes) in [
        ("cpu_cores<5", false),
        ("cpu_cores>=5", false),
        ("cpu_cores!=5", true),
        ("cpu_cores:*", false),
        ("vendor=\"\"", true),
    ] {
        assert_eq!(Filter::parse(filter).unwrap().matches(&seen), passes, "{filter}");
    }
}

#[test]
fn a_mistake_is_told_with_its_place() {
    for (bad, why) in [
        ("    stat=new", "filter: unknown field \"stat\" at 5; fields are: id, name, state, "),
        ("state=redy", "filter: \"redy\" is not a value of state; they are: new, commissioning, "),
        ("state<ready", "filter: state cannot be compared by < at 6; its operators are: = != :"),
        ("tags=gpu", "filter: tags cannot be compared by = at 5; its operators are: :"),
        ("labels=x", "filter: labels cannot be compared by = at 7; its operators are: :; one label is labels.KEY"),
        ("labels.=x", "filter: labels. needs a key at 8"),
        ("pool.name=x", "filter: pool has no parts: \"pool.name\" at 1"),
        ("cpu_cores>many", "filter: \"many\" is not a whole number, as cpu_cores is, at 11"),
        ("cpu_cores=-1", "filter: \"-1\" is not a whole number, as cpu_cores is, at 11"),
        ("locked=yes", "filter: \"yes\" is neither true nor false, as locked is, at 8"),
        ("locked:*", "filter: locked cannot be compared by : at 7; its operators are: = !="),
        ("since>yesterday", "filter: \"yesterday\" is not an RFC 3339 time such as "),
        ("mac:52:54", "filter: \"52:54\" is not a MAC address, at 5"),
        ("state", "filter: an operator is expected after state at 6: one of = != :"),
        ("state=", "filter: a value is expected at 7"),
        ("state=new pool=web", "filter: AND, OR or the end is expected at 11"),
        ("state=new and pool=web", "filter: AND, OR or the end is expected at 11"),
        ("state=new AND", "filter: a field is expected at the end, at 14"),
        ("state=new AND pool=a OR pool=b", "filter: AND and OR beside each other need parentheses, at 22"),
        ("(state=new", "filter: the ( at 1 has no )"),
        ("(state=new pool=a)", "filter: AND, OR or ) is expected at 12"),
        ("state=new)", "filter: a ) without its ( at 10"),
        ("name=\"x", "filter: the quoted text that begins at 6 has no end"),
        ("()", "filter: a field is expected, not ')', at 2"),
        ("ä=x", "filter: a field is expected, not 'ä', at 1"),
    ] {
        let told = Filter::parse(bad).unwrap_err().to_string();
        assert!(told.starts_with(why), "{bad}: {told}");
    }
    let deep = |n: usize| format!("{}state=new{}", "(".repeat(n), ")".repeat(n));
    assert!(Filter::parse(&deep(31)).is_ok());
    assert!(Filter::parse(&deep(32)).unwrap_err().to_string().contains("nested deeper than 32"));
    assert!(Filter::parse(&"-".repeat(4096)).is_err());
    assert!(Filter::parse(&" ".repeat(4097)).unwrap_err().to_string().contains("4096"));
}

#[test]
fn what_every_machine_that_passes_has_is_told() {
    let parsed = Filter::parse("state=ready AND (pool=web AND tags:gpu) AND (zone=a OR zone=b)").unwrap();
    let fields: Vec<_> = parsed.conjuncts().iter().map(|t| t.field).collect();
    assert_eq!(fields, [Field::State, Field::Pool, Field::Tags]);
    assert!(!parsed.is_conjunction() && !parsed.asks_hardware());
    assert!(Filter::parse("state=ready AND pool=web").unwrap().is_conjunction());
    assert!(Filter::parse("NOT (pool=web OR cpu_cores>4)").unwrap().asks_hardware());
    assert!(Filter::default().conjuncts().is_empty() && Filter::default().is_conjunction());
}

/// Filters that are right, with what the machine above makes of them.
fn right() -> impl Strategy<Value = (String, bool)> {
    let test = prop_oneof![
        Just(("state=ready".to_owned(), true)),
        Just(("tags : old".to_owned(), false)),
        Just(("labels.site != \"a (b\"".to_owned(), true)),
        (0..200_u64).prop_map(|n| (format!("cpu_cores<= {n}"), 64 <= n)),
    ];
    test.prop_recursive(5, 40, 4, |inner| {
        let parens = |(text, value): (String, bool)| (format!("( {text} )"), value);
        prop_oneof![
            inner.clone().prop_map(move |one| {
                let (text, value) = parens(one);
                (format!("NOT {text}"), !value)
            }),
            inner.clone().prop_map(move |one| {
                let (text, value) = parens(one);
                (format!("-{text}"), !value)
            }),
            (proptest::collection::vec(inner, 1..4), any::<bool>()).prop_map(move |(parts, or)| {
                let parts: Vec<_> = parts.into_iter().map(parens).collect();
                let text =
                    parts.iter().map(|p| p.0.as_str()).collect::<Vec<_>>().join(if or { " OR " } else { " AND " });
                let value = if or { parts.iter().any(|p| p.1) } else { parts.iter().all(|p| p.1) };
                (text, value)
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_put_together_means_what_its_parts_mean((text, value) in right()) {
        prop_assert_eq!(passes(&text), value);
    }

    /// No text makes the parser panic, and what it says of it points into it.
    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-z_.:<>=!*\"\\\\() ANDORT0-9-]{0,60}|\\PC{0,40}") {
        if let Err(e) = Filter::parse(&text) {
            let told = e.to_string();
            prop_assert!(told.starts_with("filter: "), "{}", told);
        }
    }

    /// A value in quotes is found again, whatever it is.
    #[test]
    fn quoted_texts_are_what_they_were(value in "\\PC{0,30}") {
        let quoted: String = value.chars().flat_map(|c| if matches!(c, '"' | '\\' | '*') { vec!['\\', c] } else { vec![c] }).collect();
        let parsed = Filter::parse(&format!("labels.k=\"{quoted}\"")).unwrap();
        let mut machine = machine();
        let pool = "web".parse().unwrap();
        machine.details.labels.insert("k".to_owned(), value);
        let seen = Seen { machine: &machine, owner: None, project: None, pool: &pool, rack: None };
        prop_assert!(parsed.matches(&seen));
    }
}

#[test]
fn the_page_tells_of_every_field() {
    expect_test::expect_file!["../../../../docs/filter.md"].assert_eq(&render::page());
}
