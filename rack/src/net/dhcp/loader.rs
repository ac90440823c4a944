//! Which loader a network-booting client is given, by its architecture (IANA "Processor Architecture Types").
//!
//! A machine whose intent is its local disk gets the loader too: the script ends iPXE, and the firmware's boot order can
//! stay network first.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::packet::Request;
use crate::net::loaders::{BIOS, UEFI};

/// What the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// An operating system, or firmware that does not boot from the network: an address is all it wants.
    System,
    /// iPXE: it wants its script.
    Ipxe,
    /// Firmware that loads by TFTP.
    Pxe,
    /// Firmware that loads by HTTP.
    Http,
}

/// What the client is to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loader {
    /// A file name for TFTP, or an URL.
    pub(super) file: String,
    /// Must the reply say that it is for HTTP clients?
    pub(super) http: bool,
}

impl Stage {
    /// Of the client that sent a request.
    #[must_use]
    pub(super) fn of(request: &Request) -> Self {
        if request.ipxe {
            Self::Ipxe
        } else if request.class.starts_with(b"HTTPClient") {
            Self::Http
        } else if request.class.starts_with(b"PXEClient") {
            Self::Pxe
        } else {
            Self::System
        }
    }
}

/// What the client that sent `request` is to load, if anything that we have runs on it.
#[must_use]
pub(super) fn loader(request: &Request, server: Ipv4Addr, http_port: u16) -> Option<Loader> {
    let base = format!("http://{}", SocketAddrV4::new(server, http_port));
    match Stage::of(request) {
        Stage::System => None,
        Stage::Ipxe => Some(Loader { file: format!("{base}/boot/{}.ipxe", request.mac), http: false }),
        Stage::Pxe => {
            let file = request.architectures.iter().find_map(|arch| match arch {
                0 => Some(BIOS),
                // 7 and 9 are both seen from x86-64 firmware; 6 is 32-bit firmware, which cannot run our loader.
                7 | 9 => Some(UEFI),
                _ => None,
            })?;
            Some(Loader { file: file.to_owned(), http: false })
        }
        Stage::Http => {
            request.architectures.contains(&16).then(|| Loader { file: format!("{base}/loaders/{UEFI}"), http: true })
        }
    }
}

/// The client in words, such as "UEFI x86-64, PXE firmware".
#[must_use]
pub(super) fn describe(request: &Request) -> String {
    let stage = match Stage::of(request) {
        Stage::System => return "operating system".to_owned(),
        Stage::Ipxe => "iPXE",
        Stage::Pxe => "PXE firmware",
        Stage::Http => "HTTP boot firmware",
    };
    match request.architectures.first() {
        None => stage.to_owned(),
        Some(0) => format!("BIOS, {stage}"),
        Some(6) => format!("UEFI x86, {stage}"),
        Some(7 | 9 | 16) => format!("UEFI x86-64, {stage}"),
        Some(11 | 19) => format!("UEFI arm64, {stage}"),
        Some(other) => format!("architecture {other}, {stage}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::dhcp::clients::{ALL, discover};

    #[test]
    fn every_client_gets_what_it_can_run() {
        let told: Vec<_> = ALL
            .iter()
            .map(|client| {
                let request = Request::parse(&discover(*client)).unwrap();
                let loader = loader(&request, [10, 77, 0, 1].into(), 5248);
                format!("{client:?}: {} -> {}", describe(&request), loader.map_or("nothing".to_owned(), |l| l.file))
            })
            .collect();
        expect_test::expect![[r#"
            IpxeRom: BIOS, iPXE -> http://10.77.0.1:5248/boot/52:54:00:77:00:01.ipxe
            BiosPxe: BIOS, PXE firmware -> undionly.kpxe
            Undionly: BIOS, iPXE -> http://10.77.0.1:5248/boot/52:54:00:77:00:01.ipxe
            UefiPxe: UEFI x86-64, PXE firmware -> snponly.efi
            Snponly: UEFI x86-64, iPXE -> http://10.77.0.1:5248/boot/52:54:00:77:00:01.ipxe
            UefiHttp: UEFI x86-64, HTTP boot firmware -> http://10.77.0.1:5248/loaders/snponly.efi
            Arm64Pxe: UEFI arm64, PXE firmware -> nothing
            Arm64Http: UEFI arm64, HTTP boot firmware -> nothing
            Udhcpc: operating system -> nothing
            Networkd: operating system -> nothing
        "#]]
        .assert_eq(&(told.join("\n") + "\n"));
    }
}
