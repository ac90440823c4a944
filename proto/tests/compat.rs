//! The contract against the one that was checked in: nothing that a client may use goes away or changes unseen.
//!
//! `compat/contract.txt` holds a line for each service, method, message, field, enum and value. Lines may be added
//! (`UPDATE_EXPECT=1` does it). A line that is gone was removed, renamed, renumbered or retyped: that is an error unless
//! `compat/breaks.txt` holds the line, with the reason behind ` # `.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use farrier_proto::DESCRIPTORS;
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto, field_descriptor_proto,
};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("compat").join(name)
}

/// The contract as it is.
fn contract() -> BTreeSet<String> {
    let all = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    all.file.iter().filter(|f| f.package().starts_with("farrier.")).flat_map(file).collect()
}

fn file(file: &FileDescriptorProto) -> Vec<String> {
    let package = file.package();
    let messages = file.message_type.iter().flat_map(|m| message(package, m));
    let enums = file.enum_type.iter().flat_map(|e| enumeration(package, e));
    let services = file.service.iter().flat_map(|s| service(package, s));
    messages.chain(enums).chain(services).collect()
}

fn message(outer: &str, message: &DescriptorProto) -> Vec<String> {
    let name = format!("{outer}.{}", message.name());
    let mut lines = vec![format!("message {name}")];
    lines.extend(message.field.iter().map(|f| field(&name, message, f)));
    lines.extend(message.enum_type.iter().flat_map(|e| enumeration(&name, e)));
    lines.extend(message.nested_type.iter().flat_map(|m| self::message(&name, m)));
    lines
}

fn field(message: &str, of: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    // Messages and enums go by their names.
    let kind = match field.type_name().trim_start_matches('.') {
        "" => field.r#type().as_str_name().trim_start_matches("TYPE_").to_lowercase(),
        named => named.to_owned(),
    };
    let label = match field.label() {
        field_descriptor_proto::Label::Repeated => "repeated ",
        field_descriptor_proto::Label::Required => "required ",
        field_descriptor_proto::Label::Optional if field.proto3_optional() => "optional ",
        field_descriptor_proto::Label::Optional => "",
    };
    let oneof = field.oneof_index.filter(|_| !field.proto3_optional());
    let oneof = oneof.and_then(|i| of.oneof_decl.get(usize::try_from(i).unwrap()));
    let oneof = oneof.map(|o| format!(" oneof {}", o.name())).unwrap_or_default();
    format!("field {message} {} {} {label}{kind}{oneof}", field.number(), field.name())
}

fn enumeration(outer: &str, e: &EnumDescriptorProto) -> Vec<String> {
    let name = format!("{outer}.{}", e.name());
    let values = e.value.iter().map(|v| format!("value {name} {} {}", v.number(), v.name()));
    std::iter::once(format!("enum {name}")).chain(values).collect()
}

fn service(package: &str, service: &ServiceDescriptorProto) -> Vec<String> {
    let name = format!("{package}.{}", service.name());
    let methods = service.method.iter().map(|m| {
        let stream = |streams: bool| if streams { "stream " } else { "" };
        let (takes, gives) = (m.input_type().trim_start_matches('.'), m.output_type().trim_start_matches('.'));
        let (client, server) = (stream(m.client_streaming()), stream(m.server_streaming()));
        format!("rpc {name}/{} {client}{takes} -> {server}{gives}", m.name())
    });
    std::iter::once(format!("service {name}")).chain(methods).collect()
}

/// The lines of `golden` that `now` lacks without permission.
fn broken<'a>(golden: &'a BTreeSet<String>, now: &BTreeSet<String>, allowed: &BTreeSet<String>) -> Vec<&'a str> {
    golden.iter().filter(|line| !now.contains(*line) && !allowed.contains(*line)).map(String::as_str).collect()
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned).collect()
}

/// Lines that may go, each with its reason.
fn allowed(text: &str) -> Result<BTreeSet<String>, String> {
    let split = |line: String| match line.split_once(" # ") {
        Some((line, reason)) if !reason.trim().is_empty() => Ok(line.trim().to_owned()),
        Some(_) | None => Err(format!("no reason behind \" # \": {line}")),
    };
    lines(text).into_iter().map(split).collect()
}

#[test]
fn nothing_that_clients_may_use_goes_away_unseen() {
    let now = contract();
    let allowed = allowed(&fs::read_to_string(path("breaks.txt")).unwrap()).unwrap();
    let back: Vec<_> = allowed.iter().filter(|line| now.contains(*line)).collect();
    assert!(back.is_empty(), "these are in the contract; take them out of proto/compat/breaks.txt: {back:#?}");
    let golden = lines(&fs::read_to_string(path("contract.txt")).unwrap_or_default());
    let broken = broken(&golden, &now, &allowed);
    assert!(
        broken.is_empty(),
        "removed, renamed, renumbered or retyped; clients break. If that is meant, put the line into \
         proto/compat/breaks.txt with the reason behind \" # \":\n{}",
        broken.join("\n")
    );
    if now == golden {
        return;
    }
    if env::var_os("UPDATE_EXPECT").is_some() {
        let text: String = now.iter().map(|line| format!("{line}\n")).collect();
        fs::write(path("contract.txt"), text).unwrap();
        return;
    }
    let new: Vec<_> = now.difference(&golden).map(String::as_str).collect();
    panic!("the contract has grown, or a break is taken down; run the test with UPDATE_EXPECT=1:\n{}", new.join("\n"));
}

#[test]
fn every_kind_of_break_is_seen() {
    let all = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let golden = contract();
    type Break = fn(&mut FileDescriptorProto);
    let breaks: [(&str, Break); 8] = [
        ("message farrier.v1.PageRequest", |f| f.message_type.retain(|m| m.name() != "PageRequest")),
        ("field farrier.v1.PageRequest 1 ", |f| of(f, "PageRequest").field.remove(0).clear()),
        ("field farrier.v1.PageRequest 1 ", |f| of(f, "PageRequest").field[0].number = Some(9)),
        ("field farrier.v1.PageRequest 1 ", |f| of(f, "PageRequest").field[0].set_type(STRING)),
        ("field farrier.v1.PageRequest 1 ", |f| of(f, "PageRequest").field[0].name = Some("other".to_owned())),
        ("field farrier.v1.PageRequest 1 ", |f| of(f, "PageRequest").field[0].set_label(REPEATED)),
        ("value farrier.v1.PowerState 1 ", |f| power(f).value[1].number = Some(7)),
        ("value farrier.v1.PowerState 1 ", |f| power(f).value[1].name = Some("OTHER".to_owned())),
    ];
    for (lost, spoil) in breaks {
        let mut spoiled = all.clone();
        let common = spoiled.file.iter_mut().find(|f| f.name().ends_with("v1/common.proto")).unwrap();
        spoil(common);
        let now: BTreeSet<String> =
            spoiled.file.iter().filter(|f| f.package().starts_with("farrier.")).flat_map(file).collect();
        let broken = broken(&golden, &now, &BTreeSet::new());
        assert!(broken.iter().any(|line| line.starts_with(lost)), "{lost}: {broken:?}");
    }
    let mut grown = golden.clone();
    grown.insert("message farrier.v1.New".to_owned());
    assert_eq!(broken(&golden, &grown, &BTreeSet::new()), Vec::<&str>::new());
}

#[test]
fn services_and_streams_are_in_it() {
    let now = contract();
    for line in [
        "service farrier.rack.v1.RackService",
        "rpc farrier.v1.Machines/GetMachine farrier.v1.GetMachineRequest -> farrier.v1.Machine",
        "rpc farrier.v1.Events/WatchEvents farrier.v1.WatchEventsRequest -> stream farrier.v1.Event",
    ] {
        assert!(now.contains(line), "{line}");
    }
    assert!(allowed("message x # because\n").unwrap().contains("message x"));
    assert!(allowed("message x\n").is_err());
}

const STRING: field_descriptor_proto::Type = field_descriptor_proto::Type::String;
const REPEATED: field_descriptor_proto::Label = field_descriptor_proto::Label::Repeated;

fn of<'a>(file: &'a mut FileDescriptorProto, name: &str) -> &'a mut DescriptorProto {
    file.message_type.iter_mut().find(|m| m.name() == name).unwrap()
}

fn power(file: &mut FileDescriptorProto) -> &mut EnumDescriptorProto {
    file.enum_type.iter_mut().find(|e| e.name() == "PowerState").unwrap()
}
