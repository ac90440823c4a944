//! Requests as the clients of `reference/lab.md` section 2 send them, for tests.

use std::net::Ipv4Addr;

use crate::boot::state::samples;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// The iPXE ROM in a BIOS machine's network card.
    IpxeRom,
    /// The PXE ROM of a BIOS.
    BiosPxe,
    Undionly,
    UefiPxe,
    Snponly,
    UefiHttp,
    Arm64Pxe,
    Arm64Http,
    Udhcpc,
    /// systemd-networkd: another client id than the firmware of the same card.
    Networkd,
}

pub(crate) const ALL: [Client; 10] = [
    Client::IpxeRom,
    Client::BiosPxe,
    Client::Undionly,
    Client::UefiPxe,
    Client::Snponly,
    Client::UefiHttp,
    Client::Arm64Pxe,
    Client::Arm64Http,
    Client::Udhcpc,
    Client::Networkd,
];

/// Class, architecture, undi version, iPXE's options, client id, broadcast flag.
struct Traits(&'static str, Option<u8>, [u8; 3], bool, &'static [u8], bool);

fn traits(client: Client) -> Traits {
    const MAC: &[u8] = &[1, 0x52, 0x54, 0, 0x77, 0, 1];
    const DUID: &[u8] = &[0xff, 0x56, 0x50, 0x4d, 0x98, 0, 2, 0, 0, 0xab, 0x11, 1, 2, 3, 4, 5, 6, 7, 8];
    match client {
        Client::IpxeRom => Traits("PXEClient:Arch:00000:UNDI:002001", Some(0), [1, 2, 1], true, MAC, false),
        Client::BiosPxe => Traits("PXEClient:Arch:00000:UNDI:002001", Some(0), [1, 2, 1], false, &[], true),
        Client::Undionly => Traits("PXEClient:Arch:00000:UNDI:002001", Some(0), [1, 2, 1], true, MAC, true),
        Client::UefiPxe => Traits("PXEClient:Arch:00007:UNDI:003000", Some(7), [1, 3, 0], false, &[], true),
        Client::Snponly => Traits("PXEClient:Arch:00007:UNDI:003010", Some(7), [1, 3, 10], true, MAC, false),
        Client::UefiHttp => Traits("HTTPClient:Arch:00016:UNDI:003000", Some(16), [1, 3, 0], false, &[], true),
        Client::Arm64Pxe => Traits("PXEClient:Arch:00011:UNDI:003000", Some(11), [1, 3, 0], false, &[], true),
        Client::Arm64Http => Traits("HTTPClient:Arch:00019:UNDI:003000", Some(19), [1, 3, 0], false, &[], true),
        Client::Udhcpc => Traits("udhcp 1.35.0", None, [0; 3], false, MAC, false),
        Client::Networkd => Traits("", None, [0; 3], false, DUID, false),
    }
}

/// What may be changed in a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fields {
    pub(crate) kind: u8,
    pub(crate) n: u16,
    pub(crate) ciaddr: Option<Ipv4Addr>,
    pub(crate) giaddr: Option<Ipv4Addr>,
    pub(crate) requested: Option<Ipv4Addr>,
    pub(crate) server: Option<Ipv4Addr>,
    pub(crate) relay_info: &'static [u8],
}

/// A DISCOVER of [`samples::mac`] 1.
pub(crate) fn discover(client: Client) -> Vec<u8> {
    packet(client, Fields { kind: 1, n: 1, ..Fields::default() })
}

/// Any request of [`samples::mac`] `n`.
pub(crate) fn packet(client: Client, fields: Fields) -> Vec<u8> {
    let Traits(class, arch, undi, ipxe, client_id, broadcast) = traits(client);
    let mut bytes = vec![0; 240];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    bytes[10] = if broadcast { 0x80 } else { 0 };
    bytes[12..16].copy_from_slice(&octets(fields.ciaddr));
    bytes[24..28].copy_from_slice(&octets(fields.giaddr));
    bytes[28..34].copy_from_slice(&samples::mac(fields.n).0);
    bytes[236..].copy_from_slice(&[99, 130, 83, 99]);
    let mut option = |code: u8, value: &[u8]| {
        if !value.is_empty() {
            bytes.extend([code, u8::try_from(value.len()).unwrap()]);
            bytes.extend(value);
        }
    };
    option(53, &[fields.kind]);
    option(57, &[5, 0xc0]);
    option(55, &[1, 3, 6, 12, 15, 28, 43, 51, 54, 58, 59, 60, 66, 67, 97, 175]);
    option(60, class.as_bytes());
    option(61, client_id);
    if let Some(arch) = arch {
        option(93, &[0, arch]);
        option(94, &undi);
        option(97, &[0, 4, 3, 2, 1, 6, 5, 8, 7, 9, 10, 11, 12, 13, 14, 15, 16]);
    }
    if ipxe {
        option(77, b"iPXE");
        option(175, &[0xb1, 5, 1, 0x1a, 0xf4, 0x10, 0, 0x22, 1, 1, 0x13, 1, 1]);
    }
    if let Some(requested) = fields.requested {
        option(50, &requested.octets());
    }
    if let Some(server) = fields.server {
        option(54, &server.octets());
    }
    option(82, fields.relay_info);
    bytes.push(255);
    bytes
}

fn octets(address: Option<Ipv4Addr>) -> [u8; 4] {
    address.unwrap_or(Ipv4Addr::UNSPECIFIED).octets()
}
