use std::{fmt::Write as _, net::Ipv4Addr};

use dhcproto::Encodable as _;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::{
    boot::{
        intent::{Intent, Snapshot},
        state::samples,
    },
    net::dhcp::clients::{self, ALL, Client, Fields},
};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
const RESERVED: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 20);
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;

struct World {
    boot: BootState,
    leases: Table,
    now: Timestamp,
    _dir: tempfile::TempDir,
}

impl World {
    /// Machine 1 has 10.77.0.20 reserved; 10.78.0.0/24 is behind a relay.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let boot = BootState::open(dir.path()).unwrap();
        let behind = Subnet {
            cidr: "10.78.0.0/24".parse().unwrap(),
            gateway: Some(RELAY),
            dns: vec![],
            dynamic: farrier_common::net::Ipv4Range::new([10, 78, 0, 50].into(), [10, 78, 0, 59].into()).unwrap(),
            lease: std::time::Duration::from_secs(600),
        };
        let snapshot = samples::snapshot(vec![samples::ephemeral(1, "10.77.0.20")]);
        boot.replace(Snapshot { subnets: vec![samples::subnet(), behind], ..snapshot }).unwrap();
        Self { boot, leases: Table::default(), now: samples::now(), _dir: dir }
    }

    fn take(&mut self, packet: &[u8]) -> Outcome {
        let Some(request) = Request::parse(packet) else { return Outcome::default() };
        let view = View { server: SERVER, http_port: 5248, boot: &self.boot };
        reply(&request, &view, &mut self.leases, self.now)
    }

    fn forget(&mut self) {
        self.leases = Table::default();
    }

    fn ask(&mut self, client: Client, fields: Fields) -> Outcome {
        self.take(&clients::packet(client, fields))
    }

    /// DISCOVER and REQUEST; the address.
    fn boot(&mut self, client: Client, n: u16) -> Ipv4Addr {
        let offer = self.ask(client, Fields { kind: DISCOVER, n, ..Fields::default() }).reply.unwrap();
        let requested = Some(offer.message.yiaddr());
        let fields = Fields { kind: REQUEST, n, requested, server: Some(SERVER), ..Fields::default() };
        let ack = self.ask(client, fields).reply.unwrap();
        assert_eq!((kind(&ack), Some(ack.message.yiaddr())), (MessageType::Ack, requested));
        ack.message.yiaddr()
    }

    fn reserve(&self, n: u16, address: &str) {
        let intent = samples::ephemeral(n, address);
        let machine_id = self.boot.by_mac(samples::mac(n)).map_or(intent.machine_id, |held| held.machine_id);
        self.boot.put("s1", Intent { machine_id, version: 9, ..intent }).unwrap();
    }
}

fn kind(reply: &Reply) -> MessageType {
    reply.message.opts().msg_type().unwrap()
}

/// Header fields and options, as they are on the wire.
fn show(outcome: &Outcome) -> String {
    let mut text = String::new();
    match &outcome.reply {
        None => text.push_str("silence\n"),
        Some(Reply { message: m, to, durable }) => {
            let file = String::from_utf8_lossy(m.fname().unwrap_or_default()).into_owned();
            let _ = writeln!(text, "to {to:?}, durable {durable}");
            let _ = writeln!(text, "yiaddr {} siaddr {} giaddr {} file {file:?}", m.yiaddr(), m.siaddr(), m.giaddr());
            let bytes = m.to_vec().unwrap();
            let mut options = &bytes[240..];
            while let [code, length, rest @ ..] = options
                && *code != 255
            {
                let (value, rest) = rest.split_at(usize::from(*length));
                let plain = value.len() > 6 && value.iter().all(u8::is_ascii_graphic);
                let value = if plain { String::from_utf8_lossy(value).into_owned() } else { hex::encode(value) };
                let _ = writeln!(text, "  {code}: {value}");
                options = rest;
            }
        }
    }
    let _ = writeln!(text, "note: {}", outcome.note.as_deref().unwrap_or("none"));
    text
}

#[expect(clippy::needless_pass_by_value, reason = "so that the expectation stands beside the call")]
fn check_discover(client: Client, expected: Expect) {
    let outcome = World::new().ask(client, Fields { kind: DISCOVER, n: 1, ..Fields::default() });
    expected.assert_eq(&show(&outcome));
}

#[test]
fn offer_to_a_bios_pxe_rom() {
    check_discover(
        Client::BiosPxe,
        expect![[r#"
        to Broadcast, durable false
        yiaddr 10.77.0.20 siaddr 10.77.0.1 giaddr 0.0.0.0 file "undionly.kpxe"
          1: ffffff00
          3: 0a4d0001
          6: 0a4d0002
          28: 0a4d00ff
          51: 00000e10
          53: 02
          54: 0a4d0001
          58: 00000708
          59: 00000c4e
          66: 10.77.0.1
          67: undionly.kpxe
          97: 000403020106050807090a0b0c0d0e0f10
        note: DISCOVER, offered 10.77.0.20 (BIOS, PXE firmware)
    "#]],
    );
}

#[test]
fn offer_to_the_ipxe_rom_without_broadcast_flag() {
    check_discover(
        Client::IpxeRom,
        expect![[r#"
        to Hardware(MacAddr([82, 84, 0, 119, 0, 1]), 10.77.0.20), durable false
        yiaddr 10.77.0.20 siaddr 10.77.0.1 giaddr 0.0.0.0 file "http://10.77.0.1:5248/boot/52:54:00:77:00:01.ipxe"
          1: ffffff00
          3: 0a4d0001
          6: 0a4d0002
          28: 0a4d00ff
          51: 00000e10
          53: 02
          54: 0a4d0001
          58: 00000708
          59: 00000c4e
          61: 01525400770001
          66: 10.77.0.1
          67: http://10.77.0.1:5248/boot/52:54:00:77:00:01.ipxe
          97: 000403020106050807090a0b0c0d0e0f10
          175: b00101
        note: DISCOVER, offered 10.77.0.20 (BIOS, iPXE)
    "#]],
    );
}

#[test]
fn offer_to_uefi_pxe() {
    check_discover(
        Client::UefiPxe,
        expect![[r#"
        to Broadcast, durable false
        yiaddr 10.77.0.20 siaddr 10.77.0.1 giaddr 0.0.0.0 file "snponly.efi"
          1: ffffff00
          3: 0a4d0001
          6: 0a4d0002
          28: 0a4d00ff
          51: 00000e10
          53: 02
          54: 0a4d0001
          58: 00000708
          59: 00000c4e
          66: 10.77.0.1
          67: snponly.efi
          97: 000403020106050807090a0b0c0d0e0f10
        note: DISCOVER, offered 10.77.0.20 (UEFI x86-64, PXE firmware)
    "#]],
    );
}

#[test]
fn offer_to_snponly() {
    check_discover(
        Client::Snponly,
        expect![[r#"
        to Hardware(MacAddr([82, 84, 0, 119, 0, 1]), 10.77.0.20), durable false
        yiaddr 10.77.0.20 siaddr 10.77.0.1 giaddr 0.0.0.0 file "http://10.77.0.1:5248/boot/52:54:00:77:00:01.ipxe"
          1: ffffff00
          3: 0a4d0001
          6: 0a4d0002
          28: 0a4d00ff
          51: 00000e10
          53: 02
          54: 0a4d0001
          58: 00000708
          59: 00000c4e
          61: 01525400770001
          66: 10.77.0.1
          67: http://10.77.0.1:5248/boot/52:54:00:77:00:01.ipxe
          97: 000403020106050807090a0b0c0d0e0f10
          175: b00101
        note: DISCOVER, offered 10.77.0.20 (UEFI x86-64, iPXE)
    "#]],
    );
}

#[test]
fn offer_to_uefi_http_boot() {
    check_discover(
        Client::UefiHttp,
        expect![[r#"
        to Broadcast, durable false
        yiaddr 10.77.0.20 siaddr 10.77.0.1 giaddr 0.0.0.0 file "http://10.77.0.1:5248/loaders/snponly.efi"
          1: ffffff00
          3: 0a4d0001
          6: 0a4d0002
          28: 0a4d00ff
          51: 00000e10
          53: 02
          54: 0a4d0001
          58: 00000708
          59: 00000c4e
          60: HTTPClient
          67: http://10.77.0.1:5248/loaders/snponly.efi
          97: 000403020106050807090a0b0c0d0e0f10
        note: DISCOVER, offered 10.77.0.20 (UEFI x86-64, HTTP boot firmware)
    "#]],
    );
}

#[test]
fn offer_to_arm64_without_loader() {
    check_discover(
        Client::Arm64Http,
        expect![[r#"
        to Broadcast, durable false
        yiaddr 10.77.0.20 siaddr 0.0.0.0 giaddr 0.0.0.0 file ""
          1: ffffff00
          3: 0a4d0001
          6: 0a4d0002
          28: 0a4d00ff
          51: 00000e10
          53: 02
          54: 0a4d0001
          58: 00000708
          59: 00000c4e
          97: 000403020106050807090a0b0c0d0e0f10
        note: DISCOVER, offered 10.77.0.20 (UEFI arm64, HTTP boot firmware)
    "#]],
    );
}

#[test]
fn offer_to_an_operating_system() {
    check_discover(
        Client::Networkd,
        expect![[r#"
        to Hardware(MacAddr([82, 84, 0, 119, 0, 1]), 10.77.0.20), durable false
        yiaddr 10.77.0.20 siaddr 0.0.0.0 giaddr 0.0.0.0 file ""
          1: ffffff00
          3: 0a4d0001
          6: 0a4d0002
          28: 0a4d00ff
          51: 00000e10
          53: 02
          54: 0a4d0001
          58: 00000708
          59: 00000c4e
          61: ff56504d9800020000ab110102030405060708
        note: DISCOVER, offered 10.77.0.20 (operating system)
    "#]],
    );
}

#[test]
fn offer_by_a_relay_echoes_its_option_last() {
    let fields = Fields {
        kind: DISCOVER,
        n: 7,
        giaddr: Some(RELAY),
        relay_info: &[1, 4, b'e', b't', b'h', b'0'],
        ..Fields::default()
    };
    let outcome = World::new().ask(Client::UefiPxe, fields);
    expect![[r#"
        to Relay(10.78.0.1), durable false
        yiaddr 10.78.0.57 siaddr 10.77.0.1 giaddr 10.78.0.1 file "snponly.efi"
          1: ffffff00
          3: 0a4e0001
          28: 0a4e00ff
          51: 00000258
          53: 02
          54: 0a4d0001
          58: 0000012c
          59: 0000020d
          66: 10.77.0.1
          67: snponly.efi
          82: 010465746830
          97: 000403020106050807090a0b0c0d0e0f10
          82: 010465746830
        note: DISCOVER, offered 10.78.0.57 (UEFI x86-64, PXE firmware)
    "#]]
    .assert_eq(&show(&outcome));
}

#[test]
fn a_machine_keeps_its_address_from_firmware_to_system() {
    let mut world = World::new();
    let addresses: Vec<_> =
        [Client::UefiPxe, Client::Snponly, Client::Udhcpc, Client::Networkd].map(|c| world.boot(c, 7)).into();
    assert!(addresses.iter().all(|a| *a == addresses[0]));
    assert!([Client::UefiPxe, Client::Networkd].iter().all(|c| world.boot(*c, 1) == RESERVED));
}

#[test]
fn an_ack_is_durable_and_noted_but_a_renewal_is_no_step() {
    let mut world = World::new();
    world.boot(Client::Udhcpc, 1);
    let request = Fields { kind: REQUEST, n: 1, requested: Some(RESERVED), server: Some(SERVER), ..Fields::default() };
    let ack = world.ask(Client::IpxeRom, request);
    assert_eq!(ack.note.as_deref(), Some("ACK 10.77.0.20 (BIOS, iPXE)"));
    assert!(ack.reply.as_ref().is_some_and(|r| r.durable && r.to == Destination::Hardware(samples::mac(1), RESERVED)));
    let renewal =
        world.ask(Client::Networkd, Fields { kind: REQUEST, n: 1, ciaddr: Some(RESERVED), ..Fields::default() });
    expect![[r#"
        to Client(10.77.0.20), durable true
        yiaddr 10.77.0.20 siaddr 0.0.0.0 giaddr 0.0.0.0 file ""
          1: ffffff00
          3: 0a4d0001
          6: 0a4d0002
          28: 0a4d00ff
          51: 00000e10
          53: 05
          54: 0a4d0001
          58: 00000708
          59: 00000c4e
          61: ff56504d9800020000ab110102030405060708
        note: none
    "#]]
    .assert_eq(&show(&renewal));
}

#[test]
fn another_servers_client_is_left_alone() {
    let mut world = World::new();
    let offered = world.ask(Client::UefiPxe, Fields { kind: DISCOVER, n: 7, ..Fields::default() }).reply.unwrap();
    let address = offered.message.yiaddr();
    let chosen =
        Fields { kind: REQUEST, n: 7, requested: Some(address), server: Some(OTHER_SERVER), ..Fields::default() };
    let outcome = world.ask(Client::UefiPxe, chosen);
    assert!(outcome.reply.is_none() && outcome.note.is_none());
    assert_eq!(world.leases.holder(address), None, "the offer is withdrawn");
}

#[test]
fn what_cannot_be_had_is_refused() {
    let mut world = World::new();
    let held = world.boot(Client::Udhcpc, 2);
    let request = |requested: Ipv4Addr, server| Fields {
        kind: REQUEST,
        n: 7,
        requested: Some(requested),
        server,
        ..Fields::default()
    };
    for (why, fields) in [
        ("another's, selecting", request(held, Some(SERVER))),
        ("another's, rebooting", request(held, None)),
        ("another network", request([192, 168, 1, 5].into(), None)),
        ("reserved for another", request(RESERVED, None)),
        ("our own", request(SERVER, None)),
        (
            "another network, renewing",
            Fields { kind: REQUEST, n: 7, ciaddr: Some([192, 168, 1, 5].into()), ..Fields::default() },
        ),
    ] {
        let reply = world.ask(Client::Udhcpc, fields).reply.unwrap();
        assert_eq!((kind(&reply), reply.to), (MessageType::Nak, Destination::Broadcast), "{why}");
        assert_eq!((reply.message.yiaddr(), reply.message.opts().len()), (Ipv4Addr::UNSPECIFIED, 3), "{why}");
    }
    let fields = Fields { giaddr: Some(RELAY), ..request(held, None) };
    let reply = world.ask(Client::Udhcpc, fields).reply.unwrap();
    assert_eq!((reply.to, reply.message.flags().broadcast()), (Destination::Relay(RELAY), true));
}

#[test]
fn a_forgotten_lease_is_granted_again() {
    let mut world = World::new();
    let address = World::new().boot(Client::Networkd, 7);
    let rebooting = Fields { kind: REQUEST, n: 7, requested: Some(address), ..Fields::default() };
    assert_eq!(kind(&world.ask(Client::Networkd, rebooting).reply.unwrap()), MessageType::Ack);
    let mut world = World::new();
    let rebinding = Fields { kind: REQUEST, n: 7, ciaddr: Some(address), ..Fields::default() };
    let reply = world.ask(Client::Networkd, rebinding).reply.unwrap();
    assert_eq!((kind(&reply), reply.to), (MessageType::Ack, Destination::Client(address)));
}

#[test]
fn a_new_reservation_counts_at_the_next_boot() {
    let mut world = World::new();
    let dynamic = world.boot(Client::Networkd, 7);
    world.reserve(7, "10.77.0.30");
    let renewing = Fields { kind: REQUEST, n: 7, ciaddr: Some(dynamic), ..Fields::default() };
    assert_eq!(kind(&world.ask(Client::Networkd, renewing).reply.unwrap()), MessageType::Ack);
    let rebooting = Fields { kind: REQUEST, n: 7, requested: Some(dynamic), ..Fields::default() };
    assert_eq!(kind(&world.ask(Client::Networkd, rebooting).reply.unwrap()), MessageType::Nak);
    assert_eq!(world.boot(Client::UefiPxe, 7), Ipv4Addr::new(10, 77, 0, 30));
}

#[test]
fn decline_and_release() {
    let mut world = World::new();
    let first = world.boot(Client::Udhcpc, 7);
    let decline = Fields { kind: 4, n: 7, requested: Some(first), server: Some(SERVER), ..Fields::default() };
    let outcome = world.ask(Client::Udhcpc, decline);
    assert!(outcome.reply.is_none() && outcome.note.unwrap().starts_with("DECLINE"));
    let second = world.boot(Client::Udhcpc, 7);
    assert_ne!(first, second);
    let release = Fields { kind: 7, n: 7, ciaddr: Some(second), server: Some(SERVER), ..Fields::default() };
    assert!(world.ask(Client::Networkd, release).reply.is_none());
    assert_eq!(world.leases.holder(second), None);
    assert_eq!(world.boot(Client::Udhcpc, 7), second);
}

#[test]
fn inform_gets_options_and_no_lease() {
    let inform = Fields { kind: 8, n: 7, ciaddr: Some([10, 77, 0, 200].into()), ..Fields::default() };
    expect![[r#"
        to Client(10.77.0.200), durable false
        yiaddr 0.0.0.0 siaddr 0.0.0.0 giaddr 0.0.0.0 file ""
          1: ffffff00
          3: 0a4d0001
          6: 0a4d0002
          28: 0a4d00ff
          53: 05
          54: 0a4d0001
          61: ff56504d9800020000ab110102030405060708
        note: none
    "#]]
    .assert_eq(&show(&World::new().ask(Client::Networkd, inform)));
}

#[test]
fn a_full_range_is_told_and_not_answered() {
    let mut world = World::new();
    for n in 10..20 {
        world.boot(Client::Udhcpc, n);
    }
    let outcome = world.ask(Client::UefiPxe, Fields { kind: DISCOVER, n: 7, ..Fields::default() });
    assert!(outcome.reply.is_none());
    assert!(outcome.alarm && outcome.note.unwrap().contains("no address is free on 10.77.0.0/24"));
}

#[test]
fn an_unserved_subnet_is_silence() {
    let mut world = World::new();
    for n in [1, 7] {
        let fields = Fields { kind: DISCOVER, n, giaddr: Some([172, 16, 0, 1].into()), ..Fields::default() };
        assert!(world.ask(Client::UefiPxe, fields).reply.is_none());
    }
    world.boot.replace(Snapshot { subnets: vec![], ..samples::snapshot(vec![]) }).unwrap();
    assert!(world.ask(Client::UefiPxe, Fields { kind: DISCOVER, n: 1, ..Fields::default() }).reply.is_none());
}

/// Nothing that arrives makes the server panic, and every answer can be encoded.
#[test]
fn answering_is_total() {
    let world = std::cell::RefCell::new(World::new());
    let hosts = prop::array::uniform4(prop::option::of(any::<u8>()));
    let damage = prop::collection::vec((0..700_usize, any::<u8>()), 0..12);
    proptest!(|(which in 0..ALL.len(), kind in 0..10_u8, n in 0..4_u16, hosts in hosts, damage in damage, cut in 0..1200_usize)| {
        let [ciaddr, giaddr, requested, server] = hosts.map(|h| h.map(|h| Ipv4Addr::new(10, 77 + (h & 1), 0, h)));
        let fields = Fields { kind, n, ciaddr, giaddr, requested, server, relay_info: &[5, 4, 10, 78, 0, 1] };
        let mut packet = clients::packet(ALL[which], fields);
        for (at, byte) in damage {
            if let Some(b) = packet.get_mut(at) {
                *b = byte;
            }
        }
        packet.truncate(cut);
        let mut world = world.borrow_mut();
        world.forget();
        if let Some(reply) = world.take(&packet).reply {
            prop_assert!(reply.message.to_vec().is_ok_and(|bytes| bytes.len() <= 1400));
        }
    });
}
