//! What each DHCP client says of itself, octet for octet as captured (`reference/lab.md`, section 2).

use farrier_common::{hardware::Architecture, net::MacAddr};

use super::packet::{Kind, Query, option};

/// Who asks for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// The iPXE that some network cards carry as their BIOS ROM.
    IpxeRom,
    /// The usual PXE ROM of a BIOS.
    BiosPxe,
    /// `undionly.kpxe`, iPXE loaded by a BIOS.
    Undionly,
    /// PXE of EDK2, which is what UEFI firmware is made from.
    UefiPxe(Architecture),
    /// HTTP boot of EDK2.
    UefiHttp(Architecture),
    /// `snponly.efi`, iPXE loaded by a UEFI.
    Snponly(Architecture),
    /// busybox in the ephemeral environment.
    Udhcpc,
    /// systemd-networkd of an installed system.
    Networkd,
}

/// How fast a client tries, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// The waits after each DISCOVER or REQUEST; after the last one it gives up.
    pub tries: &'static [u32],
    /// From the first OFFER on: how long better ones are waited for.
    pub gather: u32,
}

/// Where the client's interface and machine differ from others.
#[derive(Clone, Copy, Debug)]
pub struct Station<'a> {
    /// Its interface.
    pub mac: MacAddr,
    /// The machine's UUID in the order that people write it.
    pub uuid: [u8; 16],
    /// The name that an installed system gives itself.
    pub host_name: Option<&'a str>,
}

const BIOS_CLASS: &[u8] = b"PXEClient:Arch:00000:UNDI:002001";
/// Of `DhcpDxe` in EDK2: 35 codes.
const EDK2: [u8; 35] = [
    1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97, 128, 129,
    130, 131, 132, 133, 134, 135,
];
/// Without 66, with 235.
const EDK2_HTTP: [u8; 35] = [
    1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 67, 97, 128, 129, 130,
    131, 132, 133, 134, 135, 235,
];
const IPXE: [u8; 23] =
    [1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 130, 131, 132, 133, 134, 135, 175, 203];
const UDHCPC: [u8; 8] = [1, 3, 6, 12, 15, 28, 42, 121];
const NETWORKD: [u8; 10] = [1, 3, 6, 12, 15, 26, 33, 42, 119, 121];

/// Bus (PCI) and ids of the card, version, then what this build can do, each as one flag.
const BIOS_FEATURES: [u8; 12] = [0x10, 0x11, 0x12, 0x13, 0x15, 0x17, 0x18, 0x19, 0x21, 0x22, 0x26, 0x27];
const EFI_FEATURES: [u8; 9] = [0x11, 0x12, 0x13, 0x15, 0x17, 0x24, 0x26, 0x27, 0x29];
const ARM_FEATURES: [u8; 11] = [0x11, 0x12, 0x13, 0x14, 0x15, 0x17, 0x24, 0x25, 0x26, 0x27, 0x29];

impl Client {
    /// How fast it tries.
    #[must_use]
    pub const fn rhythm(self) -> Rhythm {
        match self {
            Self::IpxeRom | Self::Undionly | Self::Snponly(_) => {
                Rhythm { tries: &[1_000, 2_000, 4_000, 8_000, 10_000], gather: 2_000 }
            }
            Self::BiosPxe => Rhythm { tries: &[4_000, 8_000, 16_000, 32_000], gather: 2_000 },
            Self::UefiPxe(_) | Self::UefiHttp(_) => Rhythm { tries: &[4_000, 8_000, 16_000, 32_000], gather: 3_000 },
            Self::Udhcpc => Rhythm { tries: &[3_000; 10], gather: 0 },
            Self::Networkd => Rhythm { tries: &[2_000, 4_000, 8_000, 16_000, 32_000, 64_000], gather: 0 },
        }
    }

    /// Takes only what it can boot from.
    #[must_use]
    pub const fn boots(self) -> bool {
        !matches!(self, Self::Udhcpc | Self::Networkd)
    }

    /// Takes only answers that say they are for HTTP clients.
    #[must_use]
    pub const fn is_http(self) -> bool {
        matches!(self, Self::UefiHttp(_))
    }

    /// A message with everything that this client puts into each of its messages.
    #[must_use]
    pub fn query(self, kind: Kind, xid: u32, station: &Station<'_>) -> Query {
        let mut query = Query::new(kind, xid, station.mac);
        if matches!(self, Self::BiosPxe | Self::Undionly | Self::UefiPxe(_) | Self::UefiHttp(_)) {
            query.broadcast();
        }
        match self {
            Self::IpxeRom | Self::Undionly => {
                self.netboot(&mut query, station, BIOS_CLASS, 0, [1, 2, 1], &IPXE);
                self.ipxe(&mut query, station.mac, &BIOS_FEATURES);
            }
            Self::BiosPxe => self.netboot(&mut query, station, BIOS_CLASS, 0, [1, 2, 1], &EDK2),
            Self::UefiPxe(architecture) => {
                let (class, number): (&[u8], _) = match architecture {
                    Architecture::Amd64 => (b"PXEClient:Arch:00007:UNDI:003000", 7),
                    Architecture::Arm64 => (b"PXEClient:Arch:00011:UNDI:003000", 11),
                };
                largest(&mut query, kind);
                self.netboot(&mut query, station, class, number, [1, 3, 0], &EDK2);
            }
            Self::UefiHttp(architecture) => {
                let (class, number): (&[u8], _) = match architecture {
                    Architecture::Amd64 => (b"HTTPClient:Arch:00016:UNDI:003000", 16),
                    Architecture::Arm64 => (b"HTTPClient:Arch:00019:UNDI:003000", 19),
                };
                largest(&mut query, kind);
                self.netboot(&mut query, station, class, number, [1, 3, 0], &EDK2_HTTP);
            }
            Self::Snponly(architecture) => {
                let (class, number, features): (&[u8], _, &[u8]) = match architecture {
                    Architecture::Amd64 => (b"PXEClient:Arch:00007:UNDI:003010", 7, &EFI_FEATURES),
                    Architecture::Arm64 => (b"PXEClient:Arch:00011:UNDI:003010", 11, &ARM_FEATURES),
                };
                self.netboot(&mut query, station, class, number, [1, 3, 10], &IPXE);
                self.ipxe(&mut query, station.mac, features);
            }
            Self::Udhcpc => {
                query.option(option::CLIENT_ID, &hardware_id(station.mac));
                query.option(option::PARAMETERS, &UDHCPC);
                query.option(option::LARGEST, &[0x02, 0x40]);
                query.option(option::CLASS, b"udhcp 1.35.0");
            }
            Self::Networkd => {
                query.option(option::CLIENT_ID, &duid(station));
                query.option(option::PARAMETERS, &NETWORKD);
                query.option(option::LARGEST, &[0x05, 0xc0]);
                if let Some(name) = station.host_name {
                    query.option(option::HOST_NAME, name.as_bytes());
                }
            }
        }
        query
    }

    fn netboot(self, to: &mut Query, station: &Station<'_>, class: &[u8], number: u8, undi: [u8; 3], wants: &[u8]) {
        to.option(option::PARAMETERS, wants);
        to.option(option::MACHINE_ID, &machine_id(station.uuid));
        to.option(option::INTERFACE, &undi);
        to.option(option::ARCHITECTURE, &[0, number]);
        to.option(option::CLASS, class);
        if matches!(self, Self::BiosPxe) {
            to.option(option::LARGEST, &[0x04, 0xec]);
        }
    }

    fn ipxe(self, to: &mut Query, mac: MacAddr, features: &[u8]) {
        let card: [u8; 5] =
            if matches!(self, Self::IpxeRom) { [1, 0x1a, 0xf4, 0x10, 0] } else { [1, 0x80, 0x86, 0x10, 0xd3] };
        let mut encapsulated = vec![0xb1, 5];
        encapsulated.extend(card);
        encapsulated.extend([0xeb, 3, 1, 0x15, 1]);
        encapsulated.extend(features.iter().flat_map(|feature| [*feature, 1, 1]));
        // The plain text, without the length that the standard wants before it.
        to.option(option::USER_CLASS, b"iPXE");
        to.option(option::CLIENT_ID, &hardware_id(mac));
        to.option(option::LARGEST, &[0x05, 0xc0]);
        to.option(option::IPXE, &encapsulated);
    }
}

/// EDK2 says another one in its REQUEST.
fn largest(query: &mut Query, kind: Kind) {
    let size = if kind == Kind::Request { [0xff, 0x00] } else { [0x05, 0xc0] };
    query.option(option::LARGEST, &size);
}

/// Option 97: type 0, and the first three fields of the UUID the other way round, as SMBIOS keeps them.
#[must_use]
pub fn machine_id(uuid: [u8; 16]) -> [u8; 17] {
    let mut id = [0; 17];
    id[1..].copy_from_slice(&uuid);
    id[1..5].reverse();
    id[5..7].reverse();
    id[7..9].reverse();
    id
}

fn hardware_id(mac: MacAddr) -> [u8; 7] {
    let [a, b, c, d, e, f] = mac.0;
    [1, a, b, c, d, e, f]
}

/// Type 255: interface number, then a DUID of systemd's enterprise number (43793) and eight octets of the machine's own.
fn duid(station: &Station<'_>) -> Vec<u8> {
    let [_, _, c, d, e, f] = station.mac.0;
    let mut id = vec![0xff, c, d, e, f, 0, 2, 0, 0, 0xab, 0x11];
    id.extend(&station.uuid[8..]);
    id
}

#[cfg(test)]
mod tests {
    use super::{super::packet::Options, *};

    const STATION: Station<'_> = Station {
        mac: MacAddr([0x52, 0x54, 0, 0x77, 0, 1]),
        uuid: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
        host_name: Some("calm-otter"),
    };

    /// Class, architecture, interface, user class, length of 175, first octets of the client id, flags.
    type Row = (&'static str, &'static [u8], &'static [u8], &'static [u8], usize, &'static [u8], u8);

    #[test]
    fn every_client_says_what_was_captured() {
        use Architecture::{Amd64, Arm64};
        let mac: &[u8] = &[1, 0x52, 0x54, 0, 0x77, 0, 1];
        let rows: [(Client, Row); 10] = [
            (Client::IpxeRom, ("PXEClient:Arch:00000:UNDI:002001", &[0, 0], &[1, 2, 1], b"iPXE", 48, mac, 0)),
            (Client::Undionly, ("PXEClient:Arch:00000:UNDI:002001", &[0, 0], &[1, 2, 1], b"iPXE", 48, mac, 0x80)),
            (Client::UefiPxe(Amd64), ("PXEClient:Arch:00007:UNDI:003000", &[0, 7], &[1, 3, 0], b"", 0, b"", 0x80)),
            (Client::Snponly(Amd64), ("PXEClient:Arch:00007:UNDI:003010", &[0, 7], &[1, 3, 10], b"iPXE", 39, mac, 0)),
            (Client::UefiHttp(Amd64), ("HTTPClient:Arch:00016:UNDI:003000", &[0, 16], &[1, 3, 0], b"", 0, b"", 0x80)),
            (Client::UefiPxe(Arm64), ("PXEClient:Arch:00011:UNDI:003000", &[0, 11], &[1, 3, 0], b"", 0, b"", 0x80)),
            (Client::UefiHttp(Arm64), ("HTTPClient:Arch:00019:UNDI:003000", &[0, 19], &[1, 3, 0], b"", 0, b"", 0x80)),
            (Client::Snponly(Arm64), ("PXEClient:Arch:00011:UNDI:003010", &[0, 11], &[1, 3, 10], b"iPXE", 45, mac, 0)),
            (Client::Udhcpc, ("udhcp 1.35.0", b"", b"", b"", 0, mac, 0)),
            (Client::Networkd, ("", b"", b"", b"", 0, &[0xff], 0)),
        ];
        for (client, (class, architecture, interface, user, ipxe, id, flags)) in rows {
            let bytes = client.query(Kind::Discover, 7, &STATION).bytes();
            let options = Options::parse(&bytes[240..]);
            let value = |code| options.get(code).unwrap_or_default();
            assert_eq!(value(option::CLASS), class.as_bytes(), "{client:?}");
            assert_eq!(value(option::ARCHITECTURE), architecture, "{client:?}");
            assert_eq!(value(option::INTERFACE), interface, "{client:?}");
            assert_eq!(value(option::USER_CLASS), user, "{client:?}");
            assert_eq!(value(option::IPXE).len(), ipxe, "{client:?}");
            assert!(value(option::CLIENT_ID).starts_with(id) && value(option::CLIENT_ID).is_empty() == id.is_empty());
            assert_eq!(bytes[10], flags, "{client:?}");
            let uuid = [0, 4, 3, 2, 1, 6, 5, 8, 7, 9, 10, 11, 12, 13, 14, 15, 16];
            assert_eq!(value(option::MACHINE_ID), if client.boots() { &uuid[..] } else { b"" }, "{client:?}");
        }
    }

    #[test]
    fn edk2_says_another_largest_size_in_its_request() {
        let size = |kind| {
            let bytes = Client::UefiPxe(Architecture::Amd64).query(kind, 7, &STATION).bytes();
            Options::parse(&bytes[240..]).get(option::LARGEST).map(<[u8]>::to_vec)
        };
        assert_eq!((size(Kind::Discover), size(Kind::Request)), (Some(vec![5, 0xc0]), Some(vec![0xff, 0])));
    }
}
