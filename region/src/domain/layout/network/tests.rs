//! What a network layout may be, and what it may not.

use super::*;
use crate::domain::layout::testing;

/// The example of the documentation.
pub(crate) fn example() -> NetworkLayout {
    serde_json::from_str(&testing::example("network")).unwrap()
}

fn told(layout: &NetworkLayout) -> Vec<String> {
    let hardware = testing::hardware();
    layout.check(&Facts { hardware: Some(&hardware), firmware: None }).iter().map(ToString::to_string).collect()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn the_example_of_the_documentation_is_sound() {
    assert_eq!(told(&example()), [""; 0]);
    assert_eq!(example().check(&Facts::default()), []);
    let json = serde_json::to_string(&example()).unwrap();
    assert_eq!(serde_json::from_str::<NetworkLayout>(&json).unwrap(), example());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table: one line for each fault")]
fn each_fault_names_its_field() {
    type Spoil = fn(&mut NetworkLayout);
    let spoiled_by: &[(Spoil, &str)] = &[
        (
            |l| l.interfaces[2].name = "eth9".into(),
            "network.interfaces[2].name: the machine has no interface \"eth9\"; it has: eno1, ",
        ),
        (
            |l| l.interfaces[2].name = "eno1".into(),
            "network.interfaces[2].name: \"eno1\" is the name of network.interfaces[0] already",
        ),
        (
            |l| l.bridges[0].name = "eno4".into(),
            "network.bridges[0].name: \"eno4\" is the name of a physical interface",
        ),
        (
            |l| l.bridges[0].name = "sixteen-letters!".into(),
            "network.bridges[0].name: \"sixteen-letters!\" cannot be the name of a link",
        ),
        (|l| l.bridges[0].name = "all".into(), "network.bridges[0].name: \"all\" cannot be"),
        (|l| l.bonds[0].members[1] = "eno9".into(), "network.bonds[0].members[1]: \"eno9\" is no link of this layout"),
        (
            |l| l.bonds[0].members[1] = "br-guests".into(),
            "network.bonds[0].members[1]: \"br-guests\" is a bridge: members of a bond are interfaces",
        ),
        (
            |l| l.bonds[0].members[1] = "eno1".into(),
            "network.bonds[0].members[1]: \"eno1\" is a member of a bond \"bond0\" already",
        ),
        (|l| l.bonds[0].members.clear(), "network.bonds[0].members: at least one is required"),
        (|l| l.bonds[0].mii_monitor_ms = 60_001, "network.bonds[0].mii_monitor_ms: must be"),
        (|l| l.bridges[0].members.push("eno1".into()), "network.bridges[0].members[1]: \"eno1\" is a member of a bond"),
        (
            |l| l.bridges[0].members.push("eno3".into()),
            "network.interfaces[2].addresses: a member of a bridge has no addresses",
        ),
        (
            |l| l.interfaces[0].addresses.dhcp4 = true,
            "network.interfaces[0].addresses: a member of a bond has no addresses",
        ),
        (|l| l.vlans[0].link = "br-guests".into(), "network.bridges[0].members: leads in a circle"),
        (|l| l.vlans[0].link = "eno2".into(), "network.vlans[0].link: is a member of bond \"bond0\""),
        (|l| l.vlans[0].link = "bond0.30".into(), "network.vlans[0].link: is a VLAN itself"),
        (|l| l.vlans[0].link = "x".into(), "network.vlans[0].link: \"x\" is no link"),
        (|l| l.vlans[0].id = 4095, "network.vlans[0].id: must be 1 to 4094"),
        (|l| l.vlans[0].id = 0, "network.vlans[0].id: must be 1 to 4094"),
        (
            |l| l.vlans.push(Vlan { name: "v".into(), ..l.vlans[0].clone() }),
            "network.vlans[1].id: 30 is that of network.vlans[0] on the same link",
        ),
        (|l| l.vlans[0].mtu = 9001, "network.vlans[0].mtu: does not go with the MTU of \"bond0\", which is 9000"),
        (|l| l.bonds[0].mtu = 9217, "network.bonds[0].mtu: must be 576 to 9216"),
        (|l| l.bonds[0].mtu = 1279, "network.bonds[0].mtu: IPv6 needs at least 1280"),
        (|l| l.interfaces[0].mtu = 1500, "network.bonds[0].mtu: does not go with the MTU of \"eno1\""),
        (
            |l| l.bonds[0].addresses.fixed[0] = net("10.0.0.0/24"),
            "network.bonds[0].addresses.static[0]: 10.0.0.0/24 is the network itself",
        ),
        (
            |l| l.bonds[0].addresses.fixed[0] = net("10.0.0.255/24"),
            "network.bonds[0].addresses.static[0]: 10.0.0.255/24 is the broadcast",
        ),
        (
            |l| l.bonds[0].addresses.fixed[0] = net("127.0.0.1/8"),
            "network.bonds[0].addresses.static[0]: 127.0.0.1/8 is not the address of one host",
        ),
        (
            |l| l.bonds[0].addresses.fixed[1] = net("ff02::1/64"),
            "network.bonds[0].addresses.static[1]: ff02::1/64 is not the address of one host",
        ),
        (
            |l| l.bonds[0].addresses.fixed[1] = net("fd00::5/0"),
            "network.bonds[0].addresses.static[1]: fd00::5/0 has no network",
        ),
        (
            |l| l.interfaces[2].addresses.fixed.push(net("10.0.0.5/16")),
            "network.bonds[0].addresses.static[0]: 10.0.0.5 is at network.interfaces[2].addresses.static[0] already",
        ),
        (
            |l| l.bonds[0].addresses.gateway4 = Some([10, 0, 1, 1].into()),
            "network.bonds[0].addresses.gateway4: 10.0.1.1 is in no static network of bond0",
        ),
        (
            |l| l.bonds[0].addresses.gateway4 = Some([10, 0, 0, 5].into()),
            "network.bonds[0].addresses.gateway4: 10.0.0.5 is the address of bond0 itself",
        ),
        (
            |l| l.bridges[0].addresses = l.bonds[0].addresses.clone(),
            "network.bridges[0].addresses.gateway4: there is a gateway4 at network.bonds[0]",
        ),
        (|l| l.routes[0].to = Destination::Default, ""),
        (
            |l| {
                l.routes[0].to = Destination::Default;
                l.routes[0].metric = 0;
            },
            "network.routes[0].to: there is a route to the same network with the same metric",
        ),
        (
            |l| l.routes[0].to = Destination::Net(net("10.8.0.1/16")),
            "network.routes[0].to: has host bits; the network is 10.8.0.0/16",
        ),
        (|l| l.routes[0].to = Destination::Net(net("fd01::/64")), "network.routes[0].via: and to are not both"),
        (|l| l.routes[0].via = [10, 9, 9, 9].into(), "network.routes[0].via: 10.9.9.9 is in no static network"),
        (
            |l| l.routes[0].via = [10, 0, 0, 5].into(),
            "network.routes[0].via: 10.0.0.5 is an address of the machine itself",
        ),
        (
            |l| {
                l.routes[0].via = [10, 9, 9, 9].into();
                l.routes[0].interface = "eno3".into();
            },
            "",
        ),
        (|l| l.routes[0].interface = "eno1".into(), "network.routes[0].interface: is a member of a bond"),
        (|l| l.routes[0].interface = "eno7".into(), "network.routes[0].interface: \"eno7\" is no link"),
        (|l| l.dns_servers[1] = "10.0.0.2".parse().unwrap(), "network.dns_servers[1]: 10.0.0.2 is given twice"),
        (|l| l.dns_servers[1] = "::".parse().unwrap(), "network.dns_servers[1]: :: is not the address of one host"),
        (|l| l.search_domains[0] = "a..b".into(), "network.search_domains[0]: \"a..b\" must be a domain"),
        (|l| l.search_domains.push("EXAMPLE.org".into()), "network.search_domains[1]: \"EXAMPLE.org\" is given twice"),
        (
            |l| l.search_domains = (0..33).map(|n| format!("d{n}")).collect(),
            "network.search_domains: has 33 entries; at most 32",
        ),
        (|l| *l = NetworkLayout::default(), "network.interfaces: at least one is required"),
    ];
    for (spoil, want) in spoiled_by {
        let mut layout = example();
        spoil(&mut layout);
        let got = told(&layout);
        if want.is_empty() {
            assert_eq!(got, [""; 0]);
        } else {
            assert!(got.iter().any(|fault| fault.starts_with(want)), "wanted {want:?}, got {got:#?}");
        }
    }
}

#[test]
fn a_link_local_router_needs_its_interface() {
    let mut layout = example();
    layout.routes =
        vec![Route { to: Destination::Default, via: "fe80::1".parse().unwrap(), metric: 0, interface: String::new() }];
    assert_eq!(told(&layout), ["network.routes[0].interface: is required for a link-local router"]);
    layout.routes[0].interface = "bond0".into();
    assert_eq!(told(&layout), [""; 0]);
}
