//! What machines are made of, in words that both daemons use.

use crate::words;

words! {
    /// CPU architecture, in Debian's spelling.
    Architecture {
        /// x86-64.
        Amd64 = "amd64",
        /// 64-bit Arm.
        Arm64 = "arm64",
    }
}

words! {
    /// How the machine's firmware boots.
    Firmware {
        /// Legacy PC BIOS.
        Bios = "bios",
        /// UEFI.
        Uefi = "uefi",
    }
}

words! {
    /// What a BMC says of the chassis power. Not knowing is `Option::None`.
    PowerState {
        /// Off (ACPI G2/S5 or mechanical off).
        Off = "off",
        /// On.
        On = "on",
    }
}

words! {
    /// What the machine's firmware boots next, once.
    BootDevice {
        /// PXE or UEFI network boot.
        Network = "network",
        /// The first disk.
        Disk = "disk",
    }
}

words! {
    /// How a BMC is spoken to.
    BmcProtocol {
        /// IPMI 2.0 over RMCP+.
        Ipmi = "ipmi",
        /// Redfish over HTTPS.
        Redfish = "redfish",
        /// HTTP requests that the admin gives; power alone.
        Webhook = "webhook",
    }
}

words! {
    /// How bad an event in a BMC's log is, if the BMC says so (Redfish: `Health`).
    EventSeverity {
        /// Nothing is wrong.
        Ok = "ok",
        /// Something is to be looked at.
        Warning = "warning",
        /// Something has to be done.
        Critical = "critical",
    }
}

words! {
    /// How a blob is compressed.
    Compression {
        /// As is.
        None = "none",
        /// RFC 1952.
        Gzip = "gzip",
        /// RFC 8878.
        Zstd = "zstd",
    }
}

impl BmcProtocol {
    /// Where it is spoken if nobody says otherwise.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Ipmi => 623,
            Self::Redfish => 443,
            Self::Webhook => 80,
        }
    }

    /// Can it do nothing but power? Then it has neither accounts, nor a boot override, nor a BMC behind it that has an identity.
    #[must_use]
    pub const fn only_power(self) -> bool {
        match self {
            Self::Ipmi | Self::Redfish => false,
            Self::Webhook => true,
        }
    }

    /// Bytes of user name and password that are taken: what every IPMI 2.0 BMC holds, and what Redfish services hold at most.
    #[must_use]
    pub const fn longest_login(self) -> (usize, usize) {
        match self {
            Self::Ipmi => (16, 20),
            Self::Redfish => (64, 128),
            // A bearer token may be a signed document.
            Self::Webhook => (64, 4096),
        }
    }
}
