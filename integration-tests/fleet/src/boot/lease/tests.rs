use farrier_common::{hardware::Architecture, net::MacAddr};
use proptest::prelude::*;

use super::{super::packet::Options, *};

const STATION: Station<'_> = Station { mac: MacAddr([0x52, 0x54, 0, 0x77, 0, 1]), uuid: [7; 16], host_name: None };

/// An answer of the server 10.77.0.1 with a boot file and, if given, a class.
fn answer(kind: u8, class: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[..3].copy_from_slice(&[2, 1, 6]);
    bytes[4..8].copy_from_slice(&9_u32.to_be_bytes());
    bytes[16..20].copy_from_slice(&[10, 77, 0, 100]);
    bytes[28..34].copy_from_slice(&STATION.mac.0);
    bytes.extend([99, 130, 83, 99, 53, 1, kind, 54, 4, 10, 77, 0, 1, 67, 1, b'x', 60]);
    bytes.push(u8::try_from(class.len()).unwrap());
    bytes.extend(class);
    bytes.push(255);
    bytes
}

fn sent(actions: &[Action]) -> Option<&[u8]> {
    actions.iter().find_map(|a| if let Action::Send(bytes) = a { Some(bytes.as_slice()) } else { None })
}

fn kind(bytes: &[u8]) -> u8 {
    Options::parse(&bytes[240..]).get(option::MESSAGE_TYPE).unwrap()[0]
}

#[test]
fn firmware_gathers_offers_then_requests_the_one() {
    let mut exchange = Exchange::new(Client::UefiPxe(Architecture::Amd64), STATION, 9);
    assert_eq!(kind(sent(&exchange.on(Event::Start)).unwrap()), 1);
    assert_eq!(exchange.on(Event::Received(&answer(2, b""))), [Action::Gather(Duration::from_secs(3))]);
    assert!(exchange.on(Event::Received(&answer(2, b""))).is_empty(), "a second copy of the offer");
    let actions = exchange.on(Event::Elapsed);
    let request = sent(&actions).unwrap();
    assert_eq!(kind(request), 3);
    let options = Options::parse(&request[240..]);
    assert_eq!(options.get(option::REQUESTED_ADDRESS), Some(&[10, 77, 0, 100][..]));
    let actions = exchange.on(Event::Received(&answer(5, b"")));
    let [Action::Leased(lease)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!((lease.boot_file.as_deref(), lease.renew.as_secs()), (Some("x"), 1800));
    assert!(exchange.on(Event::Received(&answer(5, b""))).is_empty(), "a second copy of the acknowledgement");
}

#[test]
fn an_http_client_takes_only_answers_for_its_kind() {
    let mut exchange = Exchange::new(Client::UefiHttp(Architecture::Amd64), STATION, 9);
    exchange.on(Event::Start);
    assert!(exchange.on(Event::Received(&answer(2, b""))).is_empty());
    assert_eq!(exchange.on(Event::Received(&answer(2, b"HTTPClient"))).len(), 1);
}

#[test]
fn silence_ends_the_attempt() {
    for client in [Client::IpxeRom, Client::BiosPxe, Client::Udhcpc, Client::Networkd] {
        let mut exchange = Exchange::new(client, STATION, 9);
        let mut actions = exchange.on(Event::Start);
        for _ in 0..client.rhythm().tries.len() {
            assert!(matches!(actions.as_slice(), [Action::Send(_), Action::Wait(_)]), "{client:?} {actions:?}");
            actions = exchange.on(Event::Elapsed);
        }
        assert!(matches!(actions.as_slice(), [Action::Failed(_)]), "{client:?}");
        assert!(exchange.on(Event::Elapsed).is_empty());
    }
}

#[test]
fn a_refusal_begins_anew_but_not_for_ever() {
    let mut exchange = Exchange::new(Client::Udhcpc, STATION, 9);
    exchange.on(Event::Start);
    for n in 1..=MOST_REFUSALS {
        exchange.on(Event::Received(&answer(2, b"")));
        let actions = exchange.on(Event::Received(&answer(6, b"")));
        assert_eq!(matches!(actions.as_slice(), [Action::Failed(_)]), n == MOST_REFUSALS);
    }
}

#[test]
fn a_renewal_asks_for_the_address_that_it_has() {
    let lease = Lease {
        address: [10, 77, 0, 100].into(),
        server: [10, 77, 0, 1].into(),
        next_server: None,
        boot_file: None,
        lasts: Duration::from_secs(60),
        renew: Duration::from_secs(30),
    };
    let mut exchange = Exchange::renew(Client::Networkd, STATION, 9, &lease);
    let actions = exchange.on(Event::Start);
    let request = sent(&actions).unwrap();
    assert_eq!((kind(request), &request[12..16]), (3, &[10, 77, 0, 100][..]));
    assert!(matches!(exchange.on(Event::Received(&answer(5, b""))).as_slice(), [Action::Leased(_)]));
    assert_eq!(kind(&Exchange::release(Client::Networkd, &STATION, 9, &lease)), 7);
}

proptest! {
    #[test]
    fn any_order_of_events_ends(events in proptest::collection::vec((0_u8..4, 1_u8..8), 0..80)) {
        let mut exchange = Exchange::new(Client::IpxeRom, STATION, 9);
        exchange.on(Event::Start);
        let mut ends = 0;
        for (event, kind) in events {
            let actions = match event {
                0 => exchange.on(Event::Elapsed),
                1 => exchange.on(Event::Received(b"nonsense")),
                _ => exchange.on(Event::Received(&answer(kind, b""))),
            };
            ends += actions.iter().filter(|a| matches!(a, Action::Leased(_) | Action::Failed(_))).count();
        }
        prop_assert!(ends <= 1);
    }
}
